//! What a route's limits say together.

use super::*;
use crate::{
    config::{self, Config},
    policy::{Stage, test_head},
    telemetry::metrics::{LimitMetrics, Telemetry},
};
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

/// What remembers over reloads, and what counts.
struct World {
    memory: Memory,
    telemetry: Telemetry,
    /// Counts go on, whoever drops a limit.
    counts: Vec<Arc<LimitMetrics>>,
}

impl World {
    fn new() -> Self {
        let telemetry = Telemetry::new(&["x"], &[1.0], 2);
        let counts = ["a", "b", "dry", "slow", "per-ip"].map(|name| telemetry.limit(name)).into();
        Self { memory: Memory::default(), telemetry, counts }
    }

    /// The limits of the route that has `route` beside its pool.
    fn build(&self, limits: &str, route: &str) -> (Rates, OfRoute) {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:1\"\n{limits}\n[[route]]\nname = \"r\"\npool = \"web\"\n{route}\n\
             [pool.web]\nbackends = \"10.0.0.1:80\"\n"
        );
        let config = Config::parse(&text, Path::new("e.toml")).unwrap_or_else(|problems| panic!("{problems}"));
        let rates = self.memory.rates(&config.rate_limits, &self.telemetry);
        rates.values().for_each(|rate| rate.settle());
        let limits = self.memory.limits(&config.routes[0], &rates);
        (rates, limits)
    }

    fn limits(&self, limits: &str, names: &str) -> Box<Limits> {
        self.build(limits, &format!("rate_limit = {names}")).1.0.unwrap()
    }

    /// What has been counted of the limit `name`.
    fn limited(&self, name: &str) -> u64 {
        assert!(!self.counts.is_empty());
        let text = self.telemetry.render();
        let start = format!("evenkeel_rate_limited_total{{limit=\"{name}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

/// What a request at `now` is told, and what it leaves behind.
fn ask_with(limits: &Limits, now: u64, head: &str) -> (Verdict, Visit) {
    let mut visit = Visit { stage: Stage::Limits, ..Visit::default() };
    let client = Some("192.0.2.1".parse().unwrap());
    let asked = Asked { request: &mut test_head(head), client, route: "r", now, worker: 1 };
    let verdict = limits.ask(&mut visit, &asked);
    (verdict, visit)
}

fn ask(limits: &Limits, now: u64) -> (Verdict, Visit) {
    ask_with(limits, now, "GET / HTTP/1.1\nHost: a")
}

fn said<'v>(visit: &'v Visit, name: &str) -> &'v str {
    visit.answer.find(name).map_or("", |value| std::str::from_utf8(value).unwrap())
}

/// Whether it passed at once.
fn passes(limits: &Limits, now: u64) -> bool {
    matches!(ask(limits, now).0, Verdict::Pass)
}

#[test]
fn answers_say_where_a_client_stands() {
    let world = World::new();
    let limits = world.limits("[rate_limit.per-ip]\nkey = \"client_ip\"\nrate = \"2/s\"\nburst = 4", "\"per-ip\"");
    for (now, left, time) in [(0, "2", "1"), (0, "2", "1"), (0, "1", "2"), (0, "0", "1")] {
        let (verdict, visit) = ask(&limits, now);
        assert!(matches!(verdict, Verdict::Pass));
        assert_eq!(said(&visit, "ratelimit"), format!("\"per-ip\";r={left};t={time}"));
        assert_eq!(said(&visit, "ratelimit-policy"), "\"per-ip\";q=2;w=1");
        assert_eq!((said(&visit, "retry-after"), &visit.limit), ("", &None));
    }
    let (verdict, visit) = ask(&limits, SECOND / 4);
    assert!(matches!(verdict, Verdict::Refuse(Kind::RateLimited)), "{verdict:?}");
    assert_eq!(said(&visit, "ratelimit"), "\"per-ip\";r=0;t=1");
    assert_eq!(said(&visit, "ratelimit-policy"), "\"per-ip\";q=2;w=1");
    assert_eq!((said(&visit, "retry-after"), visit.limit.as_deref()), ("1", Some("per-ip")));
    assert_eq!(world.limited("per-ip"), 1);
    assert!(passes(&limits, SECOND / 2));
}

