//! An HTTP/2 client of good manners, by the `h2` crate: for what a story is about, not for how frames look.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, request::Builder};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::client::PATIENCE;

/// A response, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Runs a story with a runtime of its own; it ends in time.
pub(crate) fn run<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, story).await.expect("the story ends in time") })
}

/// A connection by prior knowledge (RFC 9113 section 3.3); its task runs in the background.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    over(TcpStream::connect(address).await.unwrap()).await
}

/// A connection over `stream`, which may be a TLS session.
pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    client
}

/// A request for `http://test` and `path`.
pub(crate) fn to(method: &str, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("http://test{path}"))
}

/// Sends one request with `body` and reads its answer.
pub(crate) async fn ask(client: &SendRequest<Bytes>, request: Builder, body: &[u8]) -> Result<Answer, h2::Error> {
    let mut client = client.clone().ready().await?;
    let (response, mut send) = client.send_request(request.body(()).unwrap(), body.is_empty())?;
    let mut rest = Bytes::copy_from_slice(body);
    while !rest.is_empty() {
        send.reserve_capacity(rest.len());
        let Some(room) = poll_fn(|cx| send.poll_capacity(cx)).await else { break };
        let piece = rest.split_to(room?.min(rest.len()));
        send.send_data(piece, rest.is_empty())?;
    }
    let (parts, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: parts.status.as_u16(), fields: parts.headers, body, trailers })
}
