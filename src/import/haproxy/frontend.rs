//! frontend (and the half of listen): listeners and routes. Called by `haproxy::import`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        draft::{self, Expected},
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Proxy,
    acl::{Acls, Place, Side},
    decide::{self, Act, Leaf, Meaning, Rule, Walk},
    edit::Edit,
    gates::{self, instead},
    predicate::{Conjunction, Joined, Key, Predicate, Way},
    read::Line,
    rules::End,
};

/// Backends that one frontend leads to, through others.
const MOST_LISTS: usize = 500;
/// The phase of what leads to a backend, behind all that asks.
const LAST: u8 = 7;

const MEANING: Meaning<Edit, End> = Meaning {
    instead,
    redirects: End::is_redirect,
    serves: End::is_served,
    changes: Edit::changes,
    hidden: Edit::hidden,
};

impl<'a> Import<'a> {
    /// Listeners and routes of all that serve.
    pub(super) fn frontends(&mut self) {
        let fronts: Vec<_> = self
            .proxies
            .clone()
            .into_iter()
            .filter(|proxy| proxy.head.word(0) != "backend" && proxy.is_http())
            .collect();
        let mut served: Vec<(Proxy<'a>, Vec<Place>)> = Vec::new();
        for proxy in fronts {
            if proxy.is_off() {
                proxy.head.unsupported(&mut self.draft.report, "it is disabled: nothing listens for it");
                continue;
            }
            let places = self.places(&proxy);
            if places.is_empty() {
                proxy.head.unsupported(&mut self.draft.report, "it listens nowhere");
                continue;
            }
            proxy.head.converted(&mut self.draft.report);
            served.push((proxy, places));
        }
        let alone = served.len() == 1;
        for (proxy, places) in &served {
            self.front(proxy, places, alone);
        }
    }

    /// The routes of one frontend.
    fn front(&mut self, proxy: &Proxy<'a>, places: &[Place], alone: bool) {
        self.origins.clear();
        let mut lists: Vec<Vec<Rule<Edit, End>>> = vec![Vec::new()];
        let mut names: Vec<(String, usize)> = Vec::new();
        let acls = Acls::new(&proxy.lines, places.to_vec(), self.files);
        let mut rules = self.requests(proxy, &acls);
        for line in proxy.lines.iter().copied().filter(|line| line.word(0) == "use_backend") {
            if line.word(1).contains('%') && self.may_guard(proxy) {
                let note = "which backend it is, is known at run time alone, and one of them refuses or protects more than the default: whom it is for gets 503 until you decide";
                line.tell(&mut self.draft.report, Outcome::Closed, note);
                let condition = acls.condition(&line.words, true, Side::Out);
                let condition = condition.map_err(|why| (why, acls.wider(&line.words)));
                self.rule(line, Act::End(End::Closed), condition, LAST, &mut rules);
                continue;
            }
            let Some(goal) = self.goal(line, line.word(1), places, &mut lists, &mut names) else { continue };
            let list: &[_] = if let Act::Goto(list) = goal { &lists[list] } else { &[] };
            let gate = list.iter().any(|rule| matches!(instead(&rule.act), Some(Act::End(_))));
            let shut = !list.iter().any(|rule| matches!(rule.act, Act::End(End::Pool(_))));
            let condition = acls.condition(&line.words, shut, if gate { Side::Out } else { Side::In });
            let condition = self.limited((line, LAST), condition, &goal, proxy, &mut rules);
            // Nobody knows who is led to what refuses; that a pool has no backends is seen here as well.
            let goal = match &condition {
                Err(why) if gate && !why.what.starts_with("nbsrv(") => Act::End(End::Closed),
                _ => goal,
            };
            let condition = condition.map_err(|why| (why, acls.wider(&line.words)));
            self.rule(line, goal, condition, LAST, &mut rules);
        }
        self.last(proxy, places, &mut lists, &mut names, &mut rules);
        for line in acls.used() {
            if !line.is_told() {
                line.converted(&mut self.draft.report);
            }
        }
        lists[0] = rules;
        let mut walk = Walk::new(&lists, &self.judge, &MEANING);
        let fine = walk.from(0).is_ok();
        let beyond: BTreeSet<usize> = walk.beyond.iter().copied().collect();
        let lost: BTreeSet<usize> = walk.lost.iter().copied().filter(|origin| !beyond.contains(origin)).collect();
        for origin in beyond.iter().chain(&lost) {
            let line = self.origins[*origin];
            let same = lists.iter().flatten().filter(|rule| rule.origin == *origin && beyond.contains(origin));
            let instead = same.into_iter().find_map(|rule| walk.instead(&rule.act));
            if matches!(instead, Some(Act::Edit(_))) {
                let note = "together with a rule before it, it cannot be asked for: the header is removed there";
                line.approximated(&mut self.draft.report, note);
            } else if instead.is_some() {
                let note = "it refuses, and cannot be asked for together with a rule before it: whom that singles out gets 503 until you decide";
                line.tell(&mut self.draft.report, Outcome::Closed, note);
            } else {
                let note =
                    "not for those requests that a rule before it singles out: both together cannot be asked for";
                line.approximated(&mut self.draft.report, note);
            }
        }
        let mut leaves = std::mem::take(&mut walk.leaves);
        if !fine {
            let note = "its rules come to more than a thousand routes, or are too many to compare: it gets 503 until you decide";
            proxy.head.tell(&mut self.draft.report, Outcome::Closed, note);
            self.origins.push(proxy.head);
            leaves = vec![Leaf {
                when: Conjunction::default(),
                edits: Vec::new(),
                end: End::Closed,
                origin: self.origins.len() - 1,
            }];
        }
        let answers = self.responses(proxy);
        self.write(proxy, places, alone, &leaves, &answers);
    }

    /// One of the backends of the file refuses somebody, or protects, where the default of `front` does not.
    fn may_guard(&self, front: &Proxy<'a>) -> bool {
        let Some(default) = front.last(&["default_backend"]).map(|line| line.word(1)) else { return false };
        let backends = || self.proxies.iter().filter(|proxy| proxy.head.word(0) != "frontend");
        let guards = |proxy: &Proxy<'a>| -> Vec<String> {
            let lines = proxy.defaults.iter().chain(&proxy.lines);
            lines.filter(|line| gates::may_guard(line)).map(|line| line.value()).collect()
        };
        let known: Vec<_> = backends().filter(|proxy| proxy.name == default).flat_map(guards).collect();
        backends().any(|proxy| {
            let empty = !self.pools.contains(proxy.name) && proxy.is_http() && proxy.last(&["stick-table"]).is_none();
            empty || guards(proxy).iter().any(|line| !known.contains(line))
        })
    }

