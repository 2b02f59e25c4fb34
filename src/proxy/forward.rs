//! Gets an exchange to a backend and its answer back, with further attempts where they are safe. Hot path.

use super::{
    Record, Way,
    attempt::{Attempt, Outcome},
    client,
    meter::{self, Meter},
    queue::{self, Full, Waiting},
    raw,
    replay::Replay,
    sticky,
};
use crate::{
    balance::{Pick, Tried},
    config,
    dial::{self, Checkout, Connection, Dial, Room},
    error::{Error, Kind},
    http::{Exchange, guard::Upgrade},
    plan::Pool,
    pool::{Backend, Lease, Refused, Seen},
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
                Box::pin(acquire(way, place, (now, until), first, exchange, &mut state, record)).await
            }
        };
        let outcome = match taken {
            Ok(taken) => try_once(way, pool, taken, exchange, &mut state, record).await,
            Err(kind) => Outcome::Failed(kind),
        };
        let deadline = deadline(way, exchange, record);
        let (reason, wait) = match outcome {
            Outcome::Again(reason, wait) => (reason, wait),
            Outcome::Failed(kind) => match state.may_go_again(way, pool, kind, deadline, record) {
                Some(reason) => (reason, state.backoff(way, pool, reason)),
                None => {
                    if kind.falls_back() {
                        record.rare.get_or_insert_default().body = Some((state.replay, state.begun));
                    }
                    return outcome;
                }
            },
            _ => return outcome,
        };
        state.retries += 1;
        pool.slot.metrics.retry(way.local.worker, reason);
        if Box::pin(pause(wait, deadline)).await.is_err() {
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
    /// In the pool's queue.
    number: Option<u64>,
    /// A session waits for its own backend while that is full.
    patient: bool,
}

impl State {
    /// Where another pool has been tried in vain, it begins with what that one has left of the body.
    fn new(way: &Way<'_>, pool: &Pool, exchange: &Exchange<'_>, record: &mut Record) -> Self {
        let key = pool.key.as_ref().and_then(|key| key.of(&exchange.request, record.address));
        let idempotent = exchange.request.method().is_idempotent() || is_replayable(pool, exchange);
        let body = exchange.guarded.framing;
        let rare = record.rare.as_deref_mut();
        let (copy, held) = rare.map_or((None, None), |rare| (rare.copy.take(), rare.body.take()));
        let underscores = exchange.client.limits.underscores;
        let (replay, begun) = held.unwrap_or_else(|| (Replay::new(body, pool.retry.buffer, underscores, copy), false));
        let raw = exchange.guarded.upgrade == Some(Upgrade::Raw);
        let since = exchange.read;
        let key = key.unwrap_or_else(|| way.local.random());
        let kept = record.sticky.as_ref().is_some_and(|session| session.is_kept());
        let (tried, patient) = (Tried::default(), kept && pool.settings.queue.is_some());
        let (retries, kept, number) = Default::default();
        Self { key, tried, replay, idempotent, raw, begun, retries, kept, since, number, patient }
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

    /// How long the next retry waits: not at all if it is the first and no connection could be made, else any time up to a
    /// bound that doubles ("full jitter": Brooker, AWS Architecture Blog, 2015).
    fn backoff(&self, way: &Way<'_>, pool: &Pool, reason: Retry) -> Duration {
        let retry = &pool.retry;
        let bound = retry.backoff_base.saturating_mul(1 << self.retries.min(16)).min(retry.backoff_max);
        if self.retries == 0 && reason == Retry::Connect || bound.is_zero() {
            return Duration::ZERO;
        }
        bound.mul_f64(way.local.random() as f64 / u64::MAX as f64)
    }

    /// How long a retry after an answer would wait, if there may be one. It must be known when the answer comes.
    fn more(&self, way: &Way<'_>, pool: &Pool, deadline: Option<Instant>, record: &Record) -> Option<Duration> {
        let retry = &pool.retry;
        let wanted = !retry.on_status.is_empty() || record.call && retry.on_grpc != 0;
        (wanted && self.has_more(retry, deadline)).then(|| self.backoff(way, pool, Retry::Status))
    }
}

/// The operator says that the request may be sent twice, whatever its method.
fn is_replayable(pool: &Pool, exchange: &Exchange<'_>) -> bool {
    let retry = &pool.retry;
    retry.non_idempotent || retry.idempotency_key && exchange.request.find(b"idempotency-key").is_some()
}

/// Waits; an error if `deadline` comes first.
async fn pause(wait: Duration, deadline: Option<Instant>) -> Result<(), ()> {
    if wait.is_zero() {
        return Ok(());
    }
    let until = Instant::now() + wait;
    if deadline.is_some_and(|deadline| deadline <= until) {
        return Err(());
    }
    tokio::time::sleep_until(until).await;
    Ok(())
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
    let more = state.more(way, pool, deadline(way, exchange, record), record);
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
    Some(take(way, pool, (seen, number), now, state))
}

/// Chooses a backup that is not in `tried`, where all of the others have failed and the client may leave its own.
fn stand_by<'p>(
    way: &Way<'p>,
    place: usize,
    now: Instant,
    state: &State,
    tried: &Tried,
    record: &Record,
) -> Option<Choice<'p>> {
    let (local, seen, pool) = (way.local, way.pinned.table(place), way.pool(place));
    if let (Some(sticky), Some(session)) = (&pool.sticky, &record.sticky)
        && sticky::stays(sticky, session)
    {
        return None;
    }
    let pick = Pick { key: state.key, worker: local.worker, random: local.random(), now: local.micros(now), tried };
    let number = seen.table.pick_spare(&pick)?;
    Some(take(way, pool, (seen, number), now, state))
}

