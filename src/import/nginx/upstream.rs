//! `upstream` and what proxy_pass names: pools. nginx has times, retries and TLS at the place that passes requests on, ours
//! at the pool; so an upstream that is used in two ways becomes two pools. Called by `route`.

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
    variables::{self, Constants},
};

/// Where proxy_pass leads.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    pub(super) tls: bool,
    pub(super) grpc: bool,
    /// An upstream, a host with or without port, `unix:/path`, or `$name` of split_clients.
    pub(super) host: String,
    /// What takes the place of what the location has matched.
    pub(super) uri: Option<String>,
    pub(super) directive: &'a Directive,
}

/// Reads `pass`; else why it cannot be followed.
pub(super) fn target<'a>(pass: &'a Directive, constants: &Constants) -> Result<Target<'a>, String> {
    let grpc = pass.name == "grpc_pass";
    let written = variables::expand(pass.word(0), constants);
    let (scheme, rest) = match written.split_once("://") {
        Some(split) => split,
        None if grpc => ("grpc", written.as_str()),
        None => return Err("nothing says where this leads".to_owned()),
    };
    let tls = match scheme {
        "http" | "grpc" => false,
        "https" | "grpcs" => true,
        _ => return Err(format!("`{scheme}` is not spoken to backends")),
    };
    let (host, uri) = match rest.strip_prefix("unix:") {
        Some(path) => match path.split_once(':') {
            Some((path, uri)) => (format!("unix:{path}"), uri.to_owned()),
            None => (rest.to_owned(), String::new()),
        },
        None => {
            let cut = rest.find('/').or_else(|| rest.find("${request_uri}").or_else(|| rest.find("${uri}")));
            let (host, uri) = rest.split_at(cut.unwrap_or(rest.len()));
            (host.to_owned(), uri.to_owned())
        }
    };
    let whole = ["${request_uri}", "${uri}", "${uri}${is_args}${args}", "/${request_uri}"];
    let varied = pass.word(0).contains('$');
    let uri = match uri.as_str() {
        "" => None,
        uri if whole.contains(&uri) => None,
        uri if uri.contains('$') => return Err(format!("`{uri}` is put together of variables")),
        uri if varied => return Err(format!("with a variable in front, `{uri}` is all of the path that is sent")),
        uri => Some(uri.to_owned()),
    };
    match host.strip_prefix("${").and_then(|name| name.strip_suffix('}')) {
        Some(name) => Ok(Target { tls, grpc, host: format!("${name}"), uri, directive: pass }),
        None if host.contains('$') => Err(format!("`{host}` is known at run time alone")),
        None => Ok(Target { tls, grpc, host, uri, directive: pass }),
    }
}

impl<'a> Import<'a> {
    /// The pool of `target` as `scope` uses it; `None`: it has no backend that can be called.
    pub(super) fn pool(&mut self, target: &Target<'a>, scope: &Scope<'a>) -> Option<String> {
        let mut pool = Table::new(&["pool", "x"]);
        let upstream = self.upstreams.get(target.host.as_str()).copied();
        match upstream {
            Some(upstream) => {
                pool.comment(format!("{} upstream {}", upstream.place, target.host));
                upstream.converted(&mut self.draft.report);
                self.algorithm(&mut pool, upstream);
                let backends = self.backends(&mut pool, upstream);
                if backends.is_empty() {
                    upstream.unsupported(&mut self.draft.report, "it has no server that can be called");
                    return None;
                }
                pool.set(&["backends"], Value::words(backends), None);
                self.kept(&mut pool, upstream);
            }
            None => {
                let default = if target.tls { 443 } else { 80 };
                let address = match target.host.starts_with("unix:") {
                    true => Some(target.host.clone()),
                    false => text::backend(&target.host, default),
                };
                pool.comment(&target.directive.place);
                pool.set(&["backends"], address?, Some(&target.directive.place));
            }
        }
        if target.grpc {
            pool.set(&["protocol"], "h2", Some(&target.directive.place));
        }
        if target.tls {
            self.pool_tls(&mut pool, scope);
        }
        self.times(&mut pool, scope, target.grpc);
        self.retries(&mut pool, scope);
        self.host(&mut pool, scope, upstream.is_some());
        if let Some((.., name)) = self.pools.iter().find(|(host, known, _)| *host == target.host && known.same(&pool)) {
            return Some(name.clone());
        }
        if !self.draft.has_room() {
            self.draft.report.cut();
            return None;
        }
        let name = self.draft.pool_names.fresh(&target.host);
        self.pools.push((target.host.clone(), pool.clone(), name.clone()));
        self.draft.pools.push(pool.renamed(&["pool", &name]));
        Some(name)
    }

