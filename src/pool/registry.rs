//! What survives a reload: backends by pool and address, each pool's slot by name, and what DNS says of names. Control and
//! plans use it; the request path never does.

use super::{
    Backend, Slot,
    backend::Kept,
    slot::{Changed, Tell},
};
use crate::{
    config::Address,
    net::{
        Budget,
        dns::{Ask, Question},
    },
    telemetry::metrics::{BackendGauges, PoolGauges, Telemetry},
    tls::SystemRoots,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};
use tokio::time::Instant;

/// The backends of a pool, by address: at one there may be several names for a while.
type OfPool = HashMap<Address, Vec<Weak<Backend>>>;

/// Backends and slots that a plan, a table or a connection still holds.
pub struct Registry {
    backends: Mutex<HashMap<String, OfPool>>,
    slots: Mutex<HashMap<String, Weak<Slot>>>,
    questions: Mutex<HashMap<Ask, Weak<Question>>>,
    ids: Arc<Ids>,
    /// Connections of the process, backends' side.
    process: Arc<Budget>,
    telemetry: Arc<Telemetry>,
    roots: SystemRoots,
    /// What sticky cookies are sealed with where the file has no secret.
    cookie_key: OnceLock<[u8; 32]>,
    workers: usize,
    /// Times of circuits are counted from here, and those of workers.
    epoch: Instant,
    /// Who hears that a circuit has changed.
    changed: Arc<Tell>,
}

impl Registry {
    /// An empty one, for so many workers.
    pub fn new(process: Arc<Budget>, telemetry: Arc<Telemetry>, workers: usize) -> Self {
        let (backends, slots, ids) = (Mutex::default(), Mutex::default(), Arc::default());
        Self {
            backends,
            slots,
            questions: Mutex::default(),
            ids,
            process,
            telemetry,
            roots: SystemRoots::default(),
            cookie_key: OnceLock::new(),
            workers,
            epoch: Instant::now(),
            changed: Arc::default(),
        }
    }

    /// The beginning of time, for all who share it.
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Who hears, by the pool's name, that a circuit has changed and the pool needs another table. Once: a second call
    /// changes nothing.
    pub fn on_change(&self, changed: Changed) {
        let _ = self.changed.set(changed);
    }

    /// Where metrics are made.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The roots that this machine trusts.
    pub fn system_roots(&self) -> &SystemRoots {
        &self.roots
    }

    /// The secret of sticky cookies where the file has none: of this process alone, and the same after each reload.
    ///
    /// # Errors
    /// A sentence for people: this machine gives no random numbers.
    pub fn cookie_key(&self) -> Result<[u8; 32], String> {
        if let Some(key) = self.cookie_key.get() {
            return Ok(*key);
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| format!("no random key for the cookie: {error}"))?;
        // Whoever was first has made it.
        Ok(*self.cookie_key.get_or_init(|| key))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The backend of that pool at that address: the living one, or one that nobody has called yet. Under a new name
    /// it is another one, with the load, the health, the ramp and the circuit of the first.
    pub fn backend(&self, pool: &str, name: &str, address: &Address) -> Arc<Backend> {
        let mut all = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        let of_pool = all.entry(pool.to_owned()).or_default();
        let known = of_pool.entry(address.clone()).or_default();
        let living: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        // A plan that is refused in the end may have asked for it under another name: the one that serves is still there.
        if let Some(backend) = living.iter().find(|backend| backend.name == name) {
            return Arc::clone(backend);
        }
        let state = living.first().map_or_else(Kept::default, |backend| backend.kept());
        let metrics = self.telemetry.backend(pool, name);
        let (process, ids) = (Arc::clone(&self.process), Arc::clone(&self.ids));
        let mut backend = Backend::new((pool, name, address), state, metrics, process, ids);
        backend.question = address.name().map(|name| self.question(&Ask::Addresses(name.to_owned())));
        let backend = Arc::new(backend);
        let weak = Arc::downgrade(&backend);
        backend.metrics.read(Box::new(move || weak.upgrade().map(|backend| gauges(&backend))));
        known.retain(|backend| backend.strong_count() > 0);
        known.push(Arc::downgrade(&backend));
        backend
    }

    /// One that shares nothing but what DNS says of names: for a plan that is only looked at.
    #[must_use]
    pub fn aside(&self) -> Self {
        let aside = Self::new(Budget::new(None), Arc::new(Telemetry::new(&[], &[1.0], self.workers)), self.workers);
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { questions: Mutex::new(questions), ..aside }
    }

    /// The slot of that pool: the living one, or a new one.
    pub fn slot(&self, pool: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(pool).and_then(Weak::upgrade) {
            return slot;
        }
        let place = (pool, self.epoch, Arc::clone(&self.changed));
        let slot = Arc::new(Slot::new(place, self.telemetry.pool(pool), self.workers));
        let weak = Arc::downgrade(&slot);
        let gauges = |slot: Arc<Slot>| PoolGauges { circuit: slot.shown() as u8, queued: slot.queued() };
        slot.metrics.read(Box::new(move || weak.upgrade().map(gauges)));
        slots.insert(pool.to_owned(), Arc::downgrade(&slot));
        slot
    }

    /// What is known of a name: the living question with its last good answer, or one that has not been asked.
    pub fn question(&self, ask: &Ask) -> Arc<Question> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(question) = questions.get(ask).and_then(Weak::upgrade) {
            return question;
        }
        let question = Arc::new(Question::new(ask.clone()));
        questions.insert(ask.clone(), Arc::downgrade(&question));
        question
    }

