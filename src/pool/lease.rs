//! The right to make one attempt at one backend. Hot path.

use super::{Backend, Breaker, Guard, Place, Seen, Slot, breaker::Ticket};
use crate::error::Kind;
use std::{cell::Cell, fmt::Display, rc::Rc, sync::Arc};
use tokio::time::Instant;

/// Counts as in flight while it lives, at the backend and in the pool. It holds the table that it was chosen from, and tells
/// the breaker how the attempt went; one that tells nothing was given up.
#[derive(Debug)]
pub struct Lease<'p> {
    seen: Rc<Seen>,
    place: u32,
    slot: &'p Slot,
    worker: usize,
    ticket: Cell<Ticket>,
    /// There was no connection for it.
    unconnected: bool,
}

/// Why no attempt may be made at a backend now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many attempts run at it as may, or somebody who came earlier waits for this one.
    Full,
    /// Somebody who came earlier waits for any.
    Queued,
    /// Its circuit is open, or has as many trials as it may.
    Open,
    /// The pool's is: no other backend may be attempted either.
    PoolOpen,
}

impl<'p> Lease<'p> {
    /// An attempt at the backend at `place` of the table begins on `worker`, if one may. Who stands in line has a
    /// `number` there.
    ///
    /// # Errors
    /// The backend takes none now.
    pub fn take(
        seen: Rc<Seen>,
        place: usize,
        slot: &'p Slot,
        worker: usize,
        number: Option<u64>,
    ) -> Result<Self, (Rc<Seen>, Refused)> {
        if let Some(refused) = slot.is_awaited(&seen.table, place, number) {
            return Err((seen, refused));
        }
        let ticket = match admit(&seen, place, slot) {
            Ok(ticket) => Cell::new(ticket),
            Err(refused) => return Err((seen, refused)),
        };
        if !seen.table.backend(place).load.try_begin() {
            give_up(&seen, place, slot, ticket.get());
            return Err((seen, Refused::Full));
        }
        slot.common.in_flight.begin(worker);
        Ok(Self { seen, place: place as u32, slot, worker, ticket, unconnected: false })
    }

    /// An attempt at a `place` that somebody has waited for; `None`: its backend takes none any more, and the place is given
    /// back.
    pub fn given(place: Place<'p>, seen: Rc<Seen>, slot: &'p Slot, worker: usize) -> Option<Self> {
        let at = place.at(&seen.table)?;
        let ticket = Cell::new(admit(&seen, at, slot).ok()?);
        place.keep();
        slot.common.in_flight.begin(worker);
        Some(Self { seen, place: at as u32, slot, worker, ticket, unconnected: false })
    }

    /// It ends before it has begun: there is no connection for it.
    pub fn forgo(mut self) {
        self.unconnected = true;
    }

    /// The backend that is attempted.
    pub fn backend(&self) -> &Arc<Backend> {
        self.seen.table.backend(self.place as usize)
    }

    /// The table that it was chosen from, and its place there.
    pub fn chosen(&self) -> (Rc<Seen>, u32) {
        (Rc::clone(&self.seen), self.place)
    }

    /// The response head has come at `now`, in microseconds of the slot.
    pub fn answered(&self, status: u16, now: u64) {
        let Some((guard, breaker)) = self.watched() else { return };
        if guard.on.has_status(status) {
            return self.fail(guard, breaker, &format_args!("status {status}"), now);
        }
        self.ticket.set(breaker.answered(self.ticket.get(), &guard.rules, now));
    }

    /// No response has come, or not all of it. What is not the backend's fault says nothing.
    pub fn failed(&self, kind: Kind, now: Instant) {
        let Some((guard, breaker)) = self.watched() else { return };
        if guard.on.has(kind) {
            self.fail(guard, breaker, &kind.word(), self.slot.micros(now));
        }
    }

    /// What follows a good head may take for ever, and says nothing of the backend: a tunnel.
    pub fn switched(&self) {
        let Some((_, breaker)) = self.watched() else { return };
        let change = breaker.ended(self.ticket.take(), || self.slot.micros(Instant::now()));
        self.slot.tell(self.watching(), breaker, change);
    }

    fn fail(&self, guard: &Guard, breaker: &Breaker, cause: &dyn Display, now: u64) {
        let mut ticket = self.ticket.get();
        let change = match guard.whole {
            true => breaker.failed(&mut ticket, (&guard.rules, now), cause, || Some(())),
            false => {
                let allow = || self.slot.allow(self.backend(), guard);
                breaker.failed(&mut ticket, (&guard.rules, now), cause, allow)
            }
        };
        self.ticket.set(ticket);
        self.slot.tell(self.watching(), breaker, change);
    }

    /// Who looks at the attempt, and what it goes by.
    fn watched(&self) -> Option<(&Guard, &Breaker)> {
        let guard = self.seen.table.guard()?;
        Some((guard, guard.breaker(self.slot, self.backend())))
    }

    /// Whose breaker it is; `None`: the pool's.
    fn watching(&self) -> Option<&Backend> {
        let whole = self.seen.table.guard().is_some_and(|guard| guard.whole);
        (!whole).then(|| &**self.backend())
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if self.ticket.get().is_trial() {
            self.switched();
        }
        self.slot.common.in_flight.end(self.worker);
        match self.unconnected {
            false => self.slot.release(self.backend()),
            true => self.slot.forgo(self.backend()),
        }
    }
}

fn admit(seen: &Seen, place: usize, slot: &Slot) -> Result<Ticket, Refused> {
    if slot.is_tripped() {
        return Err(Refused::PoolOpen);
    }
    let Some(guard) = seen.table.guard() else { return Ok(Ticket::default()) };
    match guard.breaker(slot, seen.table.backend(place)).admit() {
        Some(ticket) => Ok(ticket),
        None if guard.whole => Err(Refused::PoolOpen),
        // Nobody else is left: better one that fails than nobody.
        None if seen.table.is_last_resort() => Ok(Ticket::default()),
        None => Err(Refused::Open),
    }
}

/// The attempt is not made.
fn give_up(seen: &Seen, place: usize, slot: &Slot, ticket: Ticket) {
    if let Some(guard) = seen.table.guard() {
        guard.breaker(slot, seen.table.backend(place)).ended(ticket, || 0);
    }
}
