//! `cors` of a route: which pages of other origins may ask (the Fetch standard). Hot path.

use super::{Asked, Fields, Verdict, Visit};
use crate::{
    config::{self, Origin},
    http::{Head, Method},
};

/// What every page may use, and so it is always listed.
const SAFE: &str = "GET, HEAD, POST";

/// Whose pages may ask, and what.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Box<[Origin]>,
    /// The answer is the same for everybody: caches need not tell origins apart.
    any: bool,
    credentials: bool,
    /// As they stand in a preflight's answer.
    methods: Box<[u8]>,
    headers: Box<[u8]>,
    max_age: Box<[u8]>,
}

impl Cors {
    pub(super) fn new(cors: &config::Cors) -> Self {
        let methods = match cors.methods.iter().any(|method| method == "*") {
            true => "*".to_owned(),
            false => {
                std::iter::once(SAFE).chain(cors.methods.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
            }
        };
        Self {
            any: !cors.credentials && cors.origins.contains(&Origin::Any),
            origins: cors.origins.as_slice().into(),
            credentials: cors.credentials,
            methods: methods.into_bytes().into(),
            headers: cors.headers.join(", ").into_bytes().into(),
            max_age: cors.max_age.as_secs().to_string().into_bytes().into(),
        }
    }

    /// Notes what any answer says of whose pages may see it.
    pub(super) fn note(&self, visit: &mut Visit, request: &Head) {
        visit.cors = true;
        if self.any {
            // Whoever asked: a cache may show it to others.
            return say(&mut visit.answer, "Access-Control-Allow-Origin", b"*");
        }
        say(&mut visit.answer, "Vary", b"Origin");
        if let Some(origin) = origin(request).filter(|origin| self.has(origin)) {
            say(&mut visit.answer, "Access-Control-Allow-Origin", origin);
            if self.credentials {
                say(&mut visit.answer, "Access-Control-Allow-Credentials", b"true");
            }
        }
    }

    /// Answers a preflight. One that is not allowed gets no permission, and never reaches the backend: it would pass `auth`.
    pub(super) fn preflight(&self, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
        let request = &*asked.request;
        let Some(origin) = origin(request).filter(|_| request.method() == Method::Options) else {
            return Verdict::Pass;
        };
        if request.find(b"access-control-request-method").is_none() {
            return Verdict::Pass;
        }
        say(&mut visit.answer, "Vary", b"Access-Control-Request-Method, Access-Control-Request-Headers");
        if self.has(origin) {
            say(&mut visit.answer, "Access-Control-Allow-Methods", &self.methods);
            if !self.headers.is_empty() {
                say(&mut visit.answer, "Access-Control-Allow-Headers", &self.headers);
            }
            say(&mut visit.answer, "Access-Control-Max-Age", &self.max_age);
        }
        Verdict::Reply(204)
    }

    fn has(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|one| one.has(origin))
    }
}

/// Takes out of an answer what we say in the backend's place.
pub(super) fn strip(answer: &mut Head) {
    answer.remove_where(|name| {
        let ours =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|first| first.eq_ignore_ascii_case(prefix.as_bytes()));
        ours("access-control-allow-") || name.eq_ignore_ascii_case(b"access-control-max-age")
    });
}

/// Where the page is from that asks; browsers say it once.
fn origin(request: &Head) -> Option<&[u8]> {
    let mut all = request.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"origin")).map(|(_, value)| value);
    all.next().filter(|_| all.next().is_none())
}

fn say(answer: &mut Fields, name: &str, value: &[u8]) {
    answer.add(name, |out| out.extend_from_slice(value));
}
