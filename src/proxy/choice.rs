//! Which backend an attempt goes to, and a connection to it: now, or after a while in the pool's queue. Called by `forward`. Hot
//! path, but for what is in boxes.

use super::{
    Record, Way,
    attempt::Outcome,
    client,
    forward::State,
    meter,
    queue::{self, Full, Waiting},
    sticky, trace,
};
use crate::{
    balance::{Pick, Tried},
    dial::{self, Checkout, Connection, Dial, Room},
    error::{Error, Kind},
    http::Exchange,
    plan::Pool,
    pool::{Backend, Lease, Refused, Seen},
    telemetry::trace::TraceId,
};
use std::{future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often the other workers are asked, less one: what one has just taken, another has perhaps just given back.
const ROUNDS: usize = 4;

/// The right to an attempt, and the connection for it.
pub(super) type Taken<'p> = (Lease<'p>, Connection);

/// A backend that has been chosen.
pub(super) enum Choice<'p> {
    /// An attempt at it may be made; and what there is of connections to it.
    Taken(Lease<'p>, Checkout),
    /// It takes none now.
    Refused(u32, Refused),
}

/// Chooses a backend that is not in `tried`; the other workers are asked for room at those in `waits`.
pub(super) fn choose<'p>(
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
pub(super) async fn acquire<'p>(
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

/// Backends that are out of the question in one look.
struct Out {
    /// Those that are full,
    full: Tried,
    /// those that take nothing, for that or another reason,
    shut: Tried,
    /// and these, with all that have failed the exchange.
    passed: Tried,
    /// One that has not failed it can be waited for.
    others: bool,
}

impl Out {
    fn new(tried: &Tried) -> Self {
        Self { full: Tried::default(), shut: Tried::default(), passed: tried.clone(), others: false }
    }

    /// `backend` takes nothing, perhaps because it is full.
    fn add(&mut self, backend: u32, is_full: bool, pool: &Pool, state: &State) {
        if is_full {
            self.others |= pool.settings.queue.is_some() && !state.tried.has(backend);
            self.full.add(backend);
        }
        self.shut.add(backend);
        self.passed.add(backend);
    }
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
        let mut out = Out::new(&state.tried);
        loop {
            let waits = (state.patient || !asked.is_empty()).then_some(&out.full);
            let choice = first.take().or_else(|| choose(way, place, now, state, (&out.passed, waits), record));
            // Backups have their turn before those that have failed it have a second one.
            let spare = |record: &mut Record| {
                let fails = !met_full && !out.passed.is_empty();
                if fails { stand_by(way, place, now, state, &out.passed, record) } else { None }
            };
            let choice = match choice.or_else(|| spare(record)) {
                None if !out.others => choose(way, place, now, state, (&out.shut, waits), record),
                choice => choice,
            };
            let (lease, mut checkout) = match choice {
                None => break,
                Some(Choice::Taken(lease, checkout)) => (lease, checkout),
                Some(Choice::Refused(_, Refused::PoolOpen)) => return Found::Failed(Kind::BreakerOpen),
                Some(Choice::Refused(_, Refused::Queued)) => return Found::Full { connection: false },
                Some(Choice::Refused(backend, refused)) => {
                    met_full |= refused == Refused::Full;
                    out.add(backend, refused == Refused::Full, pool, state);
                    continue;
                }
            };
            state.chosen = Instant::now();
            let (backend, mut now) = (lease.backend(), now);
            while let Checkout::Wait(dial) = checkout {
                if let Err(kind) = await_dial(dial, deadline, record).await {
                    return Found::Failed(fail(way, &lease, &kind.into(), state, record));
                }
                now = Instant::now();
                checkout = look(way, pool, backend, now, state);
            }
            let (connection, kept) = match checkout {
                Checkout::Kept(connection) => (Ok(connection), true),
                Checkout::New(room) => (connect(way, pool, backend, room, deadline, record).await, false),
                Checkout::Wait(_) => continue,
                Checkout::Full => {
                    (met_full, lacking) = (true, true);
                    out.add(backend.id, true, pool, state);
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
    refused(way, lease, error, record.trace);
    trace::unreached(way.local, (lease.backend(), state.chosen), error.kind(), record);
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
pub(super) fn connect<'p>(
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
pub(super) fn refused(way: &Way<'_>, lease: &Lease<'_>, error: &Error, trace: TraceId) -> Outcome {
    let (backend, kind) = (lease.backend(), error.kind());
    lease.failed(kind, Instant::now());
    backend.metrics.attempt(way.local.worker, kind.status(), None);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    tracing::debug!(backend = %backend.name, failure = kind.word(), %source, trace_id = %trace, "attempt failed");
    Outcome::Failed(kind)
}
