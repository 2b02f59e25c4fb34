//! Request targets: the forms of RFC 9112 section 3.2, and the one normalised path that routes, limits, policies and
//! backends all see. Hot path.

use super::{
    guard::Reject,
    head::{Head, Method, Span, Target},
};
use crate::error::Kind;
use std::net::Ipv6Addr;

const INVALID: Reject = Reject { kind: Kind::BadRequest, why: "the request target is invalid" };
const PORT: Reject = Reject { kind: Kind::BadRequest, why: "CONNECT names no port" };
const AUTHORITY: Reject = Reject { kind: Kind::BadRequest, why: "the host is invalid" };

/// Reads the target at `raw`: origin, absolute and asterisk form. Authority form is CONNECT's.
pub(super) fn parse(head: &mut Head, raw: Span, method: Method) -> Result<Target, Reject> {
    let text = head.text(raw);
    if method == Method::Connect {
        authority(text)?;
        port(text)?;
        return Ok(Target { authority: raw, ..Target::default() });
    }
    match text {
        b"*" if method == Method::Options => Ok(Target { path: raw, ..Target::default() }),
        [b'/', ..] => origin(head, raw.start(), raw.end()),
        _ => absolute(head, raw, method),
    }
}

/// The target at `raw` with its octets that are not ASCII encoded (RFC 3986 section 2.1), for a listener that takes such.
pub(super) fn encode(head: &mut Head, raw: Span) -> Span {
    let text = head.text(raw);
    if text.is_ascii() {
        return raw;
    }
    let digit = |number: u8| b"0123456789ABCDEF"[usize::from(number)];
    let mut encoded = Vec::with_capacity(text.len() * 3);
    for &byte in text {
        match byte {
            0x80.. => encoded.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
            ascii => encoded.push(ascii),
        }
    }
    head.note(&encoded)
}

fn origin(head: &mut Head, start: usize, end: usize) -> Result<Target, Reject> {
    let (path, query) = path_and_query(head, start, end)?;
    Ok(Target { path, query, ..Target::default() })
}

fn absolute(head: &mut Head, raw: Span, method: Method) -> Result<Target, Reject> {
    let text = head.text(raw);
    let scheme = [&b"http"[..], b"https"].into_iter().find(|scheme| {
        let rest = text.get(scheme.len()..).unwrap_or_default();
        text.len() > scheme.len() && text[..scheme.len()].eq_ignore_ascii_case(scheme) && rest.starts_with(b"://")
    });
    let scheme = scheme.ok_or(INVALID)?.len();
    let rest = &text[scheme + 3..];
    let host = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    authority(&rest[..host])?;
    let begin = raw.start() + scheme + 3;
    let path_start = begin + host;
    let at = Target {
        scheme: Span::new(raw.start(), raw.start() + scheme),
        authority: Span::new(begin, path_start),
        ..Target::default()
    };
    let first = head.text(raw).get(path_start - raw.start()).copied();
    let (path, query) = match first {
        Some(b'/') => path_and_query(head, path_start, raw.end())?,
        // RFC 9112 section 3.2.4: OPTIONS of a whole server, through a proxy.
        None if method == Method::Options => (head.note(b"*"), Span::default()),
        None => (head.note(b"/"), Span::default()),
        Some(b'?') => {
            check_query(&head.buf()[path_start..raw.end()])?;
            (head.note(b"/"), Span::new(path_start, raw.end()))
        }
        Some(_) => return Err(INVALID),
    };
    Ok(Target { path, query, ..at })
}

/// Host and port as RFC 3986 section 3.2 has them, narrowed to what names are made of: letters, digits, `-._~`.
/// User information is refused (RFC 9110 section 4.2.4).
pub(super) fn authority(text: &[u8]) -> Result<(), Reject> {
    let (host, port) = match text {
        [b'[', rest @ ..] => {
            let close = rest.iter().position(|&byte| byte == b']').ok_or(AUTHORITY)?;
            let address = std::str::from_utf8(&rest[..close]).map_err(|_| AUTHORITY)?;
            address.parse::<Ipv6Addr>().map_err(|_| AUTHORITY)?;
            (&text[..close + 2], &rest[close + 1..])
        }
        _ => {
            // What ends the name is the colon of a port, or wrong.
            let host = text.iter().position(|&byte| !IN_NAMES[usize::from(byte)]).unwrap_or(text.len());
            text.split_at(host)
        }
    };
    let port_is_fine = match port {
        [] => true,
        [b':', digits @ ..] if digits.len() <= 5 => {
            let more = |port: u32, digit: &u8| digit.is_ascii_digit().then(|| port * 10 + u32::from(digit - b'0'));
            digits.iter().try_fold(0, more).is_some_and(|port| port <= 0xffff)
        }
        _ => false,
    };
    if host.is_empty() || !port_is_fine { Err(AUTHORITY) } else { Ok(()) }
}

/// A valid authority that names a port (RFC 9110 section 9.3.6: CONNECT has no default one).
pub(super) fn port(authority: &[u8]) -> Result<(), Reject> {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let colon = digits > 0 && authority.len() > digits && authority[authority.len() - digits - 1] == b':';
    // The digits of an IPv6 address stand in brackets.
    if colon { Ok(()) } else { Err(PORT) }
}

/// What names of hosts are made of.
const IN_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// What a byte means in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// `%`, or a dot that may begin a dot segment.
    Special,
    Query,
    Bad,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Bad; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'%' | b'.' => Class::Special,
            b'?' => Class::Query,
            b'#' | b'\\' => Class::Bad,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// The path at `start`, normalised, and the query behind it, which is passed on as it is.
