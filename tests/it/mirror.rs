//! `mirror` of a route: copies of requests to another pool, whose fate never touches the originals (PRODUCT.md section 3).

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Backend, Client, Evenkeel, H2Backend, Process, Reply, Request, Site,
    h2raw::{H2, block, flag},
    wait_for,
};

const ROUTE: &str = "[[route]]\nname = \"all\"\npool = \"web\"\nmirror = { pool = \"shadow\" }\n";

/// One worker in front of `web`, with copies to `shadow`, whose pool has these lines.
fn site(web: &Backend, shadow: &Backend, lines: &str) -> Site {
    let site = Site::new(ROUTE).server("workers = 1").pool("web", web.address());
    site.pool_with("shadow", &[shadow.address()], lines)
}

fn start(web: &Backend, shadow: &Backend) -> Evenkeel {
    Evenkeel::start(&one_worker(&site(web, shadow, "")))
}

fn one_worker(site: &Site) -> String {
    site.toml().replace("workers = 2\n", "")
}

/// What it does, how it is made, and lines of its pool.
type Shadow = (&'static str, fn() -> Backend, &'static str);

fn copies(evenkeel: &Evenkeel, result: &str) -> f64 {
    evenkeel.metric("evenkeel_mirrored_total", &[("route", "all"), ("result", result)])
}

#[track_caller]
fn wait_copies(evenkeel: &Evenkeel, result: &str, count: usize) {
    wait_for(&format!("{count} copies are {result}"), || copies(evenkeel, result) == count as f64);
}

/// Answers with the request's method and body.
fn echo() -> Backend {
    Backend::http(|request| Reply::ok([request.method.as_bytes(), b" ", &request.body].concat()))
}

fn seen(backend: &Backend, count: usize) -> Vec<Request> {
    wait_for(&format!("{count} requests came"), || backend.seen().len() >= count);
    backend.seen().clone()
}

#[test]
fn a_copy_is_the_same_request() {
    let (web, shadow) = (echo(), Backend::ok("nobody reads this"));
    let evenkeel = start(&web, &shadow);
    assert_eq!(copies(&evenkeel, "sent"), 0.0);
    assert!(evenkeel.series("evenkeel_mirrored_total", &[("route", "all"), ("result", "dropped")]).is_some());
    for (number, (method, body)) in
        [("GET", &b""[..]), ("POST", b"hello"), ("PUT", &[7; 60_000]), ("DELETE", b"")].into_iter().enumerate()
    {
        let target = format!("/a/../b?x={number}");
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: shop.example\r\nX-In: 1\r\nX-Mirror: forged\r\n{length}\r\n");
        let answer = evenkeel.client().exchange([head.as_bytes(), body].concat());
        assert_eq!(answer.body, [method.as_bytes(), b" ", body].concat());
        let (copy, original) = (seen(&shadow, number + 1).remove(number), web.last());
        assert_eq!((&copy.method, &copy.target, &copy.body), (&original.method, &original.target, &original.body));
        for name in ["host", "x-in", "x-request-id", "x-forwarded-for", "x-forwarded-host", "traceparent", "via"] {
            assert_eq!(copy.field(name), original.field(name), "{name}");
        }
        assert_eq!(copy.head.fields.all("x-mirror"), ["evenkeel"]);
        assert_eq!(original.field("x-mirror"), Some("forged"), "the original is untouched");
        // Then its connection is there for the next one.
        wait_copies(&evenkeel, "sent", number + 1);
    }
    assert_eq!(shadow.connections(), 1, "its connection is kept");
    let attempts = |pool: &str| evenkeel.metric("evenkeel_backend_requests_total", &[("pool", pool)]);
    assert_eq!((attempts("web"), attempts("shadow")), (4.0, 4.0));
    assert_eq!(evenkeel.metric("evenkeel_requests_total", &[]), 4.0);
    assert_eq!(evenkeel.metric("evenkeel_backend_in_flight", &[]), 0.0);
    evenkeel.assert_no_failure();
}

