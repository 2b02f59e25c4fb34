//! Failures that an operator rehearses (`PUT /api/v1/chaos`), before a request goes on its way. Called by `handle` while
//! there is a rule; not hot.
//!
//! Whoever is hit is not the backend's affair: what we answer or cut ourselves never reaches one, and the time that a
//! request is held here counts neither as a backend's nor towards its time-outs; towards the route's `timeout` it does.

use super::{Local, Record, answer::Answer};
use crate::{error::Kind, http::Exchange, plan::Plan, policy::Blow};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// What is held looks so often whether the rehearsal has ended.
const LOOK: Duration = Duration::from_millis(250);

/// What is answered to an exchange that nothing else has failed, if it is hit so. In a box of its own, made here: others do
/// not carry its size.
pub(super) fn strike<'s>(
    local: &'s Local,
    plan: &'s Plan,
    exchange: &'s mut Exchange<'_>,
    record: &'s mut Record,
) -> Pin<Box<dyn Future<Output = Option<Answer<'static>>> + 's>> {
    Box::pin(async move {
        let route = &plan.routes[record.route?];
        let blow = local.chaos.strike(&route.name, exchange.read, local.random())?;
        record.rare.get_or_insert_default().chaos = Some(blow);
        match blow {
            Blow::SlowBody(_) => None,
            Blow::Abort(status) => Some(Answer::Abort(status)),
            Blow::Reset => Some(Answer::Reset),
            Blow::Delay(time) => hold(local, exchange, record, time).await.err().map(Answer::Failure),
        }
    })
}

/// Holds the request for `time`, unless it is over before, or the rehearsal is.
async fn hold(local: &Local, exchange: &mut Exchange<'_>, record: &Record, time: Duration) -> Result<(), Kind> {
    let until = Instant::now() + time;
    let deadline = record.latest();
    let end = deadline.map_or(until, |deadline| deadline.min(until));
    while Instant::now() < end && local.chaos.is_on() {
        exchange.timer.set(Some(end.min(Instant::now() + LOOK)));
        poll_fn(|cx| {
            if exchange.client.is_cut() {
                return Poll::Ready(Err(Kind::Draining));
            }
            if exchange.sink.poll_gone(cx, exchange.client.limits.half_close).is_ready() {
                return Poll::Ready(Err(Kind::ClientGone));
            }
            exchange.timer.poll(cx).map(Ok)
        })
        .await?;
    }
    exchange.timer.set(None);
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(Kind::Deadline);
    }
    // From here on it is as if it had just come.
    exchange.read = Instant::now();
    Ok(())
}
