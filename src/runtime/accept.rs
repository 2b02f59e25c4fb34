//! Accepts on one worker, and hands a fresh connection to another that has clearly fewer. Hot path for connections.

use super::{Message, Phase, Shared, connection::Seats, worker::Worker};
use crate::{
    net::{self, Accepted, Budget, Held, Permit, accept_ready},
    plan::{self, Door},
    telemetry::metrics::{ListenerMetrics, WorkerMetrics},
};
use arc_swap::ArcSwap;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{io::unix::AsyncFd, sync::watch};

/// A rest after the descriptors have run out.
const REST: Duration = Duration::from_millis(50);
/// The time between two complaints about failing accepts.
pub(super) const COMPLAINTS: Duration = Duration::from_secs(60);
/// Handing over pays only on a clear gap: at least so many connections more, and half as many again.
const GAP: u64 = 16;
/// Connections that are accepted in a row before others have their turn.
const BATCH: usize = 64;

/// Whose connections a socket takes; shared with its task, as a reload may change it.
#[derive(Debug)]
pub(crate) struct Gate {
    served: ArcSwap<Served>,
    /// Where clients reach it.
    local: Option<SocketAddr>,
    closed: watch::Sender<bool>,
}

/// A listener, as its sockets know it.
#[derive(Debug)]
struct Served {
    number: usize,
    /// For the log.
    name: String,
    /// What counts its connections.
    budget: Arc<Budget>,
    /// Looks at each peer. None where a PROXY header has to come first.
    door: Option<Arc<Door>>,
    metrics: Arc<ListenerMetrics>,
}

impl Served {
    fn of(listener: &plan::Listener) -> Arc<Self> {
        let budget = Arc::clone(&listener.connections);
        let door = listener.door.as_ref().filter(|_| !listener.proxy_protocol).map(Arc::clone);
        let (name, metrics) = (listener.name.clone(), Arc::clone(&listener.metrics));
        Arc::new(Self { number: listener.number, name, budget, door, metrics })
    }
}

impl Served {
    /// Whether `peer` may come in. One that may not is counted, and said once a second at the most.
    #[cold]
    fn look(&self, door: &Door, worker: &Worker, peer: SocketAddr) -> Result<Option<Held>, ()> {
        door.admit(peer.ip()).map_err(|reason| {
            self.metrics.closed_by(worker.number, reason);
            worker.refused(&self.name, peer.ip(), reason);
        })
    }
}

impl Gate {
    /// The gate of `listener`, whose socket is at `local`.
    pub(super) fn new(listener: &plan::Listener, local: Option<SocketAddr>) -> Arc<Self> {
        Arc::new(Self { served: ArcSwap::new(Served::of(listener)), local, closed: watch::Sender::new(false) })
    }

    /// Connections from now on are those of `listener`.
    pub(super) fn serve(&self, listener: &plan::Listener) {
        self.served.store(Served::of(listener));
    }

    /// Where clients reach it.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Nothing more is accepted after what is waiting now.
    pub(super) fn close(&self) {
        let _ = self.closed.send(true);
    }
}

/// A fresh connection, and the right to it.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(super) stream: Arrived,
    /// The listener's number.
    pub(super) listener: usize,
    /// Where it was accepted.
    pub(super) local: Option<SocketAddr>,
    pub(super) seats: Seats,
}

#[derive(Debug)]
pub(super) enum Arrived {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Accepts on `socket` until its gate closes or the process drains.
pub(super) async fn tcp(worker: Rc<Worker>, gate: Arc<Gate>, socket: TcpListener) {
    let socket = match net::watch(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(listener = %gate.served.load().name, %error, "cannot wait for connections");
            return;
        }
    };
    let mut ended = pin!(ended(&worker.shared, &gate));
    loop {
        let ready = tokio::select! {
            biased;
            ready = socket.readable() => ready,
            () = &mut ended => return last(&worker, &gate, socket.get_ref()),
        };
        let Ok(mut ready) = ready else { return };
        // Only now that somebody is there: a place that is held in waiting is one that nobody has.
        let permits = tokio::select! {
            biased;
            permits = room(&worker.shared, &gate) => permits,
            () = &mut ended => return last(&worker, &gate, socket.get_ref()),
        };
        match accept_ready(socket.get_ref()) {
            Ok(Accepted::Connection(stream, peer)) => {
                gate.take(&worker, (stream, peer), permits);
                more(&worker, &gate, &socket).await;
            }
            Ok(Accepted::Empty) => ready.clear_ready(),
            Ok(Accepted::Exhausted(error)) | Err(error) => {
                drop(permits);
                rest(&worker.shared, &gate, &error).await;
            }
        }
    }
}

impl Gate {
    fn arrival(&self, stream: Arrived, number: usize, seats: Seats) -> Arrival {
        Arrival { stream, listener: number, local: self.local, seats }
    }

    /// Serves a connection, or closes it.
    fn take(&self, worker: &Rc<Worker>, (stream, peer): (std::net::TcpStream, SocketAddr), permits: (Permit, Permit)) {
        let served = self.served.load();
        let held = match &served.door {
            None => None,
            Some(door) => match served.look(door, worker, peer) {
                Ok(held) => held,
                Err(()) => return,
            },
        };
        let (listener, process) = permits;
        let near = listener.is_near() || process.is_near();
        worker.place(self.arrival(Arrived::Tcp(stream, peer), served.number, Seats { listener, process, held }));
        if near {
            worker.make_room();
        }
    }
}

