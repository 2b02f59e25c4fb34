//! Backends and the right to call them.

mod backend;
mod lease;
mod table;

pub use backend::{Backend, Counted};
pub use lease::Lease;
pub use table::Table;