    /// Forgets what nobody holds any more.
    pub fn prune(&self) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.retain(|_, of_pool| {
            of_pool.retain(|_, known| known.iter().any(|backend| backend.strong_count() > 0));
            !of_pool.is_empty()
        });
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| slot.strong_count() > 0);
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.retain(|_, question| question.strong_count() > 0);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("workers", &self.workers).finish_non_exhaustive()
    }
}

fn gauges(backend: &Backend) -> BackendGauges {
    let (state, weight) = backend.standing();
    let (passed, failed, duration) = backend.health.checks();
    BackendGauges {
        in_flight: i64::from(backend.load.in_flight()),
        connections: backend.connections() as i64,
        weight,
        up: state.is_up(),
        state,
        passed,
        failed,
        limit: f64::from(backend.adaptive.limit()),
        check_duration: (passed + failed > 0).then_some(duration),
        circuit: backend.breaker.circuit() as u8,
        outlier: backend.outlier.is_one(),
    }
}

/// Numbers of backends: small ones, used again when theirs has gone.
#[derive(Debug, Default)]
pub(super) struct Ids {
    free: Mutex<(u32, Vec<u32>)>,
}

impl Ids {
    pub(super) fn take(&self) -> u32 {
        let (next, free) = &mut *self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_else(|| {
            *next += 1;
            *next - 1
        })
    }

    pub(super) fn give(&self, id: u32) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).1.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_and_what_is_not_goes() {
        let telemetry = Arc::new(Telemetry::new(&[], &[1.0], 1));
        let registry = Registry::new(Budget::new(None), telemetry, 1);
        let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let first = registry.backend("p", "a", &address);
        assert!(Arc::ptr_eq(&first, &registry.backend("p", "a", &address)));
        let renamed = registry.backend("p", "b", &address);
        assert!(!Arc::ptr_eq(&first, &renamed) && Arc::ptr_eq(&first.load, &renamed.load));
        assert!(Arc::ptr_eq(&first.slow_start, &renamed.slow_start), "another name is no other backend");
        assert_eq!((first.id, renamed.id, registry.backend("q", "a", &address).id), (0, 1, 2));
        assert!(Arc::ptr_eq(&first, &registry.backend("p", "a", &address)), "another name does not hide the first");
        drop((first, renamed));
        registry.prune();
        assert!(registry.backends.lock().unwrap().is_empty());
        assert!(registry.backend("p", "a", &address).id < 3, "numbers are used again");
        let slot = registry.slot("p");
        assert!(Arc::ptr_eq(&slot, &registry.slot("p")));
        let named = registry.backend("p", "n", &Address::Named("app.internal".into(), 80));
        let other = registry.backend("q", "n", &Address::Named("app.internal".into(), 81));
        let question = named.question.as_ref().unwrap();
        assert!(Arc::ptr_eq(question, other.question.as_ref().unwrap()), "one name is asked for once");
        question.tell(&["10.0.0.1"]);
        assert!(!other.is_unresolved() && !named.is_unresolved());
        drop((named, other));
        registry.prune();
        assert!(registry.questions.lock().unwrap().is_empty());
        let key = registry.cookie_key().unwrap();
        assert_eq!(registry.cookie_key().unwrap(), key);
        assert_ne!(key, [0; 32]);
    }
}
