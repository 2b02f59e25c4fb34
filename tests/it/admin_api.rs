//! The admin API of a running process: what it tells, what it changes, and whom it listens to (PRODUCT.md section 11).

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    Backend, Client, Gate, Process, Response, Setup, TOKEN, bearer, call, json, scrape, told, wait_for, with_token,
};

/// Two backends, `a` and one without a name, and an admin API with the tests' token.
fn named(a: &Backend, b: &Backend) -> String {
    let text = with_token(&Setup::to(&[a.address(), b.address()]).toml());
    let address = a.address().to_string();
    text.replace(&format!("\"{address}\""), &format!("{{ address = \"{address}\", name = \"a\" }}"))
}

struct Story {
    a: Backend,
    b: Backend,
    evenkeel: Process,
    admin: SocketAddr,
}

impl Story {
    fn new() -> Self {
        Self::with(|text| text)
    }

    /// With a text that `edit` makes of the usual one.
    fn with(edit: impl Fn(String) -> String) -> Self {
        let (a, b) = (Backend::ok("a"), Backend::ok("b"));
        let evenkeel = Process::spawn(&edit(named(&a, &b)));
        let admin = evenkeel.listener("admin");
        Self { a, b, evenkeel, admin }
    }

    /// Changes the backend `name`.
    fn patch(&self, name: &str, change: &Value) -> Response {
        let line = format!("PATCH /api/v1/pools/web/backends/{name}");
        call(self.admin, &line, &bearer(), &change.to_string())
    }

