//! Gets an exchange to a backend and its answer back. Hot path.

use super::{
    Local, Record,
    attempt::{Attempt, Outcome},
    forwarding,
    replay::Replay,
};
use crate::{
    balance::{Pick, Tried},
    dial::{self, Checkout, Connection},
    error::{Error, Kind},
    http::{Exchange, Framing},
    plan::Pool,
    pool::{Backend, Counted, Lease},
};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::time::Instant;

/// How often the other workers are asked, less one: what one has just taken, another has perhaps just given back.
const ROUNDS: usize = 4;

/// Forwards `exchange`, whose request the guard has passed.
pub(super) async fn forward(local: &Local, exchange: &mut Exchange<'_>, record: &mut Record) -> Outcome {
    record.id = forwarding::request_id(local, exchange.client, &mut exchange.request);
    if let Err(kind) = forwarding::apply(local, exchange.client, &mut exchange.request) {
        return Outcome::Failed(kind);
    }
    match attempts(local, &local.plan.pools[0], exchange, record).await {
        // The second connection is a new one: it cannot be stale.
        Outcome::Stale => Outcome::Failed(Kind::Reset),
        outcome => outcome,
    }
}

/// One attempt, and one more where the first met a kept connection that had died (PRODUCT.md section 6.3).
async fn attempts(local: &Local, pool: &Pool, exchange: &mut Exchange<'_>, record: &mut Record) -> Outcome {
    let idempotent = exchange.request.method().is_idempotent();
    let acquired = match acquire(local, pool, exchange.read, !idempotent).await {
        Ok(acquired) => acquired,
        Err(kind) => return Outcome::Failed(kind),
    };
    let Acquired { backend, connection, kept } = acquired;
    let lease = Lease::new(backend);
    let body = exchange.guarded.framing != Framing::None;
    let mut replay = Replay::new(kept && body, exchange.client.limits.underscores);
    let attempt = Attempt { local, pool, lease: &lease, replayable: kept.then_some(idempotent) };
    match attempt.run(exchange, connection, &mut replay, false, record).await {
        Outcome::Stale => {}
        outcome => return outcome,
    }
    let Some(counted) = backend.connection(pool.settings.max_connections) else {
        return Outcome::Failed(Kind::QueueFull);
    };
    match connect(local, pool, backend, counted).await {
        Ok(connection) => {
            let attempt = Attempt { replayable: None, ..attempt };
            attempt.run(exchange, connection, &mut replay, true, record).await
        }
        Err(error) => refused(local, backend, &error),
    }
}

/// A backend, and a connection to it.
struct Acquired<'p> {
    backend: &'p Arc<Backend>,
    connection: Box<Connection>,
    /// It has been used before.
    kept: bool,
}

/// Chooses a backend and gets a connection to it. One that is full is passed over; if all are, the other workers are
/// asked to close idle connections, a few times.
async fn acquire<'p>(local: &Local, pool: &'p Pool, now: Instant, certain: bool) -> Result<Acquired<'p>, Kind> {
    let mut asked = Vec::new();
    for round in 1..=ROUNDS {
        let mut tried = Tried::default();
        loop {
            let pick = Pick { key: 0, worker: local.worker, random: local.random(), tried: &tried };
            let Some(backend) = pool.table.pick(&pick) else { break };
            match local.dialer.checkout(backend, &pool.settings, now, certain) {
                Checkout::Kept(connection) => {
                    return Ok(Acquired { backend, connection, kept: true });
                }
                Checkout::New(counted) => {
                    let connected = connect(local, pool, backend, counted).await;
                    return match connected {
                        Ok(connection) => Ok(Acquired { backend, connection, kept: false }),
                        Err(error) => {
                            refused(local, backend, &error);
                            Err(error.kind())
                        }
                    };
                }
                Checkout::Full => {
                    tried.add(backend.id);
                    if round < ROUNDS {
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

/// A new connection. In a box of its own: most exchanges never need one, and should not carry its size.
fn connect<'p>(
    local: &'p Local,
    pool: &'p Pool,
    backend: &'p Backend,
    counted: Counted,
) -> Pin<Box<dyn Future<Output = Result<Box<Connection>, Error>> + 'p>> {
    Box::pin(dial::connect(&local.dialer, backend, &pool.settings, counted, &local.spares))
}

/// A backend that could not be connected to.
fn refused(local: &Local, backend: &Backend, error: &Error) -> Outcome {
    let kind = error.kind();
    local.metrics.backends[backend.id as usize].attempt(local.worker, kind.status(), None);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(backend = %backend.name, failure = kind.word(), %source, "attempt failed");
    Outcome::Failed(kind)
}
