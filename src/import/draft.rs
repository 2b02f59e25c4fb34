//! The configuration that is being written: tables in the order of the file, names that are each taken once, and what
//! reads them back. Filled by both readers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write,
};

use super::{
    report::{Outcome, Place, Report},
    toml::{Table, Value},
};

/// What will be the file, and what is said about it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) server: Table,
    pub(super) listeners: Vec<Table>,
    pub(super) routes: Vec<Table>,
    pub(super) pools: Vec<Table>,
    pub(super) limits: Vec<Table>,
    pub(super) auths: Vec<Table>,
    pub(super) error_pages: Table,
    pub(super) tests: Vec<Table>,
    /// What is asked for by them.
    pub(super) urls: HashSet<String>,
    pub(super) report: Report,
    pub(super) route_names: Names,
    pub(super) pool_names: Names,
    /// Bytes of the routes.
    pub(super) written: usize,
    /// Listeners and hosts whose routes have found no room.
    pub(super) lost: BTreeSet<(Vec<String>, Vec<String>)>,
}

/// Further routes and pools are not written: bounded output, whatever is read.
const MOST_TABLES: usize = 20_000;
/// Further `[[test]]`s are left out: whoever checks the file asks each of all routes.
const MOST_TESTS: usize = 1_000;
/// Bytes of all routes.
const MOST_BYTES: usize = 32 << 20;

impl Default for Draft {
    fn default() -> Self {
        Self {
            server: Table::new(&["server"]),
            listeners: Vec::new(),
            routes: Vec::new(),
            pools: Vec::new(),
            limits: Vec::new(),
            auths: Vec::new(),
            error_pages: Table::new(&["error_pages"]),
            tests: Vec::new(),
            urls: HashSet::new(),
            report: Report::default(),
            route_names: Names::default(),
            pool_names: Names::default(),
            written: 0,
            lost: BTreeSet::new(),
        }
    }
}

/// What a `[[test]]` expects of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) url: String,
    pub(super) route: String,
    /// The pool, or the status of an answer of our own.
    pub(super) end: End,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Pool(String),
    Status(u64),
    /// Chance decides.
    Open,
}

impl Draft {
    /// There is room for one more.
    pub(super) fn has_room(&self) -> bool {
        self.routes.len() + self.pools.len() + self.listeners.len() < MOST_TABLES && self.written < MOST_BYTES
    }

    /// Adds `route`, which is from `directive`, at its `place`; `false`: there is no room, and its requests are refused.
    pub(super) fn add(&mut self, route: Table, (place, directive): (&Place, &str)) -> bool {
        if self.has_room() {
            self.written += route.to_string().len();
            self.routes.push(route);
            return true;
        }
        let names = |key: &str| match route.value(&[key]) {
            Some(Value::Text(one)) => vec![one.clone()],
            Some(Value::List(list)) => list.iter().filter_map(Value::text).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        self.lose(names("listener"), names("host"), (place, directive));
        false
    }

    /// Refuses what no route before takes of these listeners and hosts, any where there are none: a route from `directive` has
    /// found no room.
    pub(super) fn lose(&mut self, listeners: Vec<String>, hosts: Vec<String>, (place, directive): (&Place, &str)) {
        let note = format!(
            "a file has room for {MOST_TABLES} listeners, routes and pools, and for {} MiB of routes: its requests get 503",
            MOST_BYTES >> 20
        );
        self.report.add(Outcome::Closed, place, directive, note);
        self.report.cut();
        self.lost.insert((listeners, hosts));
    }

    /// Routes that refuse what has found no room.
    fn closing(&self) -> Vec<Table> {
        let mut hosts: BTreeMap<&Vec<String>, BTreeSet<&String>> = BTreeMap::new();
        let mut any = BTreeSet::new();
        for (listeners, names) in &self.lost {
            hosts.entry(listeners).or_default().extend(names);
            if names.is_empty() {
                any.insert(listeners);
            }
        }
        let named = hosts.into_iter().filter(|(_, hosts)| !hosts.is_empty());
        let all = named.chain(any.into_iter().map(|listeners| (listeners, BTreeSet::new())));
        let close = |(at, (listeners, hosts)): (usize, (&Vec<String>, BTreeSet<&String>))| {
            let mut route = Table::element("route");
            route.comment("CLOSED: there was no room for all routes; whatever they were for is refused");
            route.set(&["name"], format!("no room {}", at + 1), None);
            for (key, names) in
                [("listener", listeners.iter().collect::<Vec<_>>()), ("host", hosts.into_iter().collect())]
            {
                if !names.is_empty() {
                    route.set(&[key], Value::words(names.into_iter().map(String::as_str)), None);
                }
            }
            route.set(&["respond"], Value::table([("status", 503.into())]), None);
            route
        };
        all.enumerate().map(close).collect()
    }

    /// A `[[test]]`: a GET of `url` takes that route.
    pub(super) fn expect(&mut self, expected: &Expected) {
        let Expected { url, route, end } = expected;
        if !self.urls.insert(url.clone()) || self.tests.len() >= MOST_TESTS {
            return;
        }
        let mut test = Table::element("test");
        test.set(&["name"], format!("{url} -> {route}"), None);
        test.set(&["request"], Value::table([("method", "GET".into()), ("url", url.as_str().into())]), None);
        let mut pairs = vec![("route".to_owned(), route.as_str().into())];
        match end {
            End::Pool(name) => pairs.push(("pool".to_owned(), name.as_str().into())),
            End::Status(status) => pairs.push(("status".to_owned(), (*status).into())),
            End::Open => {}
        }
        test.set(&["expect"], Value::Table(pairs), None);
        self.tests.push(test);
    }

    /// The whole file; `title` says where it is from.
    pub(super) fn render(&self, title: &str) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "# Imported from {title}. Comments name the lines that each part is from.");
        if self.urls.len() > self.tests.len() {
            let _ = writeln!(out, "# The first {MOST_TESTS} of {} tests are in it.", self.urls.len());
        }
        let closing = self.closing();
        let lists = [&self.listeners, &self.routes, &closing, &self.pools, &self.limits, &self.auths];
        let first = (!self.server.is_empty()).then_some(&self.server);
        let pages = (!self.error_pages.is_empty()).then_some(&self.error_pages);
        let tables = first.into_iter().chain(lists.into_iter().flatten()).chain(pages).chain(&self.tests);
        for table in tables {
            let _ = write!(out, "\n{table}");
        }
        out
    }
}

