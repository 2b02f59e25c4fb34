//! What a client's handshake has said. Hot path: each request of a TLS connection asks [`Handshake::misdirects`].

use super::{Server, certificate::Identity, names::Shown, server::protocol};
use crate::config::Alpn;
use rustls::{ProtocolVersion, ServerConnection};
use std::sync::Arc;

/// What is known of a TLS connection from a client.
#[derive(Debug)]
pub struct Handshake {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client has asked for, in lower case.
    pub sni: Option<Box<str>>,
    /// The protocol that was agreed upon; `None` if the client named none.
    pub alpn: Option<Alpn>,
    /// Who the client has proved to be.
    pub identity: Option<Identity>,
    /// Clients of this listener are asked for certificates.
    pub asked: bool,
    /// Today's certificates of the listener.
    shown: Arc<Shown>,
}

impl Handshake {
    /// Of a session that `server` has just begun.
    pub(super) fn of(server: &Server, session: &ServerConnection) -> Box<Self> {
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        Box::new(Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            sni: session.server_name().map(Into::into),
            alpn: session.alpn_protocol().and_then(protocol),
            identity: certificate.map(|certificate| Identity::of(certificate)),
            asked: server.asks_clients(),
            shown: Arc::clone(server.shown()),
        })
    }

    /// A request for `host`, with its port if it has one, does not belong on this connection: the client has asked for a
    /// name that has a certificate, and `host` has another one (RFC 9110 section 15.5.20). A name without a certificate
    /// of its own has the default one.
    pub fn misdirects(&self, host: &[u8]) -> bool {
        let Some(sni) = &self.sni else { return false };
        let host = without_port(host);
        !host.is_empty()
            && !host.eq_ignore_ascii_case(sni.as_bytes())
            && self.shown.names().differ(sni.as_bytes(), host)
    }
}

/// `host` without its port. An IPv6 address keeps its brackets: no certificate is found by it either way.
fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        Some(colon) if host[colon..].iter().skip(1).all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{
        names::Names,
        testing::{Ca, params},
    };

    #[test]
    fn a_request_is_misdirected_by_name_alone() {
        let ca = Ca::new();
        let of = |names: &[&str]| Arc::new(ca.issue(params(names)));
        let shown = Arc::new(Shown::new(Names::new(vec![of(&["a.example"]), of(&["*.b.example"])])));
        let handshake = |sni: Option<&str>| Handshake {
            version: "TLSv1.3",
            sni: sni.map(Into::into),
            alpn: None,
            identity: None,
            asked: false,
            shown: Arc::clone(&shown),
        };
        for (sni, host, misdirected) in [
            (Some("a.example"), "A.Example:8443", false),
            (Some("a.example"), "a.example.", false),
            (Some("a.example"), "x.b.example", true),
            (Some("x.b.example"), "y.b.example:443", false),
            (Some("x.b.example"), "a.example:443", true),
            (Some("x.b.example"), "[::1]:443", true),
            (Some("a.example"), "[::1]", false),
            (Some("x.b.example"), "", false),
            (Some("unknown.example"), "x.b.example", false),
            (None, "x.b.example", false),
        ] {
            assert_eq!(handshake(sni).misdirects(host.as_bytes()), misdirected, "{sni:?} {host}");
        }
    }
}
