//! A backend that answers before it has the whole request: the answer reaches the client, whatever the client still sends.

use std::io::Write;
use std::thread;

use crate::support::{Backend, Client, Evenkeel, in_front_of, wait_for};

const REFUSAL: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large";

/// Reads the head, answers, ends its side and reads on for as long as somebody sends.
fn refusing() -> Backend {
    Backend::raw(|conn, _| {
        conn.wire.record = None;
        conn.head();
        conn.send(REFUSAL);
        conn.finish();
    })
}

/// Sends a body of `size` on a thread, however far it gets; the answer.
fn upload(evenkeel: &Evenkeel, framing: &str, size: usize) -> Client {
    let mut client = evenkeel.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"));
    let mut writer = client.writer();
    thread::spawn(move || {
        let mut left = size;
        while left > 0 && writer.write_all(&[b'x'; 65_536][..left.min(65_536)]).is_ok() {
            left -= left.min(65_536);
        }
    });
    client
}

#[test]
fn a_client_that_still_sends_gets_the_answer() {
    let backend = refusing();
    let evenkeel = in_front_of(&backend);
    for size in [1000, 100_000, 10_000_000, 1_000_000_000] {
        let mut client = upload(&evenkeel, &format!("Content-Length: {size}"), size);
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (413, "too large"), "{size}");
    }
    wait_for("no exchange is left", || evenkeel.in_flight() == 0.0);
}

#[test]
fn a_client_that_never_ends_its_body_gets_the_answer_and_is_closed() {
    let backend = refusing();
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nhello");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (413, "too large"));
    client.assert_closed();
    wait_for("the backend is left", || backend.open() == 0);
}

#[test]
fn a_client_that_sends_all_before_it_reads_gets_the_answer() {
    // What is left when the answer comes is what evenkeel drains: less than 64 KiB.
    let backend = refusing();
    let evenkeel = in_front_of(&backend);
    for _ in 0..20 {
        let mut client = evenkeel.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 48 << 10));
        client.send(vec![b'x'; 16 << 10]);
        wait_for("the answer is there", || client.wire.stream.peek(&mut [0]).unwrap() == 1);
        client.send(vec![b'x'; 32 << 10]);
        assert_eq!(client.response().status, 413);
    }
}

#[test]
fn our_own_refusal_reaches_a_client_that_still_sends() {
    let backend = Backend::ok("fine");
    let evenkeel = crate::support::Setup::to(&[backend.address()]).listener("max_body_size = \"1KiB\"").start();
    for size in [2000, 100_000, 100_000_000] {
        let mut client = upload(&evenkeel, &format!("Content-Length: {size}"), size);
        client.response().assert_refused(413, "body_too_large");
        // The body is never read as a request.
        client.assert_closed();
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_rest_of_the_body_is_never_the_next_request() {
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", smuggled.len()));
    assert_eq!(client.response().text(), "early");
    let _ = client.try_send(smuggled);
    let _ = client.try_send("GET /next HTTP/1.1\r\nHost: test\r\n\r\n");
    client.rest();
    wait_for("no exchange is left", || evenkeel.in_flight() == 0.0);
    assert!(!backend.seen().iter().any(|request| request.target == "/smuggled"));
    let starts: Vec<_> = backend.records().iter().map(|record| record.starts_with(b"GET /smuggled")).collect();
    assert!(!starts.contains(&true));
}

#[test]
fn an_answer_of_a_backend_that_closes_at_once_is_not_lost() {
    // It answers and closes without reading the body. Everything fits into the buffers, so that its answer is on the way
    // before any reset of it can be.
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.wire.exact(5).unwrap();
        conn.send(REFUSAL);
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(client.response().status, 413);
}
