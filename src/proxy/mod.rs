//! One exchange from its head to its end: read [`handle`] first. Hot path.

mod attempt;
mod forward;
mod forwarding;
mod local;
mod pump;
mod replay;
mod timing;
mod tunnel;

pub use local::{AskOthers, Local};

use crate::{
    error::{Kind, Side},
    http::{Client, Done, Exchange, Head, Method, Sink, head::Span, reply},
    net::Timer,
    telemetry::metrics::{Finished, Layout, NO_ROUTE},
};
use tokio::time::Instant;

/// The number of the one route that there is while a configuration has none.
const DEFAULT_ROUTE: usize = 0;

/// What is known of an exchange when it ends.
#[derive(Debug)]
struct Record {
    route: usize,
    status: u16,
    failure: Option<Kind>,
    bytes_in: u64,
    bytes_out: u64,
}

/// Answers `exchange`: from a backend, or by ourselves.
pub async fn handle(local: &Local, exchange: Exchange<'_>) -> Done {
    let (client, started) = (exchange.client, exchange.started);
    let counted = InFlight::new(local, client.listener);
    let mut record = Record { route: NO_ROUTE, status: 0, failure: None, bytes_in: 0, bytes_out: 0 };
    let done = match exchange.refused {
        Some(reject) => {
            tracing::debug!(peer = ?client.peer, why = reject.why, failure = reject.kind.word(), "request refused");
            refuse(local, exchange, reject.kind, &mut record).await
        }
        None => {
            record.route = Layout::route(DEFAULT_ROUTE);
            match exchange.request.method() {
                Method::Connect => refuse(local, exchange, Kind::ConnectDenied, &mut record).await,
                _ => forward::forward(local, exchange, &mut record).await,
            }
        }
    };
    if let Some(kind) = record.failure {
        local.shard.failure(record.route, kind as usize);
    }
    let Record { route, status, bytes_in, bytes_out, .. } = record;
    let finished =
        Finished { listener: client.listener, route, status, duration: started.elapsed(), bytes_in, bytes_out };
    counted.finish(&finished);
    done
}

/// Counts a request as in flight while it lives; one that panics ends with 500.
struct InFlight<'l> {
    local: &'l Local,
    listener: usize,
    finished: bool,
}

impl<'l> InFlight<'l> {
    fn new(local: &'l Local, listener: usize) -> Self {
        local.shard.request_started(listener);
        Self { local, listener, finished: false }
    }

    fn finish(mut self, finished: &Finished) {
        self.finished = true;
        self.local.shard.request_finished(finished);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Dropped inside: a panic, or a client whose connection was cut with its task.
        let status = if std::thread::panicking() { Kind::Internal.status() } else { Kind::ClientGone.status() };
        self.local.shard.request_finished(&Finished {
            listener: self.listener,
            route: NO_ROUTE,
            status,
            duration: std::time::Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
        });
    }
}

/// An exchange that never gets to a backend.
async fn refuse(local: &Local, mut exchange: Exchange<'_>, kind: Kind, record: &mut Record) -> Done {
    if exchange.request.is_empty() {
        // The head was not even read: there is no id, and nothing to tell HTML from JSON.
        exchange.request.clear();
    }
    let id = forwarding::request_id(local, exchange.client, &mut exchange.request);
    answer(local, exchange.request, exchange.sink, exchange.timer, exchange.client, kind, id, record).await
}

/// Answers with a failure of ours.
#[allow(clippy::too_many_arguments, reason = "what is left of an exchange after its parts were lent out")]
async fn answer(
    local: &Local,
    request: Head,
    mut sink: Sink<'_>,
    timer: &Timer,
    client: &Client,
    kind: Kind,
    id: Span,
    record: &mut Record,
) -> Done {
    record.failure = Some(kind);
    record.status = kind.status();
    if kind == Kind::ClientGone || !sink.unsay() {
        local.spares.heads.give(request);
        return sink.abort();
    }
    let mut head = local.spares.heads.take();
    let request_id = std::str::from_utf8(request.text(id)).unwrap_or_default();
    let failure = reply::Failure { kind, request_id, via: &local.plan.via };
    let staged = failure.stage(&request, &mut head, &mut sink);
    record.bytes_out = sink.outlet.sent();
    timer.set_after(Instant::now(), client.limits.write_timeout);
    local.spares.heads.give(head);
    local.spares.heads.give(request);
    match staged {
        Ok(()) => sink.finish(timer).await,
        Err(_) => sink.abort(),
    }
}

/// The backend is to blame for it.
fn is_backends(kind: Kind) -> bool {
    kind.side() == Side::Backend
}
