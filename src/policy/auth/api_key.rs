//! `type = "api_key"`: a key that its owner shows, known by its digest. Hot path.

use super::{
    super::{Asked, Verdict, Visit},
    shown::{Shown, behind_scheme},
};
use crate::{
    config::{self, ApiKeyAuth, auth::ApiKeys},
    error::Kind,
    http::Name,
};
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use std::path::{Path, PathBuf};

/// What backends get, as it is sent.
const FIELD: &[u8] = b"X-Api-Key-Name";

#[derive(Debug)]
pub(super) struct ApiKey {
    shown: Shown,
    file: PathBuf,
    keys: ArcSwap<ApiKeys>,
    /// For `WWW-Authenticate`. There is no scheme of this name in IANA's list; a 401 must have one.
    challenge: Box<[u8]>,
}

impl ApiKey {
    pub(super) fn new(name: &str, config: &ApiKeyAuth) -> Self {
        Self {
            shown: Shown::new(&config.from),
            file: config.file.clone(),
            keys: ArcSwap::new(config.keys.clone()),
            challenge: format!("ApiKey realm=\"{name}\"").into_bytes().into(),
        }
    }

    pub(super) fn look(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        let shown = self.shown.find(asked.request).ok().flatten();
        let keys = self.keys.load();
        let name = shown.as_deref().and_then(|key| {
            let key = behind_scheme(key, "Bearer").unwrap_or(key);
            let digest = digest::digest(&digest::SHA256, key);
            keys.find(digest.as_ref().try_into().ok()?)
        });
        let Some(name) = name else {
            visit.answer.add("WWW-Authenticate", |out| out.extend_from_slice(&self.challenge));
            return Verdict::Refuse(Kind::Unauthorized);
        };
        visit.user = Some(name.as_bytes().into());
        asked.request.add_pieces(FIELD, Name::Other, &[name.as_bytes()]);
        Verdict::Pass
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn read(&self) -> Result<bool, String> {
        let keys = config::auth::api_keys(&self.file)?;
        let changed = **self.keys.load() != keys;
        if changed {
            self.keys.store(keys.into());
        }
        Ok(changed)
    }
}
