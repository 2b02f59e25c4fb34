//! What a configuration means: immutable, built whole or not at all, shared by all workers.

mod alone;
mod checks;
mod client;
mod custom_load;
pub mod diff;
mod discover;
mod door;
mod explain;
mod limits;
mod pool;
mod route;
mod service;
mod side;
mod table;
mod test;

pub use checks::ChecksTls;
pub use client::says_https;
pub use custom_load::{CustomLoad, Overdue};
pub use discover::questions;
pub use door::Door;
pub use explain::{Answer, Candidate, Explanation, PoolSaid, Seen, Setting, Side, Tried};
pub use pool::{Member, Pool, Settings};
pub use route::{Act, Fallback, Forward, Mirror, Route};
pub use test::{TestError, test};

use crate::{
    balance::Algorithm,
    config::{self, Config},
    error::Kind,
    http::{Limits, Method, h1::HeadLimits},
    net::{Budget, Networks, Peer, PerIp, dns::Question},
    policy::{AuthGround, Auths, ErrorPages, Memory, limit::Rates},
    pool::{Backend, Registry},
    route::{Request, Router},
    telemetry::metrics::{ListenerMetrics, RequestMetrics, RouteMetrics, Telemetry},
    tls,
};
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

/// Everything that an exchange looks at.
#[derive(Debug)]
pub struct Plan {
    /// Grows with each configuration that was accepted.
    pub generation: u64,
    /// Our pseudonym in `Via` and `Proxy-Status`.
    pub via: String,
    /// Send RFC 7239 `Forwarded` as well.
    pub forwarded: bool,
    /// By number; `None` where this plan has no listener of that number.
    pub listeners: Vec<Option<Listener>>,
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// Chooses one of them.
    pub router: Router,
    /// Requests that match none.
    pub unrouted: Arc<RouteMetrics>,
    /// In the order of the file.
    pub pools: Vec<Pool>,
    /// Ways in that routes ask for.
    pub auths: Auths,
    /// Names of servers that have their keys.
    asked: Vec<Arc<Question>>,
    /// Rate limits by name, used or not.
    pub rates: Rates,
    /// Bodies of our own errors.
    pub error_pages: ErrorPages,
    /// How long what has begun may go on, when the process or a part of the plan ends.
    pub drain_timeout: Duration,
    /// What the access log has beside the usual fields.
    pub access: Access,
    /// Spans are recorded.
    pub trace: Option<Trace>,
    /// Some pool is told in a PROXY header who its clients are, and which address they called.
    pub tells_clients: bool,
    /// Proxies whose word is believed.
    trusted: Networks,
    /// So are those on unix sockets.
    trusts_unix: bool,
}

/// What requests leave in the access log.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// There is one.
    pub on: bool,
    /// The share of requests that get a line, of 2^32; failures always do.
    pub sample: u64,
    /// An exchange waits while its line finds no room.
    pub wait: bool,
    /// Fields beside the usual ones.
    pub fields: Vec<config::AccessField>,
    /// Their names, as written.
    pub names: Vec<String>,
}

impl Access {
    fn build(log: &config::Log) -> Self {
        let name = |field: &config::AccessField| match field {
            config::AccessField::Request(name) => format!("request:{name}"),
            config::AccessField::Response(name) => format!("response:{name}"),
            config::AccessField::Query => "query".to_owned(),
        };
        Self {
            on: log.access != config::AccessLog::Off,
            sample: (log.access_sample * 2f64.powi(32)) as u64,
            wait: log.access_overflow == config::Overflow::Wait,
            fields: log.access_fields.clone(),
            names: log.access_fields.iter().map(name).collect(),
        }
    }
}

/// Whose spans are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The share of requests that belong to no caller's trace, of 2^32.
    pub sample: u64,
}

