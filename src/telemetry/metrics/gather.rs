//! What a scrape sees: the cells of all workers added up. Runs on a blocking thread of control; not hot.
//!
//! Workers go on counting meanwhile, so the families of one scrape may differ by the exchanges that end during it.
//! Names are locked only while the living handles are listed: a reload does not wait for a scrape.

use std::env::consts::{ARCH, OS};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::backend::{BackendGauges, BackendMetrics, Ejection, State};
use super::family::{self, Family};
use super::listener::{Closed, ListenerMetrics, TlsFailure};
use super::names::labels;
use super::page::Page;
use super::pool::{PoolGauges, PoolMetrics, Retry, Stuck};
use super::resolution::Resolution;
use super::route::Copied;
use super::{Sources, locked};

/// What a number is exported as where there is none.
const INFINITE: &str = "+Inf";

/// A backend and what was read of it, once for all families.
type Read = (Arc<BackendMetrics>, BackendGauges);
/// The same of a pool.
type PoolRead = (Arc<PoolMetrics>, PoolGauges);

impl Sources {
    /// Writes everything but what the process's own collector says.
    pub(super) fn gather(&self, page: &mut Page) {
        self.gather_process(page);
        self.gather_overload(page);
        self.gather_workers(page);
        self.gather_listeners(page);
        self.gather_routes(page);
        self.gather_limits(page);
        let read = |pool: Arc<PoolMetrics>| {
            let gauges = pool.gauges();
            (pool, gauges)
        };
        let pools: Vec<PoolRead> = self.pools.living().into_iter().map(read).collect();
        self.gather_pools(&pools, page);
        self.gather_backends(&pools, page);
    }

    fn gather_process(&self, page: &mut Page) {
        let (generation, accepted, at) = self.config();
        let build = labels(&[("version", env!("CARGO_PKG_VERSION")), ("os", OS), ("arch", ARCH)]);
        page.family(&family::BUILD, |samples| samples.add(&build, 1));
        page.family(&family::GENERATION, |samples| samples.add("", generation));
        page.family(&family::RELOAD_OK, |samples| samples.add("", u8::from(accepted)));
        page.family(&family::RELOAD_AT, |samples| samples.add("", at));
        page.family(&family::PANICS, |samples| samples.add("", self.panics()));
        let dropped = locked(&self.log_dropped).as_ref().map_or(0, |read| read());
        page.family(&family::LOG_DROPPED, |samples| samples.add("", dropped));
        let (sent, lost) = self.spans.get().map_or((0, 0), |spans| (spans.sent(), spans.dropped()));
        page.family(&family::SPANS_SENT, |samples| samples.add("", sent));
        page.family(&family::SPANS_DROPPED, |samples| samples.add("", lost));
        page.family(&family::RESOLUTIONS, |samples| {
            for (word, count) in Resolution::WORDS.into_iter().zip(&self.resolutions) {
                samples.add_with("", ("result", word), count.load(Relaxed));
            }
        });
    }

    fn gather_overload(&self, page: &mut Page) {
        let Some(overload) = self.overload.get().map(|read| read()) else { return };
        page.family(&family::SHEDDING, |samples| {
            samples.add_with("", ("by", "in_flight"), overload.by_flight);
            samples.add_with("", ("by", "memory"), overload.by_memory);
        });
        if let Some(limit) = overload.memory_limit {
            page.family(&family::MEMORY_LIMIT, |samples| samples.add("", limit));
        }
    }

    fn gather_workers(&self, page: &mut Page) {
        let numbers: Vec<String> = (0..self.workers.len()).map(|number| number.to_string()).collect();
        page.family(&family::WORKER_CONNECTIONS, |samples| {
            for (number, worker) in numbers.iter().zip(&self.workers) {
                samples.add_with("", ("worker", number), worker.open());
            }
        });
        page.family(&family::WORKER_BUSY, |samples| {
            for (number, read) in numbers.iter().zip(&self.busy) {
                let busy = read.get().map_or(0.0, |read| read().as_secs_f64());
                samples.add_with("", ("worker", number), busy);
            }
        });
    }

