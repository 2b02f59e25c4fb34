//! A reload: a new plan whole, or nothing at all. DESIGN.md section 7 is its walk.

use super::{Message, Phase, control::Control, names, overload, ramps::Ramps, sockets, systemd, traces};
use crate::{
    admin::command::{Refused, Reloaded},
    config::{self, Config},
    plan::{self, Ground, Plan, TestError, diff::Gone},
    pool::Table,
    telemetry::access_log::{AccessLog, Format, Overflow, Settings, Sink},
};
use std::{
    collections::HashSet,
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::oneshot, time::Instant};

/// A worker that takes no plan for so long is stuck; the watchdog's business.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was in force: kept until nobody uses it, so that it is control that frees it, never a worker.
#[derive(Default)]
pub(super) struct Past {
    plans: Vec<Arc<Plan>>,
    pub(super) tables: Vec<Arc<Table>>,
}

impl Past {
    /// Frees what nobody else holds, on the blocking pool: it may be 10,000 backends.
    pub(super) fn forget(&mut self) {
        let plans: Vec<_> = self.plans.extract_if(.., |plan| Arc::strong_count(plan) == 1).collect();
        let tables: Vec<_> = self.tables.extract_if(.., |table| Arc::strong_count(table) == 1).collect();
        if !plans.is_empty() || !tables.is_empty() {
            tokio::task::spawn_blocking(move || drop((plans, tables)));
        }
    }
}

/// Puts what the plan says beside its tables in force: bounds, and today's tables.
pub(super) fn settle(plan: &Plan, now: Instant) -> Vec<Arc<Table>> {
    for listener in plan.listeners() {
        listener.connections.resize(listener.max_connections);
        listener.metrics.set_limit(listener.max_connections.map(|most| most as u64));
    }
    plan.rates.values().for_each(|rate| rate.settle());
    plan.pools.iter().map(|pool| pool.refresh(now)).collect()
}

/// Backends of `old` that `new` does not have begin slowly should they come back, also if something holds them until then.
fn leave(old: &Plan, new: &Plan) {
    let stay: HashSet<_> = new.backends().map(|backend| Arc::as_ptr(&backend.slow_start)).collect();
    let gone = old.backends().filter(|backend| !stay.contains(&Arc::as_ptr(&backend.slow_start)));
    gone.for_each(|backend| backend.slow_start.leaves());
}

/// The access log's key, and its file if it is one.
pub(super) fn access_name(log: &config::Log) -> String {
    match &log.access {
        config::AccessLog::File(path) => format!("log.access: cannot open {}", path.display()),
        _ => "log.access".to_owned(),
    }
}

/// The access log that is asked for.
///
/// # Errors
/// Its file cannot be opened.
pub(super) fn access_log(log: &config::Log, instance: &str) -> io::Result<Option<Arc<AccessLog>>> {
    let start = |settings| AccessLog::start(settings).map(Arc::new);
    access_settings(log, instance).map(start).transpose()
}

fn access_settings(log: &config::Log, instance: &str) -> Option<Settings> {
    let sink = match &log.access {
        config::AccessLog::Off => return None,
        config::AccessLog::Stdout => Sink::Stdout,
        config::AccessLog::Stderr => Sink::Stderr,
        config::AccessLog::File(path) => Sink::File(path.clone()),
    };
    Some(Settings {
        sink,
        format: match log.access_format {
            config::AccessFormat::Json => Format::Json,
            config::AccessFormat::Combined => Format::Combined,
        },
        overflow: match log.access_overflow {
            config::Overflow::Drop => Overflow::Drop,
            config::Overflow::Wait => Overflow::Wait,
        },
        instance: instance.to_owned(),
    })
}

impl Control {
    /// Reloads unless somebody else was faster, or more than `if_drops` live connections would be drained.
    pub(super) async fn reload_if(
        &mut self,
        if_drops: Option<u64>,
        if_match: Option<u64>,
    ) -> Result<Reloaded, Refused> {
        self.check_generation(if_match)?;
        let Some(most) = if_drops else { return self.reload(None).await };
        if let Some(stays) = self.is_passed_over().await {
            return Ok(stays);
        }
        // A file that cannot be used is refused as by any reload: what is counted is one that can.
        let Ok(config) = self.read().await.map(Arc::new) else { return self.reload(None).await };
        let diff = self.compare(&config).await.map_err(Refused::Failed)?;
        if diff.drains.is_some_and(|drains| drains > most) {
            return Err(Refused::Unwanted(format!("{}; wanted at most {most}", diff.drained())));
        }
        self.reload(Some(Arc::unwrap_or_clone(config))).await
    }