/// A listener, as exchanges see it.
#[derive(Debug)]
pub struct Listener {
    /// In logs and metrics.
    pub name: String,
    /// Its place among the listeners of the file, as the router knows it.
    pub place: usize,
    /// Its number, the same in all plans.
    pub number: usize,
    /// What counts its connections, the same in all plans.
    pub connections: Arc<Budget>,
    /// Connections at a time.
    pub max_connections: Option<usize>,
    /// Looks at who connects, if anything is asked of them.
    pub door: Option<Arc<Door>>,
    /// What clients may do.
    pub limits: Arc<Limits>,
    /// Connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// It speaks TLS alone.
    pub tls: Option<Arc<tls::Server>>,
    /// Every request is sent to https.
    pub redirect_to_https: bool,
    /// What is counted of it.
    pub metrics: Arc<ListenerMetrics>,
    /// Its requests, by route; the last are those that match none.
    pub requests: Vec<Arc<RequestMetrics>>,
}

/// Numbers of listeners and their connections: by address, the same in all plans. A listener under another name is the
/// same one; at another address it is not.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    known: HashMap<(config::Address, Option<String>), Known>,
}

/// A listener's number, and what counts its connections: all, and those of each address.
#[derive(Clone, Debug)]
struct Known {
    number: usize,
    connections: Arc<Budget>,
    per_ip: Arc<PerIp>,
}

impl Numbers {
    /// What is known of `listener`; new for a new address.
    fn of(&mut self, listener: &config::Listener) -> Known {
        // Port 0 asks for any: then the name tells.
        let key = (listener.address.clone(), listener.address.is_any_port().then(|| listener.name.clone()));
        let number = self.known.len();
        let new = || Known { number, connections: Budget::new(None), per_ip: Arc::default() };
        self.known.entry(key).or_insert_with(new).clone()
    }
}

/// What a plan is made from beside the configuration.
#[derive(Debug)]
pub struct Ground<'a> {
    /// What survives reloads.
    pub registry: &'a Registry,
    /// What policies remember.
    pub memory: &'a Memory,
    /// Numbers of listeners.
    pub numbers: &'a mut Numbers,
    /// Replaces the pools' own algorithms.
    pub algorithm: Option<Algorithm>,
    /// The plan that this one takes the place of: TLS sessions with it may be resumed.
    pub before: Option<&'a Plan>,
}

impl Plan {
    /// What `config` means. Backends, slots and series that there are already stay the same.
    ///
    /// # Errors
    /// A sentence for people: what a listener or pool needs for TLS is not on this machine.
    pub fn build(config: &Config, generation: u64, ground: &mut Ground<'_>) -> Result<Self, String> {
        Self::make(config, generation, ground, false)
    }

    /// What `config` means now that its pools may have other backends. The plan before was made of it as well: what is
    /// shown to clients by TLS stays as it is today.
    ///
    /// # Errors
    /// As [`Plan::build`].
    pub fn rebuild(config: &Config, generation: u64, ground: &mut Ground<'_>) -> Result<Self, String> {
        Self::make(config, generation, ground, true)
    }

