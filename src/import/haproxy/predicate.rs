//! What a request must be like, as routes of ours ask for it: a conjunction with one list of ways at each key. Used by `acl`
//! and `decide`. Pure.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
};

use ipnet::IpNet;
use regex::bytes::Regex;

use super::super::{
    text,
    toml::{Table, Value},
};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Listener,
    Host,
    Path,
    Method,
    Client,
    Header(String),
    Cookie(String),
    Query(String),
}

impl Key {
    /// A request may have several of them.
    fn has_many(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Cookie(_) | Self::Query(_))
    }
}

/// Compares ways: what is compiled or read is so once, and after very many comparisons nothing is known any more.
#[derive(Debug)]
pub(super) struct Judge {
    regexes: RefCell<HashMap<String, Option<Regex>>>,
    nets: RefCell<HashMap<String, Option<IpNet>>>,
    left: Cell<u32>,
}

impl Default for Judge {
    fn default() -> Self {
        const MOST: u32 = 60_000_000;
        Self { regexes: RefCell::default(), nets: RefCell::default(), left: Cell::new(MOST) }
    }
}

impl Judge {
    /// `regex` is found in `text`; `None`: it does not compile.
    pub(super) fn is_found(&self, regex: &str, text: &str) -> Option<bool> {
        // It takes longer than others.
        self.left.set(self.left.get().saturating_sub(10));
        let mut known = self.regexes.borrow_mut();
        if !known.contains_key(regex) {
            known.insert(regex.to_owned(), text::compiled(regex));
        }
        Some(known.get(regex)?.as_ref()?.is_match(text.as_bytes()))
    }

    fn net(&self, text: &str) -> Option<IpNet> {
        let mut known = self.nets.borrow_mut();
        if !known.contains_key(text) {
            known.insert(text.to_owned(), text::net(text));
        }
        *known.get(text)?
    }

    fn may_go_on(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        !self.is_spent()
    }

    /// All comparisons have been done that may be.
    pub(super) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }
}

/// How it is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Equal; for hosts `*.` in front, for clients a network.
    Is(String),
    Begins(String),
    Regex(String),
    Present,
    Absent,
}

/// A key, and the ways of which one must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Predicate {
    pub(super) key: Key,
    pub(super) ways: Vec<Way>,
}

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Conjunction {
    parts: BTreeMap<Key, Vec<Way>>,
}

/// What comes of one more predicate.
pub(super) enum Joined {
    Fine(Conjunction),
    /// No request can be like that.
    Never,
    /// Our routes cannot ask for both.
    Beyond,
}

impl Conjunction {
    /// With `predicate` as well.
    pub(super) fn with(&self, predicate: &Predicate, judge: &Judge) -> Joined {
        let mut parts = self.parts.clone();
        let Some(known) = self.parts.get(&predicate.key) else {
            parts.insert(predicate.key.clone(), predicate.ways.clone());
            return Joined::Fine(Self { parts });
        };
        let mut both = Vec::new();
        for one in known {
            for other in &predicate.ways {
                match meet(judge, &predicate.key, one, other) {
                    Some(Some(way)) if !both.contains(&way) => both.push(way),
                    // One value may be like this and another one like that.
                    Some(None) if predicate.key.has_many() && ![one, other].contains(&&Way::Absent) => {
                        return Joined::Beyond;
                    }
                    Some(_) => {}
                    None => return Joined::Beyond,
                }
            }
        }
        if both.is_empty() {
            return Joined::Never;
        }
        parts.insert(predicate.key.clone(), both);
        Joined::Fine(Self { parts })
    }

    /// The ways of `key`.
    pub(super) fn ways(&self, key: &Key) -> &[Way] {
        self.parts.get(key).map_or(&[], Vec::as_slice)
    }

    /// The same for other hosts; none: any.
    pub(super) fn at(&self, hosts: &[String]) -> Self {
        let mut parts = self.parts.clone();
        parts.remove(&Key::Host);
        if !hosts.is_empty() {
            parts.insert(Key::Host, hosts.iter().cloned().map(Way::Is).collect());
        }
        Self { parts }
    }

