//! Backends that are drained: by an operator, with and without a deadline, by the API and by command; what is there goes
//! on, and at the deadline all of it ends (PRODUCT.md sections 11 and 12). Backends that the file drops are the story of
//! `reload`, the end of the process that of `drain`.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Backend, Client, Gate, Process, Reply, Response, Setup, bearer, call, tls, told, wait_for, with_token,
};

/// After its deadline, all that is left of a drain ends within this time; and what a slow machine adds.
const SPREAD: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(3);

/// Two backends, `a` and `b`, whose clients stick to them, and an operator.
struct Story {
    a: Backend,
    b: Backend,
    evenkeel: Process,
    admin: SocketAddr,
}

impl Story {
    fn new() -> Self {
        Self::of(Backend::ok("a"), Backend::ok("b"))
    }

    fn of(a: Backend, b: Backend) -> Self {
        let evenkeel = Process::spawn(&file(&[("a", a.address()), ("b", b.address())], ""));
        let admin = evenkeel.listener("admin");
        Self { a, b, evenkeel, admin }
    }

    /// The file, with further keys of the pool.
    fn file(&self, pool: &str) -> String {
        file(&[("a", self.a.address()), ("b", self.b.address())], pool)
    }

    #[track_caller]
    fn set(&self, name: &str, change: &Value) -> Value {
        let line = format!("PATCH /api/v1/pools/web/backends/{name}");
        let answer = call(self.admin, &line, &bearer(), &change.to_string());
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// What the API tells of a backend.
    fn backend(&self, name: &str) -> Value {
        let pools = told(self.admin, "/api/v1/pools");
        let backends = pools["pools"][0]["backends"].as_array().unwrap().clone();
        backends.into_iter().find(|backend| backend["name"] == name).unwrap_or_else(|| panic!("no {name}: {pools}"))
    }

    /// What the API tells of changes that differ from the file: backend and words.
    fn overrides(&self) -> Vec<(String, String)> {
        let status = told(self.admin, "/api/v1/status");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |one: &Value| (text(&one["backend"]), text(&one["what"]));
        status["overrides"].as_array().unwrap().iter().map(one).collect()
    }

    fn is_in_state(&self, name: &str, state: &str) -> bool {
        self.evenkeel.metric("evenkeel_backend_state", &[("backend", name), ("state", state)]) == 1.0
    }

    /// A cookie that belongs to `name`.
    fn cookie(&self, name: &str) -> String {
        let mut cookie = None;
        wait_for("somebody comes to it", || {
            let answer = self.evenkeel.client().get("/");
            let given = answer.field("set-cookie").and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
            cookie = given.filter(|_| answer.text() == name);
            cookie.is_some()
        });
        cookie.expect("wait_for saw it")
    }

    /// A client that is known by `cookie`, and waits for `/held`.
    fn ask(&self, cookie: &str) -> Client {
        let mut client = self.evenkeel.client();
        client.send(format!("GET /held HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"));
        client
    }

    /// As [`Story::ask`], and `a` has the request.
    fn held_at_a(&self, cookie: &str) -> Client {
        let before = self.a.requests();
        let client = self.ask(cookie);
        wait_for("it is with the backend", || self.a.requests() > before);
        client.wire.stream.set_read_timeout(Some(SPREAD + SLACK)).unwrap();
        client
    }

    /// The answer to a client that is known by `cookie`.
    fn show(&self, cookie: &str) -> Response {
        self.evenkeel.client().exchange(format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"))
    }

    /// A WebSocket's tunnel to whoever is next.
    fn tunnel(&self) -> Client {
        let mut client = self.evenkeel.client();
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        assert_eq!(client.head().status().unwrap(), 101);
        client
    }
}

fn file(backends: &[(&str, SocketAddr)], pool: &str) -> String {
    let addresses: Vec<_> = backends.iter().map(|(_, address)| *address).collect();
    let mut text =
        Setup::to(&addresses).server("drain_timeout = \"1h\"").pool("sticky = { type = \"cookie\" }").pool(pool).toml();
    for (name, address) in backends {
        let named = format!("{{ address = \"{address}\", name = \"{name}\" }}");
        text = text.replacen(&format!("\"{address}\""), &named, 1);
    }
    with_token(&text)
}

/// Answers `name`, to `/held` once `gate` is open.
fn held(gate: &Gate, name: &'static str) -> Backend {
    let gate = gate.clone();
    Backend::http(move |request| {
        if request.target == "/held" {
            gate.pass();
        }
        Reply::ok(name)
    })
}

/// Switches, and echoes what comes.
fn switching() -> Backend {
    Backend::raw(|conn, _| {
        conn.request();
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        conn.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        ));
        conn.wait_closed();
    })
}

