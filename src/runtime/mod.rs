//! Threads: N workers that serve, and control, which does all the rest. Only this module starts threads.

mod accept;
mod certificates;
mod chaos;
mod collector;
mod compare;
mod connection;
mod control;
mod disk;
mod fetch;
mod files;
mod introduce;
mod keys;
mod leaving;
mod loads;
mod memory;
mod names;
mod outliers;
mod overlay;
mod overload;
mod ramps;
mod relief;
mod reload;
mod rollback;
mod snapshot;
mod sockets;
mod start;
mod state;
mod systemd;
mod traces;
mod view;
mod worker;

pub use start::StartError;
use start::cannot;
pub use state::State;

use self::{
    accept::{Arrival, Gate},
    leaving::Ending,
    relief::Relief,
};
use crate::{
    balance::Algorithm,
    config::Config,
    net::{Budget, Holder},
    plan::{Plan, diff::Gone},
    policy::{Chaos, Fit, Memory, Shed},
    pool::Registry,
    telemetry::{
        Seldom, SeldomOf,
        access_log::Writer,
        log,
        metrics::{Telemetry, WorkerMetrics},
        trace::Spans,
    },
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// What one worker tells another, or control tells it.
pub(crate) enum Message {
    /// A fresh connection.
    Connection(Arrival),
    /// Another worker needs a connection to that backend.
    CloseIdle(u32, oneshot::Sender<()>),
    /// A plan, what is gone with the one before, sockets to accept on as well, and, if it is new, where the access log
    /// goes. Answered when it is in use.
    Plan {
        plan: Arc<Plan>,
        gone: Arc<Gone>,
        open: Vec<(Arc<Gate>, std::net::TcpListener)>,
        log: Option<Writer>,
        done: oneshot::Sender<()>,
    },
    /// What is with that backend at that moment, or comes to it later, ends: within some time after it.
    Leave { backend: u32, at: tokio::time::Instant, within: Duration },
    /// That backend is in use again: what was to end with it may stay.
    Stay { backend: u32 },
    /// How much would end if that plan came, with which so much is gone.
    Count { plan: Arc<Plan>, gone: Arc<Gone>, done: oneshot::Sender<Ending> },
    /// Memory is short: what is kept for later is given back.
    Relieve,
    /// Whoever reads this is alive.
    Ping(oneshot::Sender<()>),
}

/// What a program or a person tells control.
pub(crate) enum Order {
    /// Read the file again, or take this configuration in its place. Answered with what to say, or why not.
    Reload(Option<Box<Config>>, oneshot::Sender<Result<(), String>>),
    /// Logs are opened anew.
    ReopenLogs,
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Connections of each worker: counted, and looked at to hand fresh ones over.
    pub(crate) counts: Vec<Arc<WorkerMetrics>>,
    /// How to reach each worker.
    pub(crate) workers: Vec<mpsc::UnboundedSender<Message>>,
    /// Connections of the process, clients' side: half of them, as each client may need one to a backend.
    pub(crate) clients: Arc<Budget>,
    /// Says that accepting fails.
    pub(crate) complaint: Seldom,
    /// Says that somebody may not come in at all, or has too many already.
    pub(crate) denied: SeldomOf<Holder>,
    pub(crate) refusals: SeldomOf<Holder>,
    /// Has idle connections make room.
    pub(crate) relief: Relief,
    /// Pipes of each worker, for large bodies.
    pub(crate) pipes: usize,
    /// Failures that are being rehearsed.
    pub(crate) chaos: Arc<Chaos>,
    /// Who is let in while load is shed.
    pub(crate) shed: Arc<Shed>,
    /// The high-water marks, as the configuration has them.
    pub(crate) overload: watch::Sender<overload::Wanted>,
    /// Where workers leave the records of spans,
    pub(crate) spans: Arc<Spans>,
    /// and where those go.
    pub(crate) traces: watch::Sender<Option<traces::Target>>,
    /// How many requests fit into memory. Control's alone.
    pub(crate) fit: Mutex<Option<Fit>>,
    /// What policies remember.
    pub(crate) memory: Memory,
    /// Seconds are counted from here.
    pub(crate) epoch: tokio::time::Instant,
    /// Where the process is in its life.
    pub(crate) phase: watch::Sender<Phase>,
}

/// A thread's word that it has what it needs, or why not.
pub(crate) type Ready = std::sync::mpsc::Sender<io::Result<()>>;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Some thread is not ready; nothing is accepted.
    Starting,
    Running,
    /// Says that it will go, and accepts for `server.drain_delay` still.
    Leaving,
    /// Accepts nothing, finishes what has begun.
    Draining,
    Stopped,
    /// No worker runs any more: what they have left is all.
    Ended,
}

