//! High-water marks: `max_in_flight`, `max_memory` and `priority` (PRODUCT.md sections 3, 7 and 9).

use std::thread;
use std::time::Duration;

use crate::support::h2raw::{H2, block, flag};
use crate::support::{Backend, Client, Evenkeel, Gate, Process, Reply, Site, command, request, wait_for};

/// A route of each priority, and one that answers by itself.
const ROUTES: &str = "[[route]]\npath = \"/low/*\"\npriority = \"low\"\npool = \"web\"\n\
                      [[route]]\npath = \"/high/*\"\npriority = \"high\"\npool = \"web\"\n\
                      [[route]]\npath = \"/own\"\nrespond = { status = 200, body = \"own\" }\n\
                      [[route]]\nname = \"rest\"\npool = \"web\"\n";

fn site(backend: &Backend, server: &str) -> Site {
    Site::new(ROUTES).server(server).pool("web", backend.address())
}

/// A client that has asked for `target` and is waiting for its answer at the backend.
fn holds(address: std::net::SocketAddr, backend: &Backend, target: &str) -> Client {
    let before = backend.requests();
    let mut client = Client::h1(address);
    client.send(request("GET", "test", target, ""));
    wait_for("it is at the backend", || backend.requests() == before + 1);
    client
}

/// Who is shed, as scrapes see it.
fn shedding(evenkeel: &Evenkeel, by: &str) -> f64 {
    evenkeel.metric("evenkeel_shedding", &[("by", by)])
}

/// Those who leave are counted a little after they have left.
#[track_caller]
fn wait_let_in(address: std::net::SocketAddr, backend: &Backend, target: &str) -> Client {
    let before = backend.requests();
    let mut waiting = None;
    wait_for("it is let in", || {
        let mut client = Client::h1(address);
        client.send(request("GET", "test", target, ""));
        if client.silent_for(Duration::from_millis(50)) {
            waiting = Some(client);
        }
        waiting.is_some()
    });
    wait_for("it is at the backend", || backend.requests() == before + 1);
    waiting.unwrap()
}

#[test]
fn the_lowest_priority_is_shed_first_and_the_highest_last() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    let evenkeel = site(&backend, "max_in_flight = 10").start();
    let hold = |target| holds(evenkeel.address(), &backend, target);
    let mut held: Vec<_> = (0..8).map(|_| hold("/")).collect();
    held.push(hold("/low/1"));
    let refused = evenkeel.get("/low/1");
    refused.assert_refused(503, "shed");
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    assert_eq!(shedding(&evenkeel, "in_flight"), 1.0);
    held.push(hold("/"));
    evenkeel.get("/").assert_refused(503, "shed");
    evenkeel.get("/low/1").assert_refused(503, "shed");
    held.push(hold("/high/1"));
    evenkeel.get("/high/1").assert_refused(503, "shed");
    assert_eq!(shedding(&evenkeel, "in_flight"), 3.0);
    assert_eq!(evenkeel.get("/own").text(), "own", "our own answer is as cheap as the refusal");
    for path in ["/healthz", "/readyz"] {
        let asks = request("GET", "localhost", path, "");
        assert_eq!(Client::h1(evenkeel.admin()).exchange(asks).status, 200, "{path}");
    }
    assert_eq!(backend.requests(), 11, "what is shed gets to no backend");
    gate.open();
    for client in &mut held {
        assert_eq!(client.response().text(), "done");
    }
    wait_for("nobody is shed", || shedding(&evenkeel, "in_flight") == 0.0);
    assert_eq!(evenkeel.get("/low/1").text(), "done");
    evenkeel.wait_failures("shed", 4);
    let of = |route| evenkeel.metric("evenkeel_failures_total", &[("route", route), ("reason", "shed")]);
    assert_eq!(["/low/*", "/high/*", "rest"].map(of), [2.0, 1.0, 1.0]);
}

#[test]
fn the_mark_is_exact_over_all_workers_and_connections() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    let evenkeel = site(&backend, "max_in_flight = 7").start();
    let clients: Vec<_> = (0..60)
        .map(|_| {
            let mut client = evenkeel.client();
            thread::spawn(move || {
                client.send(request("GET", "test", "/", ""));
                client.response().status
            })
        })
        .collect();
    evenkeel.wait_failures("shed", 53);
    assert_eq!(backend.requests(), 7);
    gate.open();
    let statuses: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 7);
}

