//! Gets an exchange to a backend and its answer back, with further attempts where they are safe. Hot path.

use super::{
    Record, Way,
    attempt::{Attempt, Outcome},
    client,
    meter::{self, Meter},
    raw,
    replay::Replay,
    sticky,
};
use crate::{
    balance::{Pick, Tried},
    config,
    dial::{self, Checkout, Connection, Dial, Room},
    error::{Error, Kind},
    http::{Exchange, Framing, guard::Upgrade},
    plan::Pool,
    pool::{Backend, Lease},
    telemetry::metrics::Retry,
};
use std::{future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often the other workers are asked, less one: what one has just taken, another has perhaps just given back.
const ROUNDS: usize = 4;

/// Forwards `exchange` to the pool at `place` of the plan.
pub(super) async fn forward(way: &Way<'_>, place: usize, exchange: &mut Exchange<'_>, record: &mut Record) -> Outcome {
    let pool = &way.plan().pools[place];
    pool.slot.budget.request(way.local.worker, way.local.second());
    let mut state = State::new(way, pool, exchange, record);
    loop {
        let outcome = try_once(way, place, exchange, &mut state, record).await;
        let deadline = deadline(way, exchange, record);
        let reason = match outcome {
            Outcome::Failed(kind) => match state.may_go_again(way, pool, kind, deadline, record) {
                Some(reason) => reason,
                None => return outcome,
            },
            Outcome::Again => Retry::Grpc,
            _ => return outcome,
        };
        pool.slot.metrics.retry(way.local.worker, reason);
        if state.wait(way, pool, reason, deadline).await.is_err() {
            return Outcome::Failed(Kind::Deadline);
        }
    }
}

/// When the route's time is over, or the call's own. A body has time-outs of its own from its first byte on; then the time begins when it is
/// whole (proxy/attempt.rs).
fn deadline(way: &Way<'_>, exchange: &Exchange<'_>, record: &Record) -> Option<Instant> {
    let untouched = || way.forward.timeout.filter(|_| exchange.source.received() == 0);
    let route = record.deadline.or_else(|| untouched().map(|time| exchange.read + time));
    [route, record.ends].into_iter().flatten().min()
}

/// What goes from one attempt to the next.
struct State {
    /// What the pool's algorithm chooses by: random bits if that is nothing of the request.
    key: u64,
    tried: Tried,
    replay: Replay,
    idempotent: bool,
    /// CONNECT: a connection of its own.
    raw: bool,
    /// Some of the body has been pulled from the client.
    begun: bool,
    /// Retries so far.
    retries: u32,
}

impl State {
    fn new(way: &Way<'_>, pool: &Pool, exchange: &Exchange<'_>, record: &Record) -> Self {
        let key = pool.key.as_ref().and_then(|key| key.of(&exchange.request, record.address));
        let idempotent = exchange.request.method().is_idempotent();
        let body = exchange.guarded.framing != Framing::None;
        let replay = Replay::new(body, pool.retry.buffer, exchange.client.limits.underscores);
        let raw = exchange.guarded.upgrade == Some(Upgrade::Raw);
        let key = key.unwrap_or_else(|| way.local.random());
        Self { key, tried: Tried::default(), replay, idempotent, raw, begun: false, retries: 0 }
    }

    /// Why the request goes out once more after it has failed so; `None`: it does not.
    fn may_go_again(
        &self,
        way: &Way<'_>,
        pool: &Pool,
        kind: Kind,
        deadline: Option<Instant>,
        record: &Record,
    ) -> Option<Retry> {
        let retry = &pool.retry;
        let (on, reason) = match kind {
            Kind::ConnectRefused
            | Kind::ConnectFailed
            | Kind::ConnectTimeout
            | Kind::BackendTls
            | Kind::BackendCertificate => (retry.on_connect, Retry::Connect),
            Kind::Reset => (retry.on_reset, Retry::Reset),
            Kind::ResponseTimeout => (retry.on_timeout, Retry::Timeout),
            _ => return None,
        };
        if !on || !record.again || !self.has_more(retry, deadline) {
            return None;
        }
        if !pool.slot.budget.withdraw(way.local.second(), retry.budget, retry.budget_floor) {
            pool.slot.metrics.budget_exhausted(way.local.worker);
            return None;
        }
        Some(reason)
    }

    /// Attempts and time are left.
    fn has_more(&self, retry: &config::Retry, deadline: Option<Instant>) -> bool {
        self.retries < retry.attempts && deadline.is_none_or(|deadline| deadline > Instant::now())
    }

    /// Waits before a retry: not at all for the first after a connection that could not be made, else any time up to
    /// a bound that doubles ("full jitter": Brooker, AWS Architecture Blog, 2015).
    async fn wait(&mut self, way: &Way<'_>, pool: &Pool, reason: Retry, deadline: Option<Instant>) -> Result<(), ()> {
        let number = self.retries;
        self.retries += 1;
        let retry = &pool.retry;
        let bound = retry.backoff_base.saturating_mul(1 << number.min(16)).min(retry.backoff_max);
        if number == 0 && reason == Retry::Connect || bound.is_zero() {
            return Ok(());
        }
        let share = way.local.random() as f64 / u64::MAX as f64;
        let until = Instant::now() + bound.mul_f64(share);
        if deadline.is_some_and(|deadline| deadline <= until) {
            return Err(());
        }
        Box::pin(tokio::time::sleep_until(until)).await;
        Ok(())
    }
}

/// One attempt, and one more where it met a kept connection that had died (PRODUCT.md section 6.3).
async fn try_once(
    way: &Way<'_>,
    place: usize,
    exchange: &mut Exchange<'_>,
    state: &mut State,
    record: &mut Record,
) -> Outcome {
    let pool = &way.plan().pools[place];
    // Whatever fails from here until a byte has gone can be tried again.
    record.again = true;
    // The first attempt follows the head at once; before a further one, time has passed.
    let now = if record.attempts == 0 { exchange.read } else { Instant::now() };
    let until = deadline(way, exchange, record);
    if record.ends.is_some_and(|ends| ends <= now) {
        return Outcome::Failed(Kind::Deadline);
    }
    let acquired = match acquire(way, place, (now, until), state, record).await {
        Ok(acquired) => acquired,
        Err(kind) => return Outcome::Failed(kind),
    };
    let Acquired { seen, number, connection, kept } = acquired;
    let backend = seen.table.backend(number);
    record.chosen = Some((Rc::clone(&seen), number as u32));
    record.attempts += 1;
    state.tried.add(backend.id);
    exchange.client.meets(Some(backend.id));
    let lease = Lease::new(backend, &pool.slot.common, way.local.worker);
    let meter = Meter::new(pool, backend);
    if state.raw {
        let outcome = Box::pin(raw::run(way, pool, (&lease, &meter), exchange, connection, record)).await;
        meter.end(way.local, exchange, record);
        return outcome;
    }
    let begun = if kept { now } else { Instant::now() };
    let more = record.call && state.has_more(&pool.retry, until);
    let attempt = Attempt { way, pool, lease: &lease, meter: &meter, kept, begun, idempotent: state.idempotent, more };
    let again = std::mem::replace(&mut state.begun, true);
    match attempt.run(exchange, connection, &mut state.replay, again, record).await {
        Outcome::Stale => {}
        outcome => {
            meter.end(way.local, exchange, record);
            return outcome;
        }
    }
    let Some(room) = way.local.dialer.room(backend, &pool.settings) else {
        return Outcome::Failed(Kind::QueueFull);
    };
    match connect(way, pool, backend, room, deadline(way, exchange, record), record).await {
        Ok(connection) => {
            let attempt = Attempt { kept: false, begun: Instant::now(), ..attempt };
            let outcome = attempt.run(exchange, connection, &mut state.replay, true, record).await;
            meter.end(way.local, exchange, record);
            outcome
        }
        Err(error) => refused(way, backend, &error),
    }
}

/// A backend, and a connection to it.
struct Acquired {
    seen: Rc<super::local::Seen>,
    /// The backend's place in the table.
    number: usize,
    connection: Connection,
    /// It has been used before.
    kept: bool,
}

/// Chooses a backend and gets a connection to it. One that is full is passed over; if all are, the other workers are
/// asked to close idle connections, a few times. Where all have been tried, they may be once more.
async fn acquire(
    way: &Way<'_>,
    place: usize,
    (now, deadline): (Instant, Option<Instant>),
    state: &mut State,
    record: &mut Record,
) -> Result<Acquired, Kind> {
    let (local, pool) = (way.local, &way.plan().pools[place]);
    let (mut asked, mut met_full) = (Vec::new(), false);
    for round in 1..=ROUNDS {
        let seen = way.pinned.table(place);
        let mut full = Tried::default();
        loop {
            let tried = if round == 1 && full.is_empty() { &state.tried } else { &full };
            let waits = (!asked.is_empty()).then_some(&full);
            let mut pick = |tried| {
                let pick = Pick {
                    key: state.key,
                    worker: local.worker,
                    random: local.random(),
                    now: local.micros(now),
                    tried,
                };
                match &pool.sticky {
                    None => seen.table.pick(&pick),
                    Some(sticky) => sticky::choose(sticky, &seen.table, pick, waits, &mut record.sticky),
                }
            };
            // Nobody else is left: those that were tried already have their second turn.
            let Some(number) = pick(tried).or_else(|| pick(&full)) else { break };
            let backend = seen.table.backend(number);
            let look = || match state.raw {
                true => local.dialer.raw(backend, &pool.settings),
                false => local.dialer.checkout(backend, &pool.settings, now, !state.idempotent),
            };
            let mut checkout = look();
            while let Checkout::Wait(dial) = checkout {
                if let Err(kind) = await_dial(dial, deadline, record).await {
                    return Err(fail(way, (seen, number), &kind.into(), state, record));
                }
                checkout = look();
            }
            match checkout {
                Checkout::Kept(connection) => {
                    return Ok(Acquired { seen, number, connection, kept: true });
                }
                Checkout::New(room) => {
                    let connected = connect(way, pool, backend, room, deadline, record).await;
                    return match connected {
                        Ok(connection) => Ok(Acquired { seen, number, connection, kept: false }),
                        Err(error) => Err(fail(way, (seen, number), &error, state, record)),
                    };
                }
                Checkout::Wait(_) => {}
                Checkout::Full => {
                    met_full = true;
                    full.add(backend.id);
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
    Err(if met_full { Kind::QueueFull } else { Kind::NoBackend })
}

/// A backend could not be connected to: that was an attempt.
fn fail(
    way: &Way<'_>,
    (seen, number): (Rc<super::local::Seen>, usize),
    error: &Error,
    state: &mut State,
    record: &mut Record,
) -> Kind {
    let backend = seen.table.backend(number);
    record.attempts += 1;
    state.tried.add(backend.id);
    refused(way, backend, error);
    record.chosen = Some((seen, number as u32));
    error.kind()
}

/// Waits until somebody else's new connection is there, for all to share.
fn await_dial<'p>(
    dial: Rc<Dial>,
    deadline: Option<Instant>,
    record: &'p mut Record,
) -> Pin<Box<dyn Future<Output = Result<(), Kind>> + 'p>> {
    Box::pin(async move {
        let begun = Instant::now();
        let waited = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, dial.wait()).await.unwrap_or(Err(Kind::Deadline)),
            None => dial.wait().await,
        };
        *record.connect.get_or_insert(Duration::ZERO) += begun.elapsed();
        waited
    })
}

/// A new connection. In a box of its own: most exchanges never need one, and should not carry its size.
fn connect<'p>(
    way: &'p Way<'_>,
    pool: &'p Pool,
    backend: &'p Backend,
    room: Room,
    deadline: Option<Instant>,
    record: &'p mut Record,
) -> Pin<Box<dyn Future<Output = Result<Connection, Error>> + 'p>> {
    Box::pin(async move {
        let begun = Instant::now();
        let header = client::proxy_header(way.client, &pool.settings);
        let dial = dial::connect(&way.local.dialer, backend, &pool.settings, room, &way.local.spares, &header);
        let connected = match deadline {
            Some(deadline) => {
                tokio::time::timeout_at(deadline, dial).await.unwrap_or_else(|_| Err(Kind::Deadline.into()))
            }
            None => dial.await,
        };
        let now = Instant::now();
        let spent = now - begun;
        *record.connect.get_or_insert(Duration::ZERO) += spent;
        if let Err(error) = &connected {
            meter::unreached(way, backend, error.kind(), now, spent);
        }
        connected
    })
}

/// A backend that could not be connected to.
fn refused(way: &Way<'_>, backend: &Arc<Backend>, error: &Error) -> Outcome {
    let kind = error.kind();
    backend.metrics.attempt(way.local.worker, kind.status(), None);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(backend = %backend.name, failure = kind.word(), %source, "attempt failed");
    Outcome::Failed(kind)
}
