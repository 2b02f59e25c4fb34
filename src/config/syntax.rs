//! Text that is no TOML: the parser's errors as problems, with hints for what people write instead.
//!
//! Called by `Config::parse`. What `read` found before the first such error is still true, and stays.

use std::ops::Range;

use toml::de::Error;

use super::{
    problem::shows_secret,
    report::{Report, Wrong},
};

/// Reports `errors`, one a line, and forgets what `report` says of the text behind the first one.
pub(super) fn explain(errors: &[Error], report: Report<'_>) {
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let first = errors.first().map_or(0, |(span, _)| line_of(report, span).start);
    report.believe_until(first);
    let (mut told, mut again) = (0..0, 0);
    for (span, message) in errors {
        let line = line_of(report, &span);
        if told == line && !told.is_empty() {
            continue;
        }
        told = line.clone();
        let text = report.source.text.get(line.clone()).unwrap_or_default();
        if message == "duplicate key" {
            if line.start >= again {
                twice(span, line.clone(), report);
            }
            if text.starts_with('[') {
                again = table_end(&report.source.text, line.end);
            }
            continue;
        }
        report.wrong(span, "", meant(text, message));
        if message.contains("array") && !message.contains("table") || message.contains("string") && text.contains('[') {
            // All that follows in an open list looks wrong: one error tells it.
            return;
        }
    }
}

/// Where the table ends whose header ends at `from`: what it repeats of the first of its name is one mistake.
fn table_end(text: &str, from: usize) -> usize {
    text.get(from..).and_then(|rest| rest.find("\n[")).map_or(text.len(), |at| from + at + 1)
}

/// A key or a table is there already.
fn twice(span: Range<usize>, line: Range<usize>, report: Report<'_>) {
    let text = &report.source.text;
    let name = text.get(span.clone()).unwrap_or_default();
    let whole = text.get(line.clone()).map(bare).filter(|line| line.starts_with('['));
    let wrong = Wrong::new(format!("`{}` is written twice", whole.unwrap_or(name))).help("keep one of them");
    match earlier(text, name, line) {
        Some(first) => report.clash(span, "", wrong, (report.place(first), "first here")),
        None => report.wrong(span, "", wrong),
    }
}

/// Where the same header, or in the same table the same key, stands before `line`.
fn earlier(text: &str, name: &str, line: Range<usize>) -> Option<Range<usize>> {
    let header = |line: &str| line.starts_with('[');
    let wanted = bare(text.get(line.clone())?);
    let before = text.get(..line.start)?;
    let mut end = before.len();
    for candidate in before.split_inclusive('\n').rev() {
        end -= candidate.len();
        let trimmed = bare(candidate);
        let same = match header(wanted) {
            true => trimmed == wanted,
            false => trimmed.split('=').next().is_some_and(|key| key.trim() == name && trimmed.contains('=')),
        };
        if same {
            let start = end + candidate.find(name)?;
            return Some(start..start + name.len());
        }
        if !header(wanted) && header(trimmed) {
            return None;
        }
    }
    None
}

/// `message` of the parser about this `line`, in our words where the mistake is a known one.
fn meant(line: &str, message: &str) -> Wrong {
    let line = line.split(" #").next().unwrap_or_default().trim();
    if ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark)) {
        let wrong = Wrong::new("this is not TOML: a mark of a merge conflict");
        return wrong.help("keep one of the two sides, and take the marks out");
    }
    let wrong = Wrong::new(format!("this is not TOML: {message}"));
    if shows_secret(line) {
        return wrong.help("a secret is written `{ file = \"/etc/evenkeel/admin.token\" }` or `{ env = \"NAME\" }`");
    }
    if message.starts_with("key with no value") {
        return wrong.help(setting(line));
    }
    if message.contains("array") && !message.contains("table") {
        return wrong.help("lists are written `[\"a\", \"b\"]`: a comma between elements, and `]` at the end");
    }
    if message.starts_with("unclosed table") {
        return wrong.help(format!("write `{line}]`"));
    }
    if message.starts_with("invalid basic string") && line.matches('"').count() % 2 == 1 {
        return wrong.help("the text wants its closing `\"` on the same line");
    }
    if let Some(name) = line.strip_suffix(':') {
        return wrong.help(format!("a table is written `[{name}]`"));
    }
    let Some((key, value)) = line.split_once('=') else { return wrong };
    let (key, value) = (key.trim(), value.trim().trim_end_matches(';'));
    match value {
        "" => Wrong::new(format!("this is not TOML: `{key}` has no value")),
        "on" | "yes" | "True" | "TRUE" => wrong.help(format!("write `{key} = true`")),
        "off" | "no" | "False" | "FALSE" => {
            wrong.help(format!("write `{key} = \"off\"`, or `{key} = false` if it is a switch"))
        }
        value if value.starts_with(['"', '\'', '[', '{']) => wrong,
        value => {
            Wrong::new("this is not TOML: a text without quotes").help(format!("write `{key} = {}`", in_quotes(value)))
        }
    }
}

/// How a `line` without `=` is written.
fn setting(line: &str) -> String {
    match line.trim_end_matches([';', '{']).trim().split_once([' ', ':']) {
        Some((key, value)) if !value.trim().is_empty() => {
            format!("a setting is written `{key} = {}`", in_quotes(value.trim()))
        }
        _ if line.ends_with('{') => "a table is written `[name]`, on a line of its own".into(),
        _ => "a setting is written `key = value`".into(),
    }
}

/// A line without its comment.
fn bare(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

fn in_quotes(value: &str) -> String {
    // As text processors write them.
    let value = value.trim_matches(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}']);
    if value.starts_with(['"', '\'', '[', '{']) || value.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    format!("\"{value}\"")
}

fn line_of(report: Report<'_>, span: &Range<usize>) -> Range<usize> {
    let at = span.start.min(report.source.text.len());
    report.source.line_span(report.source.line(at))
}
