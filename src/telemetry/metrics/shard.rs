//! What one worker counts. Hot path: each call is a few relaxed loads and stores in cells that no other thread writes;
//! no lock, no look-up by name, no formatting, and memory only at the first status of a hundred.
//!
//! Called by `http` servers, `proxy` and `runtime::worker`; read by control when it gathers. Numbers of listeners,
//! routes, backends and failures are those of the [`Layout`]; one that is not there is a defect, and panics.
//!
//! A reload will give each worker a new shard together with its new plan, sharing the cells whose names stay (the
//! fields below become `Arc`s then); so an exchange that still holds the old plan goes on counting in the right cells.

use std::iter;
use std::sync::OnceLock;
use std::time::Duration;

use super::count::{Codes, Count};
use super::histogram::{Bounds, Histogram};
use super::layout::Layout;

/// Why we closed a connection before it had its say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The listener's or the process's connection limit.
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
}

/// What there is to count when a request ends.
#[derive(Clone, Copy, Debug)]
pub struct Finished {
    /// The number of the listener that it came by.
    pub listener: usize,
    /// The number of its route, or [`NO_ROUTE`](super::NO_ROUTE).
    pub route: usize,
    /// The status that the client got; 499 if it left.
    pub status: u16,
    /// From the request's first byte to the end of the exchange.
    pub duration: Duration,
    /// Bytes of the request's body that the client sent, framing not counted.
    pub bytes_in: u64,
    /// Bytes of the response's body that were sent to the client, framing not counted.
    pub bytes_out: u64,
}

/// Cells of one listener.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct ListenerCells {
    pub(super) opened: Count,
    pub(super) closed: Count,
    pub(super) started: Count,
    pub(super) finished: Count,
    pub(super) closed_by: [Count; Closed::WORDS.len()],
}

/// Cells of one route.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct RouteCells {
    pub(super) duration: Histogram,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
    /// By kind; taken at the first failure.
    pub(super) failures: OnceLock<Box<[Count]>>,
}

/// Cells of one backend.
#[derive(Debug)]
pub(super) struct BackendCells {
    pub(super) codes: Codes,
    pub(super) response: Option<Histogram>,
}

/// One worker's counts. The worker that owns it is the only one to call the methods that record: a count from another
/// thread could get lost.
#[derive(Debug)]
pub struct Shard {
    bounds: Bounds,
    failures: usize,
    pub(super) listeners: Box<[ListenerCells]>,
    pub(super) routes: Box<[RouteCells]>,
    pub(super) backends: Box<[BackendCells]>,
    /// By listener and route: `listener * routes + route`.
    requests: Box<[Codes]>,
}

impl Shard {
    /// All at 0.
    pub(super) fn new(layout: &Layout, bounds: &Bounds) -> Self {
        let route = || RouteCells {
            duration: Histogram::new(bounds),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            failures: OnceLock::new(),
        };
        let response = || layout.has_backend_histograms().then(|| Histogram::new(bounds));
        let backend = || BackendCells { codes: Codes::default(), response: response() };
        let (listeners, routes) = (layout.listeners.len(), layout.route_count());
        Self {
            bounds: bounds.clone(),
            failures: layout.failures.len(),
            listeners: iter::repeat_with(ListenerCells::default).take(listeners).collect(),
            routes: iter::repeat_with(route).take(routes).collect(),
            backends: iter::repeat_with(backend).take(layout.backends.len()).collect(),
            requests: iter::repeat_with(Codes::default).take(listeners * routes).collect(),
        }
    }

    /// A connection of `listener` was accepted and is now this worker's.
    pub fn connection_opened(&self, listener: usize) {
        self.listeners[listener].opened.add(1);
    }

    /// A connection that this worker had opened has ended.
    pub fn connection_closed(&self, listener: usize) {
        self.listeners[listener].closed.add(1);
    }

    /// We close a connection for `reason`. Does not count it as closed: see [`Shard::connection_closed`].
    pub fn closed_by(&self, listener: usize, reason: Closed) {
        self.listeners[listener].closed_by[reason as usize].add(1);
    }

    /// A request's head has been read, or refused.
    pub fn request_started(&self, listener: usize) {
        self.listeners[listener].started.add(1);
    }

    /// A request that was started has ended.
    pub fn request_finished(&self, request: &Finished) {
        self.listeners[request.listener].finished.add(1);
        self.codes(request.listener, request.route).add(request.status);
        let cells = &self.routes[request.route];
        cells.duration.observe(&self.bounds, request.duration);
        cells.bytes_in.add(request.bytes_in);
        cells.bytes_out.add(request.bytes_out);
    }

    /// An attempt has ended with `status`: the response's, or that of its failure word; with a response, the time
    /// from the request sent to the response head.
    pub fn attempt_finished(&self, backend: usize, status: u16, response_time: Option<Duration>) {
        let cells = &self.backends[backend];
        cells.codes.add(status);
        if let (Some(histogram), Some(time)) = (&cells.response, response_time) {
            histogram.observe(&self.bounds, time);
        }
    }

    /// An exchange has failed with this kind of failure.
    pub fn failure(&self, route: usize, kind: usize) {
        let failures = self.routes[route].failures.get_or_init(|| self.no_failures());
        failures[kind].add(1);
    }

    #[cold]
    fn no_failures(&self) -> Box<[Count]> {
        iter::repeat_with(Count::default).take(self.failures).collect()
    }

    /// The counts by status of the requests of `listener` and `route`.
    pub(super) fn codes(&self, listener: usize, route: usize) -> &Codes {
        &self.requests[listener * self.routes.len() + route]
    }
}
