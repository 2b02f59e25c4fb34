//! Active checks: a backend that cannot serve is taken out, said to be out, and comes back by itself (PRODUCT.md section 3,
//! `health_check` and `when_all_down`; section 6.2).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Backend, Client, Evenkeel, Gate, Reply, Request, Setup, wait_for};

/// Checks that follow each other quickly, so that no test waits long.
const QUICK: &str = "interval = \"20ms\", interval_down = \"20ms\", timeout = \"2s\"";

/// A pool's `health_check` of these keys, quick.
fn check(keys: &str) -> String {
    format!("health_check = {{ {keys}, {QUICK} }}")
}

/// What `/api/v1/pools` says of the backend at `address`.
fn told(evenkeel: &Evenkeel, address: SocketAddr) -> Value {
    let request = "GET /api/v1/pools HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = Client::h1(evenkeel.admin()).exchange(request);
    let pools: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"));
    let backends = pools["pools"][0]["backends"].as_array().unwrap_or_else(|| panic!("no backends in {pools}"));
    let found = backends.iter().find(|backend| backend["address"] == address.to_string());
    found.unwrap_or_else(|| panic!("no {address} in {pools}")).clone()
}

fn of_backend(evenkeel: &Evenkeel, name: &str, address: SocketAddr) -> f64 {
    let series = evenkeel.series(name, &[("pool", "web"), ("backend", &address.to_string())]);
    series.unwrap_or_else(|| panic!("no {name} of {address}"))
}

fn up(evenkeel: &Evenkeel, address: SocketAddr) -> bool {
    of_backend(evenkeel, "evenkeel_backend_up", address) == 1.0
}

fn checks(evenkeel: &Evenkeel, address: SocketAddr, result: &str) -> f64 {
    let labels = [("pool", "web"), ("backend", &address.to_string()), ("result", result)];
    evenkeel.metric("evenkeel_health_checks_total", &labels)
}

/// The one state that the metric says.
fn state(evenkeel: &Evenkeel, address: SocketAddr) -> &'static str {
    let address = address.to_string();
    let text = crate::support::scrape(evenkeel.admin());
    let is = |state: &&str| {
        let labels = [("pool", "web"), ("backend", address.as_str()), ("state", *state)];
        crate::support::sum_of(&text, "evenkeel_backend_state", &labels) == Some(1.0)
    };
    let all = ["ready", "degraded", "drain", "maintenance", "down", "ejected", "starting"];
    let said: Vec<_> = all.into_iter().filter(is).collect();
    assert_eq!(said.len(), 1, "one state at a time: {said:?}\n{text}");
    said[0]
}

#[track_caller]
fn wait_up(evenkeel: &Evenkeel, backend: &Backend, wanted: bool) {
    let what = format!("{} is {}", backend.address(), if wanted { "up" } else { "down" });
    wait_for(&what, || up(evenkeel, backend.address()) == wanted);
}

/// Answers `/health` with 200 while `well`, and with 503 else; everything else with `text`.
fn checked(well: &Arc<AtomicBool>, text: &'static str) -> Backend {
    let well = Arc::clone(well);
    Backend::http(move |request| match request.target.as_str() {
        "/health" if !well.load(SeqCst) => Reply::new("503 Service Unavailable", "", "ill"),
        "/health" => Reply::ok("well"),
        _ => Reply::ok(text),
    })
}

/// How many requests came that were no checks.
fn served(backend: &Backend) -> usize {
    backend.seen().iter().filter(|request| request.target != "/health").count()
}

