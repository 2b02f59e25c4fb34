//! A backend that fails is left alone and tried again: circuit breakers, of backends and of pools, and outliers
//! (PRODUCT.md section 3, `circuit_breaker`, `outlier`, `slow_after`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Backend, Client, Conn, Evenkeel, Process, Reply, Setup, Site, bearer, call, scrape, sum_of, told, wait_for,
    with_token,
};

/// A breaker that opens after three failures and stays so, unless a story wants another one.
fn breaker(keys: &str) -> String {
    let unless = |key: &str, rest: &'static str| if keys.contains(key) { "" } else { rest };
    let (three, long) =
        (unless("consecutive", ", consecutive_failures = 3"), unless("open_for", ", open_for = \"10m\""));
    let rate = unless("failure_rate", ", failure_rate = \"off\"");
    format!("circuit_breaker = {{ enabled = true{three}{long}{rate}{keys} }}")
}

fn in_front_of(addresses: &[SocketAddr], keys: &str) -> Evenkeel {
    Setup::to(addresses).one_worker().pool(keys).start()
}

fn of_backend(evenkeel: &Evenkeel, name: &str, address: SocketAddr) -> f64 {
    evenkeel.metric(name, &[("backend", &address.to_string())])
}

/// 0 closed, 1 half-open, 2 open.
fn circuit(evenkeel: &Evenkeel, address: SocketAddr) -> f64 {
    of_backend(evenkeel, "evenkeel_circuit_state", address)
}

fn ejections(evenkeel: &Evenkeel, address: SocketAddr, reason: &str) -> f64 {
    evenkeel.metric("evenkeel_ejections_total", &[("backend", &address.to_string()), ("reason", reason)])
}

fn state(evenkeel: &Evenkeel, address: SocketAddr, state: &str) -> bool {
    evenkeel.metric("evenkeel_backend_state", &[("backend", &address.to_string()), ("state", state)]) == 1.0
}

/// What the API tells of the backend at that place.
fn view(admin: SocketAddr, place: usize) -> Value {
    told(admin, "/api/v1/pools/web")["backends"][place].clone()
}

/// Answers 503 while it is sick, else its name.
struct Moody {
    sick: Arc<AtomicBool>,
    backend: Backend,
}

impl Moody {
    fn new(sick: bool) -> Self {
        let sick = Arc::new(AtomicBool::new(sick));
        let told = Arc::clone(&sick);
        let backend = Backend::http(move |_| match told.load(SeqCst) {
            true => Reply::new("503 Service Unavailable", "", "sick"),
            false => Reply::ok("moody"),
        });
        Self { sick, backend }
    }

    fn is_sick(&self, sick: bool) {
        self.sick.store(sick, SeqCst);
    }

    fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    /// Requests until its circuit is `wanted`.
    #[track_caller]
    fn wait(&self, evenkeel: &Evenkeel, wanted: f64) {
        wait_for(&format!("its circuit is {wanted}"), || {
            evenkeel.get("/");
            circuit(evenkeel, self.address()) == wanted
        });
    }
}

