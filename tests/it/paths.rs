//! One normalised path for all (PRODUCT.md section 3, "Which path").

use crate::support::h2raw::{H2, block, flag};
use crate::support::{Backend, Setup, in_front_of};

/// What is asked for, and what the backend sees.
const TABLE: &[(&str, &str)] = &[
    ("/", "/"),
    ("/a/b", "/a/b"),
    ("/a/b/", "/a/b/"),
    // Unreserved octets are decoded.
    ("/%61%62", "/ab"),
    ("/%41%5A%30%39", "/AZ09"),
    ("/%2D%5F%7E", "/-_~"),
    ("/a%2db", "/a-b"),
    // Everything else stays as it is.
    ("/a%2Fb", "/a%2Fb"),
    ("/a%2fb", "/a%2fb"),
    ("/a%20b", "/a%20b"),
    ("/a%25b", "/a%25b"),
    ("/%2541", "/%2541"),
    ("/%C3%A9", "/%C3%A9"),
    ("/a%3Fb", "/a%3Fb"),
    ("/a%23b", "/a%23b"),
    ("/a%3Bb;c", "/a%3Bb;c"),
    ("/a+b", "/a+b"),
    // Then dot segments go.
    ("/.", "/"),
    ("/..", "/"),
    ("/./", "/"),
    ("/../", "/"),
    ("/a/.", "/a/"),
    ("/a/./b", "/a/b"),
    ("/a/..", "/"),
    ("/a/../b", "/b"),
    ("/a/b/..", "/a/"),
    ("/a/b/../", "/a/"),
    ("/a/b/../../c", "/c"),
    ("/a/b/c/./../../g", "/a/g"),
    ("/../../a", "/a"),
    ("/a/../../../b", "/b"),
    ("/a/../../../../etc/passwd", "/etc/passwd"),
    ("/%2e", "/"),
    ("/%2E%2e/a", "/a"),
    ("/a/%2e%2e/b", "/b"),
    ("/a/.%2E/b", "/b"),
    ("/a/%2e/b", "/a/b"),
    // What only looks like a dot segment stays.
    ("/...", "/..."),
    ("/a/...", "/a/..."),
    ("/a/.b", "/a/.b"),
    ("/a/..b", "/a/..b"),
    ("/a/b..", "/a/b.."),
    ("/a..b/.c.", "/a..b/.c."),
    ("/..%2Fa", "/..%2Fa"),
    ("/a/..;/b", "/a/..;/b"),
    // Empty segments are segments.
    ("//", "//"),
    ("//a//b", "//a//b"),
    ("/a//", "/a//"),
    ("/a//../b", "/a/b"),
    ("/a//./b", "/a//b"),
    // The query is not the path.
    ("/a?b=/../c", "/a?b=/../c"),
    ("/a?%41=%2e%2e", "/a?%41=%2e%2e"),
    ("/a/../b?c=d", "/b?c=d"),
    ("/.?.", "/?."),
    ("/a?", "/a?"),
    ("/a??", "/a??"),
];

#[test]
fn the_backend_sees_the_normalised_path() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let mut wrong = Vec::new();
    for (asked, wanted) in TABLE {
        let status = client.get(asked).status;
        let seen = backend.last().target;
        if (status, seen.as_str()) != (200, *wanted) {
            wrong.push(format!("{asked} became {seen}, not {wanted} ({status})"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_normalised_path_stays_as_it_is() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for (_, normal) in TABLE {
        assert_eq!(client.get(normal).status, 200);
        assert_eq!(backend.last().target, *normal);
    }
}

#[test]
fn the_path_of_an_absolute_target_is_normalised_too() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for (asked, wanted) in TABLE {
        client.get(&format!("http://test{asked}"));
        assert_eq!(backend.last().target, *wanted);
    }
}

#[test]
fn octets_that_are_not_ascii_are_refused_unless_the_listener_encodes_them() {
    let backend = Backend::ok("fine");
    in_front_of(&backend).get("/caf\u{e9}").assert_refused(400, "bad_request");
    let evenkeel = Setup::to(&[backend.address()]).listener("non_ascii_targets = \"encode\"").start();
    for (asked, wanted) in
        [("/caf\u{e9}?q=\u{e4}", "/caf%C3%A9?q=%C3%A4"), ("/\u{e9}/../a", "/a"), ("http://test/\u{e9}", "/%C3%A9")]
    {
        assert_eq!(evenkeel.get(asked).status, 200, "{asked}");
        assert_eq!(backend.last().target, wanted);
    }
    let mut client = evenkeel.client();
    client.send(b"GET /\xff\xfe HTTP/1.1\r\nHost: test\r\n\r\n");
    client.response().assert_refused(400, "bad_request");
    let mut h2 = H2::open(evenkeel.address());
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/caf\u{e9}"), (":authority", "test")];
    h2.headers(1, flag::WHOLE, block(&fields));
    assert_eq!((h2.answer(1).unwrap().status, backend.last().target.as_str()), (200, "/caf%C3%A9"));
}