    fn make(config: &Config, generation: u64, ground: &mut Ground<'_>, same: bool) -> Result<Self, String> {
        let Ground { registry, memory, numbers, algorithm, before } = ground;
        let telemetry = registry.telemetry();
        let pool = |pool| Pool::build(pool, registry, *algorithm, *before);
        let mut pools = config.pools.iter().map(pool).collect::<Result<Vec<_>, _>>()?;
        let services = pools.len();
        for service in service::pools(config) {
            pools.push(Pool::build(&service, registry, None, *before)?);
        }
        let places = pools
            .iter()
            .take(services)
            .enumerate()
            .map(|(place, pool): (usize, &Pool)| (pool.name.as_str(), place))
            .collect();
        let (auths, rates) = match before.filter(|_| same) {
            Some(before) => (before.auths.clone(), before.rates.clone()),
            None => (
                Auths::build(config, AuthGround { memory, workers: registry.workers(), services })?,
                memory.limits.rates(&config.rate_limits, telemetry),
            ),
        };
        let limits = |route| memory.limits.limits(route, &rates);
        let route = |route| Route::build(route, &places, (telemetry, &auths), limits(route));
        let routes: Vec<_> = config.routes.iter().map(route).collect();
        let names: Vec<_> = config.listeners.iter().map(|listener| listener.name.clone()).collect();
        let router = Router::new(&config.routes, &names);
        let unrouted = telemetry.route("");
        let mut listeners = Vec::new();
        for (place, listener) in config.listeners.iter().enumerate() {
            let known = numbers.of(listener);
            let number = known.number;
            if listeners.len() <= number {
                listeners.resize_with(number + 1, || None);
            }
            let before = before.and_then(|before| before.listener(number)?.tls.as_ref());
            let tls = listener.tls.as_ref().map(|tls| match before.filter(|_| same) {
                Some(before) => Ok(Arc::clone(before)),
                None => tls::Server::build(tls, before.map(|before| &**before)),
            });
            let tls = tls.transpose();
            let tls = tls.map_err(|why| format!("listener {}: tls: {why}", listener.name))?;
            let mut built = Listener::build(listener, place, known, &config.server, telemetry);
            built.metrics.set_tls(tls.is_some());
            built.tls = tls;
            let all = routes.iter().map(|route| &route.metrics).chain([&unrouted]);
            built.requests = all.map(|route| telemetry.requests(&built.metrics, route)).collect();
            listeners[number] = Some(built);
        }
        Ok(Self {
            generation,
            via: config.server.via.clone(),
            forwarded: config.server.forwarded,
            listeners,
            routes,
            router,
            unrouted,
            pools,
            auths,
            asked: service::names(config).map(|ask| registry.question(&ask)).collect(),
            rates,
            error_pages: ErrorPages::new(&config.error_pages),
            access: Access::build(&config.log),
            trace: config.trace.as_ref().map(|trace| Trace { sample: (trace.sample * 2f64.powi(32)) as u64 }),
            drain_timeout: config.server.drain_timeout,
            tells_clients: config.pools.iter().any(|pool| pool.send_proxy_protocol.is_some()),
            trusted: Networks::new(&config.server.trusted_proxies.nets),
            trusts_unix: config.server.trusted_proxies.unix,
        })
    }

    /// The place of the route that `request` takes.
    ///
    /// # Errors
    /// None is for it; or it is a CONNECT, and its route has none.
    pub fn find(&self, request: &Request<'_>) -> Result<usize, Kind> {
        let connect = request.head.method() == Method::Connect;
        let place = self.router.find(request).filter(|&place| !connect || self.routes[place].act.connects());
        place.ok_or(if connect { Kind::ConnectDenied } else { Kind::NoRoute })
    }

    /// The listener of that number, if this plan has it.
    pub fn listener(&self, number: usize) -> Option<&Listener> {
        self.listeners.get(number)?.as_ref()
    }

    /// `peer` may tell us who its client is.
    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Unix => self.trusts_unix,
            Peer::Tcp(peer) => self.trusts_address(peer.ip()),
        }
    }

    /// `address` is a proxy whose word is believed.
    pub fn trusts_address(&self, address: IpAddr) -> bool {
        self.trusted.contains(address)
    }

    /// The listeners that it has.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().flatten()
    }

    /// The names that it has, of backends, of services, and of servers that have keys.
    pub fn questions(&self) -> impl Iterator<Item = &Arc<Question>> {
        let discovers = self.pools.iter().filter_map(|pool| pool.discovers.as_ref());
        self.backends().filter_map(|backend| backend.question.as_ref()).chain(discovers).chain(&self.asked)
    }

    /// Backends of all pools.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.pools.iter().flat_map(|pool| pool.members.iter().map(|member| &member.backend))
    }
}

impl Listener {
    fn build(
        listener: &config::Listener,
        place: usize,
        Known { number, connections, per_ip }: Known,
        server: &config::Server,
        telemetry: &Telemetry,
    ) -> Self {
        let head = HeadLimits {
            max_size: listener.max_header_size,
            max_fields: listener.max_headers,
            max_target: listener.max_target_size,
            encode: listener.non_ascii_targets == config::NonAscii::Encode,
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
            max_age: listener.max_connection_age,
            h2: listener.h2.clone(),
        };
        let metrics = telemetry.listener(&listener.name);
        Self {
            name: listener.name.clone(),
            place,
            number,
            connections,
            max_connections: listener.max_connections,
            door: Door::build(listener, per_ip),
            limits: Arc::new(limits),
            proxy_protocol: listener.proxy_protocol,
            tls: None,
            redirect_to_https: listener.redirect_to_https,
            metrics,
            requests: Vec::new(),
        }
    }
}