/// A backend, or a port where none is, and what holds it.
struct Bad(SocketAddr, #[allow(dead_code, reason = "it lives as long")] Box<dyn std::any::Any>);

fn failing(serve: impl Fn(&mut Conn) + Send + Sync + 'static) -> Bad {
    let backend = Backend::raw(move |conn, _| {
        while conn.request().is_some() {
            serve(conn);
        }
    });
    Bad(backend.address(), Box::new(backend))
}

#[test]
fn whatever_way_it_fails_it_is_left_alone_and_others_serve() {
    let refused = || {
        let port = Backend::refused();
        Bad(port.address(), Box::new(port))
    };
    let unreachable = || {
        let port = Backend::refused();
        let held = port.listen_full();
        Bad(port.address(), Box::new((port, held)))
    };
    let resets = || failing(|conn| conn.reset());
    let half = || {
        failing(|conn| {
            conn.send("HTTP/1.1 200 OK\r\nContent-Le");
            conn.finish();
        })
    };
    let garbage = || failing(|conn| assert!(conn.send("nonsense\r\n\r\n")));
    let silent = || failing(|conn| conn.wait_closed());
    let cut = || {
        failing(|conn| {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut");
            conn.finish();
        })
    };
    let stalls = || {
        failing(|conn| {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nstalls");
            conn.wait_closed();
        })
    };
    let status = || failing(|conn| assert!(conn.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")));
    let cases: [(&dyn Fn() -> Bad, &str, &str); 9] = [
        (&refused, "connect", "connect_refused"),
        (&unreachable, "connect", "connect_timeout"),
        (&resets, "reset", "reset"),
        (&half, "reset", "reset"),
        (&garbage, "reset", "bad_response"),
        (&silent, "timeout", "response_timeout"),
        (&cut, "reset", "truncated"),
        (&stalls, "timeout", "body_timeout"),
        (&status, "503", "status 503"),
    ];
    for (bad, on, cause) in cases {
        let (Bad(bad, _held), good) = (bad(), Backend::ok("good"));
        let times = "connect_timeout = \"100ms\"\nresponse_timeout = \"100ms\"\nbody_timeout = \"100ms\"";
        let evenkeel =
            in_front_of(&[bad, good.address()], &format!("{times}\n{}", breaker(&format!(", on = \"{on}\""))));
        assert_eq!(circuit(&evenkeel, bad), 0.0, "{cause}: from the start");
        wait_for(&format!("{cause}: it is open"), || {
            let mut client = evenkeel.client();
            client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            client.rest();
            circuit(&evenkeel, bad) == 2.0
        });
        wait_for("it is taken out", || state(&evenkeel, bad, "ejected"));
        let before = of_backend(&evenkeel, "evenkeel_backend_requests_total", bad);
        for _ in 0..20 {
            assert_eq!(evenkeel.get("/").text(), "good", "{cause}");
        }
        assert_eq!(of_backend(&evenkeel, "evenkeel_backend_requests_total", bad), before, "{cause}");
        assert_eq!(ejections(&evenkeel, bad, "consecutive_failures"), 1.0, "{cause}");
        assert_eq!(of_backend(&evenkeel, "evenkeel_backend_up", bad), 0.0, "{cause}");
        let told = view(evenkeel.admin(), 0);
        let said = (&told["state"], &told["circuit"], &told["reason"]);
        let reason = format!("3 consecutive failures: {cause}");
        assert_eq!(said, (&json!("ejected"), &json!("open"), &json!(reason)), "{told}");
        assert_eq!(circuit(&evenkeel, good.address()), 0.0, "{cause}");
    }
}

#[test]
fn what_is_not_in_on_and_what_is_no_failure_opens_nothing() {
    let (bad, good) = (Moody::new(true), Backend::ok("good"));
    // Every second request finds a connection that dies.
    let stale = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        conn.request();
    });
    for (address, on) in [(bad.address(), "\"connect\", \"502\""), (stale.address(), "\"reset\", \"connect\", \"5xx\"")]
    {
        let keys = breaker(&format!(", on = [{on}]")).replace("failures = 3", "failures = 1");
        let evenkeel = in_front_of(&[address, good.address()], &keys);
        let mut client = evenkeel.client();
        for _ in 0..20 {
            client.get("/");
        }
        assert_eq!(of_backend(&evenkeel, "evenkeel_backend_requests_total", address), 10.0);
        assert_eq!(circuit(&evenkeel, address), 0.0, "{on}");
    }
}

#[test]
fn clients_that_leave_open_nothing() {
    let (slow, good) = (Backend::thinking(), Backend::ok("good"));
    let evenkeel = in_front_of(&[slow.address(), good.address()], &breaker("").replace("failures = 3", "failures = 1"));
    let mut number = 0;
    // On a busy machine some leave before their requests are there.
    wait_for("enough have left the slow one", || {
        number += 1;
        let mut client = evenkeel.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        if client.silent_for(Duration::from_millis(20)) {
            client.leave();
        }
        let mut other = evenkeel.client();
        other.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        other.leave();
        wait_for("they have left", || evenkeel.in_flight() == 0.0);
        assert_eq!(circuit(&evenkeel, slow.address()), 0.0, "{number}");
        number >= 5 && slow.requests() >= 2
    });
}

#[test]
fn a_share_of_failures_opens_it() {
    // Every other request fails: never two in a row.
    let number = std::sync::atomic::AtomicUsize::new(0);
    let bad = Backend::http(move |_| match number.fetch_add(1, SeqCst) % 2 {
        0 => Reply::new("502 Bad Gateway", "", ""),
        _ => Reply::ok("fine"),
    });
    let good = Backend::ok("good");
    let keys = breaker(", failure_rate = \"50%\", min_requests = 10").replace("failures = 3", "failures = \"off\"");
    let evenkeel = in_front_of(&[bad.address(), good.address()], &keys);
    wait_for("it is open", || {
        evenkeel.get("/");
        circuit(&evenkeel, bad.address()) == 2.0
    });
    assert_eq!(ejections(&evenkeel, bad.address(), "failure_rate"), 1.0);
    let reason = view(evenkeel.admin(), 0)["reason"].clone();
    // The tenth request goes well, the eleventh is the sixth failure.
    assert_eq!(reason, "54% of 11 requests failed");
}

#[test]
fn it_is_tried_again_after_its_time_which_doubles_and_closes_when_all_trials_go_well() {
    let (moody, good) = (Moody::new(true), Backend::ok("good"));
    let keys = breaker(", open_for = \"100ms\", half_open_requests = 2");
    let evenkeel = in_front_of(&[moody.address(), good.address()], &keys);
    let (start, mut openings) = (Instant::now(), Vec::new());
    moody.wait(&evenkeel, 2.0);
    let before = moody.backend.requests();
    assert_eq!(before, 3);
    wait_for("it has opened twice again", || {
        evenkeel.get("/");
        let trials = ejections(&evenkeel, moody.address(), "half_open") as usize;
        if trials > openings.len() {
            openings.push(start.elapsed());
            let made = moody.backend.requests() - before;
            assert!(made == trials || made == trials + 1, "one trial fails, and no other is made: {made}, {trials}");
        }
        openings.len() == 3
    });
    // 100 ms, then 200, then 400.
    let least = [100, 300, 700].map(Duration::from_millis);
    assert!(openings.iter().zip(least).all(|(opened, least)| *opened >= least), "{openings:?}");
    assert_eq!(view(evenkeel.admin(), 0)["reason"], "a trial failed: status 503");
    moody.is_sick(false);
    let before = moody.backend.requests();
    let mut got = Vec::new();
    wait_for("it is closed", || {
        got.push(evenkeel.get("/").text());
        circuit(&evenkeel, moody.address()) == 0.0
    });
    wait_for("it is ready", || state(&evenkeel, moody.address(), "ready"));
    assert!(moody.backend.requests() - before >= 2);
    let told = view(evenkeel.admin(), 0);
    assert_eq!((&told["state"], &told["circuit"], &told["reason"]), (&json!("ready"), &json!("closed"), &Value::Null));
    let texts: Vec<_> = (0..10).map(|_| evenkeel.get("/").text()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "moody").count(), 5, "{texts:?}");
}

