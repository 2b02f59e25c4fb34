//! `redirect`, `redirect_to_https` and `respond`: answers that need no backend.

use crate::support::{Backend, Evenkeel, Response, Site, command, request};

/// The answer to a GET through a route that redirects to `to`.
fn redirected(to: &str, host: &str, target: &str) -> Response {
    let evenkeel = Site::new(format!("[[route]]\nname = \"moved\"\nredirect = {{ to = \"{to}\" }}\n")).start();
    evenkeel.client().exchange(request("GET", host, target, ""))
}

#[test]
fn a_redirect_is_308_unless_another_is_asked_for() {
    let text = "[[route]]\nname = \"default\"\npath = \"/default\"\nredirect = { to = \"https://new.test/\" }\n";
    let other = [301, 302, 303, 307].map(|status| {
        format!("[[route]]\npath = \"/{status}\"\nredirect = {{ to = \"https://new.test/\", status = {status} }}\n")
    });
    let evenkeel = Site::new(format!("{text}{}", other.concat())).start();
    let mut client = evenkeel.client();
    for (target, status) in [("/default", 308), ("/301", 301), ("/302", 302), ("/303", 303), ("/307", 307)] {
        let response = client.get(target);
        assert_eq!(
            (response.status, response.head.fields.all("location")),
            (status, vec!["https://new.test/"]),
            "{target}"
        );
        assert_eq!(response.word(), None, "nothing has failed");
    }
    evenkeel.assert_no_failure();
}

#[test]
fn a_redirect_is_made_of_what_was_asked_for() {
    let table = [
        ("https://{host}{path_and_query}", "/a/b?c=d&e", "https://shop.test/a/b?c=d&e"),
        ("https://{host}{path_and_query}", "/", "https://shop.test/"),
        ("https://{host}{path_and_query}", "/?", "https://shop.test/?"),
        ("https://new.test{path}", "/a?b", "https://new.test/a"),
        ("https://new.test/?{query}", "/a?b=c", "https://new.test/?b=c"),
        ("https://new.test/{{x}}", "/a", "https://new.test/{x}"),
        ("{scheme}://new.test/{route}?from={client_ip}", "/a", "http://new.test/moved?from=127.0.0.1"),
        ("/new{path}", "/a", "/new/a"),
    ];
    for (to, target, wanted) in table {
        let response = redirected(to, "shop.test", target);
        assert_eq!((response.status, response.field("location")), (308, Some(wanted)), "{to} for {target}");
    }
}

#[test]
fn the_port_that_a_client_names_is_not_the_port_of_https() {
    for host in ["shop.test:8080", "SHOP.test"] {
        let response = redirected("https://{host}{path_and_query}", host, "/a");
        assert_eq!(response.field("location"), Some("https://shop.test/a"), "{host}");
    }
}

#[test]
fn a_redirect_shows_the_normalised_path() {
    for (target, wanted) in [("/a/../b", "/b"), ("/%61%2Fb%20c", "/a%2Fb%20c"), ("/a/./%2e%2e/b?../c", "/b?../c")] {
        let response = redirected("https://{host}{path_and_query}", "shop.test", target);
        assert_eq!(response.field("location"), Some(format!("https://shop.test{wanted}").as_str()), "{target}");
    }
}

#[test]
fn a_target_adds_no_line_to_a_redirect() {
    let response = redirected("https://{host}{path_and_query}", "shop.test", "/a?b=%0d%0aSet-Cookie:%20evil=1");
    assert_eq!(response.field("location"), Some("https://shop.test/a?b=%0d%0aSet-Cookie:%20evil=1"));
    assert!(!response.head.fields.has("set-cookie"), "{response:?}");
    // In a path it would be the backend's to decode: refused.
    for target in ["/%0d%0aSet-Cookie:%20evil=1", "/a%00", "/a%0ab", "/a\\b", "/a\tb", "/a\rb"] {
        let response = redirected("https://{host}{path_and_query}", "shop.test", target);
        response.assert_refused(400, "bad_request");
        assert!(!response.head.fields.has("location") && !response.head.fields.has("set-cookie"), "{response:?}");
    }
    for host in ["shop.test/evil", "a b", "shop.test\\@evil.test", "a@evil.test", "shop.test?x", "shop.test#x"] {
        let response = redirected("https://{host}{path_and_query}", host, "/");
        response.assert_refused(400, "bad_request");
        assert!(!response.head.fields.has("location"), "{response:?}");
    }
}

