//! A worker's kept connections. Hot path.

use super::{
    place::Place,
    shared::{Dial, Room, Share, Shared},
};
use crate::{
    config::Protocol,
    http::h1::Wire,
    plan::Settings,
    pool::{Backend, Counted},
};
use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// A backend's own idle time-out is met by being this much earlier.
const EARLY: Duration = Duration::from_secs(1);

/// A way to a backend for one exchange.
#[derive(Debug)]
pub enum Connection {
    /// A connection of its own.
    H1(Box<Own>),
    /// A stream of one that others share.
    H2(Share),
}

/// An HTTP/1.1 connection to a backend.
#[derive(Debug)]
pub struct Own {
    /// What is said on it.
    pub wire: Wire,
    /// Requests that it has carried.
    pub requests: u64,
    /// It was made with this.
    tls: Option<Arc<rustls::ClientConfig>>,
    place: Place,
    _counted: Counted,
}

impl Own {
    /// A connection that has carried nothing yet.
    pub(super) fn new(wire: Wire, tls: Option<Arc<rustls::ClientConfig>>, place: Place, counted: Counted) -> Self {
        Self { wire, requests: 0, tls, place, _counted: counted }
    }
}

/// A connection that was made with `tls` serves a pool that has these settings now.
fn suits(tls: Option<&Arc<rustls::ClientConfig>>, settings: &Settings) -> bool {
    match (tls, &settings.tls) {
        (None, None) => true,
        (Some(tls), Some(wanted)) => Arc::ptr_eq(tls, wanted.config()),
        _ => false,
    }
}

#[derive(Debug)]
struct Idle {
    connection: Box<Own>,
    until: Option<Instant>,
}

/// What a checkout gave.
#[derive(Debug)]
pub enum Checkout {
    /// A kept connection. It may have died without our knowing yet.
    Kept(Connection),
    /// The right to a new one.
    New(Room),
    /// The backend has as many connections as it may.
    Full,
    /// One is being made that can be shared: look again when it is there.
    Wait(Rc<Dial>),
}

/// The kept connections to one backend.
#[derive(Debug, Default)]
struct Kept {
    /// Last in, first out.
    idle: VecDeque<Idle>,
    /// HTTP/2.
    shared: Vec<Rc<Shared>>,
    /// A connection that is being made and that others wait for.
    dial: Option<Rc<Dial>>,
    /// What the backend chose when it last had a choice (ALPN).
    chose_h1: bool,
    /// Whose turn it is among source addresses, and among the addresses of the backend's name.
    turn: usize,
    /// The backend is in no plan any more: what comes back from it is not kept.
    gone: bool,
}

/// A worker's connections to all backends.
#[derive(Debug, Default)]
pub struct Dialer {
    /// By backend.
    kept: RefCell<Vec<Kept>>,
}

impl Dialer {
    /// A kept connection to `backend`, or the right to a new one. `certain` = the kept one must have been seen to be
    /// open just now, by a look at its socket: the request could not be sent twice.
    pub fn checkout(&self, backend: &Arc<Backend>, settings: &Settings, now: Instant, certain: bool) -> Checkout {
        if settings.proxy_protocol.is_some() {
            // A connection with a header is one client's. What was kept before a reload has none.
            return self.room(backend, settings).map_or(Checkout::Full, Checkout::New);
        }
        if settings.protocol != Protocol::H1
            && let Some(checkout) = self.share(backend.id, settings)
        {
            return checkout;
        }
        while settings.protocol != Protocol::H2
            && let Some(idle) = self.pop(backend.id)
        {
            let fresh = idle.until.is_none_or(|until| now < until) && suits(idle.connection.tls.as_ref(), settings);
            if fresh && idle.connection.place.is_current() && idle.connection.wire.io.is_quiet(certain) {
                return Checkout::Kept(Connection::H1(idle.connection));
            }
        }
        self.room(backend, settings).map_or(Checkout::Full, Checkout::New)
    }

    /// The right to a new connection to `backend` that nothing is spoken on but what a client sends: it is nobody else's,
    /// before or after.
    pub fn raw(&self, backend: &Arc<Backend>, settings: &Settings) -> Checkout {
        let counted = backend.connection(settings.max_connections);
        let room = |counted| Room { counted: RefCell::new(Some(counted)), dial: None, raw: true };
        counted.map_or(Checkout::Full, |counted| Checkout::New(room(counted)))
    }