    /// A rule for all requests, from `line`.
    fn always(&mut self, line: &'a Line, act: Act<Edit, End>) -> Rule<Edit, End> {
        self.origins.push(line);
        Rule { terms: vec![Vec::new()], act, phase: LAST, origin: self.origins.len() - 1 }
    }

    /// Where everything goes that no rule has taken.
    fn last(
        &mut self,
        proxy: &Proxy<'a>,
        places: &[Place],
        lists: &mut Vec<Vec<Rule<Edit, End>>>,
        names: &mut Vec<(String, usize)>,
        rules: &mut Vec<Rule<Edit, End>>,
    ) {
        let always = || Ok(vec![Vec::new()]);
        if let Some(line) = proxy.last(&["default_backend"])
            && let Some(goal) = self.goal(line, line.word(1), places, lists, names)
        {
            return self.rule(line, goal, always(), LAST, rules);
        }
        let end = match self.pools.contains(proxy.name) && proxy.head.word(0) == "listen" {
            true => End::Pool(proxy.name.to_owned()),
            false => End::Answer("respond", Value::table([("status", 503.into())]), 503),
        };
        let rest = self.always(proxy.head, Act::End(end));
        rules.push(rest);
    }

    /// The rules of the backend `name`, read once for a frontend.
    fn goal(
        &mut self,
        line: &'a Line,
        name: &str,
        places: &[Place],
        lists: &mut Vec<Vec<Rule<Edit, End>>>,
        names: &mut Vec<(String, usize)>,
    ) -> Option<Act<Edit, End>> {
        if let Some((_, list)) = names.iter().find(|(known, _)| known == name) {
            return Some(Act::Goto(*list));
        }
        let found = self.proxies.iter().find(|proxy| proxy.name == name && proxy.head.word(0) != "frontend").cloned();
        let Some(backend) = found.filter(|_| lists.len() < MOST_LISTS) else {
            let why = if name.contains('%') {
                "which backend it is, is known at run time alone"
            } else {
                "there is no such backend"
            };
            line.unsupported(&mut self.draft.report, why);
            return None;
        };
        let acls = Acls::new(&backend.lines, places.to_vec(), self.files);
        let mut rules = Vec::new();
        for edit in self.responses(&backend) {
            let edit = self.always(backend.head, Act::Edit(edit));
            rules.push(edit);
        }
        if !backend.is_off() {
            rules.extend(self.requests(&backend, &acls));
        }
        if let Some((timer, Some(time))) = backend.time("server")
            && time > Duration::from_secs(60)
        {
            let edit = Edit::Set(vec!["timeout".to_owned()], text::time(time).into());
            let edit = self.always(timer, Act::Edit(edit));
            rules.push(edit);
        }
        for line in acls.used() {
            if !line.is_told() {
                line.converted(&mut self.draft.report);
            }
        }
        let end = match self.pools.contains(name) {
            true => End::Pool(name.to_owned()),
            false => End::Answer("respond", Value::table([("status", 503.into())]), 503),
        };
        if !backend.head.is_told() {
            backend.head.converted(&mut self.draft.report);
        }
        let rest = self.always(line, Act::End(end));
        rules.push(rest);
        lists.push(rules);
        names.push((name.to_owned(), lists.len() - 1));
        Some(Act::Goto(lists.len() - 1))
    }

