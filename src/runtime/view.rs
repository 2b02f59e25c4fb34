//! What the admin API shows and changes: pools, backends, status.

use super::{Message, Phase, control::Control};
use crate::{
    admin::command::{
        About, AdminState, BackendChange, BackendView, CircuitOrder, ConfigStatus, ListenerView, Override, PoolChange,
        PoolView, Refused, Status,
    },
    config::{self, Config},
    error::Kind,
    plan::{Member, Plan, Pool},
    pool::{Backend, Circuit, Ordered},
    telemetry::metrics::State,
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// What is left at a drain's deadline ends within this time after it.
const SPREAD: Duration = Duration::from_secs(5);

/// What orders depend on of a configuration, by name.
struct Written<'c> {
    breakers: HashMap<&'c str, &'c config::CircuitBreaker>,
    /// By pool and name.
    backends: HashMap<(&'c str, &'c str), &'c config::Backend>,
}

impl<'c> Written<'c> {
    fn of(config: &'c Config) -> Self {
        let of_pool = |pool: &'c config::Pool| {
            pool.backends.iter().map(move |backend| ((pool.name.as_str(), backend.name.as_str()), backend))
        };
        Self {
            breakers: config.pools.iter().map(|pool| (pool.name.as_str(), &pool.circuit_breaker)).collect(),
            backends: config.pools.iter().flat_map(of_pool).collect(),
        }
    }
}

impl Control {
    /// The status as of now, once it is called: in milliseconds, where there are many backends.
    pub(super) fn status(&self) -> impl FnOnce() -> Status + Send + use<> {
        let (about, listeners, laid) = (self.about(), self.listeners(), self.overlay.overrides().collect());
        let plan = Arc::clone(&self.plan);
        move || {
            let pools = plan.pools.iter().map(|pool| pool_view(pool, |_| true)).collect();
            let overrides = plan.pools.iter().flat_map(overrides).chain::<Vec<_>>(laid).collect();
            Status { about, listeners, pools, overrides }
        }
    }