#[test]
fn a_few_trials_go_through_at_a_time_and_the_rest_goes_elsewhere() {
    let (gate, sick) = (crate::support::Gate::default(), Arc::new(AtomicBool::new(true)));
    let (held, told) = (gate.clone(), Arc::clone(&sick));
    let tried = Backend::http(move |_| {
        if told.load(SeqCst) {
            return Reply::new("503 Service Unavailable", "", "");
        }
        held.pass();
        Reply::ok("tried")
    });
    let good = Backend::ok("good");
    let keys = breaker(", open_for = \"200ms\"");
    let evenkeel = in_front_of(&[tried.address(), good.address()], &keys);
    wait_for("it is open", || {
        evenkeel.get("/");
        circuit(&evenkeel, tried.address()) == 2.0
    });
    sick.store(false, SeqCst);
    wait_for("it is half-open", || circuit(&evenkeel, tried.address()) == 1.0);
    let before = tried.requests();
    let address = evenkeel.address();
    let ask = || thread::spawn(move || Client::h1(address).get("/").text());
    let asked: Vec<_> = (0..30).map(|_| ask()).collect();
    wait_for("trials are on their way, and the rest is served", || {
        tried.requests() - before >= 3 && evenkeel.in_flight() == 3.0
    });
    assert_eq!(tried.requests() - before, 3);
    assert!(state(&evenkeel, tried.address(), "ejected"), "until all trials have gone well");
    gate.open();
    let texts: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "tried").count(), 3, "{texts:?}");
    wait_for("it is closed", || circuit(&evenkeel, tried.address()) == 0.0);
}

