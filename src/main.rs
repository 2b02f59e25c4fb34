//! The `evenkeel` command: reads the command line, and calls one function for each command.

use std::{path::Path, process::ExitCode};

use clap::Parser;
use evenkeel::{
    cli::{Cli, Command, check},
    config::Config,
};

fn main() -> ExitCode {
    // Wrong usage exits with 2 and help with 0, by clap.
    match Cli::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config, format } => check::check(&config, format),
        Command::Demo => no_engine(),
    }
}

fn run(path: &Path) -> ExitCode {
    match Config::load(path) {
        // MERGE: here, and only here, `cli::run::run(config)`.
        Ok(_config) => no_engine(),
        Err(problems) => {
            check::complain(&problems);
            ExitCode::FAILURE
        }
    }
}

/// MERGE: goes away with `cli::run` and `cli::demo`.
fn no_engine() -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "evenkeel: this build has no engine");
    ExitCode::FAILURE
}
