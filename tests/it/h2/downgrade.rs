//! Nothing becomes HTTP/1.1 that two readers could understand in two ways: RFC 9113 sections 8.2, 8.3 and 10.3, and
//! whatever HTTP/1's guard refuses. What is refused reaches no backend.

use super::*;
use crate::support::h2raw::Unanswered;
use crate::support::in_front_of;

type Fields = Vec<(&'static str, &'static str)>;

fn plain() -> Fields {
    vec![(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")]
}

/// A plain request with `more` fields.
fn and(more: &[(&'static str, &'static str)]) -> Fields {
    [&plain()[..], more].concat()
}

/// A plain request, with other pseudo-fields.
fn but(others: &[(&'static str, &'static str)]) -> Fields {
    let other = |name: &str| others.iter().find(|(other, _)| *other == name);
    plain().into_iter().map(|field| *other(field.0).unwrap_or(&field)).collect()
}

fn without(name: &str) -> Fields {
    plain().into_iter().filter(|field| field.0 != name).collect()
}

/// Sends each on a connection of its own; it must be answered 400, or reset.
fn refused(cases: &[Fields]) {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    for case in cases {
        let mut h2 = H2::open(evenkeel.address());
        h2.headers(1, flag::WHOLE, block(case));
        match h2.answer(1) {
            Ok(answer) if answer.status == 400 => answer.assert_refused(400, "bad_request"),
            Err(Unanswered::Reset(_) | Unanswered::GoAway(_)) => {}
            other => panic!("{case:?}: {other:?}"),
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn fields_that_are_malformed() {
    refused(&[
        and(&[("X-Upper", "v")]),
        and(&[("", "v")]),
        and(&[("x y", "v")]),
        and(&[("x:y", "v")]),
        and(&[("x\"y", "v")]),
        and(&[("x\r\ny", "v")]),
        and(&[("x\0", "v")]),
        and(&[("x\u{e9}", "v")]),
        and(&[("x", "a\r\nb: c")]),
        and(&[("x", "a\nb")]),
        and(&[("x", "a\rb")]),
        and(&[("x", "a\0b")]),
        and(&[("x", " a")]),
        and(&[("x", "a\t")]),
        and(&[("x", "\u{7f}")]),
        and(&[(":x", "v")]),
        and(&[("x", "v"), (":method", "POST")]),
        and(&[(":status", "200")]),
    ]);
}

#[test]
fn fields_of_http_1_s_connections() {
    refused(&[
        and(&[("connection", "close")]),
        and(&[("connection", "x")]),
        and(&[("keep-alive", "timeout=5")]),
        and(&[("proxy-connection", "keep-alive")]),
        and(&[("transfer-encoding", "chunked")]),
        and(&[("transfer-encoding", "identity")]),
        and(&[("upgrade", "websocket")]),
        and(&[("http2-settings", "AAMAAABk")]),
        and(&[("te", "gzip")]),
        and(&[("te", "trailers, gzip")]),
        and(&[("expect", "200-ok")]),
    ]);
}

#[test]
fn pseudo_fields_that_are_missing_or_wrong() {
    refused(&[
        without(":method"),
        without(":scheme"),
        without(":path"),
        without(":authority"),
        [without(":path"), vec![("host", "test")]].concat().into_iter().filter(|f| f.0 != ":authority").collect(),
        and(&[(":method", "GET")]),
        and(&[(":path", "/")]),
        and(&[(":authority", "test")]),
        but(&[(":method", "")]),
        but(&[(":method", "GE T")]),
        but(&[(":method", "GET / HTTP/1.1\r\nx:")]),
        but(&[(":method", "G\"ET")]),
        but(&[(":scheme", "")]),
        but(&[(":scheme", "ftp")]),
        but(&[(":scheme", "http://x/?")]),
        but(&[(":path", "")]),
        but(&[(":path", "*")]),
        but(&[(":path", "a")]),
        but(&[(":path", "?a")]),
        but(&[(":path", "http://test/")]),
        but(&[(":path", "/ HTTP/1.1\r\nx: y")]),
        but(&[(":path", "/a b")]),
        but(&[(":path", "/%00")]),
        but(&[(":path", "/%zz")]),
        but(&[(":path", "/\\")]),
        but(&[(":path", "/\u{e9}")]),
        but(&[(":method", "OPTIONS"), (":path", "*a")]),
    ]);
}

#[test]
fn authorities_that_are_wrong() {
    refused(&[
        but(&[(":authority", "")]),
        but(&[(":authority", "user@test")]),
        but(&[(":authority", "test:99999")]),
        but(&[(":authority", "test:x")]),
        but(&[(":authority", "te st")]),
        but(&[(":authority", "test/path")]),
        but(&[(":authority", "[::1")]),
        but(&[(":authority", "a,b")]),
        and(&[("host", "other")]),
        and(&[("host", "test"), ("host", "test")]),
        and(&[("host", "")]),
        [without(":authority"), vec![("host", "user@test")]].concat(),
    ]);
}

#[test]
fn lengths_that_are_wrong() {
    refused(&[
        and(&[("content-length", "1")]),
        and(&[("content-length", "")]),
        and(&[("content-length", "+0")]),
        and(&[("content-length", "0x0")]),
        and(&[("content-length", "0, 0")]),
        and(&[("content-length", "0"), ("content-length", "0")]),
        and(&[("content-length", "0"), ("content-length", "1")]),
        and(&[("content-length", "99999999999999999999")]),
    ]);
}

#[test]
fn a_body_that_is_not_as_long_as_it_says_is_no_request() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    for body in [&b"abc"[..], b"abcdef"] {
        let mut h2 = H2::open(evenkeel.address());
        h2.headers(1, flag::END_HEADERS, request("PUT", "/", &[("content-length", "5")]));
        h2.data(1, flag::END_STREAM, body);
        match h2.answer(1) {
            Err(Unanswered::Reset(_)) => {}
            Ok(answer) if answer.status == 400 => {}
            other => panic!("{body:?}: {other:?}"),
        }
    }
    assert!(backend.seen().is_empty(), "no whole request has come: {:?}", backend.seen());
}

#[test]
fn what_is_odd_but_legal_goes_through() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    for (case, expected) in [
        (but(&[(":method", "PURGE")]), "PURGE / HTTP/1.1"),
        (but(&[(":method", "OPTIONS"), (":path", "*")]), "OPTIONS * HTTP/1.1"),
        (but(&[(":path", "/a/./b/../c?d=/../")]), "GET /a/c?d=/../ HTTP/1.1"),
        ([without(":authority"), vec![("host", "test")]].concat(), "GET / HTTP/1.1"),
        (and(&[("host", "TEST"), ("te", "trailers"), ("content-length", "0")]), "GET / HTTP/1.1"),
        (but(&[(":authority", "[::1]:8080")]), "GET / HTTP/1.1"),
        (but(&[(":scheme", "https")]), "GET / HTTP/1.1"),
    ] {
        let mut h2 = H2::open(evenkeel.address());
        h2.headers(1, flag::WHOLE, block(&case));
        assert_eq!(h2.answer(1).unwrap_or_else(|why| panic!("{case:?}: {why:?}")).status, 200, "{case:?}");
        assert_eq!(backend.last().head.start, expected);
    }
}
