//! How many attempts the backends of a pool take at a time. Called by control: with each table, and some times a second.

use super::{Member, Pool};
use crate::config::{MaxInFlight, Protocol};
use tokio::time::Instant;

impl Pool {
    /// So many attempts may run at `member` at a time. Where each has a connection of its own, their bound is one as well.
    pub(super) fn most(&self, member: &Member) -> Option<u32> {
        let own = match member.max_in_flight {
            MaxInFlight::Off => None,
            MaxInFlight::Most(most) => Some(most),
            MaxInFlight::Auto => Some(member.backend.adaptive.limit()),
        };
        let alone = self.settings.protocol == Protocol::H1 || self.settings.proxy_protocol.is_some();
        let connections = self.settings.max_connections.filter(|_| alone);
        let connections = connections.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        own.into_iter().chain(connections).min()
    }

    /// Looks at how its backends fare: how much each takes without becoming slow. Where that is their bound it is in force,
    /// and those who wait hear of it.
    pub fn sample(&self, now: Instant) {
        let mut raised = false;
        for member in &self.members {
            member.backend.adaptive.sample(&member.backend.load, now);
            if member.max_in_flight == MaxInFlight::Auto {
                let (before, most) = (member.backend.load.most(), self.most(member));
                member.backend.load.set_most(most);
                raised |= most > before;
            }
        }
        if raised {
            self.slot.attend();
        }
    }
}
