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
    let config = Config::load(path);
    // A reader that has left, or a full disk, changes nothing about the configuration.
    let _ = tell(&config, path, format, (&mut io::stdout().lock(), &mut io::stderr().lock()));
    if config.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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

/// Writes what is to be said of `config`, for tools to the first stream and for people to the second.
fn tell(
    config: &Result<Config, Problems>,
    path: &Path,
    format: Format,
    (out, err): (&mut impl Write, &mut impl Write),
) -> io::Result<()> {
    match (config, format) {
        (Ok(config), Format::Text) => praise(config, path, err),
        (Ok(config), Format::Json) => writeln!(out, "[]").and_then(|()| praise(config, path, err)),
        (Err(problems), Format::Text) => writeln!(err, "{}", problems.render(super::color())),
        (Err(problems), Format::Json) => json(problems, out),
    }
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
    let rows: Vec<_> = problems.iter().map(|problem| row(problem, &file)).collect();
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}

fn row<'a>(problem: &'a Problem, file: &'a str) -> Row<'a> {
    Row {
        file,
        line: problem.line,
        column: problem.column,
        severity: problem.severity.word(),
        key: &problem.key,
        message: &problem.message,
        help: problem.help.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, format: Format) -> (String, String) {
        let path = Path::new("evenkeel.toml");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        tell(&Config::parse(text, path), path, format, (&mut out, &mut err)).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    const GOOD: &str = "listener.address = \"[::]:0\"\npool.web.backends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n";

    #[test]
    fn a_valid_file_gets_one_line_on_stderr() {
        let line = "evenkeel.toml: the configuration is valid (1 listener, 1 pool, 2 backends)\n";
        assert_eq!(told(GOOD, Format::Text), (String::new(), line.into()));
        assert_eq!(told(GOOD, Format::Json), ("[]\n".into(), line.into()));
    }

    #[test]
    fn problems_go_to_stderr_for_people_and_to_stdout_for_tools() {
        let bad = format!("{GOOD}pool.web.balance = 1\nserver.via = 7\n");
        let (out, err) = told(&bad, Format::Text);
        assert!(out.is_empty() && err.ends_with("evenkeel.toml: 2 problems\n"), "{err}");
        let (out, err) = told(&bad, Format::Json);
        assert_eq!(err, "");
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            rows[0],
            serde_json::json!({
                "file": "evenkeel.toml", "line": 3, "column": 10, "severity": "error", "key": "pool.web.balance",
                "message": "unknown key in [pool.NAME]", "help": "did you mean `algorithm`?",
            })
        );
        assert_eq!(rows.as_array().unwrap().len(), 2);
    }
}
