//! `request_headers` and `response_headers`: set, add, remove, templates; and who tries to reach through them.

use super::{DOWN, route, site};
use crate::support::{Backend, Reply, Request, Response, Site, request};

/// What the backend sees of a GET with `lines`, through a route with `keys`.
fn seen(keys: &str, lines: &str) -> Request {
    let backend = Backend::ok("fine");
    let evenkeel = site(&route(keys), &backend);
    let response = evenkeel.client().exchange(request("GET", "shop.test:81", "/a/b%20c?d=e", lines));
    assert_eq!(response.status, 200, "{response:?}");
    backend.last()
}

#[test]
fn fields_of_a_request_are_set_added_and_removed() {
    let keys = "request_headers = { set = { x-env = \"prod\", x-new = \"n\" }, add = { x-tag = [\"b\", \"c\"], x-more = \"m\" }, \
                remove = [\"x-debug\", \"x-none\"] }";
    let lines = "X-Env: forged\r\nX-ENV: twice\r\nX-Tag: a\r\nX-Debug: 1\r\nx-debug: 2\r\nX-Kept: k\r\n";
    let fields = seen(keys, lines).head.fields;
    assert_eq!(fields.all("x-env"), ["prod"]);
    assert_eq!(fields.all("x-new"), ["n"]);
    assert_eq!(fields.all("x-tag").join(", "), "a, b, c");
    assert_eq!(fields.all("x-more"), ["m"]);
    assert_eq!(fields.all("x-kept"), ["k"]);
    assert!(!fields.has("x-debug") && !fields.has("x-none"), "{fields:?}");
}

#[test]
fn what_is_set_takes_the_place_of_what_a_client_hides() {
    // Named in Connection, it goes as a field of that hop; what the route sets is not the client's to remove.
    let lines = "Connection: x-env\r\nX-Env: forged\r\n";
    let fields = seen("request_headers = { set = { x-env = \"prod\" } }", lines).head.fields;
    assert_eq!(fields.all("x-env"), ["prod"]);
    let seen = seen(
        "request_headers = { set = { authorization = \"Basic eDp5\" }, remove = [\"cookie\"] }",
        "Cookie: a=b\r\nAuthorization: forged\r\n",
    );
    assert_eq!(seen.head.fields.all("authorization"), ["Basic eDp5"]);
    assert!(!seen.head.fields.has("cookie"));
}

#[test]
fn the_fields_of_a_request_are_made_of_what_is_known_of_it() {
    let names = ["host", "path", "path_and_query", "query", "scheme", "client_ip", "request_id", "route", "pool"];
    let set = names.map(|name| format!("x-t-{} = \"<{{{name}}}>\"", name.replace('_', "-"))).join(", ");
    let seen = seen(&format!("request_headers = {{ set = {{ {set}, x-t-brace = \"{{{{a}}}}\" }} }}"), "");
    let id = format!("<{}>", seen.field("x-request-id").unwrap());
    for (name, wanted) in [
        ("x-t-host", "<shop.test>"),
        ("x-t-path", "</a/b%20c>"),
        ("x-t-path-and-query", "</a/b%20c?d=e>"),
        ("x-t-query", "<d=e>"),
        ("x-t-scheme", "<http>"),
        ("x-t-client-ip", "<127.0.0.1>"),
        ("x-t-request-id", id.as_str()),
        ("x-t-route", "<r>"),
        ("x-t-pool", "<web>"),
        ("x-t-brace", "{a}"),
    ] {
        assert_eq!(seen.head.fields.all(name), [wanted], "{name}");
    }
}

#[test]
fn templates_believe_whom_the_rest_believes() {
    let backend = Backend::ok("fine");
    let text = route("request_headers = { set = { x-from = \"{client_ip} {scheme} {request_id}\" } }");
    let lines = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: chosen\r\n";
    let trusted = Site::new(&text).server("trusted_proxies = [\"127.0.0.1\"]").pool("web", backend.address()).start();
    trusted.client().exchange(request("GET", "test", "/", lines));
    assert_eq!(backend.last().field("x-from"), Some("192.0.2.7 https chosen"));
    site(&text, &backend).client().exchange(request("GET", "test", "/", lines));
    let from = backend.last().field("x-from").unwrap().to_owned();
    assert!(from.starts_with("127.0.0.1 http ") && !from.contains("chosen"), "{from}");
}

const INJECTED: &str = "{host}|{path}|{query}|{path_and_query}";

