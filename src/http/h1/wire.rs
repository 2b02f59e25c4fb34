//! One HTTP/1.1 connection, either side: its socket, what was read ahead, and where its incoming body stands.
//! Hot path.
//!
//! Both sides are read alike: a request's body from the client, a response's from the backend.

use super::{HeadLimits, Writer, chunked::Chunked, parse};
use crate::{
    error::Kind,
    http::{
        Spares,
        body::{Broken, Chunk, Pulled},
        guard::{self, Framing, Reject},
        head::{Head, Span},
    },
    net::{Buf, SMALL, Stream},
};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

/// A method longer than this is none.
const MAX_METHOD: usize = 32;

/// Why no head came.
#[derive(Debug)]
pub enum NoHead {
    /// The peer closed before its first byte.
    Closed,
    /// The connection broke, or ended inside the head.
    Broken(io::Error),
    /// What came is not acceptable.
    Reject(Reject),
    /// The peer has said that it did not look at the request (HTTP/2 alone).
    Unprocessed,
    /// The peer has given up this request, and its connection goes on (HTTP/2 alone).
    GivenUp,
}

impl From<Reject> for NoHead {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub io: Stream,
    pub(super) spares: Rc<Spares>,
    inbound: RefCell<Inbound>,
    /// The kernel wakes us late (`SO_RCVLOWAT`): only while a body is spliced.
    low_water: Cell<bool>,
}

/// While more than this is spliced, the kernel wakes us only when so much has come: fewer and larger moves.
pub(super) const LOW_WATER: u64 = 256 * 1024;

#[derive(Debug, Default)]
struct Inbound {
    /// Read, and not yet used: the rest of a head, a body's beginning, the next request.
    carry: Buf,
    /// How far `carry` has been searched for the end of a head.
    scanned: usize,
    /// An empty line in front of this request has been passed over.
    blank: bool,
    body: Body,
    trailers: Option<Box<Head>>,
    max_fields: usize,
    max_body: Option<u64>,
    received: u64,
    /// The last read filled its buffer: the next one gets a larger one.
    filled: bool,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    Done,
    Length(u64),
    Chunked(Box<Chunked>),
    UntilClose,
}

impl Wire {
    /// A connection that nothing has been read from.
    pub fn new(io: Stream, spares: Rc<Spares>) -> Self {
        Self { io, spares, inbound: RefCell::default(), low_water: Cell::new(false) }
    }

    /// Nothing was read ahead.
    pub fn is_drained(&self) -> bool {
        self.inbound.borrow().carry.is_empty()
    }

    /// Bytes that were read ahead.
    pub fn read_ahead(&self) -> usize {
        self.inbound.borrow().carry.len()
    }

    /// What was read ahead begins like `text`, as far as it goes: the rest may still come.
    pub(super) fn starts_like(&self, text: &[u8]) -> bool {
        let carry = &self.inbound.borrow().carry;
        let common = carry.len().min(text.len());
        carry.bytes()[..common] == text[..common]
    }

    /// What was read ahead begins with all of `text`.
    pub(super) fn starts_with(&self, text: &[u8]) -> bool {
        self.inbound.borrow().carry.bytes().starts_with(text)
    }

    /// The incoming body has not been read to its end.
    pub fn body_pending(&self) -> bool {
        !matches!(self.inbound.borrow().body, Body::Done)
    }

    /// Bytes of body that have come in.
    pub fn received(&self) -> u64 {
        self.inbound.borrow().received
    }

    /// Bytes of known length that are still to come, if nothing of them was read ahead and they are plain.
    pub(super) fn splice_left(&self) -> Option<u64> {
        let inbound = self.inbound.borrow();
        match inbound.body {
            Body::Length(left) if inbound.carry.is_empty() && self.io.can_splice() => Some(left),
            _ => None,
        }
    }

    /// Whether the kernel wakes us late.
    pub(super) fn has_low_water(&self) -> bool {
        self.low_water.get()
    }

    /// Has the kernel wake us late, or at once again. Every ordinary read takes it back: a head that is awaited under a
    /// low-water mark would never come.
    pub(super) fn set_low_water(&self, low: bool) {
        if self.low_water.get() != low {
            let bytes = if low { LOW_WATER as i32 } else { 1 };
            // Where the kernel refuses, everything goes on as it was.
            self.low_water.set(self.io.receive_low_water(bytes).is_ok() && low);
        }
    }

