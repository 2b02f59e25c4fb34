//! What the program prints of itself, read by those for whom it is: shells, man, editors.

use std::path::{Path, PathBuf};

use crate::support::{Program, read, run};

fn print(words: &[&str]) -> String {
    let (code, out, err) = run(words);
    assert!(code == Some(0) && err.is_empty(), "{words:?}: {code:?}\n{err}");
    out
}

/// Of this process alone; not made yet.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("man-{}", std::process::id())).join("man1")
}

#[test]
fn shells_read_their_completions() {
    for (shell, package) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let Some(program) = Program::find(shell, package) else { continue };
        assert_ne!(program.run_on(b"if true", &["-n"]).code, Some(0), "{shell} -n reads nothing");
        let read = program.run_on(print(&["completions", shell]).as_bytes(), &["-n"]);
        assert!(read.code == Some(0) && read.err.is_empty(), "{read:?}");
    }
}

#[test]
fn bash_completes_commands_options_and_words() {
    let Some(bash) = Program::find("bash", "bash") else { return };
    for (line, expected) in [
        ("evenkeel che", "check"),
        ("evenkeel check --str", "--strict"),
        ("evenkeel check --format j", "json"),
        ("evenkeel backends dra", "drain"),
        ("evenkeel completions f", "fish"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (last, before) = (words.last().unwrap(), words[words.len() - 2]);
        let script = format!(
            "{}\nCOMP_WORDS=({line}); COMP_CWORD={}; _evenkeel evenkeel '{last}' '{before}'; echo \"${{COMPREPLY[*]}}\"\n",
            print(&["completions", "bash"]),
            words.len() - 1
        );
        let said = bash.run_on(script.as_bytes(), &[] as &[&str]).fine();
        assert_eq!(said.trim(), expected, "{line}");
    }
}

#[test]
fn man_sets_every_page_without_a_complaint() {
    let Some(groff) = Program::find("groff", "groff") else { return };
    let set = |page: &str| {
        let said = groff.run_on(page.as_bytes(), &["-man", "-Tutf8", "-ww", "-P-cbou"]);
        assert_eq!(said.err, "", "{page}");
        said.fine()
    };
    assert!(groff.run_on(b".nosuchmacro\n", &["-man", "-Tutf8", "-ww"]).err.contains("nosuchmacro"));
    let text = set(&print(&["man"]));
    for words in ["EXIT STATUS", "evenkeel check [OPTIONS]", "--strict", "Example: evenkeel backends drain", "HUP"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let folder = folder();
    print(&["man", "--dir", folder.to_str().unwrap()]);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        set(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 12, "{count}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let (code, _, err) = run(&["man", "--dir", "/proc/evenkeel"]);
    assert!(code == Some(1) && err.starts_with("evenkeel: the manual cannot be written: "), "{code:?} {err}");
}

#[test]
fn the_schema_is_json_and_the_one_that_stands_beside_the_recipes() {
    let printed = print(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(read("config/evenkeel.schema.json") == printed);
}
