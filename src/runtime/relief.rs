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
    time::{Instant, sleep, sleep_until},
};

/// From when the connections have been looked over until some are closed: by then the others have looked, too.
const MEANWHILE: Duration = Duration::from_millis(10);
/// Then nothing is done for so long. A place is free a twentieth of a second after it is wanted, or so.
const REST: Duration = Duration::from_millis(40);
/// So many are closed in a row, and then none for so long: a worker's other clients are not kept waiting. Whoever comes
/// into a place near the end has some closed, too.
const ROW: u64 = 8;
const FOR_ONE: u64 = 2;
const STEP: Duration = Duration::from_millis(1);
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

/// One that could be closed. Of two the one that has waited longer goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    waited: Duration,
    place: usize,
    serial: u64,
}

/// Those of one holder that could be closed; apart from them the ones that have been answered for the last time.
#[derive(Debug)]
struct Queue {
    holder: Option<Holder>,
    last: bool,
    candidates: Vec<Candidate>,
}

/// When a queue has its turn. Of two the one whose connections have been answered for the last time comes first, then the
/// one whose holder has more, then the one whose next has waited longer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    last: bool,
    held: usize,
    waited: Duration,
    queue: usize,
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
    /// The candidate that goes next is at the end of each.
    queues: Vec<Queue>,
    turns: BinaryHeap<Turn>,
    /// Connections of each of their holders, of all workers.
    held: HashMap<Holder, usize>,
    /// The most that a holder of idle ones has.
    most: usize,
}

impl Idle {
    /// `queues`, of whose holders all workers together have so many connections.
    fn of(mut queues: Vec<Queue>, (held, most): (HashMap<Holder, usize>, usize)) -> Self {
        queues.iter_mut().for_each(|queue| queue.candidates.sort_unstable());
        let mut idle = Self { queues, held, most, turns: BinaryHeap::new() };
        idle.turns = (0..idle.queues.len()).filter_map(|queue| idle.turn(queue)).collect();
        idle
    }

    fn held(&self, holder: Option<Holder>) -> usize {
        holder.and_then(|holder| self.held.get(&holder)).copied().unwrap_or(1)
    }

    /// When the queue of that number has its turn, if it is not empty.
    fn turn(&self, queue: usize) -> Option<Turn> {
        let Queue { holder, last, candidates } = &self.queues[queue];
        let next = candidates.last()?;
        Some(Turn { last: *last, held: self.held(*holder), waited: next.waited, queue })
    }

    /// The one that goes next, and who holds it.
    fn next(&mut self) -> Option<(Candidate, Option<Holder>)> {
        loop {
            let turn = self.turns.pop()?;
            let now = self.turn(turn.queue)?;
            if now != turn {
                // Some of its holder's have gone since: there may be others before it.
                self.turns.push(now);
                continue;
            }
            // Others hold far more, and another worker has them.
            if !turn.last && 2 * turn.held < self.most {
                self.turns.clear();
                return None;
            }
            let queue = &mut self.queues[turn.queue];
            let next = (queue.candidates.pop()?, queue.holder);
            let then = self.turn(turn.queue);
            self.turns.extend(then);
            return Some(next);
        }
    }

    /// One of that holder's has gone.
    fn gone(&mut self, holder: Option<Holder>) {
        if let Some(held) = holder.and_then(|holder| self.held.get_mut(&holder)) {
            *held -= 1;
        }
    }
}

