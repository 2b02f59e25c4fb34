//! `evenkeel simulate`: plays a scenario under each algorithm and compares them. Called by `main`.

use super::{check::complain, table::table};
use crate::{
    config::scenario::Scenario,
    simulate::{self, ALL, BUILT_IN, Contender, EVERY, LogError, Outcome, Traffic},
};
use clap::builder::PossibleValuesParser;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

/// What is to be simulated, and where it is told.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Simulate {
    /// The scenario, a TOML file; see --example
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only these, in this order; all of the configuration otherwise. exact_least_connections (of all members, however
    /// many) and modulo_hash are textbooks', to compare with
    #[arg(short, long, value_name = "NAME,…", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(EVERY.map(Contender::name)))]
    pub algorithm: Vec<String>,
    /// Instead of the scenario's
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u32>,
    /// Write the table as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Draw latencies, and queues over the time
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// JSON on stdout, with distributions and queues over the time, instead of the table
    #[arg(long)]
    pub json: bool,
    /// Print the built-in scenario, which has every key, as a start for your own
    #[arg(long)]
    pub example: bool,
}

/// Plays what was `asked`; exit code 1 if it cannot be played, or what was found cannot be written.
pub fn simulate(asked: &Simulate) -> ExitCode {
    if asked.example {
        return end(io::stdout().lock().write_all(BUILT_IN.as_bytes()).map_err(Failure::Stdout));
    }
    let read = match &asked.file {
        Some(file) => Scenario::load(file),
        None => Scenario::parse(BUILT_IN, Path::new("built-in.toml")),
    };
    match read {
        Ok(scenario) => end(play(asked, scenario)),
        Err(problems) => {
            complain(&problems);
            ExitCode::FAILURE
        }
    }
}

/// Why it has failed.
enum Failure {
    Log(LogError),
    Draw(String),
    File(PathBuf, io::Error),
    Stdout(io::Error),
}

fn end(result: Result<(), Failure>) -> ExitCode {
    let why = match result {
        // Whoever reads the first lines alone has seen what they wanted.
        Err(Failure::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Log(error)) => error.to_string(),
        Err(Failure::Draw(why)) => format!("the picture cannot be drawn: {why}"),
        Err(Failure::File(path, error)) => format!("{} cannot be written: {error}", path.display()),
        Err(Failure::Stdout(error)) => format!("the table cannot be written: {error}"),
    };
    let _ = writeln!(io::stderr(), "evenkeel: {why}");
    ExitCode::FAILURE
}

fn play(asked: &Simulate, mut scenario: Scenario) -> Result<(), Failure> {
    scenario.seed = asked.seed.map_or(scenario.seed, u64::from);
    let contenders: Vec<_> = match asked.algorithm.as_slice() {
        [] => ALL.to_vec(),
        // The command line takes no other names.
        names => names.iter().filter_map(|name| Contender::named(name)).collect(),
    };
    let traffic = Traffic::load(&scenario).map_err(Failure::Log)?;
    let bar = bar(simulate::length(&scenario, &traffic) * contenders.len() as u64);
    let threads = thread::available_parallelism().map_or(1, Into::into);
    let outcomes = simulate::compare(&scenario, &traffic, &contenders, threads, &|more| bar.inc(more));
    bar.finish_and_clear();
    tell(asked, &scenario, &outcomes)
}

fn tell(asked: &Simulate, scenario: &Scenario, outcomes: &[Outcome]) -> Result<(), Failure> {
    let name = asked.file.as_deref().map_or("the built-in scenario".into(), Path::to_string_lossy);
    let title = format!("{name}, seed {}", scenario.seed);
    let write = |path: &PathBuf, text: String| fs::write(path, text).map_err(|why| Failure::File(path.clone(), why));
    if let Some(path) = &asked.csv {
        write(path, simulate::csv(outcomes))?;
    }
    if let Some(path) = &asked.svg {
        write(path, simulate::draw(outcomes, &title).map_err(Failure::Draw)?)?;
    }
    let mut out = io::stdout().lock();
    if asked.json {
        return writeln!(out, "{:#}", simulate::json(outcomes)).map_err(Failure::Stdout);
    }
    let requests = outcomes.first().map_or(0, |one| one.requests);
    let mut all = || {
        writeln!(out, "{title}: {requests} requests under each algorithm\n")?;
        table(&simulate::rows(outcomes), &mut out)
    };
    all().map_err(Failure::Stdout)
}

/// On a terminal alone, for `length` virtual milliseconds.
fn bar(length: u64) -> ProgressBar {
    // On stderr, where it hides itself if that is no terminal.
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
