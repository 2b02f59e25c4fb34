//! PROXY protocol, versions 1 and 2: what a proxy says of its client before the client's own first byte. Listeners read
//! with it; `proxy` and the health checks write with it. Pure, but for [`read`]: bytes in, bytes out.
//!
//! The law is `doc/proxy-protocol.txt` of HAProxy. Strict: a header that is not exactly of its grammar is refused, and so
//! is a beginning that no further byte could make right. Bounded: no header is longer than [`LONGEST`].

mod crc32c;
#[doc(hidden)]
pub mod fuzz;
mod malformed;
mod read;
mod tlv;
mod v1;
mod v2;

pub use malformed::Malformed;
pub use read::{NoHeader, read};
pub use tlv::Tls;
use v1::write as write_v1;
use v2::write as write_v2;

use crate::config::ProxyVersion;
use std::net::{IpAddr, SocketAddr};

/// Bytes of the longest header that is read. Version 2 could say 64 KiB; what proxies send is below 1 KiB.
pub const LONGEST: usize = 4096;

/// What a proxy says of a connection that it made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// Who called, and the address that was called. `None`: the proxy speaks for itself (LOCAL), does not know (UNKNOWN),
    /// or was called in a way that has no such addresses (unix sockets, datagrams): the connection's own ones hold.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What version 2 says besides.
    pub tlvs: Tlvs,
}

/// The additions (type, length, value) of version 2 that are understood. Others are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The protocol that was agreed on above TLS, as in RFC 7301; at most 255 bytes.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for (SNI); at most 255 bytes, no blanks, no controls.
    pub authority: Option<Box<str>>,
    /// The client's TLS; `None` = it came without.
    pub tls: Option<Tls>,
}

/// The header that `bytes` begin with, and its length. `None`: more bytes are needed.
///
/// # Errors
/// These bytes are no header, and no bytes behind them would make them one.
pub fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes),
        Some(_) => Err(Malformed::Signature),
    }
}

/// Appends a header of that version; `tlvs` are of version 2 alone. Without addresses the sender speaks for itself: LOCAL,
/// or UNKNOWN.
pub fn write(version: ProxyVersion, addresses: Option<(SocketAddr, SocketAddr)>, tlvs: &Tlvs, out: &mut Vec<u8>) {
    match version {
        ProxyVersion::V1 => write_v1(addresses, out),
        ProxyVersion::V2 => write_v2(addresses, tlvs, out),
    }
}

/// Both addresses in one family: a header has room for one alone. IPv4 stands in IPv6 as `::ffff:a.b.c.d` (RFC 4291
/// section 2.5.5.2), and comes out of it where both can.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        six @ IpAddr::V6(_) => six,
    };
    let (from, to) = if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (mapped(from), mapped(to)) };
    (SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port()))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
