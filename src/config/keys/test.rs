//! Keys of `[[test]]`.

use super::Keys;

/// `[[test]]`
pub(in super::super) const TEST: Keys = Keys {
    title: "[[test]]",
    example: "`[[test]]` with `request = { url = \"https://api.example.com/v1/x\" }` and `expect = { route = \"api\" }` below",
    known: &["name", "request", "expect"],
    later: &[],
    peers: &[
        ("description", "name"),
        ("title", "name"),
        ("given", "request"),
        ("input", "request"),
        ("when", "request"),
        ("assert", "expect"),
        ("expected", "expect"),
        ("output", "expect"),
        ("then", "expect"),
        ("want", "expect"),
    ],
};

/// `request` of a test.
pub(in super::super) const SAMPLE: Keys = Keys {
    title: "a test's request",
    example: "`request = { method = \"GET\", url = \"https://api.example.com/v1/x\" }`",
    known: &["method", "url", "headers", "from"],
    later: &[],
    peers: &[
        ("verb", "method"),
        ("path", "url"),
        ("target", "url"),
        ("uri", "url"),
        ("header", "headers"),
        ("client", "from"),
        ("client_ip", "from"),
        ("peer", "from"),
        ("remote_ip", "from"),
        ("source_ip", "from"),
        ("src", "from"),
    ],
};

/// `expect` of a test.
pub(in super::super) const EXPECT: Keys = Keys {
    title: "what a test expects",
    example: "`expect = { route = \"api\", pool = \"api\" }`",
    known: &["route", "pool", "status", "location", "header"],
    later: &[],
    peers: &[
        ("rule", "route"),
        ("backend", "pool"),
        ("cluster", "pool"),
        ("upstream", "pool"),
        ("code", "status"),
        ("redirect", "location"),
        ("redirect_to", "location"),
        ("to", "location"),
        ("headers", "header"),
        ("response_header", "header"),
        ("response_headers", "header"),
    ],
};
