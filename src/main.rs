//! The `evenkeel` command: reads the command line, and calls one function for each command.

use clap::Parser;
use evenkeel::cli::{Cli, Command, check, demo, run};
use std::process::ExitCode;

/// A new connection makes and frees some ten pieces of memory: a fifth of our own time on it with glibc's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Wrong usage exits with 2 and help with 0, by clap.
    match Cli::parse().command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, format } => check::check(&config, format),
        Command::Demo => demo::demo(),
    }
}
