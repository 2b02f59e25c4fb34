//! When places run short, idle connections go: first those of the address that has most, and never one that is busy.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::h2raw::{Event, H2, block, code, flag, kind};
use crate::support::tls::{Authority, asked};
use crate::support::{Gate, Process, Reply, Site, call, told, wait_for};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Far below header_timeout and idle_timeout.
const SOON: Duration = Duration::from_secs(3);

/// Connections from 127.0.0.`source` that say `bytes` and then nothing.
fn quiet(source: u8, address: SocketAddr, count: usize, bytes: &str) -> Vec<Client> {
    let one = |_| {
        let mut client = Client::from(source, address).unwrap();
        client.send(bytes);
        client
    };
    (0..count).map(one).collect()
}

/// Kept connections from 127.0.0.`source`, each with an answered request.
fn kept(source: u8, address: SocketAddr, count: usize) -> Vec<Client> {
    (0..count).map(|_| answered(source, address).unwrap()).collect()
}

/// How many of them are open still.
fn left(clients: &mut [Client]) -> usize {
    clients.iter_mut().map(|client| usize::from(client.silent_for(Duration::from_millis(1)))).sum()
}

#[test]
fn whoever_has_nothing_to_say_makes_room_for_those_who_have() {
    let backend = Backend::ok("fine");
    for bytes in ["", "GET / HTTP/1.1\r\nHost: te", GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let evenkeel = with(&backend, "max_connections = 20");
        let address = evenkeel.address();
        // More than there are places: some wait in the kernel's queue, in front of the next client.
        let _quiet = quiet(2, address, 60, bytes);
        let start = Instant::now();
        for _ in 0..20 {
            assert!(answered(1, address).is_some(), "{bytes:?}");
        }
        assert!(start.elapsed() < SOON, "{bytes:?}: {:?}", start.elapsed());
        assert!(closed(&evenkeel, "idle_pressure") >= 20.0, "{bytes:?}");
        evenkeel.assert_no_failure();
    }
}

/// What is still to come of a body that nobody reads holds a connection for a second: not when places run short.
#[test]
fn whoever_has_its_last_answer_goes_at_once() {
    let backend = Backend::ok("fine");
    let route = "[[route]]\npath = \"/own\"\nrespond = { status = 200, body = \"own\" }\n[[route]]\npool = \"web\"\n";
    let body = "POST /own HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\nabc";
    for bytes in ["GET / BAD\r\n\r\n", body] {
        let site = Site::new(route).listener("max_connections = 20").pool("web", backend.address());
        let evenkeel = site.start();
        let address = evenkeel.address();
        let mut lingering = Vec::new();
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            // As many again as there are places: all that stand in front of the next client have just been answered.
            lingering.extend(quiet(2, address, 40, bytes));
            let start = Instant::now();
            assert!(answered(1, address).is_some(), "{bytes:?}");
            slowest = slowest.max(start.elapsed());
        }
        assert!(slowest < Duration::from_millis(700), "{bytes:?}: {slowest:?}");
        assert!(closed(&evenkeel, "idle_pressure") > 0.0, "{bytes:?}");
    }
}

#[test]
fn of_the_process_too() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).server("max_connections = 40").start();
    let _quiet = quiet(2, evenkeel.address(), 60, "");
    let start = Instant::now();
    assert!((0..20).all(|_| answered(1, evenkeel.address()).is_some()));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[test]
fn a_few_places_are_handed_over_as_well() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connections = 2");
    let start = Instant::now();
    let mut all: Vec<_> = (0..20).map(|_| answered(1, evenkeel.address()).unwrap()).collect();
    assert!(start.elapsed() < SOON * 3, "{:?}", start.elapsed());
    assert_eq!(left(&mut all), 2, "no more go than must");
    assert_eq!(closed(&evenkeel, "idle_pressure"), 18.0);
}

#[test]
fn the_address_that_has_most_makes_room_first() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connections = 40");
    let address = evenkeel.address();
    let mut modest: Vec<_> = (3..8).flat_map(|source| kept(source, address, 1)).collect();
    let mut greedy = kept(2, address, 30);
    assert_eq!(closed(&evenkeel, "idle_pressure"), 0.0, "there are 5 places left");
    modest.extend((8..12).flat_map(|source| kept(source, address, 1)));
    wait_for("some go", || closed(&evenkeel, "idle_pressure") > 0.0);
    wait_for("34 of 40 stay", || evenkeel.metric("evenkeel_listener_connections", &[]) == 34.0);
    assert_eq!((left(&mut greedy), left(&mut modest)), (25, 9));
    assert!(modest.iter_mut().all(|client| client.get("/").status == 200));
}

#[test]
fn whoever_opens_very_many_at_once_makes_room_and_not_those_who_have_been_idle() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connections = 40");
    let address = evenkeel.address();
    let mut modest: Vec<_> = (3..12).flat_map(|source| kept(source, address, 1)).collect();
    // So long that they may go, if it were their turn.
    thread::sleep(Duration::from_millis(1200));
    let mut greedy = kept(2, address, 30);
    wait_for("34 of 40 stay", || evenkeel.metric("evenkeel_listener_connections", &[]) == 34.0);
    assert_eq!((left(&mut greedy), left(&mut modest)), (25, 9));
}

