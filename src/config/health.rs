//! `health_check` of a pool, as it was read.
//!
//! Filled by `read::health`; the plan hands it to the checks.

use std::time::Duration;

/// `health_check`: how it is found out whether a backend can serve.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Where; 0 = the backend's own port.
    pub port: u16,
    /// The time between checks, give or take a tenth.
    pub interval: Duration,
    /// The same while the backend is not healthy, or changing.
    pub interval_down: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Passes in a row that make a backend healthy.
    pub healthy_threshold: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
    /// Until the first verdict it counts as healthy.
    pub initially_up: bool,
    /// A check that passes and takes longer makes a backend degraded; `None`: however long it takes.
    pub slow_after: Option<Duration>,
}

impl HealthCheck {
    /// What there is when none is written.
    pub fn tcp() -> Self {
        Self {
            probe: Probe::Tcp,
            port: 0,
            interval: Duration::from_secs(10),
            interval_down: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            initially_up: true,
            slow_after: None,
        }
    }
}

/// What a check tries.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connection is accepted.
    Tcp,
    /// A request is answered as expected.
    Http(Box<HttpProbe>),
    /// `grpc.health.v1` says that it serves: by the pool's TLS if it has one, else HTTP/2 by prior knowledge.
    Grpc(GrpcProbe),
}

/// A check by the gRPC health checking protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service that is asked for; empty = the server as a whole.
    pub service: String,
    /// For `:authority`; `None` = the backend's address.
    pub host: Option<String>,
}

/// A check by HTTP/1.1.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// `type = "https"`: by the pool's TLS if it has one, else verified by the system's roots.
    pub tls: bool,
    /// Path and query.
    pub path: String,
    /// GET by default.
    pub method: String,
    /// Sent with its length.
    pub body: Option<String>,
    /// For `Host`; `None` = the backend's address.
    pub host: Option<String>,
    /// Further fields.
    pub headers: Vec<(String, String)>,
    /// The connection is kept for the next check.
    pub reuse: bool,
    /// Statuses that pass, as inclusive ranges.
    pub expect_status: Vec<(u16, u16)>,
    /// What the body must hold.
    pub expect_body: Option<BodyMatch>,
    /// Values that must stand at these dotted places of a JSON body; strings, numbers and booleans as JSON text.
    pub expect_json: Vec<(String, serde_json::Value)>,
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyMatch {
    /// That text.
    Contains(String),
    /// A match of that expression, which is known to compile.
    Regex(String),
}

/// The statuses of gRPC as they are written here; the place in this list is the code (grpc/doc/statuscodes.md).
pub const GRPC_STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];
