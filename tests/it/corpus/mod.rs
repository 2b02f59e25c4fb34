//! Messages that must not go through, as data: a row is a name, the reason, and the bytes. The rows stand in files by
//! topic; `requests` and `responses` send them; `legal` is what is odd and must go through all the same.
//!
//! To add a request, add a row to the table of its topic. `MARK` in its bytes becomes a text of its own, by which the
//! runner finds out whether anything of it reached the backend. `h2` has the same for requests that come by HTTP/2.

mod chunks;
mod fields;
mod framing;
mod h2;
mod hosts;
mod legal;
mod oversize;
mod replies;
mod requests;
mod responses;
mod targets;

/// Name, reason, and the bytes that differ from a good request.
type Row = (&'static str, &'static str, &'static [u8]);

/// Where a refusal has to come: whether the backend may have seen the head already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// In the head: nothing of it may get out.
    Head,
    /// In the body, which streams: the backend must not be able to take what it got for a whole request.
    Body,
}

/// A request that evenkeel refuses.
struct Case {
    name: String,
    why: &'static str,
    /// The listener that it goes to: `web`, or `small` with small limits.
    listener: &'static str,
    bytes: Vec<u8>,
    status: u16,
    word: &'static str,
    stage: Stage,
}

impl Case {
    /// Malformed in the head: 400.
    fn head(name: impl Into<String>, why: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        let (listener, status, word) = ("web", 400, "bad_request");
        Self { name: name.into(), why, listener, bytes: bytes.into(), status, word, stage: Stage::Head }
    }

    /// Malformed in the body: 400.
    fn body(name: impl Into<String>, why: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { stage: Stage::Body, ..Self::head(name, why, bytes) }
    }

    /// Refused with another status and word than 400.
    fn answer(self, status: u16, word: &'static str) -> Self {
        Self { status, word, ..self }
    }

    /// For the listener with small limits.
    fn small(self) -> Self {
        Self { listener: "small", ..self }
    }
}

/// `row`'s bytes as request line.
fn line((name, why, line): &Row) -> Case {
    Case::head(*name, why, [line, &b"\r\nHost: test\r\n\r\n"[..]].concat())
}

/// `row`'s bytes as further field lines of a GET, without the last CRLF.
fn field((name, why, lines): &Row) -> Case {
    Case::head(*name, why, [b"GET /MARK HTTP/1.1\r\nHost: test\r\n", *lines, b"\r\n\r\n"].concat())
}

/// `row`'s bytes as what follows `POST … HTTP/1.1` and Host: field lines, the empty line, a body.
fn post((name, why, rest): &Row) -> Case {
    Case::head(*name, why, [&b"POST /MARK HTTP/1.1\r\nHost: test\r\n"[..], rest].concat())
}

/// `row`'s bytes as a body in chunks.
fn chunks((name, why, body): &Row) -> Case {
    let head = b"POST /MARK HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    Case::body(*name, why, [&head[..], body].concat())
}

/// `row`'s bytes as a whole request.
fn whole((name, why, bytes): &Row) -> Case {
    Case::head(*name, why, *bytes)
}

/// Every request that is refused.
fn requests() -> Vec<Case> {
    [framing::cases(), chunks::cases(), fields::cases(), hosts::cases(), targets::cases(), oversize::cases()]
        .into_iter()
        .flatten()
        .collect()
}
