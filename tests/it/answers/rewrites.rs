//! `rewrite`: the path that the backend sees.

use super::{route, site};
use crate::support::{Backend, Site, request};

/// Fails with all of `table`'s targets that do not reach the backend as wanted, through a route with `keys`.
#[track_caller]
fn assert_rewritten(keys: &str, table: &[(&str, &str)]) {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route(keys), &backend);
    let mut client = evenkeel.client();
    let mut wrong = Vec::new();
    for (asked, wanted) in table {
        let status = client.get(asked).status;
        let seen = backend.last().target;
        if (status, seen.as_str()) != (200, *wanted) {
            wrong.push(format!("{asked} became {seen}, not {wanted} ({status})"));
        }
    }
    assert!(wrong.is_empty(), "\n{keys}\n{}", wrong.join("\n"));
}

#[test]
fn a_prefix_is_stripped_on_a_segments_boundary() {
    assert_rewritten(
        "rewrite = { strip_prefix = \"/v1\" }",
        &[
            ("/v1/a/b", "/a/b"),
            ("/v1/a?b=/v1/c", "/a?b=/v1/c"),
            ("/v1", "/"),
            ("/v1/", "/"),
            ("/v1?a", "/?a"),
            ("/v1/v1/a", "/v1/a"),
            // Encoded octets stay as they are, encoded separators too; unreserved ones are normal before.
            ("/v1/a%2Fb%20c", "/a%2Fb%20c"),
            ("/v1/%C3%A9?%C3%A9", "/%C3%A9?%C3%A9"),
            ("/%761/%61", "/a"),
            ("/x/../v1/a", "/a"),
            ("/v1/..%2Fa", "/..%2Fa"),
            // What does not begin with it is left alone.
            ("/v10/a", "/v10/a"),
            ("/v1%2Fa", "/v1%2Fa"),
            ("/a/v1/b", "/a/v1/b"),
            ("/", "/"),
        ],
    );
}

#[test]
fn a_prefix_is_added() {
    assert_rewritten(
        "rewrite = { add_prefix = \"/base\" }",
        &[
            ("/a", "/base/a"),
            ("/", "/base/"),
            ("/a%2Fb?c", "/base/a%2Fb?c"),
            ("/base/a", "/base/base/a"),
            ("/?x", "/base/?x"),
        ],
    );
    assert_rewritten("rewrite = { add_prefix = \"/\" }", &[("/a", "/a"), ("/", "/"), ("/a?b", "/a?b")]);
}

#[test]
fn one_prefix_is_exchanged_for_another() {
    assert_rewritten(
        "rewrite = { strip_prefix = \"/v1\", add_prefix = \"/api\" }",
        &[("/v1/a", "/api/a"), ("/v1/a/?b", "/api/a/?b"), ("/v1/api", "/api/api")],
    );
    assert_rewritten("rewrite = { strip_prefix = \"/v1\", add_prefix = \"/\" }", &[("/v1/a", "/a"), ("/v1", "/")]);
}

#[test]
fn a_regex_rewrites_the_path_and_leaves_the_query() {
    assert_rewritten(
        "rewrite = { regex = '^/users/([0-9]+)/(.*)$', replacement = '/u/$1/$2' }",
        &[
            ("/users/42/orders", "/u/42/orders"),
            ("/users/42/a%20b%2Fc?d=/users/1/", "/u/42/a%20b%2Fc?d=/users/1/"),
            ("/users/42/", "/u/42/"),
            ("/users/x/orders", "/users/x/orders"),
            ("/a?/users/42/b", "/a?/users/42/b"),
        ],
    );
    assert_rewritten("rewrite = { regex = '\\.php$', replacement = '' }", &[("/a.php", "/a"), ("/a.php?b", "/a?b")]);
}

#[test]
fn a_rewrite_never_yields_a_target_that_is_no_path() {
    let table = [
        ("rewrite = { regex = '^/x/(.*)$', replacement = '$1' }", "/x/a"),
        ("rewrite = { regex = '^.*$', replacement = '' }", "/x"),
        ("rewrite = { regex = '^/x', replacement = 'http://evil.test' }", "/x/a"),
    ];
    for (keys, target) in table {
        let backend = Backend::ok("fine");
        // Whether it is refused when the file is read or answered with an error: the backend gets no such line.
        let evenkeel = site(&route(keys), &backend);
        evenkeel.get(target);
        for seen in backend.seen().iter() {
            assert!(seen.target.starts_with('/'), "{keys}: {}", seen.target);
        }
    }
}

#[test]
fn the_route_is_found_by_the_path_that_was_asked_for() {
    let backend = Backend::ok("fine");
    let text = "[[route]]\nname = \"v1\"\npath = \"/v1/*\"\npool = \"web\"\nrewrite = { strip_prefix = \"/v1\" }\n\
                [[route]]\nname = \"admin\"\npath = \"/admin/*\"\nrespond = { status = 403 }\n";
    let evenkeel = site(text, &backend);
    let mut client = evenkeel.client();
    assert_eq!(client.get("/v1/admin/x").status, 200);
    assert_eq!(backend.last().target, "/admin/x");
    assert_eq!(client.get("/v1/../admin/x").status, 403);
}

#[test]
fn a_rewrite_leaves_host_and_what_is_forwarded_alone() {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route("rewrite = { strip_prefix = \"/v1\" }"), &backend);
    let mut client = evenkeel.client();
    client.exchange(request("GET", "shop.test:81", "/v1/a", ""));
    client.exchange(request("GET", "other.test", "http://shop.test:81/v1/a", "").replace("other.test", "shop.test:81"));
    for seen in backend.seen().iter() {
        assert_eq!(seen.target, "/a");
        assert_eq!(seen.head.fields.all("host"), ["shop.test:81"]);
        assert_eq!(seen.head.fields.all("x-forwarded-host"), ["shop.test:81"]);
    }
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn every_attempt_sees_the_same_path_and_fields() {
    let resets = || {
        Backend::raw(|conn, _| {
            conn.request();
            conn.reset();
        })
    };
    let (first, second) = (resets(), resets());
    let keys = "rewrite = { strip_prefix = \"/v1\", add_prefix = \"/v1/x\" }\nrequest_headers = { add = { x-a = \"{path}\" } }";
    let addresses = [first.address(), second.address()];
    let evenkeel = Site::new(route(keys)).pool_with("web", &addresses, "retry = { attempts = 1 }").start();
    evenkeel.get("/v1/a").assert_refused(502, "reset");
    let (first, second) = (first.last(), second.last());
    assert_eq!((first.target.as_str(), second.target.as_str()), ("/v1/x/a", "/v1/x/a"));
    assert_eq!(first.head.fields.all("x-a").len(), 1, "{first:?}");
    assert_eq!(first.head.fields.all("x-a"), second.head.fields.all("x-a"));
}
