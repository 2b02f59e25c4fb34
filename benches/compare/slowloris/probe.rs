//! Other clients: requests at a steady pace, half of them on kept connections and half on fresh ones.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Options;

/// Clients that take turns: one that waits does not hold up the others.
const CLIENTS: u32 = 16;
/// No answer by then is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests of one kind.
#[derive(Debug, Default)]
pub(crate) struct Kind {
    /// Sorted.
    times: Vec<Duration>,
    errors: Vec<String>,
}

/// How they fared.
pub(crate) struct Report {
    pub(crate) kept: Kind,
    pub(crate) fresh: Kind,
}

impl Kind {
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let at = (self.times.len() as f64 * share).ceil() as usize;
        self.times.get(at.saturating_sub(1)).copied().unwrap_or_default()
    }

    fn json(&self) -> Value {
        let micros = |time: Duration| time.as_micros() as u64;
        json!({
            "requests": self.times.len() + self.errors.len(),
            "errors": self.errors.len(),
            "an_error": self.errors.first(),
            "p50_us": micros(self.percentile(0.5)),
            "p99_us": micros(self.percentile(0.99)),
            "max_us": micros(self.percentile(1.0)),
        })
    }
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        json!({ "kept": self.kept.json(), "fresh": self.fresh.json() })
    }
}

/// Probes for so long.
pub(crate) fn run(options: &Options, time: Duration) -> Report {
    let (kept, fresh) = <(Mutex<Kind>, Mutex<Kind>)>::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let kind = if number % 2 == 0 { (&kept, true) } else { (&fresh, false) };
            scope.spawn(move || client(options, start, time, number, kind));
        }
    });
    let sorted = |kind: Mutex<Kind>| {
        let mut kind = kind.into_inner().expect("no client panics");
        kind.times.sort_unstable();
        kind
    };
    Report { kept: sorted(kept), fresh: sorted(fresh) }
}

/// One client's requests: each is timed from when it was due, so that one that waits is not left out.
fn client(options: &Options, start: Instant, time: Duration, number: u32, (kind, keeps): (&Mutex<Kind>, bool)) {
    let pace = Duration::from_secs(1) / options.probes;
    let mut stream = None;
    for turn in 0.. {
        let due = start + pace * (turn * CLIENTS + number);
        if due >= start + time {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = match start.elapsed() < time + PATIENCE {
            true => ask(options, &mut stream, keeps),
            false => Err(io::Error::other("it could not even be asked in time")),
        };
        let took = due.elapsed();
        let mut kind = kind.lock().expect("no client panics");
        match asked {
            Ok(()) => kind.times.push(took),
            Err(error) => {
                stream = None;
                kind.errors.push(error.to_string());
            }
        }
    }
}

fn ask(options: &Options, kept: &mut Option<TcpStream>, keeps: bool) -> io::Result<()> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect_timeout(&options.target, PATIENCE)?,
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let end = if keeps { "" } else { "Connection: close\r\n" };
    write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\n{end}\r\n", options.path, options.target)?;
    answer(&mut stream)?;
    if keeps {
        *kept = Some(stream);
    }
    Ok(())
}

/// Reads an answer of 200 with a Content-Length.
fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        read(stream, &mut bytes)?;
    };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.get(8..12) != Some(" 200") {
        return Err(io::Error::other(text.lines().next().unwrap_or_default().to_owned()));
    }
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    while bytes.len() < head + length {
        read(stream, &mut bytes)?;
    }
    Ok(())
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = [0; 4096];
    match stream.read(&mut piece) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(n) => {
            bytes.extend_from_slice(&piece[..n]);
            Ok(())
        }
        Err(error) => Err(error),
    }
}
