//! The control thread: what serves no client. It never blocks for long: what takes time runs on its blocking pool.

use super::{
    Builder, Handle, Message, Order, Phase, Ready, Shared, accept,
    accept::Gate,
    certificates::Certificates,
    disk,
    files::Files,
    keys::Fetchers,
    names::Names,
    overlay::Overlay,
    overload,
    ramps::Ramps,
    reload::Past,
    rollback::{self, Rollback},
    sockets::{self, Sockets},
    start::Admin,
    state, systemd, traces,
};
use crate::{
    admin::{self, Command, command::Refused},
    config::{self, Config},
    health::{Monitor, Poller, Watched},
    plan::{Numbers, Plan, diff::Fixed},
    pool::Backend,
    telemetry::access_log::AccessLog,
};
use arc_swap::ArcSwapOption;
use std::{
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Interval},
};

/// The least time between two tables of pools: changes that come together make one.
const TABLES: Duration = Duration::from_millis(50);
/// How often it is looked at how backends fare.
const SAMPLES: Duration = Duration::from_millis(250);
/// How often things are looked over.
const TICK: Duration = Duration::from_secs(1);

/// What control holds.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    /// In force.
    pub(super) config: Arc<Config>,
    /// What operators have added to it and removed.
    pub(super) overlay: Overlay,
    /// What was in force at the start and is still.
    pub(super) fixed: Fixed,
    pub(super) plan: Arc<Plan>,
    /// Grows with each configuration that is accepted and each change over the API; the plan has that of its configuration.
    pub(super) generation: u64,
    pub(super) numbers: Numbers,
    pub(super) sockets: Sockets,
    pub(super) builder: Builder,
    pub(super) log: Option<Arc<AccessLog>>,
    pub(super) token: Arc<ArcSwapOption<config::Secret>>,
    pub(super) started: SystemTime,
    /// The last reload, or the start: when, and why it failed.
    pub(super) last: (SystemTime, Option<String>),
    pub(super) rollback: Rollback,
    /// Plans and tables that workers may still use.
    pub(super) past: Past,
    /// When the next tables are due.
    pub(super) ramps: Ramps,
    pub(super) monitor: Option<Monitor>,
    pub(super) poller: Option<Poller>,
    pub(super) names: Names,
    fetchers: Fetchers,
    /// Takes the certificates of each plan to the task that looks after them.
    certificates: Option<mpsc::UnboundedSender<Certificates>>,
    /// The same for other files.
    files: Option<mpsc::UnboundedSender<Files>>,
    draining: Arc<AtomicBool>,
    watchdog: Option<Duration>,
}

/// What control starts with.
pub(super) struct Parts {
    pub(super) admin: Option<Admin>,
    pub(super) metrics: Option<Admin>,
    pub(super) unix: Vec<(Arc<Gate>, UnixListener)>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
}

/// Runs control until the process stops.
pub(super) fn run(mut control: Control, parts: Parts, ready: &Ready) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let _ = ready.send(Ok(()));
    let shared = Arc::clone(&control.shared);
    runtime.block_on(async {
        let export = tokio::spawn(traces::export(Arc::clone(&shared)));
        accept::started(&shared).await;
        let keeper = control.keep();
        tokio::select! {
            () = control.serve(parts) => {}
            _ = stopped(&shared) => {}
        }
        if let Some(keeper) = keeper {
            rollback::kept(&keeper).await;
        }
        traces::finish(export).await;
    });
    // A task on the blocking pool that is not done yet must not hold the end up.
    runtime.shutdown_background();
}

async fn stopped(shared: &Shared) {
    let _ = shared.phase.subscribe().wait_for(|phase| *phase >= Phase::Stopped).await;
}

