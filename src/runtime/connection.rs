//! The life of one client connection, from its acceptance by a `worker` to its end.

use super::{
    introduce::introduced,
    worker::{Entry, Worker},
};
use crate::{
    config::Alpn,
    http::{
        Client, Origin,
        h1::{self, ClientSide, Served, Wire},
        h2,
    },
    net::{Held, Permit, Stream},
    proxy::Pinned,
    telemetry::metrics::{Closed, ListenerMetrics, TlsFailure},
    tls,
};
use std::{cell::OnceCell, future::poll_fn, pin::Pin, rc::Rc, sync::Arc, task::Poll};

/// The life of a connection that has something to say before its first request: its proxy whose it is, its client a TLS
/// handshake.
pub(super) async fn prepared(open: Open, stream: Stream, proxied: bool, tls: Option<Arc<tls::Server>>) {
    match prepare(&open, stream, proxied, tls).await {
        None => {}
        Some((connection, true)) => multiplexed(&open, connection).await,
        Some((connection, false)) => connected(open, connection).await,
    }
}

// What a connection needs at times is made by plain functions and boxed there: a future that is boxed where it is awaited
// has its place in the one that awaits it as well, of which there is one for each idle connection.

type Boxed<'o, T> = Pin<Box<dyn Future<Output = T> + 'o>>;

/// Gives what requests come by, and whether they come by HTTP/2 (ALPN).
fn prepare(
    open: &Open,
    stream: Stream,
    proxied: bool,
    tls: Option<Arc<tls::Server>>,
) -> Boxed<'_, Option<(Rc<ClientSide>, bool)>> {
    Box::pin(async move {
        if proxied && !introduced(open, &stream).await {
            return None;
        }
        let (stream, is_h2) = match tls {
            Some(server) => secured(open, server, stream).await?,
            None => (stream, false),
        };
        Some((open.connection(stream), is_h2))
    })
}

/// Makes a TLS session of `stream`.
async fn secured(open: &Open, server: Arc<tls::Server>, stream: Stream) -> Option<(Stream, bool)> {
    let client = open.client();
    let deadline = client.limits.header_timeout.map(|time| client.accepted + time);
    let mut accepting = tls::accept(server, stream, client.peer, deadline);
    let accepted = poll_fn(|cx| {
        client.wake_with(cx.waker());
        if client.is_closing() {
            return Poll::Ready(None);
        }
        accepting.as_mut().poll(cx).map(Some)
    });
    match accepted.await? {
        Err(failure) => {
            open.handshake_failed(failure);
            None
        }
        Ok((stream, handshake)) => {
            let is_h2 = handshake.alpn == Some(Alpn::H2);
            let Origin { peer, local, listener, trusted, accepted, jitter, .. } = **client.origin();
            let (limits, proxied) = (Arc::clone(&client.limits), client.proxied.clone());
            let (tls, lines) = (Some(handshake), OnceCell::new());
            open.becomes(Origin { peer, local, listener, tls, trusted, proxied, accepted, jitter, limits, lines });
            Some((stream, is_h2))
        }
    }
}

/// The life of one connection from its client's first byte on. Its socket closes before its place is free.
pub(super) async fn connected(open: Open, connection: Rc<ClientSide>) {
    let served = h1::serve(&connection, &open.worker().server).await;
    // Over TLS it is ALPN alone that makes it HTTP/2 (RFC 9113 section 3.2).
    if served == Served::Http2 && open.client().tls.is_none() {
        multiplexed(&open, connection).await;
    }
}

/// What is left of a connection whose client speaks HTTP/2.
fn multiplexed(open: &Open, connection: Rc<ClientSide>) -> Boxed<'_, ()> {
    let (worker, client) = (open.worker(), open.client());
    Box::pin(async move {
        // Nobody else has it: nothing has been handed to a runner.
        let Some(connection) = Rc::into_inner(connection) else { return };
        match h2::serve(connection.into_parts(), &client, &worker.local.spares, &worker.server).await {
            Ok(()) => {}
            Err(h2::Ended::Flood(flood)) => open.flooded(&client, flood),
            Err(ended) => tracing::debug!(peer = ?client.peer, %ended, "HTTP/2 connection ended"),
        }
    })
}

/// A connection or a stream can be told to end while it lives.
pub(super) struct Listed {
    worker: Rc<Worker>,
    place: usize,
}

