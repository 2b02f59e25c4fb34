//! PROXY headers: version 1 against one regular expression, version 2 against a table of its parts, both from
//! `doc/proxy-protocol.txt` of HAProxy.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use evenkeel::net::proxy_protocol::{LONGEST, Proxied, parse};
use regex::bytes::{Captures, Regex};

use crate::{Dice, compare};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const WORDS: &[&[u8]] = &[
    b" ",
    b"  ",
    b"\r\n",
    b"\n",
    b"\r",
    b"PROXY ",
    b"TCP4",
    b"TCP6",
    b"UNKNOWN",
    b"0",
    b"65535",
    b"65536",
    b"::",
    b":",
    b".",
    b"255.255.255.255",
    b"256",
    b"01",
    b"::ffff:1.2.3.4",
    b"\0",
    SIGNATURE,
    b"\x21\x11\x00\x0c",
    b"\x03\x00\x04",
    b"\x20\x00\x05",
    b"\x01\x00\x01",
    b"\x02\x00\x01a",
    b"\xff\xff",
    b"\x00\x00",
];

/// What an oracle says: `None` = more bytes may make it a header. `Err` = they never will, or it cannot tell whether.
type Verdict = Result<Option<(Option<(SocketAddr, SocketAddr)>, usize)>, ()>;

/// A whole line, and nothing else, is version 1.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let four = r"((?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])){3})";
    let (six, port) = (r"([0-9a-fA-F:.]{2,45})", r"(0|[1-9][0-9]{0,4})");
    let line = format!(
        r"(?s-u)^PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP4 {four} {four} {port} {port}|TCP6 {six} {six} {port} {port})\r\n"
    );
    Regex::new(&line).unwrap()
});

fn line(bytes: &[u8]) -> Verdict {
    let Some(found) = LINE.captures(&bytes[..bytes.len().min(107)]) else { return Err(()) };
    let used = found[0].len();
    if found[0].starts_with(b"PROXY UNKNOWN") {
        return Ok(Some((None, used)));
    }
    let first = if found.get(1).is_some() { 1 } else { 5 };
    let address = |place: usize| read::<IpAddr>(&found, first + place).filter(|ip| ip.is_ipv4() == (first == 1));
    let both = (|| {
        let from = SocketAddr::new(address(0)?, read(&found, first + 2)?);
        Some((from, SocketAddr::new(address(1)?, read(&found, first + 3)?)))
    })();
    both.map(|both| Some((Some(both), used))).ok_or(())
}

fn read<T: std::str::FromStr>(found: &Captures<'_>, place: usize) -> Option<T> {
    std::str::from_utf8(&found[place]).ok()?.parse().ok()
}

/// Version 2: where each part begins is known from the fixed one.
fn binary(bytes: &[u8]) -> Verdict {
    if bytes.len() < 16 {
        // Whether it can become one is for other tests.
        return if bytes.starts_with(SIGNATURE) || SIGNATURE.starts_with(bytes) { Ok(None) } else { Err(()) };
    }
    let (signature, fixed) = bytes.split_at(12);
    let length = usize::from(fixed[2]) * 256 + usize::from(fixed[3]);
    let (local, family, transport) = (fixed[0] == 0x20, fixed[1] >> 4, fixed[1] & 15);
    let known = local || family <= 3 && transport <= 2;
    let room = [0, 12, 36, 216].get(usize::from(family)).copied().filter(|_| !local).unwrap_or(0);
    let right =
        signature == SIGNATURE && (local || fixed[0] == 0x21) && known && length + 16 <= LONGEST && length >= room;
    if !right {
        return Err(());
    }
    let Some(block) = bytes.get(16..16 + length) else { return Ok(None) };
    if room == 0 {
        return Ok(Some((None, 16 + length)));
    }
    if !additions(&bytes[..16 + length], 16 + room) {
        return Err(());
    }
    let width = match (family, transport) {
        (1, 1) => 4,
        (2, 1) => 16,
        _ => return Ok(Some((None, 16 + length))),
    };
    let ip = |at: usize| match width {
        4 => IpAddr::from(<[u8; 4]>::try_from(&block[at..at + 4]).unwrap()),
        _ => IpAddr::from(<[u8; 16]>::try_from(&block[at..at + 16]).unwrap()),
    };
    let port = |at: usize| u16::from(block[at]) << 8 | u16::from(block[at + 1]);
    let from = SocketAddr::new(ip(0), port(2 * width));
    Ok(Some((Some((from, SocketAddr::new(ip(width), port(2 * width + 2)))), 16 + length)))
}

