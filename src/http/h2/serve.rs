//! Serves one client's HTTP/2 connection: a task for each stream, all on the worker's thread. Hot path.
//!
//! The `h2` crate speaks the protocol; what a connection may take in time and in memory is decided here. What the crate
//! does not tell, [`Counted`] under it sees.
//!
//! Memory of one connection, whatever its client does or leaves: for each of `max_streams` answers [`SEND_BUFFER`] and the
//! one piece that waits behind it (a large buffer, 256 KiB, at the most), 40 MiB with the defaults; of requests' bodies
//! that no backend takes, four windows in all (1 MiB); of request heads, twice `max_header_size` a stream, and those over
//! `max_header_size` are refused at once.

use super::{
    Flood, Opened, Receiver, Sender, Tap,
    counted::Counted,
    flood::Meter,
    frames::Frames,
    request,
    watch::{Live, Watch},
};
use crate::{
    http::{
        Client, Server, Sink, Spares, Waits,
        body::Source,
        guard::{Framing, Guarded},
        linger::linger,
    },
    net::{Buf, Stream, Timer},
};
use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// Bytes of one answer that the `h2` crate holds until the socket takes them.
const SEND_BUFFER: usize = 64 * 1024;
/// How long a client may take to see that the connection ends: to acknowledge it.
const FAREWELL: Duration = Duration::from_secs(1);
/// Streams that were reset before we looked at them, where `reset_rate` is off.
const MAX_RESETS: u32 = 1024;

type Connection = h2::server::Connection<Counted, Bytes>;

/// Why a connection did not end in peace.
#[derive(Debug)]
pub enum Ended {
    /// There was too much of something.
    Flood(Flood),
    /// A field block, or the first request, was not there in time.
    SlowHead,
    /// The client took nothing for too long.
    Stuck,
    /// It broke, or the client broke the protocol.
    Broken(h2::Error),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flood(flood) => write!(f, "too many {}", flood.word()),
            Self::SlowHead => f.write_str("a request head took too long"),
            Self::Stuck => f.write_str("the client takes nothing"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        // What the crate itself finds too much.
        let calm = error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        if calm { Self::Flood(Flood::Other) } else { Self::Broken(error) }
    }
}

/// Serves `io`, of which `carry` has been read already, until either side ends it. `server` answers each exchange. Runs on
/// a local runtime.
///
/// # Errors
/// We ended it before its time, or it broke.
pub async fn serve(
    (io, carry): (Stream, Buf),
    client: &Client,
    spares: &Rc<Spares>,
    server: &Server,
) -> Result<(), Ended> {
    let io = Rc::new(io);
    let ended = serve_streams(&io, carry, client, spares, server).await;
    if let Err(Ended::Flood(_) | Ended::SlowHead | Ended::Broken(_)) = &ended {
        linger(&io, client).await;
    }
    ended
}

async fn serve_streams(
    io: &Rc<Stream>,
    carry: Buf,
    client: &Client,
    spares: &Rc<Spares>,
    server: &Server,
) -> Result<(), Ended> {
    let watch = Watch::new(client.accepted);
    let frames = Frames::new(super::PREFACE.len(), Meter::new(client.limits.h2.reset_rate, client.accepted));
    let counted = Counted::new(Tap::new(Rc::clone(io), carry, spares), frames, Rc::clone(&watch));
    let timer = Timer::default();
    let Some(connection) = shake_hands(counted, client, &timer).await? else { return Ok(()) };
    let (accepted, refused, leaving, ending) = Default::default();
    let mut serving = Serving { connection, client, spares, server, watch, timer, accepted, refused, leaving, ending };
    poll_fn(|cx| serving.poll(cx)).await
}

/// The preface and the first settings. `None`: the connection was told to end before.
async fn shake_hands(io: Counted, client: &Client, timer: &Timer) -> Result<Option<Connection>, Ended> {
    let limits = &client.limits;
    let resets = limits.h2.reset_rate.unwrap_or(MAX_RESETS).clamp(20, MAX_RESETS) as usize;
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.h2.max_streams)
        .initial_window_size(limits.h2.window)
        .initial_connection_window_size(limits.h2.window.saturating_mul(4).min(i32::MAX as u32))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(resets)
        .enable_connect_protocol()
        // Above this the crate answers 431 by itself, unseen; what is between is answered, counted and logged by us.
        .max_header_list_size(u32::try_from(limits.head.max_size * 2).unwrap_or(u32::MAX));
    timer.set_after(client.accepted, limits.header_timeout);
    let mut handshake = pin!(builder.handshake::<_, Bytes>(io));
    poll_fn(|cx| {
        client.wake_with(cx.waker());
        if let Poll::Ready(connection) = handshake.as_mut().poll(cx) {
            return Poll::Ready(Ok(Some(connection?)));
        }
        if client.is_closing() {
            return Poll::Ready(Ok(None));
        }
        timer.poll(cx).map(|()| Err(Ended::SlowHead))
    })
    .await
}

/// A connection's task.
struct Serving<'c> {
    connection: Connection,
    client: &'c Client,
    spares: &'c Rc<Spares>,
    server: &'c Server,
    watch: Rc<Watch>,
    timer: Timer,
    /// Streams that have come.
    accepted: u64,
    /// Streams that the crate has refused: they are malformed, far too large, too many at once, or too late.
    refused: u64,
    /// Since when it is told to end: streams finish, and no new ones come.
    leaving: Option<Instant>,
    /// It is told to end now, for that reason, and by then it has.
    ending: Option<(Instant, Result<(), Ended>)>,
}

/// What the time has come for.
enum Due {
    Stuck,
    SlowHead,
    /// Nothing to do for so long, or too old.
    Leave,
    /// It has had its farewell.
    End,
}

