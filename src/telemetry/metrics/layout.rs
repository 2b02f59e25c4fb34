//! Which series there are: the names from the configuration, and the numbers that the hot path calls them by.
//!
//! A plan and the shards that go with it are built from one `Layout`, so that the plan's numbers fit.

/// The number of the route of requests that no route matched: `route=""`.
pub const NO_ROUTE: usize = 0;

/// The default `metrics.buckets`, in seconds.
pub const BUCKETS: [f64; 13] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Up to this many backends have histograms when `metrics.backend_histograms` is `auto`.
const AUTO_HISTOGRAMS: usize = 1_000;

/// The names that become labels. Within a list each name must stand once: a series that is there twice makes
/// Prometheus refuse the whole scrape.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Listeners; a listener's number is its place here.
    pub listeners: Vec<Listener>,
    /// Names of routes; a route's number is its place here plus one, as [`NO_ROUTE`] comes first. See
    /// [`Layout::route`].
    pub routes: Vec<String>,
    /// Backends of all pools; a backend's number is its place here.
    pub backends: Vec<Backend>,
    /// The failure words; a kind's number is its place here.
    pub failures: &'static [&'static str],
    /// Upper bounds of the histograms' buckets, in seconds.
    pub buckets: Vec<f64>,
    /// `metrics.backend_histograms`: on, off, or `None` for auto (up to 1,000 backends).
    pub backend_histograms: Option<bool>,
}

/// A listener, as metrics know it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The label `listener`.
    pub name: String,
    /// `max_connections`; `None` is off, and exported as infinite.
    pub connections_limit: Option<u64>,
}

/// A backend, as metrics know it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The label `pool`.
    pub pool: String,
    /// The label `backend`: its name, else its address.
    pub name: String,
}

impl Layout {
    /// No names yet, the default buckets, and the words of `failures` in the order of their numbers.
    pub fn new(failures: &'static [&'static str]) -> Self {
        Self {
            listeners: Vec::new(),
            routes: Vec::new(),
            backends: Vec::new(),
            failures,
            buckets: BUCKETS.to_vec(),
            backend_histograms: None,
        }
    }

    /// The number of the route at `place` in [`Layout::routes`].
    pub fn route(place: usize) -> usize {
        place + 1
    }

    /// Whether backends have histograms.
    pub(super) fn has_backend_histograms(&self) -> bool {
        self.backend_histograms.unwrap_or(self.backends.len() <= AUTO_HISTOGRAMS)
    }

    /// How many routes there are, with the one of requests that match none.
    pub(super) fn route_count(&self) -> usize {
        self.routes.len() + 1
    }

    /// The label of the route with this number.
    pub(super) fn route_name(&self, number: usize) -> &str {
        match number.checked_sub(1) {
            Some(place) => &self.routes[place],
            None => "",
        }
    }
}
