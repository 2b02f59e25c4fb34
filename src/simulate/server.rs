//! A backend in virtual time: it serves so many at a time, and the others wait. Hot path of the simulator.

use super::{
    nanos,
    random::{Bits, sample},
    requests::{NONE, Request, Requests},
};
use crate::config::scenario::{Backend, Distribution};

/// Over which what it says of its utilisation is a mean, in nanoseconds: as the load of a CPU is measured over a time.
const MEMORY: f64 = 1e9;

/// One of them.
#[derive(Debug)]
pub(super) struct Server {
    service: Option<Distribution>,
    concurrency: u32,
    bandwidth: Option<u64>,
    /// How many times as slow it is when it has just begun, and until it is not, in nanoseconds.
    cold: Option<(u64, f64)>,
    cold_until: u64,
    /// How many times as slow it is now, but for that.
    pub(super) slowness: f64,
    /// It takes nothing.
    pub(super) refuses: bool,
    busy: u32,
    first: u32,
    last: u32,
    waiting: u32,
    /// When what it sends will have gone.
    sent: u64,
    /// Nanoseconds of service.
    pub(super) worked: u64,
    /// Of its places that are busy, lately; and when that was reckoned.
    utilisation: (f64, u64),
}

impl Server {
    pub(super) fn new(backend: &Backend) -> Self {
        Self {
            service: backend.service,
            concurrency: backend.concurrency,
            bandwidth: backend.bandwidth,
            cold: backend.cold.map(|(length, factor)| (nanos(length), factor)),
            cold_until: 0,
            slowness: 1.0,
            refuses: false,
            busy: 0,
            first: NONE,
            last: NONE,
            waiting: 0,
            sent: 0,
            worked: 0,
            utilisation: (0.0, 0),
        }
    }

    /// It begins: cold, if that is its way.
    pub(super) fn begin(&mut self, now: u64) {
        self.cold_until = self.cold.map_or(0, |(length, _)| now + length);
    }

    /// It can serve one more at once.
    pub(super) fn is_free(&self) -> bool {
        self.busy < self.concurrency
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// It takes `request`, and will have served it at the time that is told.
    pub(super) fn serve(&mut self, now: u64, request: &mut Request) -> u64 {
        self.reckon(now);
        self.busy += 1;
        let mut bits = Bits::new(request.arrival.random ^ u64::from(request.retries));
        let time = self.service.map_or(request.arrival.service as f64, |service| sample(service, &mut bits));
        let time = ((time * self.slowness * self.coldness(now)) as u64).max(1);
        self.worked += time;
        request.until = now + time;
        request.until
    }

    /// It has served one.
    pub(super) fn served(&mut self, now: u64) {
        self.reckon(now);
        self.busy -= 1;
    }

    /// When an answer of `size` that is ready now will have been sent; `None` = at once.
    pub(super) fn send(&mut self, now: u64, size: u64) -> Option<u64> {
        let bandwidth = self.bandwidth?;
        self.sent = self.sent.max(now) + (size as f64 / bandwidth as f64 * 1e9) as u64;
        Some(self.sent)
    }

    /// `id` waits.
    pub(super) fn push(&mut self, id: u32, requests: &mut Requests) {
        requests.at(id).next = NONE;
        match self.last {
            NONE => self.first = id,
            last => requests.at(last).next = id,
        }
        self.last = id;
        self.waiting += 1;
    }

    /// The one that waits longest.
    pub(super) fn pop(&mut self, requests: &mut Requests) -> Option<u32> {
        let id = self.first;
        if id == NONE {
            return None;
        }
        self.first = requests.at(id).next;
        if self.first == NONE {
            self.last = NONE;
        }
        self.waiting -= 1;
        Some(id)
    }

    /// It has died with all that it had.
    pub(super) fn die(&mut self, now: u64) {
        self.reckon(now);
        (self.busy, self.first, self.last, self.waiting, self.sent) = (0, NONE, NONE, 0, now);
    }

    /// What it says of itself: the share of its places that were busy lately.
    pub(super) fn utilisation(&mut self, now: u64) -> f32 {
        self.reckon(now);
        self.utilisation.0 as f32
    }

    /// From the factor down to 1.
    fn coldness(&self, now: u64) -> f64 {
        match self.cold {
            Some((length, factor)) if now < self.cold_until => {
                1.0 + (factor - 1.0) * (self.cold_until - now) as f64 / length as f64
            }
            _ => 1.0,
        }
    }

    /// What was busy until now counts.
    fn reckon(&mut self, now: u64) {
        let (mean, at) = self.utilisation;
        let level = f64::from(self.busy) / f64::from(self.concurrency);
        // 1 - e^-x, near enough for the steps of a simulation.
        let x = (now - at) as f64 / MEMORY;
        let passed = x / (1.0 + x);
        self.utilisation = (mean + (level - mean) * passed, now);
    }
}