    /// As [`Story::patch`], which must be accepted.
    #[track_caller]
    fn set(&self, name: &str, change: &Value) {
        let answer = self.patch(name, change);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Who answers `count` requests: how many from `a`, and how many from `b`.
    fn share(&self, count: usize) -> (usize, usize) {
        let mut client = self.evenkeel.client();
        let answers: Vec<_> = (0..count).map(|_| client.get("/").text()).collect();
        let of = |name: &str| answers.iter().filter(|answer| *answer == name).count();
        (of("a"), of("b"))
    }

    /// What `/api/v1/pools` tells of the backend `name`.
    fn backend(&self, name: &str) -> Value {
        let pools = told(self.admin, "/api/v1/pools");
        let backends = pools["pools"][0]["backends"].as_array().unwrap().clone();
        backends.into_iter().find(|backend| backend["name"] == name).unwrap_or_else(|| panic!("no {name}: {pools}"))
    }
}

#[test]
fn pools_have_the_promised_shape() {
    let story = Story::new();
    let (pools, b) = (told(story.admin, "/api/v1/pools"), story.b.address().to_string());
    assert_eq!(pools.as_object().unwrap().keys().collect::<Vec<_>>(), ["pools"]);
    let pool = &pools["pools"][0];
    assert_eq!((&pool["name"], &pool["algorithm"]), (&json!("web"), &json!("round_robin")));
    assert_eq!(story.share(6), (3, 3));
    wait_for("the requests are counted", || story.backend("a")["requests"] == 3);
    let backend = story.backend("a");
    for (key, value) in [
        ("name", json!("a")),
        ("address", json!(story.a.address().to_string())),
        ("state", json!("ready")),
        ("weight", json!(1)),
        ("in_flight", json!(0)),
        ("requests", json!(3)),
        ("errors", json!(0)),
        ("circuit", json!("closed")),
    ] {
        assert_eq!(backend[key], value, "{key}: {backend}");
    }
    assert_eq!(story.backend(&b)["address"], json!(b), "a backend without a name is called by its address");
    let one = told(story.admin, "/api/v1/pools/web");
    assert_eq!((&one["name"], one["backends"].as_array().map(Vec::len)), (&json!("web"), Some(2)));
    assert_eq!(call(story.admin, "GET /api/v1/pools/none", "", "").status, 404);
}

#[test]
fn a_backend_that_is_down_says_why() {
    let (alive, dead) = (Backend::ok("a"), Backend::refused());
    let check = "health_check = { type = \"tcp\", interval_down = \"50ms\", unhealthy_threshold = 1 }";
    let evenkeel = Setup::to(&[alive.address(), dead.address()]).pool(check).spawn();
    let backend =
        |place: usize| told(evenkeel.listener("admin"), "/api/v1/pools")["pools"][0]["backends"][place].clone();
    wait_for("it is down", || backend(1)["state"] == "down");
    assert!(backend(1)["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", backend(1));
    wait_for("the other is ready", || backend(0)["state"] == "ready");
}

#[test]
fn status_tells_of_the_process() {
    let story = Story::new();
    let status = told(story.admin, "/api/v1/status");
    assert_eq!(status["generation"].as_f64(), Some(story.evenkeel.generation()), "{status}");
    let text = status.to_string();
    for word in [env!("CARGO_PKG_VERSION"), "web", &story.evenkeel.address().to_string()] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains(TOKEN), "secrets are never shown");
    let (code, said, problems) = story.evenkeel.operate(&["status"]);
    assert_eq!(code, Some(0), "{problems}");
    assert!(said.contains("web") && said.contains(&story.b.address().to_string()), "{said}");
    let (code, said, _) = story.evenkeel.operate(&["status", "--json"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["generation"]), (Some(0), &status["generation"]));
}

#[test]
fn a_drained_backend_gets_nothing_new_and_finishes_what_it_has() {
    let gate = Gate::default();
    let (a, b) = (Backend::behind(&gate, "a"), Backend::ok("b"));
    let evenkeel = Process::spawn(&named(&a, &b));
    let story = Story { admin: evenkeel.listener("admin"), a, b, evenkeel };
    let mut client = story.evenkeel.client();
    // One of two requests goes to `a`.
    let mut other = story.evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    other.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("both backends have one", || story.a.requests() == 1 && story.b.requests() == 1);
    wait_for("it is in flight", || story.backend("a")["in_flight"] == 1);
    story.set("a", &json!({"state": "drain"}));
    assert_eq!(story.backend("a")["state"], "drain");
    assert_eq!(story.share(10), (0, 10));
    gate.open();
    let mut answers = [client.response().text(), other.response().text()];
    answers.sort();
    assert_eq!(answers, ["a", "b"], "what was begun is finished");
    let labels = [("pool", "web"), ("backend", "a"), ("state", "drain")];
    assert_eq!(story.evenkeel.metric("evenkeel_backend_state", &labels), 1.0);
    story.set("a", &json!({"state": "ready"}));
    assert_eq!((story.share(10), &story.backend("a")["state"]), ((5, 5), &json!("ready")));
}

#[test]
fn maintenance_takes_a_backend_out() {
    let story = Story::new();
    story.set("a", &json!({"state": "maintenance"}));
    assert_eq!((story.share(10), &story.backend("a")["state"]), ((0, 10), &json!("maintenance")));
    let b = story.b.address().to_string();
    story.set(&b, &json!({"state": "maintenance"}));
    story.evenkeel.client().get("/").assert_refused(503, "no_backend");
    story.set("a", &json!({"state": "ready"}));
    assert_eq!(story.share(10), (10, 0));
}

#[test]
fn a_weight_counts_at_once_and_0_means_no_new_ones() {
    let story = Story::new();
    story.set("a", &json!({"weight": 3}));
    assert_eq!((story.share(40), &story.backend("a")["weight"]), ((30, 10), &json!(3)));
    let labels = [("pool", "web"), ("backend", "a")];
    assert_eq!(story.evenkeel.metric("evenkeel_backend_weight", &labels), 3.0);
    story.set("a", &json!({"weight": 0}));
    assert_eq!(story.share(10), (0, 10));
    for wrong in [json!({"weight": 1001}), json!({"weight": -1}), json!({"weight": "3"}), json!({"wieght": 3})] {
        let answer = story.patch("a", &wrong);
        assert!((400..500).contains(&answer.status), "{wrong}: {}", answer.status);
        assert_eq!(story.backend("a")["weight"], 0, "{wrong}");
    }
}

#[test]
fn after_the_deadline_of_a_drain_what_is_left_is_ended() {
    let (a, b) = (Backend::thinking(), Backend::ok("b"));
    let evenkeel = Process::spawn(&named(&a, &b));
    let story = Story { admin: evenkeel.listener("admin"), a, b, evenkeel };
    let mut clients = [story.evenkeel.client(), story.evenkeel.client()];
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("both backends have one", || story.a.requests() == 1 && story.b.requests() == 1);
    let start = std::time::Instant::now();
    story.set("a", &json!({"state": "drain", "deadline": "500ms"}));
    wait_for("it is ended", || story.a.open() == 0);
    let took = start.elapsed().as_millis();
    // At once, spread over 5 s: PRODUCT.md section 12.
    assert!((500..8000).contains(&took), "{took} ms");
    let answered = clients.into_iter().filter_map(|mut client| client.try_response("GET").ok());
    assert!(answered.filter(|answer| answer.status == 200).count() == 1, "the other exchange is fine");
}

#[test]
fn a_backend_that_is_ready_again_has_no_deadline() {
    let gate = Gate::default();
    let (a, b) = (Backend::behind(&gate, "a"), Backend::ok("b"));
    let evenkeel = Process::spawn(&named(&a, &b));
    let story = Story { admin: evenkeel.listener("admin"), a, b, evenkeel };
    story.set(&story.b.address().to_string(), &json!({"state": "maintenance"}));
    let mut client = story.evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("it is on its way", || story.a.requests() == 1);
    story.set("a", &json!({"state": "drain", "deadline": "1ms"}));
    story.set("a", &json!({"state": "ready"}));
    // What is left at a deadline ends within 5 s after it.
    assert!(client.silent_for(std::time::Duration::from_secs(7)));
    gate.open();
    assert_eq!(client.response().text(), "a");
}

#[test]
fn who_was_slower_is_told_412() {
    let story = Story::new();
    let generation = told(story.admin, "/api/v1/status")["generation"].to_string();
    let patch = |generation: &str, weight: usize| {
        let fields = format!("{}If-Match: \"{generation}\"\r\n", bearer());
        let body = json!({"weight": weight}).to_string();
        call(story.admin, "PATCH /api/v1/pools/web/backends/a", &fields, &body).status
    };
    assert_eq!(patch("999999", 5), 412);
    assert_eq!(story.backend("a")["weight"], 1);
    let reload = |generation: &str| {
        let fields = format!("{}If-Match: \"{generation}\"\r\n", bearer());
        call(story.admin, "POST /api/v1/reload", &fields, "").status
    };
    assert_eq!((reload("999999"), reload(&generation)), (412, 200));
    assert_eq!(patch(&generation, 5), 412, "a reload was faster");
    let generation = told(story.admin, "/api/v1/status")["generation"].to_string();
    assert_eq!((patch(&generation, 5), patch(&generation, 6)), (200, 412), "the first of both was faster");
    assert_eq!(story.backend("a")["weight"], 5);
    let refused = story.patch("a", &json!({"weight": 1001}));
    let seen = told(story.admin, "/api/v1/status")["generation"].to_string();
    assert_eq!((refused.status, patch(&seen, 7)), (400, 200));
    let told = told(story.admin, "/api/v1/status")["generation"].as_f64();
    assert_eq!(Some(story.evenkeel.generation()), told);
}

#[test]
fn a_state_is_told_since_when_it_is_so() {
    let story = Story::new();
    let since = |name: &str| {
        let text = story.backend(name)["since"].as_str().unwrap().to_owned();
        humantime::parse_rfc3339(&text).unwrap()
    };
    let other_name = story.b.address().to_string();
    let mut before = since("a");
    for state in ["drain", "maintenance", "ready"] {
        let (now, other) = (std::time::SystemTime::now(), since(&other_name));
        story.set("a", &json!({"state": state}));
        // It is told in whole milliseconds.
        assert!(since("a") >= now - std::time::Duration::from_millis(1) && since("a") >= before, "{state}");
        before = since("a");
        story.set("a", &json!({"state": state}));
        assert_eq!((since("a"), since(&other_name)), (before, other), "{state}: it was so before");
    }
}

#[test]
fn without_the_token_nothing_is_changed() {
    let story = Story::new();
    let patch = |fields: &str| {
        call(story.admin, "PATCH /api/v1/pools/web/backends/a", fields, &json!({"weight": 7}).to_string()).status
    };
    let wrong = format!("Authorization: Bearer {TOKEN}x\r\n");
    let other = "Authorization: Basic YTpi\r\n";
    assert_eq!((patch(""), patch(&wrong), patch(other)), (401, 401, 401));
    assert_eq!(call(story.admin, "POST /api/v1/reload", "", "").status, 401);
    assert_eq!((story.backend("a")["weight"].clone(), story.evenkeel.generation()), (json!(1), 1.0));
    assert_eq!(patch(&bearer()), 200);
    let log = story.evenkeel.log().join("\n");
    assert!(!log.contains(TOKEN), "{log}");
}

#[test]
fn where_no_token_is_configured_changes_are_forbidden() {
    let story = Story::with(|text| text.replace("token = { env = \"EVENKEEL_TEST_TOKEN\" }\n", ""));
    assert_eq!(story.patch("a", &json!({"weight": 7})).status, 403);
    assert_eq!(call(story.admin, "POST /api/v1/reload", &bearer(), "").status, 403);
    assert_eq!(story.backend("a")["weight"], 1, "and looking is not");
}

#[test]
fn another_sites_page_cannot_use_the_browser_of_an_operator() {
    let story = Story::new();
    let get = |fields: &str| call(story.admin, "GET /api/v1/pools", fields, "").status;
    let own = story.admin.to_string();
    for host in ["localhost", "127.0.0.1", &own, "[::1]:9900"] {
        assert_eq!(get(&format!("Host: {host}\r\n")), 200, "{host}");
    }
    // A name that somebody else's DNS has turned to this address.
    for host in ["rebound.example.com", "localhost.example.com", "rebound.example.com:9900"] {
        assert_eq!(get(&format!("Host: {host}\r\n")), 403, "{host}");
        assert_eq!(call(story.admin, "GET /metrics", &format!("Host: {host}\r\n"), "").status, 403, "{host}");
    }
    assert_eq!(get(&format!("Host: {own}\r\nOrigin: http://{own}\r\n")), 200);
    for origin in ["http://example.com", "null", "http://localhost.example.com"] {
        let fields = format!("Host: {own}\r\nOrigin: {origin}\r\n");
        assert_eq!(get(&fields), 403, "{origin}");
        let change = call(
            story.admin,
            "PATCH /api/v1/pools/web/backends/a",
            &format!("{fields}{}", bearer()),
            &json!({"weight": 7}).to_string(),
        );
        assert_eq!(change.status, 403, "{origin}, even with the token");
    }
    assert_eq!(story.backend("a")["weight"], 1);
}

#[test]
fn the_instances_name_is_a_host_too() {
    let story = Story::with(|text| text.replace("workers = 2", "workers = 2\nname = \"lb-1.example.net\""));
    assert_eq!(call(story.admin, "GET /api/v1/pools", "Host: lb-1.example.net\r\n", "").status, 200);
    assert_eq!(call(story.admin, "GET /api/v1/pools", "Host: lb-2.example.net\r\n", "").status, 403);
}

#[test]
fn metrics_address_is_for_scrapers_alone() {
    let story = Story::with(|text| text.replace("[admin]", "[admin]\nmetrics_address = \"127.0.0.1:0\""));
    wait_for("it listens", || story.evenkeel.said("metrics").is_some());
    let metrics = story.evenkeel.listener("metrics");
    let get = |path: &str, fields: &str| call(metrics, &format!("GET {path}"), fields, "").status;
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!((get(path, ""), get(path, "Host: lb.example.com\r\n")), (200, 200), "{path}");
    }
    for path in ["/api/v1/status", "/api/v1/pools", "/api/v1/pools/web", "/"] {
        assert_eq!(get(path, &bearer()), 404, "{path}");
    }
    let change = call(metrics, "PATCH /api/v1/pools/web/backends/a", &bearer(), &json!({"weight": 7}).to_string());
    assert!((400..500).contains(&change.status), "{}", change.status);
    assert!((400..500).contains(&call(metrics, "POST /api/v1/reload", &bearer(), "").status));
    assert_eq!((&story.backend("a")["weight"], story.evenkeel.generation()), (&json!(1), 1.0));
    assert!(scrape(metrics).contains("evenkeel_build_info"));
}

