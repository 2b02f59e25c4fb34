//! A table that a worker has seen, and which one it was. Hot path.

use super::{Slot, Table};
use std::{rc::Rc, sync::Arc};

/// A worker keeps one for each pool; exchanges hold it while they need it.
#[derive(Debug)]
pub struct Seen {
    version: u64,
    /// Who can be chosen.
    pub table: Arc<Table>,
}

impl Seen {
    /// Today's table of `slot`.
    pub fn of(slot: &Slot) -> Rc<Self> {
        // The number first: a table that comes in between is looked at again.
        let version = slot.version();
        Rc::new(Self { version, table: slot.table() })
    }

    /// `slot` has no newer one.
    pub fn is_current(&self, slot: &Slot) -> bool {
        self.version == slot.version()
    }
}
