//! From the tables of a scenario to what they mean.

use std::{collections::HashMap, time::Duration};

use super::{
    super::{
        report::Wrong,
        section::{Field, Section},
        values,
    },
    Arrivals, Backend, Bursts, Clients, Distribution, Kind, Scenario, keys,
    parts::{self, Of},
};

/// Backends of a scenario, all together.
const MOST_BACKENDS: u32 = 100_000;
const NO_BACKEND: &str = "write what serves:\n\n[[backend]]\ncount = 10\nservice = { mean = \"10ms\" }";
const NO_ARRIVALS: &str = "write when requests come:\n\n[arrivals]\nrate = \"1000/s\"";

/// The whole; `None` if a part cannot be built, which has been reported.
pub(super) fn scenario(file: &Section<'_>) -> Option<Scenario> {
    let arrivals = arrivals(file);
    let from_log = matches!(arrivals, Some(Arrivals::Log { .. }));
    let duration = duration(file, arrivals.is_some() && !from_log);
    let backends = backends(file, arrivals.is_some() && !from_log, duration);
    let scenario = Scenario {
        duration,
        warm_up: file.read("warm_up", Duration::ZERO, parts::time),
        seed: u64::from(file.read("seed", 1, parts::whole(0..=u32::MAX))),
        instances: file.read("instances", 1, values::count(1..=64)),
        slow_start: some(file.read("slow_start", Duration::from_secs(10), parts::time)),
        timeout: file.read("timeout", Duration::from_secs(30), parts::length),
        retries: file.read("retries", 2, parts::whole(0..=10)),
        down_after: file.read("down_after", Duration::from_secs(12), parts::length),
        up_after: file.read("up_after", Duration::from_secs(4), parts::time),
        bounded_load: file.read("bounded_load", 125, bounded_load),
        arrivals: arrivals?,
        clients: clients(file),
        response: response(file)?,
        backends: backends?,
    };
    if let (Some(duration), Some(field)) = (scenario.duration, file.field("warm_up"))
        && scenario.warm_up >= duration
    {
        field.wrong(values::wanted(field.value(), "less than `duration`: nothing would be measured"));
    }
    Some(scenario)
}

fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn duration(file: &Section<'_>, wanted: bool) -> Option<Duration> {
    let Some(field) = file.field("duration") else {
        if wanted {
            let help = "write how long requests come: duration = \"60s\"";
            file.missing("duration", Wrong::new("a scenario wants its duration").help(help));
        }
        return None;
    };
    field.read(parts::length)
}

/// As a pool's `bounded_load`: in percent of the mean.
fn bounded_load(field: &Field<'_>) -> Result<u32, Wrong> {
    let what = || values::wanted(field.value(), "a share from \"101%\" to \"1000%\"").help("write \"125%\"");
    let text = values::text(field, "a share from \"101%\" to \"1000%\"")?;
    let percent: u32 = text.strip_suffix('%').and_then(|number| number.parse().ok()).ok_or_else(what)?;
    if (101..=1000).contains(&percent) { Ok(percent) } else { Err(what()) }
}

fn arrivals(file: &Section<'_>) -> Option<Arrivals> {
    let Some(field) = file.field("arrivals") else {
        file.missing("arrivals", Wrong::new("no request would come").help(NO_ARRIVALS));
        return None;
    };
    let section = field.section(&keys::ARRIVALS)?;
    match (section.field("rate"), section.field("log")) {
        (Some(rate), None) => {
            if let Some(speed) = section.field("speed") {
                speed.wrong(Wrong::new("`speed` is of a log").help("change `rate` instead"));
            }
            let off = || values::wanted(rate.value(), "a rate above 0").help("write \"1000/s\", for example");
            let per_second = rate.read(|field| values::rate(field)?.ok_or_else(off))?;
            Some(Arrivals::Poisson { rate: f64::from(per_second), bursts: bursts(&section)? })
        }
        (None, Some(log)) => {
            if let Some(bursts) = section.field("bursts") {
                bursts.wrong(Wrong::new("a log has the bursts that it has").help("take it out, or take out `log`"));
            }
            let file = log.folder().join(log.read(values::name)?);
            Some(Arrivals::Log { file, speed: section.read("speed", 1.0, parts::number(0.001..=1000.0)) })
        }
        (Some(rate), Some(log)) => {
            rate.clash(Wrong::new("`rate` and `log` are two ways to say when requests come").help("keep one"), &log);
            None
        }
        (None, None) => {
            section.missing("rate", Wrong::new("no request would come").help(NO_ARRIVALS));
            None
        }
    }
}

