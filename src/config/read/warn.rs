//! What only all routes, pools and listeners together show: names that nothing uses, and routes that never match.
//!
//! Called once everything is read and nothing is wrong. "Covers" is cautious: where it is not certain that a route takes
//! all requests of another one, nothing is said.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        Action, Address, Fallback, HostMatch, Listener, PathMatch, Route, Server, Text,
        report::Wrong,
        section::{Document, Field},
        units::quoted,
    },
    pool, route,
};

/// Routes of one host and path that are compared with one another: a warning is not worth a square of thousands.
const MOST: usize = 500;

/// Warns of what is written for nothing.
pub(super) fn warn(
    listeners: &[Listener],
    pools: &[pool::Entry<'_>],
    routes: &[route::Entry<'_>],
    document: &Document<'_>,
) {
    let used: HashSet<&str> = routes.iter().flat_map(|entry| pools_of(&entry.route)).collect();
    for entry in pools.iter().filter(|entry| !used.contains(entry.pool.name.as_str())) {
        let wrong = Wrong::new("no route uses this pool");
        entry.field.warn(wrong.help(format!("write a route with pool = {}, or take it out", quoted(&entry.pool.name))));
    }
    let fields = document.written("listener");
    for (listener, field) in listeners.iter().zip(fields.iter().flat_map(Field::list)) {
        let for_it = |entry: &route::Entry<'_>| {
            entry.route.listeners.is_empty() || entry.route.listeners.contains(&listener.name)
        };
        if !listener.redirect_to_https && !routes.iter().any(for_it) {
            let wrong = Wrong::new("no route is for this listener: every request gets 404");
            field.warn(wrong.help("name it in the `listener` of a route, or take it out"));
        }
    }
    hidden(routes);
}

/// Warns of listeners that want a PROXY header, and believe nobody's.
pub(super) fn shut(listeners: &[Listener], server: &Server, document: &Document<'_>) {
    let fields = document.written("listener");
    for (listener, field) in listeners.iter().zip(fields.iter().flat_map(Field::list)) {
        let (nobody, what, example) = match listener.address {
            Address::Tcp(_) => (server.trusted_proxies.nets.is_empty(), "network", "10.0.0.0/8"),
            Address::Unix(_) => (!server.trusted_proxies.unix, "unix socket", "unix"),
        };
        let written = field.entries().into_iter().find(|(key, _)| *key == "proxy_protocol");
        if let Some((_, field)) = written.filter(|_| listener.proxy_protocol && nobody) {
            let wrong = Wrong::new(format!(
                "nobody can connect: `proxy_protocol` takes trusted peers alone, and no {what} is in `trusted_proxies`"
            ));
            field.warn(wrong.help(format!("write trusted_proxies = [\"{example}\"] in [server], for example")));
        }
    }
}

fn pools_of(route: &Route) -> Vec<&str> {
    let mut names = match &route.action {
        Action::Pool(name) => vec![name.as_str()],
        Action::Split { pools, .. } => pools.iter().map(|(name, _)| name.as_str()).collect(),
        Action::Redirect { .. } | Action::Respond(_) => Vec::new(),
    };
    if let Some(Fallback::Pool(name)) = &route.fallback {
        names.push(name);
    }
    names
}

/// One host and one path that a route is for; `None` = any.
type Case<'r> = (Option<&'r HostMatch>, Option<&'r PathMatch>);

fn cases(route: &Route) -> Vec<Case<'_>> {
    let hosts: Vec<_> = if route.hosts.is_empty() { vec![None] } else { route.hosts.iter().map(Some).collect() };
    let paths: Vec<_> = if route.paths.is_empty() { vec![None] } else { route.paths.iter().map(Some).collect() };
    hosts.iter().flat_map(|host| paths.iter().map(move |path| (*host, *path))).collect()
}

