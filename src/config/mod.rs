//! What the operator wrote, read from one TOML file and those that it includes: names, defaults and bounds are
//! PRODUCT.md's, and whatever is wrong comes back as [`Problems`], all at once.
//!
//! Called by the commands (`run`, `check`, `reference`) and, on a reload, by control. Nothing here resolves a name or
//! binds a socket, and nothing here reaches the request path: the plan says what a configuration means.

mod address;
mod field;
mod files;
mod host;
mod include;
mod keys;
mod network;
mod path;
mod problem;
mod read;
mod reference;
mod report;
pub mod scenario;
mod section;
mod syntax;
mod template;
pub mod tls;
mod units;
mod values;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeTable;

pub use self::{
    address::Address,
    problem::{Problem, Problems, Severity},
    reference::reference,
    template::{Piece, Template, Variable},
    tls::{Alpn, Certificate, ClientAuth, ListenerTls, PoolTls, TlsVersion},
};
use self::{
    problem::Source,
    report::{Findings, Report},
    section::Document,
};

/// A whole configuration: every key is present, with its default where the file is silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`: what concerns the whole process.
    pub server: Server,
    /// `[admin]`: where metrics and the API are served.
    pub admin: Admin,
    /// `[log]`: what is written, and how much of it.
    pub log: Log,
    /// `[metrics]`: what of them may be chosen.
    pub metrics: Metrics,
    /// `[[listener]]`, in the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// `[[route]]`, in the order of the file; never empty: with one pool and no route written, it is [`Route::all_to`].
    pub routes: Vec<Route>,
    /// `[pool.NAME]`, in the order of the file; at least one, unless every route answers by itself.
    pub pools: Vec<Pool>,
    /// `[error_pages]`: bodies of our own error answers, by status.
    pub error_pages: Vec<ErrorPage>,
    /// What has a meaning that is hardly meant; `check` shows it, and `check --strict` refuses it.
    pub warnings: Option<Problems>,
}

/// `[server]`: settings of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Threads that serve; `None` = `"auto"`: as many as the cores that this process may use.
    pub workers: Option<usize>,
    /// Peers whose forwarding headers and request ids we believe.
    pub trusted_proxies: Trusted,
    /// What becomes of header names with `_` in them.
    pub underscore_headers: Underscores,
    /// Our pseudonym in `Via` and `Proxy-Status`: a token that starts with a letter.
    pub via: String,
    /// This instance, in logs and status; the host's name by default.
    pub name: String,
    /// Send `Forwarded` (RFC 7239) as well as `X-Forwarded-*`.
    pub forwarded: bool,
    /// Connections of the process, both sides together; `None` = `"auto"`: 90 % of the descriptors it may open.
    pub max_connections: Option<usize>,
    /// On TERM: `/readyz` says 503 and we go on accepting for this long.
    pub drain_delay: Duration,
    /// Then exchanges may finish for this long, and what a reload takes away ends within it.
    pub drain_timeout: Duration,
}

/// `trusted_proxies`: whose word on the client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// Networks, host bits cleared; a plain address stands here as a network of one.
    pub nets: Vec<IpNet>,
    /// Peers on unix sockets are believed.
    pub unix: bool,
}

/// What becomes of header names with `_` in them, which WSGI and CGI take for the same name with `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// The field is removed.
    Drop,
    /// The field passes.
    Allow,
    /// The request is refused with 400.
    Reject,
}

/// `[admin]`: the address of metrics, health and API.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where it listens; `None` = `"off"`.
    pub address: Option<Address>,
    /// One more listener, with `/metrics`, `/healthz` and `/readyz` alone; `None` = `"off"`.
    pub metrics_address: Option<Address>,
    /// What a caller must show to change something; `None`: such calls are refused, but on a unix socket.
    pub token: Option<Secret>,
}

/// A key, token or password: never printed, never logged. White space around it is trimmed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes `bytes`, without the white space around them.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.trim_ascii().to_vec())
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `[log]`: what is written about our own doings and about requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A level, or directives in the syntax of `RUST_LOG`; known to be valid.
    pub level: String,
    /// How our own lines are written.
    pub format: LogFormat,
    /// Where a line for each request goes.
    pub access: AccessLog,
    /// How that line is written.
    pub access_format: AccessFormat,
    /// The share of requests that get a line, 0 to 1; failures always do.
    pub access_sample: f64,
    /// What becomes of a line that the writer has no room for.
    pub access_overflow: Overflow,
    /// Fields beside the usual ones.
    pub access_fields: Vec<AccessField>,
}

