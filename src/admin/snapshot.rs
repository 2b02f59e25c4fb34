//! How the process is at one moment, with what has happened in the second before: what `GET /api/v1/events` tells, and what
//! the dashboard and `evenkeel top` show. Made of what `runtime` gathers; the types are part of `command`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::command::{About, BackendView, ListenerView, Override, PoolView, Status};
use crate::telemetry::metrics::{BackendTraffic, Times, Traffic};

/// How the process is. Rates are `None` until there are two looks at it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was looked at: Unix time in milliseconds.
    pub at_ms: u64,
    /// The process.
    #[serde(flatten)]
    pub about: About,
    /// All exchanges.
    pub traffic: TrafficView,
    /// In the order of the file.
    pub listeners: Vec<ListenerLive>,
    /// In the order of the file.
    pub pools: Vec<PoolLive>,
    /// Where changes over the API differ from the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// All exchanges of the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficView {
    /// Open connections from clients.
    pub connections: u64,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// What has ended in the second before; absent in the first look.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<Rates>,
    /// How long exchanges took that have ended within the last 10 s; absent without any.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// What has ended, a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Requests.
    pub requests_per_second: f64,
    /// Those of them with a status from 500 on.
    pub errors_per_second: f64,
    /// Requests by `1xx` to `5xx`; what there was none of is left out.
    pub statuses: BTreeMap<String, f64>,
    /// Failed exchanges by failure word (PRODUCT.md section 7); what there was none of is left out.
    pub failures: BTreeMap<String, f64>,
    /// Bytes of request bodies.
    pub bytes_in_per_second: f64,
    /// Bytes of response bodies.
    pub bytes_out_per_second: f64,
}

/// Percentiles, in milliseconds: linear within the histogram's buckets, and at most the last bound of `metrics.buckets`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 90 % of them.
    pub p90_ms: f64,
    /// 99 % of them.
    pub p99_ms: f64,
}

/// A listener, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerLive {
    /// As status tells it.
    #[serde(flatten)]
    pub view: ListenerView,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Requests that have ended, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
}

/// A pool, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolLive {
    /// Its name.
    pub name: String,
    /// Its algorithm, as written in the file.
    pub algorithm: String,
    /// Of the pool as a whole: `closed`, `half-open` or `open`.
    pub circuit: String,
    /// Why it is so; empty = nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many requests wait because all of its backends are full.
    pub queue: usize,
    /// Attempts that have ended, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Those of them with a status from 500 on, a failure's included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_second: Option<f64>,
    /// Attempts that followed a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries_per_second: Option<f64>,
    /// In the order of the file.
    pub backends: Vec<BackendLive>,
}

/// A backend, and what it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendLive {
    /// As status tells it.
    #[serde(flatten)]
    pub view: BackendView,
    /// Open connections, idle ones included.
    pub connections: usize,
    /// Its circuit has opened so often.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ejections: u64,
    /// Attempts that have ended, a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Those of them with a status from 500 on, a failure's included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_second: Option<f64>,
    /// 99 % of the responses of the last 10 s began within so many milliseconds; absent without any, or without histograms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Its last check; absent before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckView>,
}

/// The last health check of a backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// `pass` or `fail`.
    pub result: String,
    /// How long it took.
    pub duration_ms: f64,
    /// How many have failed since the start.
    pub failed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A look at the process: how it is, without rates, and what they are made of.
#[derive(Debug)]
pub struct Look {
    /// How it is.
    pub snapshot: Snapshot,
    /// What has been counted since the start.
    pub counts: Counts,
}

/// What has been counted since the start, each part with what tells it from others.
#[derive(Clone, Debug)]
pub struct Counts {
    /// When it was read.
    pub at: Instant,
    /// All exchanges.
    pub traffic: Traffic,
    /// Requests that have ended, of each listener of the snapshot.
    pub listeners: Vec<(Arc<str>, u64)>,
    /// Retries of each pool of the snapshot.
    pub pools: Vec<(Arc<str>, u64)>,
    /// Attempts at each backend of the snapshot, pool by pool.
    pub backends: Vec<(Arc<str>, BackendTraffic)>,
}

impl Snapshot {
    /// How the process is, without rates; the listeners and pools are those of `status` as far as nothing is counted of them.
    pub fn of(status: Status, at_ms: u64) -> Self {
        let listener = |view| ListenerLive { view, in_flight: 0, requests_per_second: None };
        Self {
            at_ms,
            about: status.about,
            traffic: TrafficView::default(),
            listeners: status.listeners.into_iter().map(listener).collect(),
            pools: status.pools.into_iter().map(PoolLive::of).collect(),
            overrides: status.overrides,
        }
    }
}

