//! Servers and locations: routes. Called by `nginx::import`, once for each server and kind of listener that it is behind.

use std::collections::HashSet;

use super::{
    super::{
        draft::{End, Expected, close},
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Server,
    condition::Test,
    escapes,
    flow::{Action, Flow},
    gates::{self, gates, shields},
    listen::Door,
    location::{self, Choice, Kind, Location, Path, Style},
    order::outranks,
    pass::{self, respond},
    read::Directive,
    scope::Scope,
    upstream,
    variables::Constants,
};

/// Where the routes of a server are.
#[derive(Clone, Debug)]
pub(super) struct Spot<'d> {
    pub(super) doors: Vec<&'d Door>,
    /// The server is behind all listeners that there are.
    pub(super) everywhere: bool,
    /// Empty: any.
    pub(super) hosts: Vec<String>,
    /// In front of the names of its routes.
    pub(super) label: String,
    /// A host that leads here, for tests.
    pub(super) sample: String,
}

/// A route that is being written.
pub(super) struct Draft {
    pub(super) table: Table,
    pub(super) end: End,
    pub(super) name: String,
    /// An `if` has let one host through.
    pub(super) hosted: bool,
}

impl<'a> Import<'a> {
    /// Writes all routes of `server` at `spot`.
    pub(super) fn routes(&mut self, server: &Server<'a>, spot: &Spot<'_>) {
        self.constants = Constants::new();
        self.server_locations = location::all(&server.scope);
        let choice = Choice::new(&self.server_locations);
        let sampled = self.server_locations.iter().map(|one| (std::ptr::from_ref(one.directive), choice.sample(one)));
        self.samples = sampled.filter_map(|(directive, path)| Some((directive, path?))).collect();
        let mut outer = self.flow(&server.scope, &server.name);
        let constants = self.constants.clone();
        let locations = self.readable(&mut outer);
        self.ordered = outer.end.is_some() && outranks(&outer.guards, outer.end.as_ref(), spot.everywhere);
        if outer.end.is_some() {
            let all = Location::whole(server.directive, &server.scope);
            for one in &locations {
                one.directive
                    .unsupported(&mut self.draft.report, "the server answers before it looks at its locations");
            }
            self.route(&outer, Flow::default(), &all, Path::All, server, spot, false);
            return;
        }
        for jump in std::mem::take(&mut outer.jumps) {
            let regex = location::regex(jump.word(0));
            match text::is_regex(&regex) {
                true => {
                    let note =
                        "it leads to what protects, and paths are not looked up again: they get 503 until you decide";
                    jump.tell(&mut self.draft.report, Outcome::Closed, note);
                    outer.paths.push((regex, Action::closed(jump)));
                }
                false => outer.closed = Some(jump),
            }
        }
        self.ordered = self.outranked(&outer, &locations, server, spot);
        let apart = gates::differ(&locations);
        let guarded: Vec<_> = locations.iter().filter(|one| apart && one.kind != Kind::Named && shields(one)).collect();
        let expressions = locations.iter().any(|one| one.kind == Kind::Regex);
        let style = match () {
            () if self.ordered || !guarded.is_empty() || !outer.paths.is_empty() => Style::Strict,
            () if expressions => Style::Ordered,
            () => Style::Plain,
        };
        let disguises = (!guarded.is_empty()).then(|| escapes::disguises(&guarded, &locations, &outer.paths));
        self.firsts(server, spot, &outer, disguises.as_deref());
        let (order, missed) = location::order(&locations, style);
        for (one, regex) in missed {
            let text = regex.directive.text();
            let note = format!("`{text}` is not asked for within it, where nginx does so");
            match !gates(regex, &locations).is_subset(&gates(one, &locations)) {
                true => {
                    let note = format!("{note}, and it protects: all of its server gets 503 until you decide");
                    one.directive.tell(&mut self.draft.report, Outcome::Closed, note);
                    outer.closed = Some(regex.directive);
                }
                false => one.directive.approximated(&mut self.draft.report, note),
            }
        }
        let choice = Choice::new(&locations);
        let mut whole = false;
        for (one, path) in order {
            whole |= path == Path::All;
            self.constants = constants.clone();
            let inner = self.inner(one, &server.name);
            let path = self.loosened(one, path, &choice);
            let one = one.clone();
            self.route(&outer, inner, &one, path, server, spot, true);
        }
        if !whole {
            self.rest(server, spot, &outer);
        }
    }