#[test]
fn shedding_ends_a_tenth_below_the_mark_and_those_who_leave_do_not_count() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    let evenkeel = site(&backend, "max_in_flight = 20").start();
    let mut held: Vec<_> = (0..20).map(|_| holds(evenkeel.address(), &backend, "/")).collect();
    evenkeel.get("/").assert_refused(503, "shed");
    held.pop().unwrap().reset();
    wait_for("one has left", || evenkeel.in_flight() == 19.0);
    evenkeel.get("/").assert_refused(503, "shed");
    assert_eq!(shedding(&evenkeel, "in_flight"), 2.0, "19 is under the mark, but not by a tenth");
    held.pop().unwrap().reset();
    wait_for("another has left", || evenkeel.in_flight() == 18.0);
    held.push(wait_let_in(evenkeel.address(), &backend, "/"));
    held.truncate(15);
    wait_for("some have left", || evenkeel.in_flight() == 15.0);
    // Clients that leave in any way, again and again: were one of them counted still, the mark would be met.
    for round in 0..30 {
        let client = wait_let_in(evenkeel.address(), &backend, "/");
        match round % 3 {
            0 => client.reset(),
            1 => client.leave(),
            _ => drop(client),
        }
    }
    gate.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
    wait_for("nothing is in flight", || evenkeel.in_flight() == 0.0);
    assert_eq!(shedding(&evenkeel, "in_flight"), 0.0);
}

#[test]
fn streams_count_one_by_one() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    let evenkeel = site(&backend, "max_in_flight = 3").start();
    let mut h2 = H2::open(evenkeel.address());
    let get = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")]);
    for number in 0..3 {
        h2.headers(2 * number + 1, flag::WHOLE, &get);
    }
    wait_for("three are at the backend", || backend.requests() == 3);
    h2.headers(7, flag::WHOLE, &get);
    assert_eq!(h2.answer(7).unwrap().status, 503);
    h2.reset(1, 8);
    h2.reset(3, 8);
    wait_for("two have left", || evenkeel.in_flight() == 1.0);
    h2.headers(9, flag::WHOLE, &get);
    wait_for("another is let in", || backend.requests() == 4);
    gate.open();
    assert_eq!(h2.answer(9).unwrap().status, 200);
    wait_for("nothing is in flight", || evenkeel.in_flight() == 0.0);
}

#[test]
fn a_tunnel_is_a_connection_and_no_request_in_flight() {
    let backend = Backend::http(|request| match request.field("upgrade") {
        Some(_) => Reply::raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ),
        None => Reply::ok("fine"),
    });
    let evenkeel = site(&backend, "max_in_flight = 1").start();
    let open = || {
        let mut client = evenkeel.client();
        client.send(request(
            "GET",
            "test",
            "/chat",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ));
        assert_eq!(client.head().status().unwrap(), 101);
        client
    };
    let tunnels: Vec<_> = (0..3).map(|_| open()).collect();
    assert_eq!(evenkeel.get("/").text(), "fine");
    drop(tunnels);
    assert_eq!(evenkeel.get("/").text(), "fine");
    wait_for("nothing is in flight", || evenkeel.in_flight() == 0.0);
    assert_eq!(evenkeel.get("/").text(), "fine", "a tunnel that ends is not counted a second time");
}

