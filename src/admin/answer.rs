//! From a request to the admin API to its answer. Called by the connections of `admin`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::task::spawn_blocking;

use super::origin::{Names, Refusal};
use crate::telemetry::metrics::{self, Telemetry};

/// What answers are made from.
#[derive(Debug)]
pub(super) struct Answers {
    telemetry: Arc<Telemetry>,
    /// Whom a `Host` may name; `None` where it does not matter.
    names: Option<Names>,
}

type Answer = Response<Full<Bytes>>;

impl Answers {
    /// Answers from `telemetry`, to those who call us by one of `names`.
    pub(super) fn new(telemetry: Arc<Telemetry>, names: Option<Names>) -> Self {
        Self { telemetry, names }
    }

    /// The answer to `request`. Its body is not read.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        if let Some(Err(refusal)) = self.names.as_ref().map(|names| names.check(request)) {
            return match refusal {
                Refusal::Malformed => problem(StatusCode::BAD_REQUEST, "one Host field is needed"),
                Refusal::Host => problem(StatusCode::FORBIDDEN, "Host is no name of this instance"),
                Refusal::Origin => problem(StatusCode::FORBIDDEN, "Origin is another host"),
            };
        }
        let path = request.uri().path();
        if !matches!(path, "/metrics" | "/healthz") {
            return problem(StatusCode::NOT_FOUND, "no such resource");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        if path == "/healthz" {
            return with_body(StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned());
        }
        self.metrics().await
    }

    /// Gathered on a blocking thread: control has no 5 ms for it when there are a thousand backends.
    async fn metrics(&self) -> Answer {
        let telemetry = Arc::clone(&self.telemetry);
        match spawn_blocking(move || telemetry.render()).await {
            Ok(text) => with_body(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => {
                tracing::error!(%error, "metrics could not be gathered");
                problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be gathered")
            }
        }
    }
}

/// RFC 9457. `detail` is one of our own words, without a character that JSON escapes.
fn problem(status: StatusCode, detail: &'static str) -> Answer {
    let title = status.canonical_reason().unwrap_or("Error");
    let number = status.as_u16();
    let body = format!(r#"{{"type":"about:blank","title":"{title}","status":{number},"detail":"{detail}"}}"#);
    with_body(status, "application/problem+json", body)
}

fn with_body(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
