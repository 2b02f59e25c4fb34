//! The end of the process: what was begun is finished, and nothing holds it up for ever (PRODUCT.md sections 3 and 5).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, Load, Process, Reply, Setup, call, wait_for};

fn spawn(backend: &Backend, keys: &str) -> Process {
    Setup::to(&[backend.address()]).server(keys).spawn()
}

/// Whether a connection to `address` is refused.
fn refused(address: SocketAddr) -> bool {
    Client::connect(address).is_err()
}

/// A client whose request has reached the backend as the `count`th.
fn asked(evenkeel: &Process, backend: &Backend, count: usize) -> Client {
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == count);
    client
}

#[test]
fn under_load_every_exchange_that_was_begun_is_finished() {
    for signal in ["TERM", "INT", "QUIT"] {
        // So slow that many are on their way at any moment.
        let backend = Backend::http(|_| {
            thread::sleep(Duration::from_millis(20));
            Reply::ok("fine")
        });
        let mut evenkeel = spawn(&backend, "");
        let load = Load::start(evenkeel.address(), 32);
        load.wait_for(100);
        evenkeel.signal(signal);
        let tally = load.wait();
        assert_eq!(evenkeel.wait().code(), Some(0), "{signal}: {:?}", evenkeel.log());
        assert!(tally.cut.is_empty() && tally.others.is_empty(), "{signal}: {:?} {:?}", tally.cut, tally.others);
        // Every request that a backend has seen was answered: whoever heard nothing had not been heard.
        assert_eq!(tally.fine, backend.requests(), "{signal}: {:?}", tally.unanswered);
        assert!(tally.fine > 100);
    }
}

#[test]
fn an_exchange_is_finished_and_its_connection_closed() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let mut evenkeel = spawn(&backend, "");
    let mut client = asked(&evenkeel, &backend, 1);
    evenkeel.signal("TERM");
    let address = evenkeel.address();
    wait_for("nobody is let in any more", || refused(address));
    gate.open();
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (200, "late"));
    assert!(response.head.fields.lists("connection", "close"), "{response:?}");
    client.assert_closed();
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn a_body_on_its_way_arrives_whole_in_both_directions() {
    const SIZE: usize = 4 << 20;
    let backend = Backend::http(|request| Reply::ok(vec![b'x'; request.body.len()]));
    let mut evenkeel = spawn(&backend, "");
    let address = evenkeel.address();
    let mut client = evenkeel.client();
    client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.send(vec![7; SIZE / 2]);
    wait_for("the backend has the request", || backend.requests() == 1);
    evenkeel.signal("TERM");
    wait_for("nobody is let in any more", || refused(address));
    client.send(vec![7; SIZE / 2]);
    let response = client.response();
    assert_eq!((response.status, response.body.len(), response.cut), (200, SIZE, false));
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn drain_timeout_cuts_what_is_left() {
    let backend = Backend::thinking();
    let mut evenkeel = spawn(&backend, "drain_timeout = \"700ms\"");
    let mut client = asked(&evenkeel, &backend, 1);
    let start = Instant::now();
    evenkeel.signal("TERM");
    assert_eq!(evenkeel.wait().code(), Some(0), "{:?}", evenkeel.log());
    let took = start.elapsed();
    assert!((Duration::from_millis(700)..Duration::from_secs(4)).contains(&took), "{took:?}");
    client.rest();
}

#[test]
fn a_tunnel_is_ended_by_drain_timeout_at_the_latest() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        conn.wait_closed();
    });
    let mut evenkeel = spawn(&backend, "drain_timeout = \"700ms\"");
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status().unwrap(), 101);
    let start = Instant::now();
    evenkeel.signal("TERM");
    client.assert_closed();
    assert_eq!(evenkeel.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("QUIT", "QUIT"), ("TERM", "INT")] {
        let backend = Backend::thinking();
        let mut evenkeel = spawn(&backend, "drain_timeout = \"1h\"");
        let address = evenkeel.address();
        let mut client = asked(&evenkeel, &backend, 1);
        evenkeel.signal(first);
        wait_for("it drains", || refused(address));
        evenkeel.signal(second);
        assert_eq!(evenkeel.wait().code(), Some(0), "{first}, {second}: {:?}", evenkeel.log());
        client.rest();
    }
}

