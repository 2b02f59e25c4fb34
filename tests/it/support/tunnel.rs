//! Tunnels over HTTP/2 as sockets: what goes into one end of a socket pair goes out as DATA, and what comes as DATA comes out
//! there. The end of either direction is END_STREAM.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, ext::Protocol};
use http::{HeaderMap, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::client::PATIENCE;
use super::h2_backend::push;

/// How the peer ended its side of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// END_STREAM.
    Finished,
    Reset(Reason),
    /// The connection is gone.
    Gone,
}

/// One end of a tunnel, and how the other side ended it.
pub(crate) struct Tunnel {
    pub(crate) stream: UnixStream,
    end: Arc<Mutex<Option<End>>>,
    reset: mpsc::UnboundedSender<Reason>,
}

/// The half that moves its bytes.
pub(crate) struct Mover {
    stream: UnixStream,
    end: Arc<Mutex<Option<End>>>,
    reset: mpsc::UnboundedReceiver<Reason>,
}

impl Tunnel {
    pub(crate) fn new() -> (Self, Mover) {
        let (near, far) = UnixStream::pair().unwrap();
        near.set_read_timeout(Some(PATIENCE)).unwrap();
        near.set_write_timeout(Some(PATIENCE)).unwrap();
        far.set_nonblocking(true).unwrap();
        let end = Arc::<Mutex<Option<End>>>::default();
        let (reset, told) = mpsc::unbounded_channel();
        (Self { stream: near, end: Arc::clone(&end), reset }, Mover { stream: far, end, reset: told })
    }

    /// How the other side has ended its direction, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        *self.end.lock().unwrap()
    }

    /// Sends RST_STREAM.
    pub(crate) fn reset(&self, reason: Reason) {
        self.reset.send(reason).unwrap();
    }
}

impl Mover {
    /// Moves bytes until both directions have ended.
    pub(crate) async fn run(self, mut recv: RecvStream, mut send: SendStream<Bytes>) {
        let Self { stream, end, mut reset } = self;
        let (mut from, mut to) = tokio::net::UnixStream::from_std(stream).unwrap().into_split();
        let up = async {
            let mut room = vec![0; 64 * 1024];
            loop {
                let read = tokio::select! {
                    read = from.read(&mut room) => read,
                    Some(reason) = reset.recv() => return send.send_reset(reason),
                    _ = std::future::poll_fn(|cx| send.poll_reset(cx)) => return,
                };
                match read {
                    Ok(n @ 1..) => push(&mut send, room[..n].to_vec(), false).await,
                    _ => break,
                }
            }
            let _ = send.send_data(Bytes::new(), true);
            // Its direction has ended; it can still be told to reset the other.
            if let Some(reason) = reset.recv().await {
                send.send_reset(reason);
            }
        };
        let down = async {
            let over = loop {
                match recv.data().await {
                    Some(Ok(data)) => {
                        let _ = recv.flow_control().release_capacity(data.len());
                        if to.write_all(&data).await.is_err() {
                            break None;
                        }
                    }
                    Some(Err(error)) => break Some(error.reason().map_or(End::Gone, End::Reset)),
                    None => break Some(End::Finished),
                }
            };
            *end.lock().unwrap() = over;
            let _ = to.shutdown().await;
        };
        tokio::join!(up, down);
    }
}

/// What came of asking for a tunnel.
pub(crate) struct Opened {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    /// Of a success.
    pub(crate) tunnel: Option<Tunnel>,
    /// Of any other answer.
    pub(crate) body: String,
}

impl Opened {
    /// The word of PRODUCT.md section 7.
    pub(crate) fn word(&self) -> Option<&str> {
        let said = self.fields.get("proxy-status")?.to_str().ok()?.strip_prefix("evenkeel; error=")?;
        Some(said.split_once("details=")?.1.trim_matches('"'))
    }
}

/// Sends `request`, as an extended CONNECT where `protocol` says so, on a connection of its own by prior knowledge. `early` =
/// is sent at once.
pub(crate) fn open(address: SocketAddr, request: Request<()>, protocol: Option<&str>, early: &'static [u8]) -> Opened {
    let (answer, opened) = oneshot::channel();
    let protocol = protocol.map(Protocol::from);
    thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
        runtime.block_on(ask(address, request, protocol, early, answer));
    });
    opened.blocking_recv().expect("there is an answer")
}

async fn ask(
    address: SocketAddr,
    mut request: Request<()>,
    protocol: Option<Protocol>,
    early: &'static [u8],
    answer: oneshot::Sender<Opened>,
) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let driver = tokio::task::spawn_local(async move { drop(connection.await) });
    let mut client = client.ready().await.unwrap();
    ping.ping(h2::Ping::opaque()).await.unwrap();
    if let Some(protocol) = protocol {
        assert!(client.is_extended_connect_protocol_enabled(), "RFC 8441 section 3: it is said in the settings");
        request.extensions_mut().insert(protocol);
    }
    let (response, mut send) = client.send_request(request, false).unwrap();
    if !early.is_empty() {
        push(&mut send, early.to_vec(), false).await;
    }
    let (parts, mut recv) = response.await.unwrap().into_parts();
    let (status, fields) = (parts.status.as_u16(), parts.headers);
    if parts.status.is_success() {
        let (tunnel, mover) = Tunnel::new();
        let _ = answer.send(Opened { status, fields, tunnel: Some(tunnel), body: String::new() });
        mover.run(recv, send).await;
    } else {
        let (body, _) = super::whole(&mut recv).await;
        let body = String::from_utf8(body).unwrap();
        let _ = answer.send(Opened { status, fields, tunnel: None, body });
    }
    drop(client);
    let _ = driver.await;
}