#[test]
fn clients_that_stick_stay_until_the_deadline_and_no_longer() {
    let story = Story::new();
    let cookie = story.cookie("a");
    let start = Instant::now();
    let view = story.set("a", &json!({"state": "drain", "deadline": "1500ms"}));
    assert_eq!((&view["state"], &view["reason"]), (&json!("drain"), &json!("admin")));
    let until = view["deadline"].as_str().expect("its deadline is told").to_owned();
    let noted = story.overrides();
    assert_eq!(noted, [("a".to_owned(), format!("drain until {until}"))]);
    wait_for("the metric says so", || story.is_in_state("a", "drain"));
    assert_eq!(story.show(&cookie).text(), "a", "it is that client's still");
    assert!(start.elapsed() < Duration::from_millis(1500), "the machine is too slow for this test");
    for _ in 0..10 {
        assert_eq!(story.evenkeel.client().get("/").text(), "b", "nobody new comes to it");
    }
    wait_for("its clients go elsewhere", || story.show(&cookie).text() == "b");
    assert!(start.elapsed() >= Duration::from_millis(1450), "{:?}", start.elapsed());
    // For good: a table that is made anew does not hold it again.
    story.set("b", &json!({"weight": 5}));
    assert_eq!(story.show(&cookie).text(), "b");
    assert_eq!(story.backend("a")["deadline"], json!(until), "it can be looked up still");
    assert_eq!(story.evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn what_begins_before_the_deadline_ends_with_it() {
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    let start = Instant::now();
    story.set("a", &json!({"state": "drain", "deadline": "1s"}));
    // It begins after the order, and is not over at the deadline.
    let mut client = story.held_at_a(&cookie);
    client.response().assert_refused(503, "draining");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(950) && took < Duration::from_secs(1) + SPREAD + SLACK, "{took:?}");
    wait_for("the backend is left", || story.evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0);
    gate.open();
}

#[test]
fn tunnels_end_spread_over_the_time_after_the_deadline() {
    const TUNNELS: usize = 12;
    let story = Story::of(switching(), switching());
    story.set("b", &json!({"state": "maintenance"}));
    let mut tunnels: Vec<_> = (0..TUNNELS).map(|_| story.tunnel()).collect();
    story.set("a", &json!({"state": "drain", "deadline": "500ms"}));
    let start = Instant::now();
    let ends = std::thread::scope(|scope| {
        let end = |tunnel: &mut Client| {
            tunnel.assert_closed();
            start.elapsed()
        };
        let ends: Vec<_> = tunnels.iter_mut().map(|tunnel| scope.spawn(move || end(tunnel))).collect();
        ends.into_iter().map(|end| end.join().unwrap()).collect::<Vec<_>>()
    });
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    println!("from {first:?} to {last:?}");
    assert!(*first >= Duration::from_millis(450), "{ends:?}");
    assert!(*last < Duration::from_millis(500) + SPREAD + SLACK, "{ends:?}");
    // That 12 of 5 s come within one is less likely than 1 to 2 million.
    assert!(*last - *first > Duration::from_secs(1), "they do not come back all at once: {ends:?}");
    wait_for("nothing is left", || story.a.open() == 0);
}

#[test]
fn a_deadline_holds_over_a_reload_unless_the_file_changes_the_backend() {
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    story.set("a", &json!({"state": "drain", "deadline": "1h"}));
    let until = story.backend("a")["deadline"].clone();
    story.evenkeel.reload(&story.file("response_timeout = \"20s\""));
    assert_eq!((&story.backend("a")["state"], &story.backend("a")["deadline"]), (&json!("drain"), &until));
    assert_eq!(story.overrides().len(), 1);

    story.set("a", &json!({"state": "drain", "deadline": "1s"}));
    let mut client = story.held_at_a(&cookie);
    story.evenkeel.reload(&story.file("response_timeout = \"21s\""));
    client.response().assert_refused(503, "draining");

    // The file has another word about that backend: it holds.
    let weighed = story.file("").replace("name = \"a\" }", "name = \"a\", weight = 2 }");
    story.evenkeel.reload(&weighed);
    let view = story.backend("a");
    assert_eq!((&view["state"], &view["weight"], &view["deadline"]), (&json!("ready"), &json!(2), &Value::Null));
    assert!(story.overrides().is_empty());
    gate.open();
}

#[test]
fn a_second_order_replaces_the_first() {
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    let mut client = story.held_at_a(&cookie);
    // Each is undone before it comes: by a later one, by none, by `ready`.
    for undo in [
        json!({"state": "drain", "deadline": "1h"}),
        json!({"state": "drain"}),
        json!({"state": "drain", "deadline": "off"}),
        json!({"state": "ready"}),
    ] {
        story.set("a", &json!({"state": "drain", "deadline": "400ms"}));
        story.set("a", &undo);
        let has_deadline = undo["deadline"] == "1h";
        assert_eq!(story.backend("a")["deadline"].is_string(), has_deadline, "{undo}");
        assert!(client.silent_for(Duration::from_millis(600)), "{undo}");
    }
    gate.open();
    assert_eq!(client.response().text(), "a");
}

#[test]
fn ready_after_a_deadline_ends_nothing_that_comes_then() {
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    story.set("a", &json!({"state": "drain", "deadline": "0s"}));
    wait_for("its clients go elsewhere", || story.show(&cookie).text() == "b");
    story.set("a", &json!({"state": "ready"}));
    let cookie = story.cookie("a");
    let mut client = story.held_at_a(&cookie);
    assert!(client.silent_for(Duration::from_millis(2500)), "workers look every second for what should not be there");
    gate.open();
    assert_eq!(client.response().text(), "a");
}

#[test]
fn maintenance_keeps_the_deadline_of_a_drain() {
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    let mut client = story.held_at_a(&cookie);
    story.set("a", &json!({"state": "drain", "deadline": "500ms"}));
    story.set("a", &json!({"state": "maintenance"}));
    assert_eq!(story.show(&cookie).text(), "b", "it takes nothing");
    client.response().assert_refused(503, "draining");
    gate.open();
}

#[test]
fn a_drained_backend_that_the_file_drops_ends_at_its_deadline() {
    // drain_timeout is an hour: what ends is ended by the drain.
    let gate = Gate::default();
    let story = Story::of(held(&gate, "a"), Backend::ok("b"));
    let cookie = story.cookie("a");
    let mut client = story.held_at_a(&cookie);
    story.set("a", &json!({"state": "drain", "deadline": "1s"}));
    story.evenkeel.reload(&file(&[("b", story.b.address())], ""));
    client.response().assert_refused(503, "draining");
    assert!(story.overrides().is_empty());
    // It comes back as the file has it.
    story.evenkeel.reload(&story.file(""));
    let view = story.backend("a");
    assert_eq!((&view["state"], &view["deadline"]), (&json!("ready"), &Value::Null));
    gate.open();
    wait_for("it is used again", || story.evenkeel.client().get("/").text() == "a");
}

#[test]
fn a_backend_that_is_down_can_be_drained_and_is_down_again_after_it() {
    let story = Story::new();
    let checks = "health_check = { type = \"tcp\", interval = \"100ms\", interval_down = \"100ms\", \
                  healthy_threshold = 1, unhealthy_threshold = 1 }";
    story.evenkeel.reload(&story.file(checks));
    let cookie = story.cookie("a");
    story.a.kill();
    wait_for("it is down", || story.is_in_state("a", "down"));
    story.set("a", &json!({"state": "drain", "deadline": "1h"}));
    assert_eq!(story.backend("a")["state"], "drain");
    wait_for("the metric says so", || story.is_in_state("a", "drain") && !story.is_in_state("a", "down"));
    assert_eq!(story.show(&cookie).text(), "b", "nobody is sent to where nobody is");
    story.set("a", &json!({"state": "ready"}));
    assert_eq!(story.backend("a")["state"], "down");
    story.a.restart();
    wait_for("it is up", || story.is_in_state("a", "ready"));
    wait_for("it is used again", || story.evenkeel.client().get("/").text() == "a");
}

#[test]
fn what_was_still_connecting_at_the_deadline_ends_soon_after_it() {
    let authority = tls::Authority::new();
    let config = authority.server(&authority.issue(tls::asked(&[]).local()), false);
    let (gate, slow) = (Gate::default(), Arc::<AtomicBool>::default());
    let (go, slowly) = (gate.clone(), Arc::clone(&slow));
    // One exchange a connection; a handshake that is slow is done when the gate is open, and no answer comes then.
    let a = Backend::raw(move |conn, _| {
        let slow = slowly.load(SeqCst);
        if slow {
            go.pass();
        }
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &config) else { return };
        let _ = wire.head();
        if !slow {
            let _ = wire.stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na");
        } else {
            conn.wait_closed();
        }
    });
    let evenkeel = Process::spawn(&file(&[("a", a.address())], "tls = { verify = false }\nconnect_timeout = \"9s\""));
    let story = Story { admin: evenkeel.listener("admin"), a, b: Backend::ok("b"), evenkeel };
    let cookie = story.cookie("a");
    slow.store(true, SeqCst);
    let before = story.a.connections();
    let mut client = story.ask(&cookie);
    wait_for("it is connecting", || story.a.connections() > before);
    story.set("a", &json!({"state": "drain", "deadline": "0s"}));
    // Every worker has heard of it: nothing that was there then is left to be ended.
    assert!(client.silent_for(SPREAD + Duration::from_secs(1)));
    gate.open();
    client.response().assert_refused(503, "draining");
}

