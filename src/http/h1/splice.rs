//! Moves a body of known length from socket to socket in the kernel. Hot path for large bodies.

use super::{Writer, wire::LOW_WATER, wire::Wire};
use crate::{http::Spares, net::Pipe};
use std::{
    io,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// Bodies with less than this left are copied.
const LEAST: u64 = 64 * 1024;
/// A sender that has not brought so much in this time is a slow one: what it brings goes on at once from then on.
const PATIENCE: Duration = Duration::from_millis(20);

/// A body on its way through a pipe.
#[derive(Debug)]
pub struct Splicer {
    pipe: Pipe,
    /// Since when we have waited for so much.
    since: Option<Instant>,
    /// The sender is slow.
    relaxed: bool,
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
        if !fits {
            return None;
        }
        let pipe = spares.pipes.pipe()?;
        Some(Self { pipe, since: None, relaxed: false })
    }

    /// Gives the pipe back.
    pub fn end(self, spares: &Spares) {
        spares.pipes.give(self.pipe);
    }

    /// Nothing is in the pipe: what is awaited is the sender.
    pub fn awaits_source(&self) -> bool {
        self.pipe.held() == 0
    }

    /// When it should stop waiting for much: see [`Splicer::relax`].
    pub fn impatient_at(&self) -> Option<Instant> {
        self.since.map(|since| since + PATIENCE)
    }

    /// From now on, takes what comes as it comes.
    pub fn relax(&mut self, from: &Wire) {
        (self.relaxed, self.since) = (true, None);
        from.set_low_water(false);
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
                let written = ready!(to.wire.io.poll_splice_out(cx, &mut self.pipe, left > 0 && !self.relaxed));
                let written = written.map_err(SpliceError::Outlet)? as u64;
                to.spliced(written);
                *moved += written;
                continue;
            }
            if left == 0 {
                from.set_low_water(false);
                return Poll::Ready(Ok(()));
            }
            from.set_low_water(left >= LOW_WATER && !self.relaxed);
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let Poll::Ready(read) = from.io.poll_splice_in(cx, &mut self.pipe, most) else {
                if from.has_low_water() && self.since.is_none() {
                    self.since = Some(Instant::now());
                }
                return Poll::Pending;
            };
            self.since = None;
            let read = read.map_err(SpliceError::Source)?;
            if read == 0 {
                return Poll::Ready(Err(SpliceError::Source(io::ErrorKind::UnexpectedEof.into())));
            }
            from.spliced(read as u64);
        }
    }
}
