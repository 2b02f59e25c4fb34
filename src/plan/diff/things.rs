//! Listeners, routes, pools and the rest of two configurations, set side by side by name.

use std::collections::{HashMap, HashSet};

use super::{Change, KeyChange, Kind, What, between};
use crate::config::{self, Backend, Config, Leaves, MaxInFlight, Pool, WrittenKeys};

/// Something with a name: whether it has changed is said by `meaning`, what of it is shown by `keys`.
struct Thing<'c, T> {
    /// What both sides call it.
    id: &'c str,
    name: &'c str,
    meaning: T,
    keys: WrittenKeys,
}

/// A side: what it means, and what is written there.
type Side<'c> = (&'c Config, &'c Leaves);

/// All that differs.
pub(super) fn all(old: &Config, new: &Config) -> Vec<Change> {
    let written = (old.written.leaves(), new.written.leaves());
    let (one, two) = ((old, &written.0), (new, &written.1));
    let mut changes = sections(one, two);
    changes.extend(compare(Kind::Listener, listeners(one), renamed(listeners(two), old)));
    changes.extend(compare(Kind::Route, routes(one), routes(two)));
    changes.extend(compare(Kind::Pool, pools(one), pools(two)));
    changes.extend(backends(old, new));
    changes.extend(compare(Kind::Auth, auths(one), auths(two)));
    changes.extend(compare(Kind::RateLimit, rate_limits(one), rate_limits(two)));
    changes
}

/// What differs and is nothing's own.
pub(super) fn notes(old: &Config, new: &Config) -> Vec<String> {
    let names = |config: &Config, other: &Config| {
        let known: HashSet<_> = other.routes.iter().map(|route| &route.name).collect();
        config.routes.iter().map(|route| &route.name).filter(|name| known.contains(name)).cloned().collect::<Vec<_>>()
    };
    let reordered = names(old, new) != names(new, old);
    let note = "routes stand in another order: where several match alike, the first one wins";
    reordered.then(|| note.to_owned()).into_iter().collect()
}

/// Tables that stand once: whether they mean the same, and the keys that are written otherwise.
fn sections((old, one): Side<'_>, (new, two): Side<'_>) -> Vec<Change> {
    let same = [
        ("server", old.server == new.server),
        ("admin", old.admin == new.admin),
        ("log", old.log == new.log),
        ("trace", old.trace == new.trace),
        ("metrics", old.metrics == new.metrics),
        ("error_pages", old.error_pages == new.error_pages),
    ];
    let changed = same.into_iter().filter(|(_, same)| !same);
    let keys = |name| between(&one.section(name), &two.section(name));
    changed.map(|(name, _)| Change::of((What::Changed, Kind::Section), name, keys(name))).collect()
}

fn listeners<'c>((config, leaves): Side<'c>) -> Vec<Thing<'c, &'c config::Listener>> {
    let thing = |(place, listener): (usize, &'c config::Listener)| {
        let keys = leaves.element("listener", place);
        Thing { id: &listener.name, name: &listener.name, meaning: listener, keys }
    };
    config.listeners.iter().enumerate().map(thing).collect()
}

/// A listener that is called otherwise stays the same one at its address.
fn renamed<'c>(
    mut listeners: Vec<Thing<'c, &'c config::Listener>>,
    old: &'c Config,
) -> Vec<Thing<'c, &'c config::Listener>> {
    let names: HashSet<_> = listeners.iter().map(|listener| listener.name).collect();
    let known: HashSet<_> = old.listeners.iter().map(|listener| listener.name.as_str()).collect();
    for listener in listeners.iter_mut().filter(|listener| !known.contains(listener.name)) {
        let address = &listener.meaning.address;
        let same = |other: &&config::Listener| other.address == *address && !names.contains(other.name.as_str());
        if let Some(before) = old.listeners.iter().find(same).filter(|_| !address.is_any_port()) {
            listener.id = &before.name;
        }
    }
    listeners
}

fn routes<'c>((config, leaves): Side<'c>) -> Vec<Thing<'c, &'c config::Route>> {
    let thing = |(place, route): (usize, &'c config::Route)| {
        let keys = leaves.element("route", place);
        Thing { id: &route.name, name: &route.name, meaning: route, keys }
    };
    config.routes.iter().enumerate().map(thing).collect()
}

/// Without their backends, which are things of their own.
fn pools<'c>((config, leaves): Side<'c>) -> Vec<Thing<'c, Pool>> {
    let thing = |pool: &'c Pool| {
        let meaning = Pool { backends: Vec::new(), ..pool.clone() };
        Thing { id: &pool.name, name: &pool.name, meaning, keys: leaves.named("pool", &pool.name) }
    };
    config.pools.iter().map(thing).collect()
}

fn auths<'c>((config, leaves): Side<'c>) -> Vec<Thing<'c, &'c config::Auth>> {
    let thing = |auth: &'c config::Auth| {
        let keys = leaves.named("auth", &auth.name);
        Thing { id: &auth.name, name: &auth.name, meaning: auth, keys }
    };
    config.auths.iter().map(thing).collect()
}

