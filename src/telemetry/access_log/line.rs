//! A record as a line: JSON, or the combined format of Apache and nginx. Called by the log's thread alone.

use std::io::Write as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;

use super::record::{self, Record};
use super::{Format, escape};

/// The last second that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// Makes lines.
#[derive(Debug)]
pub(super) struct Formatter {
    format: Format,
    /// `Z","instance":"NAME"`: what stands behind the time stamp.
    instance: Vec<u8>,
    /// `,"NAME":"` of each text, by its place in a record.
    keys: Vec<Vec<u8>>,
    clock: Clock,
}

impl Formatter {
    pub(super) fn new(format: Format, instance: &str) -> Self {
        let mut after_ts = b"Z\",\"instance\":\"".to_vec();
        escape::json(instance.as_bytes(), &mut after_ts);
        after_ts.push(b'"');
        let keys = record::NAMES.iter().map(|name| format!(",\"{name}\":\"").into_bytes()).collect();
        Self { format, instance: after_ts, keys, clock: Clock::default() }
    }

    /// Appends the line of `record`, its line feed included.
    pub(super) fn line(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => self.json(record, out),
            Format::Combined => self.combined(record, out),
        }
        out.push(b'\n');
    }

    fn json(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ts\":\"");
        self.clock.rfc3339(record.ts(), out);
        out.extend_from_slice(&self.instance);
        self.texts(record, record::REQUEST_ID..=record::REQUEST_ID, out);
        if let Some(trace_id) = record.trace_id() {
            out.extend_from_slice(b",\"trace_id\":\"");
            hex(&trace_id, out);
            out.push(b'"');
        }
        out.extend_from_slice(b",\"client_ip\":\"");
        address(record.client_ip(), out);
        out.extend_from_slice(b"\",\"peer_ip\":\"");
        address(record.peer_ip(), out);
        out.push(b'"');
        self.texts(record, record::LISTENER..=record::PROTOCOL, out);
        number("status", record.status().into(), out);
        number("bytes_in", record.bytes_in(), out);
        number("bytes_out", record.bytes_out(), out);
        self.texts(record, record::ROUTE..=record::BACKEND, out);
        if let Some(attempts) = record.attempts() {
            number("attempts", attempts.into(), out);
        }
        for (name, micros) in record.durations() {
            key(name, out);
            millis(micros, out);
        }
        self.texts(record, record::FAILURE..=record::REFERER, out);
        number("generation", record.generation(), out);
        for (name, value) in record.extras() {
            let Some(value) = value else { continue };
            out.extend_from_slice(b",\"");
            escape::json(name, out);
            out.extend_from_slice(b"\":\"");
            escape::json(value, out);
            out.push(b'"');
        }
        out.push(b'}');
    }

    /// The texts at `places`, as far as they are there.
    fn texts(&self, record: &Record<'_>, places: RangeInclusive<usize>, out: &mut Vec<u8>) {
        for place in places {
            if let Some(text) = record.text(place) {
                out.extend_from_slice(&self.keys[place]);
                escape::json(text, out);
                out.push(b'"');
            }
        }
    }

    /// `ADDRESS - USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`, and each extra field, quoted.
    fn combined(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        address(record.client_ip(), out);
        out.extend_from_slice(b" - ");
        word(record.text(record::USER), out);
        out.extend_from_slice(b" [");
        self.clock.common(record.ts(), out);
        out.extend_from_slice(b"] \"");
        if record.text(record::METHOD).is_none() {
            out.push(b'-'); // a head that could not be read: no request line to show
        } else {
            word(record.text(record::METHOD), out);
            out.push(b' ');
            word(record.text(record::PATH), out);
            out.push(b' ');
            word(record.text(record::PROTOCOL), out);
        }
        out.extend_from_slice(b"\" ");
        decimal(record.status().into(), out);
        out.push(b' ');
        decimal(record.bytes_out(), out);
        for place in [record::REFERER, record::USER_AGENT] {
            quoted(record.text(place).unwrap_or(b"-"), out);
        }
        for (_, value) in record.extras() {
            quoted(value.unwrap_or(b"-"), out);
        }
    }
}

fn word(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        None | Some(b"") => out.push(b'-'),
        Some(text) => escape::word(text, out),
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b" \"");
    escape::quoted(text, out);
    out.push(b'"');
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    key(name, out);
    decimal(value, out);
}

fn decimal(mut value: u64, out: &mut Vec<u8>) {
    let (mut digits, mut start) = ([b'0'; 20], 20);
    while start == 20 || value > 0 {
        start -= 1;
        digits[start] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

/// Microseconds as milliseconds, with as many decimals as say something.
fn millis(micros: u64, out: &mut Vec<u8>) {
    decimal(micros / 1000, out);
    let decimals = micros % 1000;
    if decimals > 0 {
        out.push(b'.');
        three_digits(decimals, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn three_digits(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[value / 100 % 10, value / 10 % 10, value % 10].map(|digit| b'0' + digit as u8));
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn address(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        None => out.extend_from_slice(b"unix"),
        Some(IpAddr::V4(ip)) => {
            for octet in ip.octets() {
                decimal(octet.into(), out);
                out.push(b'.');
            }
            out.pop();
        }
        Some(IpAddr::V6(ip)) => write!(out, "{ip}").expect("a Vec takes every byte"),
    }
}

/// Writes time stamps; remembers the last second, which the next line most often has too.
#[derive(Debug, Default)]
struct Clock {
    second: u64,
    /// `second` as `2000-10-10T13:55:36`; empty at first.
    text: Vec<u8>,
}

impl Clock {
    /// `2000-10-10T13:55:36.042`, without the `Z`.
    fn rfc3339(&mut self, millis: u64, out: &mut Vec<u8>) {
        self.turn_to(millis / 1000);
        out.extend_from_slice(&self.text);
        out.push(b'.');
        three_digits(millis % 1000, out);
    }

    /// `10/Oct/2000:13:55:36 +0000`.
    fn common(&mut self, millis: u64, out: &mut Vec<u8>) {
        const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        self.turn_to(millis / 1000);
        let text = &self.text;
        let month = usize::from((text[5] - b'0') * 10 + text[6] - b'0') - 1;
        let parts = [&text[8..10], b"/", &MONTHS[3 * month..][..3], b"/", &text[..4], b":", &text[11..19], b" +0000"];
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }

    fn turn_to(&mut self, second: u64) {
        let second = second.min(LAST_SECOND);
        if self.second == second && !self.text.is_empty() {
            return;
        }
        self.second = second;
        self.text.clear();
        let time = format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second));
        write!(self.text, "{time}").expect("a Vec takes every byte");
        self.text.pop(); // the Z
    }
}