/// Each addition ends where the next begins, the last where the header does; those that are known are as they must be, and
/// stand once.
fn additions(header: &[u8], start: usize) -> bool {
    let Some(all) = pieces(&header[start..]) else { return false };
    let mut seen = Vec::new();
    all.iter().all(|&(kind, at, value)| {
        let text = std::str::from_utf8(value);
        let once = !seen.contains(&kind);
        match kind {
            1 => {
                seen.push(kind);
                once && (1..=255).contains(&value.len())
            }
            2 => {
                seen.push(kind);
                let plain = |text: &str| text.chars().all(|c| !c.is_whitespace() && !c.is_control());
                once && (1..=255).contains(&value.len()) && text.is_ok_and(plain)
            }
            3 => {
                seen.push(kind);
                let place = start + at;
                once && value.len() == 4 && {
                    let mut zeroed = header.to_vec();
                    zeroed[place..place + 4].fill(0);
                    crc32c(&zeroed).to_be_bytes() == value[..4]
                }
            }
            5 => value.len() <= 128,
            0x20 => {
                let Some(inner) = value.get(5..).and_then(pieces) else { return false };
                let versions: Vec<_> = inner.iter().filter(|piece| piece.0 == 0x21).collect();
                let fine =
                    |value: &[u8]| (1..=16).contains(&value.len()) && value.iter().all(|byte| (33..127).contains(byte));
                let client = value[0] & 1 != 0;
                if client {
                    seen.push(kind);
                }
                versions.len() <= 1 && versions.iter().all(|piece| fine(piece.2)) && (!client || once)
            }
            _ => true,
        }
    })
}

/// Kind, where its value begins, and the value.
fn pieces(bytes: &[u8]) -> Option<Vec<(u8, usize, &[u8])>> {
    let (mut at, mut all) = (0, Vec::new());
    while at != bytes.len() {
        let length = usize::from(*bytes.get(at + 1)?) << 8 | usize::from(*bytes.get(at + 2)?);
        all.push((bytes[at], at + 3, bytes.get(at + 3..at + 3 + length)?));
        at += 3 + length;
    }
    Some(all)
}

/// CRC-32C (RFC 3720 appendix B.4), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

fn make_line(dice: &mut Dice) -> Vec<u8> {
    let mut ip = |six: bool| match six {
        true => {
            let mut octets = [0; 16];
            octets.fill_with(|| if dice.one_in(2) { 0 } else { dice.bits() as u8 });
            IpAddr::from(octets).to_string()
        }
        false => IpAddr::from((dice.bits() as u32).to_be_bytes()).to_string(),
    };
    let (four, six) = ((ip(false), ip(false)), (ip(true), ip(true)));
    let (from, to) = (dice.below(65_537), dice.bits() as u16);
    let line = match dice.below(4) {
        0 => "PROXY UNKNOWN\r\n".to_owned(),
        1 => format!("PROXY UNKNOWN {} {} {from} {to}\r\n", six.0, six.1),
        2 => format!("PROXY TCP4 {} {} {from} {to}\r\n", four.0, four.1),
        _ => format!("PROXY TCP6 {} {} {from} {to}\r\n", six.0, six.1),
    };
    line.into_bytes()
}

fn make_binary(dice: &mut Dice) -> Vec<u8> {
    let family: u8 = dice.of(&[0x00, 0x11, 0x11, 0x21, 0x21, 0x31, 0x12, 0x22]);
    let room = [0, 12, 36, 216][usize::from(family >> 4)];
    let mut header = [SIGNATURE, &[if dice.one_in(6) { 0x20 } else { 0x21 }, family, 0, 0]].concat();
    header.extend((0..room).map(|_| dice.bits() as u8));
    let mut sum = None;
    for _ in 0..dice.below(5) {
        let kind = dice.of(&[1, 2, 3, 4, 5, 0x20, 0x30, 0xe0]);
        let value = match kind {
            1 => dice.bytes(300),
            2 => dice.text(b"abc.-\xc3\xa4 ", 1, 20),
            3 => vec![0; 4],
            0x20 => {
                let version = dice.text(b"TLSv1.3", 1, 18);
                let client = dice.of(&[0, 1, 7]);
                [&[client, 0, 0, 0, 0][..], &[0x21, 0, version.len() as u8], &version].concat()
            }
            _ => dice.bytes(140),
        };
        header.extend([kind, (value.len() >> 8) as u8, value.len() as u8]);
        if kind == 3 {
            sum = Some(header.len());
        }
        header.extend(value);
    }
    let length = (header.len() - 16) as u16;
    header[14..16].copy_from_slice(&length.to_be_bytes());
    if let Some(at) = sum {
        let right = crc32c(&header);
        header[at..at + 4].copy_from_slice(&right.to_be_bytes());
    }
    header
}

#[test]
fn proxy_header() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    compare("proxy_header", |dice| {
        let text = dice.one_in(2);
        let mut input = if text { make_line(dice) } else { make_binary(dice) };
        if dice.one_in(2) {
            dice.damage(&mut input, WORDS);
        }
        input.extend(dice.bytes(20));
        let ours = parse(&input);
        let told = |proxied: &Proxied, used: usize| Ok(Some((proxied.addresses, used)));
        let shown = || input.escape_ascii().to_string();
        let wanted = if input.first() == Some(&b'\r') { binary(&input) } else { line(&input) };
        match (&ours, wanted) {
            (Ok(Some((proxied, used))), wanted) => assert_eq!(told(proxied, *used), wanted, "{}", shown()),
            (_, Ok(Some(wanted))) => panic!("{ours:?}, wanted {wanted:?}: {}", shown()),
            _ => {}
        }
    });
}
