//! One exchange from its head to its end: read [`handle`] first. Hot path.

mod again;
mod answer;
mod ask;
mod attempt;
mod chaos;
mod choice;
mod client;
mod forward;
mod forwarding;
mod gate;
mod grpc;
mod local;
mod log;
mod meter;
mod mirror;
mod opening;
mod pump;
mod queue;
mod raw;
mod relay;
mod replay;
mod report;
mod side;
mod sticky;
mod timing;
mod trace;
mod tunnel;
mod upload;

use local::Admitted;
pub use local::{AskOthers, Local, Pinned};

use self::{answer::Answer, attempt::Outcome};
use crate::{
    error::{Kind, Side},
    http::{self, Client, Done, Exchange, Framing, Head, Span, Version, guard::Upgrade},
    plan::{Act, Fallback, Forward, Listener, Plan, Pool, Route},
    policy::{Blow, Split, Verdict, Visit},
    pool::{Backend, Seen},
    route::Request,
    telemetry::trace::TraceId,
};
use std::{cell::Cell, net::IpAddr, rc::Rc, sync::Arc, time::Duration};
use tokio::time::Instant;

/// What is known of an exchange when it ends.
#[derive(Debug, Default)]
struct Record {
    /// Where the request id is in the request's head.
    id: Span,
    /// Its trace.
    trace: TraceId,
    /// The believed address of the client; `None` on unix sockets.
    address: Option<IpAddr>,
    /// The route's place in the plan.
    route: Option<usize>,
    status: u16,
    failure: Option<Kind>,
    /// When it ended, if somebody has looked at a clock.
    ended: Option<Instant>,
    bytes_in: u64,
    bytes_out: u64,
    /// The response head must be there by then.
    deadline: Option<Instant>,
    /// It is a gRPC call.
    call: bool,
    /// All of it must be over by then (`grpc-timeout`).
    ends: Option<Instant>,
    /// What has failed may go to a backend once more.
    again: bool,
    attempts: u32,
    /// The pool's place in the plan.
    pool: Option<usize>,
    /// The last attempt's table, and the backend's place there.
    chosen: Option<(Rc<Seen>, u32)>,
    /// Spent in queues.
    queue: Option<Duration>,
    /// Spent on new connections.
    connect: Option<Duration>,
    /// From the request sent to the response head.
    ttfb: Option<Duration>,
    /// What is known of the client, where the pool wants to know it.
    sticky: Option<Box<sticky::Session>>,
    /// It counts as in flight.
    admitted: Option<Admitted>,
    /// What its route's policies say of it.
    visit: Option<Box<Visit>>,
    /// What most exchanges do not have.
    rare: Option<Box<Rare>>,
    /// Fields of the response that the access log wants, in its order.
    logged: Vec<Option<Box<[u8]>>>,
}

/// What is known of an exchange at times.
#[derive(Debug, Default)]
struct Rare {
    /// A copy of the request, which is not whole yet.
    copy: Option<Box<mirror::Copy>>,
    /// What is held of the body, between one pool and another; and whether some of it has been pulled.
    body: Option<(replay::Replay, bool)>,
    /// It was hit by a failure that is being rehearsed.
    chaos: Option<Blow>,
    /// The route's own pool has failed so, and another one was asked.
    fallback: Option<Kind>,
    /// What a service has said instead of letting it in.
    theirs: Option<ask::Theirs>,
    /// It is sampled: what its spans will say.
    traced: Option<Box<trace::Traced>>,
}

impl Record {
    /// That failure.
    fn chaos(&self) -> Option<Blow> {
        self.rare.as_ref()?.chaos
    }

    /// Why another pool was asked.
    fn fallback(&self) -> Option<Kind> {
        self.rare.as_ref()?.fallback
    }

    /// When it must be answered at the latest, whoever asks for that.
    fn latest(&self) -> Option<Instant> {
        [self.deadline, self.ends].into_iter().flatten().min()
    }

