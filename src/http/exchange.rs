//! One request and its response, whatever version carries them. Hot path.

use super::{
    Client, Spares,
    body::{Outlet, Source},
    guard::{Framing, Guarded, Reject, Upgrade},
    h1::{
        Wire,
        write::{Connection, Hop},
    },
    h2,
    head::{Head, Version},
};
use crate::{
    config::{Http2, Underscores},
    net::{SMALL, Timer},
};
use std::{
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

/// What a listener allows its clients. `None` = no bound.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bounds of a request head.
    pub head: super::h1::HeadLimits,
    /// A whole request head.
    pub header_timeout: Option<Duration>,
    /// The longest silence inside a request body.
    pub body_timeout: Option<Duration>,
    /// The least mean rate of a request body, in bytes a second.
    pub min_body_rate: Option<u64>,
    /// The longest time in which a client takes nothing.
    pub write_timeout: Option<Duration>,
    /// A kept connection without a request.
    pub idle_timeout: Option<Duration>,
    /// The largest request body, in bytes.
    pub max_body: Option<u64>,
    /// A client that has finished sending still gets its answer.
    pub half_close: bool,
    /// What to do with names that have `_` in them.
    pub underscores: Underscores,
    /// How long a connection lasts; each has up to a tenth more or less.
    pub max_age: Option<Duration>,
    /// Streams, windows and floods.
    pub h2: Http2,
}

/// One request and the way to answer it.
#[derive(Debug)]
pub struct Exchange<'c> {
    /// The request's head: end-to-end fields alone.
    pub request: Box<Head>,
    /// What the guard lifted out of it.
    pub guarded: Guarded,
    /// Why it must not be forwarded.
    pub refused: Option<Reject>,
    /// Where it came from.
    pub client: &'c Client,
    /// The connection's or the stream's one timer.
    pub timer: &'c Timer,
    /// Its body.
    pub source: Source<'c>,
    /// Its answer.
    pub sink: Sink<'c>,
    /// When its first byte was read.
    pub started: Instant,
    /// When its head was there, whole.
    pub read: Instant,
}

impl Exchange<'_> {
    /// The client takes any 2xx for the beginning of a tunnel: CONNECT, and a WebSocket opening over HTTP/2 (RFC 8441
    /// section 4).
    pub fn takes_success_for_tunnel(&self) -> bool {
        self.guarded.upgrade.is_some_and(|upgrade| upgrade == Upgrade::Raw || self.request.version() == Version::Http2)
    }

    /// It is over: its head's memory goes back.
    pub(super) fn end(self, spares: &Spares) {
        spares.heads.give(self.request);
    }
}

/// The way to answer one request.
#[derive(Debug)]
pub struct Sink<'c> {
    /// The answer's body.
    pub outlet: Outlet<'c>,
    /// What comes from the client once the stream is a tunnel (HTTP/2 alone).
    inbound: Option<Box<h2::Receiver>>,
    version: Version,
    /// The connection may go on after this answer.
    keep: bool,
    /// The final head has been staged.
    headed: bool,
}

/// What a final answer's head says of its body.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    /// How the body is delimited.
    pub framing: Framing,
    /// `Content-Length` where no body follows.
    pub length: Option<u64>,
    /// The connection becomes something else.
    pub upgrade: Option<Upgrade>,
}

/// Proof that an exchange was answered, or cut: only [`Sink::finish`], [`Sink::abort`] and [`Sink::switched`] make one.
#[derive(Debug)]
pub struct Done {
    /// The client's connection may carry another exchange.
    pub(super) keep: bool,
    /// Bytes that the client still sends must be read, or they turn our answer into a reset.
    pub(super) linger: bool,
    /// When the exchange ended, if somebody has looked at a clock.
    pub(super) ended: Option<Instant>,
}

impl Done {
    /// The connection can carry nothing more, and nobody reads on.
    const CUT: Self = Self { keep: false, linger: false, ended: None };