    pub(super) fn about(&self) -> About {
        let (last_reload, error) = &self.last;
        let running = *self.shared.phase.borrow() <= Phase::Running;
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.config.server.name.clone(),
            generation: self.generation,
            started: time(self.started),
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            phase: if running { "running" } else { "draining" }.to_owned(),
            config: ConfigStatus {
                file: self.file().map(|file| file.display().to_string()).unwrap_or_default(),
                last_reload_successful: error.is_none(),
                last_reload: time(*last_reload),
                error: error.clone(),
                rolled_back_to: self.rollback.holds.as_ref().map(|holds| holds.to.clone()),
            },
            workers: self.shared.workers.len(),
            chaos: self.chaos(),
        }
    }

    pub(super) fn listeners(&self) -> Vec<ListenerView> {
        let listener = |listener: &crate::plan::Listener| ListenerView {
            name: listener.name.clone(),
            address: self.sockets.address(&listener.name).map(|address| address.to_string()).unwrap_or_else(|| {
                let configured = self.config.listeners.iter().find(|other| other.name == listener.name);
                configured.map(|listener| listener.address.to_string()).unwrap_or_default()
            }),
            connections: listener.metrics.open(),
        };
        self.plan.listeners().map(listener).collect()
    }

    /// The pool, with that backend of it alone, or with none.
    pub(super) fn pool(&self, name: &str, of: Option<&str>) -> Option<PoolView> {
        let pool = self.plan.pools.iter().find(|pool| pool.name == name)?;
        Some(pool_view(pool, |member| Some(&*member.backend.name) == of))
    }

    /// Changes a pool as an operator asks.
    pub(super) fn change_pool(
        &mut self,
        pool: &str,
        change: &PoolChange,
        if_match: Option<u64>,
    ) -> Result<PoolView, Refused> {
        self.check_generation(if_match)?;
        change.check().map_err(Refused::Invalid)?;
        let plan = Arc::clone(&self.plan);
        let not_found = || Refused::NotFound(format!("pool {pool:?}"));
        let of_name = plan.pools.iter().find(|other| other.name == pool).ok_or_else(not_found)?;
        match change.circuit {
            Some(CircuitOrder::Open) => of_name.slot.trip(true),
            Some(CircuitOrder::Auto) => of_name.slot.trip(false),
            None => {}
        }
        of_name.slot.attend();
        Ok(pool_view(of_name, |_| true))
    }

    pub(super) fn check_generation(&self, if_match: Option<u64>) -> Result<(), Refused> {
        let generation = self.generation;
        match if_match {
            Some(wanted) if wanted != generation => Err(Refused::Stale { generation }),
            _ => Ok(()),
        }
    }

    /// Changes a backend as an operator asks.
    pub(super) fn change(
        &mut self,
        pool: &str,
        backend: &str,
        change: &BackendChange,
        if_match: Option<u64>,
    ) -> Result<BackendView, Refused> {
        self.check_generation(if_match)?;
        change.check().map_err(Refused::Invalid)?;
        let plan = Arc::clone(&self.plan);
        let (of_pool, member) = find(&plan, pool, backend)?;
        match change.state {
            Some(AdminState::Ready) => self.make_ready(&member.backend),
            Some(AdminState::Drain) => {
                member.backend.order(Ordered::Drain);
                self.end_drain_after(&member.backend, change.deadline);
            }
            // A deadline that its drain had holds.
            Some(AdminState::Maintenance) => member.backend.order(Ordered::Maintenance),
            None => {}
        }
        if let Some(weight) = change.weight {
            member.backend.order_weight((weight != member.weight).then_some(weight));
        }
        self.refresh(&[pool.to_owned()]);
        Ok(self::backend(of_pool, member))
    }

    /// What an operator has said of a backend holds until the file changes that backend itself; what was said of a pool's
    /// circuit, until the file changes its breaker.
    pub(super) fn forget_orders(&self, old: &Config, new: &Config) {
        let (old, new) = (Written::of(old), Written::of(new));
        for pool in &self.plan.pools {
            let [before, after] = [&old, &new].map(|written| written.breakers.get(&*pool.name));
            if before != after {
                pool.slot.trip(false);
            }
        }
        for backend in self.plan.backends() {
            let [before, after] = [&old, &new].map(|written| written.backends.get(&(&*backend.pool, &*backend.name)));
            if before == after {
                continue;
            }
            backend.order_weight(None);
            if after.is_some() {
                self.make_ready(backend);
                continue;
            }
            // It is gone, and what is left of it ends when its drain does, if not before. Should it come back, it is ready.
            if let Some(at) = backend.drain.pending() {
                self.tell(|| Message::Leave { backend: backend.id, at, within: SPREAD });
            }
            backend.order(Ordered::Ready);
            backend.drain.end_after(None, Instant::now());
        }
    }

    /// The backend is in use; a deadline that its drain had is void.
    fn make_ready(&self, backend: &Backend) {
        backend.order(Ordered::Ready);
        self.end_drain_after(backend, None);
    }

    /// Its drain has this deadline, and no other.
    fn end_drain_after(&self, backend: &Backend, deadline: Option<Duration>) {
        backend.drain.end_after(deadline, Instant::now());
        self.tell(|| Message::Stay { backend: backend.id });
    }

    /// Ends what is left with backends of `pool` whose drain has come to its deadline.
    pub(super) fn end_drains(&self, pool: &Pool, now: Instant) {
        for backend in pool.members.iter().map(|member| &member.backend).filter(|backend| backend.drain.tell(now)) {
            let (pool, name, in_flight) = (&pool.name, &backend.name, backend.load.in_flight());
            tracing::info!(pool, backend = name, in_flight, "the drain is over: what is left ends within 5 s");
            self.tell(|| Message::Leave { backend: backend.id, at: now, within: SPREAD });
        }
    }

    /// Tells every worker.
    fn tell(&self, message: impl Fn() -> Message) {
        for worker in &self.shared.workers {
            let _ = worker.send(message());
        }
    }
}

