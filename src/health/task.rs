//! The life of one check of one backend: wait, ask, judge, tell. The monitor starts one task for each.

use super::{
    Shared,
    judge::{Found, Judge, Step},
    probe::{Outcome, Probe, within},
    schedule::{Place, Random, jittered, phase},
};
use crate::{config::HealthCheck, pool::Backend};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// One check of one backend.
#[derive(Debug)]
pub(super) struct Task {
    pub backend: Arc<Backend>,
    /// Of all the backend's checks,
    pub checks: Arc<[HealthCheck]>,
    /// this one.
    pub number: usize,
    /// Shared by them.
    pub judge: Arc<Mutex<Judge>>,
    pub shared: Arc<Shared>,
    pub place: Place,
    pub random: Random,
}

impl Task {
    /// Checks without end, with the probe that `make` makes when it is needed first.
    pub(super) async fn run<P: Probe>(mut self, make: impl FnOnce(&Backend) -> P) {
        sleep(self.place.delay(self.check().interval)).await;
        let mut probe = make(&self.backend);
        let mut first = true;
        loop {
            let (started, steady) = self.once(&mut probe).await;
            let wait = self.wait(steady, first);
            // A check that takes longer than its interval leaves some room all the same.
            sleep_until((started + wait).max(Instant::now() + wait / 10)).await;
            first = false;
        }
    }

    /// One check: when it began, and whether the next one has time.
    async fn once(&self, probe: &mut impl Probe) -> (Instant, bool) {
        // Of a name that stands for nothing, nothing can be found out.
        self.backend.resolved().await;
        // Nobody closes the semaphore; without a permit the check would be made all the same.
        let slot = self.shared.slots.acquire().await;
        let started = Instant::now();
        // Boxed, so that the many that wait hold nothing for the few that ask.
        let outcome = Box::pin(within(self.check().timeout, probe)).await;
        drop(slot);
        (started, self.report(outcome, started.elapsed()))
    }

    fn wait(&mut self, steady: bool, first: bool) -> Duration {
        let check = &self.checks[self.number];
        match steady {
            true if first && self.place.is_crowded() => phase(check.interval, &mut self.random),
            true => jittered(check.interval, &mut self.random),
            false => jittered(check.interval_down, &mut self.random),
        }
    }

    /// Counts, judges and tells. True if the next check has time.
    fn report(&self, outcome: Outcome, took: Duration) -> bool {
        let reason = match outcome {
            Outcome::Passed => None,
            Outcome::Failed(reason) => Some(reason),
            Outcome::Unasked(error) => {
                self.shared.complain(&error);
                return false;
            }
        };
        let passed = reason.is_none();
        let reason = reason.as_deref().unwrap_or_default();
        self.backend.health.checked(passed, took);
        tracing::debug!(backend = %self.backend.name, passed, reason, ?took, "health check");
        let slow = self.check().slow_after.is_some_and(|most| took > most);
        let found = match passed {
            false => Found::Failed,
            true if slow => Found::Slow,
            true => Found::Passed,
        };
        let (step, news) = self.judge(found, reason, took);
        if step.turned {
            self.log(step, reason);
        }
        if step.degraded != step.was_degraded {
            self.log_degraded(step, took);
        }
        if news {
            (self.shared.changed)(&self.backend);
        }
        step.steady
    }

    /// The lock is held until the verdict is written: two checks of one backend cannot overtake each other.
    fn judge(&self, found: Found, reason: &str, took: Duration) -> (Step, bool) {
        let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
        let step = judge.outcome(self.number, found);
        let health = &self.backend.health;
        let news = match step.up {
            Some(true) if found == Found::Slow => health.degrade(&format!("check took {}ms", took.as_millis())),
            // Another check is slow, or this one was: what was said of it stays.
            Some(true) if step.degraded && health.verdict().degraded => false,
            Some(true) if step.degraded => health.degrade("slow checks"),
            Some(true) => health.judge(Some(true), ""),
            // One check passes, another keeps the backend down: its reason stays.
            Some(false) if found == Found::Failed => health.judge(Some(false), reason),
            _ => false,
        };
        (step, news)
    }

    fn log(&self, step: Step, reason: &str) {
        let (pool, backend) = (&*self.backend.pool, &*self.backend.name);
        if step.counts_up {
            tracing::info!(pool, backend, "the backend is up");
        } else {
            tracing::warn!(pool, backend, reason, "the backend is down");
        }
    }

    fn log_degraded(&self, step: Step, took: Duration) {
        let (pool, backend) = (&*self.backend.pool, &*self.backend.name);
        if step.degraded {
            tracing::warn!(pool, backend, ?took, "the backend is degraded: its checks are slow");
        } else {
            tracing::info!(pool, backend, "the backend is no longer degraded");
        }
    }

    fn check(&self) -> &HealthCheck {
        &self.checks[self.number]
    }
}
