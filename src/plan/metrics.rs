//! The metrics that the exchanges of a plan count in, by the plan's numbers. Made by `runtime`, used by `proxy`.

use super::Plan;
use crate::telemetry::metrics::{
    BackendMetrics, ListenerMetrics, PoolMetrics, RequestMetrics, RouteMetrics, Telemetry,
};
use std::sync::Arc;

/// The number of the route of requests that no route matched.
pub const NO_ROUTE: usize = 0;
/// The number of the one route that there is while a configuration has none.
pub const DEFAULT_ROUTE: usize = 1;

/// Handles by number. Their series exist while these are held.
#[derive(Debug)]
pub struct Metrics {
    /// By number.
    pub listeners: Vec<Arc<ListenerMetrics>>,
    /// By number; [`NO_ROUTE`] comes first.
    pub routes: Vec<Arc<RouteMetrics>>,
    /// By the numbers of a listener and a route.
    pub requests: Vec<Vec<Arc<RequestMetrics>>>,
    /// By number.
    pub pools: Vec<Arc<PoolMetrics>>,
    /// By id.
    pub backends: Vec<Arc<BackendMetrics>>,
}

impl Metrics {
    /// Handles for all that `plan` names.
    pub fn new(plan: &Plan, telemetry: &Telemetry) -> Self {
        let listeners: Vec<_> = plan.listeners.iter().map(|listener| telemetry.listener(&listener.name)).collect();
        for (metrics, listener) in listeners.iter().zip(&plan.listeners) {
            metrics.set_limit(listener.max_connections.map(|most| most as u64));
        }
        let routes: Vec<_> = ["", "default"].map(|name| telemetry.route(name)).into();
        let pairs = |listener| routes.iter().map(|route| telemetry.requests(listener, route)).collect();
        Self {
            requests: listeners.iter().map(pairs).collect(),
            listeners,
            routes,
            pools: plan.pools.iter().map(|pool| telemetry.pool(&pool.name)).collect(),
            backends: plan.backends().map(|(pool, backend)| telemetry.backend(&pool.name, &backend.name)).collect(),
        }
    }
}
