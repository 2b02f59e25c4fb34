//! A request asks its route's policies whether it may go on. Called by `handle`, for routes that have some. Hot path, up to
//! what has to wait.

use super::{Local, Record, answer::Answer};
use crate::{
    error::Kind,
    http::Exchange,
    plan::Route,
    policy::{Asked, Policies, Verdict},
};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// What the policies say, from where the walk is.
pub(super) fn look(
    local: &Local,
    (route, policies): (&Route, &Policies),
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Verdict {
    let mut asked = Asked {
        request: &mut exchange.request,
        client: record.address,
        route: &route.name,
        now: local.nanos(exchange.read),
        worker: local.worker,
    };
    policies.before(record.visit.get_or_insert_default(), &mut asked)
}

/// Does what a verdict asks for, and goes on from there. Gives what is answered, if it is not let in. In a box of its own,
/// made here: others do not carry its size.
pub(super) fn carry_out<'s, 'p: 's>(
    local: &'s Local,
    (route, policies): (&'p Route, &'p Policies),
    mut verdict: Verdict,
    exchange: &'s mut Exchange<'_>,
    record: &'s mut Record,
) -> Pin<Box<dyn Future<Output = Option<Answer<'p>>> + 's>> {
    Box::pin(async move {
        loop {
            match verdict {
                Verdict::Pass => return None,
                Verdict::Refuse(kind) => return Some(Answer::Failure(kind)),
                Verdict::Sleep(time) => {
                    if let Err(kind) = sleep(exchange, time).await {
                        return Some(Answer::Failure(kind));
                    }
                }
            }
            verdict = look(local, (route, policies), exchange, record);
        }
    })
}

/// Holds the request for `time`, unless its client leaves before.
async fn sleep(exchange: &mut Exchange<'_>, time: Duration) -> Result<(), Kind> {
    exchange.timer.set(Some(Instant::now() + time));
    poll_fn(|cx| {
        if exchange.client.is_cut() {
            return Poll::Ready(Err(Kind::Draining));
        }
        if exchange.sink.poll_gone_early(cx, exchange.client.limits.half_close).is_ready() {
            return Poll::Ready(Err(Kind::ClientGone));
        }
        exchange.timer.poll(cx).map(Ok)
    })
    .await?;
    exchange.timer.set(None);
    // From here on it is as if it had just come.
    exchange.read = Instant::now();
    Ok(())
}
