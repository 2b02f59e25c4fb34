//! Who the client is: believed of trusted proxies alone. Hot path.

use crate::{
    http::{Client, Head, Name},
    net::{Peer, proxy_protocol},
    plan::{Plan, Settings},
};
use std::net::{IpAddr, SocketAddr};

/// The client's address; `None` if it is a process of this machine that names no other. A trusted peer's
/// `X-Forwarded-For` is walked from the right to the first address that is not trusted; when all are, the leftmost is
/// the client.
pub(super) fn address(plan: &Plan, client: &Client, request: &Head) -> Option<IpAddr> {
    let peer = match client.peer {
        Peer::Tcp(peer) => Some(peer.ip().to_canonical()),
        Peer::Unix => None,
    };
    if !client.trusted || !request.has(Name::XForwardedFor) {
        return peer;
    }
    let mut last = peer;
    let lines: Vec<&[u8]> = request.all(Name::XForwardedFor).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
    for hop in hops {
        // What is no address ends what can be believed.
        let Some(address) = parse(hop.trim_ascii()) else { return last };
        last = Some(address);
        if !plan.trusts_address(address) {
            return last;
        }
    }
    last
}

/// An address, with or without a port; IPv6 in brackets where there is a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The client came over TLS: to us, or to a trusted proxy that says so.
pub(super) fn came_over_tls(client: &Client, request: &Head) -> bool {
    let says = || request.get(Name::XForwardedProto).is_some_and(|value| value.eq_ignore_ascii_case(b"https"));
    client.secure() || client.trusted && says()
}

/// The PROXY header that tells a backend who its client is, if its pool sends one; else it is empty. The word of a header
/// that we have believed is passed on; that of `X-Forwarded-For` is not: that is a request's, and this the connection's.
pub(super) fn proxy_header(client: &Client, settings: &Settings) -> Vec<u8> {
    let mut header = Vec::new();
    let Some(version) = settings.proxy_protocol else { return header };
    let addresses = match (client.peer, client.local) {
        (Peer::Tcp(peer), Some(local)) => Some((peer, local)),
        _ => None,
    };
    proxy_protocol::write(version, addresses, &client.tlvs(), &mut header);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_ports() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(parse(b"192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(parse(b"192.0.2.1:80"), ip("192.0.2.1"));
        assert_eq!(parse(b"[2001:db8::1]:80"), ip("2001:db8::1"));
        assert_eq!(parse(b"[2001:db8::1]"), ip("2001:db8::1"));
        assert_eq!(parse(b"2001:db8::1"), ip("2001:db8::1"));
        assert_eq!(parse(b"::ffff:192.0.2.1"), ip("192.0.2.1"));
        for text in [&b""[..], b"unknown", b"_hidden", b"192.0.2.256", b"\xff"] {
            assert_eq!(parse(text), None);
        }
    }
}
