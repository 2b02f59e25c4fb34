//! Sends one message over HTTP/1.1: its head, then its body in the framing that the head announced. Hot path.
//!
//! A piece is taken only when the one before has gone: that is the back-pressure. Small heads and small bodies go out in
//! one write, larger ones in one `writev` with their head.

use super::{wire::Wire, write};
use crate::http::{body::Chunk, guard::Framing, head::Head};
use std::{
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

/// Bodies up to this many bytes are copied behind the head, which costs less than a second piece.
const COPY: usize = 4096;

/// What is said behind the last piece.
const NOTHING: &[u8] = b"";
const AFTER_CHUNK: &[u8] = b"\r\n";
const AFTER_LAST: &[u8] = b"\r\n0\r\n\r\n";

/// The sending half of one message.
#[derive(Debug)]
pub struct Writer<'c> {
    pub(super) wire: &'c Wire,
    framing: Framing,
    /// Bytes in front of `chunk`: heads, chunk sizes.
    prefix: Vec<u8>,
    sent_prefix: usize,
    chunk: Chunk,
    suffix: &'static [u8],
    /// The end of the body has been staged.
    ended: bool,
    /// Some byte has reached the socket.
    begun: bool,
    /// The connection has become a tunnel: its end says nothing of a message.
    tunnel: bool,
    sent: u64,
    /// Bytes that the socket has taken.
    written: u64,
}

impl<'c> Writer<'c> {
    /// Nothing has been said yet.
    pub fn new(wire: &'c Wire) -> Self {
        Self {
            wire,
            framing: Framing::None,
            prefix: Vec::new(),
            sent_prefix: 0,
            chunk: Chunk::Empty,
            suffix: NOTHING,
            ended: false,
            begun: false,
            tunnel: false,
            sent: 0,
            written: 0,
        }
    }

    /// Stages a head, and with it how the body is framed. An interim one may come before.
    pub fn head(&mut self, head: &Head, hop: &write::Hop<'_>) {
        self.framing = hop.framing;
        self.ended = hop.framing == Framing::None;
        write::head(head, hop, self.staged());
    }

    /// From here on, bytes go out as they are; what was staged must have gone.
    pub(in crate::http) fn becomes_tunnel(&mut self) {
        (self.framing, self.ended, self.tunnel, self.sent) = (Framing::UntilClose, false, true, 0);
        self.wire.io.set_nodelay();
    }

    /// Forgets what was staged; false if some of it has gone.
    pub(in crate::http) fn unsay(&mut self) -> bool {
        if self.begun {
            return false;
        }
        self.prefix.clear();
        self.wire.spares.recycle(std::mem::take(&mut self.chunk));
        (self.suffix, self.ended, self.sent, self.framing) = (NOTHING, false, 0, Framing::None);
        true
    }

