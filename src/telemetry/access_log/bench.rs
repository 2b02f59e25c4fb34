//! Entry points for benches/access_log.rs: parts of the log that nothing else needs to call from outside.

use std::thread;
use std::time::Duration;

use super::line::Formatter;
use super::record::{self, Record};
use super::{AccessLog, Entry, Format, Writer};

/// Makes the record of `entry` as a worker does, in memory that is warm. Says how long it is.
pub fn record(entry: &Entry<'_>) -> impl FnMut() -> usize {
    let mut records = Vec::new();
    move || {
        records.clear();
        record::encode(entry, &mut records);
        records.len()
    }
}

/// Makes the line of `entry` as the log's thread does, again with each call. Says how long it is.
pub fn line(format: Format, entry: &Entry<'_>) -> impl FnMut() -> usize + use<> {
    let (mut records, mut out) = (Vec::new(), Vec::new());
    record::encode(entry, &mut records);
    let mut formatter = Formatter::new(format, "lb-1");
    move || {
        out.clear();
        let (record, _) = Record::split(&records).expect("there is one");
        formatter.line(&record, &mut out);
        out.len()
    }
}

/// Waits until everything is written.
pub fn settle(log: &AccessLog, writer: &Writer) {
    writer.flush();
    while log.queued() > 0 {
        log.shared.news();
        thread::sleep(Duration::from_millis(1));
    }
}
