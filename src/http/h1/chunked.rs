//! Decodes the chunked coding (RFC 9112 section 7.1), strictly and in place. Hot path for such bodies.
//!
//! Framing lines are read byte by byte, data in runs. Extensions are checked against their grammar and dropped: an
//! ambiguous one is how a request is smuggled past a proxy that reads lines more kindly than its backend.

use crate::{
    error::Kind,
    http::{
        guard::{Reject, is_token},
        target::hex,
    },
};

/// The longest chunk-size line, extensions included, in bytes.
const MAX_LINE: u16 = 4096;
/// Hexadecimal digits of a size: no more fit in 64 bits.
const MAX_DIGITS: u16 = 16;

const fn bad(why: &'static str) -> Reject {
    Reject { kind: Kind::BadRequest, why }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    /// Behind a size, a value or a quoted string: `;`, blanks or the end of the line.
    AfterSize,
    /// A blank was seen: only a `;` may follow.
    AfterBlank,
    NameStart,
    Name,
    /// A blank behind a name: `=` or `;`.
    AfterName,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    LineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    Trailers,
    End,
}

/// What a call of [`Chunked::decode`] made of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Bytes of data, now at the front.
    pub(crate) data: usize,
    /// Bytes that were read; what follows them is another message's.
    pub(crate) used: usize,
    /// The body has ended.
    pub(crate) end: bool,
}

/// The state of one body.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    left: u64,
    line: u16,
    /// The trailer section so far, its empty line included.
    trailers: Vec<u8>,
    max_trailers: usize,
}

impl Chunked {
    /// At the start of a body whose trailer section may have `max_trailers` bytes.
    pub(crate) fn new(max_trailers: usize) -> Self {
        Self { state: State::Size, left: 0, line: 0, trailers: Vec::new(), max_trailers }
    }

    /// The whole trailer section with its empty line, once the body has ended; empty if there was no field.
    pub(crate) fn trailers(&self) -> &[u8] {
        if self.trailers.len() > 2 { &self.trailers } else { &[] }
    }

