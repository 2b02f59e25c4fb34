//! One try at one backend: the request goes out, the response comes back, both bodies move at once. Hot path.

use super::{
    Record, Way, grpc, is_backends,
    meter::Meter,
    opening::Opening,
    pump::Pump,
    relay::Relay,
    replay::Replay,
    timing::{self, Pace},
    trace, tunnel,
    upload::Upload,
};
use crate::{
    dial::Connection,
    error::Kind,
    http::{
        Exchange, Framing, Guarded, Head, Inlet,
        body::{Chunk, Outlet},
        exchange::Announced,
        guard::Asked,
        h1::{
            HeadLimits, NoHead, Writer,
            write::{Connection as Said, Hop},
        },
        h2::Unsent,
        trace_id,
    },
    plan::Pool,
    policy::Blow,
    pool::Lease,
    telemetry::metrics::Retry,
    tls,
};
use bytes::Bytes;
use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// What we take of a backend's response head.
pub(super) const RESPONSE_HEAD: HeadLimits =
    HeadLimits { max_size: 64 * 1024, max_fields: 512, max_target: 0, encode: false };
/// Interim responses (1xx) to one request.
pub(super) const MAX_INTERIM: u8 = 32;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The answer has gone to the client, whole.
    Answered,
    /// A tunnel has ended.
    Switched,
    /// A kept connection died before a byte of the response, and the request may go out again.
    Stale,
    /// The answer is one after which the request goes out again, so long from now; its retry has been counted against the
    /// budget.
    Again(Retry, Duration),
    /// No good answer. If its head has gone out already, the client's connection must be cut.
    Failed(Kind),
}

/// One try.
pub(super) struct Attempt<'a> {
    pub(super) way: &'a Way<'a>,
    pub(super) pool: &'a Pool,
    pub(super) lease: &'a Lease<'a>,
    /// Its bytes, for algorithms that weigh them.
    pub(super) meter: &'a Meter<'a>,
    /// The connection has been used before.
    pub(super) kept: bool,
    /// When the request goes out.
    pub(super) begun: Instant,
    /// The request's method is.
    pub(super) idempotent: bool,
    /// An answer may be followed by another attempt, which would wait so long.
    pub(super) more: Option<Duration>,
}

/// What a response head is, once guarded.
pub(super) struct Answer {
    pub(super) head: Box<Head>,
    pub(super) guarded: Guarded,
}

