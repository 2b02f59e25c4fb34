//! What backends of a pool say of themselves, and how it becomes one number. Workers tell it of responses, polls of their
//! answers. Hot path: no lock, and no memory but once for names that nobody has asked for.

use super::{Member, Plan, Settings};
use crate::{
    balance::Report,
    config::{self, Combine, LoadSource, Protocol},
    pool::{Backend, Registry},
    telemetry::metrics::ReportedLoad,
    tls,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// Metrics of a pool: the configuration allows 16 weights and 16 limits.
const MOST: usize = 32;
/// A load above this counts as this: sums of loads stay numbers.
const HEAVIEST: f64 = 1e30;
/// Of the metrics that nobody has asked for, so many are remembered, and so many characters of each.
const OTHERS: usize = 16;
const LONGEST: usize = 64;

/// `custom_load` of a pool.
#[derive(Debug)]
pub struct CustomLoad {
    /// Where it is said.
    pub source: LoadSource,
    /// How polls speak TLS, where they do.
    pub tls: Option<Arc<tls::Client>>,
    /// At most [`MOST`]; first those that are weighed.
    metrics: Vec<Metric>,
    combine: Combine,
    /// In microseconds.
    expire: u64,
    /// Of each backend, by its number: the series of the metrics that are weighed, in their order.
    series: HashMap<u32, Box<[Arc<ReportedLoad>]>>,
    arrivals: Arrivals,
}

/// A metric that counts.
#[derive(Debug)]
struct Metric {
    name: Box<str>,
    /// 0: it is only limited.
    weight: f64,
    /// Infinite: it has none.
    limit: f64,
}

/// Which metrics have come since this configuration is in force.
#[derive(Debug, Default)]
struct Arrivals {
    /// When they could have come first, in microseconds from 1; 0 = not yet.
    since: AtomicU64,
    /// A bit for each metric.
    came: AtomicU32,
    /// What came beside them, as the first report had it that had such.
    others: OnceLock<Vec<String>>,
    /// It was looked at: it is said once.
    judged: AtomicBool,
}

/// Metrics that never came.
#[derive(Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Those that are named in `weights` or `limits` and were in no report.
    pub missing: Vec<String>,
    /// Those that were.
    pub came: Vec<String>,
}

impl CustomLoad {
    pub(super) fn build(
        pool: &config::Pool,
        members: &[Member],
        settings: &Settings,
        registry: &Registry,
        before: Option<&Plan>,
    ) -> Result<Option<Self>, String> {
        let Some(load) = &pool.custom_load else { return Ok(None) };
        let series = |member: &Member| {
            let name = &member.backend.name;
            let series = load.weights.iter().map(|(metric, _)| registry.telemetry().reported(&pool.name, name, metric));
            (member.backend.id, series.take(MOST).collect())
        };
        let mut metrics: Vec<_> = load.weights.iter().map(|(name, weight)| Metric::new(name, *weight)).collect();
        for (name, limit) in &load.limits {
            let known = metrics.iter().position(|metric| *metric.name == **name);
            let place = known.unwrap_or_else(|| {
                metrics.push(Metric::new(name, 0.0));
                metrics.len() - 1
            });
            metrics[place].limit = f64::from(*limit);
        }
        metrics.truncate(MOST);
        Ok(Some(Self {
            tls: secured(pool, &load.source, settings, registry, before)?,
            source: load.source.clone(),
            metrics,
            combine: load.combine,
            expire: u64::try_from(load.expire.as_micros()).unwrap_or(u64::MAX),
            series: members.iter().map(series).collect(),
            arrivals: Arrivals::default(),
        }))
    }

    /// It is said in responses.
    pub fn is_in_responses(&self) -> bool {
        self.source == LoadSource::Header
    }

    /// Some backend had the opportunity to speak.
    pub fn is_expected(&self) -> bool {
        self.arrivals.since.load(Relaxed) != 0
    }

    /// At `now`, in microseconds, a backend had the opportunity to speak.
    pub fn expect(&self, now: u64) {
        if !self.is_expected() {
            self.arrivals.since.store(now.max(1), Relaxed);
        }
    }

    /// `backend` speaks of itself at `now`, in microseconds: `tell` says each metric by its name.
    pub fn hear(&self, backend: &Backend, now: u64, tell: impl FnOnce(&mut dyn FnMut(&str, f64))) {
        let (mut said, mut others) = ([None; MOST], Vec::new());
        let wants_others = self.arrivals.others.get().is_none();
        tell(&mut |name, value| match self.metrics.iter().position(|metric| *metric.name == *name) {
            Some(place) => said[place] = Some(value),
            None if wants_others && others.len() < OTHERS => others.push(name.chars().take(LONGEST).collect()),
            None => {}
        });
        if !others.is_empty() {
            // Another worker may have been faster.
            let _ = self.arrivals.others.set(others);
        }
        self.arrivals.note(&said);
        if let Some(series) = self.series.get(&backend.id) {
            for (series, value) in series.iter().zip(said) {
                value.into_iter().for_each(|value| series.set(value));
            }
        }
        if let Some(report) = self.weigh(&said) {
            backend.load.report(now, report);
        }
    }

