//! What a process may hold: no body as a whole, and next to nothing for a connection that waits.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Gate, Process, Setup, wait_for};

const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// Waits until `count` has not moved for half a second, and returns it: everything on the way is full.
fn held_back(count: &AtomicU64) -> u64 {
    let (mut last, mut since) = (count.load(SeqCst), Instant::now());
    wait_for("the sender is held back", || {
        let now = count.load(SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        now > 0 && since.elapsed() > Duration::from_millis(500)
    });
    last
}

/// A backend that sends a GiB and counts what it got rid of.
fn source(sent: &Arc<AtomicU64>, head: &'static str, piece: Vec<u8>, end: &'static str) -> Backend {
    let sent = Arc::clone(sent);
    Backend::raw(move |conn, _| {
        conn.request();
        conn.send(head);
        while sent.load(SeqCst) < GIB {
            if !conn.send(&piece) {
                return;
            }
            sent.fetch_add(64 * 1024, SeqCst);
        }
        conn.send(end);
        conn.wait_closed();
    })
}

/// A GiB to a client that reads a little, rests, and then takes everything; evenkeel stays small all the time.
fn slow_reader(head: &'static str, piece: Vec<u8>, end: &'static str) {
    let sent = Arc::new(AtomicU64::new(0));
    let backend = source(&sent, head, piece, end);
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head();
    let held = held_back(&sent);
    assert!(held < 128 * MIB as u64, "the backend got rid of {held} bytes, though the client took none");
    assert_small(&evenkeel);
    let (mut taken, mut seen) = (0, 0);
    let framing = head.response_framing("GET").unwrap();
    client
        .wire
        .body(framing, &mut |piece| {
            taken += piece.len() as u64;
            if taken / (128 * MIB as u64) > seen {
                seen += 1;
                assert_small(&evenkeel);
            }
        })
        .unwrap();
    assert_eq!(taken, GIB);
    assert_small(&evenkeel);
}

fn assert_small(evenkeel: &Process) {
    let resident = evenkeel.resident();
    assert!(resident < 40 * MIB, "{} MiB resident", resident / MIB);
}

#[test]
fn a_gibibyte_to_a_slow_reader_holds_the_backend_back() {
    slow_reader("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", vec![b'x'; 64 * 1024], "");
}

#[test]
fn a_gibibyte_in_chunks_to_a_slow_reader_holds_the_backend_back() {
    let piece = [b"10000\r\n", &vec![b'x'; 64 * 1024][..], b"\r\n"].concat();
    slow_reader("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", piece, "0\r\n\r\n");
}

#[test]
fn a_slow_backend_holds_the_client_back() {
    let gate = Gate::default();
    let go = gate.clone();
    let backend = Backend::raw(move |conn, _| {
        conn.wire.record = None;
        let framing = conn.head().unwrap().request_framing().unwrap();
        go.pass();
        let mut taken = 0;
        conn.wire.body(framing, &mut |piece| taken += piece.len()).unwrap();
        let taken = taken.to_string();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{taken}", taken.len()));
    });
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let mut client = evenkeel.client();
    let mut writer = client.writer();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let writing = thread::spawn(move || {
        writer
            .write_all(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 256 * MIB).as_bytes())
            .unwrap();
        for _ in 0..256 * 16 {
            writer.write_all(&[b'x'; 64 * 1024]).unwrap();
            count.fetch_add(64 * 1024, SeqCst);
        }
    });
    let held = held_back(&sent);
    assert!(held < 128 * MIB as u64, "the client got rid of {held} bytes, though the backend took none");
    assert_small(&evenkeel);
    gate.open();
    writing.join().unwrap();
    assert_eq!(client.response().text(), (256 * MIB).to_string());
    assert_small(&evenkeel);
}

/// `count` connections that have been answered once and wait for their next request.
fn idle(evenkeel: &Process, count: usize) -> Vec<Client> {
    let connect = |_| {
        let mut client = evenkeel.client();
        assert_eq!(client.get("/").status, 200);
        client
    };
    (0..count).map(connect).collect()
}

#[test]
fn an_idle_connection_costs_two_kibibytes() {
    const COUNT: usize = 2000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    // What is needed once, whatever the number of connections, is there after these.
    let warm = idle(&evenkeel, 200);
    let before = evenkeel.resident();
    let clients = idle(&evenkeel, COUNT);
    assert_eq!(evenkeel.metric("evenkeel_listener_connections", &[("listener", "web")]), (COUNT + warm.len()) as f64);
    let each = evenkeel.resident().saturating_sub(before) / COUNT;
    // Futures of a debug build are larger, and allocations round them up.
    let most = if cfg!(debug_assertions) { 2304 } else { 2048 };
    assert!(each <= most, "{each} bytes for each idle connection");
    drop(clients);
}

#[test]
fn an_idle_process_is_small() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    drop(idle(&evenkeel, 10));
    // Without optimisation the text alone is several times as large: then what it has taken beside that counts.
    let (held, bar) = match cfg!(debug_assertions) {
        true => (evenkeel.anonymous(), 6 * MIB),
        false => (evenkeel.resident(), 10 * MIB),
    };
    assert!(held <= bar, "{} KiB", held / 1024);
}

#[test]
fn many_exchanges_leave_no_memory_behind() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).spawn();
    let round = || {
        for _ in 0..100 {
            let mut client = evenkeel.client();
            for _ in 0..10 {
                assert_eq!(client.get("/").status, 200);
            }
        }
        backend.forget();
        evenkeel.resident()
    };
    round();
    let before = round();
    for _ in 0..4 {
        round();
    }
    let grown = round().saturating_sub(before);
    assert!(grown < MIB, "{grown} bytes more after 5,000 exchanges");
}
