//! The log's thread: takes the records of all workers, makes lines of them, and writes these in large pieces.

use std::mem;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::line::Formatter;
use super::output::{Lost, Output};
use super::queue::{Command, Shared};
use super::record::Record;

/// The least time between two looks, unless much is queued: lines are written together.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines are written when they are so many bytes.
const WRITE: usize = 64 * 1024;
/// Memory of this size or less is kept for the next records: what a lane needs while the sink keeps up.
const KEEP: usize = 512 * 1024;
/// A failure to write is said so often at most.
const SAY: Duration = Duration::from_secs(60);

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Drain {
    shared: Arc<Shared>,
    output: Output,
    formatter: Formatter,
    /// Empty memory for records.
    spare: Vec<Vec<u8>>,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    complaint: Complaint,
}

impl Drain {
    pub(super) fn new(shared: Arc<Shared>, output: Output, formatter: Formatter) -> Self {
        Self {
            shared,
            output,
            formatter,
            spare: Vec::new(),
            lines: Vec::with_capacity(2 * WRITE),
            complaint: Complaint::default(),
        }
    }

    /// Until the log is stopped. `_ended` tells by its end that the thread's has come.
    pub(super) fn run(mut self, _ended: mpsc::Sender<()>) {
        let mut earliest = Instant::now();
        loop {
            self.shared.wait(earliest);
            if self.round() {
                break;
            }
            earliest = Instant::now() + PAUSE;
        }
        let finished = self.output.finish();
        self.settle(finished);
    }

    /// Writes all there is. Says whether it was the last time.
    fn round(&mut self) -> bool {
        let mut taken = Vec::new();
        let round = self.shared.take(&mut taken, &mut self.spare);
        for command in round.commands {
            match command {
                Command::Reopen => self.reopen(),
                Command::Replace(mut new) => {
                    self.write_all(mem::take(&mut new.before));
                    let finished = self.output.finish();
                    self.settle(finished);
                    (self.output, self.formatter) = (new.output, new.formatter);
                }
            }
        }
        self.write_all(taken);
        round.stop
    }

    /// Writes the lines of all `records`, and keeps their memory.
    fn write_all(&mut self, records: Vec<Vec<u8>>) {
        let mut queued = 0;
        for mut lane in records {
            let mut rest = lane.as_slice();
            while let Some((record, behind)) = Record::split(rest) {
                rest = behind;
                queued += record.length();
                self.formatter.line(&record, &mut self.lines);
                if self.lines.len() >= WRITE {
                    self.write(mem::take(&mut queued));
                }
            }
            if lane.capacity() <= KEEP {
                lane.clear();
                self.spare.push(lane);
            }
        }
        self.write(queued);
    }

    /// Writes the lines that were `queued` bytes of records.
    fn write(&mut self, queued: usize) {
        let written = self.output.write(&self.lines);
        self.lines.clear();
        self.lines.shrink_to(2 * WRITE); // after a line of many MiB
        self.shared.release(queued);
        self.settle(written);
    }

    fn reopen(&mut self) {
        match self.output.reopen() {
            Ok(finished) => self.settle(finished),
            Err(error) => {
                tracing::error!(file = self.output.name(), %error, "the access log cannot be opened anew: the old file goes on");
            }
        }
    }

    /// Counts what is lost, and says so, but not too often.
    fn settle(&mut self, written: Result<(), Lost>) {
        let Err(lost) = written else { return };
        self.shared.drop_lines(lost.lines);
        if let Some(lines) = self.complaint.due(lost.lines, Instant::now()) {
            let file = self.output.name();
            tracing::error!(file, lines, error = %lost.error, "the access log cannot be written: lines are lost");
        }
    }
}

impl Drop for Drain {
    /// The thread ends, be it by a panic: nobody waits for it any more, and what comes is counted as dropped.
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// How many lines were lost since it was last said, and when that was.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<Instant>,
    lines: u64,
}

impl Complaint {
    /// `lines` more are lost. The number to be said, if it is time.
    fn due(&mut self, lines: u64, now: Instant) -> Option<u64> {
        self.lines += lines;
        if self.said.is_some_and(|said| now < said + SAY) {
            return None;
        }
        self.said = Some(now);
        Some(mem::take(&mut self.lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_at_once_and_then_at_most_once_a_minute_with_all_that_was_lost() {
        let (mut complaint, start) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.due(3, start), Some(3));
        assert_eq!(complaint.due(5, start + Duration::from_secs(1)), None);
        assert_eq!(complaint.due(7, start + Duration::from_secs(59)), None);
        assert_eq!(complaint.due(1, start + SAY), Some(13));
        assert_eq!(complaint.due(1, start + SAY + Duration::from_secs(1)), None);
    }
}
