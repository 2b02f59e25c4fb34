//! From a configuration to running threads, or an error with nothing left behind.

use super::{
    Builder, Handle, Phase, Server, Shared, accept,
    control::{self, Control},
    names, overload,
    relief::Relief,
    reload,
    sockets::Sockets,
    systemd, traces, worker,
};
use crate::{
    config::{Address, Config},
    error::Kind,
    net::{self, Budget},
    plan::{self, Ground, Numbers, Plan, TestError},
    policy::{Memory, Shed},
    pool::Registry,
    telemetry::{Seldom, SeldomOf, metrics::Telemetry, trace::Spans},
};
use std::{
    fmt, io,
    net::SocketAddr,
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    time::SystemTime,
};
use tokio::sync::{mpsc, watch};

/// Why the process cannot start.
#[derive(Debug)]
pub struct StartError {
    pub(super) what: String,
    pub(super) source: Option<io::Error>,
    /// A test of the configuration has failed, and nothing else is wrong with it.
    pub(super) of_test: bool,
}

impl StartError {
    /// As `what` says.
    pub(super) fn new(what: String) -> Self {
        Self { what, source: None, of_test: false }
    }

    /// A test of the configuration has failed, and nothing else is wrong with it.
    pub fn is_of_test(&self) -> bool {
        self.of_test
    }
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

pub(super) fn cannot(what: impl Into<String>) -> impl FnOnce(io::Error) -> StartError {
    let what = what.into();
    move |source| StartError { what: format!("{what}: {source}"), source: Some(source), of_test: false }
}

/// Starts everything.
pub(super) fn launch(config: Config, builder: Builder) -> Result<Server, StartError> {
    rehearse(&config, builder.file.as_deref().unwrap_or(Path::new("")))?;
    let count = config.server.workers.or_else(cores).unwrap_or(1);
    let mut sockets = Sockets::default();
    let inherited = systemd::assign(systemd::inherited()?, &config.listeners)?;
    let bound = sockets.bind(&config, count, inherited)?;
    let admin = config.admin.address.as_ref().map(|address| bind_admin("admin", address)).transpose()?;
    let metrics = config.admin.metrics_address.as_ref().map(|address| bind_admin("metrics", address)).transpose()?;
    let log = reload::access_log(&config.log, &config.server.name).map_err(cannot(reload::access_name(&config.log)))?;
    // A runtime of each worker, and control's, open a few descriptors that are not here yet.
    let most = descriptors().saturating_sub(8 * (count + 1));
    let process = connections(config.server.max_connections, most);
    let (shared, receivers) = share(&config, count, process, most);
    let _questions = names::ask_first(&config, &shared).map_err(cannot("names cannot be resolved"))?;
    let mut numbers = Numbers::default();
    let mut ground = Ground {
        registry: &shared.registry,
        memory: &shared.memory,
        numbers: &mut numbers,
        algorithm: builder.algorithm,
        before: None,
    };
    let plan = Plan::build(&config, 1, &mut ground).map_err(StartError::new)?;
    let plan = Arc::new(plan);
    reload::settle(&plan, tokio::time::Instant::now());
    overload::set(&config.server, &shared);
    traces::set(&config, &shared);
    shared.telemetry.read_spans(Arc::clone(&shared.spans));
    shared.telemetry.read_overload(overload::reader(&shared.shed));
    let (dealt, _) = sockets.adopt(bound, &config, &plan, count);
    shared.telemetry.config_accepted(1, SystemTime::now());
    let names = config.listeners.iter().map(|listener| listener.name.clone());
    let listeners: Vec<_> = names.map(|name| (name.clone(), sockets.address(&name))).collect();
    let admin_address = admin.as_ref().and_then(Admin::address);
    for (name, admin) in [("admin", &admin), ("metrics", &metrics)] {
        if let Some(address) = admin.as_ref().and_then(Admin::name) {
            tracing::info!(listener = %name, %address, "listening");
        }
    }
    let (orders, receiver) = mpsc::unbounded_channel();
    let handle = Handle { phase: shared.phase.clone(), orders };
    let mut server = Server { listeners, admin: admin_address, handle, workers: Vec::new(), control: None };
    let (ready, readiness) = channel();
    for (number, (sockets, messages)) in dealt.tcp.into_iter().zip(receivers).enumerate() {
        let (shared, ready) = (Arc::clone(&shared), ready.clone());
        let writer = log.as_ref().map(|log| log.writer());
        let start = worker::Start { plan: Arc::clone(&plan), sockets, messages, log: writer };
        let thread = std::thread::Builder::new().name(format!("worker-{number}"));
        let run = move || worker::run(number, &shared, start, &ready);
        server.workers.push(thread.spawn(run).map_err(cannot("a worker cannot be started"))?);
    }
    let parts = control::Parts { admin, metrics, unix: dealt.unix, orders: receiver };
    let control = Control::new(shared, config, builder, plan, numbers, sockets, log);
    let run = move || control::run(control, parts, &ready);
    let thread = std::thread::Builder::new().name("control".into());
    server.control = Some(thread.spawn(run).map_err(cannot("control cannot be started"))?);
    all_ready(&readiness, count + 1)?;
    server.handle.go_to(Phase::Running);
    Ok(server)
}

/// Asks the configuration's own tests.
fn rehearse(config: &Config, file: &Path) -> Result<(), StartError> {
    plan::test(config, file).map_err(|error| match error {
        TestError::Plan(what) => StartError::new(what),
        TestError::Failed(problems) => {
            let what = format!("a test of the configuration has failed:\n{}", problems.render(false));
            StartError { of_test: true, ..StartError::new(what) }
        }
    })
}

/// Clients' connections take descriptors: none is accepted before every thread has its own.
fn all_ready(readiness: &Receiver<io::Result<()>>, threads: usize) -> Result<(), StartError> {
    (0..threads).try_for_each(|_| {
        let ready = readiness.recv().unwrap_or_else(|ended| Err(io::Error::other(ended)));
        ready.map_err(cannot("a thread has no runtime"))
    })
}

type Receivers = Vec<mpsc::UnboundedReceiver<super::Message>>;

fn share(config: &Config, count: usize, process: usize, most: usize) -> (Arc<Shared>, Receivers) {
    let buckets: Vec<f64> = config.metrics.buckets.iter().map(std::time::Duration::as_secs_f64).collect();
    let telemetry = Arc::new(Telemetry::new(&Kind::WORDS, &buckets, count));
    telemetry.set_backend_histograms(config.metrics.backend_histograms);
    let (workers, receivers) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
    let registry = Registry::new(Budget::new(Some(process / 2)), Arc::clone(&telemetry), count);
    let shared = Arc::new(Shared {
        counts: (0..count).map(|worker| telemetry.worker(worker)).collect(),
        telemetry,
        workers,
        clients: Budget::new(Some(process.div_ceil(2))),
        complaint: Seldom::new(accept::COMPLAINTS),
        denied: SeldomOf::new(worker::SECOND),
        refusals: SeldomOf::new(worker::SECOND),
        relief: Relief::new(count),
        // Connections leave a tenth of the descriptors; half of that, two to a pipe.
        pipes: (most / 36 / count).clamp(2, 1024),
        chaos: Arc::default(),
        shed: Shed::new(count),
        overload: watch::Sender::default(),
        spans: Arc::new(Spans::new(count)),
        traces: watch::Sender::default(),
        fit: Mutex::default(),
        epoch: registry.epoch(),
        registry,
        memory: Memory::default(),
        phase: watch::Sender::new(Phase::Starting),
    });
    (shared, receivers)
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

/// The socket of an admin listener.
pub(super) enum Admin {
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

    /// As people call it.
    fn name(&self) -> Option<String> {
        match self {
            Self::Tcp(_) => self.address().map(|address| address.to_string()),
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(|path| format!("unix:{}", path.display()))
            }
        }
    }
}

fn bind_admin(what: &str, address: &Address) -> Result<Admin, StartError> {
    let bound = match address {
        Address::Tcp(address) => std::net::TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(Admin::Tcp(listener))
        }),
        Address::Unix(path) => net::bind_unix(path).map(Admin::Unix),
        Address::Named(..) => Err(io::Error::new(io::ErrorKind::InvalidInput, "a listener has an IP address")),
    };
    bound.map_err(cannot(format!("{what}: cannot listen on {address}")))
}
