//! The queue of a pool (src/pool/queue.rs): step by step against a model, and under threads.

use std::rc::Rc;
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use evenkeel::balance::{Algorithm, Tried, splitmix64};
use evenkeel::config::Address;
use evenkeel::net::Budget;
use evenkeel::pool::{Backend, Build, Called, Lease, Place, Registry, Seen, Slot, Table, Turn, Wants};
use evenkeel::telemetry::metrics::Telemetry;

/// Nobody waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        splitmix64(&mut self.0) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A pool of so many backends, the last of them held for its own clients.
struct Pool {
    slot: Arc<Slot>,
    backends: Vec<Arc<Backend>>,
}

impl Pool {
    fn new(count: usize, workers: usize, random: &mut Random) -> Self {
        let telemetry = Arc::new(Telemetry::new(&[], &[1.0], workers));
        let registry = Registry::new(Budget::new(None), telemetry, workers);
        let backend = |number: usize| {
            let address = Address::Tcp(format!("127.0.0.1:{}", number + 1).parse().unwrap());
            registry.backend("p", &format!("b{number}"), &address)
        };
        let pool = Self { slot: registry.slot("p"), backends: (0..count).map(backend).collect() };
        for backend in &pool.backends {
            backend.load.set_most(Some(1 + random.below(3) as u32));
        }
        pool.publish(|_| true);
        pool
    }

    /// A table of those that `has` says, and always of the last one.
    fn publish(&self, has: impl Fn(usize) -> bool) {
        let (held, open) = self.backends.split_last().unwrap();
        let chosen = open.iter().enumerate().filter(|(place, _)| has(*place));
        let usable: Vec<_> = chosen.map(|(_, backend)| (Arc::clone(backend), 100)).collect();
        let common = &self.slot.common;
        let (held, sticky) = (&[Arc::clone(held)], Some(125));
        let (algorithm, guard, last_resort) = (Algorithm::Random, None, false);
        let build = Build { algorithm, sticky, usable: &usable, held, spare: &[], guard, last_resort, common };
        self.slot.publish(Table::new(&build));
        self.slot.attend();
    }

    fn take(&self, seen: &Rc<Seen>, id: u32, worker: usize, number: Option<u64>) -> Option<Lease<'_>> {
        let place = seen.table.place_of(id)?;
        Lease::take(Rc::clone(seen), place, &self.slot, worker, number).ok()
    }

    fn assert_empty(&self, seed: u64) {
        assert_eq!(self.slot.queued(), 0, "seed {seed}");
        for backend in &self.backends {
            assert_eq!(backend.load.in_flight(), 0, "seed {seed}: {}", backend.name);
        }
        assert_eq!(self.slot.common.in_flight.sum(), 0, "seed {seed}");
    }
}

fn only(id: u32) -> Wants {
    Wants { only: Some(id), ..Wants::default() }
}

fn not(id: u32) -> Wants {
    let mut not = Tried::default();
    not.add(id);
    Wants { not, ..Wants::default() }
}

/// Somebody in line, as the model has it.
struct Waiter<'p> {
    turn: Turn<'p>,
    wants: Wants,
}

impl Waiter<'_> {
    fn fits(&self, backend: &Backend, is_open: bool) -> bool {
        self.wants.only.map_or(is_open && !self.wants.not.has(backend.id), |id| id == backend.id)
    }
}

/// One thread, one step at a time: who gets which place is known at each.
struct Model<'p> {
    pool: &'p Pool,
    random: Random,
    seed: u64,
    waiting: Vec<Waiter<'p>>,
    leases: Vec<Lease<'p>>,
}

impl<'p> Model<'p> {
    fn is_open(&self, place: usize) -> bool {
        place + 1 < self.pool.backends.len()
    }

