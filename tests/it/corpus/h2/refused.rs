//! Requests that would be ambiguous, malformed or more than one in HTTP/1.1: RFC 9113 sections 8.1 to 8.3 and 10.3. A stream
//! or connection error or a 4xx refuses them; the backend sees nothing that it could take for a request.

use std::collections::HashSet;

use super::super::requests::{leaks, mark, marked};
use super::super::{Stage, hosts, oversize, targets};
use super::{Bytes, Pairs, Refused, Request};
use crate::support::h2raw::{H2, Unanswered};
use crate::support::{Backend, Evenkeel, Setup, in_front_of, wait_for};

const NAME: &str = "RFC 9113 8.2.1: a field name is a token in lower case";
const VALUE: &str = "RFC 9113 8.2.1: no CR, LF, NUL or other control in a value";
const BLANK: &str = "RFC 9113 8.2.1: a value neither begins nor ends with a blank";
const CONNECTION: &str = "RFC 9113 8.2.2: no connection-specific fields";
const PSEUDO: &str = "RFC 9113 8.3: pseudo-fields once each, known, first";
const REQUEST: &str = "RFC 9113 8.3.1: one :method, :scheme and :path";
const METHOD: &str = "RFC 9110 9.1: a method is a token";
const PATH: &str = "RFC 9113 8.3.1 and PRODUCT 3: :path is as strict as a target";
const AUTHORITY: &str = "RFC 9113 8.3.1: :authority and Host are one and the same, without user";
const LENGTH: &str = "RFC 9113 8.1.1: Content-Length is the sum of the DATA";
const EXPECT: &str = "RFC 9110 10.1.1: 100-continue is the only expectation";
const TRAILER: &str = "PRODUCT 8: a trailer that frames or routes is 400";
const TUNNEL: &str = "PRODUCT 7: no route asks for CONNECT";

