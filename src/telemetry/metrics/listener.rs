//! What is counted of a listener, and of a worker's connections. Hot path: each call that records is a relaxed load and
//! store in a cell that no other worker writes.
//!
//! Called by `runtime::worker` (connections) and `proxy` (requests); read when a scrape gathers, and by the API.

use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::count::Count;
use super::names::Labels;

/// No limit.
const OFF: u64 = u64::MAX;

/// Why we closed a connection before it had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The listener's or the process's connection limit. Nothing is closed for it today: who finds no place waits in the
    /// kernel's queue.
    Limit,
    /// `max_connections_per_ip`.
    PerIp,
    /// `allow` and `deny`.
    Denied,
    /// Too many resets, pings, settings or empty frames (HTTP/2).
    Flood,
    /// An idle connection that gave way to a new one.
    IdlePressure,
    /// The PROXY header was missing, malformed, or from a peer that is not trusted.
    ProxyProtocol,
}

impl Closed {
    /// The label `reason` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 6] = ["limit", "per_ip", "denied", "flood", "idle_pressure", "proxy_protocol"];

    /// The label `reason`.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// Why a client's TLS handshake has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// What came is not TLS: plain HTTP, most of the time.
    NotTls,
    /// It was not done within `header_timeout`.
    Timeout,
    /// The client has left, perhaps without a word.
    Closed,
    /// No version of TLS is common to both sides.
    Version,
    /// No cipher suite, group or kind of signature is common to both sides.
    Cipher,
    /// The client's certificate is missing, or not one that we take.
    ClientCertificate,
    /// No protocol above TLS is common to both sides.
    Alpn,
    /// The client does not take our certificate.
    Certificate,
    /// It breaks the rules of TLS.
    Malformed,
    /// Anything else, a defect of ours included.
    Other,
}

impl TlsFailure {
    /// The label `reason` of each, in the order of their numbers.
    pub(super) const WORDS: [&str; 10] = [
        "not_tls",
        "timeout",
        "closed",
        "version",
        "cipher",
        "client_certificate",
        "alpn",
        "certificate",
        "malformed",
        "other",
    ];

    /// The label `reason`.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

/// The series of one listener. `worker` is the number of the calling worker; one that is not there is a defect, and
/// panics.
#[derive(Debug)]
pub struct ListenerMetrics {
    pub(super) labels: Labels,
    cells: Box<[Cells]>,
    /// `max_connections`, or [`OFF`].
    limit: AtomicU64,
    /// It speaks TLS: only then can a handshake fail.
    tls: AtomicBool,
}

/// One worker's part.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    opened: Count,
    closed: Count,
    started: Count,
    finished: Count,
    closed_by: [Count; Closed::WORDS.len()],
    handshakes: [Count; TlsFailure::WORDS.len()],
}

impl ListenerMetrics {
    /// All at 0, without a limit.
    pub(super) fn new(labels: Labels, workers: usize) -> Self {
        let cells = iter::repeat_with(Cells::default).take(workers).collect();
        Self { labels, cells, limit: AtomicU64::new(OFF), tls: AtomicBool::new(false) }
    }

    /// A connection was accepted and is now this worker's.
    pub fn opened(&self, worker: usize) {
        self.cells[worker].opened.add(1);
    }

    /// A connection that this worker had opened has ended.
    pub fn closed(&self, worker: usize) {
        self.cells[worker].closed.add(1);
    }

    /// We close a connection for `reason`. Does not count it as closed: see [`ListenerMetrics::closed`].
    pub fn closed_by(&self, worker: usize, reason: Closed) {
        self.cells[worker].closed_by[reason as usize].add(1);
    }

    /// A client's TLS handshake has failed. Does not count the connection as closed: see [`ListenerMetrics::closed`].
    pub fn handshake_failed(&self, worker: usize, reason: TlsFailure) {
        self.cells[worker].handshakes[reason as usize].add(1);
    }

    /// A request's head has been read, or refused.
    pub fn started(&self, worker: usize) {
        self.cells[worker].started.add(1);
    }

    /// A request that was started has ended.
    pub fn finished(&self, worker: usize) {
        self.cells[worker].finished.add(1);
    }

    /// Most connections at a time; `None` is off, and exported as infinite.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.limit.store(limit.unwrap_or(OFF), Relaxed);
    }

    /// It speaks TLS from now on, or no longer.
    pub fn set_tls(&self, tls: bool) {
        self.tls.store(tls, Relaxed);
    }

    /// It speaks TLS.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.load(Relaxed)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.still(|cells| &cells.closed, |cells| &cells.opened)
    }

    /// Connections that were ever opened.
    pub(super) fn opened_total(&self) -> u64 {
        self.sum(|cells| &cells.opened)
    }

    /// Connections that we closed for the reason with this number.
    pub(super) fn closed_by_total(&self, reason: usize) -> u64 {
        self.sum(|cells| &cells.closed_by[reason])
    }

    /// TLS handshakes that have failed for the reason with this number.
    pub(super) fn handshakes_failed(&self, reason: usize) -> u64 {
        self.sum(|cells| &cells.handshakes[reason])
    }

    /// Requests that have ended.
    pub fn ended(&self) -> u64 {
        self.sum(|cells| &cells.finished)
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.still(|cells| &cells.finished, |cells| &cells.started)
    }

    /// As it was set.
    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != OFF)
    }

    /// What has begun and not ended. Ends are read first, so that what begins and ends in between does not count below 0.
    fn still(&self, ended: impl Fn(&Cells) -> &Count, begun: impl Fn(&Cells) -> &Count) -> u64 {
        let ended = self.sum(ended);
        self.sum(begun).saturating_sub(ended)
    }

    fn sum(&self, cell: impl Fn(&Cells) -> &Count) -> u64 {
        self.cells.iter().map(|cells| cell(cells).value()).sum()
    }
}

/// The connections of one worker, of whichever listener: they count until they end, though their listener may be gone.
/// For that worker alone to write.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerMetrics {
    opened: Count,
    closed: Count,
}

impl WorkerMetrics {
    /// A connection from a client is now this worker's.
    pub fn opened(&self) {
        self.opened.add(1);
    }

    /// A connection that this worker had opened has ended.
    pub fn closed(&self) {
        self.closed.add(1);
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        let closed = self.closed.value();
        self.opened.value().saturating_sub(closed)
    }
}
