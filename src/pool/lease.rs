//! The right to make one attempt at one backend. Hot path.

use super::Backend;
use crate::balance::Common;

/// Counts as in flight while it lives, at the backend and in the pool.
#[derive(Debug)]
pub struct Lease<'p> {
    backend: &'p Backend,
    common: &'p Common,
    worker: usize,
}

impl<'p> Lease<'p> {
    /// An attempt at `backend` begins on `worker`.
    pub fn new(backend: &'p Backend, common: &'p Common, worker: usize) -> Self {
        backend.load.begin();
        common.in_flight.begin(worker);
        Self { backend, common, worker }
    }

    /// The backend that is attempted.
    pub fn backend(&self) -> &'p Backend {
        self.backend
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.backend.load.end();
        self.common.in_flight.end(self.worker);
    }
}