impl Listed {
    /// As one of the clients of `worker`. A connection has `seats`, and `metrics` that count it.
    pub(super) fn new(
        worker: Rc<Worker>,
        client: Rc<Client>,
        (metrics, seats): (Option<Arc<ListenerMetrics>>, Option<Seats>),
    ) -> Self {
        let entry = Entry { client, task: None, metrics, seats, serial: worker.local.random() };
        let place = worker.clients.borrow_mut().insert(entry);
        Self { worker, place }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let worker = &self.worker;
        if std::thread::panicking() {
            worker.shared.telemetry.panicked();
        }
        let entry = worker.clients.borrow_mut().remove(self.place);
        if let Some(metrics) = &entry.metrics {
            metrics.closed(worker.number);
        }
    }
}

/// A connection's right to be there.
#[derive(Debug)]
pub(super) struct Seats {
    pub(super) listener: Permit,
    pub(super) process: Permit,
    /// It is counted among those of its address.
    pub(super) held: Option<Held>,
}

impl Seats {
    /// Its connection has been told to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.process.is_leaving()
    }

    /// Its connection goes, if one of its listener or of the process should. True if it does.
    pub(super) fn give_way(&mut self) -> bool {
        let goes = self.listener.yields() || self.process.yields();
        if goes {
            self.listener.leave();
            self.process.leave();
        }
        goes
    }
}

/// Counts a connection as open while it lives.
pub(super) struct Open {
    listed: Listed,
}

impl Open {
    pub(super) fn new(worker: &Rc<Worker>, client: Rc<Client>, metrics: Arc<ListenerMetrics>, seats: Seats) -> Self {
        worker.shared.counts[worker.number].opened();
        metrics.opened(worker.number);
        let listed = Listed::new(Rc::clone(worker), client, (Some(metrics), Some(seats)));
        Self { listed }
    }

    /// Its place among the worker's clients.
    pub(super) fn place(&self) -> usize {
        self.listed.place
    }

    fn worker(&self) -> &Rc<Worker> {
        &self.listed.worker
    }

    pub(super) fn client(&self) -> Rc<Client> {
        Rc::clone(&self.worker().clients.borrow()[self.listed.place].client)
    }

    /// The plan that its listener is in.
    pub(super) fn plan(&self) -> Rc<Pinned> {
        self.worker().local.plan_for(self.client().listener)
    }

    /// What is served.
    pub(super) fn connection(&self, stream: Stream) -> Rc<ClientSide> {
        let wire = Wire::new(stream, Rc::clone(&self.worker().local.spares));
        Rc::new(ClientSide::new(wire, self.client()))
    }

    /// More is known of where it comes from; what it was told holds.
    pub(super) fn becomes(&self, origin: Origin) {
        let client = Rc::new(Client::new(Rc::new(origin)));
        let before =
            std::mem::replace(&mut self.worker().clients.borrow_mut()[self.listed.place].client, Rc::clone(&client));
        if before.is_closing() {
            client.close();
        }
        if before.is_cut() {
            client.cut();
        }
    }

    /// It is counted among the connections of its address.
    pub(super) fn is_held(&self, held: Option<Held>) {
        if let Some(seats) = &mut self.worker().clients.borrow_mut()[self.listed.place].seats {
            seats.held = held;
        }
    }

    /// We close it, for `reason`.
    pub(super) fn closed_by(&self, reason: Closed) {
        if let Some(metrics) = &self.worker().clients.borrow()[self.listed.place].metrics {
            metrics.closed_by(self.worker().number, reason);
        }
    }

    /// It ends because of what its client sent. Said once a second at the most.
    fn flooded(&self, client: &Client, flood: h2::Flood) {
        self.closed_by(Closed::Flood);
        if self.worker().floods.may_speak() {
            let pinned = self.plan();
            let listener = pinned.plan.listener(client.listener).map(|listener| listener.name.as_str());
            tracing::info!(listener, peer = ?client.peer, flood = flood.word(), "connection closed: too many frames");
        }
    }

    fn handshake_failed(&self, failure: TlsFailure) {
        if let Some(metrics) = &self.worker().clients.borrow()[self.listed.place].metrics {
            metrics.handshake_failed(self.worker().number, failure);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = self.worker();
        worker.shared.counts[worker.number].closed();
    }
}
