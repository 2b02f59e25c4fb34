//! Backends with a bound, and those who wait for them: `max_in_flight` and `queue` (PRODUCT.md sections 3, 7, 9 and 10).

use std::fs;
use std::path::Path;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::h2raw::{H2, block, code, flag};
use crate::support::{
    Backend, Client, Evenkeel, Gate, H2Backend, Process, Reply, Setup, Site, bearer, call, request, told, wait_for,
    with_token,
};

/// A door that lets one through at a time.
#[derive(Clone, Default)]
struct Turnstile(Arc<(Mutex<usize>, Condvar)>);

impl Turnstile {
    fn let_in(&self, count: usize) {
        *self.0.0.lock().unwrap() += count;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let left = self.0.0.lock().unwrap();
        let (mut left, _) = self.0.1.wait_timeout_while(left, Duration::from_secs(20), |left| *left == 0).unwrap();
        *left = left.saturating_sub(1);
    }

    /// A backend that answers each request with `text` when it is let in.
    fn backend(&self, text: &'static str) -> Backend {
        let turnstile = self.clone();
        Backend::http(move |_| {
            turnstile.pass();
            Reply::ok(text)
        })
    }
}

/// The most requests that a backend has had at a time.
#[derive(Clone, Default)]
struct Peak(Arc<(AtomicUsize, AtomicUsize)>);

/// One of them.
struct Counted(Peak);

impl Peak {
    fn begin(&self) -> Counted {
        let now = self.0.0.fetch_add(1, SeqCst) + 1;
        self.0.1.fetch_max(now, SeqCst);
        Counted(self.clone())
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, SeqCst);
    }
}

fn queued(evenkeel: &Evenkeel) -> f64 {
    evenkeel.metric("evenkeel_queue_length", &[("pool", "web")])
}

#[track_caller]
fn wait_queued(evenkeel: &Evenkeel, count: usize) {
    wait_for(&format!("{count} wait"), || queued(evenkeel) == count as f64);
}

/// A client that has asked for `target`.
fn asks(evenkeel: &Evenkeel, target: &str) -> Client {
    let mut client = evenkeel.client();
    client.send(request("GET", "test", target, ""));
    client
}

/// A client that holds the only place of `backend`.
fn holds(evenkeel: &Evenkeel, backend: &Backend) -> Client {
    let before = backend.requests();
    let client = asks(evenkeel, "/held");
    wait_for("it is at the backend", || backend.requests() == before + 1);
    client
}

/// Nothing is counted any more that is not there.
#[track_caller]
fn assert_idle(evenkeel: &Evenkeel) {
    wait_for("nothing is in flight", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0);
    assert_eq!(queued(evenkeel), 0.0);
}

/// One request at a time, and these keys beside.
fn one_at_a_time(backend: &Backend, keys: &str) -> Evenkeel {
    Setup::to(&[backend.address()]).pool(format!("max_in_flight = 1\n{keys}")).start()
}

#[test]
fn the_bound_is_exact_over_all_workers() {
    let (gate, peaks) = (Gate::default(), [Peak::default(), Peak::default()]);
    let backends = peaks.each_ref().map(|peak| {
        let (gate, peak) = (gate.clone(), peak.clone());
        Backend::http(move |_| {
            let _counted = peak.begin();
            gate.pass();
            Reply::ok("ok")
        })
    });
    let addresses = backends.each_ref().map(Backend::address);
    let own = format!("{:?}", addresses[1].to_string());
    let setup = Setup::to(&addresses).pool("max_in_flight = 3");
    let evenkeel = Evenkeel::start(&setup.toml().replace(&own, &format!("{{ address = {own}, max_in_flight = 1 }}")));
    let mut clients: Vec<_> = (0..20).map(|_| asks(&evenkeel, "/")).collect();
    wait_queued(&evenkeel, 16);
    wait_for("the others are at the backends", || backends.each_ref().map(Backend::requests) == [3, 1]);
    assert_eq!(backends.each_ref().map(Backend::connections), [3, 1]);
    assert_eq!(told(evenkeel.admin(), "/api/v1/pools")["pools"][0]["queue"], 16);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_idle(&evenkeel);
    evenkeel.assert_no_failure();
    assert_eq!(evenkeel.metric("evenkeel_queue_wait_seconds_count", &[("pool", "web")]), 16.0);
    assert_eq!(evenkeel.metric("evenkeel_queue_timeouts_total", &[("pool", "web")]), 0.0);
    assert_eq!(peaks.each_ref().map(Peak::most), [3, 1], "also while places changed hands");
}

