//! What both languages write alike: times, sizes, hosts and ports; and how we write them. Pure.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};

use crate::config;
pub(super) use crate::config::{is_host_match as is_match, is_token};

/// `time` as our files have it.
pub(super) fn time(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0 => "0s".to_owned(),
        millis if millis % 1000 != 0 => format!("{millis}ms"),
        millis if millis % 3_600_000 == 0 => format!("{}h", millis / 3_600_000),
        millis if millis % 60_000 == 0 => format!("{}m", millis / 60_000),
        millis => format!("{}s", millis / 1000),
    }
}

/// `size` as our files have it.
pub(super) fn size(size: u64) -> String {
    match size {
        size if size >= 1 << 30 && size % (1 << 30) == 0 => format!("{}GiB", size >> 30),
        size if size >= 1 << 20 && size % (1 << 20) == 0 => format!("{}MiB", size >> 20),
        size if size >= 1 << 10 && size % (1 << 10) == 0 => format!("{}KiB", size >> 10),
        size => format!("{size}B"),
    }
}

/// A time of numbers with units, such as `1m30s`; without a unit it counts `bare`. At most a year, at least 1 ms or none.
pub(super) fn read_time(text: &str, bare: Duration) -> Option<Duration> {
    const YEAR: u64 = 365 * 86_400;
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
        let unit = match &rest[..letters] {
            "" => bare,
            "us" => Duration::from_micros(1),
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(86_400),
            "w" => Duration::from_secs(7 * 86_400),
            "M" => Duration::from_secs(30 * 86_400),
            "y" => Duration::from_secs(YEAR),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = rest[letters..].trim_start();
    }
    let short = total > Duration::ZERO && total < Duration::from_millis(1);
    let total =
        if short { Duration::from_millis(1) } else { Duration::from_millis(u64::try_from(total.as_millis()).ok()?) };
    Some(total.min(Duration::from_secs(YEAR)))
}

/// A size with `k`, `m` or `g` behind it.
pub(super) fn read_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return None,
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|size| *size <= 1 << 50)
}

/// The network that `text` means, an address or one with a length; what stands behind the length is cut off, as others do.
pub(super) fn net(text: &str) -> Option<IpNet> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    Some(net.trunc())
}

/// A network or address as our files take it; `None`: it is none.
pub(super) fn network(text: &str) -> Option<String> {
    let net = net(text)?;
    Some(if text.contains('/') { net.to_string() } else { net.addr().to_string() })
}

/// `host:port`, of which either may be missing, as a backend's address.
pub(super) fn backend(text: &str, default: u16) -> Option<String> {
    let (host, port) = split_port(text)?;
    let port = port.unwrap_or(default);
    if port == 0 || host.is_empty() || host == "*" {
        return None;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            let ip: IpAddr = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            Some(SocketAddr::new(ip, port).to_string())
        }
        Ok(ip) => Some(SocketAddr::new(ip, port).to_string()),
        Err(_) if is_host(host) => Some(format!("{}:{port}", host.to_ascii_lowercase())),
        Err(_) => None,
    }
}

/// A host and its port, if one is written. `None`: what stands there is no port.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(end) = text.strip_prefix('[').and_then(|rest| rest.find(']')) {
        let (host, rest) = text.split_at(end + 2);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match text.rsplit_once(':') {
        // An IPv6 address without brackets.
        Some((host, _)) if host.contains(':') && text.parse::<Ipv6Addr>().is_ok() => Some((text, None)),
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

/// `text` is a host name as our files take it for a backend.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(fine) && !label.starts_with('-') && !label.ends_with('-')
    };
    let number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && !number
}

/// `text` can stand in a path of ours as it is: normalised, without escapes that would be decoded.
pub(super) fn is_path(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_graphic() && !b"?#\\%*".contains(&byte);
    text.starts_with('/') && text.bytes().all(fine) && text.split('/').all(|segment| segment != "." && segment != "..")
}

/// An expression that ours take, compiled.
pub(super) fn compiled(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(config::MAX_REGEX).build().ok()
}

