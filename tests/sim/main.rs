//! Pure cores under swept seeds and a virtual clock: no sockets, and no time passes. A failure names its seed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive;
mod queue;