    /// A stream of a shared connection, or one to wait for.
    fn share(&self, backend: u32, settings: &Settings) -> Option<Checkout> {
        let mut all = self.kept.borrow_mut();
        let Kept { shared, dial, chose_h1, .. } = all.get_mut(backend as usize)?;
        shared.retain(|shared| suits(shared.tls.as_ref(), settings) && shared.is_open(settings.max_requests));
        if let Some(share) = shared.iter().find_map(Shared::share) {
            return Some(Checkout::Kept(Connection::H2(share)));
        }
        let dial = dial.as_ref().filter(|dial| !(dial.is_done() || *chose_h1 && settings.protocol == Protocol::Auto));
        dial.map(|dial| Checkout::Wait(Rc::clone(dial)))
    }

    /// The right to a new connection to `backend`, if there is room for one. What HTTP/2 may share, others wait for.
    pub fn room(&self, backend: &Arc<Backend>, settings: &Settings) -> Option<Room> {
        let counted = backend.connection(settings.max_connections)?;
        let mut dial = None;
        if settings.protocol != Protocol::H1 && settings.proxy_protocol.is_none() {
            let own = Rc::<Dial>::default();
            self.with(backend.id, |kept| kept.dial = Some(Rc::clone(&own)));
            dial = Some(own);
        }
        Some(Room { counted: RefCell::new(Some(counted)), dial, raw: false })
    }

    /// A new connection that others may share from now on. Gives the first stream.
    pub(super) fn add(&self, backend: u32, shared: &Rc<Shared>) -> Option<Share> {
        self.with(backend, |kept| {
            kept.chose_h1 = false;
            if !kept.gone {
                kept.shared.push(Rc::clone(shared));
            }
        });
        shared.share()
    }

    /// The backend had a choice, and chose HTTP/1.1.
    pub(super) fn chose_h1(&self, backend: u32) {
        self.with(backend, |kept| kept.chose_h1 = true);
    }

    fn with<T>(&self, backend: u32, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut all = self.kept.borrow_mut();
        let place = backend as usize;
        if all.len() <= place {
            all.resize_with(place + 1, Kept::default);
        }
        change(&mut all[place])
    }

    fn pop(&self, backend: u32) -> Option<Idle> {
        self.kept.borrow_mut().get_mut(backend as usize)?.idle.pop_back()
    }

    /// Takes a connection back after a whole exchange. `keep` is how long its backend said that it keeps it.
    pub fn give(
        &self,
        backend: u32,
        mut connection: Box<Own>,
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
        self.with(backend, |Kept { idle, gone, .. }| {
            if *gone {
                return;
            }
            if idle.len() >= settings.max_idle {
                idle.pop_front();
            }
            idle.push_back(Idle { connection, until: shorter.map(|time| now + time) });
        });
    }

    /// Closes what has been idle for too long, what its backend has closed, and what goes where its backend no longer is.
    pub fn sweep(&self, now: Instant) {
        for Kept { idle, shared, .. } in self.kept.borrow_mut().iter_mut() {
            idle.retain(|idle| {
                let Own { wire, place, .. } = &*idle.connection;
                idle.until.is_none_or(|until| now < until) && wire.io.is_quiet(false) && place.is_current()
            });
            shared.retain(|shared| shared.is_open(None) && !shared.has_idled(now));
        }
    }

    /// Closes the oldest idle connection to `backend`, for somebody else's sake.
    pub fn close_one(&self, backend: u32) {
        if let Some(kept) = self.kept.borrow_mut().get_mut(backend as usize)
            && kept.idle.pop_front().is_none()
            && let Some(place) = kept.shared.iter().position(|shared| shared.is_free())
        {
            kept.shared.swap_remove(place);
        }
    }

    /// Closes all idle connections to `backend`, which is gone, and keeps none that is given back later.
    pub fn leave(&self, backend: u32) {
        self.with(backend, |kept| *kept = Kept { gone: true, ..Kept::default() });
    }

    /// `backend` is there, perhaps again, or its number is another's now: its connections are kept.
    pub fn meet(&self, backend: u32) {
        if let Some(kept) = self.kept.borrow_mut().get_mut(backend as usize) {
            kept.gone = false;
        }
    }

    /// The next number in the turn of addresses, to `backend` and from here.
    pub(super) fn turn(&self, backend: u32) -> usize {
        self.with(backend, |kept| {
            kept.turn = kept.turn.wrapping_add(1);
            kept.turn
        })
    }
}
