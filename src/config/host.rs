//! Hosts as operators write them in a route: `api.example.com`, `*.example.org`, `[::1]`, and what people write instead.

use std::net::Ipv6Addr;

use super::{HostMatch, report::Wrong, section::Field, units::quoted, values};

/// The longest name of the DNS (RFC 1035 section 2.3.4), as text.
const LONGEST: usize = 253;

/// A host that is matched; in lower case, without a port.
pub(super) fn host(field: &Field<'_>) -> Result<HostMatch, Wrong> {
    const WHAT: &str = "a host: \"api.example.com\" or \"*.example.com\"";
    if field.value().is_table() {
        return Err(values::wanted(field.value(), WHAT).help("a host is a name, or `*.` and a name: list several"));
    }
    let text = values::text(field, WHAT)?;
    let lower = text.to_ascii_lowercase();
    match lower.strip_prefix('*') {
        Some(rest) if is_host_match(&lower) => Ok(HostMatch::Wildcard(rest.to_owned())),
        None if is_host_match(&lower) => Ok(HostMatch::Exact(lower)),
        _ => Err(explain(&lower, Wrong::new(format!("found {}, wanted {WHAT}", quoted(text))))),
    }
}

/// `text` is a host that a route can match: a name, `*.` and a name, or an IPv6 address in brackets.
pub(crate) fn is_host_match(text: &str) -> bool {
    match text.strip_prefix("*.") {
        Some(domain) => is_name(domain),
        None => is_name(text) || is_ipv6(text),
    }
}

/// Labels of letters, digits, `-` and `_`, none of them empty; an IPv4 address is one, too.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fine)
    };
    text.len() <= LONGEST && text.split('.').all(label)
}

fn is_ipv6(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

fn explain(lower: &str, wrong: Wrong) -> Wrong {
    if lower == "*" {
        return wrong.help("for any host, leave it out");
    }
    if let Some((_, rest)) = lower.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return wrong.help(format!("write the host alone: {}", quoted(host)));
    }
    if lower.parse::<Ipv6Addr>().is_ok() {
        return wrong.help(format!("an IPv6 address stands in brackets: write \"[{lower}]\""));
    }
    if let Some((host, port)) = lower.rsplit_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return wrong.help(format!("a host matches on every port: write {}", quoted(host)));
    }
    if let Some((host, path)) = lower.split_once('/') {
        return wrong.help(format!("write host = {} and path = {}", quoted(host), quoted(&format!("/{path}"))));
    }
    if lower.ends_with('.') && is_name(lower.trim_end_matches('.')) {
        return wrong.help(format!("write it without the dot at its end: {}", quoted(lower.trim_end_matches('.'))));
    }
    if lower.contains('*') {
        return wrong.help("a `*` stands in front, for one label or more: \"*.example.com\"");
    }
    if let Some(domain) = lower.strip_prefix('.')
        && is_name(domain)
    {
        return wrong.help(format!("write \"*.{domain}\" for what is below it, and \"{domain}\" for itself"));
    }
    if !lower.is_ascii() {
        return wrong.help("a name in other letters is sent in its ASCII form, `xn--…`: write that");
    }
    if lower.split('.').any(|label| label.len() > 63) || lower.len() > LONGEST {
        return wrong.help("a label has at most 63 letters, and a name 253");
    }
    wrong.help("a label is made of letters, digits, `-` and `_`, and labels are parted by one dot")
}