#[test]
fn who_comes_first_is_served_first_on_whichever_worker() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let evenkeel = one_at_a_time(&backend, "");
    let mut clients = vec![holds(&evenkeel, &backend)];
    for number in 1..=12 {
        clients.push(asks(&evenkeel, &format!("/{number}")));
        wait_queued(&evenkeel, number);
    }
    turnstile.let_in(13);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let targets: Vec<_> = backend.seen().iter().map(|request| request.target.clone()).collect();
    let wanted: Vec<_> =
        std::iter::once("/held".to_owned()).chain((1..=12).map(|number| format!("/{number}"))).collect();
    assert_eq!(targets, wanted);
    assert_idle(&evenkeel);
}

#[test]
fn nobody_waits_for_longer_than_the_queue_or_the_route_lets_them() {
    let backend = Backend::thinking();
    let evenkeel = one_at_a_time(&backend, "queue = { timeout = \"300ms\" }");
    let _held = holds(&evenkeel, &backend);
    let start = Instant::now();
    let response = evenkeel.get("/");
    response.assert_refused(503, "queue_timeout");
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(response.field("retry-after").is_some(), "{response:?}");
    assert_eq!(evenkeel.metric("evenkeel_queue_timeouts_total", &[("pool", "web")]), 1.0);
    assert_eq!(queued(&evenkeel), 0.0);

    let backend = Backend::thinking();
    let site = Site::new("[[route]]\npath = \"/held\"\npool = \"web\"\n[[route]]\npool = \"web\"\ntimeout = \"300ms\"");
    let evenkeel = site.pool_with("web", &[backend.address()], "max_in_flight = 1").start();
    let held = holds(&evenkeel, &backend);
    evenkeel.get("/").assert_refused(504, "deadline");
    assert_eq!(backend.requests(), 1, "it ended in the queue");
    held.reset();
    assert_idle(&evenkeel);
}

#[test]
fn over_its_size_and_without_a_queue_requests_are_refused_at_once() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let evenkeel = one_at_a_time(&backend, "queue = { size = 2 }");
    let mut clients = vec![holds(&evenkeel, &backend)];
    clients.extend((0..2).map(|_| asks(&evenkeel, "/")));
    wait_queued(&evenkeel, 2);
    evenkeel.get("/").assert_refused(503, "queue_full");
    turnstile.let_in(3);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    for keys in ["queue = \"off\"", "queue = { size = 0 }"] {
        let backend = Backend::thinking();
        let evenkeel = one_at_a_time(&backend, keys);
        let _held = holds(&evenkeel, &backend);
        evenkeel.get("/").assert_refused(503, "queue_full");
        assert_eq!(evenkeel.metric("evenkeel_queue_wait_seconds_count", &[]), 0.0);
    }
}

#[test]
fn a_client_that_leaves_frees_its_place_at_once() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let evenkeel = one_at_a_time(&backend, "");
    let mut held = holds(&evenkeel, &backend);
    let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhel";
    let mut left = 0;
    for request in [request("GET", "test", "/", "").as_str(), post] {
        for reset in [false, true] {
            let mut client = evenkeel.client();
            client.send(request);
            wait_queued(&evenkeel, 1);
            match reset {
                true => client.reset(),
                false => drop(client),
            }
            left += 1;
            wait_queued(&evenkeel, 0);
            evenkeel.wait_failures("client_gone", left);
        }
    }
    let mut h2 = H2::open(evenkeel.address());
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
    h2.headers(1, flag::WHOLE, block(&get));
    wait_queued(&evenkeel, 1);
    h2.reset(1, code::CANCEL);
    wait_queued(&evenkeel, 0);
    evenkeel.wait_failures("client_gone", left + 1);
    // Who waits behind one that has left is next.
    let (gone, mut next) = (asks(&evenkeel, "/gone"), asks(&evenkeel, "/next"));
    wait_queued(&evenkeel, 2);
    drop(gone);
    wait_queued(&evenkeel, 1);
    turnstile.let_in(2);
    assert_eq!((held.response().status, next.response().status), (200, 200));
    assert_eq!(backend.requests(), 2, "of those that left, none reached the backend");
    assert_idle(&evenkeel);
}

