//! Follows the frames of a client's bytes (RFC 9113 section 4.1), however they are cut into reads. Hot path.
//!
//! It reads frame headers and the increments of WINDOW_UPDATE, and decides nothing about HTTP: the `h2` crate, which gets
//! the same bytes, does. That crate tells its user neither of pings nor of settings, resets of unknown streams or
//! priorities, so they are counted here.

use super::flood::{Flood, Meter};

/// Bytes of a frame header.
const HEADER: usize = 9;
/// A smaller increment of a window, or a piece of a body, is not worth its frame.
pub(super) const TINY: u32 = 128;
/// Bytes of ours that a tiny increment may answer: a client may open two windows for each frame with one byte in it.
const WORTH: usize = 5;
/// The most that is kept of that, in increments.
const MOST_CREDIT: usize = 4096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Also ACK, of SETTINGS and PING.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Where the next byte belongs.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the payload that are still to come.
    left: u32,
    kind: u8,
    /// A field block that has not ended: CONTINUATION follows.
    in_block: bool,
    /// A part of a frame header, when a read ended inside it.
    header: [u8; HEADER],
    have: u8,
    /// Streams that the client has opened, and the number of the last.
    opened: u64,
    last: u32,
    /// Of WINDOW_UPDATE, as far as it is there.
    increment: u32,
    /// What is unfinished now has begun since it was last asked for.
    begun: bool,
    /// We have said something since the last ping that was counted.
    answered: bool,
    /// Bytes that we owe in acknowledgements: they answer nothing.
    owed: usize,
    /// Tiny increments that answer what we have said: clients of short messages open their windows by as little.
    credit: usize,
    meter: Meter,
}

impl Frames {
    /// At the beginning of a connection, in front of `preface` bytes.
    pub(super) fn new(preface: usize, meter: Meter) -> Self {
        Self {
            left: preface as u32,
            kind: DATA,
            in_block: false,
            header: [0; HEADER],
            have: 0,
            opened: 0,
            last: 0,
            increment: 0,
            begun: false,
            answered: false,
            owed: 0,
            credit: 0,
            meter,
        }
    }

