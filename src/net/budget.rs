//! A bound on connections: of a listener, or of one side of the process.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::Notify;

/// So many may be open at a time.
#[derive(Debug)]
pub struct Budget {
    most: AtomicUsize,
    open: AtomicUsize,
    freed: Notify,
}

/// One of them.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
}

impl Budget {
    /// A budget of `most`; `None` = no bound.
    pub fn new(most: Option<usize>) -> Arc<Self> {
        let most = AtomicUsize::new(most.unwrap_or(usize::MAX));
        Arc::new(Self { most, open: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// It is a budget of `most` from now on. What is open above that stays open.
    pub fn resize(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), SeqCst);
        self.freed.notify_waiters();
    }

    /// One more, if there is room.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let more = self.open.fetch_update(SeqCst, SeqCst, |open| (open < self.most.load(SeqCst)).then_some(open + 1));
        more.ok().map(|_| Permit { budget: Arc::clone(self) })
    }

    /// One more, as soon as there is room.
    pub async fn wait(self: &Arc<Self>) -> Permit {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Listens before it looks, so that no release goes by in between.
            freed.as_mut().enable();
            if let Some(permit) = self.take() {
                return permit;
            }
            freed.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, SeqCst);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_release_lets_the_next_one_in() {
        let budget = Budget::new(Some(2));
        let first = budget.take().unwrap();
        let second = budget.take().unwrap();
        assert!(budget.take().is_none());
        let waiting = {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move { budget.wait().await })
        };
        tokio::task::yield_now().await;
        drop(second);
        let _third = waiting.await.unwrap();
        assert!(budget.take().is_none());
        budget.resize(Some(3));
        assert!(budget.take().is_some());
        drop(first);
    }
}
