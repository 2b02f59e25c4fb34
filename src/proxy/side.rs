//! An exchange of our own beside a client's: one request to a backend of a pool, with a lease, a connection and time-outs
//! like any other. Called by `mirror`, whose copies nobody waits for, and by `ask`, whose answer decides. Hot path.

use super::{
    Local, Pinned,
    attempt::{MAX_INTERIM, RESPONSE_HEAD},
    meter,
};
use crate::{
    balance::{Pick, Taken as Took, Tried},
    dial::{self, Checkout, Connection},
    error::Kind,
    http::{
        Framing, Guarded, Head, Inlet,
        body::{Chunk, Outlet, Source},
        guard::Asked,
        h1::{
            Writer,
            write::{Connection as Said, Hop},
        },
    },
    plan::Pool,
    pool::{Backend, Lease, Refused},
};
use bytes::Bytes;
use std::{
    future::{Future, poll_fn},
    net::IpAddr,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// Where the pool has no bound, this has.
const LONGEST: Duration = Duration::from_secs(60);

/// A body that nobody wants may come within this, so that its connection can be kept; it is dropped else.
const LITTLE: Duration = Duration::from_millis(5);

/// A request of ours.
pub(super) struct Side<'s> {
    pub local: &'s Local,
    pub pinned: &'s Pinned,
    /// The pool's place in the plan.
    pub pool: usize,
    pub head: &'s Head,
    /// `None`: it has none, however short.
    pub body: Option<&'s [u8]>,
    /// Of the client that it is made for.
    pub address: Option<IpAddr>,
    /// The header in front of a new connection.
    pub proxied: &'s [u8],
}

/// What is taken of the answer's body.
pub(super) struct Taken<'t> {
    /// Where it goes, if anybody wants it.
    pub bytes: Option<&'t mut Vec<u8>>,
    /// No more of it is read.
    pub most: u64,
    /// Of a success it is not wanted.
    pub unless_success: bool,
    /// All of it was read.
    pub whole: bool,
}

impl Taken<'_> {
    /// Up to `most` bytes are read, and thrown away.
    pub(super) fn nothing(most: u64) -> Self {
        Self { bytes: None, most, unless_success: false, whole: false }
    }
}

/// Why there is no answer.
pub(super) struct Failed {
    pub kind: Kind,
    /// It was sent on a connection that had been kept, which may have ended before it came.
    pub kept: bool,
}

/// A backend, a connection to it, since when there is one, and whether it had been kept.
type Way<'s> = (Lease<'s>, Connection, Instant, bool);

/// How it was answered.
struct Answer {
    /// From the request sent to the answer's head.
    waited: Duration,
    /// The connection may be used again, and how long it is kept.
    keep: Option<Option<Duration>>,
    /// All was sent, and all was read.
    whole: bool,
}

