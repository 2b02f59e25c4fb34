//! The layers of `src/lib.rs` hold: a module imports only what stands to its left. Every file says what it is in its first
//! line, and is short enough to be read at once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

/// The order of the layers; modules on one line do not know each other. Everybody may use `error`.
const LAYERS: &[&[&str]] = &[
    &["error", "telemetry"],
    &["config"],
    &["import"],
    &["net"],
    &["tls"],
    &["http"],
    &["balance"],
    &["pool"],
    &["policy"],
    &["route"],
    &["plan"],
    &["dial"],
    &["proxy"],
    &["health", "provider"],
    &["admin", "ha"],
    &["runtime"],
    &["simulate"],
    &["cli", "main"],
];

/// Lines of a file without its test module.
const LONGEST: usize = 500;

#[test]
fn the_layers_hold_and_files_are_short_and_say_what_they_are() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut files);
    assert!(files.len() > 1, "no sources found");
    let found: Vec<String> = files.iter().flat_map(|(path, text)| violations(path, text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// Every source below `directory`, by its path from `src`.
fn collect(directory: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if path.ends_with(".rs") {
            files.push((path, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// What is wrong with the file at `path` from `src`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}: its first line does not say what it is (`//!`)"));
    }
    if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return found;
    }
    let text = without_tests(text);
    let lines = text.lines().count();
    if lines > LONGEST {
        found.push(format!("{path}: {lines} lines without its tests, more than {LONGEST}"));
    }
    let modules: Vec<&str> = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
    if modules == ["lib"] {
        return found;
    }
    let Some(own) = rank(modules[0]) else {
        found.push(format!("{path}: `{}` has no place in the order of the layers", modules[0]));
        return found;
    };
    for import in imports(&code(text), modules.len()) {
        let allowed = import == modules[0] || import == "error" || rank(&import).is_some_and(|rank| rank < own);
        if !allowed {
            found.push(format!("{path}: imports `{import}`, which does not stand to the left of `{}`", modules[0]));
        }
    }
    found
}

fn rank(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The text up to a test module at its end. One that has a file of its own stands among the other modules.
fn without_tests(text: &str) -> &str {
    let mut modules = text.match_indices("#[cfg(test)]\nmod ");
    let is_here = |at: usize| text[at..].lines().nth(1).is_some_and(|line| !line.ends_with(';'));
    modules.find(|&(at, _)| is_here(at)).map_or(text, |(at, _)| &text[..at])
}

/// The modules of the crate's root that `code` names in paths: `crate::x`, `crate::{x, y::z}`, and as many `super::` as
/// lead there from a module at `depth`. A name that begins with a capital is an item of the root, not a module.
fn imports(code: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["crate::".to_owned(), "super::".repeat(depth)] {
        for (at, _) in code.match_indices(&root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|character| is_word(character) || character == ':') {
                continue;
            }
            found.extend(names(&code[at + root.len()..]));
        }
    }
    found
        .retain(|name| name.starts_with(|first: char| first.is_ascii_lowercase()) && name != "self" && name != "super");
    found
}

/// The first name of a path, or of each member of a group of paths.
fn names(rest: &str) -> Vec<String> {
    let first = |text: &str| text.chars().take_while(|&character| is_word(character)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![first(rest)] };
    let (mut depth, mut start, mut names) = (1, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && character == ',') {
            names.push(first(group[start..at].trim_start()));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// `text` without comments, strings and characters: they may contain anything that looks like a path.
fn code(text: &str) -> String {
    let (mut code, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            quoted(rest, '"')
        } else if let Some(hashes) = raw(rest, &code) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skip == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skip..];
        }
    }
    code
}

/// The number of `#` of a raw string at the start of `rest`.
fn raw(rest: &str, before: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    let inside_word = before.chars().next_back().is_some_and(|last| is_word(last) && last != 'b');
    (!inside_word && after[hashes..].starts_with('"')).then_some(hashes)
}

/// The length of a literal between two `quote`s.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if character == quote && !escaped {
            return at + 1;
        }
        escaped = character == '\\' && !escaped;
    }
    rest.len()
}

/// The length of a character literal, or 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut characters = rest.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) => quoted(rest, '\''),
        (Some(one), Some('\'')) => one.len_utf8() + 2,
        _ => 0,
    }
}

#[test]
fn an_import_that_points_right_is_found_in_every_spelling() {
    for import in [
        "use crate::proxy::Local;",
        "use crate::{error::Kind, proxy};",
        "use crate::{\n    error::{Kind, Error},\n    runtime::worker,\n};",
        "fn x() { crate::plan::Plan::build() }",
        "type X = crate::admin::Command;",
        "use super::super::pool::Backend;",
        "use super::super::{error::Kind, pool::{Backend, Lease}};",
        "pub use crate::cli as commands;",
        "#[cfg(test)]\nmod testing;\nuse crate::proxy::Local;",
    ] {
        let text = format!("//! A codec.\n{import}\n");
        assert_eq!(violations("http/h1.rs", &text).len(), 1, "{import}");
    }
}

#[test]
fn an_import_that_points_left_or_stays_is_fine() {
    for import in [
        "use crate::error::Kind;",
        "use crate::http::head::Head;",
        "use crate::{net::{Stream, dial}, tls, telemetry::metrics};",
        "use super::Head;",
        "use super::body::{pool, proxy};",
        "use crate::Result;",
        "// as crate::proxy does it",
        "/// [`crate::proxy::handle`]",
        "/* crate::proxy */",
        "const X: &str = \"crate::proxy\";",
        "const X: &str = r#\"\"crate::proxy\"#;",
        "const X: char = '\"'; use crate::error::Kind; const Y: char = '\"';",
        "fn x<'a>(y: &'a str) {} // crate::proxy",
        "#[cfg(test)]\nmod tests { use crate::proxy::handle; }",
    ] {
        let text = format!("//! A codec.\n{import}\n");
        assert_eq!(violations("http/h1.rs", &text), Vec::<String>::new(), "{import}");
    }
}

#[test]
fn modules_of_one_layer_do_not_know_each_other_but_all_know_error() {
    assert_eq!(violations("ha/mod.rs", "//! x\nuse crate::admin::Command;\n").len(), 1);
    assert_eq!(violations("provider/file.rs", "//! x\nuse crate::health::judge;\n").len(), 1);
    assert_eq!(violations("error.rs", "//! x\nuse crate::telemetry::log;\n").len(), 1);
    assert_eq!(violations("telemetry/log.rs", "//! x\nuse crate::error::Kind;\n"), Vec::<String>::new());
    assert_eq!(violations("main.rs", "//! x\nuse evenkeel::cli;\n"), Vec::<String>::new());
}

#[test]
fn a_file_without_a_first_word_without_a_place_or_too_long_is_found() {
    assert_eq!(violations("net/mod.rs", "use std::io;\n").len(), 1);
    assert_eq!(violations("util/mod.rs", "//! x\n").len(), 1);
    let long = format!("//! x\n{}", "fn x() {}\n".repeat(LONGEST));
    assert_eq!(violations("net/mod.rs", &long).len(), 1);
    let tested = format!("//! x\n{}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(400), "\n".repeat(400));
    assert_eq!(violations("net/mod.rs", &tested), Vec::<String>::new());
    assert_eq!(violations("net/tests.rs", &long), Vec::<String>::new());
}
