//! Backends that come and go over the admin API (PRODUCT.md section 11): like those of the file, until the file has them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Backend, Gate, Process, Response, Setup, bearer, call, json, told, wait_for, with_token};

struct Story {
    evenkeel: Process,
    admin: SocketAddr,
}

/// The file with those backends, and further lines for the pool.
fn file(backends: &[&Backend], more: &str) -> String {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
    with_token(&Setup::to(&addresses).server("drain_timeout = \"20s\"").pool(more).toml())
}

impl Story {
    fn new(backends: &[&Backend], more: &str) -> Self {
        let evenkeel = Process::spawn(&file(backends, more));
        let admin = evenkeel.listener("admin");
        Self { evenkeel, admin }
    }

    fn add(&self, table: &Value) -> Response {
        call(self.admin, "POST /api/v1/pools/web/backends", &bearer(), &table.to_string())
    }

    fn remove(&self, name: &str, body: &str) -> Response {
        call(self.admin, &format!("DELETE /api/v1/pools/web/backends/{name}"), &bearer(), body)
    }

    /// Who answers, in how many of twelve requests.
    fn answers(&self, who: &str) -> usize {
        let mut client = self.evenkeel.client();
        (0..12).filter(|_| client.get("/").text() == who).count()
    }

    fn overrides(&self) -> Vec<String> {
        let status = told(self.admin, "/api/v1/status");
        let text = |over: &Value| format!("{} {}", over["backend"].as_str().unwrap(), over["what"].as_str().unwrap());
        status["overrides"].as_array().unwrap().iter().map(text).collect()
    }
}

#[test]
fn one_that_is_added_serves_like_the_others_until_the_file_has_it() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let story = Story::new(&[&a], "");
    let added = story.add(&json!({ "address": b.address().to_string(), "name": "b", "weight": 3 }));
    assert_eq!((added.status, &json(&added)["name"]), (201, &json!("b")), "{}", added.text());
    assert_eq!((story.answers("a"), story.answers("b")), (3, 9));
    assert_eq!(story.overrides(), ["b added"]);
    let same = call(story.admin, "POST /api/v1/diff", &bearer(), &file(&[&a], ""));
    assert_eq!(json(&same)["changes"], json!([]), "a reload of the same file would leave it: {}", same.text());
    let drain = call(story.admin, "PATCH /api/v1/pools/web/backends/b", &bearer(), "{\"state\": \"drain\"}");
    assert_eq!((drain.status, story.answers("b")), (200, 0), "it drains as any other");
    let ready = call(story.admin, "PATCH /api/v1/pools/web/backends/b", &bearer(), "{\"state\": \"ready\"}");
    assert_eq!((ready.status, story.answers("b")), (200, 9));

    story.evenkeel.reload(&file(&[&a], "max_in_flight = 9"));
    assert_eq!((story.answers("b"), story.overrides().len()), (9, 1), "it holds over a reload");
    story.evenkeel.reload(&file(&[&a, &b], ""));
    assert_eq!((story.answers("b"), story.overrides().len()), (6, 0), "the file has it now");
    let said = "backend \"b\" of pool \"web\" was added over the API: the file has";
    wait_for("it is said", || {
        story.evenkeel.log().iter().any(|line| line.contains(&said.replace('"', "\\\"")) || line.contains(said))
    });
    story.evenkeel.reload(&file(&[&a], ""));
    assert_eq!(story.answers("b"), 0, "and takes it away");
}

#[test]
fn one_that_is_added_is_checked() {
    let (a, dead) = (Backend::ok("a"), Backend::refused());
    let check = "health_check = { type = \"tcp\", interval_down = \"50ms\", unhealthy_threshold = 1 }";
    let story = Story::new(&[&a], check);
    assert_eq!(story.add(&json!({ "address": dead.address().to_string(), "name": "x" })).status, 201);
    let state = || told(story.admin, "/api/v1/pools/web")["backends"][1]["state"].clone();
    wait_for("it is down", || state() == "down");
    assert_eq!(story.answers("a"), 12);
}

