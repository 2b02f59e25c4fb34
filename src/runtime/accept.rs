//! Accepts on one worker, and hands a fresh connection to another that has clearly fewer. Hot path for connections.

use super::{Message, Phase, Shared, worker::Worker};
use crate::net::{self, Accepted, Listening, Permit, accept_ready};
use std::{
    io,
    net::TcpListener,
    os::unix::net::UnixListener,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::io::unix::AsyncFd;

/// A rest after the descriptors have run out.
const REST: Duration = Duration::from_millis(50);
/// Handing over pays only on a clear gap: at least so many connections more, and half as many again.
const GAP: usize = 16;
/// Connections that are accepted in a row before others have their turn.
const BATCH: usize = 64;

/// TCP sockets by worker, and unix sockets for control, each with its listener's number.
pub(super) type Dealt = (Vec<Vec<(usize, TcpListener)>>, Vec<(usize, UnixListener)>);

/// Deals the sockets out.
pub(super) fn deal(bound: Vec<Listening>, workers: usize) -> Dealt {
    let mut tcp: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    let mut unix = Vec::new();
    for (number, listening) in bound.into_iter().enumerate() {
        match listening {
            Listening::Tcp(sockets) => {
                sockets.into_iter().zip(&mut tcp).for_each(|(socket, worker)| worker.push((number, socket)));
            }
            Listening::Unix(socket) => unix.push((number, socket)),
        }
    }
    (tcp, unix)
}

/// Accepts on `socket` until the process drains.
pub(super) async fn tcp(worker: Rc<Worker>, listener: usize, socket: TcpListener) {
    let address = socket.local_addr().ok();
    let socket = match net::watch(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = worker.listener_name(listener), %error, "cannot wait for connections");
            return;
        }
    };
    let mut draining = pin!(draining(&worker.shared));
    loop {
        let ready = tokio::select! {
            biased;
            ready = socket.readable() => ready,
            _ = &mut draining => return last(&worker, socket.get_ref(), listener, address),
        };
        let Ok(mut ready) = ready else { return };
        // Only now that somebody is there: a place that is held in waiting is one that nobody has.
        let (of_listener, of_process) = room(&worker.shared, listener).await;
        match accept_ready(socket.get_ref()) {
            Ok(Accepted::Connection(stream, peer)) => {
                worker.place(Message::Connection(stream, peer, listener, of_listener, of_process), address);
                more(&worker, &socket, listener, address).await;
            }
            Ok(Accepted::Empty) => ready.clear_ready(),
            Ok(Accepted::Exhausted(error)) | Err(error) => {
                drop((of_listener, of_process));
                rest(&worker, listener, &error).await;
            }
        }
    }
}

/// What has come before the listener goes is still served.
fn last(worker: &Rc<Worker>, socket: &TcpListener, listener: usize, address: Option<std::net::SocketAddr>) {
    while let Some((of_listener, of_process)) = room_now(&worker.shared, listener) {
        let Ok(Accepted::Connection(stream, peer)) = accept_ready(socket) else { return };
        worker.place(Message::Connection(stream, peer, listener, of_listener, of_process), address);
    }
}

/// Takes what else is waiting: one accept a turn is measurably slower.
async fn more(
    worker: &Rc<Worker>,
    socket: &AsyncFd<TcpListener>,
    listener: usize,
    address: Option<std::net::SocketAddr>,
) {
    for _ in 1..BATCH {
        let Some((of_listener, of_process)) = room_now(&worker.shared, listener) else { return };
        match accept_ready(socket.get_ref()) {
            Ok(Accepted::Connection(stream, peer)) => {
                worker.place(Message::Connection(stream, peer, listener, of_listener, of_process), address);
            }
            // What is wrong shows again in the next turn, and is said there.
            Ok(Accepted::Empty | Accepted::Exhausted(_)) | Err(_) => break,
        }
    }
    tokio::task::yield_now().await;
}

/// The right to one more connection, of the listener and of the process, as soon as there is one.
pub(super) async fn room(shared: &Shared, listener: usize) -> (Permit, Permit) {
    if let Some(permits) = room_now(shared, listener) {
        return permits;
    }
    let of_listener = shared.listeners[listener].wait().await;
    (of_listener, shared.clients.wait().await)
}

fn room_now(shared: &Shared, listener: usize) -> Option<(Permit, Permit)> {
    Some((shared.listeners[listener].take()?, shared.clients.take()?))
}

/// The worker that a fresh connection goes to, if it is not this one.
pub(super) fn lighter(workers: &[AtomicUsize], own: usize) -> Option<usize> {
    let open = |worker: &usize| workers[*worker].load(Relaxed);
    let mine = open(&own);
    if mine < GAP {
        return None;
    }
    let best = (0..workers.len()).min_by_key(open)?;
    let least = open(&best);
    (best != own && mine >= least + GAP && 2 * mine > 3 * least).then_some(best)
}

/// Rests after a failure to accept. Says so at most once a minute, whichever workers and listeners meet it.
async fn rest(worker: &Worker, listener: usize, error: &io::Error) {
    if worker.shared.may_complain() {
        tracing::warn!(listener = worker.listener_name(listener), %error, "cannot accept, resting");
    }
    tokio::time::sleep(REST).await;
}

/// Accepts on a unix socket, for all workers in turn. Runs on control.
pub(super) async fn unix(shared: Arc<Shared>, listener: usize, socket: UnixListener) {
    let Ok(socket) = tokio::net::UnixListener::from_std(socket) else { return };
    loop {
        let accepted = socket.accept().await.and_then(|(stream, _)| stream.into_std());
        match accepted {
            Ok(stream) => {
                // One that was accepted waits for its place here, the others in the kernel's queue.
                let (of_listener, of_process) = room(&shared, listener).await;
                let worker =
                    (0..shared.open.len()).min_by_key(|&worker| shared.open[worker].load(Relaxed)).unwrap_or(0);
                let _ = shared.workers[worker].send(Message::Unix(stream, listener, of_listener, of_process));
            }
            Err(error) => {
                if shared.may_complain() {
                    let listener = &shared.plan.listeners[listener].name;
                    tracing::warn!(%listener, %error, "cannot accept, resting");
                }
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Resolves when every thread is ready.
pub(super) async fn started(shared: &Shared) {
    let _ = shared.phase.clone().wait_for(|phase| *phase != Phase::Starting).await;
}

/// Resolves when the process no longer runs.
pub(super) async fn draining(shared: &Shared) -> Phase {
    let mut phase = shared.phase.clone();
    let changed = phase.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Stopped)).await;
    changed.map_or(Phase::Stopped, |phase| *phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_handed_over_on_a_clear_gap_alone() {
        let to = |open: [usize; 3], own| lighter(&open.map(AtomicUsize::new), own);
        assert_eq!(to([16, 0, 5], 0), Some(1));
        assert_eq!(to([15, 0, 5], 0), None, "too few to matter");
        assert_eq!(to([48, 33, 40], 0), None, "fewer than 16 more");
        assert_eq!(to([48, 32, 40], 0), None, "not 1.5 times as many");
        assert_eq!(to([49, 32, 40], 0), Some(1));
        assert_eq!(to([49, 32, 40], 1), None, "it has the fewest itself");
        assert_eq!(lighter(&[AtomicUsize::new(99)], 0), None, "there is nobody else");
    }
}