#[test]
fn checks_that_find_it_well_again_try_it_at_once() {
    let (back, good) = (Backend::ok("back"), Backend::ok("good"));
    let checks = "health_check = { interval = \"30ms\", interval_down = \"30ms\", unhealthy_threshold = 3 }";
    let keys = format!("{checks}\n{}\nretry = {{ attempts = 1 }}", breaker(""));
    let evenkeel = in_front_of(&[back.address(), good.address()], &keys.replace("failures = 3", "failures = 1"));
    back.kill();
    wait_for("it is open", || {
        assert_eq!(evenkeel.get("/").text(), "good");
        circuit(&evenkeel, back.address()) == 2.0
    });
    wait_for("checks have found it down", || state(&evenkeel, back.address(), "down"));
    back.restart();
    wait_for("it is closed", || {
        evenkeel.get("/");
        circuit(&evenkeel, back.address()) == 0.0
    });
    evenkeel.assert_no_failure();
}

#[test]
fn who_comes_back_begins_slowly() {
    let (moody, good) = (Moody::new(true), Backend::ok("good"));
    let keys = format!("slow_start = \"60s\"\n{}", breaker(", open_for = \"50ms\""));
    let evenkeel = in_front_of(&[moody.address(), good.address()], &keys);
    moody.wait(&evenkeel, 2.0);
    moody.is_sick(false);
    moody.wait(&evenkeel, 0.0);
    wait_for("it is ready", || state(&evenkeel, moody.address(), "ready"));
    let weight = of_backend(&evenkeel, "evenkeel_backend_weight", moody.address());
    assert!((0.1..0.5).contains(&weight), "{weight}");
}

#[test]
fn the_last_one_is_never_ejected_nor_more_than_may_be() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (5, 2)] {
        let backends: Vec<_> = (0..count).map(|_| Moody::new(true)).collect();
        let addresses: Vec<_> = backends.iter().map(Moody::address).collect();
        let evenkeel = in_front_of(&addresses, &breaker(""));
        for _ in 0..20 * count {
            assert_eq!(evenkeel.get("/").status, 503);
            assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0, "always the backends' own 503");
        }
        let open = addresses.iter().filter(|address| circuit(&evenkeel, **address) == 2.0).count();
        assert_eq!(open, most, "of {count}");
        assert_eq!(evenkeel.metric("evenkeel_all_down", &[]), 0.0);
    }
}

#[test]
fn where_checks_take_the_others_down_who_is_ejected_serves() {
    let (moody, dies) = (Moody::new(true), Backend::ok("dies"));
    let checks = "health_check = { interval = \"20ms\", interval_down = \"20ms\", timeout = \"1s\" }";
    let evenkeel = in_front_of(&[moody.address(), dies.address()], &format!("{checks}\n{}", breaker("")));
    moody.wait(&evenkeel, 2.0);
    dies.kill();
    wait_for("the other is down", || state(&evenkeel, dies.address(), "down"));
    wait_for("it answers, whatever", || evenkeel.get("/").text() == "sick");
    assert_eq!(circuit(&evenkeel, moody.address()), 2.0);
    assert!(state(&evenkeel, moody.address(), "ejected"));
    dies.restart();
    wait_for("the other is back", || evenkeel.get("/").text() == "dies");
    assert!((0..10).all(|_| evenkeel.get("/").text() == "dies"));
}

