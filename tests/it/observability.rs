//! What we ship for those who watch evenkeel (config/prometheus, config/grafana) fits what it serves: rules and panels
//! name metrics and labels that there are, every alert is tested, and every alert and failure word has its entry in the
//! runbook. promtool has the last word on PromQL.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use evenkeel::error::{Kind, Side};
use regex::Regex;
use serde_json::Value;

use crate::support::tls::{Authority, asked};
use crate::support::{Backend, Evenkeel, Program, Site, read, root, scrape, wait_for};

const RUNBOOK: &str = "config/prometheus/RUNBOOK.md";
const RULES: [&str; 2] = ["config/prometheus/recording.yml", "config/prometheus/alerts.yml"];
const DASHBOARD: &str = "config/grafana/evenkeel.json";
/// What Prometheus adds to every series.
const TARGET: [&str; 2] = ["job", "instance"];

fn find<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
    let pattern = Regex::new(pattern).unwrap();
    pattern.captures_iter(text).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// The text of a rules file without its comments and annotations.
fn expressions(path: &str) -> String {
    let text = read(path);
    let prose = Regex::new(r"^\s*(#|- name:|summary:|description:|runbook_url:)").unwrap();
    text.lines().filter(|line| !prose.is_match(line)).collect::<Vec<_>>().join("\n")
}

/// Every PromQL expression of the dashboard, annotations included.
fn panels() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&read(DASHBOARD)).unwrap(), &mut found);
    assert!(found.len() > 50, "{} expressions", found.len());
    found
}

/// A balancer that has a reason to show every family there is.
fn everything(authority: &Authority, backend: &Backend) -> Evenkeel {
    let tls = authority.listener(&[&authority.write("a", asked(&["a.example"]))], "");
    let evenkeel = Site::new(format!(
        "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n{tls}\n\n\
         [rate_limit.all]\nkey = \"global\"\nrate = \"1000/s\"\n\n\
         [[route]]\nname = \"app\"\npath = \"/app\"\npool = \"web\"\nrate_limit = [\"all\"]\n\
         mirror = {{ pool = \"copies\" }}\nfallback = {{ pool = \"copies\" }}\n"
    ))
    .pool_with(
        "web",
        &[backend.address()],
        "sticky = { type = \"cookie\" }\nalgorithm = \"custom_load\"\ncustom_load = { weights = { cpu_utilization = 1 } }\n",
    )
    .pool("copies", backend.address())
    .start();
    assert_eq!(evenkeel.get("/app").status, 200);
    assert_eq!(evenkeel.get("/elsewhere").status, 404);
    evenkeel.wait_failures("no_route", 1);
    evenkeel
}

/// Each name of a sample at `/metrics`, with the labels that it has.
fn served() -> BTreeMap<String, BTreeSet<String>> {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let evenkeel = everything(&authority, &backend);
    let series = |name| evenkeel.series(name, &[]).is_some();
    wait_for("requests are counted", || series("evenkeel_requests_total") && series("evenkeel_backend_requests_total"));
    let mut names = BTreeMap::<_, BTreeSet<_>>::new();
    for line in scrape(evenkeel.admin()).lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = find(r#"[{,]([a-z]+)=""#, line).into_iter().chain(TARGET).map(str::to_owned);
        names.entry(name.to_owned()).or_default().extend(labels);
    }
    names.insert("up".to_owned(), TARGET.map(str::to_owned).into());
    names
}

