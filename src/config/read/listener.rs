//! `[[listener]]`: one address each, with the bounds of what comes in there.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use super::{
    super::{
        Address, Alpn, Http2, Listener, NonAscii, address, keys, network,
        report::Wrong,
        section::{Document, Field, Section},
        units::quoted,
        values,
    },
    Written,
    process::Taken,
    tls,
};

/// The kernel keeps the backlog in 32 bits, signed in the call; more than this is a slip.
const MAX_BACKLOG: u64 = 1_000_000;

/// RFC 9113 section 6.9.2: every stream begins with this.
const MIN_WINDOW: u64 = 65_535;

/// A listener, and where in the file its name and address stand.
struct Entry<'a> {
    listener: Listener,
    name: Field<'a>,
    address: Field<'a>,
}

/// All of them; `None` if one cannot be built. No address may be one of those that are `taken`.
pub(super) fn listeners(document: &Document<'_>, taken: &[Taken<'_>]) -> Option<Vec<Listener>> {
    let written = document.written("listener");
    let fields: Vec<_> = written.iter().flat_map(Field::list).collect();
    if fields.is_empty() {
        let help = "write where to listen:\n\n[[listener]]\naddress = \"0.0.0.0:8080\"";
        document.missing("listener", Wrong::new("no listener is configured").help(help));
        return None;
    }
    let read: Vec<_> = fields.iter().map(|field| field.section(&keys::LISTENER).and_then(entry)).collect();
    let mut seen: Vec<&Entry<'_>> = Vec::new();
    for entry in read.iter().flatten() {
        clashes(entry, &seen);
        for taken in taken {
            occupied(entry, taken);
        }
        seen.push(entry);
    }
    read.into_iter().map(|entry| entry.map(|entry| entry.listener)).collect()
}

/// The names that listeners have as far as they can be read, for those who refer to them.
pub(super) fn names(document: &Document<'_>) -> BTreeSet<String> {
    let fields = document.written("listener");
    let name = |field: Field<'_>| {
        let table = field.value().as_table()?;
        let value = table.get("name").or_else(|| table.get("address"))?;
        Some(value.get_ref().as_str()?.to_owned())
    };
    fields.iter().flat_map(Field::list).filter_map(name).collect()
}

fn entry(section: Section<'_>) -> Option<Entry<'_>> {
    let written = address_of(&section);
    let name_field = section.field("name");
    let name = name_field.as_ref().map(|field| field.read(values::name));
    let (header, target) = sizes(&section);
    let ipv6_only = section.read("ipv6_only", false, values::flag);
    let defer_accept = section.read("defer_accept", false, values::flag);
    let backlog = section.read("backlog", 4096, values::count(1..=MAX_BACKLOG));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let limits = Listener {
        name: String::new(),
        address: Address::Unix("".into()),
        ipv6_only,
        backlog: u32::try_from(backlog).expect("MAX_BACKLOG fits"),
        defer_accept,
        max_connections: section.read("max_connections", Some(100_000), values::limit),
        max_connections_per_ip: per_ip(&section),
        allow: networks(&section, "allow"),
        deny: networks(&section, "deny"),
        header_timeout: section.read("header_timeout", seconds(10), values::timeout),
        body_timeout: section.read("body_timeout", seconds(30), values::timeout),
        min_body_rate: section.read("min_body_rate", Some(100), values::byte_rate),
        write_timeout: section.read("write_timeout", seconds(30), values::timeout),
        idle_timeout: section.read("idle_timeout", seconds(75), values::timeout),
        half_close: section.read("half_close", false, values::flag),
        max_header_size: header,
        max_headers: section.read("max_headers", 128, values::count(1..=1024)),
        max_target_size: target,
        non_ascii_targets: non_ascii(&section),
        max_body_size: section.read("max_body_size", None, values::size_limit),
        redirect_to_https: section.read("redirect_to_https", false, values::flag),
        proxy_protocol: section.read("proxy_protocol", false, values::flag),
        max_connection_age: section.read("max_connection_age", None, values::timeout),
        h2: h2(&section),
        tls: None,
    };
    let tls = tls::listener(&section);
    section.read(
        "protocol",
        (),
        values::choice(&[("http", ())], &["tcp", "udp"], &[("h1", "http"), ("https", "http")]),
    );
    let written = written?;
    fits(&section, &written.address, ipv6_only, defer_accept);
    addressed(&section, &written.address, &limits);
    let name = name.unwrap_or_else(|| Some(written.text.clone()))?;
    let listener = Listener { name, address: written.address, tls: tls?, ..limits };
    encrypted(&section, &listener);
    let name = name_field.unwrap_or_else(|| written.field.clone());
    Some(Entry { listener, name, address: written.field })
}

fn address_of<'a>(section: &Section<'a>) -> Option<Written<'a>> {
    let Some(field) = section.field("address") else {
        section.missing("address", Wrong::new("a listener wants an address").help("write address = \"0.0.0.0:8080\""));
        return None;
    };
    field.read(address::listen).map(|address| Written::new(address, field))
}

