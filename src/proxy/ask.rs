//! Asks the service of a `forward` whether a request may go on. Called by `gate`.

use super::{
    Local, Pinned, Record,
    answer::Answer,
    forwarding, gate,
    side::{Failed, Side, Taken},
};
use crate::{
    error::Kind,
    http::{Exchange, Head, Name},
    policy::{Forward, Judged, MAX_ANSWER},
    telemetry::Seldom,
};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, timeout};

/// A connection that had been kept may be dead, and so may the next: a question can be asked again.
const TRIES: usize = 3;

/// It cannot be asked: said for all services together.
static SAID: Seldom = Seldom::new(Duration::from_secs(1));

/// What the service has said instead of yes.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) head: Box<Head>,
    pub(super) body: Vec<u8>,
}

/// Asks. Gives what is answered if it is not let in.
pub(super) async fn service<'p>(
    local: &Local,
    pinned: &Pinned,
    forward: &Forward,
    exchange: &mut Exchange<'_>,
    record: &mut Record,
) -> Option<Answer<'p>> {
    let mut question = local.spares.heads.take();
    Head::clone_from(&mut question, &exchange.request);
    if let Err(kind) = forwarding::apply(&pinned.plan, exchange.client, &mut question) {
        return Some(Answer::Failure(kind));
    }
    forward.ask(&mut question);
    let mut theirs = Theirs { head: local.spares.heads.take(), body: Vec::new() };
    let (pool, address) = (forward.pool, record.address);
    let asked = {
        let side = Side { local, pinned, pool, head: &question, body: None, address, proxied: &[] };
        let work = pin!(timeout(forward.timeout, ask(&side, &mut theirs)));
        gate::while_client_waits(exchange, work).await
    };
    let asked = match asked {
        Ok(asked) => asked.unwrap_or(Err(Kind::ResponseTimeout)),
        Err(kind) => return Some(Answer::Failure(kind)),
    };
    // From here on it is as if it had just come.
    exchange.read = Instant::now();
    local.spares.heads.give(question);
    let answered = asked.is_ok();
    let (judged, why) = match asked {
        Ok(whole) => match Forward::judge(theirs.head.status()) {
            Judged::Refuse if !whole => (Judged::Unavailable, Kind::Truncated),
            judged => (judged, Kind::BadResponse),
        },
        Err(kind) => (Judged::Unavailable, kind),
    };
    if judged != Judged::Unavailable && forward.works() {
        tracing::info!(service = &*pinned.plan.pools[forward.pool].name, "who may come in can be asked again");
    }
    match judged {
        Judged::Pass => {
            forward.tell(&theirs.head, &mut exchange.request);
            local.spares.heads.give(theirs.head);
            None
        }
        Judged::Refuse => {
            for name in [Name::Date, Name::Trailer, Name::EndpointLoadMetrics, Name::EndpointLoadMetricsBin] {
                theirs.head.remove(name);
            }
            record.failure = match theirs.head.status() {
                401 => Some(Kind::Unauthorized),
                403 => Some(Kind::Denied),
                _ => None,
            };
            record.rare.get_or_insert_default().theirs = Some(theirs);
            Some(Answer::Theirs)
        }
        Judged::Unavailable => {
            if let Some(times) = SAID.happens() {
                forward.fails();
                let (service, failure) = (&*pinned.plan.pools[forward.pool].name, why.word());
                let status = answered.then(|| theirs.head.status());
                let trace_id = record.trace;
                tracing::warn!(service, failure, status, times, %trace_id, "who may come in cannot be asked");
            }
            Some(Answer::Failure(Kind::AuthUnavailable))
        }
    }
}

/// The service's answer; true: all of it.
async fn ask(side: &Side<'_>, theirs: &mut Theirs) -> Result<bool, Kind> {
    let mut tries = 0;
    loop {
        theirs.body.clear();
        let mut taken = Taken { bytes: Some(&mut theirs.body), most: MAX_ANSWER, unless_success: true, whole: false };
        let gone = side.go(&mut theirs.head, &mut taken).await;
        let whole = taken.whole && theirs.body.len() as u64 <= MAX_ANSWER;
        tries += 1;
        match gone {
            Ok(()) => return Ok(whole),
            Err(Failed { kind: Kind::Reset, kept: true }) if tries < TRIES => {}
            Err(failed) => return Err(failed.kind),
        }
    }
}
