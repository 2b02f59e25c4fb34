//! Answers of ours, and what a route's rules make of any head. Not hot, but for the edits.

use super::{Local, Record, client, log};
use crate::{
    config::{Respond, Template},
    error::Kind,
    http::{Client, Done, Exchange, Head, Method, reply},
    plan::{Forward, Plan, Route},
    policy::{self, Facts, Values},
};
use std::{future::Future, pin::Pin};
use tokio::time::Instant;

/// An answer of ours.
#[derive(Clone, Copy)]
pub(super) enum Answer<'a> {
    /// Something went wrong.
    Failure(Kind),
    /// A rehearsed failure, with that status.
    Abort(u16),
    /// A rehearsed failure: none, and the client's connection is reset.
    Reset,
    /// The same over https.
    Https,
    /// Elsewhere, with that status.
    Redirect(&'a Template, u16),
    /// That status and no body: its route's policies have said the rest.
    Empty(u16),
    /// What a service has said instead of letting the request in; the record has it.
    Theirs,
    /// What the route says.
    Respond(&'a Respond),
    /// What the route says in place of that failure.
    Fallback(&'a Respond, Kind),
}

/// What is known of the exchange, for templates.
fn facts<'a>(plan: &'a Plan, client: &'a Client, request: &Head, record: &'a Record) -> Facts<'a> {
    Facts {
        secure: client::came_over_tls(client, request),
        client: record.address,
        request_id: record.id,
        route: record.route.map(|route| plan.routes[route].name.as_str()),
        pool: record.pool.map(|pool| plan.pools[pool].name.as_str()),
        backend: record.backend().map(|backend| backend.name.as_str()),
        tls_version: client.tls_version(),
        sni: client.sni(),
    }
}

/// Edits the request for its backend.
pub(super) fn edit_request(
    local: &Local,
    plan: &Plan,
    forward: &Forward,
    request: &mut Head,
    client: &Client,
    record: &Record,
) {
    if let Some(rewrite) = &forward.rewrite {
        rewrite.apply(request, &mut local.scratch());
    }
    if !forward.request_headers.is_empty() {
        let facts = facts(plan, client, request, record);
        forward.request_headers.apply_to_request(request, &facts, &mut local.scratch());
    }
}

/// Edits the head of a response, the backend's or ours, as its route says.
pub(super) fn edit(
    local: &Local,
    plan: &Plan,
    route: &Route,
    head: &mut Head,
    request: &Head,
    client: &Client,
    record: &Record,
) {
    if !route.response_headers.is_empty() {
        let values = Values { request, facts: facts(plan, client, request, record) };
        route.response_headers.apply(head, &values, &mut local.scratch());
    }
}

/// Makes the answer's head in `head`, gives its body, and notes what it is. Nothing but a head: to a gRPC call.
fn make(
    local: &Local,
    plan: &Plan,
    answer: Answer<'_>,
    request: &Head,
    client: &Client,
    record: &mut Record,
    head: &mut Head,
) -> Option<Vec<u8>> {
    let values = Values { request, facts: facts(plan, client, request, record) };
    let mut body = Vec::new();
    match answer {
        Answer::Failure(_) | Answer::Abort(_) | Answer::Reset => {
            let (kind, status) = match answer {
                Answer::Failure(kind) => (kind, kind.status()),
                Answer::Abort(status) => (Kind::Chaos, status),
                _ => (Kind::Chaos, Kind::Chaos.status()),
            };
            let request_id = std::str::from_utf8(request.text(record.id)).unwrap_or_default();
            let failure = reply::Failure { kind, status, request_id, via: &plan.via };
            record.failure = Some(kind);
            if record.call {
                failure.make_for_call(head);
                return None;
            }
            let html = reply::wants_html(request);
            body = failure.make(html, plan.error_pages.find(status, html), head);
        }
        Answer::Https => {
            let mut scratch = local.scratch();
            if !policy::https_location(request, &mut scratch) {
                // Who names no host cannot be sent anywhere.
                return make(local, plan, Answer::Failure(Kind::BadRequest), request, client, record, head);
            }
            policy::redirect_to(308, &scratch, head);
        }
        Answer::Redirect(to, status) => {
            if !policy::redirect(to, status, &values, head, &mut local.scratch()) {
                return make(local, plan, Answer::Failure(Kind::BadRequest), request, client, record, head);
            }
        }
        Answer::Theirs => {
            let Some(theirs) = record.rare.as_mut().and_then(|rare| rare.theirs.take()) else {
                return make(local, plan, Answer::Failure(Kind::Internal), request, client, record, head);
            };
            head.clone_from(&theirs.head);
            local.spares.heads.give(theirs.head);
            body = theirs.body;
        }
        Answer::Empty(status) => policy::empty(status, head),
        Answer::Respond(respond) => policy::respond(respond, &values, head, &mut body),
        Answer::Fallback(respond, kind) => {
            policy::respond(respond, &values, head, &mut body);
            let request_id = std::str::from_utf8(request.text(record.id)).unwrap_or_default();
            reply::Failure { kind, status: head.status(), request_id, via: &plan.via }.say(head);
            record.failure = Some(kind);
        }
    }
    Some(body)
}

