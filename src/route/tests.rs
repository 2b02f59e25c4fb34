//! Which route: the order and every predicate, by example.

use super::{Ahead, Request, Router, Verdict, Why};
use crate::{
    config::{HostMatch, PathMatch, Route, Text},
    policy::test_head,
};

/// An edit of a route that matches everything.
pub(super) type Edit = Box<dyn Fn(&mut Route)>;

fn host(text: &'static str) -> Edit {
    Box::new(move |route| {
        route.hosts.push(match text.strip_prefix('*') {
            Some(suffix) => HostMatch::Wildcard(suffix.into()),
            None => HostMatch::Exact(text.into()),
        });
    })
}

/// `/a/*`, `/a`, `~regex` or `^prefix`.
fn path(text: &'static str) -> Edit {
    Box::new(move |route| {
        route.paths.push(match (text.strip_suffix("/*"), text.split_at(1)) {
            (Some(text), _) => PathMatch::Below(text.into()),
            (None, ("~", text)) => PathMatch::Regex(text.into()),
            (None, ("^", text)) => PathMatch::Prefix(text.into()),
            (None, _) => PathMatch::Exact(text.into()),
        });
    })
}

fn method(text: &'static str) -> Edit {
    Box::new(move |route| route.methods.push(text.into()))
}

fn listener(text: &'static str) -> Edit {
    Box::new(move |route| route.listeners.push(text.into()))
}

fn header(name: &'static str, text: Text) -> Edit {
    Box::new(move |route| route.headers.push((name.into(), text.clone())))
}

fn cookie(name: &'static str, text: Text) -> Edit {
    Box::new(move |route| route.cookies.push((name.into(), text.clone())))
}

fn query(name: &'static str, text: Text) -> Edit {
    Box::new(move |route| route.query.push((name.into(), text.clone())))
}

fn client(net: &'static str) -> Edit {
    Box::new(move |route| route.client_ip.push(net.parse().unwrap()))
}

fn equal(text: &str) -> Text {
    Text::Equal(text.into())
}

fn router(routes: &[&[Edit]]) -> Router {
    let route = |edits: &&[Edit]| {
        let mut route = Route::all_to("web");
        edits.iter().for_each(|edit| edit(&mut route));
        route
    };
    let routes: Vec<Route> = routes.iter().map(route).collect();
    Router::new(&routes, &["web".into(), "admin".into()])
}

/// What `request` takes: at listener 0, from 192.0.2.1. `explain` must say the same.
fn found(router: &Router, request: &str) -> Option<usize> {
    let head = test_head(request);
    let request = Request { head: &head, listener: 0, client: Some("192.0.2.1".parse().unwrap()) };
    let found = router.find(&request);
    let tried = router.explain(&request);
    let chosen = tried.iter().find(|(_, verdict)| *verdict == Verdict::Chosen);
    assert_eq!(chosen.map(|(place, _)| *place), found, "{tried:?}");
    found
}

fn at(router: &Router, host: &str, path: &str) -> Option<usize> {
    found(router, &format!("GET {path} HTTP/1.1\nHost: {host}"))
}

/// The one route that there is matches.
fn fits(edit: Edit, request: &str) -> bool {
    found(&router(&[&[edit]]), request).is_some()
}

#[test]
fn no_route_matches_nothing_and_an_empty_one_everything() {
    assert_eq!(at(&router(&[]), "a", "/"), None);
    let all = router(&[&[]]);
    for request in ["GET / HTTP/1.0", "OPTIONS * HTTP/1.1\nHost: a", "CONNECT a:1 HTTP/1.1\nHost: a:1"] {
        assert_eq!(found(&all, request), Some(0), "{request}");
    }
}

