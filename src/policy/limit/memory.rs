//! What limits remember over reloads: buckets and counts, by name. Asked when a plan is built.

use super::{
    Limits,
    in_flight::{Counts, InFlight},
    key::{Key, Seed},
    rate::Rate,
    table::Table,
};
use crate::{
    config::{self, LimitKey},
    telemetry::metrics::Telemetry,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// The limits of a configuration, by name.
pub type Rates = HashMap<String, Arc<Rate>>;

/// The limits of a route: those by what requests show, and those by what `auth` finds out.
pub type OfRoute = (Option<Box<Limits>>, Option<Box<Limits>>);

/// Buckets and counts of all limits, while a plan has them: what no plan has any more begins anew should it come again, as
/// does what is counted by another key.
#[derive(Debug, Default)]
pub struct Memory {
    seed: Seed,
    tables: ByName<Table>,
    counts: ByName<Counts>,
}

/// With the key that it is counted by.
type Kept<T> = (Vec<LimitKey>, Weak<T>);

#[derive(Debug)]
struct ByName<T>(Mutex<HashMap<String, Kept<T>>>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> ByName<T> {
    /// What `name` has if it lives and is counted by `key`, or else what `make` makes.
    fn find(&self, name: &str, key: &[LimitKey], make: impl FnOnce() -> T) -> Arc<T> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, weak)| weak.strong_count() > 0);
        let same = all.get(name).filter(|(known, _)| known == key);
        if let Some(living) = same.and_then(|(_, weak)| weak.upgrade()) {
            return living;
        }
        let made = Arc::new(make());
        all.insert(name.to_owned(), (key.to_vec(), Arc::downgrade(&made)));
        made
    }
}

impl Memory {
    /// The limits of a configuration, by name.
    pub fn rates(&self, limits: &[config::RateLimit], telemetry: &Telemetry) -> Rates {
        let rate = |limit: &config::RateLimit| {
            let make = |deepest| self.tables.find(&limit.name, &limit.key, || Table::new(limit.max_keys, deepest));
            (limit.name.clone(), Arc::new(Rate::new(limit, &self.seed, make, telemetry.limit(&limit.name))))
        };
        limits.iter().map(rate).collect()
    }

    /// The limits of `route` among `rates`.
    pub fn limits(&self, route: &config::Route, rates: &Rates) -> OfRoute {
        let named = route.rate_limit.iter().filter_map(|name| rates.get(name));
        let (mut early, mut late) = (Limits::default(), Limits::default());
        for rate in named {
            let limits = if rate.key.has_claims() { &mut late } else { &mut early };
            limits.rates.push(Arc::clone(rate));
        }
        if let Some(limit) = &route.in_flight_limit {
            let (key, seed, max) = (Key::new(&limit.key), self.seed.clone(), limit.max);
            let counts = self.counts.find(&route.name, &limit.key, Counts::default);
            let limits = if key.has_claims() { &mut late } else { &mut early };
            limits.in_flight = Some(InFlight { key, seed, max, counts });
        }
        let some = |limits: Limits| Some(Box::new(limits)).filter(|limits| !limits.is_empty());
        (some(early), some(late))
    }
}
