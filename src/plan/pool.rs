//! A pool of the plan: its members, how they are called, and which of them make today's table.

use super::{
    Plan,
    checks::{self, ChecksTls},
    custom_load::CustomLoad,
    discover,
};
use crate::{
    balance::Algorithm,
    config,
    net::dns::Question,
    policy::{Key, Sticky},
    pool::{Backend, Guard, On, OutlierRule, Registry, Rules, Slot},
    telemetry::Seldom,
    tls,
};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// A pool and its settings.
#[derive(Debug)]
pub struct Pool {
    /// In logs and metrics.
    pub name: String,
    /// All its backends.
    pub members: Vec<Member>,
    /// Where further ones are found.
    pub discovers: Option<Arc<Question>>,
    /// Where today's table stands.
    pub slot: Arc<Slot>,
    /// How its backends are called.
    pub settings: Settings,
    /// How it is found out whether they can serve.
    pub checks: Arc<[config::HealthCheck]>,
    /// Their TLS.
    pub checks_tls: ChecksTls,
    /// What its backends say of themselves, where they are asked.
    pub custom_load: Option<Arc<CustomLoad>>,
    /// Further attempts.
    pub retry: config::Retry,
    /// The algorithm's name, for people.
    pub algorithm_name: &'static str,
    /// What its algorithm chooses by; `None`: not by the request.
    pub key: Option<Key>,
    /// Its algorithm weighs bytes: they are told to the backends' loads as they flow.
    pub metered: bool,
    /// What keeps clients at their backends.
    pub sticky: Option<Box<Sticky>>,
    /// When its backends, or it as a whole, are left alone; `None`: never.
    pub guard: Option<Arc<Guard>>,
    /// Who is much slower than the others,
    pub outlier: OutlierRule,
    /// and is left alone for it.
    pub ejects_outliers: bool,
    pub(super) algorithm: Algorithm,
    /// How long a backend takes to its whole weight.
    pub(super) slow_start: Option<Duration>,
    /// No backend carries more of what is hashed than so many percent of the mean.
    pub(super) bound: u32,
    pub(super) try_any: bool,
    pub(super) initially_up: bool,
}

/// A backend, and what the file says of it.
#[derive(Debug)]
pub struct Member {
    /// Who it is.
    pub backend: Arc<Backend>,
    /// Its share beside the others'.
    pub weight: u32,
    /// Used only while no other can be.
    pub backup: bool,
    /// Attempts at it at a time.
    pub max_in_flight: config::MaxInFlight,
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
    /// Those who wait when all are full; `None`: nobody does.
    pub queue: Option<config::Queue>,
    /// Addresses to connect from, in turn; empty = the kernel chooses.
    pub sources: Arc<[IpAddr]>,
    /// Says that there are no local ports left.
    pub shortage: Arc<Seldom>,
    /// For a connection.
    pub connect_timeout: Option<Duration>,
    /// From the request sent to the response head.
    pub response_timeout: Option<Duration>,
    /// The longest silence inside a body.
    pub body_timeout: Option<Duration>,
    /// The longest silence of a tunnel.
    pub tunnel_timeout: Option<Duration>,
    /// Connections begin with a PROXY header: each is one client's, and none is kept.
    pub proxy_protocol: Option<config::ProxyVersion>,
    /// Send the client's `Host`.
    pub pass_host: bool,
    /// What is spoken with the backends.
    pub protocol: config::Protocol,
    /// TLS to the backends.
    pub tls: Option<Arc<tls::Client>>,
}

