//! Copies of requests to another pool (`mirror` of a route). Called by `handle`, and by `Replay` when a body has passed.
//!
//! A copy is a task of its own, with its own lease, connection and time-outs: whatever becomes of it, its original does not
//! hear of it. It goes out once; its answer is read and thrown away. Hot path for routes that have a mirror; any other
//! pays a look at a pointer.

use super::{
    Local, Pinned, Record,
    attempt::{MAX_INTERIM, RESPONSE_HEAD},
    client, meter,
};
use crate::{
    balance::{Pick, Taken, Tried},
    dial::{self, Checkout, Connection},
    error::Kind,
    http::{
        Exchange, Framing, Guarded, Head, Inlet, Name,
        body::{Chunk, Outlet, Source},
        guard::Asked,
        h1::{
            Writer,
            write::{Connection as Said, Hop},
        },
    },
    plan::{Mirror, Pool},
    pool::{Backend, Lease, Refused},
    telemetry::metrics::{Copied, RouteMetrics},
};
use bytes::Bytes;
use std::{
    fmt,
    future::{Future, poll_fn},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// Copies of a worker at a time, those included that wait for their bodies.
const MOST: usize = 128;
/// Bytes of an answer that are read so that its connection can be used again.
const ANSWER: u64 = 1024 * 1024;
/// Where the pool has no bound, a copy has.
const LONGEST: Duration = Duration::from_secs(60);

/// A copy of a request. It counts, and is counted when it goes.
pub(super) struct Copy {
    local: Rc<Local>,
    pinned: Rc<Pinned>,
    route: Arc<RouteMetrics>,
    /// The pool's place in the plan.
    pool: usize,
    head: Head,
    /// Its original has one, however short.
    has_body: bool,
    body: Vec<u8>,
    /// Of the original's client.
    address: Option<IpAddr>,
    /// The header in front of a new connection.
    proxied: Vec<u8>,
    result: Copied,
}

/// Begins a copy of the request, if it gets one. Without a body it goes at once; else `record` has it until it is whole.
pub(super) fn copy(
    local: &Rc<Local>,
    pinned: &Rc<Pinned>,
    mirror: &Mirror,
    exchange: &Exchange<'_>,
    record: &mut Record,
) {
    let guarded = &exchange.guarded;
    if local.random() >> 32 >= mirror.share || record.call || guarded.upgrade.is_some() {
        return;
    }
    let Some(route) = record.route.map(|route| &pinned.plan.routes[route].metrics) else { return };
    let pool = &pinned.plan.pools[mirror.pool];
    let large = matches!(guarded.framing, Framing::Length(length) if length > pool.retry.buffer as u64);
    if large || local.copies() >= MOST {
        return route.copied(local.worker, Copied::Dropped);
    }
    let mut head = Head::clone(&exchange.request);
    head.remove_named(b"x-mirror");
    head.add_pieces(b"X-Mirror", Name::Other, &[pinned.plan.via.as_bytes()]);
    local.begin_copy();
    let copy = Box::new(Copy {
        local: Rc::clone(local),
        pinned: Rc::clone(pinned),
        route: Arc::clone(route),
        pool: mirror.pool,
        head,
        has_body: guarded.framing != Framing::None,
        body: Vec::new(),
        address: record.address,
        proxied: client::proxy_header(exchange.client, &pool.settings),
        result: Copied::Dropped,
    });
    match copy.has_body {
        true => record.rare.get_or_insert_default().copy = Some(copy),
        false => send(copy),
    }
}

/// `copy` is whole: it goes.
pub(super) fn send(copy: Box<Copy>) {
    tokio::task::spawn_local(run(copy));
}

async fn run(mut copy: Box<Copy>) {
    // It may be ended in the middle, with the worker.
    copy.result = Copied::Failed;
    match copy.go().await {
        Ok(()) => copy.result = Copied::Sent,
        Err(kind) => {
            if kind.falls_back() {
                // Nobody could be asked.
                copy.result = Copied::Dropped;
            }
            tracing::debug!(pool = copy.pool().name, failure = kind.word(), "a mirrored request failed");
        }
    }
}

/// A backend for a copy, and a connection to it.
type Way<'c> = (Lease<'c>, Connection, Instant);

