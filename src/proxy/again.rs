//! Answers after which a request goes out once more (`retry.on`), and what becomes of them. Called by `Attempt`. Hot path for
//! pools that ask for it; any other pays a look at whether it does.
//!
//! Which of them may be thrown away is decided before: the wait for the next attempt is known by then. So the client gets
//! what the last backend has said, and never an answer of ours in its place because attempts, time or budget were used up.
//! A `Retry-After` is not waited for: it is for the client, and another backend may do.

use super::{
    Record,
    attempt::{Answer, Attempt, Outcome, RESPONSE_HEAD},
    upload::Upload,
};
use crate::{
    http::{Inlet, body::Source},
    telemetry::metrics::Retry,
};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// Bytes of an answer that are read so that its connection can be used again, if they have come already.
const SHORT: u64 = 64 * 1024;

impl Attempt<'_> {
    /// `answer` is one after which the request goes out once more: it is `whole` still, and attempts, time and budget are
    /// left.
    pub(super) fn again(
        &self,
        now: Instant,
        answer: &Answer,
        whole: bool,
        upload: &Upload<'_>,
        record: &mut Record,
    ) -> Option<Outcome> {
        let wait = self.more.filter(|_| whole)?;
        let retry = &self.pool.retry;
        let status = answer.head.status();
        let reason = if self.idempotent && retry.on_status.has(status) {
            Retry::Status
        } else if upload.call.is_some() && self.is_unwanted(answer) {
            Retry::Grpc
        } else {
            return None;
        };
        // A body that is still on its way has time-outs of its own; the route's time begins when it is whole, and the answer
        // may have come at once then.
        if !upload.open && record.deadline.is_none() {
            record.deadline = self.way.forward.timeout.map(|time| upload.sent + time);
        }
        let deadline = record.latest();
        if deadline.is_some_and(|deadline| deadline <= now + wait) {
            return None;
        }
        let slot = &self.pool.slot;
        if !slot.budget.withdraw(self.way.local.second(), retry.budget, retry.budget_floor) {
            slot.metrics.budget_exhausted(self.way.local.worker);
            return None;
        }
        let backend = &self.lease.backend().name;
        tracing::debug!(%backend, status, trace_id = %record.trace, "the answer is not taken: another attempt follows");
        Some(Outcome::Again(reason, wait))
    }

    /// Nobody wants the rest of `answer`. True: all of it is here, and its connection can be used again. A stream that has
    /// not ended is reset.
    pub(super) fn discard(&self, answer: Answer, mut inlet: Inlet<'_>, upload: Upload<'_>) -> bool {
        let guarded = answer.guarded;
        self.way.local.spares.heads.give(answer.head);
        let sent = !upload.open && !upload.broken;
        drop(upload);
        let fine = sent && guarded.keep_alive && guarded.upgrade.is_none();
        fine && self.read_out(inlet.body(guarded.framing, &RESPONSE_HEAD)) && inlet.is_drained()
    }

    /// Reads what has come of `source`. True: that was all, and it was short.
    fn read_out(&self, mut source: Source<'_>) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        while source.received() <= SHORT {
            match source.poll_pull(cx) {
                Poll::Ready(Ok(None)) => return true,
                Poll::Ready(Ok(Some(pulled))) => self.way.local.spares.recycle(pulled.chunk),
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        false
    }
}