#[test]
fn commands_do_all_of_it() {
    let story = Story::new();
    let run = |words: &[&str]| {
        let (code, out, err) = story.evenkeel.operate(&[&["backends"], words].concat());
        assert_eq!(code, Some(0), "{words:?}: {err}");
        out
    };
    let drained = run(&["drain", "a", "--deadline", "1h"]);
    let until = story.backend("a")["deadline"].as_str().unwrap().to_owned();
    assert_eq!(drained, format!("web: a: drain until {until}, weight 1, 0 in flight\n"));
    let listed = run(&["list"]);
    let line = listed.lines().find(|line| line.contains(" a ")).unwrap();
    assert!(line.contains("drain") && line.ends_with(&format!("admin, until {until}")), "{listed}");
    let (_, status, _) = story.evenkeel.operate(&["status"]);
    assert!(status.contains(&format!("drain until {until}")), "{status}");
    assert_eq!(run(&["disable", "a"]).split(", ").next(), Some(&*format!("web: a: maintenance until {until}")));
    assert_eq!(run(&["enable", "a"]), "web: a: ready, weight 1, 0 in flight\n");
    assert_eq!(run(&["weight", "a", "0"]), "web: a: ready, weight 0, 0 in flight\n");
    let (_, status, _) = story.evenkeel.operate(&["status"]);
    assert!(status.contains("weight 0, 1 in the file"), "{status}");
    run(&["weight", "a", "1"]);
    assert!(story.overrides().is_empty(), "the file says the same again");
    for wrong in [&["drain", "a", "--deadline", "soon"][..], &["weight", "a", "1001"], &["drain"]] {
        assert_eq!(story.evenkeel.operate(&[&["backends"], wrong].concat()).0, Some(2), "{wrong:?}");
    }
    assert_eq!(story.evenkeel.operate(&["backends", "drain", "nobody"]).0, Some(1));
}
