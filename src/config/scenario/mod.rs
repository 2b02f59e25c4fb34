//! A scenario of `evenkeel simulate`: traffic, and backends that serve it. A small TOML file of its own, read and explained
//! as the configuration is. Called by `cli::simulate`; `config/algorithms` has files to start from.

mod keys;
mod parts;
mod read;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toml::de::DeTable;

use super::{
    files,
    problem::{Problems, Source},
    report::{Findings, Report},
    section::Section,
    syntax,
};

/// Traffic, and what serves it. Times count from the beginning of the simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Requests come for so long; `None` = as long as the log has some.
    pub duration: Option<Duration>,
    /// What arrives before is simulated, and not measured.
    pub warm_up: Duration,
    /// All randomness is from it.
    pub seed: u64,
    /// Balancers that share the traffic evenly, and know nothing of each other.
    pub instances: usize,
    /// A backend that joins or recovers gets its weight over so long.
    pub slow_start: Option<Duration>,
    /// For a request with its retries: then it has failed.
    pub timeout: Duration,
    /// Further attempts, each at another backend, where one refused or died.
    pub retries: u32,
    /// A backend that fails for so long is taken out by its checks.
    pub down_after: Duration,
    /// One that is well again for so long is taken in.
    pub up_after: Duration,
    /// For `hash`: nobody carries more than so many percent of the mean.
    pub bounded_load: u32,
    /// When requests come.
    pub arrivals: Arrivals,
    /// Whose they are.
    pub clients: Clients,
    /// Sizes of the answers, in bytes.
    pub response: Distribution,
    /// At least one.
    pub backends: Vec<Backend>,
}

/// When requests come.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// One does not care for the others.
    Poisson {
        /// A second.
        rate: f64,
        /// More of them, from time to time.
        bursts: Option<Bursts>,
    },
    /// As an access log has them, in JSON lines as evenkeel writes them; sizes and clients too.
    Log {
        /// Where it is.
        file: PathBuf,
        /// So many times as fast.
        speed: f64,
    },
}

/// Every `every`, from then on for `length`, requests come `factor` times as often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// 1 = no difference.
    pub factor: f64,
    /// From the beginning of one to that of the next; the first comes after one `every`.
    pub every: Duration,
    /// Shorter than `every`.
    pub length: Duration,
}

/// Whose requests they are: client k of the most frequent makes a share of 1 / k^`zipf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clients {
    /// How many.
    pub count: u32,
    /// 0 = all alike.
    pub zipf: f64,
}

/// A random time in nanoseconds, or size in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// How it spreads around its mean.
    pub kind: Kind,
    /// Above 0.
    pub mean: f64,
}

/// How a distribution spreads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Not at all.
    Constant,
    /// Without memory.
    Exponential,
    /// Its logarithm is normal, with this standard deviation.
    LogNormal(f64),
    /// A long tail, of this index: above 1, and the smaller the longer.
    Pareto(f64),
}

/// `count` backends that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Its name; with `count` above 1 the beginning of their names.
    pub name: String,
    /// At least 1.
    pub count: u32,
    /// Its share beside the others', 0 to 1000.
    pub weight: u32,
    /// Requests that it serves at a time; the others wait there.
    pub concurrency: u32,
    /// How long it serves one; `None` = as long as the log says.
    pub service: Option<Distribution>,
    /// Bytes a second of its answers, one after the other; `None` = no limit.
    pub bandwidth: Option<u64>,
    /// When it refuses what comes and drops what it has, and for how long.
    pub fails: Vec<Span>,
    /// When it serves so many times as slowly, and for how long.
    pub slow: Vec<(Span, f64)>,
    /// After it has joined or recovered it is so many times as slow, and less so until the time is over.
    pub cold: Option<(Duration, f64)>,
    /// Not a member before.
    pub joins: Option<Duration>,
    /// No longer a member; it serves what it has.
    pub leaves: Option<Duration>,
}

/// A piece of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It begins.
    pub at: Duration,
    /// It lasts.
    pub length: Duration,
}

impl Scenario {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every problem that it has.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        match files::source(path, 0) {
            Ok(source) => Self::of(&source),
            Err(problem) => {
                let mut problem = *problem;
                // It speaks of `-c`, which names a configuration.
                problem.help = None;
                Err(Problems::new(path, vec![problem]).expect("there is one"))
            }
        }
    }

    /// Reads `text` as if it stood in `file`: that is its name in messages, and relative paths start in its folder.
    ///
    /// # Errors
    /// Every problem that the text has, in its order.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        Self::of(&Arc::new(Source::new(file, 0, text)))
    }

    fn of(source: &Arc<Source>) -> Result<Self, Problems> {
        let findings = Findings::default();
        let report = Report::new(source, &findings);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        let document = Section::open(report, String::new(), table.get_ref(), table.span(), &keys::SCENARIO);
        let scenario = read::scenario(&document);
        if !errors.is_empty() {
            syntax::explain(&errors, report);
        }
        match (scenario, findings.finish(&source.file)) {
            (_, Some(problems)) => Err(problems),
            (Some(scenario), None) => Ok(scenario),
            (None, None) => unreachable!("a part that cannot be built has reported why"),
        }
    }
}