/// Further fields of `GET /MARK`.
const FIELDS: &[(&str, &str, Pairs)] = &[
    // Names.
    ("empty name", NAME, &[(b"", b"b")]),
    ("upper case", NAME, &[(b"X-A", b"b")]),
    ("one letter in upper case", NAME, &[(b"x-A", b"b")]),
    ("Host in upper case", NAME, &[(b"Host", b"other")]),
    ("Content-Length in upper case", NAME, &[(b"Content-Length", b"5")]),
    ("Transfer-Encoding in upper case", NAME, &[(b"Transfer-Encoding", b"chunked")]),
    ("high byte in a name", NAME, &[(b"x-\xe9", b"b")]),
    ("UTF-8 in a name", NAME, &[(b"x-\xc3\xa9", b"b")]),
    ("colon at the end of a name", NAME, &[(b"x-a:", b"b")]),
    ("colon in a name", NAME, &[(b"x:a", b"b")]),
    ("blank name", NAME, &[(b" ", b"b")]),
    ("space before a name", NAME, &[(b" x-a", b"b")]),
    ("space after a name", NAME, &[(b"x-a ", b"b")]),
    ("a field in a name", NAME, &[(b"x-a: b\r\nx-b", b"c")]),
    ("a request in a name", NAME, &[(b"x: y\r\n\r\nGET /smuggled HTTP/1.1\r\nhost", b"test")]),
    ("a coding in a name", NAME, &[(b"transfer-encoding: chunked\r\nx", b"y")]),
    // Values.
    ("CRLF in a value", VALUE, &[(b"x-a", b"b\r\n")]),
    ("a field in a value", VALUE, &[(b"x-a", b"b\r\nx-b: c")]),
    ("a field in a value after a bare LF", VALUE, &[(b"x-a", b"b\nx-b: c")]),
    ("a field in a value after a bare CR", VALUE, &[(b"x-a", b"b\rx-b: c")]),
    ("a coding in a value", VALUE, &[(b"x-a", b"b\r\ntransfer-encoding: chunked")]),
    ("a length in a value", VALUE, &[(b"x-a", b"b\r\ncontent-length: 5")]),
    ("a request in a value", VALUE, &[(b"x-a", b"b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: test")]),
    ("a folded value", VALUE, &[(b"x-a", b"b\r\n c")]),
    ("CRLF in a cookie", VALUE, &[(b"cookie", b"a=b\r\nx-b: c")]),
    ("CRLF in the second crumb", VALUE, &[(b"cookie", b"a=b"), (b"cookie", b"c=d\r\nx-b: c")]),
    ("space before a value", BLANK, &[(b"x-a", b" b")]),
    ("space after a value", BLANK, &[(b"x-a", b"b ")]),
    ("tab before a value", BLANK, &[(b"x-a", b"\tb")]),
    ("tab after a value", BLANK, &[(b"x-a", b"b\t")]),
    ("blanks alone", BLANK, &[(b"x-a", b"  ")]),
    // What belongs to one hop of HTTP/1.
    ("connection: close", CONNECTION, &[(b"connection", b"close")]),
    ("connection: keep-alive", CONNECTION, &[(b"connection", b"keep-alive")]),
    ("connection that names a field", CONNECTION, &[(b"connection", b"x-a"), (b"x-a", b"b")]),
    ("connection that names host", CONNECTION, &[(b"connection", b"host")]),
    ("empty connection", CONNECTION, &[(b"connection", b"")]),
    ("keep-alive", CONNECTION, &[(b"keep-alive", b"timeout=5")]),
    ("proxy-connection", CONNECTION, &[(b"proxy-connection", b"keep-alive")]),
    ("upgrade to websocket", CONNECTION, &[(b"upgrade", b"websocket")]),
    ("upgrade to h2c", CONNECTION, &[(b"upgrade", b"h2c")]),
    ("connection and upgrade", CONNECTION, &[(b"connection", b"upgrade"), (b"upgrade", b"websocket")]),
    ("transfer-encoding: chunked", CONNECTION, &[(b"transfer-encoding", b"chunked")]),
    ("transfer-encoding: identity", CONNECTION, &[(b"transfer-encoding", b"identity")]),
    ("empty transfer-encoding", CONNECTION, &[(b"transfer-encoding", b"")]),
    ("unknown transfer-encoding", CONNECTION, &[(b"transfer-encoding", b"x")]),
    ("te: gzip", CONNECTION, &[(b"te", b"gzip")]),
    ("te: trailers and more", CONNECTION, &[(b"te", b"trailers, gzip")]),
    ("te: trailers with a weight", CONNECTION, &[(b"te", b"trailers;q=0.5")]),
    ("te: trailers, then another", CONNECTION, &[(b"te", b"trailers"), (b"te", b"gzip")]),
    ("te: chunked", CONNECTION, &[(b"te", b"chunked")]),
    // Pseudo-fields.
    ("unknown pseudo-field", PSEUDO, &[(b":test", b"x")]),
    ("empty pseudo-field", PSEUDO, &[(b":", b"x")]),
    (":host", PSEUDO, &[(b":host", b"test")]),
    (":status", PSEUDO, &[(b":status", b"200")]),
    (":protocol without CONNECT", PSEUDO, &[(b":protocol", b"websocket")]),
    ("two methods", PSEUDO, &[(b":method", b"GET")]),
    ("two different methods", PSEUDO, &[(b":method", b"POST")]),
    ("two schemes", PSEUDO, &[(b":scheme", b"http")]),
    ("two authorities", PSEUDO, &[(b":authority", b"test")]),
    ("two different authorities", PSEUDO, &[(b":authority", b"other")]),
    ("two paths", PSEUDO, &[(b":path", b"/MARK")]),
    ("two different paths", PSEUDO, &[(b":path", b"/smuggled")]),
    // Host.
    ("another host", AUTHORITY, &[(b"host", b"other")]),
    ("host with another port", AUTHORITY, &[(b"host", b"test:81")]),
    ("empty host", AUTHORITY, &[(b"host", b"")]),
    ("another host with user", AUTHORITY, &[(b"host", b"user@test")]),
    ("two hosts", AUTHORITY, &[(b"host", b"test"), (b"host", b"other")]),
    ("the same host twice", AUTHORITY, &[(b"host", b"test"), (b"host", b"test")]),
    // Lengths without a body.
    ("a length and no body", LENGTH, &[(b"content-length", b"5")]),
    ("two lengths of nothing", LENGTH, &[(b"content-length", b"0"), (b"content-length", b"5")]),
    ("unknown expectation", EXPECT, &[(b"expect", b"200-ok")]),
    ("empty expectation", EXPECT, &[(b"expect", b"")]),
];