    fn gather_listeners(&self, page: &mut Page) {
        let listeners = self.listeners.living();
        let mut each = |family: &'static Family, value: fn(&ListenerMetrics) -> u64| {
            page.family(family, |samples| {
                listeners.iter().for_each(|listener| samples.add(&listener.labels, value(listener)));
            });
        };
        each(&family::CONNECTIONS, ListenerMetrics::open);
        each(&family::CONNECTIONS_OPENED, ListenerMetrics::opened_total);
        each(&family::REQUESTS_IN_FLIGHT, ListenerMetrics::in_flight);
        page.family(&family::CONNECTIONS_LIMIT, |samples| {
            for listener in &listeners {
                match listener.limit() {
                    Some(limit) => samples.add(&listener.labels, limit),
                    None => samples.add(&listener.labels, INFINITE),
                }
            }
        });
        page.family(&family::CONNECTIONS_CLOSED, |samples| {
            for listener in &listeners {
                for (reason, word) in Closed::WORDS.into_iter().enumerate() {
                    samples.add_with(&listener.labels, ("reason", word), listener.closed_by_total(reason));
                }
            }
        });
        page.family(&family::HANDSHAKES_FAILED, |samples| {
            for listener in listeners.iter().filter(|listener| listener.has_tls()) {
                for (reason, word) in TlsFailure::WORDS.into_iter().enumerate() {
                    samples.add_with(&listener.labels, ("reason", word), listener.handshakes_failed(reason));
                }
            }
        });
        let certificates = self.certificates.living();
        page.family(&family::CERTIFICATE_NOT_AFTER, |samples| {
            certificates.iter().for_each(|certificate| samples.add(&certificate.labels, certificate.not_after()));
        });
        page.family(&family::REQUESTS, |samples| {
            for requests in self.requests.living() {
                samples.add_codes(&requests.labels, &requests.codes());
            }
        });
    }

    fn gather_routes(&self, page: &mut Page) {
        let routes = self.routes.living();
        page.family(&family::DURATION, |samples| {
            routes.iter().for_each(|route| samples.add_histogram(&route.labels, &self.bounds, &route.durations()));
        });
        page.family(&family::REQUEST_BYTES, |samples| {
            routes.iter().for_each(|route| samples.add(&route.labels, route.bytes().0));
        });
        page.family(&family::RESPONSE_BYTES, |samples| {
            routes.iter().for_each(|route| samples.add(&route.labels, route.bytes().1));
        });
        page.family(&family::FAILURES, |samples| {
            for route in &routes {
                let failed = self.failures.iter().enumerate().map(|(kind, word)| (word, route.failed(kind)));
                for (word, count) in failed.filter(|(_, count)| *count > 0) {
                    samples.add_with(&route.labels, ("reason", word), count);
                }
            }
        });
        page.family(&family::FALLBACKS, |samples| {
            routes.iter().for_each(|route| samples.add(&route.labels, route.fallbacks()));
        });
        page.family(&family::MIRRORED, |samples| {
            for route in &routes {
                for (result, word) in Copied::WORDS.into_iter().enumerate() {
                    let total = route.copied_total(result);
                    total.into_iter().for_each(|total| samples.add_with(&route.labels, ("result", word), total));
                }
            }
        });
    }

    fn gather_limits(&self, page: &mut Page) {
        let limits = self.limits.living();
        page.family(&family::RATE_LIMITED, |samples| {
            limits.iter().for_each(|limit| samples.add(&limit.labels, limit.total()));
        });
    }

    fn gather_pools(&self, pools: &[PoolRead], page: &mut Page) {
        page.family(&family::RETRIES, |samples| {
            for (pool, _) in pools {
                for (reason, word) in Retry::WORDS.into_iter().enumerate() {
                    samples.add_with(&pool.labels, ("reason", word), pool.retries(reason));
                }
            }
        });
        page.family(&family::RETRY_BUDGET_EXHAUSTED, |samples| {
            pools.iter().for_each(|(pool, _)| samples.add(&pool.labels, pool.exhausted()));
        });
        page.family(&family::QUEUE_LENGTH, |samples| {
            pools.iter().for_each(|(pool, gauges)| samples.add(&pool.labels, gauges.queued));
        });
        page.family(&family::QUEUE_TIMEOUTS, |samples| {
            pools.iter().for_each(|(pool, _)| samples.add(&pool.labels, pool.queue_timeouts()));
        });
        page.family(&family::QUEUE_WAIT, |samples| {
            pools.iter().for_each(|(pool, _)| samples.add_histogram(&pool.labels, &self.bounds, &pool.waits()));
        });
        page.family(&family::STICKY, |samples| {
            for (pool, _) in pools {
                for (result, word) in Stuck::WORDS.into_iter().enumerate() {
                    let total = pool.stuck_total(result);
                    total.into_iter().for_each(|total| samples.add_with(&pool.labels, ("result", word), total));
                }
            }
        });
        page.family(&family::ALL_DOWN, |samples| {
            pools.iter().for_each(|(pool, _)| samples.add(&pool.labels, u8::from(pool.all_down())));
        });
    }

    fn gather_backends(&self, pools: &[PoolRead], page: &mut Page) {
        let living = self.backends.living();
        let has_times = self.has_backend_histograms(living.len());
        let backends: Vec<Read> =
            living.into_iter().filter_map(|backend| backend.gauges().map(|gauges| (backend, gauges))).collect();
        page.family(&family::BACKEND_REQUESTS, |samples| {
            backends.iter().for_each(|(backend, _)| samples.add_codes(&backend.labels, &backend.codes()));
        });
        if has_times {
            page.family(&family::BACKEND_RESPONSE, |samples| {
                for (backend, _) in &backends {
                    samples.add_histogram(&backend.labels, &self.bounds, &backend.response_times());
                }
            });
        }
        gather_gauges(&backends, page);
        gather_circuits(pools, &backends, page);
        page.family(&family::BACKEND_STATE, |samples| {
            for (backend, gauges) in &backends {
                for state in State::ALL {
                    samples.add_with(&backend.labels, ("state", state.word()), u8::from(state == gauges.state));
                }
            }
        });
        page.family(&family::HEALTH_CHECKS, |samples| {
            for (backend, gauges) in &backends {
                samples.add_with(&backend.labels, ("result", "pass"), gauges.passed);
                samples.add_with(&backend.labels, ("result", "fail"), gauges.failed);
            }
        });
        page.family(&family::REPORTED_LOAD, |samples| {
            let living = self.reported.living();
            living.iter().for_each(|load| samples.add(&load.labels, load.value().unwrap_or_default()));
        });
    }
}

