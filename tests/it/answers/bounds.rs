//! What a route bounds: the time of an exchange, the size of a body, the upgrades.

use std::io::Write;
use std::time::{Duration, Instant};

use super::{route, site};
use crate::support::{Backend, Client, Evenkeel, Gate, Reply, Response, Site, request, wait_for};

const SHORT: Duration = Duration::from_millis(300);

/// Fails unless `response` took at least the route's timeout, and not the patience of the test.
#[track_caller]
fn assert_deadline(start: Instant, response: &Response) {
    response.assert_refused(504, "deadline");
    let status = "evenkeel; error=http_response_timeout; details=\"deadline\"";
    assert_eq!(response.field("proxy-status"), Some(status));
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50), "{:?}", start.elapsed());
}

#[test]
fn an_exchange_has_its_routes_time() {
    let backend = Backend::thinking();
    let evenkeel = site(&route("timeout = \"300ms\""), &backend);
    let (mut client, start) = (evenkeel.client(), Instant::now());
    assert_deadline(start, &client.get("/"));
    wait_for("the backend is left", || backend.open() == 0);
    let again = Instant::now();
    assert_deadline(again, &client.get("/"));
    wait_for("both are the route's", || {
        evenkeel.metric("evenkeel_failures_total", &[("route", "r"), ("reason", "deadline")]) == 2.0
    });
    // An attempt without a response counts with its word's status.
    wait_for("both attempts are counted", || {
        evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "web"), ("code", "504")]) == 2.0
    });
}

#[test]
fn retries_are_within_the_time() {
    let backend = Backend::thinking();
    let keys = "response_timeout = \"100ms\"\nretry = { attempts = 100, budget = \"100%\", budget_floor = 100 }";
    let site = Site::new(route("timeout = \"300ms\"")).pool_with("web", &[backend.address()], keys);
    let (evenkeel, start) = (site.start(), Instant::now());
    assert_deadline(start, &evenkeel.get("/"));
    assert!(backend.requests() >= 2, "it was tried again: {}", backend.requests());
}

#[test]
fn one_attempt_that_is_late_is_not_the_deadline() {
    let backend = Backend::thinking();
    let site =
        Site::new(route("timeout = \"10s\"")).pool_with("web", &[backend.address()], "response_timeout = \"200ms\"");
    site.start().get("/").assert_refused(504, "response_timeout");
}

#[test]
fn a_body_may_take_longer_than_the_time_of_the_head() {
    let gate = Gate::default();
    let go = gate.clone();
    let backend = Backend::raw(move |conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        go.pass();
        conn.send("world");
        conn.wait_closed();
    });
    let evenkeel = site(&route("timeout = \"300ms\""), &backend);
    let mut client = evenkeel.client();
    client.send(request("GET", "test", "/", ""));
    assert_eq!(client.head().status().unwrap(), 200);
    assert_eq!(client.exact(5), b"hello");
    assert!(client.silent_for(SHORT * 2), "it is not cut");
    gate.open();
    assert_eq!(client.exact(5), b"world");
    evenkeel.assert_no_failure();
}

#[test]
fn the_time_counts_from_the_whole_request() {
    // A long upload is not the backend's fault; the listener's `body_timeout` and `min_body_rate` bound it.
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = site(&route("timeout = \"300ms\""), &backend);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello");
    assert!(client.silent_for(SHORT * 2));
    client.send("world");
    assert_eq!(client.response().text(), "helloworld");
    evenkeel.assert_no_failure();
}

#[test]
fn a_backend_that_is_silent_after_a_body_has_the_same_time() {
    let backend = Backend::thinking();
    let evenkeel = site(&route("timeout = \"300ms\""), &backend);
    let (mut client, start) = (evenkeel.client(), Instant::now());
    assert_deadline(start, &client.with_body("POST", "/", &[b'x'; 100_000]));
}

#[test]
fn a_timeout_is_its_own_routes() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let text = "[[route]]\npath = \"/short\"\npool = \"web\"\ntimeout = \"300ms\"\n[[route]]\npool = \"web\"\n";
    let evenkeel = site(text, &backend);
    let mut patient = evenkeel.client();
    patient.send(request("GET", "test", "/", ""));
    wait_for("it is at the backend", || backend.requests() == 1);
    let start = Instant::now();
    assert_deadline(start, &evenkeel.get("/short"));
    gate.open();
    assert_eq!(patient.response().text(), "late");
}

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn without_upgrades_the_request_is_an_ordinary_one() {
    let backend = Backend::http(|request| {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let plain = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno";
        Reply::raw(if request.field("upgrade").is_some() { switch } else { plain })
    });
    let text = "[[route]]\npath = \"/none\"\npool = \"web\"\nupgrade = []\n[[route]]\npool = \"web\"\n\
                [[route]]\npath = \"/named\"\npool = \"web\"\nupgrade = [\"websocket\"]\n";
    let evenkeel = site(text, &backend);
    let mut client = evenkeel.client();
    let response = client.exchange(request("GET", "test", "/none", ASK));
    assert_eq!((response.status, response.text().as_str()), (426, "no"), "{response:?}");
    let seen = backend.last();
    assert!(!seen.head.fields.has("upgrade") && !seen.head.fields.lists("connection", "upgrade"), "{seen:?}");
    assert_eq!(client.exchange(request("GET", "test", "/none", "")).status, 426, "the connection is as before");
    for target in ["/", "/named"] {
        let mut client = evenkeel.client();
        client.send(request("GET", "test", target, ASK));
        assert_eq!(client.head().status().unwrap(), 101, "{target}");
    }
}

