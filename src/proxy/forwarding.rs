//! Tells the backend who its client is, and believes nobody who is not trusted. Hot path.
//!
//! `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `Via`, `X-Request-Id`, RFC 7239 `Forwarded` where asked for, and
//! `X-Client-Cert-Verified`, `-Subject`, `-Fingerprint` where clients are asked for certificates.

use super::Local;
use crate::{
    error::Kind,
    http::{
        Client, Head, Name, Version,
        h1::write::decimal,
        head::{Lines, Span},
    },
    net::Peer,
    plan::Plan,
    policy::is_proxys,
    telemetry::trace,
};
use std::net::IpAddr;

/// A request that has passed through us this often goes round in a loop.
const MAX_PASSES: usize = 10;
/// What a client has proved to be.
const CERTIFICATE: [Name; 3] = [Name::XClientCertVerified, Name::XClientCertSubject, Name::XClientCertFingerprint];
/// The longest request id that is taken over, in bytes.
const MAX_ID: usize = 128;

/// Takes out what an untrusted `client` says under names that we do not write, and backends believe of a proxy. Before
/// the policies: none of them goes by it, and a service that decides does not hear of it.
pub(super) fn distrust(client: &Client, request: &mut Head) {
    if !client.trusted {
        request.remove_where(is_proxys);
    }
}

/// Takes out of a request's trailers what is only a proxy's to say, and has been said in the head. Other names of ours are
/// refused there (`guard::forbidden_in_trailers`).
pub(super) fn strip_trailers(trailers: &mut Head) {
    trailers.remove_where(is_proxys);
    for name in [Name::Traceparent, Name::Tracestate] {
        trailers.remove(name);
    }
}

/// Makes the forwarding fields of `request`, whose request id is there already.
///
/// # Errors
/// `loop`: it has passed through us ten times.
pub(super) fn apply(plan: &Plan, client: &Client, request: &mut Head) -> Result<(), Kind> {
    if request.all(Name::Via).map(|via| ours(via, &plan.via)).sum::<usize>() >= MAX_PASSES {
        return Err(Kind::Loop);
    }
    if plan.forwarded || request.has(Name::Forwarded) {
        forwarded(plan, client, request);
    }
    addresses(plan, client, request);
    certificate(client, request);
    Ok(())
}

/// What the client has proved to be. Where nobody is asked for a certificate, a trusted peer may have asked.
fn certificate(client: &Client, request: &mut Head) {
    let asked = client.tls.as_ref().filter(|tls| tls.asked);
    if asked.is_none() && client.trusted {
        return;
    }
    for name in CERTIFICATE {
        request.remove(name);
    }
    match asked.map(|tls| &tls.identity) {
        None => {}
        Some(None) => drop(request.add(Name::XClientCertVerified, b"NONE")),
        Some(Some(identity)) => {
            request.add(Name::XClientCertVerified, b"SUCCESS");
            request.add(Name::XClientCertSubject, identity.subject.as_bytes());
            request.add(Name::XClientCertFingerprint, identity.fingerprint.as_bytes());
        }
    }
}

/// Our own element of `Via`.
fn via(plan: &Plan, version: Version) -> [&[u8]; 2] {
    let version: &[u8] = match version {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2 ",
    };
    [version, plan.via.as_bytes()]
}

/// How often `name` stands in a `Via` value (RFC 9110 section 7.6.3).
fn ours(via: &[u8], name: &str) -> usize {
    let by = |hop: &[u8]| {
        let mut words = hop.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.next();
        words.next().is_some_and(|by| by.eq_ignore_ascii_case(name.as_bytes()))
    };
    via.split(|&byte| byte == b',').filter(|hop| by(hop)).count()
}

/// Takes a trusted peer's id over, or makes a new one: 32 hexadecimal digits.
pub(super) fn request_id(local: &Local, client: &Client, request: &mut Head) -> Span {
    if client.trusted
        && let Ok(Some(id)) = request.single(Name::XRequestId)
        && is_id(request.text(id))
    {
        return id;
    }
    request.remove(Name::XRequestId);
    let mut line = *b"X-Request-Id: ________________________________\r\n";
    line[14..30].copy_from_slice(&trace::hexadecimal(local.random()));
    line[30..46].copy_from_slice(&trace::hexadecimal(local.random()));
    request.add_line(Name::XRequestId, &line)
}

