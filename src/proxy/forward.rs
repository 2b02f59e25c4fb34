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
    pool::{Backend, Lease, Refused},
    telemetry::metrics::Retry,
};
use std::{future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often the other workers are asked, less one: what one has just taken, another has perhaps just given back.
const ROUNDS: usize = 4;

/// Forwards `exchange` to the pool at `place` of the plan. What an exchange that goes well does not need has a box of its
/// own: of those that wait there are many at a time, and each is woken cold.
pub(super) async fn forward(way: &Way<'_>, place: usize, exchange: &mut Exchange<'_>, record: &mut Record) -> Outcome {
    let pool = &way.plan().pools[place];
    pool.slot.budget.request(way.local.worker, way.local.second());
    let mut state = State::new(way, pool, exchange, record);
    loop {
        // Whatever fails from here until a byte has gone can be tried again.
        record.again = true;
        // The first attempt follows the head at once; before a further one, time has passed.
        let now = if record.attempts == 0 { exchange.read } else { Instant::now() };
        if record.ends.is_some_and(|ends| ends <= now) {
            return Outcome::Failed(Kind::Deadline);
        }
        let taken = match state.kept(way, place, now, record) {
            Ok(taken) => Ok(taken),
            Err(first) => {
                let until = deadline(way, exchange, record);
                Box::pin(acquire(way, place, (now, until), first, &mut state, record)).await
            }
        };
        let outcome = match taken {
            Ok(taken) => try_once(way, pool, taken, exchange, &mut state, record).await,
            Err(kind) => Outcome::Failed(kind),
        };
        let (Outcome::Failed(_) | Outcome::Again) = outcome else { return outcome };
        let deadline = deadline(way, exchange, record);
        let reason = match outcome {
            Outcome::Failed(kind) => state.may_go_again(way, pool, kind, deadline, record),
            _ => Some(Retry::Grpc),
        };
        let Some(reason) = reason else { return outcome };
        pool.slot.metrics.retry(way.local.worker, reason);
        if Box::pin(state.wait(way, pool, reason, deadline)).await.is_err() {
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
    /// The connection of the attempt has been used before.
    kept: bool,
    /// It has been there since.
    since: Instant,
}

impl State {
    fn new(way: &Way<'_>, pool: &Pool, exchange: &Exchange<'_>, record: &Record) -> Self {
        let key = pool.key.as_ref().and_then(|key| key.of(&exchange.request, record.address));
        let idempotent = exchange.request.method().is_idempotent();
        let body = exchange.guarded.framing != Framing::None;
        let replay = Replay::new(body, pool.retry.buffer, exchange.client.limits.underscores);
        let raw = exchange.guarded.upgrade == Some(Upgrade::Raw);
        let since = exchange.read;
        let key = key.unwrap_or_else(|| way.local.random());
        Self { key, tried: Tried::default(), replay, idempotent, raw, begun: false, retries: 0, kept: false, since }
    }

    /// The usual case: a backend is chosen, and has a connection at hand. Else what has been chosen, if anybody.
    fn kept<'p>(
        &mut self,
        way: &Way<'p>,
        place: usize,
        now: Instant,
        record: &mut Record,
    ) -> Result<Taken<'p>, Option<Choice<'p>>> {
        match choose(way, place, now, self, (&self.tried, None), record) {
            Some(Choice::Taken(lease, Checkout::Kept(connection))) => {
                (self.kept, self.since) = (true, now);
                Ok((lease, connection))
            }
            choice => Err(choice),
        }
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
        tokio::time::sleep_until(until).await;
        Ok(())
    }
}

/// One attempt, and one more where it met a kept connection that had died (PRODUCT.md section 6.3).
async fn try_once<'p>(
    way: &Way<'p>,
    pool: &'p Pool,
    (lease, mut connection): Taken<'p>,
    exchange: &mut Exchange<'_>,
    state: &mut State,
    record: &mut Record,
) -> Outcome {
    let backend = lease.backend();
    record.chosen = Some(lease.chosen());
    record.attempts += 1;
    state.tried.add(backend.id);
    exchange.client.meets(Some(backend.id));
    let meter = Meter::new(pool, backend);
    if state.raw {
        let outcome = Box::pin(raw::run(way, pool, (&lease, &meter), exchange, connection, record)).await;
        meter.end(way.local, exchange, record);
        return outcome;
    }
    let more = record.call && state.has_more(&pool.retry, deadline(way, exchange, record));
    let mut attempt = Attempt {
        way,
        pool,
        lease: &lease,
        meter: &meter,
        kept: state.kept,
        begun: state.since,
        idempotent: state.idempotent,
        more,
    };
    let outcome = loop {
        let again = std::mem::replace(&mut state.begun, true);
        match attempt.run(exchange, connection, &mut state.replay, again, record).await {
            Outcome::Stale if attempt.kept => {}
            outcome => break outcome,
        }
        let Some(room) = way.local.dialer.room(backend, &pool.settings) else {
            break Outcome::Failed(Kind::QueueFull);
        };
        connection = match connect(way, pool, backend, room, deadline(way, exchange, record), record).await {
            Ok(connection) => connection,
            Err(error) => break refused(way, &lease, &error),
        };
        (attempt.kept, attempt.begun) = (false, Instant::now());
    };
    meter.end(way.local, exchange, record);
    outcome
}

/// The right to an attempt, and the connection for it.
type Taken<'p> = (Lease<'p>, Connection);

