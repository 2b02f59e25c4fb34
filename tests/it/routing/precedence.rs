//! Hosts, and which of several routes that match is taken.

use super::{assert_taken, named, routes, taken};
use crate::support::{Rng, Site, request};

#[test]
fn an_exact_host_goes_before_the_longest_wildcard_before_any() {
    let evenkeel = routes(&[
        ("any", ""),
        ("wild", "host = \"*.example.com\""),
        ("deep", "host = \"*.deep.example.com\""),
        ("exact", "host = [\"api.example.com\", \"www.example.net\"]"),
    ]);
    assert_taken(
        &evenkeel,
        &[
            ("api.example.com", "/", "exact"),
            ("API.Example.COM", "/", "exact"),
            ("api.example.com:8080", "/", "exact"),
            ("www.example.net", "/", "exact"),
            ("x.example.com", "/", "wild"),
            ("x.y.example.com", "/", "wild"),
            ("X.EXAMPLE.com:1", "/", "wild"),
            ("api.api.example.com", "/", "wild"),
            ("deep.example.com", "/", "wild"),
            ("a.deep.example.com", "/", "deep"),
            ("a.b.deep.example.com", "/", "deep"),
            // Not a label more, not a label at all, and a label that only ends alike.
            ("example.com", "/", "any"),
            ("badexample.com", "/", "any"),
            ("example.com.evil.test", "/", "any"),
            ("www.example.net.evil.test", "/", "any"),
            ("127.0.0.1", "/", "any"),
            ("[::1]:80", "/", "any"),
        ],
    );
}

#[test]
fn the_host_of_an_absolute_target_is_the_host() {
    let evenkeel = routes(&[("shop", "host = \"shop.test\""), ("other", "host = \"other.test\"")]);
    assert_taken(
        &evenkeel,
        &[("shop.test", "http://shop.test/", "shop"), ("other.test", "http://OTHER.test:80/x", "other")],
    );
}

#[test]
fn a_request_without_a_host_takes_a_route_of_any_host() {
    let evenkeel = routes(&[("shop", "host = \"shop.test\""), ("any", "")]);
    assert_eq!(taken(&mut evenkeel.client(), "GET / HTTP/1.0\r\n\r\n"), "any");
}

#[test]
fn the_next_host_is_tried_where_the_best_has_no_route() {
    let evenkeel = routes(&[
        ("exact", "host = \"a.b.test\"\npath = \"/exact\""),
        ("narrow", "host = \"*.b.test\"\npath = \"/narrow\""),
        ("wide", "host = \"*.test\"\npath = \"/wide\""),
        ("any", "path = \"/any\""),
    ]);
    assert_taken(
        &evenkeel,
        &[
            ("a.b.test", "/exact", "exact"),
            ("a.b.test", "/narrow", "narrow"),
            ("a.b.test", "/wide", "wide"),
            ("a.b.test", "/any", "any"),
            ("a.b.test", "/none", ""),
            // And not the other way round.
            ("c.b.test", "/exact", ""),
            ("c.test", "/narrow", ""),
            ("b.test", "/wide", "wide"),
            ("test", "/wide", ""),
        ],
    );
}

#[test]
fn a_better_host_goes_before_a_better_path_and_more_predicates() {
    let evenkeel = routes(&[
        ("wild", "host = \"*.test\"\npath = \"/a\"\nmethod = \"GET\"\nheader = { x-a = { absent = true } }"),
        ("exact", "host = \"b.test\""),
    ]);
    assert_taken(&evenkeel, &[("b.test", "/a", "exact"), ("c.test", "/a", "wild")]);
}

#[test]
fn an_exact_path_goes_before_the_longest_prefix_before_a_regex() {
    // Each is written before those that it has to stand behind.
    let evenkeel = routes(&[
        ("none", ""),
        ("regex", "path = { regex = \"^/a\" }"),
        ("later-regex", "path = { regex = \"^/ab\" }"),
        ("short", "path = \"/a/*\""),
        ("long", "path = \"/a/b/*\""),
        ("exact", "path = \"/a/b/c\""),
    ]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/a/b/c", "exact"),
            ("test", "/a/b/c/", "long"),
            ("test", "/a/b", "long"),
            ("test", "/a/bc", "short"),
            ("test", "/a", "short"),
            ("test", "/abc", "regex"),
            ("test", "/b", "none"),
        ],
    );
}

#[test]
fn a_better_path_goes_before_more_predicates() {
    let evenkeel = routes(&[
        ("prefix", "path = \"/a/*\"\nmethod = \"GET\"\nheader = { x-a = { absent = true } }"),
        ("exact", "path = \"/a/b\""),
    ]);
    assert_taken(&evenkeel, &[("test", "/a/b", "exact"), ("test", "/a/c", "prefix")]);
}

#[test]
fn a_worse_path_is_taken_where_the_better_ones_predicates_fail() {
    let evenkeel = routes(&[
        ("prefix", "path = \"/a/*\""),
        ("exact", "path = \"/a/b\"\nmethod = \"POST\""),
        ("longer", "path = \"/a/b/*\"\nmethod = \"PUT\""),
    ]);
    let mut client = evenkeel.client();
    for (method, wanted) in [("GET", "prefix"), ("POST", "exact"), ("PUT", "longer")] {
        assert_eq!(taken(&mut client, &request(method, "test", "/a/b", "")), wanted, "{method}");
    }
}

#[test]
fn more_predicates_go_before_fewer_and_then_the_files_order() {
    let evenkeel = routes(&[
        ("one", "path = \"/\"\nmethod = \"GET\""),
        ("another", "path = \"/\"\nquery = { a = \"1\" }"),
        ("two", "path = \"/\"\nmethod = \"GET\"\nheader = { x-a = \"1\" }"),
        ("three", "path = \"/\"\nmethod = \"GET\"\nheader = { x-a = \"1\", x-b = \"1\" }"),
    ]);
    let mut client = evenkeel.client();
    let mut take = |target: &str, lines: &str| taken(&mut client, &request("GET", "test", target, lines));
    assert_eq!(take("/", ""), "one");
    assert_eq!(take("/?a=1", ""), "one");
    assert_eq!(take("/?a=1", "X-A: 1\r\n"), "two");
    assert_eq!(take("/", "X-A: 1\r\nX-B: 1\r\n"), "three");
    assert_eq!(taken(&mut client, &request("POST", "test", "/?a=1", "X-A: 1\r\nX-B: 1\r\n")), "another");
}

#[test]
fn one_of_ten_thousand_routes_is_the_right_one() {
    let (hosts, paths) = (1_000, 10);
    let mut all = Vec::new();
    for host in 0..hosts {
        let star = if host % 3 == 0 { "*." } else { "" };
        for path in 0..paths {
            all.push((format!("r{host}-{path}"), format!("host = \"{star}h{host}.test\"\npath = \"/p{path}/*\"")));
        }
    }
    let all: Vec<_> = all.iter().map(|(name, predicates)| (name.as_str(), predicates.as_str())).collect();
    let evenkeel = Site::new(named(&all)).start();
    let (mut rng, mut client) = (Rng::for_test("routes"), evenkeel.client());
    for _ in 0..300 {
        let (host, path) = (rng.below(hosts), rng.below(paths));
        let star = if host % 3 == 0 { "x.y." } else { "" };
        let ask = request("GET", &format!("{star}h{host}.test"), &format!("/p{path}/x"), "");
        assert_eq!(taken(&mut client, &ask), format!("r{host}-{path}"));
    }
}