    fn arrive(&mut self) {
        let pool = self.pool;
        let seen = Seen::of(&pool.slot);
        let id = pool.backends[self.random.below(pool.backends.len() as u64) as usize].id;
        let wants = match self.random.below(4) {
            0 => only(id),
            1 => not(id),
            _ => Wants::default(),
        };
        for (place, backend) in pool.backends.iter().enumerate() {
            let fits = wants.only.map_or(self.is_open(place) && !wants.not.has(backend.id), |id| id == backend.id);
            if !fits {
                continue;
            }
            let wanted = self.waiting.iter().any(|waiter| waiter.fits(backend, self.is_open(place)));
            let room = backend.load.most().is_none_or(|most| backend.load.in_flight() < most);
            let lease = pool.take(&seen, backend.id, 0, None);
            assert_eq!(lease.is_some(), room && !wanted, "seed {}: {}", self.seed, backend.name);
            if let Some(lease) = lease {
                return self.leases.push(lease);
            }
        }
        let turn = pool.slot.join(wants.clone(), &seen, 8);
        assert_eq!(turn.is_some(), self.waiting.len() < 8, "seed {}: eight may wait", self.seed);
        self.waiting.extend(turn.map(|turn| Waiter { turn, wants }));
    }

    fn end(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let lease = self.leases.swap_remove(self.random.below(self.leases.len() as u64) as usize);
        let backend = Arc::clone(lease.backend());
        let over = backend.load.is_over();
        drop(lease);
        self.given(&backend, if over { 0 } else { 1 });
    }

    /// So many places at `backend` have become free: those are called who came first, and nobody else.
    fn given(&mut self, backend: &Backend, places: usize) {
        let place = self.pool.backends.iter().position(|other| other.id == backend.id).unwrap();
        let is_open = self.is_open(place);
        let due = self.waiting.iter().filter(|waiter| waiter.fits(backend, is_open)).take(places);
        let due: Vec<_> = due.map(|waiter| waiter.turn.number()).collect();
        let called = self.poll();
        assert_eq!(called, due, "seed {}: at {}", self.seed, backend.name);
    }

    /// Takes what was given, and says to whom.
    fn poll(&mut self) -> Vec<u64> {
        let (mut called, seen) = (Vec::new(), Seen::of(&self.pool.slot));
        let mut place = 0;
        while place < self.waiting.len() {
            let waiter = &self.waiting[place];
            match waiter.turn.poll(&Context::from_waker(Waker::noop())) {
                Poll::Pending => place += 1,
                Poll::Ready(Called::Look) => panic!("seed {}: nothing has changed", self.seed),
                Poll::Ready(Called::Place(given)) => {
                    called.push(waiter.turn.number());
                    self.waiting.remove(place);
                    self.leases.push(self.lease(given, &seen));
                }
            }
        }
        called
    }

    fn lease(&self, given: Place<'p>, seen: &Rc<Seen>) -> Lease<'p> {
        Lease::given(given, Rc::clone(seen), &self.pool.slot, 0).unwrap()
    }

    fn leave(&mut self) {
        if !self.waiting.is_empty() {
            self.waiting.remove(self.random.below(self.waiting.len() as u64) as usize);
            assert!(self.poll().is_empty(), "seed {}: it had nothing to pass on", self.seed);
        }
    }

    /// Another bound: whoever can be served at once is.
    fn bound(&mut self) {
        let backend = Arc::clone(&self.pool.backends[self.random.below(self.pool.backends.len() as u64) as usize]);
        let most = 1 + self.random.below(4) as u32;
        backend.load.set_most(Some(most));
        let places = most.saturating_sub(backend.load.in_flight()) as usize;
        self.pool.slot.attend();
        self.given(&backend, places);
    }

    fn check(&self) {
        for backend in &self.pool.backends {
            let in_flight = self.leases.iter().filter(|lease| lease.backend().id == backend.id).count();
            assert_eq!(backend.load.in_flight() as usize, in_flight, "seed {}: {}", self.seed, backend.name);
        }
        assert_eq!(self.pool.slot.queued(), self.waiting.len(), "seed {}", self.seed);
    }
}

#[test]
fn every_step_serves_those_who_came_first() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let pool = Pool::new(3 + random.below(3) as usize, 1, &mut random);
        let (waiting, leases) = (Vec::new(), Vec::new());
        let mut model = Model { pool: &pool, random, seed, waiting, leases };
        for _ in 0..400 {
            match model.random.below(20) {
                0 => model.bound(),
                1 => model.leave(),
                2..11 => model.end(),
                _ => model.arrive(),
            }
            model.check();
        }
        drop(std::mem::take(&mut model.waiting));
        drop(model);
        pool.assert_empty(seed);
    }
}

