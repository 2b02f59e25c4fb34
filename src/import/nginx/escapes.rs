//! Paths that lead elsewhere here than in nginx, which decodes all escapes before it chooses a location, and merges slashes.
//! Called by `route`. Pure.

use std::collections::BTreeSet;

use super::{
    super::text,
    flow::Action,
    location::{Kind, Location},
};

/// An expression for those with `//`, `%2F`, or an escape of what stands in the path of one of `guarded`; with any escape
/// where one of the expressions, of `locations` and of `paths`, may be found in what it decodes or in the escape itself.
pub(super) fn disguises(guarded: &[&Location<'_>], locations: &[Location<'_>], paths: &[(String, Action)]) -> String {
    let mut octets = BTreeSet::from([b'/']);
    for one in guarded.iter().filter(|one| one.kind != Kind::Regex) {
        octets.extend(one.text.bytes().filter(|byte| !text::is_unreserved(*byte)));
    }
    let regexes = locations.iter().filter(|one| one.is_compiled()).map(|one| &one.text);
    for regex in regexes.chain(paths.iter().map(|(regex, _)| regex)) {
        match meant(regex) {
            Some(found) => octets.extend(found),
            None => return "//|%".to_owned(),
        }
    }
    let escapes: Vec<_> = octets.into_iter().map(|byte| format!("{byte:02X}")).collect();
    format!("//|(?i:%(?:{}))", escapes.join("|"))
}

/// A piece of an expression.
enum Piece {
    /// One of these octets.
    Octet(Box<[bool; 256]>),
    Start,
    End,
    Open,
    Close,
    Bar,
}

/// How often a piece is there.
#[derive(Clone, Copy, PartialEq)]
enum Times {
    Once,
    Maybe,
    /// `*`, `+`
    Any,
    /// `{2}`
    Counted,
}

/// Octets whose escapes `regex` would not see; `None`: it may mean others than it is found in where a path has escapes.
fn meant(regex: &str) -> Option<BTreeSet<u8>> {
    let pieces = pieces(regex)?;
    let mut octets = BTreeSet::new();
    let hex = |set: &[bool; 256]| (0..=255u8).any(|byte| byte.is_ascii_hexdigit() && set[usize::from(byte)]);
    // It could be found from within an escape on; and for each group, whether so before it, and behind one of its ways.
    let mut free = true;
    let mut groups: Vec<(bool, bool)> = Vec::new();
    for (at, (piece, times)) in pieces.iter().enumerate() {
        match piece {
            Piece::Start => free = false,
            Piece::End => {}
            Piece::Open => groups.push((free, false)),
            Piece::Bar => match groups.last_mut() {
                Some((before, behind)) => {
                    *behind |= free;
                    free = *before;
                }
                None => free = true,
            },
            Piece::Close => {
                let (before, behind) = groups.pop()?;
                free |= behind || before && *times == Times::Maybe;
                if matches!(times, Times::Any | Times::Counted) {
                    return None;
                }
            }
            Piece::Octet(set) => {
                if free && (hex(set) || matches!(times, Times::Maybe | Times::Any)) {
                    return None;
                }
                free = false;
                let wild = set[usize::from(b'%')];
                if wild
                    && (*times != Times::Any
                        || (0..=255u8).any(|byte| byte.is_ascii_hexdigit() && !set[usize::from(byte)]))
                {
                    return None;
                }
                if wild && !ends(&pieces[at + 1..], hex) {
                    return None;
                }
                // What others beyond ASCII are is not told apart.
                if set[128..].iter().any(|known| *known != wild) {
                    return None;
                }
                octets
                    .extend((0x20..0x7f).filter(|byte| {
                        !text::is_unreserved(*byte) && *byte != b'%' && set[usize::from(*byte)] != wild
                    }));
            }
        }
    }
    Some(octets)
}

/// What stands behind a piece that takes anything cannot begin within an escape.
fn ends(behind: &[(Piece, Times)], hex: impl Fn(&[bool; 256]) -> bool) -> bool {
    for (at, (piece, times)) in behind.iter().enumerate() {
        match piece {
            Piece::Close => {}
            Piece::End => return true,
            // A group that is there once, in one way.
            Piece::Open => {
                let mut depth = 0;
                let close = behind[at..].iter().position(|(piece, _)| {
                    depth += i32::from(matches!(piece, Piece::Open)) - i32::from(matches!(piece, Piece::Close));
                    depth == 0
                });
                let group = close.map_or(&[][..], |close| &behind[at..=at + close]);
                let ways = group.iter().any(|(piece, _)| matches!(piece, Piece::Bar));
                if ways || group.last().is_none_or(|(_, times)| *times != Times::Once) {
                    return false;
                }
            }
            Piece::Octet(set) if set[usize::from(b'%')] => return true,
            Piece::Octet(set) => return !hex(set) && !matches!(times, Times::Maybe | Times::Any),
            Piece::Start | Piece::Bar => return false,
        }
    }
    true
}