    fn algorithm(&mut self, pool: &mut Table, upstream: &'a Directive) {
        let report = &mut self.draft.report;
        for one in upstream.inside() {
            let place = Some(&one.place);
            match one.name.as_str() {
                "least_conn" => pool.set(&["algorithm"], "least_connections", place),
                "ip_hash" => {
                    pool.set(&["algorithm"], "ip_hash", place);
                    one.approximated(report, "the hash is consistent: addresses are of other backends than before");
                    continue;
                }
                "random" if one.word(0) == "two" => pool.set(&["algorithm"], "power_of_two_choices", place),
                "random" => pool.set(&["algorithm"], "random", place),
                "least_time" => pool.set(&["algorithm"], "least_response_time", place),
                "hash" => {
                    let Some((key, near)) = variables::hash_key(one.word(0)) else {
                        one.unsupported(report, "this key is not one of ours: the backends are asked in turn");
                        continue;
                    };
                    pool.set(&["algorithm"], "hash", place);
                    pool.set(&["hash", "key"], key.as_str(), place);
                    let same = if near { format!(" by {key} alone") } else { String::new() };
                    one.approximated(report, format!("the hash is consistent{same}, and another one than nginx's"));
                    continue;
                }
                "zone" | "resolver" | "resolver_timeout" | "round_robin" => {
                    one.tell(report, Outcome::Converted, "all workers know the same");
                    continue;
                }
                "sticky" if one.word(0) == "cookie" => {
                    pool.set(&["sticky", "type"], "cookie", place);
                    pool.set(&["sticky", "name"], one.word(1), None);
                    let expires = one.words.iter().find_map(|word| word.strip_prefix("expires="));
                    if let Some(ttl) = expires.and_then(|time| text::read_time(time, Duration::from_secs(1))) {
                        pool.set(&["sticky", "ttl"], text::time(ttl), None);
                    }
                    one.approximated(
                        report,
                        "the cookie is evenkeel's own, HttpOnly; write sticky.secret, the same on every instance",
                    );
                    continue;
                }
                _ => continue,
            }
            one.converted(report);
        }
    }

    fn backends(&mut self, pool: &mut Table, upstream: &'a Directive) -> Vec<Value> {
        let mut found = Vec::new();
        let mut fails: Vec<(u64, Option<Duration>, &Directive)> = Vec::new();
        let servers: Vec<_> = upstream.inside().iter().filter(|one| one.name == "server").collect();
        for server in &servers {
            let report = &mut self.draft.report;
            let has = |word: &str| server.words.iter().any(|one| one == word);
            let get = |name: &str| server.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            if has("down") {
                pool.comment(format!("{}: {} is down and left out", server.place, server.word(0)));
                server.approximated(report, "it is down: left out");
                continue;
            }
            let address = match server.word(0).starts_with("unix:") {
                true => Some(server.word(0).to_owned()),
                false => text::backend(server.word(0), 80),
            };
            let Some(address) = address else {
                server.unsupported(report, "this is no address that can be called");
                continue;
            };
            let mut notes = Vec::new();
            let mut pairs = vec![("address".to_owned(), Value::from(address.as_str()))];
            if let Some(weight) = get("weight").and_then(|text| text.parse::<u64>().ok()).filter(|weight| *weight != 1)
            {
                if weight > 1000 {
                    notes.push("a weight is 1000 at most");
                }
                pairs.push(("weight".to_owned(), weight.min(1000).into()));
            }
            if has("backup") {
                pairs.push(("backup".to_owned(), true.into()));
            }
            if let Some(most) = get("max_conns").and_then(|text| text.parse::<u64>().ok()).filter(|most| *most > 0) {
                pairs.push(("max_in_flight".to_owned(), most.into()));
                notes.push("max_in_flight counts requests of the process, and further ones wait in a queue");
            }
            if let Some(time) = get("slow_start").and_then(|time| text::read_time(time, Duration::from_secs(1))) {
                pool.set(&["slow_start"], text::time(time), Some(&server.place));
            }
            let window = get("fail_timeout").and_then(|time| text::read_time(time, Duration::from_secs(1)));
            match get("max_fails").and_then(|text| text.parse().ok()) {
                Some(most) => fails.push((most, window, server)),
                None if window.is_some() => fails.push((1, window, server)),
                None => {}
            }
            if get("max_fails").is_some() || window.is_some() {
                notes.push("max_fails and fail_timeout are the pool's circuit_breaker");
            }
            if get("route").is_some() || get("service").is_some() || has("drain") {
                notes.push("route, service and drain are not converted");
            }
            match notes.is_empty() {
                true => server.converted(report),
                false => server.approximated(report, notes.join("; ")),
            }
            let value = if pairs.len() == 1 { address.into() } else { Value::Table(pairs) };
            if !found.contains(&value) {
                found.push(value);
            }
        }
        breaker(pool, &fails, servers.len());
        found
    }

