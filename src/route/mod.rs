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
pub(crate) use text::Text;

use self::{
    hosts::Hosts,
    paths::{Fit, Place},
    rule::Rule,
};
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

/// What became of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'r> {
    /// The request takes it.
    Chosen,
    /// It matches, and another one comes first because of that.
    Outranked(Ahead),
    /// It does not match.
    Missed(Why<'r>),
}

/// What the chosen route has ahead of another one that matches as well. The first that there is counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Its host: a name before a wildcard, a longer wildcard before a shorter one, any before none.
    Host,
    /// Its path: all of it before a prefix, a longer prefix before a shorter one, then an expression, then none.
    Path,
    /// More predicates beside them.
    Predicates,
    /// Its place in the file.
    Order,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "its host fits more closely",
            Self::Path => "its path fits more closely",
            Self::Predicates => "it asks for more",
            Self::Order => "it stands first in the file",
        })
    }
}

/// How well a route fits, host and path.
#[derive(Clone, Copy)]
struct Rank {
    /// How many better hosts were looked at before.
    host: usize,
    path: Fit,
    predicates: usize,
}

impl Rank {
    /// What this one has ahead of `other`, which comes later.
    fn ahead(self, other: Self) -> Ahead {
        match () {
            () if self.host != other.host => Ahead::Host,
            () if self.path != other.path => Ahead::Path,
            // Expressions are tried in the order of the file, whatever else their routes ask for.
            () if self.path != Fit::Regex && self.predicates != other.predicates => Ahead::Predicates,
            () => Ahead::Order,
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
            self.walk(request, |place, _, _| match place.plain || self.rules[place.rule()].misses(request).is_none() {
                true => ControlFlow::Break(place.rule()),
                false => ControlFlow::Continue(()),
            });
        found.break_value()
    }

    /// What becomes of each route, by its place: the same walk, to its end, in its order; then those that it does not
    /// come by, in the order of the file.
    pub fn explain(&self, request: &Request<'_>) -> Vec<(usize, Verdict<'_>)> {
        let mut seen = vec![false; self.rules.len()];
        let mut tried = Vec::with_capacity(self.rules.len());
        let mut chosen: Option<Rank> = None;
        let _ = self.walk(request, |place, host, path| {
            let rule = place.rule();
            // A route with several hosts or paths has been judged by the first of them.
            if !std::mem::replace(&mut seen[rule], true) {
                let rank = Rank { host, path, predicates: self.rules[rule].predicates() };
                let verdict = match (self.rules[rule].misses(request), chosen) {
                    (Some(why), _) => Verdict::Missed(why),
                    (None, Some(chosen)) => Verdict::Outranked(chosen.ahead(rank)),
                    (None, None) => {
                        chosen = Some(rank);
                        Verdict::Chosen
                    }
                };
                tried.push((rule, verdict));
            }
            ControlFlow::<()>::Continue(())
        });
        let mut whys = vec![Why::Host; self.rules.len()];
        let _ = self.hosts.visit(policy::host(authority(request)), |paths| {
            paths.rules().for_each(|rule| whys[rule] = Why::Path);
            ControlFlow::<()>::Continue(())
        });
        let missed = whys.into_iter().enumerate().filter(|(rule, _)| !seen[*rule]);
        tried.extend(missed.map(|(rule, why)| (rule, Verdict::Missed(why))));
        tried
    }

    /// Shows `visit` every place whose host and path are the request's, the first choice first: with how many better hosts
    /// there were, and how its path fits. A route may have several.
    fn walk<B>(
        &self,
        request: &Request<'_>,
        mut visit: impl FnMut(Place, usize, Fit) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let path = request.head.text(request.head.target.path);
        let mut host = 0;
        self.hosts.visit(policy::host(authority(request)), |paths| {
            host += 1;
            paths.visit(path, &self.rules, |place, fit| visit(place, host, fit))
        })
    }
}

fn authority<'a>(request: &Request<'a>) -> &'a [u8] {
    request.head.text(request.head.target.authority)
}
