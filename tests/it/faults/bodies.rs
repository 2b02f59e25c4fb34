//! Bodies of answers that do not come to their end, or go beyond it. The head has gone out by then: the client is cut, so
//! that it cannot take a part for the whole, and the failure stands in log and metric alone.

use std::thread;
use std::time::{Duration, Instant};

use super::{RESPONSE, SLACK, Stage};
use crate::support::{Backend, Reply, wait_for};

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

/// Two answers that begin and are cut; each is noted as `status 200`, `word`. `soonest` is when.
#[track_caller]
fn assert_cut(stage: &Stage, word: &str, soonest: Duration) {
    for path in ["/alone/0", "/alone/1"] {
        let start = Instant::now();
        let response = stage.get(path);
        assert_eq!((response.status, response.text().as_str(), response.cut), (200, "hello", true));
        let took = start.elapsed();
        assert!(took + Duration::from_millis(2) >= soonest && took < soonest + SLACK, "{took:?}");
        stage.assert_noted(path, 200, word);
    }
    // A backend did answer; and nothing of it is asked for again, whoever else is there.
    stage.assert_attempts("alone", &[("200", 2)]);
    let cut = (0..4).map(|number| format!("/pair/{number}")).filter(|path| stage.get(path).cut).collect::<Vec<_>>();
    assert_eq!((cut.len(), stage.retries("pair")), (2, 0.0));
    cut.iter().for_each(|path| stage.assert_noted(path, 200, word));
}

#[test]
fn reset_within() {
    // A body in chunks may also end without its last chunk, as if that was all.
    for (begun, reset) in [(LENGTH, true), (CHUNKED, true), (CHUNKED, false)] {
        let bad = Backend::raw(move |conn, _| {
            conn.request();
            conn.send(begun);
            if reset {
                // What is not read when a reset comes is lost.
                thread::sleep(Duration::from_millis(50));
                conn.reset();
            }
        });
        let stage = Stage::new(bad.address(), "");
        assert_cut(&stage, "truncated", Duration::ZERO);
        stage.end(bad);
    }
}

#[test]
fn length_too_long() {
    let bad = Backend::http(|_| Reply::raw(LENGTH).close());
    let stage = Stage::new(bad.address(), "");
    assert_cut(&stage, "truncated", Duration::ZERO);
    stage.end(bad);
}

#[test]
fn length_too_short() {
    // What is over could be read as the next answer, here a forged one.
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    let bad = Backend::http(move |request| {
        let body = format!("{}{forged}", request.target);
        Reply::raw(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", request.target.len()))
    });
    let stage = Stage::new(bad.address(), "");
    let mut client = stage.evenkeel.client();
    for number in 0..20 {
        let path = format!("/alone/{number}");
        let response = client.get(&path);
        assert_eq!((response.status, response.text(), response.cut), (200, path, false));
    }
    assert_eq!(bad.connections(), 20, "a connection with bytes that belong to nothing is never used again");
    stage.assert_attempts("alone", &[("200", 20)]);
    drop(client);
    stage.end(bad);
}

#[test]
fn stall() {
    for begun in [LENGTH, CHUNKED] {
        let bad = Backend::raw(move |conn, _| {
            conn.request();
            conn.send(begun);
            conn.wait_closed();
        });
        let stage = Stage::new(bad.address(), "");
        assert_cut(&stage, "body_timeout", RESPONSE);
        wait_for("the backend is left", || bad.open() == 0);
        stage.end(bad);
    }
}

#[test]
fn drip() {
    const BYTES: usize = 25;
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BYTES * 1000));
        let mut sent = 0;
        while conn.send("x") {
            sent += 1;
            // A few are slow, far longer than every time-out in all; then comes the rest.
            if sent == BYTES {
                conn.send("x".repeat(BYTES * 999));
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    let stage = Stage::new(bad.address(), "");
    let whole = stage.get("/alone/whole");
    assert_eq!((whole.status, whole.body.len(), whole.cut), (200, BYTES * 1000, false));
    // What ends it earlier is its client.
    let mut client = stage.evenkeel.client();
    client.send("GET /alone/left HTTP/1.1\r\nHost: test\r\n\r\n");
    client.head();
    client.exact(2);
    drop(client);
    stage.assert_noted("/alone/left", 200, "client_gone");
    wait_for("the backend is left", || bad.open() == 0);
    stage.end(bad);
}