/// A backend that has been chosen.
enum Choice<'p> {
    /// An attempt at it may be made; and what there is of connections to it.
    Taken(Lease<'p>, Checkout),
    /// It takes none now.
    Refused(u32, Refused),
}

/// Chooses a backend that is not in `tried`; the other workers are asked for room at those in `waits`.
fn choose<'p>(
    way: &Way<'p>,
    place: usize,
    now: Instant,
    state: &State,
    (tried, waits): (&Tried, Option<&Tried>),
    record: &mut Record,
) -> Option<Choice<'p>> {
    let (local, seen, pool) = (way.local, way.pinned.table(place), way.pool(place));
    let pick = Pick { key: state.key, worker: local.worker, random: local.random(), now: local.micros(now), tried };
    let number = match (&pool.sticky, &mut record.sticky) {
        (Some(sticky), Some(session)) => sticky::choose(sticky, &seen.table, pick, waits, session),
        _ => seen.table.pick(&pick),
    }?;
    Some(match Lease::take(seen, number, &pool.slot, local.worker) {
        Ok(lease) => {
            let checkout = look(way, pool, lease.backend(), now, state);
            Choice::Taken(lease, checkout)
        }
        Err((seen, refused)) => Choice::Refused(seen.table.backend(number).id, refused),
    })
}

/// What there is of connections to `backend`.
fn look(way: &Way<'_>, pool: &Pool, backend: &Arc<Backend>, now: Instant, state: &State) -> Checkout {
    let (dialer, settings) = (&way.local.dialer, &pool.settings);
    match state.raw {
        true => dialer.raw(backend, settings),
        false => dialer.checkout(backend, settings, now, !state.idempotent),
    }
}

/// Chooses a backend and gets a connection to it; `first` has been chosen already. One that is full is passed over; if all
/// are, the other workers are asked to close idle connections, a few times. Where all have been tried, they may be once
/// more.
async fn acquire<'p>(
    way: &Way<'p>,
    place: usize,
    (now, deadline): (Instant, Option<Instant>),
    mut first: Option<Choice<'p>>,
    state: &mut State,
    record: &mut Record,
) -> Result<Taken<'p>, Kind> {
    let (local, pool) = (way.local, way.pool(place));
    let (mut asked, mut met_full) = (Vec::new(), false);
    for round in 1..=ROUNDS {
        let (mut full, mut passed) = (Tried::default(), state.tried.clone());
        loop {
            let waits = (!asked.is_empty()).then_some(&full);
            let choice = first.take().or_else(|| choose(way, place, now, state, (&passed, waits), record));
            // Nobody else is left: those that were tried already have their second turn.
            let choice = choice.or_else(|| choose(way, place, now, state, (&full, waits), record));
            let (lease, mut checkout) = match choice {
                None => break,
                Some(Choice::Taken(lease, checkout)) => (lease, checkout),
                Some(Choice::Refused(_, Refused::PoolOpen)) => return Err(Kind::BreakerOpen),
                Some(Choice::Refused(backend, refused)) => {
                    met_full |= refused == Refused::Full;
                    full.add(backend);
                    passed.add(backend);
                    continue;
                }
            };
            let backend = lease.backend();
            while let Checkout::Wait(dial) = checkout {
                if let Err(kind) = await_dial(dial, deadline, record).await {
                    return Err(fail(way, &lease, &kind.into(), state, record));
                }
                checkout = look(way, pool, backend, now, state);
            }
            let (connection, kept) = match checkout {
                Checkout::Kept(connection) => (Ok(connection), true),
                Checkout::New(room) => (connect(way, pool, backend, room, deadline, record).await, false),
                Checkout::Wait(_) => continue,
                Checkout::Full => {
                    met_full = true;
                    full.add(backend.id);
                    passed.add(backend.id);
                    if round < ROUNDS {
                        asked.extend((local.ask_others)(backend.id));
                    }
                    continue;
                }
            };
            (state.kept, state.since) = (kept, if kept { now } else { Instant::now() });
            return match connection {
                Ok(connection) => Ok((lease, connection)),
                Err(error) => Err(fail(way, &lease, &error, state, record)),
            };
        }
        if asked.is_empty() {
            break;
        }
        for done in asked.drain(..) {
            // An error means that the worker has looked, too.
            let _ = done.await;
        }
    }
    Err(match met_full {
        true => Kind::QueueFull,
        // Without a backend nobody has asked.
        false if pool.slot.is_open() => Kind::BreakerOpen,
        false => Kind::NoBackend,
    })
}

/// A backend could not be connected to: that was an attempt.
fn fail(way: &Way<'_>, lease: &Lease<'_>, error: &Error, state: &mut State, record: &mut Record) -> Kind {
    record.attempts += 1;
    state.tried.add(lease.backend().id);
    refused(way, lease, error);
    record.chosen = Some(lease.chosen());
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
fn refused(way: &Way<'_>, lease: &Lease<'_>, error: &Error) -> Outcome {
    let (backend, kind) = (lease.backend(), error.kind());
    lease.failed(kind, Instant::now());
    backend.metrics.attempt(way.local.worker, kind.status(), None);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(backend = %backend.name, failure = kind.word(), %source, "attempt failed");
    Outcome::Failed(kind)
}