#[test]
fn waiting_times_are_whole_seconds_rounded_up() {
    let world = World::new();
    let limits = world.limits("[rate_limit.login]\nkey = \"client_ip\"\nrate = \"7/m\"", "\"login\"");
    assert_eq!(said(&ask(&limits, 0).1, "ratelimit"), "\"login\";r=0;t=9");
    let (_, visit) = ask(&limits, SECOND / 2);
    assert_eq!((said(&visit, "retry-after"), said(&visit, "ratelimit")), ("9", "\"login\";r=0;t=9"));
    assert_eq!(said(&visit, "ratelimit-policy"), "\"login\";q=7;w=60");
    assert_eq!(said(&ask(&limits, 60 * SECOND / 7 - 1).1, "retry-after"), "1");
}

const TWO: &str = "[rate_limit.a]\nkey = \"client_ip\"\nrate = \"10/s\"\nburst = 5\n\
                   [rate_limit.b]\nkey = \"global\"\nrate = \"1/s\"\nburst = 2\n";

#[test]
fn a_request_that_one_limit_refuses_is_counted_by_none() {
    let world = World::new();
    for names in ["[\"a\", \"b\"]", "[\"b\", \"a\"]"] {
        let limits = world.limits(TWO, names);
        let now = if names.starts_with("[\"a") { 0 } else { 100 * SECOND };
        let (_, visit) = ask(&limits, now);
        assert_eq!(said(&visit, "ratelimit"), "\"b\";r=1;t=1", "the one that is nearest to its end");
        assert!(passes(&limits, now));
        for _ in 0..10 {
            let (verdict, visit) = ask(&limits, now);
            assert!(matches!(verdict, Verdict::Refuse(Kind::RateLimited)));
            assert_eq!((visit.limit.as_deref(), said(&visit, "ratelimit")), (Some("b"), "\"b\";r=0;t=1"));
            let policies = ["\"a\";q=10;w=1", "\"b\";q=1;w=1"];
            let policies = if now == 0 { policies.join(", ") } else { [policies[1], policies[0]].join(", ") };
            assert_eq!(said(&visit, "ratelimit-policy"), policies);
        }
        // Two of five are counted: three are left.
        let alone = world.limits(TWO, "\"a\"");
        assert_eq!((0..9).filter(|_| passes(&alone, now)).count(), 3);
    }
    assert_eq!((world.limited("a"), world.limited("b")), (12, 20));
}

#[test]
fn a_dry_run_counts_and_says_nothing_to_clients() {
    let world = World::new();
    let dry = "[rate_limit.dry]\nkey = \"client_ip\"\nrate = \"1/s\"\ndry_run = true\n";
    let limits = world.limits(dry, "\"dry\"");
    let (verdict, visit) = ask(&limits, 0);
    assert!(matches!(verdict, Verdict::Pass) && visit.limit.is_none() && visit.answer.is_empty());
    let (verdict, visit) = ask(&limits, 1);
    assert!(matches!(verdict, Verdict::Pass) && visit.answer.is_empty());
    assert_eq!((visit.limit.as_deref(), world.limited("dry")), (Some("dry"), 1));
    // Beside one that is meant, whose refusal the dry one does not count.
    let both = world.limits(&format!("{dry}{TWO}"), "[\"dry\", \"b\"]");
    let now = 10 * SECOND;
    assert!(passes(&both, now) && passes(&both, now));
    let (verdict, visit) = ask(&both, now);
    assert!(matches!(verdict, Verdict::Refuse(_)));
    assert_eq!((visit.limit.as_deref(), said(&visit, "ratelimit-policy")), (Some("b"), "\"b\";q=1;w=1"));
    // The dry one had refused as well: there is nothing to give back.
    assert_eq!(ask(&limits, now).1.limit.as_deref(), Some("dry"));
    let waits = "[rate_limit.slow]\nkey = \"global\"\nalgorithm = \"leaky_bucket\"\nrate = \"1/s\"\ndry_run = true\n";
    let slow = world.limits(waits, "\"slow\"");
    assert!(passes(&slow, 0));
    let (verdict, visit) = ask(&slow, 0);
    assert!(matches!(verdict, Verdict::Pass) && visit.limit.as_deref() == Some("slow"));
}

