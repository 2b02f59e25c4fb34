//! What policies remember, by their names in the configuration: it survives reloads. Made by `runtime` once, lent to each
//! plan.

use super::{
    auth::{Desk, Places},
    limit,
};
use std::sync::{Arc, OnceLock};

/// Buckets, what is in flight, who has been let in: whatever outlives a plan.
#[derive(Debug, Default)]
pub struct Memory {
    /// Buckets and counts of limits.
    pub limits: limit::Memory,
    /// Made for the first `basic`.
    desk: OnceLock<Arc<Desk>>,
    /// Keys of tokens.
    places: Places,
}

impl Memory {
    /// Where passwords are checked.
    pub(super) fn desk(&self) -> &Arc<Desk> {
        self.desk.get_or_init(Arc::default)
    }

    /// Where keys of tokens are found.
    pub(super) fn places(&self) -> &Places {
        &self.places
    }
}