impl Control {
    pub(super) fn new(
        shared: Arc<Shared>,
        config: Config,
        builder: Builder,
        plan: Arc<Plan>,
        numbers: Numbers,
        sockets: Sockets,
        log: Option<Arc<AccessLog>>,
    ) -> Self {
        let now = SystemTime::now();
        Self {
            token: Arc::new(ArcSwapOption::new(config.admin.token.clone().map(Arc::new))),
            shared,
            fixed: Fixed::of(&config),
            overlay: Overlay::default(),
            config: Arc::new(config),
            generation: plan.generation,
            plan,
            numbers,
            sockets,
            builder,
            log,
            started: now,
            last: (now, None),
            rollback: Rollback::default(),
            past: Past::default(),
            ramps: Ramps::default(),
            monitor: None,
            poller: None,
            names: Names::default(),
            fetchers: Fetchers::default(),
            certificates: None,
            files: None,
            draining: Arc::default(),
            watchdog: systemd::watchdog(),
        }
    }

    /// Does what it is told, and what time brings.
    async fn serve(mut self, mut parts: Parts) {
        sockets::accept_unix(&self.shared, std::mem::take(&mut parts.unix));
        let (commands, mut asked) = mpsc::unbounded_channel();
        self.serve_admin(&mut parts, &commands);
        self.count_dropped();
        let (changed, mut changes) = mpsc::unbounded_channel::<String>();
        let told = changed.clone();
        self.shared.registry.on_change(Box::new(move |pool: &str| drop(told.send(pool.to_owned()))));
        // What has changed before has its moment, too.
        self.ramps = Ramps::of(&self.plan, Instant::now());
        let mut answers = self.ask_for_names(changed.clone());
        self.monitor = Some(Monitor::new(move |backend: &Arc<Backend>| drop(changed.send(backend.pool.clone()))));
        self.poller = Some(Poller::new(self.shared.epoch));
        let (certificates, sent) = mpsc::unbounded_channel();
        self.certificates = Some(certificates);
        tokio::spawn(disk::watch_over(sent));
        let (files, sent) = mpsc::unbounded_channel();
        self.files = Some(files);
        tokio::spawn(disk::watch_over(sent));
        self.watch();
        tokio::spawn(overload::watch(Arc::clone(&self.shared)));
        tokio::spawn(leave(Arc::clone(&self.shared), self.config.server.drain_delay, Arc::clone(&self.draining)));
        let mut ticks = tokio::time::interval(TICK);
        let mut pet = tokio::time::interval(self.watchdog.unwrap_or(TICK));
        let mut tables = tokio::time::interval(TABLES);
        tables.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut samples = tokio::time::interval(SAMPLES);
        samples.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        systemd::ready();
        self.tell_systemd();
        loop {
            tokio::select! {
                Some(command) = asked.recv() => self.command(command).await,
                Some(order) = parts.orders.recv() => self.order(order).await,
                Some(pool) = changes.recv() => self.renew(vec![pool], &mut changes, &mut tables).await,
                Some((question, is_first)) = answers.recv() => self.hear(&question, is_first),
                () = self.names.wait() => self.rediscover().await,
                () = self.ramps.wait() => self.renew(Vec::new(), &mut changes, &mut tables).await,
                _ = samples.tick() => {
                    let now = Instant::now();
                    self.plan.pools.iter().for_each(|pool| pool.sample(now));
                }
                _ = pet.tick(), if self.watchdog.is_some() => {
                    tokio::spawn(alive(Arc::clone(&self.shared)));
                }
                _ = ticks.tick() => {
                    self.past.forget();
                    self.end_chaos();
                    self.warn_of_silence();
                    self.compare_times(Instant::now());
                    self.shared.registry.prune();
                }
            }
        }
    }

    /// New tables for `pools`, for those whose ramps ask for one, and for what else has changed by now.
    async fn renew(
        &mut self,
        mut pools: Vec<String>,
        changes: &mut mpsc::UnboundedReceiver<String>,
        tables: &mut Interval,
    ) {
        tables.tick().await;
        pools.extend(self.ramps.due(Instant::now()));
        while let Ok(pool) = changes.try_recv() {
            pools.push(pool);
        }
        self.refresh(&pools);
    }

