//! An exchange in its pool's queue: every backend that it may go to is full. Called by `forward`, which looks for a backend
//! before it waits, and again when it is told to. In a box, with `forward`'s search: exchanges that go well never carry it.
//!
//! The client's leaving ends the wait at once, as does the route's time; the place in line goes with the future.

use super::{Record, Way, sticky};
use crate::{
    balance::Tried,
    config,
    error::Kind,
    http::Exchange,
    plan::Pool,
    pool::{Called, Lease, Seen, Turn, Wants},
};
use std::{
    future::poll_fn,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// Connections end for many reasons of which the queue does not hear: who lacks one looks for itself so often.
const LOOKS: Duration = Duration::from_millis(250);
/// A client waits for the backend that has its session for such a part of the queue's time,
const PATIENCE: u32 = 5;
/// or so long where that has no end.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// Somebody in line.
pub(super) struct Waiting<'p> {
    pool: &'p Pool,
    worker: usize,
    turn: Turn<'p>,
    since: Instant,
    /// When it stops waiting for the backend of its session.
    patience: Instant,
}

impl<'p> Waiting<'p> {
    fn new(pool: &'p Pool, worker: usize, turn: Turn<'p>, queue: &config::Queue) -> Self {
        let since = Instant::now();
        let patience = since + queue.timeout.map_or(LONGEST_PATIENCE, |time| time / PATIENCE);
        Self { pool, worker, turn, since, patience }
    }

    /// Who came earlier has a smaller one.
    pub(super) fn number(&self) -> u64 {
        self.turn.number()
    }

    /// Another backend than that of its session may have it by now.
    pub(super) fn is_impatient(&self, now: Instant) -> bool {
        self.patience <= now
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.slot.metrics.waited(self.worker, self.since.elapsed());
    }
}

/// Why nobody could be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full<'a> {
    /// There was a place, and no connection.
    pub(super) connection: bool,
    /// Who has failed this exchange.
    pub(super) tried: &'a Tried,
    /// A session waits for its own backend.
    pub(super) patient: bool,
}

/// Waits in the queue of the pool at `place`, where it is `waiting` already or behind all others. `None`: it should look for
/// itself.
///
/// # Errors
/// `queue_full`, `queue_timeout`, `deadline`, `client_gone`, `draining`.
pub(super) async fn wait<'p>(
    way: &Way<'p>,
    place: usize,
    (full, deadline): (Full<'_>, Option<Instant>),
    waiting: &mut Option<Waiting<'p>>,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Result<Option<Lease<'p>>, Kind> {
    let (pool, seen) = (way.pool(place), way.pinned.table(place));
    let Some(queue) = pool.settings.queue else { return Err(Kind::QueueFull) };
    let wants = wants(pool, &seen, full, record);
    let lacks = wants.connection;
    match &waiting {
        Some(waiting) => waiting.turn.stand(wants, &seen),
        None => {
            let turn = pool.slot.join(wants, &seen, queue.size).ok_or(Kind::QueueFull)?;
            *waiting = Some(Waiting::new(pool, way.local.worker, turn, &queue));
        }
    }
    let Some(waiting) = &*waiting else { return Err(Kind::Internal) };
    // It is with nobody: the end of a backend that it has tried is not its own.
    exchange.client.meets(None);
    let begun = Instant::now();
    let in_vain = queue.timeout.map(|time| (waiting.since + time, Some(Kind::QueueTimeout)));
    let looks = lacks.then_some((begun + LOOKS, None));
    let patience = (full.patient && waiting.patience > begun).then_some((waiting.patience, None));
    let until = [deadline.map(|at| (at, Some(Kind::Deadline))), in_vain, looks, patience];
    let until: Until = until.into_iter().flatten().min_by_key(|(at, _)| *at);
    let called = poll_fn(|cx| poll(cx, &waiting.turn, exchange, until)).await;
    *record.queue.get_or_insert(Duration::ZERO) += begun.elapsed();
    let called = match called {
        Ok(called) => called,
        Err(kind) => {
            if kind == Kind::QueueTimeout {
                pool.slot.metrics.queue_timeout(way.local.worker);
            }
            return Err(kind);
        }
    };
    // A backend that has gone meanwhile is not in today's table: then the place is given back.
    let lease = |given| Lease::given(given, way.pinned.table(place), &pool.slot, way.local.worker);
    Ok(match called {
        Some(Called::Place(given)) => lease(given),
        Some(Called::Look) | None => None,
    })
}

/// What an exchange waits for: the backend of its session, or any but those that have failed it, while there are others.
fn wants(pool: &Pool, seen: &Seen, full: Full<'_>, record: &Record) -> Wants {
    let session = pool.sticky.as_deref().zip(record.sticky.as_deref());
    let only = session.and_then(|(sticky, session)| sticky::waits_for(sticky, &seen.table, session, &full));
    let others = only.is_none() && seen.table.has_others(full.tried);
    Wants { only, not: if others { full.tried.clone() } else { Tried::default() }, connection: full.connection }
}

/// A moment, and why the wait has been in vain when it comes; `None`: it is time to look.
type Until = Option<(Instant, Option<Kind>)>;

/// Ready with `None`: it is time to look.
fn poll<'p>(
    cx: &mut Context<'_>,
    turn: &Turn<'p>,
    exchange: &mut Exchange<'_>,
    until: Until,
) -> Poll<Result<Option<Called<'p>>, Kind>> {
    if exchange.sink.poll_gone_early(cx, exchange.client.limits.half_close).is_ready() {
        return Poll::Ready(Err(Kind::ClientGone));
    }
    if exchange.client.is_cut() {
        return Poll::Ready(Err(Kind::Draining));
    }
    if let Poll::Ready(called) = turn.poll(cx) {
        return Poll::Ready(Ok(Some(called)));
    }
    exchange.timer.set(until.map(|(at, _)| at));
    match until {
        Some((_, kind)) if exchange.timer.poll(cx).is_ready() => Poll::Ready(kind.map_or(Ok(None), Err)),
        _ => Poll::Pending,
    }
}
