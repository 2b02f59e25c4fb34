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
    http::{Done, Exchange, Method, Sink, head::Span, reply},
    plan::{DEFAULT_ROUTE, NO_ROUTE},
};
use std::{future::Future, pin::Pin};
use tokio::time::Instant;

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
#[allow(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice: as given, and as bound")]
pub fn handle<'a>(local: &'a Local, mut exchange: Exchange<'a>) -> impl Future<Output = Done> + 'a {
    async move {
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
                refused(local, &mut exchange, reject.kind, &mut record)
            }
            None => {
                record.route = DEFAULT_ROUTE;
                match exchange.request.method() {
                    Method::Connect => refused(local, &mut exchange, Kind::ConnectDenied, &mut record),
                    _ => forward::forward(local, &mut exchange, &mut record).await,
                }
            }
        };
        let done = match outcome {
            Outcome::Answered => ended(local, exchange, &mut record).finished(),
            Outcome::Switched => {
                local.spares.heads.give(exchange.request);
                exchange.sink.switched()
            }
            Outcome::Failed(kind) => answer(local, exchange, kind, &mut record).await,
            Outcome::Stale => answer(local, exchange, Kind::Reset, &mut record).await,
        };
        if let Some(kind) = record.failure {
            local.metrics.routes[record.route].failure(local.worker, kind as usize);
        }
        let ended = record.ended.unwrap_or_else(Instant::now);
        counted.finish(&record, ended);
        done.at(ended)
    }
}

/// Takes the exchange apart, and its bytes down.
fn ended<'c>(local: &Local, exchange: Exchange<'c>, record: &mut Record) -> Sink<'c> {
    record.bytes_in = exchange.source.received();
    record.bytes_out = exchange.sink.outlet.sent();
    local.spares.heads.give(exchange.request);
    exchange.sink
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
        local.metrics.listeners[listener].started(local.worker);
        Self { local, listener, started, finished: false }
    }

    fn finish(mut self, record: &Record, ended: Instant) {
        self.finished = true;
        let Record { route, status, bytes_in, bytes_out, .. } = *record;
        self.count(route, status);
        let duration = ended.saturating_duration_since(self.started);
        self.local.metrics.routes[route].finished(self.local.worker, duration, bytes_in, bytes_out);
    }

    fn count(&self, route: usize, status: u16) {
        let Local { metrics, worker, .. } = self.local;
        metrics.listeners[self.listener].finished(*worker);
        metrics.requests[self.listener][route].count(*worker, status);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Dropped inside: a panic, or a client whose connection was cut with its task.
        let kind = if std::thread::panicking() { Kind::Internal } else { Kind::ClientGone };
        let metrics = &self.local.metrics.routes[NO_ROUTE];
        metrics.failure(self.local.worker, kind as usize);
        self.count(NO_ROUTE, kind.status());
        metrics.finished(self.local.worker, self.started.elapsed(), 0, 0);
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
    exchange: Exchange<'a>,
    kind: Kind,
    record: &'a mut Record,
) -> Pin<Box<dyn Future<Output = Done> + 'a>> {
    Box::pin(async move {
        let Exchange { request, source, mut sink, timer, client, .. } = exchange;
        record.failure = Some(kind);
        record.bytes_in = source.received();
        if kind == Kind::ClientGone || !sink.unsay() {
            if record.status == 0 {
                record.status = kind.status();
            }
            record.bytes_out = sink.outlet.sent();
            local.spares.heads.give(request);
            return sink.abort();
        }
        record.status = kind.status();
        let mut head = local.spares.heads.take();
        let request_id = std::str::from_utf8(request.text(record.id)).unwrap_or_default();
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
    })
}

/// The backend is to blame for it.
fn is_backends(kind: Kind) -> bool {
    kind.side() == Side::Backend
}
