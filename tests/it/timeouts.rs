//! Every timeout of the listener and of the pool, with its status and word. Lower bounds are asserted where firing too
//! early would be a defect; upper bounds are the patience of the reads.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, Port, Setup, in_front_of, swallow, wait_for};

const SHORT: Duration = Duration::from_millis(300);

/// An evenkeel with `line` for its listener, in front of `backend`.
fn listener(backend: &Backend, line: &str) -> crate::support::Evenkeel {
    Setup::to(&[backend.address()]).listener(line).start()
}

#[test]
fn half_a_head_is_answered_408() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "header_timeout = \"300ms\"");
    let (mut client, start) = (evenkeel.client(), Instant::now());
    client.send("GET / HTTP/1.1\r\nHost: te");
    client.response().assert_refused(408, "request_timeout");
    client.assert_closed();
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
    evenkeel.wait_failures("request_timeout", 1);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_head_that_trickles_is_answered_408() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "header_timeout = \"300ms\"");
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n");
    let mut writer = client.writer();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n");
    let trickle = thread::spawn(move || {
        // Far longer than the timeout, and never silent for as long as it.
        while writer.write_all(b"X: y\r\n").is_ok() {
            thread::sleep(Duration::from_millis(30));
        }
    });
    client.response().assert_refused(408, "request_timeout");
    client.leave();
    trickle.join().unwrap();
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "header_timeout = \"300ms\"");
    let mut client = evenkeel.client();
    let said = client.rest();
    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&said));
}

#[test]
fn a_later_head_has_its_own_time() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "header_timeout = \"300ms\"");
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").status, 200);
    // Longer than the timeout, which counts from the first byte alone.
    assert!(client.silent_for(SHORT * 2));
    assert_eq!(client.get("/").status, 200);
    client.send("GET /");
    client.response().assert_refused(408, "request_timeout");
    client.assert_closed();
}

#[test]
fn a_body_that_stalls_is_answered_408() {
    let backend = Backend::http(|_| unreachable!("the request is never whole"));
    let evenkeel = listener(&backend, "body_timeout = \"300ms\"");
    let (mut client, start) = (evenkeel.client(), Instant::now());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello");
    client.response().assert_refused(408, "request_timeout");
    client.assert_closed();
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
    wait_for("the backend is left", || backend.open() == 0);
}

#[test]
fn a_chunked_body_that_stalls_is_answered_408() {
    let backend = Backend::http(|_| unreachable!("the request is never whole"));
    let evenkeel = listener(&backend, "body_timeout = \"300ms\"");
    for half in ["", "5", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
        let mut client = evenkeel.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{half}"));
        client.response().assert_refused(408, "request_timeout");
    }
}

#[test]
fn a_body_that_trickles_is_not_silent() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "body_timeout = \"500ms\"");
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(80));
        client.send("x");
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_body_below_the_least_rate_is_answered_408() {
    let backend = Backend::http(|_| unreachable!("the request is never whole"));
    let evenkeel = listener(&backend, "min_body_rate = \"1KiB/s\"");
    let (mut client, start) = (evenkeel.client(), Instant::now());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let mut writer = client.writer();
    let trickle = thread::spawn(move || {
        while writer.write_all(b"0123456789").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    client.response().assert_refused(408, "request_timeout");
    assert!(start.elapsed() >= Duration::from_millis(4900), "the first five seconds are free: {:?}", start.elapsed());
    client.leave();
    trickle.join().unwrap();
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let backend = Backend::ok("fine");
    let evenkeel = listener(&backend, "idle_timeout = \"300ms\"");
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").status, 200);
    let start = Instant::now();
    client.assert_closed();
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
    evenkeel.assert_no_failure();
}

/// A backend that sends 64 MiB, if it is let.
fn large() -> Backend {
    Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20));
        while conn.send([0; 65_536]) {}
    })
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let backend = large();
    let evenkeel = listener(&backend, "write_timeout = \"300ms\"");
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    evenkeel.wait_failures("write_timeout", 1);
    wait_for("the backend is left", || backend.open() == 0);
    wait_for("no exchange is left", || evenkeel.in_flight() == 0.0);
    assert!(client.response().cut);
}

#[test]
fn a_client_that_takes_little_is_not_cut() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 16 << 20));
        conn.send(vec![0; 16 << 20]);
        conn.wait_closed();
    });
    let evenkeel = listener(&backend, "write_timeout = \"2s\"");
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(client.head().status().unwrap(), 200);
    // Four pauses, together longer than the timeout; what is taken between them is more than the kernel holds back.
    let mut taken = 0;
    for _ in 0..4 {
        thread::sleep(Duration::from_millis(700));
        taken += client.exact(3 << 20).len() as u64;
    }
    taken += client.rest().len() as u64;
    assert_eq!(taken, 16 << 20);
}