    /// Writes what the route's policies say into the answer's head.
    fn say(&self, head: &mut Head) {
        if let Some(visit) = &self.visit {
            visit.say(head);
        }
    }

    fn backend(&self) -> Option<&Arc<Backend>> {
        self.chosen.as_ref().map(|(seen, place)| seen.table.backend(*place as usize))
    }
}

/// What attempts of an exchange have in common.
#[derive(Clone, Copy)]
struct Way<'a> {
    local: &'a Local,
    pinned: &'a Pinned,
    route: &'a Route,
    forward: &'a Forward,
    client: &'a Client,
}

impl<'a> Way<'a> {
    fn plan(&self) -> &'a Plan {
        &self.pinned.plan
    }

    fn pool(&self, place: usize) -> &'a Pool {
        &self.plan().pools[place]
    }

    /// Edits the response's head as the route says, and notes what the access log wants of it.
    fn edit_response(&self, head: &mut Head, request: &Head, client: &Client, record: &mut Record) {
        log::note(self.plan(), head, record);
        sticky::learn(self.local, self.plan(), head, record);
        record.say(head);
        answer::edit(self.local, self.plan(), self.route, head, request, client, record);
        sticky::tell(self.local, self.plan(), head, request, client, record);
    }
}

/// What becomes of an exchange, once its head has been looked at.
enum Step<'a> {
    Forward(&'a Route, &'a Forward, usize),
    Answer(Answer<'a>),
}

impl Step<'_> {
    fn failed(kind: Kind) -> Self {
        Self::Answer(Answer::Failure(kind))
    }
}

/// Answers `exchange`: from a backend, or by ourselves.
pub async fn handle(local: &Rc<Local>, exchange: &mut Exchange<'_>) -> Done {
    let (client, started) = (exchange.client, exchange.started);
    let pinned = local.plan_for(client.listener);
    let plan = &*pinned.plan;
    let Some(listener) = plan.listener(client.listener) else {
        // Its listener went, and its last plan with it: the connection is being closed.
        return exchange.sink.abort();
    };
    let counted = InFlight::new(local, plan, listener, started);
    let mut record = Record::default();
    let found = find(local, plan, listener, exchange, &mut record);
    counted.route.set(record.route);
    trace::begin(local, plan, exchange, &mut record);
    let mut step = match found {
        Ok(route) if is_shed(local, route, &mut record) => Step::failed(Kind::Shed),
        Ok(route) => match let_in(local, &pinned, route, exchange, &mut record).await {
            None => step(local, plan, route, exchange, &mut record),
            Some(answer) => Step::Answer(answer),
        },
        Err(answer) => Step::Answer(answer),
    };
    if local.chaos.is_on()
        && !matches!(step, Step::Answer(Answer::Failure(_)))
        && let Some(answer) = chaos::strike(local, plan, exchange, &mut record).await
    {
        step = Step::Answer(answer);
    }
    let outcome = match step {
        Step::Answer(answer) => Err(answer),
        Step::Forward(route, forward, pool) => {
            let way = Way { local, pinned: &pinned, route, forward, client };
            if let Some(mirror) = &forward.mirror {
                mirror::copy(local, &pinned, mirror, exchange, &mut record);
            }
            let outcome = forward::forward(&way, pool, exchange, &mut record).await;
            match fallback(forward, &outcome) {
                None => Ok(outcome),
                Some((Fallback::Respond(respond), kind)) => Err(Answer::Fallback(respond, kind)),
                Some((Fallback::Pool(other), kind)) => {
                    record.rare.get_or_insert_default().fallback = Some(kind);
                    sticky::look(local, plan, *other, &mut exchange.request, &mut record);
                    record.pool = Some(*other);
                    Ok(Box::pin(forward::forward(&way, *other, exchange, &mut record)).await)
                }
            }
        }
    };
    let done = match outcome {
        Ok(Outcome::Answered) => {
            record.bytes_in = exchange.source.received();
            record.bytes_out = exchange.sink.outlet.sent();
            log::write(local, plan, exchange, &record).await;
            exchange.sink.finished()
        }
        Ok(Outcome::Switched) => {
            log::write(local, plan, exchange, &record).await;
            exchange.sink.switched()
        }
        Ok(Outcome::Failed(kind)) => answer::send(local, plan, exchange, Answer::Failure(kind), &mut record).await,
        Ok(Outcome::Stale | Outcome::Again(..)) => {
            answer::send(local, plan, exchange, Answer::Failure(Kind::Reset), &mut record).await
        }
        Err(answer) => answer::send(local, plan, exchange, answer, &mut record).await,
    };
    client.meets(None);
    let ended = record.ended.unwrap_or_else(Instant::now);
    trace::end(local, plan, exchange, &mut record, ended);
    counted.finish(&record, ended);
    if let Some(visit) = record.visit.take() {
        local.leave(visit);
    }
    done.at(ended)
}

