//! Predicates beside host and path: method, header, cookie, query, client IP. All of a route's must hold.

use super::{assert_fields_take, assert_taken, named, routes, taken};
use crate::support::{Site, request};

#[test]
fn a_method_is_one_of_the_list() {
    let evenkeel = routes(&[("read", "method = [\"GET\", \"HEAD\"]"), ("write", "method = \"POST\"")]);
    let mut client = evenkeel.client();
    for (method, wanted) in [("GET", "read"), ("POST", "write"), ("PUT", ""), ("get", ""), ("OPTIONS", "")] {
        assert_eq!(taken(&mut client, &request(method, "test", "/", "")), wanted, "{method}");
    }
    let head = client.exchange(request("HEAD", "test", "/", ""));
    assert_eq!((head.status, head.field("content-length")), (200, Some("4")), "{head:?}");
}

#[test]
fn a_header_is_equal_or_like_or_there_or_not() {
    let evenkeel = routes(&[
        ("tier", "header = { x-tier = \"gold\" }"),
        ("id", "header = { x-id = { regex = \"^[0-9]+$\" } }"),
        ("agent", "header = { user-agent = { prefix = \"curl/\" } }"),
        ("any", "header = { x-any = { present = true } }"),
        ("bare", "header = { accept = { absent = true } }"),
    ]);
    let accept = |lines: &str| format!("Accept: */*\r\n{lines}");
    let table = [
        ("X-Tier: gold\r\n", "tier"),
        ("x-TIER:   gold  \r\n", "tier"),
        ("X-Tier: Gold\r\n", ""),
        ("X-Tier: gold2\r\n", ""),
        ("X-Tier:\r\n", ""),
        ("X-Id: 42\r\n", "id"),
        ("X-Id: 42a\r\n", ""),
        ("User-Agent: curl/8.0\r\n", "agent"),
        ("User-Agent: not curl/8.0\r\n", ""),
        ("X-Any: x\r\n", "any"),
        ("X-Any:\r\n", "any"),
        ("", ""),
    ];
    let table: Vec<_> = table.iter().map(|(lines, wanted)| (accept(lines), *wanted)).collect();
    let table: Vec<_> = table.iter().map(|(lines, wanted)| (lines.as_str(), *wanted)).collect();
    assert_fields_take(&evenkeel, &table);
    assert_fields_take(&evenkeel, &[("", "bare")]);
}

#[test]
fn a_cookie_is_found_among_the_others() {
    let evenkeel =
        routes(&[("premium", "cookie = { plan = \"premium\" }"), ("beta", "cookie = { beta = { present = true } }")]);
    assert_fields_take(
        &evenkeel,
        &[
            ("Cookie: plan=premium\r\n", "premium"),
            ("Cookie: a=b; plan=premium; c=d\r\n", "premium"),
            ("Cookie: a=b\r\nCookie: plan=premium\r\n", "premium"),
            ("cookie: a=b;plan=premium\r\n", "premium"),
            ("Cookie: xplan=premium\r\n", ""),
            ("Cookie: plan=premium2\r\n", ""),
            ("Cookie: Plan=premium\r\n", ""),
            ("Cookie: a=plan=premium\r\n", ""),
            ("Cookie: beta=\r\n", "beta"),
            ("Cookie: betas=1\r\n", ""),
            ("Plan: premium\r\n", ""),
            ("", ""),
        ],
    );
}

