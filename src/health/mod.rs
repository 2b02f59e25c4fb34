//! Active health checks, on control's runtime. Not hot: the request path sees verdicts alone, through the pool's table.
//!
//! Control makes one [`Monitor`], hands it the list of backends at start and after each reload, and hears of verdicts
//! that change. One small task for each check of each backend waits, asks (`tcp`, `http`, `grpc`; the last two by TLS too), and lets `judge` decide.

mod grpc;
mod http;
mod judge;
mod poll;
mod probe;
mod schedule;
mod task;
mod tcp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, task::AbortHandle, time::Instant};

pub use self::judge::{Found, Judge, Step};
pub use self::poll::{Polled, Poller};
use self::{
    grpc::Grpc,
    http::{Expected, Http},
    probe::Remote,
    schedule::{Place, Random},
    task::Task,
    tcp::Tcp,
};
use crate::{
    config::{GrpcProbe, HealthCheck, Probe, ProxyVersion},
    plan::ChecksTls,
    pool::Backend,
};

/// The share of the process's descriptors that checks may use at a time, within these bounds.
const SHARE: u64 = 20;
const FEWEST: u64 = 64;
const MOST: u64 = 4096;
/// Between two complaints of our own want of descriptors.
const COMPLAIN: Duration = Duration::from_secs(10);

/// A backend, and how it is checked.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whose health is found out.
    pub backend: Arc<Backend>,
    /// All must pass; empty: nothing is checked and nothing is known, which counts as up. Backends of one pool share it.
    pub checks: Arc<[HealthCheck]>,
    /// Checks come from the first of these addresses that fits; empty = the kernel chooses.
    pub sources: Arc<[IpAddr]>,
    /// They begin with a PROXY header that says that they are our own.
    pub proxy: Option<ProxyVersion>,
    /// TLS of each check, in their order; those that are not there use none.
    pub tls: ChecksTls,
}

/// Checks backends until it is dropped.
#[derive(Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
    /// By where the backend is in memory, which the entry keeps.
    entries: Mutex<HashMap<usize, Entry>>,
    seeds: Mutex<Random>,
}

/// Hears of verdicts that change.
type Changed = dyn Fn(&Arc<Backend>) + Send + Sync;

/// What all checks share.
struct Shared {
    changed: Box<Changed>,
    /// Checks at a time; further ones wait, and their time has not begun.
    slots: Semaphore,
    complained: Mutex<Option<Instant>>,
}

/// A backend with its running checks.
#[derive(Debug)]
struct Entry {
    watched: Watched,
    /// Stopped with it.
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A check of one pool, made ready once for all of its backends.
#[derive(Clone, Debug)]
enum Kind {
    Tcp,
    Http(Arc<Expected>),
    Grpc(Arc<GrpcProbe>),
}

type Kinds = Arc<[Kind]>;

impl Monitor {
    /// Checks nothing yet. `changed` is called on the runtime that runs the checks whenever a backend's verdict changes.
    pub fn new(changed: impl Fn(&Arc<Backend>) + Send + Sync + 'static) -> Self {
        Self::with(changed, slots(), getrandom::u64().unwrap_or_default())
    }

    fn with(changed: impl Fn(&Arc<Backend>) + Send + Sync + 'static, slots: usize, seed: u64) -> Self {
        let shared = Shared { changed: Box::new(changed), slots: Semaphore::new(slots), complained: Mutex::default() };
        Self { shared: Arc::new(shared), entries: Mutex::default(), seeds: Mutex::new(Random::new(seed)) }
    }

    /// Follows the list: checks of new backends start, those of gone ones stop. A backend that stays, with equal checks,
    /// keeps its streaks. Changed checks start over; the verdict stands until they have one. A backend without checks
    /// has no verdict. Must be called on a tokio runtime, on which the checks then run.
    pub fn watch(&self, list: Vec<Watched>) {
        let mut entries = lock(&self.entries);
        let mut old = std::mem::take(&mut *entries);
        let mut fresh = Vec::new();
        for watched in list {
            let key = Arc::as_ptr(&watched.backend).addr();
            match old.remove(&key) {
                Some(entry) if entry.watched.is_same(&watched) => drop(entries.insert(key, entry)),
                // Its tasks stop here, before others start.
                _ if !entries.contains_key(&key) => {
                    fresh.push(watched.clone());
                    entries.insert(key, Entry { watched, running: Vec::new() });
                }
                _ => {}
            }
        }
        drop(old);
        self.start(&mut entries, &fresh);
    }