#[test]
fn rules_panels_and_runbook_name_what_there_is() {
    let served = served();
    let rules = RULES.map(expressions).join("\n");
    let recorded: BTreeSet<&str> = find(r"record: (\S+)", &rules).into_iter().collect();
    let mut texts: Vec<(String, String)> =
        panels().into_iter().map(|expr| (format!("{DASHBOARD}: {expr}"), expr)).collect();
    texts.push(("the rules".to_owned(), rules.clone()));
    texts.push((RUNBOOK.to_owned(), read(RUNBOOK)));
    let mut used = BTreeSet::new();
    for (place, text) in &texts {
        for name in find(r"([A-Za-z_:][A-Za-z0-9_:]*)", text) {
            if name.contains(":evenkeel_") || name.starts_with("evenkeel:") {
                let name = name.trim_end_matches(':');
                assert!(recorded.contains(name), "{place}: nothing records {name}");
            } else if name.starts_with("evenkeel_") || name.starts_with("process_") {
                assert!(served.contains_key(name), "{place}: there is no metric {name}");
                used.insert(name.to_owned());
            }
        }
    }
    assert!(used.len() > 40, "{used:?}");
    for (place, text) in &texts {
        for (name, selector) in selectors(text) {
            let Some(labels) = served.get(&name) else { continue };
            for label in find(r#"([a-z_]+)\s*(?:=|!=|=~|!~)\s*""#, &selector) {
                assert!(labels.contains(label), "{place}: {name} has no label {label}");
            }
        }
    }
}

/// Each `name{…}` of `text`.
fn selectors(text: &str) -> Vec<(String, String)> {
    let pattern = Regex::new(r"([a-z_:0-9]+)\{([^}]*)\}").unwrap();
    pattern.captures_iter(text).map(|found| (found[1].to_owned(), found[2].to_owned())).collect()
}

