//! Rehearsed failures: `PUT /api/v1/chaos` (PRODUCT.md section 11), with clients of both versions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Backend, Gate, Process, Reply, Response, Site, bearer, call,
    h2raw::{H2, Unanswered, block, code, flag},
    json as body, scrape, told, wait_for, with_token,
};

const ROUTES: &str = "[[route]]\nname = \"api\"\npath = \"/api/*\"\npool = \"web\"\n\
                      [[route]]\nname = \"rest\"\npool = \"web\"\n\
                      [[route]]\nname = \"word\"\npath = \"/word\"\nrespond = { body = \"ours\" }\n";

/// RFC 9113 section 7.
const INTERNAL_ERROR: u32 = 2;

/// evenkeel with three routes in front of one backend, its token and its access log.
struct Story {
    backend: Backend,
    evenkeel: Process,
    log: PathBuf,
}

impl Story {
    fn new() -> Self {
        Self::before(Backend::ok("fine"))
    }

    fn before(backend: Backend) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("chaos-{}-{}.log", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&log);
        let site = Site::new(ROUTES).pool("web", backend.address()).log(format!("access = {log:?}"));
        Self { backend, evenkeel: Process::spawn(&with_token(&site.toml())), log }
    }

    fn put(&self, fields: &str, rule: &Value) -> Response {
        call(self.evenkeel.listener("admin"), "PUT /api/v1/chaos", fields, &rule.to_string())
    }

    /// What holds once `rule` has been set.
    #[track_caller]
    fn set(&self, rule: &Value) -> Value {
        let answer = self.put(&bearer(), rule);
        assert_eq!(answer.status, 200, "{}", answer.text());
        body(&answer)["chaos"].clone()
    }

    /// As `status` shows it.
    fn shown(&self) -> Value {
        told(self.evenkeel.listener("admin"), "/api/v1/status")["chaos"].clone()
    }

    fn failures(&self) -> f64 {
        self.evenkeel.metric("evenkeel_failures_total", &[("reason", "chaos")])
    }

    /// The last line of the access log, once there are `count`.
    fn line(&self, count: usize) -> Value {
        let text = || fs::read_to_string(&self.log).unwrap_or_default();
        wait_for(&format!("{count} lines are written"), || text().lines().count() >= count);
        serde_json::from_str(text().lines().nth(count - 1).unwrap()).unwrap()
    }

    #[track_caller]
    fn wait_said(&self, words: &[&str]) {
        let said = || self.evenkeel.log().iter().any(|line| words.iter().all(|word| line.contains(word)));
        wait_for(&format!("the log says {words:?}"), said);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.log);
    }
}

/// A stream of a client asks for `path`.
fn stream(h2: &mut H2, number: u32, path: &str) -> Result<Response, Unanswered> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)];
    h2.headers(number, flag::WHOLE, block(&fields));
    h2.answer(number)
}

#[test]
fn an_abort_is_an_answer_of_ours_that_no_backend_hears_of() {
    let story = Story::new();
    let rules = story.set(&json!({"route": "api", "share": "100%", "for": "5m", "abort": 507}));
    assert_eq!((&rules[0]["abort"], &rules[0]["share"], &rules[0]["hits"]), (&json!(507), &json!("100%"), &json!(0)));
    let mut client = story.evenkeel.client();
    let refused = client.get("/api/x");
    assert_eq!((refused.status, refused.word()), (507, Some("chaos")));
    assert_eq!(refused.field("proxy-status"), Some("evenkeel; error=proxy_internal_response; details=\"chaos\""));
    assert_eq!(json!(507), body(&refused)["status"]);
    assert_eq!(client.get("/other").text(), "fine", "the connection goes on, and other routes are untouched");
    let mut h2 = H2::open(story.evenkeel.address());
    let answer = stream(&mut h2, 1, "/api/y").unwrap();
    assert_eq!((answer.status, answer.word()), (507, Some("chaos")));
    assert_eq!(stream(&mut h2, 3, "/other").unwrap().status, 200);
    assert_eq!((story.backend.requests(), story.failures()), (2, 2.0));
    assert_eq!(story.evenkeel.metric("evenkeel_requests_total", &[("route", "api"), ("code", "507")]), 2.0);
    assert_eq!(story.shown()[0]["hits"], json!(2));
    let line = story.line(1);
    assert_eq!((&line["failure"], &line["chaos"], &line["status"]), (&json!("chaos"), &json!("abort"), &json!(507)));
    assert!(line.get("backend").is_none() && story.line(2).get("chaos").is_none(), "{line}");
    story.wait_said(&["chaos begins", "abort 507", "api"]);
    story.set(&json!({}));
    assert_eq!(client.get("/api/x").text(), "fine");
    assert_eq!(story.shown(), Value::Null);
    story.wait_said(&["chaos has ended", "hits=2"]);
}

