//! The two halves of an HTTP/2 stream: bodies pulled and pushed under its flow control. Hot path.

use super::{frames::TINY, request::is_name, watch::Watch};
use crate::{
    error::Kind,
    http::{
        Spares,
        body::{Broken, Chunk, Pulled},
        guard::{BODY_TOO_LARGE, Reject},
        h1::write::decimal,
        head::Head,
        name::Name,
    },
};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use std::{
    io,
    rc::Rc,
    sync::LazyLock,
    task::{Context, Poll, Waker, ready},
};

/// The most that a number has.
const DIGITS: usize = 20;

/// An incoming body.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    /// Handed out, and not yet given back to flow control: it is when the next piece is asked for.
    held: usize,
    received: u64,
    max_body: Option<u64>,
    ended: bool,
    trailers: Option<Box<Head>>,
}

impl Receiver {
    /// The body of `stream`, of at most `max_body` bytes.
    pub(super) fn new(stream: RecvStream, max_body: Option<u64>) -> Self {
        let ended = stream.is_end_stream();
        Self { stream, held: 0, received: 0, max_body, ended, trailers: None }
    }

    /// No more than `most` bytes may come.
    pub(in crate::http) fn narrow(&mut self, most: u64) {
        self.max_body = Some(self.max_body.map_or(most, |max| max.min(most)));
    }

    pub(in crate::http) fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Pulled>, Broken>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        let held = std::mem::take(&mut self.held);
        if held > 0 {
            self.stream.flow_control().release_capacity(held).map_err(broken)?;
        }
        let Some(data) = ready!(self.stream.poll_data(cx)) else {
            let trailers = ready!(self.stream.poll_trailers(cx)).map_err(broken)?;
            self.ended = true;
            self.trailers = trailers.map(|map| head_of(&map)).transpose().map_err(Broken::Malformed)?;
            return Poll::Ready(Ok(Some(Pulled { chunk: Chunk::Empty, last: true })));
        };
        let data = data.map_err(broken)?;
        self.held = data.len();
        self.received += data.len() as u64;
        if self.max_body.is_some_and(|max| self.received > max) {
            return Poll::Ready(Err(Broken::Malformed(BODY_TOO_LARGE)));
        }
        self.ended = self.stream.is_end_stream();
        Poll::Ready(Ok(Some(Pulled { chunk: Chunk::Bytes(data), last: self.ended })))
    }

    pub(in crate::http) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(in crate::http) fn take_trailers(&mut self) -> Option<Box<Head>> {
        self.trailers.take()
    }

    pub(in crate::http) fn received(&self) -> u64 {
        self.received
    }
}

fn broken(error: h2::Error) -> Broken {
    if error.is_io() {
        return error.into_io().map_or(Broken::Ended, Broken::Io);
    }
    if error.is_library() {
        // Such as a body that is not as long as its head said (RFC 9113 section 8.1.1).
        return Broken::Malformed(Reject { kind: Kind::BadRequest, why: "the body breaks HTTP/2" });
    }
    Broken::Reset
}

/// Trailers as a head; in a response the proxy makes any error one of the backend.
fn head_of(map: &HeaderMap) -> Result<Box<Head>, Reject> {
    let mut head = Box::<Head>::default();
    for (name, value) in map {
        // As HTTP/1 reads them: `grpc-message` may end with a blank.
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes().trim_ascii());
        if !is_name(name) {
            return Err(Reject { kind: Kind::BadRequest, why: "a trailer's name is invalid" });
        }
        head.add_pieces(name, Name::of(name), &[value]);
    }
    Ok(head)
}

/// Copies the fields of `head` to `map`, and `length` as `Content-Length`: all values in one piece of memory, and no look at
/// names that are known.
pub(super) fn fill(head: &Head, length: Option<u64>, map: &mut HeaderMap) {
    let fields = head.buf().len();
    let mut bytes = Vec::with_capacity(fields + if length.is_some() { DIGITS } else { 0 });
    bytes.extend_from_slice(head.buf());
    if let Some(length) = length {
        decimal(length, &mut bytes);
    }
    let bytes = Bytes::from(bytes);
    for (id, name, value) in head.places() {
        let name = match id {
            Name::Other => HeaderName::from_bytes(head.text(name)).ok(),
            known => Some(KNOWN[known as usize].clone()),
        };
        // Both have passed a guard that is stricter than the http crate.
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_maybe_shared(bytes.slice(value.range()))) {
            map.append(name, value);
        }
    }
    if length.is_some()
        && let Ok(value) = HeaderValue::from_maybe_shared(bytes.slice(fields..))
    {
        map.insert(http::header::CONTENT_LENGTH, value);
    }
}

/// The well-known names as the http crate has them, in the order of [`Name`]. The first stands for none.
static KNOWN: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let name = |spelling: &str| HeaderName::from_bytes(spelling.as_bytes()).unwrap_or(http::header::ACCEPT);
    Name::spellings().iter().map(|spelling| name(spelling)).collect()
});

/// A message that goes out: an answer's heads, then its body; or a request's body.
#[derive(Debug)]
pub struct Sender {
    /// Of an answer.
    respond: Option<SendResponse<Bytes>>,
    stream: Option<SendStream<Bytes>>,
    /// Staged, and waiting for the peer's window.
    pending: Bytes,
    last: bool,
    ended: bool,
    /// Bytes that the head announced and that are still to come.
    left: Option<u64>,
    sent: u64,
    spares: Rc<Spares>,
    /// Of the client's connection.
    watch: Option<Rc<Watch>>,
    /// The window made the last piece tiny.
    pinched: bool,
    /// The crate wakes us when the peer resets the stream, and whenever else it sees fit.
    watched: bool,
}

