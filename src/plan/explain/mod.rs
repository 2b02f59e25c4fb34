//! What would become of a request: the walk that `proxy` makes, by the same routes, policies and tables, without sending
//! or counting anything. Asked by `evenkeel explain`, the admin API, and the tests of a configuration.
//!
//! - `said`: what comes out, as JSON · `why`: routes in words · `listeners`: which of them is asked
//! - `answer`: what we would answer ourselves · `policies` and `pools`: what else is in force
//!
//! What it rests on beside the request is named: a credential that is shown counts as good, rate limits as not reached, and
//! no backend as failing.

mod answer;
mod listeners;
mod policies;
mod pools;
mod said;
#[cfg(test)]
mod tests;
mod why;

pub use said::{Answer, Candidate, Explanation, PoolSaid, Seen, Setting, Side, Tried};

use self::{answer::Ours, pools::Kept};
use super::{Act, Forward, Listener, Plan, Route, says_https};
use crate::{
    config::{self, Config, Sample, Who},
    error::Kind,
    http::{self, Framing, Guarded, Head, Name, Span, guard::Upgrade},
    net::Peer,
    policy::{self, Asked, Facts, Stage, Verdict, Visit},
    route::{self, Request},
};
use std::net::{IpAddr, SocketAddr};

/// Routes that are told, and other listeners that are asked: it is read by people, and anybody may ask.
const MOST_ROUTES: usize = 1000;
const MOST_LISTENERS: usize = 8;
/// What stands for what only a real request has.
const REQUEST_ID: &str = "{request_id}";

/// A request on its way, and what was said of it so far.
struct Walk<'a> {
    plan: &'a Plan,
    config: &'a Config,
    listener: &'a Listener,
    /// Backends are those of a process that serves.
    live: bool,
    head: Head,
    /// It came over TLS, as far as that is believed.
    secure: bool,
    trusted: bool,
    client: Option<IpAddr>,
    /// Where its id is in the head.
    id: Span,
    /// The route's place.
    route: Option<usize>,
    visit: Visit,
    said: Explanation,
}

impl Plan {
    /// What becomes of `sample`. `config` is what this plan was made of, but for backends; `live`: those are the ones that
    /// serve.
    pub fn explain(&self, config: &Config, sample: &Sample, live: bool) -> Explanation {
        let (mut said, others) = self.explain_first(config, sample, live);
        // Routes may be for some listeners alone.
        for other in others.into_iter().take(MOST_LISTENERS) {
            let elsewhere = Walk::new(self, config, other, sample, live).explain(sample);
            if elsewhere.headline() != said.headline() {
                said.notes.push(format!("at listener {:?}: {}", other.name, elsewhere.headline()));
            }
        }
        said
    }

