//! What is known of one span, as bytes in a queue. Hot path for sampled requests: [`Entry::encode`] is what a worker pays for
//! a span; no formatting. Read by control.
//!
//! Numbers are in the processor's order, and texts have their lengths in front: a record never leaves the process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::telemetry::{NO_MICROS, micros};

/// Of each text so many bytes are kept.
const LONGEST: usize = 4096;
/// The length of a text that is not there.
const ABSENT: u16 = u16::MAX;
const TEXTS: usize = 13;

/// Whose side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that we have answered.
    Server,
    /// An attempt at a backend.
    Client,
}

/// One span, borrowed from where it lies. What is `None` is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Which it is.
    pub kind: Kind,
    /// Its trace.
    pub trace: [u8; 16],
    /// Its own id.
    pub span: [u8; 8],
    /// What it hangs from.
    pub parent: Option<[u8; 8]>,
    /// When it began and ended: nanoseconds since the epoch.
    pub times: (u64, u64),
    /// Of the answer; 0 = there was none.
    pub status: u16,
    /// It has failed, and not by its client's fault.
    pub failed: bool,
    /// How many attempts there were before it.
    pub resend: u32,
    /// The client as it is believed to be.
    pub client: Option<IpAddr>,
    /// The other end of the connection.
    pub peer: Option<IpAddr>,
    /// Spent in the pool's queue.
    pub queue: Option<Duration>,
    /// Spent on new connections.
    pub connect: Option<Duration>,
    /// The request's method.
    pub method: Option<&'a [u8]>,
    /// `http` or `https`.
    pub scheme: Option<&'a [u8]>,
    /// The host that is asked, with its port: the client's word, or the backend.
    pub host: Option<&'a [u8]>,
    /// The path that is asked for, without the query.
    pub path: Option<&'a [u8]>,
    /// `1.1` and the like.
    pub protocol: Option<&'a [u8]>,
    /// The listener's name.
    pub listener: Option<&'a [u8]>,
    /// The route's name.
    pub route: Option<&'a [u8]>,
    /// The pool's name.
    pub pool: Option<&'a [u8]>,
    /// The backend's name.
    pub backend: Option<&'a [u8]>,
    /// A word of PRODUCT.md section 7.
    pub failure: Option<&'a [u8]>,
    /// The `User-Agent` field.
    pub agent: Option<&'a [u8]>,
    /// The `X-Request-Id` field.
    pub request_id: Option<&'a [u8]>,
    /// The `tracestate` that went on.
    pub state: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// A span of which nothing is known but where it belongs, and when it was.
    pub fn new(kind: Kind, trace: [u8; 16], span: [u8; 8], times: (u64, u64)) -> Self {
        Self {
            kind,
            trace,
            span,
            parent: None,
            times,
            status: 0,
            failed: false,
            resend: 0,
            client: None,
            peer: None,
            queue: None,
            connect: None,
            method: None,
            scheme: None,
            host: None,
            path: None,
            protocol: None,
            listener: None,
            route: None,
            pool: None,
            backend: None,
            failure: None,
            agent: None,
            request_id: None,
            state: None,
        }
    }

    fn texts(&self) -> [Option<&'a [u8]>; TEXTS] {
        let Self { method, scheme, host, path, protocol, listener, route, .. } = *self;
        let Self { pool, backend, failure, agent, request_id, state, .. } = *self;
        [method, scheme, host, path, protocol, listener, route, pool, backend, failure, agent, request_id, state]
    }

    /// Appends it to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[u8::from(self.kind == Kind::Client), u8::from(self.failed)]);
        out.extend_from_slice(&self.trace);
        out.extend_from_slice(&self.span);
        out.extend_from_slice(&self.parent.unwrap_or_default());
        for number in [self.times.0, self.times.1, micros(self.queue), micros(self.connect)] {
            out.extend_from_slice(&number.to_ne_bytes());
        }
        out.extend_from_slice(&self.status.to_ne_bytes());
        out.extend_from_slice(&self.resend.to_ne_bytes());
        put_ip(self.client, out);
        put_ip(self.peer, out);
        for text in self.texts() {
            let text = text.map(|text| &text[..text.len().min(LONGEST)]);
            out.extend_from_slice(&text.map_or(ABSENT, |text| text.len() as u16).to_ne_bytes());
            out.extend_from_slice(text.unwrap_or_default());
        }
        let length = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// The length of the first of `records`, without a look at the rest of it; `None` = there is none.
    pub(super) fn length(records: &[u8]) -> Option<usize> {
        Some(u32::from_ne_bytes(records.get(..4)?.try_into().ok()?) as usize)
    }

    /// The first of `records`, and those behind it; `None` = there is none.
    pub fn split(records: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (record, behind) = records.split_at_checked(Self::length(records)?)?;
        let mut rest = &record[4..];
        let [kind, failed] = take(&mut rest)?;
        let kind = if kind == 1 { Kind::Client } else { Kind::Server };
        let (trace, span, parent): (_, _, [u8; 8]) = (take(&mut rest)?, take(&mut rest)?, take(&mut rest)?);
        let mut number = || take(&mut rest).map(u64::from_ne_bytes);
        let (times, queue, connect) = ((number()?, number()?), number()?, number()?);
        let status = u16::from_ne_bytes(take(&mut rest)?);
        let resend = u32::from_ne_bytes(take(&mut rest)?);
        let (client, peer) = (ip(&mut rest)?, ip(&mut rest)?);
        let mut texts = [None; TEXTS];
        for text in &mut texts {
            let length = u16::from_ne_bytes(take(&mut rest)?);
            if length != ABSENT {
                (*text, rest) = rest.split_at_checked(length.into()).map(|(text, rest)| (Some(text), rest))?;
            }
        }
        let [method, scheme, host, path, protocol, listener, route, pool, backend, failure, agent, request_id, state] =
            texts;
        let entry = Self {
            kind,
            trace,
            span,
            parent: Some(parent).filter(|parent| *parent != [0; 8]),
            times,
            status,
            failed: failed == 1,
            resend,
            client,
            peer,
            queue: duration(queue),
            connect: duration(connect),
            method,
            scheme,
            host,
            path,
            protocol,
            listener,
            route,
            pool,
            backend,
            failure,
            agent,
            request_id,
            state,
        };
        Some((entry, behind))
    }
}

