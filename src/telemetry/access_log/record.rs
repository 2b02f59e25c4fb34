//! An [`Entry`] as bytes in a queue. Hot path: [`encode`] is what a worker pays for a line; no formatting, and memory
//! only when the queue's own has run out. Read by the log's thread.
//!
//! A record is a head of fixed length, then the texts that the head gives the lengths of, then the extra fields, each
//! as two lengths, a name and a value. Numbers are in the processor's order: a record never leaves the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::UNIX_EPOCH;

use super::Entry;
use crate::telemetry::{NO_MICROS, micros};

/// The names of the texts, in the order of a record.
pub(super) const NAMES: [&str; TEXTS] = [
    "request_id",
    "listener",
    "method",
    "scheme",
    "host",
    "path",
    "protocol",
    "route",
    "pool",
    "backend",
    "failure",
    "user",
    "sticky",
    "cache",
    "limit",
    "fallback",
    "chaos",
    "tls_version",
    "sni",
    "user_agent",
    "referer",
];
const TEXTS: usize = 21;

/// Where some of them stand.
pub(super) const REQUEST_ID: usize = 0;
pub(super) const LISTENER: usize = 1;
pub(super) const METHOD: usize = 2;
pub(super) const PATH: usize = 5;
pub(super) const PROTOCOL: usize = 6;
pub(super) const ROUTE: usize = 7;
pub(super) const BACKEND: usize = 9;
pub(super) const FAILURE: usize = 10;
pub(super) const USER: usize = 11;
pub(super) const USER_AGENT: usize = TEXTS - 2;
pub(super) const REFERER: usize = TEXTS - 1;

/// No record is longer: the extra fields that do not fit are left out.
pub(super) const LONGEST: usize = 2 * 1024 * 1024;

// Where the numbers of a head stand.
const LENGTH: usize = 0; // of the whole record, u32
const STATUS: usize = 4;
const EXTRAS: usize = 6; // how many, u16
const TS: usize = 8; // milliseconds since the epoch
const BYTES_IN: usize = 16;
const BYTES_OUT: usize = 24;
const GENERATION: usize = 32;
const DURATION: usize = 40; // microseconds, as all durations
const QUEUE: usize = 48;
const CONNECT: usize = 56;
const TTFB: usize = 64;
const ATTEMPTS: usize = 72; // u32::MAX = none
const CLIENT: usize = 76; // 0 = none, 4, 6
const PEER: usize = 77;
const TRACED: usize = 78; // 0 = none, 1
const CLIENT_IP: usize = 80;
const PEER_IP: usize = 96;
const TRACE_ID: usize = 112;
const LENGTHS: usize = 128; // of the texts, u16 each; ABSENT = none
const HEAD: usize = LENGTHS + 2 * TEXTS;

const ABSENT: u16 = u16::MAX;

/// Appends `entry` to `out`: at most [`LONGEST`] bytes.
pub(super) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let texts = texts(entry);
    let mut head = head(entry);
    for (place, text) in texts.iter().enumerate() {
        put(&mut head, LENGTHS + 2 * place, &text.map_or(ABSENT, length).to_ne_bytes());
    }
    out.reserve(HEAD + texts.iter().flatten().map(|text| text.len()).sum::<usize>());
    out.extend_from_slice(&head);
    for text in texts.into_iter().flatten() {
        out.extend_from_slice(cut(text));
    }
    let extras = extras(entry, start, out);
    out[start + EXTRAS..][..2].copy_from_slice(&extras.to_ne_bytes());
    let length = u32::try_from(out.len() - start).expect("a record has at most LONGEST bytes");
    out[start + LENGTH..][..4].copy_from_slice(&length.to_ne_bytes());
}

fn texts<'a>(entry: &Entry<'a>) -> [Option<&'a [u8]>; TEXTS] {
    [
        entry.request_id,
        entry.listener,
        entry.method,
        entry.scheme,
        entry.host,
        entry.path,
        entry.protocol,
        entry.route,
        entry.pool,
        entry.backend,
        entry.failure,
        entry.user,
        entry.sticky,
        entry.cache,
        entry.limit,
        entry.fallback,
        entry.chaos,
        entry.tls_version,
        entry.sni,
        entry.user_agent,
        entry.referer,
    ]
}

/// Everything of the head but the lengths.
fn head(entry: &Entry<'_>) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let ts = entry.ts.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ts = ts.as_secs().saturating_mul(1_000).saturating_add(ts.subsec_millis().into());
    put(&mut head, STATUS, &entry.status.to_ne_bytes());
    put(&mut head, TS, &ts.to_ne_bytes());
    put(&mut head, BYTES_IN, &entry.bytes_in.to_ne_bytes());
    put(&mut head, BYTES_OUT, &entry.bytes_out.to_ne_bytes());
    put(&mut head, GENERATION, &entry.generation.to_ne_bytes());
    put(&mut head, DURATION, &micros(Some(entry.duration)).to_ne_bytes());
    put(&mut head, QUEUE, &micros(entry.queue).to_ne_bytes());
    put(&mut head, CONNECT, &micros(entry.connect).to_ne_bytes());
    put(&mut head, TTFB, &micros(entry.ttfb).to_ne_bytes());
    put(&mut head, ATTEMPTS, &entry.attempts.unwrap_or(u32::MAX).to_ne_bytes());
    put_ip(&mut head, CLIENT, CLIENT_IP, entry.client_ip);
    put_ip(&mut head, PEER, PEER_IP, entry.peer_ip);
    if let Some(trace_id) = entry.trace_id {
        head[TRACED] = 1;
        put(&mut head, TRACE_ID, &trace_id);
    }
    head
}