#[test]
fn who_refuses_at_once_draws_nobody() {
    for algorithm in ["least_connections", "least_response_time", "power_of_two_choices"] {
        let (refuses, good) = (Backend::refused(), Backend::ok("good"));
        let keys = format!("algorithm = \"{algorithm}\"\nretry = {{ attempts = 1 }}\ncircuit_breaker = {{}}");
        let evenkeel = in_front_of(&[refuses.address(), good.address()], &keys);
        for _ in 0..300 {
            assert_eq!(evenkeel.get("/").text(), "good", "{algorithm}");
        }
        let attempts = of_backend(&evenkeel, "evenkeel_backend_requests_total", refuses.address());
        assert!((1.0..=5.0).contains(&attempts), "{algorithm}: {attempts}");
        evenkeel.assert_no_failure();
    }
}

#[test]
fn a_retry_goes_to_one_that_was_not_tried_though_the_next_choice_takes_no_more() {
    let (gate, sick) = (crate::support::Gate::default(), Arc::new(AtomicBool::new(true)));
    let (held, told) = (gate.clone(), Arc::clone(&sick));
    let tried = Backend::http(move |_| {
        if told.load(SeqCst) {
            return Reply::new("503 Service Unavailable", "", "sick");
        }
        held.pass();
        Reply::ok("tried")
    });
    let (refuses, good) = (Backend::refused(), Backend::ok("good"));
    let keys = breaker(", on = \"503\", open_for = \"200ms\", half_open_requests = 1");
    let keys = format!("algorithm = \"random\"\nretry = {{ attempts = 1, budget_floor = 1000 }}\n{keys}");
    let evenkeel = in_front_of(&[tried.address(), refuses.address(), good.address()], &keys);
    wait_for("it is open", || {
        evenkeel.get("/");
        circuit(&evenkeel, tried.address()) == 2.0
    });
    sick.store(false, SeqCst);
    let (address, before) = (evenkeel.address(), tried.requests());
    let mut trials = Vec::new();
    wait_for("its only trial is made, and hangs", || {
        trials.push(thread::spawn(move || Client::h1(address).get("/").text()));
        tried.requests() > before
    });
    wait_for("the others are served", || evenkeel.in_flight() == 1.0);
    for _ in 0..60 {
        let answer = evenkeel.get("/");
        assert_eq!(answer.text(), "good", "{answer:?}");
    }
    gate.open();
    trials.into_iter().for_each(|trial| drop(trial.join().unwrap()));
}

