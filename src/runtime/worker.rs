//! One worker: a thread with a runtime of its own, its own sockets and its own connections to backends.

use super::{
    Message, Phase, Ready, Shared,
    accept::{self, Arrival, Arrived, Gate},
    connection::{Listed, Open, Seats, connected, prepared},
    relief,
};
use crate::{
    http::{self, Client, Exchange, Origin},
    net::{Holder, Peer, Stream},
    plan::{Plan, diff::Gone},
    proxy::{self, AskOthers, Local},
    telemetry::{
        Seldom,
        access_log::Writer,
        metrics::{Closed, ListenerMetrics},
    },
};
use std::{
    cell::{OnceCell, RefCell},
    net::{IpAddr, TcpListener},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

/// How often kept connections are looked over, and those that must end are ended.
const SWEEP: Duration = Duration::from_secs(1);
/// How long lines of the access log may lie here.
const FLUSH: Duration = Duration::from_millis(100);
/// How often it is said at the most what strangers make happen.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What the tasks of one worker share.
pub(super) struct Worker {
    pub(super) number: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) local: Rc<Local>,
    /// Answers what comes.
    pub(super) server: http::Server,
    /// Its client connections, and the streams of those that have several, so that they can be told to end.
    pub(super) clients: RefCell<slab::Slab<Entry>>,
    /// Those that are ended when their time has come.
    doomed: RefCell<Vec<Doomed>>,
    /// Backends that are left for good at some moment: whatever comes to them later ends at once.
    left: RefCell<Vec<(u32, Instant)>>,
    /// Those that give way when places run short.
    pub(super) idle: RefCell<relief::Idle>,
    /// Says that a connection has sent too much of something.
    pub(super) floods: Seldom,
}

/// One client connection, or one stream of it.
pub(super) struct Entry {
    pub(super) client: Rc<Client>,
    /// Ends it at once. Streams end by themselves, or with their connection.
    pub(super) task: Option<AbortHandle>,
    /// Counts a connection, under its listener's name of today.
    pub(super) metrics: Option<Arc<ListenerMetrics>>,
    /// A connection's right to be there; a stream has none of its own.
    pub(super) seats: Option<Seats>,
    /// Tells it from others that have its place later.
    pub(super) serial: u64,
}

/// A connection that must end.
#[derive(Clone, Copy)]
struct Doomed {
    at: Instant,
    place: usize,
    serial: u64,
    /// Only while its exchange is with that backend.
    backend: Option<u32>,
}

/// What a worker starts with.
pub(super) struct Start {
    pub(super) plan: Arc<Plan>,
    pub(super) sockets: Vec<(Arc<Gate>, TcpListener)>,
    pub(super) messages: mpsc::UnboundedReceiver<Message>,
    pub(super) log: Option<Writer>,
}

/// Runs worker `number` until the process stops.
pub(super) fn run(number: usize, shared: &Arc<Shared>, start: Start, ready: &Ready) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let _ = ready.send(Ok(()));
    let metrics = runtime.handle().metrics();
    shared.telemetry.read_busy(number, Box::new(move || metrics.worker_total_busy_duration(0)));
    let Start { plan, sockets, messages, log } = start;
    let worker = Worker::new(number, shared, plan);
    worker.local.log.replace(log.map(Rc::new));
    runtime.block_on(serve(worker, sockets, messages));
}

async fn serve(worker: Rc<Worker>, sockets: Vec<(Arc<Gate>, TcpListener)>, messages: mpsc::UnboundedReceiver<Message>) {
    accept::started(&worker.shared).await;
    worker.listen(sockets);
    tokio::task::spawn_local(hear(Rc::clone(&worker), messages));
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::task::spawn_local(flush(Rc::clone(&worker)));
    tokio::task::spawn_local(relief::relieve(Rc::clone(&worker)));
    let phase = accept::draining(&worker.shared).await;
    if phase == Phase::Draining {
        let mut phase = worker.shared.phase.subscribe();
        let stopped = async { drop(phase.wait_for(|phase| *phase >= Phase::Stopped).await) };
        // Once round: what had been accepted before is on its way to being served.
        tokio::task::yield_now().await;
        tokio::select! {
            () = worker.drained() => {}
            () = tokio::time::sleep(worker.local.plan().plan.drain_timeout) => {}
            () = stopped => {}
        }
    }
    worker.cut().await;
    worker.local.flush_log();
}