impl PoolLive {
    fn of(view: PoolView) -> Self {
        let backend = |view| BackendLive {
            view,
            connections: 0,
            ejections: 0,
            requests_per_second: None,
            errors_per_second: None,
            p99_ms: None,
            check: None,
        };
        Self {
            name: view.name,
            algorithm: view.algorithm,
            circuit: view.circuit,
            reason: view.reason,
            queue: view.queue,
            requests_per_second: None,
            errors_per_second: None,
            retries_per_second: None,
            backends: view.backends.into_iter().map(backend).collect(),
        }
    }
}

impl Look {
    /// The snapshot with rates, as far as there are earlier looks: `last`, the one before this, and `first`, the one that
    /// latencies are told since.
    pub fn rated(self, last: Option<&Counts>, first: Option<&Counts>) -> (Snapshot, Counts) {
        let Self { mut snapshot, counts } = self;
        snapshot.traffic.connections = counts.traffic.connections;
        snapshot.traffic.in_flight = counts.traffic.in_flight;
        for (live, (_, traffic)) in snapshot.backends_mut().zip(&counts.backends) {
            live.ejections = traffic.ejections;
        }
        if let Some(last) = last {
            snapshot.rate(&counts, last);
        }
        if let Some(first) = first {
            snapshot.time(&counts, first);
        }
        (snapshot, counts)
    }
}

impl Snapshot {
    /// The backends of all pools, in the order of [`Counts::backends`].
    pub fn backends_mut(&mut self) -> impl Iterator<Item = &mut BackendLive> {
        self.pools.iter_mut().flat_map(|pool| &mut pool.backends)
    }

    /// What is new, nobody has counted before: it has no rate in its first second.
    fn rate(&mut self, now: &Counts, last: &Counts) {
        let seconds = now.at.saturating_duration_since(last.at).as_secs_f64().max(1e-3);
        let a_second = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
        self.traffic.rates = Some(Rates::between(&now.traffic, &last.traffic, a_second));
        let before = by_key(&last.listeners);
        for (live, (key, ended)) in self.listeners.iter_mut().zip(&now.listeners) {
            live.requests_per_second = before.get(&**key).map(|last| a_second(*ended, **last));
        }
        let before = by_key(&last.backends);
        for (live, (key, traffic)) in self.backends_mut().zip(&now.backends) {
            let last = before.get(&**key);
            live.requests_per_second = last.map(|last| a_second(traffic.requests, last.requests));
            live.errors_per_second = last.map(|last| a_second(traffic.errors, last.errors));
        }
        let before = by_key(&last.pools);
        for (live, (key, retries)) in self.pools.iter_mut().zip(&now.pools) {
            let sum = |rate: fn(&BackendLive) -> Option<f64>| live.backends.iter().filter_map(rate).sum();
            live.requests_per_second = Some(sum(|backend| backend.requests_per_second));
            live.errors_per_second = Some(sum(|backend| backend.errors_per_second));
            live.retries_per_second = before.get(&**key).map(|last| a_second(*retries, **last));
        }
    }

    fn time(&mut self, now: &Counts, first: &Counts) {
        self.traffic.latency = Latency::of(&now.traffic.times.since(&first.traffic.times));
        let before = by_key(&first.backends);
        for (live, (key, traffic)) in self.backends_mut().zip(&now.backends) {
            let nothing = Times::default();
            let earlier = before.get(&**key).and_then(|first| first.times.as_ref()).unwrap_or(&nothing);
            let times = traffic.times.as_ref().map(|times| times.since(earlier));
            live.p99_ms = times.and_then(|times| Some(millis(times.quantile(0.99)?)));
        }
    }
}

impl Rates {
    fn between(now: &Traffic, last: &Traffic, a_second: impl Fn(u64, u64) -> f64) -> Self {
        let failed = |word: &str| last.failures.iter().find(|(other, _)| *other == word).map_or(0, |(_, count)| *count);
        let is_some = |(_, rate): &(String, f64)| *rate > 0.0;
        let status = |class: usize| a_second(now.statuses[class], last.statuses[class]);
        let failures = now.failures.iter().map(|(word, count)| ((*word).to_owned(), a_second(*count, failed(word))));
        Self {
            requests_per_second: (0..now.statuses.len()).map(status).sum(),
            errors_per_second: (5..now.statuses.len()).map(status).sum(),
            statuses: (1..6).map(|class| (format!("{class}xx"), status(class))).filter(is_some).collect(),
            failures: failures.filter(is_some).collect(),
            bytes_in_per_second: a_second(now.bytes_in, last.bytes_in),
            bytes_out_per_second: a_second(now.bytes_out, last.bytes_out),
        }
    }
}

impl Latency {
    fn of(times: &Times) -> Option<Self> {
        let percentile = |share| times.quantile(share).map(millis);
        Some(Self { p50_ms: percentile(0.5)?, p90_ms: percentile(0.9)?, p99_ms: percentile(0.99)? })
    }
}

/// To a hundredth.
fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 1e2
}

