//! `evenkeel man`: the manual, made of the help that each command has. Called by `main`.

use std::{fs, io, path::Path, process::ExitCode};

use clap::{Arg, Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, bold, italic, roman},
};

use super::{
    Cli,
    output::{print, written},
};

/// A section of the first page: its title, and what stands in it, each with a sentence.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// What no command's help has.
const SECTIONS: &[Section] = &[
    (
        "SIGNALS",
        &[
            (
                "HUP",
                "Read the configuration anew. One that is wrong changes nothing, and the log says what is wrong with it.",
            ),
            ("TERM, INT, QUIT", "Drain, then exit with 0. A second one ends the process at once."),
            ("USR1", "Open the files of the logs anew, after they have been moved away."),
            ("USR2", "Hand over to a new binary: caught, and refused in the log, by this build."),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "All is well."),
            ("1", "The configuration is invalid, the start failed, or the running process refused."),
            ("2", "Wrong usage of the command line."),
            ("3", "A [[test]] of the configuration failed."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("NO_COLOR", "Unless it is empty, messages have no colours."),
            ("RUST_LOG", "The level of the program's log, or directives; it wins over log.level of the configuration."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC",
                "Set by systemd: where the process says that it is ready, reloading, stopping or alive.",
            ),
            ("LISTEN_FDS, LISTEN_FDNAMES", "Set by systemd: sockets to listen on, by the names of listeners."),
            ("STATE_DIRECTORY", "Set by systemd: the folder of the last accepted configurations."),
            (
                "SSL_CERT_FILE, SSL_CERT_DIR",
                "The system's CAs, by which backends with tls are verified, unless it has a ca.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            ("/etc/evenkeel/evenkeel.toml", "The configuration, unless -c names another file."),
            ("/etc/evenkeel/conf.d/*.toml", "What it includes unless it says otherwise, in lexical order."),
            ("/var/lib/evenkeel", "The last accepted configurations, where STATE_DIRECTORY is not set."),
        ],
    ),
];

/// Writes one page with all commands to stdout, or into `dir` that and one for each command.
pub fn man(dir: Option<&Path>) -> ExitCode {
    match dir {
        Some(dir) => written(pages().and_then(|pages| put(dir, &pages)), "the manual"),
        None => match whole(&root()) {
            Ok(page) => print(&page, "the manual"),
            Err(error) => written(Err(error), "the manual"),
        },
    }
}

fn put(dir: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|(name, page)| fs::write(dir.join(name), page))
}

/// All that can be typed, but for `help`.
fn root() -> Command {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    root
}

/// Each page, by the name of its file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let root = root();
    let mut pages = vec![("evenkeel.1".to_owned(), whole(&root)?)];
    for command in below(&root) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name());
        pages.push((format!("{name}.1"), page(command)?));
    }
    Ok(pages)
}

/// The commands below `command`, each before its own.
fn below(command: &Command) -> Vec<&Command> {
    command.get_subcommands().flat_map(|command| [vec![command], below(command)].concat()).collect()
}

/// The first page.
fn whole(root: &Command) -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in below(root).into_iter().filter(|command| !command.has_subcommands()) {
        roff.control("SS", [usage(command).as_str()]);
        about(&mut roff, command);
        example(&mut roff, command);
        options(&mut roff, command);
    }
    for (title, entries) in SECTIONS {
        roff.control("SH", [*title]);
        for (what, text) in *entries {
            roff.control("TP", []);
            roff.text([bold(*what)]);
            roff.text([roman(*text)]);
        }
    }
    headed(root, roff)
}

/// The page of one command.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    if command.get_arguments().any(told) {
        roff.control("SH", ["OPTIONS"]);
        options(&mut roff, command);
    }
    for command in below(command) {
        roff.control("SS", [usage(command).as_str()]);
        about(&mut roff, command);
    }
    roff.control("SH", ["EXAMPLE"]);
    example(&mut roff, command);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("evenkeel"), roman("(1)")]);
    headed(command, roff)
}

