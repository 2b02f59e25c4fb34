//! What policies remember, by their names in the configuration: it survives reloads. Made by `runtime` once, lent to each
//! plan.

use super::limit;

/// Buckets, what is in flight, who has been let in: whatever outlives a plan.
#[derive(Debug, Default)]
pub struct Memory {
    /// Buckets and counts of limits.
    pub limits: limit::Memory,
}
