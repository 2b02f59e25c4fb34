//! A route of the plan: what becomes of its requests.

use crate::{
    config::{self, Action, Priority, Respond, Template},
    policy::{Auths, Headers, Policies, Rewrite, Split, limit},
    telemetry::metrics::{RouteMetrics, Telemetry},
};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// What becomes of a route's requests.
#[derive(Debug)]
pub struct Route {
    /// In logs and metrics.
    pub name: String,
    /// What is done.
    pub act: Act,
    /// What is asked of requests first, if anything is.
    pub policies: Option<Box<Policies>>,
    /// Who is shed first.
    pub priority: Priority,
    /// Requests get a line in the access log; failures always do.
    pub access: bool,
    /// Edits of the response's fields.
    pub response_headers: Headers,
    /// What is counted of it.
    pub metrics: Arc<RouteMetrics>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Act {
    /// It goes to a backend.
    Forward(Box<Forward>),
    /// It is sent elsewhere, with that status.
    Redirect(Template, u16),
    /// It is answered.
    Respond(Respond),
}

/// How a request goes to a backend.
#[derive(Debug)]
pub struct Forward {
    /// Chooses one of [`Forward::pools`]; `None`: there is one.
    pub split: Option<Split>,
    /// Their places in the plan.
    pub pools: Vec<usize>,
    /// When the pool cannot answer.
    pub fallback: Option<Fallback>,
    /// Where copies of requests go.
    pub mirror: Option<Mirror>,
    /// For the whole exchange up to the response head.
    pub timeout: Option<Duration>,
    /// Edits of the request's fields.
    pub request_headers: Headers,
    /// An edit of the path.
    pub rewrite: Option<Rewrite>,
    /// Bytes of a request body.
    pub max_body: Option<u64>,
    /// WebSocket upgrades are allowed.
    pub upgrade: bool,
    /// CONNECT is allowed.
    pub connect: bool,
}

impl Act {
    /// CONNECT is allowed: there is a backend to connect to.
    pub fn connects(&self) -> bool {
        matches!(self, Self::Forward(forward) if forward.connect)
    }
}

/// What becomes of a request whose pool cannot answer.
#[derive(Debug)]
pub enum Fallback {
    /// It is answered.
    Respond(Respond),
    /// It goes to the pool at that place of the plan.
    Pool(usize),
}

/// Copies of a route's requests.
#[derive(Debug)]
pub struct Mirror {
    /// They go to the pool at that place of the plan.
    pub pool: usize,
    /// The share of requests that are copied, of 2^32.
    pub share: u64,
}

impl Route {
    /// `pools` gives their places by name.
    pub(super) fn build(
        route: &config::Route,
        pools: &HashMap<&str, usize>,
        (telemetry, auths): (&Telemetry, &Auths),
        limits: limit::OfRoute,
    ) -> Self {
        // The reader has made sure that there is one of that name.
        let place = |name: &str| pools.get(name).copied().unwrap_or_default();
        let forward = |split, names: &[&str]| {
            let fallback = route.fallback.as_ref().map(|fallback| match fallback {
                config::Fallback::Respond(respond) => Fallback::Respond(respond.clone()),
                config::Fallback::Pool(name) => Fallback::Pool(place(name)),
            });
            Act::Forward(Box::new(Forward {
                split,
                pools: names.iter().map(|name| place(name)).collect(),
                fallback,
                mirror: route
                    .mirror
                    .as_ref()
                    .map(|mirror| Mirror { pool: place(&mirror.pool), share: (mirror.share * 2f64.powi(32)) as u64 }),
                timeout: route.timeout,
                request_headers: Headers::new(&route.request_headers),
                rewrite: route.rewrite.as_ref().map(Rewrite::new),
                max_body: route.max_body_size,
                upgrade: route.upgrade,
                connect: route.connect,
            }))
        };
        let act = match &route.action {
            Action::Pool(name) => forward(None, &[name]),
            Action::Split { pools, by } => {
                let names: Vec<&str> = pools.iter().map(|(name, _)| name.as_str()).collect();
                let weights = pools.iter().map(|(_, weight)| *weight);
                forward(Some(Split::new(weights, by.as_ref())), &names)
            }
            Action::Redirect { to, status } => Act::Redirect(to.clone(), *status),
            Action::Respond(respond) => Act::Respond(respond.clone()),
        };
        let metrics = telemetry.route(&route.name);
        metrics.set_mirrored(route.mirror.is_some());
        Self {
            name: route.name.clone(),
            act,
            policies: Policies::build(route, auths, limits),
            priority: route.priority,
            access: route.access,
            response_headers: Headers::new(&route.response_headers),
            metrics,
        }
    }
}
