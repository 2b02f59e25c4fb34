//! What the process says about itself. Imports nothing of ours: control registers what it reads.

pub mod access_log;
pub mod log;
pub mod metrics;
mod seldom;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;

pub use seldom::{Seldom, SeldomOf};
