//! What is different for a gRPC call: its deadline, its silences, and the answers after which it is made again. Hot path
//! for calls; to any other exchange it costs a look at its version.
//!
//! A call is a request that [`grpc::is_call`] says is one. Our own errors to it are statuses of gRPC (`http::reply`).

use super::{
    Record,
    attempt::{Answer, Attempt},
    timing::{Deadline, Silence},
};
use crate::{
    error::Kind,
    http::{Exchange, Framing, Head, grpc},
};
use tokio::time::Instant;

/// Reads the call's own deadline.
///
/// # Errors
/// `bad_request`: what it says is no time.
pub(super) fn read_deadline(exchange: &Exchange<'_>, record: &mut Record) -> Result<(), Kind> {
    if !record.call {
        return Ok(());
    }
    let time = grpc::timeout(&exchange.request).map_err(|reject| {
        tracing::debug!(peer = ?exchange.client.peer, why = reject.why, failure = reject.kind.word(), "request refused");
        reject.kind
    })?;
    record.ends = time.and_then(|time| exchange.read.checked_add(time));
    Ok(())
}

/// Tells the next backend how much of the call's time is left.
pub(super) fn tell_deadline(request: &mut Head, record: &Record) {
    if let Some(ends) = record.ends {
        grpc::set_timeout(request, ends.saturating_duration_since(Instant::now()));
    }
}

/// A call between two HTTP/2 sides. It may be silent for as long as a tunnel may, in both directions: messages come when
/// there is something to say, so neither the time-outs of bodies nor their least rate say anything of it.
#[derive(Debug)]
pub(super) struct Call(Silence);

impl Call {
    pub(super) fn new(now: Instant) -> Self {
        Self(Silence::new(now))
    }
}

impl Attempt<'_> {
    /// When the call has been silent for too long; `steps` is what has moved in both directions.
    pub(super) fn silence(&self, call: &mut Call, steps: u64, kind: Kind) -> Deadline {
        let since = call.0.since(steps);
        self.pool.settings.tunnel_timeout.map(|time| (since + time, kind))
    }

    /// The backend has said no more than a status for which the operator wants the call to be made again (`retry.on`).
    /// That it changes nothing to be made twice is the operator's word: the method of every call is POST.
    pub(super) fn is_unwanted(&self, Answer { head, guarded }: &Answer) -> bool {
        let on = self.pool.retry.on_grpc;
        let alone = on != 0 && guarded.framing == Framing::None && head.status() == 200;
        alone && grpc::status(head).is_some_and(|code| on >> code & 1 == 1)
    }
}