#[test]
fn nothing_that_a_client_writes_becomes_a_line_of_its_own() {
    let backend = Backend::ok("fine");
    let edit = format!("{{ set = {{ x-echo = \"{INJECTED}\" }}, add = {{ x-also = \"{INJECTED}\" }} }}");
    let text = route(&format!("request_headers = {edit}\nresponse_headers = {edit}"));
    let evenkeel = site(&text, &backend);
    let targets = ["/a?b=%0d%0aX-Evil:%201", "/a?%0A%0D", "/%E2%80%A8?\u{a0}", "/a;b=c?\"'<>"];
    for target in targets {
        let response = evenkeel.client().exchange(request("GET", "shop.test", target, ""));
        assert!(matches!(response.status, 200 | 400), "{target}: {response:?}");
        assert!(!response.head.fields.has("x-evil"), "{target}: {response:?}");
        if response.status == 200 {
            let (path, query) = target.split_once('?').unwrap();
            let wanted = format!("shop.test|{path}|{query}|{target}");
            assert_eq!(response.head.fields.all("x-echo"), [&wanted]);
            assert_eq!(backend.last().head.fields.all("x-echo"), [&wanted]);
            assert!(!backend.last().head.fields.has("x-evil"));
        }
    }
    let before = backend.seen().len();
    assert!(before >= 2, "the encoded ones are legal");
    for target in
        ["/%0d%0aX-Evil:%201", "/a?b\rX-Evil: 1", "/a?b\nX-Evil: 1", "/a\u{0}", "/a?\u{0}", "/a?\u{7f}", "/a b"]
    {
        let mut client = evenkeel.client();
        client.send(request("GET", "shop.test", target, ""));
        let response = client.response();
        assert_eq!(response.status, 400, "{target:?}: {response:?}");
        assert!(!response.head.fields.has("x-evil"), "{target:?}: {response:?}");
    }
    for host in ["shop.test\rX-Evil: 1", "shop.test\u{0}", "shop.test\tx", "shop.test, evil.test", "\u{e9}.test"] {
        evenkeel.client().exchange(request("GET", host, "/", "")).assert_refused(400, "bad_request");
    }
    assert_eq!(backend.seen().len(), before, "none of them is forwarded");
}