#[test]
fn a_redirect_to_whatever_host_the_path_names_is_refused_by_check() {
    // A browser takes `//evil.test/` for a host, and so `{path}` of a request for that.
    for to in ["{path_and_query}", "{path}", "/{path}", "{query}", "/{query}"] {
        let toml = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[[route]]\nredirect = {{ to = \"{to}\" }}\n");
        let (code, said) = command(&["check", "-c"], &toml);
        assert_eq!(code, Some(1), "{to}: {said}");
    }
    let response = redirected("/new{path}", "shop.test", "//evil.test/x");
    assert_eq!(response.field("location"), Some("/new//evil.test/x"));
}

#[test]
fn a_body_does_not_upset_an_answer_without_a_backend() {
    let text = "[[route]]\npath = \"/moved\"\nredirect = { to = \"https://new.test/\" }\n\
                [[route]]\npath = \"/said\"\nrespond = { body = \"said\" }\n";
    let evenkeel = Site::new(text).start();
    let mut client = evenkeel.client();
    for _ in 0..3 {
        assert_eq!(client.with_body("POST", "/moved", &[b'x'; 10_000]).status, 308);
        assert_eq!(client.with_body("PUT", "/said", &[b'x'; 10_000]).text(), "said");
        let chunked = "POST /said HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(client.exchange(chunked).text(), "said");
        assert_eq!(client.exchange("HEAD /moved HTTP/1.1\r\nHost: test\r\n\r\n").status, 308);
    }
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[]), 1.0);
}

