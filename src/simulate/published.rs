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

/// As many requests as backends, and nobody is ever done: balls into bins. The longest queue, as a mean over seeds.
fn longest(n: u32, contender: Contender) -> f64 {
    let one = |seed: u32| {
        let text = format!(
            "seed = {seed}\nduration = \"1s\"\ntimeout = \"1h\"\narrivals = {{ rate = \"{n}/s\" }}\n\
             backend = {{ count = {n}, service = \"100s\" }}"
        );
        let [outcome] = play(&text, [contender]);
        // One is served.
        f64::from(outcome.max_queue + 1)
    };
    (1..=6).map(one).sum::<f64>() / 6.0
}

#[test]
fn with_two_choices_the_longest_queue_grows_with_the_logarithm_of_the_logarithm() {
    let sizes = [100, 10_000];
    let random = sizes.map(|n| longest(n, Random));
    let two = sizes.map(|n| longest(n, PowerOfTwoChoices));
    println!("random {random:?}, two choices {two:?}");
    // ln ln n / ln 2 + O(1), of which the first grows by 1 here.
    assert!(two[0] >= 2.0 && two[1] <= 4.0 && two[1] - two[0] < 1.2, "{two:?}");
    // ln n / ln ln n (1 + o(1)), of which the first grows by 1.1 here, and the rest as much again.
    assert!(random[1] - random[0] > 1.2 && random[0] > two[0] + 0.8 && random[1] > two[1] + 2.0, "{random:?} {two:?}");
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

/// The first 300 ms after a server has joined nine that have much to do. It is cold, and can serve little.
fn herd(slow_start: &str, contender: Contender) -> Outcome {
    let text = format!(
        "duration = \"10300ms\"\nwarm_up = \"10s\"\nslow_start = \"{slow_start}\"\narrivals = {{ rate = \"1000/s\" }}\n\
         backend = [{{ count = 9, concurrency = 100, service = {{ mean = \"800ms\" }} }}, {{ name = \"cold\", \
         concurrency = 8, service = {{ mean = \"50ms\" }}, joins = \"10s\", cold = {{ factor = 10, for = \"8s\" }} }}]"
    );
    let [outcome] = play(&text, [contender]);
    outcome
}

#[test]
fn least_connections_herds_to_a_cold_server_unless_it_starts_slowly() {
    let (blind, at_once, slowly) =
        (herd("0s", RoundRobin), herd("0s", LeastConnections), herd("10s", LeastConnections));
    println!("{blind:?}\n{at_once:?}\n{slowly:?}");
    // It gets everybody until it carries as much as the others, 90 each: in turn it would get thirty of 300.
    assert!((60..100).contains(&at_once.max_queue) && at_once.max_queue > 2 * blind.max_queue);
    assert!(slowly.max_queue * 3 < at_once.max_queue, "a tenth of that, and then slowly more");
    assert!(slowly.mean < 0.98 * at_once.mean);
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
