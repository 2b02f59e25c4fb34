//! An HTTP/2 client frame by frame: it sends any frames and any bytes, right or wrong, and gives what comes back one frame
//! at a time. Field blocks are written as literals without indexing and read by an HPACK decoder that is not the `h2`
//! crate's. No read waits longer than ten seconds.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::client::{Client, Response};
use super::wire::{Fields, Head, ended, latin1, malformed};

/// What a client sends first (RFC 9113 section 3.4), before its SETTINGS.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The window of a stream and of the connection before any SETTINGS.
const WINDOW: u32 = 65_535;

/// Frame types (RFC 9113 section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
    /// One that RFC 9113 does not define.
    pub(crate) const UNKNOWN: u8 = 0x16;
}

/// Frame flags; what one means depends on the type.
pub(crate) mod flag {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
    /// HEADERS that are a whole request.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Identifiers in SETTINGS (RFC 9113 section 6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// One that RFC 9113 does not define.
    pub(crate) const UNKNOWN: u16 = 0xff;
}

/// Error codes (RFC 9113 section 7).
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0;
    pub(crate) const PROTOCOL_ERROR: u32 = 1;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
    pub(crate) const STREAM_CLOSED: u32 = 5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
    pub(crate) const REFUSED_STREAM: u32 = 7;
    pub(crate) const CANCEL: u32 = 8;
    pub(crate) const COMPRESSION_ERROR: u32 = 9;
    /// One that RFC 9113 does not define.
    pub(crate) const UNKNOWN: u32 = 0xff;
}

/// A frame as it was on the wire; HEADERS come with their CONTINUATIONs as one.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// The fields of HEADERS.
    pub(crate) fields: Fields,
}

impl Frame {
    pub(crate) fn is(&self, kind: u8) -> bool {
        self.kind == kind
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the stream's sender has nothing more to say after it.
    pub(crate) fn ends(&self) -> bool {
        (self.is(kind::DATA) || self.is(kind::HEADERS)) && self.has(flag::END_STREAM)
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.is(kind::GOAWAY) { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or_else(|| panic!("no error code in {self:?}")))
    }
}

/// What comes next from the other side.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Frame(Frame),
    /// It has ended the connection.
    Closed,
    /// Nothing, for as long as a test waits.
    Silence,
}

/// Why a stream has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code.
    GoAway(u32),
    /// The end of the connection.
    Closed,
    /// Silence.
    Silent,
}

/// One connection.
pub(crate) struct H2 {
    client: Client,
    decoder: fluke_hpack::Decoder<'static>,
    /// What the other side's first SETTINGS say.
    settings: Vec<(u16, u32)>,
}