    /// Writes the routes of `leaves`. `answers`: edits of the frontend, which come after all of its backends'.
    fn write(
        &mut self,
        proxy: &Proxy<'a>,
        places: &[Place],
        alone: bool,
        leaves: &[Leaf<Edit, End>],
        answers: &[Edit],
    ) {
        let (routes, ordered) = decide::arrange(leaves, &self.judge);
        let everywhere =
            Predicate { key: Key::Listener, ways: places.iter().map(|place| Way::Is(place.name.clone())).collect() };
        let mut written: Vec<(usize, String)> = Vec::new();
        for (number, (at, when)) in routes.iter().enumerate() {
            let leaf = &leaves[*at];
            let line = self.origins[leaf.origin];
            if !self.draft.has_room() {
                let doors = places.iter().filter(|_| !alone).map(|place| place.name.clone());
                self.draft.lose(doors.collect(), when.hosts(), (&line.place, &line.text()));
                continue;
            }
            let what = match &leaf.end {
                End::Pool(name) => name.clone(),
                End::Answer("redirect", ..) => "redirect".to_owned(),
                End::Answer(_, _, status) => status.to_string(),
                End::Closed => "closed".to_owned(),
            };
            let name = self.draft.route_names.fresh(&format!("{}:{what}", proxy.name));
            let mut route = Table::element("route");
            route.comment(format!("{} {}", line.place, line.text()));
            route.set(&["name"], name.as_str(), None);
            let when = match alone || !when.ways(&Key::Listener).is_empty() {
                true => when.clone(),
                false => match when.with(&everywhere, &self.judge) {
                    Joined::Fine(when) => when,
                    _ => continue,
                },
            };
            when.write(&mut route, ordered);
            match &leaf.end {
                End::Pool(pool) => {
                    route.set(&["pool"], pool.as_str(), None);
                    leaf.edits.iter().chain(answers).for_each(|edit| edit.write(&mut route));
                }
                End::Answer(key, value, _) => {
                    route.set(&[key], value.clone(), Some(&line.place));
                    let edits = leaf.edits.iter().filter(|edit| edit.is_for_answers());
                    edits.chain(answers).for_each(|edit| edit.write(&mut route));
                    route.remove(&["timeout"]);
                }
                End::Closed => draft::close(&mut route, &line.place, &line.text()),
            }
            if self.draft.add(route, (&line.place, &line.text())) {
                written.push((number, name));
            }
        }
        for (number, name) in written {
            self.sampled(leaves, number, &name, places, &routes);
        }
    }

