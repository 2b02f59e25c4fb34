//! A backend that joins a running pool, or comes back, begins slowly (PRODUCT.md section 3, `slow_start`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::json;

use crate::support::{
    Backend, Evenkeel, Process, Reply, Setup, bearer, call, request, scrape, sum_of, told, wait_for, with_token,
};

const CHECKS: &str = "health_check = { type = \"http\", path = \"/health\", interval = \"20ms\", \
                      interval_down = \"20ms\" }";

/// Answers `/health` by `well`, everything else with `text`.
fn checked(well: &Arc<AtomicBool>, text: &'static str) -> Backend {
    let well = Arc::clone(well);
    Backend::http(move |request| match (request.target.as_str(), well.load(SeqCst)) {
        ("/health", false) => Reply::new("503 Service Unavailable", "", ""),
        _ => Reply::ok(text),
    })
}

/// One that has been well, and one that always is.
struct Story {
    well: Arc<AtomicBool>,
    back: Backend,
    _stays: Backend,
    evenkeel: Evenkeel,
}

impl Story {
    fn new(keys: &str) -> Self {
        let (well, always) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let (back, stays) = (checked(&well, "back"), checked(&always, "stays"));
        let keys = format!("{keys}\n{CHECKS}");
        let evenkeel = Setup::to(&[back.address(), stays.address()]).one_worker().pool(keys).start();
        Self { well, back, _stays: stays, evenkeel }
    }

    /// The weight in effect of the one that has been well.
    fn weight(&self) -> f64 {
        let labels = [("backend", &*self.back.address().to_string())];
        self.evenkeel.metric("evenkeel_backend_weight", &labels)
    }

    /// It goes down, and is let up again.
    fn recover(&self) {
        self.well.store(false, SeqCst);
        wait_for("it is down", || self.weight() == 0.0);
        self.well.store(true, SeqCst);
    }

    /// How many of `count` requests, each with a key of its own, it gets.
    fn share(&self, count: usize) -> usize {
        let mut client = self.evenkeel.client();
        let ask = |number: &usize| request("GET", "test", "/", &format!("X-Key: {number}\r\n"));
        (0..count).filter(|number| client.exchange(ask(number)).text() == "back").count()
    }
}

#[test]
fn who_comes_back_gets_a_tenth_at_first() {
    for (algorithm, keys) in
        [("round_robin", ""), ("least_connections", ""), ("hash", "hash = { key = \"header:x-key\" }")]
    {
        let story = Story::new(&format!("algorithm = \"{algorithm}\"\n{keys}\nslow_start = \"60s\""));
        assert_eq!(story.weight(), 1.0, "{algorithm}: the start of the process is no recovery");
        story.recover();
        wait_for("it has begun", || story.weight() > 0.0);
        let (before, got, after) = (story.weight(), story.share(400) as f64, story.weight());
        assert!((0.1..0.5).contains(&before) && before <= after, "{algorithm}: {before} to {after}");
        let share = |weight: f64| 400.0 * weight / (1.0 + weight);
        // Where chance or a hash decides, the standard deviation is 6.
        let room = if algorithm == "round_robin" { 4.0 } else { 30.0 };
        let fits = got > 0.0 && share(before) - room <= got && got <= share(after) + room;
        assert!(fits, "{algorithm}: {got} of 400 for a weight from {before} to {after}");
        story.evenkeel.assert_no_failure();
    }
}

#[test]
fn the_weight_grows_until_it_is_whole() {
    let story = Story::new("algorithm = \"round_robin\"\nslow_start = \"4s\"");
    story.recover();
    let mut seen = Vec::new();
    wait_for("it has its whole weight", || {
        seen.push(story.weight());
        seen.ends_with(&[1.0])
    });
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    let ramp = seen.iter().filter(|weight| (0.1..1.0).contains(*weight)).count();
    // Sixteen steps, of which a machine that is busy may hide some; each scrape sees one table's weight.
    assert!((4..=18).contains(&ramp) && seen.iter().all(|&weight| weight == 0.0 || weight >= 0.1), "{seen:?}");
    assert_eq!(story.share(40), 20);
}