#[test]
fn respond_says_what_it_is_told() {
    let text = r#"
[[route]]
name = "plain"
path = "/plain"
respond = { status = 200, body = "ok", content_type = "text/plain" }
[[route]]
name = "json"
path = "/json"
respond = { status = 418, body = '{{"route":"{route}","host":"{host}","ip":"{client_ip}"}}', content_type = "application/json" }
[[route]]
name = "bare"
path = "/bare"
respond = { body = "said" }
[[route]]
name = "nothing"
path = "/nothing"
respond = { status = 204 }
"#;
    let evenkeel = Site::new(text).start();
    let mut client = evenkeel.client();
    let plain = client.get("/plain");
    assert_eq!((plain.status, plain.text().as_str(), plain.field("content-type")), (200, "ok", Some("text/plain")));
    let json = client.get("/json");
    assert_eq!((json.status, json.field("content-type")), (418, Some("application/json")));
    assert_eq!(json.text(), r#"{"route":"json","host":"test","ip":"127.0.0.1"}"#);
    let bare = client.get("/bare");
    assert_eq!((bare.status, bare.text().as_str()), (200, "said"));
    let nothing = client.get("/nothing");
    assert_eq!((nothing.status, nothing.body.len()), (204, 0));
    assert!(!nothing.head.fields.has("content-length") && !nothing.head.fields.has("transfer-encoding"), "{nothing:?}");
    for response in [plain, json, bare, nothing] {
        assert_eq!(response.word(), None, "nothing has failed: {response:?}");
    }
    evenkeel.assert_no_failure();
}

#[test]
fn head_is_told_what_get_would_be() {
    let dead = Backend::refused();
    let text = "[[route]]\npath = \"/said\"\nrespond = { body = \"said {path}\" }\n[[route]]\npath = \"/dead\"\npool = \"dead\"\n\
                [[route]]\npath = \"/moved\"\nredirect = { to = \"https://new.test/\" }\n";
    let evenkeel = Site::new(text).pool("dead", dead.address()).start();
    let mut client = evenkeel.client();
    for target in ["/said", "/moved", "/dead", "/none"] {
        let get = client.get(target);
        let head = client.exchange(request("HEAD", "test", target, ""));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{target}");
        // RFC 9110 section 8.6: the same number, or none.
        let length = head.field("content-length").unwrap_or_else(|| get.field("content-length").unwrap());
        assert_eq!(length, get.body.len().to_string(), "{target}: {head:?}");
        assert_eq!(head.field("content-type"), get.field("content-type"), "{target}");
    }
}

const HTTPS: &str = "redirect_to_https = true";

/// What answers a GET with `lines`, of a listener with `redirect_to_https`.
fn on_https(evenkeel: &Evenkeel, lines: &str) -> Response {
    evenkeel.client().exchange(request("GET", "shop.test", "/a/../b?c", lines))
}

#[test]
fn everything_is_redirected_to_https_before_any_route() {
    let backend = Backend::ok("fine");
    let text = "[[route]]\npath = \"/b\"\npool = \"web\"\n";
    let evenkeel = Site::new(text).listener(HTTPS).pool("web", backend.address()).start();
    for lines in ["", "X-Forwarded-Proto: https\r\n", "Forwarded: proto=https\r\n"] {
        let response = on_https(&evenkeel, lines);
        assert_eq!((response.status, response.field("location")), (308, Some("https://shop.test/b?c")), "{lines}");
    }
    let mut client = evenkeel.client();
    for (host, target, wanted) in [
        ("shop.test:8080", "/b", "https://shop.test/b"),
        ("other.test", "/none", "https://other.test/none"),
        ("[::1]:8080", "/", "https://[::1]/"),
    ] {
        let response = client.exchange(request("POST", host, target, "Content-Length: 0\r\n"));
        assert_eq!((response.status, response.field("location")), (308, Some(wanted)));
    }
    assert_eq!(backend.connections(), 0);
    evenkeel.assert_no_failure();
}

#[test]
fn a_proxy_that_already_speaks_https_is_not_sent_round_in_circles() {
    let backend = Backend::ok("fine");
    let site = Site::new("[[route]]\npool = \"web\"\n").pool("web", backend.address());
    let evenkeel = site.listener(HTTPS).server("trusted_proxies = [\"127.0.0.0/8\"]").start();
    assert_eq!(on_https(&evenkeel, "X-Forwarded-Proto: https\r\n").text(), "fine");
    assert_eq!(on_https(&evenkeel, "X-Forwarded-Proto: HTTPS\r\n").text(), "fine");
    for lines in ["", "X-Forwarded-Proto: http\r\n"] {
        let response = on_https(&evenkeel, lines);
        assert_eq!((response.status, response.field("location")), (308, Some("https://shop.test/b?c")), "{lines}");
    }
}

#[test]
fn a_request_without_a_host_is_not_sent_to_nowhere() {
    let backend = Backend::ok("fine");
    let site = Site::new("[[route]]\npool = \"web\"\n").pool("web", backend.address());
    let evenkeel = site.listener(HTTPS).start();
    let response = evenkeel.client().exchange("GET /a HTTP/1.0\r\n\r\n");
    assert_ne!(response.field("location"), Some("https:///a"), "{response:?}");
    assert_eq!(backend.connections(), 0, "and not forwarded without https");
}

#[test]
fn a_redirect_that_needs_a_host_asks_for_one() {
    let text = "[[route]]\nname = \"needs\"\npath = \"/needs\"\nredirect = { to = \"https://{host}/\" }\n\
                [[route]]\nname = \"fixed\"\npath = \"/fixed\"\nredirect = { to = \"https://new.test{path}\" }\n";
    let evenkeel = Site::new(text).start();
    for _ in 0..3 {
        let response = evenkeel.client().exchange("GET /needs HTTP/1.0\r\n\r\n");
        response.assert_refused(400, "bad_request");
        assert!(!response.head.fields.has("location"), "{response:?}");
        let response = evenkeel.client().exchange("GET /fixed HTTP/1.0\r\n\r\n");
        assert_eq!((response.status, response.field("location")), (308, Some("https://new.test/fixed")));
    }
    evenkeel.wait_failures("bad_request", 3);
}
