//! The families of PRODUCT.md section 9 that are built, each with its type and help.

/// One family.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

/// How the values of a family behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As it stands behind `# TYPE`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Gauge, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, kind: Kind::Histogram, help }
}

pub(super) static BUILD: Family = gauge("evenkeel_build_info", "Always 1; the labels say which build this is.");
pub(super) static GENERATION: Family = gauge(
    "evenkeel_config_generation",
    "Number of the configuration that is in use: it grows with each accepted one, and with each change over the API.",
);
pub(super) static RELOAD_OK: Family =
    gauge("evenkeel_config_last_reload_successful", "1 if the last start or reload was accepted, else 0.");
pub(super) static RELOAD_AT: Family = gauge(
    "evenkeel_config_last_reload_success_timestamp_seconds",
    "When a configuration was last accepted, in Unix time.",
);
pub(super) static PANICS: Family =
    counter("evenkeel_panics_total", "Panics; each is a defect and ended one exchange alone.");
pub(super) static CONNECTIONS: Family = gauge("evenkeel_listener_connections", "Open connections from clients.");
pub(super) static CONNECTIONS_OPENED: Family =
    counter("evenkeel_listener_connections_total", "Connections from clients that were accepted.");
pub(super) static CONNECTIONS_LIMIT: Family =
    gauge("evenkeel_connections_limit", "Most connections from clients at a time; infinite if off.");
pub(super) static CONNECTIONS_CLOSED: Family =
    counter("evenkeel_connections_closed_total", "Connections from clients that a limit or rule of ours closed.");
pub(super) static HANDSHAKES_FAILED: Family =
    counter("evenkeel_tls_handshake_failures_total", "TLS handshakes of clients that failed, by reason.");
pub(super) static CERTIFICATE_NOT_AFTER: Family = gauge(
    "evenkeel_tls_certificate_not_after_timestamp_seconds",
    "When the certificate that is in use ends, in Unix time.",
);
pub(super) static REQUESTS: Family =
    counter("evenkeel_requests_total", "Requests that have ended, by the status that the client got.");
pub(super) static REQUESTS_IN_FLIGHT: Family =
    gauge("evenkeel_requests_in_flight", "Requests that have begun and not ended.");
pub(super) static DURATION: Family =
    histogram("evenkeel_request_duration_seconds", "Time from the request's first byte to the end of the exchange.");
pub(super) static REQUEST_BYTES: Family =
    counter("evenkeel_request_bytes_total", "Bytes of request bodies that clients sent.");
pub(super) static RESPONSE_BYTES: Family =
    counter("evenkeel_response_bytes_total", "Bytes of response bodies that were sent to clients.");
pub(super) static FAILURES: Family = counter("evenkeel_failures_total", "Exchanges that failed, by failure word.");
pub(super) static FALLBACKS: Family = counter(
    "evenkeel_fallbacks_total",
    "Requests that went to the fallback's pool because the route's own could not answer.",
);
pub(super) static MIRRORED: Family =
    counter("evenkeel_mirrored_total", "Copies of requests to the pool of the route's mirror, by what became of them.");
pub(super) static RATE_LIMITED: Family = counter(
    "evenkeel_rate_limited_total",
    "Requests that a rate limit has refused, or would have but for its dry_run.",
);
pub(super) static BACKEND_REQUESTS: Family = counter(
    "evenkeel_backend_requests_total",
    "Attempts that have ended, by the backend's status or that of the failure.",
);
pub(super) static BACKEND_RESPONSE: Family =
    histogram("evenkeel_backend_response_seconds", "Time of an attempt from the request sent to the response head.");
pub(super) static BACKEND_IN_FLIGHT: Family =
    gauge("evenkeel_backend_in_flight", "Attempts that have begun and not ended.");
pub(super) static BACKEND_CONNECTIONS: Family =
    gauge("evenkeel_backend_connections", "Open connections to the backend, idle ones included.");
pub(super) static BACKEND_WEIGHT: Family = gauge("evenkeel_backend_weight", "Weight in effect.");
pub(super) static WORKER_CONNECTIONS: Family =
    gauge("evenkeel_worker_connections", "Open connections from clients that this worker serves.");
pub(super) static WORKER_BUSY: Family =
    counter("evenkeel_worker_busy_seconds_total", "Time that this worker was not waiting.");
pub(super) static BACKEND_UP: Family = gauge("evenkeel_backend_up", "1 if the backend can serve, else 0.");
pub(super) static BACKEND_STATE: Family =
    gauge("evenkeel_backend_state", "1 for the state that the backend is in, 0 for the others.");
pub(super) static HEALTH_CHECKS: Family =
    counter("evenkeel_health_checks_total", "Health checks that have ended, by result.");
pub(super) static HEALTH_CHECK_DURATION: Family =
    gauge("evenkeel_health_check_duration_seconds", "How long the last health check took; 0 before the first.");
pub(super) static REPORTED_LOAD: Family = gauge(
    "evenkeel_backend_reported_load",
    "What the backend said of itself last, for `custom_load`; 0 before it has said anything.",
);
pub(super) static RETRIES: Family =
    counter("evenkeel_retries_total", "Attempts that followed a failed one, by how that one failed.");