/// Settings of a start that no file has.
#[derive(Debug, Default)]
pub struct Builder {
    algorithm: Option<Algorithm>,
    file: Option<PathBuf>,
    log: Option<log::Handle>,
    state: Option<State>,
}

impl Builder {
    /// Every pool uses this algorithm, in place of its own.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// A reload reads this file again.
    #[must_use]
    pub fn file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Accepted configurations are kept in `state`, for rollbacks.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// A reload changes the level of the program's log by `handle`.
    #[must_use]
    pub fn log(mut self, handle: log::Handle) -> Self {
        self.log = Some(handle);
        self
    }

    /// Starts serving `config` on threads of its own.
    ///
    /// # Errors
    /// A socket cannot be bound, or a thread cannot be started. Nothing is left behind.
    pub fn start(self, config: Config) -> Result<Server, StartError> {
        start::launch(config, self)
    }
}

/// A running load balancer. Dropped, it stops at once.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(String, Option<SocketAddr>)>,
    admin: Option<SocketAddr>,
    handle: Handle,
    workers: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
}

/// Tells a server what to do, from any thread.
#[derive(Clone, Debug)]
pub struct Handle {
    phase: watch::Sender<Phase>,
    orders: mpsc::UnboundedSender<Order>,
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
        Self::builder().start(config)
    }

    /// Where the listener of that name was reached at the start.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners.iter().find(|(name, _)| name == listener).and_then(|(_, address)| *address)
    }

    /// Where the admin listener is reached.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// A way to tell it what to do.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Says on `/readyz` that it will go, accepts for `server.drain_delay` still, finishes within
    /// `server.drain_timeout` what has begun, then stops. Returns when it has.
    pub fn drain(&mut self) {
        self.end(Phase::Leaving);
    }

    /// Stops at once.
    pub fn stop(&mut self) {
        self.end(Phase::Stopped);
    }

    fn end(&mut self, phase: Phase) {
        self.handle.go_to(phase);
        self.workers.drain(..).for_each(|worker| drop(worker.join()));
        self.handle.go_to(Phase::Ended);
        self.control.take().into_iter().for_each(|control| drop(control.join()));
    }
}

impl Handle {
    /// Stops at once, also while [`Server::drain`] is waiting.
    pub fn stop(&self) {
        self.go_to(Phase::Stopped);
    }

    /// Reads the file again that [`Builder::file`] gave. What comes of it is in the log and in the metrics.
    pub fn reload(&self) {
        let (done, _) = oneshot::channel();
        let _ = self.orders.send(Order::Reload(None, done));
    }

    /// Takes `config` in place of the one in force, and waits until every worker has.
    ///
    /// # Errors
    /// It cannot be put in force, for example because an address is in use: nothing has changed.
    pub async fn replace(&self, config: Config) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let _ = self.orders.send(Order::Reload(Some(Box::new(config)), done));
        answer.await.unwrap_or_else(|_| Err("the server has stopped".into()))
    }

    /// Opens the access log anew, after somebody has moved its file.
    pub fn reopen_logs(&self) {
        let _ = self.orders.send(Order::ReopenLogs);
    }

    fn go_to(&self, phase: Phase) {
        Self::advance(&self.phase, phase);
    }

    /// The process goes on to `phase`; never backwards.
    fn advance(watched: &watch::Sender<Phase>, phase: Phase) {
        watched.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
