//! What the operator wrote, read from one TOML file and those that it includes: names, defaults and bounds are
//! PRODUCT.md's, and whatever is wrong comes back as [`Problems`], all at once.
//!
//! Called by the commands (`run`, `check`, `reference`, `schema`) and, on a reload, by control. Nothing here resolves a name or
//! binds a socket, and nothing here reaches the request path: the plan says what a configuration means.

mod address;
pub mod auth;
mod balance;
mod breaker;
mod field;
mod files;
mod health;
mod host;
mod include;
mod keys;
mod leaves;
mod limit;
mod lone;
mod named;
mod network;
mod path;
mod pool;
mod problem;
mod read;
mod reference;
mod report;
mod route;
pub mod said;
mod sample;
pub mod scenario;
mod section;
mod statuses;
mod syntax;
mod template;
mod test;
pub mod tls;
mod trace;
mod units;
mod values;
mod written;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeTable;

pub use self::{
    address::Address,
    auth::{
        ApiKeyAuth, Auth, AuthKind, BasicAuth, Cors, ForwardAuth, JwtAlgorithm, JwtAuth, JwtKeys, Origin, ShownIn, Url,
    },
    balance::{Algorithm, Combine, CustomLoad, Hash, HashKey, LoadSource, Sticky, StickyBy, StickyFallback},
    breaker::{BreakerScope, CircuitBreaker, Outlier},
    health::{BodyMatch, GRPC_STATUSES, GrpcProbe, HealthCheck, HttpProbe, Probe},
    leaves::{Keys as WrittenKeys, Leaf, Leaves},
    limit::{InFlightLimit, LimitAlgorithm, LimitKey, MOST_LIMITS, Rate, RateLimit, Tier},
    pool::{Backend, Discover, Keepalive, MaxInFlight, Pool, Protocol, ProxyVersion, Queue, Retry, WhenAllDown},
    problem::{Problem, Problems, Severity},
    reference::{reference, schema},
    route::{
        Action, Fallback, HeaderRules, HostMatch, Mirror, PathMatch, Priority, Respond, Rewrite, Route, SplitBy, Text,
    },
    sample::{Sample, Who},
    statuses::Statuses,
    template::{Piece, Template, Variable},
    test::{Expect, Test, Wanted},
    tls::{Alpn, Certificate, ClientAuth, ListenerTls, PoolTls, TlsVersion},
    trace::Trace,
    written::Written,
};
pub(crate) use self::{
    field::{is_lifted, is_ours, is_token},
    host::is_host_match,
    values::MAX_REGEX,
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
    /// `[trace]`: whose spans are recorded; `None`: nobody's.
    pub trace: Option<Trace>,
    /// `[metrics]`: what of them may be chosen.
    pub metrics: Metrics,
    /// `[[listener]]`, in the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// `[[route]]`, in the order of the file; never empty: with one pool and no route written, it is [`Route::all_to`].
    pub routes: Vec<Route>,
    /// `[pool.NAME]`, in the order of the file; at least one, unless every route answers by itself.
    pub pools: Vec<Pool>,
    /// `[auth.NAME]`, in the order of the file.
    pub auths: Vec<Auth>,
    /// `[rate_limit.NAME]`, in the order of the file.
    pub rate_limits: Vec<RateLimit>,
    /// `[error_pages]`: bodies of our own error answers, by status.
    pub error_pages: Vec<ErrorPage>,
    /// `[[test]]`, in the order of the file.
    pub tests: Vec<Test>,
    /// What has a meaning that is hardly meant; `check` shows it, and `check --strict` refuses it.
    pub warnings: Option<Problems>,
    /// The files that say all this.
    pub written: Written,
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
    /// Above so much memory load is shed; `None` = `"off"`.
    pub max_memory: Option<MaxMemory>,
    /// Above so many requests at a time load is shed; `None` = `"off"`.
    pub max_in_flight: Option<usize>,
    /// On TERM: `/readyz` says 503 and we go on accepting for this long.
    pub drain_delay: Duration,
    /// Then exchanges may finish for this long, and what a reload takes away ends within it.
    pub drain_timeout: Duration,
    /// DNS servers that are asked for names; empty = the system's.
    pub resolvers: Vec<SocketAddr>,
}

