//! What belongs to one hop ends there; everything else goes through as it was written: RFC 9110 section 7.6.1.

use crate::support::{Backend, Reply, Request, Response, in_front_of};

/// Sends `lines` (each with its CRLF) with a GET; what the backend saw.
fn upstream(lines: &str) -> Request {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let response = evenkeel.client().exchange(format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"));
    assert_eq!(response.status, 200, "{response:?}");
    backend.last()
}

/// What the client sees when the backend answers with `lines`.
fn downstream(lines: &'static str) -> Response {
    let backend = Backend::http(move |_| Reply::new("200 OK", lines, "fine"));
    in_front_of(&backend).get("/")
}

#[test]
fn fields_that_connection_names_are_removed() {
    let seen = upstream("Connection: x-one, X-TWO\r\nX-One: 1\r\nx-two: 2\r\nX-Two: 22\r\nX-Three: 3\r\n");
    for gone in ["connection", "x-one", "x-two"] {
        assert!(!seen.head.fields.has(gone), "{gone}: {seen:?}");
    }
    assert_eq!(seen.field("x-three"), Some("3"));
}

#[test]
fn fields_that_any_of_several_connections_names_are_removed() {
    let seen = upstream("Connection: x-one\r\nX-One: 1\r\nX-Two: 2\r\nConnection: keep-alive\r\nConnection:x-two\r\n");
    assert!(!seen.head.fields.has("x-one") && !seen.head.fields.has("x-two"), "{seen:?}");
}

#[test]
fn the_known_hop_by_hop_fields_are_removed_without_being_named() {
    let lines = "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\nTE: gzip\r\n";
    let seen = upstream(lines);
    for gone in ["keep-alive", "proxy-connection", "upgrade", "te"] {
        assert!(!seen.head.fields.has(gone), "{gone}: {seen:?}");
    }
}

#[test]
fn te_trailers_is_kept_alone() {
    let seen = upstream("TE: gzip, trailers;q=0.5\r\nConnection: TE\r\n");
    assert_eq!(seen.head.fields.all("te"), ["trailers"]);
    assert!(seen.head.fields.lists("connection", "te"), "TE is named by Connection again: {seen:?}");
}

#[test]
fn end_to_end_fields_are_kept() {
    let lines = "Proxy-Authorization: Basic eA==\r\nAuthorization: Basic eQ==\r\nCookie: a=b\r\nTrailer: X-Sum\r\n\
                 Cache-Control: no-cache\r\nAccept-Encoding: gzip\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\"\r\n";
    let seen = upstream(lines);
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.trim_start().split_once(": ").unwrap();
        assert_eq!(seen.head.fields.all(name), [value]);
    }
}

#[test]
fn names_keep_their_case_and_fields_their_order() {
    let seen = upstream("X-ZULU: 1\r\nx-alpha: 2\r\nX-Mike: 3\r\nX-ZULU: 4\r\n");
    let ours = seen
        .head
        .fields
        .0
        .iter()
        .filter(|(name, _)| ["x-zulu", "x-alpha", "x-mike"].contains(&name.to_lowercase().as_str()));
    let ours: Vec<_> = ours.map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(ours, ["X-ZULU: 1", "x-alpha: 2", "X-Mike: 3", "X-ZULU: 4"]);
}

#[test]
fn what_a_backend_says_to_us_alone_is_removed_from_its_answer() {
    let response = downstream(
        "Connection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\n\
         Upgrade: h2c\r\nX-Open: 2\r\n",
    );
    for gone in ["x-secret", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(response.field(gone).is_none(), "{gone}: {response:?}");
    }
    assert!(!response.head.fields.lists("connection", "x-secret"));
    assert_eq!(response.field("x-open"), Some("2"));
}

#[test]
fn end_to_end_fields_of_an_answer_are_kept_in_case_and_order() {
    let lines = "SERVER: sample/1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\
                 WWW-Authenticate: Basic\r\nProxy-Authenticate: Basic\r\nETag: \"x\"\r\nVary: Accept\r\n";
    let response = downstream(lines);
    let found = response.head.fields.names();
    let wanted =
        ["SERVER", "Date", "Set-Cookie", "set-cookie", "WWW-Authenticate", "Proxy-Authenticate", "ETag", "Vary"];
    let kept: Vec<_> = found.iter().copied().filter(|name| wanted.contains(name)).collect();
    assert_eq!(kept, wanted);
    assert_eq!(response.head.fields.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn a_backend_that_says_close_does_not_close_the_client() {
    let backend = Backend::http(|_| Reply::new("200 OK", "Connection: close\r\n", "fine").close());
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.text(), "fine");
        assert!(!response.head.fields.lists("connection", "close"), "{response:?}");
    }
    assert_eq!(backend.connections(), 3);
}

#[test]
fn a_client_that_says_close_does_not_close_the_backend() {
    let backend = Backend::ok("fine");
    let evenkeel = crate::support::Setup::to(&[backend.address()]).one_worker().start();
    for _ in 0..3 {
        let mut client = evenkeel.client();
        let response = client.exchange("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        assert_eq!(response.text(), "fine");
        assert!(response.head.fields.lists("connection", "close"), "{response:?}");
        client.assert_closed();
    }
    assert_eq!(backend.connections(), 1);
}