/// `body` below what every page begins with.
fn headed(command: &Command, body: Roff) -> io::Result<Vec<u8>> {
    let source = format!("evenkeel {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("evenkeel");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    body.to_writer(&mut page)?;
    Ok(ascii(&String::from_utf8_lossy(&page)).into_bytes())
}

/// `page` in letters that every roff knows without being told what they are encoded in.
fn ascii(page: &str) -> String {
    let mut plain = String::with_capacity(page.len());
    for letter in page.chars() {
        match letter {
            letter if letter.is_ascii() => plain.push(letter),
            letter => plain.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    plain
}

/// `evenkeel check [OPTIONS]`
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").trim().to_owned()
}

fn about(roff: &mut Roff, command: &Command) {
    let text = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    for (number, paragraph) in text.split("\n\n").enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph)]);
    }
}

/// What the help ends with, after "Example: ".
fn example(roff: &mut Roff, command: &Command) {
    let Some(text) = command.get_after_help() else { return };
    let text = text.to_string();
    roff.control("PP", []);
    roff.text([roman("Example: "), bold(text.trim_start_matches("Example: "))]);
}

fn told(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn options(roff: &mut Roff, command: &Command) {
    for arg in command.get_arguments().filter(|arg| told(arg)) {
        let names = [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
        let mut head = Vec::new();
        for name in names.into_iter().flatten() {
            if !head.is_empty() {
                head.push(roman(", "));
            }
            head.push(bold(name));
        }
        if arg.get_action().takes_values() {
            if !head.is_empty() {
                head.push(roman(" "));
            }
            let names = arg.get_value_names().unwrap_or_default();
            head.push(italic(names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")));
        }
        roff.control("TP", []);
        roff.text(head);
        roff.text([roman(meaning(arg))]);
    }
}

/// What an option is for, what it may be, and what it is unless it is given.
fn meaning(arg: &Arg) -> String {
    let mut text = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    if !text.is_empty() && !text.ends_with('.') {
        text.push('.');
    }
    let takes = arg.get_action().takes_values();
    let words: Vec<String> = arg.get_possible_values().iter().map(|word| word.get_name().to_owned()).collect();
    if takes && !words.is_empty() {
        text.push_str(&format!(" One of: {}.", words.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if takes && !defaults.is_empty() {
        text.push_str(&format!(" Default: {}.", defaults.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_page_has_every_command_with_its_options_and_an_example() {
        let page = String::from_utf8(whole(&root()).unwrap()).unwrap();
        // As roff writes hyphens and apostrophes.
        let plain = page.replace("\\-", "-").replace("\\*(Aq", "'");
        for command in below(&root()).into_iter().filter(|command| !command.has_subcommands()) {
            let name = command.get_bin_name().unwrap();
            assert!(plain.contains(&format!(".SS \"{name}")) || plain.contains(&format!(".SS {name}")), "{name}");
            for arg in command.get_arguments().filter(|arg| told(arg)) {
                let long = arg.get_long().map_or_else(String::new, |long| format!("--{long}"));
                assert!(plain.contains(&long) && !meaning(arg).is_empty(), "{name}: {arg:?}");
            }
            let example = command.get_after_help().unwrap().to_string();
            assert!(plain.contains(example.trim_start_matches("Example: ")), "{name}: {example}");
        }
        for section in ["NAME", "SYNOPSIS", "SIGNALS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
            assert!(plain.contains(&format!("\n.SH {section}\n")), "{section}\n{plain}");
        }
    }

    #[test]
    fn letters_are_those_that_every_roff_knows() {
        assert_eq!(ascii("a-…é𝄞"), "a-\\[u2026]\\[u00E9]\\[u1D11E]");
        assert!(pages().unwrap().iter().all(|(_, page)| page.is_ascii()));
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in
            ["evenkeel.1", "evenkeel-run.1", "evenkeel-check.1", "evenkeel-backends.1", "evenkeel-backends-drain.1"]
        {
            assert!(names.contains(&name), "{names:?}");
        }
        for (name, page) in pages {
            let page = String::from_utf8(page).unwrap();
            assert!(
                page.contains("\n.SH NAME\n") && page.contains("Example: ") || name == "evenkeel.1",
                "{name}\n{page}"
            );
        }
    }
}