    /// The connection that it writes to.
    pub(in crate::http) fn wire(&self) -> &'c Wire {
        self.wire
    }

    fn staged(&mut self) -> &mut Vec<u8> {
        if self.prefix.capacity() == 0 {
            self.prefix = self.wire.spares.buffers.scratch();
        }
        &mut self.prefix
    }

    /// Some byte of the message may have reached the peer.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The whole message has been staged.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Bytes of body that have been staged.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes of all kinds that the socket has taken.
    pub fn progress(&self) -> u64 {
        self.written
    }

    /// Stages a piece of the body; what was staged before must have gone (heads excepted).
    ///
    /// # Errors
    /// `InvalidData`: the body is longer or shorter than its head said.
    pub fn push(&mut self, chunk: Chunk, last: bool) -> io::Result<()> {
        let length = chunk.len();
        self.sent += length as u64;
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(length as u64).ok_or(io::ErrorKind::InvalidData)?;
                if last && *left > 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
            Framing::Streamed if length > 0 => {
                write::chunk_size(length, self.staged());
                self.suffix = if last { AFTER_LAST } else { AFTER_CHUNK };
            }
            Framing::Streamed if last => self.staged().extend_from_slice(b"0\r\n\r\n"),
            Framing::Streamed | Framing::UntilClose => {}
            Framing::None if length > 0 => return Err(io::ErrorKind::InvalidData.into()),
            Framing::None => {}
        }
        self.ended |= last;
        if length > COPY {
            self.chunk = chunk;
            self.join();
            return Ok(());
        }
        let suffix = std::mem::replace(&mut self.suffix, NOTHING);
        let staged = self.staged();
        staged.extend_from_slice(chunk.bytes());
        staged.extend_from_slice(suffix);
        self.wire.spares.recycle(chunk);
        Ok(())
    }

    /// Puts what is staged in front of the chunk right in front of it, where the head stood with which it came: one
    /// piece is cheaper to send than two.
    fn join(&mut self) {
        if let Chunk::Buf(buf) = &mut self.chunk
            && self.sent_prefix == 0
            && buf.prepend(&self.prefix)
        {
            self.prefix.clear();
        }
    }

    /// Stages a whole body, if it is short and has the length that was said. True if it did.
    pub(super) fn push_short(&mut self, body: &[u8]) -> bool {
        let fits = self.framing == Framing::Length(body.len() as u64) && body.len() <= COPY;
        if fits {
            self.staged().extend_from_slice(body);
            self.framing = Framing::Length(0);
            self.sent += body.len() as u64;
            self.ended = true;
        }
        fits
    }

    /// `n` bytes of the body have gone by without passing through here.
    pub(super) fn spliced(&mut self, n: u64) {
        self.sent += n;
        self.begun = true;
        if let Framing::Length(left) = &mut self.framing {
            *left -= n;
            self.ended = *left == 0;
        }
    }

    /// The body goes out as it is, in a known length, and nothing is staged.
    pub(super) fn can_splice(&self) -> bool {
        matches!(self.framing, Framing::Length(_)) && self.is_empty() && self.wire.io.can_splice()
    }

    fn is_empty(&self) -> bool {
        self.prefix.is_empty() && self.chunk.is_empty() && self.suffix.is_empty()
    }

    /// Ends the body, with trailers where the framing can carry them.
    ///
    /// # Errors
    /// `InvalidData`: the body is shorter than its head said.
    pub fn end(&mut self, trailers: Option<&Head>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        match (self.framing, trailers) {
            (Framing::Streamed, Some(trailers)) => {
                let staged = self.staged();
                staged.extend_from_slice(b"0\r\n");
                trailers.write_fields(staged);
                staged.extend_from_slice(b"\r\n");
                self.ended = true;
                Ok(())
            }
            _ => self.push(Chunk::Empty, true),
        }
    }

    /// Ready when all that was staged has gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_empty() {
            ready!(self.poll_write(cx))?;
        }
        self.wire.io.poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let prefix = &self.prefix[self.sent_prefix..];
            let written = match (&self.chunk, self.suffix) {
                (Chunk::Empty, []) => {
                    let written = ready!(self.wire.io.poll_write(cx, &[IoSlice::new(prefix)]))?;
                    if written == prefix.len() {
                        self.begun = true;
                        self.written += written as u64;
                        self.sent_prefix = 0;
                        self.wire.spares.buffers.give_scratch(std::mem::take(&mut self.prefix));
                        return Poll::Ready(Ok(()));
                    }
                    written
                }
                (chunk, suffix) => {
                    let pieces = [prefix, chunk.bytes(), suffix].map(IoSlice::new);
                    let first = pieces.iter().position(|piece| !piece.is_empty()).unwrap_or(0);
                    let last = if suffix.is_empty() { 2 } else { 3 };
                    ready!(self.wire.io.poll_write(cx, &pieces[first.min(last - 1)..last]))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            self.written += written as u64;
            if self.advance(written) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// `written` more bytes have gone; true = all.
    fn advance(&mut self, written: usize) -> bool {
        let of_prefix = written.min(self.prefix.len() - self.sent_prefix);
        let of_chunk = (written - of_prefix).min(self.chunk.len());
        self.sent_prefix += of_prefix;
        self.chunk.consume(of_chunk);
        self.suffix = &self.suffix[written - of_prefix - of_chunk..];
        if self.sent_prefix < self.prefix.len() || !self.chunk.is_empty() || !self.suffix.is_empty() {
            return false;
        }
        self.sent_prefix = 0;
        self.wire.spares.buffers.give_scratch(std::mem::take(&mut self.prefix));
        self.wire.spares.recycle(std::mem::replace(&mut self.chunk, Chunk::Empty));
        true
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if self.framing == Framing::UntilClose && !self.tunnel && self.begun && !(self.ended && self.is_empty()) {
            // Cut short: the connection's end must not pass for the body's.
            self.wire.io.reset();
        }
        if !matches!(self.chunk, Chunk::Empty) {
            self.wire.spares.recycle(std::mem::take(&mut self.chunk));
        }
        if self.prefix.capacity() > 0 {
            self.wire.spares.buffers.give_scratch(std::mem::take(&mut self.prefix));
        }
    }
}
