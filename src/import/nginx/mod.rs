//! nginx.conf: its servers, locations and upstreams, as listeners, routes and pools. Called by `import`.
//!
//! - `read`: the language · `scope`: what is inherited · `variables`, `condition`: what stands for what
//! - `listen`: sockets and TLS · `location`, `escapes`: which one nginx chooses · `flow`, `guards`: return, rewrite, if
//! - `route`, `pass`: what becomes of a location, with `access`, `headers`, `limits`, `upstream` · `order`: which goes first
//! - `gates`: what protects · `known`: what is written nowhere

mod access;
mod condition;
mod escapes;
mod flow;
mod gates;
mod guards;
mod headers;
mod hosts;
mod known;
mod limits;
mod listen;
mod location;
mod order;
mod pass;
mod read;
mod route;
mod scope;
mod upstream;
mod variables;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use self::{
    hosts::{sample, shadowed},
    limits::Zone,
    listen::Door,
    location::{Kind, Location},
    read::Directive,
    route::Spot,
    scope::Scope,
    variables::Constants,
};
use super::{
    Imported, Unreadable,
    draft::{Draft, Names},
    files::Files,
    report::{Outcome, Place, Report},
    text,
    toml::{Table, Value},
};

/// One `server`.
#[derive(Debug)]
struct Server<'a> {
    directive: &'a Directive,
    scope: Scope<'a>,
    /// The first of `hosts`, or nothing.
    name: String,
    /// As routes of ours match them.
    hosts: Vec<String>,
    /// It has further names, which they cannot match.
    unmatched: bool,
}

/// What is known while it is converted.
struct Import<'a> {
    draft: Draft,
    nowhere: Place,
    folder: PathBuf,
    upstreams: BTreeMap<&'a str, &'a Directive>,
    /// split_clients by their variable.
    splits: BTreeMap<&'a str, &'a Directive>,
    rates: Vec<Zone<'a>>,
    conns: Vec<Zone<'a>>,
    /// What `set` has named at this place.
    constants: Constants,
    /// Who is believed to say the client's address, by all of our servers.
    trusted: Vec<String>,
    /// Paths are expressions, all of them, at the server at hand.
    ordered: bool,
    /// Of the server at hand.
    server_locations: Vec<Location<'a>>,
    /// A path that leads to each of them, as far as one is found.
    samples: HashMap<*const Directive, String>,
    /// Upstream, table, and the name that it has.
    pools: Vec<(String, Table, String)>,
    auths: Vec<(String, Table)>,
    auth_names: Names,
    limits: Vec<(String, Table)>,
    limit_names: Names,
    /// By route: its listeners, and what a body may have.
    bodies: Vec<(usize, Vec<String>, Option<u64>)>,
}

/// Converts `text`, the main file.
pub(super) fn import(text: &str, files: &mut Files) -> Result<Imported, Unreadable> {
    let mut report = Report::default();
    let all = read::read(text, files, &mut report)?;
    let root = Scope::default().within(&all);
    let https: Vec<_> = all.iter().filter(|one| one.name == "http").collect();
    // The file of a site has no block around it.
    let scopes: Vec<_> = match https.is_empty() {
        true => vec![root.clone()],
        false => https.iter().map(|http| root.within(http.inside())).collect(),
    };
    let mut import = Import::new(files, report);
    for http in &https {
        http.converted(&mut import.draft.report);
    }
    import.process(&all);
    let mut servers = Vec::new();
    for scope in &scopes {
        import.collect(scope);
        let found: Vec<_> = scope.own().iter().filter(|one| one.name == "server").collect();
        servers.extend(found.into_iter().map(|one| import.server(one, scope)));
    }
    if servers.is_empty() {
        let why = "there is no `server` in it: nothing could be imported".to_owned();
        return Err(Unreadable { place: files.title().to_string(), why });
    }
    import.peers(&scopes, &servers);
    import.serve(&servers);
    import.pages(&servers);
    import.leftovers(&all);
    let toml = import.draft.render(&format!("nginx ({})", files.title()));
    Ok(Imported { toml, report: import.draft.report })
}

