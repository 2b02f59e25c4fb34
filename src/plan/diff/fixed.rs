//! What a reload cannot change. Made when the process starts, asked by each reload and each diff.

use crate::config::{self, Config};

/// The tables with keys that only a restart changes, as they were at the start: what runs is measured against them, not
/// against the file before.
#[derive(Clone, Debug)]
pub struct Fixed {
    server: config::Server,
    admin: config::Admin,
    metrics: config::Metrics,
    log: config::Log,
}

impl Fixed {
    /// Those of the configuration that a process starts with.
    pub fn of(config: &Config) -> Self {
        let Config { server, admin, metrics, log, .. } = config;
        Self { server: server.clone(), admin: admin.clone(), metrics: metrics.clone(), log: log.clone() }
    }

    /// What of `new`, which takes the place of `old`, only a restart puts in force.
    pub fn notes(&self, old: &Config, new: &Config) -> Vec<String> {
        let mut notes = Vec::new();
        let mut say = |differs: bool, key: &str| {
            if differs {
                notes.push(format!("{key}: a change needs a restart"));
            }
        };
        say(self.server.workers != new.server.workers, "server.workers");
        say(self.server.max_connections != new.server.max_connections, "server.max_connections");
        say(self.server.drain_delay != new.server.drain_delay, "server.drain_delay");
        say(self.server.name != new.server.name, "server.name (for the admin API's Host check)");
        say(self.admin.address != new.admin.address, "admin.address");
        say(self.admin.metrics_address != new.admin.metrics_address, "admin.metrics_address");
        say(self.metrics.buckets != new.metrics.buckets, "metrics.buckets");
        say(self.log.format != new.log.format, "log.format");
        for listener in &new.listeners {
            let same = old.listeners.iter().find(|other| other.address == listener.address);
            let bound = |listener: &config::Listener| (listener.backlog, listener.ipv6_only, listener.defer_accept);
            say(
                same.is_some_and(|other| bound(other) != bound(listener)),
                &format!("listener {}: backlog, ipv6_only, defer_accept", listener.name),
            );
        }
        notes
    }
}