/// A status, state or reason that is not one of ours would select nothing, for ever.
#[test]
fn every_value_that_is_selected_is_one_of_ours() {
    let words: BTreeSet<&str> = Kind::WORDS.into_iter().collect();
    let mut texts: Vec<String> = panels();
    texts.extend(RULES.map(expressions));
    let mut alternatives = 0;
    for (name, selector) in texts.iter().flat_map(|text| selectors(text)) {
        let values = |label: &str| {
            let found = find(&format!(r#"\b{label}\s*(?:=|!=|=~|!~)\s*"([^"]*)""#), &selector);
            found.into_iter().flat_map(|value| value.split('|').map(str::to_owned)).collect::<Vec<_>>()
        };
        let known: Vec<&str> = if name.contains("evenkeel_failures") {
            words.iter().copied().collect()
        } else if name == "evenkeel_backend_state" {
            evenkeel::telemetry::metrics::State::ALL.map(|state| state.word()).to_vec()
        } else {
            continue;
        };
        for value in values("reason").into_iter().chain(values("state")) {
            assert!(known.contains(&value.as_str()), "{name}{{{selector}}}: {value}");
            alternatives += 1;
        }
    }
    assert!(alternatives > 40, "{alternatives}");
}

/// Each word belongs to one of the two alerts on words, and has an entry; so has each alert.
#[test]
fn every_failure_word_and_every_alert_has_an_entry_in_the_runbook() {
    let runbook = read(RUNBOOK);
    let entries = find(r"(?m)^### (\w+)$", &runbook);
    let anchors: BTreeSet<String> = entries.iter().map(|entry| entry.to_lowercase()).collect();
    assert_eq!(anchors.len(), entries.len(), "an entry stands twice");
    let words: BTreeSet<&str> = Kind::WORDS.into_iter().collect();
    let alerts = read(RULES[1]);
    let names: BTreeSet<&str> = find(r"- alert: (\w+)", &alerts).into_iter().collect();
    for wanted in words.iter().chain(&names) {
        assert!(entries.contains(wanted), "{RUNBOOK} has no entry {wanted}");
    }
    for entry in &entries {
        assert!(words.contains(entry) || names.contains(entry), "{RUNBOOK}: {entry} is neither an alert nor a word");
    }
    for link in find(r"\]\(#([^)]*)\)", &runbook).into_iter().chain(find(r"RUNBOOK\.md#(\w+)\n", &alerts)) {
        assert!(anchors.contains(link), "nothing is at #{link}");
    }
    let clients: BTreeSet<&str> =
        Kind::all().filter(|kind| kind.side() == Side::Client).map(|kind| kind.word()).collect();
    let lists = find(r#"reason[!=]~"([a-z_|]{100,})""#, &alerts);
    assert_eq!(lists.len(), 2, "EvenkeelFailures leaves out what EvenkeelRefusals has");
    for list in lists {
        assert_eq!(list.split('|').collect::<BTreeSet<_>>(), clients, "words of the clients' side");
    }
}

/// What every alert has: a severity, a summary, a description, an entry. In the order of the file.
#[test]
fn every_alert_says_how_grave_it_is_and_what_to_do() {
    let alerts = read(RULES[1]);
    for part in alerts.split("- alert: ").skip(1) {
        for wanted in [
            "severity: P",
            "summary: ",
            "description: ",
            "runbook_url: file:///usr/share/evenkeel/prometheus/RUNBOOK.md#",
        ] {
            assert_eq!(part.matches(wanted).count(), 1, "{wanted} in {part}");
        }
    }
}

fn tests_of_rules() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("tests/prometheus")).unwrap();
    let files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    assert!(files.iter().all(|file| file.extension().is_some_and(|end| end == "yml")) && files.len() > 2);
    files
}

/// Fires in one place and does not in another: by name, as what is expected of it.
#[test]
fn every_alert_is_seen_to_fire_and_not_to_fire() {
    let text: String = tests_of_rules().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let quiet = find(r"expr: (.*)\n\s+eval_time: \S+\n\s+exp_samples: \[\]", &text).join("\n");
    let patterns = find(r#"alertname=~?"([^"]*)""#, &quiet);
    let quiet: Vec<Regex> = patterns.iter().map(|name| Regex::new(&format!("^(?:{name})$")).unwrap()).collect();
    for name in find(r"- alert: (\w+)", &read(RULES[1])) {
        assert!(text.contains(&format!("labels: '{{alertname=\"{name}\"")), "nothing expects {name} to fire");
        let quiet = quiet.iter().any(|quiet| quiet.is_match(name));
        assert!(quiet, "nothing expects {name} not to fire");
    }
}

#[test]
fn promtool_takes_the_rules_and_their_tests_pass() {
    let Some(promtool) = Program::find("promtool", "prometheus") else { return };
    let rules = RULES.map(|path| root().join(path).display().to_string());
    promtool.run(&[&["check".to_owned(), "rules".to_owned()][..], &rules].concat()).fine();
    let tests = tests_of_rules().into_iter().map(|file| file.display().to_string());
    let words: Vec<String> = ["test", "rules"].into_iter().map(str::to_owned).chain(tests).collect();
    promtool.within(180).run(&words).fine();
}

#[test]
fn promtool_takes_the_dashboards_expressions() {
    let Some(promtool) = Program::find("promtool", "prometheus") else { return };
    let mut rules = "groups:\n- name: panels\n  rules:\n".to_owned();
    for (number, expr) in panels().iter().enumerate() {
        let expr = expr.replace("$__rate_interval", "5m");
        let rest = ["$job", "$instance", "$pool"].iter().fold(expr.clone(), |expr, name| expr.replace(name, ""));
        assert!(find(r"(\$[a-z_])", &rest).is_empty(), "an unknown variable in {expr}");
        rules += &format!("  - record: panel:number:{number}\n    expr: {}\n", Value::from(expr));
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("panels-{}.yml", std::process::id()));
    fs::write(&file, rules).unwrap();
    let said = promtool.run(&["check", "rules", file.to_str().unwrap()]);
    let _ = fs::remove_file(&file);
    said.fine();
}

/// Grafana places panels by `gridPos` and tells them apart by `id`; what overlaps it moves.
#[test]
fn the_dashboard_is_whole() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "job", "instance", "pool"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let titles: Vec<&str> =
        panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Golden signals", "Pools", "Backends", "Workers and process", "TLS", "Limits"]);
    let mut cells = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(cells.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
            let unit = &panel["fieldConfig"]["defaults"]["unit"];
            assert!(
                unit.is_string() || matches!(panel["type"].as_str(), Some("table" | "state-timeline")),
                "{}",
                panel["title"]
            );
        }
    }
}
