//! A configuration with routes: [`super::Setup`] has one pool and no route; here the test writes its `[[route]]`s and names its pools.

use std::fmt::Display;
use std::net::SocketAddr;

use super::Evenkeel;

/// The listener `web`, an admin API, the text of a test, and its pools, all on free ports.
pub(crate) struct Site {
    server: String,
    log: String,
    listener: String,
    text: String,
}

impl Site {
    /// With `text` (routes, further listeners, error pages) behind the listener `web`.
    pub(crate) fn new(text: impl Display) -> Self {
        let (server, log) = ("workers = 2".to_owned(), "access = \"off\"".to_owned());
        Self { server, log, listener: String::new(), text: text.to_string() }
    }

    /// Further keys of `[server]`.
    pub(crate) fn server(mut self, line: impl Display) -> Self {
        self.server = format!("{}\n{line}", self.server);
        self
    }

    /// Further keys of the listener.
    pub(crate) fn listener(mut self, line: impl Display) -> Self {
        self.listener = format!("{}\n{line}", self.listener);
        self
    }

    /// The keys of `[log]`, instead of no access log.
    pub(crate) fn log(mut self, lines: impl Display) -> Self {
        self.log = lines.to_string();
        self
    }

    /// The pool `name`, without checks and retries.
    pub(crate) fn pool(self, name: &str, address: SocketAddr) -> Self {
        self.pool_with(name, &[address], "")
    }

    /// The pool `name` with further keys; checks, retries, slow starts and breakers are off unless those name them.
    pub(crate) fn pool_with(mut self, name: &str, addresses: &[SocketAddr], lines: &str) -> Self {
        let unless = |key: &str, line: &'static str| if lines.contains(key) { "" } else { line };
        let checks = unless("health_check", "health_check = { type = \"off\" }\n");
        let retry = unless("retry", "retry = { attempts = 0 }\n");
        let slow = unless("slow_start", "slow_start = \"0s\"\n");
        let breaker = unless("circuit_breaker", "circuit_breaker = { enabled = false }\n");
        let backends: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        self.text =
            format!("{}\n[pool.{name}]\nbackends = {backends:?}\n{checks}{retry}{slow}{breaker}{lines}\n", self.text);
        self
    }

    pub(crate) fn toml(&self) -> String {
        let Self { server, log, listener, text } = self;
        format!(
            "[server]\n{server}\n\n[admin]\naddress = \"127.0.0.1:0\"\n\n[log]\n{log}\n\n\
             [[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n{listener}\n\n{text}\n"
        )
    }

    /// Starts it in this process.
    pub(crate) fn start(self) -> Evenkeel {
        Evenkeel::start(&self.toml())
    }
}

/// A request without a body; `lines` are further fields, each with its CRLF.
pub(crate) fn request(method: &str, host: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}
