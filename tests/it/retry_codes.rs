//! Retries after an answer (`retry.on` with statuses), and of requests whose method says that they must not be repeated
//! (`idempotency_key`, `non_idempotent`): PRODUCT.md section 3.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::{Backend, Evenkeel, H2Backend, Reply, Setup, h2raw::H2, push, wait_for};

const QUICK: &str = "backoff = { base = \"1ms\", max = \"1ms\" }";

fn retrying(addresses: &[SocketAddr], keys: &str) -> Evenkeel {
    Setup::to(addresses).pool(format!("retry = {{ {QUICK}, {keys} }}")).start()
}

/// Answers `status`, and its number among the answers of this backend.
fn answering(status: &'static str) -> Backend {
    let asked = AtomicUsize::new(0);
    Backend::http(move |_| Reply::new(status, "X-Own: yes\r\n", format!("answer {}", asked.fetch_add(1, SeqCst) + 1)))
}

/// Answers with the request's method and body.
fn echo() -> Backend {
    Backend::http(|request| Reply::ok([request.method.as_bytes(), b" ", &request.body].concat()))
}

fn retries(evenkeel: &Evenkeel, reason: &str) -> f64 {
    evenkeel.metric("evenkeel_retries_total", &[("pool", "web"), ("reason", reason)])
}

fn answers(evenkeel: &Evenkeel, code: &str) -> f64 {
    evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "web"), ("code", code)])
}

#[test]
fn an_answer_with_a_listed_status_is_not_taken_while_another_backend_may_do_better() {
    for on in ["[503]", "[\"503\"]", "[\"5xx\"]", "[\"connect\", \"502\", \"503\", \"504\"]"] {
        let (bad, good) = (answering("503 Service Unavailable"), echo());
        let evenkeel = retrying(&[bad.address(), good.address()], &format!("on = {on}"));
        for (method, body) in [("GET", &b""[..]), ("PUT", b"hello"), ("PUT", &[7; 60_000]), ("DELETE", b"")] {
            for _ in 0..2 {
                let response = evenkeel.client().with_body(method, "/", body);
                assert_eq!(response.status, 200, "{on}, {method} with {} bytes", body.len());
                assert_eq!(response.body[method.len() + 1..], *body, "{on}, {method}");
            }
        }
        // A retry takes a turn, too: the next request begins with the bad one again.
        assert!(bad.requests() >= 4, "{on}: {}", bad.requests());
        assert_eq!(good.requests(), 8, "{on}");
        let tried = bad.requests() as f64;
        assert_eq!((retries(&evenkeel, "status"), answers(&evenkeel, "503")), (tried, tried), "{on}");
        evenkeel.assert_no_failure();
    }
}

#[test]
fn other_statuses_are_answers() {
    for status in ["500 Internal Server Error", "504 Gateway Timeout", "404 Not Found", "200 OK"] {
        let backends = [answering(status), answering(status)];
        let evenkeel = retrying(&backends.each_ref().map(Backend::address), "on = [\"502\", \"503\", \"reset\"]");
        assert_eq!(evenkeel.get("/").text(), "answer 1", "{status}");
        assert_eq!(backends[0].requests() + backends[1].requests(), 1, "{status}");
    }
}

#[test]
fn the_last_answer_is_the_clients_as_it_came() {
    let backend = answering("503 Service Unavailable");
    let evenkeel = retrying(&[backend.address()], "on = [503], attempts = 2");
    let response = evenkeel.get("/");
    assert_eq!((response.status, response.text().as_str()), (503, "answer 3"));
    assert_eq!((response.field("x-own"), response.word()), (Some("yes"), None), "it is the backend's");
    assert_eq!((backend.requests(), retries(&evenkeel, "status")), (3, 2.0));
    evenkeel.assert_no_failure();
}

#[test]
fn where_the_budget_is_used_up_the_answer_counts() {
    let backend = answering("429 Too Many Requests");
    let evenkeel = retrying(&[backend.address()], "on = [\"4xx\"], attempts = 1, budget = \"0%\", budget_floor = 3");
    let start = Instant::now();
    for _ in 0..10 {
        let response = evenkeel.get("/");
        assert_eq!((response.status, response.field("x-own")), (429, Some("yes")));
    }
    if start.elapsed() < Duration::from_secs(8) {
        assert_eq!((backend.requests(), retries(&evenkeel, "status")), (13, 3.0));
        assert_eq!(evenkeel.metric("evenkeel_retry_budget_exhausted_total", &[("pool", "web")]), 7.0);
    }
}