/// How the program's own log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// That file, opened anew on USR1.
    File(PathBuf),
}

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// A JSON object (PRODUCT.md section 10).
    Json,
    /// The "combined" format of Apache and nginx.
    Combined,
}

/// What becomes of a line of the access log when its writer lags behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// It is dropped and counted.
    Drop,
    /// Its exchange waits: no line is lost.
    Wait,
}

/// A further field of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessField {
    /// `"request:NAME"`: a field of the request; the name as written.
    Request(String),
    /// `"response:NAME"`: a field of the response; the name as written.
    Response(String),
    /// `"query"`: the query string, without its `?`.
    Query,
}

/// `[metrics]`: what of them may be chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// Upper bounds of the histograms' buckets, ascending.
    pub buckets: Vec<Duration>,
    /// Histograms of each backend; `None` = `"auto"`: up to 1,000 backends.
    pub backend_histograms: Option<bool>,
}

/// `[[listener]]`: an address that we accept on, and the bounds of what comes in there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// In logs and metrics; the address as written by default. No two are equal.
    pub name: String,
    /// Where it listens; port 0 lets the kernel choose.
    pub address: Address,
    /// `[::]` takes IPv6 alone, not IPv4 as well.
    pub ipv6_only: bool,
    /// Connections that the kernel holds before we accept them.
    pub backlog: u32,
    /// The kernel hands a connection over with its first bytes (`TCP_DEFER_ACCEPT`).
    pub defer_accept: bool,
    /// Further connections wait in the kernel's queue; `None` = no limit.
    pub max_connections: Option<usize>,
    /// For a whole request head; `None` = no limit.
    pub header_timeout: Option<Duration>,
    /// The longest silence inside a request body; `None` = no limit.
    pub body_timeout: Option<Duration>,
    /// Mean bytes per second of a request body, looked at after its first 5 s; `None` = no limit.
    pub min_body_rate: Option<u64>,
    /// The longest time that a client takes nothing of what we hold for it; `None` = no limit.
    pub write_timeout: Option<Duration>,
    /// How long a kept connection may wait for its next request; `None` = no limit.
    pub idle_timeout: Option<Duration>,
    /// A client that shuts its sending side after the request still gets its answer.
    pub half_close: bool,
    /// Bytes of a request head, 1 KiB to 1 MiB.
    pub max_header_size: usize,
    /// Fields of a request head, 1 to 1024.
    pub max_headers: usize,
    /// Bytes of a request target, 256 B to 1 MiB.
    pub max_target_size: usize,
    /// Bytes of a request body; `None` = no limit.
    pub max_body_size: Option<u64>,
    /// Every request is answered with 308 to https, before any route.
    pub redirect_to_https: bool,
    /// A PROXY header, v1 or v2, is required from a trusted peer and believed; other peers are closed.
    pub proxy_protocol: bool,
    /// A connection ends at its next safe point after this long, give or take a tenth; `None` = no limit.
    pub max_connection_age: Option<Duration>,
    /// HTTP/2 from clients.
    pub h2: Http2,
    /// `None`: what comes in is not encrypted.
    pub tls: Option<ListenerTls>,
}

/// `[listener.h2]`: the bounds of an HTTP/2 connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Concurrent ones, 1 to 65,536.
    pub max_streams: u32,
    /// Bytes that a stream may have on its way, 65,535 to 16 MiB; the connection's window is four times that.
    pub window: u32,
    /// Resets, pings, settings and empty frames per second, each; over it the connection ends. `None` = no limit.
    pub reset_rate: Option<u32>,
}

impl Default for Http2 {
    fn default() -> Self {
        Self { max_streams: 128, window: 256 << 10, reset_rate: Some(100) }
    }
}

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
    /// What becomes of the request.
    pub action: Action,
    /// What becomes of it when the pool cannot answer.
    pub fallback: Option<Fallback>,
    /// For the whole exchange up to the response head; `None` = no limit.
    pub timeout: Option<Duration>,
    /// Edits of the request's fields.
    pub request_headers: HeaderRules,
    /// Edits of the response's fields.
    pub response_headers: HeaderRules,
    /// An edit of the path.
    pub rewrite: Option<Rewrite>,
    /// Bytes of a request body, beside the listener's bound; `None` = no other limit.
    pub max_body_size: Option<u64>,
    /// WebSocket upgrades are allowed.
    pub upgrade: bool,
    /// CONNECT is allowed: a tunnel to a backend. Never beside an answer of ours.
    pub connect: bool,
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
            action: Action::Pool(pool.to_owned()),
            fallback: None,
            timeout: Some(Duration::from_secs(60)),
            request_headers: HeaderRules::default(),
            response_headers: HeaderRules::default(),
            rewrite: None,
            max_body_size: None,
            upgrade: true,
            connect: false,
            access: true,
        }
    }
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