#[test]
fn those_who_waited_in_vain_fall_back() {
    let (backend, spare) = (Backend::thinking(), Backend::ok("spare"));
    let site = Site::new("[[route]]\npool = \"web\"\nfallback = { pool = \"spare\" }");
    let keys = "max_in_flight = 1\nqueue = { size = 1, timeout = \"300ms\" }";
    let evenkeel = site.pool_with("web", &[backend.address()], keys).pool("spare", spare.address()).start();
    let _held = holds(&evenkeel, &backend);
    let mut waits = asks(&evenkeel, "/");
    wait_queued(&evenkeel, 1);
    assert_eq!(evenkeel.get("/").text(), "spare", "the queue is full");
    assert_eq!(waits.response().text(), "spare", "its time is over");
}

fn process_asks(process: &Process) -> Client {
    let mut client = process.client();
    client.send(request("GET", "test", "/", ""));
    client
}

#[test]
fn a_reload_that_raises_the_bound_serves_those_who_wait() {
    let gate = Gate::default();
    let (backend, other) = (Backend::behind(&gate, "ok"), Backend::ok("other"));
    let setup = |backends: &[&Backend], most: usize| {
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
        Setup::to(&addresses).pool(format!("max_in_flight = {most}")).toml()
    };
    let process = Process::spawn(&setup(&[&backend], 1));
    let mut clients: Vec<_> = (0..5).map(|_| process_asks(&process)).collect();
    wait_for("four wait", || process.metric("evenkeel_queue_length", &[]) == 4.0);
    process.reload(&setup(&[&backend], 3));
    wait_for("two more are served", || backend.requests() == 3);
    assert_eq!(process.metric("evenkeel_queue_length", &[]), 2.0);
    process.reload(&setup(&[&backend, &other], 3));
    wait_for("a new backend serves the rest", || process.metric("evenkeel_queue_length", &[]) == 0.0);
    wait_for("each has its share", || (backend.requests(), other.requests()) == (3, 2));
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    wait_for("nothing is in flight", || process.metric("evenkeel_backend_in_flight", &[]) == 0.0);
}

#[test]
fn a_lower_bound_lets_what_runs_go_on() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let setup = |most: usize| Setup::to(&[backend.address()]).pool(format!("max_in_flight = {most}")).toml();
    let process = Process::spawn(&setup(4));
    let mut clients: Vec<_> = (0..6).map(|_| process_asks(&process)).collect();
    wait_for("two wait", || process.metric("evenkeel_queue_length", &[]) == 2.0);
    process.reload(&setup(2));
    for left in [3.0, 2.0] {
        turnstile.let_in(1);
        wait_for("one has ended", || process.metric("evenkeel_backend_in_flight", &[]) == left);
        assert_eq!(process.metric("evenkeel_queue_length", &[]), 2.0, "it is above the bound, or at it");
    }
    turnstile.let_in(4);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    wait_for("nothing is in flight", || process.metric("evenkeel_backend_in_flight", &[]) == 0.0);
}

#[test]
fn a_backend_that_dies_takes_nobody_with_it_who_waits() {
    let (dying, turnstile) = (Backend::thinking(), Turnstile::default());
    let well = turnstile.backend("well");
    let keys = "max_in_flight = 1\nretry = { budget = \"100%\", attempts = 3 }\nalgorithm = \"least_connections\"";
    let evenkeel = Setup::to(&[dying.address(), well.address()]).pool(keys).start();
    let mut clients: Vec<_> = (0..8).map(|_| asks(&evenkeel, "/")).collect();
    wait_queued(&evenkeel, 6);
    let name = dying.address().to_string();
    dying.kill();
    // The place that is free now leads nowhere: one after the other finds out, and waits for the other backend then.
    let tried = || evenkeel.metric("evenkeel_backend_requests_total", &[("backend", &name)]);
    wait_for("all but one have met it", || tried() == 7.0);
    wait_queued(&evenkeel, 7);
    turnstile.let_in(100);
    for client in &mut clients {
        assert_eq!(client.response().text(), "well");
    }
    assert_eq!(tried(), 7.0, "nobody goes to it twice while there is another to wait for");
    assert_idle(&evenkeel);
    evenkeel.assert_no_failure();
}

/// A process whose one backend takes one request at a time: that has one, and another one waits.
fn one_held_one_waits() -> (Process, Backend, Client, Client) {
    let backend = Backend::thinking();
    let setup = Setup::to(&[backend.address()]).pool("max_in_flight = 1");
    let process = Process::spawn(&with_token(&setup.toml()));
    let held = process_asks(&process);
    wait_for("it is at the backend", || backend.requests() == 1);
    let waits = process_asks(&process);
    wait_for("one waits", || process.metric("evenkeel_queue_length", &[]) == 1.0);
    (process, backend, held, waits)
}