/// Values of content-length for a body of five bytes.
const LENGTHS: &[(&str, Bytes)] = &[
    ("empty", b""),
    ("with plus", b"+5"),
    ("negative", b"-5"),
    ("in hex", b"0x5"),
    ("in words", b"five"),
    ("a fraction", b"5.0"),
    ("a list", b"5, 5"),
    ("a list without space", b"5,5"),
    ("two numbers", b"5 5"),
    ("quoted", b"\"5\""),
    ("with a parameter", b"5;a=b"),
    ("of 2^64", b"18446744073709551616"),
    ("of 2^64 + 5", b"18446744073709551621"),
    ("of 40 digits", b"9999999999999999999999999999999999999999"),
];

/// Methods.
const METHODS: &[(&str, Bytes)] = &[
    ("empty", b""),
    ("a request line", b"GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\nGET"),
    ("with a target", b"GET /smuggled"),
    ("with a space before", b" GET"),
    ("with a space after", b"GET "),
    ("with a tab", b"G\tET"),
    ("with CR", b"GET\r"),
    ("with LF", b"GET\n"),
    ("with NUL", b"GET\0"),
    ("with a control", b"G\x01T"),
    ("with DEL", b"G\x7fT"),
    ("with a high byte", b"G\xe9T"),
    ("with a colon", b"GET:"),
    ("with a slash", b"GET/x"),
    ("with a quote", b"G\"T"),
];

/// Paths that are no target of HTTP/1.1 either because they would end one.
const PATHS: &[(&str, Bytes)] = &[
    ("empty", b""),
    ("with a version", b"/MARK HTTP/1.1"),
    ("with a request", b"/MARK HTTP/1.1\r\nhost: test\r\n\r\nGET /smuggled"),
    ("with a field", b"/MARK HTTP/1.1\r\nx-a: b\r\nx: "),
    ("with a space", b"/MARK x"),
    ("with a space at the end", b"/MARK "),
    ("with a space before", b" /MARK"),
    ("with CR", b"/MARK\rx"),
    ("with LF", b"/MARK\nx"),
    ("with CRLF at the end", b"/MARK\r\n"),
    ("with a tab", b"/MARK\tx"),
    ("of another scheme", b"ftp://test/MARK"),
    ("with an authority", b"http://other/MARK"),
    ("asterisk", b"*"),
];

/// Trailers of `POST /MARK` with a body.
const TRAILERS: &[(&str, &str, Pairs)] = &[
    ("content-length", TRAILER, &[(b"content-length", b"5")]),
    ("transfer-encoding", TRAILER, &[(b"transfer-encoding", b"chunked")]),
    ("host", TRAILER, &[(b"host", b"other")]),
    ("connection", CONNECTION, &[(b"connection", b"close")]),
    ("upgrade", CONNECTION, &[(b"upgrade", b"websocket")]),
    ("upper case", NAME, &[(b"X-Sum", b"1")]),
    ("a quotation mark in a name", NAME, &[(b"x\"sum", b"1")]),
    ("a space in a name", NAME, &[(b"x sum", b"1")]),
    ("a field in a name", NAME, &[(b"x: y\r\nx-sum", b"1")]),
    ("a field in a value", VALUE, &[(b"x-sum", b"1\r\nx-b: c")]),
    ("a request in a value", VALUE, &[(b"x-sum", b"1\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n")]),
    ("NUL in a value", VALUE, &[(b"x-sum", b"1\0")]),
    ("unknown pseudo-field", PSEUDO, &[(b":test", b"x")]),
];

