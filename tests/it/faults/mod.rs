//! The catalogue of what backends and clients do to a balancer. Each fault has a test here that goes over the whole stage:
//! what the client is told, what stands in the access log and in the metrics, that nothing takes longer than its time-out,
//! that other requests never notice, and that nothing is left behind ([`Stage::end`]). Where a request may go out again, it
//! is also shown beside a backend that is well.
//!
//! | fault | here | more of it |
//! |---|---|---|
//! | refuses | `connecting::refuses` | `retries`, `errors` |
//! | black-holes SYN | `connecting::black_hole` | `timeouts`, `retries` |
//! | accepts and says nothing | `connecting::silence` | `timeouts`, `retries` |
//! | TLS handshake stalls, or ends | `connecting::tls_stalls`, `connecting::tls_ends` | `tls::backends` |
//! | half a head, then silence or an end | `heads::half_then_silence`, `heads::half_then_end` | `retries` |
//! | garbage | `heads::garbage` | `corpus::responses` |
//! | head too large | `heads::too_large` | `corpus::oversize` |
//! | resets, before or within its head | `heads::reset`, `heads::reset_within` | `stale`, `retries` |
//! | drips its head | `heads::drip` | |
//! | floods of 1xx | `heads::interim_flood` | `corpus::responses` |
//! | resets within its body, chunked or not | `bodies::reset_within` | `bodies` (the other one) |
//! | Content-Length too long | `bodies::length_too_long` | |
//! | Content-Length too short | `bodies::length_too_short` | |
//! | drips its body | `bodies::drip` | `timeouts` |
//! | stalls within its body | `bodies::stall` | `timeouts` |
//! | closes a kept connection just as it is reused | `connections::closes_as_it_is_reused` | `stale` |
//! | closes after each response | `connections::closes_each_time` | `bodies` |
//! | replaced by another process on the port | `connections::replaced` | `reload` |
//! | killed under load | `outage::a_killed_backend_is_not_noticed` | `kill` |
//! | back after an outage | `outage::a_backend_that_comes_back_is_soon_used_and_ramped` | `slow_start` |
//! | h2: GOAWAY, graceful or not | `streams::goaway_*` | `h2::ends` (our own) |
//! | h2: RST_STREAM, before and within the answer | `streams::reset_*`, `streams::refused` | `http2_backends`, `grpc` |
//! | h2: window never opened | `streams::window_never_opened` | |
//! | h2: no SETTINGS, no HTTP/2 | `streams::silence`, `streams::garbage` | |
//! | client leaves within its request or answer | `clients::leaves_*` | `client_gone`, `h2::ends` |
//! | client half-closes | `clients::half_closes` | `client_gone` |
//! | slow clients of a fast backend | `clients::slow_ones_of_a_fast_backend` | `memory` |
//!
//! **What ends a body that drips:** nothing, for as long as a byte comes in each `body_timeout`; a route's `timeout` ends with
//! the response head. Its client ends it by leaving, an operator by a drain with a deadline. Backends are trusted that far: a
//! least rate there is for clients alone (`min_body_rate`).

mod bodies;
mod clients;
mod connecting;
mod connections;
mod heads;
mod outage;
mod streams;

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backend, Client, Process, Response, Site, wait_for};

/// Of the pools under test: short, and far from the patience of a test.
const TIMES: [&str; 3] = ["connect_timeout = \"300ms\"", "response_timeout = \"1s\"", "body_timeout = \"1s\""];
const CONNECT: Duration = Duration::from_millis(300);
const RESPONSE: Duration = Duration::from_secs(1);
/// What a slow machine may add to a time-out.
const SLACK: Duration = Duration::from_secs(4);
/// Descriptors that a process keeps for good once it has moved large bodies: pipes.
const PIPES: usize = 8;

/// `/alone/…` goes to the backend under test without a retry; `/pair/…` with the default ones, and another backend is
/// well; all else to a third one, that is asked all the time.
const ROUTES: &str = "
[[route]]
name = \"alone\"
path = \"/alone/*\"
pool = \"alone\"
[[route]]
name = \"pair\"
path = \"/pair/*\"
pool = \"pair\"
[[route]]
name = \"others\"
pool = \"others\"
";

/// What an exchange that fails says everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) word: &'static str,
    /// The type of RFC 9209.
    pub(super) kind: &'static str,
}

const RESET: Failure = Failure { status: 502, word: "reset", kind: "connection_terminated" };
const BAD_RESPONSE: Failure = Failure { status: 502, word: "bad_response", kind: "http_protocol_error" };
const LATE: Failure = Failure { status: 504, word: "response_timeout", kind: "http_response_timeout" };

