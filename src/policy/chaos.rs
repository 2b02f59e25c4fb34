//! Failures that an operator rehearses for a while: which of a route's requests they hit. Pure: time and chance are
//! arguments. Control sets the rules, workers look at them with each request, and a reload does not touch them. Hot path:
//! without a rule it is one load.

use arc_swap::ArcSwap;
use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, Release},
        },
    },
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// What happens to a request that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// It waits so long before it goes on.
    Delay(Duration),
    /// It is answered with that status.
    Abort(u16),
    /// Its client is cut off.
    Reset,
    /// A backend's answer to it goes out with so many bytes a second.
    SlowBody(u64),
}

impl Blow {
    /// As the API and the access log call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Abort(_) => "abort",
            Self::Reset => "reset",
            Self::SlowBody(_) => "slow_body",
        }
    }
}

/// What is rehearsed with one route, or with all.
#[derive(Debug)]
pub struct Rule {
    /// The route's name; `None` = every route that has no rule of its own.
    pub route: Option<String>,
    /// So many of its requests are hit, 0 to 1.
    pub share: f64,
    /// What happens to those.
    pub blow: Blow,
    /// It ends by then.
    pub until: Instant,
    /// The same, for people.
    pub ends: SystemTime,
    hits: AtomicU64,
}

impl Rule {
    /// A rule that has hit nobody yet.
    pub fn new(route: Option<String>, share: f64, blow: Blow, until: Instant, ends: SystemTime) -> Self {
        Self { route, share, blow, until, ends, hits: AtomicU64::new(0) }
    }

    /// Requests that it has hit.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }
}

/// Rules that hold now.
#[derive(Debug, Default)]
pub struct Chaos {
    on: AtomicBool,
    rules: ArcSwap<Vec<Arc<Rule>>>,
}

impl Chaos {
    /// There may be a rule.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// What happens to a request of `route` that has come at `now`; `random` decides whether it is hit.
    pub fn strike(&self, route: &str, now: Instant, random: u64) -> Option<Blow> {
        let rules = self.rules.load();
        let of = |wanted: Option<&str>| rules.iter().find(|rule| rule.route.as_deref() == wanted);
        let rule = of(Some(route)).or_else(|| of(None)).filter(|rule| now < rule.until)?;
        let hit = (random >> 32) as f64 / 2f64.powi(32) < rule.share;
        hit.then(|| {
            rule.hits.fetch_add(1, Relaxed);
            match rule.blow {
                // Nobody is held longer than the rehearsal lasts.
                Blow::Delay(time) => Blow::Delay(time.min(rule.until - now)),
                blow => blow,
            }
        })
    }

    /// The rules, in the order in which they came.
    pub fn rules(&self) -> Arc<Vec<Arc<Rule>>> {
        self.rules.load_full()
    }

    /// `rule` holds from now on, in place of the former one of its route, which is given. Control alone calls this, and
    /// what ends rules.
    pub fn set(&self, rule: Rule) -> Vec<Arc<Rule>> {
        let same = |other: &Rule| other.route == rule.route;
        let ended = self.end(same);
        let mut rules = Vec::clone(&self.rules());
        rules.push(Arc::new(rule));
        self.store(rules);
        ended
    }

    /// No rule of which `which` says so holds any more. Gives those.
    pub fn end(&self, which: impl Fn(&Rule) -> bool) -> Vec<Arc<Rule>> {
        let (ended, rules): (Vec<_>, Vec<_>) = self.rules().iter().cloned().partition(|rule| which(rule));
        if !ended.is_empty() {
            self.store(rules);
        }
        ended
    }

    fn store(&self, rules: Vec<Arc<Rule>>) {
        let on = !rules.is_empty();
        self.rules.store(Arc::new(rules));
        self.on.store(on, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(route: Option<&str>, share: f64, blow: Blow, until: Instant) -> Rule {
        Rule::new(route.map(str::to_owned), share, blow, until, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_route_has_one_rule_and_its_own_goes_first() {
        let (now, chaos) = (Instant::now(), Chaos::default());
        let later = now + Duration::from_secs(1);
        assert!(!chaos.is_on() && chaos.strike("a", now, 0).is_none());
        assert!(chaos.set(rule(None, 1.0, Blow::Reset, later)).is_empty());
        chaos.set(rule(Some("a"), 1.0, Blow::Abort(500), later));
        assert_eq!((chaos.strike("a", now, 0), chaos.strike("b", now, 0)), (Some(Blow::Abort(500)), Some(Blow::Reset)));
        let former = chaos.set(rule(Some("a"), 1.0, Blow::Abort(503), later));
        assert_eq!((former.len(), former[0].hits(), chaos.rules().len()), (1, 1, 2));
        assert_eq!(chaos.strike("a", now, 0), Some(Blow::Abort(503)));
        assert_eq!(chaos.end(|_| true).len(), 2);
        assert!(!chaos.is_on() && chaos.strike("a", now, 0).is_none());
    }

    #[test]
    fn it_ends_by_itself_to_the_moment() {
        let (now, chaos) = (Instant::now(), Chaos::default());
        let until = now + Duration::from_secs(1);
        chaos.set(rule(None, 1.0, Blow::Reset, until));
        assert!(chaos.strike("a", until - Duration::from_nanos(1), 0).is_some());
        assert!(chaos.strike("a", until, 0).is_none());
        assert_eq!(chaos.end(|rule| rule.until <= now).len(), 0);
        assert_eq!(chaos.end(|rule| rule.until <= until)[0].hits(), 1);
        assert!(!chaos.is_on());
    }

    #[test]
    fn its_share_is_hit() {
        let (now, chaos) = (Instant::now(), Chaos::default());
        for (share, least, most) in [(0.0, 0, 0), (0.1, 900, 1100), (1.0, 10_000, 10_000)] {
            chaos.set(rule(None, share, Blow::Reset, now + Duration::from_secs(1)));
            // Evenly over all that can be drawn.
            let draws = (0..10_000_u64).map(|number| number * (u64::MAX / 10_000));
            let hit = draws.filter(|random| chaos.strike("a", now, *random).is_some()).count();
            assert!((least..=most).contains(&hit), "{share}: {hit}");
            assert_eq!(chaos.rules()[0].hits(), hit as u64);
        }
    }
}
