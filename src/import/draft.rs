//! The configuration that is being written: tables in the order of the file, names that are each taken once, and what
//! reads them back. Filled by both readers.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write,
};

use super::{
    report::{Place, Report},
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
}

/// Further routes and pools are not written: bounded output, whatever is read.
const MOST_TABLES: usize = 20_000;

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
        self.routes.len() + self.pools.len() + self.listeners.len() < MOST_TABLES
    }

    /// A `[[test]]`: a GET of `url` takes that route.
    pub(super) fn expect(&mut self, expected: &Expected) {
        let Expected { url, route, end } = expected;
        if !self.urls.insert(url.clone()) {
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
        let lists = [&self.listeners, &self.routes, &self.pools, &self.limits, &self.auths];
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
    }
}
