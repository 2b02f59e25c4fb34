//! The additions of PROXY version 2: type, length, value, one after the other up to the header's end.

use super::{Malformed, Tlvs, crc32c::checksum};
use std::str;

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;

/// Bits of the first byte of [`SSL`].
const CLIENT_SSL: u8 = 1;
const CLIENT_CERTIFICATE: u8 = 2 | 4;

/// Bytes of the longest name and protocol: those of TLS itself (RFC 1035 section 2.3.4, RFC 7301 section 3.1).
const LONGEST_NAME: usize = 255;

/// The client's TLS, as the proxy saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// As the proxy writes it: HAProxy and we say `TLSv1.3`. Printable ASCII without blanks.
    pub version: Option<Box<str>>,
    /// The client showed a certificate, on this connection or when its session began, and it was found good.
    pub verified: bool,
}

/// Reads the additions that stand in `header` from `start` on, and verifies the checksum if one is there.
pub(super) fn read(header: &[u8], start: usize) -> Result<Tlvs, Malformed> {
    let (mut tlvs, mut summed) = (Tlvs::default(), false);
    let mut at = start;
    while at < header.len() {
        let (kind, value) = next(&header[at..])?;
        at += 3 + value.len();
        match kind {
            ALPN => once(&mut tlvs.alpn, protocol(value)?)?,
            AUTHORITY => once(&mut tlvs.authority, name(value)?)?,
            CRC32C if summed => return Err(Malformed::Tlv),
            CRC32C => {
                verify(header, at - value.len(), value)?;
                summed = true;
            }
            UNIQUE_ID if value.len() > 128 => return Err(Malformed::Tlv),
            SSL => {
                if let Some(tls) = tls(value)? {
                    once(&mut tlvs.tls, tls)?;
                }
            }
            _ => {}
        }
    }
    Ok(tlvs)
}

/// The first addition of `bytes`.
fn next(bytes: &[u8]) -> Result<(u8, &[u8]), Malformed> {
    let [kind, high, low, rest @ ..] = bytes else { return Err(Malformed::Tlv) };
    let value = rest.get(..usize::from(u16::from_be_bytes([*high, *low]))).ok_or(Malformed::Tlv)?;
    Ok((*kind, value))
}

/// What stands twice is ambiguous.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    if place.replace(value).is_none() { Ok(()) } else { Err(Malformed::Tlv) }
}

fn protocol(value: &[u8]) -> Result<Box<[u8]>, Malformed> {
    if (1..=LONGEST_NAME).contains(&value.len()) { Ok(value.into()) } else { Err(Malformed::Tlv) }
}

/// It may reach logs and fields of a message: no blanks, no controls.
fn name(value: &[u8]) -> Result<Box<str>, Malformed> {
    let name = str::from_utf8(value).map_err(|_| Malformed::Tlv)?;
    let plain = !name.contains(|character: char| character.is_control() || character.is_whitespace());
    if plain && (1..=LONGEST_NAME).contains(&name.len()) { Ok(name.into()) } else { Err(Malformed::Tlv) }
}

/// The checksum of the header as if the sum itself, which begins at `at`, were zero.
fn verify(header: &[u8], at: usize, value: &[u8]) -> Result<(), Malformed> {
    let claimed = u32::from_be_bytes(value.try_into().map_err(|_| Malformed::Tlv)?);
    let sum = checksum(&[&header[..at], &[0; 4], &header[at + 4..]]);
    if sum == claimed { Ok(()) } else { Err(Malformed::Checksum) }
}

/// `None`: the client came without TLS.
fn tls(value: &[u8]) -> Result<Option<Tls>, Malformed> {
    let Some(([client, verify @ ..], mut rest)) = value.split_first_chunk::<5>() else { return Err(Malformed::Tlv) };
    let mut version = None;
    while !rest.is_empty() {
        let (kind, value) = next(rest)?;
        rest = &rest[3 + value.len()..];
        if kind == SSL_VERSION {
            let text = str::from_utf8(value).map_err(|_| Malformed::Tlv)?;
            if text.is_empty() || text.len() > 16 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Malformed::Tlv);
            }
            once(&mut version, text.into())?;
        }
    }
    // Zero alone does not say it: senders write it too when there was no certificate.
    let verified = client & CLIENT_CERTIFICATE != 0 && *verify == [0; 4];
    Ok((client & CLIENT_SSL != 0).then_some(Tls { version, verified }))
}

/// Appends `tlvs`.
pub(super) fn write(tlvs: &Tlvs, out: &mut Vec<u8>) {
    if let Some(alpn) = &tlvs.alpn {
        one(ALPN, out, |out| out.extend_from_slice(alpn));
    }
    if let Some(authority) = &tlvs.authority {
        one(AUTHORITY, out, |out| out.extend_from_slice(authority.as_bytes()));
    }
    let Some(tls) = &tlvs.tls else { return };
    one(SSL, out, |out| {
        let (certificate, failed) = if tls.verified { (CLIENT_CERTIFICATE, 0) } else { (0, 1) };
        out.extend_from_slice(&[CLIENT_SSL | certificate, 0, 0, 0, failed]);
        if let Some(version) = &tls.version {
            one(SSL_VERSION, out, |out| out.extend_from_slice(version.as_bytes()));
        }
    });
}

fn one(kind: u8, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    nested(out, value);
}

/// Appends a length and what `value` appends. Callers stay far below 64 KiB: names are bounded.
pub(super) fn nested(out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    value(out);
    let length = u16::try_from(out.len() - start - 2).unwrap_or(u16::MAX);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}
