//! The `evenkeel` command: reads the command line, and calls one function for each command.

use clap::Parser;
use evenkeel::cli::{
    Cli, Command, backends, check, completions, demo, diff, explain, import, man, reference, reload, rollback, run,
    simulate, status, top,
};
use std::process::ExitCode;

/// A new connection makes and frees some ten pieces of memory: a fifth of our own time on it with glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage exits with 2 and help with 0, by clap.
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, strict, format } => check::check(&config, strict, format),
        Command::Explain(asked) => explain::explain(&asked),
        Command::Diff { new, remote, offline, json } => diff::diff(&new, &remote, offline, json),
        Command::Reload { remote, if_drops } => reload::reload(&remote, if_drops),
        Command::Rollback { remote } => rollback::rollback(&remote),
        Command::Status { remote, json } => status::status(&remote, json),
        Command::Top { remote, json, once } => top::top(&remote, json, once),
        Command::Backends { remote, pool, action } => backends::backends(&remote, pool.as_deref(), &action),
        Command::Simulate(asked) => simulate::simulate(&asked),
        Command::Demo => demo::demo(),
        Command::Import(asked) => import::import(&asked),
        Command::Reference => reference::reference(),
        Command::Schema => reference::schema(),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { dir } => man::man(dir.as_deref()),
    }
}
