//! gRPC through evenkeel: what tonic's clients and servers, or bare frames, have of it between them.

mod cancel;
mod deadlines;
mod failures;
mod health;
mod metadata;
mod reload;
mod retries;
mod service;
mod shapes;
mod silence;

use std::net::SocketAddr;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use http::request::Builder;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use self::service::{Backend, Caller, Text, text};
use crate::support::{Evenkeel, Setup, h2};

/// A pool of HTTP/2 backends with further keys.
fn pool(addresses: &[SocketAddr], lines: &str) -> Setup {
    Setup::to(addresses).one_worker().pool("protocol = \"h2\"").pool(lines)
}

fn in_front_of(backend: &Backend) -> Evenkeel {
    pool(&[backend.address()], "").start()
}

/// What a client says, as a stream, and how it goes on.
fn open() -> (mpsc::Sender<Text>, ReceiverStream<Text>) {
    let (say, said) = mpsc::channel(4);
    (say, ReceiverStream::new(said))
}

/// The head of a call, for clients that are no gRPC libraries.
fn call(path: &str) -> Builder {
    h2::to("POST", path).header("content-type", "application/grpc").header("te", "trailers")
}

/// Waits until `condition` holds, while this thread's connections go on; the story's own time bounds it.
async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Counts when it is dropped: how a handler that is given up can be seen.
struct Gone(Arc<AtomicUsize>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}
