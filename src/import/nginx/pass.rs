//! proxy_pass and its like: which pool a location leads to, and with what path; and what is answered where none is. Called by
//! `route`.

use std::time::Duration;

use super::{
    super::{draft::End, report::Outcome, text, toml::Value},
    Import, Server,
    flow::Flow,
    location::{Kind, Location},
    read::Directive,
    route::Draft,
    scope::Scope,
    upstream,
};

impl<'a> Import<'a> {
    /// To a pool; where nothing passes it on, the answer is our own.
    pub(super) fn passed(
        &mut self,
        route: &mut Draft,
        inner: &Flow<'a>,
        one: &Location<'a>,
        server: &Server<'a>,
        rest: bool,
    ) {
        let scope = self.fallen(one).map_or_else(|| one.scope.clone(), |named| named.scope);
        let pass = scope.own().iter().find(|inside| ["proxy_pass", "grpc_pass"].contains(&inside.name.as_str()));
        let Some(pass) = pass.filter(|_| !rest) else {
            return self.unpassed(route, &scope, rest);
        };
        let target = match upstream::target(pass, &self.constants) {
            Ok(target) => target,
            Err(why) => {
                pass.unsupported(&mut self.draft.report, format!("{why}: its requests get 503"));
                route.table.comment(format!("{} `{}` could not be followed", pass.place, pass.text()));
                return respond(route, 503, "not imported", Some(pass));
            }
        };
        if !self.lead(route, &target, &scope) {
            pass.unsupported(&mut self.draft.report, "there is no backend that can be called: its requests get 503");
            return respond(route, 503, "not imported", Some(pass));
        }
        pass.converted(&mut self.draft.report);
        self.rewritten(route, &target, inner, one);
        self.waits(route, &scope);
        self.mirrored(route, &scope);
        self.request_headers(route, &scope, &server.name);
    }

