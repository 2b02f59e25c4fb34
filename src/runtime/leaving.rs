//! What ends on a worker when a plan takes the place of another: found once, by one walk, for `worker`, which ends it, and
//! for those who ask before how much that would be.

use super::worker::{Entry, Worker};
use crate::{
    plan::{
        Plan,
        diff::{Drains, Gone},
    },
    telemetry::metrics::Closed,
};
use std::{collections::HashMap, rc::Rc, time::Duration};
use tokio::time::Instant;

/// Why something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// The listener of that number is gone.
    Listener(usize),
    /// The listener of that number does not let its client in any more.
    Denied(usize),
    /// The backend of that number is gone.
    Backend(u32),
    /// The route at that place of [`Gone::routes`] is gone, and with it its tunnels.
    Route(usize),
}

/// How much would end.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// Each counted once.
    pub(crate) all: u64,
    /// By what they would end for; it may be several things.
    pub(crate) by: HashMap<Cause, Drains>,
}

impl std::ops::AddAssign for Ending {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        other.by.into_iter().for_each(|(cause, drains)| *self.by.entry(cause).or_default() += drains);
    }
}

impl Worker {
    /// Tells of everything that ends when `plan` comes, with which so much is `gone`: where it is, and each cause.
    fn each_gone(&self, gone: &Gone, plan: &Plan, mut tell: impl FnMut((usize, &Entry), Cause)) {
        for (place, entry) in self.clients.borrow().iter() {
            let (client, mut say) = (&entry.client, |cause| tell((place, entry), cause));
            if let Some(backend) = client.backend().filter(|backend| gone.backends.contains(backend)) {
                say(Cause::Backend(backend));
            }
            let listener = client.listener;
            if gone.listeners.contains(&listener) {
                say(Cause::Listener(listener));
            } else if plan.listener(listener).is_some_and(|planned| planned.denies(client)) {
                say(Cause::Denied(listener));
            }
            let mut route = None;
            client.is_tunnel_of(|metrics| {
                route = gone.route(metrics);
                route.is_some()
            });
            route.into_iter().for_each(|route| say(Cause::Route(route)));
        }
    }

    /// Ends what is `gone` now that `plan` has come: connections are told to, what is left has so much time, and tunnels
    /// are spread over it.
    pub(super) fn end_gone(self: &Rc<Self>, gone: &Gone, plan: &Plan, within: Duration) {
        let now = Instant::now();
        self.each_gone(gone, plan, |(place, entry), cause| match cause {
            Cause::Backend(backend) => self.doom((place, entry), now + self.share(entry, within), Some(backend)),
            Cause::Route(_) => self.doom((place, entry), now + self.some_of(within), None),
            Cause::Listener(_) | Cause::Denied(_) => {
                let denied = matches!(cause, Cause::Denied(_)) && !entry.client.is_closing();
                if let Some(metrics) = entry.metrics.as_ref().filter(|_| denied) {
                    metrics.closed_by(self.number, Closed::Denied);
                }
                entry.client.close();
                self.doom((place, entry), now + self.share(entry, within), None);
            }
        });
    }

    /// How much that would be.
    pub(super) fn count_gone(&self, gone: &Gone, plan: &Plan) -> Ending {
        let (mut ending, mut last) = (Ending::default(), None);
        self.each_gone(gone, plan, |(place, entry), cause| {
            let client = &entry.client;
            let drains = match cause {
                // A stream ends with its connection, which is counted.
                Cause::Listener(_) | Cause::Denied(_) if entry.metrics.is_none() => return,
                // It ends already.
                Cause::Denied(_) if client.is_closing() => return,
                Cause::Listener(_) | Cause::Denied(_) => Drains { connections: 1, ..Drains::default() },
                Cause::Backend(_) if !client.is_tunnel() => Drains { exchanges: 1, ..Drains::default() },
                Cause::Backend(_) | Cause::Route(_) => Drains { tunnels: 1, ..Drains::default() },
            };
            *ending.by.entry(cause).or_default() += drains;
            if last.replace(place) != Some(place) {
                ending.all += 1;
            }
        });
        ending
    }
}
