//! `evenkeel reference`: prints every key of the configuration. Called by `main`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Writes the reference to stdout.
pub fn reference() -> ExitCode {
    match io::stdout().lock().write_all(crate::config::reference().as_bytes()) {
        // Whoever reads the first page alone has seen what they wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "evenkeel: the reference cannot be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
