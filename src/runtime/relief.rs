//! When connections run short, idle ones make room for those that come: near the end of a budget, before anybody has to wait.
//!
//! Accepting calls; a task of each worker looks its own connections over some times a second, as long as it is needed, and
//! ranks the idle ones: first those of the address that holds most, of these the ones that have waited longest. They are
//! closed then, and for each connection that comes meanwhile another one is, so that the kernel's queue stays empty however
//! fast it is filled. What each worker has found stands on a board that all read: a worker that has the modest ones alone
//! leaves it to the others. Nothing is done, and nothing is counted, while there is room.
//!
//! A connection is idle while its client has it waiting: [`Waits`]. One with an exchange, with a stream or that is a tunnel
//! is never closed. One whose last answer has gone, and that is there for the rest of what its client sends, goes before all
//! others.

use super::{
    connection::Seats,
    worker::{Entry, Worker},
};
use crate::{
    http::Waits,
    net::{Holder, Peer},
    plan::Plan,
    telemetry::{Seldom, metrics::Closed},
};
use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    rc::Rc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// From when the connections have been looked over until some are closed: by then the others have looked, too.
const MEANWHILE: Duration = Duration::from_millis(10);
/// Then nothing is done for so long. A place is free a twentieth of a second after it is wanted, or so.
const REST: Duration = Duration::from_millis(40);
/// How long a client has it waiting at the least before it may be closed: for its first byte, for a whole head, for the next
/// request, for the end of what nobody reads. While there are places left; when others wait already; and of those who hold
/// very many.
const PATIENCE: Least = Least::new([2000, 2000, 1000, 100]);
const HASTE: Least = Least::new([250, 1000, 100, 0]);
const OF_MANY: Least = Least::new([100, 100, 100, 0]);
/// Very many: such a share of all, and no less than that.
const SHARE: usize = 64;
const MANY: usize = 8;

/// The shortest times that something may have waited.
struct Least {
    first: Duration,
    head: Duration,
    next: Duration,
    last: Duration,
}

impl Least {
    const fn new([first, head, next, last]: [u64; 4]) -> Self {
        Self {
            first: Duration::from_millis(first),
            head: Duration::from_millis(head),
            next: Duration::from_millis(next),
            last: Duration::from_millis(last),
        }
    }
}

/// How the workers' tasks are called, and what they know of one another.
#[derive(Debug)]
pub(crate) struct Relief {
    called: Box<[Notify]>,
    boards: Box<[Mutex<Board>]>,
    /// Closed since it was said last.
    closed: AtomicU64,
    said: Seldom,
}

/// What one worker has found.
#[derive(Debug, Default)]
struct Board {
    /// Its connections, by holder.
    held: HashMap<Holder, usize>,
    /// Who has idle ones among them.
    idle: HashSet<Holder>,
}

/// Whoever could be closed. Of two the one that has been answered for the last time comes first, then the one that holds
/// more, then the one that has waited longer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    last: bool,
    held: usize,
    waited: Duration,
    holder: Option<Holder>,
    place: usize,
    serial: u64,
}

impl Relief {
    /// Of so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let called = (0..workers).map(|_| Notify::new()).collect();
        let boards = (0..workers).map(|_| Mutex::default()).collect();
        Self { called, boards, closed: AtomicU64::new(0), said: Seldom::new(super::worker::SECOND) }
    }

    /// There are few places left, or none.
    pub(super) fn call(&self) {
        self.called.iter().for_each(Notify::notify_one);
    }

    fn publish(&self, worker: usize, board: Board) {
        *self.boards[worker].lock().unwrap_or_else(PoisonError::into_inner) = board;
    }

    /// How many connections each holder has, of all workers, and the most that one with idle connections has.
    fn holders(&self) -> (HashMap<Holder, usize>, usize) {
        let (mut held, mut idle) = (HashMap::new(), HashSet::new());
        for board in &self.boards {
            let board = board.lock().unwrap_or_else(PoisonError::into_inner);
            board.held.iter().for_each(|(holder, count)| *held.entry(*holder).or_default() += count);
            idle.extend(&board.idle);
        }
        let most = idle.iter().filter_map(|holder| held.get(holder)).max().copied();
        (held, most.unwrap_or(0))
    }

    /// So many have been closed. Said once a second at the most.
    fn say(&self, closed: u64) {
        if closed == 0 {
            return;
        }
        self.closed.fetch_add(closed, Relaxed);
        if self.said.may_speak() {
            let closed = self.closed.swap(0, Relaxed);
            tracing::info!(
                closed,
                reason = Closed::IdlePressure.word(),
                "idle connections closed: few places are left"
            );
        }
    }
}

