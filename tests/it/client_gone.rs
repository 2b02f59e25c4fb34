//! A client that leaves while its backend thinks: the attempt is dropped, counted, and nothing stays behind.

use std::time::Duration;

use crate::support::{Backend, Client, Evenkeel, Gate, Setup, in_front_of, wait_for};

/// A client whose request has reached the backend.
fn waiting(evenkeel: &Evenkeel, backend: &Backend, request: &str) -> Client {
    let before = backend.requests();
    let mut client = evenkeel.client();
    client.send(request);
    wait_for("the backend has the request", || backend.requests() == before + 1);
    assert_eq!(evenkeel.in_flight(), 1.0);
    client
}

/// Nothing of the exchange is left, and it was counted.
fn assert_dropped(evenkeel: &Evenkeel, backend: &Backend, times: usize) {
    wait_for("the backend's connection is closed", || backend.open() == 0);
    wait_for("no exchange is left", || evenkeel.in_flight() == 0.0);
    wait_for("no attempt is left", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0);
    wait_for("no connection is left", || evenkeel.metric("evenkeel_listener_connections", &[]) == 0.0);
    evenkeel.wait_failures("client_gone", times);
}

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_client_that_closes_is_noticed() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    for (times, request) in [GET, POST].iter().enumerate() {
        drop(waiting(&evenkeel, &backend, request));
        assert_dropped(&evenkeel, &backend, times + 1);
    }
}

#[test]
fn a_client_that_resets_is_noticed() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    for (times, request) in [GET, POST].iter().enumerate() {
        waiting(&evenkeel, &backend, request).reset();
        assert_dropped(&evenkeel, &backend, times + 1);
    }
}

#[test]
fn a_client_that_ends_its_side_has_left() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    let mut client = waiting(&evenkeel, &backend, GET);
    client.finish();
    client.assert_closed();
    assert_dropped(&evenkeel, &backend, 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_an_answer_is_noticed() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello");
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = waiting(&evenkeel, &backend, GET);
    assert_eq!(client.head().status().unwrap(), 200);
    client.reset();
    assert_dropped(&evenkeel, &backend, 1);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_noticed() {
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let request = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhello";
    drop(waiting(&evenkeel, &backend, request));
    assert_dropped(&evenkeel, &backend, 1);
}

#[test]
fn with_half_close_a_client_that_ends_its_side_gets_its_answer() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "answer");
    let evenkeel = Setup::to(&[backend.address()]).listener("half_close = true").start();
    let mut client = waiting(&evenkeel, &backend, POST);
    client.finish();
    // The FIN has arrived, and does not end the exchange.
    assert!(client.silent_for(Duration::from_millis(200)));
    gate.open();
    assert_eq!(client.response().text(), "answer");
    client.assert_closed();
    evenkeel.assert_no_failure();
}

#[test]
fn with_half_close_a_reset_still_ends_the_exchange() {
    let backend = Backend::thinking();
    let evenkeel = Setup::to(&[backend.address()]).listener("half_close = true").start();
    waiting(&evenkeel, &backend, GET).reset();
    assert_dropped(&evenkeel, &backend, 1);
}

#[test]
fn a_pipelined_request_is_no_departure() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "answer");
    let evenkeel = in_front_of(&backend);
    let mut client = waiting(&evenkeel, &backend, GET);
    client.send(GET);
    assert!(client.silent_for(Duration::from_millis(100)));
    gate.open();
    assert_eq!((client.response().text(), client.response().text()), ("answer".to_owned(), "answer".to_owned()));
}

#[test]
fn a_client_that_leaves_with_further_requests_waiting_is_noticed() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    drop(waiting(&evenkeel, &backend, &GET.repeat(3)));
    assert_dropped(&evenkeel, &backend, 1);
    assert_eq!(backend.requests(), 1, "what it asked for besides is not asked of the backend");
}
