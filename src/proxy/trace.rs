//! The trace of an exchange: a believed caller's goes on, any other begins here. Of those that are sampled it is noted what
//! happens, and when the exchange has ended its spans are left for control: one of the request, and one of each attempt. Hot
//! path: an exchange that is not sampled pays a look at a pointer, and has no memory for it.
//!
//! What goes to a backend hangs from the span of its attempt. Copies (`mirror`) and questions (`forward`) hang from the
//! request's own: what becomes of them is no part of the answer. Health checks belong to no trace.

use super::{Local, Record, attempt::Outcome, client};
use crate::{
    error::Kind,
    http::{Client, Exchange, Head, Name, Version},
    plan::Plan,
    pool::Backend,
    telemetry::trace::{self, Begin, Context, Entry, Parent, TraceId},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::time::Instant;

/// What is noted of an exchange whose spans are recorded.
#[derive(Debug)]
pub(super) struct Traced {
    /// The request's own span.
    context: Context,
    /// The caller's.
    parent: Option<[u8; 8]>,
    /// A moment: nanoseconds since the epoch, and by our own clock. One look, so that spans fit together.
    clock: (u64, Instant),
    attempts: Vec<Attempt>,
}

/// One try at one backend.
#[derive(Debug)]
struct Attempt {
    span: [u8; 8],
    backend: Arc<Backend>,
    /// The pool's place in the plan.
    pool: Option<usize>,
    /// Its backend was chosen then: making a connection is a part of it, waiting in the queue is not.
    begun: Instant,
    ended: Instant,
    /// What the backend has answered; 0 = nothing.
    status: u16,
    failure: Option<Kind>,
}

/// Goes on with the trace of a caller that is believed, or begins one.
pub(super) fn begin(local: &Local, plan: &Plan, exchange: &mut Exchange<'_>, record: &mut Record) {
    if exchange.refused.is_some() {
        // Nothing that it says can be relied on.
        return;
    }
    let request = &mut *exchange.request;
    let (parent, plain) = believed(exchange.client, request);
    let begin = Begin::new(parent, plan.trace.as_ref().map(|trace| trace.sample), || local.random());
    record.trace = TraceId(begin.context.trace);
    match parent {
        Some(_) => check_state(local, request),
        None => request.remove(Name::Tracestate),
    }
    if begin.recorded || !plain {
        say(request, &begin.context);
    }
    if begin.recorded {
        let now = Instant::now();
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        record.rare.get_or_insert_default().traced = Some(Box::new(Traced {
            context: begin.context,
            parent: begin.parent,
            clock: (u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX), now),
            attempts: Vec::new(),
        }));
    }
}

/// What a trusted peer says in its one `traceparent`, and whether it stands there as we would write it.
fn believed(client: &Client, request: &Head) -> (Option<Parent>, bool) {
    if client.trusted
        && let Ok(Some(value)) = request.single(Name::Traceparent)
    {
        let value = request.text(value);
        let parent = trace::parse(value);
        return (parent, parent.is_some() && trace::is_plain(value));
    }
    (None, false)
}

/// Writes `traceparent` anew.
fn say(request: &mut Head, context: &Context) {
    request.remove(Name::Traceparent);
    request.add_with(Name::Traceparent, |out| context.write(out));
}

/// What is passed on of `tracestate`, as one field.
fn check_state(local: &Local, request: &mut Head) {
    if !request.has(Name::Tracestate) {
        return;
    }
    let mut state = local.scratch();
    let fine = trace::join(request.all(Name::Tracestate), &mut state);
    let same =
        fine && matches!(request.single(Name::Tracestate), Ok(Some(value)) if request.text(value) == state.as_slice());
    if !same {
        request.remove(Name::Tracestate);
    }
    if fine && !same {
        request.add(Name::Tracestate, &state);
    }
}

/// The notes, if spans are recorded.
fn traced(record: &mut Record) -> Option<&mut Traced> {
    record.rare.as_mut()?.traced.as_deref_mut()
}

/// An attempt at `backend`, which was chosen at `begun`, has its connection: what goes there hangs from it.
pub(super) fn attempt(
    local: &Local,
    request: &mut Head,
    (backend, begun): (&Arc<Backend>, Instant),
    record: &mut Record,
) {
    let pool = record.pool;
    let Some(traced) = traced(record) else { return };
    let span = traced.push(local, (backend, pool), (begun, begun), None);
    say(request, &Context { span, ..traced.context });
}

/// The backend of the attempt has answered.
pub(super) fn answered(record: &mut Record, status: u16) {
    if let Some(attempt) = traced(record).and_then(|traced| traced.attempts.last_mut()) {
        attempt.status = status;
    }
}

/// The attempt that has begun last is over.
pub(super) fn attempted(record: &mut Record, outcome: &Outcome) {
    let now = record.ended;
    if let Some(attempt) = traced(record).and_then(|traced| traced.attempts.last_mut()) {
        attempt.ended = now.unwrap_or_else(Instant::now);
        attempt.failure = match outcome {
            Outcome::Failed(kind) => Some(*kind),
            Outcome::Stale => Some(Kind::Reset),
            Outcome::Answered | Outcome::Switched | Outcome::Again(..) => None,
        };
    }
}