/// Those of a worker's connections that could be closed now. To find the next one costs no more where there are thousands.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Those that have been answered for the last time.
    last: BinaryHeap<Candidate>,
    /// The others by holder, the one that has waited longest at the end.
    queues: HashMap<Option<Holder>, Vec<Candidate>>,
    /// Holders: how many connections they had when they were ranked, and how long the one at the end has waited.
    ranked: BinaryHeap<(usize, Duration, Option<Holder>)>,
    /// Connections of each of their holders, of all workers.
    held: HashMap<Holder, usize>,
    /// The most that a holder of idle ones has.
    most: usize,
}

impl Idle {
    fn held(&self, holder: Option<Holder>) -> usize {
        holder.and_then(|holder| self.held.get(&holder)).copied().unwrap_or(1)
    }

    /// `candidates`, of whose holders all workers together have so many connections.
    fn of(candidates: Vec<Candidate>, (held, most): (HashMap<Holder, usize>, usize)) -> Self {
        let mut idle = Self { held, most, ..Self::default() };
        for found in candidates {
            let found = Candidate { held: idle.held(found.holder), ..found };
            match found.last {
                true => idle.last.push(found),
                false => idle.queues.entry(found.holder).or_default().push(found),
            }
        }
        idle.queues.values_mut().for_each(|queue| queue.sort_unstable());
        let ends =
            idle.queues.iter().filter_map(|(holder, queue)| Some((queue.last()?.held, queue.last()?.waited, *holder)));
        idle.ranked = ends.collect();
        idle
    }

    /// The one that goes next.
    fn next(&mut self) -> Option<Candidate> {
        if let Some(candidate) = self.last.pop() {
            return Some(candidate);
        }
        loop {
            let (ranked, waited, holder) = self.ranked.pop()?;
            let held = self.held(holder);
            if held != ranked {
                // Some of its have gone since: there may be others before it.
                self.ranked.push((held, waited, holder));
                continue;
            }
            // Others hold far more, and another worker has them.
            if 2 * held < self.most {
                self.ranked.clear();
                return None;
            }
            let queue = self.queues.get_mut(&holder)?;
            let candidate = queue.pop();
            if let Some(next) = queue.last() {
                self.ranked.push((held, next.waited, holder));
            }
            return candidate;
        }
    }
}

/// Has idle connections of `worker` closed whenever it is called. Never ends.
pub(super) async fn relieve(worker: Rc<Worker>) {
    let relief = &worker.shared.relief;
    loop {
        relief.called[worker.number].notified().await;
        while let Some(pressed) = worker.pressed() {
            let candidates = worker.look_over(&pressed);
            sleep(MEANWHILE).await;
            worker.rank(candidates);
            worker.make_room();
            sleep(REST).await;
        }
        relief.publish(worker.number, Board::default());
        worker.idle.take();
    }
}

/// Where places run short.
struct Pressed {
    /// Everywhere: the process's.
    process: bool,
    /// At the listeners of these numbers.
    listeners: Vec<usize>,
    /// Somebody waits already.
    full: bool,
}

impl Pressed {
    /// How long a connection has been idle, if it is, and how long it is left in peace.
    fn idle(&self, entry: &Entry, now: Instant, many: bool) -> Option<(Duration, Duration)> {
        let client = &entry.client;
        if !self.process && !self.listeners.contains(&client.listener) || client.is_cut() {
            return None;
        }
        let least = match (many, self.full) {
            (true, _) => OF_MANY,
            (false, true) => HASTE,
            (false, false) => PATIENCE,
        };
        let (since, least) = match client.waits() {
            Waits::Busy => return None,
            Waits::Last(since) => (since, least.last),
            // It ends by itself.
            _ if client.is_closing() => return None,
            Waits::First => (client.accepted, least.first),
            Waits::Head(since) => (since, least.head),
            Waits::Next(since) => (since, least.next),
        };
        Some((now.saturating_duration_since(since), least))
    }
}

