//! Serves one client's HTTP/1.1 connection: reads heads, guards them, hands exchanges over. Hot path.
//!
//! While a connection waits for a request it holds no buffer and no box: its future is small, and a test says how small.

use super::{NoHead, Wire, wire};
use crate::{
    error::Kind,
    http::{
        Client, Done, Exchange, Limits, Sink, Waits,
        body::Source,
        guard::{self, Framing, Guarded, Reject},
        h2,
        head::{Head, Span, Version},
        linger::{self, LINGER, LINGER_BYTES, linger},
        runner::{Job, Server},
        target,
    },
    net::{Buf, Stream, Timer},
};
use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// How long an old connection may still ask for something, to be told that it is the last time.
const GRACE: Duration = Duration::from_secs(1);

/// A client's connection, and what all its exchanges share.
#[derive(Debug)]
pub struct ClientSide {
    wire: Wire,
    client: Rc<Client>,
    timer: Timer,
}

impl ClientSide {
    /// A connection that no request has been read from.
    pub fn new(wire: Wire, client: Rc<Client>) -> Self {
        Self { wire, client, timer: Timer::default() }
    }

    /// The socket, and what was read ahead of it.
    pub fn into_parts(self) -> (Stream, Buf) {
        let carry = self.wire.take_carry();
        (self.wire.io, carry)
    }
}

/// How a connection went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It is over.
    Closed,
    /// Its client speaks HTTP/2: the preface was read ahead, and nothing else was done.
    Http2,
}

/// Serves `connection` until either side ends it, or shows that it is HTTP/2 (prior knowledge, RFC 9113 section 3.3).
/// `server` answers each exchange.
pub async fn serve(connection: &Rc<ClientSide>, server: &Server) -> Served {
    let ClientSide { wire, client, timer } = &**connection;
    // The first head's time runs from accept.
    wait(timer, client, client.accepted, client.limits.header_timeout);
    let mut first = true;
    while poll_fn(|cx| poll_idle(wire, client, timer, cx)).await {
        if first && wire.starts_like(h2::PREFACE) {
            if wire.starts_with(h2::PREFACE) {
                return Served::Http2;
            }
            continue;
        }
        let mut runner = server.run(Job { connection: Rc::clone(connection), first });
        let after = poll_fn(|cx| runner.poll(cx)).await;
        server.give(runner);
        match after {
            After::Idle(now) => {
                client.waits_for(Waits::Next(now));
                wait(timer, client, now, client.limits.idle_timeout);
            }
            After::Close => break,
            After::Linger => {
                // What is still to come may be less than a low-water mark.
                wire.set_low_water(false);
                drop(wire.take_carry());
                linger(&wire.io, client).await;
                break;
            }
        }
        first = false;
    }
    poll_fn(|cx| {
        wire.io.take_leave(cx);
        Poll::Ready(())
    })
    .await;
    Served::Closed
}

/// The connection waits for a request: not for longer than `most`, and not for long when it is old. One that is busy is
/// told so in an answer; that it is closed just when its next request comes must not happen.
fn wait(timer: &Timer, client: &Client, now: Instant, most: Option<Duration>) {
    let (most, old) = (most.map(|most| now + most), client.until().map(|until| until + GRACE));
    timer.set(most.into_iter().chain(old).min());
}

/// What becomes of the connection.
pub(in crate::http) enum After {
    Idle(Instant),
    Close,
    Linger,
}

/// Ready with true when something has come, with false when the connection is over.
fn poll_idle(wire: &Wire, client: &Client, timer: &Timer, cx: &mut Context<'_>) -> Poll<bool> {
    client.wake_with(cx.waker());
    if client.is_closing() {
        return Poll::Ready(false);
    }
    match wire.poll_more(cx) {
        Poll::Ready(read) => Poll::Ready(read.is_ok_and(|n| n > 0)),
        Poll::Pending => timer.poll(cx).map(|()| false),
    }
}