const SMALL: &str = "max_body_size = \"1KiB\"";

#[test]
fn a_body_of_known_length_is_refused_before_it_is_read() {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route(SMALL), &backend);
    let mut client = evenkeel.client();
    assert_eq!(client.with_body("POST", "/", &[b'x'; 1024]).text(), "fine", "the bound itself is within it");
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1025\r\n\r\n");
    client.response().assert_refused(413, "body_too_large");
    client.assert_closed();
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 18446744073709551615\r\n\r\n");
    client.response().assert_refused(413, "body_too_large");
    assert_eq!(backend.requests(), 1, "neither came to the backend");
    wait_for("both are the route's", || {
        evenkeel.metric("evenkeel_failures_total", &[("route", "r"), ("reason", "body_too_large")]) == 2.0
    });
}

#[test]
fn nobody_is_asked_to_go_on_with_a_body_that_is_too_large() {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route(SMALL), &backend);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n");
    let response = client.response();
    response.assert_refused(413, "body_too_large");
    assert!(response.interim.is_empty(), "{response:?}");
}

/// A POST of `size` bytes in chunks of 100.
fn chunked(target: &str, size: usize) -> Vec<u8> {
    let mut bytes = format!("POST {target} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for at in (0..size).step_by(100) {
        let chunk = vec![b'x'; (size - at).min(100)];
        write!(bytes, "{:x}\r\n", chunk.len()).unwrap();
        bytes.extend_from_slice(&chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

#[test]
fn a_body_in_chunks_is_refused_where_it_is_too_large() {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route(SMALL), &backend);
    let mut client = evenkeel.client();
    assert_eq!(client.exchange(chunked("/", 1024)).text(), "fine", "the bound itself is within it");
    assert_eq!(backend.last().body.len(), 1024);
    let response = client.exchange(chunked("/", 1025));
    response.assert_refused(413, "body_too_large");
    client.assert_closed();
    // One that never ends is not waited for.
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n");
    client.send([b'x'; 1025]);
    client.response().assert_refused(413, "body_too_large");
    assert_eq!(backend.seen().len(), 1, "no whole request of those came to the backend");
    wait_for("the backend is left", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0);
}

/// The statuses of a POST of `size` bytes, with its length and in chunks.
fn statuses(evenkeel: &Evenkeel, target: &str, size: usize) -> [u16; 2] {
    let length = evenkeel.client().with_body("POST", target, &vec![b'x'; size]).status;
    [length, evenkeel.client().exchange(chunked(target, size)).status]
}

#[test]
fn the_narrower_of_the_listeners_bound_and_the_routes_holds() {
    let backend = Backend::ok("fine");
    let text = "[[route]]\npath = \"/small\"\npool = \"web\"\nmax_body_size = \"1KiB\"\n\
                [[route]]\npath = \"/none\"\npool = \"web\"\n[[route]]\npath = \"/off\"\npool = \"web\"\nmax_body_size = \"off\"\n";
    let evenkeel = Site::new(text).listener("max_body_size = \"4KiB\"").pool("web", backend.address()).start();
    for (target, bound) in [("/small", 1024), ("/none", 4096), ("/off", 4096)] {
        assert_eq!(statuses(&evenkeel, target, bound), [200; 2], "{target}");
        assert_eq!(statuses(&evenkeel, target, bound + 1), [413; 2], "{target}");
    }
}

#[test]
fn a_bound_is_its_own_routes() {
    let backend = Backend::ok("fine");
    let evenkeel = site(&format!("{}[[route]]\npath = \"/large\"\npool = \"web\"\n", route(SMALL)), &backend);
    assert_eq!(statuses(&evenkeel, "/", 2_000), [413; 2]);
    assert_eq!(statuses(&evenkeel, "/large", 200_000), [200; 2]);
    // Also on one connection.
    let mut client: Client = evenkeel.client();
    assert_eq!(client.with_body("POST", "/large", &[b'x'; 2_000]).status, 200);
    assert_eq!(client.with_body("POST", "/", &[b'x'; 2_000]).status, 413);
}
