//! HTTP/2 connections to backends: several exchanges of a worker share one. Hot path.

use super::place::Place;
use crate::{error::Kind, http::h2::Session, pool::Counted};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// One HTTP/2 connection, and who is on it.
#[derive(Debug)]
pub struct Shared {
    session: Session,
    /// Exchanges that are on it.
    streams: Cell<usize>,
    /// Requests that it has carried.
    requests: Cell<u64>,
    /// How long it may be without a stream.
    idle_timeout: Option<Duration>,
    /// When it has been without a stream for too long.
    idle_until: Cell<Option<Instant>>,
    /// It was made with this.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    place: Place,
}

impl Shared {
    /// A connection that nobody is on yet.
    pub(super) fn new(
        session: Session,
        tls: Option<Arc<rustls::ClientConfig>>,
        place: Place,
        idle_timeout: Option<Duration>,
    ) -> Rc<Self> {
        let (streams, requests, idle_until) = Default::default();
        Rc::new(Self { session, streams, requests, idle_timeout, idle_until, tls, place })
    }

    /// The right to one stream; `None` = it has as many as it may.
    pub(super) fn share(self: &Rc<Self>) -> Option<Share> {
        let streams = self.streams.get();
        if streams >= self.session.most_streams() {
            return None;
        }
        self.streams.set(streams + 1);
        self.requests.set(self.requests.get() + 1);
        Some(Share { shared: Rc::clone(self) })
    }

    /// New streams may come: it has not ended, has not carried as many requests as it may, and goes where its backend is.
    pub(super) fn is_open(&self, max_requests: Option<u64>) -> bool {
        max_requests.is_none_or(|most| self.requests.get() < most) && self.session.is_open() && self.place.is_current()
    }

    /// Nobody has been on it for too long.
    pub(super) fn has_idled(&self, now: Instant) -> bool {
        self.is_free() && self.idle_until.get().is_some_and(|until| until <= now)
    }

    /// Nobody is on it.
    pub(super) fn is_free(&self) -> bool {
        self.streams.get() == 0
    }
}

/// The right to one stream.
#[derive(Debug)]
pub struct Share {
    shared: Rc<Shared>,
}

impl Share {
    /// The connection.
    pub fn session(&self) -> &Session {
        &self.shared.session
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let left = self.shared.streams.get() - 1;
        self.shared.streams.set(left);
        if left == 0 {
            self.shared.idle_until.set(self.shared.idle_timeout.map(|time| Instant::now() + time));
        }
    }
}

/// A connection that is being made and that others may share.
#[derive(Debug, Default)]
pub struct Dial {
    done: Cell<bool>,
    failed: Cell<Option<Kind>>,
    changed: Notify,
}

impl Dial {
    /// It is there, or will not come.
    pub(super) fn is_done(&self) -> bool {
        self.done.get()
    }

    /// Waits until it is there.
    ///
    /// # Errors
    /// It could not be made.
    pub async fn wait(&self) -> Result<(), Kind> {
        while !self.done.get() {
            self.changed.notified().await;
        }
        self.failed.get().map_or(Ok(()), Err)
    }
}

/// The right to a new connection; others may wait for it.
#[derive(Debug)]
pub struct Room {
    pub(super) counted: RefCell<Option<Counted>>,
    pub(super) dial: Option<Rc<Dial>>,
    /// For a tunnel: nothing of ours is spoken on it.
    pub(super) raw: bool,
}

impl Room {
    /// It could not be made: so those hear who wait.
    pub(super) fn failed(&self, kind: Kind) {
        if let Some(dial) = &self.dial {
            dial.failed.set(Some(kind));
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(dial) = &self.dial {
            dial.done.set(true);
            dial.changed.notify_waiters();
        }
    }
}
