//! haproxy.cfg: its frontends, backends and listens, as listeners, routes and pools. Called by `import`.
//!
//! - `read`: the language · `acl`, `counter`, `ways`, `predicate`: conditions · `rules`, `edit`: lines as rules · `decide`: rules as routes
//! - `gates`: what stands for what cannot be said
//! - `frontend`, `bind`: routes and listeners · `backend`, `checks`: pools · `limits` · `known`: what is written nowhere

mod acl;
mod backend;
mod bind;
mod checks;
mod counter;
mod decide;
mod edit;
mod format;
mod frontend;
mod gates;
mod known;
mod limits;
mod predicate;
mod read;
mod rules;
mod ways;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

pub(super) use self::read::SECTIONS;
use self::{
    predicate::Judge,
    read::{Line, Section},
};
use super::{
    Imported, Unreadable,
    draft::{Draft, Names},
    files::Files,
    report::Outcome,
    text,
    toml::{Table, Value},
};

/// A frontend, backend or listen, with what it inherits.
#[derive(Clone, Debug)]
struct Proxy<'a> {
    head: &'a Line,
    name: &'a str,
    lines: Vec<&'a Line>,
    defaults: Vec<&'a Line>,
}

impl<'a> Proxy<'a> {
    /// The last line that begins with `words`, its own first.
    fn last(&self, words: &[&str]) -> Option<&'a Line> {
        let of = |lines: &[&'a Line]| lines.iter().rev().find(|line| line.is(words)).copied();
        of(&self.lines).or_else(|| of(&self.defaults))
    }

    /// All lines that begin with `words`, inherited ones first.
    fn every(&self, words: &[&str]) -> impl Iterator<Item = &'a Line> {
        self.defaults.iter().chain(&self.lines).copied().filter(move |line| line.is(words))
    }

    /// `timeout NAME`; the inner `None`: it is no time.
    fn time(&self, name: &str) -> Option<(&'a Line, Option<Duration>)> {
        let line = self.last(&["timeout", name])?;
        Some((line, text::read_time(line.word(2), backend::MS)))
    }

    /// It does not run.
    fn is_off(&self) -> bool {
        let mut switches =
            self.defaults.iter().chain(&self.lines).filter(|line| ["enabled", "disabled"].contains(&line.word(0)));
        switches.next_back().is_some_and(|line| line.word(0) == "disabled")
    }

    /// It speaks HTTP.
    fn is_http(&self) -> bool {
        self.last(&["mode"]).is_some_and(|line| line.word(1) == "http")
    }
}

/// Where paths of certificates begin.
#[derive(Clone, Debug, Default)]
struct Base {
    folder: PathBuf,
    crt: String,
    ca: String,
}

impl Base {
    fn crt(&self, path: &str) -> String {
        self.folder.join(&self.crt).join(path).to_string_lossy().into_owned()
    }

    fn ca(&self, path: &str) -> String {
        self.folder.join(&self.ca).join(path).to_string_lossy().into_owned()
    }
}

/// What is known while it is converted.
struct Import<'a> {
    draft: Draft,
    files: &'a Files,
    base: Base,
    proxies: Vec<Proxy<'a>>,
    /// Lines that rules of the frontend at hand are from.
    origins: Vec<&'a Line>,
    /// Backends that have a pool.
    pools: BTreeSet<String>,
    judge: Judge,
    limits: Vec<(String, Table)>,
    limit_names: Names,
    listener_names: Names,
    trusted: Vec<String>,
}

/// Converts `text`, the file.
pub(super) fn import(text: &str, files: &Files) -> Result<Imported, Unreadable> {
    let sections = read::read(text, &files.title())?;
    let mut import = Import {
        draft: Draft::default(),
        files,
        base: Base { folder: files.folder().to_owned(), ..Base::default() },
        proxies: proxies(&sections),
        origins: Vec::new(),
        pools: BTreeSet::new(),
        judge: Judge::default(),
        limits: Vec::new(),
        limit_names: Names::default(),
        listener_names: Names::default(),
        trusted: Vec::new(),
    };
    let serves = |section: &Section| ["frontend", "listen"].contains(&section.kind());
    if !sections.iter().any(serves) {
        let why = "there is no frontend and no listen in it: nothing could be imported".to_owned();
        return Err(Unreadable { place: files.title().to_string(), why });
    }
    import.process(&sections);
    import.backends();
    import.frontends();
    import.finish();
    import.leftovers(&sections);
    let toml = import.draft.render(&format!("HAProxy ({})", files.title()));
    Ok(Imported { toml, report: import.draft.report })
}

/// Those that serve or are called, each with the defaults that stand before it or that it names.
fn proxies(sections: &[Section]) -> Vec<Proxy<'_>> {
    let mut named: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    let mut last: Vec<&Line> = Vec::new();
    let mut proxies = Vec::new();
    for section in sections {
        let from = section.head.after("from").and_then(|name| named.get(name));
        match section.kind() {
            "defaults" => {
                last = from.into_iter().flatten().copied().chain(&section.lines).collect();
                named.insert(section.name(), last.clone());
            }
            "frontend" | "backend" | "listen" => proxies.push(Proxy {
                head: &section.head,
                name: section.name(),
                lines: section.lines.iter().collect(),
                defaults: from.cloned().unwrap_or_else(|| last.clone()),
            }),
            _ => {}
        }
    }
    proxies
}