#[test]
fn those_who_wait_for_a_backend_that_is_taken_out_hear_of_it() {
    let (process, backend, _held, mut waits) = one_held_one_waits();
    let line = format!("PATCH /api/v1/pools/web/backends/{}", backend.address());
    let start = Instant::now();
    assert_eq!(call(process.listener("admin"), &line, &bearer(), "{\"state\": \"maintenance\"}").status, 200);
    waits.response().assert_refused(503, "no_backend");
    assert!(start.elapsed() < Duration::from_secs(4), "not when its time was over");
}

#[test]
fn those_who_wait_hear_that_an_operator_has_opened_the_circuit() {
    let (process, _backend, _held, mut waits) = one_held_one_waits();
    let answer = call(process.listener("admin"), "PATCH /api/v1/pools/web", &bearer(), "{\"circuit\": \"open\"}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    waits.response().assert_refused(503, "breaker_open");
}

#[test]
fn who_waits_takes_a_trial_of_a_backend_that_may_be_well_again() {
    let ill = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&ill);
    let back = Backend::raw(move |conn, _| {
        while conn.request().is_some() {
            if fails.load(SeqCst) {
                return conn.reset();
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nback");
        }
    });
    let turnstile = Turnstile::default();
    let busy = turnstile.backend("busy");
    let breaker = "circuit_breaker = { consecutive_failures = 1, open_for = \"500ms\" }";
    let keys = format!("max_in_flight = 1\nqueue = {{ timeout = \"60s\" }}\n{breaker}");
    let evenkeel = Setup::to(&[back.address(), busy.address()]).pool(keys).start();
    // In turn: each of them has one.
    let mut first = [asks(&evenkeel, "/"), asks(&evenkeel, "/")];
    let name = back.address().to_string();
    let circuit = || evenkeel.metric("evenkeel_circuit_state", &[("backend", &name)]);
    wait_for("one has failed, and the other is busy", || circuit() == 2.0 && busy.requests() == 1);
    ill.store(false, SeqCst);
    let mut waiting: Vec<_> = (0..4).map(|_| asks(&evenkeel, "/")).collect();
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().text(), "back"));
    turnstile.let_in(1);
    let mut texts = first.each_mut().map(|client| client.response().text());
    texts.sort();
    assert_eq!(texts.iter().filter(|text| *text == "busy").count(), 1, "{texts:?}");
    assert_idle(&evenkeel);
}

#[test]
fn a_process_that_goes_serves_those_who_wait() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let mut process = Setup::to(&[backend.address()]).pool("max_in_flight = 1").spawn();
    let mut clients: Vec<_> = (0..4).map(|_| process_asks(&process)).collect();
    wait_for("three wait", || process.metric("evenkeel_queue_length", &[]) == 3.0);
    process.signal("TERM");
    wait_for("it says so", || process.log().iter().any(|line| line.contains("drain") || line.contains("leav")));
    turnstile.let_in(4);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn who_still_waits_when_the_process_ends_is_told() {
    let backend = Backend::thinking();
    let setup = Setup::to(&[backend.address()]).server("drain_timeout = \"300ms\"").pool("max_in_flight = 1");
    // Both are cut at once: whoever is cut on another worker later may get the place in between.
    let mut process = setup.one_worker().spawn();
    let mut clients: Vec<_> = (0..2).map(|_| process_asks(&process)).collect();
    wait_for("one waits", || process.metric("evenkeel_queue_length", &[]) == 1.0);
    process.signal("TERM");
    clients.iter_mut().for_each(|client| client.response().assert_refused(503, "draining"));
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(backend.requests(), 1, "nobody begins what is cut");
}

#[test]
fn the_log_says_how_long_it_waited() {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("queue-{}.log", std::process::id()));
    let _ = fs::remove_file(&log);
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let site = Site::new("").log(format!("access = \"{}\"", log.display()));
    let evenkeel = site.pool_with("web", &[backend.address()], "max_in_flight = 1").start();
    let (mut held, start) = (holds(&evenkeel, &backend), Instant::now());
    let mut waits = asks(&evenkeel, "/waits");
    wait_queued(&evenkeel, 1);
    turnstile.let_in(2);
    assert_eq!((held.response().status, waits.response().status), (200, 200));
    let most = start.elapsed();
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("both lines are written", || text().lines().count() == 2);
    let lines: Vec<serde_json::Value> = text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let waited = |path: &str| lines.iter().find(|line| line["path"] == path).unwrap()["queue_ms"].as_f64();
    assert_eq!(waited("/held"), None, "{lines:#?}");
    let waited = waited("/waits").unwrap();
    assert!(waited > 0.0 && waited <= most.as_secs_f64() * 1e3, "{waited} of {most:?}");
    let _ = fs::remove_file(&log);
}