    /// `n` bytes of the body have gone by without passing through here.
    pub(super) fn spliced(&self, n: u64) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.received += n;
        if let Body::Length(left) = inbound.body {
            inbound.body = if left == n { Body::Done } else { Body::Length(left - n) };
        }
    }

    /// Reads more behind what was read ahead. 0 = the peer has finished sending.
    pub fn poll_more(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.set_low_water(false);
        // No buffer before there is something to put into it. (A fresh socket is tried at once.)
        if self.is_drained() && !self.io.is_fresh() {
            ready!(self.io.poll_read_ready(cx))?;
        }
        let carry = &mut self.inbound.borrow_mut().carry;
        if !carry.has_memory() {
            *carry = self.spares.buffers.small();
        } else if carry.is_empty() || carry.room().is_empty() {
            carry.reserve(SMALL);
        }
        let read = self.io.poll_read(cx, carry.room());
        if let Poll::Ready(Ok(n)) = read {
            carry.filled(n);
        }
        if carry.is_empty() || read.is_pending() {
            self.spares.buffers.settle(carry);
        }
        read
    }

    /// Reads a request head. Returns where its raw target is.
    pub fn poll_request(
        &self,
        cx: &mut Context<'_>,
        head: &mut Head,
        limits: &HeadLimits,
    ) -> Poll<Result<Span, NoHead>> {
        loop {
            if let Some(target) = self.inbound.borrow_mut().request(head, limits, &self.spares)? {
                return Poll::Ready(Ok(target));
            }
            ready!(self.poll_head_bytes(cx))?;
        }
    }

    /// Reads a response head.
    pub fn poll_response(
        &self,
        cx: &mut Context<'_>,
        head: &mut Head,
        limits: &HeadLimits,
    ) -> Poll<Result<(), NoHead>> {
        loop {
            if self.inbound.borrow_mut().response(head, limits, &self.spares)? {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_head_bytes(cx))?;
        }
    }

    fn poll_head_bytes(&self, cx: &mut Context<'_>) -> Poll<Result<(), NoHead>> {
        match ready!(self.poll_more(cx)) {
            Ok(0) if self.is_drained() => Poll::Ready(Err(NoHead::Closed)),
            Ok(0) => Poll::Ready(Err(NoHead::Broken(io::ErrorKind::UnexpectedEof.into()))),
            Ok(_) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(NoHead::Broken(error))),
        }
    }

    /// A body follows the head that was just read.
    pub fn expect_body(&self, framing: Framing, limits: &HeadLimits, max_body: Option<u64>) {
        let mut inbound = self.inbound.borrow_mut();
        inbound.body = match framing {
            Framing::None => Body::Done,
            Framing::Length(length) => Body::Length(length),
            Framing::Streamed => Body::Chunked(Box::new(Chunked::new(limits.max_size))),
            Framing::UntilClose => Body::UntilClose,
        };
        inbound.received = 0;
        inbound.filled = false;
        inbound.max_fields = limits.max_fields;
        inbound.max_body = max_body;
        if let Some(trailers) = inbound.trailers.take() {
            self.spares.heads.give(trailers);
        }
    }

    /// From here on, bytes come until the peer has finished sending.
    pub(in crate::http) fn expect_tunnel(&self) {
        let mut inbound = self.inbound.borrow_mut();
        (inbound.body, inbound.received, inbound.filled, inbound.max_body) = (Body::UntilClose, 0, false, None);
    }

    /// The body that is expected may have no more than `most` bytes.
    pub fn narrow(&self, most: u64) {
        let max_body = &mut self.inbound.borrow_mut().max_body;
        *max_body = Some(max_body.map_or(most, |max| max.min(most)));
    }

    /// The next piece of the body.
    pub fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Pulled>, Broken>> {
        loop {
            if !self.body_pending() {
                return Poll::Ready(Ok(None));
            }
            let buf = ready!(self.poll_piece(cx)).map_err(Broken::Io)?;
            if let Some(pulled) = self.inbound.borrow_mut().body_piece(buf, &self.spares)? {
                return Poll::Ready(Ok(Some(pulled)));
            }
        }
    }

    /// Bytes of the body as they came, in a buffer that fits. Empty = the peer has finished sending.
    fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<io::Result<Buf>> {
        let mut inbound = self.inbound.borrow_mut();
        if !inbound.carry.is_empty() {
            inbound.scanned = 0;
            return Poll::Ready(Ok(std::mem::take(&mut inbound.carry)));
        }
        self.set_low_water(false);
        let large = match inbound.body {
            Body::Length(left) => left >= SMALL as u64,
            _ => inbound.filled,
        };
        // More room than the body needs: the last read is then a short one, which tells the reactor that there is no
        // more, without another system call.
        let mut buf = if large { self.spares.buffers.large() } else { self.spares.buffers.small() };
        match self.io.poll_read(cx, buf.room()) {
            Poll::Ready(Ok(n)) => {
                buf.filled(n);
                inbound.filled = buf.room().is_empty();
                Poll::Ready(Ok(buf))
            }
            other => {
                self.spares.buffers.give(buf);
                other.map_ok(|_| Buf::default())
            }
        }
    }

    /// Stages the whole body in `to`, if it is short, of known length, and here already: the usual case, without pieces
    /// and turns. True if it did, and where there is no body.
    pub fn pass_short(&self, to: &mut Writer<'_>) -> bool {
        let inbound = &mut *self.inbound.borrow_mut();
        let left = match inbound.body {
            Body::Done if to.has_ended() => return true,
            Body::Length(left) => left,
            _ => return false,
        };
        if left != inbound.carry.len() as u64 || !to.push_short(inbound.carry.bytes()) {
            return false;
        }
        (inbound.body, inbound.scanned) = (Body::Done, 0);
        inbound.received += left;
        self.spares.buffers.give(std::mem::take(&mut inbound.carry));
        true
    }

    /// The trailer section, if the body ended with one.
    pub fn take_trailers(&self) -> Option<Box<Head>> {
        self.inbound.borrow_mut().trailers.take()
    }

    /// What was read ahead.
    pub(crate) fn take_carry(&self) -> Buf {
        std::mem::take(&mut self.inbound.borrow_mut().carry)
    }
}