/// The part of a connection that has something to do.
pub(in crate::http) async fn active<H>(connection: &ClientSide, mut first: bool, handle: &H) -> After
where
    H: AsyncFn(&mut Exchange<'_>) -> Done,
{
    let ClientSide { wire, client, timer } = connection;
    loop {
        let started = Instant::now();
        let mut head = wire.spares.heads.take();
        let mut waited = false;
        let read = poll_fn(|cx| {
            let polled = wire.poll_request(cx, &mut head, &client.limits.head);
            if polled.is_pending() && !waited {
                waited = true;
                client.waits_for(Waits::Head(started));
                if !first {
                    timer.set_after(started, client.limits.header_timeout);
                }
            }
            poll_guarded(polled, client, timer, &mut head, cx)
        });
        let read = read.await;
        client.waits_for(Waits::Busy);
        let (guarded, refused) = match read {
            Ok(guarded) => (guarded, None),
            Err(NoHead::Reject(reject)) => (Guarded::NOTHING, Some(reject)),
            Err(NoHead::Closed | NoHead::Broken(_) | NoHead::Unprocessed | NoHead::GivenUp) => return After::Close,
        };
        timer.set(None);
        first = false;
        let read = if waited { Instant::now() } else { started };
        if client.is_old(read) {
            // This answer is the last.
            client.close();
        }
        let mut exchange = exchange(wire, client, timer, head, guarded, refused, (started, read));
        let done = handle(&mut exchange).await;
        let refused = exchange.refused.is_some();
        exchange.end(&wire.spares);
        if !done.keep || !drained(wire, client).await {
            let unread = done.linger && (refused || wire.body_pending() || !wire.is_drained());
            return if unread { After::Linger } else { After::Close };
        }
        if wire.is_drained() {
            return After::Idle(done.ended.unwrap_or_else(Instant::now));
        }
    }
}

fn poll_guarded(
    polled: Poll<Result<Span, NoHead>>,
    client: &Client,
    timer: &Timer,
    head: &mut Head,
    cx: &mut Context<'_>,
) -> Poll<Result<Guarded, NoHead>> {
    let limits = &client.limits;
    let Poll::Ready(read) = polled else {
        if client.is_cut() {
            return Poll::Ready(Err(NoHead::GivenUp));
        }
        ready!(timer.poll(cx));
        let slow = Reject { kind: Kind::RequestTimeout, why: "the request head took too long" };
        return Poll::Ready(Err(slow.into()));
    };
    Poll::Ready(guarded(head, read?, limits).map_err(NoHead::from))
}

/// Guards a head that was read.
fn guarded(head: &mut Head, raw: Span, limits: &Limits) -> Result<Guarded, Reject> {
    let raw = if limits.head.encode { target::encode(head, raw) } else { raw };
    let guarded = guard::h1_request(head, raw, limits.underscores)?;
    match (guarded.framing, limits.max_body) {
        (Framing::Length(length), Some(max)) if length > max => Err(guard::BODY_TOO_LARGE),
        _ => Ok(guarded),
    }
}

/// What becomes of `bytes`, a request head, at a listener with these `limits`: it is read and guarded as those that clients
/// send. For requests that are asked about.
///
/// # Errors
/// It is refused.
pub fn read(bytes: &[u8], head: &mut Head, limits: &Limits) -> Result<Guarded, Reject> {
    let raw = wire::read_request(bytes, head, &limits.head)?;
    guarded(head, raw, limits)
}

fn exchange<'c>(
    wire: &'c Wire,
    client: &'c Client,
    timer: &'c Timer,
    request: Box<Head>,
    guarded: Guarded,
    refused: Option<Reject>,
    (started, read): (Instant, Instant),
) -> Exchange<'c> {
    let limits = &client.limits;
    wire.expect_body(guarded.framing, &limits.head, limits.max_body);
    let source = if guarded.framing == Framing::None { Source::Empty } else { Source::H1(wire) };
    let version = if refused.is_some() { Version::Http11 } else { request.version() };
    let sink = Sink::h1(wire, version, guarded.keep_alive && !client.is_closing());
    Exchange { request, guarded, refused, client, timer, source, sink, started, read }
}

/// Reads what is left of a body that nobody wanted; false if it is more than we care to read.
async fn drained(wire: &Wire, client: &Client) -> bool {
    if !wire.body_pending() {
        return true;
    }
    let (before, since) = (wire.received(), linger::last(client));
    let drain = poll_fn(|cx| {
        loop {
            if client.is_cut() {
                return Poll::Ready(false);
            }
            match ready!(wire.poll_body(cx)) {
                Ok(Some(pulled)) => wire.spares.recycle(pulled.chunk),
                Ok(None) => return Poll::Ready(true),
                Err(_) => return Poll::Ready(false),
            }
            if wire.received() - before > LINGER_BYTES {
                return Poll::Ready(false);
            }
        }
    });
    tokio::time::timeout_at(since + LINGER, drain).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Origin, testing::client};
    use std::{net::TcpListener, rc::Rc};

    /// A connection that waits for a request is this future and the socket, the timer and the client's record that it
    /// borrows. What an exchange needs must not be in it.
    #[tokio::test]
    async fn an_idle_connection_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = Rc::new(client());
        let wire = Wire::new(Stream::fresh(stream), Rc::default());
        let held = size_of_val(&*client) + size_of::<Origin>() + size_of::<ClientSide>();
        let server = Server::new(async |exchange: &mut Exchange<'_>| exchange.sink.abort(), |_| ());
        let idle = size_of_val(&serve(&Rc::new(ClientSide::new(wire, client)), &server));
        assert!(idle <= 256 && held <= 576, "the future has {idle} bytes, what it borrows {held}");
    }
}