    /// The named location that a location comes to when there is no file.
    fn fallen(&mut self, one: &Location<'a>) -> Option<Location<'a>> {
        let found = named(one, &self.server_locations)?.clone();
        let (tried, name) = (one.scope.last("try_files")?, &found.text);
        tried.approximated(&mut self.draft.report, format!("no file is looked for: all requests go to {name}"));
        found.directive.converted(&mut self.draft.report);
        Some(found)
    }

    /// nginx serves files here, or nothing.
    fn unpassed(&mut self, route: &mut Draft, scope: &Scope<'a>, rest: bool) {
        let kinds = [
            "fastcgi_pass",
            "uwsgi_pass",
            "scgi_pass",
            "memcached_pass",
            "stub_status",
            "content_by_lua_block",
            "js_content",
        ];
        let other = scope.own().iter().find(|one| kinds.contains(&one.name.as_str()));
        let files = ["root", "alias", "try_files", "autoindex", "index"].iter().find_map(|name| scope.last(name));
        match (other, files) {
            (Some(other), _) if other.name == "stub_status" => {
                other.approximated(
                    &mut self.draft.report,
                    "the admin address has /metrics and /api/v1/status; here it is 404",
                );
                respond(route, 404, "", Some(other));
            }
            (Some(other), _) => {
                other.unsupported(&mut self.draft.report, "evenkeel speaks HTTP to backends: its requests get 501");
                respond(route, 501, "not imported", Some(other));
            }
            (None, Some(files)) if !rest || scope.has(&files.name) => {
                files.unsupported(&mut self.draft.report, "evenkeel serves no files: requests for them get 501");
                respond(route, 501, "files are not served here", Some(files));
            }
            _ => respond(route, 404, "", None),
        }
    }

    /// Names the pool, or the sides of split_clients.
    fn lead(&mut self, route: &mut Draft, target: &upstream::Target<'a>, scope: &Scope<'a>) -> bool {
        let Some(variable) = target.host.strip_prefix('$') else {
            let Some(pool) = self.pool(target, scope) else { return false };
            route.table.set(&["pool"], pool.as_str(), Some(&target.directive.place));
            route.end = End::Pool(pool);
            return true;
        };
        let Some(split) = self.splits.get(variable).copied() else { return false };
        let mut left = 1_000_000u64;
        let mut sides: Vec<(String, u64)> = Vec::new();
        for side in split.inside() {
            let weight = match side.name.strip_suffix('%').and_then(|share| share.parse::<f64>().ok()) {
                Some(share) => (share.clamp(0.0, 100.0) * 10_000.0).round() as u64,
                None => left,
            };
            left = left.saturating_sub(weight);
            let Some(pool) = self.pool(&upstream::Target { host: side.word(0).to_owned(), ..target.clone() }, scope)
            else {
                return false;
            };
            match sides.iter_mut().find(|(name, _)| *name == pool) {
                Some(known) => known.1 += weight,
                None => sides.push((pool, weight)),
            }
            side.converted(&mut self.draft.report);
        }
        let common = sides.iter().fold(0, |common, (_, weight)| divisor(common, *weight));
        if common == 0 {
            return false;
        }
        let table = |(pool, weight): &(String, u64)| {
            Value::table([("pool", pool.as_str().into()), ("weight", (weight / common).into())])
        };
        route.table.set(&["split"], Value::List(sides.iter().map(table).collect()), Some(&split.place));
        if split.word(0).contains("remote_addr") {
            route.table.set(&["split_by"], "client_ip", Some(&split.place));
            split.approximated(&mut self.draft.report, "clients are shared out anew: the hash is another one");
        } else {
            split.approximated(&mut self.draft.report, "by chance; split_by keeps a user on one side");
        }
        true
    }

    /// The path that backends see.
    fn rewritten(&mut self, route: &mut Draft, target: &upstream::Target<'a>, inner: &Flow<'a>, one: &Location<'a>) {
        let place = Some(&target.directive.place);
        if let Some((regex, replacement, place)) = &inner.rewrite {
            route.table.set(&["rewrite", "regex"], regex.as_str(), Some(place));
            route.table.set(&["rewrite", "replacement"], replacement.as_str(), None);
            return;
        }
        let Some(uri) = &target.uri else { return };
        if one.kind == Kind::Regex || uri.contains('?') || !text::is_path(uri) {
            let note = format!("the path is sent as it came: `{uri}` cannot be put in its place");
            self.draft.report.add(Outcome::Approximated, &target.directive.place, &target.directive.text(), note);
            return;
        }
        // Whole segments on both sides: prefixes say it more clearly.
        match (one.text.strip_suffix('/'), uri.strip_suffix('/')) {
            (Some(from), Some(to)) if one.kind != Kind::Exact => {
                if from == to {
                    return;
                }
                if !from.is_empty() {
                    route.table.set(&["rewrite", "strip_prefix"], from, place);
                }
                if !to.is_empty() {
                    route.table.set(&["rewrite", "add_prefix"], to, place);
                }
            }
            _ => {
                let end = if one.kind == Kind::Exact { "$" } else { "" };
                route.table.set(&["rewrite", "regex"], format!("^{}{end}", ::regex::escape(&one.text)), place);
                route.table.set(&["rewrite", "replacement"], uri.replace('$', "$$"), None);
            }
        }
    }

    /// nginx bounds the wait for each backend, ours all of them as well.
    fn waits(&mut self, route: &mut Draft, scope: &Scope<'a>) {
        let read = scope.last("proxy_read_timeout").or_else(|| scope.last("grpc_read_timeout"));
        let time = read.and_then(|read| text::read_time(read.word(0), Duration::from_secs(1)));
        if let Some(time) = time.filter(|time| *time > Duration::from_secs(60)) {
            route.table.set(&["timeout"], text::time(time), read.map(|read| &read.place));
        }
    }

    fn mirrored(&mut self, route: &mut Draft, scope: &Scope<'a>) {
        let Some(mirror) = scope.last("mirror").filter(|mirror| mirror.word(0) != "off") else { return };
        let found = self.server_locations.iter().find(|one| one.text == mirror.word(0)).cloned();
        let pass = found.as_ref().and_then(|found| found.scope.own().iter().find(|one| one.name == "proxy_pass"));
        let pool = match (pass, &found) {
            (Some(pass), Some(found)) => {
                let target = upstream::target(pass, &self.constants).ok();
                let pool = target.and_then(|target| self.pool(&target, &found.scope));
                if pool.is_some() {
                    pass.converted(&mut self.draft.report);
                }
                pool
            }
            _ => None,
        };
        match pool.filter(|pool| route.end != End::Pool(pool.clone())) {
            Some(pool) => {
                route.table.set(&["mirror"], Value::table([("pool", pool.into())]), Some(&mirror.place));
                mirror.approximated(
                    &mut self.draft.report,
                    "with the path of the original; a body above retry.buffer is not copied",
                );
            }
            None => mirror.unsupported(&mut self.draft.report, "it leads to no other pool"),
        }
        if let Some(one) = scope.last("mirror_request_body") {
            one.approximated(&mut self.draft.report, "copies have their body, up to retry.buffer");
        }
    }
}

/// The one of `all` that `one` comes to when there is no file.
pub(super) fn named<'l, 'a>(one: &Location<'_>, all: &'l [Location<'a>]) -> Option<&'l Location<'a>> {
    if one.scope.has("proxy_pass") || one.scope.has("grpc_pass") {
        return None;
    }
    let name = one.scope.last("try_files")?.words.last().filter(|name| name.starts_with('@'))?;
    all.iter().find(|other| other.kind == Kind::Named && other.text == **name)
}

/// The answer is our own.
pub(super) fn respond(route: &mut Draft, status: u64, body: &str, from: Option<&Directive>) {
    let mut pairs = vec![("status".to_owned(), status.into())];
    if !body.is_empty() {
        pairs.push(("body".to_owned(), body.into()));
    }
    route.table.set(&["respond"], Value::Table(pairs), from.map(|one| &one.place));
    route.end = End::Status(status);
}

/// The idiom that lets WebSockets pass.
pub(super) fn upgrades<'a>(scope: &Scope<'a>) -> Option<&'a Directive> {
    scope.all("proxy_set_header").into_iter().find(|one| one.word(0).eq_ignore_ascii_case("upgrade"))
}

fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}