fn gather_gauges(backends: &[Read], page: &mut Page) {
    let mut each = |family: &'static Family, value: fn(&BackendGauges) -> f64| {
        page.family(family, |samples| {
            backends.iter().for_each(|(backend, gauges)| samples.add(&backend.labels, value(gauges)));
        });
    };
    each(&family::BACKEND_UP, |gauges| f64::from(u8::from(gauges.up)));
    each(&family::BACKEND_IN_FLIGHT, |gauges| gauges.in_flight as f64);
    each(&family::BACKEND_CONNECTIONS, |gauges| gauges.connections as f64);
    each(&family::OUTLIER, |gauges| f64::from(u8::from(gauges.outlier)));
    each(&family::BACKEND_WEIGHT, |gauges| gauges.weight);
    each(&family::IN_FLIGHT_LIMIT, |gauges| gauges.limit);
    each(&family::HEALTH_CHECK_DURATION, |gauges| gauges.check_duration.unwrap_or_default().as_secs_f64());
}

/// Circuits of pools as a whole have no backend; that there is none is a label, too, so that no series has more than others.
fn gather_circuits(pools: &[PoolRead], backends: &[Read], page: &mut Page) {
    page.family(&family::CIRCUIT, |samples| {
        pools.iter().for_each(|(pool, gauges)| samples.add_with(&pool.labels, ("backend", ""), gauges.circuit));
        backends.iter().for_each(|(backend, gauges)| samples.add(&backend.labels, gauges.circuit));
    });
    page.family(&family::EJECTIONS, |samples| {
        for (reason, word) in Ejection::WORDS.into_iter().enumerate() {
            for (pool, _) in pools.iter().filter(|(pool, _)| pool.openings(reason) > 0) {
                let labels = format!("{},backend=\"\"", pool.labels);
                samples.add_with(&labels, ("reason", word), pool.openings(reason));
            }
        }
        for (backend, _) in backends {
            for (reason, word) in Ejection::WORDS.into_iter().enumerate() {
                samples.add_with(&backend.labels, ("reason", word), backend.ejections(reason));
            }
        }
    });
}
