//! Properties of PROXY headers: what is written is read, its beginnings ask for more, and no bytes do harm.

use super::{Proxied, Tls, Tlvs, fuzz, parse, v2::SIGNATURE, write_v1, write_v2};
use proptest::{collection::vec, option, prelude::*};
use std::net::{IpAddr, SocketAddr};

/// Two addresses of one family; none of them IPv4 in IPv6, which would be written as IPv4.
fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let four = any::<[u8; 4]>().prop_map(IpAddr::from);
    let six = any::<[u8; 16]>().prop_map(IpAddr::from).prop_map(|ip| ip.to_canonical());
    let six = six.prop_filter("of its own family", IpAddr::is_ipv6);
    let both = prop_oneof![(four.clone(), four), (six.clone(), six)];
    (both, any::<(u16, u16)>())
        .prop_map(|((from, to), ports)| (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1)))
}

fn tlvs() -> impl Strategy<Value = Tlvs> {
    let alpn = option::of(vec(any::<u8>(), 1..=255).prop_map(Box::from));
    let authority = option::of("[a-z0-9.-]{1,255}|[äöü]{1,20}".prop_map(Box::from));
    let tls = option::of("[!-~]{1,16}".prop_map(Box::from));
    let tls = option::of((tls, any::<bool>()).prop_map(|(version, verified)| Tls { version, verified }));
    (alpn, authority, tls).prop_map(|(alpn, authority, tls)| Tlvs { alpn, authority, tls })
}

/// Bytes that begin as a header of either version does, or as nothing.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(Vec::new()),
        Just(SIGNATURE.to_vec()),
        (prop_oneof![Just(0x20), Just(0x21)], any::<u8>(), 0..300u16).prop_map(|(command, family, length)| {
            [&SIGNATURE[..], &[command, family & 0x33], &length.to_be_bytes()].concat()
        }),
        "PROXY (TCP4|TCP6|UNKNOWN) [0-9a-f.: ]{0,50}(\r\n)?".prop_map(String::into_bytes),
    ];
    (start, vec(any::<u8>(), 0..400)).prop_map(|(start, rest)| [start, rest].concat())
}

/// Reads `header` with bytes behind it; every shorter piece of it asks for more.
fn read(header: &[u8], rest: &[u8]) -> Proxied {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Ok(None), "after {end} bytes");
    }
    let (proxied, used) = parse(&[header, rest].concat()).unwrap().unwrap();
    assert_eq!(used, header.len());
    proxied
}

proptest! {
    #[test]
    fn a_line_comes_back(addresses in option::of(addresses()), rest: Vec<u8>) {
        let mut header = Vec::new();
        write_v1(addresses, &mut header);
        prop_assert_eq!(read(&header, &rest), Proxied { addresses, tlvs: Tlvs::default() });
    }

    #[test]
    fn a_binary_header_comes_back(addresses in addresses(), tlvs in tlvs(), rest: Vec<u8>) {
        let mut header = Vec::new();
        write_v2(Some(addresses), &tlvs, &mut header);
        prop_assert_eq!(read(&header, &rest), Proxied { addresses: Some(addresses), tlvs });
    }

    #[test]
    fn no_bytes_do_harm(bytes in bytes()) {
        fuzz::header(&bytes);
    }
}
