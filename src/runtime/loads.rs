//! What backends say of themselves, as control has to do with it: who is polled, and what is missed. Called by `control`.

use super::control::Control;
use crate::{
    health::Polled,
    plan::{CustomLoad, Member, Pool},
};
use std::sync::Arc;
use tokio::time::Instant;

impl Control {
    /// Polls follow the plan.
    pub(super) fn poll(&self) {
        let Some(poller) = &self.poller else { return };
        let mut list = Vec::new();
        for pool in &self.plan.pools {
            let Some(load) = &pool.custom_load else { continue };
            list.extend(pool.members.iter().map(|member| polled(pool, member, Arc::clone(load))));
        }
        poller.watch(list);
    }

    /// Says which metrics have not come though they count.
    pub(super) fn warn_of_silence(&self) {
        let now = Instant::now();
        for pool in &self.plan.pools {
            let overdue = |load: &Arc<CustomLoad>| load.overdue(pool.slot.micros(now));
            let Some(overdue) = pool.custom_load.as_ref().and_then(overdue) else { continue };
            let (missing, came) = (overdue.missing.join(", "), overdue.came.join(", "));
            tracing::warn!(pool = %pool.name, missing, came, "no backend has said these metrics of `custom_load`");
        }
    }
}

fn polled(pool: &Pool, member: &Member, load: Arc<CustomLoad>) -> Polled {
    let (sources, proxy) = (Arc::clone(&pool.settings.sources), pool.settings.proxy_protocol);
    Polled { backend: Arc::clone(&member.backend), load, sources, proxy }
}
