//! `[[route]]` as it was read: which requests, and what becomes of them.
//!
//! Filled by `read::route`; the plan makes its router and policies of it.

use std::time::Duration;

use ipnet::IpNet;

use super::{Cors, InFlightLimit, Template};

/// `[[route]]`: which requests, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// In logs and metrics; no two are equal. Derived from its match by default: the first host and the first path as
    /// written (`api.example.com/v1/*`, a regular expression as `/~^/v[0-9]+`), without those the first of method,
    /// header, cookie, query, client_ip and listener (`header:x-tier`), and `default` where nothing is matched. A name
    /// that is taken gets `-2`, `-3` and so on.
    pub name: String,
    /// Names of the listeners that it is for; empty = all.
    pub listeners: Vec<String>,
    /// Hosts, in lower case and without a port; empty = any.
    pub hosts: Vec<HostMatch>,
    /// Paths, normalised; empty = any.
    pub paths: Vec<PathMatch>,
    /// Methods; empty = any.
    pub methods: Vec<String>,
    /// Fields that must match, by name in lower case.
    pub headers: Vec<(String, Text)>,
    /// Cookies that must match, by name.
    pub cookies: Vec<(String, Text)>,
    /// Parameters of the query that must match, by name, percent-decoded.
    pub query: Vec<(String, Text)>,
    /// Networks that the client must be in; empty = any.
    pub client_ip: Vec<IpNet>,
    /// Networks that the client must be in; empty = any. One without an address is in none.
    pub allow: Vec<IpNet>,
    /// Networks that it must not be in.
    pub deny: Vec<IpNet>,
    /// Which pages of other origins may ask; `None` = what backends say of it.
    pub cors: Option<Cors>,
    /// The name of an [`Auth`](super::Auth) that there is: who may ask.
    pub auth: Option<String>,
    /// What becomes of the request.
    pub action: Action,
    /// What becomes of it when the pool cannot answer.
    pub fallback: Option<Fallback>,
    /// Copies of requests go there.
    pub mirror: Option<Mirror>,
    /// For the whole exchange up to the response head; `None` = no limit.
    pub timeout: Option<Duration>,
    /// Edits of the request's fields.
    pub request_headers: HeaderRules,
    /// Edits of the response's fields.
    pub response_headers: HeaderRules,
    /// An edit of the path.
    pub rewrite: Option<Rewrite>,
    /// Who is shed first.
    pub priority: Priority,
    /// Bytes of a request body, beside the listener's bound; `None` = no other limit.
    pub max_body_size: Option<u64>,
    /// WebSocket upgrades are allowed.
    pub upgrade: bool,
    /// CONNECT is allowed: a tunnel to a backend. Never beside an answer of ours.
    pub connect: bool,
    /// Names of rate limits, which there are and which all must agree.
    pub rate_limit: Vec<String>,
    /// How many of a key may be in flight.
    pub in_flight_limit: Option<InFlightLimit>,
    /// Requests get a line in the access log; failures always do.
    pub access: bool,
}

impl Route {
    /// The route that there is when none is written: everything goes to the one pool.
    pub fn all_to(pool: &str) -> Self {
        Self {
            name: "default".to_owned(),
            listeners: Vec::new(),
            hosts: Vec::new(),
            paths: Vec::new(),
            methods: Vec::new(),
            headers: Vec::new(),
            cookies: Vec::new(),
            query: Vec::new(),
            client_ip: Vec::new(),
            allow: Vec::new(),
            deny: Vec::new(),
            cors: None,
            auth: None,
            action: Action::Pool(pool.to_owned()),
            fallback: None,
            mirror: None,
            timeout: Some(Duration::from_secs(60)),
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            rewrite: None,
            priority: Priority::Normal,
            max_body_size: None,
            upgrade: true,
            connect: false,
            rate_limit: Vec::new(),
            in_flight_limit: None,
            access: true,
        }
    }
}

/// `priority`: who is shed first, when the process is at a high-water mark. In that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// First.
    Low,
    /// At the mark.
    Normal,
    /// Last.
    High,
}

/// A `host` that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// That name.
    Exact(String),
    /// `*.example.org`, kept as `.example.org`: one label or more in front.
    Wildcard(String),
}

/// A `path` that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathMatch {
    /// `"/v1"`: that path.
    Exact(String),
    /// `"/v1/*"`, kept as `/v1`: that path and what is below it; `"/*"` is kept as the empty text.
    Below(String),
    /// `{ prefix = "/v1" }`: whatever begins so, segment boundary or not.
    Prefix(String),
    /// `{ regex = "…" }`: found anywhere in the path unless anchored; known to compile.
    Regex(String),
}

/// Text that is matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// Equal.
    Equal(String),
    /// Begins so.
    Prefix(String),
    /// Found by this expression, which is known to compile.
    Regex(String),
    /// Is there.
    Present,
    /// Is not there.
    Absent,
}

/// What becomes of a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// They go to that pool, which there is.
    Pool(String),
    /// They are shared out.
    Split {
        /// Pools, which there are, and their shares; the sum is above 0.
        pools: Vec<(String, u32)>,
        /// What keeps a user on one side; `None` = chance.
        by: Option<SplitBy>,
    },
    /// They are sent elsewhere.
    Redirect {
        /// For `Location`.
        to: Template,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
    /// They are answered.
    Respond(Respond),
}

/// What keeps a user on one side of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitBy {
    /// The client's address.
    ClientIp,
    /// A cookie's value, by its name.
    Cookie(String),
    /// A field's value, by its name in lower case.
    Header(String),
}

/// An answer of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Nothing in it = no body.
    pub body: Template,
    /// Of the body.
    pub content_type: String,
}

/// What becomes of a request whose pool cannot answer: no backend, breaker, queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It is answered.
    Respond(Respond),
    /// It goes to that pool, which there is.
    Pool(String),
}

/// `mirror`: copies of requests, whose fate never touches those.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// They go to that pool, which there is.
    pub pool: String,
    /// So many of the requests are copied, 0 to 1.
    pub share: f64,
}

/// Edits of fields. Names are in lower case, none is one of those that frame or that are ours. Done in the order remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// These replace what is there.
    pub set: Vec<(String, Template)>,
    /// These come beside what is there.
    pub add: Vec<(String, Template)>,
    /// These go.
    pub remove: Vec<String>,
}

/// An edit of the path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// `strip` is taken off at a segment boundary if it is there, then `add` is put in front. Neither ends with `/`.
    Prefix {
        /// Taken off.
        strip: String,
        /// Put in front.
        add: String,
    },
    /// Every match is replaced; known to compile.
    Regex {
        /// What is looked for.
        regex: String,
        /// With `$1` or `${name}` for groups.
        replacement: String,
    },
}
