//! What a limit counts by: a request's key as a hash that nobody outside of this process can foresee. Hot path.
//!
//! **What lacks something.** Requests without what a part of the key is made of (no such header or cookie, nothing in it, no
//! claim, no address because they come by a unix socket) are alike in that part: they share one bucket, or one for each of
//! the other parts' values. Leaving an API key out is no way past a limit. nginx and Envoy do not limit such requests.
//! Whoever says two things under one name says nothing: nobody knows which of them a backend goes by, and the other one
//! could be anew each time.

use super::super::{Asked, FieldName, Visit, request};
use crate::{config::LimitKey, http::Head, net::Holder};
use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    net::IpAddr,
};

/// What the key of a limit is made of.
#[derive(Debug)]
pub(super) struct Key {
    parts: Box<[Part]>,
}

#[derive(Debug)]
enum Part {
    ClientIp,
    Header(FieldName),
    Cookie(Box<[u8]>),
    Claim(Box<str>),
    Path,
    Route,
    Global,
}

/// What a hash is of: equal texts of two kinds have different ones.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    Missing,
    V4,
    V6,
    Text,
    Path,
    Route,
    Global,
}

/// Makes hashes of this process.
pub(super) type Seed = RandomState;

impl Key {
    /// As the configuration says.
    pub(super) fn new(parts: &[LimitKey]) -> Self {
        let part = |part: &LimitKey| match part {
            LimitKey::ClientIp => Part::ClientIp,
            LimitKey::Header(name) => Part::Header(FieldName::new(name)),
            LimitKey::Cookie(name) => Part::Cookie(name.as_bytes().into()),
            LimitKey::Claim(name) => Part::Claim(name.as_str().into()),
            LimitKey::Path => Part::Path,
            LimitKey::Route => Part::Route,
            LimitKey::Global => Part::Global,
        };
        Self { parts: parts.iter().map(part).collect() }
    }

    /// It can be told only when `auth` has been asked.
    pub(super) fn has_claims(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Claim(_)))
    }

    /// The hash of a request's key. `each` is told the hash of every part.
    pub(super) fn hash(&self, seed: &Seed, asked: &Asked<'_>, visit: &Visit, mut each: impl FnMut(u64)) -> u64 {
        if let [part] = &*self.parts {
            let hash = part.hash(seed, asked, visit);
            each(hash);
            return hash;
        }
        let mut all = seed.build_hasher();
        for part in &self.parts {
            let hash = part.hash(seed, asked, visit);
            each(hash);
            all.write_u64(hash);
        }
        all.finish()
    }
}

impl Part {
    fn hash(&self, seed: &Seed, asked: &Asked<'_>, visit: &Visit) -> u64 {
        let head = &*asked.request;
        let text = match self {
            Self::ClientIp => {
                return asked.client.map_or_else(|| fixed(seed, Kind::Missing, 0), |ip| address(seed, ip));
            }
            Self::Path => return bytes(seed, Kind::Path, head.text(head.target.path)),
            Self::Route => return bytes(seed, Kind::Route, asked.route.as_bytes()),
            Self::Global => return fixed(seed, Kind::Global, 0),
            Self::Header(name) => name.first(head).filter(|first| !name.any(head, |value| value != *first)),
            Self::Cookie(name) => cookie(head, name),
            Self::Claim(name) => visit.claim(name),
        };
        text.filter(|text| !text.is_empty())
            .map_or_else(|| fixed(seed, Kind::Missing, 0), |text| bytes(seed, Kind::Text, text))
    }
}

/// The value of the cookie `name`, if all of that name say the same. Quotes are no part of it here: backends leave them away.
fn cookie<'h>(head: &'h Head, name: &'h [u8]) -> Option<&'h [u8]> {
    let mut values = request::cookies(head, name).map(unquoted);
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// The hashes under which a line of a tier's file is met: as a text, and as an address if it is one.
pub(super) fn hashes_of_line<'s>(seed: &'s Seed, line: &'s [u8]) -> impl Iterator<Item = u64> + 's {
    let address = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
    let address = address.map(|ip| self::address(seed, ip));
    [bytes(seed, Kind::Text, line), bytes(seed, Kind::Path, line)].into_iter().chain(address)
}

/// Of whoever has the address: of IPv6 it is the first half alone.
fn address(seed: &Seed, client: IpAddr) -> u64 {
    match Holder::of(client) {
        Holder::V4(address) => fixed(seed, Kind::V4, address),
        Holder::V6(half) => {
            let mut hasher = seed.build_hasher();
            hasher.write_u64(half);
            hasher.write_u8(Kind::V6 as u8);
            hasher.finish()
        }
    }
}

fn fixed(seed: &Seed, kind: Kind, value: u32) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write_u64((kind as u64) << 32 | u64::from(value));
    hasher.finish()
}

