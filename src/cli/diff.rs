//! `evenkeel diff`: what a reload would change, and what would end for it. Called by `main`.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
    process::ExitCode,
};

use http::Method;

use super::{
    remote::{Failure, Remote, finish},
    table::printable,
    wants_color,
};
use crate::{
    admin::command::{Change, Diff, KeyChange, What},
    config::Config,
    plan::diff::{Fixed, several},
};

/// Bytes of a configuration that is sent; the process takes no more.
const SIZE: u64 = 1 << 20;

/// Tells people, or tools if `json`; exit code 1 if the configuration at `new` is invalid, or nobody could be asked.
pub fn diff(new: &Path, remote: &Remote, offline: bool, json: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    let color = out.is_terminal() && wants_color();
    finish(try_diff(new, remote, offline, if json { None } else { Some(color) }, &mut out))
}

/// `people` is whether they see colours; tools see JSON.
fn try_diff(
    new: &Path,
    remote: &Remote,
    offline: bool,
    people: Option<bool>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let diff = if offline { compare(&remote.config, new)? } else { ask(new, remote)? };
    match people {
        None => {
            serde_json::to_writer(&mut *out, &diff).map_err(io::Error::from)?;
            Ok(writeln!(out)?)
        }
        Some(color) => Ok(tell(&diff, color, out)?),
    }
}

/// What the running process says of it.
fn ask(new: &Path, remote: &Remote) -> Result<Diff, Failure> {
    let unread = |error: io::Error| Failure::Unclear(format!("{}: {error}", new.display()));
    let mut text = String::new();
    File::open(new).and_then(|file| file.take(SIZE + 1).read_to_string(&mut text)).map_err(unread)?;
    if text.len() as u64 > SIZE {
        let why = "a process takes 1 MiB; with --offline it may be larger";
        return Err(Failure::Unclear(format!("{}: the file is larger than 1 MiB: {why}", new.display())));
    }
    remote.caller()?.change(Method::POST, "/api/v1/diff", text).map_err(|failure| in_its_place(failure, new))
}

/// The process reads the text of `new` as if it stood where its own file does, and its problems name that one.
fn in_its_place(failure: Failure, new: &Path) -> Failure {
    match failure {
        Failure::Refused { status, kind, detail } if detail.contains('\n') => {
            let detail = format!("{}, read in the place of the file in use:\n{detail}", new.display());
            Failure::Refused { status, kind, detail }
        }
        other => other,
    }
}

/// Both files, each where it stands.
fn compare(old: &Path, new: &Path) -> Result<Diff, Failure> {
    let load = |path| Config::load(path).map_err(|problems| Failure::Unclear(problems.render(false)));
    let (old, new) = (load(old)?, load(new)?);
    Ok(Diff::between(&old, &new, &Fixed::of(&old)))
}

fn tell(diff: &Diff, color: bool, out: &mut impl Write) -> io::Result<()> {
    let against = diff.generation.map(|of| format!(" (generation {of} is in use)")).unwrap_or_default();
    if diff.is_empty() {
        return writeln!(out, "no difference{against}");
    }
    writeln!(out, "{}{against}", several(diff.changes.len() as u64, "change"))?;
    for change in &diff.changes {
        show(change, &diff.within, color, out)?;
    }
    for note in &diff.notes {
        writeln!(out, "note: {}", printable(note))?;
    }
    for note in &diff.restart {
        writeln!(out, "restart: {}", printable(note))?;
    }
    match diff.drains {
        None => Ok(()),
        Some(0) => writeln!(out, "no live connection would be drained"),
        Some(drains) => {
            let what = several(drains, "live connection");
            writeln!(out, "{what} would be drained, within {}", printable(&diff.within))
        }
    }
}

fn show(change: &Change, within: &str, color: bool, out: &mut impl Write) -> io::Result<()> {
    let (sign, code) = match change.change {
        What::Added => ('+', "32"),
        What::Removed => ('-', "31"),
        What::Changed => ('~', "33"),
    };
    let line = |text: &str, out: &mut dyn Write| match color {
        true => writeln!(out, "\u{1b}[{code}m{}\u{1b}[0m", printable(text)),
        false => writeln!(out, "{}", printable(text)),
    };
    line(&format!("{sign} {}", change.called()), out)?;
    for key in &change.keys {
        line(&format!("    {}", written(key)), out)?;
    }
    if change.contents {
        writeln!(out, "    a file that it names says something else")?;
    }
    match &change.drains {
        Some(drains) => writeln!(out, "    drains {drains}, within {}", printable(within)),
        None => Ok(()),
    }
}

