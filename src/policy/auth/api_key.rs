//! `type = "api_key"`: a key that its owner shows, known by its digest. Hot path.

use super::{
    super::{Asked, Verdict, Visit},
    shown::{Shown, behind_scheme},
};
use crate::{
    config::{self, ApiKeyAuth, auth::ApiKeys},
    error::Kind,
    http::{Head, Name},
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

    /// A key is there: whether it is good is not looked at.
    pub(super) fn is_shown(&self, request: &Head) -> bool {
        self.shown.find(request).is_ok_and(|key| key.is_some_and(|key| !key.is_empty()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ShownIn,
        policy::{test_head, test_lines},
    };
    use std::sync::Arc;

    fn api_key(from: ShownIn) -> ApiKey {
        let hex = |key: &[u8]| -> String {
            digest::digest(&digest::SHA256, key).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let lines = format!("mobile:{}\nmobile:{}\nbatch:{}\n", hex(b"one"), hex(b"two"), hex(b"three+"));
        let keys = Arc::new(ApiKeys::parse(lines.as_bytes()).unwrap());
        ApiKey::new("main", &ApiKeyAuth { from, file: PathBuf::new(), keys })
    }

    /// Who is let in, the fields that go on, and what a refusal says.
    fn ask(api_key: &ApiKey, head: &str) -> (Option<String>, String, Option<String>) {
        let mut head = test_head(head);
        let mut visit = Visit::default();
        let mut asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 0 };
        let verdict = api_key.look(&mut visit, &mut asked);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let user = matches!(verdict, Verdict::Pass).then(|| text(visit.user.as_deref().unwrap()));
        assert!(user.is_some() || matches!(verdict, Verdict::Refuse(Kind::Unauthorized)));
        (user, test_lines(&head), visit.answer.find("www-authenticate").map(text))
    }

    #[test]
    fn a_key_is_known_wherever_it_is_shown() {
        let header = api_key(ShownIn::Header("x-api-key".into()));
        let bearer = api_key(ShownIn::Header("authorization".into()));
        let (cookie, query) = (api_key(ShownIn::Cookie("key".into())), api_key(ShownIn::Query("key".into())));
        for (api_key, head, name) in [
            (&header, "GET / HTTP/1.1\nHost: a\nX-Api-Key: one", Some("mobile")),
            (&header, "GET / HTTP/1.1\nHost: a\nx-api-key: two", Some("mobile")),
            (&header, "GET / HTTP/1.1\nHost: a\nx-api-key: three+", Some("batch")),
            (&header, "GET / HTTP/1.1\nHost: a\nx-api-key: four", None),
            (&header, "GET / HTTP/1.1\nHost: a\nx-api-key: ", None),
            (&header, "GET / HTTP/1.1\nHost: a\nx-api-key: one\nx-api-key: one", None),
            (&header, "GET /?x-api-key=one HTTP/1.1\nHost: a", None),
            (&bearer, "GET / HTTP/1.1\nHost: a\nAuthorization: bearer one", Some("mobile")),
            (&bearer, "GET / HTTP/1.1\nHost: a\nAuthorization: one", Some("mobile")),
            (&bearer, "GET / HTTP/1.1\nHost: a\nAuthorization: Basic one", None),
            (&cookie, "GET / HTTP/1.1\nHost: a\nCookie: a=1; key=two", Some("mobile")),
            (&cookie, "GET / HTTP/1.1\nHost: a\nCookie: key=two; key=x", None),
            (&query, "GET /?a=1&key=three%2b HTTP/1.1\nHost: a", Some("batch")),
            (&query, "GET /?key=three+ HTTP/1.1\nHost: a", None),
        ] {
            let (user, lines, challenge) = ask(api_key, head);
            assert_eq!(user.as_deref(), name, "{head}");
            let told = name.map(|name| format!("X-Api-Key-Name: {name}\n")).unwrap_or_default();
            assert!(lines.ends_with(&told) && lines.contains("X-Api-Key-Name") == name.is_some(), "{lines}");
            assert_eq!(challenge.as_deref(), name.is_none().then_some("ApiKey realm=\"main\""));
        }
    }
}