#[test]
fn a_reset_cuts_the_client_off() {
    let story = Story::new();
    story.set(&json!({"route": "api", "share": "100%", "for": "5m", "reset": true}));
    let mut client = story.evenkeel.client();
    client.send("GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = client.try_response("GET").expect_err("there is no answer");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let mut h2 = H2::open(story.evenkeel.address());
    match stream(&mut h2, 1, "/api/y") {
        Err(Unanswered::Reset(why)) => assert_eq!(why, INTERNAL_ERROR),
        other => panic!("{other:?}"),
    }
    assert_eq!(stream(&mut h2, 3, "/other").unwrap().status, 200, "that stream alone");
    assert_eq!(story.backend.requests(), 1);
    wait_for("both are counted", || story.failures() == 2.0);
    let line = story.line(1);
    assert_eq!((&line["failure"], &line["chaos"]), (&json!("chaos"), &json!("reset")), "{line}");
}

#[test]
fn a_delay_comes_before_the_backend_and_is_not_its() {
    let story = Story::new();
    let mut client = story.evenkeel.client();
    assert_eq!(client.get("/").text(), "fine", "its connection is kept");
    story.set(&json!({"share": "100%", "for": "5m", "delay": "300ms"}));
    let begun = Instant::now();
    assert_eq!(client.get("/api/x").text(), "fine");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    let line = story.line(2);
    let ms = |key: &str| line[key].as_f64().unwrap();
    assert!(ms("duration_ms") >= 300.0 && ms("ttfb_ms") < 290.0, "{line}");
    assert_eq!((&line["chaos"], line.get("failure")), (&json!("delay"), None));
    assert_eq!(client.get("/word").text(), "ours");
    assert_eq!(story.line(3)["chaos"], json!("delay"), "what we answer ourselves waits, too");
    assert_eq!(story.failures(), 0.0);
    assert_eq!(
        scrape(story.evenkeel.listener("admin")).matches("evenkeel_build_info").count(),
        3,
        "metrics do not wait"
    );
}

#[test]
fn who_leaves_while_it_is_held_is_gone_at_once() {
    let story = Story::new();
    story.set(&json!({"share": "100%", "for": "5m", "delay": "1h"}));
    let mut client = story.evenkeel.client();
    client.send("GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut h2 = H2::open(story.evenkeel.address());
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", "/api/x")];
    h2.headers(1, flag::WHOLE, block(&fields));
    let in_flight = |count: f64| story.evenkeel.metric("evenkeel_requests_in_flight", &[]) == count;
    wait_for("both are held", || in_flight(2.0));
    client.reset();
    h2.reset(1, code::CANCEL);
    wait_for("both are gone", || in_flight(0.0));
    assert_eq!((story.backend.requests(), story.line(2)["failure"].clone()), (0, json!("client_gone")));
}

#[test]
fn a_delay_ends_with_the_routes_time() {
    let backend = Backend::ok("fine");
    let site = Site::new("[[route]]\nname = \"api\"\npool = \"web\"\ntimeout = \"200ms\"\n");
    let evenkeel = Process::spawn(&with_token(&site.pool("web", backend.address()).toml()));
    let rule = json!({"route": "api", "share": "100%", "for": "5m", "delay": "1h"}).to_string();
    assert_eq!(call(evenkeel.listener("admin"), "PUT /api/v1/chaos", &bearer(), &rule).status, 200);
    evenkeel.client().get("/").assert_refused(504, "deadline");
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_slow_body_is_slow_and_whole() {
    let text: Vec<u8> = (0..5_000_u32).map(|number| number as u8).collect();
    for framing in ["length", "chunked", "close"] {
        let sent = text.clone();
        let backend = Backend::http(move |_| match framing {
            "length" => Reply::ok(&sent),
            "chunked" => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n";
                Reply::raw([&head[..], &sent, b"\r\n0\r\n\r\n"].concat())
            }
            _ => Reply::raw([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &sent].concat()).close(),
        });
        let story = Story::before(backend);
        story.set(&json!({"route": "api", "share": "100%", "for": "5m", "slow_body": "10KB/s"}));
        let begun = Instant::now();
        let answer = story.evenkeel.client().get("/api/x");
        assert_eq!((answer.body == text, answer.cut), (true, false), "{framing}");
        // Five pieces: the first goes at once.
        assert!(begun.elapsed() >= Duration::from_millis(390), "{framing}: {:?}", begun.elapsed());
        let begun = Instant::now();
        let mut h2 = H2::open(story.evenkeel.address());
        assert_eq!(stream(&mut h2, 1, "/api/y").unwrap().body, text, "{framing}");
        assert!(begun.elapsed() >= Duration::from_millis(390), "{framing}: {:?}", begun.elapsed());
        assert_eq!(story.line(1)["chaos"], json!("slow_body"), "{framing}");
        let begun = Instant::now();
        assert_eq!(story.evenkeel.client().get("/other").body, text, "{framing}");
        assert!(begun.elapsed() < Duration::from_millis(390), "{framing}: another route is as fast as ever");
        assert_eq!(story.failures(), 0.0);
    }
}

#[test]
fn a_slow_body_may_be_none() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/api/none" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        _ => Reply::ok(""),
    });
    let story = Story::before(backend);
    story.set(&json!({"share": "100%", "for": "5m", "slow_body": "10B/s"}));
    let mut client = story.evenkeel.client();
    for _ in 0..3 {
        assert_eq!((client.get("/api/none").status, client.get("/api/empty").status), (204, 200));
        client.send("HEAD /api/empty HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").status, 200);
    }
}

