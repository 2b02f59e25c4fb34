//! Failures that are rehearsed: control sets their rules, shows them, and ends them when their time has come.

use super::control::Control;
use crate::{
    admin::{
        chaos::{ChaosRule, ChaosView},
        command::Refused,
    },
    policy::Rule,
};
use std::{sync::Arc, time::SystemTime};
use tokio::time::Instant;

impl Control {
    /// Sets `rule`, or ends all there are, as an operator asks.
    pub(super) fn set_chaos(&self, rule: Option<ChaosRule>, if_match: Option<u64>) -> Result<Vec<ChaosView>, Refused> {
        self.check_generation(if_match)?;
        let ended = match rule {
            None => self.shared.chaos.end(|_| true),
            Some(ChaosRule { route, share, time, blow }) => {
                if let Some(name) = route.as_deref().filter(|name| !self.has_route(name)) {
                    return Err(Refused::NotFound(format!("route {name:?}")));
                }
                let rule = Rule::new(route, share, blow, Instant::now() + time, SystemTime::now() + time);
                let shown = view(&rule);
                let (share, ends, what) = (&shown.share, &shown.ends, shown.what());
                tracing::warn!(route = rule.route, share, what, ends, "chaos begins: a rehearsal");
                self.shared.chaos.set(rule)
            }
        };
        tell_end(&ended);
        Ok(self.chaos())
    }

    /// The rules that hold.
    pub(super) fn chaos(&self) -> Vec<ChaosView> {
        let now = Instant::now();
        self.shared.chaos.rules().iter().filter(|rule| now < rule.until).map(|rule| view(rule)).collect()
    }

    /// Forgets the rules whose time is over. Workers know it by themselves.
    pub(super) fn end_chaos(&self) {
        if self.shared.chaos.is_on() {
            let now = Instant::now();
            tell_end(&self.shared.chaos.end(|rule| rule.until <= now));
        }
    }

    fn has_route(&self, name: &str) -> bool {
        self.plan.routes.iter().any(|route| route.name == name)
    }
}

fn view(rule: &Rule) -> ChaosView {
    let ends = humantime::format_rfc3339_millis(rule.ends).to_string();
    ChaosView::new(rule.route.as_deref(), rule.share, rule.blow, ends, rule.hits())
}

fn tell_end(rules: &[Arc<Rule>]) {
    for rule in rules {
        tracing::info!(route = rule.route, what = view(rule).what(), hits = rule.hits(), "chaos has ended");
    }
}