impl Serving<'_> {
    /// Has streams served as they come. Ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.client.wake_with(cx.waker());
        self.watch.wake_with(cx.waker());
        if self.client.is_closing() && self.leaving.is_none() {
            self.leave();
        }
        // All that is there now has been read at once.
        let mut now = None;
        loop {
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.accepted += 1;
                    self.begin(request, respond, *now.get_or_insert_with(Instant::now));
                    continue;
                }
                Poll::Ready(over) => return Poll::Ready(self.over(over.and_then(Result::err))),
                Poll::Pending => self.look(),
            }
            if let Some((at, _)) = self.ending {
                self.timer.set(Some(at));
                ready!(self.timer.poll(cx));
                return Poll::Ready(self.over(None));
            }
            if let Some(flood) = self.watch.flood.get() {
                self.end(Reason::ENHANCE_YOUR_CALM, Err(Ended::Flood(flood)));
                continue;
            }
            if self.client.is_cut() && self.watch.live() == 0 {
                self.end(Reason::NO_ERROR, Ok(()));
                continue;
            }
            self.client.waits_for(self.waits());
            let Some((at, _)) = self.next() else { return Poll::Pending };
            self.timer.set(Some(at));
            ready!(self.timer.poll(cx));
            match self.next().filter(|(at, _)| *at <= Instant::now()) {
                None => {}
                // Nothing can be said to it.
                Some((_, Due::Stuck)) => return Poll::Ready(Err(Ended::Stuck)),
                Some((_, Due::SlowHead)) => self.end(Reason::NO_ERROR, Err(Ended::SlowHead)),
                Some((_, Due::Leave)) => self.leave(),
                Some((_, Due::End)) => self.end(Reason::NO_ERROR, Ok(())),
            }
        }
    }

    /// What the crate refuses it does not tell: it is what has come and was not handed to us.
    fn look(&mut self) {
        let refused = self.watch.opened.get().saturating_sub(self.accepted);
        if refused > self.refused && self.watch.quiet.get() && self.watch.unfinished.get().is_none() {
            let streams = refused - self.refused;
            tracing::debug!(peer = ?self.client.peer, streams, "refused: malformed, too large, too many, or too late");
            self.refused = refused;
        }
    }

    /// What its client has it waiting for.
    fn waits(&self) -> Waits {
        match (self.watch.idle_since(), self.watch.unfinished.get()) {
            (None, _) => Waits::Busy,
            (_, Some(since)) => Waits::Head(since),
            (Some(_), None) if self.accepted == 0 => Waits::First,
            (Some(since), None) => Waits::Next(since),
        }
    }

    /// What will be due first, and when.
    fn next(&self) -> Option<(Instant, Due)> {
        let (watch, limits) = (&*self.watch, &self.client.limits);
        let after = |since: Option<Instant>, time: Option<Duration>, due| Some((since? + time?, due));
        let idle = watch.idle_since();
        let rest = match self.leaving {
            Some(leaving) => after(idle.map(|idle| idle.max(leaving)), Some(FAREWELL), Due::End),
            None if self.accepted > 0 => after(idle, limits.idle_timeout, Due::Leave),
            None => after(idle, limits.header_timeout, Due::SlowHead),
        };
        let old = self.client.until().filter(|_| self.leaving.is_none()).map(|until| (until, Due::Leave));
        let stuck = after(watch.stuck.get(), limits.write_timeout, Due::Stuck);
        let slow = after(watch.unfinished.get(), limits.header_timeout, Due::SlowHead);
        [rest, old, stuck, slow].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Two GOAWAYs with a ping between them: no request is lost (RFC 9113 section 6.8).
    fn leave(&mut self) {
        self.leaving = Some(Instant::now());
        self.connection.graceful_shutdown();
    }

    /// One GOAWAY, and what goes out at once.
    fn end(&mut self, reason: Reason, ended: Result<(), Ended>) {
        self.ending = Some((Instant::now() + FAREWELL, ended));
        self.connection.abrupt_shutdown(reason);
    }

    fn over(&mut self, error: Option<h2::Error>) -> Result<(), Ended> {
        match (self.ending.take(), error) {
            (Some((_, ended)), _) => ended,
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(()),
        }
    }

    /// Looks at a stream's head and has it answered.
    fn begin(&self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>, read: Instant) {
        if self.refuses() {
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        let (limits, spares) = (&self.client.limits, Rc::clone(self.spares));
        let (parts, stream) = request.into_parts();
        let mut request = spares.heads.take();
        let guarded = request::guarded(&parts, stream.is_end_stream(), &mut request, limits);
        let (guarded, refused) = guarded.map_or_else(
            |reject| {
                request::keep_call(&parts, &mut request);
                (Guarded::NOTHING, Some(reject))
            },
            |guarded| (guarded, None),
        );
        spares.maps.give(parts.headers);
        let (source, inbound) = match guarded.framing {
            Framing::None if guarded.upgrade.is_some() => (Source::Empty, Some(Box::new(Receiver::new(stream, None)))),
            Framing::None => (Source::Empty, None),
            _ => (Source::H2(Box::new(Receiver::new(stream, limits.max_body))), None),
        };
        let sink = Sink::h2(Sender::new(respond, &spares, &self.watch), inbound);
        let client = Rc::new(Client::new(Rc::clone(self.client.origin())));
        let live = Live::new(&self.watch);
        self.server.begin(Opened { request, guarded, refused, source, sink, client, spares, live, read });
    }

    /// No more streams: it ends now, or too many that were reset have not ended yet.
    fn refuses(&self) -> bool {
        self.client.is_cut()
            || self.ending.is_some()
            || self.watch.live() >= 2 * self.client.limits.h2.max_streams as usize
    }
}
