//! Whom exchanges are for: a connection, and who waits on it. Hot path.
//!
//! An HTTP/1 connection has one exchange at a time and so one [`Client`]; each stream of an HTTP/2 connection is a client
//! of its own. What they share is the connection's [`Origin`].

use super::{
    Limits,
    head::{Lines, Version},
};
use crate::{
    net::{
        Peer,
        proxy_protocol::{self, Tlvs},
    },
    telemetry::metrics::RouteMetrics,
    tls::Handshake,
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    net::SocketAddr,
    ops::Deref,
    rc::Rc,
    sync::Arc,
    task::Waker,
};
use tokio::time::Instant;

/// The connection that exchanges come from.
#[derive(Debug)]
pub struct Origin {
    /// Who is at the other end.
    pub peer: Peer,
    /// The address that was connected to.
    pub local: Option<SocketAddr>,
    /// The listener's number in the plan.
    pub listener: usize,
    /// How it came over TLS, if it did.
    pub tls: Option<Box<Handshake>>,
    /// The peer may tell us who its client is.
    pub trusted: bool,
    /// A proxy has said in a PROXY header who the peer is.
    pub proxied: Option<Box<ByProxy>>,
    /// When it was accepted.
    pub accepted: Instant,
    /// Where in the tenth more or less of `max_connection_age` it stands, so that connections do not all end at once.
    pub jitter: u8,
    /// The listener's bounds.
    pub limits: Arc<Limits>,
    /// The forwarding fields that are the same for all its requests of one version, made with the first one.
    pub lines: OnceCell<(Version, Lines)>,
}

/// A connection that a proxy has made for its client.
#[derive(Clone, Debug)]
pub struct ByProxy {
    /// Who is at the other end of the socket.
    pub peer: Peer,
    /// What the proxy says of its client's own connection.
    pub tlvs: Tlvs,
}

impl Origin {
    /// It came over TLS: to us, or to the proxy that made the connection.
    pub fn secure(&self) -> bool {
        self.tls.is_some() || self.said().is_some_and(|said| said.tls.is_some())
    }

    /// Who is at the other end of the socket: the peer, or its proxy.
    pub fn socket(&self) -> Peer {
        self.proxied.as_ref().map_or(self.peer, |proxied| proxied.peer)
    }

    /// The version of TLS that the client speaks, as in `TLSv1.3`.
    pub fn tls_version(&self) -> Option<&str> {
        match &self.tls {
            Some(tls) => Some(tls.version),
            None => self.said()?.tls.as_ref()?.version.as_deref(),
        }
    }

    /// The name that the client has asked for in its TLS handshake (SNI).
    pub fn sni(&self) -> Option<&str> {
        if let Some(tls) = &self.tls {
            return tls.sni.as_deref();
        }
        let said = self.said()?;
        said.authority.as_deref().filter(|_| said.tls.is_some())
    }

    /// What a PROXY header to a backend says of the client's connection.
    pub fn tlvs(&self) -> Tlvs {
        let Some(tls) = &self.tls else { return self.said().cloned().unwrap_or_default() };
        let said = proxy_protocol::Tls { version: Some(tls.version.into()), verified: tls.identity.is_some() };
        Tlvs { alpn: tls.alpn.map(|alpn| alpn.bytes().into()), authority: tls.sni.clone(), tls: Some(said) }
    }

    /// What a proxy has said of it.
    fn said(&self) -> Option<&Tlvs> {
        self.proxied.as_ref().map(|proxied| &proxied.tlvs)
    }

    /// A request for `host` does not belong on this connection: see [`Handshake::misdirects`].
    pub fn misdirects(&self, host: &[u8]) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.misdirects(host))
    }

    /// When it is old enough to end, at the next safe point.
    pub fn until(&self) -> Option<Instant> {
        let age = self.limits.max_age?;
        Some(self.accepted + age.mul_f64(0.9 + 0.2 * f64::from(self.jitter) / 255.0))
    }

    /// It is old enough to end.
    pub fn is_old(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| until <= now)
    }
}

/// What a connection waits for, if its client has it waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Its first byte, or the end of what comes before a request: a PROXY header, a TLS handshake. Since it was accepted.
    First,
    /// The rest of a request head, since its beginning.
    Head(Instant),
    /// The next request, since the last one ended.
    Next(Instant),
    /// Nothing but the end of what its client sends and nobody reads: our answer has gone, at that moment.
    Last(Instant),
    /// Nothing: something is under way.
    Busy,
}

/// One who waits for answers, one at a time, and how it is told to end.
#[derive(Debug)]
pub struct Client {
    origin: Rc<Origin>,
    waits: Cell<Waits>,
    /// It should end at the next safe point.
    closing: Cell<bool>,
    /// Its exchange is given up.
    cut: Cell<bool>,
    /// The number of the backend that its exchange is with.
    backend: Cell<Option<u32>>,
    /// It is a tunnel, by this route.
    tunnel: RefCell<Option<Arc<RouteMetrics>>>,
    /// Wakes it while it waits for a request.
    waker: RefCell<Option<Waker>>,
}

impl Deref for Client {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.origin
    }
}

impl Client {
    /// One who may go on.
    pub fn new(origin: Rc<Origin>) -> Self {
        let (closing, cut, backend, tunnel) = Default::default();
        let waits = Cell::new(Waits::First);
        Self { origin, waits, closing, cut, backend, tunnel, waker: RefCell::default() }
    }

    /// What it waits for; of a connection, not of a stream.
    pub fn waits(&self) -> Waits {
        self.waits.get()
    }

    /// It waits for something else from now on.
    pub fn waits_for(&self, waits: Waits) {
        self.waits.set(waits);
    }

    /// The connection that it is on.
    pub fn origin(&self) -> &Rc<Origin> {
        &self.origin
    }

    /// Ends it at the next safe point: now, if it is idle.
    pub fn close(&self) {
        if self.closing.replace(true) {
            return;
        }
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// [`Client::close`] has been called.
    pub fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Ends it soon: its exchange is given up.
    pub fn cut(&self) {
        self.cut.set(true);
        self.closing.set(true);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// [`Client::cut`] has been called.
    pub fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Its exchange is with the backend of that number, or with none.
    pub fn meets(&self, backend: Option<u32>) {
        self.backend.set(backend);
    }

    /// The number of the backend that its exchange is with.
    pub fn backend(&self) -> Option<u32> {
        self.backend.get()
    }

    /// It has become a tunnel, by the route that counts there.
    pub fn becomes_tunnel(&self, route: &Arc<RouteMetrics>) {
        self.tunnel.replace(Some(Arc::clone(route)));
    }

    /// It has become a tunnel: only a time-out or a cut ends it.
    pub fn is_tunnel(&self) -> bool {
        self.tunnel.borrow().is_some()
    }

    /// It has become a tunnel by a route that `gone` says is gone.
    pub fn is_tunnel_of(&self, gone: impl FnOnce(&Arc<RouteMetrics>) -> bool) -> bool {
        self.tunnel.borrow().as_ref().is_some_and(gone)
    }

    /// Where [`Client::close`] finds its task.
    pub fn wake_with(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if known.is_none() {
            *known = Some(waker.clone());
        }
    }
}