    /// Reads the file again, or takes `config`, and puts it in force; or changes nothing and says why not. A file that was
    /// rolled back and has not changed since is passed over.
    pub(super) async fn reload(&mut self, config: Option<Config>) -> Result<Reloaded, Refused> {
        if config.is_none()
            && let Some(stays) = self.is_passed_over().await
        {
            systemd::reloading();
            systemd::ready();
            return Ok(stays);
        }
        let reloaded = self.put(config).await?;
        self.rollback.accepted(&self.config.written, reloaded.generation);
        Ok(reloaded)
    }

    /// As [`Control::reload`], whatever stands in the file.
    pub(super) async fn put(&mut self, config: Option<Config>) -> Result<Reloaded, Refused> {
        // The service manager has been told that the process ends: READY=1 would take that back.
        let ending = self.is_ending();
        if !ending {
            systemd::reloading();
        }
        let outcome = self.take(config).await;
        let now = SystemTime::now();
        match &outcome {
            Ok(reloaded) => {
                self.last = (now, None);
                tracing::info!(generation = reloaded.generation, "configuration reloaded");
                reloaded.notes.iter().for_each(|note| tracing::warn!("{note}"));
            }
            Err(refused) => {
                let error = refused.problems();
                self.last = (now, Some(error.to_owned()));
                self.shared.telemetry.config_refused();
                tracing::error!("the configuration was not reloaded, the one in force stays:\n{error}");
            }
        }
        if !ending {
            systemd::ready();
            self.tell_systemd();
        }
        outcome
    }

    /// The process was told to go, or has not begun.
    pub(super) fn is_ending(&self) -> bool {
        *self.shared.phase.borrow() != Phase::Running
    }

    async fn take(&mut self, config: Option<Config>) -> Result<Reloaded, Refused> {
        if self.is_ending() {
            return Err("the process is about to end".to_owned().into());
        }
        let config = match config {
            Some(config) => config,
            None => self.read().await?,
        };
        let mut config = self.rehearse(config).await?;
        let warnings = config.warnings.take();
        let workers = self.shared.workers.len();
        let bound = self.sockets.bind(&config, workers, Vec::new()).map_err(|error| error.to_string())?;
        let log = self.prepare_log(&config)?;
        let generation = self.generation + 1;
        let (resolver, _questions) = names::prepare(&config, &self.shared).await;
        let overlay = self.overlay.beside(&config);
        let config = Arc::new(config);
        let effective = overlay.over(&config);
        let (plan, gone) = self.build(&effective, generation, Plan::build).await?;
        let mut notes = self.fixed.notes(&self.config, &config);
        notes.extend(self.overlay.forgotten(&overlay));
        let (dealt, closing) = self.sockets.adopt(bound, &config, &plan, workers);
        self.forget_orders(&self.effective(), &effective);
        self.overlay = overlay;
        self.put_in_force(plan, gone, dealt.tcp, log.as_deref()).await;
        sockets::accept_unix(&self.shared, dealt.unix);
        closing.iter().for_each(|gate| gate.close());
        // Those who accept on unix sockets run here: their sockets are closed before the next reload may bind anew.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.use_log(&config, log);
        overload::set(&config.server, &self.shared);
        traces::set(&config, &self.shared);
        self.token.store(config.admin.token.clone().map(Arc::new));
        self.shared.telemetry.set_backend_histograms(config.metrics.backend_histograms);
        self.shared.telemetry.config_accepted(generation, SystemTime::now());
        if let Some(log) = &self.builder.log
            && let Err(error) = log.set(&config.log.level)
        {
            tracing::error!(%error, "the level of the log stays as it was");
        }
        if let Some(warnings) = warnings {
            tracing::warn!("the configuration is legal, and perhaps not what was meant:\n{}", warnings.render(false));
        }
        self.generation = generation;
        self.config = config;
        self.names.ask_by(resolver);
        self.watch();
        Ok(Reloaded { generation, notes })
    }

