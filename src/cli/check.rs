//! `evenkeel check`: reads a configuration and says what is wrong with it; binds nothing. Called by `main`.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde::Serialize;

use super::Format;
use crate::config::{Config, Problem, Problems};

/// Checks the file at `path`; problems go to stderr for people, to stdout for tools. Exit code 1 if there are any.
pub fn check(path: &Path, format: Format) -> ExitCode {
    let valid = verdict(&Config::load(path), path, format, &mut io::stdout().lock(), &mut io::stderr().lock());
    // A reader that has left, or a full disk, changes nothing about the configuration.
    if valid.unwrap_or_else(|(valid, _)| valid) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Draws `problems` on stderr, in colours where it shows them.
pub fn complain(problems: &Problems) {
    let _ = writeln!(io::stderr().lock(), "{}", problems.render(super::color()));
}

/// One problem as tools read it (PRODUCT.md section 12).
#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: &'a str,
    key: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

fn verdict(
    config: &Result<Config, Problems>,
    path: &Path,
    format: Format,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<bool, (bool, io::Error)> {
    let written = match (config, format) {
        (Ok(config), Format::Text) => praise(config, path, err),
        (Ok(config), Format::Json) => writeln!(out, "[]").and_then(|()| praise(config, path, err)),
        (Err(problems), Format::Text) => writeln!(err, "{}", problems.render(super::color())),
        (Err(problems), Format::Json) => json(problems, out),
    };
    written.map(|()| config.is_ok()).map_err(|error| (config.is_ok(), error))
}

/// The one line that says that all is well.
fn praise(config: &Config, path: &Path, err: &mut impl Write) -> io::Result<()> {
    let plural = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let backends = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let parts =
        [plural(config.listeners.len(), "listener"), plural(config.pools.len(), "pool"), plural(backends, "backend")];
    writeln!(err, "{}: the configuration is valid ({})", path.display(), parts.join(", "))
}

fn json(problems: &Problems, out: &mut impl Write) -> io::Result<()> {
    let file = problems.file().to_string_lossy();
    let row = |problem: &'_ Problem| -> serde_json::Value {
        serde_json::json!(Row {
            file: &file,
            line: problem.line,
            column: problem.column,
            severity: problem.severity.word(),
            key: &problem.key,
            message: &problem.message,
            help: problem.help.as_deref(),
        })
    };
    let rows: Vec<_> = problems.iter().map(row).collect();
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}