    /// Refuses all requests at `spot`, for the sake of `closing`.
    pub(super) fn refused(&mut self, closing: &Directive, spot: Spot<'_>) {
        self.ordered = false;
        let mut route = self.begin(&spot, &Path::All, "");
        close(&mut route.table, &closing.place, &closing.text());
        route.end = End::Status(503);
        let url = url(&spot.doors, &spot, "/");
        self.push(route, url, closing);
    }

    /// The locations that can be asked for; what cannot and protects closes the server.
    fn readable(&mut self, outer: &mut Flow<'a>) -> Vec<Location<'a>> {
        let mut locations = self.server_locations.clone();
        let fine = |one: &Location<'a>| match one.kind {
            Kind::Named => true,
            Kind::Regex => one.is_compiled(),
            _ => text::is_path(&one.text),
        };
        let all = &self.server_locations;
        let others: Vec<_> =
            all.iter().filter(|one| fine(one) && one.kind != Kind::Named).map(|one| gates(one, all)).collect();
        let report = &mut self.draft.report;
        locations.retain(|one| {
            if fine(one) {
                return true;
            }
            let what = if one.kind == Kind::Regex {
                "ours have no lookaround and no references back"
            } else {
                "it is not a path as it is sent"
            };
            let gates = gates(one, all);
            if others.iter().any(|other| !gates.is_subset(other)) {
                let note = format!("{what}, and it protects: all of its server gets 503 until you decide");
                one.directive.tell(report, Outcome::Closed, note);
                outer.closed = Some(one.directive);
            } else {
                one.directive.unsupported(report, format!("{what}: its requests go to another location"));
            }
            false
        });
        // An expression within another one, or of two exact ones the second, is still there.
        let mut seen = HashSet::new();
        locations.retain(|one| {
            let fresh = seen.insert((one.kind == Kind::Exact, one.kind == Kind::Regex, one.text.clone()));
            fresh || matches!(one.kind, Kind::Regex | Kind::Named)
        });
        locations
    }

    /// Routes before all others: for paths that nginx would have merged, and for rewrites of the server.
    fn firsts(&mut self, server: &Server<'a>, spot: &Spot<'_>, outer: &Flow<'a>, disguises: Option<&str>) {
        // Routes of a host that an `if` asks for are tried before those of any host.
        let asked = outer.guards.iter().filter_map(|(condition, _)| match &condition.test {
            Test::Host(host) if condition.negated => Some(vec![host.clone()]),
            _ => None,
        });
        let spots: Vec<_> = asked.map(|hosts| Spot { hosts, ..spot.clone() }).chain([spot.clone()]).collect();
        for spot in &spots {
            if let Some(disguises) = disguises {
                let mut route = self.begin(spot, &Path::Regex(disguises.to_owned()), "//");
                let place = &server.directive.place;
                route.table.comment(format!(
                    "{place}: nginx merges slashes and decodes %2F, so that `//admin` and `/%2Fadmin` are refused as `/admin` is"
                ));
                route.table.set(&["respond"], Value::table([("status", 400.into())]), None);
                self.push(route, None, server.directive);
            }
            for (regex, action) in &outer.paths {
                let mut route = self.begin(spot, &Path::Regex(regex.clone()), regex);
                action.write(&mut route.table);
                self.push(route, None, server.directive);
            }
        }
        if let Some(disguises) = disguises {
            let note = match disguises.ends_with('%') {
                true => {
                    "it has locations that protect: paths with `//`, which nginx merges, and with any escape, such as `%20`, get \
                     400: an expression may be found in the escape, or in what nginx makes of it"
                }
                false => {
                    "it has locations that protect: paths with `//`, which nginx merges, and with `%2F` and its like, which it \
                     decodes, get 400"
                }
            };
            self.draft.report.add(Outcome::Approximated, &server.directive.place, &server.directive.text(), note);
        }
    }