impl H2 {
    /// Connects to `address` and sends nothing yet.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { client: Client::h1(address), decoder: fluke_hpack::Decoder::new(), settings: Vec::new() }
    }

    /// Connects, sends preface and SETTINGS, and waits until both sides have acknowledged the other's.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut h2 = Self::connect(address);
        h2.send(PREFACE);
        h2.settings(&[(setting::INITIAL_WINDOW_SIZE, WINDOW)]);
        let (mut ours, mut theirs) = (false, false);
        while !(ours && theirs) {
            let frame = match h2.next() {
                Event::Frame(frame) if frame.is(kind::SETTINGS) => frame,
                Event::Frame(_) => continue,
                other => panic!("no SETTINGS, {other:?}"),
            };
            if frame.has(flag::ACK) {
                ours = true;
            } else {
                theirs = true;
                h2.settings = entries(&frame.payload);
                h2.frame(kind::SETTINGS, flag::ACK, 0, []);
            }
        }
        h2
    }

    /// The other side's value of a setting.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        self.settings.iter().rev().find(|(name, _)| *name == id).map(|(_, value)| *value)
    }

    /// The longest frame that the other side takes.
    pub(crate) fn max_frame_size(&self) -> usize {
        self.setting(setting::MAX_FRAME_SIZE).unwrap_or(16_384) as usize
    }

    /// Bytes as they are. The other side may have left already: what it said is read all the same.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.client.try_send(bytes);
    }

    /// One frame, whether it makes sense or not.
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) {
        self.send(frame(kind, flags, stream, payload.as_ref()));
    }

    pub(crate) fn headers(&mut self, stream: u32, flags: u8, block: impl AsRef<[u8]>) {
        self.frame(kind::HEADERS, flags, stream, block);
    }

    pub(crate) fn continuation(&mut self, stream: u32, flags: u8, block: impl AsRef<[u8]>) {
        self.frame(kind::CONTINUATION, flags, stream, block);
    }

    pub(crate) fn data(&mut self, stream: u32, flags: u8, bytes: impl AsRef<[u8]>) {
        self.frame(kind::DATA, flags, stream, bytes);
    }

    /// PRIORITY with a weight as on the wire, one less than it means.
    pub(crate) fn priority(&mut self, stream: u32, depends_on: u32, weight: u8) {
        self.frame(kind::PRIORITY, flag::NONE, stream, dependency(depends_on, weight));
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.frame(kind::RST_STREAM, flag::NONE, stream, code.to_be_bytes());
    }

    pub(crate) fn settings(&mut self, settings: &[(u16, u32)]) {
        let entry = |&(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
        let payload: Vec<u8> = settings.iter().flat_map(entry).collect();
        self.frame(kind::SETTINGS, flag::NONE, 0, payload);
    }

    pub(crate) fn ping(&mut self, flags: u8, data: [u8; 8]) {
        self.frame(kind::PING, flags, 0, data);
    }

    pub(crate) fn go_away(&mut self, code: u32, debug: &[u8]) {
        self.frame(kind::GOAWAY, flag::NONE, 0, [&[0; 4], &code.to_be_bytes()[..], debug].concat());
    }

    pub(crate) fn window_update(&mut self, stream: u32, increment: u32) {
        self.frame(kind::WINDOW_UPDATE, flag::NONE, stream, increment.to_be_bytes());
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> Event {
        match self.read() {
            Ok(frame) => Event::Frame(frame),
            Err(error) if ended(&error) => Event::Closed,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Event::Silence,
            Err(error) => panic!("not HTTP/2: {error}"),
        }
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut frame = self.read_one()?;
        if !frame.is(kind::HEADERS) {
            return Ok(frame);
        }
        let mut block = unpadded(&frame)?.to_vec();
        while !frame.has(flag::END_HEADERS) {
            let more = self.read_one()?;
            if !more.is(kind::CONTINUATION) || more.stream != frame.stream {
                return Err(malformed(format!("{more:?} inside a field block")));
            }
            frame.flags |= more.flags & flag::END_HEADERS;
            block.extend_from_slice(&more.payload);
        }
        let fields = self.decoder.decode(&block).map_err(|error| malformed(format!("field block: {error:?}")))?;
        let text = |(name, value): (Vec<u8>, Vec<u8>)| (latin1(&name), latin1(&value));
        frame.fields = Fields(fields.into_iter().map(text).collect());
        Ok(frame)
    }

    fn read_one(&mut self) -> io::Result<Frame> {
        let head = self.client.wire.exact(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.client.wire.exact(length)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload, fields: Fields::default() })
    }

    /// The answer on `stream`, or how it ended without one. An answer that a reset cuts is `cut`.
    pub(crate) fn answer(&mut self, stream: u32) -> Result<Response, Unanswered> {
        let mut response = Response::default();
        let begun = |response: Response, why: Unanswered| {
            if response.status == 0 { Err(why) } else { Ok(Response { cut: true, ..response }) }
        };
        loop {
            let frame = match self.next() {
                Event::Closed => return begun(response, Unanswered::Closed),
                Event::Silence => return Err(Unanswered::Silent),
                Event::Frame(frame) if frame.is(kind::GOAWAY) && frame.code() != code::NO_ERROR => {
                    return begun(response, Unanswered::GoAway(frame.code()));
                }
                Event::Frame(frame) if frame.stream == stream => frame,
                Event::Frame(_) => continue,
            };
            let ends = frame.ends();
            match frame.kind {
                kind::RST_STREAM => return begun(response, Unanswered::Reset(frame.code())),
                kind::DATA => response.body.extend_from_slice(unpadded(&frame).expect("padding that fits")),
                kind::HEADERS => response.take(frame.fields),
                _ => {}
            }
            if ends {
                return Ok(response);
            }
        }
    }
}

impl Response {
    /// Takes a field block: 1xx, the head, or trailers.
    fn take(&mut self, fields: Fields) {
        let status: u16 = fields.get(":status").and_then(|status| status.parse().ok()).unwrap_or(0);
        let (pseudo, plain): (Vec<_>, Vec<_>) = fields.0.into_iter().partition(|(name, _)| name.starts_with(':'));
        assert!(pseudo.len() == usize::from(self.status == 0), "pseudo-fields {pseudo:?}");
        let head = Head { start: format!("HTTP/2 {status}"), fields: Fields(plain) };
        match status {
            0 => self.trailers = head.fields,
            100..200 => self.interim.push(head),
            _ => (self.status, self.head) = (status, head),
        }
    }
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What PRIORITY holds, and HEADERS before their block.
pub(crate) fn dependency(on: u32, weight: u8) -> Vec<u8> {
    [&on.to_be_bytes()[..], &[weight]].concat()
}

/// Fields as HPACK literals without indexing, names and values as they are (RFC 7541 section 6.2.2).
pub(crate) fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(name.as_ref(), &mut block);
        string(value.as_ref(), &mut block);
    }
    block
}

/// A string without Huffman coding (RFC 7541 sections 5.1 and 5.2).
fn string(text: &[u8], block: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(length @ ..127) => block.push(length),
        _ => {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 0x80);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend_from_slice(text);
}

/// The payload without padding, and HEADERS without their priority.
fn unpadded(frame: &Frame) -> io::Result<&[u8]> {
    let mut payload = &frame.payload[..];
    if frame.has(flag::PADDED) {
        let (&padding, rest) = payload.split_first().ok_or_else(|| malformed("no pad length"))?;
        let length =
            rest.len().checked_sub(usize::from(padding)).ok_or_else(|| malformed("more padding than frame"))?;
        payload = &rest[..length];
    }
    if frame.is(kind::HEADERS) && frame.has(flag::PRIORITY) {
        payload = payload.get(5..).ok_or_else(|| malformed("no priority"))?;
    }
    Ok(payload)
}

/// The entries of SETTINGS.
fn entries(payload: &[u8]) -> Vec<(u16, u32)> {
    let entry = |entry: &[u8]| {
        (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    payload.chunks_exact(6).map(entry).collect()
}