#[test]
fn one_that_is_removed_gets_nothing_until_the_file_changes_it() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let story = Story::new(&[&a, &b], "");
    let name = b.address().to_string();
    let (code, out, err) = story.evenkeel.operate(&["backends", "remove", &name]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("removed"), "{out}");
    assert_eq!((story.answers("a"), story.answers("b")), (12, 0));
    assert_eq!(story.overrides(), [format!("{name} removed")]);
    story.evenkeel.reload(&file(&[&a, &b], "max_in_flight = 9"));
    assert_eq!(story.answers("b"), 0, "it holds over a reload");
    let weighted =
        file(&[&a, &b], "").replace(&format!("\"{name}\""), &format!("{{ address = \"{name}\", weight = 3 }}"));
    story.evenkeel.reload(&weighted);
    assert_eq!((story.answers("b"), story.overrides().len()), (9, 0), "the file has changed it");

    assert_eq!(story.remove(&a.address().to_string(), "").status, 200);
    let stale = format!("{}If-Match: \"7\"\r\n", bearer());
    let line = format!("DELETE /api/v1/pools/web/backends/{name}");
    assert_eq!(call(story.admin, &line, &stale, "").status, 412, "somebody else was faster");
    let last = story.remove(&name, "");
    assert_eq!((last.status, story.answers("b")), (409, 12), "{}", last.text());
    assert_eq!(story.remove("none", "").status, 404);
    let (code, _, err) = story.evenkeel.operate(&["backends", "add", &a.address().to_string()]);
    assert_eq!((code, story.overrides().len()), (Some(0), 0), "it is the file's again: {err}");
}

#[test]
fn one_that_comes_back_has_no_orders() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let story = Story::new(&[&a], "");
    let table = json!({ "address": b.address().to_string(), "name": "b" });
    assert_eq!(story.add(&table).status, 201);
    let drain = call(story.admin, "PATCH /api/v1/pools/web/backends/b", &bearer(), "{\"state\": \"drain\"}");
    assert_eq!((drain.status, story.answers("b")), (200, 0));
    assert_eq!(story.remove("b", "").status, 200);
    assert_eq!((story.add(&table).status, story.answers("b")), (201, 6), "it is as if it were new");
}

#[test]
fn what_is_with_a_removed_one_may_finish_or_ends_at_its_deadline() {
    for (body, finishes) in [("", true), ("{\"deadline\": \"0s\"}", false)] {
        let gate = Gate::default();
        let (late, other) = (Backend::behind(&gate, "late"), Backend::ok("other"));
        let story = Story::new(&[&late], "");
        let mut client = story.evenkeel.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        wait_for("the exchange is on its way", || late.requests() == 1);
        assert_eq!(story.add(&json!({ "address": other.address().to_string() })).status, 201);
        let start = Instant::now();
        assert_eq!(story.remove(&late.address().to_string(), body).status, 200);
        assert_eq!(story.answers("other"), 12);
        if finishes {
            assert!(client.silent_for(Duration::from_millis(300)), "it may go on");
            gate.open();
            assert_eq!(client.response().text(), "late");
        } else {
            assert_ne!(client.response().status, 200);
            assert!(start.elapsed() < Duration::from_secs(9), "drain_timeout is 20 s: {:?}", start.elapsed());
        }
    }
}

#[test]
fn what_cannot_be_added_is_told_as_by_the_file() {
    let a = Backend::ok("a");
    let story = Story::new(&[&a], "");
    let address = a.address().to_string();
    for (table, status, word) in [
        (json!({ "address": address }), 409, "is a backend of this pool already"),
        (json!({ "address": "10.0.0.1:80", "name": address }), 409, "another backend is called"),
        (json!({ "address": "10.0.0.1:80", "wieght": 1 }), 400, "did you mean `weight`?"),
        (json!({ "address": "10.0.0.1:80", "weight": 1001 }), 400, "1000"),
        (json!({}), 400, "a backend wants an address"),
    ] {
        let answer = story.add(&table);
        let detail = json(&answer)["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{detail}");
        assert!(detail.contains(word), "{detail}");
    }
    let none = call(story.admin, "POST /api/v1/pools/none/backends", &bearer(), "{\"address\": \"10.0.0.1:80\"}");
    assert_eq!(none.status, 404);
    let stale = format!("{}If-Match: \"7\"\r\n", bearer());
    assert_eq!(
        call(story.admin, "POST /api/v1/pools/web/backends", &stale, "{\"address\": \"10.0.0.1:80\"}").status,
        412
    );
    assert!(story.overrides().is_empty());
    let by_tls = Story::new(&[&a], "tls = { verify = false }");
    let unix = by_tls.add(&json!({ "address": "unix:/run/x.sock" }));
    assert_eq!(unix.status, 409);
    assert!(unix.text().contains("TLS to a unix socket is not supported"), "{}", unix.text());
}
