//! `[pool.NAME]`: backends, how one of them is chosen, and how it is called.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use toml::de::DeValue;

use super::{
    super::{
        Address, Backend, Keepalive, MaxInFlight, Pool, Probe, Protocol, ProxyVersion, WhenAllDown, address, keys,
        report::Wrong,
        section::{Document, Field, Section},
        units::quoted,
        values,
    },
    Written, balance, breaker, custom_load, discover, health, queue, retry, sticky,
    tables::{self, Tables},
    tls,
};

const PROTOCOLS: &[(&str, Protocol)] = &[("h1", Protocol::H1), ("h2", Protocol::H2), ("auto", Protocol::Auto)];
const PEERS_PROTOCOLS: &[(&str, &str)] = &[
    ("http", "h1"),
    ("http1", "h1"),
    ("1.1", "h1"),
    ("http/1.1", "h1"),
    ("grpc", "h2"),
    ("h2c", "h2"),
    ("http2", "h2"),
    ("http/2", "h2"),
    ("2", "h2"),
    ("alpn", "auto"),
];
const PROXY: &[(&str, Option<ProxyVersion>)] =
    &[("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))];
const PEERS_PROXY: &[(&str, &str)] = &[("false", "off"), ("none", "off"), ("1", "v1"), ("2", "v2"), ("true", "v2")];
const NONE: &str = "write where requests go:\n\n[pool.web]\nbackends = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"]";

const TABLES: Tables = Tables {
    keys: &keys::POOL,
    wanted: "a table for each pool",
    help: "a pool is a table with a name of your own, once each; write where requests go:\n\n[pool.web]\n\
           backends = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"]",
    one: "a pool",
    name_it: "write [pool.NAME] with a name of your own, such as [pool.web], for [pool]",
};

/// A pool, and where it stands.
pub(super) struct Entry<'a> {
    pub(super) pool: Pool,
    pub(super) field: Field<'a>,
}

/// All of them; `None` if one cannot be built.
pub(super) fn pools<'a>(document: &Document<'a>) -> Option<Vec<Entry<'a>>> {
    let empty = |field: &&Field<'_>| field.value().as_table().is_some_and(|table| table.is_empty());
    for field in document.written("pool").iter().filter(empty) {
        field.wrong(Wrong::new("no pool is configured").help(NONE));
    }
    let tables = tables::named(document, "pool", &TABLES)?;
    let pools: Vec<_> = tables.into_iter().map(|(name, field)| pool(name, field)).collect();
    pools.into_iter().collect()
}

/// Reports that there is none, where routes do not answer by themselves.
pub(super) fn none(document: &Document<'_>) {
    if document.written("pool").is_empty() {
        document.missing("pool", Wrong::new("no pool is configured").help(NONE));
    }
}