/// Two backends that answer their names, the first when it is let in; where the session of a new client is; its cookie.
fn session(keys: &str) -> (Turnstile, [Backend; 2], Evenkeel, usize, String) {
    let turnstile = Turnstile::default();
    let named = |name: &'static str| {
        let turnstile = turnstile.clone();
        Backend::http(move |request| {
            if request.target == "/held" {
                turnstile.pass();
            }
            Reply::ok(name)
        })
    };
    let backends = [named("a"), named("b")];
    let addresses = backends.each_ref().map(Backend::address);
    let evenkeel = Setup::to(&addresses).pool(format!("max_in_flight = 1\n{keys}")).start();
    let first = evenkeel.get("/");
    let home = usize::from(first.text() == "b");
    let cookie = first.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    (turnstile, backends, evenkeel, home, format!("Cookie: {cookie}\r\n"))
}

fn with_cookie(evenkeel: &Evenkeel, target: &str, cookie: &str) -> Client {
    let mut client = evenkeel.client();
    client.send(request("GET", "test", target, cookie));
    client
}

#[test]
fn a_session_waits_for_its_own_backend() {
    let (turnstile, backends, evenkeel, home, cookie) =
        session("sticky = { type = \"cookie\" }\nqueue = { timeout = \"60s\" }");
    let before = backends[home].requests();
    let mut held = with_cookie(&evenkeel, "/held", &cookie);
    wait_for("it is at its backend", || backends[home].requests() == before + 1);
    let mut waits = with_cookie(&evenkeel, "/", &cookie);
    wait_queued(&evenkeel, 1);
    let other = evenkeel.get("/");
    assert_ne!(other.text(), ["a", "b"][home], "a new client does not wait");
    assert_eq!(queued(&evenkeel), 1.0);
    turnstile.let_in(1);
    assert_eq!(held.response().text(), ["a", "b"][home]);
    assert_eq!(waits.response().text(), ["a", "b"][home]);
    assert_idle(&evenkeel);
}

#[test]
fn a_session_does_not_wait_for_ever_for_its_own_backend() {
    for (more, wanted) in [("", 200), (", fallback = \"reject\"", 503)] {
        let keys = format!("sticky = {{ type = \"cookie\"{more} }}\nqueue = {{ timeout = \"1s\" }}");
        let (turnstile, backends, evenkeel, home, cookie) = session(&keys);
        let before = backends[home].requests();
        let mut held = with_cookie(&evenkeel, "/held", &cookie);
        wait_for("it is at its backend", || backends[home].requests() == before + 1);
        let start = Instant::now();
        let lent = with_cookie(&evenkeel, "/", &cookie).response();
        let waited = start.elapsed();
        assert_eq!((lent.status, lent.field("set-cookie")), (wanted, None), "{lent:?}");
        assert!(waited >= Duration::from_millis(if wanted == 200 { 200 } else { 1000 }), "{waited:?}");
        if wanted == 503 {
            lent.assert_refused(503, "queue_timeout");
        } else {
            assert_ne!(lent.text(), ["a", "b"][home]);
        }
        turnstile.let_in(1);
        assert_eq!(held.response().text(), ["a", "b"][home]);
        assert_eq!(with_cookie(&evenkeel, "/", &cookie).response().text(), ["a", "b"][home], "the session stays");
        assert_idle(&evenkeel);
    }
}

#[test]
fn those_who_find_every_connection_busy_wait_as_well() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let evenkeel = Setup::to(&[backend.address()]).pool("max_connections = 2").start();
    let mut clients: Vec<_> = (0..10).map(|_| asks(&evenkeel, "/")).collect();
    wait_queued(&evenkeel, 8);
    wait_for("the others are at the backend", || backend.requests() == 2);
    turnstile.let_in(10);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    assert!(backend.open() <= 2);
    assert_idle(&evenkeel);
    evenkeel.assert_no_failure();
}

