//! Slow clients, in every form that is not one of `timeouts` or `h2::timers`: bytes that come one by one, bodies and windows
//! of HTTP/2, and what keeps a connection alive without using it.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::h2raw::{Event, H2, PREFACE, block, code, flag, kind, setting};
use crate::support::tls::{Authority, asked};
use crate::support::{Reply, wait_for};

const SHORT: Duration = Duration::from_millis(300);
/// What a timer may be early by, as tests measure it.
const SLACK: Duration = Duration::from_millis(50);

fn request(method: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", "/"), (":authority", "test")])
}

fn nothing_left(evenkeel: &Evenkeel) {
    let left = || evenkeel.metric("evenkeel_listener_connections", &[]) + evenkeel.in_flight();
    wait_for("nothing is left of the connection", || left() == 0.0);
}

/// Between two bytes of a drip: shorter than any timeout.
const PACE: Duration = Duration::from_millis(20);

/// Sends `bytes` one at a time, with `pace` between them, until the connection ends.
fn drip(client: &Client, bytes: &[u8], pace: Duration) -> thread::JoinHandle<()> {
    let (mut writer, bytes) = (client.writer(), bytes.to_vec());
    thread::spawn(move || {
        for byte in bytes {
            if writer.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(pace);
        }
    })
}

#[test]
fn a_preface_byte_by_byte_has_the_time_of_a_head() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "header_timeout = \"300ms\"");
    let (mut client, start) = (evenkeel.client(), Instant::now());
    // All of it would take five seconds, and each byte comes within the time.
    let dripping = drip(&client, PREFACE, SHORT * 2 / 3);
    client.rest();
    let time = start.elapsed();
    assert!(time >= SHORT - SLACK && time < SHORT * 10, "{time:?}");
    nothing_left(&evenkeel);
    client.leave();
    dripping.join().unwrap();
}

#[test]
fn a_handshake_byte_by_byte_has_the_time_of_a_head() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["test"]))], "");
    let evenkeel = with(&backend, &format!("header_timeout = \"300ms\"\n{tls}"));
    let mut client = evenkeel.client();
    // The beginning of a ClientHello of 512 bytes.
    let dripping = drip(&client, &[&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[0; 400]].concat(), PACE);
    client.rest();
    let timeouts = || evenkeel.metric("evenkeel_tls_handshake_failures_total", &[("reason", "timeout")]);
    wait_for("it is counted", || timeouts() == 1.0);
    client.leave();
    dripping.join().unwrap();
}

#[test]
fn a_proxy_header_byte_by_byte_has_the_time_of_a_head() {
    let backend = Backend::ok("fine");
    let setup = Setup::to(&[backend.address()]).server("trusted_proxies = [\"127.0.0.1\"]");
    let evenkeel = setup.listener("proxy_protocol = true\nheader_timeout = \"300ms\"").start();
    let mut client = evenkeel.client();
    let dripping = drip(&client, b"PROXY TCP4 192.0.2.1 203.0.113.9 56324 443\r\n", PACE);
    client.assert_closed();
    wait_for("it is counted", || closed(&evenkeel, "proxy_protocol") == 1.0);
    client.leave();
    dripping.join().unwrap();
}

#[test]
fn a_body_of_http_2_that_stalls_is_answered_408_and_the_connection_goes_on() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "body_timeout = \"300ms\"\nmin_body_rate = \"off\"");
    let mut h2 = H2::open(evenkeel.address());
    let start = Instant::now();
    h2.headers(1, flag::END_HEADERS, request("POST"));
    h2.data(1, flag::NONE, b"hello");
    h2.answer(1).unwrap().assert_refused(408, "request_timeout");
    assert!(start.elapsed() >= SHORT - SLACK);
    h2.headers(3, flag::WHOLE, request("GET"));
    assert_eq!(h2.answer(3).unwrap().status, 200);
    evenkeel.wait_failures("request_timeout", 1);
}