    /// `/a/` takes `/a` as well where it is passed on: nginx answers with a redirect there.
    fn loosened(&mut self, one: &Location<'a>, path: Path, choice: &Choice<'_, 'a>) -> Path {
        let Some(folder) = one.text.strip_suffix('/').filter(|folder| !folder.is_empty()) else { return path };
        let passes = one.scope.own().iter().find(|pass| pass.name == "proxy_pass");
        let taken = choice.choose(folder).is_some_and(|other| other.kind != Kind::Prefix || other.text == folder);
        let Some(pass) = passes.filter(|_| !taken && one.kind != Kind::Exact && one.kind != Kind::Regex) else {
            return path;
        };
        // The edit of the path would not fit.
        if upstream::target(pass, &self.constants).is_ok_and(|to| to.uri.is_some_and(|uri| !uri.ends_with('/'))) {
            return path;
        }
        let note = format!("`{folder}` itself goes there as well, where nginx redirects to `{folder}/`");
        self.draft.report.add(Outcome::Approximated, &one.directive.place, &one.directive.text(), note);
        match path {
            Path::Regex(_) => Path::Regex(format!("^{}(?:/|$)", ::regex::escape(folder))),
            _ => Path::Below(folder.to_owned()),
        }
    }

    /// What no location takes: nginx looks for a file.
    fn rest(&mut self, server: &Server<'a>, spot: &Spot<'_>, outer: &Flow<'a>) {
        let all = Location::whole(server.directive, &server.scope);
        self.route(outer, Flow::default(), &all, Path::All, server, spot, false);
    }

    fn begin(&mut self, spot: &Spot<'_>, path: &Path, label: &str) -> Draft {
        let name = self.draft.route_names.fresh(&format!("{}{label}", spot.label));
        let mut table = Table::element("route");
        table.set(&["name"], name.as_str(), None);
        if !spot.everywhere {
            table.set(&["listener"], Value::words(spot.doors.iter().map(|door| door.name.as_str())), None);
        }
        if !spot.hosts.is_empty() {
            table.set(&["host"], Value::words(spot.hosts.iter().map(String::as_str)), None);
        }
        match path {
            // Any but that of CONNECT.
            Path::All if self.ordered => table.set(&["path"], Value::table([("regex", "^".into())]), None),
            Path::Exact(path) if self.ordered => {
                let regex = format!("^{}$", ::regex::escape(path));
                table.set(&["path"], Value::table([("regex", regex.into())]), None);
            }
            Path::All => {}
            Path::Exact(path) => table.set(&["path"], path.as_str(), None),
            Path::Below(path) => table.set(&["path"], format!("{path}/*"), None),
            Path::Prefix(path) => table.set(&["path"], Value::table([("prefix", path.as_str().into())]), None),
            Path::Regex(regex) => table.set(&["path"], Value::table([("regex", regex.as_str().into())]), None),
        }
        Draft { table, end: End::Open, name, hosted: false }
    }

