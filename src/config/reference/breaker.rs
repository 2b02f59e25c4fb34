//! What `[pool.NAME]` says of backends that fail or are slow.

use schemars::JsonSchema;

use super::kinds::{BreakerOn, Count, CountOr, Duration, Factor, Many, Off, Share};

/// A backend that fails is left alone for a while, whatever its checks say, and then tried with a few requests. Its state is
/// `ejected` meanwhile. Each backend has its own: closed -> open -> half-open -> closed. It looks at requests, so it costs
/// nothing and finds what checks do not. The last backend is never ejected; where checks take all others down later, those
/// that are ejected serve rather than nobody, after backups.
#[derive(JsonSchema)]
pub(super) struct CircuitBreaker {
    /// false: no backend is ever left alone for what it answers.
    #[schemars(extend("default" = true))]
    enabled: bool,
    /// "backend" = each by itself | "pool" = the whole service at once: open = 503 breaker_open, or the route's fallback.
    #[schemars(extend("default" = "backend", "enum" = ["backend", "pool"]))]
    scope: String,
    /// What is a failure.
    ///
    /// "connect" = no connection could be made in time, TLS included | "reset" = the connection broke before the response
    /// was whole, or what came is no response | "timeout" = response_timeout or body_timeout has passed; the route's own
    /// timeout, where the backend had at least half of it | "5xx" | a status of 400 to 599, such as "429".
    ///
    /// What clients do, what is full or missing on this side, and a kept connection that the backend had closed never are.
    #[schemars(extend("default" = ["connect", "reset", "timeout", "502", "503", "504"]))]
    on: Many<BreakerOn>,
    /// So many in a row open it; or "off".
    #[schemars(extend("default" = 5))]
    consecutive_failures: CountOr<0, 1_000_000, Off>,
    /// So does this share of the requests of `window`; or "off".
    #[schemars(extend("default" = "50%"))]
    failure_rate: Share,
    /// If there were at least so many.
    #[schemars(extend("default" = 20))]
    min_requests: Count<1, 1_000_000>,
    /// The time that failure_rate is of: it slides by tenths.
    #[schemars(extend("default" = "10s"))]
    window: Duration,
    /// How long it stays open. Twice as long each time that it opens again before it has been closed for as long.
    #[schemars(extend("default" = "10s"))]
    open_for: Duration,
    /// But no longer than this. At least open_for; where it is not written, a longer open_for is the bound as well.
    #[schemars(extend("default" = "5m"))]
    open_for_max: Duration,
    /// Then, or as soon as active checks find the backend well that they had found down, it is half-open: so many requests
    /// are sent to it. When all have gone well it is closed, and slow_start begins; when one has failed it is open again. A
    /// response that goes on for longer than open_for has gone well so far; a trial without one makes room for another
    /// after open_for_max.
    #[schemars(extend("default" = 3))]
    half_open_requests: Count<1, 1_000>,
    /// The share of the pool's usable backends, backups included, that may be out at a time, rounded down; of two or more
    /// one may always be, and the last one never. "off" = no bound, all but the last one; "0%" = nobody is ever ejected. A
    /// backend that may not be ejected has its failures counted anew.
    #[schemars(extend("default" = "50%"))]
    max_ejected: Share,
}

/// Backends that are much slower than the others of their pool are ejected as those that fail, within the same bounds.
/// Absent: they are told in the log, in the API and in evenkeel_backend_outlier, by the values below, and not ejected.
#[derive(JsonSchema)]
pub(super) struct Outlier {
    /// So many times the median of the others' response times, and at least 10ms above it. A response time is the peak EWMA
    /// of the time to the response head, which failures double; backends with fewer than 20 responses, and those without requests, are not
    /// judged. Default: "3x".
    #[schemars(extend("examples" = ["3x"]))]
    latency: Factor,
    /// For so long, without a break. It ends when the backend has been below for as long. Default: "30s".
    #[schemars(extend("examples" = ["30s"]))]
    #[schemars(rename = "for")]
    lasts: Duration,
}
