//! PROXY version 2: a signature, command and family, a length, the addresses, and additions (TLVs).

use super::{LONGEST, Malformed, Proxied, Tlvs, one_family, tlv};
use std::net::{IpAddr, SocketAddr};

pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes before the addresses: signature, version and command, family and transport, length.
pub(super) const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// Reads a header; as [`super::parse`]. Nothing behind the fixed part is looked at before all of it is there, as the
/// specification asks.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    let shared = bytes.len().min(SIGNATURE.len());
    if bytes[..shared] != SIGNATURE[..shared] {
        return Err(Malformed::Signature);
    }
    let command = match bytes.get(12) {
        None => return Ok(None),
        Some(&command @ (LOCAL | PROXY)) => command,
        Some(byte) if byte >> 4 == 2 => return Err(Malformed::Command),
        Some(_) => return Err(Malformed::Version),
    };
    let Some(&family) = bytes.get(13) else { return Ok(None) };
    // LOCAL: "discard the protocol block including the family which is ignored".
    if command == PROXY && (family >> 4 > 3 || family & 0xf > 2) {
        return Err(Malformed::Family);
    }
    let length = match bytes[14..] {
        [] => return Ok(None),
        // The high byte alone may be too much.
        [high] => return if usize::from(high) << 8 > LONGEST - FIXED { Err(Malformed::Length) } else { Ok(None) },
        [high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
    };
    let addresses = if command == PROXY { room(family) } else { 0 };
    let end = FIXED + length;
    if end > LONGEST || length < addresses {
        return Err(Malformed::Length);
    }
    let Some(header) = bytes.get(..end) else { return Ok(None) };
    // Without a family nobody can say where additions begin: such a block is skipped, as that of LOCAL is.
    if addresses == 0 {
        return Ok(Some((Proxied::default(), end)));
    }
    let tlvs = tlv::read(header, FIXED + addresses)?;
    Ok(Some((Proxied { addresses: claim(family, &header[FIXED..]), tlvs }, end)))
}

/// Bytes of the addresses of a family.
fn room(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

/// The addresses of TCP; those of unix sockets and datagrams are not ours to believe.
fn claim(family: u8, block: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (from, to, ports): (IpAddr, IpAddr, &[u8]) = match family {
        TCP4 => {
            let (from, rest) = block.split_first_chunk::<4>()?;
            let (to, ports) = rest.split_first_chunk::<4>()?;
            ((*from).into(), (*to).into(), ports)
        }
        TCP6 => {
            let (from, rest) = block.split_first_chunk::<16>()?;
            let (to, ports) = rest.split_first_chunk::<16>()?;
            ((*from).into(), (*to).into(), ports)
        }
        _ => return None,
    };
    let [a, b, c, d, ..] = *ports else { return None };
    Some((SocketAddr::new(from, u16::from_be_bytes([a, b])), SocketAddr::new(to, u16::from_be_bytes([c, d]))))
}

/// Appends a header that says who called and what was called, with `tlvs`. Without addresses it is LOCAL, and says
/// nothing else.
pub(super) fn write(addresses: Option<(SocketAddr, SocketAddr)>, tlvs: &Tlvs, out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    let Some((source, destination)) = addresses.map(|(source, destination)| one_family(source, destination)) else {
        return out.extend_from_slice(&[LOCAL, UNSPEC, 0, 0]);
    };
    out.extend_from_slice(&[PROXY, if source.is_ipv4() { TCP4 } else { TCP6 }]);
    tlv::nested(out, |out| {
        for address in [source, destination] {
            match address.ip() {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            }
        }
        out.extend_from_slice(&source.port().to_be_bytes());
        out.extend_from_slice(&destination.port().to_be_bytes());
        tlv::write(tlvs, out);
    });
}
