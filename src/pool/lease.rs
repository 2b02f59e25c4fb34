//! The right to make one attempt at one backend. Hot path.

use super::{Backend, Seen, Slot};
use std::{rc::Rc, sync::Arc};

/// Counts as in flight while it lives, at the backend and in the pool. It holds the table that it was chosen from.
#[derive(Debug)]
pub struct Lease<'p> {
    seen: Rc<Seen>,
    place: u32,
    slot: &'p Slot,
    worker: usize,
}

/// Why no attempt may be made at a backend now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many attempts run at it as may.
    Full,
}

impl<'p> Lease<'p> {
    /// An attempt at the backend at `place` of the table begins on `worker`, if one may.
    ///
    /// # Errors
    /// The backend takes none now.
    pub fn take(seen: Rc<Seen>, place: usize, slot: &'p Slot, worker: usize) -> Result<Self, (Rc<Seen>, Refused)> {
        if !seen.table.backend(place).load.try_begin() {
            return Err((seen, Refused::Full));
        }
        slot.common.in_flight.begin(worker);
        Ok(Self { seen, place: place as u32, slot, worker })
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
        self.backend().load.end();
        self.slot.common.in_flight.end(self.worker);
    }
}