/// The right to an attempt at the backend with that number of the table, if it takes one; and a look at its connections.
fn take<'p>(
    way: &Way<'p>,
    pool: &'p Pool,
    (seen, number): (Rc<Seen>, usize),
    now: Instant,
    state: &State,
) -> Choice<'p> {
    match Lease::take(seen, number, &pool.slot, way.local.worker, state.number) {
        Ok(lease) => {
            let checkout = look(way, pool, lease.backend(), now, state);
            Choice::Taken(lease, checkout)
        }
        Err((seen, refused)) => Choice::Refused(seen.table.backend(number).id, refused),
    }
}

/// What there is of connections to `backend`.
fn look(way: &Way<'_>, pool: &Pool, backend: &Arc<Backend>, now: Instant, state: &State) -> Checkout {
    let (dialer, settings) = (&way.local.dialer, &pool.settings);
    match state.raw {
        true => dialer.raw(backend, settings),
        false => dialer.checkout(backend, settings, now, !state.idempotent),
    }
}

/// Gets a place at a backend and a connection to it: at once, or after a while in the pool's queue.
async fn acquire<'p>(
    way: &Way<'p>,
    place: usize,
    (mut now, deadline): (Instant, Option<Instant>),
    mut first: Option<Choice<'p>>,
    exchange: &mut Exchange<'_>,
    state: &mut State,
    record: &mut Record,
) -> Result<Taken<'p>, Kind> {
    let mut waiting: Option<Waiting<'p>> = None;
    loop {
        let connection = match find(way, place, (now, deadline), first.take(), state, record).await {
            Found::Taken(taken) => break Ok(taken),
            Found::Failed(kind) => break Err(kind),
            Found::Full { connection } => connection,
        };
        let full = Full { connection, tried: &state.tried, patient: state.patient };
        let lease = match queue::wait(way, place, (full, deadline), &mut waiting, exchange, record).await {
            Ok(lease) => lease,
            // Those who wait are too many to wait for the backend of a session as well.
            Err(Kind::QueueFull) if waiting.is_none() && std::mem::take(&mut state.patient) => None,
            Err(kind) => break Err(kind),
        };
        now = Instant::now();
        state.number = waiting.as_ref().map(Waiting::number);
        state.patient &= !waiting.as_ref().is_some_and(|waiting| waiting.is_impatient(now));
        first = lease.map(|lease| {
            let checkout = look(way, way.pool(place), lease.backend(), now, state);
            Choice::Taken(lease, checkout)
        });
    }
}

