//! Our own cookie: it says which backend has a client's session, to us and to nobody else. Called by `proxy`. Hot path.
//!
//! A value is one to four tickets with dots between, each of one pool: pools that share the cookie's name (the default
//! does) do not lose each other's clients. A ticket is, in base64url without padding: a version byte, a nonce of 12 bytes,
//! then, sealed by AES-256-GCM-SIV (RFC 8452), the hash of the pool's name (8 bytes), the hash of the backend's name (8)
//! and the time of issue in milliseconds (6), and the tag of 16 bytes. It is sealed and not signed alone, because the hash
//! of a name that is an address would tell the address to whoever tries them all.
//!
//! The key is made of the operator's secret by HKDF-SHA-256 (RFC 5869): every instance with that secret reads the cookie,
//! and no table is kept.

use crate::balance::hash;
use aws_lc_rs::{
    aead::{AES_256_GCM_SIV, Aad, Nonce, RandomizedNonceKey},
    hkdf,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use std::{io::Write, time::Duration};

const VERSION: u8 = 1;
const NONCE: usize = 12;
/// Pool, backend, time of issue.
const CLAIM: usize = 8 + 8 + 6;
const TAG: usize = 16;
/// In bytes, and written: a multiple of 3 has no bits to spare.
const TICKET: usize = 1 + NONCE + CLAIM + TAG;
const WRITTEN: usize = TICKET / 3 * 4;
/// Tickets in a cookie, and the longest value with them.
const TICKETS: usize = 4;
const LONGEST: usize = TICKETS * (WRITTEN + 1) - 1;
/// How far the clocks of instances may be apart.
const SKEW: u64 = 60_000;

/// The cookie of one pool.
#[derive(Debug)]
pub struct Cookie {
    name: Box<[u8]>,
    /// In milliseconds.
    ttl: u64,
    /// [`hash`] of the pool's name.
    pool: u64,
    /// The first seals, all open.
    keys: Vec<RandomizedNonceKey>,
}

/// What a request's cookies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// Nothing of this pool.
    Absent,
    /// There is one that is forged, damaged, too old or too long.
    Invalid,
    /// Where the client's session is.
    Valid(Ticket),
}

/// What is known from a valid cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Of the backend that has the session.
    pub backend: u64,
    /// What every instance finds another backend by.
    pub key: u64,
    /// In milliseconds of Unix time.
    pub issued: u64,
    /// It was sealed by an old key, or half its time is over.
    pub renew: bool,
}

