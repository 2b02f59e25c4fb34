//! The families of PRODUCT.md section 9 that are built, each with its type, labels and help; and how a family's
//! samples are put into the forms of the `prometheus` crate.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::histogram::{Bounds, Total};

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    kind: MetricType,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: MetricType::COUNTER, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: MetricType::GAUGE, labels, help }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: MetricType::HISTOGRAM, labels, help }
}

const BACKEND: &[&str] = &["pool", "backend"];

pub(super) static BUILD: Family =
    gauge("evenkeel_build_info", &["version", "os", "arch"], "Always 1; the labels say which build this is.");
pub(super) static GENERATION: Family =
    gauge("evenkeel_config_generation", &[], "Number of the configuration that is in use; the first is 1.");
pub(super) static RELOAD_OK: Family =
    gauge("evenkeel_config_last_reload_successful", &[], "1 if the last start or reload was accepted, else 0.");
pub(super) static RELOAD_AT: Family = gauge(
    "evenkeel_config_last_reload_success_timestamp_seconds",
    &[],
    "When a configuration was last accepted, in Unix time.",
);
pub(super) static PANICS: Family =
    counter("evenkeel_panics_total", &[], "Panics; each is a defect and ended one exchange alone.");
pub(super) static CONNECTIONS: Family =
    gauge("evenkeel_listener_connections", &["listener"], "Open connections from clients.");
pub(super) static CONNECTIONS_OPENED: Family =
    counter("evenkeel_listener_connections_total", &["listener"], "Connections from clients that were accepted.");
pub(super) static CONNECTIONS_LIMIT: Family =
    gauge("evenkeel_connections_limit", &["listener"], "Most connections from clients at a time; infinite if off.");
pub(super) static CONNECTIONS_CLOSED: Family = counter(
    "evenkeel_connections_closed_total",
    &["listener", "reason"],
    "Connections from clients that a limit or rule of ours closed.",
);
pub(super) static REQUESTS: Family = counter(
    "evenkeel_requests_total",
    &["listener", "route", "code"],
    "Requests that have ended, by the status that the client got.",
);
pub(super) static REQUESTS_IN_FLIGHT: Family =
    gauge("evenkeel_requests_in_flight", &["listener"], "Requests that have begun and not ended.");
pub(super) static DURATION: Family = histogram(
    "evenkeel_request_duration_seconds",
    &["route"],
    "Time from the request's first byte to the end of the exchange.",
);
pub(super) static REQUEST_BYTES: Family =
    counter("evenkeel_request_bytes_total", &["route"], "Bytes of request bodies that clients sent.");
pub(super) static RESPONSE_BYTES: Family =
    counter("evenkeel_response_bytes_total", &["route"], "Bytes of response bodies that were sent to clients.");
pub(super) static FAILURES: Family =
    counter("evenkeel_failures_total", &["route", "reason"], "Exchanges that failed, by failure word.");
pub(super) static BACKEND_REQUESTS: Family = counter(
    "evenkeel_backend_requests_total",
    &["pool", "backend", "code"],
    "Attempts that have ended, by the backend's status or that of the failure.",
);
pub(super) static BACKEND_RESPONSE: Family = histogram(
    "evenkeel_backend_response_seconds",
    BACKEND,
    "Time of an attempt from the request sent to the response head.",
);
pub(super) static BACKEND_IN_FLIGHT: Family =
    gauge("evenkeel_backend_in_flight", BACKEND, "Attempts that have begun and not ended.");
pub(super) static BACKEND_CONNECTIONS: Family =
    gauge("evenkeel_backend_connections", BACKEND, "Open connections to the backend, idle ones included.");
pub(super) static BACKEND_WEIGHT: Family = gauge("evenkeel_backend_weight", BACKEND, "Weight in effect.");
pub(super) static WORKER_CONNECTIONS: Family =
    gauge("evenkeel_worker_connections", &["worker"], "Open connections from clients that this worker serves.");
pub(super) static WORKER_BUSY: Family =
    counter("evenkeel_worker_busy_seconds_total", &["worker"], "Time that this worker was not waiting.");

/// Every family there is, for the registry and the tests.
pub(super) static ALL: [&Family; 22] = [
    &BUILD,
    &GENERATION,
    &RELOAD_OK,
    &RELOAD_AT,
    &PANICS,
    &CONNECTIONS,
    &CONNECTIONS_OPENED,
    &CONNECTIONS_LIMIT,
    &CONNECTIONS_CLOSED,
    &REQUESTS,
    &REQUESTS_IN_FLIGHT,
    &DURATION,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &FAILURES,
    &BACKEND_REQUESTS,
    &BACKEND_RESPONSE,
    &BACKEND_IN_FLIGHT,
    &BACKEND_CONNECTIONS,
    &BACKEND_WEIGHT,
    &WORKER_CONNECTIONS,
    &WORKER_BUSY,
];

impl Family {
    /// What the registry wants to know of it beforehand.
    pub(super) fn desc(&self) -> Desc {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, HashMap::new())
            .expect("names, labels and help of the table above are valid: a test registers them")
    }
}

/// The samples of one family, as they are collected.
#[derive(Debug)]
pub(super) struct Samples {
    family: &'static Family,
    metrics: Vec<Metric>,
}

impl Samples {
    /// None yet.
    pub(super) fn of(family: &'static Family) -> Self {
        Self { family, metrics: Vec::new() }
    }

    /// One sample of a counter or gauge; `labels` are the values of the family's labels, in order.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        let mut metric = Metric::from_label(self.labels(labels));
        if self.family.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// One sample of a histogram.
    pub(super) fn add_histogram(&mut self, labels: &[&str], bounds: &Bounds, total: &Total) {
        let bucket = |(bound, count): (&f64, &u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let mut histogram = Histogram::default();
        histogram.set_bucket(bounds.seconds().iter().zip(&total.cumulated).map(bucket).collect());
        histogram.set_sample_count(total.count);
        histogram.set_sample_sum(total.seconds);
        let mut metric = Metric::from_label(self.labels(labels));
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }

    /// The family with all its samples.
    pub(super) fn finish(self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(self.family.kind);
        family.set_metric(self.metrics);
        family
    }

    fn labels(&self, values: &[&str]) -> Vec<LabelPair> {
        debug_assert_eq!(self.family.labels.len(), values.len(), "{}", self.family.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        self.family.labels.iter().zip(values).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules of `promtool check metrics` that a name can break.
    #[test]
    fn names_pass_promtools_lint() {
        for family in ALL {
            let name = family.name;
            assert!(
                name.starts_with("evenkeel_") && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert!(family.help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == MetricType::COUNTER, "{name}");
            for reserved in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            for unit in ["_ms", "millisecond", "minute", "_nanos", "kilobyte", "gauge", "counter", "histogram"] {
                assert!(!name.contains(unit), "{name}");
            }
            assert!(!family.labels.contains(&"le"), "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }
}
