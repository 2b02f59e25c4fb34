//! `evenkeel completions`: what a shell wants to know to complete our commands. Called by `main`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, output::print};

/// The script for fish knows of options alone: where it says nothing, fish offers the names of files.
const SHELLS_FOR_FISH: &str = "complete -c evenkeel -n \"__fish_evenkeel_using_subcommand completions\" -f -a \"bash \
                               elvish fish powershell zsh\"\n";

/// Writes the script for `shell` to stdout.
pub fn completions(shell: Shell) -> ExitCode {
    print(&script(shell), "the script")
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "evenkeel", &mut script);
    if shell == Shell::Fish {
        script.extend(SHELLS_FOR_FISH.bytes());
    }
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
            assert!(script.contains("token-file"), "{shell}");
        }
    }

    #[test]
    fn fish_offers_shells_where_one_is_wanted() {
        let script = String::from_utf8(script(Shell::Fish)).unwrap();
        assert!(script.contains("function __fish_evenkeel_using_subcommand\n"), "{script}");
        let line = script.lines().find(|line| line.contains("using_subcommand completions\" -f -a")).unwrap();
        for shell in Shell::value_variants() {
            assert!(line.contains(&shell.to_string()), "{shell}: {line}");
        }
    }
}
