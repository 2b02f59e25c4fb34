//! What workers and the log's thread share. Hot path: a worker takes one lock, of a lane that only it and, for the
//! moment of a swap, the log's thread touch; the count of queued bytes is shared by all, and asked once in [`GRANT`] bytes.

use std::mem;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

use tokio::sync::Notify;

use super::line::Formatter;
use super::output::Output;
use super::record::{self, encode};
use super::{Entry, LIMIT, Overflow};
use crate::telemetry::locked;

/// A lane asks for so many bytes of [`LIMIT`] at once; what it has not used goes back when the lane is taken.
const GRANT: usize = 4 * 1024;
/// From so many bytes on, lines are written without a pause: they are still in the processor's cache.
const URGENT: usize = LIMIT / 16;
/// Up to so many bytes, those who wait for room are let go: any record fits then.
const ROOM: usize = LIMIT - record::LONGEST;

/// Shared by the handle, every writer, and the log's thread.
#[derive(Debug)]
pub(super) struct Shared {
    bell: Bell,
    /// Bytes of records that are queued, or granted to a lane.
    used: AtomicUsize,
    /// [`Overflow::Wait`].
    waits: AtomicBool,
    closed: AtomicBool,
    dropped: AtomicU64,
    /// Told when there is room again.
    room: Notify,
    /// Never locked by a worker that serves.
    control: Mutex<Control>,
}

#[derive(Debug, Default)]
struct Control {
    lanes: Vec<Arc<Lane>>,
    commands: Vec<Command>,
    stop: bool,
}

/// What the log's thread is asked to do. Done in order, after what was queued before.
#[derive(Debug)]
pub(super) enum Command {
    Reopen,
    Replace(Box<Replacement>),
}

/// From now on, another place or form.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) output: Output,
    pub(super) formatter: Formatter,
    /// The records that were queued before: they go to the old place in the old form.
    pub(super) before: Vec<Vec<u8>>,
}

/// What the log's thread is to do next.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) commands: Vec<Command>,
    /// The last one.
    pub(super) stop: bool,
}

impl Shared {
    pub(super) fn new(overflow: Overflow) -> Self {
        Self {
            bell: Bell::default(),
            used: AtomicUsize::new(0),
            waits: AtomicBool::new(overflow == Overflow::Wait),
            closed: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            room: Notify::new(),
            control: Mutex::default(),
        }
    }

    /// The thread that is woken; once.
    pub(super) fn set_thread(&self, thread: Thread) {
        let _ = self.bell.thread.set(thread);
    }

    /// A lane for one worker.
    pub(super) fn lane(&self) -> Arc<Lane> {
        let lane = Arc::new(Lane::default());
        locked(&self.control).lanes.push(Arc::clone(&lane));
        lane
    }

    /// Queues `entry` on `lane`; `false` = there is no room.
    pub(super) fn push(&self, lane: &Lane, entry: &Entry<'_>) -> bool {
        let mut queue = locked(&lane.queue);
        let queued = queue.records.len();
        encode(entry, &mut queue.records);
        let length = queue.records.len() - queued;
        if length > queue.granted {
            match self.grant(length - queue.granted) {
                Some(bytes) => queue.granted += bytes,
                None => {
                    queue.records.truncate(queued);
                    drop(queue);
                    self.bell.ring(Bell::URGENT);
                    return false;
                }
            }
        }
        queue.granted -= length;
        true
    }

    /// Something was queued: the log's thread is to look soon.
    pub(super) fn news(&self) {
        self.bell.ring(Bell::NEWS);
    }

    /// `needed` bytes of [`LIMIT`], more where there are more.
    fn grant(&self, needed: usize) -> Option<usize> {
        for bytes in [needed.max(GRANT), needed] {
            let more = |used: usize| used.checked_add(bytes).filter(|&used| used <= LIMIT);
            let Ok(before) = self.used.fetch_update(SeqCst, Relaxed, more) else { continue };
            if before + bytes >= URGENT {
                self.bell.ring(Bell::URGENT);
            }
            return Some(bytes);
        }
        None
    }

