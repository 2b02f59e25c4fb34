//! Which listener a URL leads to, and the head that comes in there.

use crate::{
    config::{Address, Config, Sample, Who},
    plan::{Listener, Plan},
};

/// The listeners that are asked, the first choice first, and what should be known about it.
pub(super) struct Choice<'p> {
    pub(super) asked: Vec<&'p Listener>,
    pub(super) notes: Vec<String>,
}

/// Those with the port of the URL that speak TLS, or do not, as its scheme says; else those that do so at any port: a
/// firewall may map it. A peer of a unix socket comes by one.
pub(super) fn choose<'p>(plan: &'p Plan, config: &Config, sample: &Sample) -> Choice<'p> {
    let mut all: Vec<&Listener> = plan.listeners().collect();
    all.sort_by_key(|listener| listener.place);
    let address = |listener: &Listener| config.listeners.get(listener.place).map(|written| &written.address);
    let unix = |listener: &&Listener| matches!(address(listener), Some(Address::Unix(_)));
    let mut notes = Vec::new();
    let local = sample.from == Who::Unix;
    if all.iter().any(|listener| unix(listener) == local) {
        all.retain(|listener| unix(listener) == local);
    }
    let Some(https) = sample.https else { return Choice { asked: all, notes } };
    let written = sample.authority.as_deref().and_then(port);
    let port = written.unwrap_or(if https { 443 } else { 80 });
    let speaks = |listener: &&Listener| listener.tls.is_some() == https;
    let listens = |listener: &&Listener| match address(listener) {
        Some(Address::Tcp(address)) => address.port() == port,
        _ => false,
    };
    if !all.iter().any(speaks) && !all.is_empty() {
        notes.push(match https {
            true => "no listener speaks TLS: it is asked as if something in front had taken it off".to_owned(),
            false => "every listener speaks TLS: it is asked as if it came in by TLS".to_owned(),
        });
    } else {
        all.retain(speaks);
    }
    if all.iter().any(listens) {
        all.retain(listens);
    } else if written.is_some() {
        notes.push(format!(
            "no such listener has port {port}: it is asked at {:?}",
            all.first().map_or("", |one| &one.name)
        ));
    }
    Choice { asked: all, notes }
}

/// The port that is written in `authority`.
fn port(authority: &str) -> Option<u16> {
    let (host, port) = authority.rsplit_once(':')?;
    // The colons of an IPv6 address stand in brackets.
    (!host.starts_with('[') || host.ends_with(']')).then(|| port.parse().ok()).flatten()
}

/// The head of `sample`, as a client would send it.
pub(super) fn write(sample: &Sample) -> Vec<u8> {
    let host = sample.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = sample.authority.as_deref().filter(|_| !host);
    // Without a host it can be no newer one (RFC 9112 section 3.2).
    let version = if host || authority.is_some() { "1.1" } else { "1.0" };
    let target = match sample.method.as_str() {
        "CONNECT" => sample.authority.as_deref().unwrap_or_default(),
        _ => &sample.target,
    };
    let mut text = format!("{} {target} HTTP/{version}\r\n", sample.method);
    if let Some(authority) = authority {
        text.push_str(&format!("Host: {authority}\r\n"));
    }
    for (name, value) in &sample.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
