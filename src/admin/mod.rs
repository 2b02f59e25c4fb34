//! The admin listener: `/metrics` and `/healthz` over hyper, on control's runtime. Not hot.
//!
//! Holds no state: `answer` reads what control shares with it. Everything is bounded: connections at a time, the size
//! and number of header fields, the time for a head, and the life of a connection, which also ends one whose client
//! does not read.

mod answer;
mod origin;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::answer::Answers;
use self::origin::Names;
use crate::telemetry::metrics::Telemetry;

/// Where the admin API is called.
#[derive(Debug)]
pub enum Listener {
    /// `Host` and `Origin` are checked: a web page must not reach us through a browser.
    Tcp(TcpListener),
    /// The file's permissions say who may.
    Unix(UnixListener),
}

/// The bounds of what a client may take; tests have smaller ones.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    connections: usize,
    /// For a whole request head, the wait for its first byte included: short, so that silent connections make room.
    head: Duration,
    /// Then a connection ends after the answer that it is busy with,
    age: Duration,
    /// or is cut this much later.
    grace: Duration,
}

const LIMITS: Limits = Limits {
    connections: 256,
    head: Duration::from_secs(10),
    age: Duration::from_secs(600),
    grace: Duration::from_secs(10),
};

/// Bytes of a request head.
const HEAD_SIZE: usize = 16 * 1024;
/// Header fields of a request.
const HEADERS: usize = 64;
/// Pause after a failed accept, most likely for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// Serves the admin API on `listener`, without end; dropping the future closes its connections too. `server_name` is
/// `server.name`, one of the names that a `Host` may have.
pub async fn serve(listener: Listener, telemetry: Arc<Telemetry>, server_name: String) {
    serve_within(LIMITS, listener, telemetry, &server_name).await;
}

async fn serve_within(limits: Limits, listener: Listener, telemetry: Arc<Telemetry>, server_name: &str) {
    let names = matches!(listener, Listener::Tcp(_)).then(|| Names::new(server_name));
    let answers = Arc::new(Answers::new(telemetry, names));
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= limits.connections {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok(Accepted::Tcp(stream)) => connections.spawn(converse(limits, TokioIo::new(stream), answers.clone())),
            Ok(Accepted::Unix(stream)) => connections.spawn(converse(limits, TokioIo::new(stream), answers.clone())),
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
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// One connection, from its accept to its end.
async fn converse(limits: Limits, io: impl Read + Write + Unpin, answers: Arc<Answers>) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answers.answer(&request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_SIZE)
        .max_headers(HEADERS)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let ended = match timeout(limits.age, connection.as_mut()).await {
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