#[test]
fn without_a_slow_start_it_has_all_at_once() {
    let story = Story::new("algorithm = \"round_robin\"\nslow_start = \"0s\"");
    story.recover();
    wait_for("it is back", || story.weight() > 0.0);
    assert_eq!(story.weight(), 1.0);
    assert_eq!(story.share(40), 20);
}

#[test]
fn the_first_check_of_a_process_is_no_recovery() {
    let always = Arc::new(AtomicBool::new(true));
    let backends = [checked(&always, "a"), checked(&always, "b")];
    let down = CHECKS.replace("interval_down", "initial_state = \"down\", interval_down");
    let setup = Setup::to(&backends.each_ref().map(Backend::address));
    let evenkeel = setup.pool(format!("slow_start = \"60s\"\n{down}")).start();
    wait_for("both have begun", || evenkeel.metric("evenkeel_backend_up", &[]) == 2.0);
    wait_for("with all their weight", || evenkeel.metric("evenkeel_backend_weight", &[]) == 2.0);
}

fn file(backends: &[&Backend], keys: &str) -> String {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address()).collect();
    with_token(&Setup::to(&addresses).pool(keys).toml())
}

fn weight(evenkeel: &Process, backend: &Backend) -> f64 {
    let labels = [("backend", &*backend.address().to_string())];
    sum_of(&scrape(evenkeel.listener("admin")), "evenkeel_backend_weight", &labels).unwrap_or(0.0)
}

#[test]
fn who_joins_begins_slowly_and_reloads_neither_end_nor_repeat_that() {
    let (old, new) = (Backend::ok("old"), Backend::ok("new"));
    let slow = "slow_start = \"60s\"";
    let evenkeel = Process::spawn(&file(&[&old], slow));
    let (of_old, of_new) = (|| weight(&evenkeel, &old), || weight(&evenkeel, &new));
    assert_eq!(of_old(), 1.0);
    evenkeel.reload(&file(&[&old, &new], slow));
    assert!((0.1..0.5).contains(&of_new()) && of_old() == 1.0, "{}, {}", of_new(), of_old());
    // The first step comes after three seconds.
    wait_for("it has made a step", || of_new() > 0.14);
    let before = of_new();
    evenkeel.reload(&file(&[&old, &new], &format!("{slow}\nconnect_timeout = \"3s\"")));
    assert!(before <= of_new() && of_new() < 0.5, "{before}, {}", of_new());
    let pools = told(evenkeel.listener("admin"), "/api/v1/pools");
    let told = &pools["pools"][0]["backends"][1];
    assert_eq!(told["weight"], 1, "as it was set: {pools}");
    assert!(told["effective_weight"].as_f64().is_some_and(|weight| (before..0.5).contains(&weight)), "{pools}");

    evenkeel.reload(&file(&[&old, &new], "slow_start = \"0s\""));
    assert_eq!(of_new(), 1.0);
    evenkeel.reload(&file(&[&old, &new], slow));
    assert_eq!(of_new(), 1.0, "what is over is over");

    evenkeel.reload(&file(&[&old], slow));
    evenkeel.reload(&file(&[&old, &new], slow));
    assert!((0.1..0.5).contains(&of_new()), "it was away: {}", of_new());
}

#[test]
fn a_drain_that_ends_is_a_recovery() {
    let (a, b) = (Backend::ok("a"), Backend::ok("b"));
    let evenkeel = Process::spawn(&file(&[&a, &b], "slow_start = \"60s\""));
    for state in ["drain", "maintenance"] {
        for (wanted, least, most) in [(state, 0.0, 0.0), ("ready", 0.1, 0.4)] {
            let line = format!("PATCH /api/v1/pools/web/backends/{}", a.address());
            let answer = call(evenkeel.listener("admin"), &line, &bearer(), &json!({ "state": wanted }).to_string());
            assert_eq!(answer.status, 200, "{}", answer.text());
            let (got, other) = (weight(&evenkeel, &a), weight(&evenkeel, &b));
            assert!((least..=most).contains(&got) && other == 1.0, "{wanted}: {got}, {other}");
        }
    }
}
