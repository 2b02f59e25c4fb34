//! Gets an exchange to a backend and its answer back, with further attempts where they are safe. Hot path.

use super::{
    Record, Way,
    attempt::{Attempt, Outcome},
    choice::{Choice, Taken, acquire, choose, connect, refused},
    meter::Meter,
    raw,
    replay::{Replay, Trailers},
    trace,
};
use crate::{
    balance::Tried,
    config,
    dial::Checkout,
    error::Kind,
    http::{Exchange, Framing, guard::Upgrade},
    plan::Pool,
    telemetry::metrics::Retry,
};
use std::time::Duration;
use tokio::time::Instant;

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
pub(super) struct State {
    /// What the pool's algorithm chooses by: random bits if that is nothing of the request.
    pub(super) key: u64,
    pub(super) tried: Tried,
    replay: Replay,
    pub(super) idempotent: bool,
    /// CONNECT: a connection of its own.
    pub(super) raw: bool,
    /// Some of the body has been pulled from the client.
    begun: bool,
    /// Retries so far.
    retries: u32,
    /// The connection of the attempt has been used before.
    pub(super) kept: bool,
    /// It has been there since.
    pub(super) since: Instant,
    /// The backend of the attempt was chosen then.
    pub(super) chosen: Instant,
    /// In the pool's queue.
    pub(super) number: Option<u64>,
    /// A session waits for its own backend while that is full.
    pub(super) patient: bool,
}

impl State {
    /// Where another pool has been tried in vain, it begins with what that one has left of the body.
    fn new(way: &Way<'_>, pool: &Pool, exchange: &Exchange<'_>, record: &mut Record) -> Self {
        let key = pool.key.as_ref().and_then(|key| key.of(&exchange.request, record.address));
        let idempotent = exchange.request.method().is_idempotent() || is_replayable(pool, exchange);
        let body = exchange.guarded.framing;
        let rare = record.rare.as_deref_mut();
        let (copy, held) = rare.map_or((None, None), |rare| (rare.copy.take(), rare.body.take()));
        let (replay, begun) = held.unwrap_or_else(|| {
            let written = way.plan().auths.written().filter(|_| body != Framing::None).cloned();
            let rules = Trailers { underscores: exchange.client.limits.underscores, written };
            (Replay::new(body, pool.retry.buffer, rules, copy), false)
        });
        let raw = exchange.guarded.upgrade == Some(Upgrade::Raw);
        let (since, chosen) = (exchange.read, exchange.read);
        let key = key.unwrap_or_else(|| way.local.random());
        let kept = record.sticky.as_ref().is_some_and(|session| session.is_kept());
        let (tried, patient) = (Tried::default(), kept && pool.settings.queue.is_some());
        let (retries, kept, number) = Default::default();
        Self { key, tried, replay, idempotent, raw, begun, retries, kept, since, chosen, number, patient }
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
                (self.kept, self.since, self.chosen) = (true, now, now);
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
            kind if kind.is_connect() => (retry.on_connect, Retry::Connect),
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
    trace::attempt(way.local, &mut exchange.request, (backend, state.chosen), record);
    if state.raw {
        let outcome = Box::pin(raw::run(way, pool, (&lease, &meter), exchange, connection, record)).await;
        meter.end(way.local, exchange, record);
        trace::attempted(record, &outcome);
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
            Err(error) => break refused(way, &lease, &error, record.trace),
        };
        (attempt.kept, attempt.begun) = (false, Instant::now());
    };
    meter.end(way.local, exchange, record);
    trace::attempted(record, &outcome);
    outcome
}
