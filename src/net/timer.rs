//! One timer a connection, moved lazily. Hot path.
//!
//! A deadline changes several times in an exchange, and nearly never strikes. Moving it later only stores it: the
//! reactor's entry fires at its old time, sees that it is early, and is set anew.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may move at any time. Shared by the idle and the active part of a connection.
#[derive(Default)]
pub struct Timer {
    sleep: Cell<Option<Pin<Box<Sleep>>>>,
    deadline: Cell<Option<Instant>>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("deadline", &self.deadline.get()).finish_non_exhaustive()
    }
}

impl Timer {
    /// Sets the deadline; `None` = never.
    pub fn set(&self, deadline: Option<Instant>) {
        self.deadline.set(deadline);
    }

    /// Sets the deadline to `after` from `now`; `None` = never.
    pub fn set_after(&self, now: Instant, after: Option<Duration>) {
        self.deadline.set(after.map(|after| now + after));
    }

    /// Ready when the deadline has passed.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline.get() else { return Poll::Pending };
        let mut sleep = match self.sleep.take() {
            // Armed for this time or an earlier one, and not struck: nothing to do, the task is woken when it does.
            Some(sleep) if sleep.deadline() <= deadline && !sleep.is_elapsed() => {
                self.sleep.set(Some(sleep));
                return Poll::Pending;
            }
            Some(mut sleep) => {
                sleep.as_mut().reset(deadline);
                sleep
            }
            None => Box::pin(sleep_until(deadline)),
        };
        // Outside the task's budget: a timer that was moved and, for want of budget, not registered would never strike.
        let mut polled = pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx);
        if polled.is_ready() && sleep.deadline() < deadline {
            // It struck for somebody else, between two looks at it.
            sleep.as_mut().reset(deadline);
            polled = pin!(tokio::task::unconstrained(sleep.as_mut())).poll(cx);
        }
        self.sleep.set(Some(sleep));
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let timer = Timer::default();
        let start = Instant::now();
        timer.set_after(start, Some(Duration::from_secs(10)));
        let _ = poll_fn(|cx| Poll::Ready(timer.poll(cx))).await;
        timer.set_after(start, Some(Duration::from_secs(20)));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 20);
        timer.set_after(start, Some(Duration::from_secs(90)));
        let _ = poll_fn(|cx| Poll::Ready(timer.poll(cx))).await;
        timer.set_after(start, Some(Duration::from_secs(30)));
        poll_fn(|cx| timer.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
