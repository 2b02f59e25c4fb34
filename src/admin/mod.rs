//! The admin listener: metrics, health and the API of PRODUCT.md section 11 over hyper, on control's runtime. Not hot.
//!
//! Holds no state but who listens: `answer` reads what control shares with it, `api` sends control a [`Command`], `events`
//! tells what control sees each second, and `dashboard` is the page that shows it. Everything is
//! bounded: connections at a time, the size and number of header fields, the time for a head, a body and control, and
//! the life of a connection, which also ends one whose client does not read.

mod answer;
mod api;
#[cfg(test)]
mod api_tests;
pub mod chaos;
pub mod command;
mod dashboard;
mod events;
pub mod explain;
mod openapi;
mod origin;
mod path;
mod permit;
mod problem;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::answer::Answers;
pub use self::command::Command;
use self::events::Cut;
use self::origin::Names;
pub use self::problem::TEST_FAILED;
use crate::config::Secret;
use crate::telemetry::{locked, metrics::Telemetry};

/// Where the admin API is called.
#[derive(Debug)]
pub enum Listener {
    /// `Host` and `Origin` are checked: a web page must not reach us through a browser.
    Tcp(TcpListener),
    /// The file's permissions say who may.
    Unix(UnixListener),
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything. What changes something needs the token, but on a unix socket; on TCP, `Host` and `Origin` are checked.
    Full,
    /// `metrics_address`: `/metrics`, `/healthz` and `/readyz` alone, for whoever can reach it.
    MetricsOnly,
}

/// What control shares with its admin listeners.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What `/metrics` tells.
    pub telemetry: Arc<Telemetry>,
    /// `server.name`, one of the names that a `Host` may have.
    pub name: String,
    /// What a caller must show to change something; a reload may store another.
    pub token: Arc<ArcSwapOption<Secret>>,
    /// Where control reads.
    pub commands: mpsc::UnboundedSender<Command>,
    /// `/readyz` says 503.
    pub draining: Arc<AtomicBool>,
}

/// The bounds of what a client may take; tests have smaller ones.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; one more is accepted and waits, further ones wait in the kernel's queue.
    connections: usize,
    /// For a whole request head, the wait for its first byte included: short, so that silent connections make room.
    head: Duration,
    /// For a whole body.
    body: Duration,
    /// For control's answer to a command.
    command: Duration,
    /// Then a connection ends after the answer that it is busy with,
    age: Duration,
    /// or is cut this much later.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    connections: 256,
    head: Duration::from_secs(10),
    body: Duration::from_secs(10),
    command: Duration::from_secs(10),
    age: Duration::from_secs(600),
    grace: Duration::from_secs(10),
};

/// Connections that have not asked anything yet, the oldest first: the first to go where there is no room.
type Silent = Arc<Mutex<BTreeMap<u64, Cut>>>;

/// Bytes of a request head.
const HEAD_SIZE: usize = 16 * 1024;
/// Header fields of a request.
const HEADERS: usize = 64;
/// Pause after a failed accept, most likely for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Serves what `access` says on `listener`, without end; dropping the future closes its connections too.
pub async fn serve(listener: Listener, shared: Shared, access: Access) {
    serve_within(LIMITS, listener, shared, access).await;
}

async fn serve_within(limits: Limits, listener: Listener, shared: Shared, access: Access) {
    let full = access == Access::Full;
    let names = (full && matches!(listener, Listener::Tcp(_))).then(|| Names::new(&shared.name));
    let answers = Arc::new(Answers::new(shared, names, full, &limits));
    let (mut connections, silent) = (JoinSet::new(), Silent::default());
    let mut failing = false;
    for number in 0.. {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the admin listener cannot accept; it will go on trying");
                }
                failing = true;
                sleep(REST).await;
                continue;
            }
        };
        failing = false;
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections {
            // Who checks our health must not wait for those who say nothing.
            if let Some((_, oldest)) = locked(&silent).pop_first() {
                oldest.notify_one();
            }
            connections.join_next().await;
        }
        let (held, answers) = (Held::new(&silent, number), Arc::clone(&answers));
        match accepted {
            Accepted::Tcp(stream, from) => {
                connections.spawn(converse(limits, TokioIo::new(stream), Peer::Tcp(from), answers, held))
            }
            Accepted::Unix(stream) => {
                let peer = Peer::Unix(stream.peer_cred().ok().map(|who| who.uid()));
                connections.spawn(converse(limits, TokioIo::new(stream), peer, answers, held))
            }
        };
    }
}

/// A connection's place among the silent ones, until it asks or ends.
struct Held {
    silent: Silent,
    number: u64,
    cut: Cut,
}

impl Held {
    fn new(silent: &Silent, number: u64) -> Self {
        let cut = Cut::default();
        locked(silent).insert(number, Arc::clone(&cut));
        Self { silent: Arc::clone(silent), number, cut }
    }

    fn leave(&self) {
        locked(&self.silent).remove(&self.number);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Tcp(SocketAddr),
    /// The user's number, where the kernel tells it.
    Unix(Option<u32>),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(user)) => write!(f, "unix, user {user}"),
            Self::Unix(None) => f.write_str("unix"),
        }
    }
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, from)| Accepted::Tcp(stream, from)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// One connection, from its accept to its end.
async fn converse(limits: Limits, io: impl Read + Write + Unpin, peer: Peer, answers: Arc<Answers>, held: Held) {
    let cut = Arc::clone(&held.cut);
    let service = service_fn(async |request| {
        held.leave();
        Ok::<_, Infallible>(answers.answer(request, &peer, &cut).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let aged = tokio::select! {
        aged = timeout(limits.age, connection.as_mut()) => aged,
        () = cut.notified() => return,
    };
    let ended = match aged {
        Ok(ended) => ended,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.grace, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection has ended early");
    }
}
