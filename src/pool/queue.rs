//! Those who wait until a backend takes one more: one line a pool, over workers and reloads; first come, first served.
//! Hot path: an attempt that begins or ends looks at one number while nobody waits. Otherwise there is a lock, one of the
//! few (DESIGN.md section 3).
//!
//! **No place is lost.** Who waits stands in line first and looks for a place then; who ends an attempt gives its place
//! up first and looks at the line then: one of the two sees the other. An attempt that ends while somebody waits hands
//! its place over, still counted, so that nobody takes it in between; and who comes later does not begin an attempt at a
//! backend that somebody waits for. Who leaves the line passes on what it was given.
//!
//! **Whom a place is for.** For the first in line who can use that backend: one may wait for its own backend alone, or for
//! any but those that have failed it. Who lacks a connection besides stands in nobody's way: it may not be had for a place.
//! Where a circuit is not closed, places are nobody's: who comes, or is told to look, may take a trial.

use super::{Backend, Circuit, Guard, Refused, Seen, Slot, Table};
use crate::balance::Tried;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

/// So many are told to look when a circuit wants trials.
const TRIALS: usize = 8;

/// The line of one pool.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// How many stand in line: changed under the lock alone, read without it.
    count: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    /// The number of the last who came.
    last: u64,
    waiting: BTreeMap<u64, Waiter>,
    /// Places, counted already, by who has not taken them yet.
    given: BTreeMap<u64, Arc<Backend>>,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    waker: Option<Waker>,
    /// It should look for itself.
    look: bool,
}

/// What somebody waits for.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    /// The backend with this number alone.
    pub only: Option<u32>,
    /// None of these.
    pub not: Tried,
    /// A connection is what was missing.
    pub connection: bool,
}

impl Wants {
    /// What is at `place` of `table` will do.
    fn fits(&self, table: &Table, place: usize) -> bool {
        let id = table.backend(place).id;
        self.only.map_or_else(|| table.is_open(place) && !self.not.has(id), |only| only == id)
    }

    /// Any place will do.
    fn is_any(&self) -> bool {
        self.only.is_none() && self.not.is_empty()
    }
}

/// Somebody's number in the line. It leaves with it.
#[derive(Debug)]
pub struct Turn<'p> {
    slot: &'p Slot,
    number: u64,
}

/// Why somebody is called.
#[derive(Debug)]
pub enum Called<'p> {
    /// A place is its own.
    Place(Place<'p>),
    /// Things have changed: it should look for itself.
    Look,
}

/// The right to an attempt at a backend, counted already.
#[derive(Debug)]
pub struct Place<'p> {
    slot: &'p Slot,
    backend: Option<Arc<Backend>>,
}

impl Place<'_> {
    /// Where its backend is in `table`; `None`: that does not have it any more.
    pub(super) fn at(&self, table: &Table) -> Option<usize> {
        table.place_of(self.backend.as_ref()?.id)
    }

    /// Somebody else counts it from now on; else it is given back.
    pub(super) fn keep(mut self) {
        self.backend = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(backend) = &self.backend {
            self.slot.release(backend);
        }
    }
}

impl<'p> Turn<'p> {
    /// Who came earlier has a smaller one.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Stands in line where it stood, for what it `wants` now. `seen` is what it has looked through in vain.
    pub fn stand(&self, wants: Wants, seen: &Seen) {
        self.slot.queue.enter(self.slot, Some(self.number), wants, seen, usize::MAX);
    }

    /// Ready when it is called. Of several wakers the last one counts.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Called<'p>> {
        let mut line = self.slot.queue.lock();
        if let Some(backend) = line.given.remove(&self.number) {
            return Poll::Ready(Called::Place(Place { slot: self.slot, backend: Some(backend) }));
        }
        let Some(waiter) = line.waiting.get_mut(&self.number) else { return Poll::Ready(Called::Look) };
        if std::mem::take(&mut waiter.look) {
            return Poll::Ready(Called::Look);
        }
        if !waiter.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiter.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = self.slot.queue.lock();
        line.waiting.remove(&self.number);
        let given = line.given.remove(&self.number);
        self.slot.queue.counted(line);
        if let Some(backend) = given {
            self.slot.release(&backend);
        }
    }
}

impl Slot {
    /// How many wait.
    pub fn queued(&self) -> usize {
        self.queue.count.load(SeqCst)
    }