#[test]
fn where_the_wait_would_outlast_the_routes_time_the_answer_counts() {
    let backend = answering("503 Service Unavailable");
    let pool = "retry = { on = [503], backoff = { base = \"100m\", max = \"100m\" } }";
    let toml = Setup::to(&[backend.address()]).pool(pool).toml();
    let evenkeel = Evenkeel::start(&format!("{toml}\n[[route]]\npool = \"web\"\ntimeout = \"300ms\"\n"));
    for number in 0..40 {
        let body = if number % 2 == 0 { &b""[..] } else { b"hello" };
        let response = evenkeel.client().with_body("PUT", "/", body);
        // A wait below 300 ms of 100 minutes is one in twenty thousand.
        assert_eq!((response.status, response.field("x-own")), (503, Some("yes")), "and no 504 of ours");
    }
    assert_eq!((backend.requests(), retries(&evenkeel, "status")), (40, 0.0));
    evenkeel.assert_no_failure();
}

#[test]
fn the_first_retry_after_an_answer_waits() {
    let backend = answering("503 Service Unavailable");
    let pool = "retry = { on = [503], backoff = { base = \"100m\", max = \"100m\" } }";
    let toml = Setup::to(&[backend.address()]).pool(pool).toml();
    let evenkeel = Evenkeel::start(&format!("{toml}\n[[route]]\npool = \"web\"\ntimeout = \"5h\"\n"));
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for("the retry is decided", || retries(&evenkeel, "status") == 1.0);
    // Any part of 100 minutes: less than this is one in sixty thousand.
    assert!(client.silent_for(Duration::from_millis(100)));
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_post_is_answered_once_unless_its_operator_says_otherwise() {
    let key = "Idempotency-Key: \"8e03978e\"\r\n";
    for (keys, lines, again) in [
        ("", "", false),
        ("", key, false),
        ("idempotency_key = true", "", false),
        ("idempotency_key = true", key, true),
        ("non_idempotent = true", "", true),
    ] {
        for (what, status) in [("status", "503 Service Unavailable"), ("reset", "")] {
            let bad = match status {
                "" => Backend::raw(|conn, _| {
                    conn.request();
                    conn.reset();
                }),
                status => answering(status),
            };
            let good = echo();
            let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
            let evenkeel = retrying(&[bad.address(), good.address()], &format!("on = [\"reset\", 503]{keys}"));
            let request = format!("POST /order HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: 5\r\n\r\norder");
            let statuses: Vec<_> = (0..4).map(|_| evenkeel.client().exchange(&request).status).collect();
            let fine = statuses.iter().filter(|status| **status == 200).count();
            assert_eq!(fine, if again { 4 } else { 2 }, "{what} {keys} {lines}: {statuses:?}");
            let tried = if again { bad.requests() } else { 0 };
            assert!(bad.requests() >= 2, "{what} {keys} {lines}");
            assert_eq!(retries(&evenkeel, what), tried as f64, "{what} {keys} {lines}");
            assert_eq!(bad.requests() + good.requests(), 4 + tried, "{what} {keys} {lines}");
        }
    }
}

#[test]
fn a_post_that_may_be_repeated_meets_a_kept_connection_that_has_died() {
    // Whoever is second on a connection is not answered.
    let backend = Backend::raw(|conn, _| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            conn.request();
            conn.reset();
        }
    });
    let setup = Setup::to(&[backend.address()]).one_worker().pool("retry = { attempts = 0, non_idempotent = true }");
    let evenkeel = setup.start();
    for _ in 0..4 {
        assert_eq!(evenkeel.client().with_body("POST", "/", b"order").status, 200);
    }
    assert_eq!(retries(&evenkeel, "reset"), 0.0, "it costs nothing");
}

