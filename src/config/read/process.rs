//! `[server]`, `[admin]`, `[log]`: what may stand once, and concerns the whole process.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::super::{
    AccessFormat, AccessLog, Address, Admin, Log, LogFormat, Metrics, Overflow, Server, Trusted, Underscores, address,
    keys,
    keys::nearest,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// More threads than any machine that this was measured on.
const MAX_WORKERS: u64 = 1024;
/// `fs.nr_open` of Linux allows no process more descriptors than this.
const MAX_CONNECTIONS: u64 = 1 << 30;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// `[server]`, or its defaults.
pub(super) fn server(document: &Section<'_>) -> Server {
    let mut server = Server {
        workers: None,
        trusted_proxies: Trusted::default(),
        underscore_headers: Underscores::Drop,
        via: "evenkeel".into(),
        name: host_name(),
        forwarded: false,
        max_connections: None,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(30),
    };
    let Some(section) = document.section("server", &keys::SERVER) else { return server };
    let underscores = &[("drop", Underscores::Drop), ("allow", Underscores::Allow), ("reject", Underscores::Reject)];
    let peers = &[("on", "allow"), ("off", "drop"), ("pass", "allow"), ("remove", "drop"), ("deny", "reject")];
    server.workers = section.read("workers", server.workers, values::auto(MAX_WORKERS));
    server.trusted_proxies = trusted(&section);
    server.underscore_headers =
        section.read("underscore_headers", server.underscore_headers, values::choice(underscores, &[], peers));
    server.via = section.read("via", server.via, pseudonym);
    server.name = section.read("name", server.name, values::name);
    server.forwarded = section.read("forwarded", server.forwarded, values::flag);
    server.max_connections = section.read("max_connections", server.max_connections, values::auto(MAX_CONNECTIONS));
    server
}

/// `[admin]`, or its defaults; and the field of its address where the file has one.
pub(super) fn admin<'a>(document: &Section<'a>) -> (Admin, Option<Field<'a>>) {
    let address = Some(Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900))));
    let default = Admin { address, metrics_address: None, token: None };
    let Some(section) = document.section("admin", &keys::ADMIN) else { return (default, None) };
    let address = section.read("address", default.address.clone(), |field| match field.value().as_str() {
        Some("off") => Ok(None),
        _ => address::listen(field).map(Some),
    });
    (Admin { address, ..default }, section.field("address"))
}

/// `[log]`, or its defaults.
pub(super) fn log(document: &Section<'_>) -> Log {
    let mut log = Log {
        level: "info".into(),
        format: LogFormat::Text,
        access: AccessLog::Off,
        access_format: AccessFormat::Json,
        access_sample: 1.0,
        access_overflow: Overflow::Drop,
        access_fields: Vec::new(),
    };
    let Some(section) = document.section("log", &keys::LOG) else { return log };
    log.level = section.read("level", log.level, level);
    log.access = section.read("access", log.access, access);
    log
}

/// `[metrics]`, or its defaults.
pub(super) fn metrics(_document: &Section<'_>) -> Metrics {
    const BUCKETS: [u64; 13] = [1, 5, 10, 25, 50, 100, 200, 300, 500, 1000, 2500, 5000, 10_000];
    Metrics { buckets: BUCKETS.map(Duration::from_millis).to_vec(), backend_histograms: None }
}

fn trusted(section: &Section<'_>) -> Trusted {
    let mut trusted = Trusted::default();
    for net in section.list("trusted_proxies", network) {
        match net {
            Some(net) => trusted.nets.push(net),
            None => trusted.unix = true,
        }
    }
    trusted
}

/// A network or an address; `None` = `"unix"`.
fn network(field: &Field<'_>) -> Result<Option<IpNet>, Wrong> {
    const WHAT: &str = "a network, an IP address or \"unix\"";
    const HELP: &str = "write \"10.0.0.0/8\", \"192.0.2.7\" or \"unix\"";
    let text = values::text(field, WHAT).map_err(|wrong| wrong.help(HELP))?;
    if text == "unix" {
        return Ok(None);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Some(IpNet::from(ip)));
    }
    let wrong = || Wrong::new(format!("found {}, wanted {WHAT}", quoted(text)));
    let Ok(net) = text.parse::<IpNet>() else {
        let too_long = text.split_once('/').and_then(|(ip, _)| ip.parse::<IpAddr>().ok());
        return Err(match too_long {
            Some(IpAddr::V4(_)) => wrong().help("the number behind `/` is 0 to 32"),
            Some(IpAddr::V6(_)) => wrong().help("the number behind `/` is 0 to 128"),
            None => wrong().help(HELP),
        });
    };
    if net.trunc() != net {
        // `10.0.0.7/8` may mean the address or the network, and the difference is who is believed.
        let wrong = Wrong::new(format!("found {}, wanted a network, whose host bits are 0", quoted(text)));
        return Err(wrong.help(format!(
            "write \"{}\" for the network, or \"{}\" for the address",
            net.trunc(),
            net.addr()
        )));
    }
    Ok(Some(net))
}

/// A token of RFC 9110 section 5.6.2 that is a token of RFC 8941 section 3.3.4 too: it stands in `Via` and `Proxy-Status`.
fn pseudonym(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a letter, then letters, digits and any of !#$%&'*+-.^_`|~";
    let text = values::text(field, WHAT)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && text.len() <= 255 && text.bytes().all(token) {
        return Ok(text.to_owned());
    }
    Err(values::wanted(field.value(), WHAT)
        .help("it is a word in the headers Via and Proxy-Status, such as \"evenkeel\""))
}

/// A level, or directives for `EnvFilter`: a lone word must be a level, since `EnvFilter` takes any word for a target.
fn level(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a level: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
    let text = values::text(field, WHAT)?;
    if LEVELS.contains(&text) {
        return Ok(text.to_owned());
    }
    if text.contains('=') {
        return match EnvFilter::try_new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(values::wanted(field.value(), "a level or directives as in RUST_LOG")
                .help("write \"info\" or \"info,evenkeel::dial=debug\", for example")),
        };
    }
    let plain = text.trim().to_ascii_lowercase();
    let meant = match plain.as_str() {
        "warning" => Some("warn"),
        "notice" => Some("info"),
        "err" | "crit" | "critical" | "alert" | "emerg" | "fatal" => Some("error"),
        "none" => Some("off"),
        plain => nearest(plain, LEVELS.into_iter()),
    };
    let wrong = values::wanted(field.value(), WHAT);
    Err(match meant {
        Some(ours) => wrong.help(format!("did you mean \"{ours}\"?")),
        None => wrong,
    })
}

fn access(field: &Field<'_>) -> Result<AccessLog, Wrong> {
    match field.value().as_str() {
        Some("off") => Ok(AccessLog::Off),
        Some(other) => Err(Wrong::new(format!("{}: an access log is not supported yet", quoted(other)))
            .help("write \"off\", or leave it out")),
        None => Err(values::wanted(field.value(), "\"off\"").help("write \"off\", or leave it out")),
    }
}

/// The host's name, as `hostname` prints it.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if values::check_name(&name) { name } else { "localhost".into() }
}
