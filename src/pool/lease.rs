//! The right to make one attempt at one backend. Hot path.

use super::Backend;

/// Counts as in flight while it lives.
#[derive(Debug)]
pub struct Lease<'p> {
    backend: &'p Backend,
}

impl<'p> Lease<'p> {
    /// An attempt at `backend` begins.
    pub fn new(backend: &'p Backend) -> Self {
        backend.load.begin();
        Self { backend }
    }

    /// The backend that is attempted.
    pub fn backend(&self) -> &'p Backend {
        self.backend
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.backend.load.end();
    }
}