#[test]
fn what_is_busy_stays_and_others_wait_and_the_admin_api_answers() {
    let gate = Gate::default();
    let backend = {
        let gate = gate.clone();
        Backend::raw(move |conn, number| {
            conn.request();
            match number {
                // A tunnel, which says nothing.
                0 => {
                    conn.send(format!(
                        "HTTP/1.1 101 Switching Protocols\r\n{UPGRADE}Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
                    ));
                    gate.pass();
                    conn.send("late");
                }
                _ => {
                    gate.pass();
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine");
                }
            }
        })
    };
    let evenkeel = with(&backend, "max_connections = 20");
    let address = evenkeel.address();
    let mut tunnel = Client::from(2, address).unwrap();
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    tunnel.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{UPGRADE}{key}\r\n"));
    assert_eq!(tunnel.head().status().unwrap(), 101);
    let mut stream = H2::open(address);
    stream.headers(
        1,
        flag::WHOLE,
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "t")]),
    );
    let mut busy = quiet(2, address, 18, GET);
    wait_for("all are at the backend", || backend.requests() == 20);
    let mut late = evenkeel.client();
    late.send(GET);
    assert!(late.silent_for(Duration::from_millis(700)), "there is no place, and nobody is idle");
    assert_eq!(told(evenkeel.admin(), "/api/v1/pools")["pools"][0]["name"], "web");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(call(evenkeel.admin(), &format!("GET {path}"), "", "").status, 200, "{path}");
    }
    assert_eq!(closed(&evenkeel, "idle_pressure"), 0.0);
    gate.open();
    assert!(busy.iter_mut().all(|client| client.response().status == 200));
    assert_eq!(tunnel.exact(4), b"late");
    assert_eq!(stream.answer(1).unwrap().status, 200);
    assert_eq!(late.response().status, 200);
    evenkeel.assert_no_failure();
}

#[test]
fn an_idle_connection_of_http_2_hears_that_it_must_go() {
    let backend = Backend::http(|_| Reply::ok("fine"));
    let evenkeel = with(&backend, "max_connections = 20");
    let address = evenkeel.address();
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
    let mut idle: Vec<_> = (0..12).map(|_| H2::open(address)).collect();
    for h2 in &mut idle {
        h2.headers(1, flag::WHOLE, block(&fields));
        assert_eq!(h2.answer(1).unwrap().status, 200);
    }
    let _others = kept(1, address, 8);
    wait_for("some go", || closed(&evenkeel, "idle_pressure") > 0.0);
    let mut goaway = None;
    wait_for("one hears of it", || {
        for h2 in &mut idle {
            h2.ping(flag::NONE, [7; 8]);
            if let Event::Frame(frame) = h2.next()
                && frame.is(kind::GOAWAY)
            {
                goaway = Some(frame.code());
            }
        }
        goaway.is_some()
    });
    assert_eq!(goaway, Some(code::NO_ERROR));
}

#[test]
fn handshakes_and_proxy_headers_that_do_not_come_make_room_too() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["test"]))], "");
    for (keys, bytes) in [(tls.as_str(), "\u{16}\u{3}\u{1}"), ("proxy_protocol = true", "PROXY TCP4 192.")] {
        let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
        let setup = Setup::to(&[backend.address()]).server(trusted);
        let evenkeel = setup.listener(format!("max_connections = 20\n{keys}")).start();
        let mut first = quiet(2, evenkeel.address(), 20, bytes);
        let _second = quiet(2, evenkeel.address(), 20, bytes);
        wait_for("they make room", || closed(&evenkeel, "idle_pressure") >= 10.0);
        assert!(left(&mut first) < 20);
        assert_eq!(evenkeel.metric("evenkeel_tls_handshake_failures_total", &[]), 0.0);
        assert_eq!(closed(&evenkeel, "proxy_protocol"), 0.0);
    }
}

#[test]
fn a_reload_that_lowers_the_limit_throws_nobody_out_before_somebody_waits() {
    let backend = Backend::ok("fine");
    let toml = |most| Setup::to(&[backend.address()]).listener(format!("max_connections = {most}")).toml();
    let evenkeel = Process::spawn(&toml(100));
    let mut held = kept(2, evenkeel.address(), 50);
    evenkeel.reload(&toml(20));
    thread::sleep(Duration::from_millis(300));
    assert_eq!(left(&mut held), 50);
    assert!(answered(1, evenkeel.address()).is_some());
    wait_for("17 of 20 stay", || evenkeel.metric("evenkeel_listener_connections", &[]) <= 17.0);
    let said =
        || evenkeel.log().iter().any(|line| line.contains("idle connections closed") && line.contains("closed="));
    wait_for("it is said", said);
}

#[test]
fn connections_with_half_a_head_cost_little() {
    const COUNT: usize = 1500;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let half = "GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ";
    // What is needed once, whatever the number of connections, is there after these.
    let _warm = quiet(2, evenkeel.address(), 500, half);
    let open = || evenkeel.metric("evenkeel_listener_connections", &[("listener", "web")]) as usize;
    wait_for("they are open", || open() == 500);
    let before = evenkeel.resident();
    let mut slow = quiet(3, evenkeel.address(), COUNT, half);
    slow.iter_mut().for_each(|client| client.send("b"));
    wait_for("they are open", || open() == 500 + COUNT);
    let each = evenkeel.resident().saturating_sub(before) / COUNT;
    println!("{each} bytes for each");
    // Futures of a debug build are about twice as large. With a buffer of a page or more it would be above 8 KiB.
    assert!(each <= if cfg!(debug_assertions) { 7 } else { 5 } * 1024, "{each} bytes for each slow head");
}