    /// The hosts that it is for; empty: any.
    pub(super) fn hosts(&self) -> Vec<String> {
        let name = |way: &Way| match way {
            Way::Is(host) => Some(host.clone()),
            _ => None,
        };
        self.ways(&Key::Host).iter().filter_map(name).collect()
    }

    /// Each key and its ways are as `fits` wants.
    pub(super) fn every(&self, fits: impl Fn(&Key, &[Way]) -> bool) -> bool {
        self.parts.iter().rev().all(|(key, ways)| fits(key, ways))
    }

    /// Nothing is asked for beside host, path and listener.
    pub(super) fn is_plain(&self) -> bool {
        self.parts.keys().all(|key| matches!(key, Key::Host | Key::Path | Key::Listener))
    }

    /// Predicates beside host and path, as our routes count them.
    fn count(&self) -> usize {
        self.parts.keys().filter(|key| !matches!(key, Key::Host | Key::Path)).count()
    }

    /// Whatever is like `other` is like this, too.
    pub(super) fn covers(&self, other: &Self, judge: &Judge) -> bool {
        // Hosts last: they may be many.
        self.parts.iter().rev().all(|(key, ways)| {
            let narrow = other.parts.get(key);
            let within = |way: &Way| ways.iter().any(|wide| meet(judge, key, wide, way) == Some(Some(way.clone())));
            narrow.is_some_and(|narrow| narrow.iter().all(within))
        })
    }

    /// Where it would go first though it stands behind `earlier`, and a request may be for both.
    pub(super) fn overtakes(&self, earlier: &Self, judge: &Judge) -> bool {
        if judge.is_spent() {
            return true;
        }
        let all = [Way::Begins(String::new())];
        let paths = |of: &Self| of.parts.get(&Key::Path).cloned().unwrap_or_else(|| all.to_vec());
        let first = paths(earlier);
        let before = paths(self).iter().any(|own| {
            first.iter().any(|other| {
                (rank(own), self.count()) > (rank(other), earlier.count())
                    && !matches!(meet(judge, &Key::Path, own, other), Some(None))
            })
        });
        if !before {
            return false;
        }
        for (key, ways) in self.parts.iter().filter(|(key, _)| **key != Key::Path) {
            let Some(other) = earlier.parts.get(key) else { continue };
            let apart = |one: &Way| other.iter().all(|two| matches!(meet(judge, key, one, two), Some(None)));
            if (!key.has_many() || other.contains(&Way::Absent) || ways.contains(&Way::Absent))
                && ways.iter().all(apart)
            {
                return false;
            }
        }
        true
    }

    /// Writes it into `route`. `ordered`: paths as expressions, which are asked in the order of the file.
    pub(super) fn write(&self, route: &mut Table, ordered: bool) {
        for (key, ways) in &self.parts {
            match key {
                Key::Path if ordered => {}
                Key::Path => route.set(&["path"], Value::words(ways.iter().map(path)), None),
                Key::Listener => route.set(&["listener"], words(ways), None),
                Key::Host => route.set(&["host"], words(ways), None),
                Key::Method => route.set(&["method"], words(ways), None),
                Key::Client => route.set(&["client_ip"], words(ways), None),
                Key::Header(name) => route.set(&["header", name], matched(ways), None),
                Key::Cookie(name) => route.set(&["cookie", name], matched(ways), None),
                Key::Query(name) => route.set(&["query", name], matched(ways), None),
            }
        }
        if ordered {
            let regexes: Vec<_> = match self.ways(&Key::Path) {
                [] => vec!["^".to_owned()],
                ways => ways.iter().map(path_regex).collect(),
            };
            route.set(
                &["path"],
                Value::words(regexes.into_iter().map(|one| Value::table([("regex", one.into())]))),
                None,
            );
        }
    }

