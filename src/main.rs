//! The `evenkeel` command: reads the command line, and calls one function for each command.

use clap::Parser;
use evenkeel::{
    cli::{Cli, Command, backends, check, demo, reload, run, status},
    config::Config,
};
use std::{path::Path, process::ExitCode};

/// A new connection makes and frees some ten pieces of memory: a fifth of our own time on it with glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage exits with 2 and help with 0, by clap.
    match Cli::parse().command {
        Command::Run { config } => serve(&config),
        Command::Check { config, format } => check::check(&config, format),
        Command::Reload { remote } => reload::reload(&remote),
        Command::Status { remote, json } => status::status(&remote, json),
        Command::Backends { remote, pool, action } => backends::backends(&remote, pool.as_deref(), &action),
        Command::Demo => demo::demo(),
    }
}

fn serve(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok(config) => run::run(config),
        Err(problems) => {
            check::complain(&problems);
            ExitCode::FAILURE
        }
    }
}