impl Side<'_> {
    fn pool(&self) -> &Pool {
        &self.pinned.plan.pools[self.pool]
    }

    /// Sends it and reads its answer: the head into `head`, and what is wanted of the body.
    pub(super) async fn go(&self, head: &mut Head, taken: &mut Taken<'_>) -> Result<(), Failed> {
        let connected = self.connected().await;
        let (lease, connection, begun, kept) = connected.map_err(|kind| Failed { kind, kept: false })?;
        let backend = lease.backend();
        let answered = self.converse(backend, &connection, begun, head, taken).await;
        let now = Instant::now();
        let status = answered.as_ref().map_or_else(|kind| kind.status(), |_| head.status());
        let waited = answered.as_ref().map_or_else(|_| now - begun, |answer| answer.waited);
        backend.metrics.attempt(self.local.worker, status, answered.is_ok().then_some(waited));
        match &answered {
            Ok(_) => lease.answered(status, self.local.micros(now)),
            Err(kind) => lease.failed(*kind, now),
        }
        self.tell(backend, now, waited, status);
        let answer = answered.map_err(|kind| Failed { kind, kept })?;
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
        let taken = if status < 500 { Took::Answered } else { Took::Failed };
        meter::took(backend, self.local.micros(now), waited, taken);
    }

    /// Chooses a backend and gets a connection to it. One that is full is passed over; nobody is waited for but a connection
    /// that is being made.
    async fn connected(&self) -> Result<Way<'_>, Kind> {
        let (local, pool) = (self.local, self.pool());
        let key = pool.key.as_ref().and_then(|key| key.of(self.head, self.address));
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
                Ok(Some((connection, begun, kept))) => return Ok((lease, connection, begun, kept)),
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

    /// A connection to `backend`, since when there is one, and whether it had been kept; `None`: it is full.
    async fn connect(
        &self,
        backend: &Arc<Backend>,
        mut now: Instant,
    ) -> Result<Option<(Connection, Instant, bool)>, Kind> {
        let (local, settings) = (self.local, &self.pool().settings);
        loop {
            match local.dialer.checkout(backend, settings, now, true) {
                Checkout::Kept(connection) => return Ok(Some((connection, now, true))),
                Checkout::Full => return Ok(None),
                Checkout::Wait(dial) => {
                    let bound = settings.connect_timeout.unwrap_or(LONGEST);
                    tokio::time::timeout(bound, dial.wait()).await.unwrap_or(Err(Kind::ConnectTimeout))?;
                    now = Instant::now();
                }
                Checkout::New(room) => {
                    let (dialer, spares) = (&local.dialer, &local.spares);
                    let connection = dial::connect(dialer, backend, settings, room, spares, self.proxied).await;
                    return connection.map(|own| Some((own, Instant::now(), false))).map_err(|error| error.kind());
                }
            }
        }
    }

    /// Sends the request on `connection` and reads the answer.
    async fn converse(
        &self,
        backend: &Backend,
        connection: &Connection,
        begun: Instant,
        head: &mut Head,
        taken: &mut Taken<'_>,
    ) -> Result<Answer, Kind> {
        let settings = &self.pool().settings;
        let (mut outlet, mut inlet) = self.begin(backend, connection)?;
        let read = self.head(&mut outlet, &mut inlet, head);
        let (guarded, sent) = within(settings.response_timeout, Kind::ResponseTimeout, read).await?;
        let waited = begun.elapsed();
        let unwanted = taken.unless_success && (200..300).contains(&head.status());
        let time = if unwanted { Some(LITTLE) } else { settings.body_timeout };
        let body = self.read_out(inlet.body(guarded.framing, &RESPONSE_HEAD), taken);
        // What comes too slowly, or not whole, has been an answer all the same.
        taken.whole = within(time, Kind::BodyTimeout, body).await.unwrap_or(false);
        let whole = taken.whole && sent && inlet.is_drained();
        Ok(Answer { waited, keep: guarded.keep_alive.then_some(guarded.keep_timeout), whole })
    }

    /// Stages the request.
    fn begin<'w>(&self, backend: &Backend, connection: &'w Connection) -> Result<(Outlet<'w>, Inlet<'w>), Kind> {
        let head = self.head;
        let authority = head.text(head.target.authority);
        let pass_host = self.pool().settings.pass_host && !authority.is_empty();
        let authority = if pass_host { authority } else { backend.host.as_bytes() };
        let length = self.body.map(|body| body.len() as u64);
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
        if let Some(body) = self.body.filter(|_| framing != Framing::None) {
            outlet.push(Chunk::Bytes(Bytes::copy_from_slice(body)), true).map_err(|_| Kind::Internal)?;
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
    async fn read_out(&self, mut source: Source<'_>, taken: &mut Taken<'_>) -> Result<bool, Kind> {
        while source.received() <= taken.most {
            match poll_fn(|cx| source.poll_pull(cx)).await {
                Ok(Some(pulled)) => {
                    if let Some(bytes) = &mut taken.bytes {
                        bytes.extend_from_slice(pulled.chunk.bytes());
                    }
                    self.local.spares.recycle(pulled.chunk);
                }
                Ok(None) => return Ok(true),
                Err(_) => break,
            }
        }
        Ok(false)
    }
}

/// `work`, within `time`.
async fn within<T>(time: Option<Duration>, late: Kind, work: impl Future<Output = Result<T, Kind>>) -> Result<T, Kind> {
    tokio::time::timeout(time.unwrap_or(LONGEST), work).await.unwrap_or(Err(late))
}
