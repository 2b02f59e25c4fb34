//! How the process is at this moment, with what has been counted, for those who listen to the admin API's events. Gathered on
//! a blocking thread: with a thousand backends it takes milliseconds, and control has five.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::sync::oneshot;

use super::control::Control;
use crate::{
    admin::command::{CheckView, Counts, Look, Snapshot, Status},
    plan::{Member, Plan},
    telemetry::{metrics::Telemetry, unix_millis},
};

impl Control {
    /// Answers when all is gathered.
    pub(super) fn look(&self, reply: oneshot::Sender<Look>) {
        let (plan, telemetry, status) = (Arc::clone(&self.plan), Arc::clone(&self.shared.telemetry), self.status());
        tokio::task::spawn_blocking(move || drop(reply.send(gather(status(), &plan, &telemetry))));
    }
}

/// `status`, which is of `plan`, and the counts of all.
fn gather(status: Status, plan: &Plan, telemetry: &Telemetry) -> Look {
    let mut snapshot = Snapshot::of(status, unix_millis(SystemTime::now()));
    for (live, listener) in snapshot.listeners.iter_mut().zip(plan.listeners()) {
        live.in_flight = listener.metrics.in_flight();
    }
    let members = || plan.pools.iter().flat_map(|pool| &pool.members);
    for (live, member) in snapshot.backends_mut().zip(members()) {
        live.connections = member.backend.connections();
        live.check = check(member);
    }
    let backend = |member: &Member| (member.backend.metrics.key(), member.backend.metrics.traffic());
    let counts = Counts {
        at: Instant::now(),
        traffic: telemetry.traffic(),
        listeners: plan.listeners().map(|listener| (listener.metrics.key(), listener.metrics.ended())).collect(),
        pools: plan.pools.iter().map(|pool| (pool.slot.metrics.key(), pool.slot.metrics.retried())).collect(),
        backends: members().map(backend).collect(),
    };
    Look { snapshot, counts }
}

/// The last check of a backend, if there was one.
fn check(member: &Member) -> Option<CheckView> {
    let health = &member.backend.health;
    let (passed, failed, duration) = health.checks();
    let result = if health.last_passed() { "pass" } else { "fail" };
    let duration_ms = duration.as_micros() as f64 / 1e3;
    (passed + failed > 0).then(|| CheckView { result: result.to_owned(), duration_ms, failed })
}
