//! Paths as operators write them in a route: `/v1/*`, `/v1`, `{ regex = "…" }`. Routes see one normalised path
//! (PRODUCT.md section 3), so that one that is written in another form would never match: it is refused, with the form
//! that does.

use super::{
    PathMatch, keys,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// A path that is matched.
pub(super) fn path(field: &Field<'_>) -> Option<PathMatch> {
    if field.value().is_table() {
        let section = field.section(&keys::PATH)?;
        return table(field, &section);
    }
    field.read(|field| {
        const WHAT: &str = "a path: \"/v1/*\", \"/v1\" or { regex = \"…\" }";
        let text = values::text(field, WHAT)?;
        match text.strip_suffix("/*") {
            Some(below) if !below.contains('*') => {
                if !below.is_empty() {
                    normal(below)?;
                }
                Ok(PathMatch::Below(below.to_owned()))
            }
            _ if text == "*" => {
                Err(Wrong::new(format!("found \"*\", wanted {WHAT}")).help("for any path, leave it out"))
            }
            _ if text.contains('*') => Err(star(text)),
            _ => normal(text).map(|()| PathMatch::Exact(text.to_owned())),
        }
    })
}

fn table(field: &Field<'_>, section: &Section<'_>) -> Option<PathMatch> {
    match (section.field("regex"), section.field("prefix")) {
        (Some(regex), None) => {
            regex.read(|field| values::regex(field).map(|regex| PathMatch::Regex(regex.as_str().into())))
        }
        (None, Some(prefix)) => prefix.read(|field| {
            let text = values::text(field, "the beginning of a path")?;
            beginning(text).map(|()| PathMatch::Prefix(text.to_owned()))
        }),
        (Some(_), Some(prefix)) => {
            prefix.wrong(Wrong::new("a path is matched in one way").help("keep `regex` or `prefix`"));
            None
        }
        (None, None) => {
            let wrong = Wrong::new("found a table without `regex` or `prefix`, wanted a path");
            field.wrong(wrong.help(format!("write {}", keys::PATH.example)));
            None
        }
    }
}

/// A `*` that is not the last segment.
fn star(text: &str) -> Wrong {
    let wrong = Wrong::new(format!("found {}, wanted a path in which `*` is the whole last segment", quoted(text)));
    match text.strip_suffix('*') {
        Some(prefix) if !prefix.contains('*') => wrong.help(format!("write {{ prefix = {} }}", quoted(prefix))),
        _ => {
            let pieces: Vec<_> = text.split('*').map(regex::escape).collect();
            let regex = format!("^{}$", pieces.join("[^/]*"));
            wrong.help(format!("write {{ regex = '{}' }}", regex.escape_debug()))
        }
    }
}

/// `text` is a path as routes see it.
pub(super) fn normal(text: &str) -> Result<(), Wrong> {
    octets(text)?;
    if text.split('/').all(|segment| segment != "." && segment != "..") {
        return Ok(());
    }
    let wrong = Wrong::new(format!("found {}, wanted a path without `.` and `..`", quoted(text)));
    Err(wrong.help(format!("they are resolved before a route is looked for: write {}", quoted(&resolved(text)))))
}

/// `text` is the beginning of such a path: its last segment may go on.
fn beginning(text: &str) -> Result<(), Wrong> {
    match text.rsplit_once('/') {
        Some((front, _)) if !front.is_empty() => octets(text).and_then(|()| normal(front)),
        _ => octets(text),
    }
}

fn octets(text: &str) -> Result<(), Wrong> {
    let wrong = |what: &str| Wrong::new(format!("found {}, wanted {what}", quoted(text)));
    if !text.starts_with('/') {
        let close = text.split_once("://").map_or(text, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        return Err(wrong("a path, which begins with `/`").help(format!("write {}", quoted(&format!("/{close}")))));
    }
    if let Some(at) = text.find(['?', '#']) {
        let help = "write `query = { name = \"value\" }` in the route for what stands behind `?`";
        return Err(wrong("a path alone").help(if text[at..].starts_with('?') { help } else { "`#` is never sent" }));
    }
    if let Some(bad) = text.chars().find(|letter| !letter.is_ascii_graphic() || *letter == '\\') {
        let mut buf = [0; 4];
        let escaped: String = bad.encode_utf8(&mut buf).bytes().map(|byte| format!("%{byte:02X}")).collect();
        let wrong = wrong("a path as it is sent");
        return Err(match bad {
            '\\' => wrong.help("a request with `\\` in its path is refused"),
            bad if bad.is_control() => wrong.help("a request with control characters in its path is refused"),
            bad => wrong.help(format!("it is sent as {}", quoted(&text.replace(bad, &escaped)))),
        });
    }
    escapes(text)
}

/// Every `%` begins an escape that is still there when routes see it.
fn escapes(text: &str) -> Result<(), Wrong> {
    let wrong = |what: &str| Wrong::new(format!("found {}, wanted {what}", quoted(text)));
    for (at, _) in text.match_indices('%') {
        let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return Err(wrong("two hexadecimal digits behind `%`").help("a `%` itself is written `%25`"));
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            let escape = &text[at..at + 3];
            let plain = text.replace(escape, &char::from(byte).to_string());
            let help = format!("`{escape}` is decoded before a route is looked for: write {}", quoted(&plain));
            return Err(wrong("no escape where none is needed").help(help));
        }
        if byte < 0x20 || byte == 0x7f || byte == b'\\' {
            let help = format!("a request with `{}` in its path is refused", &text[at..at + 3]);
            return Err(wrong("a path that a request can have").help(help));
        }
    }
    Ok(())
}

/// RFC 3986 section 5.2.4, for the hint.
fn resolved(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for segment in text.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                out.pop();
            }
            name => out.push(name),
        }
    }
    let folder = text.ends_with("/.") || text.ends_with("/..");
    format!("/{}{}", out.join("/"), if folder && !out.is_empty() { "/" } else { "" })
}
