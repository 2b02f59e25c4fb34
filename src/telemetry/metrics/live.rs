//! What the admin API's events read: sums of the cells since the start, without any text. Called by `runtime` on a blocking
//! thread, once a second while somebody listens; not hot.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{BackendMetrics, Ejection};
use super::histogram::{Bounds, Total};
use super::listener::ListenerMetrics;
use super::names::Labels;
use super::pool::{PoolMetrics, Retry};
use super::{Sources, Telemetry};

/// What has been counted of all exchanges of the process.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Requests that have ended, by the first digit of their status; 0 = it had none.
    pub statuses: [u64; 10],
    /// Failed exchanges, by failure word; words without any are left out.
    pub failures: Vec<(&'static str, u64)>,
    /// Requests that have begun and not ended: now.
    pub in_flight: u64,
    /// Connections from clients: now.
    pub connections: u64,
    /// Of request bodies.
    pub bytes_in: u64,
    /// Of response bodies.
    pub bytes_out: u64,
    /// From a request's first byte to the end of its exchange.
    pub times: Times,
}

/// What has been counted of one backend.
#[derive(Clone, Debug, Default)]
pub struct BackendTraffic {
    /// Attempts that have ended.
    pub requests: u64,
    /// Those of them with a status from 500 on: its own, or that of a failure.
    pub errors: u64,
    /// Its circuit has opened so often.
    pub ejections: u64,
    /// From the request sent to the response head; `None` where histograms are off.
    pub times: Option<Times>,
}

/// Durations as they have fallen into buckets.
#[derive(Clone, Debug, Default)]
pub struct Times {
    bounds: Option<Arc<Bounds>>,
    /// For each bound: how many were at or below it.
    cumulated: Vec<u64>,
    count: u64,
}

impl Times {
    fn new(bounds: &Arc<Bounds>, total: Total) -> Self {
        Self { bounds: Some(Arc::clone(bounds)), cumulated: total.cumulated, count: total.count }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those that have come after `before`, which is of the same place at an earlier time.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |at| before.cumulated.get(at).copied().unwrap_or_default();
        let cumulated = self.cumulated.iter().enumerate().map(|(at, count)| count.saturating_sub(earlier(at)));
        Self {
            bounds: self.bounds.clone(),
            cumulated: cumulated.collect(),
            count: self.count.saturating_sub(before.count),
        }
    }

    /// The duration that this `share` of them do not exceed, as near as the buckets tell: linear between two bounds, as
    /// Prometheus's `histogram_quantile`, and the last bound for what is above it. `None` without any.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let bounds = self.bounds.as_ref().filter(|_| self.count > 0)?;
        let rank = share.clamp(0.0, 1.0) * self.count as f64;
        let (mut below, mut from) = (0, 0);
        for (count, to) in self.cumulated.iter().zip(bounds.nanos()) {
            if *count as f64 >= rank && *count > below {
                let part = (rank - below as f64) / (count - below) as f64;
                let nanos = from as f64 + (to - from) as f64 * part.clamp(0.0, 1.0);
                return Some(Duration::from_nanos(nanos as u64));
            }
            (below, from) = (*count, *to);
        }
        Some(Duration::from_nanos(from))
    }
}

impl Telemetry {
    /// What has been counted of all exchanges. A route that goes with a reload takes its counts along: sums may become
    /// smaller then.
    pub fn traffic(&self) -> Traffic {
        self.sources.traffic()
    }
}

impl Sources {
    fn traffic(&self) -> Traffic {
        let mut traffic = Traffic::default();
        for (status, count) in self.requests.living().iter().flat_map(|requests| requests.codes()) {
            traffic.statuses[usize::from(status / 100).min(9)] += count;
        }
        let routes = self.routes.living();
        for route in &routes {
            let (bytes_in, bytes_out) = route.bytes();
            traffic.bytes_in += bytes_in;
            traffic.bytes_out += bytes_out;
        }
        let failed = |kind| routes.iter().map(|route| route.failed(kind)).sum();
        let failures = self.failures.iter().enumerate().map(|(kind, word)| (*word, failed(kind)));
        traffic.failures = failures.filter(|(_, count)| *count > 0).collect();
        traffic.in_flight = self.listeners.living().iter().map(|listener| listener.in_flight()).sum();
        traffic.connections = self.workers.iter().map(|worker| worker.open()).sum();
        let parts = routes.iter().flat_map(|route| route.parts());
        traffic.times = Times::new(&self.bounds, Total::of(&self.bounds, parts));
        traffic
    }
}

impl BackendMetrics {
    /// What tells its counts from those of others.
    pub fn key(&self) -> Arc<str> {
        Labels::clone(&self.labels)
    }

