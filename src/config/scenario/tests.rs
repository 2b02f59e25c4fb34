//! What a scenario means, and what is said of a wrong one.

use super::*;

fn parse(text: &str) -> Result<Scenario, Problems> {
    Scenario::parse(text, Path::new("scenario.toml"))
}

const SMALLEST: &str = "duration = \"1s\"\narrivals.rate = \"10/s\"\nbackend.service = \"10ms\"\n";

#[test]
fn the_smallest_one_has_defaults_for_the_rest() {
    let scenario = parse(SMALLEST).unwrap();
    let expected = Scenario {
        duration: Some(Duration::from_secs(1)),
        warm_up: Duration::ZERO,
        seed: 1,
        instances: 1,
        slow_start: Some(Duration::from_secs(10)),
        timeout: Duration::from_secs(30),
        retries: 2,
        down_after: Duration::from_secs(12),
        up_after: Duration::from_secs(4),
        bounded_load: 125,
        arrivals: Arrivals::Poisson { rate: 10.0, bursts: None },
        clients: Clients { count: 10_000, zipf: 0.0 },
        response: Distribution { kind: Kind::Constant, mean: 1024.0 },
        backends: vec![Backend {
            name: "backend1".into(),
            count: 1,
            weight: 1,
            concurrency: 1,
            service: Some(Distribution { kind: Kind::Constant, mean: 1e7 }),
            bandwidth: None,
            fails: vec![],
            slow: vec![],
            cold: None,
            joins: None,
            leaves: None,
        }],
    };
    assert_eq!(scenario, expected);
}

#[test]
fn all_that_is_written_is_read() {
    let text = r#"
        duration = "60s"
        warm_up = "5s"
        slow_start = "0s"
        bounded_load = "150%"
        arrivals = { rate = "100/s", bursts = { factor = 2.5, every = "20s", for = "1s" } }
        clients = { count = 7, zipf = 1.1 }
        response = { size = { type = "pareto", mean = "4KiB", shape = 1.5 } }
        [[backend]]
        name = "a"
        count = 3
        weight = 0
        concurrency = 8
        bandwidth = "1MiB/s"
        service = { mean = "500us" }
        fails = { at = "10s", for = "2s" }
        slow = [{ at = "20s", for = "2s", factor = 3 }, { at = "30s", for = "1s", factor = 0.5 }]
        cold = { factor = 10, for = "5s" }
        joins = "1s"
        leaves = "50s"
        [[backend]]
        service = { type = "lognormal", mean = "1ms" }
    "#;
    let scenario = parse(text).unwrap();
    let seconds = Duration::from_secs;
    let bursts = Some(Bursts { factor: 2.5, every: seconds(20), length: seconds(1) });
    assert_eq!(scenario.arrivals, Arrivals::Poisson { rate: 100.0, bursts });
    assert_eq!((scenario.slow_start, scenario.bounded_load, scenario.warm_up), (None, 150, seconds(5)));
    assert_eq!(scenario.response, Distribution { kind: Kind::Pareto(1.5), mean: 4096.0 });
    let [a, b] = scenario.backends.as_slice() else { panic!("{scenario:?}") };
    assert_eq!((a.count, a.weight, a.concurrency, a.bandwidth), (3, 0, 8, Some(1 << 20)));
    assert_eq!(a.service, Some(Distribution { kind: Kind::Exponential, mean: 500_000.0 }));
    assert_eq!(a.fails, [Span { at: seconds(10), length: seconds(2) }]);
    let spans =
        [(Span { at: seconds(20), length: seconds(2) }, 3.0), (Span { at: seconds(30), length: seconds(1) }, 0.5)];
    assert_eq!(a.slow, spans);
    assert_eq!((a.cold, a.joins, a.leaves), (Some((seconds(5), 10.0)), Some(seconds(1)), Some(seconds(50))));
    assert_eq!((b.name.as_str(), b.service.map(|service| service.kind)), ("backend2", Some(Kind::LogNormal(1.0))));
}

