//! The right to make one attempt at one backend. Hot path.

use super::{Backend, Place, Seen, Slot};
use std::{rc::Rc, sync::Arc};

/// Counts as in flight while it lives, at the backend and in the pool. It holds the table that it was chosen from.
#[derive(Debug)]
pub struct Lease<'p> {
    seen: Rc<Seen>,
    place: u32,
    slot: &'p Slot,
    worker: usize,
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
        if !seen.table.backend(place).load.try_begin() {
            return Err((seen, Refused::Full));
        }
        slot.common.in_flight.begin(worker);
        Ok(Self { seen, place: place as u32, slot, worker, unconnected: false })
    }

    /// An attempt at a `place` that somebody has waited for; `None`: its backend is not in the table any more.
    pub fn given(place: Place<'p>, seen: Rc<Seen>, slot: &'p Slot, worker: usize) -> Option<Self> {
        let place = place.take(&seen.table)?;
        slot.common.in_flight.begin(worker);
        Some(Self { seen, place: place as u32, slot, worker, unconnected: false })
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
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.slot.common.in_flight.end(self.worker);
        match self.unconnected {
            false => self.slot.release(self.backend()),
            true => self.slot.forgo(self.backend()),
        }
    }
}
