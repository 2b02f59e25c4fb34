//! For tests: an admin listener on a thread of its own, with a control behind it that plays two small pools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::{env, fs, process};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::chaos::{ChaosRule, ChaosView};
use super::command::{
    About, AdminState, BackendChange, BackendView, Change, CircuitOrder, ConfigStatus, Counts, Diff, Drains,
    Explanation, KeyChange, Kind, ListenerView, Look, Override, PoolChange, PoolView, Refused, Reloaded, Snapshot,
    Status, What,
};
use super::*;
use crate::config::Address;
use crate::telemetry::metrics::{BackendTraffic, Traffic};

pub(crate) const TOKEN: &str = "0123456789abcdef";

/// What control plays.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) generation: u64,
    pub(crate) pools: Vec<PoolView>,
    /// Problems of the file, if it has any.
    pub(crate) file: Option<String>,
    /// What has failed of the file's tests, if any has.
    pub(crate) test: Option<String>,
    /// Answers nothing, and keeps what was asked.
    pub(crate) stuck: bool,
    /// Rehearsed failures.
    pub(crate) chaos: Vec<ChaosView>,
}

impl Default for Play {
    fn default() -> Self {
        let pools = vec![pool("web", &["a", "unix:/run/x"]), pool("api", &["a", "b"])];
        Self { generation: 7, pools, file: None, test: None, stuck: false, chaos: Vec::new() }
    }
}

fn pool(name: &str, backends: &[&str]) -> PoolView {
    let backends = backends.iter().map(|name| backend(name)).collect();
    PoolView {
        name: name.into(),
        algorithm: "round_robin".into(),
        queue: 0,
        circuit: "closed".into(),
        reason: String::new(),
        backends,
    }
}

fn backend(name: &str) -> BackendView {
    BackendView {
        name: name.into(),
        backup: false,
        address: if name.contains(':') { name.into() } else { "10.0.0.1:80".into() },
        state: "ready".into(),
        reason: String::new(),
        weight: 1,
        effective_weight: 1.0,
        in_flight: 3,
        requests: 42,
        errors: 2,
        circuit: "closed".into(),
        deadline: None,
        outlier: false,
        reported_load: BTreeMap::new(),
        since: "2026-01-02T03:04:05Z".into(),
    }
}