    /// What is accepted is kept from now on, by whom this gives.
    fn keep(&mut self) -> Option<mpsc::UnboundedSender<state::Keep>> {
        let mut state = self.builder.state.take()?;
        let holds = state.holds.take();
        let (keeper, orders) = mpsc::unbounded_channel();
        tokio::spawn(state::keep(state, orders));
        self.rollback.keeper = Some(keeper.clone());
        match holds {
            Some(holds) => self.rollback.holds = Some(holds),
            None => self.rollback.accepted(&self.config.written, self.generation),
        }
        Some(keeper)
    }

    fn serve_admin(&self, parts: &mut Parts, commands: &mpsc::UnboundedSender<Command>) {
        let shared = || admin::Shared {
            telemetry: Arc::clone(&self.shared.telemetry),
            name: self.config.server.name.clone(),
            token: Arc::clone(&self.token),
            commands: commands.clone(),
            draining: Arc::clone(&self.draining),
        };
        if let Some(socket) = parts.admin.take() {
            tokio::spawn(serve_admin(socket, shared(), admin::Access::Full));
        }
        if let Some(socket) = parts.metrics.take() {
            tokio::spawn(serve_admin(socket, shared(), admin::Access::MetricsOnly));
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => {
                let status = self.status();
                tokio::task::spawn_blocking(move || drop(reply.send(status())));
            }
            Command::Snapshot(reply) => self.look(reply),
            Command::Pool { pool, backend, reply } => drop(reply.send(self.pool(&pool, backend.as_deref()))),
            Command::Change { pool, backend, change, if_match, reply } => {
                let changed = self.change(&pool, &backend, &change, if_match);
                let _ = reply.send(self.counted(changed));
            }
            Command::ChangePool { pool, change, if_match, reply } => {
                let changed = self.change_pool(&pool, &change, if_match);
                let _ = reply.send(self.counted(changed));
            }
            Command::Explain { sample, reply } => {
                // What operators have added and removed is in the plan.
                let (plan, config) = (Arc::clone(&self.plan), Arc::clone(&self.config));
                tokio::task::spawn_blocking(move || drop(reply.send(plan.explain(&config, &sample, true))));
            }
            Command::Add { pool, backend, if_match, reply } => {
                let added = self.add_backend(&pool, *backend, if_match).await;
                let _ = reply.send(self.counted(added));
            }
            Command::Remove { pool, backend, deadline, if_match, reply } => {
                let removed = self.remove_backend(&pool, &backend, deadline, if_match).await;
                let _ = reply.send(self.counted(removed));
            }
            Command::Chaos { rule, if_match, reply } => {
                let set = self.set_chaos(rule, if_match);
                let _ = reply.send(self.counted(set));
            }
            Command::Reload { if_drops, if_match, reply } => {
                let reloaded = self.reload_if(if_drops, if_match).await;
                self.rollback.answer(reply, reloaded);
            }
            Command::Rollback { if_match, reply } => {
                let reloaded = self.roll_back(if_match).await;
                self.rollback.answer(reply, reloaded);
            }
            Command::Diff { text, reply } => {
                let diff = self.compare_with(text).await;
                let _ = reply.send(diff.map(Box::new));
            }
        }
    }

