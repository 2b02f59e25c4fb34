//! What a pool's breakers go by: when they open, what is a failure, how many backends may be out. Made by the plan, and
//! carried to leases by the pool's table. Hot path: a few comparisons of what has failed.

use super::{Backend, Breaker, Slot, breaker::Rules};
use crate::{config::Statuses, error::Kind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The breakers of a pool, as its configuration wants them.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// When they open, and for how long.
    pub rules: Rules,
    /// What is a failure.
    pub on: On,
    /// The share of the usable backends that may be out.
    pub max_ejected: f64,
    /// There is one breaker for the whole pool.
    pub whole: bool,
}

/// What counts as a failure of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct On {
    /// No connection.
    pub connect: bool,
    /// A connection that broke, or carried what is no response.
    pub reset: bool,
    /// What did not come in time.
    pub timeout: bool,
    /// Answers with these statuses.
    pub statuses: Statuses,
}

impl Guard {
    /// The one that looks at attempts at `backend`.
    pub(super) fn breaker<'a>(&self, slot: &'a Slot, backend: &'a Backend) -> &'a Breaker {
        if self.whole { &slot.circuit } else { &backend.breaker }
    }

    /// So many of `usable` backends may be out: never the last one.
    pub fn most_out(&self, usable: usize) -> usize {
        // A share that is not quite a whole number for want of digits is one.
        let share = (usable as f64 * self.max_ejected + 1e-9).floor() as usize;
        let least = usize::from(self.max_ejected > 0.0);
        share.max(least).min(usable.saturating_sub(1))
    }
}

impl On {
    /// A backend is to blame for `kind`, and it is one of those that count. A deadline is not: whoever knows whose it is
    /// says that it was a timeout.
    pub(super) fn has(&self, kind: Kind) -> bool {
        match kind {
            kind if kind.is_connect() => self.connect,
            Kind::Reset | Kind::Truncated | Kind::BadResponse | Kind::ResponseHeadTooLarge | Kind::UpgradeFailed => {
                self.reset
            }
            Kind::ResponseTimeout | Kind::BodyTimeout => self.timeout,
            _ => false,
        }
    }

    /// An answer with `status` counts.
    pub(super) fn has_status(&self, status: u16) -> bool {
        self.statuses.has(status)
    }
}

/// How many backends of a pool are out, and of how many: two that fail at once must not both be the last that may go.
#[derive(Debug, Default)]
pub struct Ejections(Mutex<Room>);

/// As control has counted, and leases since then.
#[derive(Debug, Default)]
pub struct Room {
    usable: usize,
    out: usize,
}

impl Ejections {
    /// There are so many usable backends, and so many of them are out: counted while nobody goes.
    pub fn settle(&self, count: impl FnOnce() -> (usize, usize)) {
        let mut room = self.lock();
        (room.usable, room.out) = count();
    }

    /// One more goes, if it may; it has gone when what this gives is dropped.
    pub(super) fn one_more(&self, guard: &Guard) -> Option<MutexGuard<'_, Room>> {
        let mut room = self.lock();
        if room.out >= guard.most_out(room.usable) {
            return None;
        }
        room.out += 1;
        Some(room)
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(max_ejected: f64) -> Guard {
        let rules = Rules {
            consecutive: Some(1),
            rate: None,
            min_requests: 1,
            window: 1,
            open_for: 1,
            open_for_max: 1,
            trials: 1,
        };
        let on = On { connect: true, reset: true, timeout: true, statuses: Statuses::of([500..=502, 504..=504]) };
        Guard { rules, on, max_ejected, whole: false }
    }

    #[test]
    fn a_share_may_be_out_and_one_of_two_and_never_the_last() {
        for (share, usable, most) in [
            (0.5, 0, 0),
            (0.5, 1, 0),
            (0.5, 2, 1),
            (0.5, 3, 1),
            (0.5, 5, 2),
            (0.1, 2, 1),
            (0.29, 100, 29),
            (1.0, 1, 0),
            (1.0, 2, 1),
            (1.0, 10, 9),
            (0.0, 10, 0),
        ] {
            assert_eq!(guard(share).most_out(usable), most, "{share} of {usable}");
        }
    }

    #[test]
    fn no_more_go_than_may() {
        let (ejections, guard) = (Ejections::default(), guard(0.5));
        ejections.settle(|| (5, 0));
        let gone = (0..10).filter(|_| ejections.one_more(&guard).is_some()).count();
        assert_eq!(gone, 2);
        ejections.settle(|| (5, 1));
        assert!(ejections.one_more(&guard).is_some() && ejections.one_more(&guard).is_none());
    }

    #[test]
    fn what_is_ours_or_the_clients_is_no_failure() {
        let on = guard(0.5).on;
        for kind in [Kind::PortsExhausted, Kind::ClientGone, Kind::QueueFull, Kind::Deadline, Kind::RequestTimeout] {
            assert!(!on.has(kind), "{kind:?}");
        }
        let counted = |on: &On| {
            [Kind::ConnectTimeout, Kind::Truncated, Kind::BodyTimeout].into_iter().filter(|kind| on.has(*kind)).count()
        };
        assert_eq!(counted(&on), 3);
        assert_eq!(counted(&On { connect: false, ..on.clone() }), 2);
        assert_eq!(counted(&On { connect: false, reset: false, ..on.clone() }), 1);
        let statuses: Vec<_> = (100..600).filter(|status| on.has_status(*status)).collect();
        assert_eq!(statuses, [500, 501, 502, 504]);
    }
}
