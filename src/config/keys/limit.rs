//! Keys of `[rate_limit.NAME]` and of a route's `in_flight_limit`.

use super::Keys;

/// `[rate_limit.NAME]`
pub(in super::super) const RATE_LIMIT: Keys = Keys {
    title: "[rate_limit.NAME]",
    example: "`[rate_limit.per-ip]` with `key = \"client_ip\"` and `rate = \"100/s\"` below",
    known: &["key", "algorithm", "rate", "burst", "max_delay", "tiers", "max_keys", "dry_run"],
    later: &[],
    peers: &[
        ("by", "key"),
        ("descriptors", "key"),
        ("source_criterion", "key"),
        ("sourcecriterion", "key"),
        ("track", "key"),
        ("type", "algorithm"),
        ("average", "rate"),
        ("limit", "rate"),
        ("requests", "rate"),
        ("requests_per_unit", "rate"),
        ("tokens_per_fill", "rate"),
        ("events", "rate"),
        ("bucket", "burst"),
        ("bucket_size", "burst"),
        ("max_tokens", "burst"),
        ("delay", "max_delay"),
        ("max_wait", "max_delay"),
        ("queue", "max_delay"),
        ("overrides", "tiers"),
        ("plans", "tiers"),
        ("max_entries", "max_keys"),
        ("size", "max_keys"),
        ("zone", "max_keys"),
        ("limit_req_dry_run", "dry_run"),
        ("log_only", "dry_run"),
        ("shadow", "dry_run"),
        ("shadow_mode", "dry_run"),
    ],
};

/// One of `tiers` of a rate limit.
pub(in super::super) const TIER: Keys = Keys {
    title: "tiers",
    example: "`tiers = [{ name = \"gold\", keys = { file = \"gold.keys\" }, rate = \"1000/s\" }]`",
    known: &["name", "keys", "rate", "burst"],
    later: &[],
    peers: &[
        ("file", "keys"),
        ("key", "keys"),
        ("match", "keys"),
        ("values", "keys"),
        ("limit", "rate"),
        ("average", "rate"),
    ],
};

/// `keys` of a tier.
pub(in super::super) const TIER_KEYS: Keys = Keys {
    title: "keys",
    example: "`keys = { file = \"/etc/evenkeel/gold.keys\" }`, with a key a line",
    known: &["file"],
    later: &[],
    peers: &[("path", "file")],
};

/// `in_flight_limit` of a route.
pub(in super::super) const IN_FLIGHT_LIMIT: Keys = Keys {
    title: "in_flight_limit",
    example: "`in_flight_limit = { key = \"client_ip\", max = 50 }`",
    known: &["key", "max"],
    later: &[],
    peers: &[
        ("by", "key"),
        ("source_criterion", "key"),
        ("sourcecriterion", "key"),
        ("amount", "max"),
        ("connections", "max"),
        ("limit", "max"),
        ("max_in_flight", "max"),
        ("requests", "max"),
    ],
};
