//! Who the client is: believed of trusted proxies alone. Hot path.

use crate::{
    http::{Client, Head},
    net::{Peer, proxy_protocol},
    plan::{Plan, Settings, says_https},
};
use std::net::IpAddr;

/// The client's address; `None` if it is a process of this machine that names no other.
pub(super) fn address(plan: &Plan, client: &Client, request: &Head) -> Option<IpAddr> {
    plan.client_address(ip(client.peer), client.trusted, request)
}

/// The address of `peer`; `None` if it is a process of this machine.
pub(super) fn ip(peer: Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(peer) => Some(peer.ip().to_canonical()),
        Peer::Unix => None,
    }
}

/// The client came over TLS: to us, or to a trusted proxy that says so.
pub(super) fn came_over_tls(client: &Client, request: &Head) -> bool {
    client.secure() || client.trusted && says_https(request)
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
