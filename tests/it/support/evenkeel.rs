//! The balancer under test, in this process. Every call into the library stands here and nowhere else in the tests.

use std::net::SocketAddr;
use std::path::Path;

use evenkeel::config::Config;
use evenkeel::runtime::Server;

use super::client::{Client, Response};
use super::{metrics, wait_for};

/// A running balancer; it ends with its value.
pub(crate) struct Evenkeel {
    server: Option<Server>,
}

impl Evenkeel {
    /// Starts the configuration `toml`.
    pub(crate) fn start(toml: &str) -> Self {
        let config = Config::parse(toml, Path::new("test.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems:?}\n{toml}"));
        let server = Server::start(config).unwrap_or_else(|error| panic!("{error:?}\n{toml}"));
        Self { server: Some(server) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("only stop takes it")
    }

    /// Where the listener `web` is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener("web")
    }

    /// Where the listener `name` is.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.server().address(name).unwrap_or_else(|| panic!("no listener {name}"))
    }

    /// Where the admin API is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.server().admin().expect("the admin API is on in tests")
    }

    /// A new connection to the listener `web`.
    pub(crate) fn client(&self) -> Client {
        Client::h1(self.address())
    }

    /// A GET on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// The sum of the series `name` that have these labels; 0 without one.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        metrics::sum(self.admin(), name, labels).unwrap_or(0.0)
    }

    /// As [`Evenkeel::metric`], `None` where there is no such series.
    pub(crate) fn series(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metrics::sum(self.admin(), name, labels)
    }

    /// Waits until `times` exchanges have failed because of `reason`: what is counted may follow the answer.
    #[track_caller]
    pub(crate) fn wait_failures(&self, reason: &str, times: usize) {
        let failures = || self.metric("evenkeel_failures_total", &[("reason", reason)]);
        wait_for(&format!("{times} failures are {reason}"), || failures() == times as f64);
    }

    /// Fails if any exchange has failed.
    #[track_caller]
    pub(crate) fn assert_no_failure(&self) {
        assert_eq!(self.metric("evenkeel_failures_total", &[]), 0.0);
    }

    /// Requests that are not yet done.
    pub(crate) fn in_flight(&self) -> f64 {
        self.metric("evenkeel_requests_in_flight", &[])
    }

    /// Ends it and waits for its threads.
    #[allow(unused_mut, reason = "whether stop takes self, &self or &mut self is the library's choice")]
    pub(crate) fn stop(mut self) {
        if let Some(mut server) = self.server.take() {
            server.stop();
        }
    }
}
