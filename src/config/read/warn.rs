//! What only all routes, pools and listeners together show: names that nothing uses, and routes that never match.
//!
//! Called once everything is read and nothing is wrong. "Covers" is cautious: where it is not certain that a route takes
//! all requests of another one, nothing is said.

use std::collections::{HashMap, HashSet};

use super::{
    super::{
        Action, Address, AuthKind, Fallback, HostMatch, LimitKey, Listener, PathMatch, Pool, Route, Server, StickyBy,
        Text,
        report::Wrong,
        section::{Document, Field},
        units::quoted,
    },
    auth, limit, pool, route,
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
    let mirrors = routes.iter().filter_map(|entry| Some(entry.route.mirror.as_ref()?.pool.as_str()));
    let used: HashSet<&str> = routes.iter().flat_map(|entry| pools_of(&entry.route)).chain(mirrors).collect();
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
    forgetful(pools, routes);
}

/// Warns of limits that no route names.
pub(super) fn unused(limits: &[limit::Entry<'_>], routes: &[route::Entry<'_>]) {
    let used: HashSet<&str> = routes.iter().flat_map(|entry| &entry.route.rate_limit).map(String::as_str).collect();
    for entry in limits.iter().filter(|entry| !used.contains(entry.limit.name.as_str())) {
        let wrong = Wrong::new("no route has this limit: it limits nothing");
        let help = format!("write rate_limit = [{}] in a route, or take it out", quoted(&entry.limit.name));
        entry.field.warn(wrong.help(help));
    }
}

/// Warns of limits that count by what a token says, on routes that ask for none.
pub(super) fn nameless(limits: &[limit::Entry<'_>], routes: &[route::Entry<'_>], auths: &[auth::Entry<'_>]) {
    let by_claim = |key: &[LimitKey]| key.iter().any(|part| matches!(part, LimitKey::Claim(_)));
    let named: HashSet<&str> =
        limits.iter().filter(|entry| by_claim(&entry.limit.key)).map(|entry| entry.limit.name.as_str()).collect();
    let has_token = |route: &Route| {
        let auth = auths.iter().find(|entry| Some(&entry.auth.name) == route.auth.as_ref());
        auth.is_some_and(|entry| matches!(entry.auth.kind, AuthKind::Jwt(_)))
    };
    for entry in routes.iter().filter(|entry| !has_token(&entry.route)) {
        let of_rate = entry.route.rate_limit.iter().any(|name| named.contains(name.as_str()));
        let of_flight = entry.route.in_flight_limit.as_ref().is_some_and(|limit| by_claim(&limit.key));
        for (key, _) in [("rate_limit", of_rate), ("in_flight_limit", of_flight)].into_iter().filter(|(_, by)| *by) {
            let Some((_, field)) = entry.field.entries().into_iter().find(|(name, _)| *name == key) else { continue };
            let wrong = Wrong::new("no request has a claim: the route asks for no token, and all share one bucket");
            field.warn(wrong.help("write auth = \"NAME\" in the route, of a way in with type = \"jwt\""));
        }
    }
}

/// Warns of listeners that want a PROXY header, and believe nobody's.
pub(super) fn shut(listeners: &[Listener], server: &Server, document: &Document<'_>) {
    let fields = document.written("listener");
    for (listener, field) in listeners.iter().zip(fields.iter().flat_map(Field::list)) {
        let (nobody, what, example) = match listener.address {
            Address::Tcp(_) | Address::Named(..) => (server.trusted_proxies.nets.is_empty(), "network", "10.0.0.0/8"),
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

/// Warns of cookies whose prefix asks browsers to take them by TLS alone, where nobody speaks TLS to us.
pub(super) fn prefixed(listeners: &[Listener], server: &Server, pools: &[pool::Entry<'_>]) {
    let trusts = server.trusted_proxies.unix || !server.trusted_proxies.nets.is_empty();
    if trusts || listeners.iter().any(|listener| listener.tls.is_some()) {
        return;
    }
    for entry in pools {
        let name = cookie(&entry.pool).unwrap_or_default();
        let prefix = ["__Host-", "__Secure-"].into_iter().find(|prefix| name.starts_with(prefix));
        let of_sticky = sticky(entry).map(|field| field.entries()).unwrap_or_default();
        let written = of_sticky.into_iter().find(|(key, _)| *key == "name");
        if let (Some(prefix), Some((_, field))) = (prefix, written) {
            let wrong = Wrong::new(format!(
                "browsers take a cookie that begins with {prefix} by TLS alone, and no listener has it"
            ));
            field.warn(wrong.help("give the cookie another name, or a listener `tls`"));
        }
    }
}

/// Warns of pools whose cookies have one name, and whose routes one host: a browser keeps one of the two.
fn forgetful(pools: &[pool::Entry<'_>], routes: &[route::Entry<'_>]) {
    let named = pools.iter().filter_map(|entry| Some((entry.pool.name.as_str(), (cookie(&entry.pool)?, entry))));
    let named: HashMap<_, _> = named.collect();
    let mut first = HashMap::new();
    let mut told = HashSet::new();
    for (index, pool, host) in routes.iter().enumerate().flat_map(|(index, entry)| goals(index, &entry.route)) {
        let Some(&(name, entry)) = named.get(pool) else { continue };
        let (before, route) = *first.entry((name, host)).or_insert((pool, index));
        // Sides of a split share their cookie: it says which side a client is on.
        let share = pools_of(&routes[route].route).contains(&pool);
        if share || !told.insert(pool) {
            continue;
        }
        let (Some(here), Some(there)) = (sticky(entry), sticky(named[before].1)) else { continue };
        let (before, name) = (quoted(before), quoted(name));
        let wrong = Wrong::new(format!("pool {before} has a cookie {name} at the same host, and a browser keeps one"));
        here.warn_because(wrong.help("give this cookie a `name` of its own"), &there, "the other one");
    }
}

/// Each pool and host of the route at `index`.
fn goals(index: usize, route: &Route) -> Vec<(usize, &str, Option<&HostMatch>)> {
    let mut hosts: Vec<_> = cases(route).into_iter().map(|(host, _)| host).collect();
    hosts.dedup();
    let pools = pools_of(route);
    hosts.iter().flat_map(|host| pools.iter().map(move |pool| (index, *pool, *host))).collect()
}

/// The name of the cookie that keeps clients of `pool`, if it is ours.
fn cookie(pool: &Pool) -> Option<&str> {
    match &pool.sticky.as_ref()?.by {
        StickyBy::Cookie { name, .. } => Some(name),
        StickyBy::AppCookie { .. } | StickyBy::Header(_) | StickyBy::SourceIp => None,
    }
}

/// Where the stickiness of a pool stands.
fn sticky<'a>(entry: &pool::Entry<'a>) -> Option<Field<'a>> {
    entry.field.entries().into_iter().find(|(key, _)| *key == "sticky").map(|(_, field)| field)
}

/// Where its requests go, or may go.
pub(super) fn pools_of(route: &Route) -> Vec<&str> {
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
