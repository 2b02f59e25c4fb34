//! Copies of requests to another pool (`mirror` of a route). Called by `handle`, and by `Replay` when a body has passed.
//!
//! A copy is a task of its own, with its own lease, connection and time-outs: whatever becomes of it, its original does not
//! hear of it. It goes out once; its answer is read and thrown away. Hot path for routes that have a mirror; any other
//! pays a look at a pointer.

use super::{
    Local, Pinned, Record, client,
    side::{Side, Taken},
};
use crate::{
    error::Kind,
    http::{Exchange, Framing, Head, Name, trace_id},
    plan::{Mirror, Pool},
    telemetry::metrics::{Copied, RouteMetrics},
};
use std::{fmt, net::IpAddr, rc::Rc, sync::Arc};

/// Copies of a worker at a time, those included that wait for their bodies.
const MOST: usize = 128;
/// Bytes of an answer that are read so that its connection can be used again.
const ANSWER: u64 = 1024 * 1024;

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
            let (pool, failure) = (&*copy.pool().name, kind.word());
            tracing::debug!(pool, failure, trace_id = %trace_id(&copy.head), "a mirrored request failed");
        }
    }
}

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

    /// Sends it and reads its answer, which nobody wants.
    async fn go(&self) -> Result<(), Kind> {
        let side = Side {
            local: &self.local,
            pinned: &self.pinned,
            pool: self.pool,
            head: &self.head,
            body: self.has_body.then_some(&*self.body),
            address: self.address,
            proxied: &self.proxied,
        };
        let mut head = self.local.spares.heads.take();
        let gone = side.go(&mut head, &mut Taken::nothing(ANSWER)).await;
        self.local.spares.heads.give(head);
        gone.map_err(|failed| failed.kind)
    }
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