#[test]
fn a_body_in_chunks_gets_a_length() {
    let (web, shadow) = (echo(), Backend::ok(""));
    let evenkeel = start(&web, &shadow);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wait_for("the original begins", || web.connections() == 1);
    client.send("6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n");
    assert_eq!(client.response().text(), "POST hello world");
    let copy = seen(&shadow, 1).remove(0);
    assert_eq!((copy.body.as_slice(), copy.field("content-length")), (&b"hello world"[..], Some("11")));
    assert_eq!((copy.field("transfer-encoding"), copy.trailers.get("x-sum")), (None, None));
}

#[test]
fn whatever_becomes_of_the_copies_the_originals_do_not_hear_of_it() {
    let kinds: [Shadow; 5] = [
        (
            "resets",
            || {
                Backend::raw(|conn, _| {
                    conn.request();
                    conn.reset();
                })
            },
            "",
        ),
        (
            "garbage",
            || {
                Backend::raw(|conn, _| {
                    conn.request();
                    conn.send("what do you want?\r\n\r\n");
                })
            },
            "",
        ),
        ("silence", Backend::thinking, "response_timeout = \"100ms\""),
        ("down", Backend::silent, "health_check = { initial_state = \"down\" }"),
        ("errors", || Backend::http(|_| Reply::new("500 Internal Server Error", "Set-Cookie: a=b\r\n", "no")), ""),
    ];
    for (what, shadow, lines) in kinds {
        let (web, shadow) = (echo(), shadow());
        let lines = format!("{lines}\nretry = {{ attempts = 5, on = [\"connect\", \"reset\", \"timeout\", \"5xx\"] }}");
        let evenkeel = Evenkeel::start(&one_worker(&site(&web, &shadow, &lines)));
        let mut client = evenkeel.client();
        for _ in 0..3 {
            let answer = client.with_body("POST", "/", b"hello");
            assert_eq!((answer.text().as_str(), answer.field("set-cookie")), ("POST hello", None), "{what}");
        }
        let result = match what {
            "errors" => "sent",
            "down" => "dropped",
            _ => "failed",
        };
        wait_copies(&evenkeel, result, 3);
        assert_eq!(shadow.requests(), if what == "down" { 0 } else { 3 }, "{what}: a copy goes out once");
        assert_eq!(evenkeel.metric("evenkeel_retries_total", &[]), 0.0, "{what}");
        assert_eq!(evenkeel.metric("evenkeel_backend_in_flight", &[]), 0.0, "{what}");
        assert_eq!(evenkeel.metric("evenkeel_requests_total", &[("code", "200")]), 3.0, "{what}");
        evenkeel.assert_no_failure();
    }
}

#[test]
fn a_shadow_that_refuses_costs_no_time() {
    let (web, dead) = (echo(), Backend::refused());
    let site = Site::new(ROUTE).pool("web", web.address()).pool_with("shadow", &[dead.address()], "");
    let evenkeel = site.start();
    for _ in 0..3 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    wait_copies(&evenkeel, "failed", 3);
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "shadow"), ("code", "502")]), 3.0);
    evenkeel.assert_no_failure();
}

#[test]
fn an_original_is_answered_while_its_copy_waits() {
    let (web, shadow) = (echo(), Backend::thinking());
    let evenkeel = start(&web, &shadow);
    let begun = Instant::now();
    assert_eq!(evenkeel.client().with_body("POST", "/", b"hello").status, 200);
    wait_for("the copy is there", || shadow.requests() == 1);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((copies(&evenkeel, "sent"), copies(&evenkeel, "failed"), evenkeel.in_flight()), (0.0, 0.0, 0.0));
    assert_eq!(evenkeel.metric("evenkeel_backend_in_flight", &[("pool", "shadow")]), 1.0);
}