impl<'a> Import<'a> {
    /// global and resolvers.
    fn process(&mut self, sections: &'a [Section]) {
        for line in sections.iter().filter(|section| section.kind() == "global").flat_map(|section| &section.lines) {
            let number = line.word(1).parse::<u64>().ok();
            match (line.word(0), number) {
                ("nbthread", Some(count)) if (1..=1024).contains(&count) => {
                    self.draft.server.set(&["workers"], count, Some(&line.place));
                    line.converted(&mut self.draft.report);
                }
                ("maxconn", Some(most)) if most > 0 => {
                    // Theirs are of clients; ours are both sides'.
                    let most = most.saturating_mul(2).min(bind::MOST_CONNECTIONS);
                    self.draft.server.set(&["max_connections"], most, Some(&line.place));
                    line.approximated(&mut self.draft.report, "max_connections counts both sides: twice as many");
                }
                ("crt-base", _) => self.base.crt = line.word(1).to_owned(),
                ("ca-base", _) => self.base.ca = line.word(1).to_owned(),
                _ => {}
            }
        }
        let mut servers = Vec::new();
        for line in sections.iter().filter(|section| section.kind() == "resolvers").flat_map(|section| &section.lines) {
            if line.word(0) == "nameserver" {
                match line.word(2).parse::<std::net::SocketAddr>() {
                    Ok(address) => {
                        servers.push(address.to_string());
                        line.converted(&mut self.draft.report);
                    }
                    Err(_) => line.unsupported(&mut self.draft.report, "a name server is an address and a port"),
                }
            }
        }
        if !servers.is_empty() {
            self.draft.server.set(&["resolvers"], Value::List(servers.into_iter().map(Value::from).collect()), None);
        }
    }

    /// Pools.
    fn backends(&mut self) {
        for proxy in self.proxies.clone() {
            if proxy.head.word(0) == "frontend" || !proxy.is_http() {
                continue;
            }
            if !self.draft.has_room() {
                self.draft.report.cut();
                continue;
            }
            if proxy.is_off() {
                proxy.head.unsupported(&mut self.draft.report, "it is disabled: its requests get 503");
                continue;
            }
            let servers = proxy.lines.iter().any(|line| ["server", "server-template"].contains(&line.word(0)));
            if !servers {
                continue;
            }
            let Some(pool) = self.pool(&proxy, proxy.name) else {
                proxy
                    .head
                    .unsupported(&mut self.draft.report, "it has no server that can be called: its requests get 503");
                continue;
            };
            proxy.head.converted(&mut self.draft.report);
            if self.pools.insert(proxy.name.to_owned()) {
                self.draft.pools.push(pool);
            }
        }
    }

    /// What is known when all has been read.
    fn finish(&mut self) {
        let mut trusted = std::mem::take(&mut self.trusted);
        trusted.sort();
        trusted.dedup();
        if !trusted.is_empty() {
            let nets = Value::List(trusted.into_iter().map(Value::from).collect());
            self.draft.server.set(&["trusted_proxies"], nets, None);
        }
    }

    /// Whatever nobody has told of.
    fn leftovers(&mut self, sections: &'a [Section]) {
        let tcp: BTreeSet<&str> =
            self.proxies.iter().filter(|proxy| !proxy.is_http()).map(|proxy| proxy.name).collect();
        for section in sections {
            let proxy = ["frontend", "backend", "listen"].contains(&section.kind());
            let off = self.proxies.iter().any(|proxy| std::ptr::eq(proxy.head, &section.head) && proxy.is_off());
            let raw = proxy && tcp.contains(section.name());
            if !section.head.is_told() {
                let (outcome, note) = match section.kind() {
                    "global" | "defaults" | "resolvers" => (Outcome::Converted, ""),
                    _ if raw => (Outcome::Unsupported, "mode tcp: evenkeel speaks HTTP alone"),
                    "backend" | "listen" | "frontend" => (Outcome::Unsupported, "nothing of it can be served"),
                    _ => known::note(section.kind(), &section.head.words),
                };
                section.head.tell(&mut self.draft.report, outcome, note);
            }
            for line in section.lines.iter().filter(|line| !line.is_told()) {
                let (outcome, note) = match line.word(0) {
                    _ if raw => (Outcome::Unsupported, "of a proxy that is not HTTP"),
                    _ if off => (Outcome::Unsupported, "of a proxy that is disabled"),
                    "acl" => (Outcome::Approximated, "no rule that is converted uses it"),
                    "stick-table" => (Outcome::Approximated, "no limit uses it"),
                    _ => known::note(section.kind(), &line.words),
                };
                line.tell(&mut self.draft.report, outcome, note);
            }
        }
    }
}