impl Cookie {
    /// The cookie `name` of `pool`, which holds for `ttl`. The first of `secrets` seals, all open.
    pub fn new<'s>(name: &str, ttl: Duration, pool: &str, secrets: impl Iterator<Item = &'s [u8]>) -> Self {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { name: name.as_bytes().into(), ttl, pool: hash(pool.as_bytes()), keys: secrets.map(key).collect() }
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Reads the values of the cookies of its name: the first valid ticket of this pool counts. `now` is in milliseconds
    /// of Unix time.
    pub fn read<'v>(&self, values: impl Iterator<Item = &'v [u8]>, now: u64) -> Read {
        let mut read = Read::Absent;
        for value in values {
            if value.len() > LONGEST {
                read = Read::Invalid;
                continue;
            }
            for ticket in value.split(|&byte| byte == b'.') {
                match self.open(ticket) {
                    Some(opened) if opened.pool != self.pool => {}
                    Some(opened) if self.is_fresh(opened.issued, now) => {
                        let aged = now.saturating_sub(opened.issued) > self.ttl / 2;
                        let Opened { backend, issued, key, sealed_by, .. } = opened;
                        return Read::Valid(Ticket { backend, key, issued, renew: aged || sealed_by > 0 });
                    }
                    _ => read = Read::Invalid,
                }
            }
        }
        read
    }

    /// Appends the value of a `Set-Cookie` to `out`: the client's session is at `backend`. What `before`, the values that
    /// it sent, says of other pools stays. Nothing is appended if the machine has no random numbers.
    pub fn write(&self, backend: u64, before: &[u8], now: u64, secure: bool, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.name);
        out.push(b'=');
        if self.seal(backend, now, out).is_none() {
            out.truncate(start);
            return;
        }
        let mut kept = [self.pool; TICKETS];
        let mut count = 1;
        for ticket in before.split(|&byte| byte == b'.').take(4 * TICKETS) {
            let Some(opened) = self.open(ticket) else { continue };
            if count < TICKETS && !kept.contains(&opened.pool) && self.is_fresh(opened.issued, now) {
                kept[count] = opened.pool;
                count += 1;
                out.push(b'.');
                out.extend_from_slice(ticket);
            }
        }
        let seconds = self.ttl / 1000;
        let _ = write!(out, "; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
        out.extend_from_slice(if secure { b"; Secure" } else { b"" });
    }

    fn is_fresh(&self, issued: u64, now: u64) -> bool {
        issued <= now.saturating_add(SKEW) && now.saturating_sub(issued) <= self.ttl
    }

    fn seal(&self, backend: u64, now: u64, out: &mut Vec<u8>) -> Option<()> {
        let mut claim = [0; CLAIM];
        claim[..8].copy_from_slice(&self.pool.to_be_bytes());
        claim[8..16].copy_from_slice(&backend.to_be_bytes());
        claim[16..].copy_from_slice(&now.to_be_bytes()[2..]);
        let (nonce, tag) = self.keys.first()?.seal_in_place_separate_tag(Aad::from([VERSION]), &mut claim).ok()?;
        let mut ticket = [VERSION; TICKET];
        ticket[1..][..NONCE].copy_from_slice(nonce.as_ref());
        ticket[1 + NONCE..][..CLAIM].copy_from_slice(&claim);
        ticket[TICKET - TAG..].copy_from_slice(tag.as_ref());
        let start = out.len();
        out.resize(start + WRITTEN, 0);
        BASE64.encode_slice(ticket, &mut out[start..]).ok()?;
        Some(())
    }

    fn open(&self, written: &[u8]) -> Option<Opened> {
        let mut ticket = [0; TICKET];
        if written.len() != WRITTEN || BASE64.decode_slice(written, &mut ticket) != Ok(TICKET) {
            return None;
        }
        let ([VERSION], sealed) = ticket.split_at(1) else { return None };
        let (nonce, sealed) = sealed.split_at(NONCE);
        self.keys.iter().enumerate().find_map(|(sealed_by, key)| {
            let mut sealed: [u8; CLAIM + TAG] = sealed.try_into().ok()?;
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let claim = key.open_in_place(nonce, Aad::from([VERSION]), &mut sealed).ok()?;
            let number = |range: std::ops::Range<usize>| claim[range].iter().fold(0, |n, &b| n << 8 | u64::from(b));
            let (pool, backend, issued) = (number(0..8), number(8..16), number(16..CLAIM));
            Some(Opened { pool, backend, issued, key: hash(claim), sealed_by })
        })
    }
}

/// A ticket whose seal holds.
struct Opened {
    pool: u64,
    backend: u64,
    issued: u64,
    /// [`hash`] of the whole.
    key: u64,
    /// Which key.
    sealed_by: usize,
}

