//! Why a route takes a request, or does not, in words. The values that a route asks of headers, cookies and parameters are
//! not told: some let in who knows them.

use crate::{
    config::{HostMatch, PathMatch, Route, Text},
    http::Head,
    policy::{self, FieldName},
    route::{Verdict, Why},
};
use std::net::IpAddr;

/// Alternatives that are told.
const MOST: usize = 4;

/// What `verdict` means for `route`; `chosen` is the name of the route that is taken.
pub(super) fn why(
    verdict: Verdict<'_>,
    route: &Route,
    chosen: &str,
    (head, client): (&Head, Option<IpAddr>),
) -> String {
    let method = || String::from_utf8_lossy(head.method_text()).into_owned();
    match verdict {
        Verdict::Chosen => "it matches, and comes first".to_owned(),
        Verdict::Outranked(ahead) => {
            format!("it matches, but {chosen:?} comes first: {ahead}")
        }
        Verdict::Missed(Why::Host) => format!("host: {} is asked for", list(&route.hosts, host)),
        Verdict::Missed(Why::Path) => format!("path: {} is asked for", list(&route.paths, path)),
        Verdict::Missed(Why::Listener) => {
            format!("listener: it is for {}", list(&route.listeners, |name| quoted(name)))
        }
        Verdict::Missed(Why::Method) => {
            format!("method: {} is asked for, not {}", list(&route.methods, Clone::clone), method())
        }
        Verdict::Missed(Why::ClientIp) => {
            let client =
                client.map_or_else(|| "the client has no address".to_owned(), |client| format!("not {client}"));
            format!("client_ip: {} is asked for, {client}", list(&route.client_ip, ToString::to_string))
        }
        Verdict::Missed(Why::Header(name)) => {
            let there = FieldName::new(name).first(head).is_some();
            named("header", name, of(&route.headers, name), there)
        }
        Verdict::Missed(Why::Cookie(name)) => {
            let there = policy::cookies(head, name.as_bytes()).next().is_some();
            named("cookie", name, of(&route.cookies, name), there)
        }
        Verdict::Missed(Why::Query(name)) => {
            let there = policy::parameters(head.text(head.target.query), name.as_bytes()).next().is_some();
            named("query", name, of(&route.query, name), there)
        }
    }
}

fn of<'r>(pairs: &'r [(String, Text)], name: &str) -> Option<&'r Text> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, text)| text)
}

fn named(what: &str, name: &str, text: Option<&Text>, there: bool) -> String {
    let why = match (text, there) {
        (Some(Text::Absent), _) => "is there, and must not be",
        (_, false) => "is not there",
        (_, true) => "has another value",
    };
    format!("{what}: `{name}` {why}")
}

/// Alternatives, a few of them.
fn list<T>(all: &[T], write: impl Fn(&T) -> String) -> String {
    let some: Vec<_> = all.iter().take(MOST).map(write).collect();
    match all.len().saturating_sub(MOST) {
        0 => some.join(" or "),
        more => format!("{} or {more} others", some.join(", ")),
    }
}

fn host(host: &HostMatch) -> String {
    match host {
        HostMatch::Exact(name) => name.clone(),
        HostMatch::Wildcard(suffix) => format!("*{suffix}"),
    }
}

fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(text) => text.clone(),
        PathMatch::Below(text) => format!("{text}/*"),
        PathMatch::Prefix(text) => format!("what begins with {text}"),
        PathMatch::Regex(regex) => format!("what fits {regex}"),
    }
}

fn quoted(name: &str) -> String {
    format!("{name:?}")
}
