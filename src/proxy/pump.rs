//! Moves one body from a source to an outlet: one piece at a time, none read before the one before has gone. Hot path.

use crate::http::{
    Head, Spares,
    body::{Broken, Outlet, Pulled, Source},
    h1::{SpliceError, Splicer},
};
use std::{
    io,
    task::{Context, Poll, ready},
};
use tokio::time::Instant;

/// Where a body got stuck for good.
#[derive(Debug)]
pub(super) enum Stop {
    /// It did not come whole.
    Source(Broken),
    /// It cannot be sent: the receiver has gone.
    Outlet,
}

/// Whom a body waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// Its sender.
    Source,
    /// Its receiver.
    Outlet,
}

/// What is done with a body besides moving it.
pub(super) trait Watch {
    /// Sees each piece before it goes.
    fn piece(&mut self, bytes: &[u8]);
    /// From here on, bytes go by unseen.
    fn blind(&mut self);
    /// No byte may go by unseen.
    fn sees_all(&self) -> bool {
        false
    }
    /// Checks or mends the trailers.
    fn trailers(&mut self, trailers: &mut Head) -> Result<(), Broken>;
}

/// One body on its way.
#[derive(Debug)]
pub(super) struct Pump {
    awaits: Awaits,
    /// A piece has been staged and not yet gone.
    staged: bool,
    /// Nothing more will be pulled.
    ended: bool,
    trailers: Option<Box<Head>>,
    splicer: Option<Box<Splicer>>,
    /// Grows with every step: a silence is the time in which it does not.
    steps: u64,
}

impl Pump {
    pub(super) fn new() -> Self {
        Self { awaits: Awaits::Source, staged: false, ended: false, trailers: None, splicer: None, steps: 0 }
    }

    /// Something has been staged already: `whole` = that is everything, but for the trailers.
    pub(super) fn resumed(whole: bool, trailers: Option<Box<Head>>) -> Self {
        Self { staged: true, ended: whole && trailers.is_none(), trailers, ..Self::new() }
    }

    pub(super) fn awaits(&self) -> Awaits {
        self.awaits
    }

    /// When it should be told to [`relax`](Pump::relax): a moment that is near.
    pub(super) fn impatient_at(&self) -> Option<Instant> {
        self.splicer.as_ref().and_then(|splicer| splicer.impatient_at())
    }

    /// Its sender is slow: it takes what comes as it comes. The kernel wakes the task if something is there already.
    pub(super) fn relax(&mut self, source: &Source<'_>, now: Instant) {
        if let (Some(splicer), Source::H1(from)) = (&mut self.splicer, source)
            && splicer.impatient_at().is_some_and(|at| at <= now)
        {
            splicer.relax(from);
        }
    }

    /// Changes whenever something has moved.
    pub(super) fn steps(&self, outlet: &Outlet<'_>) -> u64 {
        self.steps + outlet.progress()
    }

    /// Moves what it can. Ready when the whole body has gone. A head that is staged in `outlet` goes with the first
    /// piece, or alone if no piece is there yet.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        outlet: &mut Outlet<'_>,
        spares: &Spares,
        watch: &mut impl Watch,
    ) -> Poll<Result<(), Stop>> {
        loop {
            if self.splicer.is_some() {
                ready!(self.poll_splice(cx, source, outlet, spares))?;
                return Poll::Ready(Ok(()));
            }
            if !self.staged && !self.ended {
                match source.poll_pull(cx) {
                    Poll::Ready(pulled) => self.stage(pulled.map_err(Stop::Source)?, source, outlet, watch)?,
                    Poll::Pending => {
                        self.awaits = Awaits::Outlet;
                        ready!(outlet.poll_flush(cx)).map_err(|_| Stop::Outlet)?;
                        self.awaits = Awaits::Source;
                        return Poll::Pending;
                    }
                }
            }
            self.awaits = Awaits::Outlet;
            ready!(outlet.poll_flush(cx)).map_err(|_| Stop::Outlet)?;
            self.staged = false;
            if let Some(trailers) = self.trailers.take() {
                outlet.end(Some(&trailers)).map_err(|_| Stop::Outlet)?;
                spares.heads.give(trailers);
                self.staged = true;
                self.ended = true;
                continue;
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            self.awaits = Awaits::Source;
            if !watch.sees_all()
                && let (Source::H1(from), Outlet::H1(to)) = (&*source, &*outlet)
            {
                self.splicer = Splicer::begin(from, to, spares).map(Box::new);
                if self.splicer.is_some() {
                    watch.blind();
                }
            }
        }
    }

    fn stage(
        &mut self,
        pulled: Option<Pulled>,
        source: &mut Source<'_>,
        outlet: &mut Outlet<'_>,
        watch: &mut impl Watch,
    ) -> Result<(), Stop> {
        self.steps += 1;
        let Some(Pulled { chunk, last }) = pulled else {
            self.ended = true;
            return outlet.end(None).map_err(|_| Stop::Outlet);
        };
        self.staged = true;
        watch.piece(chunk.bytes());
        let trailers = if last { source.take_trailers() } else { None };
        self.ended = last && trailers.is_none();
        if let Some(mut trailers) = trailers {
            watch.trailers(&mut trailers).map_err(Stop::Source)?;
            self.trailers = Some(trailers);
        }
        // A body that is not as long as its head said is its sender's fault.
        outlet.push(chunk, self.ended).map_err(|_| Stop::Source(Broken::Ended))
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &Source<'_>,
        outlet: &mut Outlet<'_>,
        spares: &Spares,
    ) -> Poll<Result<(), Stop>> {
        let (Source::H1(from), Outlet::H1(to), Some(splicer)) = (source, outlet, &mut self.splicer) else {
            return Poll::Ready(Err(Stop::Outlet));
        };
        let moved = splicer.poll(cx, from, to, &mut self.steps);
        self.awaits = if splicer.awaits_source() { Awaits::Source } else { Awaits::Outlet };
        match ready!(moved) {
            Ok(()) => {
                self.ended = true;
                if let Some(splicer) = self.splicer.take() {
                    splicer.end(spares);
                }
                Poll::Ready(Ok(()))
            }
            // The pipe may hold bytes of this body: it is closed with the pump.
            Err(SpliceError::Source(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Err(Stop::Source(Broken::Ended)))
            }
            Err(SpliceError::Source(error)) => Poll::Ready(Err(Stop::Source(Broken::Io(error)))),
            Err(SpliceError::Outlet(_)) => Poll::Ready(Err(Stop::Outlet)),
        }
    }
}
