//! Clients that leave, stop half-way, or take next to nothing.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::Stage;
use crate::support::{Backend, Client, Gate, wait_for};

/// A client that has sent `request`, of which the backend has seen the head.
fn asked(stage: &Stage, bad: &Backend, request: &str) -> Client {
    let before = bad.requests();
    let mut client = stage.evenkeel.client();
    client.send(request);
    wait_for("the backend has it", || bad.requests() == before + 1);
    client
}

#[test]
fn leaves_within_its_request() {
    let bad = Backend::raw(|conn, _| {
        conn.head();
        conn.wait_closed();
    });
    let stage = Stage::new(bad.address(), "");
    for (path, reset) in [("/alone/fin", false), ("/alone/rst", true)] {
        let head = format!("PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhello");
        let client = asked(&stage, &bad, &head);
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        stage.assert_noted(path, 499, "client_gone");
        wait_for("the backend is left", || bad.open() == 0);
    }
    // One that leaves within its head has asked for nothing.
    let mut client = stage.evenkeel.client();
    client.send("GET /alone/never HTTP/1.1\r\nHos");
    drop(client);
    stage.end(bad);
}

#[test]
fn leaves_before_its_answer() {
    let bad = Backend::thinking();
    let stage = Stage::new(bad.address(), "response_timeout = \"60s\"");
    for (path, reset) in [("/alone/fin", false), ("/alone/rst", true)] {
        let client = asked(&stage, &bad, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        stage.assert_noted(path, 499, "client_gone");
        wait_for("the backend is left", || bad.open() == 0);
    }
    stage.assert_attempts("alone", &[("499", 2)]);
    stage.end(bad);
}

#[test]
fn leaves_within_its_answer() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello");
        conn.wait_closed();
    });
    let stage = Stage::new(bad.address(), "body_timeout = \"60s\"");
    for (path, reset) in [("/alone/fin", false), ("/alone/rst", true)] {
        let mut client = asked(&stage, &bad, &format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        client.head();
        client.exact(5);
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        stage.assert_noted(path, 200, "client_gone");
        wait_for("the backend is left", || bad.open() == 0);
    }
    stage.end(bad);
}

#[test]
fn half_closes() {
    let gate = Gate::default();
    for half_close in [false, true] {
        let bad = Backend::behind(&gate, "late");
        let stage =
            Stage::listening(bad.address(), "response_timeout = \"60s\"", &format!("half_close = {half_close}"));
        let mut client = asked(&stage, &bad, "GET /alone/half HTTP/1.1\r\nHost: test\r\n\r\n");
        client.finish();
        if half_close {
            assert!(client.silent_for(Duration::from_millis(100)));
            gate.open();
            assert_eq!(client.response().text(), "late");
            assert_eq!(stage.line("/alone/half")["status"], 200);
        } else {
            stage.assert_noted("/alone/half", 499, "client_gone");
        }
        client.assert_closed();
        drop(client);
        stage.end(bad);
    }
}

#[test]
fn slow_ones_of_a_fast_backend() {
    const CLIENTS: usize = 50;
    const MIB: usize = 1 << 20;
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30));
        while conn.send([b'x'; 64 << 10]) {}
    });
    let mut stage = Stage::new(bad.address(), "");
    // Two workers keep up to 16 pipes each, for good.
    stage.descriptors += 64;
    let before = stage.evenkeel.resident();
    let over = AtomicBool::new(false);
    let most = thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (stage, over) = (&stage, &over);
            scope.spawn(move || {
                let mut client = stage.evenkeel.client();
                client.send(format!("GET /alone/{number} HTTP/1.1\r\nHost: test\r\n\r\n"));
                client.head();
                let mut room = vec![0; 16 << 10];
                while !over.load(SeqCst) {
                    assert!(client.wire.stream.read(&mut room).unwrap() > 0);
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        let (start, mut most) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(3) {
            most = most.max(stage.evenkeel.resident());
            thread::sleep(Duration::from_millis(20));
        }
        over.store(true, SeqCst);
        most
    });
    let each = most.saturating_sub(before) / CLIENTS;
    println!("{} KiB before, {} KiB at most: {} KiB for each slow client", before >> 10, most >> 10, each >> 10);
    // Where both sides are plain TCP, what is on its way lies in a pipe; else it would be one read of 256 KiB.
    assert!(most < before + CLIENTS * (MIB / 4) + 8 * MIB, "{} MiB for {CLIENTS} slow clients", most / MIB);
    for number in 0..CLIENTS {
        stage.assert_noted(&format!("/alone/{number}"), 200, "client_gone");
    }
    stage.end(bad);
}
