//! When pools need their next tables because some of their backends begin slowly, or because the deadline of a drain comes.
//! Control's.

use crate::plan::{Plan, Pool};
use std::collections::HashMap;
use tokio::time::{Instant, sleep_until};

/// Moments, by pool; those that wait for nothing have none.
#[derive(Debug, Default)]
pub(super) struct Ramps(HashMap<String, Instant>);

impl Ramps {
    /// All pools have new tables, and there are no others.
    pub(super) fn of(plan: &Plan, now: Instant) -> Self {
        let mut ramps = Self::default();
        plan.pools.iter().for_each(|pool| ramps.note(pool, now));
        ramps
    }

    /// `pool` has a new table.
    pub(super) fn note(&mut self, pool: &Pool, now: Instant) {
        match pool.next_step(now) {
            Some(step) => drop(self.0.insert(pool.name.clone(), now + step)),
            None => drop(self.0.remove(&pool.name)),
        }
    }

    /// The pools whose moment has come.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = String> {
        self.0.iter().filter(move |(_, at)| **at <= now).map(|(pool, _)| pool.clone())
    }

    /// Waits for the first moment; for ever if there is none.
    pub(super) async fn wait(&self) {
        match self.0.values().min() {
            Some(&first) => sleep_until(first).await,
            None => std::future::pending().await,
        }
    }
}
