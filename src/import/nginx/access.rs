//! Who may come in: allow and deny, auth_basic, auth_request, and what cannot be converted and therefore closes a route.
//! Called by `route`.

use super::{
    super::{
        draft::End,
        report::{Outcome, Place},
        text,
        toml::{Table, Value},
    },
    Import, gates,
    location::{Kind, Location},
    read::Directive,
    route::Draft,
    scope::Scope,
    variables::{self, Constants},
};

/// What the rules of a place come to.
pub(super) enum Access {
    Open,
    /// Who is in none of `allow`, if there are any, or in one of `deny` is refused.
    Rules {
        allow: Vec<String>,
        deny: Vec<String>,
    },
    /// Nobody may.
    Nobody,
}

/// Whom a `set_real_ip_from` believes; `None`: neither an address nor a network.
pub(super) fn peer(from: &Directive) -> Option<String> {
    match from.word(0) {
        "unix:" => Some("unix".to_owned()),
        whom => text::network(whom),
    }
}

impl<'a> Import<'a> {
    /// Writes into `route` who may use it; `true`: the answer is 403 whoever asks.
    pub(super) fn guard(&mut self, route: &mut Table, end: &mut End, scope: &Scope<'a>, constants: &Constants) {
        self.satisfy(scope);
        self.networks(route, end, scope);
        let basic = self.basic(route, end, scope, constants);
        self.auth_request(route, end, scope, basic);
        // What has been converted above, wherever it stands.
        let done = ["allow", "deny", "auth_basic", "auth_basic_user_file", "auth_request", "internal"];
        for (_, directive) in scope.gates().iter().filter(|(_, one)| !done.contains(&one.name.as_str())) {
            let why = match directive.name.as_str() {
                "include" => "the file is not there, and may have protected something",
                _ => "there is nothing like it that could be written",
            };
            if directive.word(0) != "off" {
                self.shut(route, end, directive, why);
            }
        }
    }

    /// As `guard` and `limits`, of the location `named` that `one` comes to: nginx asks at both.
    pub(super) fn guarded_too(&mut self, route: &mut Draft, one: &Location<'a>, named: &Location<'a>) {
        let Draft { table, end, .. } = route;
        let [outer, inner] = [one, named].map(gates::own);
        if !inner.is_subset(&outer) {
            let taken = ["allow", "deny", "auth"].iter().any(|key| table.value(&[key]).is_some());
            match taken {
                true => {
                    self.shut(table, end, named.directive, "it protects, and so does the location that comes to it");
                }
                false if table.value(&["respond"]).is_some() => {}
                false => {
                    let constants = self.constants.clone();
                    self.guard(table, end, &named.scope, &constants);
                }
            }
        }
        if ["rate_limit", "in_flight_limit"].iter().all(|key| table.value(&[key]).is_none()) {
            self.limits(table, &named.scope);
        }
    }

    /// Closes `route`, once for all that closes it.
    pub(super) fn shut(&mut self, route: &mut Table, end: &mut End, directive: &Directive, why: &str) {
        directive.tell(
            &mut self.draft.report,
            Outcome::Closed,
            format!("{why}; its requests get 503 until you decide"),
        );
        super::super::draft::close(route, &directive.place, &directive.text());
        *end = End::Status(503);
    }

    fn satisfy(&mut self, scope: &Scope<'a>) {
        if let Some(satisfy) = scope.last("satisfy") {
            match satisfy.word(0) {
                "any" => satisfy.approximated(&mut self.draft.report, "both are asked for: address and credentials"),
                _ => satisfy.converted(&mut self.draft.report),
            }
        }
    }

