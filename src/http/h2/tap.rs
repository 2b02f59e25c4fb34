//! The connection's bytes under the `h2` crate, with what had been read ahead of it in front; the frames that pass are
//! counted, and what waits is noted. Hot path.

use super::{frames::Frames, watch::Watch};
use crate::{
    http::Spares,
    net::{Buf, Stream},
};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// A connection that the `h2` crate reads and writes.
#[derive(Debug)]
pub(super) struct Tap {
    io: Rc<Stream>,
    /// Read ahead; taken first.
    carry: Buf,
    spares: Rc<Spares>,
    frames: Frames,
    watch: Rc<Watch>,
}

impl Tap {
    /// The connection `io`, of which `carry` has been read already.
    pub(super) fn new(io: Rc<Stream>, carry: Buf, spares: Rc<Spares>, frames: Frames, watch: Rc<Watch>) -> Self {
        Self { io, carry, spares, frames, watch }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.carry.is_empty() {
            let n = ready!(self.io.poll_read(cx, buf.initialize_unfilled()))?;
            buf.advance(n);
            return Poll::Ready(Ok(()));
        }
        let n = self.carry.len().min(buf.remaining());
        buf.put_slice(&self.carry.bytes()[..n]);
        self.carry.consume(n);
        if self.carry.is_empty() {
            self.spares.buffers.give(std::mem::take(&mut self.carry));
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self) {
        let begun = self.frames.has_begun();
        if !self.frames.is_unfinished() {
            self.watch.unfinished.set(None);
        } else if begun || self.watch.unfinished.get().is_none() {
            self.watch.unfinished.set(Some(Instant::now()));
        }
    }

    fn wrote(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.watch.wrote(wrote.is_pending());
        if let Poll::Ready(Ok(n)) = wrote {
            self.frames.said(n);
        }
        wrote
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // After a flood nothing is read any more: the connection's task looks at it when this poll is over.
        if this.watch.flood.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(this.poll_bytes(cx, buf))?;
        if let Err(flood) = this.frames.pass(&buf.filled()[before..]) {
            this.watch.flood.set(Some(flood));
            buf.set_filled(before);
            return Poll::Pending;
        }
        this.note();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let wrote = this.io.poll_write(cx, pieces);
        this.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.io.poll_flush(cx);
        self.watch.wrote(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_shutdown(cx)
    }
}