/// Who holds a connection. A proxy that we trust speaks for many, and so does a unix socket: nobody holds theirs.
fn holder(entry: &Entry) -> Option<Holder> {
    match entry.client.peer {
        Peer::Tcp(peer) if !entry.client.trusted => Some(Holder::of(peer.ip())),
        _ => None,
    }
}

impl Worker {
    /// Where places run short; `None`: nowhere.
    fn pressed(&self) -> Option<Pressed> {
        let pinned = self.local.plan();
        let plan: &Plan = &pinned.plan;
        let process = &self.shared.clients;
        let pressed = plan.listeners().filter(|listener| listener.connections.is_pressed());
        let listeners: Vec<_> = pressed.map(|listener| listener.number).collect();
        let full = process.is_full() || plan.listeners().any(|listener| listener.connections.is_full());
        let process = process.is_pressed();
        (process || !listeners.is_empty()).then_some(Pressed { process, listeners, full })
    }

    /// Some of the connections should go now.
    fn is_over(&self) -> bool {
        self.shared.clients.is_over()
            || self.local.plan().plan.listeners().any(|listener| listener.connections.is_over())
    }

    /// Those of its connections that could be closed. Tells the other workers who holds how many.
    fn look_over(&self, pressed: &Pressed) -> Vec<Candidate> {
        let (now, clients) = (Instant::now(), self.clients.borrow());
        let stays = |(_, entry): &(usize, &Entry)| entry.seats.as_ref().is_some_and(|seats| !seats.is_leaving());
        let (mut board, mut all) = (Board::default(), 0);
        for (_, entry) in clients.iter().filter(stays) {
            all += 1;
            if let Some(holder) = holder(entry) {
                *board.held.entry(holder).or_default() += 1;
            }
        }
        let mut candidates = Vec::new();
        for (place, entry) in clients.iter().filter(stays) {
            let holder = holder(entry);
            let held = holder.and_then(|holder| board.held.get(&holder)).copied().unwrap_or(1);
            let many = held >= MANY && held * SHARE >= all;
            let Some((waited, least)) = pressed.idle(entry, now, many) else { continue };
            // Whoever has just opened very many has a moment, and nobody else has to go meanwhile.
            if many || waited >= least {
                board.idle.extend(holder);
            }
            if waited >= least {
                let last = matches!(entry.client.waits(), Waits::Last(_));
                candidates.push(Candidate { last, held, waited, holder, place, serial: entry.serial });
            }
        }
        self.shared.relief.publish(self.number, board);
        candidates
    }

    /// Ranks what has been found, now that all workers have looked.
    fn rank(&self, candidates: Vec<Candidate>) {
        self.idle.replace(Idle::of(candidates, self.shared.relief.holders()));
    }

    /// Closes as many idle connections as should go: those that were found when they were last looked over, and are idle
    /// still.
    pub(super) fn make_room(&self) {
        let (mut idle, mut closed) = (self.idle.borrow_mut(), 0);
        while self.is_over() {
            let Some(candidate) = idle.next() else { break };
            if self.give_way(&candidate) {
                closed += 1;
                if let Some(held) = candidate.holder.and_then(|holder| idle.held.get_mut(&holder)) {
                    *held -= 1;
                }
            }
        }
        self.shared.relief.say(closed);
    }

    /// Closes `candidate`, if it is still idle and one of its listener or of the process should go. True if it did.
    fn give_way(&self, candidate: &Candidate) -> bool {
        let mut clients = self.clients.borrow_mut();
        let entry = clients.get_mut(candidate.place).filter(|entry| entry.serial == candidate.serial);
        let Some(entry) = entry.filter(|entry| entry.client.waits() != Waits::Busy) else { return false };
        if !entry.seats.as_mut().is_some_and(Seats::give_way) {
            return false;
        }
        if let Some(metrics) = &entry.metrics {
            metrics.closed_by(self.number, Closed::IdlePressure);
        }
        let client = Rc::clone(&entry.client);
        drop(clients);
        client.cut();
        true
    }
}
