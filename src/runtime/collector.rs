//! The way to a collector of traces: OTLP over HTTP/1.1, one message at a time, on a connection that is kept. On control.

use super::fetch;
use crate::{
    config::Url,
    net::dns::Question,
    pool::Registry,
    telemetry::trace::{CONTENT_TYPE, rejected},
};
use bytes::Bytes;
use http::{
    Request, Response,
    header::{CONTENT_TYPE as TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::task::AbortHandle;

/// Bytes of an answer.
const ANSWER: usize = 64 * 1024;

/// A collector, and the connection to it.
pub(super) struct Collector {
    url: Url,
    question: Option<Arc<Question>>,
    kept: Option<Connection>,
}

/// Ends with it.
struct Connection {
    requests: http1::SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Why a message was not taken: a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It may be taken later: after so long, if the collector says so.
    Later(String, Option<Duration>),
    /// It never will be.
    Never(String),
}

/// How many spans of a message were not taken all the same, and why.
type Rejected = Option<(u64, String)>;

impl Collector {
    pub(super) fn new(url: Url, registry: &Registry) -> Self {
        let question = fetch::question(&url, registry);
        Self { url, question, kept: None }
    }

    /// Sends `message`. The caller bounds the time; where it gives up, the connection ends.
    pub(super) async fn post(&mut self, registry: &Registry, message: Bytes) -> Result<Rejected, Refused> {
        // A kept connection may have died meanwhile; a new one has not.
        if let Some(kept) = self.kept.take()
            && let Ok(answer) = self.ask(kept, message.clone()).await
        {
            return answer;
        }
        let later = |why| Refused::Later(why, None);
        let connection = self.connect(registry).await.map_err(later)?;
        self.ask(connection, message).await.map_err(later)?
    }

    async fn connect(&self, registry: &Registry) -> Result<Connection, String> {
        let stream = fetch::open(&self.url, self.question.as_deref(), registry).await?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("no connection: {error}"))?;
        let driver = tokio::spawn(connection).abort_handle();
        Ok(Connection { requests, driver })
    }

    /// Asks on `connection`, and keeps it if it can be used again.
    async fn ask(&mut self, mut connection: Connection, message: Bytes) -> Result<Result<Rejected, Refused>, String> {
        let request = Request::post(&self.url.path)
            .header(HOST, &self.url.authority)
            .header(USER_AGENT, fetch::AGENT)
            .header(TYPE, CONTENT_TYPE)
            .body(Full::new(message))
            .map_err(|error| error.to_string())?;
        let no_answer = |error: hyper::Error| format!("no answer: {error}");
        connection.requests.ready().await.map_err(no_answer)?;
        let response = connection.requests.send_request(request).await.map_err(no_answer)?;
        let status = response.status().as_u16();
        let after = response.headers().get(RETRY_AFTER).and_then(|value| after(value.to_str().ok()?));
        let (body, whole) = read(response).await;
        if whole {
            self.kept = Some(connection);
        }
        Ok(judge(status, after, &body))
    }
}

/// The body, and whether it is all there.
async fn read(response: Response<Incoming>) -> (Vec<u8>, bool) {
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (bytes, false) };
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > ANSWER {
            return (bytes, false);
        }
    }
    (bytes, true)
}

/// What an answer means (OTLP 1.x, "OTLP/HTTP Response").
fn judge(status: u16, after: Option<Duration>, body: &[u8]) -> Result<Rejected, Refused> {
    let why = || format!("it was answered with {status}");
    match status {
        200..=299 => Ok(rejected(body)),
        429 | 502 | 503 | 504 => Err(Refused::Later(why(), after)),
        _ => Err(Refused::Never(why())),
    }
}

/// What `Retry-After` says: seconds, or a date.
fn after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_it_is_worth_another_try() {
        let soon = Some(Duration::from_secs(3));
        assert_eq!(judge(200, soon, b""), Ok(None));
        assert_eq!(judge(202, None, b"ok"), Ok(None));
        for status in [429, 502, 503, 504] {
            let why = format!("it was answered with {status}");
            assert_eq!(judge(status, soon, b""), Err(Refused::Later(why, soon)));
        }
        for status in [301, 400, 401, 404, 413, 415, 500, 501] {
            assert_eq!(judge(status, soon, b""), Err(Refused::Never(format!("it was answered with {status}"))));
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let then = SystemTime::now() + Duration::from_secs(100);
        let wait = after(&httpdate::fmt_http_date(then)).unwrap().as_secs();
        assert!((90..=100).contains(&wait), "{wait}");
        assert_eq!(after("soon"), None);
    }
}
