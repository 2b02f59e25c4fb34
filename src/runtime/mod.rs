//! Threads: N workers that serve, and control, which does all the rest. Only this module starts threads.

mod accept;
mod control;
#[cfg_attr(not(test), expect(dead_code, reason = "start, reload and drain call it when they are built on control"))]
mod systemd;
mod worker;

use crate::{
    balance::Algorithm,
    config::{Address, Config},
    error::Kind,
    net::{self, Budget, Listening},
    plan::{Metrics, Plan},
    pool::Backend,
    telemetry::metrics::{BackendGauges, State, Telemetry},
};
use std::{
    fmt, io,
    net::SocketAddr,
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{mpsc, oneshot, watch};

/// How long exchanges may go on after the process was told to stop.
const DRAIN: Duration = Duration::from_secs(30);
/// The time between two complaints about failing accepts.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Why the process cannot start.
#[derive(Debug)]
pub struct StartError {
    what: String,
    source: Option<io::Error>,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError { what: format!("{what}: {source}"), source: Some(source) }
}

/// What one worker tells another, or control tells it.
pub(crate) enum Message {
    /// A fresh connection of that listener.
    Connection(std::net::TcpStream, SocketAddr, usize, net::Permit, net::Permit),
    /// One over a unix socket.
    Unix(std::os::unix::net::UnixStream, usize, net::Permit, net::Permit),
    /// Another worker needs a connection to that backend.
    CloseIdle(u32, oneshot::Sender<()>),
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    pub(crate) telemetry: Arc<Telemetry>,
    /// What the plan's exchanges count in.
    pub(crate) metrics: Arc<Metrics>,
    /// Connections of each worker, for handing fresh ones over.
    pub(crate) open: Vec<AtomicUsize>,
    /// How to reach each worker.
    pub(crate) workers: Vec<mpsc::UnboundedSender<Message>>,
    /// Connections of the process, clients' side: half of them, as each client may need one to a backend.
    pub(crate) clients: Arc<Budget>,
    /// Connections of each listener.
    pub(crate) listeners: Vec<Arc<Budget>>,
    /// When it was last said that accepting fails.
    complained: Mutex<Option<Instant>>,
    /// Pipes of each worker, for large bodies.
    pub(crate) pipes: usize,
    /// Where each listener is reached.
    pub(crate) addresses: Vec<Option<SocketAddr>>,
    /// Where the process is in its life.
    pub(crate) phase: watch::Receiver<Phase>,
}

impl Shared {
    /// Nothing has been said of it for a minute. Not a hot path: accepting has just failed.
    pub(crate) fn may_complain(&self) -> bool {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        let may = complained.is_none_or(|at| at.elapsed() >= COMPLAINTS);
        if may {
            *complained = Some(Instant::now());
        }
        may
    }
}

/// A thread's word that it has what it needs, or why not.
pub(crate) type Ready = std::sync::mpsc::Sender<io::Result<()>>;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Some thread is not ready; nothing is accepted.
    Starting,
    Running,
    /// Accepts nothing, finishes what has begun.
    Draining,
    Stopped,
}

/// Settings of a start that no file has.
#[derive(Debug, Default)]
pub struct Builder {
    algorithm: Option<Algorithm>,
}

impl Builder {
    /// Every pool uses this algorithm, in place of its own.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Starts serving `config` on threads of its own.
    ///
    /// # Errors
    /// A socket cannot be bound, or a thread cannot be started. Nothing is left behind.
    pub fn start(self, config: &Config) -> Result<Server, StartError> {
        Server::launch(config, self.algorithm)
    }
}

/// A running load balancer. Dropped, it stops at once.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(String, Option<SocketAddr>)>,
    admin: Option<SocketAddr>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
}

