//! `custom_load` of a pool: what backends say of themselves, and how it becomes one number.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    super::{
        Algorithm, Combine, CustomLoad, LoadSource, keys,
        keys::nearest,
        report::Wrong,
        section::{Field, Section},
        units::quoted,
        values,
    },
    health,
};

/// Numbers of an ORCA report, by their names in xDS and gRPC.
const OF_ORCA: [&str; 5] = ["cpu_utilization", "mem_utilization", "application_utilization", "rps_fractional", "eps"];
/// Its maps, whose names are the application's.
const MAPS: [&str; 3] = ["named_metrics", "utilization", "request_cost"];
const PEERS: [(&str, &str); 12] = [
    ("app", "application_utilization"),
    ("application", "application_utilization"),
    ("cpu", "cpu_utilization"),
    ("cpu_usage", "cpu_utilization"),
    ("load", "application_utilization"),
    ("mem", "mem_utilization"),
    ("memory", "mem_utilization"),
    ("memory_utilization", "mem_utilization"),
    ("errors", "eps"),
    ("qps", "rps_fractional"),
    ("requests", "rps_fractional"),
    ("rps", "rps_fractional"),
];
const SOURCES: &[(&str, bool)] = &[("header", false), ("poll", true)];
const PEERS_SOURCES: &[(&str, &str)] = &[
    ("endpoint_load_metrics", "header"),
    ("headers", "header"),
    ("orca", "header"),
    ("response", "header"),
    ("agent", "poll"),
    ("http", "poll"),
    ("json", "poll"),
    ("url", "poll"),
];
const COMBINES: &[(&str, Combine)] = &[("sum", Combine::Sum), ("max", Combine::Max)];
const PEERS_COMBINES: &[(&str, &str)] =
    &[("add", "sum"), ("average", "sum"), ("mean", "sum"), ("highest", "max"), ("worst", "max")];
/// Each is looked for in every response, and is a series of each backend.
const MOST: usize = 16;
const MAX_WEIGHT: f64 = 1e6;
const EXAMPLE: &str = "write weights = { cpu_utilization = 1.0 }";

/// `custom_load` of `pool`, if its algorithm is that.
pub(super) fn custom_load(pool: &Section<'_>, algorithm: Algorithm) -> Option<CustomLoad> {
    let used = algorithm == Algorithm::CustomLoad;
    let Some(field) = pool.field("custom_load") else {
        if used {
            let wrong = Wrong::new("algorithm = \"custom_load\" wants to know which metrics count");
            pool.missing("custom_load", wrong.help(format!("{EXAMPLE} in [pool.NAME.custom_load]")));
        }
        return None;
    };
    let section = field.section(&keys::CUSTOM_LOAD)?;
    let source = source(&section);
    let orca = source == Some(LoadSource::Header);
    let weights = metrics(&section, "weights", orca, weight);
    let load = CustomLoad {
        combine: section.read("combine", Combine::Sum, values::choice(COMBINES, &[], PEERS_COMBINES)),
        limits: metrics(&section, "limits", orca, limit),
        expire: section.read("expire", Duration::from_secs(180), values::period),
        weights,
        source: source.unwrap_or(LoadSource::Header),
    };
    weighs(&load, &section);
    if let (LoadSource::Poll { interval, .. }, Some(field)) =
        (&load.source, section.field("expire").or_else(|| section.field("poll")))
        && load.expire <= *interval
    {
        let wrong =
            Wrong::new("`expire` is not above the `interval` of `poll`: each report would expire before the next");
        field.wrong(wrong.help("write a longer `expire`, which is \"3m\" by default, or a shorter `interval`"));
    }
    if !used {
        let wrong = Wrong::new("`custom_load` is of algorithm = \"custom_load\" alone: it says nothing here");
        field.warn(wrong.help("write that algorithm, or take it out"));
    }
    used.then_some(load)
}

/// Reports that no metric counts.
fn weighs(load: &CustomLoad, section: &Section<'_>) {
    let Some(field) = section.field("weights") else {
        section.missing("weights", Wrong::new("nothing says which metrics count").help(EXAMPLE));
        return;
    };
    let read = field.value().is_table() && load.weights.len() == leaves("", &field).len();
    if read && load.weights.iter().all(|(_, weight)| *weight <= 0.0) {
        field.wrong(Wrong::new("no metric has a weight above 0").help(EXAMPLE));
    }
}

/// `source` and `poll`; `None` if they cannot be built, which has been reported.
fn source(section: &Section<'_>) -> Option<LoadSource> {
    let polls = match section.field("source") {
        Some(field) => field.read(values::choice(SOURCES, &[], PEERS_SOURCES)),
        None => (!section.meant(&["source"])).then_some(false),
    };
    match (polls, section.field("poll")) {
        (Some(false), None) => Some(LoadSource::Header),
        (Some(true), None) => {
            let wrong = Wrong::new("source = \"poll\" wants to know what to ask");
            section.missing("poll", wrong.help(format!("write {}", keys::POLL.example)));
            None
        }
        (Some(false), Some(field)) => {
            let default = if section.field("source").is_some() { "" } else { ", the default" };
            let wrong = Wrong::new(format!("`poll` has no meaning with source = \"header\"{default}"));
            field.wrong(wrong.help("write source = \"poll\" as well"));
            None
        }
        (polls, Some(field)) => poll(&field).filter(|_| polls.is_some()),
        (None, None) => None,
    }
}