/// `[error_pages]`: bodies of our own answers with that status, read when the configuration was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// 400 to 599.
    pub status: u16,
    /// For browsers.
    pub html: Option<Vec<u8>>,
    /// For the rest.
    pub json: Option<Vec<u8>>,
}

/// `[pool.NAME]`: a set of backends with one algorithm.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The NAME of its table.
    pub name: String,
    /// How one of the backends is chosen.
    pub algorithm: Algorithm,
    /// At least one; neither names nor addresses are equal.
    pub backends: Vec<Backend>,
    /// Connections that are kept for the next request.
    pub keepalive: Keepalive,
    /// Connections to each backend, of the process; `None` = no limit.
    pub max_connections: Option<usize>,
    /// Addresses to connect from, in turn; empty = the kernel chooses.
    pub source_address: Vec<IpAddr>,
    /// For one connection; always set, since it cannot be turned off.
    pub connect_timeout: Option<Duration>,
    /// From the request sent to the response head, of one attempt; `None` = no limit.
    pub response_timeout: Option<Duration>,
    /// The longest silence inside a body, in either direction; `None` = no limit.
    pub body_timeout: Option<Duration>,
    /// The longest silence of a tunnel; `None` = no limit.
    pub tunnel_timeout: Option<Duration>,
    /// Send the client's `Host`; otherwise the backend's address as written.
    pub pass_host: bool,
    /// What becomes of requests when no backend is healthy.
    pub when_all_down: WhenAllDown,
    /// All must pass; empty = `type = "off"`.
    pub health_checks: Vec<HealthCheck>,
    /// Further attempts.
    pub retry: Retry,
    /// What is spoken to the backends.
    pub protocol: Protocol,
    /// The header in front of each connection that says who the client is; `None` = there is none.
    pub send_proxy_protocol: Option<ProxyVersion>,
    /// `None`: nothing is encrypted. Never with a backend at a unix socket.
    pub tls: Option<PoolTls>,
    /// How keys become backends.
    pub hash: Hash,
    /// Of `algorithm = "custom_load"` alone, and then always.
    pub custom_load: Option<CustomLoad>,
    /// `None`: clients are known by nothing.
    pub sticky: Option<Sticky>,
    /// How long a backend's weight grows once it has joined or recovered; `None`: it does not.
    pub slow_start: Option<Duration>,
}

/// `protocol` of a pool: what is spoken to its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2; without TLS by prior knowledge.
    H2,
    /// What the backend chooses by ALPN; the pool has TLS.
    Auto,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary, with TLVs.
    V2,
}

/// How a pool chooses one of its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, by weight, smoothly.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// The one with less in flight of two random ones.
    PowerOfTwoChoices,
    /// The one with the least in flight, by weight.
    LeastConnections,
    /// The one that would answer first.
    LeastResponseTime,
    /// The one through which the fewest bytes go.
    LeastBandwidth,
    /// By the client's address, consistently.
    IpHash,
    /// By `hash.key`, consistently.
    Hash,
    /// By what the backends say of themselves.
    CustomLoad,
}

/// `hash` of a pool: what is hashed, and how far a backend may be above the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash {
    /// Of `algorithm = "hash"`.
    pub key: HashKey,
    /// In percent of the mean, above 100; of `ip_hash` and of stickiness too.
    pub bounded_load: u32,
    /// Bits of an IPv6 address that count, 1 to 128.
    pub ipv6_prefix: u8,
}

impl Default for Hash {
    fn default() -> Self {
        Self { key: HashKey::ClientIp, bounded_load: 125, ipv6_prefix: 64 }
    }
}

/// What a pool hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientIp,
    /// A field's value, by its name in lower case.
    Header(String),
    /// A cookie's value.
    Cookie(String),
    /// A parameter's value in the query.
    Query(String),
    /// The path, without the query.
    Path,
    /// The host, without the port.
    Host,
}

/// `custom_load`: how what backends say of themselves becomes one number.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomLoad {
    /// Where it is said.
    pub source: LoadSource,
    /// The metrics that count, by their name, and how much; at least one, none negative.
    pub weights: Vec<(String, f32)>,
    /// How they become one number.
    pub combine: Combine,
    /// Above any of these nothing new comes while others can take it.
    pub limits: Vec<(String, f32)>,
    /// What is older counts as the mean of the others.
    pub expire: Duration,
}

