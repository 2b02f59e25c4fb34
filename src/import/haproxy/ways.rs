//! Patterns of an ACL as ways to compare a text or a path. Called by `acl`. Pure.

use super::{super::text, predicate::Way};

/// Ways to compare text; `None`: ours have no such way.
pub(super) fn ways(how: &str, patterns: &[String], any_case: bool) -> Option<Vec<Way>> {
    let way = |pattern: &String| {
        let escaped = regex::escape(pattern);
        let regex = match how {
            "" | "str" if !any_case => return Some(Way::Is(pattern.clone())),
            "" | "str" => format!("^{escaped}$"),
            "beg" if !any_case => return Some(Way::Begins(pattern.clone())),
            "beg" => format!("^{escaped}"),
            "end" => format!("{escaped}$"),
            "sub" => escaped,
            "dir" => format!("(?:^|/){}(?:/|$)", escaped.trim_matches('/')),
            "reg" => pattern.replace("\\/", "/"),
            _ => return None,
        };
        expression(&regex, any_case)
    };
    each(how, patterns, way)
}

/// Ways to compare a header of which one value between commas is enough; `None`: ours have no such way. `more`: commas within
/// quotes, where theirs do not split, are ones of ours; else behind a quote nothing is found.
pub(super) fn values(how: &str, patterns: &[String], any_case: bool, more: bool) -> Option<Vec<Way>> {
    const BACK: &str = "[ \\t]*(?:,|$)";
    let (first, front) = if more { ("", "(?:^|,)[ \\t]*") } else { ("^[^\"]*", "^(?:[^\"]*,)?[ \\t]*") };
    let way = |pattern: &String| {
        if !more && how != "reg" && pattern.contains([',', '"']) {
            return None;
        }
        let escaped = regex::escape(pattern);
        let regex = match how {
            "" | "str" => format!("{front}{escaped}{BACK}"),
            "beg" => format!("{front}{escaped}"),
            "end" => format!("{first}{escaped}{BACK}"),
            "sub" if !pattern.contains(',') => escaped,
            "reg" if !text::has_ways(pattern) => {
                let start = pattern.strip_prefix('^');
                let rest = start.unwrap_or(pattern);
                let back = rest.strip_suffix('$').filter(|rest| !rest.ends_with('\\'));
                let inner = back.unwrap_or(rest).replace("\\/", "/");
                // Inside of it, ends would be those of the field, and what is not something could be a comma.
                if inner.replace("\\$", "").contains(['$', '^']) {
                    return None;
                }
                let inner = if more { inner } else { within(&inner)? };
                let (start, back) = (start.map_or(first, |_| front), back.map_or("", |_| BACK));
                format!("{start}{inner}{back}")
            }
            "reg" if more && !pattern.contains(['^', '$']) => pattern.replace("\\/", "/"),
            _ => return None,
        };
        expression(&regex, any_case)
    };
    each(how, patterns, way)
}

/// A `way` for each of `patterns`, or that there is anything at all; `None`: there is none for one of them, or no pattern.
fn each(how: &str, patterns: &[String], way: impl Fn(&String) -> Option<Way>) -> Option<Vec<Way>> {
    match patterns {
        _ if how == "found" => Some(vec![Way::Present]),
        [] => None,
        _ => patterns.iter().map(way).collect(),
    }
}

/// What `regex` finds; `None`: ours cannot say it.
fn expression(regex: &str, any_case: bool) -> Option<Way> {
    let flag = if any_case { "(?i)" } else { "" };
    let regex = text::octets(&format!("{flag}{regex}"));
    text::is_regex(&regex).then_some(Way::Regex(regex))
}

/// `regex` where it finds neither commas nor quotes; `None`: it cannot be said.
fn within(regex: &str) -> Option<String> {
    let mut out = String::new();
    let (mut class, mut counts) = (false, false);
    let mut letters = regex.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                'D' | 'S' | 'W' | 'H' | 'N' | 'x' | 'o' | 'Q' | 'R' | ',' | '"' | '0'..='9' => return None,
                other => out.extend(['\\', other]),
            },
            '.' if !class => out.push_str("[^,\"]"),
            ',' if !counts => return None,
            '"' => return None,
            // Ranges of anything else may have them inside.
            '-' if class => {
                let plain = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
                if letters.peek() != Some(&']') && !(plain(out.chars().last()) && plain(letters.peek().copied())) {
                    return None;
                }
                out.push('-');
            }
            '[' if class || letters.peek() == Some(&'^') => return None,
            letter => {
                match letter {
                    '[' => class = true,
                    ']' => class = false,
                    '{' if !class => counts = true,
                    '}' => counts = false,
                    _ => {}
                }
                out.push(letter);
            }
        }
    }
    Some(out)
}

