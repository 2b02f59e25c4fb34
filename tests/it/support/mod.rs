//! The harness: a balancer, backends that behave or do not, and clients on bare sockets. Everything listens on port 0,
//! everything waits for a condition, and nothing waits for ever.

mod backend;
mod client;
mod evenkeel;
pub(crate) mod h2;
mod h2_backend;
pub(crate) mod h2raw;
mod load;
mod metrics;
mod operator;
mod process;
mod program;
mod rng;
mod site;
pub(crate) mod tls;
pub(crate) mod tunnel;
mod wire;

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use backend::{Backend, Conn, Port, Reply, Request, swallow};
pub(crate) use client::{Client, PATIENCE, Response};
pub(crate) use evenkeel::Evenkeel;
pub(crate) use h2_backend::{H2Backend, push, whole};
pub(crate) use load::Load;
pub(crate) use metrics::{scrape, sum_of};
pub(crate) use operator::{TOKEN, bearer, call, json, told, with_token};
pub(crate) use process::{Process, command, run, run_in, run_on};
pub(crate) use program::{Program, Said};
pub(crate) use rng::Rng;
pub(crate) use site::{Site, request};
pub(crate) use wire::{Head, Wire, latin1};

/// A configuration with the listener `web`, the pool `web` and an admin API, all on free ports.
pub(crate) struct Setup {
    server: String,
    listener: String,
    pool: String,
    backends: Vec<String>,
}

impl Setup {
    /// In front of the backends at `addresses`.
    pub(crate) fn to(addresses: &[SocketAddr]) -> Self {
        let backends = addresses.iter().map(SocketAddr::to_string).collect();
        Self { server: "workers = 2".to_owned(), listener: String::new(), pool: String::new(), backends }
    }

    /// Further keys of `[server]`; here also further sections before the listener.
    pub(crate) fn server(mut self, line: impl Display) -> Self {
        self.server = format!("{}\n{line}", self.server);
        self
    }

    /// One worker, where a story needs two connections on the same one.
    pub(crate) fn one_worker(mut self) -> Self {
        self.server = self.server.replace("workers = 2", "workers = 1");
        self
    }

    /// Further keys of the listener.
    pub(crate) fn listener(mut self, line: impl Display) -> Self {
        self.listener = format!("{}\n{line}", self.listener);
        self
    }

    /// Further keys of the pool.
    pub(crate) fn pool(mut self, line: impl Display) -> Self {
        self.pool = format!("{}\n{line}", self.pool);
        self
    }

    pub(crate) fn toml(&self) -> String {
        let Self { server, listener, pool, backends } = self;
        // A backend of a test sees what the test sends, once, and its share at once, unless that is the story.
        let unless = |key: &str, line: &'static str| if pool.contains(key) { "" } else { line };
        let checks = unless("health_check", "health_check = { type = \"off\" }\n");
        let retry = unless("retry", "retry = { attempts = 0 }\n");
        let slow = unless("slow_start", "slow_start = \"0s\"\n");
        let breaker = unless("circuit_breaker", "circuit_breaker = { enabled = false }\n");
        format!(
            "[server]\n{server}\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[log]\naccess = \"off\"\n\n\
             [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\n\
             [pool.web]\nbackends = {backends:?}\n{checks}{retry}{slow}{breaker}{pool}\n"
        )
    }

    /// Starts it in this process.
    pub(crate) fn start(self) -> Evenkeel {
        Evenkeel::start(&self.toml())
    }

    /// Starts it as a process of its own.
    pub(crate) fn spawn(self) -> Process {
        Process::spawn(&self.toml())
    }
}

/// evenkeel with its defaults in front of one backend.
pub(crate) fn in_front_of(backend: &Backend) -> Evenkeel {
    Setup::to(&[backend.address()]).start()
}

/// Waits until `condition` holds; fails after ten seconds, naming what did not come.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "in vain: waited until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the project.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A door that a test opens when a backend may go on.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open, or for a test that has failed.
    pub(crate) fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(closed, PATIENCE * 2, |open| !*open).unwrap());
    }
}