/// Where backends say what they carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadSource {
    /// In `endpoint-load-metrics` of each response (ORCA).
    Header,
    /// As JSON at a path of theirs.
    Poll {
        /// Path and query.
        path: String,
        /// The time between polls.
        interval: Duration,
    },
}

/// How several metrics become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// The sum of the weighted.
    Sum,
    /// The largest of the weighted.
    Max,
}

/// `sticky`: what keeps a client at its backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// By what a client is known.
    pub by: StickyBy,
    /// What happens when its backend is gone.
    pub fallback: StickyFallback,
}

/// By what a client is known.
#[derive(Clone, Debug, PartialEq)]
pub enum StickyBy {
    /// Our own signed cookie.
    Cookie {
        /// Its name.
        name: String,
        /// How long it holds.
        ttl: Duration,
        /// The first signs, all verify; empty = random at the start.
        secrets: Vec<Secret>,
    },
    /// A cookie of the application: the backend that set it has the session.
    AppCookie {
        /// Its name.
        name: String,
        /// How long a session is remembered that is not used.
        ttl: Duration,
    },
    /// A field of the request, by its name in lower case.
    Header(String),
    /// The client's address.
    SourceIp,
}

/// What happens to a client whose backend is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyFallback {
    /// It gets another one; every instance gives it the same.
    Reassign,
    /// 503.
    Reject,
}

/// What becomes of requests when no backend of the pool is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenAllDown {
    /// 503.
    Reject,
    /// Every backend that is not drained is tried, as if it were healthy.
    TryAny,
}

/// `health_check`: how it is found out whether a backend can serve.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Where; 0 = the backend's own port.
    pub port: u16,
    /// The time between checks, give or take a tenth.
    pub interval: Duration,
    /// The same while the backend is not healthy, or changing.
    pub interval_down: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Passes in a row that make a backend healthy.
    pub healthy_threshold: u32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_threshold: u32,
    /// Until the first verdict it counts as healthy.
    pub initially_up: bool,
}

impl HealthCheck {
    /// What there is when none is written.
    pub fn tcp() -> Self {
        Self {
            probe: Probe::Tcp,
            port: 0,
            interval: Duration::from_secs(10),
            interval_down: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            healthy_threshold: 2,
            unhealthy_threshold: 3,
            initially_up: true,
        }
    }
}

/// What a check tries.
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// A connection is accepted.
    Tcp,
    /// A request is answered as expected.
    Http(Box<HttpProbe>),
    /// `grpc.health.v1` says that it serves: by the pool's TLS if it has one, else HTTP/2 by prior knowledge.
    Grpc(GrpcProbe),
}

/// A check by the gRPC health checking protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcProbe {
    /// The service that is asked for; empty = the server as a whole.
    pub service: String,
    /// For `:authority`; `None` = the backend's address.
    pub host: Option<String>,
}

/// A check by HTTP/1.1.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    /// `type = "https"`: by the pool's TLS if it has one, else verified by the system's roots.
    pub tls: bool,
    /// Path and query.
    pub path: String,
    /// GET by default.
    pub method: String,
    /// Sent with its length.
    pub body: Option<String>,
    /// For `Host`; `None` = the backend's address.
    pub host: Option<String>,
    /// Further fields.
    pub headers: Vec<(String, String)>,
    /// The connection is kept for the next check.
    pub reuse: bool,
    /// Statuses that pass, as inclusive ranges.
    pub expect_status: Vec<(u16, u16)>,
    /// What the body must hold.
    pub expect_body: Option<BodyMatch>,
    /// Values that must stand at these dotted places of a JSON body; strings, numbers and booleans as JSON text.
    pub expect_json: Vec<(String, serde_json::Value)>,
}

/// What a body must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyMatch {
    /// That text.
    Contains(String),
    /// A match of that expression, which is known to compile.
    Regex(String),
}

/// The statuses of gRPC as they are written here; the place in this list is the code (grpc/doc/statuscodes.md).
pub const GRPC_STATUSES: [&str; 17] = [
    "ok",
    "cancelled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// `retry`: further attempts at a request that can be sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// After the first.
    pub attempts: u32,
    /// After a connection that could not be made.
    pub on_connect: bool,
    /// After one that died before a byte of the response.
    pub on_reset: bool,
    /// After a response that did not come in time.
    pub on_timeout: bool,
    /// After an answer with a gRPC status, by its code: bit 14 is `unavailable`. Bit 0, `ok`, is never set.
    pub on_grpc: u32,
    /// The first retry waits up to this, each further one up to twice as long.
    pub backoff_base: Duration,
    /// None waits longer.
    pub backoff_max: Duration,
    /// Retries, as a share of the pool's requests of the last 10 s.
    pub budget: f64,
    /// Retries in 10 s that are always allowed.
    pub budget_floor: u32,
    /// Bytes of a body that are kept for being sent again.
    pub buffer: usize,
}

