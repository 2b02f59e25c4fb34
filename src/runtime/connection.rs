//! The life of one client connection, from its acceptance by a `worker` to its end.

use super::worker::{Entry, Worker};
use crate::{
    config::Alpn,
    http::{
        Client, Origin,
        h1::{self, ClientSide, Served, Wire},
        h2,
    },
    net::{Buf, Permit, Stream},
    telemetry::metrics::{ListenerMetrics, TlsFailure},
    tls::{self, Handshake},
};
use std::{
    cell::OnceCell,
    future::poll_fn,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
};
use tokio::time::Instant;

/// A connection whose client must first make a TLS session of it.
pub(super) async fn secured(open: Open, server: Arc<tls::Server>, stream: Stream, since: Instant) {
    let client = open.client();
    let deadline = client.limits.header_timeout.map(|time| since + time);
    // In a box, with all that it needs: a waiting connection does not carry its size.
    let mut accepting = tls::accept(server, stream, deadline);
    let accepted = poll_fn(|cx| {
        client.wake_with(cx.waker());
        if client.is_closing() {
            return Poll::Ready(None);
        }
        accepting.as_mut().poll(cx).map(Some)
    });
    let accepted = accepted.await;
    drop((accepting, client));
    match accepted {
        None => {}
        Some(Err(failure)) => open.handshake_failed(failure),
        Some(Ok((stream, handshake))) => {
            let is_h2 = handshake.alpn == Some(Alpn::H2);
            open.is_secured(handshake);
            if is_h2 {
                Box::pin(multiplexed(&open.worker, open.client(), (stream, Buf::default()))).await;
            } else {
                connected(open, stream, since).await;
            }
        }
    }
}

/// The life of one connection from its client's first byte on; it was accepted at `since`. Its socket closes before its
/// place is free.
pub(super) async fn connected(open: Open, stream: Stream, since: Instant) {
    let worker = &open.worker;
    let wire = Wire::new(stream, Rc::clone(&worker.local.spares));
    let connection = Rc::new(ClientSide::new(wire, open.client()));
    let served = h1::serve(&connection, &worker.server, since).await;
    // Over TLS it is ALPN alone that makes it HTTP/2 (RFC 9113 section 3.2).
    if served == Served::Http2 && !open.client().secure() {
        // Nobody else has it: nothing has been handed to a runner.
        let Some(connection) = Rc::into_inner(connection) else { return };
        Box::pin(multiplexed(worker, open.client(), connection.into_parts())).await;
    }
}

/// What is left of a connection, `parts`, whose client speaks HTTP/2.
async fn multiplexed(worker: &Rc<Worker>, client: Rc<Client>, parts: (Stream, Buf)) {
    let open = |client: &Rc<Client>| Listed::new(worker, Rc::clone(client), None);
    let served = h2::serve(parts, &client, &worker.local.spares, &worker.server, open).await;
    if let Err(error) = served {
        tracing::debug!(peer = ?client.peer, %error, "HTTP/2 connection ended");
    }
}

/// A connection or a stream can be told to end while it lives.
struct Listed {
    worker: Rc<Worker>,
    place: usize,
}

impl Listed {
    fn new(worker: &Rc<Worker>, client: Rc<Client>, metrics: Option<Arc<ListenerMetrics>>) -> Self {
        let entry = Entry { client, task: None, metrics, serial: worker.local.random() };
        let place = worker.clients.borrow_mut().insert(entry);
        Self { worker: Rc::clone(worker), place }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let worker = &self.worker;
        if std::thread::panicking() {
            worker.shared.telemetry.panicked();
        }
        let entry = worker.clients.borrow_mut().remove(self.place);
        if let Some(metrics) = entry.metrics {
            metrics.closed(worker.number);
        }
    }
}

/// Counts a connection as open while it lives.
pub(super) struct Open {
    worker: Rc<Worker>,
    listed: Listed,
    _permits: (Permit, Permit),
}

impl Open {
    pub(super) fn new(
        worker: &Rc<Worker>,
        client: Rc<Client>,
        metrics: Arc<ListenerMetrics>,
        permits: (Permit, Permit),
    ) -> Self {
        worker.shared.open[worker.number].fetch_add(1, Relaxed);
        worker.shared.counts[worker.number].opened();
        metrics.opened(worker.number);
        let listed = Listed::new(worker, client, Some(metrics));
        Self { worker: Rc::clone(worker), listed, _permits: permits }
    }

    /// Its place among the worker's clients.
    pub(super) fn place(&self) -> usize {
        self.listed.place
    }

    fn client(&self) -> Rc<Client> {
        Rc::clone(&self.worker.clients.borrow()[self.listed.place].client)
    }

    /// It has become a TLS session; what it was told before holds.
    fn is_secured(&self, handshake: Box<Handshake>) {
        let before = self.client();
        let Origin { peer, local, listener, trusted, .. } = **before.origin();
        let (tls, limits, lines) = (Some(handshake), Arc::clone(&before.limits), OnceCell::new());
        let origin = Origin { peer, local, listener, tls, trusted, limits, lines };
        let client = Rc::new(Client::new(Rc::new(origin)));
        if before.is_closing() {
            client.close();
        }
        if before.is_cut() {
            client.cut();
        }
        self.worker.clients.borrow_mut()[self.listed.place].client = client;
    }

    fn handshake_failed(&self, failure: TlsFailure) {
        if let Some(metrics) = &self.worker.clients.borrow()[self.listed.place].metrics {
            metrics.handshake_failed(self.worker.number, failure);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let worker = &self.worker;
        worker.shared.open[worker.number].fetch_sub(1, Relaxed);
        worker.shared.counts[worker.number].closed();
    }
}
