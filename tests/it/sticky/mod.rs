//! Clients stay at their backends: `sticky` of a pool (PRODUCT.md sections 3, 8 and 9).

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::support::{
    Backend, Client, Evenkeel, Gate, Process, Reply, Response, Site, bearer, call, request, wait_for, with_token,
};

mod application;
mod cookie;
mod hashed;
mod moves;
mod splits;

/// A file with secrets, one a line; it goes with its value.
struct Secrets(PathBuf);

impl Secrets {
    fn new(lines: &[&str]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sticky-{}-{}.key", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        Self(path)
    }

    /// `sticky` with our cookie and these secrets.
    fn cookie(&self, more: &str) -> String {
        format!("sticky = {{ type = \"cookie\", secret = {{ file = {:?} }}{more} }}", self.0.to_str().unwrap())
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const ONE: &str = "0123456789abcdef0123456789abcdef";
const TWO: &str = "fedcba9876543210fedcba9876543210";

/// Backends that answer `a`, `b` and so on.
fn backends(count: usize) -> Vec<Backend> {
    ["a", "b", "c", "d", "e"][..count].iter().map(|name| Backend::ok(name)).collect()
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(Backend::address).collect()
}

/// The pool `web` of `backends`, with further keys.
fn site(backends: &[Backend], keys: impl Display) -> Site {
    Site::new("").pool_with("web", &addresses(backends), &keys.to_string())
}

/// A process that obeys the tests' token.
fn operated(site: &Site) -> Process {
    Process::spawn(&with_token(&site.toml()))
}

/// Says of a backend of the pool `web` that it is `state`, and waits until that is so.
fn order(process: &Process, backend: &Backend, state: &str) {
    let name = backend.address().to_string();
    let line = format!("PATCH /api/v1/pools/web/backends/{name}");
    let answer = call(process.listener("admin"), &line, &bearer(), &format!("{{\"state\": \"{state}\"}}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let labels = [("backend", name.as_str()), ("state", state)];
    wait_for("it is in force", || process.metric("evenkeel_backend_state", &labels) == 1.0);
}

/// A GET with these fields, each with its CRLF, on a connection of its own.
fn get(address: SocketAddr, lines: &str) -> Response {
    Client::h1(address).exchange(request("GET", "test", "/", lines))
}

/// A GET that shows `cookie`.
fn show(address: SocketAddr, cookie: &str) -> Response {
    get(address, &format!("Cookie: {cookie}\r\n"))
}

/// What the answer wants a browser to keep: `name=value`.
fn set(response: &Response) -> Option<String> {
    let all = response.head.fields.all("set-cookie");
    assert!(all.len() <= 1, "{response:?}");
    Some(all.first()?.split(';').next().unwrap().to_owned())
}

/// As [`set`], which must be there.
#[track_caller]
fn given(response: &Response) -> String {
    set(response).unwrap_or_else(|| panic!("no cookie in {response:?}"))
}

/// Waits until so many exchanges of the pool `web` are hit, new, moved and invalid.
#[track_caller]
fn counted(metric: impl Fn(&str, &[(&str, &str)]) -> f64, wanted: [usize; 4]) {
    let of = |result| metric("evenkeel_sticky_total", &[("pool", "web"), ("result", result)]) as usize;
    let all = || ["hit", "new", "moved", "invalid"].map(of);
    wait_for(&format!("hit, new, moved and invalid are {wanted:?}, not {:?}", all()), || all() == wanted);
}

/// The place of the backend that gave this answer.
fn place(response: &Response) -> usize {
    assert_eq!(response.status, 200, "{response:?}");
    usize::from(response.body[0] - b'a')
}
