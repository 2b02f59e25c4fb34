//! What only routes, listeners and ways in together show. Called once everything is read and nothing is wrong.

use std::collections::HashSet;

use ipnet::IpNet;

use super::{
    super::{
        super::{Address, AuthKind, Listener, Route, Server, report::Wrong, section::Field, units::quoted},
        route,
    },
    Entry,
};

/// Warns of ways in that no route uses, of secrets that cross a network unencrypted, and of lists that let nobody in.
pub(in super::super) fn warn(
    auths: &[Entry<'_>],
    routes: &[route::Entry<'_>],
    listeners: &[Listener],
    server: &Server,
) {
    let used: HashSet<&str> = routes.iter().filter_map(|entry| entry.route.auth.as_deref()).collect();
    for entry in auths.iter().filter(|entry| !used.contains(entry.auth.name.as_str())) {
        let wrong = Wrong::new("no route uses this way in");
        entry.field.warn(wrong.help(format!("write auth = {} in a route, or take it out", quoted(&entry.auth.name))));
    }
    for entry in auths {
        if let AuthKind::Basic(basic) = &entry.auth.kind
            && basic.users.costs_differ()
            && let Some((_, field)) = entry.field.entries().into_iter().find(|(name, _)| *name == "users")
        {
            let wrong = Wrong::new(
                "some of its hashes take far longer than others: the time of a refusal tells something of who is there",
            );
            field.warn(wrong.help("make them with the same tool and cost, as `htpasswd -nB -C 10 NAME` does"));
        }
    }
    // Whoever is believed to tell of TLS has it in front of us.
    let fronted = server.trusted_proxies.unix || !server.trusted_proxies.nets.is_empty();
    for entry in routes {
        if let Some(field) = find(entry, "auth").filter(|_| !fronted) {
            open(&entry.route, &field, listeners);
        }
        if let Some(field) = find(entry, "response_headers").filter(|_| entry.route.cors.is_some()) {
            twice(&entry.route, &field);
        }
        if let Some(field) = find(entry, "allow") {
            shut(&entry.route, &field);
        }
    }
}

/// Passwords, keys and tokens that anybody on the way can read.
fn open(route: &Route, field: &Field<'_>, listeners: &[Listener]) {
    let is_for = |listener: &&Listener| route.listeners.is_empty() || route.listeners.contains(&listener.name);
    let is_open = |listener: &&Listener| {
        let near = match &listener.address {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix(_) => true,
            Address::Named(..) => false,
        };
        listener.tls.is_none() && !near && !listener.redirect_to_https
    };
    if let Some(listener) = listeners.iter().filter(is_for).find(is_open) {
        let name = quoted(&listener.name);
        let wrong =
            Wrong::new(format!("what clients show crosses the network unencrypted: listener {name} has no `tls`"));
        let help = "give it `tls`, or name in `listener` those that have it; if a proxy in front has it, name that in \
                    `trusted_proxies`";
        field.warn(wrong.help(help));
    }
}

/// Two say whose pages may see an answer: browsers want one.
fn twice(route: &Route, field: &Field<'_>) {
    let rules = &route.response_headers;
    let names = rules.set.iter().chain(&rules.add).map(|(name, _)| name);
    if names.clone().any(|name| name.to_ascii_lowercase().starts_with("access-control-allow-")) {
        let wrong = Wrong::new("`cors` of this route says whose pages may see its answers, and so do these");
        field.warn(wrong.help("keep `cors`, and take Access-Control-Allow-* out of `response_headers`"));
    }
}

/// `allow` lets nobody in.
fn shut(route: &Route, field: &Field<'_>) {
    if route.allow.is_empty() {
        return;
    }
    let inside = |net: &IpNet, nets: &[IpNet]| nets.iter().any(|other| other.contains(net));
    let apart =
        |net: &IpNet| !inside(net, &route.client_ip) && !route.client_ip.iter().any(|other| net.contains(other));
    if route.allow.iter().all(|net| inside(net, &route.deny)) {
        let wrong = Wrong::new("nobody is let in: `deny` wins, and has all of it");
        field.warn(wrong.help("take out of `deny` those who may come"));
    } else if !route.client_ip.is_empty() && route.allow.iter().all(apart) {
        let wrong = Wrong::new("nobody is let in: the route is for a `client_ip` that is not in it");
        field.warn(wrong.help("keep one of the two: `client_ip` leaves others to other routes, `allow` refuses them"));
    }
}

fn find<'a>(entry: &route::Entry<'a>, key: &str) -> Option<Field<'a>> {
    entry.field.entries().into_iter().find(|(name, _)| *name == key).map(|(_, field)| field)
}
