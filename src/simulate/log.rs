//! The access log of evenkeel as traffic: `ts`, `duration_ms`, `bytes_out` and `client_ip` of its JSON lines.

use super::random::Bits;
use crate::balance::hash;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::HashMap,
    error, fmt,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What is read of a line.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    ts: Cow<'l, str>,
    duration_ms: f64,
    #[serde(default)]
    bytes_out: u64,
    #[serde(borrow, default)]
    client_ip: Cow<'l, str>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Logged {
    /// When it came, in nanoseconds from the first.
    pub(super) at: u64,
    /// Its place in the list of clients.
    pub(super) client: u32,
    /// Bytes of its answer.
    pub(super) size: u64,
    /// How long it took, in nanoseconds.
    pub(super) service: u64,
}

/// All of them, in the order of their times.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) lines: Vec<Logged>,
    /// What each client is hashed by.
    pub(super) clients: Vec<u64>,
}

/// A log that cannot be used.
#[derive(Debug)]
pub struct LogError {
    file: PathBuf,
    line: usize,
    why: String,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.why),
            line => write!(f, "{}:{line}: {}", self.file.display(), self.why),
        }
    }
}

impl error::Error for LogError {}

impl Log {
    /// Reads the file at `path`, `speed` times as fast.
    pub(super) fn load(path: &Path, speed: f64) -> Result<Self, LogError> {
        let error = |line, why: String| LogError { file: path.to_path_buf(), line, why };
        let file = File::open(path).map_err(|why| error(0, format!("the log cannot be read: {why}")))?;
        Self::read(BufReader::new(file), speed).map_err(|(line, why)| error(line, why))
    }

    /// An error is the number of its line, or 0 for all of them, and what is wrong.
    fn read(mut text: impl BufRead, speed: f64) -> Result<Self, (usize, String)> {
        let (mut lines, mut clients, mut places) = (Vec::new(), Vec::new(), HashMap::new());
        // Times are written in milliseconds: within one they spread evenly.
        let (mut line, mut bits) = (Vec::new(), Bits::new(0));
        for number in 1.. {
            line.clear();
            let read = |why: io::Error| (number, format!("the log cannot be read: {why}"));
            if text.read_until(b'\n', &mut line).map_err(read)? == 0 {
                break;
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let (came, parsed) = parse(&line).map_err(|why| (number, why))?;
            let client = *places.entry(hash(parsed.client_ip.as_bytes())).or_insert_with_key(|key| {
                clients.push(*key);
                clients.len() as u32 - 1
            });
            let at = ((came + bits.below(1_000_000)) as f64 / speed) as u64;
            let service = Duration::from_secs_f64(parsed.duration_ms / 1e3).as_nanos() as u64;
            lines.push(Logged { at, client, size: parsed.bytes_out, service: service.max(1) });
        }
        lines.sort_by_key(|line| line.at);
        let Some(first) = lines.first().map(|first| first.at) else { return Err((0, "the log is empty".into())) };
        lines.iter_mut().for_each(|line| line.at -= first);
        Ok(Self { lines, clients })
    }
}

/// When it came, in nanoseconds since 1970, and the rest.
fn parse(line: &[u8]) -> Result<(u64, Line<'_>), String> {
    let parsed: Line<'_> = serde_json::from_slice(line)
        .map_err(|why| format!("this is no line of evenkeel's access log in JSON (access_format = \"json\"): {why}"))?;
    let time: SystemTime =
        humantime::parse_rfc3339(&parsed.ts).map_err(|why| format!("`ts` is no time of RFC 3339: {why}"))?;
    if !(0.0..=1e9).contains(&parsed.duration_ms) {
        return Err(format!("`duration_ms` is {}, which no request takes", parsed.duration_ms));
    }
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok((u64::try_from(since.as_nanos()).unwrap_or(u64::MAX / 2), parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"ts":"2026-11-21T10:00:02.000Z","instance":"a","client_ip":"192.0.2.1","status":200,"bytes_in":0,"bytes_out":4096,"duration_ms":12.5}

{"ts":"2026-11-21T10:00:01.000Z","client_ip":"192.0.2.2","bytes_out":1,"duration_ms":1,"generation":1}
{"ts":"2026-11-21T10:00:03.000Z","client_ip":"192.0.2.1","duration_ms":0.25}
"#;

    #[test]
    fn our_own_lines_are_read_in_the_order_of_their_times() {
        let log = Log::read(LINES.as_bytes(), 2.0).unwrap();
        let near = |at: u64, wanted: f64| (at as f64 / 1e9 - wanted).abs() < 0.001;
        assert!(log.lines[0].at == 0 && near(log.lines[1].at, 0.5) && near(log.lines[2].at, 1.0), "{log:?}");
        let wants: Vec<_> = log.lines.iter().map(|line| (line.size, line.service)).collect();
        assert_eq!(wants, [(1, 1_000_000), (4096, 12_500_000), (0, 250_000)]);
        assert_eq!(log.clients, [hash(b"192.0.2.1"), hash(b"192.0.2.2")]);
        assert_eq!(log.lines.iter().map(|line| line.client).collect::<Vec<_>>(), [1, 0, 0]);
    }

    #[test]
    fn what_is_no_log_is_told_with_its_line() {
        let wrong = |line: &str| Log::read(format!("{LINES}{line}\n").as_bytes(), 1.0).unwrap_err();
        for (line, word) in [
            ("10.0.0.1 - - [21/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 1", "JSON"),
            ("{\"duration_ms\": 1}", "ts"),
            ("{\"ts\": \"yesterday\", \"duration_ms\": 1}", "RFC 3339"),
            ("{\"ts\": \"2026-11-21T10:00:03Z\", \"duration_ms\": -1}", "-1"),
        ] {
            let (number, why) = wrong(line);
            assert!(number == 5 && why.contains(word), "{number}: {why}");
        }
        assert_eq!(Log::read(&b"\n\n"[..], 1.0).unwrap_err().0, 0);
    }
}
