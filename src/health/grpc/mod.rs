//! A check by `grpc.health.v1.Health/Check`, over HTTP/2: by prior knowledge, or by TLS where the pool has it. Started by
//! `task`. A connection a check: a kept one would say of a backend that is being replaced that it is well.

mod message;
#[cfg(test)]
mod tests;

use super::probe::{Outcome, Probe, Reason, Remote};
use crate::{config::GrpcProbe, http::grpc, net::Stream, pool::Backend};
use bytes::{Bytes, BytesMut};
use h2::{RecvStream, client::Connection};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use std::{
    borrow::Cow,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};
use tokio::time::timeout;

const PATH: &str = "/grpc.health.v1.Health/Check";
const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health)");
/// Bytes of an answer's head and of its trailers.
const HEAD_SIZE: u32 = 16 * 1024;
/// How long a connection may take to say goodbye.
const COURTESY: Duration = Duration::from_millis(100);

/// Asks a backend.
pub(super) struct Grpc {
    remote: Remote,
    /// `None`: what is configured cannot be sent.
    request: Option<Request<()>>,
    message: Bytes,
}

impl Grpc {
    /// Asks `backend` at `remote`, by the name of the check's `host`, else of the address that is asked.
    pub(super) fn new(probe: &GrpcProbe, remote: Remote, backend: &Backend) -> Self {
        let host = remote.host(probe.host.as_deref(), backend);
        let request = request(&host, remote.tls.is_some());
        Self { remote, request, message: message::request(&probe.service) }
    }

    async fn ask(&self, request: Request<()>, stream: Stream) -> Result<Outcome, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder.max_header_list_size(HEAD_SIZE).enable_push(false);
        let (mut calls, connection) = builder.handshake::<_, Bytes>(stream).await?;
        let mut driver = Some(connection);
        let (response, mut send) = calls.send_request(request, false)?;
        send.send_data(self.message.clone(), true)?;
        let response = drive(&mut driver, response).await?;
        let outcome = drive(&mut driver, judge(response)).await?;
        // With nobody left on it, it says that it ends, and does.
        drop((calls, send));
        if let Some(connection) = driver {
            let _ = timeout(COURTESY, connection).await;
        }
        Ok(outcome)
    }
}

impl Probe for Grpc {
    async fn check(&mut self) -> Outcome {
        let Some(request) = self.request.clone() else { return Outcome::failed("request cannot be sent") };
        let stream = match self.remote.connect().await {
            Ok(stream) => stream,
            Err(outcome) => return outcome,
        };
        if self.remote.tls.is_some() && !stream.agreed_on_h2() {
            return Outcome::failed("h2 is not agreed on");
        }
        self.ask(request, stream).await.unwrap_or_else(failed)
    }
}

fn request(host: &str, secure: bool) -> Option<Request<()>> {
    let scheme = if secure { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(PATH).build().ok()?;
    let request = Request::builder().method(Method::POST).uri(uri);
    let request = request.header(header::CONTENT_TYPE, grpc::CONTENT_TYPE).header(header::TE, "trailers");
    request.header(header::USER_AGENT, AGENT).body(()).ok()
}

/// Waits for `work`, and moves the connection's bytes meanwhile.
async fn drive<W: Future>(driver: &mut Option<Connection<Stream, Bytes>>, work: W) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(connection) = driver
            && let Poll::Ready(_) = Pin::new(connection).poll(cx)
        {
            // Its error, if any, goes to the call that waits.
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Whether the answer says that the backend serves.
async fn judge(response: Response<RecvStream>) -> Result<Outcome, h2::Error> {
    let (head, mut stream) = response.into_parts();
    if head.status != StatusCode::OK {
        return Ok(Outcome::Failed(Cow::Owned(format!("status {}", head.status.as_u16()))));
    }
    let is_grpc = |value: &http::HeaderValue| grpc::is_grpc(value.as_bytes());
    if !head.headers.get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        return Ok(Outcome::failed("not grpc"));
    }
    if stream.is_end_stream() {
        return Ok(verdict(&head.headers, &[]));
    }
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        if body.len() + data.len() > message::MOST {
            return Ok(Outcome::failed("answer too large"));
        }
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(verdict(&trailers, &body))
}

/// Of the fields that end a call, and the messages before.
fn verdict(fields: &HeaderMap, body: &[u8]) -> Outcome {
    let status = fields.get("grpc-status").and_then(|value| grpc::parse_status(value.as_bytes()));
    let reason: Reason = match status.map(|code| (code, grpc::name(code).unwrap_or_default())) {
        None => "no grpc status".into(),
        Some((0, _)) => return serving(body),
        // What the protocol says for a service that it does not know.
        Some((5, _)) => "service is not known".into(),
        Some((12, _)) => "grpc.health.v1 is not implemented".into(),
        Some((_, name)) => format!("grpc status {name}").into(),
    };
    Outcome::Failed(reason)
}

fn serving(body: &[u8]) -> Outcome {
    let reason: Reason = match message::status(body) {
        Some(1) => return Outcome::Passed,
        Some(0) => "serving status is unknown".into(),
        Some(2) => "not serving".into(),
        Some(3) => "service is not known".into(),
        Some(other) => format!("serving status {other}").into(),
        None => "bad response".into(),
    };
    Outcome::Failed(reason)
}

/// Why there is no answer.
fn failed(error: h2::Error) -> Outcome {
    if error.is_io() {
        return Outcome::broken(error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }
    match (error.is_remote(), error.is_reset()) {
        (true, true) => Outcome::failed("call was reset"),
        (true, false) => Outcome::failed("closed before a response"),
        // Such as one who speaks HTTP/1.1.
        (false, _) => Outcome::failed("bad response"),
    }
}
