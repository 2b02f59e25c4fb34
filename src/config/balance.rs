//! How a pool chooses one of its backends, as it was read: its algorithm, `hash`, `custom_load` and `sticky`.
//!
//! Filled by `read`; the plan makes its balancer and its policies of it.

use std::time::Duration;

use super::Secret;

/// How a pool chooses one of its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, by weight, smoothly.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with less in flight of two random ones.
    PowerOfTwoChoices,
    /// The one with the least in flight, by weight.
    LeastConnections,
    /// The one that would answer first.
    LeastResponseTime,
    /// The one through which the fewest bytes go.
    LeastBandwidth,
    /// By the client's address, consistently.
    IpHash,
    /// By `hash.key`, consistently.
    Hash,
    /// By what the backends say of themselves.
    CustomLoad,
}

impl Algorithm {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Random => "random",
            Self::PowerOfTwoChoices => "power_of_two_choices",
            Self::LeastConnections => "least_connections",
            Self::LeastResponseTime => "least_response_time",
            Self::LeastBandwidth => "least_bandwidth",
            Self::IpHash => "ip_hash",
            Self::Hash => "hash",
            Self::CustomLoad => "custom_load",
        }
    }
}

/// `hash` of a pool: what is hashed, and how far a backend may be above the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Of `algorithm = "hash"`.
    pub key: HashKey,
    /// In percent of the mean, above 100; of `ip_hash` and of stickiness too.
    pub bounded_load: u32,
    /// Bits of an IPv6 address that count, 1 to 128.
    pub ipv6_prefix: u8,
}

impl Default for Hash {
    fn default() -> Self {
        Self { key: HashKey::ClientIp, bounded_load: 125, ipv6_prefix: 64 }
    }
}

/// What a pool hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// A field's value, by its name in lower case.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// A parameter's value in the query.
    Query(String),
    /// The path, without the query.
    Path,
    /// The host, without the port.
    Host,
}

/// `custom_load`: how what backends say of themselves becomes one number.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomLoad {
    /// Where it is said.
    pub source: LoadSource,
    /// The metrics that count, by their name, and how much; at least one, none negative.
    pub weights: Vec<(String, f32)>,
    /// How they become one number.
    pub combine: Combine,
    /// Above any of these nothing new comes while others can take it.
    pub limits: Vec<(String, f32)>,
    /// What is older counts as the mean of the others.
    pub expire: Duration,
}

/// Where backends say what they carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSource {
    /// In `endpoint-load-metrics` of each response (ORCA).
    Header,
    /// As JSON at a path of theirs.
    Poll {
        /// Path and query.
        path: String,
        /// The time between polls.
        interval: Duration,
    },
}

/// How several metrics become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The sum of the weighted.
    Sum,
    /// The largest of the weighted.
    Max,
}

/// `sticky`: what keeps a client at its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// By what a client is known.
    pub by: StickyBy,
    /// What happens when its backend is gone.
    pub fallback: StickyFallback,
}

/// By what a client is known.
#[derive(Clone, Debug, PartialEq)]
pub enum StickyBy {
    /// Our own signed cookie.
    Cookie {
        /// Its name.
        name: String,
        /// How long it holds.
        ttl: Duration,
        /// The first signs, all verify; empty = random at the start.
        secrets: Vec<Secret>,
    },
    /// A cookie of the application: the backend that set it has the session.
    AppCookie {
        /// Its name.
        name: String,
        /// How long a session is remembered that is not used.
        ttl: Duration,
    },
    /// A field of the request, by its name in lower case.
    Header(String),
    /// The client's address.
    SourceIp,
}

/// What happens to a client whose backend is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyFallback {
    /// It gets another one; every instance gives it the same.
    Reassign,
    /// 503.
    Reject,
}
