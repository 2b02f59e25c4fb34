//! What the tap, the connection's task and its streams know of each other. Hot path: plain cells, and a clock is read
//! when something begins to wait.

use super::flood::Flood;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::Waker,
};
use tokio::time::Instant;

/// How a connection is doing.
#[derive(Debug)]
pub(super) struct Watch {
    /// There was too much of something.
    pub(super) flood: Cell<Option<Flood>>,
    /// Since when a field block, or a frame that is not body, has been unfinished.
    pub(super) unfinished: Cell<Option<Instant>>,
    /// Since when the client has taken nothing of what we have for it.
    pub(super) stuck: Cell<Option<Instant>>,
    /// Tiny pieces of bodies that windows have made since this was last asked.
    pub(super) pinched: Cell<u32>,
    /// Streams that the client has opened, and whether the `h2` crate has seen all that came.
    pub(super) opened: Cell<u64>,
    pub(super) quiet: Cell<bool>,
    /// Streams that are being served.
    live: Cell<usize>,
    /// When the last of them ended.
    idle: Cell<Instant>,
    /// Of the connection's task.
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    pub(super) fn new(now: Instant) -> Rc<Self> {
        let (flood, unfinished, stuck, pinched, opened, quiet, live) = Default::default();
        let (idle, waker) = (Cell::new(now), RefCell::default());
        Rc::new(Self { flood, unfinished, stuck, pinched, opened, quiet, live, idle, waker })
    }

    /// The connection's task.
    pub(super) fn wake_with(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// How many streams are being served.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    /// Since when none is, if none is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.live.get() == 0).then(|| self.idle.get())
    }

    /// A write has waited, or has moved something.
    pub(super) fn wrote(&self, waits: bool) {
        match (waits, self.stuck.get()) {
            (true, None) => self.stuck.set(Some(Instant::now())),
            (false, Some(_)) => self.stuck.set(None),
            _ => {}
        }
    }
}

/// One stream that is being served, for as long as this lives.
#[derive(Debug)]
pub(super) struct Live {
    watch: Rc<Watch>,
    /// When it ended, if somebody has looked at a clock.
    pub(super) ended: Option<Instant>,
}

impl Live {
    pub(super) fn new(watch: &Rc<Watch>) -> Self {
        watch.live.set(watch.live.get() + 1);
        Self { watch: Rc::clone(watch), ended: None }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let watch = &self.watch;
        watch.live.set(watch.live.get() - 1);
        if watch.live.get() > 0 {
            return;
        }
        watch.idle.set(self.ended.unwrap_or_else(Instant::now));
        // Its idle time begins. Nearly always it has been woken already, to send the end of the answer.
        if let Some(waker) = &*watch.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}
