//! `[rate_limit.NAME]` and `in_flight_limit` of a route as they were read. Filled by `read::limit`; the plan makes its limits
//! of it.

use super::{Secret, files};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Limits that a route may name.
pub const MOST_LIMITS: usize = 8;

/// `[rate_limit.NAME]`: how many requests of one key pass.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// In logs, metrics and the fields of answers: visible ASCII without quotes.
    pub name: String,
    /// What requests are counted by; at least one part.
    pub key: Vec<LimitKey>,
    /// What becomes of those that are too many.
    pub algorithm: LimitAlgorithm,
    /// How many pass for good.
    pub rate: Rate,
    /// How many pass at once; of the token bucket alone.
    pub burst: u64,
    /// The longest that one waits; of the leaky bucket alone.
    pub max_delay: Duration,
    /// Keys with a rate of their own; the first that has a key counts.
    pub tiers: Vec<Tier>,
    /// Keys that are remembered at a time.
    pub max_keys: usize,
    /// What it would do is counted and logged, and not done.
    pub dry_run: bool,
}

/// A part of what requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address; of IPv6 its first 64 bits.
    ClientIp,
    /// A field's value, by its name in lower case.
    Header(String),
    /// A cookie's value, by its name.
    Cookie(String),
    /// What the client's token says, by the claim's name.
    Claim(String),
    /// The normalised path, without the query.
    Path,
    /// The route's name.
    Route,
    /// All requests alike.
    Global,
}

/// What becomes of requests that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitAlgorithm {
    /// They are refused.
    TokenBucket,
    /// They wait for their turn, up to `max_delay`; then they are refused.
    LeakyBucket,
}

/// So many requests in so many seconds: at most a million in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub requests: u64,
    /// 1, 60 or 3600.
    pub seconds: u64,
}

impl Rate {
    /// Nanoseconds from one request to the next, at least 1000.
    pub fn period(self) -> u64 {
        self.seconds * 1_000_000_000 / self.requests
    }

    /// One second's worth, at least 1.
    pub fn per_second(self) -> u64 {
        self.requests.div_ceil(self.seconds)
    }
}

/// Keys with a rate of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    /// For people.
    pub name: String,
    /// Where the keys are kept, which may change.
    pub file: PathBuf,
    /// What was there when the configuration was read.
    pub keys: Vec<Secret>,
    /// How many pass for good.
    pub rate: Rate,
    /// How many pass at once.
    pub burst: u64,
}

impl Tier {
    /// The keys in the file at `path`, one a line; empty lines and those that begin with `#` are none.
    ///
    /// # Errors
    /// A sentence for people: it cannot be read.
    pub fn load(path: &Path) -> Result<Vec<Secret>, String> {
        files::tier_keys(path)
    }
}

/// `in_flight_limit` of a route: how many requests of one key there may be at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlightLimit {
    /// What they are counted by; at least one part.
    pub key: Vec<LimitKey>,
    /// At least 1.
    pub max: u32,
}