impl Pool {
    pub(super) fn build(
        pool: &config::Pool,
        registry: &Registry,
        algorithm: Option<Algorithm>,
        before: Option<&Plan>,
    ) -> Result<Self, String> {
        let (pool, discovers) = discover::whole(pool, registry);
        let pool = &*pool;
        let slot = registry.slot(&pool.name);
        let member = |backend: &config::Backend| Member {
            backend: registry.backend(&pool.name, &backend.name, &backend.address),
            weight: backend.weight,
            backup: backend.backup,
            max_in_flight: backend.max_in_flight.unwrap_or(pool.max_in_flight),
        };
        let bound = pool.hash.bounded_load;
        let own = match pool.algorithm {
            config::Algorithm::RoundRobin => Algorithm::RoundRobin,
            config::Algorithm::Random => Algorithm::Random,
            config::Algorithm::PowerOfTwoChoices => Algorithm::PowerOfTwoChoices,
            config::Algorithm::LeastConnections => Algorithm::LeastConnections,
            config::Algorithm::LeastResponseTime => Algorithm::LeastResponseTime,
            config::Algorithm::LeastBandwidth => Algorithm::LeastBandwidth,
            config::Algorithm::CustomLoad => Algorithm::CustomLoad { expire: expire(pool) },
            config::Algorithm::IpHash | config::Algorithm::Hash => Algorithm::Hash { bound },
        };
        let hashed = match pool.algorithm {
            config::Algorithm::IpHash => Some(&config::HashKey::ClientIp),
            config::Algorithm::Hash => Some(&pool.hash.key),
            _ => None,
        };
        let (algorithm_name, algorithm) = algorithm.map_or((pool.algorithm.name(), own), |other| ("custom", other));
        let max_idle = if pool.send_proxy_protocol.is_some() { 0 } else { pool.keepalive.max_idle };
        let settings = Settings {
            max_idle: max_idle.div_ceil(registry.workers().max(1)),
            idle_timeout: pool.keepalive.idle_timeout,
            max_requests: pool.keepalive.max_requests,
            max_connections: pool.max_connections,
            queue: pool.queue,
            sources: pool.source_address.as_slice().into(),
            shortage: Arc::clone(&slot.shortage),
            connect_timeout: pool.connect_timeout,
            response_timeout: pool.response_timeout,
            body_timeout: pool.body_timeout,
            tunnel_timeout: pool.tunnel_timeout,
            proxy_protocol: pool.send_proxy_protocol,
            pass_host: pool.pass_host,
            protocol: pool.protocol,
            tls: secured(pool, registry, before)?,
        };
        let members: Vec<_> = pool.backends.iter().map(member).collect();
        let custom_load = CustomLoad::build(pool, &members, &settings, registry, before)?;
        if pool.sticky.is_some() {
            slot.metrics.set_sticky();
        }
        Ok(Self {
            name: pool.name.clone(),
            members,
            discovers,
            slot,
            settings,
            checks: pool.health_checks.clone().into(),
            checks_tls: checks::secured(pool, registry, before)?,
            custom_load: custom_load.map(Arc::new),
            retry: pool.retry.clone(),
            key: hashed.map(|key| Key::new(key, pool.hash.ipv6_prefix)),
            algorithm_name,
            guard: guard(&pool.circuit_breaker).map(Arc::new),
            outlier: outlier(pool.outlier.unwrap_or_default()),
            ejects_outliers: pool.outlier.is_some(),
            metered: matches!(algorithm, Algorithm::LeastBandwidth),
            algorithm,
            slow_start: pool.slow_start,
            sticky: sticky(pool, registry)?,
            bound,
            try_any: pool.when_all_down == config::WhenAllDown::TryAny,
            initially_up: pool.health_checks.iter().all(|check| check.initially_up),
        })
    }

    /// How its backends are called by TLS, in exchanges, checks and polls.
    pub fn tls_clients(&self) -> impl Iterator<Item = &Arc<tls::Client>> {
        let polls = self.custom_load.iter().filter_map(|load| load.tls.as_ref());
        self.settings.tls.iter().chain(self.checks_tls.iter().flatten()).chain(polls)
    }
}

/// What keeps the clients of `pool` at their backends.
fn sticky(pool: &config::Pool, registry: &Registry) -> Result<Option<Box<Sticky>>, String> {
    let Some(sticky) = &pool.sticky else { return Ok(None) };
    let own_key = registry.cookie_key().map_err(|why| format!("pool {}: sticky: {why}", pool.name))?;
    Ok(Some(Box::new(Sticky::new(sticky, pool, &own_key))))
}

/// TLS to the backends of `pool`; sessions with the same pool of `before` may be resumed.
fn secured(
    pool: &config::Pool,
    registry: &Registry,
    before: Option<&Plan>,
) -> Result<Option<Arc<tls::Client>>, String> {
    let Some(tls) = &pool.tls else { return Ok(None) };
    let same = before.and_then(|plan| plan.pools.iter().find(|other| other.name == pool.name));
    let before = same.and_then(|pool| pool.settings.tls.as_deref());
    let addresses = pool.backends.iter().map(|backend| &backend.address);
    let built = tls::Client::build(tls, pool.protocol, addresses, before, registry.system_roots());
    built.map(Some).map_err(|why| format!("pool {}: tls: {why}", pool.name))
}

/// What breakers of that pool go by.
fn guard(breaker: &config::CircuitBreaker) -> Option<Guard> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let rules = Rules {
        consecutive: breaker.consecutive_failures,
        rate: breaker.failure_rate,
        min_requests: breaker.min_requests,
        window: micros(breaker.window),
        open_for: micros(breaker.open_for),
        open_for_max: micros(breaker.open_for_max),
        trials: breaker.half_open_requests,
    };
    let on = On {
        connect: breaker.on_connect,
        reset: breaker.on_reset,
        timeout: breaker.on_timeout,
        statuses: breaker.on_status,
    };
    let whole = breaker.scope == config::BreakerScope::Pool;
    breaker.enabled.then_some(Guard { rules, on, max_ejected: breaker.max_ejected, whole })
}

fn outlier(rule: config::Outlier) -> OutlierRule {
    OutlierRule { factor: rule.latency as f32, lasts: u64::try_from(rule.lasts.as_micros()).unwrap_or(u64::MAX) }
}

/// How long what a backend says of itself is believed, in milliseconds; with 0, for ever.
fn expire(pool: &config::Pool) -> u32 {
    let expire = pool.custom_load.as_ref().map_or(Duration::ZERO, |custom| custom.expire);
    if expire.is_zero() { u32::MAX } else { u32::try_from(expire.as_millis()).unwrap_or(u32::MAX) }
}