#[test]
fn who_sticks_to_one_that_is_ejected_has_another_at_once() {
    let (sick, good) = (Moody::new(false), Backend::ok("good"));
    let keys = format!("{}\n[pool.web.sticky]\ntype = \"cookie\"", breaker(""));
    let evenkeel = in_front_of(&[sick.backend.address(), good.address()], &keys);
    let mut client = evenkeel.client();
    let first = (0..2).map(|_| client.get("/")).find(|answer| answer.text() != "good").unwrap();
    let cookie = first.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut ask = || client.exchange(format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"));
    sick.sick.store(true, SeqCst);
    let statuses: Vec<u16> = (0..60).map(|_| ask().status).collect();
    let (failed, rest) = statuses.split_at(3);
    assert_eq!(failed, [503; 3]);
    assert!(rest.iter().all(|&status| status == 200), "nobody waits for a new table: {statuses:?}");
}

const WHOLE: &str = "[[route]]\nname = \"r\"\npool = \"web\"\nfallback = { respond = { status = 503, body = \"back soon\" } }\n\
                     [[route]]\nname = \"plain\"\npath = \"/plain\"\npool = \"web\"\n";

#[test]
fn a_whole_pool_is_left_alone_and_its_route_falls_back() {
    let (one, two) = (Moody::new(true), Moody::new(true));
    let keys = breaker(", scope = \"pool\", open_for = \"300ms\"");
    let evenkeel = Site::new(WHOLE).pool_with("web", &[one.address(), two.address()], &keys).start();
    let of_pool = || evenkeel.metric("evenkeel_circuit_state", &[("pool", "web"), ("backend", "")]);
    assert_eq!(evenkeel.series("evenkeel_circuit_state", &[("backend", "")]), Some(0.0));
    for _ in 0..3 {
        assert_eq!(evenkeel.get("/plain").text(), "sick");
    }
    let answer = evenkeel.get("/plain");
    answer.assert_refused(503, "breaker_open");
    assert!(answer.field("retry-after").is_some());
    assert_eq!(evenkeel.get("/").text(), "back soon");
    assert_eq!((of_pool(), one.backend.requests() + two.backend.requests()), (2.0, 3));
    let told = told(evenkeel.admin(), "/api/v1/pools/web");
    assert_eq!((&told["circuit"], &told["reason"]), (&json!("open"), &json!("3 consecutive failures: status 503")));
    let closed = |backend: &Value| backend["circuit"] == "closed" && backend["state"] == "ready";
    assert!(told["backends"].as_array().unwrap().iter().all(closed), "{told}");
    [&one, &two].iter().for_each(|moody| moody.is_sick(false));
    wait_for("it is closed", || {
        let text = evenkeel.get("/").text();
        assert!(text == "back soon" || text == "moody", "{text}");
        of_pool() == 0.0
    });
    assert!((0..10).all(|_| evenkeel.get("/").text() == "moody"));
    let labels = [("pool", "web"), ("backend", ""), ("reason", "consecutive_failures")];
    assert_eq!(evenkeel.metric("evenkeel_ejections_total", &labels), 1.0);
}

fn file(addresses: &[SocketAddr], keys: &str) -> String {
    with_token(&Setup::to(addresses).one_worker().pool(keys).toml())
}

fn trip(evenkeel: &Process, circuit: &str) {
    let body = json!({ "circuit": circuit }).to_string();
    let answer = call(evenkeel.listener("admin"), "PATCH /api/v1/pools/web", &bearer(), &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn an_operator_opens_a_pool_until_it_is_left_to_its_breaker_or_the_file_changes_that() {
    let backend = Backend::ok("fine");
    for keys in [breaker(""), breaker(", scope = \"pool\""), "circuit_breaker = { enabled = false }".to_owned()] {
        let evenkeel = Process::spawn(&file(&[backend.address()], &keys));
        let (admin, get) = (evenkeel.listener("admin"), || Client::h1(evenkeel.listener("web")).get("/"));
        assert_eq!(call(admin, "PATCH /api/v1/pools/web", "", r#"{"circuit": "open"}"#).status, 401);
        assert_eq!(get().text(), "fine");
        trip(&evenkeel, "open");
        get().assert_refused(503, "breaker_open");
        let of_pool = || sum_of(&scrape(admin), "evenkeel_circuit_state", &[("backend", "")]);
        assert_eq!(of_pool(), Some(2.0));
        let status = told(admin, "/api/v1/status");
        assert_eq!(status["overrides"], json!([{ "pool": "web", "what": "circuit open" }]));
        assert_eq!((&status["pools"][0]["circuit"], &status["pools"][0]["reason"]), (&json!("open"), &json!("admin")));
        evenkeel.reload(&file(&[backend.address()], &format!("connect_timeout = \"3s\"\n{keys}")));
        get().assert_refused(503, "breaker_open");
        trip(&evenkeel, "auto");
        assert_eq!(get().text(), "fine");
        assert_eq!(of_pool(), Some(0.0));
        trip(&evenkeel, "open");
        evenkeel.reload(&file(&[backend.address()], &breaker(", window = \"1m\"")));
        assert_eq!(get().text(), "fine");
        assert_eq!(told(admin, "/api/v1/status")["overrides"], json!([]));
    }
}

#[test]
fn a_reload_keeps_an_open_circuit_and_one_without_breakers_closes_it() {
    let (moody, good) = (Moody::new(true), Backend::ok("good"));
    let addresses = [moody.address(), good.address()];
    let evenkeel = Process::spawn(&file(&addresses, &breaker("")));
    let circuit = || view(evenkeel.listener("admin"), 0)["circuit"].as_str().unwrap().to_owned();
    let get = || Client::h1(evenkeel.listener("web")).get("/").text();
    wait_for("it is open", || {
        get();
        circuit() == "open"
    });
    // Also under another name.
    let named = |keys: &str| {
        let plain = format!("backends = [\"{}\", ", moody.address());
        file(&addresses, keys)
            .replace(&plain, &format!("backends = [{{ address = \"{}\", name = \"m\" }}, ", moody.address()))
    };
    for toml in [file(&addresses, &format!("{}\nconnect_timeout = \"3s\"", breaker(""))), named(&breaker(""))] {
        evenkeel.reload(&toml);
        assert_eq!(circuit(), "open");
        assert!((0..10).all(|_| get() == "good"));
    }
    evenkeel.reload(&named("circuit_breaker = { enabled = false }"));
    assert_eq!(circuit(), "closed");
    assert_eq!(evenkeel.metric("evenkeel_circuit_state", &[("backend", "m")]), 0.0);
    let texts: Vec<_> = (0..10).map(|_| get()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "sick").count(), 5, "{texts:?}");
    wait_for("it is said", || evenkeel.log().iter().any(|line| line.contains("the circuit is open")));
}

#[test]
fn who_is_much_slower_than_the_others_is_told_and_ejected_where_that_is_asked_for() {
    for (keys, ejected) in [("", true), ("circuit_breaker = { max_ejected = \"0%\" }", false)] {
        let slow = Backend::http(|_| {
            thread::sleep(Duration::from_millis(40));
            Reply::ok("slow")
        });
        let (one, two) = (Backend::ok("one"), Backend::ok("two"));
        let keys = if keys.is_empty() { "circuit_breaker = {}" } else { keys };
        let keys = format!("outlier = {{ latency = \"3x\", for = \"2s\" }}\n{keys}");
        let evenkeel = in_front_of(&[slow.address(), one.address(), two.address()], &keys);
        let mut client = evenkeel.client();
        wait_for("it is told", || {
            client.get("/");
            match ejected {
                true => ejections(&evenkeel, slow.address(), "latency") == 1.0,
                false => of_backend(&evenkeel, "evenkeel_backend_outlier", slow.address()) == 1.0,
            }
        });
        assert!(slow.requests() >= 20, "not before there are twenty answers");
        let told = view(evenkeel.admin(), 0);
        let said = (&told["state"], &told["circuit"], &told["reason"]);
        match ejected {
            true => assert_eq!(said, (&json!("ejected"), &json!("open"), &json!("latency"))),
            false => assert_eq!(said, (&json!("ready"), &json!("closed"), &json!("latency outlier"))),
        }
        let (before, texts) = (slow.requests(), (0..12).map(|_| client.get("/").text()).collect::<Vec<_>>());
        assert_eq!(slow.requests() - before, if ejected { 0 } else { 4 }, "{texts:?}");
        assert_eq!(of_backend(&evenkeel, "evenkeel_backend_outlier", one.address()), 0.0);
    }
}

#[test]
fn a_backend_with_slow_checks_serves_with_half_its_weight_until_they_are_quick() {
    let sluggish = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&sluggish);
    let slow = Backend::http(move |request| {
        if request.target == "/health" && told.load(SeqCst) {
            thread::sleep(Duration::from_millis(150));
        }
        Reply::ok("slow")
    });
    let good = Backend::ok("good");
    let keys = "health_check = { type = \"http\", path = \"/health\", interval = \"50ms\", interval_down = \"50ms\", \
                slow_after = \"100ms\" }";
    let evenkeel = in_front_of(&[slow.address(), good.address()], keys);
    wait_for("it is degraded", || state(&evenkeel, slow.address(), "degraded"));
    assert_eq!(of_backend(&evenkeel, "evenkeel_backend_weight", slow.address()), 0.5);
    assert_eq!(of_backend(&evenkeel, "evenkeel_backend_up", slow.address()), 1.0);
    let told = view(evenkeel.admin(), 0);
    let reason = told["reason"].as_str().unwrap();
    assert!(told["state"] == "degraded" && reason.starts_with("check took 1") && reason.ends_with("ms"), "{told}");
    let texts: Vec<_> = (0..30).map(|_| evenkeel.get("/").text()).collect();
    assert_eq!(texts.iter().filter(|text| *text == "slow").count(), 10, "{texts:?}");
    sluggish.store(false, SeqCst);
    wait_for("it is ready", || state(&evenkeel, slow.address(), "ready"));
    assert_eq!(of_backend(&evenkeel, "evenkeel_backend_weight", slow.address()), 1.0);
}
