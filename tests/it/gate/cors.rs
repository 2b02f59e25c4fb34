//! `cors`.

use super::*;
use crate::support::{Backend, Evenkeel, Reply, Response, Site, h2, request};

const CORS: &str = "cors = { origins = [\"https://app.example.com\", \"https://*.shop.example\"], methods = [\"PUT\"], \
                    headers = [\"X-A\", \"authorization\"], credentials = true, max_age = \"1h\" }\n";

/// A backend that has its own mind of it.
fn backend() -> Backend {
    let lines = "Access-Control-Allow-Origin: *\r\naccess-control-allow-methods: TRACE\r\nAccess-Control-Max-Age: 9\r\n\
                 Access-Control-Expose-Headers: x-a\r\nVary: Accept\r\n";
    Backend::http(move |_| Reply::new("200 OK", lines, "fine"))
}

fn ask(evenkeel: &Evenkeel, method: &str, path: &str, fields: &str) -> Response {
    let mut client = evenkeel.client();
    client.send(request(method, "test", path, fields));
    client.response_to(method)
}

const PREFLIGHT: &str = "Origin: https://app.example.com\r\nAccess-Control-Request-Method: PUT\r\n";

#[test]
fn answers_say_what_the_route_says_whatever_the_backend_does() {
    let backend = backend();
    let text = format!("[[route]]\npool = \"web\"\n{CORS}");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://a.b.shop.example", true),
        ("https://shop.example", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let answer = ask(&evenkeel, "GET", "/", &format!("Origin: {origin}\r\n"));
        let fields = &answer.head.fields;
        let said = if allowed { vec![origin] } else { vec![] };
        assert_eq!((answer.status, fields.all("access-control-allow-origin")), (200, said), "{origin}");
        assert_eq!(fields.get("access-control-allow-credentials"), allowed.then_some("true"));
        assert!(!fields.has("access-control-allow-methods") && !fields.has("access-control-max-age"));
        assert_eq!(fields.get("access-control-expose-headers"), Some("x-a"));
        assert_eq!(fields.all("vary"), ["Accept", "Origin"]);
    }
}

#[test]
fn preflights_never_reach_the_backend() {
    let (folder, backend) = (Folder::new(), backend());
    let auth = key_auth("apps", &folder.put("keys", &key("mobile", "one")));
    let text = format!("{auth}[[route]]\nname = \"in\"\npool = \"web\"\nauth = \"apps\"\n{CORS}");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let allowed = ask(&evenkeel, "OPTIONS", "/x", PREFLIGHT);
    assert_eq!((allowed.status, allowed.body.len()), (204, 0));
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, HEAD, POST, PUT"),
        ("access-control-allow-headers", "x-a, authorization"),
        ("access-control-max-age", "3600"),
    ] {
        assert_eq!(allowed.field(name), Some(value), "{name}");
    }
    assert_eq!(
        allowed.head.fields.all("vary"),
        ["Origin", "Access-Control-Request-Method, Access-Control-Request-Headers"]
    );
    assert_eq!(allowed.field("content-length"), None, "RFC 9110 section 8.6");
    let other = PREFLIGHT.replace("app.example.com", "evil.example");
    let refused = ask(&evenkeel, "OPTIONS", "/x", &other);
    let grants = |answer: &Response| answer.head.fields.0.iter().any(|(name, _)| name.starts_with("access-control-"));
    assert!(refused.status == 204 && !grants(&refused), "{refused:?}");
    assert_eq!(backend.requests(), 0);
    assert_eq!(evenkeel.metric("evenkeel_requests_total", &[("route", "in"), ("code", "204")]), 2.0);
    // What is no preflight is asked who it is, and what is refused may be read by the page.
    let options = ask(&evenkeel, "OPTIONS", "/x", "Origin: https://app.example.com\r\n");
    options.assert_refused(401, "unauthorized");
    assert_eq!(options.field("access-control-allow-origin"), Some("https://app.example.com"));
    let with = format!("{PREFLIGHT}X-Api-Key: one\r\n");
    assert_eq!(ask(&evenkeel, "PUT", "/x", &with).status, 200);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_preflight_is_for_the_route_of_the_method_that_it_asks_for() {
    let backend = backend();
    let route = |name: &str, methods: &str, lines: &str| {
        format!("[[route]]\nname = \"{name}\"\nmethod = [{methods}]\npool = \"web\"\n{lines}")
    };
    let text = [
        route("read", "\"GET\"", &CORS.replace("\"1h\"", "\"2h\"")),
        route("write", "\"PUT\"", CORS),
        route("gone", "\"DELETE\"", ""),
    ];
    let evenkeel = Site::new(text.concat()).pool("web", backend.address()).start();
    for (method, status, age) in
        [("GET", 204, Some("7200")), ("PUT", 204, Some("3600")), ("DELETE", 404, None), ("PATCH", 404, None)]
    {
        let answer = ask(&evenkeel, "OPTIONS", "/", &PREFLIGHT.replace("PUT", method));
        assert_eq!((answer.status, answer.field("access-control-max-age")), (status, age), "{method}");
    }
    for no_preflight in ["Origin: https://app.example.com\r\n", "Access-Control-Request-Method: PUT\r\n"] {
        assert_eq!(ask(&evenkeel, "OPTIONS", "/", no_preflight).status, 404, "{no_preflight}");
    }
    assert_eq!(backend.requests(), 0);
}

#[test]
fn our_own_answers_say_it_too() {
    let port = Backend::refused();
    let text = format!(
        "[[route]]\npath = \"/r\"\nrespond = {{ body = \"x\" }}\ncors = {{ origins = \"*\" }}\n\
         [[route]]\npool = \"web\"\n{CORS}"
    );
    let evenkeel = Site::new(text).pool("web", port.address()).start();
    let failed = ask(&evenkeel, "GET", "/", "Origin: https://app.example.com\r\n");
    failed.assert_refused(502, "connect_refused");
    assert_eq!(failed.field("access-control-allow-origin"), Some("https://app.example.com"));
    // For anybody it is the same answer for all: caches may keep it.
    let any = ask(&evenkeel, "GET", "/r", "");
    assert_eq!((any.field("access-control-allow-origin"), any.field("vary")), (Some("*"), None));
}

#[test]
fn over_http2_it_is_the_same() {
    let backend = backend();
    let text = format!("[[route]]\npool = \"web\"\n{CORS}");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let preflight = h2::to("OPTIONS", "/")
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", "PUT");
        let answer = h2::ask(&client, preflight, b"").await.unwrap();
        assert_eq!((answer.status, &*answer.body), (204, &b""[..]));
        assert_eq!(answer.fields["access-control-allow-methods"], "GET, HEAD, POST, PUT");
        let get = h2::to("GET", "/").header("origin", "https://app.example.com");
        let answer = h2::ask(&client, get, b"").await.unwrap();
        assert_eq!(answer.fields.get_all("access-control-allow-origin").iter().count(), 1);
        assert_eq!(answer.fields["access-control-allow-origin"], "https://app.example.com");
    });
    assert_eq!(backend.requests(), 1);
}
