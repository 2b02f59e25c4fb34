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

use self::attempt::Outcome;
use crate::{
    error::{Kind, Side},
    http::{Done, Exchange, Method, head::Span, reply},
    telemetry::metrics::{Finished, Layout, NO_ROUTE},
};
use std::{future::Future, pin::Pin};
use tokio::time::Instant;

/// The number of the one route that there is while a configuration has none.
const DEFAULT_ROUTE: usize = 0;

/// What is known of an exchange when it ends.
#[derive(Debug)]
struct Record {
    /// Where the request id is in the request's head.
    id: Span,
    route: usize,
    status: u16,
    failure: Option<Kind>,
    /// When it ended, if somebody has looked at a clock.
    ended: Option<Instant>,
    bytes_in: u64,
    bytes_out: u64,
}

/// Answers `exchange`: from a backend, or by ourselves.
pub async fn handle(local: &Local, exchange: &mut Exchange<'_>) -> Done {
    let (client, started) = (exchange.client, exchange.started);
    let counted = InFlight::new(local, client.listener, started);
    let mut record = Record {
        id: Span::default(),
        route: NO_ROUTE,
        status: 0,
        failure: None,
        ended: None,
        bytes_in: 0,
        bytes_out: 0,
    };
    let outcome = match exchange.refused {
        Some(reject) => {
            tracing::debug!(peer = ?client.peer, why = reject.why, failure = reject.kind.word(), "request refused");
            refused(local, exchange, reject.kind, &mut record)
        }
        None => {
            record.route = Layout::route(DEFAULT_ROUTE);
            match exchange.request.method() {
                Method::Connect => refused(local, exchange, Kind::ConnectDenied, &mut record),
                _ => forward::forward(local, exchange, &mut record).await,
            }
        }
    };
    let done = match outcome {
        Outcome::Answered => {
            record.bytes_in = exchange.source.received();
            record.bytes_out = exchange.sink.outlet.sent();
            exchange.sink.finished()
        }
        Outcome::Switched => exchange.sink.switched(),
        Outcome::Failed(kind) => answer(local, exchange, kind, &mut record).await,
        Outcome::Stale => answer(local, exchange, Kind::Reset, &mut record).await,
    };
    if let Some(kind) = record.failure {
        local.shard.failure(record.route, kind as usize);
    }
    let ended = record.ended.unwrap_or_else(Instant::now);
    let Record { route, status, bytes_in, bytes_out, .. } = record;
    let duration = ended.saturating_duration_since(started);
    counted.finish(&Finished { listener: client.listener, route, status, duration, bytes_in, bytes_out });
    done.at(ended)
}

/// Counts a request as in flight while it lives; one that panics ends with 500.
struct InFlight<'l> {
    local: &'l Local,
    listener: usize,
    started: Instant,
    finished: bool,
}

impl<'l> InFlight<'l> {
    fn new(local: &'l Local, listener: usize, started: Instant) -> Self {
        local.shard.request_started(listener);
        Self { local, listener, started, finished: false }
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
        let kind = if std::thread::panicking() { Kind::Internal } else { Kind::ClientGone };
        self.local.shard.failure(NO_ROUTE, kind as usize);
        self.local.shard.request_finished(&Finished {
            listener: self.listener,
            route: NO_ROUTE,
            status: kind.status(),
            duration: self.started.elapsed(),
            bytes_in: 0,
            bytes_out: 0,
        });
    }
}

/// An exchange that never gets to a backend still has an id.
fn refused(local: &Local, exchange: &mut Exchange<'_>, kind: Kind, record: &mut Record) -> Outcome {
    if exchange.request.is_empty() {
        // The head was not even read.
        exchange.request.clear();
    }
    record.id = forwarding::request_id(local, exchange.client, &mut exchange.request);
    Outcome::Failed(kind)
}

/// Answers with a failure of ours, or cuts what has begun. In a box of its own: good exchanges do not carry its size.
fn answer<'a>(
    local: &'a Local,
    exchange: &'a mut Exchange<'_>,
    kind: Kind,
    record: &'a mut Record,
) -> Pin<Box<dyn Future<Output = Done> + 'a>> {
    Box::pin(async move {
        let Exchange { request, source, sink, timer, client, .. } = exchange;
        record.failure = Some(kind);
        record.bytes_in = source.received();
        if kind == Kind::ClientGone || !sink.unsay() {
            if record.status == 0 {
                record.status = kind.status();
            }
            record.bytes_out = sink.outlet.sent();
            return sink.abort();
        }
        record.status = kind.status();
        let mut head = local.spares.heads.take();
        let request_id = std::str::from_utf8(request.text(record.id)).unwrap_or_default();
        let failure = reply::Failure { kind, request_id, via: &local.plan.via };
        let staged = failure.stage(request, &mut head, sink);
        record.bytes_out = sink.outlet.sent();
        timer.set_after(Instant::now(), client.limits.write_timeout);
        local.spares.heads.give(head);
        match staged {
            Ok(()) => sink.finish(timer).await,
            Err(_) => sink.abort(),
        }
    })
}

/// The backend is to blame for it.
fn is_backends(kind: Kind) -> bool {
    kind.side() == Side::Backend
}
