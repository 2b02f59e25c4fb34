//! Holds many slow connections open against a server, whichever it is, and says how other clients fare meanwhile.
//!
//! ```text
//! cargo run --release --example slowloris -- 127.0.0.1:8080 --connections 10000 --pid $(pidof evenkeel)
//! ```
//! Prints one JSON object. `before` is measured without slow connections, `opening` while they come, `during` while they
//! are held: requests on kept connections and requests on fresh ones, paced, each timed from the moment that it was due. A
//! connection that the server closes is opened again in its turn, from the next source address. On loopback the sources are
//! 127.0.1.1 and the following ones; the probe's is 127.0.0.1.

mod attack;
mod modes;
mod probe;

use std::net::{SocketAddr, ToSocketAddrs};
use std::process::exit;
use std::sync::Arc;
use std::time::Duration;

use modes::Mode;
use serde_json::json;

const USAGE: &str = "usage: slowloris HOST:PORT [options]
  --mode MODE         heads (default), silent, idle, bodies, readers, h2-silent, h2-heads, h2-bodies, h2-readers
  --connections N     slow ones (default 10000)
  --rate N            opened in a second, again or for the first time (default 2000)
  --every SECONDS     between two bytes of one of them (default 5)
  --sources N         addresses that they come from, on loopback (default 20)
  --seconds N         for which they are held (default 20)
  --baseline N        seconds of probing before (default 5)
  --probes N          requests a second, half of them on fresh connections (default 200)
  --path PATH         that the probe asks for (default /s)
  --slow-path PATH    that slow readers ask for; should be large (default /l)
  --no-reopen         what the server closes stays closed
  --pid PID           whose memory is told; may be given several times";

/// What is asked for.
pub(crate) struct Options {
    target: SocketAddr,
    mode: Mode,
    connections: usize,
    rate: usize,
    every: Duration,
    sources: u8,
    seconds: Duration,
    baseline: Duration,
    probes: u32,
    path: String,
    slow_path: String,
    reopen: bool,
    pids: Vec<u32>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let target = args.next()?.to_socket_addrs().ok()?.next()?;
        let seconds = |text: String| text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut options = Self {
            target,
            mode: Mode::Heads,
            connections: 10_000,
            rate: 2_000,
            every: Duration::from_secs(5),
            sources: 20,
            seconds: Duration::from_secs(20),
            baseline: Duration::from_secs(5),
            probes: 200,
            path: "/s".into(),
            slow_path: "/l".into(),
            reopen: true,
            pids: Vec::new(),
        };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--mode" => options.mode = Mode::named(&args.next()?)?,
                "--connections" => options.connections = args.next()?.parse().ok()?,
                "--rate" => options.rate = args.next()?.parse().ok().filter(|rate| *rate > 0)?,
                "--every" => options.every = seconds(args.next()?)?,
                "--sources" => options.sources = args.next()?.parse().ok().filter(|sources| *sources > 0)?,
                "--seconds" => options.seconds = seconds(args.next()?)?,
                "--baseline" => options.baseline = seconds(args.next()?)?,
                "--probes" => options.probes = args.next()?.parse().ok().filter(|probes| *probes >= 2)?,
                "--path" => options.path = args.next()?,
                "--slow-path" => options.slow_path = args.next()?,
                "--no-reopen" => options.reopen = false,
                "--pid" => options.pids.push(args.next()?.parse().ok()?),
                _ => return None,
            }
        }
        Some(options)
    }
}

fn main() {
    let Some(options) = Options::parse(std::env::args().skip(1)).map(Arc::new) else {
        eprintln!("{USAGE}");
        exit(2);
    };
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    if files < options.connections as u64 + 100 {
        eprintln!("slowloris: only {files} files may be open: fewer connections, or a higher limit");
        exit(1);
    }
    let before = probe::run(&options, options.baseline);
    let empty = resident(&options.pids);
    let attack = attack::start(&options);
    let opens_for = Duration::from_secs_f64(options.connections as f64 / options.rate as f64);
    let opening = probe::run(&options, opens_for);
    let during = probe::run(&options, options.seconds);
    let held = resident(&options.pids);
    let slow = attack.report();
    let each = held.zip(empty).map(|(held, empty)| held.saturating_sub(empty) * 1024 / slow.open.max(1));
    let ratio = |kind: fn(&probe::Report) -> &probe::Kind| {
        let p99 = |report| kind(report).percentile(0.99).as_secs_f64();
        p99(&during) / p99(&before).max(1e-9)
    };
    let report = json!({
        "target": options.target.to_string(),
        "mode": options.mode.name(),
        "slow": slow.json(options.connections),
        "before": before.json(),
        "opening": opening.json(),
        "during": during.json(),
        "p99_ratio": { "kept": ratio(|report| &report.kept), "fresh": ratio(|report| &report.fresh) },
        "resident_kib": { "before": empty, "during": held },
        "bytes_per_connection": each,
    });
    println!("{report:#}");
}

/// Resident memory of `pids`, KiB.
fn resident(pids: &[u32]) -> Option<u64> {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    let sizes: Option<Vec<u64>> = pids.iter().map(of).collect();
    sizes.filter(|sizes| !sizes.is_empty()).map(|sizes| sizes.iter().sum())
}