fn poll(field: &Field<'_>) -> Option<LoadSource> {
    let section = field.section(&keys::POLL)?;
    let interval = section.read("interval", Duration::from_secs(5), values::period);
    let Some(path) = section.field("path") else {
        section.missing("path", Wrong::new("a poll wants the path of what to ask").help("write path = \"/load\""));
        return None;
    };
    path.read(health::path).map(|path| LoadSource::Poll { path, interval })
}

/// The numbers of the table at `key`, by the metrics' names.
fn metrics(
    section: &Section<'_>,
    key: &str,
    orca: bool,
    number: impl Fn(&Field<'_>) -> Result<f32, Wrong>,
) -> Vec<(String, f32)> {
    let Some(table) = section.field(key) else { return Vec::new() };
    if !table.value().is_table() {
        let help = format!("write {key} = {{ cpu_utilization = 0.9, \"named_metrics.queue\" = 0.5 }}");
        table.wrong(values::wanted(table.value(), "a table of metrics and numbers").help(help));
        return Vec::new();
    }
    let leaves = leaves("", &table);
    if leaves.len() > MOST {
        table.wrong(Wrong::new(format!("found {} metrics, wanted at most {MOST}", leaves.len())));
    }
    let mut metrics: Vec<(String, f32)> = Vec::new();
    for (name, field) in leaves {
        if let Some(wrong) = misnamed(&name, orca) {
            field.wrong_name(wrong);
        } else if metrics.iter().any(|(other, _)| *other == name) {
            field.wrong_name(Wrong::new(format!("{} stands here already", quoted(&name))).help("keep one of them"));
        } else {
            metrics.extend(field.read(&number).map(|number| (name, number)));
        }
    }
    metrics
}

/// `"a.b" = 1`, `a.b = 1` and `a = { b = 1 }` are the same metric.
fn leaves<'a>(path: &str, table: &Field<'a>) -> Vec<(String, Field<'a>)> {
    let mut found = Vec::new();
    for (name, field) in table.entries() {
        let name = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match field.value() {
            DeValue::Table(_) => found.extend(leaves(&name, &field)),
            _ => found.push((name, field)),
        }
    }
    found
}

/// Why no report can have a metric of that name; `orca` = the report is none of what is polled, which has any names.
fn misnamed(name: &str, orca: bool) -> Option<Wrong> {
    let fine = |letter: char| letter.is_ascii_graphic() && !matches!(letter, ',' | '=' | ':' | '"' | ';');
    if name.len() > 255 || name.split('.').any(str::is_empty) || !name.chars().all(fine) {
        let wrong = Wrong::new(format!("found {}, wanted the name of a metric", quoted(name)));
        return Some(wrong.help("such as cpu_utilization or \"named_metrics.queue\""));
    }
    let of_map = name.split_once('.').is_some_and(|(map, _)| MAPS.contains(&map));
    if !orca || OF_ORCA.contains(&name) || of_map {
        return None;
    }
    let wrong = Wrong::new(format!("an ORCA report has no {}", quoted(name)));
    let plain = name.to_ascii_lowercase().replace('-', "_");
    let meant = PEERS.iter().find(|(word, _)| *word == plain).map(|(_, ours)| *ours);
    Some(match meant.or_else(|| nearest(&plain, OF_ORCA.into_iter())) {
        Some(ours) => wrong.help(format!("did you mean `{ours}`? A metric of your own is \"named_metrics.{name}\"")),
        None => wrong.help(format!(
            "it has {}, and \"named_metrics.{name}\", \"utilization.{name}\" for those of your own",
            OF_ORCA.join(", ")
        )),
    })
}

fn weight(field: &Field<'_>) -> Result<f32, Wrong> {
    number(field, "a number from 0 to 1000000", |number| (0.0..=MAX_WEIGHT).contains(&number))
}

fn limit(field: &Field<'_>) -> Result<f32, Wrong> {
    number(field, "a number above 0", |number| number > 0.0 && number <= f64::from(f32::MAX))
}

fn number(field: &Field<'_>, what: &str, fine: impl Fn(f64) -> bool) -> Result<f32, Wrong> {
    let number = match field.value() {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f64)
        }
        DeValue::String(text) => {
            let wrong = values::wanted(field.value(), what);
            let percent =
                text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).map(|number| number / 100.0);
            return Err(match percent.or_else(|| text.parse().ok()).filter(|number| fine(*number)) {
                Some(number) => wrong.help(format!("write {number}, without quotes")),
                None => wrong,
            });
        }
        _ => None,
    };
    // What is above 0 must not become 0 in the narrower type.
    let narrow = number.filter(|number| fine(*number)).map(|number| number as f32);
    let kept = narrow.filter(|narrow| (*narrow > 0.0) == number.is_some_and(|number| number > 0.0));
    kept.ok_or_else(|| values::wanted(field.value(), what))
}