#[test]
fn a_body_that_is_held_no_longer_is_not_sent_again() {
    let (bad, worse) = (answering("503 Service Unavailable"), answering("503 Service Unavailable"));
    let keys = "on = [503], buffer = \"1KiB\", non_idempotent = true";
    let evenkeel = retrying(&[bad.address(), worse.address()], keys);
    for (method, length, expected) in [("PUT", 1024, 3), ("POST", 1024, 3), ("PUT", 100_000, 1), ("POST", 5_000, 1)] {
        let before = bad.requests() + worse.requests();
        assert_eq!(evenkeel.client().with_body(method, "/", &vec![7; length]).status, 503);
        assert_eq!(bad.requests() + worse.requests() - before, expected, "{method} of {length} bytes");
    }
}

#[test]
fn an_early_answer_is_followed_by_another_attempt_with_the_whole_body() {
    // It answers before it has read the body.
    let bad = Backend::raw(|conn, _| {
        if conn.head().is_some() {
            conn.send("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy");
            conn.wait_closed();
        }
    });
    let good = echo();
    let pool = format!("retry = {{ {QUICK}, on = [503] }}\nkeepalive = {{ max_idle = 0 }}");
    let evenkeel = Setup::to(&[bad.address(), good.address()]).pool(pool).start();
    for _ in 0..4 {
        let mut client = evenkeel.client();
        let before = good.connections();
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
        // Whoever was first: the other one's answer was not taken before the body had come.
        wait_for("the good one has it", || good.connections() > before);
        client.send("world");
        assert_eq!(client.response().text(), "PUT helloworld");
    }
    assert!(retries(&evenkeel, "status") >= 2.0);
}

#[test]
fn the_connection_of_a_short_answer_serves_on_and_that_of_a_long_one_is_closed() {
    let long = vec![b'x'; 1_000_000];
    for (body, kept) in [(&b"short"[..], true), (&long, false)] {
        let body = body.to_vec();
        let bad = Backend::http(move |_| Reply::new("503 Service Unavailable", "", &body));
        let good = echo();
        let pool = format!("retry = {{ {QUICK}, on = [503], budget_floor = 100 }}");
        let evenkeel = Setup::to(&[bad.address(), good.address()]).one_worker().pool(pool).start();
        for _ in 0..12 {
            assert_eq!(evenkeel.get("/").status, 200);
        }
        assert!(bad.requests() >= 6, "{}", bad.requests());
        assert_eq!(bad.connections(), if kept { 1 } else { bad.requests() });
        wait_for("what is not kept is closed", || bad.open() == usize::from(kept));
    }
}

#[test]
fn a_stream_to_a_backend_is_given_up_alone() {
    let bad = H2Backend::start(100, |_, mut respond| async move {
        let answer = http::Response::builder().status(503).body(()).unwrap();
        let mut send = respond.send_response(answer, false).unwrap();
        push(&mut send, vec![b'x'; 50_000], true).await;
    });
    let good = H2Backend::echo();
    let pool = format!("protocol = \"h2\"\nretry = {{ {QUICK}, on = [503], budget_floor = 100 }}");
    let evenkeel = Setup::to(&[bad.address(), good.address()]).one_worker().pool(pool).start();
    for _ in 0..12 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    assert!(bad.requests() >= 6, "{}", bad.requests());
    assert_eq!(bad.connections(), 1, "the connection goes on");
    evenkeel.assert_no_failure();
}

#[test]
fn a_stream_of_a_client_gets_the_better_answer_too() {
    let (bad, good) = (answering("503 Service Unavailable"), echo());
    let evenkeel = retrying(&[bad.address(), good.address()], "on = [503]");
    let mut client = H2::open(evenkeel.address());
    for number in 0..4 {
        let stream = 1 + 2 * number;
        let block = crate::support::h2raw::block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]);
        client.headers(stream, 0x5, block);
        assert_eq!(client.answer(stream).unwrap().status, 200);
    }
    assert_eq!(good.requests(), 4);
    assert_eq!(retries(&evenkeel, "status"), bad.requests() as f64);
    assert!(bad.requests() >= 2);
}

#[test]
fn hints_that_went_out_already_make_the_answer_final() {
    let hinting = || {
        Backend::raw(|conn, _| {
            while conn.request().is_some() {
                conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
                conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            }
        })
    };
    let backends = [hinting(), hinting()];
    let evenkeel = retrying(&backends.each_ref().map(Backend::address), "on = [503]");
    assert_eq!(evenkeel.get("/").status, 503);
    assert_eq!(backends[0].requests() + backends[1].requests(), 1);
}
