//! `[pool.NAME]` as it was read: backends, and how they are called.
//!
//! Filled by `read::pool`; the plan makes its pools of it.

use std::{net::IpAddr, time::Duration};

use super::{Address, Algorithm, CircuitBreaker, CustomLoad, Hash, HealthCheck, Outlier, PoolTls, Statuses, Sticky};

/// `[pool.NAME]`: a set of backends with one algorithm.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The NAME of its table.
    pub name: String,
    /// How one of the backends is chosen.
    pub algorithm: Algorithm,
    /// At least one, or none where there is `discover`; neither names nor addresses are equal.
    pub backends: Vec<Backend>,
    /// Where further backends are found while we run.
    pub discover: Option<Discover>,
    /// Connections that are kept for the next request.
    pub keepalive: Keepalive,
    /// Connections to each backend, of the process; `None` = no limit.
    pub max_connections: Option<usize>,
    /// Attempts at each backend at a time, of the process.
    pub max_in_flight: MaxInFlight,
    /// Those who wait when every backend is full; `None`: nobody does.
    pub queue: Option<Queue>,
    /// Addresses to connect from, in turn; empty = the kernel chooses.
    pub source_address: Vec<IpAddr>,
    /// For one connection; always set, since it cannot be turned off.
    pub connect_timeout: Option<Duration>,
    /// From the request sent to the response head, of one attempt; `None` = no limit.
    pub response_timeout: Option<Duration>,
    /// The longest silence inside a body, in either direction; `None` = no limit.
    pub body_timeout: Option<Duration>,
    /// The longest silence of a tunnel; `None` = no limit.
    pub tunnel_timeout: Option<Duration>,
    /// Send the client's `Host`; otherwise the backend's address as written.
    pub pass_host: bool,
    /// What becomes of requests when no backend is healthy.
    pub when_all_down: WhenAllDown,
    /// All must pass; empty = `type = "off"`.
    pub health_checks: Vec<HealthCheck>,
    /// When backends that fail are left alone.
    pub circuit_breaker: CircuitBreaker,
    /// When a slow backend is one that fails; `None`: it is told alone.
    pub outlier: Option<Outlier>,
    /// Further attempts.
    pub retry: Retry,
    /// What is spoken to the backends.
    pub protocol: Protocol,
    /// The header in front of each connection that says who the client is; `None` = there is none.
    pub send_proxy_protocol: Option<ProxyVersion>,
    /// `None`: nothing is encrypted. Never with a backend at a unix socket.
    pub tls: Option<PoolTls>,
    /// How keys become backends.
    pub hash: Hash,
    /// Of `algorithm = "custom_load"` alone, and then always.
    pub custom_load: Option<CustomLoad>,
    /// `None`: clients are known by nothing.
    pub sticky: Option<Sticky>,
    /// How long a backend's weight grows once it has joined or recovered; `None`: it does not.
    pub slow_start: Option<Duration>,
}

/// `protocol` of a pool: what is spoken to its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2; without TLS by prior knowledge.
    H2,
    /// What the backend chooses by ALPN; the pool has TLS.
    Auto,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with TLVs.
    V2,
}

/// What becomes of requests when no backend of the pool is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllDown {
    /// 503.
    Reject,
    /// Every backend that is not drained is tried, as if it were healthy.
    TryAny,
}

/// `retry`: further attempts at a request that can be sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// After the first.
    pub attempts: u32,
    /// After a connection that could not be made.
    pub on_connect: bool,
    /// After one that died before a byte of the response.
    pub on_reset: bool,
    /// After a response that did not come in time.
    pub on_timeout: bool,
    /// After an answer with a gRPC status, by its code: bit 14 is `unavailable`. Bit 0, `ok`, is never set.
    pub on_grpc: u32,
    /// After an answer with one of these statuses.
    pub on_status: Statuses,
    /// A request with `Idempotency-Key` counts as idempotent.
    pub idempotency_key: bool,
    /// Every request does: it may be carried out twice.
    pub non_idempotent: bool,
    /// The first retry waits up to this, each further one up to twice as long.
    pub backoff_base: Duration,
    /// None waits longer.
    pub backoff_max: Duration,
    /// Retries, as a share of the pool's requests of the last 10 s.
    pub budget: f64,
    /// Retries in 10 s that are always allowed.
    pub budget_floor: u32,
    /// Bytes of a body that are kept for being sent again.
    pub buffer: usize,
}

/// `discover`: the name of a service, whose backends DNS knows. One for each address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Discover {
    /// Addresses (A and AAAA) of a host name in lower case, all at one port.
    Dns(String, u16),
    /// Its SRV records (RFC 2782) say host names, ports, tiers and weights.
    Srv(String),
}

/// One address that we call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is called.
    pub address: Address,
    /// In logs and metrics; the address as written by default.
    pub name: String,
    /// Its share, 0 to 1000, beside the others' weights.
    pub weight: u32,
    /// Used only while no other backend can be.
    pub backup: bool,
    /// `None`: the pool's.
    pub max_in_flight: Option<MaxInFlight>,
}

/// `max_in_flight`: attempts at one backend at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxInFlight {
    /// Any number.
    Off,
    /// So many.
    Most(u32),
    /// As many as it answers without becoming slow.
    Auto,
}

/// `queue`: those who wait when every backend of the pool is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// How many may wait.
    pub size: usize,
    /// How long; `None` = as long as their route lets them.
    pub timeout: Option<Duration>,
}

/// `keepalive`: connections to a backend that are kept for the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How many, per backend, of the process; 0 keeps none.
    pub max_idle: usize,
    /// How long; `None` = as long as the backend likes.
    pub idle_timeout: Option<Duration>,
    /// Requests on one connection before it is closed; `None` = no limit.
    pub max_requests: Option<u64>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: 1024, timeout: Some(Duration::from_secs(5)) }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on_connect: true,
            on_reset: true,
            on_timeout: true,
            on_grpc: 0,
            on_status: Statuses::default(),
            idempotency_key: false,
            non_idempotent: false,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            budget: 0.2,
            budget_floor: 10,
            buffer: 64 * 1024,
        }
    }
}
