//! The service of a `forward` is a pool like any other: its name is resolved, its connections are kept, it is counted, and
//! an operator sees it. Made with the plan, behind the pools of the file.

use crate::config::{
    Algorithm, Auth, AuthKind, Backend, CircuitBreaker, Config, ForwardAuth, Hash, JwtKeys, Keepalive, MaxInFlight,
    Pool, PoolTls, Protocol, Retry, WhenAllDown,
};
use crate::net::dns::Ask;
use std::time::Duration;

/// Questions at a time, of the process. Beyond them nobody waits: it is said that the service cannot be asked.
const MOST: u32 = 1024;
/// Kept connections, of the process.
const KEPT: usize = 256;

/// The names of servers that have keys of tokens, and that of the collector of spans.
pub(super) fn names(config: &Config) -> impl Iterator<Item = Ask> {
    let keys = config.auths.iter().filter_map(|auth| match &auth.kind {
        AuthKind::Jwt(jwt) => match &jwt.keys {
            JwtKeys::Url(url) => Some(url),
            JwtKeys::File(_) | JwtKeys::Secret(_) => None,
        },
        _ => None,
    });
    let collector = config.trace.as_ref().map(|trace| &trace.otlp);
    keys.chain(collector).filter_map(|url| url.address.name().map(|name| Ask::Addresses(name.to_owned())))
}

/// The pools of all services that `config` asks.
pub(super) fn pools(config: &Config) -> impl Iterator<Item = Pool> {
    config.auths.iter().filter_map(|auth| match &auth.kind {
        AuthKind::Forward(forward) => Some(pool(auth, forward)),
        _ => None,
    })
}

fn pool(auth: &Auth, forward: &ForwardAuth) -> Pool {
    let url = &forward.url;
    let backend = Backend {
        address: url.address.clone(),
        name: url.authority.clone(),
        weight: 1,
        backup: false,
        max_in_flight: None,
    };
    let timeout = Some(forward.timeout);
    Pool {
        name: auth.service(),
        algorithm: Algorithm::RoundRobin,
        backends: vec![backend],
        discover: None,
        keepalive: Keepalive { max_idle: KEPT, idle_timeout: Some(Duration::from_secs(30)), max_requests: None },
        max_connections: None,
        max_in_flight: MaxInFlight::Most(MOST),
        queue: None,
        source_address: Vec::new(),
        connect_timeout: timeout,
        response_timeout: timeout,
        body_timeout: timeout,
        tunnel_timeout: timeout,
        // The question's own host: the URL's.
        pass_host: true,
        when_all_down: WhenAllDown::TryAny,
        health_checks: Vec::new(),
        circuit_breaker: CircuitBreaker { enabled: false, ..CircuitBreaker::default() },
        outlier: None,
        retry: Retry::default(),
        protocol: Protocol::H1,
        send_proxy_protocol: None,
        tls: url.tls.then_some(PoolTls { roots: None, server_name: None, identity: None, verify: true }),
        hash: Hash::default(),
        custom_load: None,
        sticky: None,
        slow_start: None,
    }
}