    /// `plan` is today's: its tables first, then every worker has it, with further sockets to accept on. `gone` is what it
    /// has no more of today's.
    pub(super) async fn put_in_force(
        &mut self,
        plan: Arc<Plan>,
        gone: Gone,
        sockets: Vec<sockets::OfWorker>,
        log: Option<&AccessLog>,
    ) {
        let now = Instant::now();
        leave(&self.plan, &plan);
        self.past.tables.extend(settle(&plan, now));
        self.ramps = Ramps::of(&plan, now);
        self.past.plans.push(std::mem::replace(&mut self.plan, plan));
        self.tell_workers(&Arc::new(gone), sockets, log).await;
    }

    /// The file, read on the blocking pool.
    async fn read(&self) -> Result<Config, String> {
        let Some(file) = self.file() else { return Err("there is no file to read again".into()) };
        let read = tokio::task::spawn_blocking(move || Config::load(&file).map_err(|problems| problems.render(false)));
        read.await.map_err(|error| format!("the configuration could not be read: {error}"))?
    }

    /// `config`, once its own tests have passed, on the blocking pool.
    async fn rehearse(&self, config: Config) -> Result<Config, Refused> {
        let file = self.file().unwrap_or_default();
        let tested = tokio::task::spawn_blocking(move || plan::test(&config, &file).map(|()| config)).await;
        match tested.map_err(|error| error.to_string())? {
            Ok(config) => Ok(config),
            Err(TestError::Plan(why)) => Err(Refused::Failed(why)),
            Err(TestError::Failed(problems)) => Err(Refused::TestFailed(problems.render(false))),
        }
    }

    /// The plan, built by `make` on the blocking pool, and what it has no more of today's.
    pub(super) async fn build(
        &mut self,
        config: &Arc<Config>,
        generation: u64,
        make: fn(&Config, u64, &mut Ground<'_>) -> Result<Plan, String>,
    ) -> Result<(Arc<Plan>, Gone), String> {
        let (shared, config, algorithm) = (Arc::clone(&self.shared), Arc::clone(config), self.builder.algorithm);
        let before = Arc::clone(&self.plan);
        let mut numbers = std::mem::take(&mut self.numbers);
        let build = move || {
            let (registry, memory) = (&shared.registry, &shared.memory);
            let mut ground = Ground { registry, memory, numbers: &mut numbers, algorithm, before: Some(&before) };
            let plan = make(&config, generation, &mut ground);
            let built = plan.map(|plan| {
                let gone = Gone::between(&before, &plan);
                (Arc::new(plan), gone)
            });
            (built, numbers)
        };
        let (built, numbers) = tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?;
        self.numbers = numbers;
        built
    }

    /// Waits until every worker has today's plan.
    async fn tell_workers(&self, gone: &Arc<Gone>, sockets: Vec<sockets::OfWorker>, log: Option<&AccessLog>) {
        let mut answers = Vec::new();
        for (worker, open) in self.shared.workers.iter().zip(sockets) {
            let (done, answer) = oneshot::channel();
            let log = log.map(AccessLog::writer);
            let (plan, gone) = (Arc::clone(&self.plan), Arc::clone(gone));
            if worker.send(Message::Plan { plan, gone, open, log, done }).is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            let _ = tokio::time::timeout(PATIENCE, answer).await;
        }
    }

    /// A new access log, where there was none.
    fn prepare_log(&self, config: &Config) -> Result<Option<Arc<AccessLog>>, String> {
        let say = |error| format!("{}: {error}", access_name(&config.log));
        if self.log.is_some() {
            return Ok(None);
        }
        access_log(&config.log, &config.server.name).map_err(say)
    }

    /// The access log goes where the new configuration says.
    fn use_log(&mut self, config: &Config, new: Option<Arc<AccessLog>>) {
        if let Some(log) = new {
            self.log = Some(log);
            self.count_dropped();
        } else if let Some(log) = &self.log
            && (config.log != self.config.log || config.server.name != self.config.server.name)
            && let Some(settings) = access_settings(&config.log, &config.server.name)
            && let Err(error) = log.reconfigure(settings)
        {
            tracing::error!(%error, "the access log stays as it was");
        }
    }
}
