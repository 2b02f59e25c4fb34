//! What lies between two configurations: what is added, removed and changed, and what a step from one to the other takes
//! away from whom. Pure; called by control (`reload --if-drops`, the admin API) and by `evenkeel diff --offline`.
//!
//! Whether something has changed is decided by what it means; what is shown is what is written.

mod fixed;
mod gone;
#[cfg(test)]
mod properties;
mod things;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{fixed::Fixed, gone::Gone};
use crate::config::{Config, Leaf, WrittenKeys};

/// All that lies between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// Of the configuration in use; left out where no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Live connections, exchanges and tunnels that would end for it, each counted once; left out where no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains: Option<u64>,
    /// How long they would have: `server.drain_timeout`.
    pub within: String,
    /// What is added, removed or changed; by kind, then by name. Empty: both mean the same.
    pub changes: Vec<Change>,
    /// What else an operator should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What only a restart puts in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
}

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What became of it.
    pub change: What,
    /// What it is.
    pub kind: Kind,
    /// The pool that a backend is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// What it was called; what it is called, if it is new.
    pub name: String,
    /// The keys that differ, in order.
    pub keys: Vec<KeyChange>,
    /// A file that it names says something else: a certificate, a key, a page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
    /// What would end for it; left out where nothing would, or no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drains: Option<Drains>,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Some of its keys differ.
    Changed,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A table that stands once, such as `[server]`.
    Section,
    /// A `[[listener]]`.
    Listener,
    /// A `[[route]]`.
    Route,
    /// A `[pool.NAME]`, but for its backends where it stays.
    Pool,
    /// An address of a pool.
    Backend,
    /// An `[auth.NAME]`.
    Auth,
    /// A `[rate_limit.NAME]`.
    RateLimit,
}

/// A key that differs; secrets show as `***`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyChange {
    /// Dotted, from its table.
    pub key: String,
    /// As it was written, in TOML; left out: it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// As it is written, in TOML; left out: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// What would end within `server.drain_timeout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drains {
    /// Connections of clients. Idle ones close at once; others when their exchange has ended, or when the time is over.
    pub connections: u64,
    /// Exchanges: they may go on until the time is over.
    pub exchanges: u64,
    /// Tunnels (WebSocket, CONNECT), spread over the time.
    pub tunnels: u64,
}

impl Diff {
    /// What lies between `old` and `new`, for a process that was started with `fixed`.
    pub fn between(old: &Config, new: &Config, fixed: &Fixed) -> Self {
        let mut changes = things::all(old, new);
        changes.sort_by(|one, two| one.order().cmp(&two.order()));
        let within = humantime::format_duration(old.server.drain_timeout).to_string();
        let notes = things::notes(old, new);
        Self { generation: None, drains: None, within, changes, notes, restart: fixed.notes(old, new) }
    }

    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.notes.is_empty()
    }
}

impl Change {
    /// `pool "web"`, `backend "a" of pool "web"`.
    pub fn called(&self) -> String {
        let of = self.pool.as_ref().map(|pool| format!(" of pool {pool:?}")).unwrap_or_default();
        match self.kind {
            Kind::Section => format!("[{}]", self.name),
            kind => format!("{kind} {:?}{of}", self.name),
        }
    }

    fn order(&self) -> (Kind, Option<&str>, &str, What) {
        (self.kind, self.pool.as_deref(), &self.name, self.change)
    }
}

impl Drains {
    /// Something ends.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl std::ops::AddAssign for Drains {
    fn add_assign(&mut self, other: Self) {
        self.connections += other.connections;
        self.exchanges += other.exchanges;
        self.tunnels += other.tunnels;
    }
}

/// `2 connections, 1 exchange and 1 tunnel`.
impl fmt::Display for Drains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [(self.connections, "connection"), (self.exchanges, "exchange"), (self.tunnels, "tunnel")];
        let words: Vec<_> =
            counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| several(count, what)).collect();
        match words.as_slice() {
            [] => f.write_str("nothing"),
            [one] => f.write_str(one),
            [all @ .., last] => write!(f, "{} and {last}", all.join(", ")),
        }
    }
}

impl Diff {
    /// What would end, and for what: one line.
    pub fn drained(&self) -> String {
        let of = |change: &Change| change.drains.map(|drains| format!("{}: {drains}", change.called()));
        let whats: Vec<_> = self.changes.iter().filter_map(of).collect();
        let all = several(self.drains.unwrap_or_default(), "live connection");
        let colon = if whats.is_empty() { "" } else { ": " };
        format!("{all} would be drained{colon}{}", whats.join("; "))
    }
}

/// `1 route`, `2 routes`.
pub fn several(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Section => "section",
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Pool => "pool",
            Self::Backend => "backend",
            Self::Auth => "auth",
            Self::RateLimit => "rate_limit",
        })
    }
}

/// The keys that are not alike.
fn between(old: &WrittenKeys, new: &WrittenKeys) -> Vec<KeyChange> {
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differs = |key: &&String| match (old.get(*key), new.get(*key)) {
        (Some(one), Some(two)) => !one.is_like(two),
        _ => true,
    };
    let show = |leaf: Option<&Leaf>| leaf.map(Leaf::to_string);
    let change = |key: &String| KeyChange { key: key.clone(), old: show(old.get(key)), new: show(new.get(key)) };
    names.into_iter().filter(differs).map(change).collect()
}
