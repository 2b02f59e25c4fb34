//! The request on its way to the backend, and what is waited for meanwhile. Used by attempts alone. Hot path.

use super::{
    attempt::Attempt,
    grpc,
    opening::Opening,
    pump::{Awaits, Pump, Stop},
    replay::Replay,
    timing::{self, Deadline, Pace},
};
use crate::{
    error::Kind,
    http::{
        Exchange, Framing,
        body::{Broken, Outlet, Source},
    },
};
use std::{
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// A client whose socket is not registered yet is not watched for so long: short exchanges never pay for it.
const PATIENCE: Duration = Duration::from_millis(100);

/// The request's way out, which may go on while the response comes in.
pub(super) struct Upload<'w> {
    pub(super) outlet: Outlet<'w>,
    pub(super) pump: Pump,
    /// It is that of a gRPC call to an HTTP/2 backend.
    pub(super) call: Option<Box<grpc::Call>>,
    /// Made when it first has to wait.
    pub(super) pace: Option<Box<Pace>>,
    /// Not everything has gone.
    pub(super) open: bool,
    /// It cannot be completed: the backend does not take it.
    pub(super) broken: bool,
    /// The client waits for `100 Continue`: what is awaited is the backend.
    pub(super) waits: bool,
    /// When it was all sent.
    pub(super) sent: Instant,
    /// The client is watched for its leaving.
    pub(super) watch: bool,
    /// Interim responses that have come: with the first, the response has begun.
    pub(super) interims: u8,
    /// One of them is on its way to the client.
    pub(super) flushing: bool,
    /// The backend has said that it did not look at the request.
    pub(super) unprocessed: bool,
    /// It is a WebSocket opening.
    pub(super) opening: Option<Box<Opening>>,
}

impl Attempt<'_> {
    /// Moves the request's body on.
    pub(super) fn poll_upload(
        &self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
    ) -> Result<(), Kind> {
        let moved = upload.pump.poll(cx, &mut exchange.source, &mut upload.outlet, &self.way.local.spares, replay);
        // Over HTTP/2 the backend may still say that it did not look at it.
        if !self.idempotent && upload.outlet.has_begun() && matches!(upload.outlet, Outlet::H1(_)) {
            replay.give_up();
        }
        self.meter.look(self.way.local, || upload.outlet.sent());
        match moved {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => replay.passed(),
            Poll::Ready(Err(Stop::Source(broken))) => return Err(clients_fault(&broken)),
            // It may have answered early: what it says counts, and if it says nothing, that counts.
            Poll::Ready(Err(Stop::Outlet)) => upload.broken = true,
        }
        upload.open = false;
        // Without a body it has gone at once, and the clock need not be read.
        if exchange.guarded.framing != Framing::None {
            upload.sent = Instant::now();
        }
        Ok(())
    }

    pub(super) fn poll_gone(&self, cx: &mut Context<'_>, exchange: &mut Exchange<'_>, upload: &Upload<'_>) -> Poll<()> {
        if upload.open && !exchange.sink.is_stream() || !upload.watch {
            return Poll::Pending;
        }
        exchange.sink.poll_gone(cx, exchange.client.limits.half_close)
    }

    pub(super) fn upload_deadline(&self, exchange: &Exchange<'_>, upload: &mut Upload<'_>) -> Deadline {
        let limits = &exchange.client.limits;
        upload.waits &= exchange.source.received() == 0;
        if upload.waits {
            return timing::response(upload.sent, &self.pool.settings);
        }
        let Upload { outlet, pump, call, pace, sent, .. } = upload;
        if let Some(call) = call {
            let kind = if pump.awaits() == Awaits::Source { Kind::RequestTimeout } else { Kind::ResponseTimeout };
            return self.silence(call, pump.steps(outlet), kind);
        }
        let pace = pace.get_or_insert_with(|| Pace::new(*sent));
        pace.rate.hold(pump.awaits() == Awaits::Outlet);
        timing::upload(pump, outlet, &mut pace.silence, limits, &self.pool.settings)
    }

    /// Waits for `deadline`, or for something that must be looked at before. `Ready(None)`: it was only that.
    pub(super) fn poll_timer(
        &self,
        cx: &mut Context<'_>,
        exchange: &Exchange<'_>,
        upload: &mut Upload<'_>,
        down: Option<(&mut Pump, &Source<'_>)>,
        deadline: Deadline,
    ) -> Poll<Option<Kind>> {
        let sends = upload.open && !upload.waits && upload.pump.awaits() == Awaits::Source;
        let least = exchange.client.limits.min_body_rate.filter(|_| sends);
        let pace = upload.pace.as_ref().zip(least);
        let rate = pace.map(|(pace, _)| (pace.rate.next(), Kind::RequestTimeout));
        let patience = (!upload.watch).then_some((upload.sent + PATIENCE, Kind::ClientGone));
        let first = timing::earlier(timing::earlier(deadline, rate), patience).map(|(at, _)| at);
        let mut first = first;
        for pump in [Some(&upload.pump), down.as_ref().map(|(pump, _)| &**pump)].into_iter().flatten() {
            if let Some(at) = pump.impatient_at() {
                first = Some(first.map_or(at, |first| first.min(at)));
            }
        }
        exchange.timer.set(first);
        if exchange.timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        upload.pump.relax(&exchange.source, now);
        if let Some((pump, source)) = down {
            pump.relax(source, now);
        }
        if let Some((at, kind)) = deadline
            && at <= now
        {
            return Poll::Ready(Some(kind));
        }
        if patience.is_some_and(|(at, _)| at <= now) {
            upload.watch = true;
        }
        let received = exchange.source.received();
        let slow = upload.pace.as_mut().zip(least).is_some_and(|(pace, least)| {
            let rate = &mut pace.rate;
            rate.next() <= now && rate.is_below(least, received, now)
        });
        Poll::Ready(slow.then_some(Kind::RequestTimeout))
    }
}

fn clients_fault(broken: &Broken) -> Kind {
    match broken {
        Broken::Malformed(reject) => reject.kind,
        Broken::Io(_) | Broken::Ended | Broken::Reset => Kind::ClientGone,
    }
}