impl Play {
    /// Answers commands until nobody can send one.
    pub(crate) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut unanswered = Vec::new();
        while let Some(command) = commands.recv().await {
            if self.stuck {
                unanswered.push(command);
                continue;
            }
            match command {
                Command::Status(reply) => drop(reply.send(self.status())),
                Command::Snapshot(reply) => drop(reply.send(self.sample())),
                Command::Pool { pool, backend, reply } => {
                    let mut view = self.pools.iter().find(|view| view.name == pool).cloned();
                    if let Some(view) = &mut view {
                        view.backends.retain(|view| backend.as_ref() == Some(&view.name));
                    }
                    drop(reply.send(view));
                }
                Command::Change { pool, backend, change, if_match, reply } => {
                    drop(reply.send(self.change(&pool, &backend, &change, if_match)));
                }
                Command::Add { pool, backend, if_match, reply } => {
                    drop(reply.send(self.add(&pool, &backend.name, if_match)));
                }
                Command::Remove { pool, backend, if_match, reply, .. } => {
                    drop(reply.send(self.remove(&pool, &backend, if_match)));
                }
                Command::ChangePool { pool, change, if_match, reply } => {
                    drop(reply.send(self.change_pool(&pool, &change, if_match)));
                }
                Command::Chaos { rule, if_match, reply } => drop(reply.send(self.chaos(rule, if_match))),
                Command::Explain { sample, reply } => {
                    let request = crate::plan::Seen { path: sample.target, ..Default::default() };
                    let route = Some("api".to_owned());
                    drop(reply.send(Explanation { route, request, ..Explanation::default() }));
                }
                Command::Reload { if_drops, if_match, reply } => drop(reply.send(self.reload(if_drops, if_match))),
                Command::Rollback { if_match, reply } => drop(reply.send(self.reload(None, if_match))),
                Command::Diff { text, reply } => drop(reply.send(self.diff(&text).map(Box::new))),
            }
        }
    }

    /// A look at it; nothing is counted.
    pub(crate) fn sample(&self) -> Look {
        let snapshot = Snapshot::of(self.status(), 1_767_323_045_000);
        let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
        let counts = Counts {
            at: std::time::Instant::now(),
            traffic: Traffic { in_flight: 3, connections: 12, ..Traffic::default() },
            listeners: vec![("web".into(), 0)],
            pools: snapshot.pools.iter().map(|pool| (pool.name.as_str().into(), 0)).collect(),
            backends: backends.map(|live| (live.view.name.as_str().into(), BackendTraffic::default())).collect(),
        };
        Look { snapshot, counts }
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            about: About {
                version: "0.1.0".into(),
                instance: "lb-1".into(),
                generation: self.generation,
                started: "2026-01-02T03:04:05Z".into(),
                uptime_seconds: 3_723,
                phase: "running".into(),
                config: ConfigStatus {
                    file: "/etc/evenkeel/evenkeel.toml".into(),
                    last_reload_successful: self.file.is_none(),
                    last_reload: "2026-01-02T03:04:05Z".into(),
                    error: self.file.clone(),
                    rolled_back_to: None,
                },
                workers: 2,
                chaos: self.chaos.clone(),
            },
            listeners: vec![ListenerView { name: "web".into(), address: "0.0.0.0:80".into(), connections: 12 }],
            pools: self.pools.clone(),
            overrides: vec![Override {
                pool: "api".into(),
                backend: "b".into(),
                what: "weight 3, 1 in the file".into(),
            }],
        }
    }

    fn check(&self, if_match: Option<u64>) -> Result<(), Refused> {
        match if_match {
            Some(wanted) if wanted != self.generation => Err(Refused::Stale { generation: self.generation }),
            _ => Ok(()),
        }
    }

    fn change_pool(&mut self, pool: &str, change: &PoolChange, if_match: Option<u64>) -> Result<PoolView, Refused> {
        self.check(if_match)?;
        let missing = || Refused::NotFound(format!("pool {pool:?}"));
        let view = self.pools.iter_mut().find(|view| view.name == pool).ok_or_else(missing)?;
        match change.circuit {
            Some(CircuitOrder::Open) => view.circuit = "open".into(),
            Some(CircuitOrder::Auto) => view.circuit = "closed".into(),
            None => {}
        }
        Ok(view.clone())
    }

    fn change(
        &mut self,
        pool: &str,
        backend: &str,
        change: &BackendChange,
        if_match: Option<u64>,
    ) -> Result<BackendView, Refused> {
        self.check(if_match)?;
        let missing = |what: &str, name: &str| Refused::NotFound(format!("{what} {name:?}"));
        let view = self.pools.iter_mut().find(|view| view.name == pool).ok_or_else(|| missing("pool", pool))?;
        let view = view.backends.iter_mut().find(|view| view.name == backend);
        let view = view.ok_or_else(|| missing("backend", backend))?;
        if change.weight == Some(666) {
            return Err(Refused::Invalid("weight: not that one".into()));
        }
        match change.state {
            Some(AdminState::Ready) => view.state = "ready".into(),
            Some(AdminState::Drain) => view.state = "drain".into(),
            Some(AdminState::Maintenance) => view.state = "maintenance".into(),
            None => {}
        }
        view.reason = change.deadline.map_or_else(String::new, |deadline| format!("within {deadline:?}"));
        view.weight = change.weight.unwrap_or(view.weight);
        view.effective_weight = f64::from(view.weight);
        Ok(view.clone())
    }

    fn add(&mut self, of: &str, name: &str, if_match: Option<u64>) -> Result<BackendView, Refused> {
        self.check(if_match)?;
        let missing = || Refused::NotFound(format!("pool {of:?}"));
        let pool = self.pools.iter_mut().find(|view| view.name == of).ok_or_else(missing)?;
        if pool.backends.iter().any(|view| view.name == name) {
            return Err(Refused::Unwanted(format!("another backend is called {name:?} already")));
        }
        pool.backends.push(backend(name));
        Ok(backend(name))
    }

    fn remove(&mut self, pool: &str, name: &str, if_match: Option<u64>) -> Result<BackendView, Refused> {
        self.check(if_match)?;
        let missing = |what: &str, name: &str| Refused::NotFound(format!("{what} {name:?}"));
        let view = self.pools.iter_mut().find(|view| view.name == pool).ok_or_else(|| missing("pool", pool))?;
        let place = view.backends.iter().position(|view| view.name == name);
        Ok(view.backends.remove(place.ok_or_else(|| missing("backend", name))?))
    }

    fn chaos(&mut self, rule: Option<ChaosRule>, if_match: Option<u64>) -> Result<Vec<ChaosView>, Refused> {
        self.check(if_match)?;
        if let Some(name) = rule.as_ref().and_then(|rule| rule.route.as_deref()).filter(|name| *name == "none") {
            return Err(Refused::NotFound(format!("route {name:?}")));
        }
        let ends = "2026-01-02T03:09:05Z";
        self.chaos = rule
            .map(|rule| ChaosView::new(rule.route.as_deref(), rule.share, rule.blow, ends, 7))
            .into_iter()
            .collect();
        Ok(self.chaos.clone())
    }

    /// A configuration that says `same` differs in nothing; of others, one pool does.
    fn diff(&self, text: &str) -> Result<Diff, Refused> {
        if let Some(problems) = &self.file {
            return Err(Refused::Failed(problems.clone()));
        }
        let key = KeyChange { key: "connect_timeout".into(), old: None, new: Some("\"1s\"".into()) };
        let change = Change {
            change: What::Changed,
            kind: Kind::Pool,
            pool: None,
            name: "web".into(),
            keys: vec![key],
            contents: false,
            drains: Some(Drains { exchanges: 3, ..Drains::default() }),
        };
        let changes: Vec<_> = Some(change).filter(|_| text != "same").into_iter().collect();
        let (generation, drains) = (Some(self.generation), Some(3 * changes.len() as u64));
        Ok(Diff { generation, drains, within: "30s".into(), changes, ..Diff::default() })
    }

    fn reload(&mut self, if_drops: Option<u64>, if_match: Option<u64>) -> Result<Reloaded, Refused> {
        self.check(if_match)?;
        if if_drops.is_some_and(|most| most < 3) {
            return Err(Refused::Unwanted("3 live connections would be drained".into()));
        }
        if let Some(problems) = &self.file {
            return Err(Refused::Failed(problems.clone()));
        }
        if let Some(failed) = &self.test {
            return Err(Refused::TestFailed(failed.clone()));
        }
        self.generation += 1;
        Ok(Reloaded { generation: self.generation, notes: vec!["workers: needs a restart".into()] })
    }
}

