//! Graceful degradation: what there is when the first choice is gone, and the way back (PRODUCT.md section 3: `backup`,
//! `when_all_down`, `fallback`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use serde_json::json;

use crate::support::{Backend, Gate, Process, Reply, Site, bearer, call, wait_for, with_token};

const QUICK: &str = "health_check = { type = \"http\", path = \"/health\", interval = \"20ms\", interval_down = \"20ms\", \
                     healthy_threshold = 1, unhealthy_threshold = 1 }\n";

/// A backend whose check passes while `well`, and that holds requests for `/held` until `gate` is open.
fn checked(name: &'static str, well: &Arc<AtomicBool>, gate: &Gate) -> Backend {
    let (well, gate) = (Arc::clone(well), gate.clone());
    Backend::http(move |request| match request.target.as_str() {
        "/health" if well.load(SeqCst) => Reply::ok("ok"),
        "/health" => Reply::new("503 Service Unavailable", "", ""),
        target => {
            if target == "/held" {
                gate.pass();
            }
            Reply::ok(name)
        }
    })
}

fn flag(yes: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(yes))
}

#[test]
fn backups_take_over_and_step_back_and_what_runs_goes_on() {
    let (well, always, gate) = (flag(true), flag(true), Gate::default());
    let (first, backup) = (checked("first", &well, &gate), checked("backup", &always, &gate));
    let backends = format!(
        "backends = [\"{}\", {{ address = \"{}\", backup = true }}]\nslow_start = \"0s\"\n{QUICK}",
        first.address(),
        backup.address()
    );
    let evenkeel = Site::new(format!("[pool.web]\n{backends}")).start();
    let answers = |name: &str| wait_for(name, || evenkeel.get("/").text() == name);
    answers("first");
    let hold = || {
        let mut client = evenkeel.client();
        client.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    let in_flight = |count: f64| {
        wait_for("the held ones are there", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == count);
    };
    let mut at_first = hold();
    in_flight(1.0);
    well.store(false, SeqCst);
    answers("backup");
    let mut at_backup = hold();
    in_flight(2.0);
    well.store(true, SeqCst);
    answers("first");
    for _ in 0..20 {
        assert_eq!(evenkeel.get("/").text(), "first", "the backup rests again");
    }
    gate.open();
    assert_eq!((at_first.response().text().as_str(), at_backup.response().text().as_str()), ("first", "backup"));
    in_flight(0.0);
    evenkeel.assert_no_failure();
}

#[test]
fn where_all_are_down_all_are_tried_until_one_is_up() {
    let (a_well, b_well, gate) = (flag(true), flag(true), Gate::default());
    let (a, b) = (checked("a", &a_well, &gate), checked("b", &b_well, &gate));
    let lines = format!("when_all_down = \"try_any\"\n{QUICK}");
    let evenkeel = Site::new("").pool_with("web", &[a.address(), b.address()], &lines).start();
    let all_down = |yes: bool| {
        let wanted = if yes { 1.0 } else { 0.0 };
        wait_for(&format!("all_down is {wanted}"), || evenkeel.metric("evenkeel_all_down", &[]) == wanted);
    };
    let who = || {
        let answers: Vec<_> = (0..20).map(|_| evenkeel.get("/").text()).collect();
        ["a", "b"].map(|name| answers.iter().any(|answer| answer == name))
    };
    assert_eq!(who(), [true, true]);
    a_well.store(false, SeqCst);
    wait_for("b is alone", || who() == [false, true]);
    b_well.store(false, SeqCst);
    all_down(true);
    wait_for("both are tried", || who() == [true, true]);
    a_well.store(true, SeqCst);
    all_down(false);
    wait_for("a is alone", || who() == [true, false]);
    b_well.store(true, SeqCst);
    wait_for("both are well", || who() == [true, true]);
    evenkeel.assert_no_failure();
}

const ROUTE: &str = "[[route]]\nname = \"r\"\npool = \"web\"\nfallback = { pool = \"spare\" }\n";

fn echo() -> Backend {
    Backend::http(|request| Reply::ok([request.method.as_bytes(), b" ", &request.body].concat()))
}

#[test]
fn a_fallback_gets_the_body_that_nobody_has_pulled() {
    let (dead, spare) = (Backend::refused(), echo());
    let down = "health_check = { initial_state = \"down\" }";
    let site = Site::new(ROUTE).pool_with("web", &[dead.address()], down).pool("spare", spare.address());
    let evenkeel = site.start();
    for length in [0, 5, 500_000] {
        let answer = evenkeel.client().with_body("POST", "/", &vec![b'x'; length]);
        assert_eq!((answer.status, answer.body.len()), (200, length + 5), "{length} bytes");
    }
}

/// The first attempt has pulled the body; when it fails, its pool has nobody left.
fn emptied(length: usize, buffer: &str) -> (crate::support::Response, Backend) {
    let (arrived, drained) = (flag(false), Gate::default());
    let (told, gate) = (Arc::clone(&arrived), drained.clone());
    let backend = Backend::raw(move |conn, _| {
        if conn.request().is_some() {
            told.store(true, SeqCst);
            gate.pass();
            conn.reset();
        }
    });
    let spare = echo();
    let lines = format!("retry = {{ attempts = 2, buffer = \"{buffer}\" }}");
    let site = Site::new(ROUTE).pool_with("web", &[backend.address()], &lines).pool("spare", spare.address());
    let evenkeel = Process::spawn(&with_token(&site.toml()));
    let mut client = evenkeel.client();
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.send([head.as_bytes(), &vec![b'x'; length]].concat());
    wait_for("it is at the backend", || arrived.load(SeqCst));
    let line = format!("PATCH /api/v1/pools/web/backends/{}", backend.address());
    let answer = call(evenkeel.listener("admin"), &line, &bearer(), &json!({"state": "maintenance"}).to_string());
    assert_eq!(answer.status, 200, "{}", answer.text());
    drained.open();
    (client.response(), spare)
}

#[test]
fn a_fallback_gets_the_body_that_is_held_whole() {
    for length in [5, 20_000] {
        let (answer, _spare) = emptied(length, "64KiB");
        assert_eq!((answer.status, answer.body.len()), (200, length + 4), "{length} bytes: {answer:?}");
        assert!(answer.body[4..].iter().all(|byte| *byte == b'x'));
    }
}

#[test]
fn a_body_that_is_not_held_is_never_sent_in_part() {
    let (answer, spare) = emptied(20_000, "1KiB");
    answer.assert_refused(502, "reset");
    assert_eq!(spare.connections(), 0);
}

#[test]
fn what_the_first_tier_fails_goes_to_a_backup_at_once() {
    let (dead, backup) = (Backend::refused(), Backend::ok("backup"));
    let address = dead.address();
    let pool = format!(
        "backends = [\"{address}\", {{ address = \"{}\", backup = true }}]\nhealth_check = {{ type = \"off\" }}\n\
         circuit_breaker = {{ enabled = false }}\nretry = {{ budget = \"100%\" }}\n",
        backup.address()
    );
    let evenkeel = Site::new(format!("[pool.web]\n{pool}")).start();
    for _ in 0..5 {
        assert_eq!(evenkeel.get("/").text(), "backup");
    }
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("backend", &address.to_string())]), 5.0);
    assert_eq!(evenkeel.metric("evenkeel_retries_total", &[("reason", "connect")]), 5.0, "once each");
}
