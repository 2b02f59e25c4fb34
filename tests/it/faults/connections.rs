//! Connections to backends that end between two exchanges, or at their edge: no replayable request notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::Stage;
use crate::support::{Backend, Conn, Reply, Rng};

/// Answers the next request with its own path; `false` when there is none.
fn answer(conn: &mut Conn) -> bool {
    let Some(request) = conn.request() else { return false };
    let body = request.target;
    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

#[test]
fn closes_as_it_is_reused() {
    const REQUESTS: usize = 600;
    let mut rng = Rng::for_test("closes_as_it_is_reused");
    let seed = rng.next();
    // Each connection is closed, or reset, some moments after its answer: by then the next request may be on its way.
    let bad = Backend::raw(move |conn, number| {
        let mut rng = Rng::new(seed.wrapping_add(number as u64));
        while answer(conn) && !rng.one_in(3) {}
        thread::sleep(Duration::from_micros(rng.below(600) as u64));
        if rng.one_in(2) {
            conn.reset();
        }
    });
    let stage = Stage::new(bad.address(), "");
    let mut client = stage.evenkeel.client();
    for number in 0..REQUESTS {
        thread::sleep(Duration::from_micros(rng.below(900) as u64));
        let path = format!("/alone/{number}");
        let response = if rng.one_in(4) { client.with_body("PUT", &path, b"hello") } else { client.get(&path) };
        assert_eq!((response.status, response.text(), response.cut), (200, path, false), "{response:?}");
    }
    println!("{} connections for {REQUESTS} requests, which came {} times", bad.connections(), bad.requests());
    assert!(bad.connections() > REQUESTS / 10, "the race was on");
    drop(client);
    stage.end(bad);
}

#[test]
fn closes_each_time() {
    const REQUESTS: usize = 50;
    for says_so in [true, false] {
        let bad = Backend::http(move |_| {
            let line = if says_so { "Connection: close\r\n" } else { "" };
            Reply::new("200 OK", line, "brief").close()
        });
        let stage = Stage::new(bad.address(), "");
        let mut client = stage.evenkeel.client();
        for number in 0..REQUESTS {
            assert_eq!(client.get(&format!("/alone/{number}")).text(), "brief");
        }
        assert_eq!(bad.connections(), REQUESTS);
        // A retry after a kept connection that had died is no attempt of its own.
        stage.assert_attempts("alone", &[("200", REQUESTS)]);
        assert_eq!(stage.retries("alone"), 0.0);
        drop(client);
        stage.end(bad);
    }
}

#[test]
fn replaced() {
    let process = Arc::<AtomicUsize>::default();
    let now = Arc::clone(&process);
    let bad = Backend::http(move |_| Reply::ok(now.load(SeqCst).to_string()));
    let stage = Stage::new(bad.address(), "");
    let mut clients: Vec<_> = (0..8).map(|_| stage.evenkeel.client()).collect();
    for number in 0..5 {
        for (place, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.get(&format!("/alone/{number}-{place}")).text(), number.to_string());
        }
        // Killed with its kept connections; another one is there before the next request.
        bad.kill();
        process.fetch_add(1, SeqCst);
        bad.restart();
    }
    stage.assert_attempts("alone", &[("200", 40)]);
    drop(clients);
    stage.end(bad);
}