/// `text` from `folder`, where nginx starts relative paths.
fn path(folder: &Path, text: &str) -> String {
    folder.join(text).to_string_lossy().into_owned()
}

impl<'a> Import<'a> {
    fn new(files: &Files, report: Report) -> Self {
        Self {
            draft: Draft { report, ..Draft::default() },
            nowhere: access::nowhere(&files.title()),
            folder: files.folder().to_owned(),
            upstreams: BTreeMap::new(),
            splits: BTreeMap::new(),
            rates: Vec::new(),
            conns: Vec::new(),
            constants: Constants::new(),
            trusted: Vec::new(),
            ordered: false,
            server_locations: Vec::new(),
            samples: HashMap::new(),
            pools: Vec::new(),
            auths: Vec::new(),
            auth_names: Names::default(),
            limits: Vec::new(),
            limit_names: Names::default(),
            bodies: Vec::new(),
        }
    }

    fn path(&self, text: &str) -> String {
        path(&self.folder, text)
    }

    /// What concerns the process.
    fn process(&mut self, all: &'a [Directive]) {
        if let Some(workers) = all.iter().rfind(|one| one.name == "worker_processes") {
            if let Some(count) = workers.word(0).parse::<u64>().ok().filter(|count| (1..=1024).contains(count)) {
                self.draft.server.set(&["workers"], count, Some(&workers.place));
            }
            workers.converted(&mut self.draft.report);
        }
    }

    /// What http gives names to.
    fn collect(&mut self, scope: &Scope<'a>) {
        for one in scope.own() {
            match one.name.as_str() {
                "upstream" => {
                    self.upstreams.insert(one.word(0), one);
                }
                "split_clients" => {
                    self.splits.insert(one.word(1).trim_start_matches('$'), one);
                }
                "limit_req_zone" => self.rates.extend(limits::zone(one)),
                "limit_conn_zone" => self.conns.extend(limits::zone(one)),
                "map" if one.word(0) == "$http_upgrade" => {
                    let note = "WebSockets pass without it: upgrade = [\"websocket\"] is the default of routes";
                    one.tell(&mut self.draft.report, Outcome::Converted, note);
                }
                _ => {}
            }
        }
    }