#[test]
fn it_can_be_turned_off() {
    let backend = Backend::ok("fine");
    let text = Setup::to(&[backend.address()]).toml();
    let off = text.replace("[admin]\naddress = \"127.0.0.1:0\"", "[admin]\naddress = \"off\"");
    let mut evenkeel = Process::launch(&[], &off);
    wait_for("it listens", || evenkeel.said("web").is_some());
    assert_eq!(evenkeel.client().get("/").text(), "fine");
    assert_eq!(evenkeel.said("admin"), None);
    evenkeel.signal("TERM");
    assert_eq!(evenkeel.wait().code(), Some(0));
}

#[test]
fn what_the_api_changed_holds_until_the_file_changes_that_backend() {
    let story = Story::new();
    let text = named(&story.a, &story.b);
    story.set("a", &json!({"state": "drain", "weight": 4}));
    let differs = |name: &str| {
        let status = told(story.admin, "/api/v1/status");
        let overrides = status["overrides"].as_array().cloned().unwrap_or_default();
        overrides.iter().any(|one| one["backend"] == name)
    };
    assert!(differs("a"), "status shows where the file and the process differ");
    // The pool changes, and the other backend, and this one does not.
    let b = story.b.address().to_string();
    let other = text.replace(&format!("\"{b}\""), &format!("{{ address = \"{b}\", weight = 2 }}"));
    for text in [&text, &other, &format!("{text}response_timeout = \"7s\"\n")] {
        story.evenkeel.reload(text);
        let backend = story.backend("a");
        assert_eq!((&backend["state"], &backend["weight"]), (&json!("drain"), &json!(4)), "{backend}");
        assert_eq!(story.share(6), (0, 6));
    }
    assert!(differs("a"));
    story.evenkeel.reload(&text.replace("name = \"a\"", "name = \"a\", weight = 2"));
    let backend = story.backend("a");
    assert_eq!((&backend["state"], &backend["weight"]), (&json!("ready"), &json!(2)), "the file has the last word");
    assert!(!differs("a"));
}

