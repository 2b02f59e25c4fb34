//! After a switch of protocols: bytes both ways, until both sides have finished.

use super::{Record, attempt::Outcome};
use crate::{
    error::Kind,
    http::{Exchange, h1::Wire},
    net::{Buf, Stream},
    telemetry::metrics::RouteMetrics,
};
use std::{
    future::poll_fn,
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// One direction.
struct Way<'w> {
    from: &'w Wire,
    to: &'w Stream,
    held: Buf,
    finished: bool,
    moved: u64,
}

impl<'w> Way<'w> {
    fn new(from: &'w Wire, to: &'w Wire) -> Self {
        Self { from, to: &to.io, held: from.take_carry(), finished: false, moved: 0 }
    }

    /// Moves what it can. Ready when its sender has finished and its receiver has been told.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.finished {
            while !self.held.is_empty() {
                let written = ready!(self.to.poll_write(cx, &[IoSlice::new(self.held.bytes())]))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.held.consume(written);
                self.moved += written as u64;
            }
            self.from.recycle(std::mem::take(&mut self.held));
            ready!(self.to.poll_flush(cx))?;
            match ready!(self.from.poll_more(cx))? {
                0 => {
                    ready!(self.to.poll_shutdown(cx))?;
                    self.finished = true;
                }
                _ => self.held = self.from.take_carry(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Runs the tunnel between `exchange`'s client and `backend`; the head that switches has been staged.
pub(super) async fn run(
    exchange: &mut Exchange<'_>,
    backend: &Wire,
    timeout: Option<Duration>,
    route: &Arc<RouteMetrics>,
    record: &mut Record,
) -> Outcome {
    let Some(client) = exchange.sink.wire() else { return Outcome::Failed(Kind::UpgradeFailed) };
    exchange.client.becomes_tunnel(route);
    let (timer, sink) = (exchange.timer, &mut exchange.sink);
    timer.set_after(Instant::now(), exchange.client.limits.write_timeout);
    let flushed = poll_fn(|cx| match sink.poll_flush(cx) {
        Poll::Pending => timer.poll(cx).map(|()| false),
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
    });
    if !flushed.await {
        return Outcome::Failed(Kind::ClientGone);
    }
    client.io.set_nodelay();
    backend.io.set_nodelay();
    let (mut up, mut down) = (Way::new(client, backend), Way::new(backend, client));
    let mut moved = 0;
    timer.set_after(Instant::now(), timeout);
    let ended: io::Result<()> = poll_fn(|cx| {
        let (there, back) = (up.poll(cx)?, down.poll(cx)?);
        if there.is_ready() && back.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if up.moved + down.moved != moved {
            moved = up.moved + down.moved;
            timer.set_after(Instant::now(), timeout);
        }
        if exchange.client.is_cut() {
            record.failure = Some(Kind::Draining);
            return Poll::Ready(Ok(()));
        }
        timer.poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "tunnel ended");
    }
    (record.bytes_in, record.bytes_out) = (up.moved, down.moved);
    Outcome::Switched
}
