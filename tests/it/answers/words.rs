//! One word for each failure, the same in the answer, in the metrics and in the access log (PRODUCT.md 6.6 and 7).

use std::fs;
use std::path::Path;

use super::DOWN;
use crate::support::{Backend, Conn, Evenkeel, Response, Site, wait_for};

/// Misbehaves as its path says.
fn misbehave(conn: &mut Conn) {
    let Some(request) = conn.request() else { return };
    let answer = match request.target.as_str() {
        "/reset" => return conn.reset(),
        "/closed" => return,
        "/nonsense" => "HTTP/9.9 what\r\n\r\n".to_owned(),
        "/ambiguous" => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned(),
        "/huge" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000)),
        "/switch" => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: telnet\r\n\r\n".to_owned(),
        _ => String::new(),
    };
    conn.send(answer);
    conn.wait_closed();
}

const ROUTES: &str = "
[[route]]
name = \"dead\"
host = \"test\"
path = \"/dead\"
pool = \"dead\"
[[route]]
name = \"down\"
host = \"test\"
path = \"/down\"
pool = \"down\"
[[route]]
name = \"full\"
host = \"test\"
path = \"/full\"
pool = \"full\"
[[route]]
name = \"late\"
host = \"test\"
path = \"/late\"
pool = \"web\"
timeout = \"200ms\"
[[route]]
name = \"slow\"
host = \"test\"
path = \"/slow\"
pool = \"slow\"
[[route]]
name = \"waits\"
host = \"test\"
path = \"/waits\"
pool = \"waits\"
[[route]]
name = \"small\"
host = \"test\"
path = \"/small\"
pool = \"web\"
max_body_size = \"1KiB\"
[[route]]
name = \"web\"
host = \"test\"
pool = \"web\"
";

/// Status, word, type of RFC 9209, the label of the route, and the request.
type Case = (u16, &'static str, &'static str, &'static str, String);

fn cases() -> Vec<Case> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    let via = "Via: 1.1 evenkeel\r\n".repeat(10);
    let ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    vec![
        (400, "bad_request", "http_request_error", "", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (404, "no_route", "destination_not_found", "", "GET / HTTP/1.1\r\nHost: other\r\n\r\n".to_owned()),
        (
            405,
            "connect_denied",
            "http_request_denied",
            "",
            "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n".to_owned(),
        ),
        (408, "request_timeout", "http_request_error", "", "GET / HTTP/1.1\r\nHost: te".to_owned()),
        (
            413,
            "body_too_large",
            "http_request_error",
            "small",
            "POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 2000\r\n\r\n".to_owned(),
        ),
        (414, "target_too_long", "http_request_error", "", get(&format!("/{}", "x".repeat(9_000)))),
        (
            431,
            "head_too_large",
            "http_request_error",
            "",
            format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(40_000)),
        ),
        (502, "connect_refused", "connection_refused", "dead", get("/dead")),
        (502, "reset", "connection_terminated", "web", get("/reset")),
        (502, "reset", "connection_terminated", "web", get("/closed")),
        (502, "bad_response", "http_protocol_error", "web", get("/nonsense")),
        (502, "bad_response", "http_protocol_error", "web", get("/ambiguous")),
        (502, "response_head_too_large", "http_response_header_section_size", "web", get("/huge")),
        (
            502,
            "upgrade_failed",
            "http_upgrade_failed",
            "web",
            format!("GET /switch HTTP/1.1\r\nHost: test\r\n{ask}\r\n"),
        ),
        (502, "loop", "proxy_loop_detected", "web", format!("GET / HTTP/1.1\r\nHost: test\r\n{via}\r\n")),
        (503, "no_backend", "destination_unavailable", "down", get("/down")),
        (503, "queue_full", "connection_limit_reached", "full", get("/full")),
        (503, "queue_timeout", "connection_limit_reached", "waits", get("/waits")),
        (504, "connect_timeout", "connection_timeout", "slow", get("/slow")),
        (504, "deadline", "http_response_timeout", "late", get("/late")),
    ]
}

/// Asks on a connection of its own, and fails unless the answer says all that it has to.
fn ask(evenkeel: &Evenkeel, (status, word, kind, _, request): &Case) -> Response {
    let mut client = evenkeel.client();
    client.send(request);
    let response = client.response();
    assert_eq!(response.status, *status, "{word}: {response:?}");
    let said = response.head.fields.all("proxy-status");
    assert_eq!(said, [format!("evenkeel; error={kind}; details=\"{word}\"")], "{response:?}");
    assert_eq!(response.field("content-type"), Some("application/problem+json"), "{word}");
    assert_eq!(response.head.fields.has("retry-after"), *status == 503, "{word}: {response:?}");
    assert!(!response.text().contains("127.0.0.1") && !said[0].contains("127.0.0.1"), "{word}: {response:?}");
    response
}

