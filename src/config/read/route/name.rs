//! Names of routes that have none: derived from what they match, each once.

use std::collections::HashSet;

use super::{
    super::super::{HostMatch, PathMatch, Route, Text},
    Entry,
};

/// A name is a label in metrics and a word in the log.
const LONGEST: usize = 200;

/// Names every route whose name is empty. Written names are taken first, so that a new route does not change them.
pub(super) fn give(routes: &mut [Entry<'_>]) {
    let mut taken: HashSet<String> = routes.iter().map(|entry| entry.route.name.clone()).collect();
    for entry in routes.iter_mut().filter(|entry| entry.route.name.is_empty()) {
        let base = derived(&entry.route);
        let mut name = base.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        entry.route.name = name;
    }
}

/// As `Route::name` says.
fn derived(route: &Route) -> String {
    let host = route.hosts.first().map(|host| match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(domain) => format!("*{domain}"),
    });
    let path = route.paths.first().map(|path| match path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Below(path) => format!("{path}/*"),
        PathMatch::Prefix(path) => format!("{path}*"),
        PathMatch::Regex(regex) => format!("/~{regex}"),
    });
    let name = match (host, path) {
        (None, None) => lesser(route).unwrap_or_else(|| "default".to_owned()),
        (host, path) => host.unwrap_or_default() + &path.unwrap_or_default(),
    };
    name.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}

/// The first predicate of a route without host and path.
fn lesser(route: &Route) -> Option<String> {
    let first = |what: &str, list: &[(String, Text)]| list.first().map(|(name, _)| format!("{what}:{name}"));
    let method = route.methods.first().cloned();
    method
        .or_else(|| first("header", &route.headers))
        .or_else(|| first("cookie", &route.cookies))
        .or_else(|| first("query", &route.query))
        .or_else(|| route.client_ip.first().map(|net| format!("client_ip:{net}")))
        .or_else(|| route.listeners.first().map(|name| format!("listener:{name}")))
}
