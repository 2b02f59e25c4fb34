//! The algorithms that look at what backends carry, against backends of different speed and answers of different size
//! (PRODUCT.md section 3, `algorithm`).

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Evenkeel, Gate, Reply, Setup, wait_for};

/// Serves one request at a time, each in so much time.
fn one_at_a_time(time: Duration) -> Backend {
    let turn = Mutex::new(());
    Backend::http(move |_| {
        let _mine = turn.lock().unwrap();
        thread::sleep(time);
        Reply::ok("done")
    })
}

/// The time that 99 of 100 answers took at most: `clients` kept connections ask for `total` of them without a pause, after
/// `first` that tell the balancer who is who.
fn p99(evenkeel: &Evenkeel, clients: usize, (first, total): (usize, usize)) -> Duration {
    let (address, asked) = (evenkeel.address(), Arc::new(AtomicUsize::new(0)));
    let client = |_| {
        let asked = Arc::clone(&asked);
        thread::spawn(move || {
            let (mut client, mut times) = (Client::h1(address), Vec::new());
            loop {
                let (number, begun) = (asked.fetch_add(1, SeqCst), Instant::now());
                if number >= first + total {
                    return times;
                }
                assert_eq!(client.get("/").status, 200);
                times.extend((number >= first).then(|| begun.elapsed()));
            }
        })
    };
    let running: Vec<_> = (0..clients).map(client).collect();
    let mut times: Vec<_> = running.into_iter().flat_map(|client| client.join().unwrap()).collect();
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// 1, 1 and 10 ms, each three times as long: a debug build on a busy machine is still faster than the backends.
#[test]
fn one_slow_backend_holds_up_few() {
    let times = [3, 3, 30].map(Duration::from_millis);
    let measure = |algorithm: &str| {
        let backends = times.map(one_at_a_time);
        let setup = Setup::to(&backends.each_ref().map(Backend::address));
        let evenkeel = setup.pool(format!("algorithm = \"{algorithm}\"")).start();
        let p99 = p99(&evenkeel, 64, (200, 500));
        eprintln!("{algorithm}: {p99:?}, requests {:?}", backends.each_ref().map(Backend::requests));
        p99
    };
    let in_turn = measure("round_robin");
    for algorithm in ["least_response_time", "power_of_two_choices"] {
        let p99 = measure(algorithm);
        assert!(p99 * 2 <= in_turn, "{algorithm}: {p99:?}, round_robin: {in_turn:?}");
    }
}

const SMALL: usize = 2 * 1024;
const LARGE: usize = 100 * SMALL;

/// Answers `/large` and everything else with bodies of these sizes, and adds them up.
fn sized(sum: &Arc<AtomicU64>) -> Backend {
    let sum = Arc::clone(sum);
    Backend::http(move |request| {
        let size = if request.target == "/large" { LARGE } else { SMALL };
        sum.fetch_add(size as u64, SeqCst);
        Reply::ok(vec![b'x'; size])
    })
}

#[test]
fn least_bandwidth_evens_out_bytes() {
    let imbalance = |algorithm: &str| {
        let sums = [(); 2].map(|()| Arc::<AtomicU64>::default());
        let backends = sums.each_ref().map(sized);
        let setup = Setup::to(&backends.each_ref().map(Backend::address)).one_worker();
        let evenkeel = setup.pool(format!("algorithm = \"{algorithm}\"")).start();
        let mut client = evenkeel.client();
        for number in 0..200 {
            let response = client.get(if number % 2 == 0 { "/large" } else { "/small" });
            assert_eq!(response.status, 200);
        }
        let [a, b] = sums.map(|sum| sum.load(SeqCst) as f64);
        a.max(b) / a.min(b)
    };
    let (in_turn, least) = (imbalance("round_robin"), imbalance("least_bandwidth"));
    assert!(in_turn > 50.0, "all that is large goes to one of two in turn: {in_turn}");
    assert!(least < 1.5, "{least}");
}

/// Bytes of an answer that has not ended.
const MOVED: usize = 8 << 20;

/// After so long it does not matter any more which of the backends has joined first.
const KNOWN: Duration = Duration::from_millis(500);

/// Sends `head` and many bytes to whoever asks for `/long`, and ends it when the gate is open. `/held` waits for the gate, too.
fn long(head: &'static str, gate: &Gate, begun: &Arc<AtomicUsize>) -> Backend {
    let (gate, begun) = (gate.clone(), Arc::clone(begun));
    Backend::raw(move |conn, _| {
        while let Some(request) = conn.request() {
            match request.target.as_str() {
                "/long" => {
                    begun.fetch_add(1, SeqCst);
                    conn.send(head);
                    conn.send(vec![b'x'; MOVED]);
                    gate.pass();
                    return;
                }
                "/held" => {
                    begun.fetch_add(1, SeqCst);
                    gate.pass();
                }
                _ => {}
            }
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SMALL}\r\n\r\n{}", "x".repeat(SMALL)));
        }
    })
}

/// Reads what comes, until it ends.
fn drink(mut stream: TcpStream) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let so_far = Arc::clone(&count);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            so_far.fetch_add(read, SeqCst);
        }
    });
    count
}

#[test]
fn bytes_count_while_they_flow() {
    let plain = "GET /long HTTP/1.1\r\nHost: test\r\n\r\n";
    let switch = "GET /long HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (ask, head) in [
        // Through the kernel's pipe; read and written; a tunnel.
        (plain, "HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n"),
        (plain, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
        (
            switch,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ),
    ] {
        let gate = Gate::default();
        let begun = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let backends = begun.each_ref().map(|begun| long(head, &gate, begun));
        let setup = Setup::to(&backends.each_ref().map(Backend::address)).one_worker();
        let evenkeel = setup.pool("algorithm = \"least_bandwidth\"").start();
        let mut client = evenkeel.client();
        // Of those that have joined this very moment, who came first would matter.
        let known = Instant::now();
        while known.elapsed() < KNOWN {
            client.get("/small");
        }
        assert!(backends.iter().all(|backend| backend.requests() > 0), "both are known");
        let mut downloader = evenkeel.client();
        downloader.send(ask);
        let count = drink(downloader.writer());
        wait_for("much has come", || count.load(SeqCst) >= MOVED);
        let busy = begun.iter().position(|begun| begun.load(SeqCst) == 1).unwrap();
        // Each has one on its way now.
        let mut held = evenkeel.client();
        held.send("GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        wait_for("it is at the other one", || begun[1 - busy].load(SeqCst) == 1);
        let before = backends[busy].requests();
        for _ in 0..20 {
            assert_eq!(client.get("/small").status, 200);
        }
        assert_eq!(backends[busy].requests(), before, "{head}");
        gate.open();
    }
}