/// The member `name` of a flat JSON object, if it is a string.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
    rest.trim_start().strip_prefix('"')?.split('"').next()
}

#[test]
fn a_failure_is_one_word_in_the_answer_the_metrics_and_the_log() {
    let web = Backend::raw(|conn, _| misbehave(conn));
    let (dead, slow, full) = (Backend::refused(), Backend::refused(), Backend::thinking());
    let waits = Backend::thinking();
    let _full_queue = slow.listen_full();
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("words-{}.log", std::process::id()));
    let _ = fs::remove_file(&log);
    let site = Site::new(ROUTES).listener("header_timeout = \"1s\"").log(format!("access = \"{}\"", log.display()));
    let site = site.pool("web", web.address()).pool("dead", dead.address());
    let site = site.pool_with("slow", &[slow.address()], "connect_timeout = \"200ms\"");
    let site = site.pool_with("full", &[full.address()], "max_connections = 1\nqueue = \"off\"");
    let site = site.pool_with("waits", &[waits.address()], "max_in_flight = 1\nqueue = { timeout = \"200ms\" }");
    let evenkeel = site.pool_with("down", &[dead.address()], DOWN).start();
    let mut busy = evenkeel.client();
    busy.send("GET /full HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut held = evenkeel.client();
    held.send("GET /waits HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("both are at their backends", || full.requests() == 1 && waits.requests() == 1);

    let cases = cases();
    let answers: Vec<_> = cases.iter().map(|case| ask(&evenkeel, case)).collect();
    for (status, word, _, route, _) in &cases {
        let wanted = cases.iter().filter(|case| (case.1, case.3) == (*word, *route)).count() as f64;
        let counted = || evenkeel.metric("evenkeel_failures_total", &[("route", *route), ("reason", *word)]);
        wait_for(&format!("{word} of {route:?} is counted {wanted} times"), || counted() == wanted);
        let all = cases.iter().filter(|case| (case.0, case.3) == (*status, *route)).count() as f64;
        let code = status.to_string();
        let counted = || evenkeel.metric("evenkeel_requests_total", &[("route", *route), ("code", &code)]);
        wait_for(&format!("{status} of {route:?} is counted {all} times"), || counted() == all);
    }
    for (case, answer) in cases.iter().zip(answers) {
        let (status, word, _, route, _) = case;
        let text = answer.text();
        let id = member(&text, "request_id").unwrap_or_else(|| panic!("{word}: {text}"));
        let mut line = None;
        wait_for(&format!("{word} is in the log"), || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            line = log.lines().find(|line| member(line, "request_id") == Some(id)).map(str::to_owned);
            line.is_some()
        });
        let line = line.unwrap();
        assert_eq!(member(&line, "failure"), Some(*word), "{line}");
        assert_eq!(member(&line, "route").unwrap_or_default(), *route, "{line}");
        assert!(line.contains(&format!("\"status\":{status}")), "{line}");
    }
}

#[test]
fn a_connection_goes_on_after_most_words_and_ends_after_some() {
    let dead = Backend::refused();
    let site = Site::new(ROUTES).listener("header_timeout = \"1s\"").pool("web", dead.address());
    let site = site.pool("dead", dead.address()).pool("slow", dead.address()).pool("full", dead.address());
    let site = site.pool("waits", dead.address());
    let evenkeel = site.pool_with("down", &[dead.address()], DOWN).start();
    for case in cases()
        .iter()
        .filter(|case| matches!(case.1, "no_route" | "no_backend" | "connect_refused" | "loop" | "connect_denied"))
    {
        let mut client = evenkeel.client();
        assert_eq!(client.exchange(&case.4).status, case.0);
        assert_eq!(client.get("/down").status, 503, "{} leaves the connection open", case.1);
    }
    for case in cases().iter().filter(|case| matches!(case.0, 400 | 408 | 413 | 414 | 431)) {
        let mut client = evenkeel.client();
        client.send(&case.4);
        let response = client.response();
        assert_eq!(response.status, case.0);
        assert!(response.head.fields.lists("connection", "close"), "{}: {response:?}", case.1);
        client.finish();
        client.assert_closed();
    }
}