    /// `bytes` are no longer queued. By the log's thread.
    pub(super) fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, SeqCst);
        if before - bytes <= ROOM {
            self.room.notify_waiters();
        }
    }

    /// Resolves when a push is worth a try.
    pub(super) async fn room(&self) {
        loop {
            // Enlisted before looking: who makes room after the look finds us.
            let mut told = std::pin::pin!(self.room.notified());
            told.as_mut().enable();
            if self.used.load(SeqCst) <= ROOM || !self.waits() {
                return;
            }
            told.await;
        }
    }

    /// Bytes that are queued or granted.
    pub(super) fn used(&self) -> usize {
        // A closed log has LIMIT more, so that nothing is granted.
        let used = self.used.load(SeqCst);
        if self.closed.load(SeqCst) { used.saturating_sub(LIMIT) } else { used }
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(SeqCst)
    }

    fn set_overflow(&self, overflow: Overflow) {
        self.waits.store(overflow == Overflow::Wait && !self.closed.load(SeqCst), SeqCst);
        self.room.notify_waiters();
    }

    pub(super) fn drop_lines(&self, lines: u64) {
        self.dropped.fetch_add(lines, Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(super) fn reopen(&self) {
        locked(&self.control).commands.push(Command::Reopen);
        self.bell.ring(Bell::URGENT);
    }

    /// Everything pushed until now goes to the old place in the old form, everything pushed from now on to the new.
    pub(super) fn replace(&self, output: Output, formatter: Formatter, overflow: Overflow) {
        let mut control = locked(&self.control);
        let mut before = Vec::new();
        let unused = control.take(&mut before, &mut Vec::new());
        control.commands.push(Command::Replace(Box::new(Replacement { output, formatter, before })));
        drop(control);
        self.release(unused);
        self.set_overflow(overflow);
        self.bell.ring(Bell::URGENT);
    }

    /// From now on every push is refused and counted, and nobody waits.
    pub(super) fn close(&self) {
        if !self.closed.swap(true, SeqCst) {
            self.used.fetch_add(LIMIT, SeqCst);
            self.set_overflow(Overflow::Drop);
        }
    }

    /// Ends the log's thread once all is written.
    pub(super) fn stop(&self) {
        self.close();
        locked(&self.control).stop = true;
        self.bell.ring(Bell::URGENT);
    }

    /// Sleeps until there is something to do: at once if it is urgent, else not before `earliest`. By the log's thread.
    pub(super) fn wait(&self, earliest: Instant) {
        self.bell.wait(|| match self.used.load(Relaxed) >= URGENT {
            true => None,
            false => earliest.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        });
    }

    /// Moves all records into `taken`, in exchange for `spare` memory. By the log's thread.
    pub(super) fn take(&self, taken: &mut Vec<Vec<u8>>, spare: &mut Vec<Vec<u8>>) -> Round {
        let mut control = locked(&self.control);
        let unused = control.take(taken, spare);
        let round = Round { commands: mem::take(&mut control.commands), stop: control.stop };
        drop(control);
        self.release(unused);
        round
    }
}

impl Control {
    /// Moves all records into `taken`; returns the bytes that were granted and not used. Lanes without a writer go.
    fn take(&mut self, taken: &mut Vec<Vec<u8>>, spare: &mut Vec<Vec<u8>>) -> usize {
        let mut unused = 0;
        self.lanes.retain_mut(|lane| {
            let has_writer = Arc::get_mut(lane).is_none();
            let mut queue = locked(&lane.queue);
            unused += mem::take(&mut queue.granted);
            if !queue.records.is_empty() {
                taken.push(mem::replace(&mut queue.records, spare.pop().unwrap_or_default()));
            }
            has_writer
        });
        unused
    }
}

/// The queue of one worker, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Lane {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    records: Vec<u8>,
    /// Bytes of [`LIMIT`] that this lane may still use.
    granted: usize,
}

/// Wakes the log's thread, at most twice between two of its looks: once for news, once for what is urgent.
#[derive(Debug, Default)]
struct Bell {
    state: AtomicU8,
    thread: OnceLock<Thread>,
}

impl Bell {
    const QUIET: u8 = 0;
    const NEWS: u8 = 1;
    const URGENT: u8 = 2;

    fn ring(&self, level: u8) {
        if self.state.fetch_max(level, AcqRel) < level
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Sleeps until it has rung, and then as long as `pause` says so and nothing urgent comes.
    fn wait(&self, pause: impl Fn() -> Option<std::time::Duration>) {
        while self.state.load(Acquire) == Self::QUIET {
            thread::park();
        }
        while self.state.load(Acquire) < Self::URGENT
            && let Some(left) = pause()
        {
            thread::park_timeout(left);
        }
        self.state.swap(Self::QUIET, AcqRel);
    }
}
