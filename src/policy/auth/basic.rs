//! `type = "basic"`: a user and a password in each request (RFC 7617). Hot path, up to a password that is not remembered:
//! to hash one takes milliseconds by design, and is a [`Job`].

use super::{
    super::{Asked, Verdict, Visit},
    desk::{Desk, Job},
    shown::behind_scheme,
};
use crate::{
    config::{self, BasicAuth, auth::Users},
    error::Kind,
    http::{Head, Name},
};
use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Debug)]
pub(super) struct Basic {
    file: PathBuf,
    users: ArcSwap<Users>,
    desk: Arc<Desk>,
    /// For `WWW-Authenticate`.
    challenge: Arc<[u8]>,
}

impl Basic {
    pub(super) fn new(config: &BasicAuth, desk: &Arc<Desk>) -> Self {
        Self {
            file: config.file.clone(),
            users: ArcSwap::new(config.users.clone()),
            desk: Arc::clone(desk),
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", config.realm).into_bytes().into(),
        }
    }

    pub(super) fn look(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        let Some(shown) = credentials(asked.request) else { return refuse(visit, &self.challenge) };
        let Some((user, password)) = split(&shown) else { return refuse(visit, &self.challenge) };
        let users = self.users.load();
        let known = users.find(user);
        // Who is not known costs as much as somebody who is, and always the same: names cannot be found out by the time.
        let Some(hash) = known.or_else(|| users.some(self.desk.number(user))) else {
            return refuse(visit, &self.challenge);
        };
        let ticket = self.desk.ticket(hash, password);
        if known.is_some() && self.desk.remembers(&ticket, asked.now) {
            visit.user = Some(user.into());
            return Verdict::Pass;
        }
        Verdict::Compute(Box::new(Job {
            desk: Arc::clone(&self.desk),
            hash: hash.clone(),
            password: password.into(),
            user: known.map(|_| user.into()),
            ticket,
            challenge: Arc::clone(&self.challenge),
        }))
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn read(&self) -> Result<bool, String> {
        let users = config::auth::users(&self.file)?;
        let changed = **self.users.load() != users;
        if changed {
            self.users.store(users.into());
        }
        Ok(changed)
    }
}

/// It is asked for a user and a password.
pub(super) fn refuse(visit: &mut Visit, challenge: &[u8]) -> Verdict {
    visit.answer.add("WWW-Authenticate", |out| out.extend_from_slice(challenge));
    Verdict::Refuse(Kind::Unauthorized)
}

/// `user:password`, if the request has them, once.
fn credentials(request: &Head) -> Option<Vec<u8>> {
    let value = request.text(request.single(Name::Authorization).ok()??);
    STANDARD.decode(behind_scheme(value, "Basic")?).ok()
}

/// The user has no colon, and neither has controls (RFC 7617 section 2).
fn split(shown: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = shown.iter().position(|&byte| byte == b':')?;
    let fine = !shown.iter().any(u8::is_ascii_control);
    fine.then(|| (&shown[..at], &shown[at + 1..]))
}