#[test]
fn who_leaves_passes_on_what_it_was_given() {
    for seed in 0..50 {
        let pool = Pool::new(2, 1, &mut Random(seed));
        let (seen, backend) = (Seen::of(&pool.slot), &pool.backends[0]);
        backend.load.set_most(Some(1));
        let lease = pool.take(&seen, backend.id, 0, None).unwrap();
        let mut turns: Vec<_> = (0..4).map(|_| pool.slot.join(Wants::default(), &seen, 4).unwrap()).collect();
        assert!(pool.slot.join(Wants::default(), &seen, 4).is_none());
        drop(lease);
        assert!(pool.take(&seen, backend.id, 0, None).is_none(), "it is the first one's");
        drop(turns.remove(0));
        let context = Context::from_waker(Waker::noop());
        let Poll::Ready(Called::Place(place)) = turns[0].poll(&context) else { panic!("the second has it") };
        drop(place);
        let Poll::Ready(Called::Place(place)) = turns[1].poll(&context) else { panic!("the third has it") };
        pool.publish(|_| false);
        let today = Seen::of(&pool.slot);
        assert!(Lease::given(place, today, &pool.slot, 0).is_none(), "its backend is gone");
        assert!(matches!(turns[2].poll(&context), Poll::Ready(Called::Look)), "there is nothing to wait for");
        assert_eq!(backend.load.in_flight(), 0);
        drop(turns);
        pool.assert_empty(seed);
    }
}

#[test]
fn what_is_freed_between_the_look_and_the_line_is_found() {
    let pool = Pool::new(2, 1, &mut Random(0));
    let (seen, backend) = (Seen::of(&pool.slot), &pool.backends[0]);
    backend.load.set_most(Some(1));
    let lease = pool.take(&seen, backend.id, 0, None).unwrap();
    assert!(pool.take(&seen, backend.id, 0, None).is_none(), "who looks finds nothing");
    // Nobody stands in line yet who could be told.
    drop(lease);
    let turn = pool.slot.join(Wants::default(), &seen, 4).unwrap();
    let context = Context::from_waker(Waker::noop());
    let Poll::Ready(Called::Place(place)) = turn.poll(&context) else { panic!("the place is lost") };
    drop((place, turn));
    pool.assert_empty(0);
}

#[test]
fn who_comes_later_begins_nothing_where_somebody_waits() {
    let pool = Pool::new(2, 1, &mut Random(0));
    let (seen, backend) = (Seen::of(&pool.slot), &pool.backends[0]);
    backend.load.set_most(Some(1));
    let lease = pool.take(&seen, backend.id, 0, None).unwrap();
    let first = pool.slot.join(Wants::default(), &seen, 4).unwrap();
    let second = pool.slot.join(Wants::default(), &seen, 4).unwrap();
    // There is room, and the line has not been told.
    backend.load.set_most(Some(2));
    assert!(pool.take(&seen, backend.id, 0, None).is_none(), "two came earlier");
    assert!(pool.take(&seen, backend.id, 0, Some(second.number())).is_none(), "one did");
    let own = pool.take(&seen, backend.id, 0, Some(first.number()));
    assert!(own.is_some(), "it is the first one's");
    drop((first, second, lease, own));
    pool.assert_empty(0);
}