    /// What becomes of it at the listener that most likely has it, and the others that may.
    pub(super) fn explain_first(&self, config: &Config, sample: &Sample, live: bool) -> (Explanation, Vec<&Listener>) {
        let listeners::Choice { mut asked, notes } = listeners::choose(self, config, sample);
        if asked.is_empty() {
            let said = Explanation { notes: vec!["there is no listener".to_owned()], ..Explanation::default() };
            return (said, asked);
        }
        let first = asked.remove(0);
        let mut said = Walk::new(self, config, first, sample, live).explain(sample);
        said.notes.splice(..0, notes);
        (said, asked)
    }
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, config: &'a Config, listener: &'a Listener, sample: &Sample, live: bool) -> Self {
        let peer = match sample.from {
            Who::Ip(address) => Peer::Tcp(SocketAddr::new(address, 0)),
            Who::Unix => Peer::Unix,
        };
        Self {
            plan,
            config,
            listener,
            live,
            head: Head::default(),
            secure: listener.tls.is_some(),
            trusted: plan.trusts(peer),
            client: sample.from.ip(),
            id: Span::default(),
            route: None,
            visit: Visit::default(),
            said: Explanation { listener: listener.name.clone(), ..Explanation::default() },
        }
    }

    /// In the order of PRODUCT.md.
    fn explain(mut self, sample: &Sample) -> Explanation {
        if let (Some(door), Some(ip)) = (&self.listener.door, sample.from.ip())
            && !self.listener.proxy_protocol
            && door.denies(ip)
        {
            let why = format!("`allow` and `deny` of the listener keep {ip} out: its connections are closed at once");
            self.see(sample);
            self.said.answer = Some(Answer { why, word: Some(Kind::Denied.word().into()), ..Answer::default() });
            return self.said;
        }
        let read = http::h1::read(&listeners::write(sample), &mut self.head, &self.listener.limits);
        let guarded = match read {
            Ok(guarded) => guarded,
            Err(reject) => {
                self.head.clear();
                self.see(sample);
                return self.answered(Ours::Failure(reject.kind), reject.why);
            }
        };
        self.client = self.plan.client_address(self.client, self.trusted, &self.head);
        self.secure |= self.trusted && says_https(&self.head);
        self.see(sample);
        self.name();
        if self.listener.redirect_to_https && !self.secure {
            return self.answered(Ours::Https, "`redirect_to_https` of the listener");
        }
        match self.find() {
            Err(kind) => {
                let why =
                    if kind == Kind::NoRoute { "no route matches" } else { "no route that matches has `connect`" };
                self.answered(Ours::Failure(kind), why)
            }
            Ok(place) => self.take(place, &guarded),
        }
    }

    /// The request, for people.
    fn see(&mut self, sample: &Sample) {
        let text = |span| String::from_utf8_lossy(self.head.text(span)).into_owned();
        let target = self.head.target;
        self.said.request = Seen {
            method: sample.method.clone(),
            scheme: if self.secure { "https" } else { "http" }.to_owned(),
            host: String::from_utf8_lossy(policy::host(self.head.text(target.authority))).to_ascii_lowercase(),
            path: text(target.path),
            query: text(target.query),
            client_ip: self.client.map(|client| client.to_string()),
        };
    }

    /// Its id: a trusted peer's is taken over, any other is made anew.
    fn name(&mut self) {
        match self.head.single(Name::XRequestId) {
            Ok(Some(id)) if self.trusted => self.id = id,
            _ => {
                self.head.remove(Name::XRequestId);
                self.id = self.head.note(REQUEST_ID.as_bytes());
            }
        }
    }

    /// The route, and every other one with the reason.
    fn find(&mut self) -> Result<usize, Kind> {
        let request = Request { head: &self.head, listener: self.listener.place, client: self.client };
        let found = self.plan.find(&request);
        let all = self.plan.router.explain(&request);
        let chosen = all.iter().find(|(_, verdict)| matches!(verdict, route::Verdict::Chosen)).map(|(place, _)| *place);
        let name = chosen.map_or("", |place| &self.plan.routes[place].name);
        let mut tried = Vec::new();
        let more = all.len().saturating_sub(MOST_ROUTES);
        for (place, verdict) in all.into_iter().take(MOST_ROUTES) {
            let Some(route) = self.config.routes.get(place) else { continue };
            let matched = found == Ok(place);
            let why = match chosen == Some(place) && !matched {
                true => "it matches, but has no `connect = true`".to_owned(),
                false => why::why(verdict, route, name, (&self.head, self.client)),
            };
            tried.push(Tried { name: route.name.clone(), matched, why });
        }
        self.said.routes = tried;
        if found == Err(Kind::NoRoute)
            && let ([pool], true) = (&*self.config.pools, chosen.is_none())
        {
            let name = &pool.name;
            self.note(format!(
                "without any route pool {name:?} would take all requests: with one, what no route takes is 404"
            ));
        }
        if more > 0 {
            self.note(format!("{more} more routes are not told: their hosts or paths are others, or they come later"));
        }
        found
    }

    fn take(mut self, place: usize, guarded: &Guarded) -> Explanation {
        let (plan, config) = (self.plan, self.config);
        let (route, written) = (&plan.routes[place], &config.routes[place]);
        self.route = Some(place);
        self.said.route = Some(route.name.clone());
        if !self.trusted {
            self.head.remove_where(policy::is_proxys);
        }
        let refused = self.rehearse(route);
        policies::tell(&mut self, written);
        if let Some((stage, verdict)) = refused {
            let (ours, why) = match verdict {
                Verdict::Refuse(kind) => (Ours::Failure(kind), policies::why(stage, written, self.client, config)),
                Verdict::Reply(status) => (Ours::Empty(status), policies::why(stage, written, self.client, config)),
                _ => (Ours::Failure(Kind::Internal), String::new()),
            };
            return self.answered(ours, why);
        }
        match &route.act {
            Act::Redirect(to, status) => self.answered(Ours::Redirect(to, *status), "`redirect` of the route"),
            Act::Respond(respond) => self.answered(Ours::Respond(respond), "`respond` of the route"),
            Act::Forward(forward) => self.forward(route, (forward, written), guarded),
        }
    }

    /// What its policies say, if that is not that it may go on.
    fn rehearse(&mut self, route: &Route) -> Option<(Stage, Verdict)> {
        let policies = route.policies.as_deref()?;
        let request = &mut self.head;
        let mut asked = Asked { request, client: self.client, route: &route.name, now: 0, worker: 0 };
        let (stage, verdict) = policies.rehearse(&mut self.visit, &mut asked);
        (!matches!(verdict, Verdict::Pass)).then_some((stage, verdict))
    }

    fn forward(
        mut self,
        route: &Route,
        (forward, written): (&Forward, &config::Route),
        guarded: &Guarded,
    ) -> Explanation {
        if let (Some(most), Framing::Length(length)) = (forward.max_body, guarded.framing)
            && length > most
        {
            return self.answered(Ours::Failure(Kind::BodyTooLarge), "`max_body_size` of the route");
        }
        if !forward.upgrade && guarded.upgrade == Some(Upgrade::WebSocket) {
            self.note("it asks for an upgrade, which the route does not allow: it goes on without");
        }
        let places = self.sides(forward, written);
        if let [only] = places.as_slice() {
            self.said.pool = Some(self.plan.pools[*only].name.clone());
        }
        let kept: Vec<Kept> = places.iter().map(|place| self.session(&self.plan.pools[*place])).collect();
        self.edit(route, (forward, written));
        for (place, kept) in places.into_iter().zip(kept) {
            self.pool(place, kept, guarded);
        }
        self.said
    }

    /// The places of the pools that it may go to.
    fn sides(&mut self, forward: &Forward, written: &config::Route) -> Vec<usize> {
        let (Some(split), config::Action::Split { pools, .. }) = (&forward.split, &written.action) else {
            return forward.pools.clone();
        };
        let kept = self.plan.side(forward, split, &self.head, self.client, self.second());
        let total: u64 = pools.iter().map(|(_, weight)| u64::from(*weight)).sum();
        for (place, (pool, weight)) in pools.iter().enumerate() {
            let share = format!("{}%", (f64::from(*weight) * 1e4 / total.max(1) as f64).round() / 100.0);
            self.said.split.push(Side { pool: pool.clone(), share, kept: kept == Some(place) });
        }
        match kept {
            Some(place) => vec![forward.pools[place]],
            None => (0..forward.pools.len())
                .filter(|place| split.has_share(*place))
                .map(|place| forward.pools[place])
                .collect(),
        }
    }

    /// As sessions of applications count: seconds of the process.
    fn second(&self) -> u32 {
        self.plan.pools.first().map_or(0, |pool| {
            let micros = pool.slot.micros(tokio::time::Instant::now());
            u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX)
        })
    }

    fn note(&mut self, note: impl Into<String>) {
        self.said.notes.push(note.into());
    }

    /// What templates know.
    fn facts(&self) -> Facts<'_> {
        let tls = self.listener.tls.is_some();
        let host = self.said.request.host.as_str();
        let forwarded = self.said.answer.is_none() && self.route.is_some();
        Facts {
            secure: self.secure,
            client: self.client,
            request_id: self.id,
            route: self.route.map(|place| self.plan.routes[place].name.as_str()),
            pool: self.said.pool.as_deref().or(Some("{pool}").filter(|_| forwarded && !self.said.split.is_empty())),
            backend: None,
            tls_version: tls.then_some("{tls_version}"),
            sni: Some(host).filter(|host| tls && !host.is_empty()),
        }
    }
}

/// In whose words a time is written in the file.
fn time(time: Option<std::time::Duration>) -> String {
    time.map_or_else(|| "off".to_owned(), |time| humantime::format_duration(time).to_string().replace(' ', ""))
}