    /// A change over the API that was made is a generation of its own: who has seen the one before, has not seen this.
    fn counted<T>(&mut self, made: Result<T, Refused>) -> Result<T, Refused> {
        if made.is_ok() {
            self.generation += 1;
            self.shared.telemetry.config_in_use(self.generation);
        }
        made
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Reload(config, done) => {
                let reloaded = self.reload(config.map(|config| *config)).await;
                let _ = done.send(reloaded.map(drop).map_err(|refused| refused.problems().to_owned()));
            }
            Order::ReopenLogs => {
                if let Some(log) = &self.log {
                    log.reopen();
                }
                tracing::info!("logs are opened anew");
            }
        }
    }

    /// Scrapes read how many lines the access log has dropped.
    pub(super) fn count_dropped(&self) {
        if let Some(log) = &self.log {
            let log = Arc::downgrade(log);
            let dropped = move || log.upgrade().map_or(0, |log| log.dropped());
            self.shared.telemetry.read_log_dropped(Box::new(dropped));
        }
    }

    /// All that goes on beside requests follows the plan, and the files that are looked after.
    pub(super) fn watch(&mut self) {
        if let Some(certificates) = &self.certificates {
            let _ = certificates.send(Certificates::of(&self.plan, &self.shared.telemetry));
        }
        if let Some(files) = &self.files {
            let _ = files.send(Files::of(&self.plan));
        }
        self.fetchers.follow(&self.plan, &self.shared);
        self.follow();
    }

    /// Checks and polls follow the plan, and the names that are asked for.
    pub(super) fn follow(&self) {
        let of_pool = |pool: &crate::plan::Pool| {
            let (sources, proxy) = (Arc::clone(&pool.settings.sources), pool.settings.proxy_protocol);
            let (checks, tls) = (Arc::clone(&pool.checks), Arc::clone(&pool.checks_tls));
            let watched = move |member: &crate::plan::Member| Watched {
                backend: Arc::clone(&member.backend),
                checks: Arc::clone(&checks),
                sources: Arc::clone(&sources),
                proxy,
                tls: Arc::clone(&tls),
            };
            pool.members.iter().map(watched).collect::<Vec<_>>()
        };
        if let Some(monitor) = &self.monitor {
            monitor.watch(self.plan.pools.iter().flat_map(of_pool).collect());
        }
        self.poll();
        self.names.follow(&self.plan);
    }

    /// New tables for these pools.
    pub(super) fn refresh(&mut self, pools: &[String]) {
        let now = Instant::now();
        for pool in self.plan.pools.iter().filter(|pool| pools.contains(&pool.name)) {
            self.past.tables.push(pool.refresh(now));
            self.end_drains(pool, now);
            self.ramps.note(pool, now);
        }
        self.tell_systemd();
    }

    /// One line for `systemctl status`.
    pub(super) fn tell_systemd(&self) {
        let backends = self.plan.backends().count();
        let up = self.plan.backends().filter(|backend| backend.standing().0.is_up()).count();
        let generation = self.generation;
        let refused = if self.last.1.is_some() { "; the last reload was refused" } else { "" };
        systemd::status(&format!("configuration {generation}: {up} of {backends} backends up{refused}"));
    }
}

/// When the process is told to go: says so, and accepts for a while still.
async fn leave(shared: Arc<Shared>, delay: Duration, draining: Arc<AtomicBool>) {
    let mut phase = shared.phase.subscribe();
    let leaving = |phase: &Phase| *phase >= Phase::Leaving;
    if phase.wait_for(leaving).await.is_err() {
        return;
    }
    draining.store(true, Relaxed);
    systemd::stopping();
    tokio::time::sleep(delay).await;
    Handle::advance(&shared.phase, Phase::Draining);
}

/// Tells systemd that we live, if every worker does.
async fn alive(shared: Arc<Shared>) {
    for worker in &shared.workers {
        let (done, answer) = oneshot::channel();
        if worker.send(Message::Ping(done)).is_err() || answer.await.is_err() {
            return;
        }
    }
    systemd::pet();
}

async fn serve_admin(socket: Admin, shared: admin::Shared, access: admin::Access) {
    let listener = match socket {
        Admin::Tcp(socket) => tokio::net::TcpListener::from_std(socket).map(admin::Listener::Tcp),
        Admin::Unix(socket) => tokio::net::UnixListener::from_std(socket).map(admin::Listener::Unix),
    };
    match listener {
        Ok(listener) => admin::serve(listener, shared, access).await,
        Err(error) => tracing::error!(%error, "the admin listener cannot be served"),
    }
}

impl Control {
    /// The file that a reload reads.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.builder.file.clone()
    }
}