fn pool<'a>(name: &str, field: Field<'a>) -> Option<Entry<'a>> {
    let section = field.section(&keys::POOL)?;
    if !values::check_name(name) {
        field.wrong_name(Wrong::new(
            "wanted a name of 1 to 255 bytes without control characters, and neither `.` nor `..`",
        ));
    }
    let backends = backends(&section);
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let algorithm = balance::algorithm(&section);
    let all_down = &[("reject", WhenAllDown::Reject), ("try_any", WhenAllDown::TryAny)];
    let peers = &[("fail", "reject"), ("503", "reject"), ("panic", "try_any"), ("all", "try_any"), ("any", "try_any")];
    let pool = Pool {
        name: name.to_owned(),
        algorithm,
        backends: Vec::new(),
        discover: discover::discover(&section),
        keepalive: keepalive(&section),
        max_connections: section.read("max_connections", None, values::limit),
        max_in_flight: section.read("max_in_flight", MaxInFlight::Off, queue::max_in_flight),
        queue: queue::queue(&section),
        source_address: section.list("source_address", source_address),
        connect_timeout: section.read("connect_timeout", seconds(2), values::bounded_timeout),
        response_timeout: section.read("response_timeout", seconds(30), values::timeout),
        body_timeout: section.read("body_timeout", seconds(60), values::timeout),
        tunnel_timeout: section.read("tunnel_timeout", seconds(3600), values::timeout),
        pass_host: section.read("pass_host", true, values::flag),
        when_all_down: section.read("when_all_down", WhenAllDown::Reject, values::choice(all_down, &[], peers)),
        health_checks: health::checks(&section),
        circuit_breaker: breaker::circuit_breaker(&section),
        outlier: breaker::outlier(&section),
        retry: retry::retry(&section),
        protocol: section.read("protocol", Protocol::H1, values::choice(PROTOCOLS, &[], PEERS_PROTOCOLS)),
        send_proxy_protocol: section.read("send_proxy_protocol", None, send_proxy_protocol),
        tls: tls::pool(&section),
        hash: balance::hash(&section),
        custom_load: custom_load::custom_load(&section, algorithm),
        sticky: sticky::sticky(&section),
        slow_start: balance::slow_start(&section),
    };
    let mut pool = Pool { backends: backends?, ..pool };
    discover::tls_name(&mut pool, &section);
    balance::doubt(&pool, &section);
    fits(&pool, &section);
    doubt(&pool, &section);
    checks_fit(&pool, &section);
    retries_fit(&pool, &section);
    breaker::outlier_fits(&pool, &section);
    queue::doubt(&pool, &section);
    Some(Entry { pool, field })
}

fn send_proxy_protocol(field: &Field<'_>) -> Result<Option<ProxyVersion>, Wrong> {
    values::choice(PROXY, &[], PEERS_PROXY)(field).map_err(|wrong| match field.value().as_bool() {
        Some(true) => wrong.help("write the version that the backends read: \"v2\", or \"v1\""),
        Some(false) => wrong.help("write \"off\""),
        None => wrong,
    })
}

/// Reports what does not go together.
fn fits(pool: &Pool, section: &Section<'_>) {
    let tls = section.field("tls");
    let wants = tls.as_ref().is_some_and(|field| field.value().as_bool() != Some(false));
    if let Some(field) = section.field("protocol").filter(|_| pool.protocol == Protocol::Auto && !wants) {
        let wrong = Wrong::new("\"auto\" is negotiated by ALPN, which needs tls, and this pool has none");
        field.wrong(wrong.help("write tls = true as well; HTTP/2 without TLS is protocol = \"h2\""));
    }
    let unix = pool.backends.iter().find(|backend| matches!(backend.address, Address::Unix(_)));
    if let (Some(field), Some(_), Some(backend)) = (tls, &pool.tls, unix) {
        let wrong =
            Wrong::new(format!("TLS to a unix socket is not supported, and one backend is {}", backend.address));
        field.wrong(wrong.help("take `tls` out, or give that backend a pool of its own"));
    }
}

/// Warns of checks that speak what the backends do not, at the backends' own port.
fn checks_fit(pool: &Pool, section: &Section<'_>) {
    let fields = section.field("health_check").map(|field| field.list()).unwrap_or_default();
    // A check that cannot be built has been reported, and would shift the others.
    if fields.len() != pool.health_checks.len() {
        return;
    }
    for (check, field) in pool.health_checks.iter().zip(&fields).filter(|(check, _)| check.port == 0) {
        if let Some(wrong) = unlike(&check.probe, pool) {
            field.warn(wrong);
        }
    }
}

