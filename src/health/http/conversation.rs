//! One HTTP/1.1 connection to a backend, driven by the check that uses it: no task of its own. Used by checks by HTTP, and
//! by polls.

use crate::health::probe::{Outcome, Remote};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use std::{
    error::Error,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::Poll,
};

/// Bytes of a response head.
const HEAD_SIZE: usize = 64 * 1024;
/// Fields of one.
const FIELDS: usize = 256;
/// Bytes that are read of a body.
pub(super) const BODY_SIZE: usize = 64 * 1024;

/// A connection.
pub(in crate::health) struct Conversation {
    requests: SendRequest<Full<Bytes>>,
    /// Moves the bytes; `None` once the connection is over.
    driver: Option<Driver>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// What was read of a body.
#[derive(Debug)]
pub(in crate::health) struct Body {
    pub bytes: Vec<u8>,
    /// All of it.
    pub whole: bool,
}

impl Conversation {
    /// A new connection.
    pub(in crate::health) async fn open(remote: &Remote) -> Result<Self, Outcome> {
        let stream = TokioIo::new(remote.connect().await?);
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_SIZE).max_headers(FIELDS);
        let (requests, connection) = builder.handshake(stream).await.map_err(|error| failed(&error))?;
        Ok(Self { requests, driver: Some(Box::pin(connection)) })
    }

    /// It can take one more request, as far as is known here.
    pub(super) async fn is_open(&mut self) -> bool {
        let ready = self.requests.ready();
        drive(&mut self.driver, ready).await.is_ok()
    }

    /// The response to `request`; interim ones are passed over.
    pub(in crate::health) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let response = self.requests.send_request(request);
        drive(&mut self.driver, response).await
    }

    /// The body of a response, or the first [`BODY_SIZE`] bytes of it.
    pub(in crate::health) async fn body(&mut self, mut body: Incoming) -> hyper::Result<Body> {
        let mut bytes = Vec::new();
        while let Some(frame) = drive(&mut self.driver, body.frame()).await {
            let Ok(data) = frame?.into_data() else { continue };
            let room = BODY_SIZE - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok(Body { bytes, whole: false });
            }
        }
        Ok(Body { bytes, whole: true })
    }
}

/// Waits for `work`, and moves the connection's bytes meanwhile.
async fn drive<W: Future>(driver: &mut Option<Driver>, work: W) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(connection) = driver
            && let Poll::Ready(_) = connection.as_mut().poll(cx)
        {
            // Its error, if any, went to the request that waited.
            *driver = None;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Why there is no response.
pub(in crate::health) fn failed(error: &hyper::Error) -> Outcome {
    if error.is_parse_too_large() {
        return Outcome::failed("response head too large");
    }
    if error.is_parse() {
        return Outcome::failed("bad response");
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // The error is borrowed; its number says the same.
        Some(source) => Outcome::broken(match source.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => source.kind().into(),
        }),
        None => Outcome::failed("closed before a response"),
    }
}
