//! A bound on connections: of a listener, or of one side of the process. It knows when it is nearly used up, and how many
//! should go then; who goes is decided by `runtime::relief`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::Notify;

/// A smaller budget is near its end only when somebody waits for a place: of a few, the last one is no reserve.
const SMALL: usize = 10;

/// So many may be open at a time.
#[derive(Debug)]
pub struct Budget {
    most: AtomicUsize,
    open: AtomicUsize,
    /// Those of them that have been told to go.
    leaving: AtomicUsize,
    /// Who waits for a place.
    waiting: AtomicUsize,
    /// It came near its end, and has not got far enough from it since.
    pressed: AtomicBool,
    freed: Notify,
}

/// One of them.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    near: bool,
    leaving: bool,
}

/// Somebody waits for a place, for as long as this lives.
#[derive(Debug)]
pub struct Queued(Arc<Budget>);

impl Budget {
    /// A budget of `most`; `None` = no bound.
    pub fn new(most: Option<usize>) -> Arc<Self> {
        let (open, leaving, waiting, pressed, freed) = Default::default();
        let most = AtomicUsize::new(most.unwrap_or(usize::MAX));
        Arc::new(Self { most, open, leaving, waiting, pressed, freed })
    }

    /// It is a budget of `most` from now on. What is open above that stays open, unless it is idle and somebody waits.
    pub fn resize(&self, most: Option<usize>) {
        self.most.store(most.unwrap_or(usize::MAX), SeqCst);
        self.freed.notify_waiters();
    }

    /// One more, if there is room.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let most = self.most.load(SeqCst);
        let before = self.open.fetch_update(SeqCst, SeqCst, |open| (open < most).then_some(open + 1)).ok()?;
        let near = self.press(before + 1, most);
        Some(Permit { budget: Arc::clone(self), near, leaving: false })
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

    /// Somebody is going to wait for a place.
    pub fn queue(self: &Arc<Self>) -> Queued {
        self.waiting.fetch_add(1, SeqCst);
        self.press(self.open.load(SeqCst), self.most.load(SeqCst));
        Queued(Arc::clone(self))
    }

    /// Its end is near: from nine tenths on. Remembers it.
    fn press(&self, open: usize, most: usize) -> bool {
        let near = most >= SMALL && open >= near(most);
        if near && !self.pressed.load(SeqCst) {
            self.pressed.store(true, SeqCst);
        }
        near
    }

    /// Some of those that are open should go now.
    pub fn is_over(&self) -> bool {
        self.excess(self.leaving.load(SeqCst)) > 0
    }

    /// Some of those that are open should go, or will have to.
    pub fn is_pressed(&self) -> bool {
        self.is_over() || self.is_full()
    }

    /// There is no place, and somebody waits for one.
    pub fn is_full(&self) -> bool {
        self.waiting.load(SeqCst) > 0 && self.open.load(SeqCst) >= self.most.load(SeqCst)
    }

    /// How many should go now, beside `leaving`: down to 85 % once its end was near; one, where somebody waits for a place of
    /// a few.
    fn excess(&self, leaving: usize) -> usize {
        let most = self.most.load(SeqCst);
        let staying = self.open.load(SeqCst).saturating_sub(leaving);
        if most >= SMALL {
            let excess = staying.saturating_sub(near(most) - most / 20 - usize::from(most < 20));
            if excess == 0 {
                self.pressed.store(false, SeqCst);
            }
            return if self.pressed.load(SeqCst) { excess } else { 0 };
        }
        if self.waiting.load(SeqCst) > 0 { (staying + 1).saturating_sub(most) } else { 0 }
    }
}

/// Nine tenths.
fn near(most: usize) -> usize {
    most - most / 10
}

impl Permit {
    /// When it was taken, there were few left.
    pub fn is_near(&self) -> bool {
        self.near
    }

