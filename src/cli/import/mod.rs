//! `evenkeel import`: writes a configuration of ours from one of nginx or HAProxy. Called by `main`.

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod haproxy;

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
    /// The report as a JSON array
    #[arg(long)]
    pub json: bool,
}

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nginx
    Nginx,
    /// HAProxy
    Haproxy,
}

/// Imports what was `asked` for: TOML to stdout, the report to stderr. Exit code 1 if it cannot be read, or if `check` does
/// not accept the result here.
pub fn import(asked: &Import) -> ExitCode {
    let from = asked.from.map(|kind| match kind {
        Kind::Nginx => import::From::Nginx,
        Kind::Haproxy => import::From::Haproxy,
    });
    match import::import(&asked.file, from) {
        Ok(imported) => {
            let streams = (&mut io::stdout().lock(), &mut io::stderr().lock());
            match tell(&imported, asked.json, streams) {
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

/// Writes the file to the first stream, and what is to be said of it to the second; `false`: `check` does not accept it.
fn tell(imported: &Imported, json: bool, (out, err): (&mut impl Write, &mut impl Write)) -> io::Result<bool> {
    out.write_all(imported.toml.as_bytes())?;
    out.flush()?;
    if json {
        serde_json::to_writer_pretty(&mut *err, &imported.report)?;
        writeln!(err)?;
        return checked(&imported.toml, &mut io::sink());
    }
    write!(err, "{}", imported.report)?;
    checked(&imported.toml, err)
}

/// Says what `check` would. Certificates may be missing on the machine at hand: the result is written all the same.
fn checked(toml: &str, err: &mut impl Write) -> io::Result<bool> {
    let file = Path::new("imported.toml");
    match Config::parse(toml, file) {
        Ok(config) => {
            if let Some(warnings) = &config.warnings {
                writeln!(err, "\n{}", warnings.render(super::color()))?;
            }
            match plan::test(&config, file) {
                Ok(()) => writeln!(err, "`check` accepts it").map(|()| true),
                Err(failed) => writeln!(err, "`check` does not accept it: {failed}").map(|()| false),
            }
        }
        Err(problems) => {
            writeln!(err, "\n`check` would not accept it yet:\n{}", problems.render(super::color()))?;
            Ok(false)
        }
    }
}
