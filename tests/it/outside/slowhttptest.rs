//! slowhttptest in its four modes: slow heads, slow bodies, ranges that overlap, and slow readers. It says whether the service
//! was available all the time, and so does a client of ours.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{Backend, Client, Program, Reply, Setup, request};

/// Connections of the attack, and how long it lasts.
const CONNECTIONS: &str = "600";
const SECONDS: &str = "12";

/// Calls a listener again and again, on a connection of its own each time.
struct Probe {
    done: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    wrong: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Probe {
    fn start(address: SocketAddr) -> Self {
        let (done, asked, wrong) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>)>::default();
        let (stop, count, list) = (Arc::clone(&done), Arc::clone(&asked), Arc::clone(&wrong));
        let thread = thread::spawn(move || {
            while !stop.load(SeqCst) {
                let start = Instant::now();
                let answer = Client::connect(address).and_then(|mut client| {
                    client.try_send(request("GET", "probe", "/probe", "Connection: close\r\n"))?;
                    client.try_response("GET")
                });
                let fine = answer.as_ref().is_ok_and(|answer| answer.status == 200);
                if !fine || start.elapsed() > Duration::from_secs(5) {
                    list.lock().unwrap().push(format!("{answer:?} after {:?}", start.elapsed()));
                }
                count.fetch_add(1, SeqCst);
                // A pace, not a wait for something.
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { done, asked, wrong, thread }
    }

    /// It has seen no error; so many answers at the least.
    #[track_caller]
    fn assert_fine(self, least: usize) {
        self.done.store(true, SeqCst);
        self.thread.join().unwrap();
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} of {} failed: {:?}", wrong.len(), self.asked.load(SeqCst), wrong.first());
        assert!(self.asked.load(SeqCst) >= least, "{} answers", self.asked.load(SeqCst));
    }
}

/// Runs it in the mode of these words.
#[track_caller]
fn attack(mode: &[&str], path: &str) {
    let Some(program) = Program::find("slowhttptest", "slowhttptest") else { return };
    let large = vec![b'x'; 512 << 10];
    let backend = Backend::http(move |request| match request.field("range") {
        None if request.target.starts_with("/large") => Reply::ok(&large),
        _ => Reply::ok("fine"),
    });
    let process = Setup::to(&[backend.address()]).spawn();
    let url = format!("http://{}{path}", process.address());
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("slowhttptest-{}{}", std::process::id(), mode[0]));
    let files = files.to_str().unwrap();
    let common =
        ["-c", CONNECTIONS, "-r", "300", "-i", "2", "-l", SECONDS, "-p", "5", "-g", "-o", files, "-v", "1", "-u", &url];
    let probe = Probe::start(process.address());
    let said = program.run(&[mode, &common].concat());
    probe.assert_fine(20);
    let table = fs::read_to_string(format!("{files}.csv")).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let mut rows = table.lines().skip(1).filter(|row| !row.trim().is_empty()).peekable();
    assert!(rows.peek().is_some(), "it has counted nothing: {said:?}");
    // The last column: how many connections, or 0 while its probe had no answer.
    let away = rows.filter(|row| row.rsplit(',').next().is_some_and(|available| available.trim() == "0")).count();
    assert_eq!(away, 0, "the service was not available:\n{table}");
    assert_eq!(Client::h1(process.address()).get("/probe").status, 200);
    for end in ["csv", "html"] {
        let _ = fs::remove_file(format!("{files}.{end}"));
    }
}

#[test]
fn slow_heads() {
    attack(&["-H", "-x", "24"], "/");
}

#[test]
fn slow_bodies() {
    attack(&["-B", "-s", "8192", "-x", "10"], "/");
}

#[test]
fn overlapping_ranges() {
    attack(&["-R", "-a", "10", "-b", "3000", "-t", "HEAD"], "/large");
}

#[test]
fn slow_readers() {
    attack(&["-X", "-w", "1", "-y", "64", "-n", "1", "-z", "8", "-k", "3"], "/large");
}