    /// Its connection has been told to go.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Its connection goes, if one should. True if it does. However many threads ask, no more go than should.
    pub fn yields(&mut self) -> bool {
        let budget = &self.budget;
        let one_more = |leaving| (budget.excess(leaving) > 0).then_some(leaving + 1);
        self.leaving = self.leaving || budget.leaving.fetch_update(SeqCst, SeqCst, one_more).is_ok();
        self.leaving
    }

    /// Its connection goes, for whatever reason.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.budget.leaving.fetch_add(1, SeqCst);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.open.fetch_sub(1, SeqCst);
        if self.leaving {
            self.budget.leaving.fetch_sub(1, SeqCst);
        }
        self.budget.freed.notify_waiters();
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
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
        let waiting = {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move { budget.wait().await })
        };
        tokio::task::yield_now().await;
        budget.resize(Some(3));
        tokio::task::yield_now().await;
        assert!(waiting.is_finished(), "a larger budget lets in who waits");
        drop((first, waiting));
    }

    fn taken(budget: &Arc<Budget>, count: usize) -> Vec<Permit> {
        (0..count).map(|_| budget.take().unwrap()).collect()
    }

    /// How many go when all are asked to.
    fn gone(permits: &mut [Permit]) -> usize {
        permits.iter_mut().map(|permit| usize::from(permit.yields())).sum()
    }

    #[test]
    fn near_its_end_so_many_go_that_there_is_room_again() {
        let budget = Budget::new(Some(100));
        let mut permits = taken(&budget, 89);
        assert!(!budget.is_pressed() && permits.iter().all(|permit| !permit.is_near()));
        assert_eq!(gone(&mut permits), 0);
        permits.extend(taken(&budget, 5));
        assert!(budget.is_pressed() && permits[89].is_near());
        assert_eq!(gone(&mut permits), 9, "85 stay");
        assert_eq!(gone(&mut permits), 9, "and they are the same ones");
        permits.retain(|permit| !permit.is_leaving());
        assert_eq!((permits.len(), gone(&mut permits)), (85, 0));
        assert!(!budget.is_pressed(), "it is over");
        permits.extend(taken(&budget, 4));
        assert_eq!(gone(&mut permits), 0, "and begins at nine tenths again");
    }

    #[test]
    fn who_leaves_for_another_reason_makes_room_as_well() {
        let budget = Budget::new(Some(100));
        let mut permits = taken(&budget, 90);
        permits[..3].iter_mut().for_each(Permit::leave);
        permits[0].leave();
        assert_eq!(gone(&mut permits[3..]), 2, "85 stay");
    }

    #[test]
    fn of_a_few_one_goes_when_somebody_waits() {
        let budget = Budget::new(Some(2));
        let mut permits = taken(&budget, 2);
        assert_eq!((budget.is_pressed(), gone(&mut permits)), (false, 0));
        let queued = budget.queue();
        assert!(budget.is_full() && budget.is_pressed());
        assert_eq!(gone(&mut permits), 1);
        drop(queued);
        assert!(!budget.is_pressed());
    }

    #[test]
    fn what_a_smaller_budget_leaves_over_goes_when_somebody_waits() {
        let budget = Budget::new(Some(100));
        let mut permits = taken(&budget, 60);
        budget.resize(Some(20));
        assert_eq!(gone(&mut permits), 0);
        let _queued = budget.queue();
        assert_eq!(gone(&mut permits), 43, "17 of 20 stay");
        let unbounded = Budget::new(None);
        let mut permits = taken(&unbounded, 1000);
        let _queued = unbounded.queue();
        assert_eq!((unbounded.is_pressed(), gone(&mut permits)), (false, 0));
    }

    #[test]
    fn threads_together_let_no_more_go_than_should() {
        let budget = Budget::new(Some(1000));
        let mut permits = taken(&budget, 1000);
        let gone: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = permits.chunks_mut(100).map(|part| scope.spawn(|| gone(part))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(gone, 150);
        drop(permits);
        assert_eq!((budget.open.load(SeqCst), budget.leaving.load(SeqCst)), (0, 0));
    }
}