#[test]
fn a_dead_backend_is_taken_out_and_comes_back() {
    let (dies, lives) = (Backend::ok("dies"), Backend::ok("lives"));
    let evenkeel =
        Setup::to(&[dies.address(), lives.address()]).pool(check("type = \"tcp\", unhealthy_threshold = 3")).start();
    wait_for("both were checked", || checks(&evenkeel, dies.address(), "pass") >= 2.0);
    assert_eq!(state(&evenkeel, dies.address()), "ready");
    assert_eq!(told(&evenkeel, dies.address())["state"], "ready");

    dies.kill();
    wait_up(&evenkeel, &dies, false);
    assert_eq!(state(&evenkeel, dies.address()), "down");
    let said = told(&evenkeel, dies.address());
    assert_eq!(said["state"], "down", "{said}");
    assert!(said["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "it says why: {said}");
    assert!(checks(&evenkeel, dies.address(), "fail") >= 3.0);
    assert_eq!(checks(&evenkeel, lives.address(), "fail"), 0.0);
    for _ in 0..20 {
        assert_eq!(evenkeel.get("/").text(), "lives");
    }

    dies.restart();
    wait_up(&evenkeel, &dies, true);
    assert_eq!(state(&evenkeel, dies.address()), "ready");
    assert_eq!(told(&evenkeel, dies.address())["state"], "ready");
    let texts: Vec<_> = (0..20).map(|_| evenkeel.get("/").text()).collect();
    assert!(texts.iter().any(|text| text == "dies"), "it gets traffic again: {texts:?}");
    assert!(of_backend(&evenkeel, "evenkeel_health_check_duration_seconds", lives.address()) > 0.0);
    evenkeel.assert_no_failure();
}

#[test]
fn a_backend_that_answers_wrongly_is_taken_out_by_an_http_check() {
    let (well, always) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (sick, fine) = (checked(&well, "sick"), checked(&always, "fine"));
    let pool = check("type = \"http\", path = \"/health\"");
    let evenkeel = Setup::to(&[sick.address(), fine.address()]).pool(pool).start();
    wait_for("it was checked", || checks(&evenkeel, sick.address(), "pass") >= 2.0);
    well.store(false, SeqCst);
    wait_up(&evenkeel, &sick, false);
    let said = told(&evenkeel, sick.address());
    assert!(said["reason"].to_string().contains("503"), "the status is named: {said}");
    for _ in 0..10 {
        assert_eq!(evenkeel.get("/").text(), "fine");
    }
    assert_eq!(served(&sick), 0);
    well.store(true, SeqCst);
    wait_up(&evenkeel, &sick, true);
    wait_for("it gets traffic again", || evenkeel.get("/").text() == "sick");
}

/// A backend whose checks pass or fail by their number.
fn by_number(passes: impl Fn(usize) -> bool + Send + Sync + 'static) -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let number = Arc::clone(&count);
    let backend = Backend::http(move |_| {
        let well = passes(number.fetch_add(1, SeqCst));
        if well { Reply::ok("well") } else { Reply::new("500 Internal Server Error", "", "ill") }
    });
    (backend, count)
}

#[test]
fn failures_count_only_in_a_row() {
    // Two failures and a pass, again and again. Once down it would stay so.
    let (backend, count) = by_number(|number| number % 3 == 2);
    let pool = check("type = \"http\", unhealthy_threshold = 3, healthy_threshold = 1000");
    let evenkeel = Setup::to(&[backend.address()]).pool(pool).start();
    wait_for("thirty checks were made", || count.load(SeqCst) >= 30);
    assert!(up(&evenkeel, backend.address()));
}

#[test]
fn passes_count_only_in_a_row() {
    let steady = Arc::new(AtomicBool::new(false));
    let is_steady = Arc::clone(&steady);
    let (backend, count) = by_number(move |number| number % 2 == 0 || is_steady.load(SeqCst));
    let pool = check("type = \"http\", unhealthy_threshold = 1000, healthy_threshold = 2, initial_state = \"down\"");
    let evenkeel = Setup::to(&[backend.address()]).pool(pool).start();
    wait_for("thirty checks were made", || count.load(SeqCst) >= 30);
    assert!(!up(&evenkeel, backend.address()));
    steady.store(true, SeqCst);
    wait_up(&evenkeel, &backend, true);
}

#[test]
fn a_backend_is_down_after_exactly_as_many_failures_as_were_asked_for() {
    let gate = Gate::default();
    let third = gate.clone();
    let (backend, count) = by_number(move |number| {
        if number == 2 {
            third.pass();
        }
        false
    });
    let evenkeel = Setup::to(&[backend.address()]).pool(check("type = \"http\", unhealthy_threshold = 3")).start();
    wait_for("two have failed, and the third is on its way", || count.load(SeqCst) == 3);
    assert!(up(&evenkeel, backend.address()));
    assert_eq!(checks(&evenkeel, backend.address(), "fail"), 2.0);
    gate.open();
    wait_up(&evenkeel, &backend, false);
}

/// The first request that a check with these keys makes.
fn first_check(keys: &str) -> (Request, SocketAddr) {
    let backend = Backend::ok("fine");
    let _evenkeel = Setup::to(&[backend.address()]).pool(check(keys)).start();
    wait_for("a check came", || !backend.seen().is_empty());
    let request = backend.seen()[0].clone();
    (request, backend.address())
}

#[test]
fn a_check_asks_what_it_was_told_to() {
    let (plain, address) = first_check("type = \"http\"");
    assert_eq!((plain.method.as_str(), plain.target.as_str()), ("GET", "/"));
    assert_eq!(plain.field("host"), Some(address.to_string().as_str()), "the backend's address by default");

    let keys = "type = \"http\", path = \"/health?deep=1\", method = \"POST\", body = \"ping\", \
                host = \"api.internal\", headers = { x-check = \"evenkeel\" }";
    let (request, _) = first_check(keys);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/health?deep=1"));
    assert_eq!(request.body, b"ping");
    assert_eq!((request.field("host"), request.field("x-check")), (Some("api.internal"), Some("evenkeel")));
}

#[test]
fn what_is_expected_of_an_answer_decides() {
    let answer = |status: &'static str, body: &'static str| (status, body);
    let json = "{\"status\": \"healthy\", \"checks\": {\"database\": \"connected\", \"lag\": 3}}";
    let cases = [
        ("", answer("204 No Content", ""), true),
        ("", answer("301 Moved Permanently", ""), false),
        ("expect_status = [\"200-299\", 301]", answer("301 Moved Permanently", ""), true),
        ("expect_status = 204", answer("200 OK", ""), false),
        ("expect_status = \"400-404\"", answer("404 Not Found", ""), true),
        ("expect_body = \"all is well\"", answer("200 OK", "{ all is well }"), true),
        ("expect_body = \"all is well\"", answer("200 OK", "all is not well"), false),
        ("expect_body = { regex = \"^(ok|fine)$\" }", answer("200 OK", "fine"), true),
        ("expect_body = { regex = \"^(ok|fine)$\" }", answer("200 OK", "not fine"), false),
        ("expect_json = { status = \"healthy\", \"checks.database\" = \"connected\" }", answer("200 OK", json), true),
        ("expect_json = { \"checks.lag\" = 3 }", answer("200 OK", json), true),
        ("expect_json = { \"checks.database\" = \"gone\" }", answer("200 OK", json), false),
        ("expect_json = { \"checks.disk\" = \"fine\" }", answer("200 OK", json), false),
        ("expect_json = { status = \"healthy\" }", answer("200 OK", "healthy"), false),
        ("expect_body = \"healthy\"", answer("500 Internal Server Error", "healthy"), false),
    ];
    for (keys, (status, body), passes) in cases {
        let backend = Backend::http(move |_| Reply::new(status, "", body));
        let keys = if keys.is_empty() { "type = \"http\"".to_owned() } else { format!("type = \"http\", {keys}") };
        let evenkeel = Setup::to(&[backend.address()]).pool(check(&keys)).start();
        let made = |result| checks(&evenkeel, backend.address(), result);
        wait_for("three checks were made", || made("pass") + made("fail") >= 3.0);
        let verdict = if passes { made("fail") } else { made("pass") };
        assert_eq!(verdict, 0.0, "{keys}: {status} with {body:?} must {}", if passes { "pass" } else { "fail" });
        wait_up(&evenkeel, &backend, passes);
    }
}

#[test]
fn a_check_may_have_a_port_of_its_own() {
    for kind in ["tcp", "http"] {
        let (backend, doctor) = (Backend::ok("fine"), Backend::ok("well"));
        let keys = format!("type = \"{kind}\", port = {}", doctor.address().port());
        let evenkeel = Setup::to(&[backend.address()]).pool(check(&keys)).start();
        wait_for("it was checked", || checks(&evenkeel, backend.address(), "pass") >= 3.0);
        assert_eq!(backend.connections(), 0, "{kind}: not at its own port");
        assert_eq!(evenkeel.get("/").text(), "fine");
        doctor.kill();
        wait_up(&evenkeel, &backend, false);
        evenkeel.get("/").assert_refused(503, "no_backend");
        doctor.restart();
        wait_up(&evenkeel, &backend, true);
    }
}

#[test]
fn checks_share_a_connection_only_where_they_are_told_to() {
    let (shared, single) = (Backend::ok("fine"), Backend::ok("fine"));
    let keeping = Setup::to(&[shared.address()]).pool(check("type = \"http\", reuse = true")).start();
    let closing = Setup::to(&[single.address()]).pool(check("type = \"http\"")).start();
    wait_for("ten checks of each were made", || shared.requests() >= 10 && single.requests() >= 10);
    assert_eq!(shared.connections(), 1);
    assert!(single.connections() >= 10);
    // The connection that is kept dies: that is no failure of the backend, and the next check makes another.
    shared.kill();
    shared.restart();
    let before = checks(&keeping, shared.address(), "pass");
    wait_for("checks go on", || checks(&keeping, shared.address(), "pass") >= before + 5.0);
    assert!(up(&keeping, shared.address()));
    drop(closing);
}

#[test]
fn several_checks_must_all_pass() {
    let (web, database) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let (asked_web, asked_database) = (Arc::clone(&web), Arc::clone(&database));
    let backend = Backend::http(move |request| {
        let well = match request.target.as_str() {
            "/web" => asked_web.load(SeqCst),
            _ => asked_database.load(SeqCst),
        };
        if well { Reply::ok("well") } else { Reply::new("503 Service Unavailable", "", "") }
    });
    let quick = QUICK.replace(", ", "\n");
    let pool = ["/web", "/database"]
        .map(|path| format!("[[pool.web.health_check]]\ntype = \"http\"\npath = \"{path}\"\n{quick}\n"))
        .concat();
    let evenkeel = Setup::to(&[backend.address()]).pool(pool).start();
    wait_for("both were made", || {
        let seen = backend.seen();
        ["/web", "/database"].iter().all(|path| seen.iter().filter(|request| request.target == *path).count() >= 2)
    });
    assert!(up(&evenkeel, backend.address()));
    for one in [&web, &database] {
        one.store(false, SeqCst);
        wait_up(&evenkeel, &backend, false);
        one.store(true, SeqCst);
        wait_up(&evenkeel, &backend, true);
    }
}

#[test]
fn without_checks_a_backend_is_up_whatever_happens() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("health_check = { type = \"off\" }").start();
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(backend.connections(), 1, "the request's alone");
    backend.kill();
    for _ in 0..5 {
        evenkeel.get("/").assert_refused(502, "connect_refused");
    }
    assert!(up(&evenkeel, backend.address()));
    assert_eq!(evenkeel.series("evenkeel_health_checks_total", &[("result", "fail")]).unwrap_or(0.0), 0.0);
}

#[test]
fn backends_are_checked_by_tcp_unless_told_otherwise_and_at_once() {
    let (backend, dead) = (Backend::ok("fine"), Backend::refused());
    let toml = Setup::to(&[backend.address(), dead.address()]).toml();
    let evenkeel = Evenkeel::start(&toml.replace("health_check = { type = \"off\" }\n", ""));
    // The interval is 10 s, so what is seen sooner is the first check.
    wait_for("the first check was made", || checks(&evenkeel, backend.address(), "pass") >= 1.0);
    wait_for("the first check has failed", || checks(&evenkeel, dead.address(), "fail") >= 1.0);
    assert_eq!((backend.connections(), backend.requests()), (1, 0), "no byte was sent");
    wait_for("after the next two it is down", || !up(&evenkeel, dead.address()));
}

#[test]
fn a_backend_may_begin_as_down() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "fine");
    let pool = check("type = \"http\", initial_state = \"down\"");
    let evenkeel = Setup::to(&[backend.address()]).pool(pool).start();
    wait_for("the first check is on its way", || backend.requests() == 1);
    assert!(!up(&evenkeel, backend.address()));
    evenkeel.get("/").assert_refused(503, "no_backend");
    assert_eq!(evenkeel.metric("evenkeel_all_down", &[("pool", "web")]), 1.0);
    gate.open();
    wait_up(&evenkeel, &backend, true);
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(evenkeel.metric("evenkeel_all_down", &[("pool", "web")]), 0.0);
}

