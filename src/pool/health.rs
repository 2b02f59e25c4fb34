//! What active checks have found out about one backend. Written by control's checks, read by control and scrapes.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

/// The outcome so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It can serve; `None` until enough checks have said so or not.
    pub up: Option<bool>,
    /// It can, and its checks are slow.
    pub degraded: bool,
    /// Why it cannot, or is slow, in a few words without an address: `connection refused`, `status 503`, `check took 812ms`.
    /// Else empty.
    pub reason: String,
    /// When one of the two last changed.
    pub since: SystemTime,
}

/// What checks have found out.
#[derive(Debug)]
pub struct Health {
    verdict: Mutex<Verdict>,
    passed: AtomicU64,
    failed: AtomicU64,
    /// Of the last check, in microseconds.
    duration: AtomicU64,
    /// The last check has.
    last_passed: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        let verdict = Verdict { up: None, degraded: false, reason: String::new(), since: SystemTime::now() };
        Self {
            verdict: Mutex::new(verdict),
            passed: AtomicU64::default(),
            failed: AtomicU64::default(),
            duration: AtomicU64::default(),
            last_passed: AtomicBool::default(),
        }
    }
}

impl Health {
    /// What is known now.
    pub fn verdict(&self) -> Verdict {
        self.lock().clone()
    }

    /// It is known to be up or down from now on; `None`: nothing is known any more. True if that is news.
    pub fn judge(&self, up: Option<bool>, reason: &str) -> bool {
        self.write(up, false, reason)
    }

    /// It is known to be up and slow from now on, for that `reason`. True if that is news.
    pub fn degrade(&self, reason: &str) -> bool {
        self.write(Some(true), true, reason)
    }

    fn write(&self, up: Option<bool>, degraded: bool, reason: &str) -> bool {
        let mut verdict = self.lock();
        let news = (verdict.up, verdict.degraded) != (up, degraded);
        if news {
            verdict.since = SystemTime::now();
        }
        (verdict.up, verdict.degraded) = (up, degraded);
        if verdict.reason != reason {
            reason.clone_into(&mut verdict.reason);
        }
        news
    }

    /// One check has ended.
    pub fn checked(&self, passed: bool, duration: Duration) {
        let count = if passed { &self.passed } else { &self.failed };
        count.fetch_add(1, Relaxed);
        self.last_passed.store(passed, Relaxed);
        self.duration.store(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How many checks have passed and failed, and how long the last one took.
    pub fn checks(&self) -> (u64, u64, Duration) {
        let duration = Duration::from_micros(self.duration.load(Relaxed));
        (self.passed.load(Relaxed), self.failed.load(Relaxed), duration)
    }

    /// The last check has passed.
    pub fn last_passed(&self) -> bool {
        self.last_passed.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
