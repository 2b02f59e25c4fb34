//! From a request to the admin API to its answer. Called by the connections of `admin`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::header::{ALLOW, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::task::spawn_blocking;

use super::api::Api;
use super::dashboard;
use super::events::{Cut, Events};
use super::origin::{Names, Refusal};
use super::path::{Resource, Unfound};
use super::problem::{Answer, EVENTS, Problem, TEXT, with_body};
use super::{Limits, Peer, Shared};
use crate::telemetry::metrics;

/// What answers are made from.
#[derive(Debug)]
pub(super) struct Answers {
    shared: Shared,
    /// Whom a `Host` may name; `None` where it does not matter.
    names: Option<Names>,
    /// `None` on `metrics_address`.
    api: Option<Api>,
    events: Events,
}

impl Answers {
    /// Answers to those who call us by one of `names`; the API's only if `full`.
    pub(super) fn new(shared: Shared, names: Option<Names>, full: bool, limits: &Limits) -> Self {
        let api = full.then(|| Api::new(&shared, limits));
        let events = Events::new(&shared);
        Self { shared, names, api, events }
    }

    /// The answer to `request`, which `peer` has sent on a connection that `cut` ends.
    pub(super) async fn answer(&self, request: Request<Incoming>, peer: &Peer, cut: &Cut) -> Answer {
        self.try_answer(request, peer, cut).await.unwrap_or_else(Answer::from)
    }

    async fn try_answer(&self, request: Request<Incoming>, peer: &Peer, cut: &Cut) -> Result<Answer, Problem> {
        if let Some(names) = &self.names {
            names.check(&request).map_err(refused)?;
        }
        let resource = Resource::find(request.uri().path()).map_err(unfound)?;
        if self.api.is_none() && !resource.is_for_scrapers() {
            return Err(unfound(Unfound::Unknown));
        }
        let allowed = resource.methods();
        if !allowed.split(", ").any(|method| method == request.method().as_str()) {
            let detail = format!("use {}", allowed.replace(", ", " or "));
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
            return Err(problem.with(ALLOW, HeaderValue::from_static(allowed)));
        }
        match (resource, &self.api) {
            (Resource::Healthz, _) => Ok(with_body(StatusCode::OK, TEXT, "ok")),
            (Resource::Readyz, _) => Ok(self.readiness()),
            (Resource::Metrics, _) => self.metrics().await,
            (Resource::Page, Some(_)) => Ok(dashboard::page()),
            (Resource::Events, Some(_)) if request.method() == Method::HEAD => {
                Ok(with_body(StatusCode::OK, EVENTS, ""))
            }
            (Resource::Events, Some(_)) => self.events.subscribe(cut),
            (resource, Some(api)) => api.answer(resource, request, peer).await,
            (_, None) => Err(unfound(Unfound::Unknown)),
        }
    }

    fn readiness(&self) -> Answer {
        if self.shared.draining.load(Relaxed) {
            return with_body(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining");
        }
        with_body(StatusCode::OK, TEXT, "ok")
    }

    /// Gathered on a blocking thread: control has no 5 ms for it when there are a thousand backends.
    async fn metrics(&self) -> Result<Answer, Problem> {
        let telemetry = Arc::clone(&self.shared.telemetry);
        match spawn_blocking(move || telemetry.render()).await {
            Ok(text) => Ok(with_body(StatusCode::OK, metrics::CONTENT_TYPE, text)),
            Err(error) => {
                tracing::error!(%error, "metrics could not be gathered");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be gathered"))
            }
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Malformed => Problem::new(StatusCode::BAD_REQUEST, "one Host field is needed"),
        Refusal::Host => Problem::new(StatusCode::FORBIDDEN, "Host is no name of this instance"),
        Refusal::Origin => Problem::new(StatusCode::FORBIDDEN, "Origin is another host"),
    }
}

fn unfound(unfound: Unfound) -> Problem {
    match unfound {
        Unfound::Unknown => Problem::new(StatusCode::NOT_FOUND, "no such resource"),
        Unfound::Malformed => Problem::new(StatusCode::BAD_REQUEST, "the path is no percent-encoded UTF-8"),
    }
}
