//! A plan that nobody serves: for what is asked about a configuration where no process runs, or before one takes it. It has
//! memory and series of its own, resolves no name and binds nothing.

use super::{Ground, Numbers, Plan};
use crate::{
    config::Config,
    error::Kind,
    net::Budget,
    policy::Memory,
    pool::Registry,
    telemetry::metrics::{BUCKETS, Telemetry},
};
use std::sync::Arc;
use tokio::time::Instant;

impl Plan {
    /// What `config` means, with every backend as it is at a start. Reads files of keys, as any plan.
    ///
    /// # Errors
    /// As [`Plan::build`].
    pub fn alone(config: &Config) -> Result<Self, String> {
        let telemetry = Arc::new(Telemetry::new(&Kind::WORDS, &BUCKETS, 1));
        let registry = Registry::new(Budget::new(None), telemetry, 1);
        let (memory, mut numbers) = (Memory::default(), Numbers::default());
        let mut ground =
            Ground { registry: &registry, memory: &memory, numbers: &mut numbers, algorithm: None, before: None };
        let plan = Self::build(config, 0, &mut ground)?;
        let now = Instant::now();
        plan.pools.iter().for_each(|pool| drop(pool.refresh(now)));
        Ok(plan)
    }
}
