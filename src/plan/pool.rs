//! A pool of the plan: its members, how they are called, and which of them make today's table.

use super::{
    Plan,
    checks::{self, ChecksTls},
};
use crate::{
    balance::{Algorithm, Member as Share},
    config,
    pool::{Backend, Build, Ordered, Registry, Slot, Table},
    telemetry::metrics::State,
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
    /// Where today's table stands.
    pub slot: Arc<Slot>,
    /// How its backends are called.
    pub settings: Settings,
    /// How it is found out whether they can serve.
    pub checks: Arc<[config::HealthCheck]>,
    /// Their TLS.
    pub checks_tls: ChecksTls,
    /// Further attempts.
    pub retry: config::Retry,
    /// The algorithm's name, for people.
    pub algorithm_name: &'static str,
    algorithm: Algorithm,
    /// Clients stick to backends, within so many percent of the mean.
    sticky: Option<u32>,
    try_any: bool,
    initially_up: bool,
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
        let member = |backend: &config::Backend| Member {
            backend: registry.backend(&pool.name, &backend.name, &backend.address),
            weight: backend.weight,
            backup: backend.backup,
        };
        let bound = pool.hash.bounded_load;
        let hash = Algorithm::Hash { bound };
        let (own, algorithm_name) = match pool.algorithm {
            config::Algorithm::RoundRobin => (Algorithm::RoundRobin, "round_robin"),
            config::Algorithm::Random => (Algorithm::Random, "random"),
            config::Algorithm::PowerOfTwoChoices => (Algorithm::PowerOfTwoChoices, "power_of_two_choices"),
            config::Algorithm::LeastConnections => (Algorithm::LeastConnections, "least_connections"),
            config::Algorithm::LeastResponseTime => (Algorithm::LeastResponseTime, "least_response_time"),
            config::Algorithm::LeastBandwidth => (Algorithm::LeastBandwidth, "least_bandwidth"),
            config::Algorithm::CustomLoad => (Algorithm::CustomLoad { expire: expire(pool) }, "custom_load"),
            config::Algorithm::IpHash => (hash, "ip_hash"),
            config::Algorithm::Hash => (hash, "hash"),
        };
        let max_idle = if pool.send_proxy_protocol.is_some() { 0 } else { pool.keepalive.max_idle };
        let settings = Settings {
            max_idle: max_idle.div_ceil(registry.workers().max(1)),
            idle_timeout: pool.keepalive.idle_timeout,
            max_requests: pool.keepalive.max_requests,
            max_connections: pool.max_connections,
            sources: pool.source_address.clone(),
            connect_timeout: pool.connect_timeout,
            response_timeout: pool.response_timeout,
            body_timeout: pool.body_timeout,
            tunnel_timeout: pool.tunnel_timeout,
            proxy_protocol: pool.send_proxy_protocol,
            pass_host: pool.pass_host,
            protocol: pool.protocol,
            tls: secured(pool, registry, before)?,
        };
        Ok(Self {
            name: pool.name.clone(),
            members: pool.backends.iter().map(member).collect(),
            slot: registry.slot(&pool.name),
            settings,
            checks: pool.health_checks.clone().into(),
            checks_tls: checks::secured(pool, registry, before)?,
            retry: pool.retry.clone(),
            algorithm_name: if algorithm.is_some() { "custom" } else { algorithm_name },
            algorithm: algorithm.unwrap_or(own),
            sticky: pool.sticky.as_ref().map(|_| bound),
            try_any: pool.when_all_down == config::WhenAllDown::TryAny,
            initially_up: pool.health_checks.iter().all(|check| check.initially_up),
        })
    }

    /// How its backends are called by TLS, in exchanges and in checks.
    pub fn tls_clients(&self) -> impl Iterator<Item = &Arc<tls::Client>> {
        self.settings.tls.iter().chain(self.checks_tls.iter().flatten())
    }

    /// The state of `member` now.
    pub fn state(&self, member: &Member) -> State {
        match member.backend.ordered() {
            Ordered::Drain => State::Drain,
            Ordered::Maintenance => State::Maintenance,
            Ordered::Ready if self.checks.is_empty() => State::Ready,
            Ordered::Ready => match member.backend.health.verdict().up {
                Some(true) => State::Ready,
                Some(false) => State::Down,
                None if self.initially_up => State::Ready,
                None => State::Starting,
            },
        }
    }

    /// Makes the table that backends' states and weights make now, and publishes it: those of the first tier that can
    /// serve, else backups that can, else, with `when_all_down = "try_any"`, all that are not drained. Gives the table
    /// before it. Control alone calls it.
    pub fn refresh(&self) -> Arc<Table> {
        let standing: Vec<_> = self.members.iter().map(|member| (member, self.state(member))).collect();
        let tier = |backup: bool, fine: &dyn Fn(State) -> bool| -> Vec<(Arc<Backend>, u32)> {
            let of_tier = standing.iter().filter(|(member, state)| member.backup == backup && fine(*state));
            of_tier.map(|(member, _)| (Arc::clone(&member.backend), weight(member) * Share::UNIT)).collect()
        };
        let usable = |list: &[(Arc<Backend>, u32)]| list.iter().any(|(_, weight)| *weight > 0);
        let mut chosen = tier(false, &State::is_up);
        if !usable(&chosen) {
            chosen = tier(true, &State::is_up);
        }
        let all_down = !standing.iter().any(|(_, state)| state.is_up());
        if all_down && self.try_any {
            let undrained = |state| !matches!(state, State::Drain | State::Maintenance);
            chosen = tier(false, &undrained);
            chosen.extend(tier(true, &undrained));
        }
        let holds = |&&(member, state): &&(&Member, State)| match state {
            State::Drain => member.backend.health.verdict().up != Some(false),
            state => state.is_up() && weight(member) == 0,
        };
        let held: Vec<_> = standing.iter().filter(holds).map(|(member, _)| Arc::clone(&member.backend)).collect();
        for (member, state) in &standing {
            let weight = if state.is_up() { weight(member) } else { 0 };
            member.backend.stands(*state, weight);
        }
        self.slot.metrics.set_all_down(all_down);
        let table = Build {
            algorithm: self.algorithm,
            sticky: self.sticky,
            usable: &chosen,
            held: &held,
            common: &self.slot.common,
        };
        self.slot.publish(Table::new(&table))
    }
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

/// How long what a backend says of itself is believed, in milliseconds; with 0, for ever.
fn expire(pool: &config::Pool) -> u32 {
    let expire = pool.custom_load.as_ref().map_or(Duration::ZERO, |custom| custom.expire);
    if expire.is_zero() { u32::MAX } else { u32::try_from(expire.as_millis()).unwrap_or(u32::MAX) }
}

/// An operator's, or the file's.
fn weight(member: &Member) -> u32 {
    member.backend.ordered_weight().unwrap_or(member.weight)
}
