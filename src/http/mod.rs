//! HTTP, and nothing of plans: one message form, one guard, and one codec a version, both sides.
//!
//! The servers take an async closure over [`Exchange`]; `runtime` supplies `proxy::handle`.

pub mod body;
mod client;
pub mod exchange;
pub mod grpc;
pub mod guard;
pub mod h1;
pub mod h2;
pub mod head;
mod inlet;
mod linger;
mod method;
pub mod name;
pub mod orca;
#[cfg(test)]
mod properties;
pub mod reply;
mod runner;
mod slow;
mod target;
#[cfg(test)]
mod testing;
mod trace;
pub mod websocket;

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod fuzz;

pub use client::{ByProxy, Client, Origin, Waits};
pub use exchange::{Done, Exchange, Limits, Sink};
pub use guard::{Framing, Guarded, Reject};
pub use head::{Head, Heads, Repeated, Span, Start, Target, Version};
pub use inlet::Inlet;
pub use method::Method;
pub use name::Name;
pub use runner::Server;
pub use trace::trace_id;

use crate::net::{Buffers, Splice};

/// What a worker lends to its connections, and takes back.
#[derive(Debug, Default)]
pub struct Spares {
    /// Read buffers.
    pub buffers: Buffers,
    /// Pipes for `splice(2)`.
    pub pipes: Splice,
    /// Message heads.
    pub heads: Heads,
    /// Maps of fields for HTTP/2.
    pub maps: h2::Maps,
}

impl Spares {
    /// Memory is short: buffers and heads go back to the allocator.
    pub fn relieve(&self) {
        self.buffers.clear();
        self.heads.clear();
    }
}
