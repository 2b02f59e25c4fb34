//! `fallback`: what is said, or who is asked, when the pool cannot answer.

use super::{DOWN, site};
use crate::support::{Backend, Evenkeel, Gate, Reply, Site, wait_for};

const SAYS: &str =
    "fallback = { respond = { status = 503, body = \"back soon, {route}\", content_type = \"text/x\" } }";
const SPARE: &str = "fallback = { pool = \"spare\" }";

/// A route `r` to the pool `web`, which is down, with `keys`; and the pool `spare`.
fn down(keys: &str, spare: &Backend) -> Evenkeel {
    let dead = Backend::refused();
    let site = Site::new(super::route(keys)).pool_with("web", &[dead.address()], DOWN);
    site.pool("spare", spare.address()).start()
}

#[test]
fn without_a_fallback_it_is_no_backend() {
    let spare = Backend::ok("spare");
    let evenkeel = down("", &spare);
    let response = evenkeel.get("/");
    response.assert_refused(503, "no_backend");
    assert!(response.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{response:?}");
    assert_eq!(spare.connections(), 0);
}

#[test]
fn a_fallback_says_what_it_is_told() {
    let evenkeel = down(SAYS, &Backend::ok("spare"));
    let mut client = evenkeel.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (503, "back soon, r"));
        assert_eq!(response.head.fields.all("content-type"), ["text/x"]);
        assert_eq!(client.with_body("POST", "/", &[b'x'; 5_000]).text(), "back soon, r");
    }
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[]), 1.0, "the connection stays open");
}

#[test]
fn a_fallback_may_be_another_pool() {
    let spare = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = down(SPARE, &spare);
    let mut client = evenkeel.client();
    assert_eq!(client.get("/").status, 200);
    for body in [&b"hello"[..], &[b'x'; 300_000]] {
        assert!(client.with_body("POST", "/x?y", body).body == body);
        let seen = spare.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/x?y"));
    }
    wait_for("they are the route's", || {
        evenkeel.metric("evenkeel_requests_total", &[("route", "r"), ("code", "200")]) == 3.0
    });
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "spare")]), 3.0);
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "web")]), 0.0);
}

#[test]
fn when_both_are_down_it_is_said() {
    let dead = Backend::refused();
    let site = Site::new(super::route(SPARE)).pool_with("web", &[dead.address()], DOWN);
    let evenkeel = site.pool_with("spare", &[dead.address()], DOWN).start();
    evenkeel.get("/").assert_refused(503, "no_backend");
}

#[test]
fn a_pool_that_is_full_cannot_answer_either() {
    for (keys, wanted) in [(SAYS, (503, "back soon, r")), (SPARE, (200, "spare"))] {
        let (gate, spare) = (Gate::default(), Backend::ok("spare"));
        let backend = Backend::behind(&gate, "ok");
        let site = Site::new(super::route(keys)).pool_with(
            "web",
            &[backend.address()],
            "max_connections = 1\nqueue = \"off\"",
        );
        let evenkeel = site.pool("spare", spare.address()).start();
        let mut busy = evenkeel.client();
        busy.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        wait_for("it is at the backend", || backend.requests() == 1);
        let response = evenkeel.get("/");
        assert_eq!((response.status, response.text().as_str()), wanted, "{keys}");
        gate.open();
        assert_eq!(busy.response().text(), "ok");
        wait_for("the pool answers again", || evenkeel.get("/").text() == "ok");
    }
}

#[test]
fn a_pool_that_has_answered_needs_no_fallback() {
    let backend = Backend::http(|_| Reply::new("503 Service Unavailable", "", "mine"));
    let spare = Backend::ok("spare");
    for keys in [SAYS, SPARE] {
        let site = Site::new(super::route(keys)).pool("web", backend.address());
        assert_eq!(site.pool("spare", spare.address()).start().get("/").text(), "mine");
    }
    assert_eq!(spare.connections(), 0);
}

#[test]
fn an_attempt_that_failed_is_no_reason_for_a_fallback() {
    // "When the pool cannot answer (no backend, breaker, queue)": here there is one, and it was asked.
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    });
    site(&super::route(SAYS), &backend).get("/").assert_refused(502, "reset");
}

#[test]
fn a_pool_that_comes_back_is_asked_again() {
    let backend = Backend::ok("fine");
    backend.kill();
    let check = "health_check = { initial_state = \"down\", interval = \"100ms\", interval_down = \"100ms\" }";
    let evenkeel = Site::new(super::route(SAYS)).pool_with("web", &[backend.address()], check).start();
    assert_eq!(evenkeel.get("/").text(), "back soon, r");
    backend.restart();
    wait_for("it answers", || evenkeel.get("/").text() == "fine");
}