/// evenkeel as a process, between a backend under test, some that are well, and clients of those.
pub(super) struct Stage {
    pub(super) evenkeel: Process,
    log: PathBuf,
    well: [Backend; 2],
    others: Option<Others>,
    /// Open at the start.
    descriptors: usize,
    /// Failures so far, by route and word.
    failures: Mutex<HashMap<(String, String), usize>>,
}

impl Stage {
    /// In front of `bad`, with further keys for both of its pools.
    pub(super) fn new(bad: SocketAddr, pool: &str) -> Self {
        Self::listening(bad, pool, "")
    }

    /// As [`Stage::new`], with further keys of the listener.
    pub(super) fn listening(bad: SocketAddr, pool: &str, listener: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("faults-{}-{}.log", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&log);
        let well = [Backend::ok("well"), Backend::ok("well")];
        let times = TIMES.iter().filter(|line| !pool.contains(line.split(' ').next().unwrap_or_default()));
        let alone = format!("{}\n{pool}", times.copied().collect::<Vec<_>>().join("\n"));
        // Its second backend speaks HTTP/1.1 without TLS alone.
        let plain = !pool.contains("protocol") && !pool.contains("tls");
        let pair = if plain { vec![bad, well[0].address()] } else { vec![bad] };
        let site = Site::new(ROUTES).listener(listener).log(format!("access = {:?}", log.display().to_string()));
        let site = site.pool_with("alone", &[bad], &alone).pool_with("pair", &pair, &format!("{alone}\nretry = {{}}"));
        let evenkeel = Process::spawn(&site.pool("others", well[1].address()).toml());
        // Once it answers, every thread has what it needs.
        assert_eq!(evenkeel.client().get("/others").status, 200);
        let descriptors = evenkeel.descriptors();
        let others = Some(Others::of(evenkeel.address()));
        Self { evenkeel, log, well, others, descriptors, failures: Mutex::default() }
    }

    /// Asks for `target` on a connection of its own.
    pub(super) fn get(&self, target: &str) -> Response {
        self.evenkeel.client().get(target)
    }

    /// The value of a metric of the route or pool `name`.
    fn metric(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.evenkeel.metric(metric, labels)
    }

    /// Waits until `times` attempts at backends of `pool` are counted with that status, and no more than those in all.
    #[track_caller]
    pub(super) fn assert_attempts(&self, pool: &str, codes: &[(&str, usize)]) {
        for (code, times) in codes {
            let counted = || self.metric("evenkeel_backend_requests_total", &[("pool", pool), ("code", code)]);
            wait_for(&format!("{times} attempts of {pool} are {code}"), || counted() == *times as f64);
        }
        let all: usize = codes.iter().map(|(_, times)| times).sum();
        assert_eq!(self.metric("evenkeel_backend_requests_total", &[("pool", pool)]), all as f64, "{pool}");
    }

    /// Attempts of `pool` that were retries.
    pub(super) fn retries(&self, pool: &str) -> f64 {
        self.metric("evenkeel_retries_total", &[("pool", pool)])
    }

    /// The line of the access log about `path`, which was asked for once.
    #[track_caller]
    pub(super) fn line(&self, path: &str) -> Value {
        let mut found = None;
        wait_for(&format!("{path} is in the log"), || {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let mut lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
            found = lines.find(|line| line["path"] == path);
            found.is_some()
        });
        found.expect("wait_for saw it")
    }

    /// The exchange about `path` (`/ROUTE/…`) has failed, and that stands in the log and in the metrics.
    #[track_caller]
    pub(super) fn assert_noted(&self, path: &str, status: u16, word: &str) {
        let line = self.line(path);
        assert_eq!((line["status"].as_u64(), line["failure"].as_str()), (Some(status.into()), Some(word)), "{line}");
        let route = path.split('/').nth(1).unwrap();
        assert_eq!(line["route"], route, "{line}");
        let mut failures = self.failures.lock().unwrap();
        let times = failures.entry((route.to_owned(), word.to_owned())).or_default();
        *times += 1;
        let counted = || self.metric("evenkeel_failures_total", &[("route", route), ("reason", word)]);
        // Others of the same kind may have been counted that are still to be asserted; `end` looks at their sum.
        wait_for(&format!("{times} failures of {route} are {word}"), || counted() >= *times as f64);
    }

