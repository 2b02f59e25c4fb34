//! A small document of an HTTP server: one GET, HTTP/1.1, no redirect is followed. And the connection for that, or for a
//! message to a collector of traces. On control.

use crate::{
    config::{PoolTls, Protocol, Url},
    net::{self, Sources, Stream, dns::Question},
    pool::Registry,
    tls,
};
use bytes::Bytes;
use http::{
    Request,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::sync::Arc;

pub(super) const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));
/// Bytes of a response head.
const HEAD_SIZE: usize = 64 * 1024;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    pub bytes: Vec<u8>,
    /// How long it is good, in its server's words.
    pub cache_control: Option<String>,
}

/// The document at `url`, of at most `most` bytes. The caller bounds the time.
///
/// # Errors
/// A sentence for people.
pub(super) async fn fetch(
    url: &Url,
    question: Option<&Question>,
    registry: &Registry,
    most: usize,
) -> Result<Found, String> {
    let stream = open(url, question, registry).await?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_SIZE);
    let (mut requests, connection) =
        builder.handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let found = ask(&mut requests, url, most).await;
    driver.abort();
    found
}

/// A connection to the server of `url`.
///
/// # Errors
/// A sentence for people.
pub(super) async fn open(url: &Url, question: Option<&Question>, registry: &Registry) -> Result<Stream, String> {
    if let Some(question) = question {
        question.answered().await;
    }
    let stream = net::connect(&url.address, question, Sources::default());
    let stream = stream.await.map_err(|error| format!("no connection: {error}"))?;
    if !url.tls {
        return Ok(stream);
    }
    let settings = PoolTls { roots: None, server_name: None, identity: None, verify: true };
    let client =
        tls::Client::build(&settings, Protocol::H1, [&url.address].into_iter(), None, registry.system_roots())?;
    tls::connect(&client, &url.address, stream, true).await.map_err(|refused| refused.to_string())
}

async fn ask(requests: &mut http1::SendRequest<Empty<Bytes>>, url: &Url, most: usize) -> Result<Found, String> {
    let request = Request::get(&url.path)
        .header(HOST, &url.authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let response = requests.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
    match response.status().as_u16() {
        200 => {}
        status @ 300..=399 => return Err(format!("it was answered with {status}, and redirects are not followed")),
        status => return Err(format!("it was answered with {status}")),
    }
    let cache_control = response.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("it was cut short: {error}"))?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > most {
            return Err(format!("it is larger than {most} bytes"));
        }
    }
    Ok(Found { bytes, cache_control })
}

/// The name in `url`, if it is one that DNS knows.
pub(super) fn question(url: &Url, registry: &Registry) -> Option<Arc<Question>> {
    url.address.name().map(|name| registry.question(&net::dns::Ask::Addresses(name.to_owned())))
}