fn by_key<T>(parts: &[(Arc<str>, T)]) -> HashMap<&str, &T> {
    parts.iter().map(|(key, part)| (&**key, part)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::Play;
    use super::*;
    use crate::telemetry::metrics::{BUCKETS, Telemetry};

    /// Two pools of two backends; the second of each has failed once.
    fn sample(telemetry: &Telemetry, at: Instant) -> Look {
        let snapshot = Snapshot::of(Play::default().status(), 1);
        let pools = snapshot.pools.iter();
        let backends = pools.flat_map(|pool| pool.backends.iter().map(|b| telemetry.backend(&pool.name, &b.view.name)));
        let counts = Counts {
            at,
            traffic: telemetry.traffic(),
            listeners: vec![(telemetry.listener("web").key(), telemetry.listener("web").ended())],
            pools: ["web", "api"].map(|name| (telemetry.pool(name).key(), telemetry.pool(name).retried())).into(),
            backends: backends.map(|backend| (backend.key(), backend.traffic())).collect(),
        };
        Look { snapshot, counts }
    }

    #[test]
    fn the_first_look_has_no_rates_and_the_second_those_of_the_time_between() {
        let telemetry = Telemetry::new(&["reset"], &BUCKETS, 1);
        let held = (telemetry.listener("web"), telemetry.route("r"), telemetry.pool("web"), telemetry.pool("api"));
        let requests = telemetry.requests(&held.0, &held.1);
        let (a, b) = (telemetry.backend("web", "a"), telemetry.backend("api", "b"));
        let start = Instant::now();
        a.attempt(0, 200, Some(Duration::from_secs(9)));
        let (first, before) = sample(&telemetry, start).rated(None, None);
        assert_eq!((&first.traffic.rates, first.pools[0].requests_per_second), (&None, None));
        for _ in 0..10 {
            held.0.started(0);
            requests.count(0, 200);
            held.1.finished(0, Duration::from_millis(2), 5, 50);
            held.0.finished(0);
            a.attempt(0, 200, Some(Duration::from_millis(2)));
        }
        requests.count(0, 404);
        requests.count(0, 502);
        held.1.failure(0, 0);
        b.attempt(0, 502, None);
        held.3.retry(0, crate::telemetry::metrics::Retry::Reset);
        let (second, _) = sample(&telemetry, start + Duration::from_secs(2)).rated(Some(&before), Some(&before));
        let rates = second.traffic.rates.as_ref().unwrap();
        assert_eq!((rates.requests_per_second, rates.errors_per_second), (6.0, 0.5), "404 is no error");
        let statuses = [("2xx", 5.0), ("4xx", 0.5), ("5xx", 0.5)].map(|(class, rate)| (class.to_owned(), rate));
        assert_eq!(rates.statuses, BTreeMap::from(statuses));
        assert_eq!(rates.failures, BTreeMap::from([("reset".to_owned(), 0.5)]));
        assert_eq!((rates.bytes_in_per_second, rates.bytes_out_per_second), (25.0, 250.0));
        assert_eq!(second.traffic.latency.unwrap().p50_ms, 3.0);
        assert_eq!(second.listeners[0].requests_per_second, Some(5.0));
        let [web, api] = &second.pools[..] else { panic!("two pools") };
        assert_eq!((web.requests_per_second, web.errors_per_second), (Some(5.0), Some(0.0)));
        assert_eq!((api.errors_per_second, api.retries_per_second), (Some(0.5), Some(0.5)));
        assert!(web.backends[0].p99_ms.unwrap() < 5.1, "the one of 9 s came before");
        assert_eq!(web.backends[1].p99_ms, None);
    }

    #[test]
    fn counts_that_have_become_smaller_are_no_negative_rate() {
        let telemetry = Telemetry::new(&[], &BUCKETS, 1);
        let a = telemetry.backend("web", "a");
        a.attempt(0, 200, None);
        let now = Instant::now();
        let before = sample(&telemetry, now).counts;
        drop(a);
        let (after, _) = sample(&telemetry, now).rated(Some(&before), Some(&before));
        assert_eq!(after.pools[0].backends[0].requests_per_second, Some(0.0));
    }

    #[test]
    fn what_is_new_has_no_rate_in_its_first_second() {
        let telemetry = Telemetry::new(&[], &BUCKETS, 1);
        let a = telemetry.backend("web", "a");
        let mut before = sample(&telemetry, Instant::now()).counts;
        before.backends.retain(|(key, _)| *key != a.key());
        a.attempt(0, 200, None);
        let (after, _) = sample(&telemetry, Instant::now()).rated(Some(&before), Some(&before));
        let rates: Vec<_> = after.pools[0].backends.iter().map(|live| live.requests_per_second).collect();
        assert_eq!(rates, [None, Some(0.0)]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let telemetry = Telemetry::new(&[], &BUCKETS, 1);
        let before = sample(&telemetry, Instant::now()).counts;
        for last in [None, Some(&before)] {
            let (snapshot, _) = sample(&telemetry, Instant::now()).rated(last, None);
            let json = serde_json::to_string(&snapshot).unwrap();
            assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot, "{json}");
        }
    }
}
