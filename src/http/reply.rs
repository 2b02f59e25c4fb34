//! Our own answers to failures: `application/problem+json` (RFC 9457), a small page for browsers, or a gRPC status, with
//! `Proxy-Status` (RFC 9209).

use super::{
    body::Chunk,
    exchange::{Announced, Sink},
    grpc,
    guard::Framing,
    head::{Head, Method, Span, Start, Version},
    name::Name,
};
use crate::error::Kind;
use bytes::Bytes;
use std::{io, time::SystemTime};

/// Seconds after which a client that met a limit may try again.
const RETRY_AFTER: &[u8] = b"1";

/// What an answer of ours says.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// What went wrong.
    pub kind: Kind,
    /// The answer's status: the kind's, unless somebody has asked for another.
    pub status: u16,
    /// Names the exchange in the logs; visible ASCII without quotes.
    pub request_id: &'a str,
    /// Our pseudonym.
    pub via: &'a str,
}

/// A client that prefers HTML gets pages, any other JSON.
pub fn wants_html(request: &Head) -> bool {
    request.all(Name::Accept).any(prefers_html)
}

/// Stages an answer of ours to `request`: its head, which begins in `head`, and its body; `None` = the head is all that
/// there is, and nothing is said of a body.
///
/// # Errors
/// The stream is gone.
pub fn stage(request: &Head, head: &mut Head, body: Option<Vec<u8>>, sink: &mut Sink<'_>) -> io::Result<()> {
    head.add(Name::Date, httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    // RFC 9110 sections 8.6, 15.3.5 and 15.4.5.
    let never = body.is_none() || matches!(head.status(), 204 | 304);
    let body = body.unwrap_or_default();
    let length = body.len() as u64;
    let bodiless = never || request.method() == Method::Head;
    let framing = if bodiless { Framing::None } else { Framing::Length(length) };
    sink.head(head, &Announced { framing, length: (!never).then_some(length), upgrade: None })?;
    if bodiless { Ok(()) } else { sink.outlet.push(Chunk::Bytes(Bytes::from(body)), true) }
}

impl Failure<'_> {
    /// Begins the answer's head in `head`, and gives its body: `page` and its type, or one of ours.
    pub fn make(&self, html: bool, page: Option<(&[u8], &'static str)>, head: &mut Head) -> Vec<u8> {
        let ours = || match html {
            true => (self.html().into_bytes(), "text/html; charset=utf-8"),
            false => (self.json().into_bytes(), "application/problem+json"),
        };
        let (body, kind) = page.map_or_else(ours, |(page, kind)| (page.to_vec(), kind));
        head.begin(Start::Response(self.status, Span::default()), Version::Http11);
        let reason = head.note(reason(self.status).as_bytes());
        head.set_start(Start::Response(self.status, reason), Version::Http11);
        head.add(Name::ContentType, kind.as_bytes());
        head.add_pieces(b"Cache-Control", Name::Other, &[b"no-store"]);
        self.say(head);
        if self.status == 503 {
            head.add_pieces(b"Retry-After", Name::Other, &[RETRY_AFTER]);
        }
        if self.status == 405 {
            head.add_pieces(b"Allow", Name::Other, &[b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
        }
        body
    }

    /// Makes the answer to a gRPC call in `head`: all of it are trailers, as one that has no message. Its status is 200.
    pub fn make_for_call(&self, head: &mut Head) {
        head.begin_answer(200, reason(200));
        head.add(Name::ContentType, grpc::CONTENT_TYPE);
        let code = grpc::Code::of(self.kind, self.status) as u8;
        head.add_pieces(b"grpc-status", Name::Other, &[code.to_string().as_bytes()]);
        // As it is: no letter of a word needs an escape.
        head.add_pieces(b"grpc-message", Name::Other, &[self.kind.word().as_bytes()]);
        self.say(head);
    }

    /// What every answer to a failure says, whatever else is in it.
    pub fn say(&self, head: &mut Head) {
        let status = format!("{}; error={}; details=\"{}\"", self.via, self.kind.rfc9209(), self.kind.word());
        head.add_pieces(b"Proxy-Status", Name::Other, &[status.as_bytes()]);
        head.add(Name::XRequestId, self.request_id.as_bytes());
    }

    fn json(&self) -> String {
        let Self { kind, status, request_id, .. } = self;
        format!(
            "{{\"type\":\"about:blank\",\"title\":\"{}\",\"status\":{},\"detail\":\"{}\",\"failure\":\"{}\",\"request_id\":\"{request_id}\"}}\n",
            reason(*status),
            status,
            kind.title(),
            kind.word(),
        )
    }

    fn html(&self) -> String {
        let (status, reason) = (self.status, reason(self.status));
        format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{status} {reason}</title>\n\
             <body style=\"font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem\">\n\
             <h1 style=\"font-size:1.5rem\">{status} {reason}</h1>\n<p>{}.</p>\n\
             <p><small>{} &middot; {}</small></p>\n</html>\n",
            self.kind.title(),
            self.kind.word(),
            self.request_id,
        )
    }
}

/// The reason phrase of a status (RFC 9110 section 15).
fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
}

/// HTML is wanted more than JSON (RFC 9110 section 12.5.1). `*/*` alone gets JSON.
fn prefers_html(accept: &[u8]) -> bool {
    let Ok(accept) = std::str::from_utf8(accept) else { return false };
    let quality = |wanted: &[&str]| {
        let weight = |range: &str| {
            accept.split(',').find_map(|item| {
                let mut parts = item.split(';').map(str::trim);
                let same = parts.next()?.eq_ignore_ascii_case(range);
                let q = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse::<f32>().ok());
                q.filter(|_| same)
            })
        };
        wanted.iter().find_map(|range| weight(range)).unwrap_or(0.0)
    };
    let html = quality(&["text/html", "application/xhtml+xml", "text/*"]);
    html > 0.0 && html >= quality(&["application/problem+json", "application/json", "application/*", "*/*"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_and_the_rest_json() {
        for (accept, html) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.5", false),
            ("text/html;q=0", false),
            ("", false),
        ] {
            assert_eq!(prefers_html(accept.as_bytes()), html, "{accept}");
        }
    }
}