#[test]
fn an_id_of_a_trusted_proxy_is_no_way_in_either() {
    let backend = Backend::ok("fine");
    let text = route("response_headers = { set = { x-id = \"{request_id}\" } }");
    let evenkeel = Site::new(text).server("trusted_proxies = [\"127.0.0.1\"]").pool("web", backend.address()).start();
    for id in ["a\"b", "<script>", "a b", "\u{e9}", &"x".repeat(5_000)] {
        let response = evenkeel.client().exchange(request("GET", "test", "/", &format!("X-Request-Id: {id}\r\n")));
        assert_eq!(response.status, 200, "{response:?}");
        // Whether it is kept or replaced: it is one word on one line, and the same for the backend.
        let said = response.field("x-id").unwrap();
        assert!(said.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'), "{said}");
        assert!(said.len() <= 256, "{} bytes", said.len());
        assert_eq!(backend.last().head.fields.all("x-request-id"), [said]);
    }
}

const SECURE: &str = "response_headers = { set = { strict-transport-security = \"max-age=31536000\", x-by = \"{route}/{pool}\" }, \
                      add = { vary = \"accept\" }, remove = [\"server\", \"x-powered-by\"] }";

#[test]
fn fields_of_a_response_are_set_added_and_removed() {
    let backend = Backend::http(|_| {
        let lines = "Server: secret\r\nX-Powered-By: x\r\nx-powered-by: y\r\nX-By: a\r\nX-BY: b\r\nVary: origin\r\nX-Kept: k\r\n";
        Reply::new("200 OK", lines, "fine")
    });
    let response = site(&route(SECURE), &backend).get("/");
    let fields = response.head.fields;
    assert_eq!(fields.all("strict-transport-security"), ["max-age=31536000"]);
    assert_eq!(fields.all("x-by"), ["r/web"]);
    assert_eq!(fields.all("vary").join(", "), "origin, accept");
    assert_eq!(fields.all("x-kept"), ["k"]);
    assert!(!fields.has("server") && !fields.has("x-powered-by"), "{fields:?}");
}

#[test]
fn a_response_says_which_backend_it_is_from() {
    let backend = Backend::ok("fine");
    let text = route("response_headers = { set = { x-served-by = \"{backend}\", x-id = \"{request_id}\" } }");
    let response = site(&text, &backend).get("/");
    assert_eq!(response.field("x-served-by"), Some(backend.address().to_string().as_str()));
    assert_eq!(response.field("x-id"), backend.last().field("x-request-id"));
}

#[test]
fn a_response_tells_the_id_of_its_request_under_the_usual_name() {
    let text = route("response_headers = { set = { x-request-id = \"{request_id}\" } }");
    let backend = Backend::http(|_| Reply::new("200 OK", "X-Request-Id: its own\r\n", "fine"));
    let response = site(&text, &backend).get("/");
    let id = backend.last().field("x-request-id").unwrap().to_owned();
    assert_eq!(response.head.fields.all("x-request-id"), [id.as_str()]);

    // Our own answers tell it anyway, once.
    let refused = Backend::refused();
    let ours =
        Site::new(text).pool("web", refused.address()).start().client().exchange(request("GET", "test", "/", ""));
    assert!(ours.status >= 500, "{ours:?}");
    assert_eq!(ours.head.fields.all("x-request-id").len(), 1, "{ours:?}");
}

/// Fails unless `response` has what [`SECURE`] sets.
#[track_caller]
fn assert_secured(response: &Response) {
    assert_eq!(response.head.fields.all("strict-transport-security"), ["max-age=31536000"], "{response:?}");
    assert!(response.head.fields.lists("vary", "accept"), "{response:?}");
}

#[test]
fn our_own_answers_have_the_routes_fields_too() {
    let (web, dead) = (Backend::thinking(), Backend::refused());
    let answers = [
        ("/moved", "redirect = { to = \"https://new.test/\" }", 308),
        ("/said", "respond = { body = \"said\" }", 200),
        ("/dead", "pool = \"dead\"", 502),
        ("/down", "pool = \"down\"", 503),
        ("/excused", "pool = \"down\"\nfallback = { respond = { status = 503, body = \"back soon\" } }", 503),
        ("/late", "pool = \"web\"\ntimeout = \"200ms\"", 504),
        ("/small", "pool = \"web\"\nmax_body_size = \"1KiB\"", 413),
    ];
    let text = answers.map(|(path, keys, _)| format!("[[route]]\npath = \"{path}\"\n{keys}\n{SECURE}\n")).concat();
    let site = Site::new(text).pool("web", web.address()).pool("dead", dead.address());
    let evenkeel = site.pool_with("down", &[dead.address()], DOWN).start();
    for (path, _, status) in answers {
        let response = evenkeel.client().with_body("POST", path, &vec![b'x'; if status == 413 { 2_000 } else { 10 }]);
        assert_eq!(response.status, status, "{path}: {response:?}");
        assert_secured(&response);
    }
    let none = evenkeel.get("/none");
    assert_eq!(none.status, 404);
    assert!(!none.head.fields.has("strict-transport-security"), "no route, and so none of its fields: {none:?}");
}

#[test]
fn what_a_failure_says_of_itself_stays() {
    let dead = Backend::refused();
    let text = route("response_headers = { set = { x-a = \"1\" }, remove = [\"x-none\"] }");
    let evenkeel = Site::new(text).pool("web", dead.address()).start();
    let response = evenkeel.get("/");
    response.assert_refused(502, "connect_refused");
    assert_eq!((response.field("x-a"), response.field("content-type")), (Some("1"), Some("application/problem+json")));
}

#[test]
fn bodies_are_untouched_whatever_is_edited() {
    let backend = Backend::http(|request| Reply::new("200 OK", "ETag: \"x\"\r\n", request.body));
    let keys = "request_headers = { set = { x-long = \"{path}{path}{path}{path}\" }, remove = [\"accept\"] }\n";
    let evenkeel = site(&route(&format!("{keys}{SECURE}")), &backend);
    let mut client = evenkeel.client();
    for size in [0, 1, 70_000, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|at: usize| (at % 251) as u8).collect();
        let response = client.with_body("POST", &format!("/{}", "p".repeat(2_000)), &body);
        assert!(response.body == body, "{size}");
        assert_secured(&response);
        assert_eq!(backend.last().field("x-long").map(str::len), Some(8_004));
    }
    let head = client.exchange(request("HEAD", "test", "/", ""));
    assert_eq!(head.status, 200);
    assert_secured(&head);
}