#[test]
fn a_second_signal_ends_drain_delay_too() {
    let backend = Backend::ok("fine");
    let mut evenkeel = spawn(&backend, "drain_delay = \"1h\"");
    let admin = evenkeel.listener("admin");
    evenkeel.signal("TERM");
    wait_for("it is not ready", || call(admin, "GET /readyz", "", "").status == 503);
    evenkeel.signal("TERM");
    evenkeel.wait();
}

#[test]
fn during_drain_delay_it_is_not_ready_and_goes_on() {
    let backend = Backend::ok("fine");
    let mut evenkeel = spawn(&backend, "drain_delay = \"5s\"");
    let (admin, address) = (evenkeel.listener("admin"), evenkeel.address());
    let status = |path: &str| call(admin, &format!("GET {path}"), "", "").status;
    assert_eq!((status("/readyz"), status("/healthz")), (200, 200));
    let mut kept = evenkeel.client();
    assert_eq!(kept.get("/").status, 200);
    let start = Instant::now();
    evenkeel.signal("TERM");
    wait_for("it is not ready", || status("/readyz") == 503);
    assert_eq!((status("/healthz"), status("/metrics")), (200, 200), "it is alive, and is still scraped");
    for _ in 0..10 {
        assert_eq!((kept.get("/").status, Client::h1(address).get("/").status), (200, 200));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "the machine is too slow for this test: {:?}", start.elapsed());
    wait_for("nobody is let in any more", || refused(address));
    assert!(start.elapsed() >= Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn the_admin_api_tells_of_the_drain_while_it_lasts() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let mut evenkeel = spawn(&backend, "");
    let (admin, address) = (evenkeel.listener("admin"), evenkeel.address());
    let mut client = asked(&evenkeel, &backend, 1);
    evenkeel.signal("TERM");
    wait_for("nobody is let in any more", || refused(address));
    assert_eq!(call(admin, "GET /readyz", "", "").status, 503);
    assert_eq!(call(admin, "GET /healthz", "", "").status, 200);
    assert_eq!(evenkeel.metric("evenkeel_requests_in_flight", &[("listener", "web")]), 1.0);
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn a_reload_during_the_drain_changes_nothing() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let mut evenkeel = spawn(&backend, "");
    let address = evenkeel.address();
    let mut client = asked(&evenkeel, &backend, 1);
    evenkeel.signal("TERM");
    wait_for("nobody is let in any more", || refused(address));
    evenkeel.signal("HUP");
    wait_for("the reload is refused", || !evenkeel.last_reload());
    assert!(refused(address));
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn a_connection_without_a_request_does_not_hold_it_up() {
    let backend = Backend::ok("fine");
    let mut evenkeel = spawn(&backend, "drain_timeout = \"1h\"");
    let mut silent = evenkeel.client();
    let mut half = evenkeel.client();
    half.send("GET / HTTP/1.1\r\nHos");
    wait_for("both are open", || evenkeel.metric("evenkeel_listener_connections", &[("listener", "web")]) == 2.0);
    evenkeel.signal("TERM");
    silent.assert_closed();
    // The half request is either finished or refused in its time (`header_timeout` is 10 s): it was never begun.
    drop(half);
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn every_connection_in_the_queue_is_served() {
    let backend = Backend::ok("fine");
    let mut evenkeel = spawn(&backend, "");
    let address = evenkeel.address();
    // Connected and asked before the signal: whether it was accepted by then is not the client's business.
    let mut clients: Vec<_> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    evenkeel.signal("TERM");
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{answer:?}");
    }
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn what_is_cut_hears_so_and_stands_in_the_log() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "too late");
    let mut evenkeel = spawn(&backend, "drain_timeout = \"300ms\"");
    let log = evenkeel.file().with_file_name("access.log");
    let toml = Setup::to(&[backend.address()]).server("drain_timeout = \"300ms\"").toml();
    evenkeel.reload(&toml.replace("access = \"off\"", &format!("access = {:?}", log.display().to_string())));
    let mut client = asked(&evenkeel, &backend, 1);
    evenkeel.signal("TERM");
    client.response().assert_refused(503, "draining");
    assert_eq!(evenkeel.wait().code(), Some(0));
    let lines = std::fs::read_to_string(&log).unwrap();
    assert!(lines.contains("\"failure\":\"draining\"") && lines.contains("\"status\":503"), "{lines}");
    gate.open();
}
