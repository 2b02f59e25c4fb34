//! Situations whose outcome is published: the simulator, with the balancers that serve traffic, orders them as theory does.

use super::{
    Contender::{self, *},
    Outcome, report,
    testing::play,
};

fn units(outcome: &Outcome, service_ms: f64) -> f64 {
    outcome.mean / 1e6 / service_ms
}

fn near(got: f64, wanted: f64, share: f64) {
    assert!((got / wanted - 1.0).abs() < share, "{got}, wanted {wanted}");
}

/// The mean time in the system, in service times, of `n` exponential servers of which `d` are looked at, as `n` grows
/// (Mitzenmacher 2001, and Vvedenskaya, Dobrushin and Karpelevich 1996).
fn supermarket(load: f64, d: i32) -> f64 {
    let exponent = |i: i32| if d == 1 { f64::from(i - 1) } else { f64::from(d.pow(i as u32) - d) / f64::from(d - 1) };
    (1..if d == 1 { 400 } else { 9 }).map(|i| load.powf(exponent(i))).sum()
}

/// 100 servers at nine tenths of what they can do.
const SUPERMARKET: &str = "duration = \"30s\"\nwarm_up = \"4s\"\narrivals = { rate = \"9000/s\" }\n\
    backend = { count = 100, service = { mean = \"10ms\" } }";

#[test]
fn two_choices_wait_as_the_supermarket_model_says() {
    let [random, two] = play(SUPERMARKET, [Random, PowerOfTwoChoices]);
    near(units(&two, 10.0), supermarket(0.9, 2), 0.06);
    // Ten times the service time. It takes long to get there: all of 30 seconds vary.
    near(units(&random, 10.0), supermarket(0.9, 1), 0.2);
    assert!(two.max_queue <= 8 && random.max_queue >= 5 * two.max_queue, "{two:?}\n{random:?}");
}

/// As many requests as backends, and nobody is ever served: balls into bins.
fn longest(n: u32, contender: Contender) -> u32 {
    let text = format!(
        "duration = \"1s\"\ntimeout = \"1h\"\narrivals = {{ rate = \"{n}/s\" }}\n\
         backend = {{ count = {n}, service = \"100s\" }}"
    );
    let [outcome] = play(&text, [contender]);
    // One is served.
    outcome.max_queue + 1
}

#[test]
fn with_two_choices_the_longest_queue_grows_with_the_logarithm_of_the_logarithm() {
    // Random: ln n / ln ln n (1 + o(1)): 3, 4.2, 5.3 and more in finite cases; two choices: ln ln n / ln 2 + O(1).
    let sizes = [100, 1_000, 10_000];
    let random = sizes.map(|n| longest(n, Random));
    let two = sizes.map(|n| longest(n, PowerOfTwoChoices));
    assert!(two.iter().all(|longest| (2..=4).contains(longest)), "{two:?}");
    assert!(two[2] <= two[0] + 1, "{two:?}");
    assert!(
        random[2] >= random[0] + 2 && random.iter().zip(two).all(|(random, two)| *random > two),
        "{random:?}, {two:?}"
    );
}

/// 100 of one kind above 32 members, where eight are looked at.
#[test]
fn the_least_of_eight_is_near_the_least_of_all() {
    let [exact, eight, two] = play(SUPERMARKET, [ExactLeastConnections, LeastConnections, PowerOfTwoChoices]);
    let [exact, eight, two] = [exact, eight, two].map(|outcome| units(&outcome, 10.0));
    println!("of all {exact:.3}, of eight {eight:.3}, of two {two:.3} service times");
    near(eight, supermarket(0.9, 8), 0.05);
    // Nearly nobody waits where all are looked at.
    assert!(exact < eight && exact < 1.15 && eight < 1.5 && eight < 0.6 * two, "{exact} {eight} {two}");
}

/// A server that joins, and is cold, beside nine with much to do. Least connections sends it everybody until it carries as
/// much as they do, which is when it is slowest.
fn herd(slow_start: &str, contender: Contender) -> Outcome {
    let text = format!(
        "duration = \"24s\"\nwarm_up = \"10s\"\nslow_start = \"{slow_start}\"\narrivals = {{ rate = \"1080/s\" }}\n\
         backend = [{{ count = 9, concurrency = 64, service = {{ mean = \"400ms\" }} }}, {{ name = \"cold\", \
         concurrency = 16, service = {{ mean = \"100ms\" }}, joins = \"10s\", cold = {{ factor = 20, for = \"8s\" }} }}]"
    );
    let [outcome] = play(&text, [contender]);
    outcome
}

#[test]
fn least_connections_herds_to_a_cold_server_unless_it_starts_slowly() {
    let p99 = |outcome: &Outcome| report::millis(outcome, 0.99);
    let (at_once, slowly) = (herd("0s", LeastConnections), herd("10s", LeastConnections));
    println!("p99 {} and {} ms, queues {} and {}", p99(&at_once), p99(&slowly), at_once.max_queue, slowly.max_queue);
    assert!(at_once.max_queue >= 2 * slowly.max_queue, "{at_once:?}\n{slowly:?}");
    assert!(p99(&at_once) > 1.2 * p99(&slowly), "{at_once:?}\n{slowly:?}");
}

/// One of ten is ten times as slow, and would be full with a third of its share.
const ONE_SLOW: &str = "duration = \"20s\"\nwarm_up = \"2s\"\narrivals = { rate = \"1200/s\" }\n\
    backend = [{ count = 9, concurrency = 4, service = { mean = \"10ms\" } }, \
    { name = \"slow\", concurrency = 4, service = { mean = \"100ms\" } }]";

#[test]
fn one_slow_backend_makes_round_robin_suffer_and_not_those_who_look() {
    let [blind, random, rest @ ..] =
        play(ONE_SLOW, [RoundRobin, Random, PowerOfTwoChoices, LeastConnections, LeastResponseTime]);
    for outcome in &rest {
        let p99 = |outcome: &Outcome| report::millis(outcome, 0.99);
        for blind in [&blind, &random] {
            assert!(2.0 * p99(outcome) < p99(blind), "{}: {} {}", outcome.contender.name(), p99(outcome), p99(blind));
        }
        assert!(outcome.max_queue * 10 < blind.max_queue, "{outcome:?}");
    }
}
