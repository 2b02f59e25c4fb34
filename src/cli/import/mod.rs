//! `evenkeel import`: writes a configuration of ours from one of nginx or HAProxy. Called by `main`.

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod haproxy;
#[cfg(test)]
mod nginx;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::ValueEnum;

use crate::{
    config::Config,
    import::{self, Imported},
    plan,
};

/// What is imported, and how it is told.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Import {
    /// nginx.conf, or a file of one site; haproxy.cfg
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Whose it is, where the file does not tell
    #[arg(long, value_enum)]
    pub from: Option<Kind>,
    /// The report as a JSON array, of all directives
    #[arg(long)]
    pub json: bool,
    /// Tell of what is converted as well
    #[arg(long)]
    pub verbose: bool,
}

/// What the result is called where `check` says something of it.
const RESULT: &str = "imported.toml";

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nginx
    Nginx,
    /// HAProxy
    Haproxy,
}

/// Imports what was `asked` for: TOML to stdout, the report to stderr. Exit code 1 if it cannot be read, if `check` does not
/// accept the result here, or if not all has found room in it.
pub fn import(asked: &Import) -> ExitCode {
    let from = asked.from.map(|kind| match kind {
        Kind::Nginx => import::From::Nginx,
        Kind::Haproxy => import::From::Haproxy,
    });
    match import::import(&asked.file, from) {
        Ok(imported) => {
            let streams = (&mut io::stdout().lock(), &mut io::stderr().lock());
            match tell(&imported, asked, streams) {
                // Whoever reads the first lines alone has seen what they wanted.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
                Ok(false) => ExitCode::FAILURE,
                _ => ExitCode::SUCCESS,
            }
        }
        Err(unreadable) => {
            let _ = writeln!(io::stderr(), "evenkeel: {unreadable}");
            ExitCode::FAILURE
        }
    }
}

/// One element of what `--json` writes.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Of(&'a import::Entry),
    /// `check` does not accept the result; shaped as the others are.
    Refused {
        outcome: &'static str,
        file: &'static str,
        line: u32,
        directive: &'static str,
        note: String,
    },
}

/// Writes the file to the first stream, and what is to be said of it to the second; `false`: `check` does not accept it, which
/// is the last row of the `json`, or not all has found room in it.
fn tell(imported: &Imported, asked: &Import, (out, err): (&mut impl Write, &mut impl Write)) -> io::Result<bool> {
    out.write_all(imported.toml.as_bytes())?;
    out.flush()?;
    if asked.json {
        let mut said = Vec::new();
        let accepted = checked(&imported.toml, (&mut said, false))?;
        let note = String::from_utf8_lossy(&said).trim().to_owned();
        let refused = Row::Refused { outcome: "refused", file: RESULT, line: 1, directive: "", note };
        let rows = imported.report.entries().map(Row::Of).chain((!accepted).then_some(refused));
        serde_json::to_writer_pretty(&mut *err, &rows.collect::<Vec<_>>())?;
        writeln!(err)?;
        return Ok(accepted && imported.report.is_whole());
    }
    match asked.verbose {
        true => write!(err, "{}", imported.report)?,
        false => write!(err, "{}", imported.report.brief())?,
    }
    let accepted = checked(&imported.toml, (&mut *err, super::color()))?;
    if !imported.report.is_whole() {
        writeln!(err, "it is not whole: what has found no room in it is refused")?;
    }
    Ok(accepted && imported.report.is_whole())
}

/// Says what `check` would. Certificates may be missing on the machine at hand: the result is written all the same.
fn checked(toml: &str, (err, color): (&mut impl Write, bool)) -> io::Result<bool> {
    let file = Path::new(RESULT);
    match Config::parse(toml, file) {
        Ok(config) => {
            if let Some(warnings) = &config.warnings {
                writeln!(err, "\n{}", warnings.render(color))?;
            }
            match plan::test(&config, file) {
                Ok(()) => writeln!(err, "`check` accepts it").map(|()| true),
                Err(failed) => writeln!(err, "`check` does not accept it: {failed}").map(|()| false),
            }
        }
        Err(problems) => {
            writeln!(err, "\n`check` would not accept it yet:\n{}", problems.render(color))?;
            Ok(false)
        }
    }
}
