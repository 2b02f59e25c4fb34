//! The response's body on its way to the client, while the request's may still be on its way. Hot path.

use super::{
    Record,
    attempt::Attempt,
    pump::{Awaits, Pump, Stop},
    replay::{Replay, Response},
    timing::{self, Silence},
    upload::Upload,
};
use crate::{
    error::Kind,
    http::{
        Exchange,
        body::{Broken, Source},
    },
};
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The response on its way.
pub(super) struct Relay<'w> {
    source: Source<'w>,
    pump: Pump,
    silence: Silence,
    /// It did not go at once.
    pub(super) waited: bool,
}

impl<'w> Relay<'w> {
    /// `whole` = all of the response has been staged; else `source` is its body.
    pub(super) fn new(source: Source<'w>, whole: bool, now: Instant) -> Self {
        let pump = if whole { Pump::resumed(true, None) } else { Pump::new() };
        Self { source, pump, silence: Silence::new(now), waited: false }
    }
}

impl Attempt<'_> {
    /// Moves the response's body, and what is left of the request's. Ready when the response has gone, whole.
    pub(super) fn poll_relay(
        &self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        relay: &mut Relay<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
        record: &Record,
    ) -> Poll<Result<(), Kind>> {
        if upload.open {
            self.poll_upload(cx, exchange, upload, replay)?;
        }
        let Relay { source, pump, silence, waited } = relay;
        let outlet = &mut exchange.sink.outlet;
        match pump.poll(cx, source, outlet, &self.way.local.spares, &mut Response) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(Stop::Outlet)) => return Poll::Ready(Err(Kind::ClientGone)),
            Poll::Ready(Err(Stop::Source(broken))) => return Poll::Ready(Err(backends_fault(&broken))),
            Poll::Pending => *waited = true,
        }
        self.meter.look(self.way.local, || exchange.sink.outlet.sent() + upload.outlet.sent());
        if exchange.client.is_cut() {
            return Poll::Ready(Err(Kind::Draining));
        }
        let awaits_backend = pump.awaits() == Awaits::Source;
        if awaits_backend && self.poll_gone(cx, exchange, upload).is_ready() {
            return Poll::Ready(Err(Kind::ClientGone));
        }
        loop {
            let limits = &exchange.client.limits;
            let outlet = &exchange.sink.outlet;
            let mut deadline = timing::download(pump, outlet, silence, limits, &self.pool.settings);
            if let Some(call) = &mut upload.call {
                // The client is still held to take what is there for it.
                deadline = deadline.filter(|_| pump.awaits() == Awaits::Outlet);
                let steps = pump.steps(outlet) + upload.pump.steps(&upload.outlet);
                deadline = timing::earlier(deadline, self.silence(call, steps, Kind::BodyTimeout));
            } else if upload.open {
                deadline = timing::earlier(deadline, self.upload_deadline(exchange, upload));
            }
            deadline = timing::earlier(deadline, timing::call(record.ends));
            match self.poll_timer(cx, exchange, upload, Some((&mut *pump, &*source)), deadline) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(kind)) => return Poll::Ready(Err(kind)),
                Poll::Ready(None) if awaits_backend && self.poll_gone(cx, exchange, upload).is_ready() => {
                    return Poll::Ready(Err(Kind::ClientGone));
                }
                Poll::Ready(None) => {}
            }
        }
    }
}

fn backends_fault(broken: &Broken) -> Kind {
    match broken {
        Broken::Malformed(_) => Kind::BadResponse,
        Broken::Io(_) | Broken::Ended | Broken::Reset => Kind::Truncated,
    }
}
