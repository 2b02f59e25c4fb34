//! Backends and the right to call them.

mod backend;
mod health;
mod lease;
mod table;

pub use backend::{Backend, Counted};
pub use health::{Health, Verdict};
pub use lease::Lease;
pub use table::Table;