    /// Follows `bytes`, which have come.
    ///
    /// # Errors
    /// There was too much of something.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        loop {
            let (payload, rest) = bytes.split_at(bytes.len().min(self.left as usize));
            self.left -= payload.len() as u32;
            if self.kind == WINDOW_UPDATE && !payload.is_empty() {
                self.window_update(payload)?;
            }
            if rest.is_empty() {
                return Ok(());
            }
            bytes = match rest.split_first_chunk::<HEADER>() {
                Some((header, rest)) if self.have == 0 => {
                    self.frame(*header)?;
                    rest
                }
                _ => self.gather(rest)?,
            };
        }
    }

    /// A frame header in pieces. Returns what is behind the piece that `bytes` begin with.
    fn gather<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Flood> {
        let have = usize::from(self.have);
        let (piece, rest) = bytes.split_at(bytes.len().min(HEADER - have));
        self.header[have..have + piece.len()].copy_from_slice(piece);
        self.have += piece.len() as u8;
        if usize::from(self.have) == HEADER {
            self.have = 0;
            self.frame(self.header)?;
        }
        Ok(rest)
    }

    fn frame(&mut self, header: [u8; HEADER]) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, stream @ ..] = header;
        (self.left, self.kind) = (u32::from_be_bytes([0, high, middle, low]), kind);
        self.begun |= !self.in_block;
        match kind {
            DATA if self.left == 0 && flags & END_STREAM == 0 => self.meter.count(Flood::Empty),
            HEADERS | CONTINUATION => {
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                if kind == HEADERS && stream > self.last {
                    self.last = stream;
                    self.opened += 1;
                }
                self.in_block = flags & END_HEADERS == 0;
                let empty = self.left == 0 && (kind == CONTINUATION || flags & END_STREAM == 0);
                if empty { self.meter.count(Flood::Empty) } else { Ok(()) }
            }
            RST_STREAM => self.meter.count(Flood::Resets),
            SETTINGS if flags & END_STREAM == 0 => {
                self.owed += HEADER;
                self.meter.count(Flood::Settings)
            }
            PING if flags & END_STREAM == 0 => {
                self.owed += HEADER + 8;
                // gRPC measures the path with a ping for each answer that it gets.
                if std::mem::take(&mut self.answered) { Ok(()) } else { self.meter.count(Flood::Pings) }
            }
            PRIORITY => self.meter.count(Flood::Priorities),
            WINDOW_UPDATE => {
                self.increment = 0;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn window_update(&mut self, payload: &[u8]) -> Result<(), Flood> {
        // One that is not four bytes long is an error, and not our affair.
        self.increment = payload.iter().fold(self.increment, |sum, byte| sum << 8 | u32::from(*byte));
        if self.left > 0 || self.increment & 0x7fff_ffff >= TINY {
            return Ok(());
        }
        match self.credit.checked_sub(1) {
            Some(left) => {
                self.credit = left;
                Ok(())
            }
            None => self.meter.count(Flood::TinyWindows),
        }
    }

    /// So many pieces of bodies were tiny because the client's windows are.
    ///
    /// # Errors
    /// That was too often.
    pub(super) fn pinched(&mut self, times: u32) -> Result<(), Flood> {
        (0..times).try_for_each(|_| self.meter.count(Flood::TinyWindows))
    }

    /// So many bytes have gone to the client.
    pub(super) fn said(&mut self, bytes: usize) {
        self.answered |= bytes > self.owed;
        self.credit = (self.credit + bytes.saturating_sub(self.owed).div_ceil(WORTH)).min(MOST_CREDIT);
        self.owed = self.owed.saturating_sub(bytes);
    }

    /// How many streams the client has opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    /// What came last is unfinished: a field block, or a frame that is not a piece of a body.
    pub(super) fn is_unfinished(&self) -> bool {
        self.in_block || self.left > 0 && self.kind != DATA
    }

    /// What came last has begun since this was last asked.
    pub(super) fn has_begun(&mut self) -> bool {
        std::mem::take(&mut self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &1u32.to_be_bytes(), payload].concat()
    }

    fn frames(rate: u32) -> Frames {
        Frames::new(4, Meter::new(Some(rate), Instant::now()))
    }

    /// Passes `bytes` in pieces of `size`; what was too much.
    fn pass(frames: &mut Frames, bytes: &[u8], size: usize) -> Option<Flood> {
        bytes.chunks(size).find_map(|piece| frames.pass(piece).err())
    }

    #[test]
    fn what_is_counted_and_what_is_not() {
        for (expected, frame) in [
            (Some(Flood::Resets), frame(RST_STREAM, 0, &[0; 4])),
            (Some(Flood::Pings), frame(PING, 0, &[7; 8])),
            (None, frame(PING, END_STREAM, &[7; 8])),
            (Some(Flood::Settings), frame(SETTINGS, 0, &[0; 6])),
            (None, frame(SETTINGS, END_STREAM, &[])),
            (Some(Flood::Empty), frame(DATA, 0, &[])),
            (None, frame(DATA, END_STREAM, &[])),
            (None, frame(DATA, 0, b"x")),
            (Some(Flood::Empty), frame(HEADERS, 0, &[])),
            (None, frame(HEADERS, END_STREAM | END_HEADERS, &[])),
            (None, frame(HEADERS, END_STREAM | END_HEADERS, &[0x82])),
            (Some(Flood::Empty), frame(CONTINUATION, 0, &[])),
            (Some(Flood::Priorities), frame(PRIORITY, 0, &[0; 5])),
            (Some(Flood::TinyWindows), frame(WINDOW_UPDATE, 0, &127u32.to_be_bytes())),
            (Some(Flood::TinyWindows), frame(WINDOW_UPDATE, 0, &0x8000_0001u32.to_be_bytes())),
            (None, frame(WINDOW_UPDATE, 0, &128u32.to_be_bytes())),
            (None, frame(0x16, 0, b"unknown")),
        ] {
            for size in [1, 2, 3, 7, 9, 10, 13, 64, 4096] {
                let mut frames = frames(10);
                let few = [b"pref", frame.repeat(10).as_slice()].concat();
                assert_eq!(pass(&mut frames, &few, size), None, "{frame:?} by {size}");
                assert_eq!(pass(&mut frames, &frame, size), expected, "{frame:?} by {size}");
            }
        }
    }

    #[test]
    fn an_unfinished_block_is_seen_wherever_a_read_ends() {
        let large = frame(DATA, 0, &[9; 300]);
        let block = [frame(HEADERS, END_STREAM, &[1; 20]), frame(CONTINUATION, END_HEADERS, &[2; 30])].concat();
        let bytes = [b"pref", large.as_slice(), block.as_slice(), large.as_slice()].concat();
        let start = 4 + large.len() + HEADER;
        let end = start - HEADER + block.len();
        for at in 0..=bytes.len() {
            let mut frames = frames(10);
            frames.pass(&bytes[..at]).unwrap();
            assert_eq!(frames.is_unfinished(), (start..end).contains(&at), "at {at}");
            assert_eq!(frames.has_begun(), at >= 4 + HEADER, "at {at}");
            frames.pass(&bytes[at..]).unwrap();
            assert!(!frames.is_unfinished());
        }
    }

    #[test]
    fn streams_are_counted_once() {
        let mut frames = frames(10);
        let (head, trailers) = (frame(HEADERS, END_HEADERS, b"h"), frame(HEADERS, END_STREAM | END_HEADERS, b"t"));
        let block = [frame(HEADERS, 0, b"h"), frame(CONTINUATION, END_HEADERS, b"c")].concat();
        let mut bytes = b"pref".to_vec();
        for number in [1, 5, 3, 7] {
            for piece in [&head, &trailers, &block] {
                let mut piece = piece.clone();
                piece[8] = number;
                bytes.extend(piece);
            }
        }
        for piece in bytes.chunks(5) {
            frames.pass(piece).unwrap();
        }
        assert_eq!(frames.opened(), 3, "the third has a number that was passed over: it is an error, not a stream");
    }

    #[test]
    fn a_ping_after_an_answer_is_free_and_acknowledgements_answer_nothing() {
        let ping = frame(PING, 0, &[7; 8]);
        let mut frames = frames(10);
        frames.pass(b"pref").unwrap();
        for _ in 0..100 {
            frames.said(40);
            frames.pass(&ping).unwrap();
        }
        frames.said(17);
        let mut counted = 0;
        while frames.pass(&ping).is_ok() {
            frames.said(17);
            counted += 1;
        }
        assert_eq!(counted, 10);
    }
}
