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
        let Some((origin, _)) = preflight(asked.request) else { return Verdict::Pass };
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

/// A preflight's origin, and the method that it asks for; `None`: it is none.
pub fn preflight(request: &Head) -> Option<(&[u8], &[u8])> {
    if request.method() != Method::Options {
        return None;
    }
    Some((origin(request)?, request.find(b"access-control-request-method")?))
}

/// Where the page is from that asks; browsers say it once.
fn origin(request: &Head) -> Option<&[u8]> {
    let mut all = request.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"origin")).map(|(_, value)| value);
    all.next().filter(|_| all.next().is_none())
}

fn say(answer: &mut Fields, name: &str, value: &[u8]) {
    answer.add(name, |out| out.extend_from_slice(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};
    use std::time::Duration;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        Cors::new(&config::Cors {
            origins: origins.iter().map(|text| Origin::parse(text).unwrap()).collect(),
            methods: vec!["PUT".into()],
            headers: vec!["content-type".into(), "x-a".into()],
            credentials,
            max_age: Duration::from_secs(600),
        })
    }

    /// What is said to a request: the status of our answer, if we give it, and its fields.
    fn ask(cors: &Cors, head: &str) -> (Option<u16>, String) {
        let mut request = test_head(head);
        let mut visit = Visit::default();
        cors.note(&mut visit, &request);
        let asked = Asked { request: &mut request, client: None, route: "r", now: 0, worker: 0 };
        let status = match cors.preflight(&mut visit, &asked) {
            Verdict::Reply(status) => Some(status),
            _ => None,
        };
        let mut answer = test_head("GET / HTTP/1.1\nHost: a");
        visit.say(&mut answer);
        (status, test_lines(&answer))
    }

    const PREFLIGHT: &str = "OPTIONS / HTTP/1.1\nHost: a\nAccess-Control-Request-Method: PUT\nOrigin: ";
    const GET: &str = "GET / HTTP/1.1\nHost: a\nOrigin: ";
    const VARY: &str = "Vary: Access-Control-Request-Method, Access-Control-Request-Headers\n";
    const GRANT: &str = "Access-Control-Allow-Methods: GET, HEAD, POST, PUT\n\
                         Access-Control-Allow-Headers: content-type, x-a\nAccess-Control-Max-Age: 600\n";

    #[test]
    fn answers_say_whose_pages_may_see_them() {
        let (one, keen, any) =
            (cors(&["https://a.example"], false), cors(&["https://a.example"], true), cors(&["*"], false));
        let allowed = "Vary: Origin\nAccess-Control-Allow-Origin: https://a.example\n";
        let with = format!("{allowed}Access-Control-Allow-Credentials: true\n");
        for (cors, head, said) in [
            (&one, format!("{GET}https://a.example"), allowed),
            (&one, format!("{GET}https://b.example"), "Vary: Origin\n"),
            (&one, format!("{GET}null"), "Vary: Origin\n"),
            (&one, format!("{GET}https://a.example\nOrigin: https://b.example"), "Vary: Origin\n"),
            (&one, "GET / HTTP/1.1\nHost: a".to_owned(), "Vary: Origin\n"),
            (&keen, format!("{GET}https://a.example"), &with),
            (&keen, format!("{GET}https://b.example"), "Vary: Origin\n"),
            (&any, format!("{GET}https://b.example"), "Access-Control-Allow-Origin: *\n"),
            (&any, "GET / HTTP/1.1\nHost: a".to_owned(), "Access-Control-Allow-Origin: *\n"),
        ] {
            assert_eq!(ask(cors, &head), (None, said.to_owned()), "{head}");
        }
    }

    #[test]
    fn preflights_are_answered_and_what_is_none_goes_on() {
        let one = cors(&["https://a.example"], false);
        let allowed = format!("Vary: Origin\nAccess-Control-Allow-Origin: https://a.example\n{VARY}{GRANT}");
        assert_eq!(ask(&one, &format!("{PREFLIGHT}https://a.example")), (Some(204), allowed));
        let refused = format!("Vary: Origin\n{VARY}");
        assert_eq!(ask(&one, &format!("{PREFLIGHT}https://b.example")), (Some(204), refused));
        let any = format!("Access-Control-Allow-Origin: *\n{VARY}{GRANT}");
        assert_eq!(ask(&cors(&["*"], false), &format!("{PREFLIGHT}https://b.example")), (Some(204), any));
        for head in [
            "OPTIONS / HTTP/1.1\nHost: a\nOrigin: https://a.example",
            "OPTIONS / HTTP/1.1\nHost: a\nAccess-Control-Request-Method: PUT",
            "GET / HTTP/1.1\nHost: a\nOrigin: https://a.example\nAccess-Control-Request-Method: PUT",
        ] {
            assert_eq!(ask(&one, head).0, None, "{head}");
        }
    }

    #[test]
    fn what_a_backend_says_gives_way() {
        let mut answer = test_head(
            "GET / HTTP/1.1\nHost: a\naccess-control-allow-origin: *\nAccess-Control-Allow-Private-Network: true\n\
             Access-Control-Max-Age: 9\nAccess-Control-Expose-Headers: x-a\nVary: accept",
        );
        strip(&mut answer);
        assert_eq!(test_lines(&answer), "Access-Control-Expose-Headers: x-a\nVary: accept\n");
    }
}