/// What is in no token (RFC 9110 section 5.6.2).
const SEPARATORS: &[u8] = b"\"(),/;<=>?@[\\]{}";

/// Requests that are no row of a table.
fn others() -> Vec<Refused> {
    let five = |lines: Pairs| Request::post().with(lines).body("hello");
    let refused = Refused::head;
    let late: [(&[u8], &[u8]); 5] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b"x-a", b"b"), (b":authority", b"test"), (b":path", b"/MARK")];
    let connect = Request::of(&[(b":method", b"CONNECT"), (b":authority", b"MARK.test:443")]);
    vec![
        refused("no :method", REQUEST, Request::get().without(b":method")),
        refused("no :scheme", REQUEST, Request::get().without(b":scheme")),
        refused("empty :scheme", REQUEST, Request::get().without(b":scheme").with(&[(b":scheme", b"")])),
        refused("another :scheme", REQUEST, Request::get().without(b":scheme").with(&[(b":scheme", b"ftp")])),
        refused("bad :scheme", REQUEST, Request::get().without(b":scheme").with(&[(b":scheme", b"ht tp")])),
        refused(
            ":scheme with CRLF",
            REQUEST,
            Request::get().without(b":scheme").with(&[(b":scheme", b"http\r\nx: y")]),
        ),
        refused("no :path", REQUEST, Request::get().without(b":path")),
        refused("no pseudo-field", REQUEST, Request::of(&[(b"host", b"test"), (b"x-a", b"MARK")])),
        refused("no field at all", REQUEST, Request::of(&[])),
        refused("no authority", AUTHORITY, Request::get().without(b":authority")),
        refused("pseudo-fields last", PSEUDO, Request::of(&late)),
        refused("CONNECT", TUNNEL, connect.clone()),
        refused("CONNECT with a path", PSEUDO, connect.clone().with(&[(b":path", b"/MARK")])),
        refused("CONNECT with a scheme", PSEUDO, connect.clone().with(&[(b":scheme", b"http")])),
        refused("CONNECT without authority", PSEUDO, Request::of(&[(b":method", b"CONNECT")])),
        refused("CONNECT with a protocol", PSEUDO, connect.with(&[(b":protocol", b"websocket")])),
        // Bodies.
        refused("two lengths", LENGTH, five(&[(b"content-length", b"5"), (b"content-length", b"6")])),
        refused("the same length twice", LENGTH, five(&[(b"content-length", b"5"), (b"content-length", b"5")])),
        Refused::body("a length of more", LENGTH, five(&[(b"content-length", b"6")])),
        Refused::body("a length of much more", LENGTH, five(&[(b"content-length", b"5000")])),
        Refused::body("a length of less", LENGTH, five(&[(b"content-length", b"4")])),
        Refused::body(
            "a length of less, and a request behind it",
            LENGTH,
            Request::post().with(&[(b"content-length", b"3")]).body("abcGET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n"),
        ),
        Refused::body(
            "a length of nothing, and a request behind it",
            LENGTH,
            Request::post().with(&[(b"content-length", b"0")]).body("GET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n"),
        ),
        Refused::body(
            "a length of more before trailers",
            LENGTH,
            five(&[(b"content-length", b"6")]).trailers(&[(b"x-sum", b"1")]),
        ),
        refused(
            "a coding and a body",
            CONNECTION,
            five(&[(b"transfer-encoding", b"chunked")]).body("0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: test\r\n\r\n"),
        ),
        refused(
            "a coding, a length and a body",
            CONNECTION,
            five(&[(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]),
        ),
    ]
}