#[test]
fn a_body_of_http_2_that_dribbles_is_answered_408() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "min_body_rate = \"1KiB/s\"");
    let mut h2 = H2::open(evenkeel.address());
    let start = Instant::now();
    h2.headers(1, flag::END_HEADERS, request("POST"));
    let answer = loop {
        h2.data(1, flag::NONE, b"b");
        thread::sleep(Duration::from_millis(100));
        // An answer to each ping comes at once: whatever is there before it has been read then.
        h2.ping(flag::NONE, [1; 8]);
        let mut status = None;
        loop {
            match h2.next() {
                Event::Frame(frame) if frame.is(kind::PING) => break,
                Event::Frame(frame) if frame.is(kind::HEADERS) => {
                    status = frame.fields.get(":status").map(str::to_owned);
                }
                Event::Frame(_) => {}
                other => panic!("{other:?}"),
            }
        }
        if let Some(status) = status {
            break status;
        }
        assert!(start.elapsed() < Duration::from_secs(9), "a dribble holds a stream");
    };
    assert_eq!(answer, "408");
    assert!(start.elapsed() >= Duration::from_millis(4900), "the first five seconds are free");
}

#[test]
fn a_stream_whose_window_stays_shut_is_cut_and_its_connection_goes_on() {
    let backend = Backend::http(|request| Reply::ok(vec![b'x'; if request.method == "GET" { 1 << 20 } else { 0 }]));
    let evenkeel = with(&backend, "write_timeout = \"500ms\"");
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    for stream in [1, 3, 5] {
        h2.headers(stream, flag::WHOLE, request("GET"));
    }
    evenkeel.wait_failures("write_timeout", 3);
    wait_for("the backend is left", || backend.open() == 0);
    let mut resets = Vec::new();
    h2.headers(7, flag::WHOLE, request("HEAD"));
    loop {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::RST_STREAM) => resets.push(frame.stream),
            Event::Frame(frame) if frame.stream == 7 && frame.is(kind::HEADERS) => break,
            Event::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    }
    resets.sort_unstable();
    assert_eq!(resets, [1, 3, 5]);
}

#[test]
fn settings_that_are_never_acknowledged_and_pings_do_not_keep_a_connection() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "idle_timeout = \"500ms\"");
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    h2.settings(&[]);
    h2.headers(1, flag::WHOLE, request("GET"));
    assert_eq!(h2.answer(1).unwrap().status, 200);
    let start = Instant::now();
    // A few pings a second, and windows that nobody needs.
    let goaway = loop {
        h2.ping(flag::NONE, [3; 8]);
        h2.window_update(0, 1000);
        thread::sleep(Duration::from_millis(60));
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::GOAWAY) => break frame.code(),
            Event::Frame(_) if start.elapsed() < Duration::from_secs(8) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goaway, code::NO_ERROR);
    nothing_left(&evenkeel);
}

#[test]
fn a_reader_that_takes_little_has_little_held_for_it() {
    // What a backend gets rid of is what the kernel and we hold for a client that takes 1 KiB in half a second.
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 256 << 20));
        while conn.send([b'x'; 64 << 10]) {}
    });
    let evenkeel = Setup::to(&[backend.address()]).listener("write_timeout = \"1s\"").spawn();
    let mut before = None;
    let mut clients: Vec<_> = (0..20).map(|_| evenkeel.client()).collect();
    for turn in 0..6 {
        for client in &mut clients {
            if turn == 0 {
                client.send(GET);
                assert_eq!(client.head().status().unwrap(), 200);
            }
            client.exact(1 << 10);
        }
        thread::sleep(Duration::from_millis(500));
        let resident = evenkeel.resident();
        let grown = resident.saturating_sub(*before.get_or_insert(resident));
        assert!(grown < 20 * (1 << 20), "{grown} bytes more for 20 clients");
    }
}
