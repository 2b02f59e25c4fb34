//! What the operator wrote, read from one TOML file: names, defaults and bounds are PRODUCT.md's, and whatever is wrong
//! comes back as [`Problems`], all at once.
//!
//! Called by the commands (`run`, `check`) and, on a reload, by control. Nothing here resolves a name or binds a
//! socket, and nothing here reaches the request path: the plan says what a configuration means.

mod address;
mod keys;
mod problem;
mod read;
mod report;
mod section;
mod syntax;
mod units;
mod values;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;

pub use self::{
    address::Address,
    problem::{Problem, Problems, Severity},
};
use self::{problem::Source, report::Report};

/// A file that is longer than this is no configuration of ours: `-c /dev/zero` ends with a message, too.
const MAX_FILE: u64 = 64 << 20;

/// A whole configuration: every key is present, with its default where the file is silent.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`: what concerns the whole process.
    pub server: Server,
    /// `[admin]`: where metrics and the API are served.
    pub admin: Admin,
    /// `[log]`: what is written, and how much of it.
    pub log: Log,
    /// `[[listener]]`, in the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// `[pool.NAME]`; exactly one until routes are built.
    pub pools: Vec<Pool>,
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
}

/// `[log]`: what is written about our own doings and about requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// A level, or directives in the syntax of `RUST_LOG`; known to be valid.
    pub level: String,
    /// Where a line for each request goes.
    pub access: AccessLog,
}

/// Where the access log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
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
}

/// How a pool chooses one of its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, by weight, smoothly.
    RoundRobin,
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

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every problem that the file has; one, when it cannot be read at all.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let bytes = match read(path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(Problems::unreadable(path, &error)),
        };
        match str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, path),
            Err(error) => Err(Problems::not_utf8(path, &bytes, error)),
        }
    }

    /// Reads `text`; `file` is its name in messages, and relative paths start in its folder.
    ///
    /// # Errors
    /// Every problem that the text has, in its order.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Problems> {
        let report = Report::new(Source::new(file, text));
        let (document, errors) = toml::de::DeTable::parse_recoverable(text);
        let config = read::document(&document, &report);
        if !errors.is_empty() {
            syntax::explain(&errors, &report);
        }
        match (config, report.finish()) {
            (Some(config), None) => Ok(config),
            (_, Some(problems)) => Err(problems),
            (None, None) => unreachable!("a part that cannot be built has reported why"),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 64 MiB"));
    }
    Ok(bytes)
}

/// The folder at which relative paths of `file` start.
fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_path_buf()
}
