//! Who gets the next request: each algorithm, weights, the backup tier (PRODUCT.md section 3).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use crate::support::{Backend, Client, Evenkeel, Gate, Reply, Setup, wait_for};

const ALGORITHMS: [&str; 6] = [
    "round_robin",
    "random",
    "power_of_two_choices",
    "least_connections",
    "weighted_round_robin",
    "weighted_least_connections",
];

/// One worker in front of `backends`, each with further keys of its own.
fn pool(backends: &[(&Backend, &str)], keys: &str) -> String {
    let tables = backends.iter().map(|(backend, keys)| {
        let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
        format!("{{ address = \"{}\"{keys} }}", backend.address())
    });
    let tables = tables.collect::<Vec<_>>().join(", ");
    Setup::to(&[]).one_worker().pool(keys).toml().replace("backends = []", &format!("backends = [{tables}]"))
}

fn start(backends: &[(&Backend, &str)], keys: &str) -> Evenkeel {
    Evenkeel::start(&pool(backends, keys))
}

/// The texts of `count` answers in turn.
fn texts(evenkeel: &Evenkeel, count: usize) -> Vec<String> {
    let mut client = evenkeel.client();
    (0..count).map(|_| client.get("/").text()).collect()
}

/// Sends a request and does not wait for its answer.
fn asked(evenkeel: &Evenkeel) -> Client {
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client
}

#[test]
fn every_algorithm_spreads_by_weight() {
    for algorithm in ALGORITHMS {
        let (light, heavy) = (Backend::ok("light"), Backend::ok("heavy"));
        let keys = format!("algorithm = \"{algorithm}\"");
        let evenkeel = start(&[(&light, "weight = 1"), (&heavy, "weight = 3")], &keys);
        let texts = texts(&evenkeel, 400);
        let got = texts.iter().filter(|text| *text == "light").count();
        // Where chance or what is in flight decides, 100 is the mean and at most 9 the standard deviation.
        let room = if algorithm.ends_with("round_robin") { 0 } else { 60 };
        assert!(got.abs_diff(100) <= room, "{algorithm}: {got} of 400 went to a quarter of the weight");
        for (backend, weight) in [(&light, 1.0), (&heavy, 3.0)] {
            let labels = [("pool", "web"), ("backend", &*backend.address().to_string())];
            assert_eq!(evenkeel.series("evenkeel_backend_weight", &labels), Some(weight));
        }
    }
}

#[test]
fn every_algorithm_uses_all_backends_alike_without_weights() {
    for algorithm in ALGORITHMS {
        let backends = [Backend::ok("a"), Backend::ok("b"), Backend::ok("c"), Backend::ok("d")];
        let addresses = backends.each_ref().map(Backend::address);
        let evenkeel = Setup::to(&addresses).pool(format!("algorithm = \"{algorithm}\"")).start();
        let texts = texts(&evenkeel, 400);
        for letter in ["a", "b", "c", "d"] {
            let got = texts.iter().filter(|text| *text == letter).count();
            assert!((40..=160).contains(&got), "{algorithm}: {letter} got {got} of 400");
        }
    }
}

#[test]
fn round_robin_is_smooth() {
    let (a, b, c) = (Backend::ok("a"), Backend::ok("b"), Backend::ok("c"));
    let evenkeel = start(&[(&a, "weight = 5"), (&b, ""), (&c, "")], "algorithm = \"round_robin\"");
    let order = texts(&evenkeel, 70).concat();
    for window in order.as_bytes().windows(7) {
        let times = |letter: u8| window.iter().filter(|&&one| one == letter).count();
        assert_eq!((times(b'a'), times(b'b'), times(b'c')), (5, 1, 1), "in {order}");
    }
    assert!(!order.contains("aaaaa"), "five in a row are a burst: {order}");
    assert!(!order.contains("bc") && !order.contains("cb"), "{order}");
}

#[test]
fn the_busy_one_is_left_alone() {
    for algorithm in ["least_connections", "power_of_two_choices", "weighted_least_connections"] {
        let gate = Gate::default();
        let (busy, idle) = (Backend::behind(&gate, "busy"), Backend::ok("idle"));
        let evenkeel = start(&[(&busy, ""), (&idle, "")], &format!("algorithm = \"{algorithm}\""));
        let mut clients = Vec::new();
        wait_for("a request is at the busy one", || {
            if busy.requests() == 0 {
                clients.push(asked(&evenkeel));
            }
            busy.requests() > 0
        });
        let held = || evenkeel.metric("evenkeel_backend_in_flight", &[("backend", &idle.address().to_string())]);
        wait_for("the other one is idle", || held() == 0.0);
        let before = busy.requests();
        let texts = texts(&evenkeel, 20);
        assert!(texts.iter().all(|text| text == "idle"), "{algorithm}: {texts:?}");
        assert_eq!(busy.requests(), before, "{algorithm}");
        gate.open();
    }
}