    /// Kept connections.
    fn kept(&mut self, pool: &mut Table, upstream: &'a Directive) {
        for one in upstream.inside() {
            let (key, value) = match one.name.as_str() {
                "keepalive" => ("max_idle", one.word(0).parse::<u64>().ok().map(Value::from)),
                "keepalive_requests" => ("max_requests", one.word(0).parse::<u64>().ok().map(Value::from)),
                "keepalive_timeout" => {
                    let time = text::read_time(one.word(0), Duration::from_secs(1));
                    ("idle_timeout", time.map(|time| text::time(time).into()))
                }
                "queue" => {
                    let size = one.word(0).parse::<u64>().ok();
                    if let Some(size) = size {
                        pool.set(&["queue", "size"], size, Some(&one.place));
                    }
                    one.converted(&mut self.draft.report);
                    continue;
                }
                _ => continue,
            };
            match value {
                Some(value) => {
                    pool.set(&["keepalive", key], value, Some(&one.place));
                    let note = "per backend and for the process; nginx counts per worker, all backends together";
                    match key {
                        "max_idle" => one.approximated(&mut self.draft.report, note),
                        _ => one.converted(&mut self.draft.report),
                    }
                }
                None => one.unsupported(&mut self.draft.report, "this is no number"),
            }
        }
        for one in upstream.inside().iter().filter(|one| !one.is_told()) {
            one.unsupported(&mut self.draft.report, "");
        }
    }

    fn pool_tls(&mut self, pool: &mut Table, scope: &Scope<'a>) {
        let report = &mut self.draft.report;
        let on = |name: &str| scope.last(name).filter(|one| one.word(0) == "on");
        let mut plain = true;
        if let Some(name) = scope.last("proxy_ssl_name").or_else(|| scope.last("grpc_ssl_name")) {
            match name.word(0).contains('$') {
                true => name.approximated(report, "the name of the backend's address is asked for"),
                false => {
                    pool.set(&["tls", "server_name"], name.word(0), Some(&name.place));
                    name.converted(report);
                    plain = false;
                }
            }
        }
        if let Some(sni) = scope.last("proxy_ssl_server_name").or_else(|| scope.last("grpc_ssl_server_name")) {
            sni.tell(report, Outcome::Converted, "the name is always sent");
        }
        let identity = [("proxy_ssl_certificate", "cert"), ("proxy_ssl_certificate_key", "key")];
        for (theirs, ours) in identity {
            if let Some(one) = scope.last(theirs) {
                pool.set(&["tls", ours], super::path(&self.folder, one.word(0)), Some(&one.place));
                one.converted(report);
                plain = false;
            }
        }
        let ca = scope.last("proxy_ssl_trusted_certificate").or_else(|| scope.last("grpc_ssl_trusted_certificate"));
        match on("proxy_ssl_verify").or_else(|| on("grpc_ssl_verify")) {
            Some(verify) => {
                verify.converted(report);
                if let Some(ca) = ca {
                    pool.set(&["tls", "ca"], super::path(&self.folder, ca.word(0)), Some(&ca.place));
                    ca.converted(report);
                    plain = false;
                }
                if plain {
                    pool.set(&["tls"], true, Some(&verify.place));
                }
            }
            None => {
                pool.set(&["tls", "verify"], false, None);
                pool.comment(
                    "nginx does not verify its backends unless told to: take `tls.verify` out, or write `tls.ca`",
                );
                for one in scope.last("proxy_ssl_verify").into_iter().chain(ca) {
                    one.approximated(report, "tls.verify = false, as nginx has it: whoever answers is believed");
                }
            }
        }
        if let Some(depth) = scope.last("proxy_ssl_verify_depth") {
            depth.converted(report);
        }
    }

