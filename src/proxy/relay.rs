//! The response's body on its way to the client, while the request's may still be on its way. Hot path.

use super::{
    attempt::Attempt,
    pump::{Awaits, Pump, Stop},
    replay::{Replay, Response},
    timing::{self, Silence},
    upload::Upload,
};
use crate::{
    error::Kind,
    http::{
        Exchange, Inlet,
        body::{Broken, Source},
    },
};
use std::{future::poll_fn, io, task::Poll};
use tokio::time::Instant;

impl Attempt<'_> {
    /// Moves the response's body, and what is left of the request's. `whole` = all of the response has been staged.
    /// Returns whether it had to wait.
    pub(super) async fn relay(
        &self,
        exchange: &mut Exchange<'_>,
        mut source: Source<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
        whole: bool,
        now: Instant,
    ) -> Result<bool, Kind> {
        let mut pump = if whole { Pump::resumed(true, None) } else { Pump::new() };
        let (mut silence, mut waited) = (Silence::new(now), false);
        poll_fn(|cx| {
            if upload.open {
                self.poll_upload(cx, exchange, upload, replay)?;
            }
            let outlet = &mut exchange.sink.outlet;
            match pump.poll(cx, &mut source, outlet, &self.way.local.spares, &mut Response) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(waited)),
                Poll::Ready(Err(Stop::Outlet)) => return Poll::Ready(Err(Kind::ClientGone)),
                Poll::Ready(Err(Stop::Source(broken))) => return Poll::Ready(Err(backends_fault(&broken))),
                Poll::Pending => waited = true,
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
                let mut deadline = timing::download(&pump, outlet, &mut silence, limits, &self.pool.settings);
                if let Some(call) = &mut upload.call {
                    // The client is still held to take what is there for it.
                    deadline = deadline.filter(|_| pump.awaits() == Awaits::Outlet);
                    let steps = pump.steps(outlet) + upload.pump.steps(&upload.outlet);
                    deadline = timing::earlier(deadline, self.silence(call, steps, Kind::BodyTimeout));
                } else if upload.open {
                    deadline = timing::earlier(deadline, self.upload_deadline(exchange, upload));
                }
                deadline = timing::earlier(deadline, upload.ends);
                match self.poll_timer(cx, exchange, upload, Some((&mut pump, &source)), deadline) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(kind)) => return Poll::Ready(Err(kind)),
                    Poll::Ready(None) if awaits_backend && self.poll_gone(cx, exchange, upload).is_ready() => {
                        return Poll::Ready(Err(Kind::ClientGone));
                    }
                    Poll::Ready(None) => {}
                }
            }
        })
        .await
    }
}

/// The usual case: a body that is short, or none, has come with its head, and both go out at once. Returns whether the
/// whole answer has been staged, and if so whether it has gone.
pub(super) async fn pass_on(exchange: &mut Exchange<'_>, inlet: &Inlet<'_>) -> (bool, Poll<io::Result<()>>) {
    if !inlet.pass_short(&mut exchange.sink.outlet) {
        return (false, Poll::Pending);
    }
    poll_fn(|cx| Poll::Ready((true, exchange.sink.poll_flush(cx)))).await
}

fn backends_fault(broken: &Broken) -> Kind {
    match broken {
        Broken::Malformed(_) => Kind::BadResponse,
        Broken::Io(_) | Broken::Ended | Broken::Reset => Kind::Truncated,
    }
}