/// Reads `bytes`, which begin with a request head, as a connection that brings them would. Returns where its raw target is.
///
/// # Errors
/// It is refused; also where the head is not whole.
pub(super) fn read_request(bytes: &[u8], head: &mut Head, limits: &HeadLimits) -> Result<Span, Reject> {
    let mut inbound = Inbound::default();
    inbound.carry.extend(bytes);
    let read = inbound.request(head, limits, &Spares::default())?;
    read.ok_or(Reject { kind: Kind::BadRequest, why: "this is not a whole request head" })
}

impl Inbound {
    fn request(&mut self, head: &mut Head, limits: &HeadLimits, spares: &Spares) -> Result<Option<Span>, Reject> {
        if self.carry.is_empty() {
            return Ok(None);
        }
        if self.scanned == 0 && self.carry.bytes().starts_with(b"\r\n") {
            // RFC 9112 section 2.2: one empty line in front of a request line is ignored, more are not.
            if std::mem::replace(&mut self.blank, true) {
                return Err(Reject { kind: Kind::BadRequest, why: "empty lines in front of a request" });
            }
            self.carry.consume(2);
            if self.carry.bytes().starts_with(b"\r\n") {
                return Err(Reject { kind: Kind::BadRequest, why: "empty lines in front of a request" });
            }
        }
        if self.carry.bytes() == b"\r" {
            // Half of that line, perhaps.
            return Ok(None);
        }
        if self.scanned == 0
            && let Some((target, end)) = parse::whole_request(self.carry.bytes(), head, limits.max_fields)
            && end <= limits.max_size
        {
            return self.request_read(target, end, head, limits, spares);
        }
        let end = parse::head_end(self.carry.bytes(), &mut self.scanned)?;
        let Some(end) = end else { return self.unfinished(limits) };
        if end > limits.max_size {
            return Err(self.too_large(limits));
        }
        let target = parse::request(&self.carry.bytes()[..end], head, limits.max_fields)?;
        self.request_read(target, end, head, limits, spares)
    }

    /// A request head was read, up to `end`.
    fn request_read(
        &mut self,
        target: Span,
        end: usize,
        head: &Head,
        limits: &HeadLimits,
        spares: &Spares,
    ) -> Result<Option<Span>, Reject> {
        if head.method_text().len() > MAX_METHOD {
            return Err(Reject { kind: Kind::BadRequest, why: "the method is too long" });
        }
        if target.len() > limits.max_target {
            return Err(Reject { kind: Kind::TargetTooLong, why: "the request target is too long" });
        }
        self.used(end, spares);
        Ok(Some(target))
    }

