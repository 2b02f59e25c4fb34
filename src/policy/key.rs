//! What a request is known by: the key of pools that hash, and of splits. Called by `proxy`. Hot path.

use super::{FieldName, request};
use crate::{
    balance::{hash, hash_of},
    config::{HashKey, SplitBy},
    http::Head,
};
use std::net::IpAddr;

/// What a key is made of. It is the same on every instance.
#[derive(Debug)]
pub struct Key(By);

#[derive(Debug)]
enum By {
    /// With the bits of an address of IPv6 that count.
    ClientIp(u8),
    Header(FieldName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
    Path,
    Host,
}

/// Bits of an address of IPv6 that count where nothing is said: a host's changing addresses share a /64.
const IPV6_PREFIX: u8 = 64;

impl Key {
    /// As a pool's `hash` says; of addresses of IPv6, `ipv6_prefix` bits count.
    pub fn new(key: &HashKey, ipv6_prefix: u8) -> Self {
        Self(match key {
            HashKey::ClientIp => By::ClientIp(ipv6_prefix),
            HashKey::Header(name) => By::Header(FieldName::new(name)),
            HashKey::Cookie(name) => By::Cookie(name.as_bytes().into()),
            HashKey::Query(name) => By::Query(name.as_bytes().into()),
            HashKey::Path => By::Path,
            HashKey::Host => By::Host,
        })
    }

    /// The key of `request`, which comes from `client`, as it goes to the backend. `None`: it does not have what the key
    /// is made of, or nothing is in it.
    pub fn of(&self, request: &Head, client: Option<IpAddr>) -> Option<u64> {
        let said = |value: &&[u8]| !value.is_empty();
        match &self.0 {
            By::ClientIp(prefix) => client.map(|client| address(client, *prefix)),
            By::Header(name) => name.first(request).filter(said).map(hash),
            By::Cookie(name) => request::cookies(request, name).find(said).map(hash),
            By::Query(name) => {
                let mut values = request::parameters(request.text(request.target.query), name);
                values.find(|value| value.bytes().next().is_some()).map(|value| hash_of(value.bytes()))
            }
            By::Path => Some(request.text(request.target.path)).filter(said).map(hash),
            By::Host => {
                let host = Some(request::host(request.text(request.target.authority))).filter(said)?;
                Some(hash_of(host.iter().map(u8::to_ascii_lowercase)))
            }
        }
    }
}

impl From<&SplitBy> for Key {
    fn from(by: &SplitBy) -> Self {
        Self(match by {
            SplitBy::ClientIp => By::ClientIp(IPV6_PREFIX),
            SplitBy::Cookie(name) => By::Cookie(name.as_bytes().into()),
            SplitBy::Header(name) => By::Header(FieldName::new(name)),
        })
    }
}

/// The first `prefix` bits of an address of IPv6; all of one of IPv4, however it is written.
fn address(client: IpAddr, prefix: u8) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => {
            let prefix = u32::from(prefix).min(128);
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or_default();
            let octets = (address.to_bits() & mask).to_be_bytes();
            hash(&octets[..prefix.div_ceil(8) as usize])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;

    fn of(key: HashKey, head: &str) -> Option<u64> {
        Key::new(&key, 64).of(&test_head(head), None)
    }

    #[test]
    fn headers_and_cookies_count_by_their_value() {
        let head = "GET / HTTP/1.1\nHost: a\nCookie: u=; u=7\nX-Tenant: t\nX-Empty:";
        assert_eq!(of(HashKey::Header("x-tenant".into()), head), Some(hash(b"t")));
        assert_eq!(of(HashKey::Cookie("u".into()), head), Some(hash(b"7")));
        for absent in ["x-empty", "x-other"] {
            assert_eq!(of(HashKey::Header(absent.into()), head), None, "{absent}");
        }
        assert_eq!(of(HashKey::Cookie("v".into()), head), None);
    }

    #[test]
    fn parameters_count_by_what_they_mean() {
        let key = |target: &str| of(HashKey::Query("user id".into()), &format!("GET {target} HTTP/1.1\nHost: a"));
        assert_eq!(key("/a?x=1&user+id=a%62c"), Some(hash(b"abc")));
        assert_eq!(key("/b?user%20id=abc&x=2"), Some(hash(b"abc")));
        assert_eq!(key("/?user+id=&user+id=7"), Some(hash(b"7")), "an empty one says nothing");
        for absent in ["/", "/?", "/?user=1", "/?user+id", "/?user+id="] {
            assert_eq!(key(absent), None, "{absent}");
        }
    }

    #[test]
    fn paths_are_normalised_and_without_the_query() {
        let key = |target: &str| of(HashKey::Path, &format!("GET {target} HTTP/1.1\nHost: a"));
        assert_eq!(key("/a/b?x=1"), Some(hash(b"/a/b")));
        assert_eq!(key("/a/./%62"), key("/a/b?x=2"));
        assert_ne!(key("/a/b/"), key("/a/b"));
    }

    #[test]
    fn hosts_are_without_port_and_case() {
        let key = |host: &str| of(HashKey::Host, &format!("GET / HTTP/1.1\nHost: {host}"));
        for same in ["a.example", "A.Example", "a.example:8080", "a.example."] {
            assert_eq!(key(same), Some(hash(b"a.example")), "{same}");
        }
        assert_eq!(of(HashKey::Host, "GET / HTTP/1.0"), None, "HTTP/1.0 may name none");
    }

    #[test]
    fn addresses_of_ipv6_count_by_their_prefix() {
        let key = |client: &str, prefix: u8| {
            let key = Key::new(&HashKey::ClientIp, prefix);
            key.of(&test_head("GET / HTTP/1.1\nHost: a"), Some(client.parse().unwrap()))
        };
        assert_eq!(key("192.0.2.1", 64), Some(hash(&[192, 0, 2, 1])));
        assert_eq!(key("192.0.2.1", 8), key("::ffff:192.0.2.1", 128), "the prefix is none of IPv4's");
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
        for (prefix, alike, other) in [
            (128, "2001:db8::1", "2001:db8::2"),
            (64, "2001:db8::ffff:1", "2001:db8:0:1::1"),
            (60, "2001:db8:0:f::1", "2001:db8:0:10::1"),
            (48, "2001:db8:0:ffff::1", "2001:db8:1::1"),
            (1, "7fff::1", "8000::1"),
        ] {
            assert_eq!(key("2001:db8::1", prefix), key(alike, prefix), "/{prefix}");
            assert_ne!(key("2001:db8::1", prefix), key(other, prefix), "/{prefix}");
        }
        let unix = Key::new(&HashKey::ClientIp, 64).of(&test_head("GET / HTTP/1.1\nHost: a"), None);
        assert_eq!(unix, None, "a unix socket has no address");
    }
}