#[test]
fn a_parameter_is_found_in_the_query() {
    let evenkeel = routes(&[
        ("beta", "query = { beta = \"1\" }"),
        ("number", "query = { n = { regex = \"^[0-9]+$\" } }"),
        ("debug", "query = { debug = { present = true } }"),
    ]);
    assert_taken(
        &evenkeel,
        &[
            ("test", "/?beta=1", "beta"),
            ("test", "/a?x=y&beta=1&z", "beta"),
            ("test", "/?beta=10", ""),
            ("test", "/?beta=", ""),
            ("test", "/?xbeta=1", ""),
            ("test", "/beta=1", ""),
            ("test", "/?x=beta=1", ""),
            ("test", "/?n=42", "number"),
            ("test", "/?n=4x", ""),
            ("test", "/?debug", "debug"),
            ("test", "/?debug=", "debug"),
            ("test", "/?debug=no", "debug"),
            ("test", "/?debugger", ""),
            ("test", "/", ""),
            ("test", "/?", ""),
        ],
    );
}

#[test]
fn all_predicates_of_a_route_must_hold() {
    let all = "host = \"a.test\"\npath = \"/p/*\"\nmethod = \"GET\"\nheader = { x-h = \"1\" }\ncookie = { c = \"1\" }\n\
               query = { q = \"1\" }\nclient_ip = \"127.0.0.1\"";
    let evenkeel = routes(&[("all", all)]);
    let mut client = evenkeel.client();
    let mut take = |method, host, target, lines| taken(&mut client, &request(method, host, target, lines));
    let fields = "X-H: 1\r\nCookie: c=1\r\n";
    assert_eq!(take("GET", "a.test", "/p/x?q=1", fields), "all");
    assert_eq!(take("POST", "a.test", "/p/x?q=1", fields), "");
    assert_eq!(take("GET", "b.test", "/p/x?q=1", fields), "");
    assert_eq!(take("GET", "a.test", "/x?q=1", fields), "");
    assert_eq!(take("GET", "a.test", "/p/x", fields), "");
    assert_eq!(take("GET", "a.test", "/p/x?q=1", "X-H: 1\r\n"), "");
    assert_eq!(take("GET", "a.test", "/p/x?q=1", "Cookie: c=1\r\n"), "");
}

const PLACES: &[(&str, &str)] = &[
    ("office", "client_ip = [\"192.0.2.0/24\", \"2001:db8:1::/48\"]"),
    ("near", "client_ip = \"10.0.0.0/8\""),
    ("local", "client_ip = \"127.0.0.0/8\""),
];

#[test]
fn the_peer_is_the_client_whatever_it_claims() {
    let evenkeel = routes(PLACES);
    assert_fields_take(
        &evenkeel,
        &[
            ("", "local"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "local"),
            ("X-Real-IP: 192.0.2.1\r\n", "local"),
            ("Forwarded: for=192.0.2.1\r\n", "local"),
        ],
    );
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let trusted = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let evenkeel = Site::new(named(PLACES)).server(trusted).start();
    assert_fields_take(
        &evenkeel,
        &[
            ("", "local"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "office"),
            ("X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\n", "office"),
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.7\r\n", "office"),
            ("X-Forwarded-For: 2001:db8:1::7\r\n", "office"),
            ("X-Forwarded-For: 2001:db8:2::7\r\n", ""),
            // The first from the right that is not trusted: what stands before it is a claim.
            ("X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n", ""),
            ("X-Forwarded-For: 198.51.100.1, 192.0.2.1, 10.0.0.7\r\n", "office"),
            ("X-Forwarded-For: 127.0.0.1, 198.51.100.1, 10.0.0.7\r\n", ""),
            // All are trusted: the leftmost.
            ("X-Forwarded-For: 10.0.0.7, 127.0.0.9\r\n", "near"),
            ("X-Forwarded-For: 127.0.0.9, 10.0.0.7\r\n", "local"),
        ],
    );
}

#[test]
fn one_network_may_stand_in_another() {
    let evenkeel = routes(&[
        ("wide", "client_ip = \"127.0.0.0/8\""),
        ("not-here", "client_ip = \"127.0.0.2/32\"\nmethod = \"GET\""),
        ("narrow", "client_ip = \"127.0.0.1\"\nmethod = \"GET\""),
    ]);
    assert_fields_take(&evenkeel, &[("", "narrow")]);
}