/// Warns of each route all of whose cases are taken by routes that go first.
fn hidden(routes: &[route::Entry<'_>]) {
    let mut by_case: HashMap<Case<'_>, Vec<usize>> = HashMap::new();
    for (index, entry) in routes.iter().enumerate() {
        for case in cases(&entry.route) {
            by_case.entry(case).or_default().push(index);
        }
    }
    let everything = PathMatch::Below(String::new());
    for (index, entry) in routes.iter().enumerate() {
        let taken = |case: &Case<'_>| taker(case, index, routes, &by_case, &everything);
        let takers: Option<Vec<usize>> = cases(&entry.route).iter().map(taken).collect();
        let Some(first) = takers.as_ref().and_then(|takers| takers.first()) else { continue };
        let by = &routes[*first];
        let wrong = Wrong::new(format!("this route can never match: {} takes its requests", quoted(&by.route.name)));
        let help = "a route goes first by its host, then its path, then the number of its predicates, then its place in the file";
        entry.field.warn_because(wrong.help(help), &by.field, "this one goes first");
    }
}

/// A route that takes every request of `case` of the route at `index`.
fn taker<'r>(
    case: &Case<'r>,
    index: usize,
    routes: &[route::Entry<'_>],
    by_case: &HashMap<Case<'r>, Vec<usize>>,
    everything: &'r PathMatch,
) -> Option<usize> {
    let (host, path) = *case;
    let route = &routes[index].route;
    // The same host and path: more predicates go first, and then the earlier one. Of the same expression the earlier one.
    let regex = matches!(path, Some(PathMatch::Regex(_)));
    let same = |other: &usize| {
        let taker = &routes[*other].route;
        *other < index && (regex || count(taker) >= count(route)) && covers(taker, route)
    };
    let candidates = |case: &Case<'r>| by_case.get(case).map(|list| &list[..list.len().min(MOST)]).unwrap_or_default();
    if let Some(other) = candidates(case).iter().copied().find(|other| same(other)) {
        return Some(other);
    }
    // `/*` goes before every expression. It goes before no path at all, too, but leaves it `OPTIONS *`.
    let wider = |other: &usize| *other != index && covers(&routes[*other].route, route);
    let all = (host, Some(everything));
    regex.then(|| candidates(&all).iter().copied().find(|other| wider(other))).flatten()
}

/// Predicates beside host and path.
fn count(route: &Route) -> usize {
    let lists = [!route.methods.is_empty(), !route.client_ip.is_empty(), !route.listeners.is_empty()];
    let lists = lists.into_iter().filter(|written| *written).count();
    lists + route.headers.len() + route.cookies.len() + route.query.len()
}

/// Beside host and path, `wide` matches whatever `narrow` does.
fn covers(wide: &Route, narrow: &Route) -> bool {
    let networks = wide.client_ip.is_empty()
        || !narrow.client_ip.is_empty()
            && narrow.client_ip.iter().all(|net| wide.client_ip.iter().any(|wide| wide.contains(net)));
    all_in(&wide.listeners, &narrow.listeners)
        && all_in(&wide.methods, &narrow.methods)
        && texts(&wide.headers, &narrow.headers)
        && texts(&wide.cookies, &narrow.cookies)
        && texts(&wide.query, &narrow.query)
        && networks
}

/// An empty list is any.
fn all_in(wide: &[String], narrow: &[String]) -> bool {
    wide.is_empty() || !narrow.is_empty() && narrow.iter().all(|word| wide.contains(word))
}

fn texts(wide: &[(String, Text)], narrow: &[(String, Text)]) -> bool {
    wide.iter().all(|(name, wide)| {
        let same = narrow.iter().find(|(other, _)| other == name);
        same.is_some_and(|(_, narrow)| match (wide, narrow) {
            (Text::Present, narrow) => *narrow != Text::Absent,
            (Text::Prefix(prefix), Text::Equal(text) | Text::Prefix(text)) => text.starts_with(prefix),
            (wide, narrow) => wide == narrow,
        })
    })
}
