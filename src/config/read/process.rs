//! `[server]` and `[admin]`: what may stand once, and concerns the whole process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use super::super::{
    Address, Admin, MaxMemory, Server, Trusted, Underscores, address, field, files, keys, network,
    report::Wrong,
    section::{Document, Field, Section},
    values,
};

/// More threads than any machine that this was measured on.
const MAX_WORKERS: u64 = 1024;
/// `fs.nr_open` of Linux allows no process more descriptors than this.
const MAX_CONNECTIONS: u64 = 1 << 30;
/// A process that serves nobody takes about as much.
const LEAST_MEMORY: u64 = 16 << 20;

/// `[server]`, or its defaults.
pub(super) fn server(document: &Document<'_>) -> Server {
    let mut server = Server {
        workers: None,
        trusted_proxies: Trusted::default(),
        underscore_headers: Underscores::Drop,
        via: "evenkeel".into(),
        name: host_name(),
        forwarded: false,
        max_connections: None,
        max_memory: None,
        max_in_flight: None,
        drain_delay: Duration::ZERO,
        drain_timeout: Duration::from_secs(30),
        resolvers: Vec::new(),
    };
    let Some(section) = document.once("server", &keys::SERVER) else { return server };
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
    server.max_memory = section.read("max_memory", None, max_memory);
    server.max_in_flight = section.read("max_in_flight", None, values::limit);
    server.drain_delay = section.read("drain_delay", server.drain_delay, values::delay);
    server.drain_timeout = section.read("drain_timeout", server.drain_timeout, drain_timeout);
    server.resolvers = section.list("resolvers", network::resolver);
    doubt(&section, &server);
    server
}

/// A size, or a share of what the process may have.
fn max_memory(field: &Field<'_>) -> Result<Option<MaxMemory>, Wrong> {
    match field.value().as_str() {
        Some(text) if text.ends_with('%') => {
            let share = values::share(field)?;
            Ok((share > 0.0).then_some(MaxMemory::Share(share)))
        }
        _ => Ok(values::size_limit(field)?.map(MaxMemory::Bytes)),
    }
}

/// Warns of a mark that the process is above before it has served anybody.
fn doubt(section: &Section<'_>, server: &Server) {
    if let Some(MaxMemory::Bytes(size)) = server.max_memory
        && size < LEAST_MEMORY
        && let Some(field) = section.field("max_memory")
    {
        let wrong = Wrong::new("the process itself takes some MiB: with so little, every request would be shed");
        field
            .warn(wrong.help("write \"256MiB\", for example, or a share of the memory that there is, such as \"80%\""));
    }
}

/// It may be 0; without an end, one slow client would keep the process for ever.
fn drain_timeout(field: &Field<'_>) -> Result<Duration, Wrong> {
    match field.value().as_str() {
        Some("off") => {
            Err(values::wanted(field.value(), "a duration").help("write \"0s\" to cut what is left at once"))
        }
        _ => values::delay(field),
    }
}

/// An address that is ours already.
pub(super) struct Taken<'a> {
    pub(super) address: Address,
    /// Where it is written, if it is.
    pub(super) field: Option<Field<'a>>,
    /// What has it.
    pub(super) what: &'static str,
}

/// `[admin]`, or its defaults; and the addresses that it has.
pub(super) fn admin<'a>(document: &Document<'a>) -> (Admin, Vec<Taken<'a>>) {
    const WHAT: &str = "the admin API";
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)));
    let Some(section) = document.once("admin", &keys::ADMIN) else {
        let admin = Admin { address: Some(address.clone()), metrics_address: None, token: None };
        return (admin, vec![Taken { address, field: None, what: WHAT }]);
    };
    let admin = Admin {
        address: section.read("address", Some(address), address_or_off),
        metrics_address: section.read("metrics_address", None, address_or_off),
        token: section.field("token").as_ref().and_then(files::secret),
    };
    let taken = |key, address: &Option<Address>, what| {
        address.clone().map(|address| Taken { address, field: section.field(key), what })
    };
    let metrics = taken("metrics_address", &admin.metrics_address, "`metrics_address` in [admin]");
    let taken: Vec<_> = taken("address", &admin.address, WHAT).into_iter().chain(metrics).collect();
    if let [api, metrics] = taken.as_slice()
        && api.address == metrics.address
        && !api.address.is_any_port()
        && let Some(field) = &metrics.field
    {
        let wrong = Wrong::new(format!("{} is the address of the admin API", api.address));
        let wrong = wrong.help("the API has /metrics, too: give this one another port, or take it out");
        match &api.field {
            Some(first) => field.clash(wrong, first),
            None => field.wrong(wrong),
        }
    }
    (admin, taken)
}

fn address_or_off(field: &Field<'_>) -> Result<Option<Address>, Wrong> {
    match field.value().as_str() {
        Some("off") => Ok(None),
        _ => address::listen(field).map(Some),
    }
}

fn trusted(section: &Section<'_>) -> Trusted {
    let mut trusted = Trusted::default();
    for net in section.list("trusted_proxies", network::network_or_unix) {
        match net {
            Some(net) => trusted.nets.push(net),
            None => trusted.unix = true,
        }
    }
    trusted
}

/// A token of RFC 9110 section 5.6.2 that is a token of RFC 8941 section 3.3.4 too: it stands in `Via` and `Proxy-Status`.
fn pseudonym(value: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a letter, then letters, digits and any of !#$%&'*+-.^_`|~";
    let text = values::text(value, WHAT)?;
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if starts && field::is_token(text) {
        return Ok(text.to_owned());
    }
    Err(values::wanted(value.value(), WHAT)
        .help("it is a word in the headers Via and Proxy-Status, such as \"evenkeel\""))
}

/// The host's name, as `hostname` prints it.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if values::check_name(&name) { name } else { "localhost".into() }
}