#[test]
fn a_backend_that_thinks_too_long_is_answered_504() {
    let backend = Backend::silent();
    let evenkeel = Setup::to(&[backend.address()]).pool("response_timeout = \"300ms\"").start();
    let (mut client, start) = (evenkeel.client(), Instant::now());
    client.get("/").assert_refused(504, "response_timeout");
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
    wait_for("the backend is left", || backend.open() == 0);
    // The client's connection goes on.
    client.get("/").assert_refused(504, "response_timeout");
    evenkeel.wait_failures("response_timeout", 2);
}

#[test]
fn the_time_of_a_response_counts_from_the_end_of_the_request() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("response_timeout = \"500ms\"").start();
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(80));
        client.send("x");
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn half_a_response_head_is_no_response() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-");
        conn.wait_closed();
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("response_timeout = \"300ms\"").start();
    evenkeel.get("/").assert_refused(504, "response_timeout");
}

#[test]
fn a_backend_that_does_not_accept_is_answered_504() {
    let port: Port = Backend::refused();
    let _full = port.listen_full();
    let evenkeel = Setup::to(&[port.address()]).pool("connect_timeout = \"300ms\"").start();
    let (mut client, start) = (evenkeel.client(), Instant::now());
    client.get("/").assert_refused(504, "connect_timeout");
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50));
}

#[test]
fn a_response_body_that_stalls_is_cut() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        conn.wait_closed();
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("body_timeout = \"300ms\"").start();
    let mut client = evenkeel.client();
    let response = client.get("/");
    assert_eq!((response.status, response.text().as_str(), response.cut), (200, "hello", true));
    wait_for("the backend is left", || backend.open() == 0);
    evenkeel.wait_failures("body_timeout", 1);
}

#[test]
fn a_backend_that_takes_nothing_of_a_body_is_given_up() {
    let gate = Gate::default();
    let wait = gate.clone();
    let backend = Backend::raw(move |conn, _| {
        conn.head();
        wait.pass();
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("body_timeout = \"300ms\"").start();
    let mut client = Client::h1(evenkeel.address());
    let mut writer = client.writer();
    let writing = thread::spawn(move || {
        let _ = writer
            .write_all(format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 256 << 20).as_bytes());
        while writer.write_all(&[0; 65_536]).is_ok() {}
    });
    let status = client.response().status;
    assert!(matches!(status, 502 | 504), "{status}");
    gate.open();
    client.leave();
    writing.join().unwrap();
}

#[test]
fn a_kept_connection_to_a_backend_is_closed_after_its_time() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("keepalive = { idle_timeout = \"300ms\" }").start();
    assert_eq!(evenkeel.get("/").status, 200);
    wait_for("the connection is closed", || backend.open() == 0);
}

#[test]
fn without_silence_nothing_times_out() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(80));
            conn.send("x");
        }
        swallow(&mut conn.wire.stream);
    });
    let short =
        "header_timeout = \"500ms\"\nbody_timeout = \"500ms\"\nwrite_timeout = \"500ms\"\nidle_timeout = \"500ms\"";
    let pool = "body_timeout = \"500ms\"\nresponse_timeout = \"500ms\"";
    let evenkeel = Setup::to(&[backend.address()]).listener(short).pool(pool).start();
    assert_eq!(evenkeel.get("/").text(), "xxxxxxxxxx");
    let backend = Backend::ok("fine");
    assert_eq!(in_front_of(&backend).get("/").text(), "fine");
}

#[test]
fn the_backends_time_runs_from_the_request_not_from_its_head() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("response_timeout = \"300ms\"").start();
    let mut client = evenkeel.client();
    client.get("/");
    for piece in ["GET / HTTP/1.1\r\n", "Host: test\r\n", "\r\n"] {
        client.send(piece);
        // The head takes longer than the backend may.
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_client_that_waits_to_be_told_to_go_on_is_not_slow() {
    let backend = Backend::raw(|conn, _| {
        conn.head();
        thread::sleep(Duration::from_millis(500));
        conn.send("HTTP/1.1 100 Continue\r\n\r\n");
        conn.wire.exact(5).unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let evenkeel = Setup::to(&[backend.address()]).listener("body_timeout = \"200ms\"").start();
    let mut client = evenkeel.client();
    client.send("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(client.exact(25).starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"));
    client.send("hello");
    assert_eq!(client.response().status, 200);
}
