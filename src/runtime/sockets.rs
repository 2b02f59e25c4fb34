//! The listening sockets that there are, and what a new configuration makes of them: kept, opened, closed. Control
//! holds them; a socket that stays is never bound anew.

use super::{
    Shared, accept,
    accept::Gate,
    start::{StartError, cannot},
};
use crate::{
    config::{self, Address, Config},
    net::{self, Listening, Passed},
    plan::Plan,
};
use std::{net::TcpListener, os::unix::net::UnixListener, sync::Arc};

/// A socket of ours.
struct Socket {
    /// As it was configured.
    address: Address,
    listener: String,
    gate: Arc<Gate>,
}

impl Socket {
    /// It is where `listener` listens. Port 0 asks for any: then the name tells.
    fn serves(&self, listener: &config::Listener) -> bool {
        self.address == listener.address && (!self.address.is_any_port() || self.listener == listener.name)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Sockets {
    open: Vec<Socket>,
}

/// Sockets that were bound and are not in use yet. Dropped, they are closed.
pub(super) struct Bound {
    /// What they were bound for, and whether the socket had been there.
    new: Vec<(String, Address, Listening)>,
}

/// New sockets of one worker.
pub(super) type OfWorker = Vec<(Arc<Gate>, TcpListener)>;

/// New sockets, by worker and for control.
#[derive(Default)]
pub(super) struct Dealt {
    pub(super) tcp: Vec<OfWorker>,
    pub(super) unix: Vec<(Arc<Gate>, UnixListener)>,
}

impl Sockets {
    /// Binds what `config` wants beside what there is. `inherited` sockets, by listener, are used in place of new ones.
    ///
    /// # Errors
    /// An address cannot be bound; nothing has changed.
    pub(super) fn bind(
        &self,
        config: &Config,
        workers: usize,
        mut inherited: Vec<Option<Passed>>,
    ) -> Result<Bound, StartError> {
        let missing = config.listeners.iter().filter(|listener| self.find(listener).is_none());
        let mut bind = |listener: &config::Listener| {
            let what = format!("listener {}: cannot listen on {}", listener.name, listener.address);
            let place = config.listeners.iter().position(|other| other.name == listener.name);
            let given = place.and_then(|place| inherited.get_mut(place)?.take());
            let listening = match given {
                Some(socket) => net::adopt(listener, socket, workers),
                None => net::bind(listener, workers),
            };
            let listening = listening.map_err(cannot(what))?;
            Ok((listener.name.clone(), listener.address.clone(), listening))
        };
        Ok(Bound { new: missing.map(&mut bind).collect::<Result<_, _>>()? })
    }

    /// The socket that serves `listener`: one at its address.
    fn find(&self, listener: &config::Listener) -> Option<usize> {
        self.open.iter().position(|socket| socket.serves(listener))
    }

    /// Puts `bound` to use for `plan`: tells what stays of it. Gives the new sockets, and the gates to close once every
    /// worker has the plan.
    pub(super) fn adopt(
        &mut self,
        bound: Bound,
        config: &Config,
        plan: &Plan,
        workers: usize,
    ) -> (Dealt, Vec<Arc<Gate>>) {
        let mut dealt = Dealt { tcp: (0..workers).map(|_| Vec::new()).collect(), unix: Vec::new() };
        let mut kept = Vec::new();
        let mut before = std::mem::take(&mut self.open);
        let planned = |name: &str| plan.listeners().find(|listener| listener.name == name);
        for listener in &config.listeners {
            let Some(place) = before.iter().position(|socket| socket.serves(listener)) else { continue };
            let mut socket = before.swap_remove(place);
            if let Some(planned) = planned(&listener.name) {
                // The tasks that accept on it learn of its new name, and of who may come in, by their gate.
                socket.gate.serve(planned);
                socket.listener.clone_from(&listener.name);
            }
            kept.push(socket);
        }
        for (name, address, listening) in bound.new {
            let Some(planned) = planned(&name) else { continue };
            let gate = Gate::new(planned, listening.local_addr());
            match listening {
                Listening::Tcp(sockets) => {
                    let sockets = sockets.into_iter().map(|socket| (Arc::clone(&gate), socket));
                    sockets.zip(&mut dealt.tcp).for_each(|(socket, worker)| worker.push(socket));
                }
                Listening::Unix(socket) => dealt.unix.push((Arc::clone(&gate), socket)),
            }
            let local = gate.local().map_or_else(|| address.to_string(), |local| local.to_string());
            tracing::info!(listener = %name, address = %local, "listening");
            kept.push(Socket { address, listener: name, gate });
        }
        self.open = kept;
        (dealt, before.into_iter().map(|socket| socket.gate).collect())
    }

    /// Where the listener of that name is reached.
    pub(super) fn address(&self, listener: &str) -> Option<std::net::SocketAddr> {
        self.open.iter().find(|socket| socket.listener == listener)?.gate.local()
    }
}

/// Accepts on unix sockets, on control's runtime.
pub(super) fn accept_unix(shared: &Arc<Shared>, sockets: Vec<(Arc<Gate>, UnixListener)>) {
    for (gate, socket) in sockets {
        tokio::spawn(accept::unix(Arc::clone(shared), gate, socket));
    }
}