/// `backend`, which was chosen at `begun`, could not be connected to: that was an attempt.
pub(super) fn unreached(local: &Local, (backend, begun): (&Arc<Backend>, Instant), kind: Kind, record: &mut Record) {
    let pool = record.pool;
    if let Some(traced) = traced(record) {
        traced.push(local, (backend, pool), (begun, Instant::now()), Some(kind));
    }
}

/// The exchange has ended: its spans are left for control.
pub(super) fn end(local: &Local, plan: &Plan, exchange: &Exchange<'_>, record: &mut Record, ended: Instant) {
    let Some(traced) = record.rare.as_mut().and_then(|rare| rare.traced.take()) else { return };
    let mut out = local.scratch();
    traced.server(plan, exchange, record, ended).encode(&mut out);
    for (number, attempt) in traced.attempts.iter().enumerate() {
        traced.client(plan, &exchange.request, number, attempt).encode(&mut out);
    }
    local.spans.push(local.worker, &out, 1 + traced.attempts.len() as u64);
}

impl Traced {
    /// Notes an attempt at a backend of a pool. Gives its span.
    fn push(
        &mut self,
        local: &Local,
        (backend, pool): (&Arc<Backend>, Option<usize>),
        (begun, ended): (Instant, Instant),
        failure: Option<Kind>,
    ) -> [u8; 8] {
        let (span, backend) = (trace::span(local.random()), Arc::clone(backend));
        self.attempts.push(Attempt { span, backend, pool, begun, ended, status: 0, failure });
        span
    }

    /// `at` in nanoseconds since the epoch.
    fn nanos(&self, at: Instant) -> u64 {
        let (nanos, known) = self.clock;
        let far = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        match at.checked_duration_since(known) {
            Some(after) => nanos.saturating_add(far(after)),
            None => nanos.saturating_sub(far(known - at)),
        }
    }

    fn server<'e>(&self, plan: &'e Plan, exchange: &'e Exchange<'_>, record: &'e Record, ended: Instant) -> Entry<'e> {
        let (request, client) = (&exchange.request, exchange.client);
        let span = |span| Some(request.text(span)).filter(|text| !text.is_empty());
        let secure = client::came_over_tls(client, request);
        let times = (self.nanos(exchange.started), self.nanos(ended));
        Entry {
            parent: self.parent,
            status: record.status,
            failed: is_error(record.status, record.failure),
            client: record.address,
            peer: client::ip(client.socket()),
            queue: record.queue,
            connect: record.connect,
            method: Some(request.method_text()),
            scheme: Some(if secure { b"https" } else { b"http" }),
            host: span(request.received.authority),
            path: span(request.received.path),
            protocol: Some(match request.version() {
                Version::Http10 => b"1.0",
                Version::Http11 => b"1.1",
                Version::Http2 => b"2",
            }),
            listener: plan.listener(client.listener).map(|listener| listener.name.as_bytes()),
            route: record.route.map(|route| plan.routes[route].name.as_bytes()),
            pool: record.pool.map(|pool| plan.pools[pool].name.as_bytes()),
            backend: record.backend().map(|backend| backend.name.as_bytes()),
            failure: record.failure.map(|kind| kind.word().as_bytes()),
            agent: request.get(Name::UserAgent),
            request_id: span(record.id),
            state: request.get(Name::Tracestate),
            ..Entry::new(trace::Kind::Server, self.context.trace, self.context.span, times)
        }
    }

    fn client<'e>(&self, plan: &'e Plan, request: &'e Head, number: usize, attempt: &'e Attempt) -> Entry<'e> {
        let Attempt { span, backend, pool, begun, ended, status, failure } = attempt;
        let pool = pool.map(|pool| &plan.pools[pool]);
        let secure = pool.is_some_and(|pool| pool.settings.tls.is_some());
        let times = (self.nanos(*begun), self.nanos(*ended));
        Entry {
            parent: Some(self.context.span),
            status: *status,
            failed: is_error(*status, *failure),
            resend: u32::try_from(number).unwrap_or(u32::MAX),
            method: Some(request.method_text()),
            scheme: Some(if secure { b"https" } else { b"http" }),
            host: Some(backend.host.as_bytes()),
            path: Some(request.text(request.target.path)),
            pool: pool.map(|pool| pool.name.as_bytes()),
            backend: Some(backend.name.as_bytes()),
            failure: failure.map(|kind| kind.word().as_bytes()),
            state: request.get(Name::Tracestate),
            ..Entry::new(trace::Kind::Client, self.context.trace, *span, times)
        }
    }
}

/// It is an error of ours or of a backend: a status of 500 or more, or a failure that has one, and came after the head.
fn is_error(status: u16, failure: Option<Kind>) -> bool {
    status >= 500 || failure.is_some_and(|kind| kind.status() >= 500)
}