#[test]
fn a_leaky_bucket_makes_wait_and_then_refuses() {
    let world = World::new();
    let slow = "[rate_limit.slow]\nkey = \"client_ip\"\nalgorithm = \"leaky_bucket\"\nrate = \"10/s\"\nmax_delay = \"200ms\"\n";
    let limits = world.limits(slow, "\"slow\"");
    let wait = |now, millis: u64, left: &str| {
        let (verdict, visit) = ask(&limits, now);
        assert!(matches!(verdict, Verdict::Sleep(time) if time == Duration::from_millis(millis)), "{verdict:?}");
        assert_eq!((visit.limit.as_deref(), said(&visit, "ratelimit")), (Some("slow"), left));
    };
    assert_eq!(said(&ask(&limits, 0).1, "ratelimit"), "\"slow\";r=2;t=1");
    wait(0, 100, "\"slow\";r=1;t=1");
    wait(0, 200, "\"slow\";r=0;t=1");
    assert!(matches!(ask(&limits, 0).0, Verdict::Refuse(Kind::RateLimited)));
    wait(SECOND / 10, 200, "\"slow\";r=0;t=1");
    assert_eq!(world.limited("slow"), 1, "whoever waits is let in");
    // The longest of several: the other limit's token is taken as well.
    let both = world.limits(&format!("{slow}{TWO}"), "[\"a\", \"slow\"]");
    assert!(matches!(ask(&both, SECOND / 5).0, Verdict::Sleep(_)));
    let slower = slow.replace("slow", "b").replace("10/s", "1/s").replace("200ms", "9s");
    for (now, names) in [(100 * SECOND, "[\"b\", \"slow\"]"), (200 * SECOND, "[\"slow\", \"b\"]")] {
        let both = world.limits(&format!("{slow}{slower}"), names);
        assert!(passes(&both, now));
        let (verdict, visit) = ask(&both, now);
        assert!(matches!(verdict, Verdict::Sleep(time) if time == Duration::from_secs(1)), "{verdict:?}");
        assert_eq!(visit.limit.as_deref(), Some("b"), "{names}");
    }
}

