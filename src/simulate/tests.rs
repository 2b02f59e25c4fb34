//! The simulator against what queueing theory says exactly, and against itself.

use super::{testing::play, *};
use std::path::Path;

const RR: Contender = Contender::RoundRobin;

fn mean_ms(outcome: &Outcome) -> f64 {
    outcome.mean / 1e6
}

fn near(got: f64, wanted: f64, share: f64) {
    assert!((got / wanted - 1.0).abs() < share, "{got}, wanted {wanted}");
}

/// One backend, with `service` and that many places, at 100 requests a second for 500 seconds.
fn queue(service: &str, concurrency: u32) -> Outcome {
    let text = format!(
        "duration = \"500s\"\nwarm_up = \"5s\"\narrivals = {{ rate = \"100/s\" }}\n\
         backend = {{ service = {service}, concurrency = {concurrency} }}"
    );
    let [outcome] = play(&text, [RR]);
    outcome
}

#[test]
fn queues_are_those_of_kendall_and_pollaczek_and_khinchine() {
    // M/M/1 at half its capacity: twice the service time, and exponential again.
    let one = queue("{ mean = \"5ms\" }", 1);
    near(mean_ms(&one), 10.0, 0.04);
    near(report::millis(&one, 0.99), 10.0 * f64::ln(100.0), 0.06);
    // M/D/1: half of that wait.
    near(mean_ms(&queue("\"5ms\"", 1)), 7.5, 0.03);
    // M/M/2 at half its capacity: 1 / (1 - 1/4) of the service time.
    near(mean_ms(&queue("{ mean = \"10ms\" }", 2)), 13.333, 0.03);
    // M/G/1, by the variance of the service time (Pollaczek and Khinchine): e^(sigma^2) of the mean square.
    let wait = 0.1 * 25.0 * 0.25f64.exp() / (2.0 * 0.5);
    near(mean_ms(&queue("{ type = \"lognormal\", mean = \"5ms\", shape = 0.5 }", 1)), 5.0 + wait, 0.04);
}

#[test]
fn the_same_seed_gives_the_same_numbers_and_another_gives_others() {
    let scenario = Scenario::parse(BUILT_IN, Path::new("built-in.toml")).unwrap();
    let traffic = Traffic::load(&scenario).unwrap();
    let csv = |scenario: &Scenario, threads| {
        let short = Scenario { duration: Some(std::time::Duration::from_secs(8)), ..scenario.clone() };
        csv(&compare(&short, &traffic, &[RR, Contender::LeastConnections], threads, &|_| {}))
    };
    assert_eq!(csv(&scenario, 1), csv(&scenario, 2));
    assert_ne!(csv(&scenario, 1), csv(&Scenario { seed: 2, ..scenario.clone() }, 1));
}

#[test]
fn a_backend_that_dies_costs_a_retry_and_no_request() {
    let text = |fails: &str, rest: &str| {
        format!(
            "duration = \"10s\"\ndown_after = \"1s\"\nup_after = \"1s\"\n{rest}\narrivals = {{ rate = \"200/s\" }}\n\
             backend = [{{ service = \"5ms\", fails = [{fails}] }}, {{ service = \"1ms\", concurrency = 4 }}]"
        )
    };
    let at = "{ at = \"2s\", for = \"3s\" }";
    let [outcome] = play(&text(at, ""), [RR]);
    // A second of requests, and what it had: each is sent to both, as the retry of one is in turn as well.
    assert!((150..260).contains(&outcome.retries) && outcome.failures == 0, "{outcome:?}");
    let [outcome] = play(&text(at, "retries = 0"), [RR]);
    assert!((75..130).contains(&outcome.failures) && outcome.retries == 0, "every other one: {outcome:?}");
    let [outcome] = play(&text("", ""), [RR]);
    assert_eq!((outcome.failures, outcome.retries), (0, 0));
    assert_eq!(outcome.latency.len(), outcome.requests);
}

#[test]
fn with_nobody_to_ask_requests_fail() {
    let text = "duration = \"10s\"\ndown_after = \"1s\"\nup_after = \"1s\"\narrivals = { rate = \"100/s\" }\n\
                backend = { service = \"1ms\", fails = { at = \"2s\", for = \"3s\" } }";
    let [outcome] = play(text, [RR]);
    assert!((330..470).contains(&outcome.failures), "four seconds of it: {outcome:?}");
}

#[test]
fn who_waits_too_long_has_failed() {
    // Twice as many as can be served. Whoever is served has waited nearly as long as anybody waits, so most of them fail
    // after all: the backend works for nobody.
    let text = "duration = \"50s\"\ntimeout = \"1s\"\nwarm_up = \"5s\"\narrivals = { rate = \"200/s\" }\n\
                backend = { service = \"10ms\" }";
    let [outcome] = play(text, [RR]);
    let share = outcome.failures as f64 / outcome.requests as f64;
    assert!((0.5..1.0).contains(&share), "{share}");
    assert!(report::millis(&outcome, 1.0) <= 1001.0 && report::millis(&outcome, 0.5) > 900.0);
}

