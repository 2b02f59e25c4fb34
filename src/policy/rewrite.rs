//! Edits of the path: `rewrite`. Called by `proxy` after the route is found. Hot path, but for expressions, which
//! allocate.
//!
//! What comes out is a normalised path again: it begins with `/`, no dot segment and nothing that would end it (`?`, `#`,
//! a blank, a control) stands in it, whatever an expression puts together. `Head::received` stays.

use super::request::digit;
use crate::{config, http::Head};
use regex::bytes::Regex;

/// An edit of the path; the query stays.
#[derive(Debug)]
pub struct Rewrite(Edit);

#[derive(Debug)]
enum Edit {
    Prefix { strip: Box<[u8]>, add: Box<[u8]> },
    Regex { regex: Regex, replacement: Box<[u8]> },
}

impl Rewrite {
    /// What `rewrite` says.
    ///
    /// # Panics
    /// Its expression does not compile, which the configuration has checked.
    pub fn new(rewrite: &config::Rewrite) -> Self {
        Self(match rewrite {
            config::Rewrite::Prefix { strip, add } => {
                Edit::Prefix { strip: strip.as_bytes().into(), add: add.as_bytes().into() }
            }
            config::Rewrite::Regex { regex, replacement } => Edit::Regex {
                regex: Regex::new(regex).expect("the configuration has compiled it"),
                replacement: replacement.as_bytes().into(),
            },
        })
    }

    /// Edits the path to forward. `*` and CONNECT's, which is none, stay. `scratch` is where the new one is written.
    pub fn apply(&self, head: &mut Head, scratch: &mut Vec<u8>) {
        let path = head.text(head.target.path);
        if !path.starts_with(b"/") {
            return;
        }
        scratch.clear();
        match &self.0 {
            Edit::Prefix { strip, add } => {
                scratch.extend_from_slice(add);
                scratch.extend_from_slice(stripped(path, strip));
            }
            Edit::Regex { regex, replacement } => {
                if !regex.is_match(path) {
                    return;
                }
                // What is replaced is not normalised any more.
                encode(&regex.replace_all(path, &**replacement), scratch);
            }
        }
        if !scratch.starts_with(b"/") {
            scratch.insert(0, b'/');
        }
        head.set_path(scratch);
    }
}

/// `path` without `prefix`, if that ends where a segment does.
fn stripped<'a>(path: &'a [u8], prefix: &[u8]) -> &'a [u8] {
    match path.strip_prefix(prefix) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    }
}

/// Appends `path` to `out`, with what may not stand in a path encoded, and unreserved octets decoded, so that no dot
/// segment hides.
fn encode(path: &[u8], out: &mut Vec<u8>) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if let ([high, low, after @ ..], b'%') = (tail, first)
            && let (Some(upper), Some(lower)) = (digit(*high), digit(*low))
        {
            match upper << 4 | lower {
                byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
                _ => out.extend_from_slice(&[b'%', *high, *low]),
            }
            rest = after;
            continue;
        }
        match *first {
            byte if byte.is_ascii_graphic() && !b"%?#\\".contains(&byte) => out.push(byte),
            byte => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;

    fn rewritten(rewrite: &Rewrite, path: &str) -> String {
        let mut head = test_head(&format!("GET {path} HTTP/1.1\nHost: a"));
        let received = head.received;
        rewrite.apply(&mut head, &mut b"left".to_vec());
        assert_eq!(head.received, received);
        let text = [head.text(head.target.path), head.text(head.target.query)].concat();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn prefixes_end_where_segments_do() {
        for (strip, add, path, wanted) in [
            ("/v1", "", "/v1/x?q", "/x?q"),
            ("/v1", "", "/v1", "/"),
            ("/v1", "", "/v1/", "/"),
            ("/v1", "", "/v10/x", "/v10/x"),
            ("/v1", "", "/v1//x", "//x"),
            ("/v1", "/api", "/v1/x", "/api/x"),
            ("/v1", "/api", "/v1", "/api"),
            ("/v1", "/api", "/v2", "/api/v2"),
            ("", "/api", "/v2", "/api/v2"),
            ("", "", "/", "/"),
            ("/v1", "", "/v1/%2F", "/%2F"),
        ] {
            let rewrite = Rewrite::new(&config::Rewrite::Prefix { strip: strip.into(), add: add.into() });
            assert_eq!(rewritten(&rewrite, path), wanted, "{strip} {add} {path}");
        }
    }

    #[test]
    fn expressions_give_normalised_paths() {
        for (regex, replacement, path, wanted) in [
            ("^/user/([0-9]+)$", "/u/$1", "/user/7?q=%zz", "/u/7?q=%zz"),
            ("^/user/(?P<id>[0-9]+)$", "/u/${id}/x", "/user/7", "/u/7/x"),
            ("^/user/", "/u/", "/other", "/other"),
            ("a", "b", "/a/a", "/b/b"),
            ("^/", "", "/x", "/x"),
            ("^.*$", "", "/x", "/"),
            ("x", "a?b#c d\\e\r\n\u{e9}%", "/x", "/a%3Fb%23c%20d%5Ce%0D%0A%C3%A9%25"),
            ("^/static(.*)$", "/files/$1", "/static../secret", "/secret"),
            ("x", "", "/a/.x./b", "/b"),
            ("25", "", "/a/%252e%252E/b", "/b"),
            ("F$", "", "/a%2F", "/a%252"),
            ("x", "", "/a%2Fx", "/a%2F"),
        ] {
            let edit = config::Rewrite::Regex { regex: regex.into(), replacement: replacement.into() };
            assert_eq!(rewritten(&Rewrite::new(&edit), path), wanted, "{regex} {replacement} {path}");
        }
    }

    #[test]
    fn what_is_no_path_stays() {
        let rewrite = Rewrite::new(&config::Rewrite::Prefix { strip: String::new(), add: "/a".into() });
        for (request, wanted) in [("OPTIONS * HTTP/1.1\nHost: a", "*"), ("CONNECT a:1 HTTP/1.1\nHost: a:1", "")] {
            let mut head = test_head(request);
            rewrite.apply(&mut head, &mut Vec::new());
            assert_eq!(head.text(head.target.path), wanted.as_bytes());
        }
    }

    #[test]
    fn long_paths_stay_whole() {
        let long = format!("/v1/{}", "y".repeat(8000));
        let rewrite = Rewrite::new(&config::Rewrite::Prefix { strip: "/v1".into(), add: "/w".into() });
        assert_eq!(rewritten(&rewrite, &long), long.replace("/v1", "/w"));
    }
}