/// How `probe` speaks otherwise than requests do.
fn unlike(probe: &Probe, pool: &Pool) -> Option<Wrong> {
    let (message, help) = match probe {
        Probe::Http(probe) if !probe.tls && pool.tls.is_some() => (
            "the check asks in plain text, and the backends speak TLS there",
            "write type = \"https\", or the `port` that answers in plain text",
        ),
        Probe::Http(probe) if !probe.tls && pool.protocol == Protocol::H2 => (
            "the check speaks HTTP/1.1, and requests to the backends are HTTP/2",
            "write type = \"tcp\" or \"grpc\", or the `port` that answers HTTP/1.1",
        ),
        Probe::Grpc(_) if pool.protocol == Protocol::H1 => (
            "the check speaks HTTP/2, and requests to the backends are HTTP/1.1",
            "gRPC needs h2 or auto: write protocol = \"h2\", or the `port` that answers gRPC",
        ),
        _ => return None,
    };
    Some(Wrong::new(message).help(help))
}

/// Warns of gRPC statuses that no call can end with.
fn retries_fit(pool: &Pool, section: &Section<'_>) {
    if pool.protocol != Protocol::H1 || pool.retry.on_grpc == 0 {
        return;
    }
    let retry = section.field("retry").map(|field| field.entries()).unwrap_or_default();
    let on = retry.iter().filter(|(key, _)| *key == "on").flat_map(|(_, field)| field.list());
    let is_grpc = |field: &Field<'_>| field.value().as_str().is_some_and(|text| text.starts_with("grpc:"));
    if let Some(field) = on.into_iter().find(is_grpc) {
        let wrong = Wrong::new("the backends are called by HTTP/1.1, which has no gRPC");
        field.warn(wrong.help("gRPC needs h2 or auto: write protocol = \"h2\" or, with tls, \"auto\""));
    }
}

/// Warns of what leaves a pool without an answer.
fn doubt(pool: &Pool, section: &Section<'_>) {
    let regular = || pool.backends.iter().filter(|backend| !backend.backup);
    if let Some(field) =
        section.field("backends").filter(|_| pool.discover.is_none() && regular().all(|backend| backend.weight == 0))
    {
        let what = if regular().next().is_none() { "every backend is a backup" } else { "every weight is 0" };
        field.warn(Wrong::new(what).help("give one of them a share: a `weight` above 0, and no `backup`"));
    }
    let families =
        |v4: bool| pool.discover.is_some() || pool.backends.iter().any(|backend| may_have(&backend.address, v4));
    for field in section.field("source_address").map(|field| field.list()).unwrap_or_default() {
        let Some(ip) = field.value().as_str().and_then(|text| text.parse::<IpAddr>().ok()) else { continue };
        if !families(ip.is_ipv4()) {
            let version = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let wrong = Wrong::new(format!("found {ip}, and no backend has an {version} address"));
            field.warn(wrong.help("no connection can be made from it: take it out"));
        }
    }
}

/// It has an address of that family, or a name, which may.
fn may_have(address: &Address, v4: bool) -> bool {
    match address {
        Address::Tcp(socket) => socket.is_ipv4() == v4,
        Address::Named(..) => true,
        Address::Unix(_) => false,
    }
}

fn keepalive(pool: &Section<'_>) -> Keepalive {
    let default = Keepalive { max_idle: 64, idle_timeout: Some(Duration::from_secs(30)), max_requests: None };
    let Some(section) = pool.section("keepalive", &keys::KEEPALIVE) else { return default };
    let requests = |field: &Field<'_>| values::limit(field).map(|limit| limit.map(|limit| limit as u64));
    Keepalive {
        max_idle: section.read("max_idle", default.max_idle, max_idle),
        idle_timeout: section.read("idle_timeout", default.idle_timeout, values::timeout),
        max_requests: section.read("max_requests", default.max_requests, requests),
    }
}

/// 0 is a number here: none is kept. `"off"` could mean that, or no bound, and is refused.
fn max_idle(field: &Field<'_>) -> Result<usize, Wrong> {
    values::count(0..=65_536)(field).map_err(|wrong| match field.value().as_str() {
        Some("off") => wrong.help("write 0 to keep no connection"),
        _ => wrong,
    })
}