async fn hear(worker: Rc<Worker>, mut messages: mpsc::UnboundedReceiver<Message>) {
    while let Some(message) = messages.recv().await {
        match message {
            Message::Connection(arrival) => worker.open(arrival),
            Message::CloseIdle(backend, done) => {
                worker.local.dialer.close_one(backend);
                let _ = done.send(());
            }
            Message::Plan { plan, gone, open, log, done } => {
                worker.replan(plan, &gone);
                worker.listen(open);
                if let Some(log) = log {
                    worker.local.log.replace(Some(Rc::new(log)));
                }
                let _ = done.send(());
            }
            Message::Leave { backend, at, within } => {
                worker.leave(backend, at, within);
                worker.left.borrow_mut().push((backend, at));
            }
            Message::Stay { backend } => worker.stay(backend),
            Message::Count { plan, gone, done } => drop(done.send(worker.count_gone(&gone, &plan))),
            Message::Relieve => worker.local.relieve(),
            Message::Ping(done) => drop(done.send(())),
        }
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        worker.local.tick(now);
        worker.local.dialer.sweep(now);
        worker.end_late(now);
        worker.end_doomed(now);
        let clients = worker.clients.borrow();
        worker.local.forget(now, |listener| clients.iter().any(|(_, entry)| entry.client.listener == listener));
    }
}

/// Hands lines of the access log over a little after they were written.
async fn flush(worker: Rc<Worker>) {
    loop {
        worker.local.logged.notified().await;
        tokio::time::sleep(FLUSH).await;
        worker.local.flush_log();
    }
}

impl Worker {
    fn new(number: usize, shared: &Arc<Shared>, plan: Arc<Plan>) -> Rc<Self> {
        let local = Rc::new(Local::new(
            plan,
            number,
            shared.pipes,
            (shared.epoch, &shared.chaos, &shared.shed, &shared.spans),
            ask_others(number, shared),
        ));
        let lent = Rc::clone(&local);
        let handle = async move |exchange: &mut Exchange<'_>| proxy::handle(&lent, exchange).await;
        let (shared, floods) = (Arc::clone(shared), Seldom::new(SECOND));
        let (clients, doomed, left, idle) = Default::default();
        Rc::new_cyclic(|worker| {
            let worker = Weak::clone(worker);
            let list = move |client: &Rc<Client>| Some(Listed::new(worker.upgrade()?, Rc::clone(client), (None, None)));
            let server = http::Server::new(handle, list);
            Self { number, shared, local, server, clients, doomed, left, idle, floods }
        })
    }

    /// Accepts on `sockets` as well.
    fn listen(self: &Rc<Self>, sockets: Vec<(Arc<Gate>, TcpListener)>) {
        for (gate, socket) in sockets {
            tokio::task::spawn_local(accept::tcp(Rc::clone(self), gate, socket));
        }
    }

    /// Opens a fresh connection here, or on a worker that has clearly fewer.
    pub(super) fn place(self: &Rc<Self>, arrival: Arrival) {
        let arrival = match accept::lighter(&self.shared.counts, self.number) {
            None => arrival,
            Some(other) => match self.shared.workers[other].send(Message::Connection(arrival)) {
                Ok(()) => return,
                Err(mpsc::error::SendError(Message::Connection(arrival))) => arrival,
                Err(_) => return,
            },
        };
        self.open(arrival);
    }

    /// Somebody could not come in. Said once a second at the most for each reason: who was the last one, how many
    /// connections it were, and of how many addresses.
    pub(super) fn refused(&self, listener: &str, peer: IpAddr, reason: Closed) {
        let refusals = if reason == Closed::Denied { &self.shared.denied } else { &self.shared.refusals };
        if let Some((times, addresses)) = refusals.happens_to(Holder::of(peer)) {
            let reason = reason.word();
            tracing::info!(listener, %peer, reason, times, addresses, "connection closed at accept");
        }
    }