/// `max_connections_per_ip`
fn per_ip(section: &Section<'_>) -> Option<u32> {
    let limit = section.read("max_connections_per_ip", None, values::limit);
    limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

/// The networks at `key`.
fn networks(section: &Section<'_>, key: &str) -> Vec<IpNet> {
    section.list(key, network::network)
}

/// Reports what looks at addresses where there are none.
fn addressed(section: &Section<'_>, address: &Address, listener: &Listener) {
    if !matches!(address, Address::Unix(_)) || listener.proxy_protocol {
        return;
    }
    let asked = [
        ("max_connections_per_ip", listener.max_connections_per_ip.is_some()),
        ("allow", !listener.allow.is_empty()),
        ("deny", !listener.deny.is_empty()),
    ];
    for (key, asked) in asked {
        if let Some(field) = section.field(key).filter(|_| asked) {
            let wrong = Wrong::new(format!("`{key}` looks at addresses, and clients of a unix socket have none"));
            field.wrong(wrong.help("take it out, or have the proxy in front send PROXY headers (`proxy_protocol`)"));
        }
    }
}

/// `max_header_size` and `max_target_size`, which is a part of it.
fn sizes(section: &Section<'_>) -> (usize, usize) {
    let header = section.read("max_header_size", 32 << 10, values::size(1 << 10..=1 << 20));
    let target = section.read("max_target_size", 8 << 10, values::size(256..=1 << 20));
    if let Some(field) = section.field("max_target_size").filter(|_| target > header) {
        let wrong =
            values::wanted(field.value(), "a size up to that of `max_header_size`, which the target is a part of");
        field.wrong(wrong.help("raise `max_header_size` as well"));
    }
    (header, target)
}

fn non_ascii(section: &Section<'_>) -> NonAscii {
    let words = &[("reject", NonAscii::Reject), ("encode", NonAscii::Encode)];
    let peers = &[("off", "reject"), ("deny", "reject"), ("on", "encode"), ("allow", "encode"), ("escape", "encode")];
    section.read("non_ascii_targets", NonAscii::Reject, values::choice(words, &[], peers))
}

/// `[listener.h2]`, or its defaults.
fn h2(listener: &Section<'_>) -> Http2 {
    let default = Http2::default();
    let Some(section) = listener.section("h2", &keys::H2) else { return default };
    let small = |number: usize| u32::try_from(number).expect("the ranges fit");
    Http2 {
        max_streams: small(section.read("max_streams", default.max_streams as usize, values::count(1..=65_536))),
        window: small(section.read("window", default.window as usize, values::size(MIN_WINDOW..=16 << 20))),
        reset_rate: section.read("reset_rate", default.reset_rate, values::rate),
    }
}

/// Reports what does not go with `tls`, and what has no use without HTTP/2.
fn encrypted(section: &Section<'_>, listener: &Listener) {
    let (Some(tls), Some(field)) = (&listener.tls, section.field("tls")) else { return };
    if let Address::Unix(_) = listener.address {
        let wrong = Wrong::new("a unix socket has no TLS: what goes through it stays on this host");
        field.wrong(wrong.help("take `tls` out, or listen on a TCP address"));
    }
    if let Some(redirect) = section.field("redirect_to_https").filter(|_| listener.redirect_to_https) {
        let wrong = Wrong::new("every request here is https already, and would be sent back to where it came from");
        redirect.wrong(wrong.help("write it in the listener of port 80, or take it out"));
    }
    if let Some(h2) = section.field("h2").filter(|_| !tls.alpn.contains(&Alpn::H2)) {
        h2.warn(
            Wrong::new("`h2` has no effect: `alpn` does not offer it").help("add \"h2\" to `alpn`, or take it out"),
        );
    }
}

/// Reports settings that have no meaning for this kind of address.
fn fits(section: &Section<'_>, address: &Address, ipv6_only: bool, defer_accept: bool) {
    let wrong = |key: &str, what: &str| {
        if let Some(field) = section.field(key) {
            field
                .wrong(values::wanted(field.value(), what).help(format!("take `{key}` out: the address is {address}")));
        }
    };
    if ipv6_only && !matches!(address, Address::Tcp(SocketAddr::V6(_))) {
        wrong("ipv6_only", "an IPv6 address to go with it");
    }
    if defer_accept && matches!(address, Address::Unix(_)) {
        wrong("defer_accept", "a TCP address to go with it");
    }
}

/// Reports a name or an address that another listener has already.
fn clashes(entry: &Entry<'_>, seen: &[&Entry<'_>]) {
    let listener = &entry.listener;
    let mut same_address = false;
    for other in seen {
        if let Some(wrong) = overlap(listener, &other.listener) {
            entry.address.clash(wrong, &other.address);
            same_address = true;
            break;
        }
    }
    let twin = seen.iter().find(|other| other.listener.name == listener.name);
    if let Some(twin) = twin.filter(|_| !same_address) {
        let wrong = Wrong::new(format!("another listener is called {} already", quoted(&listener.name)));
        entry.name.clash(wrong.help("give this one a `name` of its own"), &twin.name);
    }
}