fn put(head: &mut [u8; HEAD], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_ip(head: &mut [u8; HEAD], kind: usize, at: usize, ip: Option<IpAddr>) {
    match ip {
        None => {}
        Some(IpAddr::V4(ip)) => {
            head[kind] = 4;
            put(head, at, &ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            head[kind] = 6;
            put(head, at, &ip.octets());
        }
    }
}

/// Appends the extra fields of the record at `start`, as many as fit. Says how many.
fn extras(entry: &Entry<'_>, start: usize, out: &mut Vec<u8>) -> u16 {
    let mut count = 0;
    for (name, value) in entry.extra_names.iter().zip(entry.extra) {
        let (name, text) = (cut(name.as_bytes()), cut(value.unwrap_or_default()));
        if out.len() - start + 4 + name.len() + text.len() > LONGEST || count == u16::MAX {
            break;
        }
        out.extend_from_slice(&length(name).to_ne_bytes());
        out.extend_from_slice(&value.map_or(ABSENT, length).to_ne_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(text);
        count += 1;
    }
    count
}

fn cut(text: &[u8]) -> &[u8] {
    &text[..text.len().min(Entry::LONGEST)]
}

fn length(text: &[u8]) -> u16 {
    u16::try_from(text.len()).map_or(ABSENT - 1, |length| length.min(ABSENT - 1))
}

/// A record, read where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    head: &'a [u8],
    texts: [Option<&'a [u8]>; TEXTS],
    extras: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first of `records`, and those behind it.
    pub(super) fn split(records: &'a [u8]) -> Option<(Self, &'a [u8])> {
        if records.is_empty() {
            return None;
        }
        let (record, behind) = records.split_at(u32_at(records, LENGTH) as usize);
        let (head, mut rest) = record.split_at(HEAD);
        let mut texts = [None; TEXTS];
        for (place, text) in texts.iter_mut().enumerate() {
            let length = u16_at(head, LENGTHS + 2 * place);
            if length != ABSENT {
                let (bytes, after) = rest.split_at(usize::from(length));
                (*text, rest) = (Some(bytes), after);
            }
        }
        Some((Self { head, texts, extras: rest }, behind))
    }

    /// In bytes.
    pub(super) fn length(&self) -> usize {
        u32_at(self.head, LENGTH) as usize
    }

    /// The text at one of the places of [`NAMES`].
    pub(super) fn text(&self, place: usize) -> Option<&'a [u8]> {
        self.texts[place]
    }

    pub(super) fn status(&self) -> u16 {
        u16_at(self.head, STATUS)
    }

    /// Milliseconds since the epoch.
    pub(super) fn ts(&self) -> u64 {
        u64_at(self.head, TS)
    }

    pub(super) fn bytes_in(&self) -> u64 {
        u64_at(self.head, BYTES_IN)
    }

    pub(super) fn bytes_out(&self) -> u64 {
        u64_at(self.head, BYTES_OUT)
    }

    pub(super) fn generation(&self) -> u64 {
        u64_at(self.head, GENERATION)
    }

    pub(super) fn attempts(&self) -> Option<u32> {
        Some(u32_at(self.head, ATTEMPTS)).filter(|&attempts| attempts != u32::MAX)
    }

    /// Names and microseconds of the durations that there are, in the order of a line.
    pub(super) fn durations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let head = self.head;
        [("duration_ms", DURATION), ("queue_ms", QUEUE), ("connect_ms", CONNECT), ("ttfb_ms", TTFB)]
            .into_iter()
            .map(move |(name, at)| (name, u64_at(head, at)))
            .filter(|&(_, micros)| micros != NO_MICROS)
    }

    pub(super) fn client_ip(&self) -> Option<IpAddr> {
        self.ip(CLIENT, CLIENT_IP)
    }

    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        self.ip(PEER, PEER_IP)
    }

    fn ip(&self, kind: usize, at: usize) -> Option<IpAddr> {
        match self.head[kind] {
            4 => Some(IpAddr::V4(Ipv4Addr::from(array::<4>(self.head, at)))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(array::<16>(self.head, at)))),
            _ => None,
        }
    }

    pub(super) fn trace_id(&self) -> Option<[u8; 16]> {
        (self.head[TRACED] == 1).then(|| array(self.head, TRACE_ID))
    }

    /// Names and values of the extra fields.
    pub(super) fn extras(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.extras;
        (0..u16_at(self.head, EXTRAS)).map(move |_| {
            let (name, value) = (u16_at(rest, 0), u16_at(rest, 2));
            let (name, after) = rest[4..].split_at(name.into());
            let (text, after) = after.split_at(if value == ABSENT { 0 } else { value.into() });
            rest = after;
            (name, (value != ABSENT).then_some(text))
        })
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(array(bytes, at))
}
