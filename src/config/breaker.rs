//! `circuit_breaker` and `outlier` of a pool, as they were read.
//!
//! Filled by `read::breaker`; the plan makes the rules of its breakers of it.

use std::time::Duration;

use super::Statuses;

/// `circuit_breaker`: when a backend that fails is left alone, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// There is one.
    pub enabled: bool,
    /// What it guards.
    pub scope: BreakerScope,
    /// A connection that could not be made is a failure.
    pub on_connect: bool,
    /// One that broke, or that carried what is no response.
    pub on_reset: bool,
    /// A response, or a piece of its body, that did not come in time.
    pub on_timeout: bool,
    /// Answers with these statuses.
    pub on_status: Statuses,
    /// So many in a row open it; `None`: however many.
    pub consecutive_failures: Option<u32>,
    /// This share of the window's requests opens it, 0 to 1; `None`: whatever share.
    pub failure_rate: Option<f64>,
    /// Of at least so many.
    pub min_requests: u32,
    /// The time that the share is of.
    pub window: Duration,
    /// How long it stays open the first time.
    pub open_for: Duration,
    /// It doubles up to this.
    pub open_for_max: Duration,
    /// So many trials, all of which must go well, close it again.
    pub half_open_requests: u32,
    /// The share of the pool's backends that may be out at a time.
    pub max_ejected: f64,
}

/// What a circuit breaker guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerScope {
    /// Each backend by itself.
    Backend,
    /// The pool as a whole.
    Pool,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            enabled: true,
            scope: BreakerScope::Backend,
            on_connect: true,
            on_reset: true,
            on_timeout: true,
            on_status: Statuses::of([502..=504]),
            consecutive_failures: Some(5),
            failure_rate: Some(0.5),
            min_requests: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(10),
            open_for_max: Duration::from_secs(300),
            half_open_requests: 3,
            max_ejected: 0.5,
        }
    }
}

/// `outlier`: when a backend is much slower than the others of its pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlier {
    /// So many times the others' median,
    pub latency: f64,
    /// for so long.
    pub lasts: Duration,
}

impl Default for Outlier {
    fn default() -> Self {
        Self { latency: 3.0, lasts: Duration::from_secs(30) }
    }
}