#[test]
fn a_log_needs_neither_a_duration_nor_service_times() {
    let text = "arrivals = { log = \"x.json\", speed = 2 }\n[[backend]]\n";
    let scenario = Scenario::parse(text, Path::new("/tmp/scenario.toml")).unwrap();
    assert_eq!(scenario.arrivals, Arrivals::Log { file: "/tmp/x.json".into(), speed: 2.0 });
    assert_eq!((scenario.duration, scenario.backends[0].service), (None, None));
}

#[test]
fn whatever_is_wrong_is_told_with_its_place() {
    let backend = |line: &str| format!("{SMALLEST}[[backend]]\nservice = \"1ms\"\n{line}\n").replace("backend.s", "#");
    for (text, key, message, help) in [
        (String::new(), "arrivals", "no request", "rate ="),
        (SMALLEST.replace("duration", "lenght"), "lenght", "unknown key in a scenario", "duration"),
        (SMALLEST.replace("arrivals.rate", "address"), "address", "unknown key in a scenario", "its keys are"),
        (SMALLEST.replace("10/s", "10"), "arrivals.rate", "wanted a rate", "10/s"),
        (SMALLEST.replace("10/s", "0/s"), "arrivals.rate", "", "1000/s"),
        (SMALLEST.replace("arrivals.rate = \"10/s\"", "arrivals = {}"), "arrivals.rate", "no request", "rate ="),
        (format!("{SMALLEST}arrivals.log = \"x\"\n"), "arrivals.rate", "two ways", "keep one"),
        (format!("{SMALLEST}arrivals.bursts = {{ factor = 2 }}\n"), "arrivals.bursts.every", "bursts want", "every ="),
        (
            format!("{SMALLEST}arrivals.bursts = {{ factor = 2, every = \"1s\", for = \"1s\" }}\n"),
            "arrivals.bursts.for",
            "less than `every`",
            "",
        ),
        (format!("warm_up = \"1s\"\n{SMALLEST}"), "warm_up", "less than `duration`", ""),
        (format!("bounded_load = \"100%\"\n{SMALLEST}"), "bounded_load", "101%", "125%"),
        (format!("retries = 1.5\n{SMALLEST}"), "retries", "0 to 10", ""),
        (SMALLEST.replace("10ms", "10"), "backend.service", "has no unit", "10s"),
        (SMALLEST.replace("\"10ms\"", "{ type = \"exp\", mean = \"1ms\" }"), "backend.service.type", "", "exponential"),
        (SMALLEST.replace("\"10ms\"", "{ type = \"pareto\" }"), "backend.service.mean", "wants its mean", ""),
        (SMALLEST.replace("\"10ms\"", "{ mean = \"1s\", shape = 1 }"), "backend.service.shape", "no shape", ""),
        (backend("fails = [{ at = \"2s\", for = \"1s\" }]"), "backend[0].fails[0]", "after the end", ""),
        (backend("fails = [{ at = \"0.5s\" }]"), "backend[0].fails[0].for", "wants `for`", "for ="),
        (backend("slow = [{ at = \"0s\", for = \"1s\" }]"), "backend[0].slow[0].factor", "wants `factor`", "factor"),
        (backend("joins = \"0.5s\"\nleaves = \"0.5s\""), "backend[0].leaves", "after `joins`", ""),
        (backend("name = \"a\"\n[[backend]]\nname = \"a\"\nservice = \"1ms\""), "backend[1]", "one name", "name"),
        (backend("count = 100000\n[[backend]]\nservice = \"1ms\""), "backend[0]", "more than 100000", ""),
        (backend("thread = 4"), "backend[0].thread", "unknown key", "concurrency"),
        (SMALLEST.replace("\"10ms\"", "10ms"), "", "not TOML", "\"10ms\""),
    ] {
        let problems = parse(&text).expect_err(&text);
        let said = problems.iter().any(|problem| {
            let fits = problem.key == key && problem.message.contains(message);
            fits && (help.is_empty() || problem.help.as_deref().is_some_and(|told| told.contains(help)))
        });
        assert!(said, "{text}\n{problems}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let problems = Scenario::load(Path::new("/nowhere/scenario.toml")).unwrap_err().to_string();
    assert!(problems.contains("/nowhere/scenario.toml") && !problems.contains("-c"), "{problems}");
}
