//! What one worker owns and lends to its exchanges. Not `Send`, by design. Hot path.

use crate::{
    balance::splitmix64,
    config::Priority,
    dial::Dialer,
    http::Spares,
    net::Splice,
    plan::Plan,
    policy::{Chaos, Shed, Visit},
    pool::Seen,
    telemetry::{access_log::Writer, trace::Spans},
};
use std::{
    cell::{Cell, RefCell, RefMut},
    collections::HashMap,
    fmt,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

/// Asks the other workers to close an idle connection to a backend; each receiver is done when one has looked.
pub type AskOthers = Box<dyn Fn(u32) -> Vec<oneshot::Receiver<()>>>;

/// So many visits are kept for others.
const VISITS: usize = 64;
/// A connection that a listener had accepted before it went may be handed over so much later.
const LATE: Duration = Duration::from_secs(5);

/// One worker's own.
pub struct Local {
    /// Its connections to backends.
    pub dialer: Dialer,
    /// Buffers, pipes and heads.
    pub spares: Rc<Spares>,
    /// Its number.
    pub worker: usize,
    /// Where text is put together.
    scratch: RefCell<Vec<u8>>,
    /// Failures that are being rehearsed.
    pub chaos: Arc<Chaos>,
    /// Who is let in while load is shed.
    pub shed: Arc<Shed>,
    /// Where records of spans are left.
    pub spans: Arc<Spans>,
    /// How to reach the others.
    pub ask_others: AskOthers,
    /// Where its lines of the access log go.
    pub log: RefCell<Option<Rc<Writer>>>,
    /// Lines are waiting to be handed over.
    pub logged: Notify,
    /// Today's plan.
    pinned: RefCell<Rc<Pinned>>,
    /// The last plan that had a listener which is gone, while it has connections.
    retired: RefCell<HashMap<usize, (Instant, Rc<Pinned>)>>,
    /// Visits that are over.
    #[allow(clippy::vec_box, reason = "they travel through futures: a pointer is moved")]
    visits: RefCell<Vec<Box<Visit>>>,
    /// Copies of requests that there are.
    copies: Cell<usize>,
    random: Cell<u64>,
    /// Seconds are counted from here, alike on all workers.
    epoch: Instant,
    second: Cell<u32>,
}

/// A plan, and what this worker has seen of its tables. Exchanges hold it while they run.
pub struct Pinned {
    /// What the configuration means.
    pub plan: Arc<Plan>,
    tables: Box<[RefCell<Rc<Seen>>]>,
}

impl Pinned {
    fn new(plan: Arc<Plan>) -> Rc<Self> {
        let tables = plan.pools.iter().map(|pool| RefCell::new(Seen::of(&pool.slot))).collect();
        Rc::new(Self { plan, tables })
    }

    /// Today's table of the pool at that place of the plan.
    pub fn table(&self, pool: usize) -> Rc<Seen> {
        let slot = &self.plan.pools[pool].slot;
        let mut seen = self.tables[pool].borrow_mut();
        if !seen.is_current(slot) {
            *seen = Seen::of(slot);
        }
        Rc::clone(&seen)
    }
}

/// A request that has been let in: counts while this lives.
#[derive(Debug)]
pub(super) struct Admitted(Rc<Local>);

impl Admitted {
    /// Lets a request of that priority in, unless such are shed.
    pub(super) fn new(local: &Rc<Local>, priority: Priority) -> Option<Self> {
        local.shed.admit(local.worker, priority).then(|| Self(Rc::clone(local)))
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.shed.leave(self.0.worker);
    }
}

impl Local {
    /// A worker's own, with nothing kept yet. Large bodies go through up to `pipes` pipes at a time; seconds are
    /// counted from `epoch`, `chaos` has the failures that are being rehearsed, `shed` knows who is let in, and spans are
    /// left in `spans`.
    pub fn new(
        plan: Arc<Plan>,
        worker: usize,
        pipes: usize,
        (epoch, chaos, shed, spans): (Instant, &Arc<Chaos>, &Arc<Shed>, &Arc<Spans>),
        ask_others: AskOthers,
    ) -> Self {
        Self {
            dialer: Dialer::default(),
            spares: Rc::new(Spares { pipes: Splice::new(pipes), ..Spares::default() }),
            worker,
            scratch: RefCell::default(),
            chaos: Arc::clone(chaos),
            shed: Arc::clone(shed),
            spans: Arc::clone(spans),
            ask_others,
            log: RefCell::default(),
            logged: Notify::new(),
            pinned: RefCell::new(Pinned::new(plan)),
            retired: RefCell::default(),
            visits: RefCell::default(),
            copies: Cell::default(),
            random: Cell::new(getrandom::u64().unwrap_or(worker as u64)),
            epoch,
            second: Cell::default(),
        }
    }

    /// Today's plan.
    pub fn plan(&self) -> Rc<Pinned> {
        Rc::clone(&self.pinned.borrow())
    }

    /// The plan for a connection of that listener: today's, or the last that had it.
    pub fn plan_for(&self, listener: usize) -> Rc<Pinned> {
        let pinned = self.pinned.borrow();
        if pinned.plan.listener(listener).is_none()
            && let Some((_, retired)) = self.retired.borrow().get(&listener)
        {
            return Rc::clone(retired);
        }
        Rc::clone(&pinned)
    }

    /// `plan` is today's from now on. Connections of listeners that it no longer has keep the one before.
    pub fn replan(&self, plan: Arc<Plan>) {
        let pinned = Pinned::new(plan);
        let before = self.pinned.replace(Rc::clone(&pinned));
        let has = |plan: &Plan, number: usize| plan.listener(number).is_some();
        let mut retired = self.retired.borrow_mut();
        retired.retain(|&number, _| !has(&pinned.plan, number));
        let gone = (0..before.plan.listeners.len()).filter(|&n| has(&before.plan, n) && !has(&pinned.plan, n));
        let now = Instant::now();
        retired.extend(gone.map(|number| (number, (now, Rc::clone(&before)))));
    }

    /// Forgets the plans of listeners that went some time ago and have no connections left.
    pub fn forget(&self, now: Instant, has_connections: impl Fn(usize) -> bool) {
        let mut retired = self.retired.borrow_mut();
        retired.retain(|&listener, (since, _)| now - *since < LATE || has_connections(listener));
    }

    /// Memory is short: what is kept for later is given back.
    pub fn relieve(&self) {
        self.spares.relieve();
    }

    /// Hands the lines of the access log over.
    pub fn flush_log(&self) {
        if let Some(log) = &*self.log.borrow() {
            log.flush();
        }
    }

    /// A visit that nobody has begun.
    pub(super) fn visit(&self) -> Box<Visit> {
        self.visits.borrow_mut().pop().unwrap_or_default()
    }

    /// `visit` is over: it holds nothing any more, and its memory is kept for the next one.
    pub(super) fn leave(&self, mut visit: Box<Visit>) {
        visit.clear();
        let mut visits = self.visits.borrow_mut();
        if visits.len() < VISITS {
            visits.push(visit);
        }
    }

    /// Copies of requests that are not done.
    pub fn copies(&self) -> usize {
        self.copies.get()
    }

    /// There is one copy more.
    pub(super) fn begin_copy(&self) {
        self.copies.set(self.copies.get() + 1);
    }

    /// A copy is done.
    pub(super) fn end_copy(&self) {
        self.copies.set(self.copies.get() - 1);
    }

    /// Where text is put together, for one use: it is empty, whatever the use before has left.
    pub fn scratch(&self) -> RefMut<'_, Vec<u8>> {
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch
    }

    /// Random bits; not for secrets.
    pub fn random(&self) -> u64 {
        let mut state = self.random.get();
        let random = splitmix64(&mut state);
        self.random.set(state);
        random
    }

    /// Microseconds from the beginning to `now`, alike on all workers.
    pub fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// Nanoseconds from the beginning to `now`, alike on all workers.
    pub fn nanos(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_nanos() as u64
    }

    /// It is `now`: looked at once a second.
    pub fn tick(&self, now: Instant) {
        self.second.set(now.saturating_duration_since(self.epoch).as_secs() as u32);
    }

    /// The second that it is, alike on all workers but for one.
    pub fn second(&self) -> u32 {
        self.second.get()
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("worker", &self.worker).finish_non_exhaustive()
    }
}