/// What has come of a look for a backend.
enum Found<'p> {
    /// One, and a connection to it.
    Taken(Taken<'p>),
    /// None, and waiting is no help.
    Failed(Kind),
    /// All are full; of places, or of connections.
    Full { connection: bool },
}

/// Chooses a backend and gets a connection to it; `first` has been chosen already. One that is full is passed over; if all
/// are, the other workers are asked to close idle connections, a few times. Where all have been tried, they may be once
/// more; while others can be waited for, they are not.
async fn find<'p>(
    way: &Way<'p>,
    place: usize,
    (now, deadline): (Instant, Option<Instant>),
    mut first: Option<Choice<'p>>,
    state: &mut State,
    record: &mut Record,
) -> Found<'p> {
    let (local, pool) = (way.local, way.pool(place));
    let (mut asked, mut met_full, mut lacking) = (Vec::new(), false, false);
    for round in 1..=ROUNDS {
        // Those that are full; those that take nothing for that or another reason; and those with all that have failed it.
        let (mut full, mut shut, mut passed) = (Tried::default(), Tried::default(), state.tried.clone());
        let mut others = false;
        loop {
            let waits = (state.patient || !asked.is_empty()).then_some(&full);
            let choice = first.take().or_else(|| choose(way, place, now, state, (&passed, waits), record));
            // Backups have their turn before those that have failed it have a second one.
            let spare = |record: &mut Record| {
                let fails = !met_full && !passed.is_empty();
                if fails { stand_by(way, place, now, state, &passed, record) } else { None }
            };
            let choice = match choice.or_else(|| spare(record)) {
                None if !others => choose(way, place, now, state, (&shut, waits), record),
                choice => choice,
            };
            let (lease, mut checkout) = match choice {
                None => break,
                Some(Choice::Taken(lease, checkout)) => (lease, checkout),
                Some(Choice::Refused(_, Refused::PoolOpen)) => return Found::Failed(Kind::BreakerOpen),
                Some(Choice::Refused(_, Refused::Queued)) => return Found::Full { connection: false },
                Some(Choice::Refused(backend, refused)) => {
                    if refused == Refused::Full {
                        met_full = true;
                        others |= pool.settings.queue.is_some() && !state.tried.has(backend);
                    }
                    if refused == Refused::Full {
                        full.add(backend);
                    }
                    shut.add(backend);
                    passed.add(backend);
                    continue;
                }
            };
            let backend = lease.backend();
            while let Checkout::Wait(dial) = checkout {
                if let Err(kind) = await_dial(dial, deadline, record).await {
                    return Found::Failed(fail(way, &lease, &kind.into(), state, record));
                }
                checkout = look(way, pool, backend, now, state);
            }
            let (connection, kept) = match checkout {
                Checkout::Kept(connection) => (Ok(connection), true),
                Checkout::New(room) => (connect(way, pool, backend, room, deadline, record).await, false),
                Checkout::Wait(_) => continue,
                Checkout::Full => {
                    (met_full, lacking) = (true, true);
                    others |= pool.settings.queue.is_some() && !state.tried.has(backend.id);
                    full.add(backend.id);
                    shut.add(backend.id);
                    passed.add(backend.id);
                    if round < ROUNDS {
                        asked.extend((local.ask_others)(backend.id));
                    }
                    lease.forgo();
                    continue;
                }
            };
            (state.kept, state.since) = (kept, if kept { now } else { Instant::now() });
            return match connection {
                Ok(connection) => Found::Taken((lease, connection)),
                Err(error) => Found::Failed(fail(way, &lease, &error, state, record)),
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
    if met_full {
        return Found::Full { connection: lacking };
    }
    // Without a backend nobody has asked the pool's circuit.
    Found::Failed(if pool.slot.is_open() { Kind::BreakerOpen } else { pool.nobody() })
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