#[test]
fn a_backend_begins_as_up() {
    let gate = Gate::default();
    let waits = gate.clone();
    let backend = Backend::http(move |request| {
        if request.target == "/health" {
            waits.pass();
        }
        Reply::ok("fine")
    });
    let evenkeel = Setup::to(&[backend.address()]).pool(check("type = \"http\", path = \"/health\"")).start();
    wait_for("the first check is on its way", || backend.requests() == 1);
    assert_eq!(evenkeel.get("/").text(), "fine", "before any verdict");
    gate.open();
}

#[test]
fn a_check_without_an_answer_fails_in_its_time() {
    for kind in ["http", "http, of a backend that does not accept"] {
        let backend = Backend::silent();
        let port = Backend::refused();
        let _full = port.listen_full();
        let address = if kind == "http" { backend.address() } else { port.address() };
        let pool = "health_check = { type = \"http\", interval = \"20ms\", interval_down = \"20ms\", \
                    timeout = \"100ms\" }";
        let evenkeel = Setup::to(&[address]).pool(pool).start();
        let start = Instant::now();
        wait_for("it is down", || !up(&evenkeel, address));
        assert!(start.elapsed() >= Duration::from_millis(250), "three times 100 ms: {:?}", start.elapsed());
        let said = told(&evenkeel, address);
        assert!(said["reason"].to_string().contains("time"), "{kind}: {said}");
    }
}