pub(super) fn path_and_query(head: &mut Head, start: usize, end: usize) -> Result<(Span, Span), Reject> {
    let text = &head.buf()[start..end];
    let mut path_end = text.len();
    let mut clean = true;
    for (at, &byte) in text.iter().enumerate() {
        match CLASSES[usize::from(byte)] {
            Class::Plain => {}
            Class::Special => clean &= byte == b'.' && text[at - 1] != b'/',
            Class::Query => {
                path_end = at;
                break;
            }
            Class::Bad => return Err(INVALID),
        }
    }
    check_query(&text[path_end..])?;
    let query = Span::new(start + path_end, end);
    if clean {
        return Ok((Span::new(start, start + path_end), query));
    }
    let mut decoded = Vec::with_capacity(path_end);
    decode(&text[..path_end], &mut decoded)?;
    let buf = head.buf_mut();
    let begin = buf.len();
    remove_dot_segments(&decoded, buf);
    Ok((Span::new(begin, buf.len()), query))
}

fn check_query(query: &[u8]) -> Result<(), Reject> {
    let fine = query.iter().all(|&byte| (0x21..0x7f).contains(&byte) && byte != b'#');
    if fine { Ok(()) } else { Err(INVALID) }
}

/// Decodes the escapes of unreserved octets (RFC 3986 section 6.2.2.2) and keeps the others, `%2F` among them.
fn decode(path: &[u8], out: &mut Vec<u8>) -> Result<(), Reject> {
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            out.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, after @ ..] = tail else { return Err(INVALID) };
        let (Some(high_digit), Some(low_digit)) = (hex(*high), hex(*low)) else { return Err(INVALID) };
        match high_digit << 4 | low_digit {
            0..0x20 | 0x7f | b'\\' => return Err(INVALID),
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
            _ => out.extend_from_slice(&[b'%', *high, *low]),
        }
        rest = after;
    }
    Ok(())
}

pub(super) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

/// RFC 3986 section 5.2.4, on a path that begins with `/`. Segments above the root are dropped, empty ones are kept.
pub(super) fn remove_dot_segments(path: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                let parent = out[begin..].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(begin + parent);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
                continue;
            }
        }
        if last {
            out.push(b'/');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_that_are_not_ascii_are_encoded_where_they_are_taken() {
        let mut head = Head::default();
        let mut encoded = |text: &[u8]| {
            let raw = head.note(text);
            let raw = encode(&mut head, raw);
            let target = parse(&mut head, raw, Method::Get).map_err(|reject| reject.kind)?;
            Ok([head.text(target.path), head.text(target.query)].map(|part| part.escape_ascii().to_string()).concat())
        };
        assert_eq!(encoded("/café/../é?q=ä".as_bytes()), Ok("/%C3%A9?q=%C3%A4".into()));
        assert_eq!(encoded(b"/\xff%c3%a9"), Ok("/%FF%c3%a9".into()), "whatever octets mean");
        assert_eq!(encoded(b"/plain?x"), Ok("/plain?x".into()));
        assert_eq!(encoded("http://a/é".as_bytes()), Ok("/%C3%A9".into()));
        for refused in ["/é\\", "/é\x7f", "http://é/", "/é%00"] {
            assert_eq!(encoded(refused.as_bytes()), Err(Kind::BadRequest), "{refused}");
        }
    }

    fn normal(path: &str) -> Result<String, Reject> {
        let mut head = Head::default();
        let raw = head.note(path.as_bytes());
        let target = parse(&mut head, raw, Method::Get)?;
        Ok(String::from_utf8([head.text(target.path), head.text(target.query)].concat()).unwrap())
    }

    #[test]
    fn paths_are_normalised_once() {
        for (path, wanted) in [
            ("/", "/"),
            ("/a.css?x=%zz/../", "/a.css?x=%zz/../"),
            ("/a/./b/../c", "/a/c"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/%41%2e%2E/%7e", "/A../~"),
            ("/%2e%2e/x", "/x"),
            ("/a%2Fb%2fc", "/a%2Fb%2fc"),
            ("//a//..", "//a/"),
            ("/.hidden/..x", "/.hidden/..x"),
            ("/%E2%82%AC", "/%E2%82%AC"),
            ("http://a/b/../c?d", "/c?d"),
            ("http://a", "/"),
            ("http://a?x", "/?x"),
        ] {
            assert_eq!(normal(path).as_deref().ok(), Some(wanted), "{path}");
        }
    }

    #[test]
    fn connect_names_a_host_and_a_port() {
        for (target, fine) in [
            ("a:1", true),
            ("a.b:65535", true),
            ("192.0.2.1:443", true),
            ("[2001:db8::1]:443", true),
            ("a", false),
            ("a:", false),
            ("a:x", false),
            ("a:65536", false),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
            ("[2001:db8::1]:", false),
            (":1", false),
            ("http://a:1/", false),
            ("u@a:1", false),
            ("/", false),
            ("*", false),
        ] {
            let mut head = Head::default();
            let raw = head.note(target.as_bytes());
            assert_eq!(parse(&mut head, raw, Method::Connect).is_ok(), fine, "{target}");
        }
    }

    #[test]
    fn bad_targets_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "/a#b",
            "/\\",
            "/%5c",
            "/%00",
            "/%0a",
            "/%7F",
            "/%",
            "/%4",
            "/%zz",
            "/\u{e9}",
            "/a b",
            "/?a#",
            "ftp://a/",
            "http://",
            "http:///",
            "http://u@a/",
            "http://a:99999/",
            "http://[::1/",
            "http://a#b",
            "//",
        ] {
            assert_eq!(normal(path).is_err(), path != "//", "{path}");
        }
    }
}