#[test]
fn the_command_drains_and_enables_a_backend() {
    let story = Story::new();
    let run = |words: &[&str]| {
        let (code, said, problems) = story.evenkeel.operate(&[&["backends"], words].concat());
        assert_eq!(code, Some(0), "{words:?}: {problems}");
        said
    };
    assert!(run(&["list"]).contains(&story.b.address().to_string()));
    run(&["drain", "a"]);
    assert_eq!(story.share(10), (0, 10));
    run(&["enable", "a"]);
    assert_eq!(story.share(10), (5, 5));
    run(&["weight", "a", "3"]);
    assert_eq!(story.share(40), (30, 10));
    run(&["disable", "a"]);
    assert_eq!(story.backend("a")["state"], "maintenance");
    let (code, _, problems) = story.evenkeel.operate(&["backends", "drain", "nobody"]);
    assert_eq!(code, Some(1), "{problems}");
    let last = |word: &str| story.evenkeel.operate(&["backends", word, &story.b.address().to_string()]);
    for (word, warned) in [("drain", true), ("enable", false), ("disable", true)] {
        let (code, _, told) = last(word);
        assert_eq!((code, told.contains("no backend of web can serve now")), (Some(0), warned), "{word}: {told}");
    }
}

#[test]
fn over_a_unix_socket_neither_token_nor_host_is_asked_for() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let backend = Backend::ok("fine");
    let path = std::env::temp_dir().join(format!("evenkeel-admin-{}.sock", std::process::id()));
    let text = Setup::to(&[backend.address()]).toml();
    let unix = format!("[admin]\naddress = \"unix:{}\"", path.display());
    let evenkeel = Process::launch(&[], &text.replace("[admin]\naddress = \"127.0.0.1:0\"", &unix));
    wait_for("it listens", || evenkeel.said("web").is_some());
    let ask = |line: &str, body: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: anything.example\r\nConnection: close\r\n");
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let pools = ask("GET /api/v1/pools", "");
    assert!(pools.starts_with("HTTP/1.1 200"), "{pools}");
    let line = format!("PATCH /api/v1/pools/web/backends/{}", backend.address());
    let changed = ask(&line, "{\"state\": \"maintenance\"}");
    assert!(changed.starts_with("HTTP/1.1 200"), "{changed}");
    evenkeel.client().get("/").assert_refused(503, "no_backend");
    let _ = std::fs::remove_file(path);
}

#[test]
fn what_is_not_there_is_404_and_what_cannot_be_read_is_400() {
    let story = Story::new();
    let status = |line: &str, body: &str| call(story.admin, line, &bearer(), body).status;
    assert_eq!(status("GET /api/v1/nothing", ""), 404);
    assert_eq!(status("PATCH /api/v1/pools/web/backends/nobody", "{\"weight\": 1}"), 404);
    assert_eq!(status("PATCH /api/v1/pools/nobody/backends/a", "{\"weight\": 1}"), 404);
    for body in ["", "{", "[]", "{\"state\": \"gone\"}", "{\"deadline\": \"soon\", \"state\": \"drain\"}"] {
        let status = status("PATCH /api/v1/pools/web/backends/a", body);
        assert!((400..500).contains(&status), "{body:?}: {status}");
    }
    let mut client = Client::h1(story.admin);
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((client.response().status, client.response().status), (200, 200), "a connection carries several");
    let answer = call(story.admin, "PATCH /api/v1/pools/web/backends/nobody", &bearer(), "{\"weight\": 1}");
    assert_eq!(json(&answer)["status"], 404, "{}", answer.text());
}
