//! TLS, from clients and to backends: PRODUCT.md sections 3, 6.5, 7 and 8.

mod backends;
mod certificates;
mod checks;
mod clients;
mod handshakes;
mod renewal;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::support::tls::{Authority, Secure, asked};
use crate::support::{Backend, Evenkeel, Process, Setup, wait_for};

/// A connection for `name`, of a client that trusts `authority`.
fn connect(address: SocketAddr, authority: &Authority, name: &str) -> Secure {
    Secure::connect(address, &Arc::new(authority.client()), name).unwrap()
}

/// How many handshakes have failed for `reason`.
fn failures(evenkeel: &Evenkeel, reason: &str) -> f64 {
    evenkeel.metric("evenkeel_tls_handshake_failures_total", &[("listener", "web"), ("reason", reason)])
}

/// evenkeel with this section `[listener.tls]`, in front of `backend`.
fn start(backend: &Backend, tls: &str) -> Evenkeel {
    Setup::to(&[backend.address()]).listener(tls).start()
}

/// As [`start`], as a process.
fn spawn(backend: &Backend, tls: &str) -> Process {
    Setup::to(&[backend.address()]).listener(tls).spawn()
}

/// Whether a session of `config` with `address` was resumed, after one request.
fn resumed(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> bool {
    let mut secure = Secure::connect(address, config, name).unwrap();
    assert_eq!(secure.get(name, "Connection: close\r\n").status, 200);
    secure.is_resumed()
}
