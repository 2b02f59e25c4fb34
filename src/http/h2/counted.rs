//! A client's connection as the `h2` crate reads and writes it: the frames that pass are counted, and what waits is noted
//! for the connection's task. Hot path.

use super::{Tap, frames::Frames, watch::Watch};
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

/// A tap, and who watches it.
#[derive(Debug)]
pub(super) struct Counted {
    tap: Tap,
    frames: Frames,
    watch: Rc<Watch>,
}

impl Counted {
    pub(super) fn new(tap: Tap, frames: Frames, watch: Rc<Watch>) -> Self {
        Self { tap, frames, watch }
    }

    fn tap(&mut self) -> Pin<&mut Tap> {
        Pin::new(&mut self.tap)
    }

    /// Something has been read.
    fn read(&mut self) {
        self.watch.opened.set(self.frames.opened());
        let begun = self.frames.has_begun();
        if !self.frames.is_unfinished() {
            self.watch.unfinished.set(None);
        } else if begun || self.watch.unfinished.get().is_none() {
            self.watch.unfinished.set(Some(Instant::now()));
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // After a flood nothing is read any more: the connection's task looks at it when this poll is over.
        if self.watch.flood.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = self.tap().poll_read(cx, buf);
        self.watch.quiet.set(polled.is_pending());
        ready!(polled)?;
        let pinched = self.watch.pinched.take();
        let counted = self.frames.pinched(pinched).and_then(|()| self.frames.pass(&buf.filled()[before..]));
        if let Err(flood) = counted {
            self.watch.flood.set(Some(flood));
            buf.set_filled(before);
            return Poll::Pending;
        }
        self.read();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = self.tap().poll_write_vectored(cx, pieces);
        self.watch.wrote(wrote.is_pending());
        if let Poll::Ready(Ok(n)) = wrote {
            self.frames.said(n);
        }
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.tap().poll_flush(cx);
        self.watch.wrote(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tap().poll_shutdown(cx)
    }
}