    /// Serves a connection in a task of its own.
    fn open(self: &Rc<Self>, arrival: Arrival) {
        let Arrival { stream, listener, local, mut seats } = arrival;
        let (stream, peer) = match stream {
            Arrived::Tcp(stream, peer) => (Stream::fresh(stream), Peer::Tcp(peer)),
            Arrived::Unix(stream) => match tokio::net::UnixStream::from_std(stream) {
                Ok(stream) => (Stream::unix(stream), Peer::Unix),
                Err(_) => return,
            },
        };
        let pinned = self.local.plan_for(listener);
        // It was accepted by a listener that is gone, and had no connections here.
        let Some(known) = pinned.plan.listener(listener) else { return };
        let limits = Arc::clone(&known.limits);
        let trusted = pinned.plan.trusts(peer);
        // A PROXY header to a backend says which of this host's addresses was called.
        let any = local.filter(|local| pinned.plan.tells_clients && local.ip().is_unspecified());
        let local = any.and_then(|_| stream.local()).or(local);
        let accepted = Instant::now();
        let jitter = self.local.random() as u8;
        let (tls, proxied, lines) = (None, None, OnceCell::new());
        let origin = Origin { peer, local, listener, tls, trusted, proxied, accepted, jitter, limits, lines };
        let client = Rc::new(Client::new(Rc::new(origin)));
        if self.local.plan().plan.listener(listener).is_none() {
            client.close();
        }
        // It may have been accepted by a plan that let it in.
        if known.denies(&client) {
            return known.metrics.closed_by(self.number, Closed::Denied);
        }
        if let (Some(door), None) = (&known.door, &seats.held) {
            // It may have been accepted before there was a limit.
            seats.held = known.looks_at(&client).and_then(|ip| door.count(ip));
        }
        let open = Open::new(self, Rc::clone(&client), Arc::clone(&known.metrics), seats);
        let place = open.place();
        let task = match (known.proxy_protocol, &known.tls) {
            (false, None) => {
                let connection = open.connection(stream);
                tokio::task::spawn_local(connected(open, connection))
            }
            (proxied, tls) => tokio::task::spawn_local(prepared(open, stream, proxied, tls.clone())),
        };
        if let Some(entry) = self.clients.borrow_mut().get_mut(place) {
            entry.task = Some(task.abort_handle());
        }
    }

    /// `plan` is today's from now on, and what is `gone` with the one before ends.
    fn replan(self: &Rc<Self>, plan: Arc<Plan>, gone: &Gone) {
        let before = self.local.plan();
        self.local.replan(Arc::clone(&plan));
        let within = before.plan.drain_timeout;
        for backend in &gone.backends {
            self.local.dialer.leave(*backend);
        }
        self.rename(&before.plan, &plan);
        self.end_gone(gone, &plan, within);
        for backend in &gone.backends {
            self.left.borrow_mut().push((*backend, Instant::now() + within));
        }
        for backend in &gone.met {
            self.local.dialer.meet(*backend);
            self.stay(*backend);
        }
        self.count_held(&plan);
    }

    /// Open connections are counted under their listener's new name.
    fn rename(&self, before: &Plan, plan: &Plan) {
        let renamed = |old: &crate::plan::Listener| {
            let new = plan.listener(old.number)?;
            (!Arc::ptr_eq(&old.metrics, &new.metrics)).then(|| (old.number, Arc::clone(&new.metrics)))
        };
        for (number, metrics) in before.listeners().filter_map(renamed) {
            let mut clients = self.clients.borrow_mut();
            let connections = clients.iter_mut().filter(|(_, entry)| entry.client.listener == number);
            for counted in connections.filter_map(|(_, entry)| entry.metrics.as_mut()) {
                counted.closed(self.number);
                metrics.opened(self.number);
                *counted = Arc::clone(&metrics);
            }
        }
    }

    /// Connections that came before their listener counted by address are counted now.
    fn count_held(&self, plan: &Plan) {
        for (_, entry) in self.clients.borrow_mut().iter_mut() {
            let Some(seats) = entry.seats.as_mut().filter(|seats| seats.held.is_none()) else { continue };
            let Some(listener) = plan.listener(entry.client.listener) else { continue };
            // One whose PROXY header has not come is counted then.
            if let (Some(door), Some(ip)) = (&listener.door, listener.looks_at(&entry.client)) {
                seats.held = door.count(ip);
            }
        }
    }

