//! Workers: a panic hurts one exchange alone, fresh connections go where there are fewer, and what a large body leaves
//! behind on a connection does not hold up the next exchange.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use evenkeel::balance::{Algorithm, Balancer, Member, Pick, Picked};
use evenkeel::config::Config;
use evenkeel::runtime::Server;

use crate::support::{Backend, Client, Reply, Setup, in_front_of, scrape, sum_of, wait_for};

/// Picks the first member, and panics at the third pick of the process.
#[derive(Debug)]
struct Fragile;

static PICKS: AtomicUsize = AtomicUsize::new(0);

impl Balancer for Fragile {
    fn pick(&self, _pick: &Pick<'_>) -> Picked {
        assert_ne!(PICKS.fetch_add(1, SeqCst), 2, "as the test wants it");
        Picked::Member(0)
    }
}

fn fragile(_members: &[Member]) -> Box<dyn Balancer> {
    Box::new(Fragile)
}

#[test]
fn a_panic_hurts_one_exchange_alone() {
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).one_worker().toml();
    let config = Config::parse(&toml, Path::new("test.toml")).unwrap();
    let server = Server::builder().algorithm(Algorithm::Custom(fragile)).start(config).unwrap();
    let client = || Client::h1(server.address("web").unwrap());
    let (mut first, mut second) = (client(), client());
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(first.try_response("GET").is_err(), "this one is cut");
    assert_eq!(second.get("/").status, 200, "its neighbour on the same worker goes on");
    assert_eq!(client().get("/").status, 200);
    let metric = |name, labels: &[(&str, &str)]| sum_of(&scrape(server.admin().unwrap()), name, labels);
    assert_eq!(metric("evenkeel_panics_total", &[]), Some(1.0));
    assert_eq!(metric("evenkeel_requests_in_flight", &[]), Some(0.0));
    assert_eq!(metric("evenkeel_backend_in_flight", &[]), Some(0.0));
    assert_eq!(metric("evenkeel_requests_total", &[("code", "500")]), Some(1.0));
}

#[test]
fn fresh_connections_go_to_the_worker_with_clearly_fewer() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let on = |worker| evenkeel.metric("evenkeel_worker_connections", &[("worker", worker)]);
    // The kernel deals them out by a hash. Those that fall to the second worker are closed again, until there is a gap.
    let mut kept = Vec::new();
    while on("0") < 30.0 {
        let mut client = evenkeel.client();
        client.get("/");
        if on("1") > 0.0 {
            drop(client);
            wait_for("it has gone", || on("1") == 0.0);
        } else {
            kept.push(client);
        }
        if kept.len() >= 16 {
            // From here on the first worker hands them over itself.
            break;
        }
    }
    for _ in 0..40 {
        let mut client = evenkeel.client();
        assert_eq!(client.get("/").status, 200);
        kept.push(client);
    }
    let (first, second) = (on("0"), on("1"));
    assert_eq!(first + second, kept.len() as f64);
    assert!((first - second).abs() <= 20.0, "{first} and {second}");
    for client in &mut kept {
        assert_eq!(client.get("/").status, 200, "it works wherever it has gone");
    }
}

#[test]
fn large_and_small_answers_take_turns_on_the_same_connections() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/large" => Reply::ok(vec![b'x'; 1 << 20]),
        _ => Reply::ok(request.body),
    });
    let evenkeel = Setup::to(&[backend.address()]).one_worker().start();
    let mut client = evenkeel.client();
    for turn in 0..30 {
        assert_eq!(client.get("/large").body.len(), 1 << 20, "turn {turn}");
        assert_eq!(client.get("/").status, 200, "turn {turn}");
        let body = vec![b'y'; 700_000];
        assert_eq!(client.with_body("PUT", "/", &body).body, body, "turn {turn}");
    }
    assert_eq!(backend.connections(), 1, "and that connection was kept");
}

#[test]
fn a_large_answer_that_comes_slowly_is_passed_on_as_it_comes() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 << 20));
        conn.send(vec![b'x'; 1 << 20]);
        // Far less than what is waited for where senders are fast.
        conn.send("slow");
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut got = Vec::new();
    let patience = std::time::Instant::now();
    while !got.ends_with(b"slow") {
        got.extend_from_slice(&client.exact(1));
        assert!(patience.elapsed() < Duration::from_secs(10), "{} bytes", got.len());
    }
}
