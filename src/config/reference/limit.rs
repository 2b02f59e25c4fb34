//! What `[rate_limit.NAME]` and `in_flight_limit` say of themselves.

use schemars::JsonSchema;

use super::kinds::{Count, Duration, LimitKey, Many, Name, RequestRate};

/// How many requests of a key may be in flight at a time, over all workers; "off" or nothing: no limit. The next one gets
/// 429 in_flight_limited; the access log has limit = "in_flight". A tunnel counts while it lives, and a request that a
/// leaky bucket holds while it waits.
#[derive(JsonSchema)]
pub(super) struct InFlightLimit {
    /// What they are counted by, as in [rate_limit.NAME].
    #[schemars(extend("examples" = ["client_ip"], "x-required" = true))]
    key: Many<LimitKey>,
    /// So many at a time.
    #[schemars(extend("examples" = [50], "x-required" = true))]
    max: Count<1, 1_000_000>,
}

/// How many requests of a key pass, over all workers; those that are too many get 429 rate_limited with Retry-After. Routes
/// name it in `rate_limit`, and share it. Answers of such routes say RateLimit-Policy: "per-ip";q=100;w=1 and RateLimit:
/// "per-ip";r=42;t=1 (draft-ietf-httpapi-ratelimit-headers): r requests pass now, never more than q, and t seconds later
/// all of them do, or with r=0 the next one; of several limits the one that is nearest to its end. What is known of keys
/// survives a reload, also one that changes anything but `key`.
#[derive(JsonSchema)]
pub(super) struct RateLimit {
    /// "client_ip" (of IPv6 the first 64 bits) | "header:NAME" | "cookie:NAME" | "claim:NAME" (of the token that `auth`
    /// has verified) | "path" (normalised, without the query) | "route" (its name) | "global" (all alike); a list combines.
    /// Requests without it, or with nothing in it, are no exception: they share one bucket, and so do those that name two
    /// different ones (the header or cookie twice), as nobody knows which of them a backend goes by. Of a cookie the quotes
    /// do not count.
    #[schemars(extend("examples" = ["client_ip"], "x-required" = true))]
    key: Many<LimitKey>,
    /// "token_bucket": what is too much is refused | "leaky_bucket": requests are let through one by one, at `rate`; they
    /// wait for their turn up to `max_delay`, what would wait for longer is refused. Default: "token_bucket".
    #[schemars(extend("examples" = ["leaky_bucket"], "enum" = ["token_bucket", "leaky_bucket"]))]
    algorithm: String,
    /// How many pass: in a second /s, a minute /m or an hour /h; up to 1000000/s.
    #[schemars(extend("examples" = ["100/s"], "x-required" = true))]
    rate: RequestRate,
    /// Of the token bucket: so many pass at once, when a key has been quiet. Default: what `rate` lets pass in a second, and at
    /// least 1: with "5/m" one every 12 s, though RateLimit-Policy says q=5.
    #[schemars(extend("examples" = [200]))]
    burst: Count<1, 1_000_000_000>,
    /// Of the leaky bucket: the longest that a request waits, up to 1m. Whoever leaves meanwhile keeps its turn. Default: 1s.
    #[schemars(extend("examples" = ["500ms"]))]
    max_delay: Duration,
    /// Keys that are remembered at a time, 1000 to 10000000; 32 bytes each, taken as they are needed. When there are more,
    /// a new key takes the place of the one that has most left, and what that one has left: a flood of new keys frees no
    /// bucket, takes no memory, and is itself held to the rate of so many keys. Default: 1000000.
    #[schemars(extend("examples" = [100000]))]
    max_keys: Count<1_000, 10_000_000>,
    /// Nothing is refused, delayed or told to clients: what would be is counted in evenkeel_rate_limited_total, and `limit`
    /// in the access log names the limit. Default: false.
    #[schemars(extend("examples" = [true]))]
    dry_run: bool,
    tiers: Many<Tier>,
}

/// Keys with a rate of their own. Of several tiers that have a key, the first counts.
#[derive(JsonSchema)]
pub(super) struct Tier {
    /// For you.
    #[schemars(extend("examples" = ["gold"], "x-required" = true))]
    name: Name,
    /// As above.
    #[schemars(extend("examples" = ["1000/s"], "x-required" = true))]
    rate: RequestRate,
    /// As above.
    #[schemars(extend("examples" = [2000]))]
    burst: Count<1, 1_000_000_000>,
    keys: TierKeys,
}

/// Which keys these are.
#[derive(JsonSchema)]
pub(super) struct TierKeys {
    /// A key a line, in plain text, unlike the digests of [auth.NAME]: the value of the header, cookie or claim, or an address. Empty lines and those that begin with "#"
    /// are none. A file that changes is read within 10 s; one that cannot be read leaves the keys as they were.
    #[schemars(extend("examples" = ["/etc/evenkeel/gold.keys"], "x-required" = true))]
    file: String,
}
