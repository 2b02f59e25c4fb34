//! The access log: a line for each exchange (PRODUCT.md section 10), as JSON or in the combined format.
//!
//! A worker copies what an exchange was into a lane of its own ([`Writer::push`]: bytes, no formatting); one thread takes
//! the lanes of all workers, makes the lines and writes them, many at once. So a slow disk is no worker's concern: what
//! it cannot take is queued, up to [`LIMIT`] bytes in the process, and beyond that dropped and counted, or waited for.
//!
//! Started, re-opened and changed by control; pushed to by workers, each with a [`Writer`] of its own, which they flush
//! when they have nothing else to do and in a sweep every 100 ms. The thread sleeps until then, and looks at most every
//! 50 ms while little is queued.

pub mod bench;
mod drain;
mod entry;
mod escape;
mod line;
mod output;
mod queue;
mod record;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::drain::Drain;
pub use self::entry::Entry;
use self::line::Formatter;
use self::output::Output;
use self::queue::{Lane, Shared};

/// How many bytes of exchanges may wait to be written, in the process. About 10,000 lines.
pub const LIMIT: usize = 4 * 1024 * 1024;

/// How long the end of the log waits for the last lines to be taken.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where lines go, in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where they go.
    pub sink: Sink,
    /// What they look like.
    pub format: Format,
    /// What becomes of those that there is no room for.
    pub overflow: Overflow,
    /// The name of this instance.
    pub instance: String,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The end of that file, made with mode 0640 if there is none.
    File(PathBuf),
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// The combined format of Apache and nginx, with each extra field in quotes behind it.
    Combined,
}

/// What becomes of a line that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is dropped and counted.
    Drop,
    /// Its exchange waits.
    Wait,
}

/// The access log of the process. When it is dropped, everything queued is written, for 5 s at most, and the thread ends;
/// what is pushed later counts as dropped.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Ends with the thread.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl AccessLog {
    /// Opens the sink and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread started.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let (output, formatter) = open(&settings)?;
        let shared = Arc::new(Shared::new(settings.overflow));
        let drain = Drain::new(Arc::clone(&shared), output, formatter);
        let (alive, ended) = mpsc::channel();
        let thread = thread::Builder::new().name("access-log".into()).spawn(move || drain.run(alive))?;
        shared.set_thread(thread.thread().clone());
        Ok(Self { shared, thread: Some(thread), ended: Mutex::new(ended) })
    }

    /// What one worker writes with.
    pub fn writer(&self) -> Writer {
        Writer { shared: Arc::clone(&self.shared), lane: self.shared.lane(), news: Cell::new(false) }
    }

    /// Opens the file anew, soon, by the log's thread: after it was renamed, every line goes whole to either the old file
    /// or the new. If it cannot be opened that is logged, and the old one goes on.
    pub fn reopen(&self) {
        self.shared.reopen();
    }

    /// Everything pushed until now goes to the old place in the old form, everything pushed later to the new.
    ///
    /// # Errors
    /// The new file cannot be opened; nothing has changed.
    pub fn reconfigure(&self, settings: Settings) -> io::Result<()> {
        let (output, formatter) = open(&settings)?;
        self.shared.replace(output, formatter, settings.overflow);
        Ok(())
    }

    /// How many lines were dropped, for want of room or because they could not be written.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped()
    }

    /// How many bytes of exchanges wait to be written, [`LIMIT`] at most. Up to 4 KiB a worker count although they are
    /// free, until its next lines are taken.
    pub fn queued(&self) -> usize {
        self.shared.used()
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.stop();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST_LINES) == Err(mpsc::RecvTimeoutError::Timeout) {
            let bytes = self.shared.used();
            return tracing::error!(bytes, "the access log's last lines are not taken: they are lost");
        }
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was counted where it happened.
            let _ = thread.join();
        }
    }
}

fn open(settings: &Settings) -> io::Result<(Output, Formatter)> {
    Ok((Output::open(&settings.sink)?, Formatter::new(settings.format, &settings.instance)))
}

/// One worker's way into the log.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    /// Something was pushed since the last flush.
    news: Cell<bool>,
}

impl Writer {
    /// Queues the line of `entry`. `false` = there is no room: the line is dropped and counted, or, under
    /// [`Overflow::Wait`], is to be pushed again after [`Writer::ready`]. Hot path.
    pub fn push(&self, entry: &Entry<'_>) -> bool {
        let pushed = self.shared.push(&self.lane, entry);
        if pushed {
            self.news.set(true);
        } else if !self.shared.waits() {
            self.shared.drop_lines(1);
        }
        pushed
    }

    /// Queues the line of `entry`, and waits for room under [`Overflow::Wait`]. `false` = it was dropped. A reload may
    /// change from one to the other meanwhile: each line is written or counted once.
    pub async fn write(&self, entry: &Entry<'_>) -> bool {
        while !self.shared.push(&self.lane, entry) {
            if !self.shared.waits() {
                self.shared.drop_lines(1);
                return false;
            }
            self.shared.room().await;
        }
        self.news.set(true);
        true
    }

    /// Resolves when there is room, and at once under [`Overflow::Drop`]. Others may be faster: a push may fail again.
    pub async fn ready(&self) {
        self.shared.room().await;
    }

    /// Has what was pushed written within 50 ms. For a worker that goes idle, and for its sweep.
    pub fn flush(&self) {
        if self.news.take() {
            self.shared.news();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}
