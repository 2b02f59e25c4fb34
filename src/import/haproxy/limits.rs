//! stick-table and what counts in it: limits. Called by `rules`.

use std::time::Duration;

use super::{
    super::{
        text,
        toml::{Table, Value},
    },
    Import, Proxy,
    acl::{Beyond, Literal, Terms, Test},
    backend::MS,
    counter::Rate,
    decide::{Act, Rule},
    edit::Edit,
    read::Line,
    rules::End,
};

impl<'a> Import<'a> {
    /// Takes tests of counters out of a condition, as limits where it refuses; gives back what is left.
    pub(super) fn limited(
        &mut self,
        (line, phase): (&'a Line, u8),
        condition: Result<Terms, Beyond>,
        act: &Act<Edit, End>,
        proxy: &Proxy<'a>,
        rules: &mut Vec<Rule<Edit, End>>,
    ) -> Result<Terms, Beyond> {
        let terms = condition?;
        let counts = |literal: &Literal| matches!(literal.test, Test::Rate(_));
        if !terms.iter().flatten().any(counts) {
            return Ok(terms);
        }
        let refuses = matches!(act, Act::End(End::Answer("respond", _, 400..)));
        let (mut left, mut lost, mut told) = (Vec::new(), None, false);
        for term in terms {
            let (rates, others): (Vec<Literal>, Vec<Literal>) = term.into_iter().partition(counts);
            // Who is not counted is not one of the many.
            let few = rates.iter().any(|rate| rate.negated);
            let Some(Literal { test: Test::Rate(rate), .. }) = rates.first() else {
                left.push(others);
                continue;
            };
            if few {
                return Err(Beyond { what: format!("not {}", rate.counter), counts: false });
            }
            let limit = if refuses && rates.len() == 1 { self.counted(rate, proxy) } else { None };
            let Some(edit) = limit else {
                lost = Some(rate.counter.clone());
                continue;
            };
            told = true;
            line.approximated(
                &mut self.draft.report,
                "refusals are 429, with Retry-After; of one limit all that is counted is behind it",
            );
            self.rule(line, Act::Edit(edit), Ok(vec![others]), phase, rules);
        }
        match lost {
            Some(what) if left.is_empty() && !told => return Err(Beyond { what, counts: true }),
            Some(what) => line.approximated(&mut self.draft.report, format!("there is no limit by {what}")),
            None => {}
        }
        Ok(left)
    }

    /// The limit that a counter and its bound are.
    pub(super) fn counted(&mut self, rate: &Rate, proxy: &Proxy<'a>) -> Option<Edit> {
        if !["http_req_rate", "conn_cur"].contains(&rate.counter.as_str()) {
            return None;
        }
        let track = rate.track.map(|number| format!("track-sc{number}"));
        let lines = proxy.defaults.iter().chain(&proxy.lines).copied();
        let tracker = track.and_then(|name| lines.into_iter().find(|line| line.words.contains(&name)));
        let fetch = match (tracker, rate.track) {
            (Some(line), Some(number)) => line.after(&format!("track-sc{number}")).unwrap_or_default().to_owned(),
            (None, Some(_)) => return None,
            (_, None) => "src".to_owned(),
        };
        let named = rate.table.clone().or_else(|| tracker.and_then(|line| line.after("table")).map(str::to_owned));
        let owner = match &named {
            Some(name) => self.proxies.iter().find(|proxy| proxy.name == name)?.clone(),
            None => proxy.clone(),
        };
        let table = owner.lines.iter().copied().find(|line| line.word(0) == "stick-table")?;
        let key = match fetch.trim_start_matches("req.").split_once('(') {
            None if fetch == "src" => "client_ip".to_owned(),
            None if fetch == "path" => "path".to_owned(),
            Some(("hdr" | "fhdr", rest)) => format!("header:{}", rest.trim_end_matches(')').to_ascii_lowercase()),
            Some(("cook", rest)) => format!("cookie:{}", rest.trim_end_matches(')')),
            _ => return None,
        };
        let told: Vec<&Line> = tracker.into_iter().chain([table]).collect();
        let edit = match rate.counter.as_str() {
            "conn_cur" => {
                let value = Value::table([("key", key.into()), ("max", rate.most.max(1).into())]);
                Edit::Set(vec!["in_flight_limit".to_owned()], value)
            }
            _ => {
                let stores = table.value();
                let (_, rest) = stores.split_once("http_req_rate(")?;
                let period = text::read_time(rest.split(')').next()?, MS)?;
                let mut limit = Table::new(&["rate_limit", "x"]);
                limit.comment(format!("{} {}", table.place, table.text()));
                limit.set(&["key"], key, None);
                limit.set(&["rate"], rated(rate.most.max(1), period), None);
                limit.set(&["burst"], rate.most.clamp(1, 1_000_000), None);
                let name = match self.limits.iter().find(|(_, known)| known.same(&limit)) {
                    Some((name, _)) => name.clone(),
                    None => {
                        let name = self.limit_names.fresh(&format!("{}-rate", proxy.name));
                        self.draft.limits.push(limit.renamed(&["rate_limit", &name]));
                        self.limits.push((name.clone(), limit));
                        name
                    }
                };
                Edit::Push(vec!["rate_limit".to_owned()], name.into())
            }
        };
        for line in told.into_iter().filter(|line| !line.is_told()) {
            line.approximated(&mut self.draft.report, "the limit counts by itself: a token bucket instead of a window");
        }
        if owner.head.word(0) == "backend" && !owner.head.is_told() {
            owner.head.converted(&mut self.draft.report);
        }
        Some(edit)
    }
}

/// So many in `period`, as our files have it.
fn rated(most: u64, period: Duration) -> String {
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    let per = |unit: u64| most.saturating_mul(unit) / millis;
    match () {
        () if most.saturating_mul(1000).is_multiple_of(millis) => format!("{}/s", per(1000)),
        () if per(60_000) > 0 => format!("{}/m", per(60_000)),
        () => format!("{}/h", per(3_600_000).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_a_second_a_minute_or_an_hour() {
        assert_eq!(rated(100, Duration::from_secs(10)), "10/s");
        assert_eq!(rated(50, Duration::from_secs(60)), "50/m");
        assert_eq!(rated(1, Duration::from_secs(90)), "40/h");
    }
}