#[test]
fn requests_in_flight_are_shared_out_by_weight() {
    for algorithm in ["least_connections", "weighted_least_connections"] {
        let gate = Gate::default();
        let (light, heavy) = (Backend::behind(&gate, "light"), Backend::behind(&gate, "heavy"));
        let evenkeel = start(&[(&light, ""), (&heavy, "weight = 3")], &format!("algorithm = \"{algorithm}\""));
        let mut clients = Vec::new();
        for number in 1..=40 {
            clients.push(asked(&evenkeel));
            wait_for("it is at a backend", || light.requests() + heavy.requests() == number);
        }
        assert_eq!((light.requests(), heavy.requests()), (10, 30), "{algorithm}");
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
}

#[test]
fn a_backend_of_weight_zero_gets_nothing() {
    for algorithm in ALGORITHMS {
        let (none, all) = (Backend::ok("none"), Backend::ok("all"));
        let evenkeel = start(&[(&none, "weight = 0"), (&all, "")], &format!("algorithm = \"{algorithm}\""));
        assert!(texts(&evenkeel, 30).iter().all(|text| text == "all"), "{algorithm}");
        assert_eq!(none.connections(), 0, "{algorithm}");
    }
}

/// Answers `/health` by `well`, everything else with `text`.
fn checked(well: &Arc<AtomicBool>, text: &'static str) -> Backend {
    let well = Arc::clone(well);
    Backend::http(move |request| match (request.target.as_str(), well.load(SeqCst)) {
        ("/health", false) => Reply::new("503 Service Unavailable", "", ""),
        _ => Reply::ok(text),
    })
}

const CHECKS: &str = "health_check = { type = \"http\", path = \"/health\", interval = \"20ms\", \
                      interval_down = \"20ms\" }";

#[test]
fn a_backup_serves_only_while_no_other_can() {
    let (first_well, second_well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    let always = Arc::new(AtomicBool::new(true));
    let first = checked(&first_well, "main");
    let second = checked(&second_well, "main");
    let backup = checked(&always, "backup");
    let evenkeel = start(&[(&first, ""), (&backup, "backup = true"), (&second, "")], CHECKS);
    let up = || evenkeel.metric("evenkeel_backend_up", &[("pool", "web")]);
    let only = |wanted: &str| texts(&evenkeel, 10).iter().all(|text| text == wanted);
    assert!(only("main"), "all are well");
    first_well.store(false, SeqCst);
    wait_for("one is down", || up() == 2.0);
    assert!(only("main"), "one of two is left");
    second_well.store(false, SeqCst);
    wait_for("both are down", || up() == 1.0);
    assert!(only("backup"), "none but the backup is left");
    assert_eq!(evenkeel.metric("evenkeel_all_down", &[("pool", "web")]), 0.0, "the backup is not");
    first_well.store(true, SeqCst);
    wait_for("one is back", || up() == 2.0);
    assert!(only("main"), "the backup rests again");
}

#[test]
fn no_algorithm_picks_a_backend_that_is_down() {
    for algorithm in ALGORITHMS {
        let (well, ill) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let backends = [checked(&well, "well"), checked(&ill, "ill"), checked(&well, "well")];
        let addresses = backends.each_ref().map(Backend::address);
        let keys = format!("algorithm = \"{algorithm}\"\n{CHECKS}");
        let evenkeel = Setup::to(&addresses).pool(keys).start();
        wait_for("one is down", || evenkeel.metric("evenkeel_backend_up", &[("pool", "web")]) == 2.0);
        assert!(texts(&evenkeel, 30).iter().all(|text| text == "well"), "{algorithm}");
    }
}

#[test]
fn a_full_backend_is_passed_over() {
    for algorithm in ALGORITHMS {
        let gate = Gate::default();
        let (full, free) = (Backend::behind(&gate, "full"), Backend::ok("free"));
        let keys = format!("algorithm = \"{algorithm}\"\nmax_connections = 1");
        let evenkeel = start(&[(&full, ""), (&free, "")], &keys);
        let mut clients = Vec::new();
        wait_for("one is full", || {
            if full.requests() == 0 {
                let mut client = asked(&evenkeel);
                // An answer means that the other one had it; the one that is full keeps silent.
                if client.silent_for(std::time::Duration::from_millis(100)) {
                    clients.push(client);
                }
            }
            full.requests() == 1
        });
        assert!(texts(&evenkeel, 20).iter().all(|text| text == "free"), "{algorithm}");
        gate.open();
    }
}