fn bytes(seed: &Seed, kind: Kind, value: &[u8]) -> u64 {
    let mut hasher = seed.build_hasher();
    hasher.write(value);
    // Behind the text, so that what was written before is never taken for a part of it.
    hasher.write_u64((value.len() as u64) << 8 | kind as u64);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;
    use std::sync::Arc;

    const HEAD: &str = "GET /a/./b?x=1 HTTP/1.1\nHost: a\nX-Key: k\nX-Key: k\nX-Empty:\nCookie: s=7; s=\"7\"";

    fn hash(seed: &Seed, parts: &[LimitKey], head: &str, client: Option<&str>) -> u64 {
        let client = client.map(|client| client.parse().unwrap());
        let asked = &mut test_head(head);
        let asked = Asked { request: asked, client, route: "r", now: 0, worker: 0 };
        let claims = [("tenant".into(), b"t"[..].into())];
        let visit = Visit { claims: Some(Arc::new(claims)), ..Visit::default() };
        Key::new(parts).hash(seed, &asked, &visit, |_| {})
    }

    #[test]
    fn keys_are_told_apart_by_what_they_are_made_of() {
        let seed = Seed::new();
        let header = |name: &str| LimitKey::Header(name.into());
        let of = |part: LimitKey| hash(&seed, &[part], HEAD, None);
        let other = "GET /a/b HTTP/1.1\nHost: b\nx-key: k\nCookie: s=7";
        for part in [header("x-key"), LimitKey::Cookie("s".into()), LimitKey::Path, LimitKey::Route, LimitKey::Global] {
            assert_eq!(of(part.clone()), hash(&seed, std::slice::from_ref(&part), other, None), "{part:?}");
        }
        let all = [
            header("x-key"),
            LimitKey::Cookie("s".into()),
            LimitKey::Claim("tenant".into()),
            LimitKey::Path,
            LimitKey::Route,
            LimitKey::Global,
            header("x-none"),
        ];
        let mut hashes: Vec<_> = all.iter().cloned().map(of).collect();
        hashes.push(hash(&seed, &all, HEAD, None));
        hashes.push(hash(&seed, &all[..2], HEAD, None));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all.len() + 2);
        for (text, part) in [("/a/b", LimitKey::Path), ("r", LimitKey::Route)] {
            let head = format!("GET /a/b HTTP/1.1\nHost: a\nX-Key: {text}");
            assert_ne!(hash(&seed, &[header("x-key")], &head, None), hash(&seed, &[part], &head, None), "{text}");
        }
        assert_ne!(of(LimitKey::Path), hash(&Seed::new(), &[LimitKey::Path], HEAD, None), "nobody foresees them");
    }

    #[test]
    fn whoever_lacks_the_key_is_like_all_who_do() {
        let seed = Seed::new();
        let of = |part: LimitKey| hash(&seed, &[part], HEAD, None);
        let missing = of(LimitKey::Header("x-none".into()));
        assert_eq!(of(LimitKey::Header("x-empty".into())), missing);
        assert_eq!(of(LimitKey::Cookie("t".into())), missing);
        assert_eq!(of(LimitKey::Claim("sub".into())), missing);
        assert_eq!(of(LimitKey::ClientIp), missing, "a unix socket");
        let both = [LimitKey::ClientIp, LimitKey::Header("x-none".into())];
        assert_ne!(hash(&seed, &both, HEAD, Some("10.0.0.1")), hash(&seed, &both, HEAD, Some("10.0.0.2")));
    }

    #[test]
    fn whoever_says_two_things_has_said_nothing() {
        let seed = Seed::new();
        let of = |part: LimitKey, head: &str| hash(&seed, &[part], &format!("GET / HTTP/1.1\nHost: a\n{head}"), None);
        for name in ["x-key", "authorization"] {
            let key = || LimitKey::Header(name.into());
            let missing = of(key(), "Accept: a");
            for twice in ["1\n@: 2", "2\n@: 1", "1\n@: 1\n@: 2", "\n@: 1", "1\n@:"] {
                assert_eq!(of(key(), &format!("@: {twice}").replace('@', name)), missing, "{twice}");
            }
            assert_ne!(of(key(), &format!("{name}: 1\n{name}: 1")), missing);
        }
        let cookie = || LimitKey::Cookie("s".into());
        let missing = of(cookie(), "Accept: a");
        for twice in ["s=1; s=2", "s=2\nCookie: s=1", "s=; s=1", "s=1; s=", "s=\"\""] {
            assert_eq!(of(cookie(), &format!("Cookie: {twice}")), missing, "{twice}");
        }
        assert_eq!(of(cookie(), "Cookie: s=1; s=\"1\""), of(cookie(), "Cookie: s=1"));
        assert_ne!(of(cookie(), "Cookie: s=1"), missing);
    }

    #[test]
    fn addresses_count_by_all_of_ipv4_and_half_of_ipv6() {
        let seed = Seed::new();
        let of = |client: &str| hash(&seed, &[LimitKey::ClientIp], HEAD, Some(client));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("::c000:201"), of("192.0.2.1"), "which is no address of IPv4");
    }

    #[test]
    fn lines_of_a_file_are_met_as_texts_paths_and_addresses() {
        let seed = Seed::new();
        let lines = |line: &str| hashes_of_line(&seed, line.as_bytes()).collect::<Vec<_>>();
        assert!(lines("k").contains(&hash(&seed, &[LimitKey::Header("x-key".into())], HEAD, None)));
        assert!(lines("/a/b").contains(&hash(&seed, &[LimitKey::Path], HEAD, None)));
        assert!(lines("10.0.0.1").contains(&hash(&seed, &[LimitKey::ClientIp], HEAD, Some("10.0.0.1"))));
        assert!(!lines("l").contains(&hash(&seed, &[LimitKey::Header("x-key".into())], HEAD, None)));
    }
}