impl Sender {
    pub(super) fn new(respond: SendResponse<Bytes>, spares: &Rc<Spares>, watch: &Rc<Watch>) -> Self {
        Self {
            respond: Some(respond),
            stream: None,
            pending: Bytes::new(),
            last: false,
            ended: false,
            left: None,
            sent: 0,
            spares: Rc::clone(spares),
            watch: Some(Rc::clone(watch)),
            pinched: false,
            watched: false,
        }
    }

    /// The body of a request whose head has been sent; `ended` = it has none. `left` = its length, if it was said.
    pub(super) fn request(stream: SendStream<Bytes>, ended: bool, left: Option<u64>, spares: &Rc<Spares>) -> Self {
        Self {
            respond: None,
            stream: Some(stream),
            pending: Bytes::new(),
            last: ended,
            ended,
            left,
            sent: 0,
            spares: Rc::clone(spares),
            watch: None,
            pinched: false,
            watched: false,
        }
    }

    fn answering(&mut self) -> io::Result<&mut SendResponse<Bytes>> {
        self.respond.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(in crate::http) fn interim(&mut self, head: &Head) -> io::Result<()> {
        let mut response = Response::new(());
        *response.status_mut() = status(head)?;
        fill(head, None, response.headers_mut());
        self.answering()?.send_informational(response).map_err(io::Error::other)
    }

    /// Sends the final head; `end` = no body follows.
    pub(in crate::http) fn respond(&mut self, head: &Head, end: bool, length: Option<u64>) -> io::Result<()> {
        if self.watched {
            // What goes out now would wake us, too. Who waits once more says so once more.
            let _ = self.poll_reset(&mut Context::from_waker(Waker::noop()));
        }
        let mut response = Response::new(());
        *response.status_mut() = status(head)?;
        *response.headers_mut() = self.spares.maps.take(head.len() + 1);
        fill(head, length, response.headers_mut());
        self.left = length.filter(|_| !end);
        self.stream = Some(self.answering()?.send_response(response, end).map_err(io::Error::other)?);
        self.ended = end;
        Ok(())
    }

    pub(in crate::http) fn push(&mut self, chunk: Chunk, last: bool) -> io::Result<()> {
        let bytes = match chunk {
            Chunk::Empty => Bytes::new(),
            Chunk::Buf(buf) => {
                let copy = Bytes::copy_from_slice(buf.bytes());
                self.spares.buffers.give(buf);
                copy
            }
            Chunk::Bytes(bytes) => bytes,
        };
        self.sent += bytes.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
            if last && *left > 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        self.last = last;
        self.ended |= last;
        if bytes.is_empty() && last {
            return self.stream()?.send_data(bytes, true).map_err(io::Error::other);
        }
        self.stream()?.reserve_capacity(bytes.len());
        self.pending = bytes;
        Ok(())
    }

    pub(in crate::http) fn end(&mut self, trailers: Option<&Head>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(trailers) = trailers else { return self.push(Chunk::Empty, true) };
        self.ended = true;
        let mut map = self.spares.maps.take(trailers.len());
        fill(trailers, None, &mut map);
        self.stream()?.send_trailers(map).map_err(io::Error::other)
    }

    fn stream(&mut self) -> io::Result<&mut SendStream<Bytes>> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    pub(in crate::http) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let room = match stream.capacity() {
                0 => match ready!(stream.poll_capacity(cx)) {
                    Some(room) => room.map_err(io::Error::other)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                },
                room => room,
            };
            // Now and then a window ends so; one that always does makes us send a frame for nearly nothing.
            let tiny = room < self.pending.len() && room < TINY as usize;
            if std::mem::replace(&mut self.pinched, tiny)
                && tiny
                && let Some(watch) = &self.watch
            {
                watch.pinched.set(watch.pinched.get() + 1);
            }
            let piece = self.pending.split_to(room.min(self.pending.len()));
            let end = self.last && self.pending.is_empty();
            stream.send_data(piece, end).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(in crate::http) fn has_ended(&self) -> bool {
        self.ended && self.pending.is_empty()
    }

    pub(in crate::http) fn has_begun(&self) -> bool {
        self.stream.is_some()
    }

    pub(in crate::http) fn sent(&self) -> u64 {
        self.sent
    }

    pub(in crate::http) fn progress(&self) -> u64 {
        self.sent - self.pending.len() as u64
    }

    /// Ready when the peer has reset the stream, or has gone: with the reason that it gave.
    pub(in crate::http) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Option<Reason>> {
        self.watched = true;
        match (&mut self.stream, &mut self.respond) {
            (Some(stream), _) => stream.poll_reset(cx).map(Result::ok),
            (None, Some(respond)) => respond.poll_reset(cx).map(Result::ok),
            (None, None) => Poll::Ready(None),
        }
    }

    pub(in crate::http) fn abort(&mut self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    pub(in crate::http) fn cancel(&mut self) {
        self.reset(Reason::CANCEL);
    }

    /// Ends the stream both ways, at once.
    pub(in crate::http) fn reset(&mut self, reason: Reason) {
        match (&mut self.stream, &mut self.respond) {
            (Some(stream), _) => stream.send_reset(reason),
            (None, Some(respond)) => respond.send_reset(reason),
            (None, None) => {}
        }
    }
}

fn status(head: &Head) -> io::Result<StatusCode> {
    // RFC 8441 section 5: a switch is said so.
    let status = if head.status() == 101 { 200 } else { head.status() };
    StatusCode::from_u16(status).map_err(io::Error::other)
}