/// `max_memory`: memory of the process, above which load is shed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxMemory {
    /// So many bytes.
    Bytes(u64),
    /// A share of what the process may have, above 0 and up to 1.
    Share(f64),
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

/// What becomes of octets in a request target that are not ASCII, which RFC 3986 does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonAscii {
    /// The request is refused with 400.
    Reject,
    /// They are percent-encoded, before anybody looks at the target.
    Encode,
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
    /// Those of one IPv4 address, or one /64 of IPv6; further ones are closed. `None` = no limit.
    pub max_connections_per_ip: Option<u32>,
    /// Who may connect; empty = all.
    pub allow: Vec<IpNet>,
    /// Who may not, whatever `allow` says.
    pub deny: Vec<IpNet>,
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
    /// What becomes of octets in a request target that are not ASCII.
    pub non_ascii_targets: NonAscii,
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
    /// else there is wrong. A token that cannot be read is none, and why is said beside.
    ///
    /// # Errors
    /// The file cannot be read, or does not say where the process is called.
    pub fn admin_of(path: &Path) -> Result<(Admin, Option<String>), Problems> {
        let (written, findings) = (Written::read(path)?, Findings::default());
        let parsed = written.0.iter().map(|source| {
            let (table, _) = DeTable::parse_recoverable(&source.text);
            (Report::new(source, &findings), table)
        });
        let files: Vec<_> = parsed.collect();
        let admin = read::admin(&Document::open(&files));
        match findings.finish(path) {
            Some(problems) if problems.iter().any(|problem| whereabouts(&problem.key)) => Err(problems),
            problems => {
                let unread = |problem: &Problem| problem.key.starts_with("admin.token");
                let problem = problems.as_ref().and_then(|problems| problems.iter().find(|problem| unread(problem)));
                Ok((admin, problem.map(|problem| format!("{}: {}", problem.key, problem.message))))
            }
        }
    }

    /// Reads files that were kept: nothing is included but they. What they name otherwise is read from where it is.
    ///
    /// # Errors
    /// Every problem that they have now.
    pub fn of_written(written: &Written) -> Result<Self, Problems> {
        let mut sources = written.0.iter();
        let Some(main) = sources.next() else { return Self::parse("", Path::new("")) };
        Self::made_of(main, |_, _| (sources.cloned().collect(), true))
    }

    fn of(main: &Arc<Source>) -> Result<Self, Problems> {
        Self::made_of(main, include::sources)
    }

    /// Of the main file, and what `include` says that it includes.
    fn made_of(
        main: &Arc<Source>,
        include: impl FnOnce(Report<'_>, &DeTable<'_>) -> (Vec<Arc<Source>>, bool),
    ) -> Result<Self, Problems> {
        let findings = Findings::default();
        let (config, written) = read_all(main, &findings, include);
        let fine = findings.fine();
        match (config, findings.finish(&main.file)) {
            (Some(config), warnings) if fine => Ok(Self { warnings, written, ..config }),
            (_, Some(problems)) => Err(problems),
            (_, None) => unreachable!("a part that cannot be built has reported why"),
        }
    }
}

/// The main file and what it includes, as one configuration; `None` if there is none, which has been reported.
fn read_all(
    main: &Arc<Source>,
    findings: &Findings,
    include: impl FnOnce(Report<'_>, &DeTable<'_>) -> (Vec<Arc<Source>>, bool),
) -> (Option<Config>, Written) {
    let (table, errors) = DeTable::parse_recoverable(&main.text);
    let (included, complete) = include(Report::new(main, findings), table.get_ref());
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
    drop(files);
    drop(broken);
    (config, Written([vec![Arc::clone(main)], included].concat()))
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
