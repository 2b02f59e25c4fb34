//! `type = "forward"`: another service decides. What it is asked, and what its answer means; `proxy` does the asking. Pure.
//! Hot path.

use super::written::Written;
use crate::{
    config::ForwardAuth,
    http::{Head, Name},
    policy::FieldName,
};
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// Bytes of an answer's body that a client gets.
pub const MAX_ANSWER: u64 = 64 * 1024;

/// Fields of a request that speak of its body, or ask for less than an answer.
const UNASKED: [&[u8]; 13] = [
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"content-md5",
    b"content-digest",
    b"repr-digest",
    b"range",
    b"if-range",
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
];

/// What such services read of the question, whoever wrote it: ours, and those of other proxies.
const SAID: [&str; 7] = [
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-auth-request-redirect",
    "x-rewrite-url",
];

/// Asks a service.
#[derive(Debug)]
pub struct Forward {
    /// The place of its pool in the plan.
    pub pool: usize,
    /// For the whole answer.
    pub timeout: Duration,
    authority: Box<[u8]>,
    path: Box<[u8]>,
    /// With its `?`.
    query: Box<[u8]>,
    copied: Vec<FieldName>,
    /// Those of them in which clients show who they are: the service looks at them before they go.
    credentials: Written,
    /// What nobody else says in a question.
    said: Written,
    /// It has been said that it cannot be asked.
    fails: AtomicBool,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The request goes on.
    Pass,
    /// The client gets that answer.
    Refuse,
    /// It is no answer to the question.
    Unavailable,
}

impl Forward {
    /// As `auth` says; its service is the pool at that place of the plan.
    pub fn new(auth: &ForwardAuth, pool: usize) -> Self {
        let names = || auth.copy_headers.iter().map(String::as_str);
        let (path, query) = auth.url.path.split_at(auth.url.path.find('?').unwrap_or(auth.url.path.len()));
        Self {
            pool,
            timeout: auth.timeout,
            authority: auth.url.authority.as_bytes().into(),
            path: path.as_bytes().into(),
            query: query.as_bytes().into(),
            copied: names().map(FieldName::new).collect(),
            credentials: Written::new(names().filter(|name| super::is_credential(name))),
            said: Written::new(SAID.into_iter()),
            fails: AtomicBool::new(false),
        }
    }

    /// Makes the question of `request`, a copy of the client's with our forwarding fields: a GET without a body.
    pub fn ask(&self, request: &mut Head) {
        for name in UNASKED {
            request.remove_named(name);
        }
        for id in [Name::ContentType, Name::ContentLength, Name::Expect, Name::Trailer] {
            request.remove(id);
        }
        self.said.remove(request);
        let method = request.method_text().to_vec();
        request.add_pieces(b"X-Forwarded-Method", Name::Other, &[&method]);
        let asked = request.received;
        let uri = [request.text(asked.path), request.text(asked.query)].concat();
        request.add_pieces(b"X-Forwarded-Uri", Name::Other, &[&uri]);
        request.become_get(&self.authority, &self.path, &self.query);
    }

    /// What an answer with that status means.
    pub fn judge(status: u16) -> Judged {
        match status {
            200..=299 => Judged::Pass,
            300..=499 => Judged::Refuse,
            _ => Judged::Unavailable,
        }
    }

    /// It is being said that it cannot be asked.
    pub fn fails(&self) {
        self.fails.store(true, Relaxed);
    }

    /// It has answered. True: it has been said that it cannot be asked, and nobody has taken that back.
    pub fn works(&self) -> bool {
        self.fails.load(Relaxed) && self.fails.swap(false, Relaxed)
    }

    /// Gives `request` what the service says of it.
    pub fn tell(&self, answer: &Head, request: &mut Head) {
        if !self.credentials.is_empty() {
            self.credentials.remove(request);
        }
        for field in &self.copied {
            let named = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(field.spelling());
            for (_, value) in answer.iter().filter(named) {
                field.add(request, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Address, Url},
        policy::{test_head, test_lines},
    };

    fn forward(path: &str, copied: &[&str]) -> Forward {
        let address = Address::Tcp("127.0.0.1:9000".parse().unwrap());
        let url = Url { tls: false, address, authority: "127.0.0.1:9000".into(), path: path.into() };
        let copy_headers = copied.iter().map(|name| (*name).to_owned()).collect();
        Forward::new(&ForwardAuth { url, timeout: Duration::from_secs(2), copy_headers }, 3)
    }

    #[test]
    fn the_question_is_a_get_that_says_what_was_asked() {
        let mut request = test_head(
            "POST /a/../b%2Fc?d=e HTTP/1.1\nHost: shop.example\nCookie: s=1\nAuthorization: Bearer t\nAccept: */*\n\
             Content-Length: 5\nContent-Type: text/plain\nExpect: 100-continue\nX-Forwarded-Method: GET\nx_forwarded_uri: /\n\
             X-Original-URL: /public\nx_original_method: GET\nX-Original-Uri: /\nX-Auth-Request-Redirect: //evil\n\
             If-None-Match: \"a\"\nRange: bytes=0-1\nX-Own: 1",
        );
        forward("/verify?strict=1", &[]).ask(&mut request);
        let target = [request.text(request.target.path), request.text(request.target.query)].concat();
        assert_eq!((request.method_text(), target.as_slice()), (&b"GET"[..], &b"/verify?strict=1"[..]));
        let fields = "Cookie: s=1\nAuthorization: Bearer t\nAccept: */*\nX-Own: 1\nX-Forwarded-Method: POST\n\
                      X-Forwarded-Uri: /b%2Fc?d=e\n";
        assert_eq!(test_lines(&request), fields);
    }

    #[test]
    fn the_request_gets_what_the_service_is_asked_for() {
        let mut request = test_head("GET / HTTP/1.1\nHost: a\nX-Own: 1\nAuthorization: Basic x\nCookie: s=1");
        let answer = test_head("GET / HTTP/1.1\nHost: a\nX-User: ann\nX-Role: a\nx-user: bob\nAuthorization: Bearer y");
        forward("/", &["x-user", "authorization", "x-none"]).tell(&answer, &mut request);
        assert_eq!(test_lines(&request), "X-Own: 1\nCookie: s=1\nx-user: ann\nx-user: bob\nauthorization: Bearer y\n");
    }

    #[test]
    fn an_answer_means_one_of_three() {
        let judged = [200, 204, 299, 302, 304, 401, 403, 404, 429, 499, 500, 503, 599, 600, 0].map(Forward::judge);
        let (pass, refuse, unavailable) = (&judged[..3], &judged[3..10], &judged[10..]);
        assert!(pass.iter().all(|judged| *judged == Judged::Pass), "{judged:?}");
        assert!(refuse.iter().all(|judged| *judged == Judged::Refuse), "{judged:?}");
        assert!(unavailable.iter().all(|judged| *judged == Judged::Unavailable), "{judged:?}");
    }
}
