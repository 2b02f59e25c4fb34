//! One address that we call: its identity and its state, shared by everybody, and kept over reloads. Hot path.
//!
//! What the file says of it (its weight, its checks) lives in the plan and comes as an argument.

use super::{Adaptive, Breaker, Drain, Health, Outlier, SlowStart, registry::Ids};
use crate::{
    balance::{self, Load, Member},
    config::Address,
    net::{Budget, Permit, dns::Question},
    telemetry::{
        metrics::{BackendMetrics, State},
        unix_millis,
    },
};
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No weight has been set over the file's.
const UNSET: u32 = u32::MAX;

/// What an operator has said of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ordered {
    /// Nothing: its checks decide.
    Ready,
    /// What it has goes on, nothing new comes.
    Drain,
    /// Nothing comes to it; it is being worked on.
    Maintenance,
}

/// Identity and state of one address of one pool.
#[derive(Debug)]
pub struct Backend {
    /// Its number in dialers and tables; another one may have it when this one is gone.
    pub id: u32,
    /// The pool that it is in.
    pub pool: String,
    /// In logs, metrics and the API.
    pub name: String,
    /// [`balance::hash`] of its name: the same on every instance.
    pub identity: u64,
    /// Where it is.
    pub address: Address,
    /// What its name stands for, if its address is a name.
    pub question: Option<Arc<Question>>,
    /// As it is written in `Host` when the client's is not passed.
    pub host: String,
    /// What it carries now.
    pub load: Arc<Load>,
    /// What checks have found out.
    pub health: Arc<Health>,
    /// How far it has come since it joined or came back.
    pub slow_start: Arc<SlowStart>,
    /// Until when its drain lets exchanges go on.
    pub drain: Drain,
    /// Whether it is left alone for its failures.
    pub breaker: Arc<Breaker>,
    /// Whether it is much slower than others.
    pub outlier: Arc<Outlier>,
    /// How much it takes at a time without becoming slow.
    pub adaptive: Arc<Adaptive>,
    /// What is counted of it.
    pub metrics: Arc<BackendMetrics>,
    ordered: AtomicU8,
    /// When that was said, in milliseconds since the epoch; 0 = never.
    ordered_at: AtomicU64,
    ordered_weight: AtomicU32,
    /// In effect, in hundredths; 0 while it cannot be chosen.
    weight: AtomicU32,
    state: AtomicU8,
    connections: AtomicUsize,
    /// Connections of the process to all backends.
    process: Arc<Budget>,
    ids: Arc<Ids>,
}

/// What an address keeps under another name.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) load: Arc<Load>,
    pub(super) health: Arc<Health>,
    pub(super) slow_start: Arc<SlowStart>,
    pub(super) breaker: Arc<Breaker>,
    pub(super) outlier: Arc<Outlier>,
    pub(super) adaptive: Arc<Adaptive>,
}

impl Backend {
    /// A backend that nobody has called yet. Its connections count in `process` as well, and its number is of `ids`.
    pub(super) fn new(
        (pool, name, address): (&str, &str, &Address),
        kept: Kept,
        metrics: Arc<BackendMetrics>,
        process: Arc<Budget>,
        ids: Arc<Ids>,
    ) -> Self {
        let host = match address {
            Address::Tcp(_) | Address::Named(..) => address.to_string(),
            // RFC 9110 section 7.2 wants a host; a path is none.
            Address::Unix(_) => "localhost".into(),
        };
        Self {
            id: ids.take(),
            pool: pool.to_owned(),
            name: name.to_owned(),
            identity: balance::hash(name.as_bytes()),
            address: address.clone(),
            question: None,
            host,
            load: kept.load,
            health: kept.health,
            slow_start: kept.slow_start,
            breaker: kept.breaker,
            outlier: kept.outlier,
            drain: Drain::default(),
            adaptive: kept.adaptive,
            metrics,
            ordered: AtomicU8::new(Ordered::Ready as u8),
            ordered_at: AtomicU64::new(0),
            ordered_weight: AtomicU32::new(UNSET),
            weight: AtomicU32::new(0),
            state: AtomicU8::new(State::Starting as u8),
            connections: AtomicUsize::new(0),
            process,
            ids,
        }
    }