    /// Attempts that have ended, and those of them with a status from 500 on: its own, or that of a failure.
    pub fn ended(&self) -> (u64, u64) {
        self.codes().into_iter().fold((0, 0), |(requests, errors), (status, count)| {
            (requests + count, errors + if status >= 500 { count } else { 0 })
        })
    }

    /// What has been counted of it.
    pub fn traffic(&self) -> BackendTraffic {
        let (requests, errors) = self.ended();
        BackendTraffic {
            requests,
            errors,
            ejections: (0..Ejection::WORDS.len()).map(|reason| self.ejections(reason)).sum(),
            times: self.kept_times().map(|total| Times::new(self.bounds(), total)),
        }
    }
}

impl PoolMetrics {
    /// What tells its counts from those of others.
    pub fn key(&self) -> Arc<str> {
        Labels::clone(&self.labels)
    }

    /// Attempts that followed a failed one.
    pub fn retried(&self) -> u64 {
        (0..Retry::WORDS.len()).map(|reason| self.retries(reason)).sum()
    }
}

impl ListenerMetrics {
    /// What tells its counts from those of others.
    pub fn key(&self) -> Arc<str> {
        Labels::clone(&self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Copied;

    fn near(found: Option<Duration>, seconds: f64) {
        let found = found.unwrap().as_secs_f64();
        assert!((found - seconds).abs() < 1e-6, "{found} is not {seconds}");
    }

    #[test]
    fn a_quantile_lies_between_the_bounds_of_its_bucket() {
        let telemetry = Telemetry::new(&["reset", "no_route"], &[0.1, 0.2, 1.0], 2);
        let backend = telemetry.backend("p", "b");
        let before = backend.traffic().times.unwrap();
        assert_eq!((before.count(), before.quantile(0.5)), (0, None));
        for millis in [50, 50, 150, 150, 150, 150, 150, 150, 500, 5_000] {
            backend.attempt(millis % 2, 200, Some(Duration::from_millis(millis as u64)));
        }
        let times = backend.traffic().times.unwrap();
        near(times.quantile(0.1), 0.05);
        near(times.quantile(0.2), 0.1);
        near(times.quantile(0.5), 0.15);
        near(times.quantile(0.9), 1.0);
        near(times.quantile(0.99), 1.0);
        assert_eq!(times.since(&times).quantile(0.5), None);
        backend.attempt(0, 200, Some(Duration::from_millis(500)));
        let later = backend.traffic().times.unwrap().since(&times);
        assert_eq!(later.count(), 1);
        near(later.quantile(1.0), 1.0);
        near(later.quantile(0.5), 0.6);
    }

    #[test]
    fn exchanges_and_attempts_are_added_up_over_workers() {
        let telemetry = Telemetry::new(&["reset", "no_route"], &[0.1], 2);
        let (listener, route) = (telemetry.listener("web"), telemetry.route("r"));
        let requests = telemetry.requests(&listener, &route);
        for (worker, status) in [(0, 200), (1, 204), (0, 404), (1, 502), (0, 0)] {
            listener.started(worker);
            requests.count(worker, status);
            route.finished(worker, Duration::from_millis(1), 10, 100);
        }
        listener.finished(0);
        route.failure(1, 0);
        route.copied(0, Copied::Sent);
        telemetry.worker(1).opened();
        let traffic = telemetry.traffic();
        assert_eq!(traffic.statuses[..6], [1, 0, 2, 0, 1, 1]);
        assert_eq!(traffic.failures, [("reset", 1)]);
        assert_eq!((traffic.in_flight, traffic.connections), (4, 1));
        assert_eq!((traffic.bytes_in, traffic.bytes_out, traffic.times.count()), (50, 500, 5));
        let backend = telemetry.backend("p", "b");
        [200, 500, 503, 499].into_iter().for_each(|status| backend.attempt(1, status, None));
        backend.ejected(Ejection::Latency);
        let counted = backend.traffic();
        assert_eq!((counted.requests, counted.errors, counted.ejections), (4, 2, 1));
        let pool = telemetry.pool("p");
        pool.retry(0, Retry::Connect);
        pool.retry(1, Retry::Status);
        assert_eq!(pool.retried(), 2);
    }

    #[test]
    fn without_histograms_there_are_no_times_and_reading_makes_none() {
        let telemetry = Telemetry::new(&[], &[0.1], 1);
        telemetry.set_backend_histograms(Some(false));
        let backend = telemetry.backend("p", "b");
        assert!(backend.traffic().times.is_none() && backend.traffic().times.is_none());
    }
}