#[test]
fn a_share_is_hit_and_the_rest_is_not() {
    let story = Story::new();
    story.set(&json!({"route": "api", "share": "50%", "for": "5m", "abort": 500}));
    let mut client = story.evenkeel.client();
    let hit = (0..200).filter(|_| client.get("/api/x").status == 500).count();
    // Of 200 throws of a coin; further out is one in ten thousand million.
    assert!((55..=145).contains(&hit), "{hit}");
    assert_eq!(story.shown()[0]["hits"], json!(hit));
}

#[test]
fn it_ends_by_itself() {
    let story = Story::new();
    story.set(&json!({"share": "100%", "for": "1s", "abort": 500}));
    let mut client = story.evenkeel.client();
    assert_eq!(client.get("/api/x").status, 500);
    wait_for("its time is over", || client.get("/api/x").status == 200);
    assert_eq!(story.shown(), Value::Null);
    story.wait_said(&["chaos has ended", "abort 500"]);
}

#[test]
fn a_rule_replaces_the_one_of_its_route_and_survives_a_reload() {
    let story = Story::new();
    story.set(&json!({"route": "api", "share": "100%", "for": "5m", "abort": 500}));
    story.set(&json!({"share": "100%", "for": "5m", "abort": 501}));
    let rules = story.set(&json!({"route": "api", "share": "100%", "for": "5m", "abort": 502}));
    assert_eq!(rules.as_array().map(Vec::len), Some(2), "{rules}");
    let statuses = || ["/api/x", "/other"].map(|path| story.evenkeel.client().get(path).status);
    assert_eq!(statuses(), [502, 501]);
    let site = Site::new(ROUTES.replace("/other", "/else")).pool("web", story.backend.address());
    story.evenkeel.reload(&with_token(&site.log("access = \"off\"\nlevel = \"info\"").toml()));
    assert_eq!(statuses(), [502, 501], "a reload changes nothing");
    story.set(&json!({}));
    assert_eq!(statuses(), [200, 200]);
}

#[test]
fn whoever_asks_needs_the_token_and_says_what_it_is_about() {
    let story = Story::new();
    let rule = json!({"route": "api", "share": "100%", "for": "5m", "abort": 500});
    assert_eq!(story.put("", &rule).status, 401);
    assert_eq!(story.put("Authorization: Bearer wrong\r\n", &rule).status, 401);
    assert_eq!(story.put(&format!("{}If-Match: \"99\"\r\n", bearer()), &rule).status, 412);
    let admin = story.evenkeel.listener("admin");
    assert_eq!(call(admin, "GET /api/v1/chaos", "", "").status, 405);
    for (rule, status) in [
        (json!({"route": "nobody", "share": "1%", "for": "5m", "abort": 500}), 404),
        (json!({"route": "api", "share": "1%", "abort": 500}), 400),
        (json!({"route": "api", "share": "1%", "for": "25h", "abort": 500}), 400),
        (json!({"route": "api", "share": "1%", "for": "5m", "abort": 200}), 400),
        (json!({"route": "api", "share": "1%", "for": "5m", "abort": 500, "reset": true}), 400),
        (json!([]), 400),
    ] {
        assert_eq!(story.put(&bearer(), &rule).status, status, "{rule}");
    }
    assert_eq!((story.evenkeel.client().get("/api/x").status, story.shown()), (200, Value::Null));
    story.set(&rule);
    let (_, out, _) = story.evenkeel.operate(&["status"]);
    assert!(out.contains("failures that are being rehearsed") && out.contains("abort 500"), "{out}");
}

#[test]
fn what_is_hit_leaves_an_upgrade_and_a_body_as_they_should_be() {
    let gate = Gate::default();
    let story = Story::before(Backend::behind(&gate, "late"));
    gate.open();
    story.set(&json!({"route": "api", "share": "100%", "for": "5m", "abort": 503}));
    let mut client = story.evenkeel.client();
    // A body that nobody wants is read, and the connection goes on.
    assert_eq!(client.with_body("POST", "/api/x", &vec![7; 20_000]).status, 503);
    assert_eq!(client.get("/other").text(), "late");
}