#[test]
fn with_every_backend_down_requests_are_refused() {
    let backends = [Backend::ok("one"), Backend::ok("two")];
    let addresses = backends.each_ref().map(Backend::address);
    let evenkeel = Setup::to(&addresses).pool(check("type = \"tcp\"")).start();
    for backend in &backends {
        backend.kill();
    }
    let all_down = || evenkeel.metric("evenkeel_all_down", &[("pool", "web")]);
    wait_for("all are down", || all_down() == 1.0);
    let response = evenkeel.get("/");
    response.assert_refused(503, "no_backend");
    assert!(response.field("retry-after").is_some(), "{response:?}");
    evenkeel.wait_failures("no_backend", 1);
    backends[0].restart();
    wait_for("one is back", || all_down() == 0.0);
    assert_eq!(evenkeel.get("/").text(), "one");
}

#[test]
fn with_every_backend_down_any_may_be_tried() {
    let well = Arc::new(AtomicBool::new(false));
    let backends = [checked(&well, "one"), checked(&well, "two")];
    let addresses = backends.each_ref().map(Backend::address);
    let pool = format!("when_all_down = \"try_any\"\n{}", check("type = \"http\", path = \"/health\""));
    let evenkeel = Setup::to(&addresses).pool(pool).start();
    for backend in &backends {
        wait_up(&evenkeel, backend, false);
    }
    assert_eq!(evenkeel.metric("evenkeel_all_down", &[("pool", "web")]), 1.0);
    for _ in 0..10 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    assert!(backends.iter().all(|backend| served(backend) > 0), "all are tried");
    evenkeel.assert_no_failure();
}

