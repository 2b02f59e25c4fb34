//! Bodies, whatever version carries them: pulled from a [`Source`], pushed into an [`Outlet`]. Hot path.

use super::{Spares, guard::Reject, h1, h2, head::Head, slow::Slow};
use crate::net::Buf;
use ::h2::Reason;
use bytes::{Buf as _, Bytes};
use std::{
    io,
    task::{Context, Poll},
};

/// A piece of a body.
#[derive(Debug, Default)]
pub enum Chunk {
    /// Nothing.
    #[default]
    Empty,
    /// In one of the worker's buffers.
    Buf(Buf),
    /// Shared bytes: HTTP/2 frames, stored bodies.
    Bytes(Bytes),
}

impl Chunk {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Buf(buf) => buf.bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Buf(buf) => buf.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        match self {
            Self::Empty => {}
            Self::Buf(buf) => buf.consume(n),
            Self::Bytes(bytes) => bytes.advance(n),
        }
    }
}

impl Spares {
    /// Takes the memory of a chunk back.
    pub fn recycle(&self, chunk: Chunk) {
        if let Chunk::Buf(buf) = chunk {
            self.buffers.give(buf);
        }
    }
}

/// What a [`Source`] gave.
#[derive(Debug)]
pub struct Pulled {
    /// Data; empty only if `last`.
    pub chunk: Chunk,
    /// The body ends with it. Trailers may be there.
    pub last: bool,
}

/// Why a body did not come whole.
#[derive(Debug)]
pub enum Broken {
    /// The connection broke.
    Io(io::Error),
    /// The connection ended inside the body.
    Ended,
    /// The body is malformed, or larger than allowed.
    Malformed(Reject),
    /// The peer reset this message alone (HTTP/2).
    Reset,
}

/// A body that comes in, pulled piece by piece.
#[derive(Debug)]
pub enum Source<'c> {
    /// There is none.
    Empty,
    /// It is here already.
    Bytes(Bytes),
    /// From an HTTP/1.1 connection.
    H1(&'c h1::Wire),
    /// From an HTTP/2 stream.
    H2(Box<h2::Receiver>),
    /// Another one, slowly.
    Slow(Box<Slow<'c>>),
}

impl<'c> Source<'c> {
    /// The same, with `rate` bytes a second.
    pub fn slowly(self, rate: u64) -> Self {
        Self::Slow(Box::new(Slow::new(self, rate)))
    }

    /// The next piece; `None` once the body has ended.
    pub fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Pulled>, Broken>> {
        match self {
            Self::Empty => Poll::Ready(Ok(None)),
            Self::Bytes(bytes) => {
                let chunk = Chunk::Bytes(std::mem::take(bytes));
                *self = Self::Empty;
                Poll::Ready(Ok(Some(Pulled { chunk, last: true })))
            }
            Self::H1(wire) => wire.poll_body(cx),
            Self::H2(receiver) => receiver.poll_pull(cx),
            Self::Slow(slow) => slow.poll_pull(cx),
        }
    }

    /// No more than `most` bytes may come: beside the bound that there is.
    pub fn narrow(&mut self, most: u64) {
        match self {
            Self::Empty | Self::Bytes(_) => {}
            Self::H1(wire) => wire.narrow(most),
            Self::H2(receiver) => receiver.narrow(most),
            Self::Slow(slow) => slow.narrow(most),
        }
    }

    /// Everything has been pulled.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(_) => false,
            Self::H1(wire) => !wire.body_pending(),
            Self::H2(receiver) => receiver.has_ended(),
            Self::Slow(slow) => slow.has_ended(),
        }
    }

    /// The trailer section, after the last piece.
    pub fn take_trailers(&mut self) -> Option<Box<Head>> {
        match self {
            Self::Empty | Self::Bytes(_) => None,
            Self::H1(wire) => wire.take_trailers(),
            Self::H2(receiver) => receiver.take_trailers(),
            Self::Slow(slow) => slow.take_trailers(),
        }
    }

    /// Bytes that have come in.
    pub fn received(&self) -> u64 {
        match self {
            Self::Empty | Self::Bytes(_) => 0,
            Self::H1(wire) => wire.received(),
            Self::H2(receiver) => receiver.received(),
            Self::Slow(slow) => slow.received(),
        }
    }
}

/// A body that goes out, pushed piece by piece: the next is taken when the one before has gone.
#[derive(Debug)]
pub enum Outlet<'c> {
    /// Over an HTTP/1.1 connection.
    H1(h1::Writer<'c>),
    /// Over an HTTP/2 stream.
    H2(h2::Sender),
}

impl Outlet<'_> {
    /// Stages a piece; what was staged before must have gone.
    ///
    /// # Errors
    /// `InvalidData`: the body is longer or shorter than its head said.
    pub fn push(&mut self, chunk: Chunk, last: bool) -> io::Result<()> {
        match self {
            Self::H1(writer) => writer.push(chunk, last),
            Self::H2(sender) => sender.push(chunk, last),
        }
    }

    /// Ends the body, with trailers where the framing can carry them.
    ///
    /// # Errors
    /// `InvalidData`: the body is shorter than its head said.
    pub fn end(&mut self, trailers: Option<&Head>) -> io::Result<()> {
        match self {
            Self::H1(writer) => writer.end(trailers),
            Self::H2(sender) => sender.end(trailers),
        }
    }

    /// From here on, bytes go out as they are; what was staged must have gone.
    pub fn becomes_tunnel(&mut self) {
        if let Self::H1(writer) = self {
            writer.becomes_tunnel();
        }
    }

    /// The tunnel has broken elsewhere: so the peer hears at once. `raw` = it was CONNECT's (RFC 9113 section 8.5), else
    /// a WebSocket (RFC 8441 section 5).
    pub fn reset(&mut self, raw: bool) {
        match self {
            Self::H1(writer) => writer.wire().io.reset(),
            Self::H2(sender) => sender.reset(if raw { Reason::CONNECT_ERROR } else { Reason::CANCEL }),
        }
    }

    /// Ready when the peer has reset the stream (HTTP/2 alone: of a socket, reading and writing tell). True = because of
    /// an error; else it has said what it had to say, and takes nothing more.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self {
            Self::H1(_) => Poll::Pending,
            Self::H2(sender) => sender.poll_reset(cx).map(|reason| reason != Some(Reason::NO_ERROR)),
        }
    }

    /// Tells the peer that nothing follows, once the body has ended and gone. With HTTP/2 its last frame has said so.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1(writer) => writer.wire().io.poll_shutdown(cx),
            Self::H2(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready when all that was staged has gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1(writer) => writer.poll_flush(cx),
            Self::H2(sender) => sender.poll_flush(cx),
        }
    }

    /// The whole message has been staged.
    pub fn has_ended(&self) -> bool {
        match self {
            Self::H1(writer) => writer.has_ended(),
            Self::H2(sender) => sender.has_ended(),
        }
    }

    /// Some byte of the message may have reached the peer.
    pub fn has_begun(&self) -> bool {
        match self {
            Self::H1(writer) => writer.has_begun(),
            Self::H2(sender) => sender.has_begun(),
        }
    }

    /// Bytes of body that have been staged.
    pub fn sent(&self) -> u64 {
        match self {
            Self::H1(writer) => writer.sent(),
            Self::H2(sender) => sender.sent(),
        }
    }

    /// Grows with every byte that the peer takes.
    pub fn progress(&self) -> u64 {
        match self {
            Self::H1(writer) => writer.progress(),
            Self::H2(sender) => sender.progress(),
        }
    }
}
