//! After a switch of protocols: bytes both ways, until both sides have finished.

use super::{
    Local, Record,
    attempt::Outcome,
    meter::Meter,
    pump::{Pump, Stop, Watch},
};
use crate::{
    error::Kind,
    http::{
        Exchange, Head, Inlet, Spares,
        body::{Broken, Outlet, Source},
        guard::Upgrade,
    },
    telemetry::metrics::RouteMetrics,
};
use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// One direction.
struct Way {
    pump: Pump,
    /// Its sender has finished, and its receiver has been told.
    finished: bool,
}

/// Bytes are not looked at.
struct Blind;

impl Watch for Blind {
    fn piece(&mut self, _bytes: &[u8]) {}

    fn blind(&mut self) {}

    /// RFC 9113 section 8.5: on a tunnel's stream they are an error.
    fn trailers(&mut self, _trailers: &mut Head) -> Result<(), Broken> {
        Err(Broken::Reset)
    }
}

impl Way {
    fn new() -> Self {
        Self { pump: Pump::new(), finished: false }
    }

    /// Moves what it can. Ready when its sender has finished and its receiver has been told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Source<'_>,
        outlet: &mut Outlet<'_>,
        spares: &Spares,
    ) -> Poll<io::Result<()>> {
        if !self.finished {
            ready!(self.pump.poll(cx, source, outlet, spares, &mut Blind)).map_err(|stop| match stop {
                Stop::Source(Broken::Io(error)) => error,
                Stop::Source(_) | Stop::Outlet => io::ErrorKind::ConnectionReset.into(),
            })?;
            ready!(outlet.poll_shutdown(cx))?;
            self.finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Runs the tunnel between `exchange`'s client and a backend; the head that switches has been staged.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    (mut inlet, mut outlet): (Inlet<'_>, Outlet<'_>),
    (local, meter): (&Local, &Meter<'_>),
    timeout: Option<Duration>,
    route: &Arc<RouteMetrics>,
    record: &mut Record,
) -> Outcome {
    let spares = &local.spares;
    exchange.client.becomes_tunnel(route);
    // A connection from here on, which others bound: not a request in flight.
    record.admitted = None;
    let timer = exchange.timer;
    timer.set_after(Instant::now(), exchange.client.limits.write_timeout);
    if !exchange.sink.flushed(timer).await {
        return Outcome::Failed(Kind::ClientGone);
    }
    exchange.sink.becomes_tunnel(&mut exchange.source);
    outlet.becomes_tunnel();
    let mut from_backend = inlet.tunnel();
    let (mut up, mut down) = (Way::new(), Way::new());
    let mut steps = 0;
    timer.set_after(Instant::now(), timeout);
    let ended: io::Result<()> = poll_fn(|cx| {
        let there = up.poll(cx, &mut exchange.source, &mut outlet, spares)?;
        let back = down.poll(cx, &mut from_backend, &mut exchange.sink.outlet, spares)?;
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if reset(cx, &mut outlet, &mut up) || reset(cx, &mut exchange.sink.outlet, &mut down) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let moved = up.pump.steps(&outlet) + down.pump.steps(&exchange.sink.outlet);
        if steps != moved {
            steps = moved;
            meter.look(local, || outlet.sent() + exchange.sink.outlet.sent());
            timer.set_after(Instant::now(), timeout);
        }
        if exchange.client.is_cut() {
            record.failure = Some(Kind::Draining);
            return Poll::Ready(Ok(()));
        }
        timer.poll(cx).map(|()| {
            tracing::debug!(trace_id = %record.trace, "tunnel ended: nothing has moved for tunnel_timeout");
            Ok(())
        })
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, trace_id = %record.trace, "tunnel ended");
        // Whoever has not been told the end yet hears that it came too soon.
        let raw = exchange.guarded.upgrade == Some(Upgrade::Raw);
        if !up.finished {
            outlet.reset(raw);
        }
        if !down.finished {
            exchange.sink.outlet.reset(raw);
        }
    }
    (record.bytes_in, record.bytes_out) = (outlet.sent(), exchange.sink.outlet.sent());
    Outcome::Switched
}

/// The receiver of `way` has reset it because of an error: both ways end. Without one, this way alone ends: nothing more is
/// wanted there.
fn reset(cx: &mut Context<'_>, outlet: &mut Outlet<'_>, way: &mut Way) -> bool {
    match outlet.poll_reset(cx) {
        Poll::Ready(broken) => {
            way.finished |= !broken;
            broken
        }
        Poll::Pending => false,
    }
}
