//! HTTP/2 in front of HTTP/1.1: what must not survive the downgrade, and how what goes through looks at the backend. The
//! rows stand in `refused` and `passed`; here is what a request is, and how one is sent.

mod passed;
mod refused;

use super::Stage;
use crate::support::Response;
use crate::support::h2raw::{H2, Unanswered, block, flag};

type Bytes = &'static [u8];
/// Names and values, as they go into the field block.
type Pairs = &'static [(Bytes, Bytes)];

/// A request on a stream: its field block, then DATA and trailers where it has them.
#[derive(Clone, Default)]
struct Request {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Option<Vec<u8>>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Request {
    /// Of these fields alone.
    fn of(fields: &[(&[u8], &[u8])]) -> Self {
        Self { fields: owned(fields), ..Self::default() }
    }

    /// `method path` at this authority.
    fn to(method: &[u8], authority: &[u8], path: &[u8]) -> Self {
        Self::of(&[(b":method", method), (b":scheme", b"http"), (b":authority", authority), (b":path", path)])
    }

    /// `GET /MARK`.
    fn get() -> Self {
        Self::to(b"GET", b"test", b"/MARK")
    }

    /// `POST /MARK`.
    fn post() -> Self {
        Self::to(b"POST", b"test", b"/MARK")
    }

    /// With further fields.
    fn with(mut self, fields: &[(&[u8], &[u8])]) -> Self {
        self.fields.extend(owned(fields));
        self
    }

    /// Without the field `name`.
    fn without(mut self, name: &[u8]) -> Self {
        self.fields.retain(|(other, _)| other != name);
        self
    }

    fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    fn trailers(self, trailers: &[(&[u8], &[u8])]) -> Self {
        Self { trailers: owned(trailers), ..self }
    }

    /// Sends it on `stream` and reads the answer.
    fn exchange(&self, h2: &mut H2, stream: u32) -> Result<Response, Unanswered> {
        let end = |last: bool| if last { flag::END_STREAM } else { flag::NONE };
        let (body, trailers) = (self.body.is_some(), !self.trailers.is_empty());
        h2.headers(stream, flag::END_HEADERS | end(!body && !trailers), block(&self.fields));
        if let Some(body) = &self.body {
            h2.data(stream, end(!trailers), body);
        }
        if trailers {
            h2.headers(stream, flag::WHOLE, block(&self.trailers));
        }
        h2.answer(stream)
    }
}

fn owned(fields: &[(&[u8], &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
}

/// A request that evenkeel refuses.
struct Refused {
    name: String,
    why: &'static str,
    request: Request,
    stage: Stage,
}

impl Refused {
    /// For what its field block says.
    fn head(name: impl Into<String>, why: &'static str, request: Request) -> Self {
        Self { name: name.into(), why, request, stage: Stage::Head }
    }

    /// For what comes behind: the backend may have seen a beginning.
    fn body(name: impl Into<String>, why: &'static str, request: Request) -> Self {
        Self { stage: Stage::Body, ..Self::head(name, why, request) }
    }
}
