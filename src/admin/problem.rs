//! Answers of the admin API: a body with its type, or a problem (RFC 9457). Used by `answer`, `api` and `permit`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;

use super::command::Refused;
use super::events::Stream;

/// The types of bodies.
pub(super) const JSON: &str = "application/json";
/// The type of a problem: a test of the configuration has failed, and nothing else is wrong with it.
pub const TEST_FAILED: &str = "urn:evenkeel:test-failed";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const EVENTS: &str = "text/event-stream";

/// A whole body, or events as they come.
pub(super) type Answer = Response<Either<Full<Bytes>, Stream>>;

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct Problem {
    /// Its `type` (RFC 9457 section 3.1.1).
    kind: &'static str,
    status: StatusCode,
    detail: String,
    field: Option<(HeaderName, HeaderValue)>,
}

/// As RFC 9457 has it.
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// `detail` is for people.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { kind: "about:blank", status, detail: detail.into(), field: None }
    }

    /// Goes with this field.
    pub(super) fn with(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { field: Some((name, value)), ..self }
    }

    /// For people.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(what) => Self::new(StatusCode::NOT_FOUND, format!("there is no {what}")),
            Refused::Stale { generation } => {
                let detail = format!("the generation is {generation}: someone else was faster");
                Self::new(StatusCode::PRECONDITION_FAILED, detail).with(ETAG, etag(generation))
            }
            Refused::Invalid(why) => Self::new(StatusCode::BAD_REQUEST, why),
            Refused::Unwanted(why) => Self::new(StatusCode::CONFLICT, why),
            Refused::Failed(problems) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, problems),
            Refused::TestFailed(problems) => {
                Self { kind: TEST_FAILED, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, problems) }
            }
        }
    }
}

impl From<Problem> for Answer {
    fn from(Problem { kind, status, detail, field }: Problem) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        let document = Document { r#type: kind, title, status: status.as_u16(), detail: &detail };
        let body = serde_json::to_string(&document).expect("text and a number are JSON");
        let mut answer = with_body(status, "application/problem+json", body);
        answer.headers_mut().extend(field);
        answer
    }
}

/// `value` as JSON, with its generation where it has one.
pub(super) fn json(value: &impl Serialize, generation: Option<u64>) -> Answer {
    let body = serde_json::to_string(value).expect("the views have text for keys, and no number that is not finite");
    let mut answer = with_body(StatusCode::OK, JSON, body);
    answer.headers_mut().extend(generation.map(|generation| (ETAG, etag(generation))));
    answer
}

/// An answer that no cache keeps and no browser takes for something else.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = typed(content_type, Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
}

/// Server-sent events, as they come.
pub(super) fn stream(events: Stream) -> Answer {
    typed(EVENTS, Either::Right(events))
}

fn typed(content_type: &'static str, body: Either<Full<Bytes>, Stream>) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn etag(generation: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{generation}\"")).expect("digits in quotes are a header's value")
}