fn cases() -> Vec<Refused> {
    let mut cases = others();
    let name = |byte: u8| [&b"x"[..], &[byte], b"a"].concat();
    let fields = FIELDS.iter().map(|(name, why, fields)| Refused::head(*name, why, Request::get().with(fields)));
    cases.extend(fields);
    cases.extend(LENGTHS.iter().map(|(name, value)| {
        let request = Request::post().with(&[(b"content-length", value)]).body("hello");
        Refused::head(format!("length {name}"), LENGTH, request)
    }));
    cases.extend(
        METHODS.iter().map(|(name, method)| {
            Refused::head(format!("method {name}"), METHOD, Request::to(method, b"test", b"/MARK"))
        }),
    );
    cases.extend(
        PATHS
            .iter()
            .map(|&(name, path)| (name, path))
            .chain(targets::paths())
            .map(|(name, path)| Refused::head(format!("path {name}"), PATH, Request::to(b"GET", b"test", path))),
    );
    for (name, host) in hosts::HOSTS {
        let authority = Request::to(b"GET", host, b"/MARK");
        cases.push(Refused::head(format!(":authority {name}"), AUTHORITY, authority));
        let alone = Request::get().without(b":authority").with(&[(b"host", host)]);
        cases.push(Refused::head(format!("host {name}"), AUTHORITY, alone));
    }
    for (name, why, trailers) in TRAILERS {
        let request = Request::post().body("hello").trailers(trailers);
        cases.push(Refused::body(format!("trailer: {name}"), why, request));
    }
    for &byte in SEPARATORS {
        let request = Request::get().with(&[(&name(byte), b"b")]);
        cases.push(Refused::head(format!("{:?} in a name", char::from(byte)), NAME, request));
    }
    for byte in (0..=0x1f).chain([0x7f]) {
        let request = Request::get().with(&[(&name(byte), b"b")]);
        cases.push(Refused::head(format!("control {byte:#04x} in a name"), NAME, request));
        let path = [&b"/MARK"[..], &[byte], b"x"].concat();
        cases.push(Refused::head(
            format!("control {byte:#04x} in the path"),
            PATH,
            Request::to(b"GET", b"test", &path),
        ));
        if byte != b'\t' {
            let request = Request::get().with(&[(b"x-a", &[b'b', byte, b'c'])]);
            cases.push(Refused::head(format!("control {byte:#04x} in a value"), VALUE, request));
        }
    }
    cases
}