#[test]
fn a_reload_changes_the_mark_and_the_log_says_when_load_is_shed() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    let toml = |mark: &str| site(&backend, &format!("max_in_flight = {mark}")).toml();
    let evenkeel = Process::spawn(&toml("\"off\""));
    let mut held: Vec<_> = (0..4).map(|_| holds(evenkeel.address(), &backend, "/")).collect();
    evenkeel.reload(&toml("4"));
    evenkeel.client().get("/").assert_refused(503, "shed");
    let said = |text: &str| evenkeel.log().iter().filter(|line| line.contains(text)).count();
    wait_for("the log says that it begins", || said("load is shed") == 1);
    evenkeel.client().get("/").assert_refused(503, "shed");
    evenkeel.reload(&toml("8"));
    held.push(holds(evenkeel.address(), &backend, "/"));
    wait_for("the log says that it ends", || said("load is no longer shed") == 1);
    let log = evenkeel.log();
    let ends = log.iter().find(|line| line.contains("no longer shed")).unwrap();
    assert!(ends.contains("INFO") && ends.contains("shed=2 "), "{ends}");
    let begins = log.iter().find(|line| line.contains("load is shed")).unwrap();
    assert!(begins.contains("WARN") && begins.contains("in_flight=4 "), "{begins}");
    gate.open();
    for client in &mut held {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn memory_above_its_mark_sheds_until_the_mark_is_another() {
    let backend = Backend::ok("fine");
    let toml = |mark: &str| site(&backend, &format!("max_memory = \"{mark}\"")).toml();
    // No process is so small: the first request finds it above the mark.
    let evenkeel = Process::spawn(&toml("1MiB"));
    for target in ["/low/1", "/", "/high/1"] {
        evenkeel.client().get(target).assert_refused(503, "shed");
    }
    assert_eq!(evenkeel.client().get("/own").text(), "own");
    assert_eq!(evenkeel.metric("evenkeel_shedding", &[("by", "memory")]), 3.0);
    assert_eq!(evenkeel.metric("evenkeel_shedding", &[("by", "in_flight")]), 0.0);
    evenkeel.reload(&toml("90%"));
    assert_eq!(evenkeel.client().get("/low/1").text(), "fine", "the machine has more than this takes");
    assert_eq!(evenkeel.metric("evenkeel_shedding", &[("by", "memory")]), 0.0);
    evenkeel.reload(&toml("1MiB"));
    evenkeel.client().get("/").assert_refused(503, "shed");
    evenkeel.reload(&toml("off"));
    assert_eq!(evenkeel.client().get("/low/1").text(), "fine");
    let limit = evenkeel.metric("evenkeel_memory_limit_bytes", &[]);
    assert!(limit > evenkeel.metric("process_resident_memory_bytes", &[]), "{limit}");
    let (_, said) = command(&["check", "--strict", "-c"], &toml("1MiB"));
    assert!(said.contains("every request would be shed"), "{said}");
}

#[test]
fn memory_that_has_been_given_back_counts_no_longer() {
    const BODY: usize = 48 << 10;
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "done");
    // Bodies that are held for a retry are what a process holds most of.
    let large = format!("retry = {{ attempts = 1, buffer = \"{}KiB\" }}", 64);
    let toml = |mark: usize| {
        let server = format!("max_memory = \"{mark}KiB\"");
        Site::new(ROUTES).server(server).pool_with("web", &[backend.address()], &large).toml()
    };
    let evenkeel = Process::spawn(&toml(1 << 30));
    assert_eq!(evenkeel.client().get("/own").status, 200);
    let idle = evenkeel.resident();
    let mark = idle / 1024 + 20_000;
    evenkeel.reload(&toml(mark));
    let mut held = Vec::new();
    let body = vec![b'x'; BODY];
    while evenkeel.metric("evenkeel_shedding", &[("by", "memory")]) < 2.0 {
        assert!(held.len() < 4000, "in vain: {} KiB are held, the mark is {mark}", evenkeel.resident() / 1024);
        for _ in 0..25 {
            let mut client = evenkeel.client();
            client.send(request("POST", "test", "/", &format!("Content-Length: {BODY}\r\n")));
            client.send(&body);
            held.push(client);
        }
    }
    wait_for("it is refused", || {
        let answer = evenkeel.client().get("/");
        answer.status == 503 && answer.word() == Some("shed")
    });
    gate.open();
    for client in held {
        drop(client);
    }
    wait_for("it is let in again", || evenkeel.client().get("/low/1").status == 200);
    // The allocator may keep what it has: nobody is shed all the same.
    wait_for("nobody is shed", || evenkeel.metric("evenkeel_shedding", &[("by", "memory")]) == 0.0);
    wait_for("it is said", || evenkeel.log().iter().any(|line| line.contains("load is no longer shed")));
}