pub(super) static RETRY_BUDGET_EXHAUSTED: Family =
    counter("evenkeel_retry_budget_exhausted_total", "Retries that were not made because the budget was used up.");
pub(super) static QUEUE_LENGTH: Family =
    gauge("evenkeel_queue_length", "Requests that wait because every backend is at its limit.");
pub(super) static QUEUE_TIMEOUTS: Family =
    counter("evenkeel_queue_timeouts_total", "Requests that waited in vain for as long as the queue lets them.");
pub(super) static QUEUE_WAIT: Family =
    histogram("evenkeel_queue_wait_seconds", "Time in the queue, of those who have left it, served or not.");
pub(super) static IN_FLIGHT_LIMIT: Family = gauge(
    "evenkeel_in_flight_limit",
    "Requests at a time that the backend answers without becoming slow, as estimated; in force where max_in_flight is auto, \
     and advice where it is a number or off.",
);
pub(super) static STICKY: Family =
    counter("evenkeel_sticky_total", "Requests to pools whose clients stick to backends, by what became of it.");
pub(super) static EJECTIONS: Family = counter(
    "evenkeel_ejections_total",
    "Times that a circuit has opened, by reason; without a backend: that of the pool as a whole.",
);
pub(super) static CIRCUIT: Family = gauge(
    "evenkeel_circuit_state",
    "0 if the circuit is closed, 1 half-open, 2 open; without a backend: that of the pool as a whole.",
);
pub(super) static OUTLIER: Family =
    gauge("evenkeel_backend_outlier", "1 if the backend has been much slower than the others of its pool, else 0.");
pub(super) static ALL_DOWN: Family = gauge("evenkeel_all_down", "1 if no backend of the pool can serve, else 0.");
pub(super) static LOG_DROPPED: Family =
    counter("evenkeel_log_dropped_total", "Lines of the access log that were dropped.");
pub(super) static SPANS_SENT: Family =
    counter("evenkeel_trace_spans_sent_total", "Spans that the collector of traces has taken.");
pub(super) static SPANS_DROPPED: Family = counter(
    "evenkeel_trace_spans_dropped_total",
    "Spans that were dropped: for want of room, or because the collector of traces did not take them.",
);
pub(super) static RESOLUTIONS: Family =
    counter("evenkeel_dns_resolutions_total", "Names that were asked for, by what came of it.");

pub(super) static SHEDDING: Family = gauge(
    "evenkeel_shedding",
    "Whose requests are shed, by the high-water mark: 0 nobody's, 1 priority low, 2 low and normal, 3 all.",
);
pub(super) static MEMORY_LIMIT: Family =
    gauge("evenkeel_memory_limit_bytes", "Memory that the process may have: its cgroup's limit, or the machine's.");

/// Every family there is.
#[cfg(test)]
pub(super) static ALL: [&Family; 49] = [
    &SHEDDING,
    &MEMORY_LIMIT,
    &SPANS_SENT,
    &SPANS_DROPPED,
    &BUILD,
    &GENERATION,
    &RELOAD_OK,
    &RELOAD_AT,
    &PANICS,
    &CONNECTIONS,
    &CONNECTIONS_OPENED,
    &CONNECTIONS_LIMIT,
    &CONNECTIONS_CLOSED,
    &HANDSHAKES_FAILED,
    &CERTIFICATE_NOT_AFTER,
    &REQUESTS,
    &REQUESTS_IN_FLIGHT,
    &DURATION,
    &REQUEST_BYTES,
    &RESPONSE_BYTES,
    &FAILURES,
    &FALLBACKS,
    &MIRRORED,
    &RATE_LIMITED,
    &BACKEND_REQUESTS,
    &BACKEND_RESPONSE,
    &BACKEND_IN_FLIGHT,
    &BACKEND_CONNECTIONS,
    &BACKEND_WEIGHT,
    &WORKER_CONNECTIONS,
    &WORKER_BUSY,
    &BACKEND_UP,
    &BACKEND_STATE,
    &HEALTH_CHECKS,
    &HEALTH_CHECK_DURATION,
    &REPORTED_LOAD,
    &RETRIES,
    &RETRY_BUDGET_EXHAUSTED,
    &QUEUE_LENGTH,
    &QUEUE_TIMEOUTS,
    &QUEUE_WAIT,
    &IN_FLIGHT_LIMIT,
    &STICKY,
    &EJECTIONS,
    &CIRCUIT,
    &OUTLIER,
    &ALL_DOWN,
    &LOG_DROPPED,
    &RESOLUTIONS,
];

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
            assert!(family.help.ends_with('.') && !family.help.contains(['\\', '\n']), "{name}");
            assert_eq!(name.ends_with("_total"), family.kind == Kind::Counter, "{name}");
            for reserved in ["_count", "_sum", "_bucket"] {
                assert!(!name.ends_with(reserved), "{name}");
            }
            for unit in ["_ms", "millisecond", "minute", "_nanos", "kilobyte", "gauge", "counter", "histogram"] {
                assert!(!name.contains(unit), "{name}");
            }
            assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
        }
    }
}
