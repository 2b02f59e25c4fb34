//! The only way out over HTTP/1: heads as bytes. Hot path.
//!
//! What belongs to one hop is an argument, so that another attempt never edits a head.

use crate::http::{
    guard::{Framing, Upgrade},
    head::{Head, Start},
};

/// What the sender says of the connection itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Nothing: HTTP/1.1 keeps it.
    Keep,
    /// Said aloud, to an HTTP/1.0 client that asked for it.
    KeepAloud,
    /// This is the last message.
    Close,
    /// It becomes something else.
    Upgrade(Upgrade),
}

/// What is the hop's own.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// `Host` of a request.
    pub authority: &'a [u8],
    /// How the body will be delimited.
    pub framing: Framing,
    /// `Content-Length` where no body follows (HEAD, 304).
    pub length: Option<u64>,
    /// What is said of the connection.
    pub connection: Connection,
    /// `TE: trailers` is said.
    pub trailers: bool,
    /// `Expect: 100-continue` is said.
    pub expect: bool,
    /// `Sec-WebSocket-Key` of an opening whose client has none: over HTTP/2 there is none.
    pub key: Option<&'a [u8]>,
}

/// Appends `head` as HTTP/1.1 to `out`.
pub(crate) fn head(head: &Head, hop: &Hop<'_>, out: &mut Vec<u8>) {
    match head.start() {
        Start::Request(_) => {
            out.extend_from_slice(head.method_text());
            out.push(b' ');
            out.extend_from_slice(head.text(head.target.path));
            out.extend_from_slice(head.text(head.target.query));
            out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
            out.extend_from_slice(hop.authority);
            out.extend_from_slice(b"\r\n");
        }
        Start::Response(200, reason) if head.text(reason) == b"OK" => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        Start::Response(status, reason) => {
            out.extend_from_slice(b"HTTP/1.1 ");
            decimal(u64::from(status), out);
            out.push(b' ');
            out.extend_from_slice(head.text(reason));
            out.extend_from_slice(b"\r\n");
        }
    }
    head.write_fields(out);
    match hop.framing {
        Framing::Length(length) => content_length(length, out),
        Framing::Streamed => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => hop.length.into_iter().for_each(|length| content_length(length, out)),
    }
    match hop.connection {
        Connection::Keep if hop.trailers => out.extend_from_slice(b"Connection: TE\r\n"),
        Connection::Keep => {}
        Connection::KeepAloud => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        Connection::Close => out.extend_from_slice(b"Connection: close\r\n"),
        Connection::Upgrade(Upgrade::WebSocket) => {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
        }
        // RFC 9110 section 9.3.6: the head's end is all.
        Connection::Upgrade(Upgrade::Raw) => {}
    }
    if hop.trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if hop.expect {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if let Some(key) = hop.key {
        out.extend_from_slice(b"Sec-WebSocket-Key: ");
        out.extend_from_slice(key);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn content_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

/// The line in front of a chunk of `length` bytes.
pub(super) fn chunk_size(length: usize, out: &mut Vec<u8>) {
    let digits = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[length >> (digit * 4) & 15]);
    }
    out.extend_from_slice(b"\r\n");
}

/// `number` in decimal digits.
pub(crate) fn decimal(mut number: u64, out: &mut Vec<u8>) {
    if number < 1000 {
        // Ports aside, nearly all are: statuses, octets of addresses, short lengths.
        if number >= 100 {
            out.push(b'0' + (number / 100) as u8);
        }
        if number >= 10 {
            out.push(b'0' + (number / 10 % 10) as u8);
        }
        return out.push(b'0' + (number % 10) as u8);
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 1, 9, 10, 99, 100, 255, 999, 1000, 4096, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
        for number in [0, 1, 15, 16, 255, 256, usize::MAX] {
            let mut out = Vec::new();
            chunk_size(number, &mut out);
            assert_eq!(out, format!("{number:x}\r\n").as_bytes());
        }
    }
}
