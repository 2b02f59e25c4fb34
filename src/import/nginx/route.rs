//! Servers and locations: routes. Called by `nginx::import`, once for each server and kind of listener that it is behind.

use super::{
    super::{
        draft::{End, Expected},
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Server,
    condition::{Condition, Test},
    flow::{Action, Flow},
    listen::Door,
    location::{self, Kind, Location, Path},
    pass::respond,
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
    name: String,
}

impl<'a> Import<'a> {
    /// Writes all routes of `server` at `spot`.
    pub(super) fn routes(&mut self, server: &Server<'a>, spot: &Spot<'_>) {
        self.constants = Constants::new();
        self.server_locations = location::all(&server.scope);
        let mut outer = self.flow(&server.scope, &server.name);
        let constants = self.constants.clone();
        let locations = self.readable(&mut outer);
        if outer.end.is_some() {
            let all = Location {
                kind: Kind::Prefix,
                text: "/".to_owned(),
                directive: server.directive,
                scope: server.scope.clone(),
                nested: false,
            };
            for one in &locations {
                one.directive
                    .unsupported(&mut self.draft.report, "the server answers before it looks at its locations");
            }
            self.route(&outer, Flow::default(), &all, Path::All, server, spot, false);
            return;
        }
        let shields = locations.iter().any(|one| shields(one));
        let ordered = shields || !outer.paths.is_empty() || locations.iter().any(|one| one.kind == Kind::Regex);
        self.firsts(
            server,
            spot,
            &outer,
            shields && locations.iter().any(|one| one.kind != Kind::Regex && shields_path(one)),
        );
        let stops: Vec<_> = locations.iter().filter(|one| one.kind == Kind::Stop).collect();
        for one in locations.iter().filter(|one| one.kind == Kind::Prefix && ordered) {
            if stops.iter().any(|stop| one.text.starts_with(&stop.text) && one.text != stop.text) {
                let note = "a `^~` prefix that it begins with takes its requests: write it with `^~` as well";
                self.draft.report.add(Outcome::Approximated, &one.directive.place, &one.directive.text(), note);
            }
        }
        let mut whole = false;
        for (one, path) in location::order(&locations, ordered) {
            whole |= path == Path::All;
            self.constants = constants.clone();
            let inner = self.flow(&one.scope, &server.name);
            let path = self.loosened(one, path, &locations);
            let one = one.clone();
            self.route(&outer, inner, &one, path, server, spot, true);
        }
        if !whole {
            self.rest(server, spot, &outer);
        }
    }

    /// The locations that can be asked for; what cannot and protects closes the server.
    fn readable(&mut self, outer: &mut Flow<'a>) -> Vec<Location<'a>> {
        let mut locations = self.server_locations.clone();
        let report = &mut self.draft.report;
        locations.retain(|one| {
            let fine = match one.kind {
                Kind::Named => true,
                Kind::Regex => text::is_regex(&one.text),
                _ => text::is_path(&one.text),
            };
            if fine {
                return true;
            }
            let what = if one.kind == Kind::Regex {
                "ours have no lookaround and no references back"
            } else {
                "it is not a path as it is sent"
            };
            if shields(one) {
                let note = format!("{what}, and it protects: all of its server gets 503 until you decide");
                one.directive.tell(report, Outcome::Closed, note);
                outer.closed = Some(one.directive);
            } else {
                one.directive.unsupported(report, format!("{what}: its requests go to another location"));
            }
            false
        });
        // An expression within another one, or of two exact ones the second, is still there.
        let mut seen = Vec::new();
        locations.retain(|one| {
            let key = (one.kind == Kind::Exact, one.kind == Kind::Regex, one.text.clone());
            let fresh = one.kind == Kind::Regex || one.kind == Kind::Named || !seen.contains(&key);
            seen.push(key);
            fresh
        });
        locations
    }

    /// Routes before all others: for paths that nginx would have merged, and for rewrites of the server.
    fn firsts(&mut self, server: &Server<'a>, spot: &Spot<'_>, outer: &Flow<'a>, slashes: bool) {
        if slashes {
            let mut route = self.begin(spot, &Path::Regex("//".to_owned()), "//");
            route.table.comment(format!(
                "{}: nginx merges slashes, so that `//admin` is refused as `/admin` is",
                server.directive.place
            ));
            route.table.set(&["respond"], Value::table([("status", 400.into())]), None);
            let note = "it has locations that protect: paths with `//`, which nginx merges, get 400";
            self.draft.report.add(Outcome::Approximated, &server.directive.place, &server.directive.text(), note);
            self.push(route, None);
        }
        for (regex, action) in &outer.paths {
            let mut route = self.begin(spot, &Path::Regex(regex.clone()), regex);
            action.write(&mut route.table);
            self.push(route, None);
        }
    }

    /// `/a/` takes `/a` as well where it is passed on: nginx answers with a redirect there.
    fn loosened(&mut self, one: &Location<'a>, path: Path, locations: &[Location<'a>]) -> Path {
        let Some(folder) = one.text.strip_suffix('/').filter(|folder| !folder.is_empty()) else { return path };
        let passes = one.scope.own().iter().find(|pass| pass.name == "proxy_pass");
        let taken =
            location::choose(locations, folder).is_some_and(|other| other.kind != Kind::Prefix || other.text == folder);
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
        let all = Location {
            kind: Kind::Prefix,
            text: "/".to_owned(),
            directive: server.directive,
            scope: server.scope.clone(),
            nested: false,
        };
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
            Path::All => {}
            Path::Exact(path) => table.set(&["path"], path.as_str(), None),
            Path::Below(path) => table.set(&["path"], format!("{path}/*"), None),
            Path::Prefix(path) => table.set(&["path"], Value::table([("prefix", path.as_str().into())]), None),
            Path::Regex(regex) => table.set(&["path"], Value::table([("regex", regex.as_str().into())]), None),
        }
        Draft { table, end: End::Open, name }
    }

    fn push(&mut self, route: Draft, url: Option<String>) {
        if !self.draft.has_room() {
            return;
        }
        // Who may come in is not what its test is about.
        let guarded = ["allow", "deny", "auth"].iter().any(|key| route.table.value(&[key]).is_some());
        let end = if guarded { End::Open } else { route.end };
        self.draft.routes.push(route.table);
        if let Some(url) = url {
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
        let guards: Vec<_> = outer.guards.iter().chain(&inner.guards).cloned().collect();
        let mut end = outer.end.clone().or_else(|| inner.end.clone());
        let mut after = Vec::new();
        let mut certain = true;
        for (condition, action) in guards {
            certain &= matches!(&condition.test, Test::Key(key, _) if key == &["method"])
                && condition.negated == is_get(&condition);
            match self.branches(&mut main, &condition, &action, spot) {
                Branch::Before(route) => self.push(route, None),
                Branch::After(route) => after.push(route),
                Branch::Always => end = end.or(Some(action)),
                Branch::Never => {}
            }
        }
        self.fill(&mut main, end, &inner, one, server, path == Path::All && !own);
        if let Some(closing) = outer.closed.or(inner.closed) {
            self.shut(&mut main.table, &mut main.end, closing, "it protects, and cannot be converted");
        }
        self.bodies.push((
            self.draft.routes.len(),
            spot.doors.iter().map(|door| door.name.clone()).collect(),
            body(&one.scope),
        ));
        let sampled = match own {
            true => location::sample(&self.server_locations, one),
            false => text_of_rest(&self.server_locations),
        };
        let url = sampled.filter(|_| certain).map(|path| url(spot, &path));
        self.push(main, url);
        for route in after.into_iter().rev() {
            self.push(route, None);
        }
    }

    /// One `if`, at `main`.
    fn branches(&mut self, main: &mut Draft, condition: &Condition, action: &Action, spot: &Spot<'_>) -> Branch {
        let mut other = Draft {
            table: main.table.clone(),
            end: End::Status(action.status),
            name: self.draft.route_names.fresh(&format!("{} if", main.name)),
        };
        other.table.set(&["name"], other.name.as_str(), None);
        action.write(&mut other.table);
        match &condition.test {
            Test::Tls(tls) => {
                let wanted = *tls != condition.negated;
                let doors: Vec<_> =
                    spot.doors.iter().filter(|door| door.tls == wanted).map(|door| door.name.as_str()).collect();
                match doors.len() {
                    0 => return Branch::Never,
                    count if count == spot.doors.len() => return Branch::Always,
                    _ => other.table.set(&["listener"], Value::words(doors), None),
                }
                Branch::Before(other)
            }
            Test::Host(host) => {
                let possible = spot.hosts.is_empty() || spot.hosts.contains(host);
                match (possible, condition.negated) {
                    (false, negated) => {
                        if negated {
                            Branch::Always
                        } else {
                            Branch::Never
                        }
                    }
                    (true, false) => {
                        other.table.set(&["host"], host.as_str(), None);
                        Branch::Before(other)
                    }
                    (true, true) => {
                        main.table.set(&["host"], host.as_str(), None);
                        Branch::After(other)
                    }
                }
            }
            Test::Key(key, value) => {
                let key: Vec<_> = key.iter().map(String::as_str).collect();
                let table = if condition.negated { &mut main.table } else { &mut other.table };
                // Of one name there is one predicate.
                if table.value(&key).is_some() {
                    let end = &mut main.end;
                    super::super::draft::close(&mut main.table, &self.nowhere, "if");
                    *end = End::Status(503);
                    return Branch::Never;
                }
                table.set(&key, value.clone(), None);
                if condition.negated { Branch::After(other) } else { Branch::Before(other) }
            }
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
        if let Some(internal) = scope.own().iter().find(|inside| inside.name == "internal") {
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
        }
        self.response_headers(&mut route.table, scope, &server.name);
        if let Some(log) = scope.last("access_log").filter(|log| log.word(0) == "off") {
            route.table.set(&["access"], "off", Some(&log.place));
            log.converted(&mut self.draft.report);
        }
    }
}

/// Where an `if` leads.
enum Branch {
    /// A route that goes first.
    Before(Draft),
    /// One for those that the main route does not take.
    After(Draft),
    Always,
    Never,
}

/// Bytes of a body that nginx takes; `None`: any number.
fn body(scope: &Scope<'_>) -> Option<u64> {
    let written = scope.last("client_max_body_size").and_then(|one| text::read_size(one.word(0)));
    Some(written.unwrap_or(1 << 20)).filter(|size| *size > 0)
}

/// It refuses somebody.
fn shields(one: &Location<'_>) -> bool {
    let refuses =
        |inside: &Directive| inside.name == "return" && inside.word(0).parse::<u64>().is_ok_and(|status| status >= 400);
    one.scope
        .own()
        .iter()
        .any(|inside| super::known::protects(&inside.name) && inside.word(0) != "off" || refuses(inside))
}

/// Another spelling of its path would lead elsewhere.
fn shields_path(one: &Location<'_>) -> bool {
    shields(one) && one.text != "/" && one.kind != Kind::Named
}

fn is_get(condition: &Condition) -> bool {
    match &condition.test {
        Test::Key(_, Value::Text(method)) => method == "GET",
        Test::Key(_, Value::List(methods)) => methods.contains(&"GET".into()),
        _ => false,
    }
}

/// A path that no location takes.
fn text_of_rest(locations: &[Location<'_>]) -> Option<String> {
    let tries = ["/", "/x-none-of-them", "/import.test"];
    tries.iter().find(|path| location::choose(locations, path).is_none()).map(|&path| path.to_owned())
}

fn url(spot: &Spot<'_>, path: &str) -> String {
    let door = spot.doors.first();
    let (scheme, usual) = if door.is_some_and(|door| door.tls) { ("https", 443) } else { ("http", 80) };
    let port = door.and_then(|door| door.port).filter(|port| *port != usual);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{}{port}{path}", spot.sample)
}
