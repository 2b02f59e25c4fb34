//! Hosts of servers beside those of others. Called by `nginx::serve`. Pure.

use super::{Server, listen::Door};

/// A host that one of `hosts` matches, and no other server; without `hosts` one that nobody matches.
pub(super) fn sample(hosts: &[String], servers: &[Server<'_>]) -> String {
    if let Some(exact) = hosts.iter().find(|host| !host.starts_with('*')) {
        return exact.clone();
    }
    let wild = hosts.first().map_or("*.example", String::as_str);
    let own = wild.trim_start_matches('*');
    let takes = |host: &String, name: &str| match host.strip_prefix('*') {
        // A longer one would be asked before.
        Some(domain) => name.ends_with(domain) && domain.len() > own.len(),
        None => host == name,
    };
    let taken = |name: &String| servers.iter().flat_map(|server| &server.hosts).any(|host| takes(host, name));
    let first = if hosts.is_empty() { "any" } else { "x" };
    let labels = std::iter::once(first.to_owned()).chain((2..100).map(|number| format!("{first}{number}")));
    let mut names = labels.map(|label| wild.replacen('*', &label, 1));
    names.find(|name| !taken(name)).unwrap_or_else(|| wild.replacen('*', first, 1))
}

/// The names of the server `number` that are its own at `doors`: of several servers the first has a name.
pub(super) fn untaken(number: usize, servers: &[Server<'_>], doors: &[&Door]) -> Vec<String> {
    let own = |host: &&String| doors.iter().all(|door| door.owners.get(*host).is_none_or(|owner| *owner == number));
    servers[number].hosts.iter().filter(own).cloned().collect()
}

/// The same for each of `doors`; those with the same names together.
pub(super) fn own<'d>(number: usize, servers: &[Server<'_>], doors: &[&'d Door]) -> Vec<(Vec<String>, Vec<&'d Door>)> {
    let mut spots: Vec<(Vec<String>, Vec<&Door>)> = Vec::new();
    for &door in doors {
        let hosts = untaken(number, servers, &[door]);
        match spots.iter_mut().find(|(known, _)| *known == hosts) {
            Some((_, doors)) => doors.push(door),
            None => spots.push((hosts, vec![door])),
        }
    }
    spots
}

/// Names of a default server that wildcards of others, behind the same listeners, would take.
pub(super) fn shadowed(server: &Server<'_>, servers: &[Server<'_>], doors: &[&Door]) -> Vec<String> {
    let others = doors.iter().flat_map(|door| &door.servers).map(|number| &servers[*number]);
    let wild: Vec<&str> = others
        .filter(|other| !std::ptr::eq(other.directive, server.directive))
        .flat_map(|other| &other.hosts)
        .filter_map(|host| host.strip_prefix('*'))
        .collect();
    let taken = |host: &&String| wild.iter().any(|suffix| host.trim_start_matches('*').ends_with(suffix));
    server.hosts.iter().filter(taken).cloned().collect()
}
