//! Read buffers, and each worker's pool of them. Hot path.
//!
//! A connection holds a buffer only while bytes are in it: the pool is last-in, first-out, so the one that comes next
//! is the one that is still in the processor's cache.

use std::cell::RefCell;

/// Room of a small buffer, in bytes: a head, or a short body. A first read of less than 16 KiB costs a second one.
pub const SMALL: usize = 16 * 1024;
/// Room of a large buffer, in bytes: bodies that are copied. Measured best between 128 KiB and 1 MiB.
pub const LARGE: usize = 256 * 1024;

/// What is no more than that does not need a small buffer to wait in.
const LITTLE: usize = 2 * 1024;

/// How many buffers of each size a worker keeps; those above go back to the allocator.
const KEEP_SMALL: usize = 64;
const KEEP_LARGE: usize = 8;

/// Bytes `start..end` of a fixed, initialised piece of memory. Filled at the end, consumed at the start.
#[derive(Debug, Default)]
pub struct Buf {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buf {
    /// An empty buffer with `room` bytes.
    pub fn new(room: usize) -> Self {
        Self { data: vec![0; room], start: 0, end: 0 }
    }

    /// The bytes that are held.
    pub fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// The bytes that are held, to be rewritten in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data[self.start..self.end]
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Nothing is held.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// It is more than a placeholder.
    pub fn has_memory(&self) -> bool {
        !self.data.is_empty()
    }

    /// The free room behind the bytes that are held.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.data[self.end..]
    }

    /// `n` bytes have been read into [`Buf::room`].
    pub fn filled(&mut self, n: usize) {
        assert!(n <= self.data.len() - self.end, "no more than the room can be filled");
        self.end += n;
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        assert!(n <= self.len(), "no more than what is held can be consumed");
        self.start += n;
    }

    /// Puts `bytes` in front of what is held, if there is room. True if it did.
    pub fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = self.start.checked_sub(bytes.len()) else { return false };
        self.data[start..self.start].copy_from_slice(bytes);
        self.start = start;
        true
    }

    /// Keeps only the first `n` bytes.
    pub fn truncate(&mut self, n: usize) {
        self.end = self.end.min(self.start + n);
    }

    /// Moves what is held to the front and makes room for at least `more` bytes.
    pub fn reserve(&mut self, more: usize) {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.data.len() - self.end >= more {
            return;
        }
        self.data.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.data.len() < self.end + more {
            self.data.resize(self.end + more, 0);
        }
    }

    /// Appends `bytes`, growing if it must.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.data[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }
}

/// A worker's spare buffers. Not `Sync`: one a worker, by design.
#[derive(Debug, Default)]
pub struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    scratch: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Gives back all that is spare.
    pub fn clear(&self) {
        [&self.small, &self.large, &self.scratch].into_iter().for_each(|spare| drop(spare.take()));
    }

    /// An empty buffer of [`SMALL`] bytes.
    pub fn small(&self) -> Buf {
        let data = self.small.borrow_mut().pop().unwrap_or_else(|| vec![0; SMALL]);
        Buf { data, start: 0, end: 0 }
    }

    /// An empty buffer of [`LARGE`] bytes.
    pub fn large(&self) -> Buf {
        let data = self.large.borrow_mut().pop().unwrap_or_else(|| vec![0; LARGE]);
        Buf { data, start: 0, end: 0 }
    }

    /// Takes a buffer back. One that has grown out of its size is freed.
    pub fn give(&self, buf: Buf) {
        let (list, keep) = match buf.data.len() {
            SMALL => (&self.small, KEEP_SMALL),
            LARGE => (&self.large, KEEP_LARGE),
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < keep {
            list.push(buf.data);
        }
    }

    /// Nothing comes behind what `buf` holds, for now: what it does not need is taken back. Who waits for the rest of a head
    /// for a long time, and has many such connections, costs us little more than what he has sent.
    pub fn settle(&self, buf: &mut Buf) {
        if buf.is_empty() {
            self.give(std::mem::take(buf));
        } else if buf.data.len() >= SMALL && buf.len() <= LITTLE {
            let mut little = Buf::new(buf.len().next_power_of_two().max(LITTLE / 8) * 2);
            little.extend(buf.bytes());
            self.give(std::mem::replace(buf, little));
        }
    }

    /// An empty vector to encode into.
    pub fn scratch(&self) -> Vec<u8> {
        self.scratch.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Takes a vector back, unless it has grown large.
    pub fn give_scratch(&self, mut scratch: Vec<u8>) {
        let mut list = self.scratch.borrow_mut();
        if list.len() < KEEP_SMALL && (1..=SMALL).contains(&scratch.capacity()) {
            scratch.clear();
            list.push(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut buf = Buf::new(8);
        buf.extend(b"abcdef");
        buf.consume(4);
        buf.extend(b"ghijkl");
        assert_eq!(buf.bytes(), b"efghijkl");
        buf.truncate(3);
        assert_eq!(buf.bytes(), b"efg");
        buf.consume(2);
        assert!(buf.prepend(b"xy") && !buf.prepend(b"z"));
        assert_eq!(buf.bytes(), b"xyg");
    }

    #[test]
    fn a_returned_buffer_is_the_next_one_out_and_a_grown_one_is_freed() {
        let buffers = Buffers::default();
        let mut buf = buffers.small();
        buf.extend(&[1; SMALL + 1]);
        buffers.give(buf);
        assert!(buffers.small.borrow().is_empty());
        buffers.give(Buf::new(SMALL));
        assert!(buffers.small().is_empty());
        assert!(buffers.small.borrow().is_empty());
    }
}
