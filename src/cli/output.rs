//! What a command prints as a whole. Used by `reference`, `schema`, `completions` and `man`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Writes `text` to stdout; `what` it is, for when that fails.
pub(super) fn print(text: &[u8], what: &str) -> ExitCode {
    written(io::stdout().lock().write_all(text), what)
}

/// What a command exits with whose output was `written`.
pub(super) fn written(written: io::Result<()>, what: &str) -> ExitCode {
    match written {
        // Whoever reads the first page alone has seen what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "evenkeel: {what} cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
