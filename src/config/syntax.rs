//! Text that is no TOML: the parser's errors as problems, with hints for what people write instead.
//!
//! Called by `Config::parse`. What `read` found before the first such error is still true, and stays.

use std::ops::Range;

use toml::de::Error;

use super::report::{Report, Wrong};

/// Reports `errors`, one a line, and forgets what `report` says of the text behind the first one.
pub(super) fn explain(errors: &[Error], report: &Report) {
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let first = errors.first().map_or(0, |(span, _)| line_of(report, span).start);
    report.believe_until(first);
    let mut told = None;
    for (span, message) in errors {
        let line = line_of(report, &span);
        if told == Some(line.start) {
            continue;
        }
        told = Some(line.start);
        if message == "duplicate key" {
            twice(span, line, report);
            continue;
        }
        let text = report.source.text.get(line.clone()).unwrap_or_default();
        let mut wrong = Wrong::new(format!("this is not TOML: {message}"));
        wrong.help = hint(text, message);
        report.wrong(span, "", wrong);
        if message.contains("array") && !message.contains("array table") {
            // All that follows in an open list looks wrong: one error tells it.
            return;
        }
    }
}

/// A key or a table is there already.
fn twice(span: Range<usize>, line: Range<usize>, report: &Report) {
    let text = &report.source.text;
    let name = text.get(span.clone()).unwrap_or_default();
    let wrong = Wrong::new(format!("`{name}` is written twice")).help("keep one of them");
    match earlier(text, name, line) {
        Some(first) => report.clash(span, "", wrong, (first, "first here")),
        None => report.wrong(span, "", wrong),
    }
}

/// Where the same header, or in the same table the same key, stands before `line`.
fn earlier(text: &str, name: &str, line: Range<usize>) -> Option<Range<usize>> {
    let header = |line: &str| line.starts_with('[');
    let bare = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let wanted = bare(text.get(line.clone())?);
    let before = text.get(..line.start)?;
    let mut end = before.len();
    for candidate in before.split_inclusive('\n').rev() {
        end -= candidate.len();
        let trimmed = bare(candidate);
        let same = match header(&wanted) {
            true => trimmed == wanted,
            false => trimmed.split('=').next().is_some_and(|key| key.trim() == name && trimmed.contains('=')),
        };
        if same {
            let start = end + candidate.find(name)?;
            return Some(start..start + name.len());
        }
        if !header(&wanted) && header(&trimmed) {
            return None;
        }
    }
    None
}

/// What was probably meant on this `line`.
fn hint(line: &str, message: &str) -> Option<String> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    if message.starts_with("key with no value") {
        return match line.trim_end_matches([';', '{']).trim().split_once([' ', ':']) {
            Some((key, value)) if !value.trim().is_empty() => {
                Some(format!("a setting is written `{key} = {}`", in_quotes(value.trim())))
            }
            _ if line.ends_with('{') => Some("a table is written `[name]`, on a line of its own".into()),
            _ => Some("a setting is written `key = value`".into()),
        };
    }
    if message.contains("array") {
        return Some("lists are written `[\"a\", \"b\"]`: a comma between elements, and `]` at the end".into());
    }
    if message.starts_with("unclosed table") {
        return Some(format!("write `{line}]`"));
    }
    if message.starts_with("invalid basic string") && line.matches('"').count() % 2 == 1 {
        return Some("the text wants its closing `\"` on the same line".into());
    }
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim().trim_end_matches(';'));
    match value {
        "on" | "yes" | "True" | "TRUE" => Some(format!("write `{key} = true`")),
        "off" | "no" | "False" | "FALSE" => Some(format!("write `{key} = \"off\"`, or `false` if it is a switch")),
        "" => Some(format!("write a value behind `{key} =`")),
        value if value.starts_with(['"', '\'', '[', '{']) => None,
        value => Some(format!("text is written in quotes: `{key} = {}`", in_quotes(value))),
    }
}

fn in_quotes(value: &str) -> String {
    if value.starts_with(['"', '\'', '[', '{']) || value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    format!("\"{value}\"")
}

fn line_of(report: &Report, span: &Range<usize>) -> Range<usize> {
    let at = span.start.min(report.source.text.len());
    report.source.line_span(report.source.line(at))
}