#[test]
fn tiers_have_terms_of_their_own_and_their_keys_may_change() {
    let folder = std::env::temp_dir().join(format!("evenkeel-tiers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("gold.keys");
    std::fs::write(&file, "# those who pay\nkey-1\n 192.0.2.7 \n").unwrap();
    let world = World::new();
    let text = format!(
        "[rate_limit.api]\nkey = [\"header:x-key\", \"client_ip\"]\nrate = \"2/s\"\ntiers = [{{ name = \"gold\", keys = {{ \
         file = \"{}\" }}, rate = \"10/s\", burst = 20 }}]\n",
        file.display()
    );
    let (rates, limits) = world.build(&text, "rate_limit = \"api\"");
    std::fs::remove_dir_all(&folder).unwrap();
    let limits = limits.0.unwrap();
    let with = |key: &str| format!("GET / HTTP/1.1\nHost: a\nX-Key: {key}");
    let passing = |key: &str, now| {
        let passes = |_: &u32| matches!(ask_with(&limits, now, &with(key)).0, Verdict::Pass);
        (0..100).take_while(passes).count()
    };
    assert_eq!((passing("key-1", 0), passing("key-2", 0), passing("# those who pay", 0)), (20, 2, 2));
    let told = |key: &str| said(&ask_with(&limits, 0, &with(key)).1, "ratelimit-policy").to_owned();
    assert_eq!([told("key-1"), told("key-2")], ["\"api\";q=10;w=1", "\"api\";q=2;w=1"]);
    assert_eq!(
        rates["api"].files().map(|(path, name)| (path.to_owned(), name.to_owned())).collect::<Vec<_>>(),
        [(file.clone(), "gold".to_owned())]
    );
    rates["api"].replace(Path::new("/other"), &[]);
    assert_eq!(told("key-1"), "\"api\";q=10;w=1");
    let replace = || rates["api"].replace(&file, &[config::Secret::new(b"key-2")]);
    assert_eq!([replace(), replace()], [true, false], "nothing is said of the same keys");
    assert_eq!([told("key-1"), told("key-2")], ["\"api\";q=2;w=1", "\"api\";q=10;w=1"]);
    // A second has paid for what it had sent as one of no tier; as one of gold it has just asked once more.
    assert_eq!(passing("key-2", SECOND), 19);
}

#[test]
fn buckets_outlive_the_plan_and_another_key_begins_anew() {
    let world = World::new();
    let limit = |key: &str, rate: &str, burst: u64| {
        format!("[rate_limit.x]\nkey = \"{key}\"\nrate = \"{rate}\"\nburst = {burst}\n")
    };
    let first = world.build(&limit("client_ip", "1/m", 10), "rate_limit = \"x\"");
    let passing = |of_route: &OfRoute, now| (0..99).take_while(|_| passes(of_route.0.as_ref().unwrap(), now)).count();
    assert_eq!(passing(&first.1, 0), 10);
    // A smaller burst, and a rate of a second: nobody owes more than that.
    let second = world.build(&limit("client_ip", "1/s", 5), "rate_limit = \"x\"");
    drop(first);
    assert_eq!((passing(&second.1, 1), passing(&second.1, 2 * SECOND + 1)), (0, 2));
    let third = world.build(&limit("path", "1/s", 5), "rate_limit = \"x\"");
    assert_eq!(passing(&third.1, 2 * SECOND + 1), 5, "another key");
    drop((second, third));
    let fourth = world.build(&limit("path", "1/s", 5), "rate_limit = \"x\"");
    assert_eq!(passing(&fourth.1, 2 * SECOND + 1), 5, "no plan had it any more");
}

#[test]
fn what_is_in_flight_is_bounded_by_key_and_over_plans() {
    let world = World::new();
    let limit = "in_flight_limit = { key = \"client_ip\", max = 2 }";
    let first = world.build("", limit).1.0.unwrap();
    let held = [ask(&first, 0), ask(&first, 0)];
    assert!(held.iter().all(|(verdict, visit)| matches!(verdict, Verdict::Pass) && visit.answer.is_empty()));
    let (verdict, visit) = ask(&first, 0);
    assert!(matches!(verdict, Verdict::Refuse(Kind::InFlightLimited)));
    assert_eq!((visit.limit.as_deref(), said(&visit, "retry-after")), (Some("in_flight"), "1"));
    let second = world.build("", "in_flight_limit = { key = \"client_ip\", max = 3 }").1.0.unwrap();
    drop(first);
    let third = ask(&second, 0);
    assert!(matches!(third.0, Verdict::Pass) && matches!(ask(&second, 0).0, Verdict::Refuse(_)));
    drop((held, third));
    assert!(matches!(ask(&second, 0).0, Verdict::Pass));
}

#[test]
fn who_is_refused_by_a_rate_is_not_in_flight() {
    let world = World::new();
    let route = "rate_limit = \"a\"\nin_flight_limit = { key = \"global\", max = 1 }";
    let limits = world.build("[rate_limit.a]\nkey = \"client_ip\"\nrate = \"1/s\"", route).1.0.unwrap();
    drop(ask(&limits, 0));
    let (refused, still) = (ask(&limits, 0), ask(&limits, 0));
    assert!(matches!(refused.0, Verdict::Refuse(Kind::RateLimited)));
    assert!(matches!(still.0, Verdict::Refuse(Kind::RateLimited)), "{:?}", still.0);
}

#[test]
fn limits_by_claims_wait_for_auth() {
    let world = World::new();
    let limits = "[rate_limit.ip]\nkey = \"client_ip\"\nrate = \"9/s\"\n\
                  [rate_limit.user]\nkey = [\"path\", \"claim:sub\"]\nrate = \"1/s\"\n";
    let route = "rate_limit = [\"user\", \"ip\"]\nin_flight_limit = { key = \"claim:sub\", max = 1 }";
    let (_, (early, late)) = world.build(limits, route);
    let (early, late) = (early.unwrap(), late.unwrap());
    assert_eq!(said(&ask(&early, 0).1, "ratelimit-policy"), "\"ip\";q=9;w=1");
    let (_, visit) = ask(&late, 0);
    assert_eq!(said(&visit, "ratelimit-policy"), "\"user\";q=1;w=1");
    assert!(matches!(ask(&late, SECOND).0, Verdict::Refuse(Kind::InFlightLimited)));
}
