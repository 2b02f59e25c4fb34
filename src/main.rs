//! The `evenkeel` command: reads the command line, and calls one function for each command.

use clap::Parser;
use evenkeel::{
    cli::{Cli, Command, check, demo, reference, run},
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
        Command::Check { config, strict, format } => check::check(&config, strict, format),
        Command::Demo => demo::demo(),
        Command::Reference => reference::reference(),
    }
}

fn serve(path: &Path) -> ExitCode {
    match Config::load(path) {
        Ok(config) => {
            if let Some(warnings) = &config.warnings {
                check::complain(warnings);
            }
            run::run(config)
        }
        Err(problems) => {
            check::complain(&problems);
            ExitCode::FAILURE
        }
    }
}
