//! High-water marks: control looks how much memory is held, and says in the log when load is shed. Who is let in,
//! [`Shed`] knows.

use super::{Message, Shared, memory};
use crate::{
    config::{MaxMemory, Server},
    policy::{Fit, Level, Shed},
    telemetry::metrics::{Overload, ReadOverload},
};
use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};

/// How often it is looked how much memory is held.
const LOOK: Duration = Duration::from_millis(100);
/// How often the limits of the process are read anew: they may be changed while it runs.
const LIMITS: Duration = Duration::from_secs(5);
/// How often workers are told to give back what they keep for later.
const RELIEVE: Duration = Duration::from_secs(1);
/// Nothing has been shed for so long: it is over.
const QUIET: Duration = Duration::from_secs(1);
/// Nobody has been in flight for so long, and nobody refused: memory that the allocator keeps sheds nobody.
const CALM: Duration = Duration::from_secs(3);

/// The marks, as the configuration has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    in_flight: Option<usize>,
    memory: Option<MaxMemory>,
}

impl Wanted {
    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Puts the marks of `server` in force: the next request is measured by them.
pub(super) fn set(server: &Server, shared: &Shared) {
    let wanted = Wanted { in_flight: server.max_in_flight, memory: server.max_memory };
    shared.shed.set(wanted.in_flight.map(|most| most as u64), wanted.memory.is_some());
    let limit = memory::limit();
    if wanted.memory.is_some() && memory::resident().is_none() {
        tracing::warn!("server.max_memory has no effect: /proc/self/status does not say how much memory is held");
    }
    if let (Some(MaxMemory::Bytes(mark)), Some(limit)) = (wanted.memory, limit)
        && mark > limit
    {
        tracing::warn!(
            mark,
            limit,
            "server.max_memory is more than the process may have: nothing will be shed before that"
        );
    }
    look(shared, wanted.memory, limit);
    shared.overload.send_replace(wanted);
}

/// What scrapes are told.
pub(super) fn reader(shed: &Arc<Shed>) -> ReadOverload {
    let shed = Arc::clone(shed);
    Box::new(move || Overload {
        memory_limit: memory::limit(),
        by_flight: shed.by_flight().number(),
        by_memory: shed.seen_by_memory().number(),
    })
}

/// Looks how much memory is held, and who is shed because of it. Gives the bytes, and the most that was in flight.
fn look(shared: &Shared, mark: Option<MaxMemory>, limit: Option<u64>) -> Option<(u64, u64)> {
    let mark = match mark? {
        MaxMemory::Bytes(bytes) => bytes,
        MaxMemory::Share(share) => (limit? as f64 * share) as u64,
    };
    let held = memory::resident()?;
    // What the kernel would end the process at is never reached on purpose.
    let last = limit.map_or(u64::MAX, |limit| limit - limit / 20);
    let mut fit = shared.fit.lock().unwrap_or_else(PoisonError::into_inner);
    let fit = fit.get_or_insert_with(|| Fit::new(mark, last));
    fit.set(mark, last);
    let peak = shared.shed.peak();
    let (level, fits) = fit.look(held, peak);
    shared.shed.set_memory(level, fits);
    Some((held, peak))
}

/// Goes on until the process ends. Without a mark it sleeps.
pub(super) async fn watch(shared: Arc<Shared>) {
    let shed = &shared.shed;
    let mut changes = shared.overload.subscribe();
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut limit = (Instant::now(), memory::limit());
    let (mut relieved, mut episode, mut calm) = (None, Episode::default(), Calm::default());
    loop {
        let wanted = *changes.borrow_and_update();
        if wanted.is_none() && !episode.is_on() {
            if changes.changed().await.is_err() {
                return;
            }
            continue;
        }
        ticks.tick().await;
        // A reload may have come meanwhile: its marks hold.
        let (now, wanted) = (Instant::now(), *changes.borrow_and_update());
        if wanted.memory.is_some() && now - limit.0 >= LIMITS {
            limit = (now, memory::limit());
        }
        let (memory, peak) = look(&shared, wanted.memory, limit.1).unzip();
        shed.rest(calm.look(peak.unwrap_or_default(), shed.refused(), now));
        if shed.by_memory() > Level::NONE && relieved.is_none_or(|at| now - at >= RELIEVE) {
            relieved = Some(now);
            shared.workers.iter().for_each(|worker| drop(worker.send(Message::Relieve)));
        }
        shed.settle();
        let on = shed.by_flight().max(shed.seen_by_memory()) > Level::NONE;
        match episode.look(on, shed.refused(), now) {
            Some(Said::Begins) => {
                let (by_in_flight, by_memory) = (shed.by_flight().words(), shed.by_memory().words());
                let in_flight = shed.in_flight();
                tracing::warn!(in_flight, by_in_flight, memory, by_memory, "at a high-water mark: load is shed");
            }
            Some(Said::Ends { shed, after }) => {
                let seconds = after.as_secs_f64();
                tracing::info!(shed, seconds, "load is no longer shed");
            }
            None => {}
        }
    }
}

/// What is said once, however often a mark is crossed meanwhile.
#[derive(Debug, PartialEq)]
enum Said {
    /// Load is shed.
    Begins,
    /// It is over: so many requests were, in so much time.
    Ends { shed: u64, after: Duration },
}

/// How long nobody has been in flight, or refused.
#[derive(Debug, Default)]
struct Calm {
    refused: u64,
    since: Option<Instant>,
}

impl Calm {
    /// It is `now`, at most `peak` were in flight since the last look, and so many have been shed since the start. True: for
    /// long.
    fn look(&mut self, peak: u64, refused: u64, now: Instant) -> bool {
        let before = std::mem::replace(&mut self.refused, refused);
        if peak > 0 || refused > before {
            self.since = None;
            return false;
        }
        now - *self.since.get_or_insert(now) >= CALM
    }
}

/// From the first request that is shed to a while after the last.
#[derive(Debug, Default)]
struct Episode {
    /// When it began, and how many had been shed before.
    began: Option<(Instant, u64)>,
    refused: u64,
    last: Option<Instant>,
}

impl Episode {
    fn is_on(&self) -> bool {
        self.began.is_some()
    }