fn source_address(field: &Field<'_>) -> Result<IpAddr, Wrong> {
    const WHAT: &str = "an IP address of this host";
    let text = values::text(field, WHAT)?;
    let wrong = || Wrong::new(format!("found {}, wanted {WHAT}", quoted(text)));
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => {
            Err(wrong().help("leave `source_address` out to let the kernel choose"))
        }
        Ok(ip) => Ok(ip),
        Err(_) if text.parse::<std::net::SocketAddr>().is_ok() => Err(wrong().help("write it without the port")),
        Err(_) => Err(wrong().help("write \"192.0.2.10\" or \"2001:db8::10\", for example")),
    }
}

/// A backend, and where in the file its name and address stand.
struct Called<'a> {
    backend: Backend,
    name: Field<'a>,
    address: Field<'a>,
}

/// At least one, unless there is `discover`; `None` if there is none, or one cannot be built.
fn backends(pool: &Section<'_>) -> Option<Vec<Backend>> {
    const HELP: &str = "write backends = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"]";
    let Some(field) = pool.field("backends") else {
        if pool.field("discover").is_some() {
            return Some(Vec::new());
        }
        pool.missing("backends", Wrong::new("a pool wants backends").help(HELP));
        return None;
    };
    let fields = field.list();
    if fields.is_empty() && pool.field("discover").is_none() {
        field.wrong(Wrong::new("a pool wants at least one backend").help(HELP));
        return None;
    }
    let read: Vec<_> = fields.iter().map(called).collect();
    let mut names = HashMap::new();
    let mut addresses = HashMap::new();
    for entry in read.iter().flatten() {
        let (backend, help) = (&entry.backend, "keep one of them: its share is its `weight`");
        if let Some(first) = addresses.insert(&backend.address, entry) {
            let wrong = Wrong::new(format!("{} is a backend of this pool already", backend.address));
            entry.address.clash(wrong.help(help), &first.address);
        } else if let Some(first) = names.insert(&backend.name, entry) {
            let wrong = Wrong::new(format!("another backend is called {} already", quoted(&backend.name)));
            entry.name.clash(wrong.help("give this one a `name` of its own"), &first.name);
        }
    }
    read.into_iter().map(|entry| entry.map(|entry| entry.backend)).collect()
}

/// A backend by itself.
pub(super) fn backend(field: &Field<'_>) -> Option<Backend> {
    called(field).map(|called| called.backend)
}

fn called<'a>(field: &Field<'a>) -> Option<Called<'a>> {
    match field.value() {
        DeValue::Table(_) => {}
        DeValue::String(_) | DeValue::Integer(_) => {
            let Written { address, text, field } = Written::new(field.read(address::call)?, field.clone());
            let backend = Backend { address, name: text, weight: 1, backup: false, max_in_flight: None };
            return Some(Called { backend, name: field.clone(), address: field });
        }
        value => {
            let wrong = values::wanted(value, "an address or a table");
            field.wrong(wrong.help(format!("write {}", keys::BACKEND.example)));
            return None;
        }
    }
    let section = field.section(&keys::BACKEND)?;
    let weight = section.read("weight", 1, values::count(0..=1000));
    let backup = section.read("backup", false, values::flag);
    let max_in_flight = section.field("max_in_flight").and_then(|field| field.read(queue::max_in_flight));
    let name_field = section.field("name");
    let name = name_field.as_ref().map(|field| field.read(values::name));
    let Some(address_field) = section.field("address") else {
        section.missing("address", Wrong::new("a backend wants an address").help("write address = \"10.0.1.10:8080\""));
        return None;
    };
    let Written { address, text, field } = Written::new(address_field.read(address::call)?, address_field);
    let weight = u32::try_from(weight).expect("at most 1000");
    let backend = Backend { address, name: name.unwrap_or(Some(text))?, weight, backup, max_in_flight };
    Some(Called { backend, name: name_field.unwrap_or_else(|| field.clone()), address: field })
}
