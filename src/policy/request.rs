//! What routes and policies read in a request: its host, cookies and parameters. Called by `route` and by this module's
//! policies. Hot path.

use crate::http::{Head, Name};

/// The host that `authority` names: no port, no dot at its end, in the client's spelling. Addresses of IPv6 keep their
/// brackets. Empty if there is none (HTTP/1.0).
pub fn host(authority: &[u8]) -> &[u8] {
    if authority.starts_with(b"[") {
        let end = authority.iter().position(|&byte| byte == b']').map_or(authority.len(), |at| at + 1);
        return &authority[..end];
    }
    let end = authority.iter().position(|&byte| byte == b':').unwrap_or(authority.len());
    let name = &authority[..end];
    name.strip_suffix(b".").unwrap_or(name)
}

/// The values of all cookies `name`, in their order; quotes are part of a value (RFC 6265 section 4.2).
pub fn cookies<'a>(head: &'a Head, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let pairs = head.all(Name::Cookie).flat_map(|field| field.split(|&byte| byte == b';'));
    pairs.filter_map(move |pair| {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        (pair[..at].trim_ascii() == name).then(|| pair[at + 1..].trim_ascii())
    })
}

/// A name or a value in a query, as it is written there.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a>(&'a [u8]);

impl<'a> Parameter<'a> {
    /// What it means: `+` is a blank, `%41` is `A`; an escape that is none stands for itself.
    pub fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (&first, tail) = rest.split_first()?;
            rest = tail;
            match (first, tail) {
                (b'+', _) => Some(b' '),
                (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => {
                        rest = after;
                        Some(high << 4 | low)
                    }
                    _ => Some(first),
                },
                _ => Some(first),
            }
        })
    }

    /// The same as it stands, if it stands for itself.
    pub fn plain(self) -> Option<&'a [u8]> {
        (!self.0.iter().any(|byte| matches!(byte, b'+' | b'%'))).then_some(self.0)
    }
}

/// The values of all parameters `name` of `query`, which has its `?`. One without `=` is empty.
pub fn parameters<'a>(query: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Parameter<'a>> {
    let query = query.strip_prefix(b"?").unwrap_or_default();
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).filter_map(move |pair| {
        let (key, value) = match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        Parameter(key).bytes().eq(name.iter().copied()).then_some(Parameter(value))
    })
}

/// The value of a hexadecimal digit.
pub(super) fn digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;

    #[test]
    fn hosts_lose_port_and_last_dot() {
        for (authority, wanted) in [
            ("", ""),
            ("a.example", "a.example"),
            ("A.example:8080", "A.example"),
            ("a.example.", "a.example"),
            ("a.example.:80", "a.example"),
            ("a.:", "a"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[2001:db8::1]:443", "[2001:db8::1]"),
            ("10.0.0.1:1", "10.0.0.1"),
        ] {
            assert_eq!(host(authority.as_bytes()), wanted.as_bytes(), "{authority}");
        }
    }

    #[test]
    fn cookies_are_found_in_every_field_by_their_whole_name() {
        let head = test_head("GET / HTTP/1.1\nHost: a\nCookie: a=1; b=\"2=x\";a=3;;  c ; ab=4\nCookie: a=; A=5");
        let all = |name: &'static str| cookies(&head, name.as_bytes()).map(|v| v.escape_ascii().to_string());
        assert_eq!(all("a").collect::<Vec<_>>(), ["1", "3", ""]);
        assert_eq!(all("b").collect::<Vec<_>>(), ["\\\"2=x\\\""]);
        assert_eq!(all("c").count(), 0, "a word without `=` is no cookie");
        assert_eq!(cookies(&test_head("GET / HTTP/1.1\nHost: a"), b"a").count(), 0);
    }

    #[test]
    fn parameters_are_decoded() {
        let values = |query: &str, name: &str| {
            let values = parameters(query.as_bytes(), name.as_bytes());
            values.map(|value| String::from_utf8(value.bytes().collect()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(values("?a=1&b=2&a=3", "a"), ["1", "3"]);
        assert_eq!(values("?a+b=x%20y+z", "a b"), ["x y z"]);
        assert_eq!(values("?%61=%C3%A9%", "a"), ["é%"]);
        assert_eq!(values("?a=%zz%4", "a"), ["%zz%4"]);
        assert_eq!(values("?a&b", "a"), [""]);
        assert_eq!(values("?a=b=c", "a"), ["b=c"]);
        for empty in ["", "?", "?&&", "?b=a"] {
            assert!(values(empty, "a").is_empty(), "{empty}");
        }
        assert!(values("?", "").is_empty());
    }
}