    /// Its name has never resolved: nobody knows where it is.
    pub fn is_unresolved(&self) -> bool {
        self.question.as_ref().is_some_and(|question| !question.is_answered())
    }

    /// Waits until it is known where it is.
    pub async fn resolved(&self) {
        if let Some(question) = &self.question {
            question.answered().await;
        }
    }

    /// Open connections of all workers, idle ones included.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The right to one more connection, if that keeps their number within `max`, and the process within its bound.
    pub fn connection(self: &Arc<Self>, max: Option<usize>) -> Option<Counted> {
        let max = max.unwrap_or(usize::MAX);
        let permit = self.process.take()?;
        let more = self.connections.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1));
        more.ok().map(|_| Counted { backend: Arc::clone(self), _permit: permit })
    }

    /// What an operator has said of it.
    pub fn ordered(&self) -> Ordered {
        [Ordered::Ready, Ordered::Drain, Ordered::Maintenance][usize::from(self.ordered.load(Relaxed))]
    }

    /// The weight that an operator has set over the file's.
    pub fn ordered_weight(&self) -> Option<u32> {
        Some(self.ordered_weight.load(Relaxed)).filter(|&weight| weight != UNSET)
    }

    /// An operator says this of it. Control alone calls it, and then makes a new table.
    pub fn order(&self, ordered: Ordered) {
        if self.ordered.swap(ordered as u8, Relaxed) != ordered as u8 {
            self.ordered_at.store(unix_millis(SystemTime::now()), Relaxed);
        }
    }

    /// When an operator last said something else of it; the epoch = never.
    pub fn ordered_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.ordered_at.load(Relaxed))
    }

    /// An operator sets its weight, or leaves it to the file again. Control alone calls it.
    pub fn order_weight(&self, weight: Option<u32>) {
        self.ordered_weight.store(weight.unwrap_or(UNSET), Relaxed);
    }

    /// The state and the weight that its pool's table has it in.
    pub fn standing(&self) -> (State, f64) {
        let weight = f64::from(self.weight.load(Relaxed)) / f64::from(Member::UNIT);
        (State::ALL[usize::from(self.state.load(Relaxed))], weight)
    }

    /// New requests may go to it, but for its circuit.
    pub(super) fn is_usable(&self) -> bool {
        let (state, weight) = self.standing();
        state.is_up() && weight > 0.0
    }

    /// What it keeps under another name.
    pub(super) fn kept(&self) -> Kept {
        Kept {
            load: Arc::clone(&self.load),
            health: Arc::clone(&self.health),
            slow_start: Arc::clone(&self.slow_start),
            breaker: Arc::clone(&self.breaker),
            outlier: Arc::clone(&self.outlier),
            adaptive: Arc::clone(&self.adaptive),
        }
    }

    /// A table has it in this state, with this weight in hundredths. Control alone calls it.
    pub fn stands(&self, state: State, weight: u32) {
        self.state.store(state as u8, Relaxed);
        self.weight.store(weight, Relaxed);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ids.give(self.id);
    }
}

/// One counted connection to a backend.
#[derive(Debug)]
pub struct Counted {
    backend: Arc<Backend>,
    _permit: Permit,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.backend.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use crate::{config::Address, net::Budget, telemetry::metrics::Telemetry};
    use std::sync::Arc;

    #[test]
    fn connections_are_bounded_and_come_back() {
        let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let process = Budget::new(Some(2));
        let registry = Registry::new(Arc::clone(&process), Arc::new(Telemetry::new(&[], &[1.0], 1)), 1);
        let backend = registry.backend("p", "a", &address);
        let held = backend.connection(Some(1)).unwrap();
        assert!(backend.connection(Some(1)).is_none());
        drop(held);
        assert_eq!(backend.connections(), 0);
        assert!(backend.connection(Some(1)).is_some());
        let _others = (process.take(), process.take());
        assert!(backend.connection(None).is_none(), "the process is full");
    }
}