#[test]
fn a_body_larger_than_the_shadows_buffer_is_not_copied() {
    let (web, shadow) = (echo(), Backend::ok(""));
    let site = site(&web, &shadow, "retry = { attempts = 0, buffer = \"1KiB\" }");
    let evenkeel = Evenkeel::start(&one_worker(&site));
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
    };
    for length in [1024, 1025, 500_000] {
        assert_eq!(evenkeel.client().with_body("POST", "/", &vec![7; length]).body.len(), length + 5);
        assert_eq!(evenkeel.client().exchange(chunked(length)).body.len(), length + 5);
    }
    wait_copies(&evenkeel, "dropped", 4);
    wait_copies(&evenkeel, "sent", 2);
    assert_eq!(shadow.requests(), 2);
}

#[test]
fn a_large_body_is_copied_whole_where_the_buffer_is_as_large() {
    let (web, shadow) = (echo(), Backend::ok(""));
    let site = site(&web, &shadow, "retry = { attempts = 0, buffer = \"4MiB\" }");
    let evenkeel = Evenkeel::start(&one_worker(&site));
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number / 7) as u8).collect();
    assert_eq!(evenkeel.client().with_body("POST", "/", &body).body.len(), body.len() + 5);
    assert!(seen(&shadow, 1).remove(0).body == body, "no byte went by unseen");
}

#[test]
fn a_request_that_does_not_come_whole_is_not_copied() {
    let (web, shadow) = (echo(), Backend::ok(""));
    let evenkeel = start(&web, &shadow);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    wait_for("the original begins", || web.connections() == 1);
    client.leave();
    drop(client);
    wait_copies(&evenkeel, "dropped", 1);
    assert_eq!(shadow.connections(), 0);
}

#[test]
fn a_request_that_is_tried_again_is_copied_once() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    });
    let (good, shadow) = (echo(), Backend::ok(""));
    let site = Site::new(ROUTE).pool_with("web", &[bad.address(), good.address()], "retry = {}");
    let evenkeel = site.pool("shadow", shadow.address()).start();
    for _ in 0..4 {
        assert_eq!(evenkeel.client().with_body("PUT", "/", b"hello").text(), "PUT hello");
    }
    wait_copies(&evenkeel, "sent", 4);
    assert!(bad.requests() >= 2 && shadow.requests() == 4);
    assert!(shadow.seen().iter().all(|copy| copy.body == b"hello"));
}

#[test]
fn a_share_is_copied() {
    for (share, least, most) in [("0%", 0, 0), ("50%", 55, 145), ("100%", 200, 200)] {
        let (web, shadow) = (Backend::ok("fine"), Backend::ok(""));
        let text = ROUTE.replace("\"shadow\"", &format!("\"shadow\", share = \"{share}\""));
        let site = Site::new(text).pool("web", web.address()).pool("shadow", shadow.address());
        let evenkeel = site.start();
        let mut client = evenkeel.client();
        for _ in 0..200 {
            assert_eq!(client.get("/").status, 200);
        }
        wait_for("none is on its way", || {
            copies(&evenkeel, "sent") == shadow.requests() as f64
                && evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0
        });
        // Further out is one in ten thousand million.
        assert!((least..=most).contains(&shadow.requests()), "{share}: {}", shadow.requests());
    }
}

#[test]
fn there_are_so_many_copies_at_a_time_and_no_more() {
    let (web, shadow) = (Backend::ok("fine"), Backend::thinking());
    let evenkeel = start(&web, &shadow);
    let mut client = evenkeel.client();
    for _ in 0..150 {
        assert_eq!(client.get("/").text(), "fine");
    }
    wait_copies(&evenkeel, "dropped", 22);
    wait_for("the others are there", || shadow.requests() == 128);
    shadow.kill();
    wait_copies(&evenkeel, "failed", 128);
    shadow.restart();
    assert_eq!(client.get("/").text(), "fine");
    wait_for("there is room again", || shadow.requests() == 129);
}

