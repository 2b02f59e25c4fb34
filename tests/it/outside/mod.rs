//! Clients that others have written, against the program as it is installed: curl, nghttp and h2load, Chromium, Python's
//! `ssl`, OpenSSL's `s_client`, testssl.sh, and slowhttptest.

mod browser;
mod curl;
mod nghttp2;
mod openssl;
mod python;
mod slowhttptest;
mod testssl;

use std::net::SocketAddr;

use crate::support::tls::{Authority, asked};
use crate::support::{Backend, Process, Program, Reply, Request, Said, Setup};

/// The program with the listeners `web`, which has TLS, and `plain`, in front of one backend.
struct Edge {
    authority: Authority,
    process: Process,
}

impl Edge {
    /// With TLS as it is by default.
    fn new(backend: &Backend) -> Self {
        Self::with(backend, |_| String::new())
    }

    /// With further lines of `[listener.tls]`, which may name files of the authority.
    fn with(backend: &Backend, tls: impl FnOnce(&Authority) -> String) -> Self {
        Self::made(backend, tls, |setup| setup)
    }

    /// As [`Edge::with`], with changes of the rest.
    fn made(backend: &Backend, tls: impl FnOnce(&Authority) -> String, change: impl FnOnce(Setup) -> Setup) -> Self {
        let authority = Authority::new();
        let first = authority.write("localhost", asked(&["localhost"]).local().days(90).subject("localhost", "Tests"));
        let second = authority.write("second", asked(&["*.second.example"]).rsa().subject("second", "Tests"));
        let tls = authority.listener(&[&first, &second], &tls(&authority));
        let plain = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n";
        let process = change(Setup::to(&[backend.address()])).listener(format!("{tls}\n{plain}")).spawn();
        Self { authority, process }
    }

    fn secure(&self) -> SocketAddr {
        self.process.address()
    }

    fn plain(&self) -> SocketAddr {
        self.process.listener("plain")
    }

    /// The URL of `path` over TLS, by a name that every program resolves.
    fn https(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.secure().port())
    }

    fn http(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.plain().port())
    }

    /// A file of the authority.
    fn file(&self, name: &str) -> String {
        self.authority.path(name).display().to_string()
    }

    /// How many connections the listener `web` has accepted.
    fn connections(&self) -> f64 {
        self.process.metric("evenkeel_listener_connections_total", &[("listener", "web")])
    }

    /// How many requests were answered over the listener `web`, with any status.
    fn requests(&self) -> f64 {
        self.process.metric("evenkeel_requests_total", &[("listener", "web")])
    }
}

/// A backend that answers with the body that it got.
fn echo() -> Backend {
    Backend::http(|request| Reply::ok(request.body))
}

/// Bytes that no two positions of a buffer share by chance.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}