impl Attempt<'_> {
    /// Makes the attempt on `connection`. `again` = what `replay` holds goes out first.
    pub(super) async fn run(
        &self,
        exchange: &mut Exchange<'_>,
        connection: Connection,
        replay: &mut Replay,
        again: bool,
        record: &mut Record,
    ) -> Outcome {
        let opening = match exchange.guarded.upgrade {
            None => None,
            Some(_) => match Box::pin(Opening::new(self, &exchange.request, &connection, record.deadline)).await {
                Ok(opening) => Some(Box::new(opening)),
                Err(kind) => return self.unopened(kind),
            },
        };
        grpc::tell_deadline(&mut exchange.request, record);
        let (mut upload, mut inlet) = match self.begin(exchange, &connection, replay, again, opening) {
            Ok(begun) => begun,
            Err(outcome) => {
                if let Outcome::Failed(kind) = outcome {
                    self.lease.failed(kind, Instant::now());
                }
                return outcome;
            }
        };
        if record.call && matches!(connection, Connection::H2(_)) {
            upload.call = Some(Box::new(grpc::Call::new(self.begun)));
        }
        let answer = match poll_fn(|cx| self.poll_answer(cx, exchange, &mut inlet, &mut upload, replay, record)).await {
            Ok(answer) => answer,
            Err(outcome) => return self.unanswered(outcome, exchange, &inlet, &upload, replay, record),
        };
        let now = Instant::now();
        self.note(now, &answer, &upload);
        trace::answered(record, answer.head.status());
        if self.more.is_some()
            && let Some(again) = self.again(now, &answer, is_whole(exchange, &upload, replay), &upload, record)
        {
            let (keep_timeout, clean) = (answer.guarded.keep_timeout, self.discard(answer, inlet, upload));
            self.keep(connection, clean, now, keep_timeout);
            return again;
        }
        let Guarded { framing, upgrade, keep_alive, keep_timeout, .. } = answer.guarded;
        if let Err(outcome) = self.respond(now, exchange, &mut upload, replay, record, answer) {
            return outcome;
        }
        if upgrade.is_some() {
            self.lease.switched();
            let (timeout, route) = (self.pool.settings.tunnel_timeout, &self.way.route.metrics);
            let ours = (self.way.local, self.meter);
            return Box::pin(tunnel::run(exchange, (inlet, upload.outlet), ours, timeout, route, record)).await;
        }
        let source = inlet.body(framing, &RESPONSE_HEAD);
        let (source, whole) = match record.chaos() {
            Some(Blow::SlowBody(rate)) => (source.slowly(rate), false),
            // The usual case: a body that is short, or none, has come with its head, and both go out at once.
            _ => (source, inlet.pass_short(&mut exchange.sink.outlet)),
        };
        let mut relay = Relay::new(source, whole, now);
        match poll_fn(|cx| self.poll_relay(cx, exchange, &mut relay, &mut upload, replay, record)).await {
            // Where it has not waited, the clock has just been read.
            Ok(()) => record.ended = (!relay.waited).then_some(now),
            Err(kind) => return self.failed(kind, record),
        }
        let whole = !upload.open && !upload.broken;
        drop((upload, relay));
        if !whole {
            // An early answer: what the client still sends is nobody's (RFC 9112 section 9.6).
            exchange.sink.close_after();
        }
        let clean = whole && keep_alive && inlet.is_drained();
        drop(inlet);
        self.keep(connection, clean, now, keep_timeout);
        Outcome::Answered
    }

    /// Gives a connection back that is `clean`, and closes any other.
    fn keep(&self, connection: Connection, clean: bool, now: Instant, keep_timeout: Option<Duration>) {
        if clean && let Connection::H1(connection) = connection {
            let settings = &self.pool.settings;
            self.way.local.dialer.give(self.lease.backend().id, connection, settings, now, keep_timeout);
        }
    }

    /// There is no response, or none to be had yet.
    fn unanswered(
        &self,
        outcome: Outcome,
        exchange: &Exchange<'_>,
        inlet: &Inlet<'_>,
        upload: &Upload<'_>,
        replay: &Replay,
        record: &mut Record,
    ) -> Outcome {
        if let Outcome::Failed(kind) = outcome {
            self.lease.backend().metrics.attempt(self.way.local.worker, kind.status(), None);
            self.missed(kind, upload, record);
            record.again = self.may_go_again(exchange, inlet, upload, replay);
            let (backend, failure) = (&self.lease.backend().name, kind.word());
            tracing::debug!(%backend, failure, trace_id = %record.trace, "attempt failed");
        }
        outcome
    }

    /// The response's head is there: for metrics, and for whoever chooses backends.
    fn note(&self, now: Instant, answer: &Answer, upload: &Upload<'_>) {
        let (status, waited) = (answer.head.status(), now - upload.sent);
        self.lease.backend().metrics.attempt(self.way.local.worker, status, Some(waited));
        self.answered(now, waited, status, upload);
    }

    /// Stages the response's head for the client.
    fn respond(
        &self,
        now: Instant,
        exchange: &mut Exchange<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
        record: &mut Record,
        mut answer: Answer,
    ) -> Result<(), Outcome> {
        let heads = &self.way.local.spares.heads;
        record.status = answer.head.status();
        (record.again, record.ttfb) = (false, Some(now - upload.sent));
        replay.give_up();
        if exchange.client.is_closing() {
            exchange.sink.close_after();
        }
        self.way.edit_response(&mut answer.head, &exchange.request, exchange.client, record);
        let Answer { head, guarded } = answer;
        let announced = Announced { framing: guarded.framing, length: guarded.length, upgrade: guarded.upgrade };
        let staged = exchange.sink.head(&head, &announced);
        heads.give(head);
        if staged.is_err() {
            return Err(self.failed(Kind::ClientGone, record));
        }
        if upload.opening.is_some() && guarded.upgrade.is_none() {
            // It is refused, and over HTTP/2 its stream is still open.
            let _ = upload.outlet.end(None);
        }
        Ok(())
    }

    /// After the head: for log and metric alone.
    fn failed(&self, kind: Kind, record: &mut Record) -> Outcome {
        if is_backends(kind) {
            self.lease.failed(kind, Instant::now());
            let (backend, failure) = (&self.lease.backend().name, kind.word());
            tracing::debug!(%backend, failure, trace_id = %record.trace, "response cut");
        }
        record.failure = Some(kind);
        Outcome::Failed(kind)
    }

    /// Stages the request's head, and what an earlier try has pulled of its body.
    fn begin<'w>(
        &self,
        exchange: &Exchange<'_>,
        connection: &'w Connection,
        replay: &mut Replay,
        again: bool,
        opening: Option<Box<Opening>>,
    ) -> Result<(Upload<'w>, Inlet<'w>), Outcome> {
        let Exchange { request, guarded, source, sink, .. } = exchange;
        let authority = request.text(request.target.authority);
        let pass_host = self.pool.settings.pass_host && !authority.is_empty();
        let authority = if pass_host { authority } else { self.lease.backend().host.as_bytes() };
        let said = guarded.upgrade.map_or(Said::Keep, Said::Upgrade);
        // Its client has sent nothing of the body yet, and waits to be told that it may.
        let expect = guarded.expect && source.received() == 0;
        let trailers = guarded.trailers;
        let (framing, length) = (guarded.framing, guarded.length);
        let key = opening.as_deref().and_then(Opening::key);
        let hop = Hop { authority, framing, length, connection: said, trailers, expect, key };
        let (mut outlet, inlet) = match connection {
            Connection::H1(connection) => {
                let mut writer = Writer::new(&connection.wire);
                writer.head(request, &hop);
                (Outlet::H1(writer), Inlet::H1(&connection.wire))
            }
            Connection::H2(share) => {
                let sent = share.session().request(request, &hop, framing == Framing::None);
                let (sender, reply) = sent.map_err(|unsent| match unsent {
                    Unsent::Ended if self.kept => Outcome::Stale,
                    Unsent::Ended => Outcome::Failed(Kind::Reset),
                    Unsent::Malformed => Outcome::Failed(Kind::BadRequest),
                })?;
                (Outlet::H2(sender), Inlet::H2(Box::new(reply)))
            }
        };
        // Without a body, what has been staged is everything.
        let mut pump = if guarded.framing == Framing::None { Pump::resumed(true, None) } else { Pump::new() };
        if again && let Some(held) = replay.held().map(Bytes::copy_from_slice) {
            let (whole, trailers) = (source.has_ended(), replay.take_trailers());
            // It has been pushed before: it fits.
            let _ = outlet.push(Chunk::Bytes(held), whole && trailers.is_none());
            pump = Pump::resumed(whole, trailers);
        }
        let now = self.begun;
        let upload = Upload {
            outlet,
            pump,
            call: None,
            pace: None,
            open: true,
            broken: false,
            waits: expect,
            sent: now,
            watch: !sink.is_unwatched(),
            interims: 0,
            flushing: false,
            unprocessed: false,
            opening,
        };
        Ok((upload, inlet))
    }

    /// Sends the request and waits for the final response's head. Interim ones are passed on.
    fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        inlet: &mut Inlet<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
        record: &mut Record,
    ) -> Poll<Result<Answer, Outcome>> {
        loop {
            if upload.flushing {
                ready!(poll_interim(cx, exchange))?;
                upload.flushing = false;
            }
            if upload.interims > MAX_INTERIM {
                return Poll::Ready(Err(Outcome::Failed(Kind::BadResponse)));
            }
            let mut answer = match ready!(self.poll_head(cx, exchange, inlet, upload, replay, record)) {
                Ok(answer) => answer,
                Err(missing) => {
                    upload.unprocessed = matches!(missing, Missing::NoHead(NoHead::Unprocessed));
                    return Poll::Ready(Err(self.no_head(missing, exchange, inlet, upload, replay)));
                }
            };
            self.hear(&mut answer.head);
            let status = answer.head.status();
            if status >= 200 || status == 101 {
                let settled = upload.opening.as_ref().map_or(Ok(()), |opening| opening.settle(&mut answer.head));
                return Poll::Ready(settled.map(|()| answer).map_err(Outcome::Failed));
            }
            if std::mem::take(&mut upload.waits) {
                // Only now is the body the client's to send.
                upload.pace = Some(Pace::new(Instant::now()));
            }
            let staged = exchange.sink.interim(&answer.head);
            self.way.local.spares.heads.give(answer.head);
            if staged.is_err() {
                return Poll::Ready(Err(Outcome::Failed(Kind::ClientGone)));
            }
            exchange.timer.set_after(Instant::now(), exchange.client.limits.write_timeout);
            (upload.interims, upload.flushing) = (upload.interims + 1, true);
        }
    }

    fn poll_head(
        &self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange<'_>,
        inlet: &mut Inlet<'_>,
        upload: &mut Upload<'_>,
        replay: &mut Replay,
        record: &mut Record,
    ) -> Poll<Result<Answer, Missing>> {
        if upload.open
            && let Err(kind) = self.poll_upload(cx, exchange, upload, replay)
        {
            return Poll::Ready(Err(Missing::Failed(kind)));
        }
        let asked = Asked { method: exchange.request.method(), upgrade: exchange.guarded.upgrade };
        // Lent for the look alone: of those that wait there are many at a time.
        let mut head = self.way.local.spares.heads.take();
        match inlet.poll_head(cx, &mut head, &RESPONSE_HEAD, asked) {
            Poll::Ready(Ok(guarded)) => return Poll::Ready(Ok(Answer { head, guarded })),
            read => {
                self.way.local.spares.heads.give(head);
                if let Poll::Ready(Err(missing)) = read {
                    return Poll::Ready(Err(Missing::NoHead(missing)));
                }
            }
        }
        if self.poll_gone(cx, exchange, upload).is_ready() {
            return Poll::Ready(Err(Missing::Failed(Kind::ClientGone)));
        }
        if exchange.client.is_cut() {
            return Poll::Ready(Err(Missing::Failed(Kind::Draining)));
        }
        loop {
            let mut deadline = if upload.open {
                self.upload_deadline(exchange, upload)
            } else {
                if record.deadline.is_none() {
                    record.deadline = self.way.forward.timeout.map(|time| upload.sent + time);
                }
                let whole = record.deadline.map(|at| (at, Kind::Deadline));
                timing::earlier(timing::response(upload.sent, &self.pool.settings), whole)
            };
            deadline = timing::earlier(deadline, timing::call(record.ends));
            match self.poll_timer(cx, exchange, upload, None, deadline) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(kind)) => return Poll::Ready(Err(Missing::Failed(kind))),
                Poll::Ready(None) if self.poll_gone(cx, exchange, upload).is_ready() => {
                    return Poll::Ready(Err(Missing::Failed(Kind::ClientGone)));
                }
                Poll::Ready(None) => {}
            }
        }
    }

    fn no_head(
        &self,
        missing: Missing,
        exchange: &Exchange<'_>,
        inlet: &Inlet<'_>,
        upload: &Upload<'_>,
        replay: &Replay,
    ) -> Outcome {
        let no_head = match missing {
            Missing::Failed(kind) => return Outcome::Failed(kind),
            Missing::NoHead(no_head) => no_head,
        };
        if let NoHead::Reject(reject) = no_head {
            let (backend, why) = (&self.lease.backend().name, reject.why);
            tracing::debug!(%backend, why, trace_id = %trace_id(&exchange.request), "response refused");
            return Outcome::Failed(reject.kind);
        }
        // A stream that is reset is no connection that had died: sent again unasked, it would be load beyond the budget.
        let lives = matches!(no_head, NoHead::GivenUp);
        let stale = self.kept && !lives && self.may_go_again(exchange, inlet, upload, replay);
        match no_head {
            _ if stale => Outcome::Stale,
            NoHead::Broken(error) if tls::is_refusal(&error) => Outcome::Failed(Kind::BackendTls),
            _ => Outcome::Failed(Kind::Reset),
        }
    }

    /// No byte of the response has come, and the request is replayable (PRODUCT.md section 1).
    fn may_go_again(&self, exchange: &Exchange<'_>, inlet: &Inlet<'_>, upload: &Upload<'_>, replay: &Replay) -> bool {
        if !inlet.is_drained() {
            return false;
        }
        let whole = is_whole(exchange, upload, replay);
        // What is not idempotent: only if nothing of it has been written, or the backend says that it did nothing.
        whole && (self.idempotent || upload.unprocessed || !upload.outlet.has_begun())
    }
}

/// Sends what is staged of an interim response.
fn poll_interim(cx: &mut Context<'_>, exchange: &mut Exchange<'_>) -> Poll<Result<(), Outcome>> {
    let flushed = match exchange.sink.poll_flush(cx) {
        Poll::Pending => exchange.timer.poll(cx).map(|()| false),
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
    };
    flushed.map(|sent| if sent { Ok(()) } else { Err(Outcome::Failed(Kind::ClientGone)) })
}

/// The client has heard nothing, and all that it has sent is still here.
fn is_whole(exchange: &Exchange<'_>, upload: &Upload<'_>, replay: &Replay) -> bool {
    upload.interims == 0 && (replay.held().is_some() || exchange.source.received() == 0)
}

/// Why there is no response head.
enum Missing {
    NoHead(NoHead),
    Failed(Kind),
}