    fn start(&self, entries: &mut HashMap<usize, Entry>, fresh: &[Watched]) {
        let of = fresh.iter().map(|watched| watched.checks.len()).sum();
        let mut kinds = HashMap::new();
        let mut number = 0;
        for watched in fresh {
            let Some(entry) = entries.get_mut(&Arc::as_ptr(&watched.backend).addr()) else { continue };
            if watched.checks.is_empty() {
                entry.running.extend(self.forget(&watched.backend));
                continue;
            }
            let ready = || watched.checks.iter().map(Kind::of).collect();
            let kinds: &Kinds = kinds.entry(Arc::as_ptr(&watched.checks).addr()).or_insert_with(ready);
            let verdict = watched.backend.health.verdict().up;
            let judge = Arc::new(Mutex::new(Judge::new(&watched.checks, verdict)));
            for (at, kind) in kinds.iter().enumerate() {
                let task = Task {
                    backend: Arc::clone(&watched.backend),
                    checks: Arc::clone(&watched.checks),
                    number: at,
                    judge: Arc::clone(&judge),
                    shared: Arc::clone(&self.shared),
                    place: Place { number, of },
                    random: Random::new(lock(&self.seeds).bits()),
                };
                entry.running.push(spawn(task, kind.clone(), watched));
                number += 1;
            }
        }
    }

    /// Nothing is known of a backend that is no longer checked. In a task, as the caller may hold what `changed` wants.
    fn forget(&self, backend: &Arc<Backend>) -> Option<Running> {
        backend.health.verdict().up?;
        let (shared, backend) = (Arc::clone(&self.shared), Arc::clone(backend));
        let forget = async move {
            if backend.health.judge(None, "") {
                (shared.changed)(&backend);
            }
        };
        Some(Running(tokio::spawn(forget).abort_handle()))
    }
}

impl Kind {
    fn of(check: &HealthCheck) -> Self {
        match &check.probe {
            Probe::Tcp => Self::Tcp,
            Probe::Http(probe) => Self::Http(Arc::new(Expected::new(probe))),
            Probe::Grpc(probe) => Self::Grpc(Arc::new(probe.clone())),
        }
    }
}

/// How many may ask at a time.
fn slots() -> usize {
    let (descriptors, _) = rlimit::Resource::NOFILE.get().unwrap_or_default();
    (descriptors / SHARE).clamp(FEWEST, MOST) as usize
}

/// Starts a check. What it needs is made when its turn comes: a long list holds nobody up.
fn spawn(task: Task, kind: Kind, watched: &Watched) -> Running {
    let port = task.checks[task.number].port;
    let (sources, proxy) = (Arc::clone(&watched.sources), watched.proxy);
    let tls = watched.tls.get(task.number).cloned().flatten();
    let remote = move |backend: &Backend| {
        let question = backend.question.clone();
        Remote { tls, question, ..Remote::new(&backend.address, port, &sources, proxy) }
    };
    let spawned = match kind {
        Kind::Tcp => tokio::spawn(task.run(move |backend| Tcp { remote: remote(backend) })),
        Kind::Http(expected) => tokio::spawn(task.run(move |backend| Http::new(expected, remote(backend), backend))),
        Kind::Grpc(probe) => tokio::spawn(task.run(move |backend| Grpc::new(&probe, remote(backend), backend))),
    };
    Running(spawned.abort_handle())
}

impl Watched {
    /// What the checks' TLS is made with: the same as long as the configuration says the same.
    fn secured(&self) -> impl Iterator<Item = Option<*const rustls::ClientConfig>> {
        self.tls.iter().map(|tls| tls.as_ref().map(|tls| Arc::as_ptr(tls.config())))
    }

    /// Its checks may go on as they are.
    fn is_same(&self, other: &Self) -> bool {
        (&self.sources, self.proxy) == (&other.sources, other.proxy)
            && (Arc::ptr_eq(&self.checks, &other.checks) || self.checks == other.checks)
            && self.secured().eq(other.secured())
    }
}

impl Shared {
    /// Says that checks cannot be made, from time to time.
    fn complain(&self, error: &io::Error) {
        let mut complained = lock(&self.complained);
        if complained.is_none_or(|last| last.elapsed() >= COMPLAIN) {
            *complained = Some(Instant::now());
            tracing::warn!(%error, "health checks cannot be made; verdicts stay as they are");
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("slots", &self.slots).finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
