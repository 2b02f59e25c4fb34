//! What a route asks of a request before it is answered or sent on: THE order, which is PRODUCT.md's. Pure: what takes time
//! is a [`Verdict`] that `proxy` carries out, and then the walk goes on where it was. Hot path.

use super::{Auth, Auths, Forward, Job, News, Visit, auth::Written, cors::Cors, limit, limit::Limits};
use crate::{config, error::Kind, http::Head, net::Access};
use std::{net::IpAddr, sync::Arc, time::Duration};

/// What a route asks of its requests, beside what it does with them.
#[derive(Debug)]
pub struct Policies {
    /// What clients may not send: some route's `auth` writes it for backends.
    written: Option<Arc<Written>>,
    access: Option<Access>,
    cors: Option<Cors>,
    /// By what a request shows.
    limits: Option<Box<Limits>>,
    auth: Option<Arc<Auth>>,
    /// By what `auth` has found out.
    claims: Option<Box<Limits>>,
}

/// Where the walk is. In order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `allow` and `deny`.
    #[default]
    Access,
    /// A preflight of CORS is answered.
    Preflight,
    /// Rate limits and limits of what is in flight, by what the request shows: address, header, path.
    Limits,
    /// `auth`.
    Auth,
    /// Limits by what `auth` has found out: claims.
    Claims,
    /// It is let in.
    Passed,
}

/// A request on its way through.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its head. Policies may take fields out of it, and put theirs in.
    pub request: &'a mut Head,
    /// Its client's believed address; `None` on unix sockets.
    pub client: Option<IpAddr>,
    /// The route's name.
    pub route: &'a str,
    /// Nanoseconds since the process began, alike on all workers.
    pub now: u64,
    /// The worker's number.
    pub worker: usize,
}

/// What a policy says.
#[derive(Debug)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// It is refused so; [`Visit::answer`] has what the answer says beside the usual.
    Refuse(Kind),
    /// It goes on after so long.
    Sleep(Duration),
    /// It is answered so, without a body; [`Visit::answer`] has the answer's fields.
    Reply(u16),
    /// A password is to be checked, beside the worker: [`Job::settle`] says how it goes on.
    Compute(Box<Job>),
    /// Somebody else is to be asked first.
    Ask(Ask),
}

/// Who is asked.
#[derive(Debug)]
pub enum Ask {
    /// Where the keys of tokens are: when the news have come, or did not, its token is looked at once more.
    Keys(News),
    /// The service that decides: [`Policies::forward`].
    Service,
}

impl Policies {
    /// What `route` asks, with the ways in that its plan has; `None`: nothing.
    pub fn build(route: &config::Route, auths: &Auths, limits: limit::OfRoute) -> Option<Box<Self>> {
        let (limits, claims) = limits;
        let policies = Self {
            written: auths.written().cloned(),
            access: Access::new(&route.allow, &route.deny),
            cors: route.cors.as_ref().map(Cors::new),
            limits,
            auth: route.auth.as_deref().and_then(|name| auths.find(name)).cloned(),
            claims,
        };
        let Self { written, access, cors, limits, auth, claims } = &policies;
        let none = written.is_none() && access.is_none() && cors.is_none() && auth.is_none();
        let none = none && limits.is_none() && claims.is_none();
        (!none).then(|| Box::new(policies))
    }

    /// Asks what has not been asked yet, until one says something else than [`Verdict::Pass`], or nobody is left.
    pub fn before(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        while visit.stage < Stage::Passed {
            let (verdict, next) = match visit.stage {
                Stage::Access => (self.access(visit, asked), Stage::Preflight),
                Stage::Preflight => (self.preflight(visit, asked), Stage::Limits),
                Stage::Limits => (limit(&self.limits, visit, asked), Stage::Auth),
                Stage::Auth => (self.auth(visit, asked), Stage::Claims),
                Stage::Claims => (limit(&self.claims, visit, asked), Stage::Passed),
                Stage::Passed => (Verdict::Pass, Stage::Passed),
            };
            if !matches!(verdict, Verdict::Ask(Ask::Keys(_))) {
                visit.stage = next;
            }
            if !matches!(verdict, Verdict::Pass) {
                return verdict;
            }
        }
        Verdict::Pass
    }

    /// As [`Policies::before`], for a request that is asked about and never sent: nothing is counted, nobody is asked, and a
    /// credential that is shown is taken for good. Gives who has the last word, and what that is.
    pub fn rehearse(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> (Stage, Verdict) {
        match self.access(visit, asked) {
            Verdict::Pass => {}
            verdict => return (Stage::Access, verdict),
        }
        match self.preflight(visit, asked) {
            Verdict::Pass => {}
            verdict => return (Stage::Preflight, verdict),
        }
        match &self.auth {
            Some(auth) if !auth.is_shown(asked.request) => (Stage::Auth, auth.look(visit, asked)),
            _ => (Stage::Passed, Verdict::Pass),
        }
    }

    /// `allow` and `deny`. Before it is refused, its answer is marked for the pages that may see it.
    fn access(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        if let Some(written) = &self.written {
            written.remove(asked.request);
        }
        if let Some(cors) = &self.cors {
            cors.note(visit, asked.request);
        }
        match &self.access {
            Some(access) if !access.lets_in(asked.client) => Verdict::Refuse(Kind::Denied),
            _ => Verdict::Pass,
        }
    }

    fn preflight(&self, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
        self.cors.as_ref().map_or(Verdict::Pass, |cors| cors.preflight(visit, asked))
    }

    /// The service that decides, if one does.
    pub fn forward(&self) -> Option<&Forward> {
        self.auth.as_ref()?.forward()
    }

    fn auth(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        self.auth.as_ref().map_or(Verdict::Pass, |auth| auth.look(visit, asked))
    }
}

fn limit(limits: &Option<Box<Limits>>, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
    limits.as_ref().map_or(Verdict::Pass, |limits| limits.ask(visit, asked))
}