fn duration(micros: u64) -> Option<Duration> {
    (micros != NO_MICROS).then(|| Duration::from_micros(micros))
}

fn put_ip(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        None => out.push(0),
        Some(IpAddr::V4(ip)) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

fn ip(rest: &mut &[u8]) -> Option<Option<IpAddr>> {
    let [kind] = take(rest)?;
    Some(match kind {
        4 => Some(Ipv4Addr::from(take::<4>(rest)?).into()),
        6 => Some(Ipv6Addr::from(take::<16>(rest)?).into()),
        _ => None,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A span of which everything is known.
    pub(in super::super) fn full() -> Entry<'static> {
        Entry {
            kind: Kind::Server,
            trace: [7; 16],
            span: [1; 8],
            parent: Some([2; 8]),
            times: (1_792_368_000_000_000_000, 1_792_368_000_250_000_000),
            status: 502,
            failed: true,
            resend: 0,
            client: Some("203.0.113.7".parse().unwrap()),
            peer: Some("2001:db8::1".parse().unwrap()),
            queue: Some(Duration::from_micros(1_500)),
            connect: None,
            method: Some(b"GET"),
            scheme: Some(b"https"),
            host: Some(b"shop.example:8443"),
            path: Some(b"/cart"),
            protocol: Some(b"2"),
            listener: Some(b"web"),
            route: Some(b"shop"),
            pool: Some(b"carts"),
            backend: Some(b"10.0.0.1:80"),
            failure: Some(b"reset"),
            agent: Some(b"it/1.0"),
            request_id: Some(b"abc"),
            state: Some(b"rojo=1"),
        }
    }

    #[test]
    fn records_are_read_back_as_they_were() {
        let bare = Entry::new(Kind::Client, [3; 16], [4; 8], (5, 6));
        let mut records = Vec::new();
        for entry in [full(), bare, full()] {
            entry.encode(&mut records);
        }
        let (first, rest) = Entry::split(&records).unwrap();
        let (second, rest) = Entry::split(rest).unwrap();
        let (third, rest) = Entry::split(rest).unwrap();
        assert_eq!((first, second, third), (full(), bare, full()));
        assert!(rest.is_empty() && Entry::split(rest).is_none());
    }

    #[test]
    fn of_a_long_text_the_beginning_is_kept() {
        let long = "x".repeat(70_000);
        let mut records = Vec::new();
        Entry { path: Some(long.as_bytes()), ..full() }.encode(&mut records);
        let (read, _) = Entry::split(&records).unwrap();
        assert_eq!((read.path.map(<[u8]>::len), read.state), (Some(LONGEST), Some(&b"rojo=1"[..])));
    }
}
