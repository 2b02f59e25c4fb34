//! `evenkeel reference` and `evenkeel schema`: every key of the configuration, for people and for editors. Called by `main`.

use std::process::ExitCode;

use super::output::print;

/// Writes the reference to stdout.
pub fn reference() -> ExitCode {
    print(crate::config::reference().as_bytes(), "the reference")
}

/// Writes the JSON Schema to stdout.
pub fn schema() -> ExitCode {
    print(crate::config::schema().as_bytes(), "the schema")
}