/// The key that `secret` makes.
fn key(secret: &[u8]) -> RandomizedNonceKey {
    let mut key = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, b"evenkeel").extract(secret);
    let info = [&b"sticky cookie, version 1"[..]];
    let filled = prk.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
    filled.expect("HKDF gives as many bytes as its hash has");
    RandomizedNonceKey::new(&AES_256_GCM_SIV, &key).expect("a key of 32 bytes is one of AES-256")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;
    const NOW: u64 = 1_800_000_000_000;
    const OLD: &[u8] = &[1; 32];
    const NEW: &[u8] = &[2; 32];

    fn cookie(pool: &str, secrets: &[&[u8]]) -> Cookie {
        Cookie::new("evenkeel", Duration::from_secs(8 * 3600), pool, secrets.iter().copied())
    }

    /// The whole line, and the value in it.
    fn written(cookie: &Cookie, backend: u64, before: &[u8], now: u64) -> (String, String) {
        let mut out = Vec::new();
        cookie.write(backend, before, now, true, &mut out);
        let line = String::from_utf8(out).unwrap();
        let value = line.split_once('=').unwrap().1.split_once(';').unwrap().0.to_owned();
        (line, value)
    }

    fn read(cookie: &Cookie, value: &str, now: u64) -> Read {
        cookie.read([value.as_bytes()].into_iter(), now)
    }

    fn backend(read: Read) -> Option<(u64, bool)> {
        match read {
            Read::Valid(ticket) => Some((ticket.backend, ticket.renew)),
            _ => None,
        }
    }

    #[test]
    fn what_is_written_is_read_by_whoever_has_the_secret() {
        let (one, other) = (cookie("api", &[NEW]), cookie("api", &[NEW]));
        let (line, value) = written(&one, 7, b"", NOW);
        assert_eq!(line, format!("evenkeel={value}; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax; Secure"));
        assert_eq!(value.len(), WRITTEN);
        assert_eq!(read(&one, &value, NOW), read(&other, &value, NOW));
        assert_eq!(backend(read(&other, &value, NOW)), Some((7, false)));
        assert_ne!(written(&one, 7, b"", NOW).1, value, "two clients of one backend cannot be told to be that");
        let mut plain = Vec::new();
        one.write(7, b"", NOW, false, &mut plain);
        assert!(plain.ends_with(b"SameSite=Lax"));
    }

    #[test]
    fn time_and_keys_run_out() {
        let old = cookie("api", &[OLD]);
        let value = written(&old, 7, b"", NOW).1;
        for (now, wanted) in [
            (NOW - SKEW - 1, None),
            (NOW - SKEW, Some((7, false))),
            (NOW + 4 * HOUR, Some((7, false))),
            (NOW + 4 * HOUR + 1, Some((7, true))),
            (NOW + 8 * HOUR, Some((7, true))),
            (NOW + 8 * HOUR + 1, None),
        ] {
            assert_eq!(backend(read(&old, &value, now)), wanted, "at {now}");
        }
        assert_eq!(read(&old, &value, NOW + 9 * HOUR), Read::Invalid);
        assert_eq!(backend(read(&cookie("api", &[NEW, OLD]), &value, NOW)), Some((7, true)), "sealed by an old key");
        assert_eq!(read(&cookie("api", &[NEW]), &value, NOW), Read::Invalid);
    }

    #[test]
    fn pools_share_a_cookie() {
        let [api, web, shop] = ["api", "web", "shop"].map(|pool| cookie(pool, &[NEW]));
        let first = written(&api, 1, b"", NOW).1;
        assert_eq!(read(&web, &first, NOW), Read::Absent, "another pool's is neither ours nor forged");
        let second = written(&web, 2, first.as_bytes(), NOW).1;
        let third = written(&api, 3, second.as_bytes(), NOW).1;
        assert_eq!(third.len(), 2 * WRITTEN + 1, "each pool has one ticket");
        assert_eq!(backend(read(&web, &third, NOW)), Some((2, false)));
        assert_eq!(backend(read(&api, &third, NOW)), Some((3, false)));
        assert_eq!(written(&shop, 4, third.as_bytes(), NOW + 9 * HOUR).1.len(), WRITTEN, "what is too old goes");
        let full = (0..9).fold(third, |before, number| {
            written(&cookie(&format!("pool {number}"), &[NEW]), number, before.as_bytes(), NOW).1
        });
        assert_eq!(full.len(), LONGEST);
        assert_eq!(backend(read(&cookie("pool 8", &[NEW]), &full, NOW)), Some((8, false)));
        assert_eq!(read(&api, &full, NOW), Read::Absent, "the oldest has made room");
    }

    #[test]
    fn of_several_the_first_valid_one_counts() {
        let api = cookie("api", &[NEW]);
        let [one, two] = [1, 2].map(|backend| written(&api, backend, b"", NOW).1);
        let long = format!("{one}.{}", "x".repeat(LONGEST));
        let values = [long.as_bytes(), b"", b"forged", one.as_bytes(), two.as_bytes()];
        assert_eq!(backend(api.read(values.into_iter(), NOW)), Some((1, false)));
        assert_eq!(api.read(values[..1].iter().copied(), NOW), Read::Invalid, "too long: not looked at");
        assert_eq!(api.read(values[1..2].iter().copied(), NOW), Read::Invalid);
        assert_eq!(api.read(values[..0].iter().copied(), NOW), Read::Absent);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_are_never_valid(value in proptest::collection::vec(any::<u8>(), 0..400)) {
            let api = cookie("api", &[NEW, OLD]);
            prop_assert_eq!(api.read([&value[..]].into_iter(), NOW), Read::Invalid);
            let mut out = Vec::new();
            api.write(1, &value, NOW, false, &mut out);
            prop_assert!(out.len() < 200, "nothing of it is sent back");
        }

        #[test]
        fn tickets_of_any_letters_are_never_valid(value in "[A-Za-z0-9_-]{68}(\\.[A-Za-z0-9_-]{68}){0,3}") {
            prop_assert_eq!(read(&cookie("api", &[NEW]), &value, NOW), Read::Invalid);
        }

        #[test]
        fn a_changed_byte_breaks_the_seal(place in 0..WRITTEN, byte in any::<u8>()) {
            let api = cookie("api", &[NEW]);
            let mut value = written(&api, 7, b"", NOW).1.into_bytes();
            prop_assume!(value[place] != byte);
            value[place] = byte;
            prop_assert_eq!(api.read([&value[..]].into_iter(), NOW), Read::Invalid);
        }

        #[test]
        fn every_backend_comes_back(pool in ".{0,20}", id in any::<u64>(), now in 0u64..1 << 47) {
            let cookie = cookie(&pool, &[NEW]);
            let value = written(&cookie, id, b"", now).1;
            prop_assert_eq!(backend(read(&cookie, &value, now)), Some((id, false)));
        }
    }
}