/// Ways to compare a path, which ours is with the escapes that it needs. `decoded`: it is compared without them.
pub(super) fn paths(how: &str, patterns: &[String], any_case: bool, decoded: bool) -> Option<Vec<Way>> {
    let safe = |pattern: &String| {
        let whole = pattern.strip_prefix('/').unwrap_or(pattern);
        if decoded { whole.bytes().all(text::is_unreserved) } else { !pattern.contains('%') }
    };
    let mut found = Vec::new();
    for pattern in patterns {
        let one = std::slice::from_ref(pattern);
        if safe(pattern) && ["", "str", "beg"].contains(&how) && text::is_path(pattern) || safe(pattern) && how != "reg"
        {
            found.extend(ways(how, one, any_case)?.into_iter().map(path_way));
        } else if how == "reg" && !decoded {
            found.extend(ways(how, one, any_case)?);
        } else {
            let octets = octets(pattern, decoded)?;
            let regex = match how {
                "" | "str" => format!("^{octets}$"),
                "beg" => format!("^{octets}"),
                "end" => format!("{octets}$"),
                "sub" => octets,
                _ => return None,
            };
            found.push(expression(&regex, any_case)?);
        }
    }
    (!patterns.is_empty()).then_some(found)
}

/// What ours cannot say as a path it says as an expression.
fn path_way(way: Way) -> Way {
    match way {
        Way::Is(path) if !text::is_path(&path) => Way::Regex(format!("^{}$", regex::escape(&path))),
        Way::Begins(path) if !text::is_path(&path) => Way::Regex(format!("^{}", regex::escape(&path))),
        way => way,
    }
}

/// An expression for `pattern` in a path with escapes; `None`: it has one of a letter that is always decoded here.
fn octets(pattern: &str, decoded: bool) -> Option<String> {
    let mut out = String::new();
    let mut bytes = pattern.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        let literal = regex::escape(&char::from(byte).to_string());
        match byte {
            byte if text::is_unreserved(byte) => out.push_str(&literal),
            b'%' if !decoded => {
                let escaped = u8::from_str_radix(pattern.get(at + 1..at + 3)?, 16)
                    .ok()
                    .filter(|byte| !text::is_unreserved(*byte))?;
                out.push_str(&format!("(?i:%{escaped:02X})"));
                bytes.nth(1);
            }
            byte if !decoded => out.push_str(if byte.is_ascii() { &literal } else { return None }),
            byte if byte.is_ascii_graphic() => out.push_str(&format!("(?:{literal}|(?i:%{byte:02X}))")),
            byte => out.push_str(&format!("(?i:%{byte:02X})")),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_between_commas_that_are_none_of_a_quote() {
        let found = |how: &str, pattern: &str, more, value: &str| {
            let ways = values(how, &[pattern.to_owned()], false, more);
            ways.map(|ways| matches!(&ways[..], [Way::Regex(regex)] if text::compiled(regex).unwrap().is_match(value.as_bytes())))
        };
        for (how, pattern, value, more, fewer) in [
            ("", "a", "b, a", Some(true), Some(true)),
            ("", "a", "\"b, a", Some(true), Some(false)),
            ("", "a", "a, \"b\"", Some(true), Some(true)),
            ("beg", "a", "\"b\", ab", Some(true), Some(false)),
            ("end", "a", "\"b, ba\"", Some(false), Some(false)),
            ("end", "a", "\"b, ba", Some(true), Some(false)),
            ("end", "a", "b, ba", Some(true), Some(true)),
            ("", "a\"", "a\"", Some(true), None),
            ("sub", "a", "\"b, bab\"", Some(true), Some(true)),
            ("reg", "^a.*c$", "ab, c", Some(true), Some(false)),
            ("reg", "^a[a-c]{1,2}c$", "b, abbc", Some(true), Some(true)),
            ("reg", "^a.c$", "\"b, abc", Some(true), Some(false)),
            ("reg", "^a\\Sc$", "abc", Some(true), None),
            ("reg", "^a[+-z]c$", "a,c", Some(true), None),
        ] {
            let both = [found(how, pattern, true, value), found(how, pattern, false, value)];
            assert_eq!(both, [more, fewer], "{how} {pattern} {value}");
        }
    }

    #[test]
    fn paths_are_compared_as_they_are_sent() {
        let one = |how: &str, pattern: &str, decoded| paths(how, &[pattern.to_owned()], false, decoded);
        let regex = |text: &str| Some(vec![Way::Regex(text.to_owned())]);
        assert_eq!(one("beg", "/a/b", false), Some(vec![Way::Begins("/a/b".to_owned())]));
        assert_eq!(one("beg", "/admin", true), Some(vec![Way::Begins("/admin".to_owned())]));
        assert_eq!(one("beg", "/a b", true), regex("^(?:/|(?i:%2F))a(?i:%20)b"));
        assert_eq!(one("", "/100%25", false), regex("^/100(?i:%25)$"));
        assert_eq!(one("beg", "/a*", false), regex("^/a\\*"));
        assert_eq!([one("beg", "/%61", false), one("reg", "^/a", true), one("beg", "/%", false)], [None, None, None]);
    }
}