/// Safe in a log, a field, JSON and HTML.
fn is_id(text: &[u8]) -> bool {
    let fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:=+/@".contains(byte);
    (1..=MAX_ID).contains(&text.len()) && text.iter().all(fine)
}

/// `X-Forwarded-*`, `X-Real-IP` and `Via`.
fn addresses(plan: &Plan, client: &Client, request: &mut Head) {
    let version = request.version();
    if client.trusted {
        trusted_addresses(client, request);
        request.add_pieces(b"Via", Name::Via, &via(plan, version));
    } else {
        for name in
            [Name::XForwardedFor, Name::XForwardedProto, Name::XForwardedHost, Name::XForwardedPort, Name::XRealIp]
        {
            request.remove(name);
        }
        let (of, made) = client.lines.get_or_init(|| (version, lines(plan, client, version)));
        if *of == version {
            request.add_lines(made);
        } else {
            request.add_lines(&lines(plan, client, version));
        }
    }
    if !request.has(Name::XForwardedHost) && !request.received.authority.is_empty() {
        request.add_copy(Name::XForwardedHost, request.received.authority);
    }
}

/// The fields that the connection and the request's version alone decide.
fn lines(plan: &Plan, client: &Client, version: Version) -> Lines {
    let mut lines = Lines::new();
    lines.add(Name::XForwardedFor, |out| write_peer(client, out));
    lines.add(Name::XForwardedProto, |out| out.extend_from_slice(scheme(client)));
    if let Some(local) = client.local {
        lines.add(Name::XForwardedPort, |out| decimal(u64::from(local.port()), out));
    }
    lines.add(Name::Via, |out| via(plan, version).into_iter().for_each(|piece| out.extend_from_slice(piece)));
    lines
}

/// A trusted peer's own word stays, and its address is appended to the chain.
fn trusted_addresses(client: &Client, request: &mut Head) {
    let mut chain: Vec<u8> = request.all(Name::XForwardedFor).collect::<Vec<_>>().join(&b", "[..]);
    request.remove(Name::XForwardedFor);
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    write_peer(client, &mut chain);
    request.add(Name::XForwardedFor, &chain);
    if !request.has(Name::XForwardedProto) {
        request.add(Name::XForwardedProto, scheme(client));
    }
    if let (false, Some(port)) = (request.has(Name::XForwardedPort), port_text(client)) {
        request.add(Name::XForwardedPort, &port);
    }
}

fn scheme(client: &Client) -> &'static [u8] {
    if client.secure() { b"https" } else { b"http" }
}

fn port_text(client: &Client) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(5);
    decimal(u64::from(client.local?.port()), &mut text);
    Some(text)
}

fn write_peer(client: &Client, out: &mut Vec<u8>) {
    let Peer::Tcp(peer) = client.peer else { return out.extend_from_slice(b"unix") };
    match peer.ip().to_canonical() {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                decimal(u64::from(octet), out);
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// RFC 7239 section 4: an untrusted peer's is removed; ours is appended where it is asked for.
fn forwarded(plan: &Plan, client: &Client, request: &mut Head) {
    if !client.trusted {
        request.remove(Name::Forwarded);
    }
    if !plan.forwarded {
        return;
    }
    let by_proto = if client.secure() { "https" } else { "http" };
    let node = match client.peer {
        Peer::Unix => "unknown".to_string(),
        Peer::Tcp(peer) => match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        },
    };
    let host = String::from_utf8_lossy(request.text(request.received.authority)).into_owned();
    let host = if host.is_empty() { String::new() } else { format!(";host=\"{host}\"") };
    request.add(Name::Forwarded, format!("for={node}{host};proto={by_proto}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_field_like_any_other() {
        let mut head = Head::default();
        let id = head.add_line(Name::XRequestId, b"X-Request-Id: abc\r\n");
        assert_eq!(head.text(id), b"abc");
        assert_eq!(head.iter().collect::<Vec<_>>(), [(&b"X-Request-Id"[..], &b"abc"[..])]);
    }

    #[test]
    fn numbers_are_written_in_hexadecimal() {
        for number in [0, 1, 9, 10, 15, 16, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(trace::hexadecimal(number), *format!("{number:016x}").as_bytes());
        }
    }
}