#[test]
fn the_corpus_is_large_and_no_name_stands_twice() {
    let cases = cases();
    let mut names = HashSet::new();
    let twice: Vec<_> = cases.iter().filter(|case| !names.insert(&case.name)).map(|case| &case.name).collect();
    assert!(cases.len() >= 300, "{} cases", cases.len());
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn nothing_malformed_survives_the_downgrade() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let cases = cases();
    let wrong = cases.iter().enumerate().filter_map(|(number, case)| {
        let outcome = refused(&evenkeel, number, case);
        outcome.err().map(|what| format!("{} ({}): {what}", case.name, case.why))
    });
    let mut wrong: Vec<String> = wrong.collect();
    // What was sent to the backend for a body that turned out bad is cut: evenkeel leaves.
    wait_for("no exchange is in flight", || evenkeel.in_flight() == 0.0);
    let body = |number: usize| cases[number].stage == Stage::Body;
    wrong.extend(leaks(&backend, |start| (0..cases.len()).any(|number| body(number) && start.contains(&mark(number)))));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Sends one case; what was wrong with the outcome.
fn refused(evenkeel: &Evenkeel, number: usize, case: &Refused) -> Result<(), String> {
    let mut request = case.request.clone();
    for (_, value) in &mut request.fields {
        *value = marked(number, value);
    }
    let mut h2 = H2::open(evenkeel.address());
    match request.exchange(&mut h2, 1) {
        Err(Unanswered::Silent) => return Err("neither an answer nor an error".to_owned()),
        // What breaks the whole connection is refused, too.
        Err(Unanswered::GoAway(_) | Unanswered::Closed) => return Ok(()),
        Err(Unanswered::Reset(_)) => {}
        Ok(response) if (400..500).contains(&response.status) && response.word().is_some() => {}
        Ok(response) => return Err(format!("{} {:?}", response.status, response.head.fields.0)),
    }
    // The others on this connection do not notice.
    match Request::to(b"GET", b"test", b"/good-after").exchange(&mut h2, 3) {
        Ok(response) if response.status == 200 => Ok(()),
        other => Err(format!("{other:?} for a good request on the same connection")),
    }
}

/// Over the limits of the listener `small`: name, request, status and word.
fn over() -> Vec<(&'static str, Request, u16, &'static str)> {
    let long = |count: usize| "x".repeat(count).into_bytes();
    let to = |target: Vec<u8>| Request::to(b"GET", b"test", &[b"/MARK", &target[..]].concat());
    let value = |count: usize| Request::get().with(&[(b"x-a", &long(count))]);
    let fields = |name: Bytes, count: usize, length: usize| {
        (0..count).fold(Request::get(), |request, _| request.with(&[(name, &long(length))]))
    };
    let large = Request::post().with(&[(b"content-length", b"1025")]).body(long(1025));
    vec![
        ("one long value", value(2100), 431, "head_too_large"),
        ("one long name", Request::get().with(&[(&long(2100), b"x")]), 431, "head_too_large"),
        ("fields that add up", fields(b"x", 12, 200), 431, "head_too_large"),
        ("crumbs that add up", fields(b"cookie", 12, 200), 431, "head_too_large"),
        ("too many fields", fields(b"x", 17, 1), 431, "head_too_large"),
        ("a long path", to(long(1100)), 414, "target_too_long"),
        ("a long query", to([b"?", &long(1100)[..]].concat()), 414, "target_too_long"),
        ("a path longer than a head may be", to(long(3000)), 414, "target_too_long"),
        ("a length over the limit", large, 413, "body_too_large"),
        ("a body over the limit", Request::post().body(long(1025)), 413, "body_too_large"),
    ]
}

#[test]
fn the_limits_of_the_listener_hold_over_http2() {
    let backend = Backend::ok("fine");
    let small = format!("[[listener]]\nname = \"small\"\naddress = \"127.0.0.1:0\"\n{}", oversize::SMALL);
    let evenkeel = Evenkeel::start(&format!("{}\n{small}\n", Setup::to(&[backend.address()]).toml()));
    let mut wrong = Vec::new();
    for (name, request, status, word) in over() {
        let mut h2 = H2::open(evenkeel.listener("small"));
        match request.exchange(&mut h2, 1) {
            Ok(response) if (response.status, response.word()) == (status, Some(word)) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
        match Request::to(b"GET", b"test", b"/good-after").exchange(&mut h2, 3) {
            Ok(response) if response.status == 200 => {}
            other => wrong.push(format!("after {name}: {other:?}")),
        }
    }
    // What is too much for the decoder is refused there, without a word, or ends the connection.
    let far = Request::get().with(&[(b"x-a", &[b'x'; 12_000])]);
    match far.exchange(&mut H2::open(evenkeel.listener("small")), 1) {
        Ok(response) if response.status == 431 => {}
        Err(Unanswered::GoAway(_)) => {}
        other => wrong.push(format!("a head far over the limit: {other:?}")),
    }
    wait_for("no exchange is in flight", || evenkeel.in_flight() == 0.0);
    // Only the body without a length is found out late.
    wrong.extend(leaks(&backend, |start| start.starts_with("POST /MARK ")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