    /// Bytes of the chunk that has begun and that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Decodes `bytes` and moves the data to their front.
    pub(crate) fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Reject> {
        let (mut data, mut at) = (0, 0);
        while at < bytes.len() && self.state != State::End {
            if self.state == State::Data {
                let run = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                bytes.copy_within(at..at + run, data);
                data += run;
                at += run;
                self.left -= run as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(Decoded { data, used: at, end: self.state == State::End })
    }

    fn step(&mut self, byte: u8) -> Result<State, Reject> {
        match self.state {
            State::DataReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if byte == b'\n' => {
                self.line = 0;
                Ok(State::Size)
            }
            State::DataReturn | State::DataLineFeed => Err(bad("a chunk is longer than its size")),
            State::Trailers => self.trailer(byte),
            _ => self.size_line(byte),
        }
    }

    fn size_line(&mut self, byte: u8) -> Result<State, Reject> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(bad("a chunk extension is too long"));
        }
        let blank = matches!(byte, b' ' | b'\t');
        match (self.state, byte) {
            (State::Size, byte) => self.size(byte),
            (State::AfterSize | State::Name | State::Value, b'\r') => Ok(State::LineFeed),
            (State::AfterSize | State::AfterBlank | State::Name | State::AfterName | State::Value, b';') => {
                Ok(State::NameStart)
            }
            (State::AfterSize | State::AfterBlank | State::Value, _) if blank => Ok(State::AfterBlank),
            (State::NameStart, _) if blank => Ok(State::NameStart),
            (State::NameStart | State::Name, byte) if is_token(byte) => Ok(State::Name),
            (State::Name | State::AfterName, _) if blank => Ok(State::AfterName),
            (State::Name | State::AfterName, b'=') => Ok(State::ValueStart),
            (State::ValueStart, _) if blank => Ok(State::ValueStart),
            (State::ValueStart, b'"') => Ok(State::Quoted),
            (State::ValueStart | State::Value, byte) if is_token(byte) => Ok(State::Value),
            (State::Quoted, b'"') => Ok(State::AfterSize),
            (State::Quoted, b'\\') => Ok(State::Escaped),
            (State::Quoted | State::Escaped, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Quoted),
            (State::LineFeed, b'\n') if self.left == 0 => Ok(State::Trailers),
            (State::LineFeed, b'\n') => Ok(State::Data),
            _ => Err(bad("a chunk's size or extension is malformed")),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, Reject> {
        match hex(byte) {
            Some(digit) if self.line <= MAX_DIGITS => {
                let so_far = if self.line == 1 { 0 } else { self.left };
                self.left = so_far << 4 | u64::from(digit);
                Ok(State::Size)
            }
            None if self.line > 1 => {
                self.state = State::AfterSize;
                self.line -= 1;
                self.size_line(byte)
            }
            _ => Err(bad("a chunk's size is malformed")),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Reject> {
        self.trailers.push(byte);
        let so_far = self.trailers.as_slice();
        if byte != b'\n' {
            if so_far.len() >= self.max_trailers {
                return Err(Reject { kind: Kind::HeadTooLarge, why: "the trailer section is too large" });
            }
            // RFC 9112 section 2.2: a carriage return ends a line, or it is an error.
            let bare = so_far.len() > 1 && so_far[so_far.len() - 2] == b'\r';
            return if bare { Err(bad("a carriage return without a line feed")) } else { Ok(State::Trailers) };
        }
        if !so_far.ends_with(b"\r\n") {
            return Err(bad("a line feed without a carriage return"));
        }
        let ended = so_far.len() == 2 || so_far.ends_with(b"\n\r\n");
        Ok(if ended { State::End } else { State::Trailers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the surplus and the trailer section.
    type Parts = (Vec<u8>, Vec<u8>, Vec<u8>);

    /// Decodes `body` in pieces of `step` bytes.
    fn decode(body: &[u8], step: usize) -> Result<Option<Parts>, Reject> {
        let (mut decoder, mut data) = (Chunked::new(64), Vec::new());
        let mut rest = body;
        while !rest.is_empty() {
            let mut piece = rest[..step.min(rest.len())].to_vec();
            let decoded = decoder.decode(&mut piece)?;
            data.extend_from_slice(&piece[..decoded.data]);
            rest = &rest[decoded.used..];
            if decoded.end {
                return Ok(Some((data, rest.to_vec(), decoder.trailers().to_vec())));
            }
        }
        Ok(None)
    }

    #[test]
    fn bodies_come_out_whole_however_they_are_cut() {
        let body = b"5;a;b=c; d = \"x\\\"y\" ;e\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n000\r\nx-sum: 1\r\n\r\nGET /";
        for step in 1..=body.len() {
            let (data, rest, trailers) = decode(body, step).unwrap().unwrap();
            assert_eq!(data, b"hello 0123456789", "step {step}");
            assert!(b"GET /".ends_with(&rest), "step {step}");
            assert_eq!(trailers, b"x-sum: 1\r\n\r\n");
        }
        assert_eq!(decode(b"0\r\n\r\n", 1).unwrap().unwrap().2, b"");
        assert!(decode(b"5\r\nhel", 9).unwrap().is_none());
    }

    #[test]
    fn malformed_framing_is_refused() {
        for body in [
            "\r\n",
            "g\r\n",
            " 5\r\n",
            "5 \r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            "5\n",
            "5\r\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhello\n",
            "5_0\r\n",
            "11111111111111111\r\n",
            "5;\r\n",
            "5;=a\r\n",
            "5;a=\r\n",
            "5;a=\"\r\n",
            "5;a=\"x\r\n",
            "5;a b\r\n",
            "5;a\n",
            "5;a=b c\r\n",
            "5;a=\"x\"y\r\n",
            "5;a\u{1}\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\n\n",
            ";a\r\n",
            "5,5\r\n",
        ] {
            assert!(decode(body.as_bytes(), 1).is_err(), "{body:?}");
            assert!(decode(body.as_bytes(), 99).is_err(), "{body:?}");
        }
        let long = format!("5;{}\r\nhello\r\n", "a".repeat(5000));
        assert!(decode(long.as_bytes(), 99).is_err());
        let trailers = format!("0\r\nx: {}\r\n\r\n", "a".repeat(70));
        assert!(decode(trailers.as_bytes(), 99).is_err());
    }
}
