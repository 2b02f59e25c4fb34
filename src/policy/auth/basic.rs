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

/// Bytes of the name that a refused one claims, for the log.
const MAX_CLAIMED: usize = 64;

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
        // Whose password is guessed, operators want to see.
        visit.user = Some(user[..user.len().min(MAX_CLAIMED)].into());
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

/// A user and a password are there: whether they are good is not looked at.
pub(super) fn is_shown(request: &Head) -> bool {
    credentials(request).as_deref().and_then(split).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;
    use std::net::IpAddr;

    const SECOND: u64 = 1_000_000_000;
    /// "password", as the tests of the reference implementation have it.
    const ARGON2: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

    /// A line for `name`, whose password is `password`.
    fn line(name: &str, password: &str) -> String {
        let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap();
        format!("{name}:{}\n", hash.format_for_version(bcrypt::Version::TwoY))
    }

    fn basic(desk: &Arc<Desk>, lines: &str) -> Basic {
        let users = Arc::new(Users::parse(lines.as_bytes()).unwrap());
        Basic::new(&BasicAuth { file: PathBuf::new(), users, realm: "a place".into() }, desk)
    }

    /// What becomes of a request that shows `value` at `now`, and whether a password had to be checked; who it was, and
    /// what the answer says.
    fn ask(basic: &Basic, value: Option<&str>, now: u64) -> (bool, bool, Visit) {
        let line = value.map(|value| format!("\nAuthorization: {value}")).unwrap_or_default();
        let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a{line}"));
        let client = Some(IpAddr::from([127, 0, 0, 1]));
        let mut asked = Asked { request: &mut head, client, route: "r", now, worker: 0 };
        let mut visit = Visit::default();
        match basic.look(&mut visit, &mut asked) {
            Verdict::Compute(job) => {
                let fits = job.fits();
                let let_in = matches!(job.settle(fits, &mut visit, now), Verdict::Pass);
                (let_in, true, visit)
            }
            verdict => (matches!(verdict, Verdict::Pass), false, visit),
        }
    }

    fn shown(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    #[test]
    fn the_right_password_lets_its_user_in_and_nothing_else_does() {
        let basic = basic(&Arc::default(), &line("ann", "blue:1 ü"));
        let (let_in, checked, visit) = ask(&basic, Some(&shown("ann", "blue:1 ü")), 0);
        assert_eq!((let_in, checked, visit.user.as_deref()), (true, true, Some(&b"ann"[..])));
        assert!(visit.answer.is_empty());
        let long = "é".repeat(MAX_CLAIMED);
        for (value, claimed) in [
            (shown("ann", "blue"), Some(&b"ann"[..])),
            (shown("bob", ""), Some(b"bob")),
            (shown(&long, ""), Some(&long.as_bytes()[..MAX_CLAIMED])),
            (shown("a\u{1}n", "blue"), None),
        ] {
            let (let_in, _, visit) = ask(&basic, Some(&value), 0);
            assert_eq!((let_in, visit.user.as_deref()), (false, claimed), "the log says who it claims to be");
        }
        for (value, checked) in [
            (Some(shown("ann", "blue:1")), true),
            (Some(shown("ann", "")), true),
            (Some(shown("Ann", "blue:1 ü")), true),
            (Some(shown("", "blue:1 ü")), true),
            (Some(shown("ann", "blue:1 ü\0")), false),
            (Some("Basic !!!".to_owned()), false),
            (Some(format!("Basic {}", STANDARD.encode("ann"))), false),
            (Some(shown("ann", "blue:1 ü").replace("Basic", "Bearer")), false),
            (Some(format!("{}\nAuthorization: {}", shown("ann", "x"), shown("ann", "blue:1 ü"))), false),
            (None, false),
        ] {
            let (let_in, was, visit) = ask(&basic, value.as_deref(), 0);
            assert_eq!((let_in, was, visit.user.is_some()), (false, checked, checked), "{value:?}");
            let challenge = visit.answer.find("www-authenticate");
            assert_eq!(challenge, Some(&b"Basic realm=\"a place\", charset=\"UTF-8\""[..]), "{value:?}");
        }
    }

    #[test]
    fn argon2_is_checked_too() {
        let basic = basic(&Arc::default(), &format!("bob:{ARGON2}\n"));
        assert!(ask(&basic, Some(&shown("bob", "password")), 0).0);
        assert!(!ask(&basic, Some(&shown("bob", "passwore")), 0).0);
    }

    #[test]
    fn what_was_right_is_remembered_for_five_minutes_and_what_was_wrong_never() {
        let basic = basic(&Arc::default(), &line("ann", "blue"));
        let (right, wrong) = (shown("ann", "blue"), shown("ann", "red"));
        let look = |value: &str, now| {
            let (let_in, checked, _) = ask(&basic, Some(value), now);
            (let_in, checked)
        };
        assert_eq!(look(&right, 0), (true, true));
        assert_eq!(look(&right, 299 * SECOND), (true, false));
        for _ in 0..3 {
            assert_eq!(look(&wrong, SECOND), (false, true));
        }
        assert_eq!(look(&right, 300 * SECOND), (true, true), "it is made again");
        assert_eq!(look(&right, 599 * SECOND), (true, false));
    }

    #[test]
    fn who_is_not_known_costs_a_hash_every_time_even_with_a_password_that_is_somebodys() {
        let basic = basic(&Arc::default(), &line("ann", "blue"));
        assert!(ask(&basic, Some(&shown("ann", "blue")), 0).1);
        for now in 0..3 {
            let (let_in, checked, visit) = ask(&basic, Some(&shown("bob", "blue")), now);
            assert_eq!((let_in, checked, visit.user.as_deref()), (false, true, Some(&b"bob"[..])));
        }
    }

    #[test]
    fn a_line_that_changes_is_in_force_at_once() {
        let desk = Arc::default();
        let basic = basic(&desk, &line("ann", "blue"));
        assert!(ask(&basic, Some(&shown("ann", "blue")), 0).0);
        basic.users.store(Users::parse(line("ann", "red").as_bytes()).unwrap().into());
        assert!(!ask(&basic, Some(&shown("ann", "blue")), 1).0, "it was remembered");
        assert!(ask(&basic, Some(&shown("ann", "red")), 1).0);
        basic.users.store(Users::parse(line("bob", "red").as_bytes()).unwrap().into());
        assert!(!ask(&basic, Some(&shown("ann", "red")), 2).0, "she is gone");
    }

    #[test]
    fn guesses_put_nobody_out() {
        let desk = Arc::default();
        let basic = basic(&desk, &line("ann", "blue"));
        assert!(ask(&basic, Some(&shown("ann", "blue")), 0).0);
        for guess in 0..40_000u32 {
            // As many as would fill the memory twice; that each is wrong is known without a hash.
            let value = shown("ann", &guess.to_string());
            let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\nAuthorization: {value}"));
            let mut visit = Visit::default();
            let mut asked = Asked { request: &mut head, client: None, route: "r", now: 1, worker: 0 };
            let Verdict::Compute(job) = basic.look(&mut visit, &mut asked) else { panic!("it is not remembered") };
            assert!(matches!(job.settle(false, &mut visit, 1), Verdict::Refuse(Kind::Unauthorized)));
        }
        assert!(!ask(&basic, Some(&shown("ann", "blue")), 2).1, "still remembered");
    }
}
