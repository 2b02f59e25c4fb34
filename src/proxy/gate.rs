//! A request asks its route's policies whether it may go on. Called by `handle`, for routes that have some. Hot path, up to
//! what has to wait.

use super::{Local, Pinned, Record, answer::Answer, ask};
use crate::{
    error::Kind,
    http::Exchange,
    plan::Route,
    policy::{Ask, Asked, Job, News, Policies, Verdict},
};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// A token's key may be known so soon.
const NEWS: Duration = Duration::from_secs(6);

/// Its turn to be checked comes to a password so soon, or it is told to come again: its client waits.
const TURN: Duration = Duration::from_secs(10);

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
    policies.before(record.visit.get_or_insert_with(|| local.visit()), &mut asked)
}

/// Does what a verdict asks for, and goes on from there. Gives what is answered, if it is not let in. In a box of its own,
/// made here: others do not carry its size.
pub(super) fn carry_out<'s, 'p: 's>(
    (local, pinned): (&'s Local, &'s Pinned),
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
                Verdict::Reply(status) => return Some(Answer::Empty(status)),
                Verdict::Compute(job) => {
                    verdict = compute(local, job, exchange, record).await;
                    if !matches!(verdict, Verdict::Pass) {
                        continue;
                    }
                }
                Verdict::Ask(Ask::Keys(news)) => {
                    if let Err(kind) = wait(exchange, news).await {
                        return Some(Answer::Failure(kind));
                    }
                }
                Verdict::Ask(Ask::Service) => {
                    let forward = policies.forward()?;
                    let answer = ask::service(local, pinned, forward, exchange, record).await;
                    if answer.is_some() {
                        return answer;
                    }
                }
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

/// Checks a password beside the worker, once it is its turn. Who leaves before gives the place up.
async fn compute(local: &Local, job: Box<Job>, exchange: &mut Exchange<'_>, record: &mut Record) -> Verdict {
    let desk = Arc::clone(job.desk());
    let Some(seat) = desk.queue(record.address) else { return Verdict::Refuse(Kind::AuthUnavailable) };
    let work = pin!(async {
        let turn = tokio::time::timeout(TURN, seat.turn()).await.ok().flatten().ok_or(Kind::AuthUnavailable)?;
        if job.is_done(local.nanos(Instant::now())) {
            return Ok((true, job));
        }
        // A hash that has begun goes on when its client has left, and keeps its place until it is made.
        let task = tokio::task::spawn_blocking(move || {
            let fits = job.fits();
            drop(turn);
            (fits, job)
        });
        task.await.map_err(|_| Kind::Internal)
    });
    match while_client_waits(exchange, work).await {
        Ok(Ok((fits, job))) => {
            exchange.read = Instant::now();
            job.settle(fits, record.visit.get_or_insert_default(), local.nanos(exchange.read))
        }
        Ok(Err(kind)) | Err(kind) => Verdict::Refuse(kind),
    }
}

/// Waits for newer keys.
async fn wait(exchange: &mut Exchange<'_>, news: News) -> Result<(), Kind> {
    let work = pin!(tokio::time::timeout(NEWS, news.come()));
    // Whether they have come, the next look shows.
    let _ = while_client_waits(exchange, work).await?;
    exchange.read = Instant::now();
    Ok(())
}

/// What `work` comes to, unless the client leaves before, or is cut.
pub(super) async fn while_client_waits<T>(
    exchange: &mut Exchange<'_>,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Result<T, Kind> {
    poll_fn(|cx| {
        if exchange.client.is_cut() {
            return Poll::Ready(Err(Kind::Draining));
        }
        if exchange.sink.poll_gone_early(cx, exchange.client.limits.half_close).is_ready() {
            return Poll::Ready(Err(Kind::ClientGone));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Holds the request for `time`, unless its client leaves before.
async fn sleep(exchange: &mut Exchange<'_>, time: Duration) -> Result<(), Kind> {
    let timer = exchange.timer;
    timer.set(Some(Instant::now() + time));
    let work = pin!(poll_fn(|cx| timer.poll(cx)));
    while_client_waits(exchange, work).await?;
    timer.set(None);
    // From here on it is as if it had just come.
    exchange.read = Instant::now();
    Ok(())
}
