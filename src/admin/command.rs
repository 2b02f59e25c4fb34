//! What the admin API asks of control, and what control answers: the only way from here to the running process.
//!
//! Sent by `api`, read by `runtime`. The views are the JSON of PRODUCT.md section 11; the commands of `cli` read them back.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::oneshot;

use super::chaos::{ChaosRule, ChaosView};
pub use super::snapshot::{
    BackendLive, CheckView, Counts, Latency, ListenerLive, Look, PoolLive, Rates, Snapshot, TrafficView,
};
use crate::config::{Backend, Sample};
pub use crate::plan::Explanation;
pub use crate::plan::diff::{Change, Diff, Drains, KeyChange, Kind, What};

/// The largest weight of a backend.
pub const MAX_WEIGHT: u32 = 1000;
/// The longest deadline: more is a slip, and would not fit every clock.
const MAX_DEADLINE: Duration = Duration::from_secs(365 * 86_400);

/// Something to do or to tell. A sender that is dropped unanswered reads as a process that is stopping.
#[derive(Debug)]
pub enum Command {
    /// How the process is.
    Status(oneshot::Sender<Status>),
    /// How the process is, and what has been counted, for those who look every second.
    Snapshot(oneshot::Sender<Look>),
    /// How a pool is, with that backend of it alone, or with none.
    Pool {
        /// The pool's name.
        pool: String,
        /// The backend's name.
        backend: Option<String>,
        /// `None`: there is no such pool.
        reply: oneshot::Sender<Option<PoolView>>,
    },
    /// Change one backend.
    Change {
        /// The pool's name.
        pool: String,
        /// The backend's name in it.
        backend: String,
        /// What is to change; something is.
        change: BackendChange,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// The backend as it is then, or why it was left alone.
        reply: oneshot::Sender<Result<BackendView, Refused>>,
    },
    /// Add a backend to a pool.
    Add {
        /// The pool's name.
        pool: String,
        /// As it would stand in the file.
        backend: Box<Backend>,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// The backend as it is then, or why it was not added.
        reply: oneshot::Sender<Result<BackendView, Refused>>,
    },
    /// Remove a backend from a pool.
    Remove {
        /// The pool's name.
        pool: String,
        /// The backend's name in it.
        backend: String,
        /// What is left of it by then is ended, if that is sooner than the configuration has it.
        deadline: Option<Duration>,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// The backend as it was, or why it was left alone.
        reply: oneshot::Sender<Result<BackendView, Refused>>,
    },
    /// Change a pool as a whole.
    ChangePool {
        /// Its name.
        pool: String,
        /// What is to change; something is.
        change: PoolChange,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// The pool as it is then, or why it was left alone.
        reply: oneshot::Sender<Result<PoolView, Refused>>,
    },
    /// Rehearse failures, or end that.
    Chaos {
        /// What holds from now on beside other routes' rules; `None` ends them all.
        rule: Option<ChaosRule>,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// The rules that hold then, or why it was left alone.
        reply: oneshot::Sender<Result<Vec<ChaosView>, Refused>>,
    },
    /// Say what would become of a request. Changes nothing.
    Explain {
        /// What is asked about.
        sample: Sample,
        /// What is said of it.
        reply: oneshot::Sender<Explanation>,
    },
    /// Read the configuration anew.
    Reload {
        /// Only if no more live connections than that would be drained.
        if_drops: Option<u64>,
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// What is in use then, or why the old one stays.
        reply: oneshot::Sender<Result<Reloaded, Refused>>,
    },
    /// Put the configuration before in force again, until the file changes.
    Rollback {
        /// Only if this is the generation still.
        if_match: Option<u64>,
        /// What is in use then, or why the old one stays.
        reply: oneshot::Sender<Result<Reloaded, Refused>>,
    },
    /// Tell what a configuration would change, and change nothing.
    Diff {
        /// Its text, as if it stood in the file that a reload reads.
        text: String,
        /// What lies between, or what is wrong with it.
        reply: oneshot::Sender<Result<Box<Diff>, Refused>>,
    },
}

/// A change of one backend; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendChange {
    /// What the operator wants of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
    /// 0 to [`MAX_WEIGHT`]; 0 = clients who stick to it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Comes with [`AdminState::Drain`] alone: what is left by then is ended, spread over 5 s, and clients that stick to the
    /// backend go elsewhere from then on. Zero = at once; absent = none, whatever an earlier drain had.
    #[serde(default, with = "deadline", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("examples" = ["5m"]))]
    pub deadline: Option<Duration>,
}

/// How a backend is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// What is left by then is ended, spread over 5 s, if `server.drain_timeout` has not done it before; absent = that alone.
    #[serde(default, with = "deadline", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("examples" = ["5m"]))]
    pub deadline: Option<Duration>,
}

/// A change of a pool; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolChange {
    /// What the operator wants of its circuit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<CircuitOrder>,
}