    /// It is `now`, a mark is crossed or not, and so many have been shed since the start.
    fn look(&mut self, on: bool, refused: u64, now: Instant) -> Option<Said> {
        let before = std::mem::replace(&mut self.refused, refused);
        if refused > before {
            self.last = Some(now);
            if self.began.is_none() {
                self.began = Some((now, before));
                return Some(Said::Begins);
            }
        }
        let (began, from) = self.began?;
        if on || self.last.is_some_and(|last| now - last < QUIET) {
            return None;
        }
        self.began = None;
        Some(Said::Ends { shed: refused - from, after: now - began })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_calm_when_nobody_has_come_for_a_while() {
        let (start, mut calm) = (Instant::now(), Calm::default());
        let mut look = |at, peak, refused| calm.look(peak, refused, start + Duration::from_secs(at));
        assert_eq!([look(0, 0, 0), look(2, 0, 0), look(3, 0, 0)], [false, false, true]);
        assert_eq!([look(4, 1, 0), look(5, 0, 0), look(7, 0, 0), look(8, 0, 0)], [false, false, false, true]);
        assert_eq!([look(9, 0, 1), look(10, 0, 1), look(13, 0, 1)], [false, false, true], "somebody was refused");
    }

    #[test]
    fn an_episode_is_told_once_at_each_end() {
        let (start, mut episode) = (Instant::now(), Episode::default());
        let mut look = |at: u64, on, refused| episode.look(on, refused, start + Duration::from_millis(at));
        assert_eq!(look(0, true, 0), None, "nobody has been shed");
        assert_eq!(look(100, true, 5), Some(Said::Begins));
        assert_eq!(look(200, false, 5), None, "it may go on");
        assert_eq!(look(300, true, 9), None);
        assert_eq!(look(1900, true, 9), None, "nobody asks, and who would is shed");
        assert_eq!(look(2000, false, 9), Some(Said::Ends { shed: 9, after: Duration::from_millis(1900) }));
        assert_eq!(look(9000, false, 9), None);
        assert_eq!(look(9100, false, 10), Some(Said::Begins));
        assert_eq!(look(10_100, false, 10), Some(Said::Ends { shed: 1, after: Duration::from_secs(1) }));
    }
}