    /// The exchange ended at `ended`: a clock need not be read again.
    #[must_use]
    pub fn at(self, ended: Instant) -> Self {
        Self { ended: Some(ended), ..self }
    }
}

impl<'c> Sink<'c> {
    /// Over an HTTP/1 connection.
    pub(super) fn h1(wire: &'c Wire, version: Version, keep: bool) -> Self {
        Self { outlet: Outlet::H1(super::h1::Writer::new(wire)), inbound: None, version, keep, headed: false }
    }

    /// Over an HTTP/2 stream. `inbound` = what comes on it should it become a tunnel.
    pub(super) fn h2(sender: h2::Sender, inbound: Option<Box<h2::Receiver>>) -> Self {
        Self { outlet: Outlet::H2(sender), inbound, version: Version::Http2, keep: true, headed: false }
    }

    /// Stages an interim response (1xx). HTTP/1.0 knows none: nothing happens.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn interim(&mut self, head: &Head) -> io::Result<()> {
        match &mut self.outlet {
            Outlet::H1(_) if self.version == Version::Http10 => Ok(()),
            Outlet::H1(writer) => {
                let hop = hop(Framing::None, None, Connection::Keep);
                writer.head(head, &hop);
                Ok(())
            }
            Outlet::H2(sender) => sender.interim(head),
        }
    }

    /// Stages the final head, once.
    ///
    /// # Errors
    /// The stream is gone.
    pub fn head(&mut self, head: &Head, announced: &Announced) -> io::Result<()> {
        debug_assert!(!self.headed, "a request has one answer");
        self.headed = true;
        let Outlet::H1(writer) = &mut self.outlet else {
            let Outlet::H2(sender) = &mut self.outlet else { return Ok(()) };
            let end = announced.framing == Framing::None && announced.upgrade.is_none();
            return sender.respond(head, end, announced.length);
        };
        let framing = match announced.framing {
            Framing::Streamed | Framing::UntilClose if self.version == Version::Http10 => Framing::UntilClose,
            Framing::UntilClose => Framing::Streamed,
            framing => framing,
        };
        self.keep &= framing != Framing::UntilClose;
        let connection = match announced.upgrade {
            // A tunnel's end is the connection's: of a switch, no more is said.
            Some(upgrade) => Connection::Upgrade(upgrade),
            None if !self.keep => Connection::Close,
            None if self.version == Version::Http10 => Connection::KeepAloud,
            None => Connection::Keep,
        };
        let length = match framing {
            Framing::Length(length) => Some(length),
            _ => announced.length,
        };
        writer.head(head, &hop(framing, length, connection));
        Ok(())
    }

    /// Takes a staged head back, if no byte of it has gone: another answer may be given. False if it is too late.
    pub fn unsay(&mut self) -> bool {
        if let Outlet::H1(writer) = &mut self.outlet
            && writer.unsay()
        {
            self.headed = false;
        }
        !self.headed
    }

    /// This answer is the connection's last; said in its head if that is still to come.
    pub fn close_after(&mut self) {
        self.keep = false;
    }

    /// The answer is whole, staged or sent: sends what is left.
    pub async fn finish(&mut self, timer: &Timer) -> Done {
        let flushed = self.flushed(timer).await;
        Done { keep: self.keep && flushed && self.outlet.has_ended(), linger: flushed, ended: None }
    }

    /// Sends what is staged. False: it could not be sent, or not before `timer` was over.
    pub async fn flushed(&mut self, timer: &Timer) -> bool {
        let flushed = std::future::poll_fn(|cx| {
            if let Poll::Ready(flushed) = self.outlet.poll_flush(cx) {
                return Poll::Ready(flushed.is_ok());
            }
            timer.poll(cx).map(|()| false)
        });
        flushed.await
    }

    /// Like [`Sink::finish`], where nothing is left to be sent.
    pub fn finished(&self) -> Done {
        Done { keep: self.keep && self.outlet.has_ended(), linger: true, ended: None }
    }

    /// The answer cannot be completed: the client must notice.
    pub fn abort(&mut self) -> Done {
        // With HTTP/1 the connection's end tells: before the length that was said, before the last chunk, or as a reset.
        if let Outlet::H2(sender) = &mut self.outlet {
            sender.abort();
        }
        Done::CUT
    }

    /// As [`Sink::abort`], where nobody has failed: the time is over.
    pub fn cancel(&mut self) -> Done {
        if let Outlet::H2(sender) = &mut self.outlet {
            sender.cancel();
        }
        Done::CUT
    }

    /// The client is cut off, as by a peer that dies: its connection is reset, or this stream of it.
    pub fn reset(&mut self) -> Done {
        match &mut self.outlet {
            Outlet::H1(writer) => writer.wire().io.reset(),
            Outlet::H2(sender) => sender.abort(),
        }
        Done::CUT
    }

    /// Ready when the client has left. Not watched: a client that is still sending its body, or has sent 16 KiB of
    /// further requests already, and one whose socket is not registered (see [`Sink::is_unwatched`]).
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, half_close: bool) -> Poll<()> {
        self.poll_leaving(cx, half_close, false)
    }

    /// As [`Sink::poll_gone`], while nobody reads the request's body: what comes of it is read ahead, within the same bound.
    pub fn poll_gone_early(&mut self, cx: &mut Context<'_>, half_close: bool) -> Poll<()> {
        self.poll_leaving(cx, half_close, true)
    }

    fn poll_leaving(&mut self, cx: &mut Context<'_>, half_close: bool, body_too: bool) -> Poll<()> {
        match &mut self.outlet {
            Outlet::H2(sender) => sender.poll_reset(cx).map(|_| ()),
            Outlet::H1(writer) => {
                let wire = writer.wire();
                // What it sends meanwhile is read ahead, within bounds: its end is behind that.
                while (body_too || !wire.body_pending()) && wire.read_ahead() < SMALL {
                    match wire.poll_more(cx) {
                        Poll::Ready(Ok(1..)) => {}
                        Poll::Ready(Ok(0)) if half_close => break,
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                        Poll::Pending => break,
                    }
                }
                Poll::Pending
            }
        }
    }

    /// The client is one stream of several: whether it has left does not show in what it sends.
    pub fn is_stream(&self) -> bool {
        matches!(self.outlet, Outlet::H2(_))
    }

    /// The client's socket is not known to the reactor yet: watching it would make it so.
    pub fn is_unwatched(&self) -> bool {
        match &self.outlet {
            Outlet::H1(writer) => writer.wire().io.is_fresh(),
            Outlet::H2(_) => false,
        }
    }

    /// Something has been read behind the request (HTTP/1 alone).
    pub fn has_read_ahead(&self) -> bool {
        match &self.outlet {
            Outlet::H1(writer) => !writer.wire().is_drained(),
            Outlet::H2(_) => false,
        }
    }

    /// The switch has been said, and is gone: what comes from the client from here on is the tunnel's.
    pub fn becomes_tunnel(&mut self, source: &mut Source<'c>) {
        *source = match &self.outlet {
            Outlet::H1(writer) => {
                let wire = writer.wire();
                wire.expect_tunnel();
                Source::H1(wire)
            }
            Outlet::H2(_) => self.inbound.take().map_or(Source::Empty, Source::H2),
        };
        self.outlet.becomes_tunnel();
    }

    /// The connection has been a tunnel, and is over.
    pub fn switched(&self) -> Done {
        Done::CUT
    }

    /// Ready when all that was staged has gone.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.poll_flush(cx)
    }
}

fn hop(framing: Framing, length: Option<u64>, connection: Connection) -> Hop<'static> {
    Hop { authority: b"", framing, length, connection, trailers: false, expect: false, key: None }
}
