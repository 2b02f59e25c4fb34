//! `evenkeel check`: reads a configuration and says what is wrong with it; binds nothing. Called by `main`.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde::Serialize;

use super::{Format, TEST_FAILED};
use crate::{
    config::{Config, Problem, Problems},
    plan::{self, TestError},
};

/// Checks the file at `path`; problems and warnings go to stderr for people, to stdout for tools. Exit code 1 if there are
/// problems, or, with `strict`, warnings.
pub fn check(path: &Path, strict: bool, format: Format) -> ExitCode {
    let config = Config::load(path);
    let tested = config.as_ref().map_or(Ok(()), |config| plan::test(config, path));
    // A reader that has left, or a full disk, changes nothing about the configuration.
    let _ = tell(&config, &tested, path, (strict, format), (&mut io::stdout().lock(), &mut io::stderr().lock()));
    match tested {
        _ if !is_valid(&config, strict) => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(TestError::Plan(_)) => ExitCode::FAILURE,
        Err(TestError::Failed(_)) => ExitCode::from(TEST_FAILED),
    }
}

fn is_valid(config: &Result<Config, Problems>, strict: bool) -> bool {
    config.as_ref().is_ok_and(|config| !strict || config.warnings.is_none())
}

/// Draws `problems` on stderr, in colours where it shows them.
pub fn complain(problems: &Problems) {
    let _ = writeln!(io::stderr().lock(), "{}", problems.render(super::color()));
}

/// One problem as tools read it (PRODUCT.md section 12).
#[derive(Serialize)]
struct Row<'a> {
    file: Cow<'a, str>,
    line: usize,
    column: usize,
    severity: &'a str,
    key: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

/// Writes what is to be said of `config` and its tests, for tools to the first stream and for people to the second.
fn tell(
    config: &Result<Config, Problems>,
    tested: &Result<(), TestError>,
    path: &Path,
    (strict, format): (bool, Format),
    (out, err): (&mut impl Write, &mut impl Write),
) -> io::Result<()> {
    let problems = match config {
        Ok(config) => config.warnings.as_ref(),
        Err(problems) => Some(problems),
    };
    let failed = match tested {
        Err(TestError::Failed(failed)) => Some(failed),
        _ => None,
    };
    match format {
        Format::Text => {
            for problems in problems.into_iter().chain(failed) {
                writeln!(err, "{}", problems.render(super::color()))?;
            }
        }
        Format::Json => json(problems.into_iter().chain(failed), out)?,
    }
    match (config, tested) {
        (Ok(_), Err(TestError::Plan(why))) => writeln!(err, "{}: its tests cannot be asked: {why}", path.display()),
        (Ok(fine), Ok(())) if is_valid(config, strict) => praise(fine, path, err),
        _ => Ok(()),
    }
}

/// The one line that says that all is well.
fn praise(config: &Config, path: &Path, err: &mut impl Write) -> io::Result<()> {
    let plural = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let backends = config.pools.iter().map(|pool| pool.backends.len()).sum();
    let mut parts = vec![
        plural(config.listeners.len(), "listener"),
        plural(config.pools.len(), "pool"),
        plural(backends, "backend"),
    ];
    if !config.tests.is_empty() {
        parts.push(format!("{} passed", plural(config.tests.len(), "test")));
    }
    writeln!(err, "{}: the configuration is valid ({})", path.display(), parts.join(", "))
}

fn json<'p>(problems: impl Iterator<Item = &'p Problems>, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<_> = problems.flatten().map(row).collect();
    serde_json::to_writer_pretty(&mut *out, &rows)?;
    writeln!(out)
}

fn row(problem: &Problem) -> Row<'_> {
    Row {
        file: problem.file().to_string_lossy(),
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

    fn told(text: &str, options: (bool, Format)) -> (String, String) {
        let path = Path::new("evenkeel.toml");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let config = Config::parse(text, path);
        let tested = config.as_ref().map_or(Ok(()), |config| plan::test(config, path));
        tell(&config, &tested, path, options, (&mut out, &mut err)).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    const GOOD: &str = "listener.address = \"[::]:0\"\npool.web.backends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n";
    const LINE: &str = "evenkeel.toml: the configuration is valid (1 listener, 1 pool, 2 backends)\n";

    #[test]
    fn a_valid_file_gets_one_line_on_stderr() {
        for strict in [false, true] {
            assert_eq!(told(GOOD, (strict, Format::Text)), (String::new(), LINE.into()));
            assert_eq!(told(GOOD, (strict, Format::Json)), ("[]\n".into(), LINE.into()));
        }
    }

    #[test]
    fn warnings_are_shown_and_fail_only_when_strict() {
        let odd = format!("{GOOD}pool.spare.backends = \"10.0.0.3:80\"\nroute.pool = \"web\"\n");
        let (out, err) = told(&odd, (false, Format::Text));
        let line = LINE.replace("1 pool, 2", "2 pools, 3");
        assert!(out.is_empty() && err.starts_with("warning: pool.spare: "), "{err}");
        assert!(err.ends_with(&format!("evenkeel.toml: 1 warning\n{line}")), "{err}");
        let (out, err) = told(&odd, (false, Format::Json));
        let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((rows[0]["severity"].as_str(), err), (Some("warning"), line));
        let (_, err) = told(&odd, (true, Format::Text));
        assert!(err.ends_with("evenkeel.toml: 1 warning\n"), "{err}");
        let config = Config::parse(&odd, Path::new("evenkeel.toml"));
        assert!(is_valid(&config, false) && !is_valid(&config, true));
    }

    #[test]
    fn problems_go_to_stderr_for_people_and_to_stdout_for_tools() {
        let bad = format!("{GOOD}pool.web.balance = 1\nserver.via = 7\n");
        let (out, err) = told(&bad, (false, Format::Text));
        assert!(out.is_empty() && err.ends_with("evenkeel.toml: 2 problems\n"), "{err}");
        let (out, err) = told(&bad, (false, Format::Json));
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
