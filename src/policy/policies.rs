//! What a route asks of a request before it is answered or sent on: THE order, which is PRODUCT.md's. Pure: what takes time
//! is a [`Verdict`] that `proxy` carries out, and then the walk goes on where it was. Hot path.

use super::{Visit, limit::Limits};
use crate::{error::Kind, http::Head};
use std::{net::IpAddr, time::Duration};

/// What a route asks of its requests, beside what it does with them.
#[derive(Debug)]
pub struct Policies {
    /// Limits by what a request shows.
    pub limits: Option<Box<Limits>>,
    /// Limits by what `auth` has found out.
    pub claims: Option<Box<Limits>>,
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
}

impl Policies {
    /// Asks what has not been asked yet, until one says something else than [`Verdict::Pass`], or nobody is left.
    pub fn before(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        while visit.stage < Stage::Passed {
            let (verdict, next) = match visit.stage {
                Stage::Access => (Verdict::Pass, Stage::Preflight),
                Stage::Preflight => (Verdict::Pass, Stage::Limits),
                Stage::Limits => (limit(&self.limits, visit, asked), Stage::Auth),
                Stage::Auth => (Verdict::Pass, Stage::Claims),
                Stage::Claims => (limit(&self.claims, visit, asked), Stage::Passed),
                Stage::Passed => (Verdict::Pass, Stage::Passed),
            };
            visit.stage = next;
            if !matches!(verdict, Verdict::Pass) {
                return verdict;
            }
        }
        Verdict::Pass
    }
}

fn limit(limits: &Option<Box<Limits>>, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
    limits.as_ref().map_or(Verdict::Pass, |limits| limits.ask(visit, asked))
}