/// Sends an answer of ours, or cuts what has begun. In a box of its own: exchanges that go well do not carry its size.
pub(super) fn send<'a>(
    local: &'a Local,
    plan: &'a Plan,
    exchange: &'a mut Exchange<'_>,
    answer: Answer<'a>,
    record: &'a mut Record,
) -> Pin<Box<dyn Future<Output = Done> + 'a>> {
    Box::pin(async move {
        record.bytes_in = exchange.source.received();
        let gone = match answer {
            Answer::Failure(kind) if kind == Kind::ClientGone || !exchange.sink.unsay() => Some(kind),
            Answer::Reset => Some(Kind::Chaos),
            _ => None,
        };
        if let Some(kind) = gone {
            record.failure = Some(kind);
            if record.status == 0 {
                record.status = kind.status();
            }
            record.bytes_out = exchange.sink.outlet.sent();
            log::write(local, plan, exchange, record).await;
            return match kind {
                Kind::Deadline => exchange.sink.cancel(),
                Kind::Chaos => exchange.sink.reset(),
                _ => exchange.sink.abort(),
            };
        }
        let mut head = local.spares.heads.take();
        let mut body = make(local, plan, answer, &exchange.request, exchange.client, record, &mut head);
        if (200..300).contains(&head.status()) && exchange.takes_success_for_tunnel() {
            // What is meant for requests must not pass for the beginning of a tunnel.
            let kind = record.failure.unwrap_or(Kind::ConnectDenied);
            body = make(local, plan, Answer::Failure(kind), &exchange.request, exchange.client, record, &mut head);
        }
        record.status = head.status();
        record.say(&mut head);
        if let Some(route) = record.route {
            edit(local, plan, &plan.routes[route], &mut head, &exchange.request, exchange.client, record);
        }
        log::note(plan, &head, record);
        // What comes behind a CONNECT that fails may have been meant for the tunnel: no requests (RFC 9931). Where none is
        // allowed, it is what has come already.
        let denied = record.failure == Some(Kind::ConnectDenied) && !exchange.sink.has_read_ahead();
        let connect = exchange.request.method() == Method::Connect && !denied;
        if connect || record.failure.is_some_and(Kind::closes) || exchange.client.is_closing() {
            exchange.sink.close_after();
        }
        let staged = reply::stage(&exchange.request, &mut head, body, &mut exchange.sink);
        local.spares.heads.give(head);
        exchange.timer.set_after(Instant::now(), exchange.client.limits.write_timeout);
        let flushed = match staged {
            Ok(()) => exchange.sink.flushed(exchange.timer).await,
            Err(_) => false,
        };
        record.bytes_out = exchange.sink.outlet.sent();
        log::write(local, plan, exchange, record).await;
        if flushed { exchange.sink.finished() } else { exchange.sink.abort() }
    })
}
