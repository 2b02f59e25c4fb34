//! An exchange's line in the access log. Hot path.

use super::{Local, Record, client, sticky};
use crate::{
    config::AccessField,
    http::{Exchange, Head, Name, Version},
    plan::Plan,
    telemetry::access_log::Entry,
};
use std::{rc::Rc, time::SystemTime};
use tokio::time::Instant;

/// Notes the fields of a response that the log wants.
pub(super) fn note(plan: &Plan, head: &Head, record: &mut Record) {
    if !plan.access.on || plan.access.fields.is_empty() {
        return;
    }
    let value = |field: &AccessField| match field {
        AccessField::Response(name) => find(head, name).map(Box::from),
        _ => None,
    };
    record.logged = plan.access.fields.iter().map(value).collect();
}

fn find<'h>(head: &'h Head, name: &str) -> Option<&'h [u8]> {
    match Name::of(name.as_bytes()) {
        Name::Other => head.find(name.as_bytes()),
        id => head.get(id),
    }
}

/// Writes the line of an exchange that has ended, if it gets one. Waits for room where the configuration says so.
pub(super) async fn write(local: &Local, plan: &Plan, exchange: &Exchange<'_>, record: &Record) {
    if wanted(local, plan, record) && !push(local, plan, exchange, record) && plan.access.wait {
        Box::pin(insist(local, plan, exchange, record)).await;
    }
}

/// Failures always get a line; other exchanges if their route has it so, and by the sample.
fn wanted(local: &Local, plan: &Plan, record: &Record) -> bool {
    let access = &plan.access;
    let failed = record.failure.is_some() || record.status >= 500;
    let route = record.route.is_none_or(|route| plan.routes[route].access);
    access.on && (failed || route && local.random() >> 32 < access.sample)
}

/// Until there is room.
async fn insist(local: &Local, plan: &Plan, exchange: &Exchange<'_>, record: &Record) {
    loop {
        let Some(log) = local.log.borrow().as_ref().map(Rc::clone) else { return };
        log.ready().await;
        if push(local, plan, exchange, record) {
            return;
        }
    }
}

/// False: there is no room.
fn push(local: &Local, plan: &Plan, exchange: &Exchange<'_>, record: &Record) -> bool {
    let log = local.log.borrow();
    let Some(log) = &*log else { return true };
    let (request, client) = (&exchange.request, exchange.client);
    let duration = record.ended.unwrap_or_else(Instant::now).saturating_duration_since(exchange.started);
    let some = |text: &[u8]| -> bool { !text.is_empty() };
    let span = |span| Some(request.text(span)).filter(|text| some(text));
    let read = exchange.refused.is_none() || !request.text(request.received.path).is_empty();
    let extra: Vec<Option<&[u8]>> = plan
        .access
        .fields
        .iter()
        .enumerate()
        .map(|(place, field)| match field {
            AccessField::Request(name) => find(request, name),
            AccessField::Response(_) => record.logged.get(place)?.as_deref(),
            AccessField::Query => request.text(request.received.query).strip_prefix(b"?"),
        })
        .collect();
    let secure = client::came_over_tls(client, request);
    let entry = Entry {
        request_id: span(record.id),
        trace_id: record.trace.bytes(),
        client_ip: record.address,
        peer_ip: client::ip(client.socket()),
        listener: plan.listener(client.listener).map(|listener| listener.name.as_bytes()),
        method: read.then(|| request.method_text()),
        scheme: Some(if secure { b"https" } else { b"http" }),
        host: span(request.received.authority),
        path: span(request.received.path),
        protocol: read.then_some(match request.version() {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
            Version::Http2 => b"HTTP/2.0",
        }),
        status: record.status,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        route: record.route.map(|route| plan.routes[route].name.as_bytes()),
        pool: record.pool.map(|pool| plan.pools[pool].name.as_bytes()),
        backend: record.backend().map(|backend| backend.name.as_bytes()),
        attempts: (record.attempts > 0).then_some(record.attempts),
        duration,
        queue: record.queue,
        connect: record.connect,
        ttfb: record.ttfb,
        failure: record.failure.map(|kind| kind.word().as_bytes()),
        user: record.visit.as_ref().and_then(|visit| visit.user.as_deref()),
        limit: record.visit.as_ref().and_then(|visit| visit.limit.as_deref()).map(str::as_bytes),
        sticky: sticky::result(record).map(|stuck| stuck.word().as_bytes()),
        fallback: record.fallback().map(|kind| kind.word().as_bytes()),
        chaos: record.chaos().map(|blow| blow.word().as_bytes()),
        tls_version: client.tls_version().map(str::as_bytes),
        sni: client.sni().map(str::as_bytes),
        user_agent: request.get(Name::UserAgent),
        referer: request.get(Name::Referer),
        generation: plan.generation,
        extra_names: &plan.access.names,
        extra: &extra,
        ..Entry::new(SystemTime::now() - duration)
    };
    let pushed = log.push(&entry);
    if pushed {
        local.logged.notify_one();
    }
    pushed
}
