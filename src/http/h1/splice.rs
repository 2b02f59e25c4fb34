//! Moves a body of known length from socket to socket in the kernel. Hot path for large bodies.

use super::{Wire, Writer};
use crate::{http::Spares, net::Pipe};
use std::{
    io,
    task::{Context, Poll, ready},
};

/// Bodies with less than this left are copied.
const LEAST: u64 = 64 * 1024;

/// A body on its way through a pipe.
#[derive(Debug)]
pub struct Splicer {
    pipe: Pipe,
}

/// Where a spliced body got stuck.
#[derive(Debug)]
pub enum SpliceError {
    /// The sender broke, or ended early.
    Source(io::Error),
    /// The receiver broke.
    Outlet(io::Error),
}

impl Splicer {
    /// A splicer, if this is a body for one and a pipe is to be had.
    pub fn begin(from: &Wire, to: &Writer<'_>, spares: &Spares) -> Option<Self> {
        let fits = from.splice_left().is_some_and(|left| left >= LEAST) && to.can_splice();
        if fits { spares.pipes.pipe().map(|pipe| Self { pipe }) } else { None }
    }

    /// Gives the pipe back.
    pub fn end(self, spares: &Spares) {
        spares.pipes.give(self.pipe);
    }

    /// Nothing is in the pipe: what is awaited is the sender.
    pub fn awaits_source(&self) -> bool {
        self.pipe.held() == 0
    }

    /// Moves what it can. Ready when the body has gone whole. `moved` is added to.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &Wire,
        to: &mut Writer<'_>,
        moved: &mut u64,
    ) -> Poll<Result<(), SpliceError>> {
        loop {
            let left = from.splice_left().unwrap_or(0);
            if self.pipe.held() > 0 {
                let written = ready!(to.wire.io.poll_splice_out(cx, &mut self.pipe, left > 0));
                let written = written.map_err(SpliceError::Outlet)? as u64;
                to.spliced(written);
                *moved += written;
                continue;
            }
            if left == 0 {
                return Poll::Ready(Ok(()));
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let read = ready!(from.io.poll_splice_in(cx, &mut self.pipe, most)).map_err(SpliceError::Source)?;
            if read == 0 {
                return Poll::Ready(Err(SpliceError::Source(io::ErrorKind::UnexpectedEof.into())));
            }
            from.spliced(read as u64);
        }
    }
}
