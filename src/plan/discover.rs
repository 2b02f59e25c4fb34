//! Backends of a pool that are not in the file: those that DNS knows under the name of its service. Made with the pool.

use super::service;
use crate::{
    config::{self, Address, Backend, Config, Discover},
    net::dns::{Ask, Endpoint, Question},
    pool::Registry,
};
use std::{borrow::Cow, collections::HashSet, net::SocketAddr, sync::Arc};

/// No backend has more weight than the file could give it.
const MAX_WEIGHT: u16 = 1000;

/// What is asked for `discover`.
fn ask(discover: &Discover) -> Ask {
    match discover {
        Discover::Dns(name, _) => Ask::Addresses(name.clone()),
        Discover::Srv(name) => Ask::Services(name.clone()),
    }
}

/// Every name that `config` has, as it stands in `registry`. While somebody holds them, what is found out about them is
/// there for the plan.
pub fn questions(config: &Config, registry: &Registry) -> Vec<Arc<Question>> {
    let of_pool = |pool: &config::Pool| {
        let backends = pool.backends.iter().filter_map(|backend| backend.address.name());
        let asks = backends.map(|name| Ask::Addresses(name.to_owned())).chain(pool.discover.as_ref().map(ask));
        asks.collect::<HashSet<_>>()
    };
    let services: Vec<_> = service::pools(config).collect();
    let mut asks: HashSet<_> = config.pools.iter().chain(&services).flat_map(of_pool).collect();
    asks.extend(service::names(config));
    asks.iter().map(|ask| registry.question(ask)).collect()
}

/// `pool` with all the backends that it has today, and where further ones are found.
pub(super) fn whole<'c>(pool: &'c config::Pool, registry: &Registry) -> (Cow<'c, config::Pool>, Option<Arc<Question>>) {
    let Some(discover) = &pool.discover else { return (Cow::Borrowed(pool), None) };
    let question = registry.question(&ask(discover));
    let mut pool = pool.clone();
    let answer = question.answer();
    let found = answer.iter().flat_map(|answer| backends(discover, answer));
    join(&mut pool.backends, found);
    (Cow::Owned(pool), Some(question))
}

/// Adds `found` to what the file has, which wins where an address or a name stands in both.
fn join(backends: &mut Vec<Backend>, found: impl Iterator<Item = Backend>) {
    let mut addresses: HashSet<_> = backends.iter().map(|backend| backend.address.clone()).collect();
    let mut names: HashSet<_> = backends.iter().map(|backend| backend.name.clone()).collect();
    for backend in found {
        if !names.contains(&backend.name) && addresses.insert(backend.address.clone()) {
            names.insert(backend.name.clone());
            backends.push(backend);
        }
    }
}

/// The backends that a sorted answer tells of: an address that stands in several tiers belongs to the first.
fn backends(discover: &Discover, answer: &[Endpoint]) -> Vec<Backend> {
    let first = answer.first().map(|endpoint| endpoint.priority);
    let backend = |endpoint: &Endpoint| {
        let (port, weight, backup) = match discover {
            Discover::Dns(_, port) => (*port, 1, false),
            Discover::Srv(_) => (endpoint.port, endpoint.weight.clamp(1, MAX_WEIGHT), Some(endpoint.priority) != first),
        };
        let address = SocketAddr::new(endpoint.ip, port);
        Backend {
            address: Address::Tcp(address),
            name: address.to_string(),
            weight: u32::from(weight),
            backup,
            max_in_flight: None,
        }
    };
    // What can be called by nobody is nobody.
    let callable =
        |backend: &Backend| matches!(&backend.address, Address::Tcp(at) if at.port() != 0 && !at.ip().is_unspecified());
    answer.iter().map(backend).filter(callable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(priority: u16, ip: &str, port: u16, weight: u16) -> Endpoint {
        Endpoint { priority, ip: ip.parse().unwrap(), port, weight }
    }

    fn told(backends: &[Backend]) -> Vec<String> {
        let tell = |backend: &Backend| {
            let backup = if backend.backup { " backup" } else { "" };
            format!("{} {}{backup}", backend.name, backend.weight)
        };
        backends.iter().map(tell).collect()
    }

    #[test]
    fn a_backend_for_each_address() {
        let discover = Discover::Dns("api.local".into(), 80);
        let answer = [endpoint(0, "10.0.0.1", 0, 0), endpoint(0, "2001:db8::1", 0, 0), endpoint(0, "0.0.0.0", 0, 0)];
        assert_eq!(told(&backends(&discover, &answer)), ["10.0.0.1:80 1", "[2001:db8::1]:80 1"]);
    }

    #[test]
    fn services_say_tiers_ports_and_weights() {
        let discover = Discover::Srv("_api._tcp.local".into());
        let answer = [
            endpoint(5, "10.0.0.1", 80, 0),
            endpoint(5, "10.0.0.2", 81, 65_535),
            endpoint(9, "10.0.0.1", 80, 7),
            endpoint(9, "10.0.0.3", 80, 7),
            endpoint(9, "10.0.0.4", 0, 7),
        ];
        let mut all = Vec::new();
        join(&mut all, backends(&discover, &answer).into_iter());
        assert_eq!(told(&all), ["10.0.0.1:80 1", "10.0.0.2:81 1000", "10.0.0.3:80 7 backup"]);
    }

    #[test]
    fn the_file_wins() {
        let written = |address: &str, name: &str| Backend {
            address: Address::Tcp(address.parse().unwrap()),
            name: name.into(),
            weight: 3,
            backup: false,
            max_in_flight: None,
        };
        let mut all = vec![written("10.0.0.1:80", "a"), written("10.0.0.9:80", "10.0.0.2:80")];
        let discover = Discover::Dns("api.local".into(), 80);
        let answer = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| endpoint(0, ip, 0, 0));
        join(&mut all, backends(&discover, &answer).into_iter());
        assert_eq!(told(&all), ["a 3", "10.0.0.2:80 3", "10.0.0.3:80 1"]);
    }
}
