//! What a configuration means: immutable, built whole or not at all, shared by all workers.

mod metrics;

pub use metrics::{DEFAULT_ROUTE, Metrics, NO_ROUTE};

use crate::{
    balance::Algorithm,
    config::{self, Config},
    http::{Limits, h1::HeadLimits},
    net::{Budget, Peer},
    pool::{Backend, Table},
};
use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

/// Everything that an exchange looks at.
#[derive(Debug)]
pub struct Plan {
    /// Our pseudonym in `Via` and `Proxy-Status`.
    pub via: String,
    /// Send RFC 7239 `Forwarded` as well.
    pub forwarded: bool,
    /// By number.
    pub listeners: Vec<Listener>,
    /// By number.
    pub pools: Vec<Pool>,
    trusted: config::Trusted,
}

/// A listener, as exchanges see it.
#[derive(Debug)]
pub struct Listener {
    /// In logs and metrics.
    pub name: String,
    /// Connections at a time.
    pub max_connections: Option<usize>,
    /// What clients may do.
    pub limits: Arc<Limits>,
}

/// A pool and its settings.
#[derive(Debug)]
pub struct Pool {
    /// In logs and metrics.
    pub name: String,
    /// All its backends.
    pub backends: Vec<Arc<Backend>>,
    /// Those that can be chosen.
    pub table: Table,
    /// How its backends are called.
    pub settings: Settings,
}

/// How a pool's backends are called. `None` = no bound.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kept connections per backend and worker.
    pub max_idle: usize,
    /// How long a connection is kept without a request.
    pub idle_timeout: Option<Duration>,
    /// Requests that one connection carries.
    pub max_requests: Option<u64>,
    /// Connections to each backend, of the process.
    pub max_connections: Option<usize>,
    /// Addresses to connect from, in turn; empty = the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// For a connection.
    pub connect_timeout: Option<Duration>,
    /// From the request sent to the response head.
    pub response_timeout: Option<Duration>,
    /// The longest silence inside a body.
    pub body_timeout: Option<Duration>,
    /// The longest silence of a tunnel.
    pub tunnel_timeout: Option<Duration>,
    /// Send the client's `Host`.
    pub pass_host: bool,
    /// TLS to the backends.
    pub tls: Option<Tls>,
}

/// TLS to the backends of a pool.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Trust, client certificate and resumption.
    pub config: Arc<rustls::ClientConfig>,
    /// The name that the certificate must bear.
    pub server_name: rustls::pki_types::ServerName<'static>,
}

impl Plan {
    /// What `config` means for so many workers. Connections to backends count in `process`, and `algorithm` replaces the
    /// pools' own.
    pub fn build(config: &Config, workers: usize, process: &Arc<Budget>, algorithm: Option<Algorithm>) -> Self {
        let mut next_id = 0..;
        let pools =
            config.pools.iter().map(|pool| Pool::build(pool, workers, process, algorithm, &mut next_id)).collect();
        Self {
            via: config.server.via.clone(),
            forwarded: config.server.forwarded,
            listeners: config.listeners.iter().map(|listener| Listener::build(listener, &config.server)).collect(),
            pools,
            trusted: config.server.trusted_proxies.clone(),
        }
    }

    /// `peer` may tell us who its client is.
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.trusted.unix,
            Peer::Tcp(peer) => self.trusts_address(peer.ip()),
        }
    }

    /// `address` is a proxy whose word is believed.
    pub fn trusts_address(&self, address: IpAddr) -> bool {
        self.trusted.nets.iter().any(|net| net.contains(&address.to_canonical()))
    }

    /// Backends of all pools, by their numbers.
    pub fn backends(&self) -> impl Iterator<Item = (&Pool, &Arc<Backend>)> {
        self.pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
    }
}

impl Listener {
    fn build(listener: &config::Listener, server: &config::Server) -> Self {
        let head = HeadLimits {
            max_size: listener.max_header_size,
            max_fields: listener.max_headers,
            max_target: listener.max_target_size,
        };
        let limits = Limits {
            head,
            header_timeout: listener.header_timeout,
            body_timeout: listener.body_timeout,
            min_body_rate: listener.min_body_rate,
            write_timeout: listener.write_timeout,
            idle_timeout: listener.idle_timeout,
            max_body: listener.max_body_size,
            half_close: listener.half_close,
            underscores: server.underscore_headers,
        };
        Self { name: listener.name.clone(), max_connections: listener.max_connections, limits: Arc::new(limits) }
    }
}

impl Pool {
    fn build(
        pool: &config::Pool,
        workers: usize,
        process: &Arc<Budget>,
        algorithm: Option<Algorithm>,
        ids: &mut impl Iterator<Item = u32>,
    ) -> Self {
        let backend = |(backend, id): (&config::Backend, u32)| {
            let process = Arc::clone(process);
            Arc::new(Backend::new(id, backend.name.clone(), backend.address.clone(), backend.weight, process))
        };
        let backends: Vec<_> = pool.backends.iter().zip(ids).map(backend).collect();
        let own = match pool.algorithm {
            config::Algorithm::RoundRobin => Algorithm::RoundRobin,
            config::Algorithm::Random => Algorithm::Random,
            config::Algorithm::PowerOfTwoChoices => Algorithm::PowerOfTwoChoices,
            config::Algorithm::LeastConnections => Algorithm::LeastConnections,
        };
        // Processes that start together must not all begin with the first backend.
        let cursor = Arc::new(AtomicUsize::new(getrandom::u32().unwrap_or(0) as usize));
        let settings = Settings {
            max_idle: pool.keepalive.max_idle.div_ceil(workers.max(1)),
            idle_timeout: pool.keepalive.idle_timeout,
            max_requests: pool.keepalive.max_requests,
            max_connections: pool.max_connections,
            sources: pool.source_address.clone(),
            connect_timeout: pool.connect_timeout,
            response_timeout: pool.response_timeout,
            body_timeout: pool.body_timeout,
            tunnel_timeout: pool.tunnel_timeout,
            pass_host: pool.pass_host,
            tls: None,
        };
        let weighted: Vec<_> = backends.iter().map(|backend| (Arc::clone(backend), backend.weight)).collect();
        let table = Table::new(algorithm.unwrap_or(own), &weighted, &cursor);
        Self { name: pool.name.clone(), table, backends, settings }
    }
}