    /// A path that it takes, if one can be told.
    pub(super) fn sample(&self) -> Option<String> {
        match self.ways(&Key::Path).first() {
            None => Some("/".to_owned()),
            Some(Way::Is(path) | Way::Begins(path)) => text::is_path(path).then(|| path.clone()),
            Some(_) => None,
        }
    }
}

/// `host` is one of those that `wild` means, `*.` and a name.
pub(super) fn is_below(host: &str, wild: &str) -> bool {
    wild.strip_prefix('*').is_some_and(|suffix| host.len() > suffix.len() && host.ends_with(suffix))
}

fn rank(way: &Way) -> (u8, usize) {
    match way {
        Way::Is(_) => (3, 0),
        Way::Begins(prefix) if prefix.is_empty() => (0, 0),
        Way::Begins(prefix) => (2, prefix.len()),
        _ => (1, 0),
    }
}

/// What both ways take: `Some(None)`: nothing; `None`: it cannot be said in one way.
fn meet(judge: &Judge, key: &Key, one: &Way, other: &Way) -> Option<Option<Way>> {
    if !judge.may_go_on() {
        return None;
    }
    if one == other {
        return Some(Some(one.clone()));
    }
    if *key == Key::Client {
        let net = |way: &Way| match way {
            Way::Is(net) => judge.net(net),
            _ => None,
        };
        let (first, second) = (net(one)?, net(other)?);
        return Some(match (first.contains(&second), second.contains(&first)) {
            (true, _) => Some(other.clone()),
            (_, true) => Some(one.clone()),
            _ => None,
        });
    }
    match (one, other) {
        (Way::Is(one), Way::Is(two)) if *key == Key::Host => Some(match (is_below(one, two), is_below(two, one)) {
            (true, _) => Some(Way::Is(one.clone())),
            (_, true) => Some(Way::Is(two.clone())),
            _ => None,
        }),
        (Way::Is(_), Way::Is(_)) => Some(None),
        (Way::Absent, _) | (_, Way::Absent) => Some(None),
        (Way::Present, way) | (way, Way::Present) => Some(Some(way.clone())),
        (Way::Begins(one), Way::Begins(two)) => {
            Some(match (one.starts_with(two.as_str()), two.starts_with(one.as_str())) {
                (true, _) => Some(Way::Begins(one.clone())),
                (_, true) => Some(Way::Begins(two.clone())),
                _ => None,
            })
        }
        (Way::Is(text), Way::Begins(prefix)) | (Way::Begins(prefix), Way::Is(text)) => {
            Some(text.starts_with(prefix.as_str()).then(|| Way::Is(text.clone())))
        }
        (Way::Is(text), Way::Regex(regex)) | (Way::Regex(regex), Way::Is(text)) => {
            Some(judge.is_found(regex, text)?.then(|| Way::Is(text.clone())))
        }
        // What an empty prefix begins is anything.
        (Way::Begins(prefix), way) | (way, Way::Begins(prefix)) if prefix.is_empty() => Some(Some(way.clone())),
        (Way::Begins(prefix), Way::Regex(regex)) | (Way::Regex(regex), Way::Begins(prefix)) => both(prefix, regex),
        (Way::Regex(_), Way::Regex(_)) => None,
    }
}

/// What begins with `prefix`, and `regex` is found in, where one expression can say so.
fn both(prefix: &str, regex: &str) -> Option<Option<Way>> {
    let (octets, bare) = regex.strip_prefix("(?-u)").map_or(("", regex), |bare| ("(?-u)", bare));
    if text::has_ways(bare) || bare.starts_with("(?i") {
        return None;
    }
    if let Some(rest) = bare.strip_prefix('^') {
        let plain: String = text::first_letters(rest);
        return match () {
            () if plain.starts_with(prefix) => Some(Some(Way::Regex(regex.to_owned()))),
            () if prefix.starts_with(&plain) => None,
            () => Some(None),
        };
    }
    // Nothing of what is found can lie in the prefix.
    let first = text::first_letters(bare).chars().next()?;
    (!prefix.contains(first)).then(|| Some(Way::Regex(format!("{octets}^{}.*{bare}", regex::escape(prefix)))))
}

