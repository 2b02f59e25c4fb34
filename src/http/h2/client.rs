//! HTTP/2 to a backend: one connection that a worker's exchanges share. Hot path.

use super::{Receiver, Sender, response, tap::Tap};
use crate::{
    error::Kind,
    http::{
        Head, Spares,
        body::Source,
        guard::{Asked, Guarded, Reject},
        h1::{
            NoHead,
            write::{Connection as Said, Hop},
        },
    },
    net::{Buf, Stream},
};
use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream,
    client::{Connection, ResponseFuture, SendRequest},
    ext::Protocol,
};
use http::{Request, Uri, uri::PathAndQuery};
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};
use tokio::sync::OnceCell;

/// What a backend may send of one body before we have passed it on, in bytes.
const WINDOW: u32 = 128 * 1024;
/// Streams of one connection; further ones get another connection.
const STREAMS: usize = 100;
/// A backend's response head, in bytes.
const MAX_HEAD: u32 = 64 * 1024;

/// A connection to a backend, for those who open streams on it. It ends when this and all its streams are dropped.
#[derive(Debug)]
pub struct Session {
    send: SendRequest<Bytes>,
    secure: bool,
    /// Asks the backend for a sign of life, behind its settings.
    ping: RefCell<Option<PingPong>>,
    /// It has given one.
    settled: OnceCell<()>,
    spares: Rc<Spares>,
}

/// Moves what belongs to a [`Session`]; runs until the connection is over.
pub type Driver = Connection<Tap, Bytes>;

/// Begins HTTP/2 on `io`. Requests need not wait for the backend's settings.
///
/// # Errors
/// The connection broke.
pub async fn connect(io: Stream, secure: bool, spares: &Rc<Spares>) -> io::Result<(Session, Driver)> {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        // So large that streams whose clients are slow never stall the others.
        .initial_connection_window_size(WINDOW * STREAMS as u32)
        .max_header_list_size(MAX_HEAD)
        .enable_push(false);
    let handshake = builder.handshake::<_, Bytes>(Tap::new(io, Buf::default(), spares));
    let (send, mut driver) =
        handshake.await.map_err(|error| error.into_io().unwrap_or_else(|| io::ErrorKind::InvalidData.into()))?;
    let ping = RefCell::new(driver.ping_pong());
    Ok((Session { send, secure, ping, settled: OnceCell::new(), spares: Rc::clone(spares) }, driver))
}

impl Session {
    /// Streams may be opened: the connection has neither broken, nor said that it ends.
    pub fn is_open(&self) -> bool {
        let mut send = self.send.clone();
        !matches!(send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// How many streams there may be at a time.
    pub fn most_streams(&self) -> usize {
        self.send.current_max_send_streams().min(STREAMS)
    }

    /// The backend takes WebSocket openings (RFC 8441 section 3). On a fresh connection it waits for the settings, where
    /// that is said: they come before anything else, and so before the answer to a ping.
    pub async fn takes_websockets(&self) -> bool {
        if !self.send.is_extended_connect_protocol_enabled() {
            self.settled.get_or_init(|| poll_fn(|cx| self.poll_settled(cx))).await;
        }
        self.send.is_extended_connect_protocol_enabled()
    }

    fn poll_settled(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ping = self.ping.borrow_mut();
        let Some(ping) = &mut *ping else { return Poll::Ready(()) };
        // One that is on its way already is as good.
        let _ = ping.send_ping(Ping::opaque());
        ping.poll_pong(cx).map(|_| ())
    }

    /// Sends a request's head; its body, if it has one, follows by the sender. An opening's stream stays open.
    ///
    /// # Errors
    /// The head cannot be said in HTTP/2, or the connection has ended.
    pub fn request(&self, head: &Head, hop: &Hop<'_>, bodiless: bool) -> Result<(Sender, Reply), Unsent> {
        let opening = matches!(hop.connection, Said::Upgrade(_));
        let (request, bodiless) = (self.head(head, hop, opening).ok_or(Unsent::Malformed)?, bodiless && !opening);
        let (response, stream) = self.send.clone().send_request(request, bodiless).map_err(|_| Unsent::Ended)?;
        let sender = Sender::request(stream, bodiless, hop.length.filter(|_| !bodiless), &self.spares);
        Ok((sender, Reply { response, stream: None }))
    }

    fn head(&self, head: &Head, hop: &Hop<'_>, opening: bool) -> Option<Request<()>> {
        let mut path = head.text(head.target.path).to_vec();
        path.extend_from_slice(head.text(head.target.query));
        let uri = Uri::builder()
            .scheme(if self.secure { "https" } else { "http" })
            .authority(hop.authority)
            .path_and_query(PathAndQuery::from_maybe_shared(Bytes::from(path)).ok()?);
        let mut request = Request::new(());
        *request.uri_mut() = uri.build().ok()?;
        *request.method_mut() = http::Method::from_bytes(head.method_text()).ok()?;
        let fields = request.headers_mut();
        super::stream::fill(head, hop.length, fields);
        if opening {
            fields.remove(http::header::SEC_WEBSOCKET_KEY);
        }
        if hop.trailers {
            fields.insert(http::header::TE, http::HeaderValue::from_static("trailers"));
        }
        if hop.expect {
            fields.insert(http::header::EXPECT, http::HeaderValue::from_static("100-continue"));
        }
        if opening {
            *request.method_mut() = http::Method::CONNECT;
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        }
        Some(request)
    }
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// HTTP/2 has no way to say it.
    Malformed,
    /// The connection takes no more streams.
    Ended,
}

/// What a backend answers to one request.
#[derive(Debug)]
pub struct Reply {
    response: ResponseFuture,
    stream: Option<RecvStream>,
}

impl Reply {
    /// The next head: interim ones come before the final one.
    pub(in crate::http) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut Head,
        asked: Asked,
    ) -> Poll<Result<Guarded, NoHead>> {
        if let Poll::Ready(Some(interim)) = self.response.poll_informational(cx) {
            let (parts, ()) = interim.map_err(no_head)?.into_parts();
            return Poll::Ready(response::guarded(&parts, true, head, asked).map_err(NoHead::Reject));
        }
        let (parts, stream) = ready!(Pin::new(&mut self.response).poll(cx)).map_err(no_head)?.into_parts();
        let guarded = response::guarded(&parts, stream.is_end_stream(), head, asked)?;
        self.stream = Some(stream);
        Poll::Ready(Ok(guarded))
    }

    /// The body behind the final head.
    pub(in crate::http) fn body(&mut self) -> Source<'static> {
        let receiver = self.stream.take().map(|stream| Box::new(Receiver::new(stream, None)));
        receiver.map_or(Source::Empty, Source::H2)
    }
}

fn no_head(error: h2::Error) -> NoHead {
    // RFC 9113 section 8.7: it has not been looked at.
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        return NoHead::Unprocessed;
    }
    if error.is_remote() && error.is_reset() {
        return NoHead::GivenUp;
    }
    if error.is_library() {
        return NoHead::Reject(Reject { kind: Kind::BadResponse, why: "the response breaks HTTP/2" });
    }
    NoHead::Broken(error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()))
}