/// What the operator wants of a pool's circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CircuitOrder {
    /// Nothing goes through.
    Open,
    /// What its breaker says.
    Auto,
}

impl PoolChange {
    /// Refuses what its types allow and its meaning does not.
    ///
    /// # Errors
    /// What is wrong, in words for whoever asked.
    pub fn check(&self) -> Result<(), String> {
        self.circuit.map(drop).ok_or_else(|| "nothing to change: wanted circuit".into())
    }
}

/// What the operator wants of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// It serves while it is healthy.
    Ready,
    /// It takes no new clients; those who stick to it stay.
    Drain,
    /// It takes nothing. The deadline of a drain before it holds.
    Maintenance,
}

/// Why control did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such thing: `pool "x"`.
    NotFound(String),
    /// Someone else was faster.
    Stale {
        /// The generation in use.
        generation: u64,
    },
    /// It makes no sense here, and why.
    Invalid(String),
    /// It was tried and failed: problems, rendered for people.
    Failed(String),
    /// The configuration is valid, and a test in it has failed: what was found, rendered for people.
    TestFailed(String),
    /// It could be done, and not on the terms that were asked for.
    Unwanted(String),
}

impl Refused {
    /// What was found, for people, where something was tried.
    pub fn problems(&self) -> &str {
        match self {
            Self::Failed(what) | Self::TestFailed(what) | Self::Invalid(what) | Self::Unwanted(what) => what,
            Self::NotFound(what) => what,
            Self::Stale { .. } => "someone else was faster",
        }
    }
}

impl From<String> for Refused {
    fn from(problems: String) -> Self {
        Self::Failed(problems)
    }
}

/// `/api/v1/pools`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pools {
    /// In the order of the file.
    pub pools: Vec<PoolView>,
}

/// `/api/v1/chaos`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rules {
    /// What is rehearsed now.
    pub chaos: Vec<ChaosView>,
}

/// The process, without its listeners and pools. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// Of this build.
    pub version: String,
    /// `server.name`.
    pub instance: String,
    /// Grows with each accepted configuration, and with each change over the API.
    pub generation: u64,
    /// When the process began to serve.
    pub started: String,
    /// Since then.
    pub uptime_seconds: u64,
    /// `running` or `draining`.
    pub phase: String,
    /// The configuration.
    pub config: ConfigStatus,
    /// Threads that serve.
    pub workers: usize,
    /// Failures that are being rehearsed; empty = none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chaos: Vec<ChaosView>,
}

/// How the process is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The process.
    #[serde(flatten)]
    pub about: About,
    /// In the order of the file.
    pub listeners: Vec<ListenerView>,
    /// In the order of the file.
    pub pools: Vec<PoolView>,
    /// Where changes over the API differ from the file.
    pub overrides: Vec<Override>,
}

/// What became of the configuration's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// Its path.
    pub file: String,
    /// The last attempt to read it was accepted.
    pub last_reload_successful: bool,
    /// When that was.
    pub last_reload: String,
    /// Why not, rendered for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The file was rolled back: the configuration that was accepted then, RFC 3339, is in use until it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Open now.
    pub connections: u64,
}

/// A change over the API that differs from the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Override {
    /// The pool's name.
    pub pool: String,
    /// The backend's name; empty: the pool itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend: String,
    /// In a few words: `weight 3, 1 in the file`, `circuit open`.
    pub what: String,
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Its algorithm, as written in the file.
    pub algorithm: String,
    /// Of the pool as a whole: `closed`, `half-open` or `open`; open where an operator wants it so.
    #[serde(default = "closed")]
    pub circuit: String,
    /// Why it is so; empty = nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How many requests wait because all of its backends are full.
    #[serde(default)]
    pub queue: usize,
    /// In the order of the file.
    pub backends: Vec<BackendView>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackendView {
    /// Its name; else its address.
    pub name: String,
    /// Where it is called.
    pub address: String,
    /// It stands by: used only while no other can be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// A word of `evenkeel_backend_state` (PRODUCT.md section 9).
    pub state: String,
    /// Why it is in that state; empty = nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Until when a drain lets exchanges go on, RFC 3339; absent = for as long as they take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// As the operator set it.
    pub weight: u32,
    /// As `evenkeel_backend_weight`: less while it begins slowly, 0 while it cannot be chosen.
    #[serde(default)]
    pub effective_weight: f64,
    /// Attempts that have begun and not ended.
    pub in_flight: u64,
    /// Attempts since the start.
    pub requests: u64,
    /// Those of them that ended with a status of 500 or above: its own, or that of a failure.
    #[serde(default)]
    pub errors: u64,
    /// `closed`, `half-open` or `open`.
    pub circuit: String,
    /// It has been much slower than the others of its pool for long; left out if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub outlier: bool,
    /// What it has said of itself last, by metric (`custom_load`); empty = nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported_load: BTreeMap<String, f64>,
    /// When the state last changed, RFC 3339.
    pub since: String,
}

