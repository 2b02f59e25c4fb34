//! Which route a request takes. Called by `proxy`, and by `explain` and the tests of configurations. Hot path.
//!
//! The order is PRODUCT.md's: exact host, longest wildcard, any host; within a host exact path, longest prefix, expressions
//! in the order of the file, then routes without a path; then the number of predicates; then the order of the file. Where
//! no route of a host matches, the next host is tried.
//!
//! Hosts are hashed, a wildcard by the host's suffixes; paths are searched in sorted order. What a request costs depends
//! on its own length, not on how many hosts there are.

mod hosts;
mod paths;
#[cfg(test)]
mod properties;
mod rule;
#[cfg(test)]
mod tests;
mod text;

pub use rule::Why;

use self::{hosts::Hosts, paths::Place, rule::Rule};
use crate::{config, http::Head, policy};
use std::{fmt, net::IpAddr, ops::ControlFlow};

/// What a route is chosen by.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The guarded head.
    pub head: &'a Head,
    /// The listener's number.
    pub listener: usize,
    /// The believed address of the client; `None`: a peer on a unix socket.
    pub client: Option<IpAddr>,
}

/// All routes of a configuration, ready to be searched.
#[derive(Debug)]
pub struct Router {
    /// In the order of the file.
    rules: Vec<Rule>,
    hosts: Hosts,
}

/// What became of a route, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// The request takes it.
    Chosen,
    /// It matches, and another one comes first.
    Outranked,
    /// It does not match.
    Missed(Why<'r>),
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::Outranked => f.write_str("matches, but another route comes first"),
            Self::Missed(why) => why.fmt(f),
        }
    }
}

impl Router {
    /// A router over `routes`; `listeners` are the names of the listeners by number.
    ///
    /// # Panics
    /// An expression does not compile, which the configuration has checked.
    pub fn new(routes: &[config::Route], listeners: &[String]) -> Self {
        let rules: Vec<Rule> = routes.iter().map(|route| Rule::new(route, listeners)).collect();
        let hosts = Hosts::new(routes, &rules);
        Self { rules, hosts }
    }

    /// The place of the route that `request` takes.
    pub fn find(&self, request: &Request<'_>) -> Option<usize> {
        let found =
            self.walk(request, |place| match place.plain || self.rules[place.rule()].misses(request).is_none() {
                true => ControlFlow::Break(place.rule()),
                false => ControlFlow::Continue(()),
            });
        found.break_value()
    }

    /// What becomes of each route, in their order: the same walk, to its end.
    pub fn explain(&self, request: &Request<'_>) -> Vec<Verdict<'_>> {
        let mut verdicts = vec![Verdict::Missed(Why::Host); self.rules.len()];
        let _ = self.hosts.visit(policy::host(authority(request)), |paths| {
            paths.rules().for_each(|rule| verdicts[rule] = Verdict::Missed(Why::Path));
            ControlFlow::<()>::Continue(())
        });
        let mut chosen = None;
        let _ = self.walk(request, |place| {
            let rule = place.rule();
            verdicts[rule] = match self.rules[rule].misses(request) {
                Some(why) => Verdict::Missed(why),
                None if *chosen.get_or_insert(rule) == rule => Verdict::Chosen,
                None => Verdict::Outranked,
            };
            ControlFlow::<()>::Continue(())
        });
        verdicts
    }

    /// Shows `visit` every place whose host and path are the request's, the first choice first. A route may have several.
    fn walk<B>(&self, request: &Request<'_>, mut visit: impl FnMut(Place) -> ControlFlow<B>) -> ControlFlow<B> {
        let path = request.head.text(request.head.target.path);
        self.hosts.visit(policy::host(authority(request)), |paths| paths.visit(path, &self.rules, &mut visit))
    }
}

fn authority<'a>(request: &Request<'a>) -> &'a [u8] {
    request.head.text(request.head.target.authority)
}
