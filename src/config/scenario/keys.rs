//! Which keys may stand where in a scenario.

use super::super::keys::Keys;

/// The file.
pub(super) const SCENARIO: Keys = Keys {
    title: "a scenario",
    example: "its keys and tables",
    known: &[
        "duration",
        "warm_up",
        "seed",
        "instances",
        "slow_start",
        "timeout",
        "retries",
        "down_after",
        "up_after",
        "bounded_load",
        "arrivals",
        "clients",
        "response",
        "backend",
    ],
    later: &[],
    peers: &[
        ("backends", "backend"),
        ("server", "backend"),
        ("servers", "backend"),
        ("pool", "backend"),
        ("length", "duration"),
        ("keys", "clients"),
        ("users", "clients"),
        ("traffic", "arrivals"),
        ("requests", "arrivals"),
        ("size", "response"),
        ("sizes", "response"),
        ("attempts", "retries"),
        ("workers", "instances"),
    ],
};

/// `[arrivals]`
pub(super) const ARRIVALS: Keys = Keys {
    title: "[arrivals]",
    example: "`[arrivals]`, and below it `rate = \"1000/s\"`",
    known: &["rate", "bursts", "log", "speed"],
    later: &[],
    peers: &[("burst", "bursts"), ("file", "log"), ("access_log", "log"), ("poisson", "rate"), ("rps", "rate")],
};

/// `bursts`
pub(super) const BURSTS: Keys = Keys {
    title: "arrivals.bursts",
    example: "`bursts = { factor = 5, every = \"60s\", for = \"5s\" }`",
    known: &["factor", "every", "for"],
    later: &[],
    peers: &[("rate", "factor"), ("interval", "every"), ("length", "for"), ("duration", "for")],
};

/// `[clients]`
pub(super) const CLIENTS: Keys = Keys {
    title: "[clients]",
    example: "`[clients]`, and below it `count = 1000`",
    known: &["count", "zipf"],
    later: &[],
    peers: &[("number", "count"), ("exponent", "zipf"), ("shape", "zipf")],
};

/// `[response]`
pub(super) const RESPONSE: Keys = Keys {
    title: "[response]",
    example: "`[response]`, and below it `size = { type = \"pareto\", mean = \"16KiB\" }`",
    known: &["size"],
    later: &[],
    peers: &[("bytes", "size"), ("body", "size")],
};

/// A distribution.
pub(super) const DISTRIBUTION: Keys = Keys {
    title: "a distribution",
    example: "`{ type = \"exponential\", mean = \"10ms\" }`, or \"10ms\" for a constant",
    known: &["type", "mean", "shape"],
    later: &[],
    peers: &[("distribution", "type"), ("kind", "type"), ("average", "mean"), ("sigma", "shape"), ("alpha", "shape")],
};

/// `[[backend]]`
pub(super) const BACKEND: Keys = Keys {
    title: "[[backend]] of a scenario",
    example: "`[[backend]]`, and below it `service = { type = \"exponential\", mean = \"10ms\" }`",
    known: &[
        "name",
        "count",
        "weight",
        "concurrency",
        "service",
        "bandwidth",
        "fails",
        "slow",
        "cold",
        "joins",
        "leaves",
    ],
    later: &[],
    peers: &[
        ("threads", "concurrency"),
        ("workers", "concurrency"),
        ("failure", "fails"),
        ("failures", "fails"),
        ("service_time", "service"),
        ("time", "service"),
        ("join", "joins"),
        ("leave", "leaves"),
    ],
};

/// An element of `fails`
pub(super) const FAILURE: Keys = Keys {
    title: "a failure",
    example: "`{ at = \"10s\", for = \"5s\" }`",
    known: &["at", "for"],
    later: &[],
    peers: &[("from", "at"), ("length", "for"), ("duration", "for")],
};

/// An element of `slow`
pub(super) const SLOW: Keys = Keys {
    title: "a slow time",
    example: "`{ at = \"10s\", for = \"5s\", factor = 10 }`",
    known: &["at", "for", "factor"],
    later: &[],
    peers: &[("from", "at"), ("length", "for"), ("duration", "for")],
};

/// `cold`
pub(super) const COLD: Keys = Keys {
    title: "a cold start",
    example: "`cold = { factor = 10, for = \"20s\" }`",
    known: &["factor", "for"],
    later: &[],
    peers: &[("length", "for"), ("duration", "for")],
};