/// Those that are written, if any; `None` if they are wrong.
fn bursts(arrivals: &Section<'_>) -> Option<Option<Bursts>> {
    let Some(field) = arrivals.field("bursts") else { return Some(None) };
    let section = field.section(&keys::BURSTS)?;
    for key in keys::BURSTS.known.iter().filter(|key| section.field(key).is_none()) {
        section.missing(key, Wrong::new(format!("bursts want `{key}`")).help(keys::BURSTS.example));
    }
    let (every, length) = (section.field("every")?, section.field("for")?);
    let bursts = Bursts {
        factor: section.field("factor")?.read(parts::number(0.0..=1000.0))?,
        every: every.read(parts::length)?,
        length: length.read(parts::length)?,
    };
    if bursts.length >= bursts.every {
        length.wrong(values::wanted(length.value(), "less than `every`"));
        return None;
    }
    Some(Some(bursts))
}

fn clients(file: &Section<'_>) -> Clients {
    let none = Clients { count: 10_000, zipf: 0.0 };
    let Some(section) = file.section("clients", &keys::CLIENTS) else { return none };
    Clients {
        count: section.read("count", none.count, parts::whole(1..=10_000_000)),
        zipf: section.read("zipf", none.zipf, parts::number(0.0..=10.0)),
    }
}

fn response(file: &Section<'_>) -> Option<Distribution> {
    let default = Some(Distribution { kind: Kind::Constant, mean: 1024.0 });
    if file.field("response").is_none() {
        return default;
    }
    let section = file.section("response", &keys::RESPONSE)?;
    section.field("size").map_or(default, |field| parts::distribution(&field, Of::Size))
}

/// All of them; `None` if one is wrong. `own_times`: there is no log that says how long they serve.
fn backends(file: &Section<'_>, own_times: bool, end: Option<Duration>) -> Option<Vec<Backend>> {
    let fields = file.field("backend").map(|field| field.list()).unwrap_or_default();
    if fields.is_empty() {
        file.missing("backend", Wrong::new("nobody would serve").help(NO_BACKEND));
        return None;
    }
    let of = |(number, field)| backend(field, number, own_times, end);
    let backends: Vec<_> = fields.iter().enumerate().map(of).collect();
    let backends: Vec<Backend> = backends.into_iter().collect::<Option<_>>()?;
    let mut first: HashMap<&str, &Field<'_>> = HashMap::new();
    for (backend, field) in backends.iter().zip(&fields) {
        if let Some(first) = first.insert(&backend.name, field) {
            field.clash(Wrong::new("two backends have one name").help("write a `name` for each"), first);
        }
    }
    if backends.iter().map(|backend| u64::from(backend.count)).sum::<u64>() > u64::from(MOST_BACKENDS) {
        fields[0].wrong(Wrong::new(format!("there are more than {MOST_BACKENDS} backends")));
    }
    Some(backends)
}

fn backend(field: &Field<'_>, number: usize, own_times: bool, end: Option<Duration>) -> Option<Backend> {
    let section = field.section(&keys::BACKEND)?;
    if own_times && section.field("service").is_none() {
        let help = "write service = { type = \"exponential\", mean = \"10ms\" }, for example";
        section.missing("service", Wrong::new("a backend wants its service time").help(help));
        return None;
    }
    let service = match section.field("service") {
        Some(field) => Some(parts::distribution(&field, Of::Time)?),
        None => None,
    };
    let spans = |key: &str, keys| -> Option<Vec<_>> {
        let fields = section.field(key).map(|field| field.list()).unwrap_or_default();
        let within = |field: &Field<'_>| parts::span(field, keys).filter(|(span, _)| before(span.at, end, field));
        fields.iter().map(within).collect()
    };
    let (fails, slow) = (spans("fails", &keys::FAILURE), spans("slow", &keys::SLOW));
    let cold = match section.field("cold") {
        Some(field) => Some(parts::span(&field, &keys::COLD)?).map(|(span, factor)| (span.length, factor)),
        None => None,
    };
    let moment = |key| {
        let field = section.field(key)?;
        field.read(parts::length).filter(|&at| before(at, end, &field))
    };
    let (joins, leaves) = (moment("joins"), moment("leaves"));
    if let (Some(from), Some(to), Some(field)) = (joins, leaves, section.field("leaves"))
        && to <= from
    {
        field.wrong(values::wanted(field.value(), "a time after `joins`"));
    }
    Some(Backend {
        name: section.read("name", format!("backend{}", number + 1), values::name),
        count: section.read("count", 1, parts::whole(1..=MOST_BACKENDS)),
        weight: section.read("weight", 1, parts::whole(0..=1000)),
        concurrency: section.read("concurrency", 1, parts::whole(1..=1_000_000)),
        service,
        bandwidth: section.read("bandwidth", None, values::byte_rate),
        fails: fails?.into_iter().map(|(span, _)| span).collect(),
        slow: slow?,
        cold,
        joins,
        leaves,
    })
}

/// `at` is before the end; reports if not.
fn before(at: Duration, end: Option<Duration>, field: &Field<'_>) -> bool {
    let fine = end.is_none_or(|end| at < end);
    if !fine {
        field.wrong(Wrong::new("this is after the end: `duration` is shorter"));
    }
    fine
}
