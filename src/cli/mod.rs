//! The command line: what can be typed, with its help. One file a command; `main` matches and calls.

pub mod check;
pub mod demo;
pub mod reference;
pub mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Where the configuration is, unless `-c` says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/evenkeel/evenkeel.toml";

/// A standalone L7 reverse-proxy load balancer.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = "Example: evenkeel demo")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What evenkeel can be told to do.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve, in the foreground, until TERM, INT or QUIT
    #[command(after_help = "Example: evenkeel run -c /etc/evenkeel/evenkeel.toml")]
    Run {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Say whether a configuration is valid, and everything that is wrong with it
    ///
    /// Resolves no name and binds no socket. Exits with 0 if the configuration is valid, 1 if not. Warnings do not make
    /// it invalid, unless `--strict` says so.
    #[command(after_help = "Example: evenkeel check -c evenkeel.toml --format json")]
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Exit with 1 for a warning as well
        #[arg(long)]
        strict: bool,
        /// For people on stderr, or one JSON array of problems on stdout
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Start three backends and a balancer in front of them on free ports, to try evenkeel out
    ///
    /// Needs no file. Prints the addresses and a `curl` line; Ctrl-C ends it.
    #[command(after_help = "Example: evenkeel demo")]
    Demo,
    /// Print every key of the configuration with its meaning and its default, as a file that can be used
    #[command(after_help = "Example: evenkeel reference > evenkeel.toml")]
    Reference,
}

/// For whom problems are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// People: drawn on stderr.
    Text,
    /// Tools: one JSON array on stdout.
    Json,
}

/// Whether stderr shows colours: it is a terminal, and `NO_COLOR` (no-color.org) is not set.
pub fn color() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["evenkeel"], words].concat()).map(|cli| cli.command)
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        cli.build();
        for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let help = command.render_long_help().to_string();
            assert!(help.contains(&format!("Example: evenkeel {}", command.get_name())), "{help}");
        }
    }

    #[test]
    fn the_file_has_a_default_place() {
        let config = PathBuf::from(DEFAULT_CONFIG);
        assert_eq!(parse(&["run"]).unwrap(), Command::Run { config: config.clone() });
        assert_eq!(parse(&["check"]).unwrap(), Command::Check { config, strict: false, format: Format::Text });
        assert_eq!(
            parse(&["check", "-c", "x.toml", "--strict", "--format", "json"]).unwrap(),
            Command::Check { config: "x.toml".into(), strict: true, format: Format::Json }
        );
        assert_eq!(parse(&["demo"]).unwrap(), Command::Demo);
        assert_eq!(parse(&["reference"]).unwrap(), Command::Reference);
    }

    #[test]
    fn wrong_usage_exits_with_2_and_help_with_0() {
        for words in [&[][..], &["rum"], &["run", "x.toml"], &["check", "--format", "xml"], &["demo", "-c", "x"]] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        assert_eq!(parse(&["--version"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
        assert_eq!(parse(&["run", "--help"]).unwrap_err().exit_code(), 0);
    }
}