/// Has idle connections of `worker` closed whenever it is called. Never ends.
pub(super) async fn relieve(worker: Rc<Worker>) {
    let relief = &worker.shared.relief;
    loop {
        relief.called[worker.number].notified().await;
        while let Some(pressed) = worker.pressed() {
            let queues = worker.look_over(&pressed);
            sleep(MEANWHILE).await;
            worker.rank(queues);
            let rest = Instant::now() + REST;
            // Few at a time, and others have their turn between them: each is a task that has to end.
            while worker.close_idle(ROW) && Instant::now() < rest {
                sleep(STEP).await;
            }
            sleep_until(rest).await;
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
    fn look_over(&self, pressed: &Pressed) -> Vec<Queue> {
        let (now, clients) = (Instant::now(), self.clients.borrow());
        // Two queues a holder, and how many connections it has.
        let (mut queues, mut held, mut numbers) = (Vec::new(), Vec::new(), HashMap::new());
        let mut all = Vec::with_capacity(clients.len());
        for (place, entry) in clients.iter() {
            if entry.seats.as_ref().is_none_or(Seats::is_leaving) {
                continue;
            }
            let holder = holder(entry);
            let number = *numbers.entry(holder).or_insert_with(|| {
                queues.extend([false, true].map(|last| Queue { holder, last, candidates: Vec::new() }));
                held.push(0);
                held.len() - 1
            });
            held[number] += 1;
            all.push((place, number));
        }
        let counts = numbers.iter().filter_map(|(holder, number)| Some(((*holder)?, held[*number])));
        let mut board = Board { held: counts.collect(), idle: HashSet::new() };
        let total = all.len();
        for (place, number) in all {
            let entry = &clients[place];
            let holder = queues[2 * number].holder;
            let held = if holder.is_some() { held[number] } else { 1 };
            let many = held >= MANY && held * SHARE >= total;
            let Some((waited, least)) = pressed.idle(entry, now, many) else { continue };
            // Whoever has just opened very many has a moment, and nobody else has to go meanwhile.
            if many || waited >= least {
                board.idle.extend(holder);
            }
            if waited >= least {
                let last = usize::from(matches!(entry.client.waits(), Waits::Last(_)));
                queues[2 * number + last].candidates.push(Candidate { waited, place, serial: entry.serial });
            }
        }
        self.shared.relief.publish(self.number, board);
        queues
    }

    /// Ranks what has been found, now that all workers have looked.
    fn rank(&self, queues: Vec<Queue>) {
        self.idle.replace(Idle::of(queues, self.shared.relief.holders()));
    }

    /// Makes room for one that has come when few places were left, and a little more than that.
    pub(super) fn make_room(&self) {
        self.close_idle(FOR_ONE);
    }

    /// Closes idle connections, as many as should go, and at most so many: of those that were found when they were last
    /// looked over, and are idle still. True if more could have gone.
    fn close_idle(&self, most: u64) -> bool {
        let (mut idle, mut closed) = (self.idle.borrow_mut(), 0);
        while closed < most && self.is_over() {
            let Some((candidate, holder)) = idle.next() else { break };
            if self.give_way(&candidate) {
                closed += 1;
                idle.gone(holder);
            }
        }
        self.shared.relief.say(closed);
        closed == most
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

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(number: u8) -> Option<Holder> {
        Some(Holder::of([192, 0, 2, number].into()))
    }

    /// Has waited for so many milliseconds; its place is that number, too.
    fn queue(holder: Option<Holder>, last: bool, waited: &[u64]) -> Queue {
        let candidate =
            |&waited| Candidate { waited: Duration::from_millis(waited), place: waited as usize, serial: 0 };
        Queue { holder, last, candidates: waited.iter().map(candidate).collect() }
    }

    fn held(held: &[(Option<Holder>, usize)]) -> HashMap<Holder, usize> {
        held.iter().map(|(holder, held)| (holder.unwrap(), *held)).collect()
    }

    /// The places in the order that they go.
    fn order(mut idle: Idle) -> Vec<usize> {
        std::iter::from_fn(|| {
            let (candidate, holder) = idle.next()?;
            idle.gone(holder);
            Some(candidate.place)
        })
        .collect()
    }

    #[test]
    fn whoever_holds_most_gives_first_and_of_its_own_the_one_that_has_waited_longest() {
        let queues = vec![
            queue(holder(1), false, &[70, 80]),
            queue(holder(2), false, &[10, 30, 20]),
            queue(None, false, &[90]),
            queue(holder(1), true, &[5]),
        ];
        let idle = Idle::of(queues, (held(&[(holder(1), 3), (holder(2), 4)]), 0));
        // The last answer, then two of four; both hold two by then, and the first has waited longer.
        assert_eq!(order(idle), [5, 30, 20, 80, 10, 90, 70]);
    }

    #[test]
    fn what_holds_far_less_than_another_worker_has_stays() {
        let queues = || vec![queue(holder(1), false, &[70]), queue(holder(2), true, &[10])];
        let held = || held(&[(holder(1), 4), (holder(2), 1), (holder(3), 9)]);
        assert_eq!(order(Idle::of(queues(), (held(), 9))), [10]);
        assert_eq!(order(Idle::of(queues(), (held(), 8))), [10, 70]);
    }
}
