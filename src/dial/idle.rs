//! A worker's kept connections. Hot path.

use crate::{
    http::h1::Wire,
    plan::Settings,
    pool::{Backend, Counted},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// A backend's own idle time-out is met by being this much earlier.
const EARLY: Duration = Duration::from_secs(1);

/// A connection to a backend.
#[derive(Debug)]
pub struct Connection {
    /// What is said on it.
    pub wire: Wire,
    /// Requests that it has carried.
    pub requests: u64,
    _counted: Counted,
}

impl Connection {
    /// A connection that has carried nothing yet.
    pub(super) fn new(wire: Wire, counted: Counted) -> Self {
        Self { wire, requests: 0, _counted: counted }
    }
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    until: Option<Instant>,
}

/// What a checkout gave.
#[derive(Debug)]
pub enum Checkout {
    /// A kept connection. It may have died without our knowing yet.
    Kept(Box<Connection>),
    /// The right to a new one.
    New(Counted),
    /// The backend has as many connections as it may.
    Full,
}

/// The kept connections to one backend.
#[derive(Debug, Default)]
struct Kept {
    /// Last in, first out.
    idle: VecDeque<Idle>,
    /// The backend is in no plan any more: what comes back from it is not kept.
    gone: bool,
}

/// A worker's connections to all backends.
#[derive(Debug, Default)]
pub struct Dialer {
    /// By backend.
    kept: RefCell<Vec<Kept>>,
    /// Whose turn it is among a pool's source addresses.
    source: Cell<usize>,
}

impl Dialer {
    /// A kept connection to `backend`, or the right to a new one. `certain` = the kept one must have been seen to be
    /// open just now, by a look at its socket: the request could not be sent twice.
    pub fn checkout(&self, backend: &Arc<Backend>, settings: &Settings, now: Instant, certain: bool) -> Checkout {
        // What was kept before a reload has no header, or another client's.
        while settings.proxy_protocol.is_none()
            && let Some(idle) = self.pop(backend.id)
        {
            let fresh = idle.until.is_none_or(|until| now < until);
            if fresh && idle.connection.wire.io.is_quiet(certain) {
                return Checkout::Kept(idle.connection);
            }
        }
        match backend.connection(settings.max_connections) {
            Some(counted) => Checkout::New(counted),
            None => Checkout::Full,
        }
    }

    fn pop(&self, backend: u32) -> Option<Idle> {
        self.kept.borrow_mut().get_mut(backend as usize)?.idle.pop_back()
    }

    /// Takes a connection back after a whole exchange. `keep` is how long its backend said that it keeps it.
    pub fn give(
        &self,
        backend: u32,
        mut connection: Box<Connection>,
        settings: &Settings,
        now: Instant,
        keep: Option<Duration>,
    ) {
        connection.requests += 1;
        let spent = settings.max_requests.is_some_and(|most| connection.requests >= most);
        let keep = keep.map(|keep| keep.saturating_sub(EARLY));
        if spent || settings.max_idle == 0 || keep == Some(Duration::ZERO) {
            return;
        }
        let shorter = match (keep, settings.idle_timeout) {
            (Some(theirs), Some(ours)) => Some(theirs.min(ours)),
            (theirs, ours) => theirs.or(ours),
        };
        let mut all = self.kept.borrow_mut();
        let place = backend as usize;
        if all.len() <= place {
            all.resize_with(place + 1, Kept::default);
        }
        let Kept { idle, gone } = &mut all[place];
        if *gone {
            return;
        }
        if idle.len() >= settings.max_idle {
            idle.pop_front();
        }
        idle.push_back(Idle { connection, until: shorter.map(|time| now + time) });
    }

    /// Closes what has been idle for too long, and what its backend has closed.
    pub fn sweep(&self, now: Instant) {
        for Kept { idle, .. } in self.kept.borrow_mut().iter_mut() {
            idle.retain(|idle| idle.until.is_none_or(|until| now < until) && idle.connection.wire.io.is_quiet(false));
        }
    }

    /// Closes the oldest idle connection to `backend`, for somebody else's sake.
    pub fn close_one(&self, backend: u32) {
        if let Some(kept) = self.kept.borrow_mut().get_mut(backend as usize) {
            kept.idle.pop_front();
        }
    }

    /// Closes all idle connections to `backend`, which is gone, and keeps none that is given back later.
    pub fn leave(&self, backend: u32) {
        let mut all = self.kept.borrow_mut();
        let place = backend as usize;
        if all.len() <= place {
            all.resize_with(place + 1, Kept::default);
        }
        all[place] = Kept { idle: VecDeque::new(), gone: true };
    }

    /// `backend` is there, perhaps again, or its number is another's now: its connections are kept.
    pub fn meet(&self, backend: u32) {
        if let Some(kept) = self.kept.borrow_mut().get_mut(backend as usize) {
            kept.gone = false;
        }
    }

    /// The next number in the turn of source addresses.
    pub(super) fn turn(&self) -> usize {
        self.source.replace(self.source.get().wrapping_add(1))
    }
}