impl Copy {
    /// A piece of the body. False: it has become too large.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        let fits = self.body.len() + bytes.len() <= self.pool().retry.buffer;
        if fits {
            self.body.extend_from_slice(bytes);
        }
        fits
    }

    fn pool(&self) -> &Pool {
        &self.pinned.plan.pools[self.pool]
    }

    /// Sends it and reads its answer.
    async fn go(&self) -> Result<(), Kind> {
        let (lease, connection, begun) = self.connected().await?;
        let backend = lease.backend();
        let answered = self.converse(backend, &connection, begun).await;
        let now = Instant::now();
        let status = answered.as_ref().map_or_else(|kind| kind.status(), |answer| answer.status);
        let waited = answered.as_ref().map_or_else(|_| now - begun, |answer| answer.waited);
        backend.metrics.attempt(self.local.worker, status, answered.is_ok().then_some(waited));
        match &answered {
            Ok(answer) => lease.answered(answer.status, self.local.micros(now)),
            Err(kind) => lease.failed(*kind, now),
        }
        self.tell(backend, now, waited, status);
        let answer = answered?;
        let kept = answer.keep.filter(|_| answer.whole);
        if let (Some(keep), Connection::H1(connection)) = (kept, connection) {
            self.local.dialer.give(backend.id, connection, &self.pool().settings, now, keep);
        }
        Ok(())
    }

    /// Tells the backend's load how it went.
    fn tell(&self, backend: &Backend, now: Instant, waited: Duration, status: u16) {
        // It says so, or it is silent.
        if matches!(status, 503 | 504) {
            backend.load.overloaded();
        }
        let taken = if status < 500 { Taken::Answered } else { Taken::Failed };
        meter::took(backend, self.local.micros(now), waited, taken);
    }

    /// Chooses a backend and gets a connection to it. One that is full is passed over; nobody is waited for but a connection
    /// that is being made.
    async fn connected(&self) -> Result<Way<'_>, Kind> {
        let (local, pool) = (&*self.local, self.pool());
        let key = pool.key.as_ref().and_then(|key| key.of(&self.head, self.address));
        let key = key.unwrap_or_else(|| local.random());
        let mut tried = Tried::default();
        loop {
            let now = Instant::now();
            let seen = self.pinned.table(self.pool);
            let (worker, random, tried_now) = (local.worker, local.random(), local.micros(now));
            let pick = Pick { key, worker, random, now: tried_now, tried: &tried };
            let Some(place) = seen.table.pick(&pick) else {
                return Err(if tried.is_empty() { pool.nobody() } else { Kind::QueueFull });
            };
            let lease = match Lease::take(seen, place, &pool.slot, worker, None) {
                Ok(lease) => lease,
                Err((_, Refused::PoolOpen)) => return Err(Kind::BreakerOpen),
                Err((seen, _)) => {
                    tried.add(seen.table.backend(place).id);
                    continue;
                }
            };
            match self.connect(lease.backend(), now).await {
                Ok(Some((connection, begun))) => return Ok((lease, connection, begun)),
                Ok(None) => {
                    tried.add(lease.backend().id);
                    lease.forgo();
                }
                Err(kind) => {
                    lease.failed(kind, Instant::now());
                    lease.backend().metrics.attempt(worker, kind.status(), None);
                    self.tell(lease.backend(), Instant::now(), now.elapsed(), kind.status());
                    return Err(kind);
                }
            }
        }
    }

    /// A connection to `backend`, and since when there is one; `None`: it is full.
    async fn connect(&self, backend: &Arc<Backend>, now: Instant) -> Result<Option<(Connection, Instant)>, Kind> {
        let (local, settings) = (&*self.local, &self.pool().settings);
        loop {
            match local.dialer.checkout(backend, settings, now, true) {
                Checkout::Kept(connection) => return Ok(Some((connection, now))),
                Checkout::Full => return Ok(None),
                Checkout::Wait(dial) => {
                    let bound = settings.connect_timeout.unwrap_or(LONGEST);
                    tokio::time::timeout(bound, dial.wait()).await.unwrap_or(Err(Kind::ConnectTimeout))?;
                }
                Checkout::New(room) => {
                    let (dialer, spares) = (&local.dialer, &local.spares);
                    let connection = dial::connect(dialer, backend, settings, room, spares, &self.proxied).await;
                    return connection.map(|own| Some((own, Instant::now()))).map_err(|error| error.kind());
                }
            }
        }
    }

    /// Sends the request on `connection` and reads the answer.
    async fn converse(&self, backend: &Backend, connection: &Connection, begun: Instant) -> Result<Answer, Kind> {
        let settings = &self.pool().settings;
        let (mut outlet, mut inlet) = self.begin(backend, connection)?;
        let mut head = self.local.spares.heads.take();
        let read = self.head(&mut outlet, &mut inlet, &mut head);
        let read = within(settings.response_timeout, Kind::ResponseTimeout, read).await;
        let status = head.status();
        self.local.spares.heads.give(head);
        let (guarded, sent) = read?;
        let waited = begun.elapsed();
        let body = self.read_out(inlet.body(guarded.framing, &RESPONSE_HEAD));
        // What comes too slowly, or not whole, has been an answer all the same.
        let whole = within(settings.body_timeout, Kind::BodyTimeout, body).await.unwrap_or(false);
        let whole = whole && sent && inlet.is_drained();
        Ok(Answer { status, waited, keep: guarded.keep_alive.then_some(guarded.keep_timeout), whole })
    }

    /// Stages the request.
    fn begin<'w>(&self, backend: &Backend, connection: &'w Connection) -> Result<(Outlet<'w>, Inlet<'w>), Kind> {
        let head = &self.head;
        let authority = head.text(head.target.authority);
        let pass_host = self.pool().settings.pass_host && !authority.is_empty();
        let authority = if pass_host { authority } else { backend.host.as_bytes() };
        let length = self.has_body.then_some(self.body.len() as u64);
        let framing = length.filter(|length| *length > 0).map_or(Framing::None, Framing::Length);
        let hop = Hop { authority, framing, length, connection: Said::Keep, trailers: false, expect: false, key: None };
        let (mut outlet, inlet) = match connection {
            Connection::H1(own) => {
                let mut writer = Writer::new(&own.wire);
                writer.head(head, &hop);
                (Outlet::H1(writer), Inlet::H1(&own.wire))
            }
            Connection::H2(share) => {
                let sent = share.session().request(head, &hop, framing == Framing::None);
                let (sender, reply) = sent.map_err(|_| Kind::Reset)?;
                (Outlet::H2(sender), Inlet::H2(Box::new(reply)))
            }
        };
        if framing != Framing::None {
            let body = Chunk::Bytes(Bytes::copy_from_slice(&self.body));
            outlet.push(body, true).map_err(|_| Kind::Internal)?;
        }
        Ok((outlet, inlet))
    }

    /// Sends what is staged, and reads the final response's head. True: all has been sent.
    async fn head(
        &self,
        outlet: &mut Outlet<'_>,
        inlet: &mut Inlet<'_>,
        head: &mut Head,
    ) -> Result<(Guarded, bool), Kind> {
        let asked = Asked { method: self.head.method(), upgrade: None };
        let (mut sent, mut interims) = (None, 0);
        poll_fn(|cx| {
            if sent.is_none()
                && let Poll::Ready(flushed) = outlet.poll_flush(cx)
            {
                sent = Some(flushed.is_ok());
            }
            loop {
                let guarded = ready!(inlet.poll_head(cx, head, &RESPONSE_HEAD, asked)).map_err(|_| Kind::Reset)?;
                interims += 1;
                if head.status() >= 200 {
                    return Poll::Ready(Ok((guarded, sent == Some(true))));
                }
                if interims > MAX_INTERIM {
                    return Poll::Ready(Err(Kind::BadResponse));
                }
            }
        })
        .await
    }

    /// Reads `source` to its end. False: there was too much of it, or it broke.
    async fn read_out(&self, mut source: Source<'_>) -> Result<bool, Kind> {
        while source.received() <= ANSWER {
            match poll_fn(|cx| source.poll_pull(cx)).await {
                Ok(Some(pulled)) => self.local.spares.recycle(pulled.chunk),
                Ok(None) => return Ok(true),
                Err(_) => break,
            }
        }
        Ok(false)
    }
}

/// How a copy was answered.
struct Answer {
    status: u16,
    /// From the request sent to the answer's head.
    waited: Duration,
    /// The connection may be used again, and how long it is kept.
    keep: Option<Option<Duration>>,
    /// All was sent, and all was read.
    whole: bool,
}

/// `work`, within `time`.
async fn within<T>(time: Option<Duration>, late: Kind, work: impl Future<Output = Result<T, Kind>>) -> Result<T, Kind> {
    tokio::time::timeout(time.unwrap_or(LONGEST), work).await.unwrap_or(Err(late))
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.local.end_copy();
        self.route.copied(self.local.worker, self.result);
    }
}

impl fmt::Debug for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copy").field("pool", &self.pool).field("result", &self.result).finish_non_exhaustive()
    }
}