    fn response(&mut self, head: &mut Head, limits: &HeadLimits, spares: &Spares) -> Result<bool, Reject> {
        if self.carry.is_empty() {
            return Ok(false);
        }
        if self.scanned == 0
            && let Some(end) = parse::whole_response(self.carry.bytes(), head, limits.max_fields)
            && end <= limits.max_size
        {
            self.used(end, spares);
            return Ok(true);
        }
        let end = parse::head_end(self.carry.bytes(), &mut self.scanned).map_err(Reject::of_response)?;
        if end.unwrap_or(self.carry.len()) > limits.max_size {
            return Err(Reject { kind: Kind::ResponseHeadTooLarge, why: "the response head is too large" });
        }
        let Some(end) = end else {
            let begins = self.carry.len().min(5);
            let fine = self.carry.bytes()[..begins] == b"HTTP/"[..begins];
            return if fine { Ok(false) } else { Err(Reject { kind: Kind::BadResponse, why: "this is not HTTP/1" }) };
        };
        parse::response(&self.carry.bytes()[..end], head, limits.max_fields)?;
        self.used(end, spares);
        Ok(true)
    }

    /// The head has been read: `n` bytes of `carry` are done with.
    fn used(&mut self, n: usize, spares: &Spares) {
        self.carry.consume(n);
        (self.scanned, self.blank) = (0, false);
        if self.carry.is_empty() {
            spares.buffers.give(std::mem::take(&mut self.carry));
        }
    }

    /// Half a request head: refused early where it cannot become a good one.
    fn unfinished(&self, limits: &HeadLimits) -> Result<Option<Span>, Reject> {
        let bytes = self.carry.bytes();
        if bytes.len() > limits.max_size {
            return Err(self.too_large(limits));
        }
        let method = bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len());
        let text = &bytes[..method.min(MAX_METHOD)];
        if method > MAX_METHOD || !text.iter().all(|&byte| guard::is_token(byte)) {
            return Err(Reject { kind: Kind::BadRequest, why: "this is not a request line" });
        }
        // Room for the method, two blanks and the version.
        if memchr::memchr(b'\n', bytes).is_none() && bytes.len() > method + limits.max_target + 12 {
            return Err(Reject { kind: Kind::TargetTooLong, why: "the request target is too long" });
        }
        Ok(None)
    }

    fn too_large(&self, limits: &HeadLimits) -> Reject {
        let line = memchr::memchr(b'\n', self.carry.bytes()).unwrap_or(self.carry.len());
        if line > limits.max_target + MAX_METHOD {
            return Reject { kind: Kind::TargetTooLong, why: "the request target is too long" };
        }
        Reject { kind: Kind::HeadTooLarge, why: "the request head is too large" }
    }

    /// Makes data of what was read; `None` = it was framing alone.
    fn body_piece(&mut self, mut buf: Buf, spares: &Spares) -> Result<Option<Pulled>, Broken> {
        if buf.is_empty() {
            spares.buffers.give(buf);
            if matches!(self.body, Body::UntilClose) {
                self.body = Body::Done;
                return Ok(Some(Pulled { chunk: Chunk::Empty, last: true }));
            }
            return Err(Broken::Ended);
        }
        let mut announced = 0;
        let (data, used, last) = match &mut self.body {
            Body::Length(left) => {
                let data = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.len());
                *left -= data as u64;
                (data, data, *left == 0)
            }
            Body::Chunked(decoder) => {
                let decoded = decoder.decode(buf.bytes_mut()).map_err(Broken::Malformed)?;
                announced = decoder.left();
                (decoded.data, decoded.used, decoded.end)
            }
            Body::UntilClose | Body::Done => (buf.len(), buf.len(), false),
        };
        if used < buf.len() {
            // Only at the end of a body: what follows belongs to the next message.
            let mut carry = spares.buffers.small();
            carry.extend(&buf.bytes()[used..]);
            self.carry = carry;
        }
        self.received += data as u64;
        if self.max_body.is_some_and(|max| self.received.saturating_add(announced) > max) {
            return Err(Broken::Malformed(guard::BODY_TOO_LARGE));
        }
        if last {
            self.ended(spares).map_err(Broken::Malformed)?;
        }
        if data == 0 && !last {
            spares.buffers.give(buf);
            return Ok(None);
        }
        buf.truncate(data);
        Ok(Some(Pulled { chunk: Chunk::Buf(buf), last }))
    }

    fn ended(&mut self, spares: &Spares) -> Result<(), Reject> {
        if let Body::Chunked(decoder) = std::mem::take(&mut self.body)
            && !decoder.trailers().is_empty()
        {
            let mut head = spares.heads.take();
            parse::trailers(decoder.trailers(), &mut head, self.max_fields)?;
            self.trailers = Some(head);
        }
        Ok(())
    }
}
