//! What is said of a request that was asked about: the JSON of `explain --json` and of `POST /api/v1/explain`. Read back by
//! the command, which writes the text for people from it. Nothing in it is a secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a request, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The route that it takes; null: none.
    pub route: Option<String>,
    /// The pool that it goes to; null: it is answered here, or chance decides (see `split`).
    pub pool: Option<String>,
    /// The listener that was asked.
    pub listener: String,
    /// The request as routes and policies see it.
    pub request: Seen,
    /// What it is answered here, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Every route: first those whose host and path fit, in the order in which they are tried; then the others, in the
    /// order of the file.
    pub routes: Vec<Tried>,
    /// What of its route is in force for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Fields that the answer of a backend gets here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<Setting>,
    /// The sides of its route's split, if it has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Side>,
    /// The pool that it goes to, or all that it may go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolSaid>,
    /// The backends of those pools.
    pub candidates: Vec<Candidate>,
    /// What else should be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A request as routes and policies see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// `http` or `https`, as far as it is believed.
    pub scheme: String,
    /// The host that it names, without a port; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its path, normalised; empty where the method is CONNECT.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// With its `?`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// The believed address of its client; null: it has none.
    pub client_ip: Option<String>,
}

/// An answer of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Its status; null: the connection is closed without one.
    pub status: Option<u16>,
    /// The word of the failure that it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// What has made it.
    pub why: String,
    /// Where it sends the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its fields, but for those that frame it and its date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Setting>,
}

/// A route, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// The request takes it.
    pub matched: bool,
    /// Why it does, or why not.
    pub why: String,
}

/// A name, and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// A key of the configuration, or the name of a field.
    pub name: String,
    /// For people.
    pub value: String,
}

/// A side of a split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// Its pool.
    pub pool: String,
    /// Its share of the requests: `95%`.
    pub share: String,
    /// The request is kept on it.
    pub kept: bool,
}

/// A pool that a request goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolSaid {
    /// Its name.
    pub name: String,
    /// How it chooses one of its backends.
    pub algorithm: String,
    /// The backend that the request says, by its session or by hash, if it says one: it may be full, or fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What is in force.
    pub settings: Vec<Setting>,
}

/// A backend that a request may go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Its pool.
    pub pool: String,
    /// Its name.
    pub name: String,
    /// Where it is called.
    pub address: String,
    /// A word of `evenkeel_backend_state`; `configured` where no process was asked.
    pub state: String,
    /// Why it is in that state; empty = nothing to say.
    pub reason: String,
    /// It stands by: used only while no other can be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// Its share beside the others'.
    pub weight: u32,
    /// What of it counts now; null: no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_weight: Option<f64>,
    /// Attempts that have begun and not ended; null: no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// Attempts that it takes at a time; null: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u64>,
    /// It can be chosen now; null: no process was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable: Option<bool>,
}

impl Explanation {
    /// The first line for people: `route "api" -> pool "api"`.
    pub fn headline(&self) -> String {
        let route = self.route.as_ref().map_or_else(|| "no route".to_owned(), |name| format!("route {name:?}"));
        let to = match (&self.answer, &self.pool) {
            (Some(answer), _) => answer.headline(),
            (None, Some(pool)) => format!("pool {pool:?}"),
            (None, None) => {
                let side = |side: &Side| format!("pool {:?} ({})", side.pool, side.share);
                self.split.iter().map(side).collect::<Vec<_>>().join(" or ")
            }
        };
        format!("{route} -> {to}")
    }
}

impl Answer {
    fn headline(&self) -> String {
        let status = self.status.map_or_else(|| "closed".to_owned(), |status| status.to_string());
        let what = self.location.as_ref().or(self.word.as_ref());
        what.map_or(status.clone(), |what| format!("{status} {what}"))
    }
}
