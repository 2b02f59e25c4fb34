//! PROXY version 1: one line of text, `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443` and CRLF.

use super::{Malformed, Proxied, Tlvs, one_family};
use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{self, FromStr},
};

/// Bytes of the longest line, CRLF included.
const LONGEST: usize = 107;

/// Source and destination, if the line names any.
type Claim = Option<(SocketAddr, SocketAddr)>;

/// Reads a line; as [`super::parse`].
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    let seen = &bytes[..bytes.len().min(LONGEST)];
    let Some(end) = seen.iter().position(|&byte| matches!(byte, b'\r' | b'\n')) else {
        // There must be room for CRLF.
        words(seen, false)?;
        return if seen.len() + 2 > LONGEST { Err(Malformed::Line) } else { Ok(None) };
    };
    let claim = words(&seen[..end], true)?;
    match &seen[end..] {
        [b'\r', b'\n', ..] => Ok(claim.map(|addresses| (Proxied { addresses, tlvs: Tlvs::default() }, end + 2))),
        [b'\r'] if seen.len() < LONGEST => Ok(None),
        _ => Err(Malformed::Line),
    }
}

/// Reads the words of a line. Of one that is not `whole`, the last word may go on: then nothing is known yet, but that
/// every word so far can be the beginning of a right one.
fn words(line: &[u8], whole: bool) -> Result<Option<Claim>, Malformed> {
    let mut words = Words { rest: Some(line), whole };
    // A client without a proxy may say POST or PUT.
    let proxy = words.next(|word, ends| one_of(&[b"PROXY"], word, ends)).map_err(|_| Malformed::Signature)?;
    if proxy.is_none() {
        return Ok(None);
    }
    let Some(family) = words.next(|word, ends| one_of(&[b"TCP4", b"TCP6", b"UNKNOWN"], word, ends))? else {
        return Ok(None);
    };
    if family == b"UNKNOWN" {
        // Whatever stands behind it up to CRLF is of no meaning.
        return Ok(whole.then_some(None));
    }
    let six = family == b"TCP6";
    let Some(from) = words.next(|word, ends| address(six, word, ends))? else { return Ok(None) };
    let Some(to) = words.next(|word, ends| address(six, word, ends))? else { return Ok(None) };
    let Some(from_port) = words.next(port)? else { return Ok(None) };
    let Some(to_port) = words.next(port)? else { return Ok(None) };
    if words.rest.is_some() {
        return Err(Malformed::Words);
    }
    Ok(Some(Some((SocketAddr::new(from, from_port), SocketAddr::new(to, to_port)))))
}

/// What is left of a line.
struct Words<'a> {
    /// `None`: the line has ended.
    rest: Option<&'a [u8]>,
    whole: bool,
}

impl<'a> Words<'a> {
    /// The next word as `read` understands it; told whether the word has ended. `None`: there may be more of it to come.
    fn next<T>(
        &mut self,
        read: impl FnOnce(&'a [u8], bool) -> Result<Option<T>, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let rest = self.rest.take().ok_or(Malformed::Words)?;
        let Some(blank) = rest.iter().position(|&byte| byte == b' ') else { return read(rest, self.whole) };
        self.rest = Some(&rest[blank + 1..]);
        read(&rest[..blank], true)
    }
}

fn one_of(choices: &[&'static [u8]], word: &[u8], ends: bool) -> Result<Option<&'static [u8]>, Malformed> {
    let found = choices.iter().find(|choice| if ends { **choice == word } else { choice.starts_with(word) });
    found.map(|choice| ends.then_some(*choice)).ok_or(Malformed::Words)
}

fn address(six: bool, word: &[u8], ends: bool) -> Result<Option<IpAddr>, Malformed> {
    fn read<T: FromStr>(word: &[u8]) -> Option<T> {
        str::from_utf8(word).ok()?.parse().ok()
    }
    if ends {
        let address = if six { read::<Ipv6Addr>(word).map(IpAddr::V6) } else { read::<Ipv4Addr>(word).map(IpAddr::V4) };
        return address.map(Some).ok_or(Malformed::Address);
    }
    // `::ffff:192.0.2.1` is how inet_ntop(3) writes such an address.
    let fits =
        |byte: &u8| matches!(byte, b'0'..=b'9' | b'.') || six && matches!(byte, b'a'..=b'f' | b'A'..=b'F' | b':');
    let most = if six { 45 } else { 15 };
    if word.len() <= most && word.iter().all(fits) { Ok(None) } else { Err(Malformed::Address) }
}

fn port(word: &[u8], ends: bool) -> Result<Option<u16>, Malformed> {
    let right = word.iter().all(u8::is_ascii_digit) && (word.first() != Some(&b'0') || word.len() == 1);
    let value = || str::from_utf8(word).ok()?.parse().ok();
    match (right, ends || !word.is_empty()) {
        (false, _) => Err(Malformed::Port),
        (true, false) => Ok(None),
        (true, true) => value().map(|port| ends.then_some(port)).ok_or(Malformed::Port),
    }
}

/// Appends a line that says who called and what was called; `None` = UNKNOWN.
pub(super) fn write(addresses: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let Some((source, destination)) = addresses.map(|(source, destination)| one_family(source, destination)) else {
        return out.extend_from_slice(b"PROXY UNKNOWN\r\n");
    };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    // A vector takes everything.
    let _ = write!(out, "PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
}