    /// One number of what was `said` of each metric; `None` where nothing was that has a weight: nothing is known then.
    fn weigh(&self, said: &[Option<f64>; MOST]) -> Option<Report> {
        let said = || self.metrics.iter().zip(said).filter_map(|(metric, value)| Some((metric, (*value)?)));
        let weighed = said().filter(|(metric, _)| metric.weight > 0.0).map(|(metric, value)| metric.weight * value);
        let load = match self.combine {
            Combine::Sum => weighed.reduce(|sum, load| sum + load),
            Combine::Max => weighed.reduce(f64::max),
        };
        let over = said().any(|(metric, value)| value > metric.limit);
        load.map(|load| Report { load: load.min(HEAVIEST) as f32, over })
    }

    /// What `backend` has said last of what is weighed.
    pub fn said(&self, backend: &Backend) -> impl Iterator<Item = (&str, f64)> {
        let series = self.series.get(&backend.id).into_iter().flatten();
        self.metrics.iter().zip(series).filter_map(|(metric, series)| Some((&*metric.name, series.value()?)))
    }

    /// The metrics that have not come at `now`, in microseconds, though they could have for as long as a report counts.
    /// Once.
    pub fn overdue(&self, now: u64) -> Option<Overdue> {
        let Arrivals { since, came, others, judged } = &self.arrivals;
        let since = since.load(Relaxed);
        if since == 0 || now < since.saturating_add(self.expire) || judged.swap(true, Relaxed) {
            return None;
        }
        let came = came.load(Relaxed);
        let names = |has: bool| {
            let metrics = self.metrics.iter().enumerate().filter(move |(place, _)| (came >> place & 1 == 1) == has);
            metrics.map(|(_, metric)| metric.name.to_string())
        };
        let missing: Vec<_> = names(false).collect();
        let others = others.get().into_iter().flatten().cloned();
        (!missing.is_empty()).then(|| Overdue { missing, came: names(true).chain(others).collect() })
    }
}

impl Metric {
    fn new(name: &str, weight: f32) -> Self {
        Self { name: name.into(), weight: f64::from(weight), limit: f64::INFINITY }
    }
}

impl Arrivals {
    fn note(&self, said: &[Option<f64>; MOST]) {
        let bit = |(place, value): (usize, &Option<f64>)| u32::from(value.is_some()) << place;
        let came = said.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit);
        if came & !self.came.load(Relaxed) != 0 {
            self.came.fetch_or(came, Relaxed);
        }
    }
}

