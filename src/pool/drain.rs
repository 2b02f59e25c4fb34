//! Until when a drain lets exchanges go on. Control writes and reads it; the request path never does.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// The deadline of a backend's drain, if it has one. It holds over reloads.
#[derive(Debug, Default)]
pub struct Drain(Mutex<Option<Deadline>>);

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    /// The same moment, for people.
    time: SystemTime,
    /// Workers have been told that it has come.
    told: bool,
}

impl Drain {
    /// It ends after `time`, counted from `now`; `None`: it has no end.
    pub fn end_after(&self, time: Option<Duration>, now: Instant) {
        let deadline = |time| Deadline { at: now + time, time: SystemTime::now() + time, told: false };
        *self.lock() = time.map(deadline);
    }

    /// When it ends, for people.
    pub fn deadline(&self) -> Option<SystemTime> {
        self.lock().map(|deadline| deadline.time)
    }

    /// When it ends, if nobody has been told that it has.
    pub fn pending(&self) -> Option<Instant> {
        self.lock().filter(|deadline| !deadline.told).map(|deadline| deadline.at)
    }

    /// Its deadline has come: also those that stick to the backend go elsewhere.
    pub fn is_over(&self, now: Instant) -> bool {
        self.lock().is_some_and(|deadline| deadline.at <= now)
    }

    /// Its deadline has come, and this is the first to hear of it.
    pub fn tell(&self, now: Instant) -> bool {
        let mut deadline = self.lock();
        let news = deadline.as_mut().filter(|deadline| !deadline.told && deadline.at <= now);
        news.map(|deadline| deadline.told = true).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Deadline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_end_is_told_once_and_stays() {
        let (drain, now, second) = (Drain::default(), Instant::now(), Duration::from_secs(1));
        assert!(!drain.is_over(now) && !drain.tell(now) && drain.pending().is_none() && drain.deadline().is_none());
        drain.end_after(Some(second), now);
        assert!(!drain.is_over(now) && !drain.tell(now) && drain.pending() == Some(now + second));
        let end = now + second;
        assert!(drain.is_over(end) && drain.pending().is_some());
        assert!(drain.tell(end) && !drain.tell(end) && drain.is_over(end) && drain.pending().is_none());
        assert!(drain.deadline().is_some(), "it can be looked up still");
        drain.end_after(Some(second), end);
        assert!(!drain.is_over(end) && drain.tell(end + second), "a new one is told of anew");
        drain.end_after(None, end);
        assert!(!drain.is_over(end + 2 * second) && drain.deadline().is_none());
    }
}