    /// Adds `route`, which is from `from`.
    fn push(&mut self, route: Draft, url: Option<String>, from: &Directive) {
        // Who may come in is not what its test is about.
        let guarded = ["allow", "deny", "auth"].iter().any(|key| route.table.value(&[key]).is_some());
        let end = if guarded { End::Open } else { route.end };
        let added = self.draft.add(route.table, (&from.place, &from.text()));
        if let Some(url) = url.filter(|_| added) {
            self.draft.expect(&Expected { url, route: route.name, end });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "what a route is made of, each from elsewhere")]
    fn route(
        &mut self,
        outer: &Flow<'a>,
        inner: Flow<'a>,
        one: &Location<'a>,
        path: Path,
        server: &Server<'a>,
        spot: &Spot<'_>,
        own: bool,
    ) {
        if !self.draft.has_room() {
            let doors = spot.doors.iter().filter(|_| !spot.everywhere).map(|door| door.name.clone());
            let from = (&one.directive.place, &*one.directive.text());
            return self.draft.lose(doors.collect(), spot.hosts.clone(), from);
        }
        let label = match one.kind {
            Kind::Regex => format!("~{}", one.directive.words.last().map_or("", String::as_str)),
            Kind::Exact => format!("={}", one.text),
            _ if own => one.text.clone(),
            _ => String::new(),
        };
        let mut main = self.begin(spot, &path, &label);
        main.table.comment(format!("{} {}", one.directive.place, one.directive.text()));
        if !one.directive.is_told() {
            one.directive.converted(&mut self.draft.report);
        }
        let mut guarded = self.guarded(&mut main, outer, &inner, spot);
        // What an `if` does comes before what is done behind it.
        let end = guarded.always.take().or_else(|| outer.end.clone()).or_else(|| inner.end.clone());
        for route in std::mem::take(&mut guarded.before) {
            self.push(route, None, one.directive);
        }
        self.fill(&mut main, end, &inner, one, server, path == Path::All && !own);
        self.unsaid(&mut main, &guarded);
        if let Some(closing) = outer.closed.or(inner.closed).or(inner.jumps.first().copied()) {
            self.shut(&mut main.table, &mut main.end, closing, "it protects, and cannot be converted");
        }
        self.bodies.push((
            self.draft.routes.len(),
            spot.doors.iter().map(|door| door.name.clone()).collect(),
            body(&one.scope),
        ));
        let sampled = match own {
            true => self.samples.get(&std::ptr::from_ref(one.directive)).cloned(),
            false => text_of_rest(&self.server_locations),
        };
        // The same expression may stand before other places as well.
        let certain = guarded.certain && (one.kind != Kind::Regex || path == Path::Regex(one.text.clone()));
        let url = sampled.filter(|_| certain).and_then(|path| url(&guarded.doors, spot, &path));
        self.push(main, url, one.directive);
        for route in guarded.after {
            self.push(route, None, one.directive);
        }
    }

    /// What becomes of requests for `route`.
    fn fill(
        &mut self,
        route: &mut Draft,
        end: Option<Action>,
        inner: &Flow<'a>,
        one: &Location<'a>,
        server: &Server<'a>,
        rest: bool,
    ) {
        let scope = &one.scope;
        if let Some(internal) = scope.last("internal") {
            internal.converted(&mut self.draft.report);
            respond(route, 404, "", None);
        } else if let Some(action) = &end {
            // `return` comes before all checks of nginx.
            action.write(&mut route.table);
            route.end = End::Status(action.status);
        } else {
            self.passed(route, inner, one, server, rest);
            let constants = self.constants.clone();
            self.guard(&mut route.table, &mut route.end, scope, &constants);
            self.limits(&mut route.table, scope);
            if let Some(named) = pass::named(one, &self.server_locations).cloned() {
                self.guarded_too(route, one, &named);
            }
        }
        self.response_headers(&mut route.table, scope, &server.name);
        if let Some(log) = scope.last("access_log").filter(|log| log.word(0) == "off") {
            route.table.set(&["access"], "off", Some(&log.place));
            log.converted(&mut self.draft.report);
        }
    }
}

/// Bytes of a body that nginx takes; `None`: any number.
fn body(scope: &Scope<'_>) -> Option<u64> {
    let written = scope.last("client_max_body_size").and_then(|one| text::read_size(one.word(0)));
    Some(written.unwrap_or(1 << 20)).filter(|size| *size > 0)
}

/// A path that no location takes.
fn text_of_rest(locations: &[Location<'_>]) -> Option<String> {
    let tries = ["/", "/x-none-of-them", "/import.test"];
    let choice = Choice::new(locations);
    tries.iter().find(|path| choice.choose(path).is_none()).map(|&path| path.to_owned())
}

/// Of what comes by the first of `doors` that lets somebody in.
fn url(doors: &[&Door], spot: &Spot<'_>, path: &str) -> Option<String> {
    let door = doors.iter().find(|door| !door.is_shut())?;
    let (scheme, usual) = if door.tls { ("https", 443) } else { ("http", 80) };
    let port = door.port.filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{}{port}{path}", spot.sample))
}