/// The backend of that name in `plan`.
pub(super) fn find<'p>(plan: &'p Plan, pool: &str, name: &str) -> Result<(&'p Pool, &'p Member), Refused> {
    let not_found = |what, name: &str| Refused::NotFound(format!("{what} {name:?}"));
    let of_pool = plan.pools.iter().find(|other| other.name == pool).ok_or_else(|| not_found("pool", pool))?;
    let member = of_pool.members.iter().find(|member| member.backend.name == name);
    Ok((of_pool, member.ok_or_else(|| not_found("backend", name))?))
}

fn pool_view(pool: &Pool, shown: impl Fn(&Member) -> bool) -> PoolView {
    let (_, reason, _) = pool.slot.circuit.look();
    PoolView {
        name: pool.name.clone(),
        algorithm: pool.algorithm_name.to_owned(),
        queue: pool.slot.queued(),
        circuit: pool.slot.shown().word().to_owned(),
        reason: match () {
            () if pool.slot.is_tripped() => "admin".to_owned(),
            () if pool.members.is_empty() && pool.nobody() == Kind::Dns => Kind::Dns.word().to_owned(),
            () => reason,
        },
        backends: pool.members.iter().filter(|member| shown(member)).map(|member| backend(pool, member)).collect(),
    }
}

pub(super) fn backend(pool: &Pool, member: &Member) -> BackendView {
    let backend = &member.backend;
    let verdict = backend.health.verdict();
    let state = pool.state(member);
    let circuit = pool.circuit(member);
    let (requests, errors) = backend.metrics.ended();
    let (_, _, changed) = backend.breaker.look();
    let circuit_changed = || SystemTime::now() - pool.slot.since(changed, Instant::now());
    let since = match (state, backend.ordered()) {
        (State::Drain | State::Maintenance, Ordered::Drain | Ordered::Maintenance) => backend.ordered_at(),
        (State::Ejected, _) => circuit_changed().max(backend.ordered_at()),
        _ if circuit == Circuit::Closed && changed > 0 => {
            verdict.since.max(circuit_changed()).max(backend.ordered_at())
        }
        _ => verdict.since.max(backend.ordered_at()),
    };
    BackendView {
        name: backend.name.clone(),
        address: backend.address.to_string(),
        backup: member.backup,
        state: state.word().to_owned(),
        reason: pool.reason(member),
        weight: backend.ordered_weight().unwrap_or(member.weight),
        effective_weight: backend.standing().1,
        in_flight: u64::from(backend.load.in_flight()),
        requests,
        errors,
        circuit: circuit.word().to_owned(),
        deadline: backend.drain.deadline().map(time),
        outlier: backend.outlier.is_one(),
        reported_load: pool.custom_load.iter().flat_map(|load| load.said(backend)).map(named).collect(),
        since: time(since),
    }
}

fn named((metric, value): (&str, f64)) -> (String, f64) {
    (metric.to_owned(), value)
}

/// Where an operator's word differs from the file.
fn overrides(pool: &Pool) -> Vec<Override> {
    let differs = |member: &Member| {
        let backend = &member.backend;
        let until = backend.drain.deadline().map(|deadline| format!(" until {}", time(deadline))).unwrap_or_default();
        let state = match backend.ordered() {
            Ordered::Ready => None,
            Ordered::Drain => Some(format!("drain{until}")),
            Ordered::Maintenance => Some("maintenance".to_owned()),
        };
        let weight = backend.ordered_weight().map(|weight| format!("weight {weight}, {} in the file", member.weight));
        let what: Vec<_> = state.into_iter().chain(weight).collect();
        let (pool, backend) = (pool.name.clone(), backend.name.clone());
        (!what.is_empty()).then(|| Override { pool, backend, what: what.join(", ") })
    };
    let own = || Override { pool: pool.name.clone(), backend: String::new(), what: "circuit open".to_owned() };
    pool.slot.is_tripped().then(own).into_iter().chain(pool.members.iter().filter_map(differs)).collect()
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
