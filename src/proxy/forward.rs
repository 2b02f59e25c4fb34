//! Gets an exchange to a backend and its answer back. Hot path.

use super::{
    Local, Record, answer,
    attempt::{Attempt, Outcome},
    forwarding,
    replay::Replay,
};
use crate::{
    balance::{Pick, Tried},
    dial::{self, Checkout, Connection},
    error::Kind,
    http::{Done, Exchange, Framing},
    plan::Pool,
    pool::{Backend, Lease},
};
use std::sync::Arc;

/// Forwards `exchange`, whose request the guard has passed.
pub(super) async fn forward(local: &Local, mut exchange: Exchange<'_>, record: &mut Record) -> Done {
    let client = exchange.client;
    let id = forwarding::request_id(local, client, &mut exchange.request);
    let outcome = match forwarding::apply(local, client, &mut exchange.request) {
        Ok(()) => attempts(local, &local.plan.pools[0], &mut exchange, record).await,
        Err(kind) => Outcome::Failed(kind),
    };
    record.bytes_in = exchange.source.received();
    record.bytes_out = exchange.sink.outlet.sent();
    let Exchange { request, sink, timer, .. } = exchange;
    match outcome {
        Outcome::Answered => {
            local.spares.heads.give(request);
            sink.finished()
        }
        Outcome::Switched => {
            local.spares.heads.give(request);
            sink.switched()
        }
        Outcome::Failed(kind) => answer(local, request, sink, timer, client, kind, id, record).await,
        // A second stale connection in a row cannot be: the second one is new.
        Outcome::Stale => answer(local, request, sink, timer, client, Kind::Reset, id, record).await,
    }
}

/// One attempt, and one more where the first met a kept connection that had died (PRODUCT.md section 6.3).
async fn attempts(local: &Local, pool: &Pool, exchange: &mut Exchange<'_>, record: &mut Record) -> Outcome {
    let idempotent = exchange.request.method().is_idempotent();
    let acquired = match acquire(local, pool, !idempotent).await {
        Ok(acquired) => acquired,
        Err(kind) => return Outcome::Failed(kind),
    };
    let Acquired { backend, connection, kept } = acquired;
    let lease = Lease::new(&backend);
    let mut replay = Replay::new(kept && idempotent && exchange.guarded.framing != Framing::None);
    let attempt = Attempt { local, pool, lease: &lease, replayable: kept.then_some(idempotent) };
    match attempt.run(exchange, connection, &mut replay, false, record).await {
        Outcome::Stale => {}
        outcome => return outcome,
    }
    let Some(counted) = backend.connection(pool.settings.max_connections) else {
        return Outcome::Failed(Kind::QueueFull);
    };
    match dial::connect(&local.dialer, &backend, &pool.settings, counted, &local.spares).await {
        Ok(connection) => {
            let attempt = Attempt { replayable: None, ..attempt };
            attempt.run(exchange, connection, &mut replay, true, record).await
        }
        Err(error) => refused(local, &backend, &error),
    }
}

/// A backend, and a connection to it.
struct Acquired {
    backend: Arc<Backend>,
    connection: Box<Connection>,
    /// It has been used before.
    kept: bool,
}

/// Chooses a backend and gets a connection to it. One that is full is passed over; if all are, the other workers are
/// asked to close idle connections, once.
async fn acquire(local: &Local, pool: &Pool, certain: bool) -> Result<Acquired, Kind> {
    let mut asked = Vec::new();
    for round in 0..2 {
        let mut tried = Tried::default();
        loop {
            let pick = Pick { key: 0, worker: local.worker, random: local.random(), tried: &tried };
            let Some(backend) = pool.table.pick(&pick) else { break };
            match local.dialer.checkout(backend, &pool.settings, certain) {
                Checkout::Kept(connection) => {
                    return Ok(Acquired { backend: Arc::clone(backend), connection, kept: true });
                }
                Checkout::New(counted) => {
                    let connected = dial::connect(&local.dialer, backend, &pool.settings, counted, &local.spares).await;
                    return match connected {
                        Ok(connection) => Ok(Acquired { backend: Arc::clone(backend), connection, kept: false }),
                        Err(error) => {
                            refused(local, backend, &error);
                            Err(error.kind())
                        }
                    };
                }
                Checkout::Full => {
                    tried.add(backend.id);
                    if round == 0 {
                        asked.extend((local.ask_others)(backend.id));
                    }
                }
            }
        }
        if asked.is_empty() {
            break;
        }
        for done in asked.drain(..) {
            // An error means that the worker has looked, too.
            let _ = done.await;
        }
    }
    let any = pool.backends.iter().any(|backend| backend.weight > 0);
    Err(if any { Kind::QueueFull } else { Kind::NoBackend })
}

/// A backend that could not be connected to.
fn refused(local: &Local, backend: &Backend, error: &crate::error::Error) -> Outcome {
    let kind = error.kind();
    local.shard.attempt_finished(backend.id as usize, kind.status(), None);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(backend = %backend.name, failure = kind.word(), %source, "attempt failed");
    Outcome::Failed(kind)
}
