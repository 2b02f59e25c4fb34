//! A check by an HTTP/1.1 request, with or without TLS, over hyper's client. Started by `task`.

mod conversation;
mod expect;
#[cfg(test)]
mod tests;

pub(super) use self::conversation::{Conversation, failed};
pub(super) use self::expect::Expected;
use super::probe::{Outcome, Probe, Remote};
use crate::{config::HttpProbe, pool::Backend};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, Uri,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT},
};
use http_body_util::Full;
use hyper::body::Incoming;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// Whose checks these are.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health)"));
/// A body of which nothing is expected is taken for so long: closing with bytes unread resets the connection, which
/// servers log as an error.
const COURTESY: Duration = Duration::from_millis(100);

/// Asks a backend.
pub(super) struct Http {
    expected: Arc<Expected>,
    remote: Remote,
    /// `None`: what is configured cannot be sent.
    request: Option<Request<Full<Bytes>>>,
    /// The connection of the last check, with `reuse`.
    kept: Option<Conversation>,
}

impl Http {
    /// Asks `backend` at `remote`, by the name of the check's `host`, else of the address that is asked.
    pub(super) fn new(expected: Arc<Expected>, remote: Remote, backend: &Backend) -> Self {
        let host = remote.host(expected.probe.host.as_deref(), backend);
        let request = request(&expected.probe, &host);
        Self { expected, remote, request, kept: None }
    }

    /// Keeps the connection, if it may serve one more check.
    async fn done(&mut self, mut conversation: Conversation, whole: bool) {
        if self.expected.probe.reuse && whole && timeout(COURTESY, conversation.is_open()).await == Ok(true) {
            self.kept = Some(conversation);
        }
    }

    async fn judge(&mut self, mut conversation: Conversation, response: Response<Incoming>) -> Outcome {
        let status = self.expected.status(response.status().as_u16());
        let body = conversation.body(response.into_body());
        let (found, whole) = if status.is_ok() && self.expected.wants_body() {
            match body.await {
                Ok(body) => (self.expected.body(&body.bytes), body.whole),
                Err(_) => return Outcome::failed("body was cut short"),
            }
        } else {
            (status, matches!(timeout(COURTESY, body).await, Ok(Ok(body)) if body.whole))
        };
        self.done(conversation, whole).await;
        found.map_or_else(Outcome::Failed, |()| Outcome::Passed)
    }
}

impl Probe for Http {
    async fn check(&mut self) -> Outcome {
        let Some(request) = self.request.clone() else { return Outcome::failed("request cannot be sent") };
        // A kept connection that is dead says nothing: the backend may have closed it at any time.
        if let Some(mut kept) = self.kept.take()
            && kept.is_open().await
            && let Ok(response) = kept.send(request.clone()).await
        {
            return self.judge(kept, response).await;
        }
        let mut fresh = match Conversation::open(&self.remote).await {
            Ok(fresh) => fresh,
            Err(outcome) => return outcome,
        };
        match fresh.send(request).await {
            Ok(response) => self.judge(fresh, response).await,
            Err(error) => failed(&error),
        }
    }
}

/// The request of a check. Framing and the connection are ours, whatever `headers` say.
fn request(probe: &HttpProbe, host: &str) -> Option<Request<Full<Bytes>>> {
    let body = probe.body.clone().map_or_else(Full::default, |body| Full::new(Bytes::from(body)));
    let mut request = Request::new(body);
    *request.method_mut() = Method::from_bytes(probe.method.as_bytes()).ok()?;
    *request.uri_mut() = probe.path.parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    for (name, value) in &probe.headers {
        headers.append(name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?);
    }
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONNECTION);
    if probe.host.is_some() || !headers.contains_key(HOST) {
        headers.insert(HOST, host.parse().ok()?);
    }
    headers.entry(USER_AGENT).or_insert(AGENT);
    if !probe.reuse {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Some(request)
}