/// What has come before the listener goes is still served.
fn last(worker: &Rc<Worker>, gate: &Gate, socket: &TcpListener) {
    while let Some(permits) = room_now(&worker.shared, gate) {
        let Ok(Accepted::Connection(stream, peer)) = accept_ready(socket) else { return };
        gate.take(worker, (stream, peer), permits);
    }
}

/// Takes what else is waiting: one accept a turn is measurably slower.
async fn more(worker: &Rc<Worker>, gate: &Gate, socket: &AsyncFd<TcpListener>) {
    for _ in 1..BATCH {
        let Some(permits) = room_now(&worker.shared, gate) else { return };
        match accept_ready(socket.get_ref()) {
            Ok(Accepted::Connection(stream, peer)) => gate.take(worker, (stream, peer), permits),
            // What is wrong shows again in the next turn, and is said there.
            Ok(Accepted::Empty | Accepted::Exhausted(_)) | Err(_) => break,
        }
    }
    tokio::task::yield_now().await;
}

/// The right to one more connection, of the listener and of the process, as soon as there is one.
async fn room(shared: &Shared, gate: &Gate) -> (Permit, Permit) {
    if let Some(permits) = room_now(shared, gate) {
        return permits;
    }
    let budget = Arc::clone(&gate.served.load().budget);
    let _queued = (budget.queue(), shared.clients.queue());
    shared.relief.call();
    let of_listener = budget.wait().await;
    (of_listener, shared.clients.wait().await)
}

fn room_now(shared: &Shared, gate: &Gate) -> Option<(Permit, Permit)> {
    let permits = (gate.served.load().budget.take()?, shared.clients.take()?);
    if permits.0.is_near() || permits.1.is_near() {
        shared.relief.call();
    }
    Some(permits)
}

/// The worker that a fresh connection goes to, if it is not this one.
pub(super) fn lighter(workers: &[Arc<WorkerMetrics>], own: usize) -> Option<usize> {
    let open = |worker: &usize| workers[*worker].open();
    let mine = open(&own);
    if mine < GAP {
        return None;
    }
    let best = (0..workers.len()).min_by_key(open)?;
    let least = open(&best);
    (best != own && mine >= least + GAP && 2 * mine > 3 * least).then_some(best)
}

/// Rests after a failure to accept. Says so at most once a minute, whichever workers and listeners meet it.
async fn rest(shared: &Shared, gate: &Gate, error: &io::Error) {
    if shared.complaint.may_speak() {
        tracing::warn!(listener = %gate.served.load().name, %error, "cannot accept, resting");
    }
    tokio::time::sleep(REST).await;
}

/// Accepts on a unix socket, for all workers in turn. Runs on control.
pub(super) async fn unix(shared: Arc<Shared>, gate: Arc<Gate>, socket: UnixListener) {
    let Ok(socket) = tokio::net::UnixListener::from_std(socket) else { return };
    let mut ended = pin!(ended(&shared, &gate));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut ended => return,
        };
        match accepted.and_then(|(stream, _)| stream.into_std()) {
            Ok(stream) => {
                // One that was accepted waits for its place here, the others in the kernel's queue.
                let (listener, process) = room(&shared, &gate).await;
                let seats = Seats { listener, process, held: None };
                let workers = &shared.counts;
                let worker = (0..workers.len()).min_by_key(|&worker| workers[worker].open()).unwrap_or(0);
                let arrival = gate.arrival(Arrived::Unix(stream), gate.served.load().number, seats);
                let _ = shared.workers[worker].send(Message::Connection(arrival));
            }
            Err(error) => rest(&shared, &gate, &error).await,
        }
    }
}

/// Resolves when `gate` has closed, or the process drains.
async fn ended(shared: &Shared, gate: &Gate) {
    let mut closed = gate.closed.subscribe();
    tokio::select! {
        _ = closed.wait_for(|closed| *closed) => {}
        _ = draining(shared) => {}
    }
}

/// Resolves when every thread is ready.
pub(super) async fn started(shared: &Shared) {
    let _ = shared.phase.subscribe().wait_for(|phase| *phase != Phase::Starting).await;
}

/// Resolves when the process no longer runs.
pub(super) async fn draining(shared: &Shared) -> Phase {
    let mut phase = shared.phase.subscribe();
    let changed = phase.wait_for(|phase| *phase >= Phase::Draining).await;
    changed.map_or(Phase::Stopped, |phase| *phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_handed_over_on_a_clear_gap_alone() {
        let with = |open: u64| {
            let worker = Arc::<WorkerMetrics>::default();
            (0..open).for_each(|_| worker.opened());
            worker
        };
        let to = |open: [u64; 3], own| lighter(&open.map(with), own);
        assert_eq!(to([16, 0, 5], 0), Some(1));
        assert_eq!(to([15, 0, 5], 0), None, "too few to matter");
        assert_eq!(to([48, 33, 40], 0), None, "fewer than 16 more");
        assert_eq!(to([48, 32, 40], 0), None, "not 1.5 times as many");
        assert_eq!(to([49, 32, 40], 0), Some(1));
        assert_eq!(to([49, 32, 40], 1), None, "it has the fewest itself");
        assert_eq!(lighter(&[with(99)], 0), None, "there is nobody else");
    }
}
