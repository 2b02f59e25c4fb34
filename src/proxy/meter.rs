//! What attempts tell the loads of their backends, for algorithms that look at them: how long the answer took, and how many
//! bytes went. Used by whoever makes an attempt. Hot path: no clock is read but for bytes, and those are told only where
//! the pool's algorithm weighs them.

use super::{Local, Record, Way, attempt::Attempt, is_backends, upload::Upload};
use crate::{
    balance::{Load, Taken},
    error::Kind,
    http::Exchange,
    plan::Pool,
    pool::Backend,
};
use std::{cell::Cell, time::Duration};
use tokio::time::Instant;

/// Bytes are told when there are so many that have not been, and at the end.
const PIECE: u64 = 64 * 1024;

/// The bytes of one attempt, both ways.
pub(super) struct Meter<'a> {
    /// `None`: nobody weighs them.
    load: Option<&'a Load>,
    told: Cell<u64>,
}

impl<'a> Meter<'a> {
    /// An attempt at `backend` of `pool` begins.
    pub(super) fn new(pool: &Pool, backend: &'a Backend) -> Self {
        Self { load: pool.metered.then_some(&*backend.load), told: Cell::new(0) }
    }

    /// Something may have moved; `bytes` gives what has so far. While the attempt runs it counts, too.
    pub(super) fn look(&self, local: &Local, bytes: impl FnOnce() -> u64) {
        if let Some(load) = self.load {
            let bytes = bytes();
            if bytes >= self.told.get() + PIECE {
                self.tell(load, local.micros(Instant::now()), bytes);
            }
        }
    }

    /// The attempt is over. It counts as one that was answered if there was a head.
    pub(super) fn end(&self, local: &Local, exchange: &Exchange<'_>, record: &Record) {
        let Some(load) = self.load else { return };
        let now = local.micros(record.ended.unwrap_or_else(Instant::now));
        self.tell(load, now, exchange.source.received() + exchange.sink.outlet.sent());
        if record.status != 0 {
            load.ended(now);
        }
    }

    fn tell(&self, load: &Load, now: u64, bytes: u64) {
        let told = self.told.replace(bytes);
        if bytes > told {
            load.passed(now, bytes - told);
        }
    }
}

impl Attempt<'_> {
    /// The response head has come after `waited`. That it came before the request had gone says how the client sends, and
    /// nothing of the backend. A call of gRPC that was refused counts as answered.
    pub(super) fn answered(&self, now: Instant, waited: Duration, status: u16, upload: &Upload<'_>) {
        let now = self.way.local.micros(now);
        self.lease.answered(status, now);
        let backend = self.lease.backend();
        if status == 503 {
            backend.load.overloaded();
        }
        if !upload.open {
            let taken = if status >= 500 { Taken::Failed } else { Taken::Answered };
            took(backend, now, waited, taken);
        }
    }

    /// No response head has come. While the request was on its way, the time is the client's, but where the backend did not
    /// take it.
    /// The route's own deadline is the backend's time-out where it had at least half of it; that of a call is its client's.
    pub(super) fn missed(&self, kind: Kind, upload: &Upload<'_>, record: &Record) {
        let now = Instant::now();
        let had = || self.way.forward.timeout.is_some_and(|time| now - upload.sent >= time / 2);
        match kind {
            Kind::Deadline if !upload.open && record.ends.is_none() && had() => {
                self.lease.failed(Kind::ResponseTimeout, now);
            }
            kind => self.lease.failed(kind, now),
        }
        if matches!(kind, Kind::Reset | Kind::ResponseTimeout) {
            self.lease.backend().load.overloaded();
        }
        if is_backends(kind) && (!upload.open || kind == Kind::ResponseTimeout) {
            took(self.lease.backend(), self.way.local.micros(now), now - upload.sent, Taken::Failed);
        }
    }
}

/// No connection to `backend` could be made, in that time.
pub(super) fn unreached(way: &Way<'_>, backend: &Backend, kind: Kind, now: Instant, time: Duration) {
    if matches!(kind, Kind::Reset | Kind::ConnectTimeout) {
        backend.load.overloaded();
    }
    if is_backends(kind) {
        took(backend, way.local.micros(now), time, Taken::Failed);
    }
}

pub(super) fn took(backend: &Backend, now: u64, time: Duration, taken: Taken) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    backend.load.took(now, micros, taken);
    if taken == Taken::Answered {
        backend.load.answered_in(micros);
    }
}