#[test]
fn who_lacks_a_connection_stands_in_nobodys_way() {
    let pool = Pool::new(2, 1, &mut Random(0));
    let (seen, backend) = (Seen::of(&pool.slot), &pool.backends[0]);
    backend.load.set_most(Some(1));
    let context = Context::from_waker(Waker::noop());
    let lacking = Wants { connection: true, ..Wants::default() };
    let lease = pool.take(&seen, backend.id, 0, None).unwrap();
    let first = pool.slot.join(lacking.clone(), &seen, 4).unwrap();
    let second = pool.slot.join(Wants::default(), &seen, 4).unwrap();
    lease.forgo();
    assert!(first.poll(&context).is_pending(), "there is no connection for it");
    let Poll::Ready(Called::Place(place)) = second.poll(&context) else { panic!("it needs none") };
    drop(place);
    let Poll::Ready(Called::Place(place)) = first.poll(&context) else { panic!("now there may be one") };
    drop(place);
    first.stand(lacking, &seen);
    assert!(first.poll(&context).is_pending(), "there is a place, and it is not what it lacks");
    assert!(pool.take(&seen, backend.id, 0, None).is_some(), "others may pass");
    drop((first, second));
    pool.assert_empty(0);
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One worker: requests one after the other, each of which gets its place, or leaves.
fn work(pool: &Pool, worker: usize, seed: u64, requests: usize, served: &AtomicU64) {
    let mut random = Random(seed ^ (worker as u64) << 32);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    for _ in 0..requests {
        let id = pool.backends[random.below(pool.backends.len() as u64) as usize].id;
        let wants = match random.below(5) {
            0 => only(pool.backends.last().unwrap().id),
            1 => not(id),
            _ => Wants::default(),
        };
        let leaves = random.chance(10);
        if let Some(lease) = request(pool, worker, &wants, leaves, &waker, seed) {
            let load = &lease.backend().load;
            assert!(load.in_flight() <= load.most().unwrap(), "seed {seed}: above the bound");
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
            served.fetch_add(1, Relaxed);
        }
    }
}

fn request<'p>(
    pool: &'p Pool,
    worker: usize,
    wants: &Wants,
    leaves: bool,
    waker: &Waker,
    seed: u64,
) -> Option<Lease<'p>> {
    let (start, mut turn) = (Instant::now(), None::<Turn<'p>>);
    loop {
        let seen = Seen::of(&pool.slot);
        let number = turn.as_ref().map(Turn::number);
        for backend in &pool.backends[..pool.backends.len() - usize::from(wants.only.is_none())] {
            if wants.only.is_none_or(|id| id == backend.id)
                && !wants.not.has(backend.id)
                && let Some(lease) = pool.take(&seen, backend.id, worker, number)
            {
                return Some(lease);
            }
        }
        match &turn {
            Some(turn) => turn.stand(wants.clone(), &seen),
            None => turn = Some(pool.slot.join(wants.clone(), &seen, usize::MAX).unwrap()),
        }
        let turn = turn.as_ref().unwrap();
        loop {
            match turn.poll(&Context::from_waker(waker)) {
                Poll::Pending if leaves => return None,
                Poll::Pending => {
                    assert!(start.elapsed() < PATIENCE, "seed {seed}: a place was lost: {:?}", pool.slot);
                    thread::park_timeout(PATIENCE);
                }
                Poll::Ready(Called::Look) => break,
                Poll::Ready(Called::Place(place)) => {
                    match Lease::given(place, Seen::of(&pool.slot), &pool.slot, worker) {
                        Some(lease) => return Some(lease),
                        None => break,
                    }
                }
            }
        }
    }
}

fn under_threads(seed: u64, changes: bool) {
    const WORKERS: usize = 6;
    let pool = Pool::new(3, WORKERS, &mut Random(seed));
    if changes {
        // The bound is looked at by whoever has a lease: it never falls here.
        pool.backends.iter().for_each(|backend| backend.load.set_most(Some(3)));
    }
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        let (pool, served) = (&pool, &served);
        let worker = |worker| scope.spawn(move || work(pool, worker, seed, 200, served));
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        let mut turn = 0;
        while changes && workers.iter().any(|worker| !worker.is_finished()) {
            turn += 1;
            // One of two is there at a time, now and then.
            pool.publish(|place| turn % 3 == 0 || place == turn % 2);
            thread::yield_now();
        }
        pool.publish(|_| true);
    });
    assert!(served.into_inner() > 0);
    pool.assert_empty(seed);
}

#[test]
fn threads_lose_no_place_and_pass_no_bound() {
    (0..60).for_each(|seed| under_threads(seed, false));
}

#[test]
fn tables_may_change_meanwhile() {
    (0..30).for_each(|seed| under_threads(seed, true));
}