/// What control would share, and where it would read.
pub(crate) fn shared(token: Option<&str>) -> (Shared, mpsc::UnboundedReceiver<Command>) {
    let (commands, asked) = mpsc::unbounded_channel();
    let shared = Shared {
        telemetry: Arc::new(Telemetry::new(&[], &crate::telemetry::metrics::BUCKETS, 1)),
        name: "lb-1".to_owned(),
        token: Arc::new(ArcSwapOption::from_pointee(token.map(|token| Secret::new(token.as_bytes())))),
        commands,
        draining: Arc::default(),
    };
    (shared, asked)
}

/// A path for a socket that no other test has.
pub(crate) fn socket() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let path = env::temp_dir().join(format!("evenkeel-admin-{}-{number}.sock", process::id()));
    let _ = fs::remove_file(&path);
    path
}

/// Sends `request` and reads until the other side closes.
pub(crate) async fn exchange(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// The number in the first line of `answer`.
pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// An admin listener on a thread of its own, for callers that block. Dropped, it ends.
pub(crate) struct Admin {
    pub(crate) address: Address,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// On a free port of loopback.
    pub(crate) fn tcp(play: Play, token: Option<&str>) -> Self {
        Self::start(Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), play, token)
    }

    /// On a unix socket.
    pub(crate) fn unix(play: Play) -> Self {
        Self::start(Address::Unix(socket()), play, None)
    }

    fn start(address: Address, play: Play, token: Option<&str>) -> Self {
        let (shared, commands) = shared(token);
        let (ready, bound) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (listener, address) = bind(address).await;
                ready.send(address).unwrap();
                tokio::spawn(play.run(commands));
                tokio::select! {
                    () = serve(listener, shared, Access::Full) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address: bound.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.end.take();
        let _ = self.thread.take().map(JoinHandle::join);
        if let Address::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

async fn bind(address: Address) -> (Listener, Address) {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            (Listener::Tcp(listener), Address::Tcp(address))
        }
        Address::Named(..) => unreachable!("a listener has an IP address"),
        Address::Unix(path) => (Listener::Unix(UnixListener::bind(&path).unwrap()), Address::Unix(path)),
    }
}
