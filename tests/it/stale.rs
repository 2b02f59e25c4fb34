//! A kept connection that the backend had closed is never an error for a replayable request, and nothing else is ever
//! sent twice (PRODUCT.md section 6.3).

use std::io::Read;

use crate::support::{Backend, Conn, Evenkeel, Response, Setup, in_front_of, wait_for};

/// How a kept connection dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// A FIN, before the next request is written.
    ClosedBefore,
    /// A reset, before the next request is written.
    ResetBefore,
    /// A FIN in answer to the next request: the race that every keep-alive has.
    ClosedInstead,
    /// A reset in answer to the next request.
    ResetInstead,
}

use Death::{ClosedBefore, ClosedInstead, ResetBefore, ResetInstead};

/// The first connection answers once and then dies; the others answer every request with its method and body.
fn dying(death: Death) -> Backend {
    Backend::raw(move |conn, number| {
        answer(conn);
        if number > 0 {
            while answer(conn) {}
            return;
        }
        match death {
            ClosedBefore | ResetBefore => {}
            // One read takes the head: a reset needs no more, and a FIN is one only when nothing is left unread.
            ClosedInstead => drop(conn.request()),
            ResetInstead => drop(conn.wire.stream.read(&mut [0; 16])),
        }
        if matches!(death, ResetBefore | ResetInstead) {
            conn.reset();
        }
    })
}

fn answer(conn: &mut Conn) -> bool {
    let Some(request) = conn.request() else { return false };
    let body = format!("{} {}", request.method, String::from_utf8_lossy(&request.body));
    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// Uses a connection to the backend, lets it die, and sends `method` with `body` on the same client connection.
fn after(death: Death, method: &str, body: &[u8]) -> (Response, Backend, Evenkeel) {
    let backend = dying(death);
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    assert_eq!(client.get("/first").status, 200);
    if matches!(death, ClosedBefore | ResetBefore) {
        wait_for("the backend's side is closed", || backend.open() == 0);
    }
    let response = client.with_body(method, "/second", body);
    (response, backend, evenkeel)
}

/// How often `/second` came whole.
fn seconds(backend: &Backend) -> usize {
    backend.seen().iter().filter(|request| request.target == "/second").count()
}

#[test]
fn idempotent_requests_never_notice() {
    for death in [ClosedBefore, ResetBefore, ClosedInstead, ResetInstead] {
        for (method, body) in
            [("GET", &b""[..]), ("PUT", b"hello"), ("DELETE", b""), ("OPTIONS", b""), ("PUT", &[7; 60_000])]
        {
            let (response, backend, evenkeel) = after(death, method, body);
            let context = format!("{method} with {} bytes, {death:?}", body.len());
            assert_eq!(response.status, 200, "{context}: {response:?}");
            assert_eq!(response.body[method.len() + 1..], *body, "{context}");
            assert_eq!(backend.connections(), 2, "{context}");
            evenkeel.assert_no_failure();
        }
    }
}

#[test]
fn a_chunked_body_is_replayed_too() {
    for death in [ClosedBefore, ClosedInstead] {
        let backend = dying(death);
        let evenkeel = in_front_of(&backend);
        let mut client = evenkeel.client();
        client.get("/first");
        if death == ClosedBefore {
            wait_for("the backend's side is closed", || backend.open() == 0);
        }
        let head = "PUT /second HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let response = client.exchange(format!("{head}5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"));
        assert_eq!((response.status, response.text().as_str()), (200, "PUT hello world"));
        assert_eq!(backend.last().trailers.get("x-sum"), Some("1"), "trailers are part of the replay");
    }
}

#[test]
fn a_post_is_not_sent_on_a_connection_that_is_dead() {
    for death in [ClosedBefore, ResetBefore] {
        let (response, backend, _evenkeel) = after(death, "POST", b"order");
        assert_eq!((response.status, response.text().as_str()), (200, "POST order"), "{death:?}");
        assert_eq!((seconds(&backend), backend.connections()), (1, 2));
    }
}

#[test]
fn a_post_that_was_written_is_never_sent_twice() {
    for death in [ClosedInstead, ResetInstead] {
        let (response, backend, evenkeel) = after(death, "POST", b"order");
        response.assert_refused(502, "reset");
        assert!(seconds(&backend) <= 1, "{death:?}");
        assert_eq!(backend.connections(), 1, "{death:?}: no second attempt");
        evenkeel.wait_failures("reset", 1);
    }
}

#[test]
fn a_put_that_was_not_kept_whole_is_not_sent_twice() {
    // 64 KiB are kept for a replay; of this body more than that has gone out when the connection dies.
    let (response, backend, _evenkeel) = after(ClosedInstead, "PUT", &[7; 400_000]);
    response.assert_refused(502, "reset");
    assert_eq!((seconds(&backend), backend.connections()), (1, 1));
}

#[test]
fn an_answer_that_has_begun_is_not_asked_for_again() {
    let backend = Backend::raw(|conn, number| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conn.request();
        let begun = if number == 0 { "HTTP/1.1 200 O" } else { "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond" };
        conn.send(begun);
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").text(), "ok");
    client.get("/").assert_refused(502, "reset");
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_hundred_kept_connections_that_died_are_no_hundred_errors() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool("keepalive = { max_idle = 128 }").start();
    let mut clients: Vec<_> = (0..100).map(|_| evenkeel.client()).collect();
    for round in 0..3 {
        for client in &mut clients {
            client.send(format!("GET /{round} HTTP/1.1\r\nHost: test\r\n\r\n"));
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
        backend.kill();
        backend.restart();
    }
    evenkeel.assert_no_failure();
}