    /// Stands in line for what it `wants`, behind up to `most` - 1 others; `None`: there are more. `seen` is what it has
    /// looked through in vain.
    pub fn join(&self, wants: Wants, seen: &Seen, most: usize) -> Option<Turn<'_>> {
        let number = self.queue.enter(self, None, wants, seen, most)?;
        Some(Turn { slot: self, number })
    }

    /// Backends may take more than before: there is another table, or a bound has been raised. Control alone calls it.
    pub fn attend(&self) {
        if self.queued() > 0 {
            let wakers = self.queue.attend(View { slot: self, table: &self.table() });
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Why whoever has `number`, or has just come, may not begin an attempt at what is at `place`: somebody who came
    /// earlier waits for it.
    pub(super) fn is_awaited(&self, table: &Table, place: usize, number: Option<u64>) -> Option<Refused> {
        if self.queued() == 0 || !(View { slot: self, table }).is_through(place) {
            return None;
        }
        let line = self.queue.lock();
        let earlier = line.waiting.range(..number.unwrap_or(u64::MAX)).map(|(_, waiter)| &waiter.wants);
        let first = earlier.filter(|wants| !wants.connection).find(|wants| wants.fits(table, place))?;
        Some(if first.is_any() { Refused::Queued } else { Refused::Full })
    }

    /// An attempt at `backend` has ended.
    pub(super) fn release(&self, backend: &Arc<Backend>) {
        if self.queued() > 0 {
            return self.hand_over(backend, Gives::Own);
        }
        backend.load.end();
        if self.queued() > 0 {
            self.hand_over(backend, Gives::Free);
        }
    }

    /// As [`Slot::release`], of an attempt for which there was no connection: it is not for those who lack one as well.
    pub(super) fn forgo(&self, backend: &Arc<Backend>) {
        backend.load.end();
        if self.queued() > 0 {
            self.hand_over(backend, Gives::Unconnected);
        }
    }

    fn hand_over(&self, backend: &Arc<Backend>, gives: Gives) {
        let waker = self.queue.hand_over(View { slot: self, table: &self.table() }, backend, gives);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Which place is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    /// One that is counted still.
    Own,
    /// One that is free, if it still is.
    Free,
    /// The same, without a connection.
    Unconnected,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Others see how many wait, and may come.
    fn counted(&self, line: MutexGuard<'_, Line>) {
        self.count.store(line.waiting.len(), SeqCst);
        drop(line);
    }

    /// Stands in line as `number`, or as the last; then looks for a place, but where somebody in front waits for any.
    fn enter(&self, slot: &Slot, number: Option<u64>, wants: Wants, seen: &Seen, most: usize) -> Option<u64> {
        let mut line = self.lock();
        let number = match number {
            Some(number) => number,
            None if line.waiting.len() >= most => return None,
            None => {
                line.last += 1;
                line.last
            }
        };
        let waker = line.waiting.remove(&number).and_then(|waiter| waiter.waker);
        if line.given.contains_key(&number) {
            // It has been given a place meanwhile.
            self.counted(line);
            return Some(number);
        }
        let current = seen.is_current(slot);
        // Where somebody in front would take any, nothing is free.
        let mut ahead = line.waiting.range(..number).map(|(_, waiter)| &waiter.wants);
        let looks = current
            && !wants.connection
            && (wants.only.is_some() || !ahead.any(|ahead| !ahead.connection && ahead.is_any()));
        line.waiting.insert(number, Waiter { wants, waker, look: !current });
        // Seen by whoever ends an attempt from here on; what has ended before is seen below.
        self.count.store(line.waiting.len(), SeqCst);
        // A backend without a bound was not refused for want of a place.
        let is_bounded = |backend: &Backend| backend.load.most().is_some();
        let view = View { slot, table: &seen.table };
        if looks && let Some(place) = view.take(&line.waiting[&number].wants, 0, is_bounded) {
            line.give(number, Arc::clone(seen.table.backend(place)));
        }
        self.counted(line);
        Some(number)
    }

    fn hand_over(&self, view: View<'_>, backend: &Arc<Backend>, gives: Gives) -> Option<Waker> {
        let mut line = self.lock();
        let today = view.table.today(backend);
        let wanted = |wants: &Wants| {
            let fits = today.is_some_and(|place| wants.fits(view.table, place));
            fits && !(gives == Gives::Unconnected && wants.connection)
        };
        let first = line.waiting.iter().find(|(_, waiter)| wanted(&waiter.wants)).map(|(number, _)| *number);
        if today.is_some_and(|place| !view.is_through(place)) {
            if gives == Gives::Own {
                backend.load.end();
            }
            // There may be another trial.
            return line.tell(first?);
        }
        let kept = gives == Gives::Own && first.is_some() && !backend.load.is_over();
        if gives == Gives::Own && !kept {
            backend.load.end();
        }
        let number = first.filter(|_| kept || backend.load.try_begin())?;
        // Under another name it may be another one, with the same load.
        let backend = today.map_or(backend, |place| view.table.backend(place));
        let waker = line.give(number, Arc::clone(backend));
        self.counted(line);
        waker
    }

    /// Gives what is free to those who wait, and tells those to look who wait for what is not to be had that way.
    fn attend(&self, view: View<'_>) -> Vec<Waker> {
        let (mut line, mut wakers) = (self.lock(), Vec::new());
        let (mut next, mut dry, mut trials) = (0, false, TRIALS);
        let trial = (0..view.table.open()).find(|&place| !view.is_through(place));
        let numbers: Vec<u64> = line.waiting.keys().copied().collect();
        for number in numbers {
            let Some(wants) = line.waiting.get(&number).map(|waiter| waiter.wants.clone()) else { continue };
            let wants = &wants;
            let found =
                if wants.connection || dry && wants.only.is_none() { None } else { view.take(wants, next, |_| true) };
            if let Some(place) = found {
                next = place + 1;
                wakers.extend(line.give(number, Arc::clone(view.table.backend(place))));
                continue;
            }
            dry |= wants.is_any() && !wants.connection;
            let tries = trials > 0 && trial.is_some_and(|place| wants.fits(view.table, place));
            trials -= usize::from(tries);
            if tries || wants.connection || !view.has(wants) {
                wakers.extend(line.tell(number));
            }
        }
        self.counted(line);
        wakers
    }
}

impl Line {
    /// `number` should look for itself.
    fn tell(&mut self, number: u64) -> Option<Waker> {
        let waiter = self.waiting.get_mut(&number)?;
        waiter.look = true;
        waiter.waker.take()
    }

    /// The place at `backend` is `number`'s.
    fn give(&mut self, number: u64, backend: Arc<Backend>) -> Option<Waker> {
        self.given.insert(number, backend);
        self.waiting.remove(&number)?.waker
    }
}

/// What can be given away.
#[derive(Clone, Copy)]
struct View<'a> {
    slot: &'a Slot,
    table: &'a Table,
}

impl View<'_> {
    /// A place there can be given to whoever wants that. Trials of a circuit cannot: who looks for itself takes one.
    fn gives(self, wants: &Wants, place: usize) -> bool {
        wants.fits(self.table, place) && self.is_through(place)
    }

    /// The circuit lets everybody through.
    fn is_through(self, place: usize) -> bool {
        let is_closed = |guard: &Guard| {
            let by_force = !guard.whole && self.table.is_last_resort();
            by_force || guard.breaker(self.slot, self.table.backend(place)).circuit() == Circuit::Closed
        };
        !self.slot.is_tripped() && self.table.guard().is_none_or(is_closed)
    }

    /// Somebody may give a place to whoever wants that, sooner or later.
    fn has(self, wants: &Wants) -> bool {
        match wants.only {
            Some(only) => self.table.place_of(only).is_some_and(|place| self.gives(wants, place)),
            None => (0..self.table.open()).any(|place| self.gives(wants, place)),
        }
    }

    /// The first place from `next` on, around, that will do and is free, and `fits`: it is counted.
    fn take(self, wants: &Wants, next: usize, fits: impl Fn(&Backend) -> bool) -> Option<usize> {
        let (table, open) = (self.table, self.table.open());
        let is_free = |place: &usize| {
            let backend = table.backend(*place);
            self.gives(wants, *place) && fits(backend) && backend.load.try_begin()
        };
        match wants.only {
            Some(only) => table.place_of(only).filter(is_free),
            None => (0..open).map(|step| (next + step) % open).find(is_free),
        }
    }
}