    /// A test for the route of that number, if a simple request shows it.
    fn sampled(
        &mut self,
        leaves: &[Leaf<Edit, End>],
        number: usize,
        name: &str,
        places: &[Place],
        routes: &[(usize, Conjunction)],
    ) {
        let at = routes[number].0;
        let leaf = &leaves[at];
        if self.judge.is_spent() {
            return;
        }
        let wanted = leaf.when.ways(&Key::Listener);
        let open = |place: &&Place| !place.shut && (wanted.is_empty() || wanted.contains(&Way::Is(place.name.clone())));
        let place = places.iter().find(open);
        let host =
            leaf.when.hosts().first().map_or_else(|| "any.example".to_owned(), |host| host.replacen('*', "x", 1));
        let (Some(place), Some(path)) = (place, leaf.when.sample()) else { return };
        // A leaf may have several routes: the test is for the one that takes this host.
        let mine = routes.iter().position(|(_, when)| decide::holds(when, &self.judge, &host, &path, &place.name));
        let first = leaves.iter().position(|one| decide::holds(&one.when, &self.judge, &host, &path, &place.name));
        if !leaf.when.is_plain() || first != Some(at) || mine != Some(number) {
            return;
        }
        let (scheme, usual) = if place.tls { ("https", 443) } else { ("http", 80) };
        let port = place.port.filter(|port| *port != usual).map(|port| format!(":{port}")).unwrap_or_default();
        let url = format!("{scheme}://{host}{port}{path}");
        let end = match &leaf.end {
            End::Pool(pool) => draft::End::Pool(pool.clone()),
            End::Answer(_, _, status) => draft::End::Status(*status),
            End::Closed => draft::End::Status(503),
        };
        self.draft.expect(&Expected { url, route: name.to_owned(), end });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::{files::Files, report::Outcome};

    /// What is made of `text`.
    fn imported(text: &str) -> toml::Table {
        let made = super::super::import(text, &Files::new(Path::new("/nowhere/x.cfg"))).unwrap();
        made.toml.parse().unwrap()
    }

    #[test]
    fn the_last_edit_of_an_answer_counts_and_the_frontends_come_last() {
        let rules = |name: &str| {
            let line = |header: &str, value: &str| format!(" http-response set-header {header} {name}{value}\n");
            [line("x", "1"), line("x", "2"), line(name, "1"), line(name, "2")].concat()
        };
        let made = imported(&format!(
            "frontend f\n mode http\n bind :80\n http-response add-header l 1\n{} default_backend b\nbackend b\n mode http\n \
             server s 10.0.0.1:80\n http-response add-header l 2\n http-response add-header l 3\n{}",
            rules("f"),
            rules("b")
        ));
        let headers = &made["route"][0]["response_headers"];
        let set = |name: &str| headers["set"][name].as_str();
        assert_eq!([set("b"), set("f"), set("x")], [Some("b2"), Some("f2"), Some("f2")]);
        let added: Vec<_> = headers["add"]["l"].as_array().unwrap().iter().filter_map(toml::Value::as_str).collect();
        assert_eq!(added, ["2", "3", "1"]);
    }

    #[test]
    fn edits_are_done_in_their_order() {
        let rules = |side: &str| -> String {
            let one = |rule: &str| format!(" http-{side} {rule}\n");
            let rules =
                ["set-header gone 1", "add-header gone 2", "del-header gone", "del-header kept", "set-header kept 1"];
            [&rules[..], &["add-header set 1", "set-header set 2", "add-header set 3"]]
                .concat()
                .into_iter()
                .map(one)
                .collect()
        };
        let made = imported(&format!(
            "frontend f\n mode http\n bind :80\n{}{} http-after-response set-header last 2\n http-response del-header last\n \
             default_backend b\nbackend b\n mode http\n server s 10.0.0.1:80\n",
            rules("request"),
            rules("response")
        ));
        for side in ["request_headers", "response_headers"] {
            let headers = &made["route"][0][side];
            let removed = headers["remove"].to_string();
            assert!(removed.contains("gone") && removed.contains("kept"), "{headers}");
            let set = headers["set"].as_table().unwrap();
            assert_eq!([set.get("gone"), headers["add"].get("gone")], [None, None]);
            assert_eq!(
                [&set["kept"], &set["set"], &headers["add"]["set"]].map(|one| one.as_str().unwrap()),
                ["1", "2", "3"]
            );
        }
        assert_eq!(made["route"][0]["response_headers"]["set"]["last"].as_str(), Some("2"));
    }

    #[test]
    fn an_answer_of_ones_own_has_the_edits_of_its_frontend() {
        let made = imported("frontend f\n mode http\n bind :80\n http-request deny\n http-response set-header x 1\n");
        assert_eq!(made["route"][0]["response_headers"]["set"]["x"].as_str(), Some("1"));
    }

    #[test]
    fn where_there_is_no_room_for_all_routes_those_that_are_there_are_tested() {
        let backends: String =
            (0..19_997).map(|number| format!("backend b{number}\n mode http\n server s 10.0.0.1:80\n")).collect();
        let front = "frontend f\n mode http\n bind :80\n use_backend b1 if { path /1 }\n use_backend b2 if { path /2 }\n \
                     use_backend b3 if { path /3 }\n default_backend b4\n";
        let made =
            super::super::import(&format!("{front}{backends}"), &Files::new(Path::new("/nowhere/x.cfg"))).unwrap();
        let closed: Vec<_> = made.report.entries().filter(|one| one.outcome == Outcome::Closed).collect();
        assert_eq!(closed.iter().map(|one| one.line).collect::<Vec<_>>(), [6, 7], "{closed:?}");
        assert!(!made.report.is_whole());
        let made: toml::Table = made.toml.parse().unwrap();
        let tested: Vec<_> =
            made["test"].as_array().unwrap().iter().map(|test| test["expect"]["route"].as_str().unwrap()).collect();
        assert_eq!(tested, ["f:b1", "f:b2"]);
        let routes = made["route"].as_array().unwrap();
        assert_eq!(routes.len(), tested.len() + 1);
        assert_eq!(routes[tested.len()]["respond"]["status"].as_integer(), Some(503), "what is not there is closed");
    }
}