    /// As [`Stage::assert_noted`], and `response` says it to the client.
    #[track_caller]
    pub(super) fn assert_failed(&self, path: &str, response: &Response, failure: Failure) {
        let Failure { status, word, kind } = failure;
        assert_eq!(response.status, status, "{response:?}");
        let said = response.head.fields.all("proxy-status");
        assert_eq!(said, [format!("evenkeel; error={kind}; details=\"{word}\"")], "{response:?}");
        self.assert_noted(path, status, word);
    }

    /// Two requests on one connection to the backend under test alone: each fails so, after `least` and soon after.
    #[track_caller]
    pub(super) fn assert_fails_alone(&self, failure: Failure, least: Duration) {
        let mut client = self.evenkeel.client();
        for number in 0..2 {
            let (path, start) = (format!("/alone/{number}"), Instant::now());
            let response = client.get(&path);
            let took = start.elapsed();
            // Timers are as coarse as a millisecond.
            assert!(took + Duration::from_millis(2) >= least && took < least + SLACK, "{path}: {took:?}");
            self.assert_failed(&path, &response, failure);
        }
        self.assert_attempts("alone", &[(&failure.status.to_string(), 2)]);
    }

    /// Four requests to the backend under test and another one that is well, in turn: no client notices the fault, if it
    /// is one after which a request goes out again; else each second one fails, and nothing is tried twice.
    #[track_caller]
    pub(super) fn assert_pair(&self, failure: Failure, goes_again: bool) {
        let code = failure.status.to_string();
        let answers: Vec<_> = (0..4).map(|number| self.get(&format!("/pair/{number}"))).collect();
        let fine = answers.iter().filter(|answer| answer.status == 200).count();
        if goes_again {
            assert_eq!(fine, 4, "{answers:?}");
            let retries = self.retries("pair");
            assert!(retries >= 1.0, "the bad one was met");
            return self.assert_attempts("pair", &[("200", 4), (&code, retries as usize)]);
        }
        assert_eq!((fine, self.retries("pair")), (2, 0.0), "{answers:?}");
        for (number, answer) in answers.iter().enumerate().filter(|(_, answer)| answer.status != 200) {
            self.assert_failed(&format!("/pair/{number}"), answer, failure);
        }
        self.assert_attempts("pair", &[("200", 2), (&code, 2)]);
    }

    /// The epilogue of every story: nobody else has noticed, no more has failed than was said, and nothing is left, be it
    /// a count, a connection or a descriptor. `bad` ends here.
    #[track_caller]
    pub(super) fn end(mut self, bad: impl Sized) {
        let (asked, wrong) = self.others.take().expect("it ends once").stop();
        assert!(wrong.is_none() && asked >= 5, "of {asked} other requests one went wrong: {wrong:?}");
        let failures: usize = self.failures.lock().unwrap().values().sum();
        assert_eq!(self.metric("evenkeel_failures_total", &[]), failures as f64, "failures that nobody asserted");
        for gauge in ["evenkeel_requests_in_flight", "evenkeel_backend_in_flight", "evenkeel_listener_connections"] {
            wait_for(&format!("{gauge} is 0"), || self.metric(gauge, &[]) == 0.0);
        }
        drop(bad);
        self.well.iter().for_each(Backend::kill);
        wait_for("no connection to a backend is left", || self.metric("evenkeel_backend_connections", &[]) == 0.0);
        let most = self.descriptors + PIPES;
        wait_for(&format!("there are {most} descriptors or fewer"), || self.evenkeel.descriptors() <= most);
        assert_eq!(self.metric("evenkeel_panics_total", &[]), 0.0, "{:?}", self.evenkeel.log());
        let _ = fs::remove_file(&self.log);
    }
}

/// A client of the backend that is well: it asks all the time, by turns on a kept connection and on a new one.
struct Others {
    over: Arc<AtomicBool>,
    client: JoinHandle<(usize, Option<String>)>,
}

impl Others {
    fn of(address: SocketAddr) -> Self {
        let over = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&over);
        let client = thread::spawn(move || {
            let (mut kept, mut asked) = (Client::h1(address), 0);
            while !seen.load(SeqCst) {
                for answer in [kept.get("/others"), Client::h1(address).get("/others")] {
                    asked += 1;
                    if answer.status != 200 || answer.cut {
                        return (asked, Some(format!("{answer:?}")));
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
            (asked, None)
        });
        Self { over, client }
    }

    /// How often it has asked, and the first answer that was not 200.
    fn stop(self) -> (usize, Option<String>) {
        self.over.store(true, SeqCst);
        self.client.join().expect("nobody waits in vain for an answer of a backend that is well")
    }
}