impl Server {
    /// Settings beside the configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts serving `config` on threads of its own.
    ///
    /// # Errors
    /// A socket cannot be bound, or a thread cannot be started. Nothing is left behind.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::launch(&config, None)
    }

    /// Where the listener of that name is reached.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|(name, _)| name == listener).and_then(|(_, address)| *address)
    }

    /// Where the admin listener is reached.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Accepts nothing more, finishes what has begun, then stops.
    pub fn drain(&mut self) {
        self.end(Phase::Draining);
    }

    /// Stops at once.
    pub fn stop(&mut self) {
        self.end(Phase::Stopped);
    }

    /// A way to stop at once while [`Server::drain`] is waiting.
    pub fn hurry(&self) -> Hurry {
        Hurry { phase: self.phase.clone() }
    }

    fn end(&mut self, phase: Phase) {
        let _ = self.phase.send(phase);
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
        let _ = self.phase.send(Phase::Stopped);
        self.control.take().into_iter().for_each(|control| drop(control.join()));
    }

    fn launch(config: &Config, algorithm: Option<Algorithm>) -> Result<Self, StartError> {
        let count = config.server.workers.or_else(cores).unwrap_or(1);
        let bound = bind(config, count)?;
        let admin = config.admin.address.as_ref().map(bind_admin).transpose()?;
        // A runtime of each worker, and control's, open a few descriptors that are not here yet.
        let most = descriptors().saturating_sub(8 * (count + 1));
        let process = connections(config.server.max_connections, most);
        let backends = Budget::new(Some(process / 2));
        let plan = Arc::new(Plan::build(config, count, &backends, algorithm));
        let (telemetry, metrics) = telemetry(config, &plan, count);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let (phase, watched) = watch::channel(Phase::Starting);
        let shared = Arc::new(Shared {
            plan,
            telemetry,
            metrics,
            open: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            workers: senders,
            clients: Budget::new(Some(process.div_ceil(2))),
            listeners: config.listeners.iter().map(|listener| Budget::new(listener.max_connections)).collect(),
            complained: Mutex::default(),
            // Connections leave a tenth of the descriptors; half of that, two to a pipe.
            pipes: (most / 36 / count).clamp(2, 1024),
            addresses: bound.iter().map(Listening::local_addr).collect(),
            phase: watched,
        });
        let names = config.listeners.iter().map(|listener| listener.name.clone());
        let addresses: Vec<_> = names.zip(bound.iter().map(Listening::local_addr)).collect();
        for (name, address) in &addresses {
            tracing::info!(listener = %name, address = address.map(tracing::field::display), "listening");
        }
        let admin_address = admin.as_ref().and_then(Admin::address);
        if let Some(address) = admin_address {
            tracing::info!(listener = "admin", %address, "listening");
        }
        let (tcp, unix) = accept::deal(bound, count);
        let mut server = Self { listeners: addresses, admin: admin_address, phase, workers: Vec::new(), control: None };
        let (ready, readiness) = std::sync::mpsc::channel();
        for (number, (listeners, receiver)) in tcp.into_iter().zip(receivers).enumerate() {
            let (shared, ready) = (Arc::clone(&shared), ready.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{number}"));
            let run = move || worker::run(number, &shared, listeners, receiver, &ready);
            server.workers.push(thread.spawn(run).map_err(cannot("a worker cannot be started"))?);
        }
        let name = config.server.name.clone();
        let control = std::thread::Builder::new().name("control".into());
        let run = move || control::run(&shared, unix, admin, &name, &ready);
        server.control = Some(control.spawn(run).map_err(cannot("control cannot be started"))?);
        // Clients' connections take descriptors: none is accepted before every thread has its own.
        for _ in 0..=count {
            readiness
                .recv()
                .unwrap_or_else(|ended| Err(io::Error::other(ended)))
                .map_err(cannot("a thread has no runtime"))?;
        }
        let _ = server.phase.send(Phase::Running);
        Ok(server)
    }
}

/// Ends a drain early.
#[derive(Debug)]
pub struct Hurry {
    phase: watch::Sender<Phase>,
}

impl Hurry {
    /// Cuts what is left.
    pub fn stop(&self) {
        let _ = self.phase.send(Phase::Stopped);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The cores that this process may use: affinity and the cgroup's quota are respected.
fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

/// 90 % of the descriptors that this process may open, less those that are open already, after raising the soft limit to
/// the hard one.
fn descriptors() -> usize {
    let most = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let open = std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count);
    usize::try_from(most / 10 * 9).unwrap_or(usize::MAX).saturating_sub(open)
}

/// What `server.max_connections` comes to.
fn connections(asked: Option<usize>, most: usize) -> usize {
    if let Some(asked) = asked
        && asked > most
    {
        tracing::warn!(asked, most, "server.max_connections is more than the limit of open files allows");
    }
    // One client and one backend, at the least.
    asked.unwrap_or(most).max(2)
}

fn bind(config: &Config, workers: usize) -> Result<Vec<Listening>, StartError> {
    let bind = |listener: &crate::config::Listener| {
        let what = format!("listener {}: cannot listen on {}", listener.name, listener.address);
        net::bind(listener, workers).map_err(cannot(what))
    };
    config.listeners.iter().map(bind).collect()
}

/// The admin listener's socket.
pub(crate) enum Admin {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

impl Admin {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

fn bind_admin(address: &Address) -> Result<Admin, StartError> {
    let bound = match address {
        Address::Tcp(address) => std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Admin::Tcp(listener))
        }),
        Address::Unix(path) => net::bind_unix(path).map(Admin::Unix),
    };
    bound.map_err(cannot(format!("admin: cannot listen on {address}")))
}

fn telemetry(config: &Config, plan: &Plan, workers: usize) -> (Arc<Telemetry>, Arc<Metrics>) {
    let buckets: Vec<f64> = config.metrics.buckets.iter().map(Duration::as_secs_f64).collect();
    let telemetry = Telemetry::new(&Kind::WORDS, &buckets, workers);
    telemetry.set_backend_histograms(config.metrics.backend_histograms);
    let metrics = Metrics::new(plan, &telemetry);
    for ((_, backend), metrics) in plan.backends().zip(&metrics.backends) {
        let backend = Arc::downgrade(backend);
        metrics.read(Box::new(move || backend.upgrade().map(|backend| gauges(&backend))));
    }
    telemetry.config_accepted(1, SystemTime::now());
    (Arc::new(telemetry), Arc::new(metrics))
}

fn gauges(backend: &Backend) -> BackendGauges {
    let (passed, failed, duration) = backend.health.checks();
    let up = backend.health.verdict().up != Some(false);
    BackendGauges {
        in_flight: i64::from(backend.load.in_flight()),
        connections: backend.connections() as i64,
        weight: f64::from(backend.weight),
        up,
        state: if up { State::Ready } else { State::Down },
        passed,
        failed,
        check_duration: (passed + failed > 0).then_some(duration),
    }
}
