//! Chaos: clients and backends are killed at random under load, and afterwards nothing is left over. How long is said by
//! `EVENKEEL_CHAOS_SECONDS` (5 by default).

use std::env;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Process, Reply, Rng, Setup, wait_for};

/// What a round of chaos did, so that a round that did nothing does not pass for one.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    left: AtomicU64,
    killed: AtomicU64,
}

fn backends() -> Vec<Backend> {
    let answer = || {
        Backend::http(|request| match request.target.as_str() {
            "/large" => Reply::ok(vec![b'x'; 1 << 20]),
            "/chunked" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "/close" => Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil close").close(),
            "/cut" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut").close(),
            "/nonsense" => Reply::raw("nonsense\r\n\r\n").close(),
            _ => Reply::ok(request.body),
        })
    };
    (0..3).map(|_| answer()).collect()
}

/// Tells the clients to end, also when the test fails meanwhile.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// One client that behaves or does not; whether it was answered. Anything may happen to it but a malformed answer.
fn visit(rng: &mut Rng, evenkeel: &Process, tally: &Tally) -> std::io::Result<()> {
    let mut client = Client::connect(evenkeel.address())?;
    for _ in 0..=rng.below(20) {
        let target = ["/", "/large", "/chunked", "/close", "/cut", "/nonsense"][rng.below(6)];
        let length = rng.split();
        let body = rng.bytes(length);
        let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
        let request = [head.as_bytes(), &body].concat();
        let sent = if rng.one_in(8) { rng.below(request.len()) } else { request.len() };
        client.wire.stream.write_all(&request[..sent])?;
        if sent < request.len() || rng.one_in(8) {
            tally.left.fetch_add(1, SeqCst);
            if rng.one_in(2) {
                client.reset();
            }
            return Ok(());
        }
        let response = client.try_response("POST")?;
        assert!(matches!(response.status, 200 | 502 | 503 | 504), "{response:?}");
        tally.answered.fetch_add(1, SeqCst);
        if response.cut {
            return Ok(());
        }
    }
    Ok(())
}

fn chaos(evenkeel: &Process, backends: &[Backend], rng: &mut Rng, time: Duration) -> Tally {
    let (tally, over, end) = (Tally::default(), AtomicBool::new(false), Instant::now() + time);
    let rngs: Vec<_> = (0..6).map(|_| rng.fork()).collect();
    thread::scope(|scope| {
        for mut rng in rngs {
            let (tally, over) = (&tally, &over);
            scope.spawn(move || {
                while !over.load(SeqCst) {
                    if let Err(error) = visit(&mut rng, evenkeel, tally) {
                        assert_ne!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
                        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "a client hangs");
                    }
                }
            });
        }
        let _over = Over(&over);
        while Instant::now() < end {
            let victim = &backends[rng.below(backends.len())];
            victim.kill();
            tally.killed.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(rng.below(20) as u64));
            victim.restart();
            victim.forget();
            thread::sleep(Duration::from_millis(rng.below(30) as u64));
        }
    });
    tally
}

/// Waits until everything has ended, and returns the descriptors and the memory that are left.
fn settle(evenkeel: &Process, backends: &[Backend]) -> (usize, usize) {
    for backend in backends {
        backend.kill();
    }
    for gauge in [
        "evenkeel_requests_in_flight",
        "evenkeel_backend_in_flight",
        "evenkeel_listener_connections",
        "evenkeel_backend_connections",
    ] {
        wait_for(&format!("{gauge} is 0"), || evenkeel.metric(gauge, &[]) == 0.0);
    }
    for backend in backends {
        backend.restart();
    }
    (evenkeel.descriptors(), evenkeel.resident())
}

#[test]
fn random_kills_leave_nothing_behind() {
    let seconds = env::var("EVENKEEL_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5.0);
    let half = Duration::from_secs_f64(seconds / 2.0);
    let mut rng = Rng::for_test("kill");
    let backends = backends();
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    let evenkeel = Setup::to(&addresses).spawn();
    // The first half fills what is kept for good (pools of buffers and pipes); the second must not add to it.
    let first = chaos(&evenkeel, &backends, &mut rng, half);
    let (descriptors, memory) = settle(&evenkeel, &backends);
    let second = chaos(&evenkeel, &backends, &mut rng, half);
    let (descriptors_after, memory_after) = settle(&evenkeel, &backends);
    for tally in [&first, &second] {
        let done = [&tally.answered, &tally.left, &tally.killed].map(|count| count.load(SeqCst));
        println!("answered, left, killed: {done:?}");
        assert!(done.iter().all(|&count| count >= 5), "too little happened: {done:?}");
    }
    assert_eq!(evenkeel.metric("evenkeel_panics_total", &[]), 0.0, "{:?}", evenkeel.log());
    assert!(descriptors_after <= descriptors + 8, "{descriptors} descriptors became {descriptors_after}");
    assert!(memory_after <= memory + (8 << 20), "{memory} bytes became {memory_after}");
    wait_for("it still serves", || evenkeel.client().get("/").status == 200);
}
