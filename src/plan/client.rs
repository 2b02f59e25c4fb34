//! Who the client is: believed of trusted proxies alone. Called by `proxy` for each request, and by `explain`. Hot path.

use super::Plan;
use crate::http::{Head, Name};
use std::net::{IpAddr, SocketAddr};

impl Plan {
    /// The client's address, where `peer` is the connection's; `None` if it is a process of this machine that names no
    /// other. A trusted peer's `X-Forwarded-For` is walked from the right to the first address that is not trusted; when
    /// all are, the leftmost is the client.
    pub fn client_address(&self, peer: Option<IpAddr>, trusted: bool, request: &Head) -> Option<IpAddr> {
        let peer = peer.map(|peer| peer.to_canonical());
        if !trusted || !request.has(Name::XForwardedFor) {
            return peer;
        }
        let mut last = peer;
        let lines: Vec<&[u8]> = request.all(Name::XForwardedFor).collect();
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b','));
        for hop in hops {
            // What is no address ends what can be believed.
            let Some(address) = parse(hop.trim_ascii()) else { return last };
            last = Some(address);
            if !self.trusts_address(address) {
                return last;
            }
        }
        last
    }
}

/// A proxy in front says that its client came over TLS.
pub fn says_https(request: &Head) -> bool {
    request.get(Name::XForwardedProto).is_some_and(|value| value.eq_ignore_ascii_case(b"https"))
}

/// An address, with or without a port; IPv6 in brackets where there is a port.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
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