/// Reports an address that something else of ours has.
fn occupied(entry: &Entry<'_>, taken: &Taken<'_>) {
    let (address, what) = (&entry.listener.address, taken.what);
    if taken.address != *address || address.is_any_port() {
        return;
    }
    match &taken.field {
        Some(field) => {
            let wrong = Wrong::new(format!("{address} is the address of {what}"));
            entry.address.clash(wrong.help("give one of them another port"), field);
        }
        None => {
            let wrong = Wrong::new(format!("{address} is the address of {what}, unless [admin] has another"));
            entry.address.wrong(wrong.help("give the listener another port, or write `address` in [admin]"));
        }
    }
}

/// Both cannot be bound at once.
fn overlap(new: &Listener, old: &Listener) -> Option<Wrong> {
    if new.address.is_any_port() {
        return None;
    }
    if new.address == old.address {
        let wrong = Wrong::new(format!("another listener has the address {} already", new.address));
        return Some(wrong.help("keep one of them, or give this one another port"));
    }
    let (Address::Tcp(one), Address::Tcp(two)) = (&new.address, &old.address) else { return None };
    let dual = |listener: &Listener, ip: IpAddr| ip.is_ipv6() && ip.is_unspecified() && !listener.ipv6_only;
    let all_ipv4 = |ip: IpAddr| ip.is_ipv4() && ip.is_unspecified();
    let both = (dual(new, one.ip()) && all_ipv4(two.ip())) || (all_ipv4(one.ip()) && dual(old, two.ip()));
    (both && one.port() == two.port()).then(|| {
        let port = one.port();
        Wrong::new(format!("[::]:{port} takes IPv4 as well, so 0.0.0.0:{port} is taken"))
            .help("keep [::] alone, or set `ipv6_only = true` on it")
    })
}