#[test]
fn what_becomes_a_tunnel_is_not_copied() {
    let web = Backend::raw(|conn, _| {
        if conn.request().is_some() {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            conn.send(answer);
        }
    });
    let shadow = Backend::ok("");
    let evenkeel = start(&web, &shadow);
    let mut client = evenkeel.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(client.head().status().unwrap(), 101);
    assert_eq!((shadow.connections(), copies(&evenkeel, "dropped")), (0, 0.0));
}

#[test]
fn a_long_answer_to_a_copy_ends_its_connection_and_a_short_one_does_not() {
    for (length, kept) in [(1_000_000, true), (8_000_000, false)] {
        let web = Backend::ok("fine");
        let shadow = Backend::http(move |_| Reply::ok(vec![b'x'; length]));
        let evenkeel = start(&web, &shadow);
        for number in 1..=3 {
            assert_eq!(evenkeel.get("/").text(), "fine");
            wait_copies(&evenkeel, "sent", number);
        }
        assert_eq!(shadow.connections(), if kept { 1 } else { 3 }, "{length} bytes");
        wait_for("what is not kept is closed", || shadow.open() == usize::from(kept));
    }
}

#[test]
fn streams_are_copied_to_streams() {
    let (web, shadow) = (H2Backend::echo(), H2Backend::echo());
    let lines = "protocol = \"h2\"";
    let site = Site::new(ROUTE).pool_with("web", &[web.address()], lines);
    let toml = site.pool_with("shadow", &[shadow.address()], lines).toml().replace("workers = 2", "workers = 1");
    let evenkeel = Evenkeel::start(&toml);
    let mut client = H2::open(evenkeel.address());
    for number in 0..3 {
        let stream = 1 + 2 * number;
        let post = [(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/x")];
        client.headers(stream, flag::END_HEADERS, block(&post));
        client.data(stream, flag::END_STREAM, "hello");
        assert_eq!(client.answer(stream).unwrap().text(), "POST /x hello");
    }
    wait_copies(&evenkeel, "sent", 3);
    assert_eq!((shadow.requests(), shadow.connections(), web.requests()), (3, 1, 3));
    // A call is none of it.
    let call = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "test"),
        (":path", "/x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    client.headers(7, flag::WHOLE, block(&call));
    assert_eq!(client.answer(7).unwrap().status, 200);
    assert_eq!((web.requests(), shadow.requests(), copies(&evenkeel, "dropped")), (4, 3, 0.0));
}

#[test]
fn a_process_that_goes_waits_for_copies_as_long_as_for_others() {
    let (web, shadow) = (Backend::ok("fine"), Backend::thinking());
    let site = site(&web, &shadow, "").server("drain_timeout = \"1s\"");
    let mut evenkeel = Process::spawn(&one_worker(&site));
    assert_eq!(Client::h1(evenkeel.address()).get("/").text(), "fine");
    wait_for("the copy is there", || shadow.requests() == 1);
    let begun = Instant::now();
    evenkeel.signal("TERM");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(shadow.open(), 1, "it may still be answered");
    assert!(evenkeel.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    wait_for("it is cut then", || shadow.open() == 0);
}

#[test]
fn copies_open_the_circuit_of_a_shadow_and_of_nobody_else() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    });
    let (web, good) = (Backend::ok("fine"), Backend::ok(""));
    let breaker = "circuit_breaker = { consecutive_failures = 3, open_for = \"10m\", open_for_max = \"10m\" }";
    let site = Site::new(ROUTE).pool_with("web", &[web.address()], breaker);
    let evenkeel = site.pool_with("shadow", &[bad.address(), good.address()], breaker).start();
    let open = |pool: &str| evenkeel.metric("evenkeel_circuit_state", &[("pool", pool)]);
    let mut client = evenkeel.client();
    wait_for("the bad one is out", || {
        assert_eq!(client.get("/").text(), "fine");
        open("shadow") == 2.0
    });
    assert_eq!(open("web"), 0.0);
    evenkeel.assert_no_failure();
}