/// An expression that ours take.
pub(super) fn is_regex(text: &str) -> bool {
    compiled(text).is_some()
}

/// It is one of several expressions that is found: a `|` stands in no group.
pub(super) fn has_ways(regex: &str) -> bool {
    let (mut depth, mut class) = (0, false);
    let mut letters = regex.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// All groups that `replacement` names, as `${1}`, are in `regex`.
pub(super) fn groups_fit(regex: &str, replacement: &str) -> bool {
    let Some(regex) = compiled(regex) else { return false };
    (1..10).all(|group| !replacement.contains(&format!("${{{group}}}")) || group < regex.captures_len())
}

/// `text` in a template, where braces are variables.
pub(super) fn literal(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// An escape of it means the same (RFC 3986 section 2.3), and is decoded in paths.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// A field that no rule of ours may touch, or that is consumed.
pub(super) fn is_ours(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    config::is_ours(&name) || name == "endpoint-load-metrics"
}

/// `regex` as PCRE reads it: it is found in octets, and what is no ASCII is no letter. One that means the same either way
/// stays as it is.
pub(super) fn octets(regex: &str) -> String {
    let (any_case, bare) = regex.strip_prefix("(?i)").map_or((false, regex), |bare| (true, bare));
    let class = bare.split('\\').skip(1).any(|rest| rest.starts_with(|letter: char| letter.is_ascii_alphanumeric()));
    // Letters that have others beside them outside of ASCII.
    let folded = any_case && bare.contains(['k', 'K', 's', 'S']);
    if !class && !folded && bare.is_ascii() && !bare.replace("\\.", "").contains('.') && !bare.contains("[^") {
        return regex.to_owned();
    }
    format!("(?{}-u){bare}", if any_case { "i" } else { "" })
}

/// An expression for what is not `text`; with `begins`, for what does not begin with it. `None`: it would be too long.
pub(super) fn other(text: &str, begins: bool) -> Option<String> {
    const LONGEST: usize = 64;
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let last = if begins { None } else { Some(".".to_owned()) };
    let nested = text.bytes().rev().fold(last, |inner, byte| {
        let octet = format!("\\x{byte:02x}");
        let octet = if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { octet };
        let more = inner.map(|inner| format!("|{octet}{inner}")).unwrap_or_default();
        Some(format!("(?:$|[^{octet}]{more})"))
    });
    Some(format!("(?s-u)^{}", nested?))
}

/// The methods that `regex`, anchored, means, such as `^(GET|HEAD)$`.
pub(super) fn words(regex: &str) -> Option<Vec<&str>> {
    let inner = regex.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner
        .strip_prefix("(?:")
        .or_else(|| inner.strip_prefix('('))
        .map_or(Some(inner), |rest| rest.strip_suffix(')'))?;
    let words: Vec<_> = inner.split('|').collect();
    words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(words)
}

/// Others replace all of a path in which an expression is found; ours what it matches.
pub(super) fn whole_path(regex: &str) -> String {
    let (flags, bare) = regex.strip_prefix("(?i)").map_or(("", regex), |bare| ("(?i)", bare));
    let front = if bare.starts_with('^') { "" } else { "^.*?" };
    let back = if bare.ends_with('$') && !bare.ends_with("\\$") { "" } else { ".*$" };
    format!("{flags}{front}{bare}{back}")
}

/// The letters that `regex` begins with.
pub(super) fn first_letters(regex: &str) -> String {
    let mut out = String::new();
    let mut letters = regex.chars().peekable();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '\\' => match letters.next() {
                Some(escaped) if !escaped.is_ascii_alphanumeric() => escaped,
                _ => break,
            },
            '.' | '(' | '[' | '{' | '^' | '$' | '|' | '?' | '*' | '+' => break,
            letter => letter,
        };
        // It may be there or not.
        if matches!(letters.peek(), Some('?' | '*' | '{' | '+')) {
            break;
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_and_written() {
        let second = Duration::from_secs(1);
        for (text, ours) in [
            ("30", "30s"),
            ("1m30s", "90s"),
            ("500ms", "500ms"),
            ("1h", "1h"),
            ("10us", "1ms"),
            ("0", "0s"),
            ("2d", "48h"),
        ] {
            assert_eq!(read_time(text, second).map(time).as_deref(), Some(ours), "{text}");
        }
        assert_eq!(["", "x", "1q", "99999999999s"].map(|text| read_time(text, second)), [None; 4]);
        let sizes = ["1m", "10k", "0", "7", "2g"].map(|text| read_size(text).map(size).unwrap());
        assert_eq!(sizes, ["1MiB", "10KiB", "0B", "7B", "2GiB"]);
        assert_eq!(["", "k", "1x", "-1"].map(read_size), [None; 4]);
    }

    #[test]
    fn expressions_are_of_octets() {
        for (theirs, value, yes) in [
            ("^a.b$", &b"a\xffb"[..], true),
            ("(?i)task", "ta\u{17f}\u{212a}".as_bytes(), false),
            ("^\\w$", "é".as_bytes(), false),
            ("^[^x]$", b"\xff", true),
            ("bot|crawl", b"\xffbot", true),
        ] {
            assert_eq!(compiled(&octets(theirs)).unwrap().is_match(value), yes, "{theirs}");
        }
        assert_eq!(["bot|crawl", "(?i)\\.php$"].map(octets), ["bot|crawl", "(?i)\\.php$"]);
    }

    #[test]
    fn what_is_not_a_text_is_an_expression() {
        for (text, begins, octets, yes) in [
            ("s3c\"r", false, &b"s3c\"r"[..], false),
            ("s3c\"r", false, b"s3c\"r ", true),
            ("s3c\"r", false, b"s3c", true),
            ("s3c\"r", false, b"", true),
            ("s3c\"r", false, b"s3\xff", true),
            ("a", true, b"ab", false),
            ("ab", true, b"a", true),
            ("ab", true, b"xab", true),
        ] {
            let regex = compiled(&other(text, begins).unwrap()).unwrap();
            assert_eq!(regex.is_match(octets), yes, "{text} {}", octets.escape_ascii());
        }
        assert!(compiled(&other(&"x".repeat(64), false).unwrap()).is_some());
        assert_eq!((other("", false), other(&"x".repeat(65), false)), (None, None));
    }

    #[test]
    fn networks_have_no_host_bits() {
        for (text, ours) in [
            ("10.0.0.7/8", "10.0.0.0/8"),
            ("192.168.1.0/24", "192.168.1.0/24"),
            ("2001:db8::7/32", "2001:db8::/32"),
            ("10.0.0.7", "10.0.0.7"),
            ("10.0.0.7/32", "10.0.0.7/32"),
            ("::1", "::1"),
        ] {
            assert_eq!(network(text).as_deref(), Some(ours), "{text}");
        }
        assert_eq!(["", "all", "10.0.0.7/33", "10.0.0", "/8"].map(network), [const { None }; 5]);
    }

    #[test]
    fn hosts_are_those_that_a_route_takes() {
        for (text, fine) in [
            ("a.example", true),
            ("A_b.example", true),
            ("*.example", true),
            ("[::1]", true),
            ("*.[::1]", false),
            ("*", false),
            ("*.", false),
            ("a..b", false),
            ("*.*.example", false),
            ("[::x]", false),
        ] {
            assert_eq!(is_match(text), fine, "{text}");
        }
    }

    #[test]
    fn addresses_of_backends() {
        for (text, ours) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("10.0.0.1", "10.0.0.1:8080"),
            ("App:81", "app:81"),
            ("[::1]:80", "[::1]:80"),
            ("::1", "[::1]:8080"),
            ("0.0.0.0:80", "127.0.0.1:80"),
        ] {
            assert_eq!(backend(text, 8080).as_deref(), Some(ours), "{text}");
        }
        for text in ["", ":80", "*:80", "a:0", "a:b", "$x", "10.0.0.256:80", "[::1"] {
            assert_eq!(backend(text, 80), None, "{text}");
        }
    }
}