/// How a reload is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadOrder {
    /// Refused when more live connections than that would be drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_drops: Option<u64>,
}

/// A reload that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Of the configuration in use.
    pub generation: u64,
    /// What an operator should know: `workers: needs a restart`.
    pub notes: Vec<String>,
}

impl BackendChange {
    /// Refuses what its types allow and its meaning does not.
    ///
    /// # Errors
    /// What is wrong, in words for whoever asked.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self { weight: Some(weight), .. } if *weight > MAX_WEIGHT => {
                Err(format!("weight: found {weight}, wanted 0 to {MAX_WEIGHT}"))
            }
            Self { state, deadline: Some(_), .. } if *state != Some(AdminState::Drain) => {
                Err("deadline: it goes with \"state\": \"drain\" alone".into())
            }
            Self { state: None, weight: None, .. } => Err("nothing to change: wanted state or weight".into()),
            _ => Ok(()),
        }
    }
}

fn closed() -> String {
    "closed".to_owned()
}

/// Reads a deadline as it is written in the file: one number and one unit, `"5m"`.
///
/// # Errors
/// What was wanted.
pub fn parse_deadline(text: &str) -> Result<Duration, String> {
    let wrong = || format!("found {text:?}, wanted a duration of at most 365d, such as \"90s\", \"5m\" or \"1h\"");
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len()));
    let digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !digits || !matches!(unit, "us" | "ms" | "s" | "m" | "h" | "d") {
        return Err(wrong());
    }
    humantime::parse_duration(text).ok().filter(|deadline| *deadline <= MAX_DEADLINE).ok_or_else(wrong)
}

/// A deadline in JSON: text with a unit, or `"off"`.
mod deadline {
    use super::*;

    pub(super) fn serialize<S: Serializer>(deadline: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match deadline {
            Some(deadline) if deadline.subsec_nanos() == 0 => {
                serializer.collect_str(&format_args!("{}s", deadline.as_secs()))
            }
            Some(deadline) => serializer.collect_str(&format_args!("{}us", deadline.as_micros())),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("off") => Ok(None),
            Some(text) => {
                parse_deadline(text).map(Some).map_err(|wrong| de::Error::custom(format!("deadline: {wrong}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<BackendChange, String> {
        let change: BackendChange = serde_json::from_str(json).map_err(|error| error.to_string())?;
        change.check().map(|()| change)
    }

    #[test]
    fn a_change_is_read_as_it_is_written() {
        let change = read(r#"{"state": "drain", "weight": 0, "deadline": "1.5m"}"#).unwrap();
        let expected =
            BackendChange { state: Some(AdminState::Drain), weight: Some(0), deadline: Some(Duration::from_secs(90)) };
        assert_eq!(change, expected);
        assert_eq!(read(&serde_json::to_string(&change).unwrap()).unwrap(), change);
        assert_eq!(read(r#"{"state": "ready", "deadline": null}"#).unwrap().deadline, None);
        assert_eq!(read(r#"{"state": "drain", "deadline": "off"}"#).unwrap().deadline, None);
        assert_eq!(read(r#"{"state": "drain", "deadline": "0s"}"#).unwrap().deadline, Some(Duration::ZERO));
        assert_eq!(serde_json::to_string(&BackendChange::default()).unwrap(), "{}");
    }

    #[test]
    fn what_is_wrong_with_a_change_is_named() {
        for (json, named) in [
            ("", "EOF"),
            ("{}", "nothing to change"),
            ("[]", "wanted state or weight"),
            (r#"{"deadline": "5m"}"#, "deadline"),
            (r#"{"state": "ready", "deadline": "5m"}"#, "drain"),
            (r#"{"state": "down"}"#, "`maintenance`"),
            (r#"{"wieght": 1}"#, "`wieght`"),
            (r#"{"weight": 1, "weight": 2}"#, "duplicate"),
            (r#"{"weight": 1001}"#, "1000"),
            (r#"{"weight": -1}"#, "-1"),
            (r#"{"weight": 1.5}"#, "1.5"),
            (r#"{"weight": "1"}"#, "string"),
            (r#"{"state": "drain", "deadline": 5}"#, "string"),
        ] {
            assert!(read(json).unwrap_err().contains(named), "{json}: {:?}", read(json));
        }
    }

    #[test]
    fn a_deadline_is_one_number_and_one_unit() {
        for text in ["", "5", "0", "m", "5M", "5 m", "1h30m", "-5m", "1e3s", "1..5s", "366d", "99999999999999999999s"] {
            assert!(parse_deadline(text).unwrap_err().contains("5m"), "{text}");
        }
        assert_eq!(parse_deadline("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_deadline("365d"), Ok(MAX_DEADLINE));
    }
}
