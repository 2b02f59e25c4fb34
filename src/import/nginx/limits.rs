//! limit_req and limit_conn: rate limits and requests in flight. Called by `route`.

use std::time::Duration;

use super::{
    super::{
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import,
    read::Directive,
    scope::Scope,
    variables,
};

/// A zone of limit_req_zone or limit_conn_zone.
#[derive(Clone, Debug)]
pub(super) struct Zone<'a> {
    pub(super) name: String,
    /// Ours, and whether it is only nearly the same; `None`: we have none like it.
    key: Option<(String, bool)>,
    rate: Option<(u64, char)>,
    pub(super) directive: &'a Directive,
}

/// Reads `one`; `None`: it has no name.
pub(super) fn zone(one: &Directive) -> Option<Zone<'_>> {
    let get = |name: &str| one.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let name = get("zone")?.split(':').next()?.to_owned();
    let rate = get("rate").and_then(|rate| {
        let (number, unit) = rate.split_once("r/")?;
        let unit = unit.chars().next().filter(|unit| ['s', 'm'].contains(unit))?;
        Some((number.parse().ok().filter(|number| (1..=1_000_000).contains(number))?, unit))
    });
    Some(Zone { name, key: variables::limit_key(one.word(0)), rate, directive: one })
}

impl<'a> Import<'a> {
    /// Writes the limits that hold in `scope` into `route`.
    pub(super) fn limits(&mut self, route: &mut Table, scope: &Scope<'a>) {
        let mut names: Vec<String> = Vec::new();
        let rates = scope.all("limit_req");
        for limit in &rates {
            names.extend(self.rate(limit).filter(|name| !names.contains(name)));
        }
        if !names.is_empty() {
            route.set(&["rate_limit"], Value::words(names), rates.first().map(|one| &one.place));
        }
        for (at, limit) in scope.all("limit_conn").into_iter().enumerate() {
            self.in_flight(route, limit, at == 0);
        }
    }

    /// The name of our limit for `limit`.
    fn rate(&mut self, limit: &'a Directive) -> Option<String> {
        let get = |name: &str| limit.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let has = |word: &str| limit.words.iter().any(|one| one == word);
        let report = &mut self.draft.report;
        let wanted = get("zone").unwrap_or_default();
        let Some(zone) = self.rates.iter().find(|zone| zone.name == wanted) else {
            limit.unsupported(report, "there is no such zone: nothing is limited");
            return None;
        };
        let (Some((key, near)), Some((rate, unit))) = (&zone.key, zone.rate) else {
            zone.directive.unsupported(report, "this key is none of ours: nothing is limited by it");
            limit.unsupported(report, "the key of its zone is none of ours: nothing is limited by it");
            return None;
        };
        match near {
            true => zone.directive.approximated(report, format!("requests are told apart by {key}")),
            false => zone.directive.converted(report),
        }
        let burst: u64 = get("burst").and_then(|text| text.parse().ok()).unwrap_or(0).min(1_000_000);
        let waits = burst > 0 && !has("nodelay");
        let mut table = Table::new(&["rate_limit", "x"]);
        table.comment(format!("{} {}", zone.directive.place, zone.directive.text()));
        table.set(&["key"], key.as_str(), None);
        table.set(&["rate"], format!("{rate}/{unit}"), None);
        let mut note = "refusals are 429 rate_limited with Retry-After".to_owned();
        if waits {
            let millis = burst.saturating_mul(if unit == 'm' { 60_000 } else { 1000 }) / rate;
            table.set(&["algorithm"], "leaky_bucket", Some(&limit.place));
            if millis > 60_000 {
                note.push_str("; nobody waits for longer than a minute");
            }
            if get("delay").is_some() {
                note.push_str("; delay= is not converted: all of the burst is spread");
            }
            table.set(&["max_delay"], text::time(Duration::from_millis(millis.clamp(1, 60_000))), Some(&limit.place));
        } else {
            // nginx lets one pass beside those of the burst.
            table.set(&["burst"], burst + 1, Some(&limit.place));
        }
        limit.approximated(report, note);
        if let Some((name, _)) = self.limits.iter().find(|(_, known)| known.same(&table)) {
            return Some(name.clone());
        }
        let name = self.limit_names.fresh(&zone.name);
        self.draft.limits.push(table.renamed(&["rate_limit", &name]));
        self.limits.push((name.clone(), table));
        Some(name)
    }

    fn in_flight(&mut self, route: &mut Table, limit: &'a Directive, first: bool) {
        let report = &mut self.draft.report;
        let zone = self.conns.iter().find(|zone| zone.name == limit.word(0));
        let most = limit.word(1).parse::<u64>().ok().filter(|most| *most > 0);
        match (zone.and_then(|zone| zone.key.clone().map(|key| (zone, key))), most) {
            (Some((zone, (key, _))), Some(most)) if first => {
                zone.directive.converted(report);
                let value = Value::table([("key", key.into()), ("max", most.into())]);
                route.set(&["in_flight_limit"], value, Some(&limit.place));
                limit.approximated(
                    report,
                    "counted by the route, not by all places that name the zone; refusals are 429",
                );
            }
            (Some(_), Some(_)) => limit.unsupported(report, "a route has one in_flight_limit"),
            _ => {
                if let Some(zone) = zone {
                    zone.directive.tell(report, Outcome::Unsupported, "this key is none of ours");
                }
                limit.unsupported(report, "the key of its zone is none of ours: nothing is limited by it");
            }
        }
    }
}
