//! Requests that go through, once, as one clean request of HTTP/1.1.

use super::super::legal::{self, See, saw};
use super::{Bytes, Pairs, Request};
use crate::support::h2raw::{H2, flag};
use crate::support::{Backend, Evenkeel, in_front_of};
use See::{Body, Field, Line, No, Trailer};

/// Name, request, and what the backend must have seen.
type Row = (&'static str, Request, &'static [See]);

/// Further fields of `GET /a`, and what the backend must have seen.
const FIELDS: &[(&str, Pairs, &[See])] = &[
    ("plain", &[], &[Line("GET /a HTTP/1.1"), Field("host", "test"), No("content-length"), No("transfer-encoding")]),
    ("host that agrees", &[(b"host", b"test")], &[Field("host", "test")]),
    ("host that agrees in another case", &[(b"host", b"TEST")], &[Field("host", "test")]),
    ("one cookie", &[(b"cookie", b"a=1; b=2")], &[Field("cookie", "a=1; b=2")]),
    ("crumbs", &[(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")], &[Field("cookie", "a=1; b=2; c=3")]),
    (
        "crumbs that lie apart",
        &[(b"cookie", b"a=1"), (b"x-a", b"b"), (b"cookie", b"b=2")],
        &[Field("cookie", "a=1; b=2"), Field("x-a", "b")],
    ),
    ("te: trailers", &[(b"te", b"trailers")], &[Field("te", "trailers")]),
    ("empty value", &[(b"x-a", b"")], &[Field("x-a", "")]),
    ("tab in a value", &[(b"x-a", b"b\tc")], &[Field("x-a", "b\tc")]),
    ("obs-text in a value", &[(b"x-a", b"\x80\xe9\xff")], &[Field("x-a", "\u{80}\u{e9}\u{ff}")]),
    ("colons in a value", &[(b"x-a", b":b:c")], &[Field("x-a", ":b:c")]),
    ("name of all token marks", &[(b"!#$%&'*+-.^`|~9", b"b")], &[Field("!#$%&'*+-.^`|~9", "b")]),
    ("underscore in a name is dropped", &[(b"x_a", b"b")], &[No("x_a")]),
    (
        "an obfuscated coding with underscore is dropped",
        &[(b"transfer_encoding", b"chunked")],
        &[No("transfer_encoding"), No("transfer-encoding")],
    ),
    (
        "a length in a value",
        &[(b"x-a", b"content-length: 5")],
        &[Field("x-a", "content-length: 5"), No("content-length")],
    ),
    ("length 0 without a body", &[(b"content-length", b"0")], &[Body("")]),
    ("priority of RFC 9218", &[(b"priority", b"u=1, i")], &[Field("priority", "u=1, i")]),
    ("a forged address", &[(b"x-forwarded-for", b"10.0.0.1")], &[Field("x-forwarded-for", "127.0.0.1")]),
    ("a forged scheme", &[(b"x-forwarded-proto", b"https")], &[Field("x-forwarded-proto", "http")]),
    ("a forged host", &[(b"x-forwarded-host", b"other")], &[Field("x-forwarded-host", "test")]),
];

/// Authorities, which become Host.
const AUTHORITIES: &[(&str, Bytes, &[See])] = &[
    ("authority with port", b"test:8080", &[Field("host", "test:8080"), Field("x-forwarded-host", "test:8080")]),
    ("authority is IPv4", b"127.0.0.1:80", &[Field("host", "127.0.0.1:80")]),
    ("authority is IPv6", b"[::1]", &[Field("host", "[::1]")]),
    ("authority is IPv6 with port", b"[2001:db8::1]:80", &[Field("host", "[2001:db8::1]:80")]),
    ("authority with underscore", b"a_b.test", &[Field("host", "a_b.test")]),
];

/// Paths that the `h2` crate sees otherwise than our HTTP/1.1 does.
const PATHS: &[(&str, Bytes, &[See])] = &[
    ("lax marks in the path", b"/\"^{|}", &[Line("GET /\"^{|} HTTP/1.1")]),
    ("lax marks in the query", b"/a?^`{|}", &[Line("GET /a?^`{|} HTTP/1.1")]),
    // HTTP/1.1 refuses it; here it is cut off, and nobody sees it.
    ("fragment", b"/a?b#c", &[Line("GET /a?b HTTP/1.1")]),
    ("empty fragment", b"/a#", &[Line("GET /a HTTP/1.1")]),
    ("dot segments", b"/a/./b/../c?d=/../e", &[Line("GET /a/c?d=/../e HTTP/1.1")]),
    ("dots above the root", b"/../../a", &[Line("GET /a HTTP/1.1")]),
];

/// Methods, which are case-sensitive.
const METHODS: &[(&str, Bytes, &[See])] = &[
    ("lower-case method", b"get", &[Line("get /a HTTP/1.1")]),
    ("unknown method", b"BREW", &[Line("BREW /a HTTP/1.1")]),
    ("method of all token marks", b"!#$%&'*+-.^_`|~9", &[Line("!#$%&'*+-.^_`|~9 /a HTTP/1.1")]),
];

/// Requests with bodies, and those that are no row of a table.
fn others() -> Vec<Row> {
    let post = || Request::to(b"POST", b"test", b"/a");
    let two = |body: &str| post().with(&[(b"content-length", b"2")]).body(body);
    vec![
        (
            "host alone",
            Request::to(b"GET", b"", b"/a").without(b":authority").with(&[(b"host", b"test")]),
            &[Line("GET /a HTTP/1.1"), Field("host", "test")],
        ),
        ("asterisk", Request::to(b"OPTIONS", b"test", b"*"), &[Line("OPTIONS * HTTP/1.1"), Field("host", "test")]),
        ("POST without a body", post(), &[Line("POST /a HTTP/1.1"), Body(""), No("transfer-encoding")]),
        ("body with a length", two("ok"), &[Field("content-length", "2"), No("transfer-encoding"), Body("ok")]),
        ("body without a length", post().body("ok"), &[Field("transfer-encoding", "chunked"), Body("ok")]),
        ("empty DATA", post().body(""), &[Body("")]),
        ("length 0 and empty DATA", post().with(&[(b"content-length", b"0")]).body(""), &[Body("")]),
        ("GET with a body", Request::to(b"GET", b"test", b"/a").body("ok"), &[Body("ok")]),
        ("length with leading zeros", post().with(&[(b"content-length", b"0002")]).body("ok"), &[Body("ok")]),
        ("trailer", post().body("ok").trailers(&[(b"x-sum", b"1")]), &[Body("ok"), Trailer("x-sum", "1")]),
        // RFC 9113 section 8.2.1 would refuse it, but `grpc-message` may end with a blank.
        ("blanks around a trailer", post().body("ok").trailers(&[(b"x-sum", b" 1 ")]), &[Trailer("x-sum", "1")]),
        ("trailer without a body", post().trailers(&[(b"x-sum", b"1")]), &[Body(""), Trailer("x-sum", "1")]),
        (
            "body that looks like a last chunk",
            post().body("0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n"),
            &[Line("POST /a HTTP/1.1"), Body("0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n")],
        ),
        ("expectation", two("ok").with(&[(b"expect", b"100-continue")]), &[Body("ok")]),
        // RFC 9113 section 8.1 would refuse it; the h2 crate drops it in silence, so it is in nobody's way.
        (
            "pseudo-field in trailers",
            post().body("ok").trailers(&[(b":path", b"/b"), (b"x-sum", b"1")]),
            &[Line("POST /a HTTP/1.1"), Trailer("x-sum", "1")],
        ),
    ]
}

#[test]
fn what_goes_through_is_one_clean_request() {
    let mut rows = others();
    for (name, fields, see) in FIELDS {
        rows.push((name, Request::to(b"GET", b"test", b"/a").with(fields), see));
    }
    for (name, authority, see) in AUTHORITIES {
        rows.push((name, Request::to(b"GET", authority, b"/a"), see));
    }
    for (name, method, see) in METHODS {
        rows.push((name, Request::to(method, b"test", b"/a"), see));
    }
    for (name, path, see) in PATHS {
        rows.push((name, Request::to(b"GET", b"test", path), see));
    }
    // The same paths as HTTP/1.1 takes, and they look the same at the backend.
    for (name, path, see) in legal::paths() {
        rows.push((name, Request::to(b"GET", b"test", path), see));
    }
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let wrong: Vec<String> = rows.iter().filter_map(|row| pass(&evenkeel, &backend, row).err()).collect();
    assert!(rows.len() >= 50, "{} cases", rows.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn pass(evenkeel: &Evenkeel, backend: &Backend, (name, request, see): &Row) -> Result<(), String> {
    let before = backend.seen().len();
    let response = request.exchange(&mut H2::open(evenkeel.address()), 1).map_err(|why| format!("{name}: {why:?}"))?;
    if response.status != 200 {
        return Err(format!("{name}: {} {:?}", response.status, response.word()));
    }
    match backend.seen().get(before..) {
        Some([one]) => see.iter().try_for_each(|see| saw(one, see)).map_err(|what| format!("{name}: {what}")),
        other => Err(format!("{name}: the backend saw {other:?}")),
    }
}

#[test]
fn a_body_in_many_pieces_arrives_whole() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_HEADERS, crate::support::h2raw::block(&Request::to(b"POST", b"test", b"/a").fields));
    for piece in ["one ", "", "two ", ""] {
        h2.data(1, flag::NONE, piece);
    }
    h2.data(1, flag::END_STREAM | flag::PADDED, b"\x03three\0\0\0");
    assert_eq!(h2.answer(1).unwrap().status, 200);
    assert_eq!(backend.last().body, b"one two three");
}