/// One address that we call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it is called.
    pub address: Address,
    /// In logs and metrics; the address as written by default.
    pub name: String,
    /// Its share, 0 to 1000, beside the others' weights.
    pub weight: u32,
    /// Used only while no other backend can be.
    pub backup: bool,
}

/// `keepalive`: connections to a backend that are kept for the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How many, per backend, of the process; 0 keeps none.
    pub max_idle: usize,
    /// How long; `None` = as long as the backend likes.
    pub idle_timeout: Option<Duration>,
    /// Requests on one connection before it is closed; `None` = no limit.
    pub max_requests: Option<u64>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 2,
            on_connect: true,
            on_reset: true,
            on_timeout: true,
            on_grpc: 0,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            budget: 0.2,
            budget_floor: 10,
            buffer: 64 * 1024,
        }
    }
}

impl Config {
    /// Reads the file at `path`, and those that it includes.
    ///
    /// # Errors
    /// Every problem that they have, and every warning; one, when the file cannot be read at all.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        match files::source(path, 0) {
            Ok(source) => Self::of(&source),
            Err(problem) => Err(Problems::new(path, vec![*problem]).expect("there is one")),
        }
    }

    /// Reads `text` as if it stood in `file`: that is its name in messages, relative paths start in its folder, and what
    /// it includes is read from there.
    ///
    /// # Errors
    /// Every problem that the text has, in its order.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        Self::of(&Arc::new(Source::new(file, 0, text)))
    }

    /// `[admin]` alone of the file at `path` and what it includes, for those who call a running process while something
    /// else there is wrong. A token that cannot be read is none.
    ///
    /// # Errors
    /// The file cannot be read, or does not say where the process is called.
    pub fn admin_of(path: &Path) -> Result<Admin, Problems> {
        let main =
            files::source(path, 0).map_err(|problem| Problems::new(path, vec![*problem]).expect("there is one"))?;
        let findings = Findings::default();
        let (table, _) = DeTable::parse_recoverable(&main.text);
        let (included, _) = include::sources(Report::new(&main, &findings), table.get_ref());
        let mut files = vec![(Report::new(&main, &findings), table)];
        for source in &included {
            files.push((Report::new(source, &findings), DeTable::parse_recoverable(&source.text).0));
        }
        let admin = read::admin(&Document::open(&files));
        match findings.finish(&main.file) {
            Some(problems) if problems.iter().any(|problem| whereabouts(&problem.key)) => Err(problems),
            _ => Ok(admin),
        }
    }

    fn of(main: &Arc<Source>) -> Result<Self, Problems> {
        let findings = Findings::default();
        let config = read_all(main, &findings);
        let fine = findings.fine();
        match (config, findings.finish(&main.file)) {
            (Some(config), warnings) if fine => Ok(Self { warnings, ..config }),
            (_, Some(problems)) => Err(problems),
            (_, None) => unreachable!("a part that cannot be built has reported why"),
        }
    }
}

/// The main file and what it includes, as one configuration; `None` if there is none, which has been reported.
fn read_all(main: &Arc<Source>, findings: &Findings) -> Option<Config> {
    let (table, errors) = DeTable::parse_recoverable(&main.text);
    let (included, complete) = include::sources(Report::new(main, findings), table.get_ref());
    let mut files = vec![(Report::new(main, findings), table)];
    let mut broken = vec![(Report::new(main, findings), errors)];
    for source in &included {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        files.push((Report::new(source, findings), table));
        broken.push((Report::new(source, findings), errors));
    }
    let config = read::document(&Document::open(&files), findings);
    if !complete {
        findings.miss_nothing();
    }
    for (report, errors) in broken.iter().filter(|(_, errors)| !errors.is_empty()) {
        syntax::explain(errors, *report);
    }
    config
}

/// The key has to do with where the process is called.
fn whereabouts(key: &str) -> bool {
    let elsewhere = ["admin.token", "admin.metrics_address"].iter().any(|other| key.starts_with(other));
    key == "admin" || key.starts_with("admin.") && !elsewhere
}

/// The folder at which relative paths of `file` start.
fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_path_buf()
}
