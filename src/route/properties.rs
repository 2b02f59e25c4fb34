//! Whatever the routes and the request: the router finds what a scan over all routes by PRODUCT.md's rules finds.

use super::{Ahead, Request, Router, Verdict, Why};
use crate::{
    config::{Cors, HostMatch, Origin, PathMatch, Route, Text},
    http::Head,
    policy::test_head,
};
use proptest::{collection::vec, prelude::*, sample::select};
use regex::Regex;
use std::{cmp::Reverse, net::IpAddr, time::Duration};

const LISTENERS: [&str; 2] = ["web", "admin"];

/// Few hosts, paths and values: matches, and several at once, must be frequent.
fn labels() -> impl Strategy<Value = String> {
    select(&["a", "b", "a.b", "b.a", "a.a.b", "b.a.b"][..]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    let paths = &["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/a/b/c", "/b", "//", "/a%2Fb"][..];
    select(paths).prop_map(str::to_owned)
}

fn host_match() -> impl Strategy<Value = HostMatch> {
    (labels(), any::<bool>()).prop_map(|(labels, wild)| match wild {
        true => HostMatch::Wildcard(format!(".{labels}")),
        false => HostMatch::Exact(labels),
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        1 => path().prop_map(PathMatch::Exact),
        2 => path().prop_map(|path| PathMatch::Below(path.trim_end_matches('/').into())),
        1 => path().prop_map(PathMatch::Prefix),
        1 => select(&["a", "^/a", "b$", "^/(a|b)/?$"][..]).prop_map(|regex| PathMatch::Regex(regex.into())),
    ]
}

fn text() -> impl Strategy<Value = Text> {
    prop_oneof![
        1 => "[ab]{0,2}".prop_map(Text::Equal),
        1 => "[ab]".prop_map(Text::Prefix),
        1 => "[ab]".prop_map(|letter| Text::Regex(format!("^{letter}"))),
        3 => Just(Text::Present),
        2 => Just(Text::Absent),
    ]
}

/// Most routes have none of a kind.
fn few<T: Clone + std::fmt::Debug>(item: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    (item, vec(any::<bool>(), 2)).prop_map(|(item, coins)| if coins[0] && coins[1] { vec![item] } else { Vec::new() })
}

fn named() -> impl Strategy<Value = Vec<(String, Text)>> {
    few((prop_oneof!["x", "accept"], text()))
}

fn route() -> impl Strategy<Value = Route> {
    let words = |words: &'static [&'static str]| few(select(words).prop_map(str::to_owned));
    let nets = few(select(&["10.0.0.0/8", "::/0"][..]));
    let lists = (words(&LISTENERS), words(&["GET", "GET", "PUT", "PURGE"]), nets);
    (vec(host_match(), 0..3), vec(path_match(), 0..4), lists, named(), named(), named(), any::<bool>()).prop_map(
        |(hosts, paths, (listeners, methods, nets), headers, cookies, query, cors)| Route {
            cors: cors.then(|| Cors {
                origins: vec![Origin::Any],
                methods: Vec::new(),
                headers: Vec::new(),
                credentials: false,
                max_age: Duration::ZERO,
            }),
            hosts,
            paths,
            listeners,
            methods,
            client_ip: nets.iter().map(|net| net.parse().unwrap()).collect(),
            headers,
            cookies,
            query,
            ..Route::all_to("web")
        },
    )
}

/// What a request says, apart from its bytes.
#[derive(Clone, Debug)]
struct Asked {
    host: String,
    path: String,
    method: String,
    /// It is a preflight for that method.
    preflight: Option<String>,
    /// Of the two names each.
    headers: Vec<(String, String)>,
    cookies: Vec<(String, String)>,
    query: Vec<(String, String)>,
    listener: usize,
    client: Option<IpAddr>,
}

fn asked() -> impl Strategy<Value = Asked> {
    let pairs = || vec((prop_oneof!["x", "accept"], "[ab]{0,2}"), 0..3);
    let client = prop_oneof![Just(None), Just(Some("10.1.1.1")), Just(Some("2001:db8::1"))];
    let method = select(&["GET", "GET", "GET", "PUT", "PURGE", "OPTIONS"][..]).prop_map(str::to_owned);
    let preflight = select(&["", "", "GET", "PUT", "PURGE", "OPTIONS"][..]);
    let start = (labels(), path(), (method, preflight), 0..2usize, client);
    (start, pairs(), pairs(), pairs()).prop_map(|((host, path, how, listener, client), headers, cookies, query)| {
        let (method, preflight) = match how {
            (_, asked) if !asked.is_empty() => ("OPTIONS".to_owned(), Some(asked.to_owned())),
            (method, _) => (method, None),
        };
        Asked {
            path: if method == "OPTIONS" && preflight.is_none() { "*".into() } else { path },
            preflight,
            host,
            method,
            headers,
            cookies,
            query,
            listener,
            client: client.map(|client| client.parse().unwrap()),
        }
    })
}

impl Asked {
    /// In other case, with a port and a dot, escaped: all that must make no difference.
    fn head(&self) -> Head {
        let join = |pairs: &[(String, String)], between: &str, escape: bool| {
            let pair = |(name, value): &(String, String)| match escape {
                true => format!("{name}={}", value.replace('a', "%61")),
                false => format!("{name}={value}"),
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join(between)
        };
        let query = if self.path == "*" { String::new() } else { format!("?{}", join(&self.query, "&", true)) };
        let mut text =
            format!("{} {}{query} HTTP/1.1\nHost: {}.:80\n", self.method, self.path, self.host.to_uppercase());
        if let Some(method) = &self.preflight {
            text += &format!("Origin: https://a.example\nAccess-Control-Request-Method: {method}\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{}: {value}\n", name.to_uppercase());
        }
        if !self.cookies.is_empty() {
            text += &format!("Cookie: {}\n", join(&self.cookies, "; ", false));
        }
        test_head(&text)
    }
}

fn fits(text: &Text, values: &[(String, String)], name: &str) -> bool {
    let mut values = values.iter().filter(|(other, _)| other == name).map(|(_, value)| value);
    match text {
        Text::Equal(text) => values.any(|value| value == text),
        Text::Prefix(text) => values.any(|value| value.starts_with(text)),
        Text::Regex(regex) => values.any(|value| Regex::new(regex).unwrap().is_match(value)),
        Text::Present => values.next().is_some(),
        Text::Absent => values.next().is_none(),
    }
}

/// The smaller, the better; `None`: it does not match.
type Rank = (u8, Reverse<usize>, u8, Reverse<usize>, Reverse<usize>, usize);

fn rank(place: usize, route: &Route, asked: &Asked) -> Option<Rank> {
    let hosts = route.hosts.iter().filter_map(|host| match host {
        HostMatch::Exact(name) => (*name == asked.host).then_some((0, Reverse(0))),
        HostMatch::Wildcard(suffix) => {
            (asked.host.len() > suffix.len() && asked.host.ends_with(suffix)).then_some((1, Reverse(suffix.len())))
        }
    });
    let host = if route.hosts.is_empty() { Some((2, Reverse(0))) } else { hosts.min() }?;
    let path = &asked.path;
    let paths = route.paths.iter().filter_map(|wanted| match wanted {
        PathMatch::Exact(text) => (text == path).then_some((0, Reverse(0))),
        PathMatch::Below(text) => {
            (path == text || path.starts_with(&format!("{text}/"))).then_some((1, Reverse(text.len())))
        }
        PathMatch::Prefix(text) => path.starts_with(text).then_some((1, Reverse(text.len()))),
        PathMatch::Regex(regex) => Regex::new(regex).unwrap().is_match(path).then_some((2, Reverse(0))),
    });
    let path = if route.paths.is_empty() { Some((3, Reverse(0))) } else { paths.min() }?;
    let query = if asked.path == "*" { &[][..] } else { &asked.query };
    let one_of = |list: &[String], word: &str| list.is_empty() || list.iter().any(|other| other == word);
    let matches = one_of(&route.listeners, LISTENERS[asked.listener])
        && (one_of(&route.methods, &asked.method)
            || route.cors.is_some() && asked.preflight.as_ref().is_some_and(|method| one_of(&route.methods, method)))
        && (route.client_ip.is_empty()
            || asked.client.is_some_and(|client| route.client_ip.iter().any(|net| net.contains(&client))))
        && route.headers.iter().all(|(name, text)| fits(text, &asked.headers, name))
        && route.cookies.iter().all(|(name, text)| fits(text, &asked.cookies, name))
        && route.query.iter().all(|(name, text)| fits(text, query, name));
    let lists = [route.listeners.is_empty(), route.methods.is_empty(), route.client_ip.is_empty()];
    let lists = lists.iter().filter(|empty| !**empty).count();
    let count = lists + route.headers.len() + route.cookies.len() + route.query.len();
    // Expressions are tried in the order of the file.
    let count = if path.0 == 2 { 0 } else { count };
    matches.then_some((host.0, host.1, path.0, path.1, Reverse(count), place))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_router_finds_what_a_scan_finds(routes in vec(route(), 0..12), asked in vec(asked(), 1..8)) {
        let router = Router::new(&routes, &LISTENERS.map(str::to_owned));
        for asked in asked {
            let head = asked.head();
            let request = Request { head: &head, listener: asked.listener, client: asked.client };
            let ranks: Vec<_> =
                routes.iter().enumerate().map(|(place, route)| rank(place, route, &asked)).collect();
            let wanted = ranks.iter().flatten().min().map(|rank| rank.5);
            prop_assert_eq!(router.find(&request), wanted, "{:?}", asked);
            let tried = router.explain(&request);
            let mut places: Vec<_> = tried.iter().map(|(place, _)| *place).collect();
            let matching: Vec<_> = places.iter().filter_map(|place| ranks[*place]).collect();
            prop_assert!(matching.is_sorted(), "they are tried in their order: {:?} {:?}", tried, asked);
            places.sort_unstable();
            prop_assert!(places.into_iter().eq(0..routes.len()), "each is told once");
            let best = ranks.iter().flatten().min();
            for (place, verdict) in tried {
                let (rank, what) = (ranks[place], format!("{place} {verdict:?} {asked:?}"));
                match (verdict, rank) {
                    (Verdict::Chosen, _) => prop_assert_eq!(Some(place), wanted, "{}", what),
                    (Verdict::Outranked(ahead), Some(rank)) => {
                        prop_assert_ne!(Some(place), wanted, "{}", what);
                        prop_assert_eq!(Some(ahead), best.map(|best| first_difference(best, &rank)), "{}", what);
                    }
                    (Verdict::Missed(why), None) => {
                        prop_assert!(is_missed(why, &routes[place], &asked), "{}", what);
                    }
                    _ => prop_assert!(false, "{}", what),
                }
            }
        }
    }
}

/// What puts `best` in front of `other`.
fn first_difference(best: &Rank, other: &Rank) -> Ahead {
    match () {
        () if (best.0, best.1) != (other.0, other.1) => Ahead::Host,
        () if (best.2, best.3) != (other.2, other.3) => Ahead::Path,
        () if best.4 != other.4 => Ahead::Predicates,
        () => Ahead::Order,
    }
}

/// `route` without anything but what `why` names does not match: it is what keeps the request out. Without a host, or
/// without a path as well, where those are named.
fn is_missed(why: Why<'_>, route: &Route, asked: &Asked) -> bool {
    let Route { hosts, paths, listeners, methods, client_ip, headers, cookies, query, cors, .. } = route.clone();
    let bare = Route { cors, ..Route::all_to("web") };
    let only = |list: Vec<(String, Text)>, name: &str| list.into_iter().filter(|(other, _)| other == name).collect();
    let bare = match why {
        Why::Host => Route { hosts, ..bare },
        // A wildcard may have other paths than a name: it is said of those whose host fits.
        Why::Path => Route { hosts, paths, ..bare },
        Why::Listener => Route { listeners, ..bare },
        Why::Method => Route { methods, ..bare },
        Why::ClientIp => Route { client_ip, ..bare },
        Why::Header(name) => Route { headers: only(headers, name), ..bare },
        Why::Cookie(name) => Route { cookies: only(cookies, name), ..bare },
        Why::Query(name) => Route { query: only(query, name), ..bare },
    };
    let host = Route { hosts: route.hosts.clone(), ..Route::all_to("web") };
    // The first predicate is named: the path only where the host fits, the others only where both do.
    let fits = why == Why::Host || rank(0, &host, asked).is_some();
    fits && rank(0, &bare, asked).is_none()
}