/// The pieces of `regex`; `None`: one of them is of a rarer kind.
fn pieces(regex: &str) -> Option<Vec<(Piece, Times)>> {
    let (any_case, bare) = regex.strip_prefix("(?i)").map_or((false, regex), |bare| (true, bare));
    let mut pieces = Vec::new();
    let mut rest = bare.as_bytes();
    while let Some((&first, mut tail)) = rest.split_first() {
        let piece = match first {
            b'^' => Piece::Start,
            b'$' => Piece::End,
            b'|' => Piece::Bar,
            b')' => Piece::Close,
            b'(' => {
                let inner = ["?:", "?-i:"].iter().find_map(|kind| tail.strip_prefix(kind.as_bytes()));
                if inner.is_none() && tail.first() == Some(&b'?') {
                    return None;
                }
                tail = inner.unwrap_or(tail);
                Piece::Open
            }
            b'[' | b'\\' | b'.' => {
                let end = if first == b'.' { 1 } else { unit(rest)? };
                tail = &rest[end..];
                Piece::Octet(set(std::str::from_utf8(&rest[..end]).ok()?, any_case)?)
            }
            b'*' | b'+' | b'?' | b'{' => return None,
            byte if byte.is_ascii() => Piece::Octet(set(&regex::escape(&char::from(byte).to_string()), any_case)?),
            _ => return None,
        };
        let (times, length) = match tail {
            [b'*' | b'+', b'?', ..] => (Times::Any, 2),
            [b'*' | b'+', b'+', ..] => return None,
            [b'*' | b'+', ..] => (Times::Any, 1),
            [b'?', b'?' | b'+', ..] => return None,
            [b'?', ..] => (Times::Maybe, 1),
            [b'{', ..] => (Times::Counted, tail.iter().position(|&byte| byte == b'}')? + 1),
            _ => (Times::Once, 0),
        };
        rest = &tail[length..];
        pieces.push((piece, times));
    }
    Some(pieces)
}

/// The length of the escape or class at the start of `rest`; `None`: it is of a rarer kind.
fn unit(rest: &[u8]) -> Option<usize> {
    if rest[0] == b'\\' {
        let fine = |letter: &u8| !letter.is_ascii_alphanumeric() || b"dDwWsS".contains(letter);
        return rest.get(1).filter(|letter| fine(letter)).map(|_| 2);
    }
    let mut at = 1 + usize::from(rest.get(1) == Some(&b'^'));
    let first = at;
    loop {
        match rest.get(at)? {
            b']' if at > first => return Some(at + 1),
            b'\\' => at += unit(&rest[at..])?,
            // `[:alpha:]`, and a `]` that comes first.
            b'[' | b']' | b'&' | b'~' => return None,
            _ => at += 1,
        }
    }
}

/// The octets that `unit` takes.
fn set(unit: &str, any_case: bool) -> Option<Box<[bool; 256]>> {
    let flags = if any_case { "i" } else { "" };
    let regex = text::compiled(&format!("(?{flags}-u)^{unit}$"))?;
    let mut set = Box::new([false; 256]);
    for byte in 0..=255u8 {
        set[usize::from(byte)] = regex.is_match(&[byte]);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_that_escapes_say_nothing_to_are_known() {
        for (regex, octets) in [
            ("\\.(css|js)$", Some("")),
            ("(?i)\\.php$", Some("")),
            ("/\\.ht", Some("/")),
            ("^/admin(/.*)?$", Some("/")),
            ("^/a/[^/]+/b;c", Some("/;")),
            ("^/v[0-9]+/[^/;]*$", Some("/;")),
            ("(^|/)\\.git", Some("/")),
            ("^(?-i:/st)(?:/.*)?(?:/\\.ht)", Some("/")),
            ("^/st.*(?:\\.secret$)", Some("/")),
            ("^/st.*(a|\\.b)", None),
            ("(^|a)b", None),
            ("(x|)1", None),
            ("^/(.*)\\.(php|sh)$", Some("/")),
            // One octet, more or less of them, and those of an escape.
            ("^/admin/.$", None),
            ("^/x[^/]$", None),
            ("^/x[^/]{1,3}$", None),
            ("[0-9]+$", None),
            ("^/a.*1$", None),
            ("^/a[^0-9]+$", None),
            ("^/(a|b.*)c", None),
            ("^/\\xff", None),
            ("^/a|b", None),
        ] {
            let found = meant(regex).map(|found| found.into_iter().map(char::from).collect::<String>());
            assert_eq!(found.as_deref(), octets, "{regex}");
        }
    }
}