/// Makes `route` an answer of 503: what it needs to be safe is not there.
pub(super) fn close(route: &mut Table, place: &Place, directive: &str) {
    for action in ["pool", "split", "split_by", "redirect", "mirror", "rewrite", "timeout", "upgrade", "fallback"] {
        route.remove(&[action]);
    }
    for part in ["strip_prefix", "add_prefix", "regex", "replacement"] {
        route.remove(&["rewrite", part]);
    }
    route.drop_under("request_headers");
    route.comment(format!("CLOSED: {place} `{directive}` protects this and could not be converted"));
    let answer = Value::table([("status", 503.into()), ("body", "closed by the import of its configuration".into())]);
    route.set(&["respond"], answer, Some(place));
}

/// Names, each once.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
    /// What to try next, by what it begins with.
    next: HashMap<String, usize>,
}

impl Names {
    /// `base`, or `base-2` and so on if that is taken.
    pub(super) fn fresh(&mut self, base: &str) -> String {
        let base: String = base.chars().filter(|letter| !letter.is_control()).take(200).collect();
        let base = if base.trim().is_empty() { "x".to_owned() } else { base };
        if self.taken.insert(base.clone()) {
            return base;
        }
        let number = self.next.entry(base.clone()).or_insert(2);
        loop {
            let name = format!("{base}-{number}");
            *number += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_bounded() {
        let mut draft = Draft { routes: vec![Table::element("route"); MOST_TABLES - 1], ..Draft::default() };
        assert!(draft.has_room());
        draft.pools.push(Table::new(&["pool", "a"]));
        assert!(!draft.has_room());
        // What finds no room is refused, at its hosts and anywhere.
        let mut route = Table::element("route");
        route.set(&["host"], "a.example", None);
        let place = Place { file: "a.conf".into(), line: 7 };
        assert!(!draft.add(route.clone(), (&place, "location /")) && !draft.report.is_whole());
        draft.lose(vec!["http".to_owned()], Vec::new(), (&place, "location /x"));
        assert_eq!(draft.report.count(Outcome::Closed), 2);
        let closing = draft.closing();
        let hosts: Vec<_> = closing.iter().map(|route| (route.value(&["listener"]), route.value(&["host"]))).collect();
        assert_eq!(hosts, [(None, Some(&"a.example".into())), (Some(&"http".into()), None)]);
        assert!(closing.iter().all(|route| route.value(&["respond"]).is_some()));
    }

    #[test]
    fn routes_are_bounded_by_their_bytes_and_tests_by_their_number() {
        let mut draft = Draft::default();
        let mut route = Table::element("route");
        route.comment("x".repeat(1 << 20));
        let place = Place { file: "a.conf".into(), line: 7 };
        let added = (0..40).filter(|_| draft.add(route.clone(), (&place, "location /"))).count();
        assert_eq!(added, MOST_BYTES >> 20);
        for number in 0..=MOST_TESTS {
            draft.expect(&Expected { url: format!("/{number}"), route: "a".to_owned(), end: End::Open });
        }
        assert_eq!(draft.tests.len(), MOST_TESTS);
        assert!(draft.render("x").contains("# The first 1000 of 1001 tests are in it."));
    }
}
