//! Headers of the specification, and all that is nearly one.

use super::{LONGEST, Malformed, Proxied, Tls, Tlvs, crc32c::checksum, parse, v2::SIGNATURE, write_v1, write_v2};
use std::net::SocketAddr;

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn claimed(bytes: &[u8]) -> (Option<(SocketAddr, SocketAddr)>, usize) {
    let (proxied, used) = parse(bytes).unwrap().unwrap();
    (proxied.addresses, used)
}

fn refused(bytes: &[u8]) -> Malformed {
    parse(bytes).expect_err(&bytes.escape_ascii().to_string())
}

/// A header of version 2 with these bytes behind the fixed part.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, block].concat()
}

const IPV4: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

fn added(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// A header of TCP over IPv4 with these additions.
fn with(additions: &[&[u8]]) -> Vec<u8> {
    binary(0x21, 0x11, &[&IPV4[..], &additions.concat()].concat())
}

fn tlvs(additions: &[&[u8]]) -> Tlvs {
    parse(&with(additions)).unwrap().unwrap().0.tlvs
}

#[test]
fn the_lines_of_the_specification() {
    let request = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    assert_eq!(claimed(request), (Some((at("192.168.0.1:56324"), at("192.168.0.11:443"))), 47));
    let longest = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    assert_eq!(claimed(longest), (Some((at("255.255.255.255:65535"), at("255.255.255.255:65535"))), 56));
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {ones} {ones} 65535 65535\r\n");
    let end = at(&format!("[{ones}]:65535"));
    assert_eq!(claimed(longest.as_bytes()), (Some((end, end)), 104));
    assert_eq!(claimed(b"PROXY UNKNOWN\r\n"), (None, 15));
    let worst = format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n");
    assert_eq!(claimed(worst.as_bytes()), (None, 107));
}

#[test]
fn what_stands_behind_unknown_has_no_meaning() {
    assert_eq!(claimed(b"PROXY UNKNOWN \r\n"), (None, 16));
    assert_eq!(claimed(b"PROXY UNKNOWN  \xff one two\r\nrest"), (None, 26));
    assert_eq!(refused(b"PROXY UNKNOWNS\r\n"), Malformed::Words);
}

#[test]
fn short_and_mapped_addresses_are_addresses() {
    let line = b"PROXY TCP6 ::1 ::FFFF:192.0.2.1 0 1\r\n";
    assert_eq!(claimed(line).0, Some((at("[::1]:0"), at("[::ffff:192.0.2.1]:1"))));
}

#[test]
fn a_line_has_one_grammar() {
    for (line, why) in [
        ("GET / HTTP/1.1\r\n", Malformed::Signature),
        ("POST / HTTP/1.1\r\n", Malformed::Signature),
        ("PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Signature),
        ("PROXY\r\n", Malformed::Words),
        ("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Words),
        ("PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Signature),
        ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Words),
        ("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Words),
        ("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Words),
        ("PROXY TCP4\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Malformed::Words),
        ("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 ::1::2 ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 [::1] ::1 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n", Malformed::Port),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rG", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n", Malformed::Line),
        ("PROXY UNKNOWN a\rb\r\n", Malformed::Line),
        ("PROXY UNKNOWN a\nb\r\n", Malformed::Line),
    ] {
        assert_eq!(refused(line.as_bytes()), why, "{line:?}");
    }
}

#[test]
fn a_beginning_that_cannot_become_right_is_refused_at_once() {
    for beginning in [
        "G",
        "PO",
        "PROXY X",
        "PROXY TCP4 :",
        "PROXY TCP4 1.2.3.4567890123",
        "PROXY TCP6 g",
        "PROXY TCP4 1.2.3 ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536",
        "PROXY TCP4 1.2.3.4 1.2.3.4 00",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r",
    ] {
        refused(beginning.as_bytes());
        let before = &beginning.as_bytes()[..beginning.len() - 1];
        assert_eq!(parse(before), Ok(None), "one byte earlier it was possible: {beginning:?}");
    }
    let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    assert_eq!(parse(&endless[..105]), Ok(None));
    assert_eq!(refused(&endless[..106]), Malformed::Line);
    assert_eq!(parse(&[&endless[..105], b"\r"].concat()), Ok(None));
    assert_eq!(refused(&[&endless[..106], b"\r"].concat()), Malformed::Line);
    assert_eq!(refused(&[&endless[..106], b"\r\n"].concat()), Malformed::Line);
}

#[test]
fn binary_headers_of_tcp() {
    let header = with(&[]);
    assert_eq!(header.len(), 28);
    let rest = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(claimed(&rest), (Some((at("192.168.0.1:56324"), at("192.168.0.11:443"))), 28));
    let mut block = [0; 36];
    (block[15], block[31], block[33], block[35]) = (1, 2, 3, 4);
    assert_eq!(claimed(&binary(0x21, 0x21, &block)), (Some((at("[::1]:3"), at("[::2]:4"))), 52));
}

#[test]
fn what_has_no_addresses_of_ours_is_believed_without() {
    for (command, family, block) in [
        (0x20, 0x00, &[][..]),
        // LOCAL: the block is skipped, whatever it is.
        (0x20, 0x11, &IPV4),
        (0x20, 0xff, b"any bytes at all"),
        (0x21, 0x00, &[]),
        (0x21, 0x01, b"any bytes at all"),
        // Unix sockets and datagrams.
        (0x21, 0x31, &[7; 216]),
        (0x21, 0x32, &[7; 216]),
        (0x21, 0x12, &IPV4),
        (0x21, 0x10, &IPV4),
        (0x21, 0x22, &[7; 36]),
    ] {
        let header = binary(command, family, block);
        let whole = [&header[..], b"rest"].concat();
        assert_eq!(parse(&whole), Ok(Some((Proxied::default(), header.len()))), "{command:x} {family:x}");
    }
}

#[test]
fn binary_headers_that_are_refused() {
    assert_eq!(refused(b"\r\n\r\n\0\r\nQUIT\r"), Malformed::Signature);
    assert_eq!(refused(b"\r\n\r\nGET / HTTP/1.1\r\n"), Malformed::Signature);
    for command in [0x00, 0x11, 0x31, 0xf1] {
        assert_eq!(refused(&binary(command, 0x11, &IPV4)[..13]), Malformed::Version);
    }
    for command in [0x22, 0x2f] {
        assert_eq!(refused(&binary(command, 0x11, &IPV4)[..13]), Malformed::Command);
    }
    for family in [0x41, 0xf1, 0x13, 0x1f, 0x03] {
        assert_eq!(refused(&binary(0x21, family, &IPV4)[..14]), Malformed::Family);
    }
    for (family, room) in [(0x11, 12), (0x21, 36), (0x31, 216)] {
        assert_eq!(refused(&binary(0x21, family, &vec![0; room - 1])[..16]), Malformed::Length);
    }
}

#[test]
fn the_length_is_bounded() {
    let longest = binary(0x20, 0, &vec![0; LONGEST - 16]);
    assert_eq!(claimed(&longest), (None, LONGEST));
    let longer = binary(0x20, 0, &vec![0; LONGEST - 15]);
    assert_eq!(parse(&longer[..15]), Ok(None), "its high byte is still possible");
    assert_eq!(refused(&longer[..16]), Malformed::Length);
    assert_eq!(refused(&binary(0x20, 0, &[0; 0x1000])[..15]), Malformed::Length);
}

#[test]
fn additions_are_understood_or_skipped() {
    let version = added(0x21, b"TLSv1.3");
    let ssl = added(0x20, &[&[3, 0, 0, 0, 0][..], &version, &added(0x22, b"a client")].concat());
    let read = tlvs(&[&added(4, b""), &added(1, b"h2"), &added(0xe3, b"\0"), &added(2, b"a.example"), &ssl]);
    let tls = Tls { version: Some("TLSv1.3".into()), verified: true };
    assert_eq!(read, Tlvs { alpn: Some((*b"h2").into()), authority: Some("a.example".into()), tls: Some(tls) });
}

#[test]
fn a_certificate_is_verified_only_if_there_was_one() {
    for (client, verify, verified) in [(1, 0, false), (3, 0, true), (5, 0, true), (7, 1, false), (3, 0x0100, false)] {
        let ssl = added(0x20, &[&[client][..], &u32::to_be_bytes(verify)].concat());
        assert_eq!(tlvs(&[&ssl]).tls, Some(Tls { version: None, verified }), "{client} {verify}");
    }
    assert_eq!(tlvs(&[&added(0x20, &[0, 0, 0, 0, 0])]).tls, None, "it came without TLS");
}

#[test]
fn additions_that_are_refused() {
    let long = vec![b'a'; 256];
    for (what, additions) in [
        ("one byte", &[0][..]),
        ("no length", &[4, 0]),
        ("behind the end", &[4, 0, 2, 0]),
        ("twice", &[added(1, b"h2"), added(1, b"h2")].concat()),
        ("no protocol", &added(1, b"")),
        ("a long protocol", &added(1, &long)),
        ("no name", &added(2, b"")),
        ("a long name", &added(2, &long)),
        ("a blank in a name", &added(2, b"a b")),
        ("a line in a name", &added(2, b"a\r\nb")),
        ("a name that is no text", &added(2, b"\xff")),
        ("a short checksum", &added(3, &[0; 3])),
        ("a long id", &added(5, &[0; 129])),
        ("a short TLS", &added(0x20, &[1, 0, 0, 0])),
        ("behind the end of TLS", &added(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1])),
        ("two versions", &added(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1, b'1', 0x21, 0, 1, b'1'])),
        ("a line in a version", &added(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 1, b'\n'])),
    ] {
        assert_eq!(refused(&with(&[additions])), Malformed::Tlv, "{what}");
    }
}

#[test]
fn a_checksum_is_verified() {
    let mut header = with(&[&added(2, b"a.example"), &added(3, &[0; 4]), &added(4, b"padding")]);
    let place = header.len() - 14;
    let sum = checksum(&[&header]);
    header[place..place + 4].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(parse(&header).unwrap().unwrap().0.tlvs.authority.as_deref(), Some("a.example"));
    // Another type in the place of the checksum's is a header without one.
    for at in (16..header.len()).filter(|at| *at != place - 3) {
        let mut changed = header.clone();
        changed[at] ^= 0x10;
        parse(&changed).expect_err("a changed byte shows");
    }
    let twice = with(&[&added(3, &[0; 4]), &added(3, &[0; 4])]);
    assert!(matches!(refused(&twice), Malformed::Checksum | Malformed::Tlv));
}

#[test]
fn what_is_written() {
    let mut out = Vec::new();
    write_v1(Some((at("192.168.0.1:56324"), at("192.168.0.11:443"))), &mut out);
    write_v1(Some((at("[::ffff:192.0.2.1]:1"), at("192.0.2.2:2"))), &mut out);
    write_v1(Some((at("192.0.2.1:1"), at("[2001:db8::1]:2"))), &mut out);
    write_v1(None, &mut out);
    let lines = "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n\
        PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\
        PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n\
        PROXY UNKNOWN\r\n";
    assert_eq!(str::from_utf8(&out).unwrap(), lines);

    out.clear();
    let tlvs = Tlvs { authority: Some("a".into()), ..Tlvs::default() };
    write_v2(Some((at("192.168.0.1:56324"), at("192.168.0.11:443"))), &tlvs, &mut out);
    assert_eq!(out, with(&[&added(2, b"a")]));
    out.clear();
    write_v2(None, &tlvs, &mut out);
    assert_eq!(out, binary(0x20, 0, &[]), "LOCAL says nothing else");
}