/// Looks at the head: which route it is for.
///
/// # Errors
/// What is answered in place of one.
fn find<'a>(
    local: &Local,
    plan: &'a Plan,
    listener: &Listener,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Result<&'a Route, Answer<'a>> {
    let client = exchange.client;
    if let Some(reject) = exchange.refused {
        tracing::debug!(peer = ?client.peer, why = reject.why, failure = reject.kind.word(), "request refused");
        if exchange.request.is_empty() {
            // The head was not even read.
            exchange.request.clear();
        }
    }
    record.call = http::grpc::is_call(&exchange.request);
    record.address = client::address(plan, client, &exchange.request);
    record.id = forwarding::request_id(local, client, &mut exchange.request);
    let failed = |kind| Err(Answer::Failure(kind));
    if let Some(reject) = exchange.refused {
        return failed(reject.kind);
    }
    if client.misdirects(exchange.request.text(exchange.request.received.authority)) {
        return failed(Kind::Misdirected);
    }
    if listener.redirect_to_https && !client::came_over_tls(client, &exchange.request) {
        return Err(Answer::Https);
    }
    let request = Request { head: &exchange.request, listener: listener.place, client: record.address };
    let place = plan.find(&request).map_err(Answer::Failure)?;
    record.route = Some(place);
    forwarding::distrust(client, &mut exchange.request);
    Ok(&plan.routes[place])
}

/// The process is at a high-water mark, and requests of this route are shed. Answers of our own are not: they are as cheap
/// as the refusal.
fn is_shed(local: &Rc<Local>, route: &Route, record: &mut Record) -> bool {
    if let Act::Forward(_) = route.act {
        record.admitted = Admitted::new(local, route.priority);
        return record.admitted.is_none();
    }
    false
}

/// Asks the route's policies. Gives what is answered, if the request is not let in.
async fn let_in<'a>(
    local: &'a Local,
    pinned: &'a Pinned,
    route: &'a Route,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Option<Answer<'a>> {
    let policies = route.policies.as_deref()?;
    match gate::look(local, (route, policies), exchange, record) {
        Verdict::Pass => None,
        Verdict::Refuse(kind) => Some(Answer::Failure(kind)),
        Verdict::Reply(status) => Some(Answer::Empty(status)),
        verdict => gate::carry_out((local, pinned), (route, policies), verdict, exchange, record).await,
    }
}

/// What the route wants.
fn step<'a>(
    local: &Local,
    plan: &'a Plan,
    route: &'a Route,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Step<'a> {
    let forward = match &route.act {
        Act::Redirect(to, status) => return Step::Answer(Answer::Redirect(to, *status)),
        Act::Respond(respond) => return Step::Answer(Answer::Respond(respond)),
        Act::Forward(forward) => forward,
    };
    match prepare(local, plan, forward, exchange, record) {
        Ok(pool) => Step::Forward(route, forward, pool),
        Err(kind) => Step::failed(kind),
    }
}