    fn times(&mut self, pool: &mut Table, scope: &Scope<'a>, grpc: bool) {
        let report = &mut self.draft.report;
        let prefix = if grpc { "grpc" } else { "proxy" };
        let time = |name: &str| {
            let one = scope.last(&format!("{prefix}_{name}_timeout"))?;
            Some((one, text::read_time(one.word(0), Duration::from_secs(1)).filter(|time| !time.is_zero())))
        };
        for name in ["connect", "read", "send"] {
            match time(name) {
                Some((one, Some(_))) => one.converted(report),
                Some((one, None)) => one.unsupported(report, "this is no time"),
                None => {}
            }
        }
        if let Some((one, Some(time))) = time("connect") {
            pool.set(&["connect_timeout"], text::time(time), Some(&one.place));
        }
        match time("read") {
            Some((one, Some(time))) => {
                for key in ["response_timeout", "body_timeout"] {
                    if key == "response_timeout" || time != Duration::from_secs(60) {
                        pool.set(&[key], text::time(time), Some(&one.place));
                    }
                }
                if super::pass::upgrades(scope).is_some() || grpc {
                    pool.set(&["tunnel_timeout"], text::time(time), Some(&one.place));
                }
            }
            // What nginx has when nothing is written; ours is shorter.
            _ => pool.set(&["response_timeout"], "60s", None),
        }
    }

    fn retries(&mut self, pool: &mut Table, scope: &Scope<'a>) {
        let report = &mut self.draft.report;
        let next = scope.last("proxy_next_upstream").or_else(|| scope.last("grpc_next_upstream"));
        if let Some(next) = next {
            let has = |word: &str| next.words.iter().any(|one| one == word);
            if has("off") {
                pool.set(&["retry", "attempts"], 0, Some(&next.place));
                next.converted(report);
            } else {
                let mut on = Vec::new();
                if has("error") {
                    on.extend(["connect", "reset"].map(str::to_owned));
                }
                if has("timeout") {
                    on.push("timeout".to_owned());
                }
                let statuses = next.words.iter().filter_map(|word| word.strip_prefix("http_"));
                on.extend(statuses.filter(|code| code.parse::<u16>().is_ok()).map(str::to_owned));
                if !on.is_empty() && on != ["connect", "reset", "timeout"] {
                    pool.set(
                        &["retry", "on"],
                        Value::List(on.into_iter().map(Value::from).collect()),
                        Some(&next.place),
                    );
                }
                if has("non_idempotent") {
                    pool.set(&["retry", "non_idempotent"], true, Some(&next.place));
                }
                let note = "within a budget; a request whose body is larger than retry.buffer is not sent again";
                next.approximated(report, note);
            }
        }
        if let Some(tries) = scope.last("proxy_next_upstream_tries") {
            match tries.word(0).parse::<u64>() {
                Ok(0) | Err(_) => tries.approximated(report, "two further attempts"),
                Ok(count) => {
                    pool.set(&["retry", "attempts"], (count - 1).min(10), Some(&tries.place));
                    tries.converted(report);
                }
            }
        }
        if let Some(time) = scope.last("proxy_next_upstream_timeout") {
            time.approximated(report, "timeout of the route bounds all attempts together");
        }
    }

    /// What backends get as Host: nginx sends the name of the upstream unless told otherwise.
    fn host(&mut self, pool: &mut Table, scope: &Scope<'a>, named: bool) {
        let report = &mut self.draft.report;
        let set = scope.all("proxy_set_header").into_iter().rfind(|one| one.word(0).eq_ignore_ascii_case("host"));
        let Some(set) = set else {
            pool.set(&["pass_host"], false, None);
            return;
        };
        match set.word(1) {
            "$host" | "$http_host" | "${host}" | "${http_host}" | "$host:$server_port" | "$server_name" => {
                set.converted(report);
            }
            value => {
                pool.set(&["pass_host"], false, Some(&set.place));
                let note = "backends get their own address as Host; one of your own cannot be set";
                match value {
                    "$proxy_host" if !named => set.converted(report),
                    "$proxy_host" => set.approximated(report, note),
                    _ => set.unsupported(report, note),
                }
            }
        }
    }
}

/// max_fails and fail_timeout of some servers, as the breaker of all.
fn breaker(pool: &mut Table, fails: &[(u64, Option<Duration>, &Directive)], servers: usize) {
    let Some((most, _, place)) = fails.iter().max_by_key(|(most, ..)| *most) else { return };
    if *most == 0 {
        if fails.len() == servers {
            pool.set(&["circuit_breaker", "enabled"], false, Some(&place.place));
        }
        return;
    }
    pool.set(&["circuit_breaker", "consecutive_failures"], *most, Some(&place.place));
    let usual = [Duration::from_secs(10), Duration::ZERO];
    if let Some(time) = fails.iter().filter_map(|(_, time, _)| *time).max().filter(|time| !usual.contains(time)) {
        pool.set(&["circuit_breaker", "open_for"], text::time(time), Some(&place.place));
    }
}