#[test]
fn exact_host_then_longest_wildcard_then_any() {
    let router = router(&[
        &[],
        &[host("*.example.org")],
        &[host("*.b.example.org")],
        &[host("a.b.example.org")],
        &[host("[2001:db8::1]")],
    ]);
    for (host, wanted) in [
        ("a.b.example.org", 3),
        ("A.B.Example.ORG.:8080", 3),
        ("x.b.example.org", 2),
        ("x.a.b.example.org", 2),
        ("b.example.org", 1),
        ("x.y.example.org", 1),
        ("example.org", 0),
        (".example.org", 0),
        ("xexample.org", 0),
        ("[2001:DB8::1]:443", 4),
        ("[2001:db8::2]", 0),
    ] {
        assert_eq!(at(&router, host, "/"), Some(wanted), "{host}");
    }
    assert_eq!(found(&router, "GET / HTTP/1.0"), Some(0));
    let dots = format!("{}.example.org", "A.".repeat(2000));
    assert_eq!(at(&router, &dots, "/"), Some(1));
}

#[test]
fn a_host_without_a_match_leaves_it_to_the_next() {
    let router = router(&[
        &[path("/any/*")],
        &[host("*.example.org"), path("/wild/*")],
        &[host("a.example.org"), path("/own/*")],
        &[host("a.example.org"), method("POST")],
    ]);
    for (path, wanted) in [("/own/x", Some(2)), ("/wild/x", Some(1)), ("/any/x", Some(0)), ("/none", None)] {
        assert_eq!(at(&router, "a.example.org", path), wanted, "{path}");
    }
}

#[test]
fn exact_path_then_longest_prefix_then_expressions_then_none() {
    let router = router(&[
        &[],
        &[path("~b")],
        &[path("~^/a"), method("GET")],
        &[path("/a/*")],
        &[path("/a/b/*")],
        &[path("/a/b/c")],
        &[path("^/a/bc")],
        &[path("^/p"), path("/p/q")],
    ]);
    for (path, wanted) in [
        ("/a/b/c", 5),
        ("/a/b/c/", 4),
        ("/a/b/cd", 4),
        ("/a/b", 4),
        ("/a/bc", 6),
        ("/a/bcd/e", 6),
        ("/a/x", 3),
        ("/a", 3),
        ("/a/", 3),
        ("/ab", 1),
        ("/ax", 2),
        ("/x", 0),
        ("/", 0),
        ("/pq", 7),
        ("/p/q", 7),
        ("/a/%62/./x/../c", 5),
        ("/a%2Fb", 1),
    ] {
        assert_eq!(at(&router, "h", path), Some(wanted), "{path}");
    }
}

#[test]
fn below_the_root_is_every_path_but_the_asterisk() {
    let router = router(&[&[path("/*")]]);
    assert_eq!(at(&router, "h", "/"), Some(0));
    assert_eq!(at(&router, "h", "//x"), Some(0));
    assert_eq!(found(&router, "OPTIONS * HTTP/1.1\nHost: h"), None);
}

#[test]
fn the_number_of_predicates_then_the_order_of_the_file() {
    let router = router(&[
        &[path("/x")],
        &[path("/x"), method("GET"), method("POST"), method("PUT")],
        &[path("/x"), header("x-a", equal("1")), cookie("c", Text::Present)],
        &[path("/x"), query("q", equal("1")), client("192.0.2.0/24")],
        &[path("/x"), listener("web"), listener("admin")],
        &[path("/y")],
        &[path("/y")],
    ]);
    for (request, wanted) in [
        ("GET /x?q=1 HTTP/1.1\nHost: h\nX-A: 1\nCookie: c=", 2),
        ("GET /x?q=1 HTTP/1.1\nHost: h\nX-A: 2\nCookie: c=", 3),
        ("GET /x HTTP/1.1\nHost: h", 1),
        ("DELETE /x HTTP/1.1\nHost: h", 4),
        ("GET /y HTTP/1.1\nHost: h", 5),
    ] {
        assert_eq!(found(&router, request), Some(wanted), "{request}");
    }
}