fn written(KeyChange { key, old, new }: &KeyChange) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{key}: {old} -> {new}"),
        (None, Some(new)) => format!("{key} = {new}"),
        (Some(old), None) => format!("{key} = {old} (taken out)"),
        (None, None) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, remote, said};
    use super::*;
    use crate::admin::testing::{Admin, Play, TOKEN};

    const OLD: &str = "[[listener]]\naddress = \"[::]:80\"\n[pool.web]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n\
                       connect_timeout = \"2s\"\nslow_start = \"5s\"\n";

    fn offline(old: &str, new: &str, people: Option<bool>) -> Result<String, String> {
        let (old, new) = (file(old), file(new));
        let remote = Remote { config: old.0.clone(), admin: None, token_file: None };
        said(|out| try_diff(&new.0, &remote, true, people, out))
    }

    #[test]
    fn two_files_are_compared_without_a_process() {
        assert_eq!(offline(OLD, OLD, Some(false)), Ok("no difference\n".into()));
        let new = OLD.replace("\"2s\"", "\"3s\"").replace("slow_start = \"5s\"\n", "max_in_flight = 7\n");
        let new = new.replace("10.0.0.2", "10.0.0.3") + "[server]\nworkers = 2\n";
        let told = "4 changes\n~ [server]\n    workers = 2\n~ pool \"web\"\n    connect_timeout: \"2s\" -> \"3s\"\n    \
                    max_in_flight = 7\n    slow_start = \"5s\" (taken out)\n- backend \"10.0.0.2:80\" of pool \"web\"\n    \
                    address = \"10.0.0.2:80\" (taken out)\n+ backend \"10.0.0.3:80\" of pool \"web\"\n    address = \
                    \"10.0.0.3:80\"\nrestart: server.workers: a change needs a restart\n";
        assert_eq!(offline(OLD, &new, Some(false)).unwrap(), told);
        let coloured = offline(OLD, &new, Some(true)).unwrap();
        assert!(coloured.contains("\u{1b}[31m- backend \"10.0.0.2:80\" of pool \"web\"\u{1b}[0m\n"), "{coloured}");
        let json: Diff = serde_json::from_str(&offline(OLD, &new, None).unwrap()).unwrap();
        assert_eq!((json.changes.len(), json.drains, json.generation), (4, None, None));
    }

    #[test]
    fn what_a_process_says_does_not_play_with_the_terminal() {
        let change =
            r#"{"change": "removed", "kind": "route", "name": "a\u001b[2Jb", "keys": [{"key": "x\u001b[1m"}]}"#;
        let diff: Diff =
            serde_json::from_str(&format!(r#"{{"within": "30s", "changes": [{change}], "notes": ["\u0007"]}}"#))
                .unwrap();
        for color in [false, true] {
            let told = said(|out| Ok(tell(&diff, color, out)?)).unwrap();
            let plain = told.replace("\u{1b}[31m", "").replace("\u{1b}[0m", "");
            assert!(!plain.contains(|letter: char| letter.is_control() && letter != '\n'), "{told:?}");
        }
    }

    #[test]
    fn a_file_that_is_invalid_is_explained() {
        let why = offline(OLD, &OLD.replace("connect_timeout", "conect_timeout"), Some(false)).unwrap_err();
        assert!(why.contains("did you mean `connect_timeout`"), "{why}");
    }

    #[test]
    fn the_running_process_tells_what_would_end() {
        let (token, new, same) = (file(TOKEN), file("other"), file("same"));
        let admin = Admin::tcp(Play::default(), Some(TOKEN));
        let asked = |file: &super::super::testing::File, people| {
            said(|out| try_diff(&file.0, &remote(&admin, Some(&token)), false, people, out))
        };
        let told = "1 change (generation 7 is in use)\n~ pool \"web\"\n    connect_timeout = \"1s\"\n    drains 3 exchanges, \
                    within 30s\n3 live connections would be drained, within 30s\n";
        assert_eq!(asked(&new, Some(false)), Ok(told.into()));
        assert_eq!(asked(&same, Some(false)), Ok("no difference (generation 7 is in use)\n".into()));
        assert!(asked(&new, None).unwrap().contains("\"drains\":{\"connections\":0,\"exchanges\":3,\"tunnels\":0}"));
        let shown = said(|out| try_diff(&new.0, &remote(&admin, None), false, None, out));
        assert_eq!(shown, Err("refused: a token is needed (401 Unauthorized)".into()));
        let problems = Play { file: Some("error: x\n --> evenkeel.toml:1:1".into()), ..Play::default() };
        let admin = Admin::unix(problems);
        let invalid = said(|out| try_diff(&new.0, &remote(&admin, None), false, None, out)).unwrap_err();
        assert!(invalid.contains("evenkeel.toml:1:1"), "{invalid}");
        let named = format!("{}, read in the place of the file in use:\n", new.0.display());
        assert!(invalid.contains(&named), "{invalid}");
    }

    #[test]
    fn a_text_of_a_megabyte_is_the_most() {
        let large = file(&"#".repeat(1 << 20 | 1));
        let remote = Remote { config: "/nowhere".into(), admin: None, token_file: None };
        let why = said(|out| try_diff(&large.0, &remote, false, None, out)).unwrap_err();
        assert!(why.contains("1 MiB") && why.contains("--offline"), "{why}");
    }
}