fn words(ways: &[Way]) -> Value {
    let word = |way: &Way| match way {
        Way::Is(text) => text.clone(),
        other => format!("{other:?}"),
    };
    Value::words(ways.iter().map(word))
}

fn path(way: &Way) -> Value {
    match way {
        Way::Is(path) => path.as_str().into(),
        Way::Begins(prefix) => Value::table([("prefix", prefix.as_str().into())]),
        other => Value::table([("regex", path_regex(other).into())]),
    }
}

fn path_regex(way: &Way) -> String {
    match way {
        Way::Is(path) => format!("^{}$", regex::escape(path)),
        Way::Begins(prefix) => format!("^{}", regex::escape(prefix)),
        Way::Regex(regex) => regex.clone(),
        Way::Present | Way::Absent => "^".to_owned(),
    }
}

/// A text or a table; several ways as one expression.
fn matched(ways: &[Way]) -> Value {
    match ways {
        [Way::Is(text)] => text.as_str().into(),
        [Way::Begins(prefix)] => Value::table([("prefix", prefix.as_str().into())]),
        [Way::Regex(regex)] => Value::table([("regex", regex.as_str().into())]),
        [Way::Present] => Value::table([("present", true.into())]),
        [Way::Absent] => Value::table([("absent", true.into())]),
        several => {
            let all: Vec<_> = several.iter().map(|way| format!("(?:{})", path_regex(way))).collect();
            Value::table([("regex", all.join("|").into())])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[(Key, Way)]) -> Conjunction {
        parts.iter().fold(Conjunction::default(), |known, (key, way)| {
            match known.with(&Predicate { key: key.clone(), ways: vec![way.clone()] }, &Judge::default()) {
                Joined::Fine(fine) => fine,
                _ => panic!("{key:?} {way:?}"),
            }
        })
    }

    #[test]
    fn what_cannot_be_is_seen() {
        let api = all(&[(Key::Path, Way::Begins("/api".into()))]);
        let with = |way: Way| api.with(&Predicate { key: Key::Path, ways: vec![way] }, &Judge::default());
        assert!(matches!(with(Way::Is("/x".into())), Joined::Never));
        assert!(matches!(with(Way::Regex("a|b".into())), Joined::Beyond));
        assert!(matches!(with(Way::Regex("^/b".into())), Joined::Never));
        let css = |joined: &Joined| matches!(joined, Joined::Fine(one) if one.ways(&Key::Path) == [Way::Regex("^/api.*\\.css$".into())]);
        assert!(css(&with(Way::Regex("\\.css$".into()))));
        assert!(matches!(with(Way::Regex("/api".into())), Joined::Beyond), "it may begin within the prefix");
        assert!(
            matches!(with(Way::Begins("/api/v1".into())), Joined::Fine(one) if one.ways(&Key::Path) == [Way::Begins("/api/v1".into())])
        );
    }

    #[test]
    fn what_goes_first_against_the_order_of_the_file_is_seen() {
        let api = all(&[(Key::Path, Way::Begins("/api".into()))]);
        let v1 = all(&[(Key::Path, Way::Begins("/api/v1".into()))]);
        let other = all(&[(Key::Path, Way::Begins("/b".into()))]);
        let post = all(&[(Key::Method, Way::Is("POST".into()))]);
        let get = all(&[(Key::Method, Way::Is("GET".into())), (Key::Path, Way::Is("/api/v1".into()))]);
        let overtakes = |one: &Conjunction, other: &Conjunction| one.overtakes(other, &Judge::default());
        assert!(overtakes(&v1, &api) && !overtakes(&api, &v1) && !overtakes(&v1, &other));
        assert!(overtakes(&api, &post) && !overtakes(&get, &post) && !overtakes(&post, &api));
    }
}