/// Edits the request for its backend, and chooses the pool.
fn prepare(
    local: &Local,
    plan: &Plan,
    forward: &Forward,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Result<usize, Kind> {
    let client = exchange.client;
    if let Some(most) = forward.max_body {
        match exchange.guarded.framing {
            Framing::Length(length) if length > most => return Err(Kind::BodyTooLarge),
            Framing::None => {}
            _ => exchange.source.narrow(most),
        }
    }
    if !forward.upgrade && exchange.guarded.upgrade == Some(Upgrade::WebSocket) {
        if exchange.request.version() == Version::Http2 {
            return Err(Kind::ConnectDenied);
        }
        // RFC 9110 section 7.8: an upgrade may be ignored.
        exchange.guarded.upgrade = None;
    }
    let by = |split: &Split| {
        let side = plan.side(forward, split, &exchange.request, record.address, local.second());
        side.unwrap_or_else(|| split.pick(None, local.random()))
    };
    let place = forward.split.as_ref().map_or(0, by);
    let pool = forward.pools[place];
    sticky::look(local, plan, pool, &mut exchange.request, record);
    record.pool = Some(pool);
    forwarding::apply(plan, client, &mut exchange.request)?;
    answer::edit_request(local, plan, forward, &mut exchange.request, client, record);
    grpc::read_deadline(exchange, record)?;
    // While a body comes, its own time-outs hold; then this begins (proxy/attempt.rs).
    if exchange.guarded.framing == Framing::None {
        record.deadline = forward.timeout.map(|time| exchange.read + time);
    }
    Ok(pool)
}

/// What the route does in place of that outcome.
fn fallback<'a>(forward: &'a Forward, outcome: &Outcome) -> Option<(&'a Fallback, Kind)> {
    match (outcome, &forward.fallback) {
        (Outcome::Failed(kind), Some(fallback)) if kind.falls_back() => Some((fallback, *kind)),
        _ => None,
    }
}

/// Counts a request as in flight while it lives; one that panics ends with 500.
struct InFlight<'l> {
    local: &'l Local,
    plan: &'l Plan,
    listener: &'l Listener,
    started: Instant,
    /// The route's place in the plan, once it is known.
    route: Cell<Option<usize>>,
    finished: bool,
}

impl<'l> InFlight<'l> {
    fn new(local: &'l Local, plan: &'l Plan, listener: &'l Listener, started: Instant) -> Self {
        listener.metrics.started(local.worker);
        Self { local, plan, listener, started, route: Cell::default(), finished: false }
    }

    fn finish(mut self, record: &Record, ended: Instant) {
        self.finished = true;
        self.count(record, ended.saturating_duration_since(self.started));
    }

    fn count(&self, record: &Record, duration: Duration) {
        let worker = self.local.worker;
        let (place, metrics) = match record.route {
            Some(route) => (route, &self.plan.routes[route].metrics),
            None => (self.plan.routes.len(), &self.plan.unrouted),
        };
        if let Some(kind) = record.failure {
            metrics.failure(worker, kind.counted());
        }
        if record.fallback().is_some() {
            metrics.fell_back(worker);
        }
        if let (Some(stuck), Some(pool)) = (sticky::result(record), record.pool) {
            self.plan.pools[pool].slot.metrics.stuck(worker, stuck);
        }
        self.listener.metrics.finished(worker);
        self.listener.requests[place].count(worker, record.status);
        metrics.finished(worker, duration, record.bytes_in, record.bytes_out);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // Dropped inside: a panic, or a connection that did not end in time when it was cut.
        let kind = if std::thread::panicking() { Kind::Internal } else { Kind::Draining };
        let route = self.route.get();
        let record = Record { status: kind.status(), failure: Some(kind), route, ..Record::default() };
        self.count(&record, self.started.elapsed());
    }
}

/// The backend is to blame for it.
fn is_backends(kind: Kind) -> bool {
    kind.side() == Side::Backend
}