fn rate_limits<'c>((config, leaves): Side<'c>) -> Vec<Thing<'c, &'c config::RateLimit>> {
    let thing = |limit: &'c config::RateLimit| {
        let keys = leaves.named("rate_limit", &limit.name);
        Thing { id: &limit.name, name: &limit.name, meaning: limit, keys }
    };
    config.rate_limits.iter().map(thing).collect()
}

/// The things of one kind.
fn compare<T: PartialEq>(kind: Kind, old: Vec<Thing<'_, T>>, new: Vec<Thing<'_, T>>) -> Vec<Change> {
    let none = WrittenKeys::new();
    let before: HashMap<_, _> = old.iter().map(|thing| (thing.id, thing)).collect();
    let after: HashSet<_> = new.iter().map(|thing| thing.id).collect();
    let gone = old.iter().filter(|thing| !after.contains(thing.id));
    let mut changes: Vec<_> =
        gone.map(|thing| Change::of((What::Removed, kind), thing.name, between(&thing.keys, &none))).collect();
    for thing in &new {
        match before.get(thing.id) {
            None => changes.push(Change::of((What::Added, kind), thing.name, between(&none, &thing.keys))),
            Some(same) if same.meaning == thing.meaning => {}
            Some(other) => {
                let mut keys = between(&other.keys, &thing.keys);
                keys.retain(|key| kind != Kind::Pool || !is_of_backends(&key.key));
                changes.push(Change::of((What::Changed, kind), other.name, keys));
            }
        }
    }
    changes
}

fn is_of_backends(key: &str) -> bool {
    key.strip_prefix("backends").is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.']))
}

/// The backends of pools that stay.
fn backends(old: &Config, new: &Config) -> Vec<Change> {
    let before: HashMap<_, _> = old.pools.iter().map(|pool| (&pool.name, pool)).collect();
    let pools = new.pools.iter().filter_map(|pool| Some((*before.get(&pool.name)?, pool)));
    pools.flat_map(|(old, new)| of_pool(old, new)).collect()
}

/// One is the same by its name, else by its address.
fn of_pool(old: &Pool, new: &Pool) -> Vec<Change> {
    let was: HashMap<_, _> = old.backends.iter().map(|backend| (&backend.name, backend)).collect();
    let at: HashMap<_, _> = old.backends.iter().map(|backend| (&backend.address, backend)).collect();
    let is: HashSet<_> = new.backends.iter().map(|backend| &backend.name).collect();
    let twin = |backend: &Backend| {
        let renamed = || at.get(&backend.address).filter(|other| !is.contains(&other.name));
        was.get(&backend.name).or_else(renamed).copied()
    };
    let change = |what, backend: &Backend, keys| {
        let pool = Some(new.name.clone());
        Change { pool, ..Change::of((what, Kind::Backend), &backend.name, keys) }
    };
    let mut met = HashSet::new();
    let mut changes = Vec::new();
    for backend in &new.backends {
        let twin = twin(backend);
        met.extend(twin.map(|other| &other.name));
        match twin {
            None => changes.push(change(What::Added, backend, differing(None, Some(backend)))),
            Some(other) if other == backend => {}
            Some(other) => changes.push(change(What::Changed, other, differing(Some(other), Some(backend)))),
        }
    }
    let gone = old.backends.iter().filter(|other| !met.contains(&other.name));
    changes.extend(gone.map(|gone| change(What::Removed, gone, differing(Some(gone), None))));
    changes
}

/// The keys that differ, as they would be written; what is there by default is left out.
fn differing(old: Option<&Backend>, new: Option<&Backend>) -> Vec<KeyChange> {
    const KEYS: [&str; 5] = ["address", "name", "weight", "backup", "max_in_flight"];
    let of = |backend: Option<&Backend>| backend.map(written).unwrap_or_default();
    let sides = of(old).into_iter().zip(of(new));
    let differing = KEYS.into_iter().zip(sides).filter(|(_, (old, new))| old != new);
    differing.map(|(key, (old, new))| KeyChange { key: key.to_owned(), old, new }).collect()
}

fn written(backend: &Backend) -> [Option<String>; 5] {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let address = backend.address.to_string();
    let max_in_flight = backend.max_in_flight.map(|most| match most {
        MaxInFlight::Off => quoted("off"),
        MaxInFlight::Auto => quoted("auto"),
        MaxInFlight::Most(most) => most.to_string(),
    });
    [
        Some(quoted(&address)),
        (backend.name != address).then(|| quoted(&backend.name)),
        (backend.weight != 1).then(|| backend.weight.to_string()),
        backend.backup.then(|| "true".to_owned()),
        max_in_flight,
    ]
}

impl Change {
    fn of((change, kind): (What, Kind), name: &str, keys: Vec<KeyChange>) -> Self {
        let contents = change == What::Changed && keys.is_empty();
        Self { change, kind, pool: None, name: name.to_owned(), keys, contents, drains: None }
    }
}
