//! Where workers leave the records of spans until control takes them. Hot path for sampled requests: a worker takes one lock,
//! of a lane that only it and, for the moment of a swap, control touch.

use std::mem;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::Notify;

use crate::telemetry::locked;

/// Bytes of records that may wait, in the process; each worker has its share. About 8,000 spans.
pub const LIMIT: usize = 4 * 1024 * 1024;
/// A lane that has so much of its share calls for control.
const CALLS: usize = 4;

/// What waits to be sent, and what became of the rest.
#[derive(Debug)]
pub struct Spans {
    lanes: Box<[Lane]>,
    /// Bytes of a lane.
    most: usize,
    /// Somebody takes what is left here.
    open: AtomicBool,
    dropped: AtomicU64,
    sent: AtomicU64,
    filling: Notify,
}

/// The records of one worker, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(Mutex<Vec<u8>>);

impl Spans {
    /// A lane for each of so many workers. Nobody takes what is left in them yet.
    pub fn new(workers: usize) -> Self {
        Self {
            lanes: (0..workers).map(|_| Lane::default()).collect(),
            most: LIMIT / workers.max(1),
            open: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            filling: Notify::new(),
        }
    }

    /// From now on somebody takes what is left here, or nobody.
    pub fn set_open(&self, open: bool) {
        self.open.store(open, Relaxed);
    }

    /// Leaves `records`, of so many spans, in the lane of `worker`: all, or, where there is no room or nobody takes them,
    /// none, which is counted.
    pub fn push(&self, worker: usize, records: &[u8], spans: u64) {
        let Some(lane) = self.lanes.get(worker).filter(|_| self.open.load(Relaxed)) else { return self.lose(spans) };
        let mut lane = locked(&lane.0);
        let before = lane.len();
        if before + records.len() > self.most {
            drop(lane);
            return self.lose(spans);
        }
        lane.extend_from_slice(records);
        let calls = self.most / CALLS;
        if before < calls && lane.len() >= calls {
            drop(lane);
            self.filling.notify_one();
        }
    }

    /// So many spans will not be sent.
    pub fn lose(&self, spans: u64) {
        self.dropped.fetch_add(spans, Relaxed);
    }

    /// So many spans have been taken by the collector.
    pub fn deliver(&self, spans: u64) {
        self.sent.fetch_add(spans, Relaxed);
    }

    /// How many have been dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// How many the collector has taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// Resolves when a lane has filled to a quarter since it was taken.
    pub async fn filling(&self) {
        self.filling.notified().await;
    }

    /// All that was left, in the order of each worker.
    pub fn take(&self) -> Vec<u8> {
        let lanes: Vec<_> = self.lanes.iter().map(|lane| mem::take(&mut *locked(&lane.0))).collect();
        match <[Vec<u8>; 1]>::try_from(lanes) {
            Ok([lane]) => lane,
            Err(lanes) => lanes.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_taken_once() {
        let spans = Spans::new(2);
        spans.set_open(true);
        spans.push(0, b"one", 1);
        spans.push(1, b"two", 2);
        spans.push(0, b"three", 3);
        assert_eq!(spans.take(), b"onethreetwo");
        assert_eq!(spans.take(), b"");
        assert_eq!(spans.dropped(), 0);
    }

    #[test]
    fn what_has_no_room_is_dropped_whole_and_counted() {
        let spans = Spans::new(4);
        spans.set_open(true);
        let piece = vec![0; LIMIT / 4 / 8];
        (0..8).for_each(|_| spans.push(3, &piece, 2));
        assert_eq!(spans.dropped(), 0);
        spans.push(3, b"x", 5);
        assert_eq!((spans.dropped(), spans.take().len()), (5, LIMIT / 4), "one lane's share");
        spans.push(3, b"x", 1);
        assert_eq!((spans.dropped(), spans.take().len()), (5, 1));
    }

    #[test]
    fn while_nobody_takes_them_all_are_dropped() {
        let spans = Spans::new(1);
        spans.push(0, b"x", 1);
        spans.set_open(true);
        spans.push(0, b"y", 1);
        spans.set_open(false);
        spans.push(0, b"z", 1);
        spans.push(7, b"z", 1);
        assert_eq!((spans.take(), spans.dropped()), (b"y".to_vec(), 3));
    }

    #[tokio::test]
    async fn control_is_called_before_there_is_no_room() {
        let spans = Spans::new(1);
        spans.set_open(true);
        spans.push(0, &vec![0; LIMIT / CALLS - 1], 1);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, spans.filling()).await.is_err());
        spans.push(0, b"x", 1);
        tokio::time::timeout(std::time::Duration::from_secs(10), spans.filling()).await.expect("it was called");
    }
}