#[test]
fn methods_listeners_and_clients() {
    assert!(fits(method("PURGE"), "PURGE / HTTP/1.1\nHost: h"));
    assert!(!fits(method("GET"), "HEAD / HTTP/1.1\nHost: h"));
    assert!(!fits(method("GET"), "get / HTTP/1.1\nHost: h"));
    assert!(!fits(listener("admin"), "GET / HTTP/1.1\nHost: h"));
    assert!(!fits(listener("nobody"), "GET / HTTP/1.1\nHost: h"));
    assert!(fits(client("192.0.2.1/32"), "GET / HTTP/1.1\nHost: h"));
    let router = router(&[&[client("192.0.2.0/24"), client("2001:db8::/32")]]);
    let head = test_head("GET / HTTP/1.1\nHost: h");
    let from = |client: Option<&str>| {
        router.find(&Request { head: &head, listener: 0, client: client.map(|client| client.parse().unwrap()) })
    };
    assert_eq!(from(Some("2001:db8::7")), Some(0));
    assert_eq!(from(Some("::ffff:192.0.2.9")), Some(0));
    assert_eq!(from(Some("198.51.100.1")), None);
    assert_eq!(from(None), None, "a peer on a unix socket has no address");
}

#[test]
fn headers_match_if_one_value_does() {
    let request = "GET / HTTP/1.1\nHost: h.example:1\nX-Id: 1, 2\nx-id: abc7\nAccept: a\nAccept: b";
    for (name, text, wanted) in [
        ("x-id", equal("1, 2"), true),
        ("x-id", equal("2"), false),
        ("x-id", equal("abc7"), true),
        ("x-id", Text::Prefix("abc".into()), true),
        ("x-id", Text::Regex("^[a-z]+7$".into()), true),
        ("x-id", Text::Regex("^[0-9]+$".into()), false),
        ("x-id", Text::Present, true),
        ("x-id", Text::Absent, false),
        ("x-other", Text::Present, false),
        ("x-other", Text::Absent, true),
        ("x-other", equal(""), false),
        ("accept", equal("b"), true),
        ("accept", equal("c"), false),
        ("host", equal("h.example:1"), true),
    ] {
        assert_eq!(fits(header(name, text.clone()), request), wanted, "{name} {text:?}");
    }
}

#[test]
fn cookies_and_parameters_match_if_one_value_does() {
    let request = "GET /?a=1&b=x%20y&a=2+3&c&d=%41 HTTP/1.1\nHost: h\nCookie: plan=premium; q=\"1\"; plan=b";
    for (edit, wanted) in [
        (cookie("plan", equal("premium")), true),
        (cookie("plan", equal("b")), true),
        (cookie("plan", equal("c")), false),
        (cookie("Plan", Text::Present), false),
        (cookie("q", equal("\"1\"")), true),
        (cookie("q", equal("1")), false),
        (cookie("z", Text::Absent), true),
        (cookie("q", Text::Absent), false),
        (query("a", equal("1")), true),
        (query("a", equal("2 3")), true),
        (query("b", equal("x y")), true),
        (query("b", Text::Prefix("x ".into())), true),
        (query("b", Text::Prefix("x y ".into())), false),
        (query("b", Text::Regex("^x y$".into())), true),
        (query("c", equal("")), true),
        (query("c", Text::Present), true),
        (query("d", Text::Regex("^A$".into())), true),
        (query("e", Text::Absent), true),
        (query("a", Text::Absent), false),
        (query("e", equal("")), false),
    ] {
        assert_eq!(fits(edit, request), wanted);
    }
    assert!(!fits(query("a", Text::Present), "GET /? HTTP/1.1\nHost: h"));
}

#[test]
fn long_values_are_compared_whole() {
    let long = "x".repeat(7000);
    let request = format!("GET /{long}?q={long} HTTP/1.1\nHost: h\nX-A: {long}\nCookie: c={long}");
    for suffix in ["", "y"] {
        let text = equal(&format!("{long}{suffix}"));
        for edit in [header("x-a", text.clone()), cookie("c", text.clone()), query("q", text)] {
            assert_eq!(fits(edit, &request), suffix.is_empty());
        }
    }
}

