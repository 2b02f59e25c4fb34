//! `evenkeel simulate`: the built-in scenario, a file of one's own, and what is written.

use std::path::{Path, PathBuf};

use crate::support::run;

/// Every algorithm of the configuration.
const ALGORITHMS: [&str; 9] = [
    "round_robin",
    "random",
    "power_of_two_choices",
    "least_connections",
    "least_response_time",
    "least_bandwidth",
    "custom_load",
    "ip_hash",
    "hash",
];

fn simulate(words: &[&str]) -> (Option<i32>, String, String) {
    run(&[&["simulate"], words].concat())
}

/// A file of that name that holds `text`.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("simulate-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn without_arguments_every_algorithm_is_in_the_table() {
    let (code, table, err) = simulate(&[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "no bar where there is no terminal");
    for name in ALGORITHMS {
        assert_eq!(table.lines().filter(|line| line.split(' ').next() == Some(name)).count(), 1, "{name}: {table}");
    }
    for title in ["p50 ms", "p99 ms", "p99.9 ms", "max queue", "imbalance"] {
        assert!(table.contains(title), "{title}: {table}");
    }
}

#[test]
fn a_scenario_of_ones_own_is_played_and_written() {
    let scenario = file(
        "mine.toml",
        "duration = \"2s\"\narrivals = { rate = \"500/s\" }\nbackend = { count = 3, service = { mean = \"4ms\" } }\n",
    );
    let (csv, svg) = (file("mine.csv", ""), file("mine.svg", ""));
    let paths = [&scenario, &csv, &svg].map(|path| path.to_str().unwrap());
    let asked = ["--algorithm", "random,round_robin", "--csv", paths[1], "--svg", paths[2], "--seed", "7"];
    let (code, out, err) = simulate(&[&[paths[0]], &asked[..]].concat());
    let (lines, picture) = (std::fs::read_to_string(&csv).unwrap(), std::fs::read_to_string(&svg).unwrap());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("seed 7"));
    let names: Vec<_> = lines.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names, ["algorithm", "random", "round_robin"]);
    assert!(picture.starts_with("<svg") && picture.contains("round_robin"), "{picture}");
    let (_, json, _) = simulate(&[paths[0], "--json", "--algorithm", "hash"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json[0]["algorithm"].as_str(), json[0]["failed"].as_u64()), (Some("hash"), Some(0)));
    [scenario, csv, svg].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

#[test]
fn what_cannot_be_played_says_why_and_exits_with_1() {
    let wrong = file("wrong.toml", "duration = \"2s\"\narrivals = { rat = \"500/s\" }\n[[backend]]\nservice = 4\n");
    let (code, _, told) = simulate(&[wrong.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{told}");
    for part in ["arrivals.rat", "did you mean `rate`?", "backend[0].service", "2 problems"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    std::fs::remove_file(&wrong).unwrap();
    for (words, code) in [(&["/nowhere/x.toml"][..], 1), (&["--algorithm", "best"], 2), (&["--seed", "x"], 2)] {
        assert_eq!(simulate(words).0, Some(code), "{words:?}");
    }
    let unwritable = ["--algorithm", "random", "--csv", "/nowhere/x.csv"];
    let (code, _, err) = simulate(&unwritable);
    assert!(code == Some(1) && err.contains("/nowhere/x.csv"), "{err}");
}

#[test]
fn the_example_can_be_played() {
    let (_, example, _) = simulate(&["--example"]);
    let path = file("example.toml", &example);
    let (code, _, err) = simulate(&[path.to_str().unwrap(), "--algorithm", "random"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code, Some(0), "{err}");
}
