//! The command line: what can be typed, with its help. One file a command; `main` matches and calls.

pub mod backends;
pub mod check;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod explain;
pub mod import;
pub mod man;
mod output;
pub mod reference;
pub mod reload;
pub mod remote;
pub mod rollback;
pub mod run;
pub mod simulate;
pub mod status;
mod table;
#[cfg(test)]
mod testing;
pub mod top;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use self::{backends::Action, explain::Explain, import::Import, remote::Remote, simulate::Simulate};

/// Where the configuration is, unless `-c` says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/evenkeel/evenkeel.toml";

/// What a command exits with where a `[[test]]` has failed, and nothing else is wrong.
const TEST_FAILED: u8 = 3;

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
    /// Resolves no name and binds no socket. Exits with 0 if the configuration is valid and its tests pass, with 1 if it is
    /// not valid, and with 3 if a [[test]] fails. Warnings do not make it invalid, unless `--strict` says so.
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
    /// Say what would become of a request: its route and why, its pool and backends, and what else is in force
    ///
    /// Nothing is sent: routes and policies are asked as they are for requests, by the same code. Without --live the file is
    /// asked, as at a start. What it rests on is said: a credential that is shown counts as good, rate limits as not reached,
    /// and no backend as failing. Exits with 0 whatever becomes of the request.
    #[command(
        after_help = "Example: evenkeel explain GET https://api.example.com/v1/x -H 'x-tier: gold' --from 10.0.0.1"
    )]
    Explain(Explain),
    /// Say what a reload would change, and how many live connections would end for it
    ///
    /// NEW is read as if it stood where the file of the running process stands: what it includes, and other files that it
    /// names by relative paths, are found from there. With --offline it is compared with the file at -c, where it stands,
    /// and nobody is asked. Needs the token: the process reads files for it. Changes nothing. Exits with 0 whether there is
    /// a difference or none, with 1 if NEW is invalid.
    #[command(after_help = "Example: evenkeel diff /etc/evenkeel/evenkeel.toml")]
    Diff {
        /// The configuration that is to come
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
        /// Compare with the file at -c, and ask no process
        #[arg(long, conflicts_with_all = ["admin", "token_file"])]
        offline: bool,
        /// One JSON object, as the admin API tells it
        #[arg(long)]
        json: bool,
    },
    /// Have the running process read its configuration anew
    ///
    /// Exits with 1 if it refuses, with every problem on stderr, and with 3 if a [[test]] fails; it goes on with the
    /// configuration that it has.
    #[command(after_help = "Example: evenkeel reload --if-drops 0")]
    Reload {
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
        /// Refuse when more live connections than N would be drained: see `evenkeel diff`
        #[arg(long, value_name = "N")]
        if_drops: Option<u64>,
    },
    /// Have the running process put the configuration before in force again, until its file changes
    ///
    /// A reload that finds the file as it is now keeps it, and so does a restart; any change of the file is read again. Once
    /// more goes one further back. Exits with 1 if there is none before, or it cannot be used any more: then nothing changes.
    #[command(after_help = "Example: evenkeel rollback")]
    Rollback {
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
    },
    /// Say how the running process is: its configuration, listeners, pools and backends
    #[command(after_help = "Example: evenkeel status --json")]
    Status {
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
        /// One JSON object, as the admin API tells it
        #[arg(long)]
        json: bool,
    },
    /// Show the running process on the terminal, live: its traffic, and each pool and backend
    ///
    /// Keys: q quits, s sorts, / filters, arrows select a backend, d drains it, e enables it, m puts it into maintenance;
    /// changes are asked about before they are made. NO_COLOR is respected.
    #[command(after_help = "Example: evenkeel top")]
    Top {
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
        /// Write to stdout instead: a JSON object a line, each second, as the admin API's events tell it
        #[arg(long)]
        json: bool,
        /// Write one screen, or with --json one line, and end
        #[arg(long)]
        once: bool,
    },
    /// List the backends of the running process, or change one of them
    #[command(after_help = "Example: evenkeel backends drain 10.0.1.10:8080 --pool web")]
    Backends {
        /// Whom to call.
        #[command(flatten)]
        remote: Remote,
        /// The pool that is meant, where a backend's name does not tell
        #[arg(long, value_name = "POOL", global = true)]
        pool: Option<String>,
        /// What is to be done.
        #[command(subcommand)]
        action: Action,
    },
    /// Start three backends and a balancer in front of them on free ports, to try evenkeel out
    ///
    /// Needs no file. Prints the addresses, that of the dashboard too, and a `curl` line; opens the dashboard where there is
    /// a desktop (DISPLAY or WAYLAND_DISPLAY is set, and it runs on its terminal); Ctrl-C ends it.
    #[command(after_help = "Example: evenkeel demo")]
    Demo,
    /// Compare the balancing algorithms in virtual time: the code that serves traffic, before backends that are numbers
    ///
    /// Without a file it plays a built-in scenario. Times are milliseconds from a request's arrival to the last byte of its
    /// answer, retries included. "max queue" is the most requests that ever waited at one backend; "imbalance" is the time
    /// that the busiest backend worked for its weight, of the mean (1.00 = all alike); "kept" is the share of requests that
    /// came to the same backend as the client's request before.
    #[command(after_help = "Example: evenkeel simulate my.toml --algorithm round_robin,least_connections --svg my.svg")]
    Simulate(Simulate),
    /// Turn nginx.conf or haproxy.cfg into a configuration
    ///
    /// Writes TOML to stdout, with the source line at each part, and to stderr what is approximated or not supported,
    /// and how much is converted; with --verbose each directive. What protects and cannot be converted (deny, auth) is
    /// closed, not opened. Exits with 1 if the file cannot be read, if `check` does not accept the result here, such as
    /// where a certificate is missing, or if not all has found room in it.
    #[command(after_help = "Example: evenkeel import /etc/nginx/nginx.conf > evenkeel.toml")]
    Import(Import),
    /// Print every key of the configuration with its meaning and its default, as a file that can be used
    #[command(after_help = "Example: evenkeel reference > evenkeel.toml")]
    Reference,
    /// Print the JSON Schema of the configuration, by which editors complete and check it
    ///
    /// Beside the configuration, as `evenkeel.schema.json`, editors that know TOML (taplo, Even Better TOML) find it by the
    /// first line of the recipes: `#:schema ./evenkeel.schema.json`.
    #[command(after_help = "Example: evenkeel schema > evenkeel.schema.json")]
    Schema,
    /// Print what a shell needs to complete these commands
    #[command(after_help = "Example: evenkeel completions bash > /etc/bash_completion.d/evenkeel")]
    Completions {
        /// Which shell
        #[arg(value_enum, value_name = "SHELL")]
        shell: Shell,
    },
    /// Print the manual: one page with all commands, or one for each of them as well
    #[command(after_help = "Example: evenkeel man | man -l -")]
    Man {
        /// Write the pages into this folder, which is made if need be
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
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
    std::io::stderr().is_terminal() && wants_color()
}