#[test]
fn every_route_says_why() {
    let router = router(&[
        &[host("other")],
        &[path("/other")],
        &[listener("admin")],
        &[method("PUT")],
        &[header("x-a", Text::Present)],
        &[cookie("c", Text::Present)],
        &[query("q", Text::Present)],
        &[client("10.0.0.0/8")],
        &[],
        &[path("/x"), host("h")],
    ]);
    let head = test_head("GET /x HTTP/1.1\nHost: h");
    let request = Request { head: &head, listener: 0, client: Some("192.0.2.1".parse().unwrap()) };
    let misses = [
        Why::Host,
        Why::Path,
        Why::Listener,
        Why::Method,
        Why::Header("x-a"),
        Why::Cookie("c"),
        Why::Query("q"),
        Why::ClientIp,
    ];
    let mut tried = router.explain(&request);
    // First those that the walk comes by, in its order; then the others, in the file's.
    assert_eq!(tried[0], (9, Verdict::Chosen));
    assert_eq!(tried.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [9, 2, 3, 4, 5, 6, 7, 8, 0, 1]);
    tried.sort_by_key(|(place, _)| *place);
    let mut wanted: Vec<Verdict<'_>> = misses.into_iter().map(Verdict::Missed).collect();
    wanted.extend([Verdict::Outranked(Ahead::Host), Verdict::Chosen]);
    assert_eq!(tried.into_iter().map(|(_, verdict)| verdict).collect::<Vec<_>>(), wanted);
}

#[test]
fn what_comes_second_says_what_the_first_has_ahead_of_it() {
    let router = router(&[
        &[],
        &[path("~x")],
        &[path("~a"), method("GET")],
        &[path("/a/*")],
        &[path("/a/x/*")],
        &[path("/a/x/*")],
        &[path("/a/x/*"), method("GET")],
        &[path("/a/x"), method("PUT")],
        &[host("h"), path("/a/x/*"), method("PUT")],
    ]);
    let ahead = |target: &str| {
        let head = test_head(&format!("{target} HTTP/1.1\nHost: h"));
        let request = Request { head: &head, listener: 0, client: None };
        let said = |(place, verdict)| match verdict {
            Verdict::Chosen => (place, None),
            Verdict::Outranked(ahead) => (place, Some(ahead)),
            Verdict::Missed(_) => (place, None),
        };
        let matches = |(_, verdict): &(usize, Verdict<'_>)| !matches!(verdict, Verdict::Missed(_));
        router.explain(&request).into_iter().filter(matches).map(said).collect::<Vec<_>>()
    };
    let (host, path) = (Some(Ahead::Host), Some(Ahead::Path));
    let (predicates, order) = (Some(Ahead::Predicates), Some(Ahead::Order));
    assert_eq!(
        ahead("GET /a/x"),
        [(6, None), (4, predicates), (5, predicates), (3, path), (1, path), (2, path), (0, path)]
    );
    assert_eq!(ahead("PUT /a/x"), [(8, None), (7, host), (4, host), (5, host), (3, host), (1, host), (0, host)]);
    assert_eq!(ahead("POST /a/x"), [(4, None), (5, order), (3, path), (1, path), (0, path)]);
    assert_eq!(ahead("GET /xa"), [(1, None), (2, order), (0, path)], "expressions go by the file alone");
}

#[test]
fn a_route_of_several_hosts_and_paths_is_chosen_by_its_best() {
    let router = router(&[
        &[host("*.example.org"), host("a.example.org"), path("/x"), path("/*"), path("~.")],
        &[host("a.example.org"), path("/x/*")],
        &[host("b.example.org"), path("/x/*")],
    ]);
    assert_eq!(at(&router, "a.example.org", "/x"), Some(0));
    assert_eq!(at(&router, "a.example.org", "/x/y"), Some(1));
    assert_eq!(at(&router, "b.example.org", "/x"), Some(2));
    assert_eq!(at(&router, "c.example.org", "/x/y"), Some(0));
}