/// TLS of polls: that of exchanges, but that HTTP/1.1 is spoken.
fn secured(
    pool: &config::Pool,
    source: &LoadSource,
    settings: &Settings,
    registry: &Registry,
    before: Option<&Plan>,
) -> Result<Option<Arc<tls::Client>>, String> {
    let Some(tls) = pool.tls.as_ref().filter(|_| *source != LoadSource::Header) else { return Ok(None) };
    if pool.protocol == Protocol::H1 {
        return Ok(settings.tls.clone());
    }
    let same = before.and_then(|plan| plan.pools.iter().find(|other| other.name == pool.name));
    let before = same.and_then(|pool| pool.custom_load.as_ref()?.tls.as_deref());
    let addresses = pool.backends.iter().map(|backend| &backend.address);
    let built = tls::Client::build(tls, Protocol::H1, addresses, before, registry.system_roots());
    built.map(Some).map_err(|why| format!("pool {}: custom_load: tls: {why}", pool.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Config,
        net::Budget,
        plan::{Ground, Numbers},
        telemetry::metrics::Telemetry,
    };
    use std::path::Path;

    const SECOND: u64 = 1_000_000;

    /// The one pool of a plan with these keys of `custom_load`.
    fn plan(keys: &str) -> Plan {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n[pool.p]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
             algorithm = \"custom_load\"\n[pool.p.custom_load]\n{keys}\n"
        );
        let config = Config::parse(&text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems:?}"));
        let registry = Registry::new(Budget::new(None), Arc::new(Telemetry::new(&[], &[1.0], 1)), 1);
        let mut numbers = Numbers::default();
        let mut ground = Ground {
            registry: &registry,
            memory: &crate::policy::Memory::default(),
            numbers: &mut numbers,
            algorithm: None,
            before: None,
        };
        Plan::build(&config, 1, &mut ground).unwrap()
    }

    fn load(plan: &Plan) -> &CustomLoad {
        plan.pools[0].custom_load.as_ref().unwrap()
    }

    fn weigh(keys: &str, said: &[(&str, f64)]) -> Option<Report> {
        let plan = plan(keys);
        let load = load(&plan);
        let mut values = [None; MOST];
        for (name, value) in said {
            if let Some(place) = load.metrics.iter().position(|metric| *metric.name == **name) {
                values[place] = Some(*value);
            }
        }
        load.weigh(&values)
    }

    fn report(load: f32, over: bool) -> Option<Report> {
        Some(Report { load, over })
    }

    #[test]
    fn what_was_said_is_weighed_and_the_rest_is_not() {
        let sum = "weights = { cpu_utilization = 0.5, \"named_metrics.q\" = 2, eps = 0 }";
        let both = [("cpu_utilization", 0.5), ("named_metrics.q", 3.0), ("rps_fractional", 1e9)];
        assert_eq!(weigh(sum, &both), report(6.25, false));
        assert_eq!(weigh(sum, &both[..1]), report(0.25, false));
        assert_eq!(weigh(&format!("{sum}\ncombine = \"max\""), &both), report(6.0, false));
        assert_eq!(weigh(sum, &[("cpu_utilization", 0.0)]), report(0.0, false));
        assert_eq!(weigh(sum, &both[2..]), None);
        assert_eq!(weigh(sum, &[("eps", 5.0)]), None, "nothing of what has a weight was said");
        assert_eq!(weigh(sum, &[("named_metrics.q", 1e308)]), report(1e30, false));
    }

    #[test]
    fn limits_are_of_any_metric() {
        let keys = "weights = { cpu_utilization = 1 }\nlimits = { mem_utilization = 0.5, cpu_utilization = 0.75 }";
        let said = |cpu, mem| weigh(keys, &[("cpu_utilization", cpu), ("mem_utilization", mem)]);
        assert_eq!(said(0.75, 0.5), report(0.75, false));
        assert_eq!(said(0.8125, 0.5), report(0.8125, true));
        assert_eq!(said(0.25, 0.625), report(0.25, true));
        assert_eq!(weigh(keys, &[("mem_utilization", 0.625)]), None);
    }

    #[test]
    fn what_is_heard_is_exported_of_that_backend() {
        let plan = plan("weights = { cpu_utilization = 1, eps = 1 }\nlimits = { mem_utilization = 0.5 }");
        let (load, backend) = (load(&plan), |place: usize| &plan.pools[0].members[place].backend);
        assert_eq!(load.said(backend(0)).count(), 0);
        load.hear(backend(0), SECOND, |say| {
            [("eps", 1.0), ("x", 2.0), ("mem_utilization", 1.0)].iter().for_each(|(name, value)| say(name, *value));
        });
        load.hear(backend(0), SECOND, |say| say("eps", 3.0));
        assert_eq!(load.said(backend(0)).collect::<Vec<_>>(), [("eps", 3.0)]);
        assert_eq!(load.said(backend(1)).count(), 0);
    }

    #[test]
    fn what_never_comes_is_told_once() {
        let keys = "weights = { cpu_utilization = 1, \"named_metrics.a\" = 1 }\nlimits = { eps = 9 }\nexpire = \"10s\"";
        let plan = plan(keys);
        let (load, backend) = (load(&plan), &plan.pools[0].members[0].backend);
        assert_eq!(load.overdue(100 * SECOND), None, "nobody could speak");
        load.expect(0);
        load.expect(50 * SECOND);
        load.hear(backend, SECOND, |say| ["eps", "named_metrics.A"].iter().for_each(|name| say(name, 1.0)));
        load.hear(backend, SECOND, |say| say("other", 1.0));
        assert_eq!(load.overdue(10 * SECOND), None);
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let missing = named(&["cpu_utilization", "named_metrics.a"]);
        let came = named(&["eps", "named_metrics.A"]);
        assert_eq!(load.overdue(10 * SECOND + 1), Some(Overdue { missing, came }));
        assert_eq!(load.overdue(100 * SECOND), None);
    }

    #[test]
    fn all_that_comes_is_nothing_to_tell() {
        let plan = plan("weights = { cpu_utilization = 1 }");
        let (load, backend) = (load(&plan), &plan.pools[0].members[0].backend);
        load.expect(SECOND);
        load.hear(backend, SECOND, |say| say("cpu_utilization", 0.0));
        assert_eq!(load.overdue(1000 * SECOND), None);
    }
}