    fn networks(&mut self, route: &mut Table, end: &mut End, scope: &Scope<'a>) {
        let rules = scope.any(&["allow", "deny"]);
        let (access, exact) = access(&rules);
        for rule in &rules {
            let known = rule.word(0) == "all" || text::network(rule.word(0)).is_some();
            match (known, exact) {
                (true, true) => rule.converted(&mut self.draft.report),
                (true, false) => rule.approximated(
                    &mut self.draft.report,
                    "deny wins over allow here, so that some who were let in are refused",
                ),
                (false, _) if rule.name == "deny" => {
                    let rule = *rule;
                    self.shut(route, end, rule, "this address cannot be matched");
                }
                (false, _) => rule.unsupported(&mut self.draft.report, "this address cannot be matched; it stays out"),
            }
        }
        let place = rules.first().map(|rule| rule.place.clone());
        match access {
            Access::Open => {}
            Access::Rules { .. } if !self.knows_clients(scope) => {
                if let Some(rule) = rules.first().copied() {
                    let note = "who is believed to say the client's address, or in which header, is not the same here";
                    self.shut(route, end, rule, note);
                }
            }
            Access::Nobody => {
                super::super::draft::close(route, place.as_ref().unwrap_or(&self.nowhere), "deny all");
                route.forget("CLOSED");
                route.set(&["respond"], Value::table([("status", 403.into())]), place.as_ref());
                *end = End::Status(403);
            }
            Access::Rules { allow, deny } => {
                for (key, list) in [("allow", allow), ("deny", deny)] {
                    if !list.is_empty() {
                        route.set(&[key], Value::words(list), place.as_ref());
                    }
                }
            }
        }
    }

    /// What nginx takes for the client's address at `scope` is what ours does: of all servers the same peers are believed, and
    /// by X-Forwarded-For.
    pub(super) fn knows_clients(&self, scope: &Scope<'a>) -> bool {
        let peers: Option<Vec<_>> = scope.all("set_real_ip_from").into_iter().map(peer).collect();
        let Some(mut peers) = peers else { return false };
        peers.sort();
        peers.dedup();
        let header = scope.last("real_ip_header").map_or("x-real-ip", |one| one.word(0)).to_ascii_lowercase();
        peers == self.trusted && (peers.is_empty() || ["x-forwarded-for", "proxy_protocol"].contains(&&*header))
    }

