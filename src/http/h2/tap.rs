//! The connection's bytes under the `h2` crate, with what had been read ahead of it in front. Hot path.

use crate::{
    http::Spares,
    net::{Buf, Stream},
};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that the `h2` crate reads and writes.
#[derive(Debug)]
pub struct Tap {
    io: Rc<Stream>,
    /// Read ahead; taken first.
    carry: Buf,
    spares: Rc<Spares>,
}

impl Tap {
    /// The connection `io`, of which `carry` has been read already.
    pub(super) fn new(io: impl Into<Rc<Stream>>, carry: Buf, spares: &Rc<Spares>) -> Self {
        Self { io: io.into(), carry, spares: Rc::clone(spares) }
    }
}

impl AsyncRead for Tap {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.carry.is_empty() {
            // By way of a worker's buffer: h2 offers room that would have to be cleared first, all of it.
            let mut read = self.spares.buffers.small();
            let most = read.room().len().min(buf.remaining());
            let polled = self.io.poll_read(cx, &mut read.room()[..most]);
            if let Poll::Ready(Ok(n)) = polled {
                buf.put_slice(&read.room()[..n]);
            }
            self.spares.buffers.give(read);
            return polled.map_ok(drop);
        }
        let n = self.carry.len().min(buf.remaining());
        buf.put_slice(&self.carry.bytes()[..n]);
        self.carry.consume(n);
        if self.carry.is_empty() {
            let carry = std::mem::take(&mut self.carry);
            self.spares.buffers.give(carry);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.poll_write(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}