/// `NO_COLOR` (no-color.org) is not set.
fn wants_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
        has_examples(&mut cli, "evenkeel");
    }

    fn has_examples(command: &mut clap::Command, path: &str) {
        let help = command.render_long_help().to_string();
        assert!(help.contains(&format!("Example: {path} ")) || help.ends_with(&format!("Example: {path}\n")), "{help}");
        for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let path = format!("{path} {}", command.get_name());
            has_examples(command, &path);
        }
    }

    #[test]
    fn a_running_process_is_named_before_or_behind_what_is_asked() {
        let remote = |config: &str, admin: Option<&str>, token_file: Option<&str>| Remote {
            config: config.into(),
            admin: admin.map(|address| crate::config::Address::Tcp(address.parse().unwrap())),
            token_file: token_file.map(Into::into),
        };
        assert_eq!(
            parse(&["reload"]).unwrap(),
            Command::Reload { remote: remote(DEFAULT_CONFIG, None, None), if_drops: None }
        );
        let at = ["--admin", "127.0.0.1:9901", "--token-file", "t", "-c", "x.toml"];
        let elsewhere = || remote("x.toml", Some("127.0.0.1:9901"), Some("t"));
        let status = Command::Status { remote: elsewhere(), json: true };
        assert_eq!(parse(&[&["status", "--json"][..], &at].concat()).unwrap(), status);
        let top = Command::Top { remote: elsewhere(), json: true, once: false };
        assert_eq!(parse(&[&["top", "--json"][..], &at].concat()).unwrap(), top);
        let action = || Action::Drain { name: "b".into(), deadline: Some(std::time::Duration::from_secs(300)) };
        let drain = Command::Backends { remote: elsewhere(), pool: Some("web".into()), action: action() };
        let words = ["drain", "b", "--deadline", "5m"];
        let pool = ["--pool", "web"];
        assert_eq!(parse(&[&["backends"][..], &at, &pool, &words].concat()).unwrap(), drain);
        assert_eq!(parse(&[&["backends"][..], &words, &at, &pool].concat()).unwrap(), drain);
        assert_eq!(parse(&[&["backends"][..], &at, &words, &pool].concat()).unwrap(), drain);
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
        assert_eq!(parse(&["schema"]).unwrap(), Command::Schema);
        assert_eq!(parse(&["completions", "zsh"]).unwrap(), Command::Completions { shell: Shell::Zsh });
        assert_eq!(parse(&["man"]).unwrap(), Command::Man { dir: None });
        assert_eq!(parse(&["man", "--dir", "m"]).unwrap(), Command::Man { dir: Some("m".into()) });
    }

    #[test]
    fn wrong_usage_exits_with_2_and_help_with_0() {
        for words in [&[][..], &["rum"], &["run", "x.toml"], &["check", "--format", "xml"], &["demo", "-c", "x"]] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        for words in [
            &["backends"][..],
            &["backends", "drain"],
            &["backends", "drain", "a", "--deadline", "5"],
            &["backends", "weight", "a", "1001"],
            &["backends", "weight", "a", "-1"],
            &["backends", "list", "a"],
            &["reload", "--admin", "localhost"],
            &["reload", "now"],
            &["status", "--pool", "web"],
            &["completions"],
            &["completions", "csh"],
            &["man", "run"],
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        assert_eq!(parse(&["--version"]).unwrap_err().kind(), ErrorKind::DisplayVersion);
        assert_eq!(parse(&["run", "--help"]).unwrap_err().exit_code(), 0);
    }
}