#[test]
fn an_exchange_with_a_backend_that_goes_down_is_finished() {
    let (well, gate) = (Arc::new(AtomicBool::new(true)), Gate::default());
    let (is_well, waits) = (Arc::clone(&well), gate.clone());
    let backend = Backend::http(move |request| {
        if request.target != "/health" {
            waits.pass();
        } else if !is_well.load(SeqCst) {
            return Reply::new("503 Service Unavailable", "", "");
        }
        Reply::ok("finished")
    });
    let evenkeel = Setup::to(&[backend.address()]).pool(check("type = \"http\", path = \"/health\"")).start();
    let mut client = evenkeel.client();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("it is at the backend", || served_or_waiting(&backend));
    well.store(false, SeqCst);
    wait_up(&evenkeel, &backend, false);
    evenkeel.get("/").assert_refused(503, "no_backend");
    gate.open();
    assert_eq!(client.response().text(), "finished");
}

fn served_or_waiting(backend: &Backend) -> bool {
    backend.seen().iter().any(|request| request.target == "/slow")
}

/// The acceptance of issue 4: with checks of 1 s and 250 ms, one of three is killed under load.
#[test]
fn users_do_not_notice_that_a_backend_dies() {
    let backends = [Backend::ok("one"), Backend::ok("two"), Backend::ok("three")];
    let addresses = backends.each_ref().map(Backend::address);
    let pool = "health_check = { interval = \"1s\", interval_down = \"250ms\" }\nretry = {}";
    let evenkeel = Setup::to(&addresses).pool(pool).start();
    let (over, answered, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = evenkeel.client();
                while !over.load(SeqCst) {
                    let response = client.get("/");
                    answered.fetch_add(1, SeqCst);
                    if response.status != 200 {
                        println!("{response:?}");
                        failed.fetch_add(1, SeqCst);
                    }
                    if response.cut || response.field("connection").is_some() {
                        // It had begun: the one way in which a GET may fail.
                        client = evenkeel.client();
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
        }
        let _over = Over(&over);
        // The budget is a share of the last ten seconds' requests: there must have been some.
        let start = Instant::now();
        wait_for("there was load for three seconds", || start.elapsed() > Duration::from_secs(3));
        backends[0].kill();
        wait_up(&evenkeel, &backends[0], false);
        let (at_death, start) = (answered.load(SeqCst), Instant::now());
        wait_for("life goes on", || start.elapsed() > Duration::from_secs(1));
        assert!(answered.load(SeqCst) > at_death + 100);
        backends[0].forget();
        backends[0].restart();
        wait_for("it gets traffic again", || backends[0].seen().len() > 10);
    });
    println!("{} requests, {} failed", answered.load(SeqCst), failed.load(SeqCst));
    assert_eq!(failed.load(SeqCst), 0);
    let retries = evenkeel.metric("evenkeel_retries_total", &[("pool", "web"), ("reason", "connect")]);
    assert!(retries > 0.0, "the death was noticed by evenkeel");
}

/// Tells the clients to end, also when the test fails meanwhile.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}