    fn server(&mut self, one: &'a Directive, scope: &Scope<'a>) -> Server<'a> {
        let scope = scope.within(one.inside());
        let mut hosts: Vec<String> = Vec::new();
        let mut unmatched = false;
        let report = &mut self.draft.report;
        for names in scope.own().iter().filter(|inside| inside.name == "server_name") {
            let mut missing = Vec::new();
            for word in names.words.iter().filter(|word| !["_", "", "localhost.localdomain"].contains(&word.as_str())) {
                match host(word) {
                    Some(found) => {
                        hosts.extend(found.into_iter().filter(|name| !hosts.contains(name)).collect::<Vec<_>>());
                    }
                    None => missing.push(word.as_str()),
                }
            }
            unmatched |= !missing.is_empty();
            match missing.as_slice() {
                [] => names.converted(report),
                some => names.unsupported(
                    report,
                    format!("{} cannot be matched: a host is a name, or `*.` and one", some.join(" ")),
                ),
            }
        }
        one.converted(report);
        Server { directive: one, name: hosts.first().cloned().unwrap_or_default(), hosts, unmatched, scope }
    }

    /// Whose word on the client's address is taken.
    fn peers(&mut self, scopes: &[Scope<'a>], servers: &[Server<'a>]) {
        let mut nets: Vec<String> = Vec::new();
        let mut place = None;
        let inner = servers.iter().map(|server| &server.scope);
        let named = scopes.iter().chain(inner.clone()).any(|scope| scope.has("real_ip_header"));
        for from in
            scopes.iter().chain(inner).flat_map(|scope| scope.own()).filter(|one| one.name == "set_real_ip_from")
        {
            let Some(peer) = access::peer(from) else {
                from.unsupported(&mut self.draft.report, "a peer is an address or a network");
                continue;
            };
            nets.push(peer);
            place = place.or(Some(&from.place));
            match named {
                _ if from.is_told() => {}
                true => from.converted(&mut self.draft.report),
                false => from.approximated(
                    &mut self.draft.report,
                    "without real_ip_header nginx looks at X-Real-IP: X-Forwarded-For is believed",
                ),
            }
        }
        nets.sort();
        nets.dedup();
        self.trusted.clone_from(&nets);
        if !nets.is_empty() {
            self.draft.server.set(
                &["trusted_proxies"],
                Value::List(nets.into_iter().map(Value::from).collect()),
                place,
            );
        }
        let all = scopes.iter().chain(servers.iter().map(|server| &server.scope)).flat_map(|scope| scope.own());
        for one in all.filter(|one| one.name == "real_ip_header" || one.name == "real_ip_recursive") {
            let report = &mut self.draft.report;
            match (one.name.as_str(), one.word(0).to_ascii_lowercase().as_str()) {
                ("real_ip_recursive", "on") | ("real_ip_header", "x-forwarded-for" | "proxy_protocol") => {
                    one.converted(report);
                }
                ("real_ip_recursive", _) => {
                    one.approximated(report, "X-Forwarded-For is walked from the right, past all trusted proxies");
                }
                _ => one.unsupported(report, "X-Forwarded-For of trusted proxies is believed, and no other header"),
            }
        }
    }

    /// Listeners and routes.
    fn serve(&mut self, servers: &[Server<'a>]) {
        let doors = self.doors(servers);
        for (number, server) in servers.iter().enumerate() {
            let behind: Vec<&Door> = doors.iter().filter(|door| door.servers.contains(&number)).collect();
            let (first, named): (Vec<&Door>, Vec<&Door>) =
                behind.iter().copied().partition(|door| door.default == number);
            let label = self.label(server, &behind);
            let everywhere = |some: &[&Door]| some.len() == doors.len();
            let lost = self.lost(number, servers, &first);
            if let Some(lost) = lost {
                // Requests for names that no server has may be for it.
                let hosts = hosts::untaken(number, servers, &first);
                let spot = Spot {
                    everywhere: everywhere(&first),
                    doors: first,
                    sample: sample(&hosts, servers),
                    hosts,
                    label: label.clone(),
                };
                if !spot.hosts.is_empty() {
                    self.routes(server, &spot);
                }
                let sample = sample(&[], servers);
                self.refused(lost.directive, Spot { hosts: Vec::new(), label: format!("{label}!"), sample, ..spot });
            } else if !first.is_empty() {
                // A wildcard of another server would be asked before a route for any host.
                let shadowed = shadowed(server, servers, &first);
                if !shadowed.is_empty() {
                    let sample = sample(&shadowed[..1], servers);
                    let label = format!("{label}!");
                    let spot =
                        Spot { doors: first.clone(), everywhere: everywhere(&first), hosts: shadowed, label, sample };
                    self.routes(server, &spot);
                }
                let sample = sample(&server.hosts, servers);
                let spot = Spot {
                    everywhere: everywhere(&first),
                    doors: first,
                    hosts: Vec::new(),
                    label: label.clone(),
                    sample,
                };
                self.routes(server, &spot);
            }
            for (hosts, doors) in hosts::own(number, servers, &named) {
                if !hosts.is_empty() {
                    let sample = sample(&hosts, servers);
                    let spot = Spot { everywhere: everywhere(&doors), doors, hosts, label: label.clone(), sample };
                    self.routes(server, &spot);
                    continue;
                }
                let note = match server.hosts.is_empty() {
                    true => "no request has a name that leads here, and it is not the default of its address",
                    false => "servers before it have its names, so that nginx never asks it",
                };
                self.draft.report.add(Outcome::Unsupported, &server.directive.place, &server.directive.text(), note);
            }
        }
        self.finish(doors);
    }

    /// A server that refuses somebody and has names that cannot be matched, so that its requests would go to the server
    /// `number`, the default of `doors`.
    fn lost<'s>(&mut self, number: usize, servers: &'s [Server<'a>], doors: &[&Door]) -> Option<&'s Server<'a>> {
        let mut found = None;
        for (other, server) in servers.iter().enumerate().filter(|(other, one)| *other != number && one.unmatched) {
            let here = doors.iter().any(|door| door.servers.contains(&other));
            let refuses = || {
                server.scope.like(|_| true).into_iter().any(gates::refuses)
                    || location::all(&server.scope).iter().any(gates::shields)
            };
            if here && refuses() {
                let note = "it protects, and has names that cannot be matched: requests for names that no server has get \
                            503 until you decide";
                server.directive.tell(&mut self.draft.report, Outcome::Closed, note);
                found = Some(server);
            }
        }
        found
    }

    /// In front of the names of a server's routes.
    fn label(&self, server: &Server<'a>, behind: &[&Door]) -> String {
        match (server.name.is_empty(), behind.first()) {
            (false, _) => server.name.clone(),
            (true, Some(door)) => door.name.clone(),
            (true, None) => "server".to_owned(),
        }
    }

    /// Writes the listeners, and where bodies have other bounds than theirs.
    fn finish(&mut self, doors: Vec<Door>) {
        let bodies = std::mem::take(&mut self.bodies);
        // Bytes by listener; none: any number.
        let mut most: BTreeMap<&str, Option<u64>> = BTreeMap::new();
        for (_, names, size) in &bodies {
            for name in names {
                let known = most.entry(name).or_insert(*size);
                *known = known.zip(*size).map(|(one, other)| one.max(other));
            }
        }
        let largest = |door: &str| most.get(door).copied().flatten();
        for (at, names, size) in &bodies {
            let Some(size) = size else { continue };
            let wider = names.iter().any(|name| largest(name).is_none_or(|largest| largest > *size));
            if let Some(route) = self.draft.routes.get_mut(*at).filter(|_| wider) {
                route.set(&["max_body_size"], text::size(*size), None);
            }
        }
        for door in doors {
            let size = largest(&door.name);
            let table = door.finish(size);
            self.draft.listeners.push(table);
        }
    }

    /// error_page, where it is a file.
    fn pages(&mut self, servers: &[Server<'a>]) {
        for server in servers {
            let pages = server.scope.all("error_page");
            let locations = if pages.is_empty() { Vec::new() } else { location::all(&server.scope) };
            for page in pages {
                let Some(uri) = page.words.last().filter(|uri| uri.starts_with('/')) else { continue };
                let scope = locations
                    .iter()
                    .find(|one| one.kind == Kind::Exact && one.text == *uri)
                    .map_or(&server.scope, |one| &one.scope);
                let root = scope.last("root").map(|root| root.word(0)).filter(|root| !root.contains('$'));
                let codes = page.words.iter().filter_map(|word| word.parse::<u16>().ok());
                let codes: Vec<_> = codes.filter(|code| (400..=599).contains(code)).collect();
                let Some(root) =
                    root.filter(|_| !codes.is_empty() && !page.words.iter().any(|word| word.starts_with('=')))
                else {
                    continue;
                };
                let file = self.path(&format!("{}{uri}", root.trim_end_matches('/')));
                for code in codes {
                    let code = code.to_string();
                    if self.draft.error_pages.value(&[&code, "html"]).is_none() {
                        self.draft.error_pages.set(&[&code, "html"], file.as_str(), Some(&page.place));
                    }
                }
                page.approximated(
                    &mut self.draft.report,
                    "for our own errors, of all servers; the first that is written counts",
                );
            }
        }
    }

    /// Whatever nobody has told of.
    fn leftovers(&mut self, directives: &'a [Directive]) {
        for one in directives {
            if !one.is_told() {
                self.leftover(one);
            }
            // What is in a block that is not read is part of it.
            if ["http", "server", "location", "upstream", "if", "limit_except", "events"].contains(&one.name.as_str()) {
                self.leftovers(one.inside());
            }
        }
    }

    fn leftover(&mut self, one: &'a Directive) {
        let report = &mut self.draft.report;
        match one.name.as_str() {
            "client_max_body_size" => return one.converted(report),
            "limit_req_zone" | "limit_conn_zone" => return one.approximated(report, "no limit uses it"),
            "upstream" => return one.unsupported(report, "nothing is passed on to it"),
            "server" | "location" => return one.unsupported(report, "nothing leads here"),
            name if known::protects(name) => {
                return one.unsupported(report, "what it stands in is closed, or not served");
            }
            _ => {}
        }
        let (outcome, note) = known::note(&one.name, one.word(0));
        one.tell(report, outcome, note);
    }
}

/// Hosts of a server_name as ours match them; `None`: they cannot.
fn host(name: &str) -> Option<Vec<String>> {
    let lower = name.to_ascii_lowercase();
    if let Some(domain) = lower.strip_prefix('.') {
        return text::is_match(domain).then(|| vec![domain.to_owned(), format!("*.{domain}")]);
    }
    if let Some(regex) = lower.strip_prefix('~') {
        return wildcard(regex).map(|host| vec![host]);
    }
    text::is_match(&lower).then(|| vec![lower])
}

/// `^(.+)\.example\.com$` is `*.example.com`.
fn wildcard(regex: &str) -> Option<String> {
    let rest = regex.strip_prefix('^')?.strip_suffix('$')?;
    let rest = match rest.strip_prefix('(') {
        Some(group) => {
            let (inner, rest) = group.split_once(')')?;
            let inner = match inner.strip_prefix("?<").or_else(|| inner.strip_prefix("?p<")) {
                Some(named) => named.split_once('>')?.1,
                None => inner.strip_prefix("?:").unwrap_or(inner),
            };
            [".+", ".*", "[^.]+", "\\w+", "[a-z0-9-]+"].contains(&inner).then_some(rest)?
        }
        None => rest.strip_prefix(".+")?,
    };
    let domain = rest.strip_prefix("\\.")?.replace("\\.", "\u{0}");
    let plain = !domain.contains(['.', '\\', '(', '[', '*', '+', '?', '|']);
    let host = format!("*.{}", domain.replace('\u{0}', "."));
    (plain && text::is_match(&host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_are_hosts() {
        let some = |hosts: &[&str]| Some(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>());
        assert_eq!(host("A.example"), some(&["a.example"]));
        assert_eq!(host(".a.example"), some(&["a.example", "*.a.example"]));
        assert_eq!(host("*.a.example"), some(&["*.a.example"]));
        assert_eq!(host("~^(?<sub>.+)\\.a\\.example$"), some(&["*.a.example"]));
        assert_eq!(host("~^www\\d+\\.a\\.example$"), None);
        assert_eq!(host("www.*"), None);
    }

    #[test]
    fn times_are_compared_whole() {
        let text = "upstream u { server 10.0.0.1:80 max_fails=2 fail_timeout=10500ms; }\n\
                    server { listen 80; client_header_timeout 10500ms; client_body_timeout 30s;\n\
                    location / { proxy_pass http://u; proxy_read_timeout 60500ms; } }";
        let made = import(text, &mut Files::new(Path::new("/nowhere/x.conf"))).unwrap();
        let made: ::toml::Table = made.toml.parse().unwrap();
        let listener = &made["listener"][0];
        assert_eq!(listener.get("header_timeout").and_then(::toml::Value::as_str), Some("10500ms"));
        assert_eq!(listener.get("body_timeout"), None, "it is the default");
        let pool = &made["pool"]["u"];
        assert_eq!(pool.get("body_timeout").and_then(::toml::Value::as_str), Some("60500ms"));
        assert_eq!(pool["circuit_breaker"].get("open_for").and_then(::toml::Value::as_str), Some("10500ms"));
        assert_eq!(made["route"][0].get("timeout").and_then(::toml::Value::as_str), Some("60500ms"));
    }
}
