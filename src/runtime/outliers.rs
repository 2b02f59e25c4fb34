//! Backends that are much slower than the others of their pool: told, and ejected where the pool asks for it. Called by
//! `control` once a second.

use super::control::Control;
use crate::{
    plan::{Member, Pool},
    pool::{News, judge},
};
use tokio::time::Instant;

/// Who has answered less often is not judged.
const LEAST: u64 = 20;

impl Control {
    /// Compares the response times of each pool's backends.
    pub(super) fn compare_times(&self, now: Instant) {
        for pool in self.plan.pools.iter().filter(|pool| pool.members.len() > 1) {
            compare(pool, pool.slot.micros(now));
        }
    }
}

fn compare(pool: &Pool, now: u64) {
    let serves = |member: &Member| member.backend.standing().1 > 0.0;
    let time = |member: &Member| member.backend.load.response_time(now).filter(|_| serves(member));
    let times: Vec<_> = pool.members.iter().map(time).collect();
    let far = judge(&times, &pool.outlier);
    for ((member, far), time) in pool.members.iter().zip(far).zip(times) {
        let backend = &member.backend;
        // How often it has answered is worth a look at those alone that are far.
        let far = far && backend.metrics.requests() >= LEAST;
        if !far && backend.outlier.is_calm() {
            continue;
        }
        let (pool_name, name) = (&*pool.name, &*backend.name);
        match backend.outlier.look(far, &pool.outlier, now) {
            Some(News::Begins) => {
                let took_ms = time.unwrap_or_default() / 1e3;
                tracing::warn!(pool = pool_name, backend = name, took_ms, "the backend is much slower than the others");
            }
            Some(News::Ends) => {
                tracing::info!(
                    pool = pool_name,
                    backend = name,
                    "the backend is no longer much slower than the others"
                );
            }
            None => {}
        }
        // As long as it is one: others that were out may have come back, and there is room for it.
        if far && backend.outlier.is_one() && pool.ejects_outliers && pool.eject_slow(member, now) {
            backend.outlier.forget();
        }
    }
}