    /// auth_basic; the place of what is in force.
    fn basic(
        &mut self,
        route: &mut Table,
        end: &mut End,
        scope: &Scope<'a>,
        constants: &Constants,
    ) -> Option<&'a Directive> {
        let basic = scope.last("auth_basic")?;
        let file = scope.last("auth_basic_user_file");
        if basic.word(0) == "off" {
            basic.converted(&mut self.draft.report);
            return None;
        }
        let path = file.map(|file| variables::expand(file.word(0), constants));
        let (Some(file), Some(path)) = (file, path.filter(|path| !path.contains('$'))) else {
            self.shut(route, end, basic, "no file of users can be named");
            return None;
        };
        basic.converted(&mut self.draft.report);
        file.approximated(
            &mut self.draft.report,
            "its lines must have bcrypt (htpasswd -B) or argon2; others are refused by check",
        );
        let mut auth = Table::new(&["auth", "x"]);
        auth.set(&["type"], "basic", Some(&basic.place));
        auth.set(&["users"], Value::table([("file", self.path(&path).into())]), Some(&file.place));
        if !basic.word(0).is_empty() && !basic.word(0).contains('$') {
            auth.set(&["realm"], basic.word(0), None);
        }
        let name = self.auth("basic", &auth);
        route.set(&["auth"], name, Some(&basic.place));
        Some(basic)
    }

    fn auth_request(&mut self, route: &mut Table, end: &mut End, scope: &Scope<'a>, basic: Option<&'a Directive>) {
        let Some(request) = scope.last("auth_request").filter(|one| one.word(0) != "off") else {
            if let Some(off) = scope.last("auth_request") {
                off.converted(&mut self.draft.report);
            }
            return;
        };
        if basic.is_some() {
            self.shut(route, end, request, "a route has one way in, and auth_basic is one already");
            return;
        }
        let Some((url, note)) = self.auth_url(request.word(0)) else {
            self.shut(route, end, request, "the location that it asks leads to no backend that a URL can name");
            return;
        };
        let copied = self.copied(scope);
        let mut auth = Table::new(&["auth", "x"]);
        auth.set(&["type"], "forward", Some(&request.place));
        auth.set(&["url"], url, None);
        if !copied.is_empty() {
            auth.set(&["copy_headers"], Value::words(copied), None);
        }
        let name = self.auth("forward", &auth);
        route.set(&["auth"], name, Some(&request.place));
        request.approximated(
            &mut self.draft.report,
            format!(
                "the service is asked with X-Forwarded-Method and -Uri, and its 3xx and 4xx go to the client{note}"
            ),
        );
    }

    /// The URL of the location `uri`, which passes requests on to somebody.
    fn auth_url(&mut self, uri: &str) -> Option<(String, &'static str)> {
        let location = self.server_locations.iter().find(|one| one.kind == Kind::Exact && one.text == uri);
        let location: Location<'a> = location
            .or_else(|| self.server_locations.iter().find(|one| one.kind != Kind::Named && one.text == uri))?
            .clone();
        let pass = location.scope.own().iter().find(|one| one.name == "proxy_pass")?;
        let url = variables::expand(pass.word(0), &self.constants);
        let (scheme, rest) = url.split_once("://")?;
        let cut = rest.find(['/', '$']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(cut);
        if host.contains('$') || host.starts_with("unix:") {
            return None;
        }
        let path = if path.is_empty() || path.starts_with('$') { uri } else { path };
        if path.contains('$') {
            return None;
        }
        let default = if scheme == "https" { 443 } else { 80 };
        let (address, note) = match self.upstreams.get(host) {
            Some(upstream) => {
                let servers: Vec<_> = upstream.inside().iter().filter(|one| one.name == "server").collect();
                let note = if servers.len() > 1 { "; of its upstream the first server alone is asked" } else { "" };
                (text::backend(servers.first()?.word(0), 80)?, note)
            }
            None => (text::backend(host, default)?, ""),
        };
        if let Some(upstream) = self.upstreams.get(host) {
            let servers = upstream.inside().iter().filter(|one| one.name == "server").take(1);
            servers.chain([*upstream]).for_each(|one| one.converted(&mut self.draft.report));
        }
        location.directive.converted(&mut self.draft.report);
        for one in location.scope.own() {
            let ours =
                ["internal", "proxy_pass", "proxy_pass_request_body", "proxy_set_header"].contains(&one.name.as_str());
            if ours && !one.is_told() {
                one.converted(&mut self.draft.report);
            }
        }
        Some((format!("{scheme}://{address}{path}"), note))
    }

    /// Fields of the service's answer that backends get: auth_request_set and proxy_set_header together.
    fn copied(&mut self, scope: &Scope<'a>) -> Vec<String> {
        let mut copied = Vec::new();
        for set in scope.all("auth_request_set") {
            let name = set.word(0);
            let field = set.word(1).strip_prefix("$upstream_http_").map(|field| field.replace('_', "-"));
            let used = scope.all("proxy_set_header").into_iter().find(|one| one.word(1) == name);
            match (field, used) {
                (Some(field), Some(used)) if used.word(0).eq_ignore_ascii_case(&field) && !text::is_ours(&field) => {
                    set.converted(&mut self.draft.report);
                    used.converted(&mut self.draft.report);
                    copied.push(field);
                }
                _ => set.unsupported(
                    &mut self.draft.report,
                    "a field of the service's answer is copied under its own name alone",
                ),
            }
        }
        copied
    }

    /// The name of the way in that says what `auth` does.
    fn auth(&mut self, base: &str, auth: &Table) -> String {
        if let Some((name, _)) = self.auths.iter().find(|(_, known)| known.same(auth)) {
            return name.clone();
        }
        let name = self.auth_names.fresh(base);
        self.auths.push((name.clone(), auth.clone()));
        self.draft.auths.push(auth.renamed(&["auth", &name]));
        name
    }
}

/// What `rules`, of which the first that fits decides, come to where deny wins; and whether that is the same.
fn access(rules: &[&Directive]) -> (Access, bool) {
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    let mut exact = true;
    for rule in rules {
        let whom = rule.word(0);
        match (rule.name.as_str(), whom) {
            ("deny", "all") if allow.is_empty() => return (Access::Nobody, exact),
            ("deny", "all") => return (Access::Rules { allow, deny }, exact),
            ("allow", "all") => break,
            ("allow", whom) => allow.extend(text::network(whom)),
            (_, whom) => {
                let Some(network) = text::network(whom) else { continue };
                exact &= allow.iter().all(|known: &String| !overlap(known, &network));
                deny.push(network);
            }
        }
    }
    // Nobody else is refused: what was allowed on the way is in, like all others.
    (if deny.is_empty() { Access::Open } else { Access::Rules { allow: Vec::new(), deny } }, exact)
}

fn overlap(one: &str, other: &str) -> bool {
    match (text::net(one), text::net(other)) {
        (Some(one), Some(other)) => one.contains(&other) || other.contains(&one),
        _ => true,
    }
}

/// A place for what is said of the file as a whole.
pub(super) fn nowhere(file: &std::rc::Rc<str>) -> Place {
    Place { file: file.clone(), line: 1 }
}