#[test]
fn a_connection_that_another_pool_lets_go_of_is_found() {
    let (gate, other) = (Gate::default(), Backend::ok("other"));
    let backend = Backend::behind(&gate, "ok");
    // Half of them are for backends.
    let site = Site::new("[[route]]\npath = \"/other\"\npool = \"other\"\n[[route]]\npool = \"web\"");
    let site =
        site.server("max_connections = 2").pool_with("web", &[backend.address()], "keepalive = { max_idle = 0 }");
    let keys = "max_connections = 5\nqueue = { timeout = \"60s\" }";
    let evenkeel = site.pool_with("other", &[other.address()], keys).start();
    let mut h2 = H2::open(evenkeel.address());
    let get = |path| block(&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "test")]);
    h2.headers(1, flag::WHOLE, get("/"));
    wait_for("it is at the backend", || backend.requests() == 1);
    h2.headers(3, flag::WHOLE, get("/other"));
    wait_for("one waits", || evenkeel.metric("evenkeel_queue_length", &[("pool", "other")]) == 1.0);
    gate.open();
    assert_eq!(h2.answer(1).unwrap().text(), "ok");
    // The queue does not hear of it: who waits looks for itself.
    assert_eq!(h2.answer(3).unwrap().text(), "other");
    wait_for("nothing is in flight", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == 0.0);
    evenkeel.assert_no_failure();
}

#[test]
fn streams_of_a_backend_count_as_well() {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = H2Backend::start(100, move |_, mut respond| {
        let gate = opened.clone();
        async move {
            tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
            respond.send_response(http::Response::new(()), true).unwrap();
        }
    });
    let keys = "protocol = \"h2\"\nmax_in_flight = 5\nmax_connections = 2";
    let evenkeel = Setup::to(&[backend.address()]).pool(keys).start();
    let mut clients: Vec<_> = (0..12).map(|_| asks(&evenkeel, "/")).collect();
    wait_queued(&evenkeel, 7);
    wait_for("the others are at the backend", || backend.requests() == 5);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    assert!(backend.connections() <= 2);
    assert_idle(&evenkeel);
}

#[test]
fn workers_take_turns_on_the_only_connection_of_an_http_2_backend() {
    let backend = H2Backend::echo();
    let keys = "protocol = \"h2\"\nmax_connections = 1\nqueue = { timeout = \"20s\" }";
    let evenkeel = Setup::to(&[backend.address()]).pool(keys).start();
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..8).map(|_| asks(&evenkeel, "/")).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    }
    assert_idle(&evenkeel);
    evenkeel.assert_no_failure();
}

#[test]
fn auto_holds_back_what_the_backend_cannot_take() {
    let gate = Gate::default();
    let ill = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&ill);
    let opened = gate.clone();
    let backend = Backend::http(move |_| {
        opened.pass();
        match refuses.load(SeqCst) {
            true => Reply::new("503 Service Unavailable", "", "too much"),
            false => {
                // The limit grows where it is used: answers that take no time use nothing of it.
                thread::sleep(Duration::from_millis(20));
                Reply::ok("ok")
            }
        }
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("max_in_flight = \"auto\"").start();
    let limit = || evenkeel.metric("evenkeel_in_flight_limit", &[("pool", "web")]);
    assert_eq!(limit(), 10.0, "nothing is known of it");
    let mut clients: Vec<_> = (0..30).map(|_| asks(&evenkeel, "/")).collect();
    wait_queued(&evenkeel, 20);
    wait_for("the others are at the backend", || backend.requests() == 10);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 503));
    let ask_all = |clients: &mut Vec<Client>| {
        clients.iter_mut().for_each(|client| client.send(request("GET", "test", "/", "")));
        clients.iter_mut().for_each(|client| drop(client.response()));
    };
    wait_for("less is let in", || {
        ask_all(&mut clients);
        limit() <= 5.0
    });
    ill.store(false, SeqCst);
    wait_for("it is let in again", || {
        ask_all(&mut clients);
        limit() >= 8.0
    });
    assert_idle(&evenkeel);
}

#[test]
fn without_auto_the_limit_is_advice() {
    let turnstile = Turnstile::default();
    let backend = turnstile.backend("ok");
    let evenkeel = Setup::to(&[backend.address()]).start();
    assert_eq!(evenkeel.metric("evenkeel_in_flight_limit", &[("pool", "web")]), 10.0);
    let mut clients: Vec<_> = (0..40).map(|_| asks(&evenkeel, "/")).collect();
    wait_for("all are at the backend", || backend.requests() == 40);
    turnstile.let_in(40);
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
}
