//! One worker: a thread with a runtime of its own, its own sockets and its own connections to backends.

use super::{DRAIN, Message, Phase, Ready, Shared, accept};
use crate::{
    http::{
        Client, Exchange,
        h1::{self, ClientSide, Wire},
    },
    net::{Peer, Permit, Stream},
    proxy::{self, AskOthers, Local},
};
use std::{
    cell::RefCell,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    time::Instant,
};

/// How often kept connections are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// What the tasks of one worker share.
pub(super) struct Worker {
    number: usize,
    pub(super) shared: Arc<Shared>,
    local: Rc<Local>,
    /// Answers what comes over HTTP/1.
    server: h1::Server,
    /// Its client connections, so that they can be told to end.
    clients: RefCell<slab::Slab<Rc<Client>>>,
}

/// Runs worker `number` until the process stops.
pub(super) fn run(
    number: usize,
    shared: &Arc<Shared>,
    listeners: Vec<(usize, TcpListener)>,
    messages: mpsc::UnboundedReceiver<Message>,
    ready: &Ready,
) {
    let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let _ = ready.send(Ok(()));
    let metrics = runtime.handle().metrics();
    shared.telemetry.read_busy(number, Box::new(move || metrics.worker_total_busy_duration(0)));
    let worker = Rc::new(Worker::new(number, shared));
    runtime.block_on(serve(worker, listeners, messages));
}

async fn serve(worker: Rc<Worker>, listeners: Vec<(usize, TcpListener)>, messages: mpsc::UnboundedReceiver<Message>) {
    accept::started(&worker.shared).await;
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|(number, socket)| tokio::task::spawn_local(accept::tcp(Rc::clone(&worker), number, socket)))
        .collect();
    tokio::task::spawn_local(listen(Rc::clone(&worker), messages));
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let phase = accept::draining(&worker.shared).await;
    if phase == Phase::Draining {
        let mut phase = worker.shared.phase.clone();
        let stopped = async { drop(phase.wait_for(|phase| *phase == Phase::Stopped).await) };
        let finished = async {
            for accept in accepting {
                let _ = accept.await;
            }
            worker.drained().await;
        };
        tokio::select! {
            () = finished => {}
            () = tokio::time::sleep(DRAIN) => {}
            () = stopped => {}
        }
    }
}

async fn listen(worker: Rc<Worker>, mut messages: mpsc::UnboundedReceiver<Message>) {
    while let Some(message) = messages.recv().await {
        match message {
            Message::CloseIdle(backend, done) => {
                worker.local.dialer.close_one(backend);
                let _ = done.send(());
            }
            connection => worker.open(connection, None),
        }
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.local.dialer.sweep(Instant::now());
    }
}

impl Worker {
    fn new(number: usize, shared: &Arc<Shared>) -> Self {
        let (plan, shard) = (Arc::clone(&shared.plan), shared.telemetry.shard(number));
        let local = Local::new(plan, shard, number, shared.pipes, ask_others(number, shared));
        let local = Rc::new(local);
        let lent = Rc::clone(&local);
        let server = h1::Server::new(async move |exchange: &mut Exchange<'_>| proxy::handle(&lent, exchange).await);
        Self { number, shared: Arc::clone(shared), local, server, clients: RefCell::default() }
    }

    pub(super) fn listener_name(&self, listener: usize) -> &str {
        &self.shared.plan.listeners[listener].name
    }

    /// Opens a fresh connection here, or on a worker that has clearly fewer.
    pub(super) fn place(self: &Rc<Self>, connection: Message, local: Option<SocketAddr>) {
        let connection = match accept::lighter(&self.shared.open, self.number) {
            None => connection,
            Some(other) => match self.shared.workers[other].send(connection) {
                Ok(()) => return,
                Err(returned) => returned.0,
            },
        };
        self.open(connection, local);
    }

    /// Serves a connection in a task of its own.
    fn open(self: &Rc<Self>, connection: Message, local: Option<SocketAddr>) {
        let (stream, peer, listener, permits) = match connection {
            Message::Connection(stream, peer, listener, a, b) => {
                (Stream::fresh(stream), Peer::Tcp(peer), listener, (a, b))
            }
            Message::Unix(stream, listener, a, b) => match tokio::net::UnixStream::from_std(stream) {
                Ok(stream) => (Stream::unix(stream), Peer::Unix, listener, (a, b)),
                Err(_) => return,
            },
            Message::CloseIdle(..) => return,
        };
        let plan = &self.shared.plan;
        let local = local.or_else(|| self.shared.addresses[listener]);
        let limits = Arc::clone(&plan.listeners[listener].limits);
        let client = Rc::new(Client::new(peer, local, listener, false, plan.trusts(peer), limits));
        let open = Open::new(self, Rc::clone(&client), permits);
        let wire = Wire::new(stream, Rc::clone(&self.local.spares));
        tokio::task::spawn_local(connected(open, Rc::new(ClientSide::new(wire, client))));
    }

    /// Tells every connection to end, and waits until they have.
    async fn drained(&self) {
        loop {
            self.clients.borrow().iter().for_each(|(_, client)| client.close());
            if self.clients.borrow().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The whole life of one connection. Its socket closes before its place is free.
async fn connected(open: Open, connection: Rc<ClientSide>) {
    h1::serve(&connection, &open.worker.server).await;
}

/// Counts a connection as open while it lives.
struct Open {
    worker: Rc<Worker>,
    place: usize,
    listener: usize,
    _permits: (Permit, Permit),
}

impl Open {
    fn new(worker: &Rc<Worker>, client: Rc<Client>, permits: (Permit, Permit)) -> Self {
        let listener = client.listener;
        worker.shared.open[worker.number].fetch_add(1, Relaxed);
        worker.local.shard.connection_opened(listener);
        let place = worker.clients.borrow_mut().insert(client);
        Self { worker: Rc::clone(worker), place, listener, _permits: permits }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.worker.shared.telemetry.panicked();
        }
        self.worker.shared.open[self.worker.number].fetch_sub(1, Relaxed);
        self.worker.local.shard.connection_closed(self.listener);
        self.worker.clients.borrow_mut().remove(self.place);
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