    /// When a connection ends that has so much time: tunnels are spread over it, so that their clients do not all come
    /// back at once, others may finish until its end.
    pub(super) fn share(&self, entry: &Entry, within: Duration) -> Duration {
        if entry.client.is_tunnel() { self.some_of(within) } else { within }
    }

    /// This connection ends at that moment.
    pub(super) fn doom(self: &Rc<Self>, (place, entry): (usize, &Entry), at: Instant, backend: Option<u32>) {
        self.doomed.borrow_mut().push(Doomed { at, place, serial: entry.serial, backend });
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            tokio::time::sleep_until(at).await;
            worker.end_doomed(at);
        });
    }

    /// What is with `backend` ends within some time after the moment `at`, spread over that time.
    fn leave(self: &Rc<Self>, backend: u32, at: Instant, within: Duration) {
        for (place, entry) in self.clients.borrow().iter().filter(|(_, entry)| entry.client.backend() == Some(backend))
        {
            self.doom((place, entry), at + self.some_of(within), Some(backend));
        }
    }

    /// What is with `backend`, or will be, may stay.
    fn stay(&self, backend: u32) {
        self.doomed.borrow_mut().retain(|doomed| doomed.backend != Some(backend));
        self.left.borrow_mut().retain(|(left, _)| *left != backend);
    }

    /// What has come to a backend after it was left ends now: it had chosen it before, and was still connecting.
    fn end_late(&self, now: Instant) {
        let left = self.left.borrow();
        if left.is_empty() {
            return;
        }
        let has_left = |backend: u32| left.iter().any(|(other, at)| *other == backend && *at <= now);
        let mut doomed = self.doomed.borrow_mut();
        for (place, entry) in self.clients.borrow().iter() {
            let Some(backend) = entry.client.backend().filter(|backend| has_left(*backend)) else { continue };
            if !doomed.iter().any(|doomed| doomed.serial == entry.serial) {
                doomed.push(Doomed { at: now, place, serial: entry.serial, backend: Some(backend) });
            }
        }
    }

    /// A random share of `time`.
    pub(super) fn some_of(&self, time: Duration) -> Duration {
        time.mul_f64(self.local.random() as f64 / u64::MAX as f64)
    }

    /// Ends the connections whose time has come: their exchanges are told, and what does not end soon then is ended.
    fn end_doomed(&self, now: Instant) {
        let due: Vec<_> = self.doomed.borrow_mut().extract_if(.., |doomed| doomed.at <= now).collect();
        for doomed in due {
            let clients = self.clients.borrow();
            let entry = clients.get(doomed.place).filter(|entry| entry.serial == doomed.serial);
            let still = |entry: &&Entry| doomed.backend.is_none() || entry.client.backend() == doomed.backend;
            let Some(entry) = entry.filter(still) else { continue };
            let (client, task) = (Rc::clone(&entry.client), entry.task.clone());
            drop(clients);
            if client.is_cut() {
                task.into_iter().for_each(|task| task.abort());
            } else {
                client.cut();
                self.doomed.borrow_mut().push(Doomed { at: now + SWEEP, backend: None, ..doomed });
            }
        }
    }

    /// Cuts what is left when the process ends, and gives it a moment to say so in the log.
    async fn cut(&self) {
        for _ in 0..20 {
            self.clients.borrow().iter().for_each(|(_, entry)| entry.client.cut());
            if self.clients.borrow().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Tells every connection to end, and waits until they have, and copies of requests, too.
    async fn drained(&self) {
        loop {
            self.clients.borrow().iter().for_each(|(_, entry)| entry.client.close());
            if self.clients.borrow().is_empty() && self.local.copies() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn ask_others(own: usize, shared: &Arc<Shared>) -> AskOthers {
    let others: Vec<_> = shared.workers.iter().enumerate().filter(|(number, _)| *number != own).collect();
    let others: Vec<_> = others.into_iter().map(|(_, sender)| sender.clone()).collect();
    Box::new(move |backend| {
        let ask = |sender: &mpsc::UnboundedSender<Message>| {
            let (done, looked) = oneshot::channel();
            sender.send(Message::CloseIdle(backend, done)).ok().map(|()| looked)
        };
        others.iter().filter_map(ask).collect()
    })
}