#[test]
fn answers_take_their_time_on_the_way() {
    let text = "duration = \"50s\"\narrivals = { rate = \"1/s\" }\nresponse = { size = \"1MiB\" }\n\
                backend = { service = \"10ms\", bandwidth = \"10MiB/s\", concurrency = 9 }";
    let [outcome] = play(text, [RR]);
    near(report::millis(&outcome, 0.1), 110.0, 0.01);
}

#[test]
fn work_follows_weights() {
    let text = "duration = \"100s\"\narrivals = { rate = \"400/s\" }\n\
                backend = [{ weight = 3, service = \"1ms\" }, { weight = 1, service = \"1ms\" }]";
    let [even, blind] = play(text, [RR, Contender::ModuloHash]);
    near(even.imbalance, 1.0, 0.01);
    // It knows no weights: half of the work for a quarter of them, where 1.25 = (2/3 + 2) / 2 is the mean of both.
    near(blind.imbalance, 1.5, 0.05);
    assert_eq!(blind.kept, 1.0);
    assert!(even.kept < 0.75, "{}", even.kept);
}

#[test]
fn balancers_that_know_nothing_of_each_other_do_worse() {
    let text = |instances| {
        format!(
            "duration = \"30s\"\ninstances = {instances}\narrivals = {{ rate = \"900/s\" }}\n\
             backend = {{ count = 10, service = {{ mean = \"10ms\" }} }}"
        )
    };
    let [one] = play(&text(1), [Contender::LeastConnections]);
    let [many] = play(&text(16), [Contender::LeastConnections]);
    assert!(many.mean > 1.3 * one.mean, "{} ms, {} ms", mean_ms(&many), mean_ms(&one));
}

#[test]
fn a_log_is_played_as_it_was() {
    let path = std::env::temp_dir().join(format!("evenkeel-simulate-{}.json", std::process::id()));
    let line = |n: u32| {
        format!("{{\"ts\":\"2026-11-21T10:00:{:02}.000Z\",\"client_ip\":\"192.0.2.{n}\",\"duration_ms\":20}}\n", n % 60)
    };
    std::fs::write(&path, (0..60).map(line).collect::<String>()).unwrap();
    let text = |rest: &str| format!("arrivals = {{ log = {:?} }}\n{rest}", path.to_str().unwrap());
    let [outcome] = play(&text("[[backend]]\n"), [RR]);
    let [shorter] = play(&text("duration = \"30s\"\n[[backend]]\n"), [RR]);
    let [slower] = play(&text("[[backend]]\nservice = \"70ms\"\n"), [RR]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!((outcome.requests, shorter.requests), (60, 30));
    near(report::millis(&outcome, 0.5), 20.0, 0.001);
    near(report::millis(&slower, 0.5), 70.0, 0.001);
    let scenario = testing::scenario("arrivals = { log = \"/nowhere/access.json\" }\n[[backend]]\n");
    let error = Traffic::load(&scenario).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/access.json: the log cannot be read"), "{error}");
}

#[test]
fn everybody_has_a_row_and_a_line_in_the_picture() {
    let text =
        "duration = \"2s\"\narrivals = { rate = \"500/s\" }\nbackend = { count = 3, service = { mean = \"4ms\" } }";
    let outcomes = play(text, EVERY);
    let (rows, csv, json) = (rows(&outcomes), csv(&outcomes), json(&outcomes));
    let picture = draw(&outcomes, "a & b").unwrap();
    assert_eq!((rows.len(), csv.lines().count()), (EVERY.len() + 1, EVERY.len() + 1));
    for (place, contender) in EVERY.into_iter().enumerate() {
        let name = contender.name();
        assert_eq!(Contender::named(name), Some(contender));
        assert_eq!(rows[place + 1][0], name);
        assert_eq!(json[place]["algorithm"], name);
        assert!(csv.contains(&format!("\n{name},")) && picture.contains(name), "{name}");
    }
    assert!(csv.lines().all(|line| line.matches(',').count() == 11), "{csv}");
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>") && picture.contains("a &amp; b"));
    assert!(picture.len() < 40_000, "{}", picture.len());
    assert_eq!(json[0]["queue"]["longest"].as_array().unwrap().len() as u64, outcome::PIECES);
}

/// The scenarios beside the pictures of `config/algorithms`, and the built-in one.
#[test]
fn every_scenario_of_the_documentation_is_valid() {
    Scenario::parse(BUILT_IN, Path::new("built-in.toml")).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/algorithms");
    let (mut count, mut pictures) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            Scenario::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
            count += 1;
        } else if path.extension().is_some_and(|extension| extension == "svg") {
            assert!(path.with_extension("toml").exists(), "{}: where is its scenario?", path.display());
            assert!(std::fs::metadata(&path).unwrap().len() < 40_000, "{}: it is larger than 40 kB", path.display());
            pictures += 1;
        }
    }
    assert!(count >= 5 && pictures >= 3, "{count} scenarios, {pictures} pictures");
}
