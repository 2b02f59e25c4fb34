//! How a request goes to a backend, and which there are.

use super::{Candidate, PoolSaid, Setting, Walk, time};
use crate::{
    balance::{Pick, Tried},
    config::{self, HeaderRules, StickyBy, StickyFallback},
    http::{Guarded, guard::Upgrade},
    plan::{Fallback, Forward, Member, Pool, Route},
    policy::{self, By, Read},
    pool::Table,
    telemetry::unix_millis,
};
use std::time::SystemTime;

/// What a request's session says of its backend.
pub(super) struct Kept {
    /// It has one there.
    backend: Option<String>,
    /// In words; `None`: the pool is not `sticky`.
    why: Option<String>,
}

impl Walk<'_> {
    /// Tells how `forward` sends it on, and makes the request that a backend sees.
    pub(super) fn edit(&mut self, route: &Route, (forward, written): (&Forward, &config::Route)) {
        self.set("timeout", time(forward.timeout));
        if let Some(most) = forward.max_body.into_iter().chain(self.listener.limits.max_body).min() {
            self.set("max_body_size", format!("{most} bytes"));
        }
        if let Some(rewrite) = &forward.rewrite {
            rewrite.apply(&mut self.head, &mut Vec::new());
            let target = self.head.target;
            let path = String::from_utf8_lossy(self.head.text(target.path)).into_owned();
            let query = String::from_utf8_lossy(self.head.text(target.query)).into_owned();
            self.set("rewrite", format!("the backend sees {path}{query}"));
        }
        if !forward.request_headers.is_empty() {
            self.set("request_headers", rules(&written.request_headers));
            let mut head = std::mem::take(&mut self.head);
            forward.request_headers.apply_to_request(&mut head, &self.facts(), &mut Vec::new());
            self.head = head;
        }
        if !route.response_headers.is_empty() {
            self.set("response_headers", rules(&written.response_headers));
        }
        self.said.response_headers = self.added();
        self.set("upgrade", if forward.upgrade { "websocket" } else { "none" }.to_owned());
        if forward.connect {
            self.set("connect", "true".to_owned());
        }
        if let Some(fallback) = &forward.fallback {
            let to = match fallback {
                Fallback::Respond(respond) => format!("{} of ours", respond.status),
                Fallback::Pool(place) => format!("pool {:?}", self.plan.pools[*place].name),
            };
            self.set("fallback", format!("{to}, when the pool cannot answer"));
        }
        if let Some(mirror) = &written.mirror {
            self.set("mirror", format!("{}% to pool {:?}", mirror.share * 100.0, mirror.pool));
        }
    }

    fn set(&mut self, name: &str, value: String) {
        self.said.settings.push(Setting { name: name.to_owned(), value });
    }

    /// What its session says of a backend of `pool`. Asked before the request is edited, as requests are.
    pub(super) fn session(&self, pool: &Pool) -> Kept {
        let none = |why: &str| Kept { backend: None, why: Some(why.to_owned()) };
        let Some(sticky) = &pool.sticky else { return Kept { backend: None, why: None } };
        let table = pool.slot.table();
        let home = |identity: u64, what: &str| match table.find(identity) {
            Some(place) => Kept { backend: Some(table.backend(place).name.clone()), why: Some(what.to_owned()) },
            None if sticky.rejects => none(&format!("{what}, and that backend is gone: 503")),
            None => none(&format!("{what}, and that backend is gone: another one gets the session")),
        };
        match &sticky.by {
            By::Cookie(cookie) => {
                match cookie.read(policy::cookies(&self.head, cookie.name()), unix_millis(SystemTime::now())) {
                    Read::Absent => none("it has no cookie yet: it gets one, and keeps its backend from then on"),
                    Read::Invalid => none("its cookie is not valid any more, or never was: it gets a new one"),
                    Read::Valid(ticket) => home(ticket.backend, "its cookie says so"),
                }
            }
            By::AppCookie(name, ttl) => match pool.application(name, *ttl, &self.head, self.second()) {
                None => none("it has no session yet: it keeps the backend that sets the cookie"),
                Some((_, Some(identity))) => home(identity, "its session began there"),
                Some((key, None)) => self.hashed(pool, &table, key, "nobody knows its session: by hash"),
            },
            By::Key(key) => match key.of(&self.head, self.client) {
                Some(key) => self.hashed(pool, &table, key, "by hash of what it says"),
                None => none("it does not say what the pool goes by"),
            },
        }
    }

    fn hashed(&self, pool: &Pool, table: &Table, key: u64, why: &str) -> Kept {
        let picked = table.pick_hashed(&pick(pool, key, &Tried::default()));
        let backend = picked.filter(|_| self.is_whole(pool)).map(|place| table.backend(place).name.clone());
        Kept { backend, why: Some(why.to_owned()) }
    }

    /// Its table can be believed: where no process is asked, names have not been resolved.
    fn is_whole(&self, pool: &Pool) -> bool {
        self.live || pool.discovers.is_none() && !pool.members.iter().any(|member| member.backend.is_unresolved())
    }

    /// Tells of the pool at `place` of the plan, which it goes to.
    pub(super) fn pool(&mut self, place: usize, kept: Kept, guarded: &Guarded) {
        let pool = &self.plan.pools[place];
        let table = pool.slot.table();
        let mut said =
            PoolSaid { name: pool.name.clone(), algorithm: pool.algorithm_name.to_owned(), ..PoolSaid::default() };
        let mut set = |name: &str, value: String| said.settings.push(Setting { name: name.to_owned(), value });
        let written = self.config.pools.get(place);
        if let (Some(sticky), Some(why)) = (written.and_then(|pool| pool.sticky.as_ref()), &kept.why) {
            set("sticky", format!("{}: {why}", stickiness(sticky)));
        }
        if let Some(key) = &pool.key {
            let key = key.of(&self.head, self.client);
            set(
                "key",
                match key {
                    Some(_) => "the request has what is hashed".to_owned(),
                    None => "the request does not have what is hashed: any backend".to_owned(),
                },
            );
            if let Some(key) = key.filter(|_| kept.backend.is_none() && self.is_whole(pool)) {
                let picked = table.pick(&pick(pool, key, &Tried::default()));
                said.backend = picked.map(|place| table.backend(place).name.clone());
            }
        }
        let mut set = |name: &str, value: String| said.settings.push(Setting { name: name.to_owned(), value });
        let settings = &pool.settings;
        set("connect_timeout", time(settings.connect_timeout));
        match guarded.upgrade {
            Some(Upgrade::Raw) => set("tunnel_timeout", time(settings.tunnel_timeout)),
            upgrade => {
                set("response_timeout", time(settings.response_timeout));
                set("body_timeout", time(settings.body_timeout));
                if upgrade.is_some() {
                    set("tunnel_timeout", time(settings.tunnel_timeout));
                }
            }
        }
        set("retry", retries(&pool.retry, self.head.method().is_idempotent()));
        if let Some(queue) = &settings.queue {
            set("queue", format!("{} wait, {} at most", queue.size, time(queue.timeout)));
        }
        set("protocol", protocol(pool));
        if self.live && pool.slot.is_open() {
            set("circuit", "open: 503 breaker_open".to_owned());
        } else if self.live && table.len() == 0 {
            set("backends", format!("none can be chosen: 503 {}", pool.nobody().word()));
        }
        if !self.live && pool.discovers.is_some() {
            self.said
                .notes
                .push(format!("DNS says which backends {:?} has, and is not asked here: --live knows", pool.name));
        }
        if kept.backend.is_some() {
            said.backend = kept.backend;
        }
        self.said.pools.push(said);
        let candidates = pool.members.iter().map(|member| self.candidate(pool, &table, member));
        self.said.candidates.extend(candidates.collect::<Vec<_>>());
    }

    fn candidate(&self, pool: &Pool, table: &Table, member: &Member) -> Candidate {
        let backend = &member.backend;
        let configured = Candidate {
            pool: pool.name.clone(),
            name: backend.name.clone(),
            address: backend.address.to_string(),
            state: "configured".to_owned(),
            backup: member.backup,
            weight: member.weight,
            max_in_flight: match member.max_in_flight {
                config::MaxInFlight::Most(most) => Some(u64::from(most)),
                _ => None,
            },
            ..Candidate::default()
        };
        if !self.live {
            return configured;
        }
        Candidate {
            state: pool.state(member).word().to_owned(),
            reason: pool.reason(member),
            weight: backend.ordered_weight().unwrap_or(member.weight),
            effective_weight: Some(backend.standing().1),
            in_flight: Some(u64::from(backend.load.in_flight())),
            max_in_flight: backend.load.most().map(u64::from),
            usable: Some(table.offers(backend.id)),
            ..configured
        }
    }
}

/// A choice that goes by `key` alone.
fn pick<'t>(pool: &Pool, key: u64, tried: &'t Tried) -> Pick<'t> {
    Pick { key, worker: 0, random: key, now: pool.slot.micros(tokio::time::Instant::now()), tried }
}

/// Names of fields, and what is done to them: values to backends may be secrets.
fn rules(rules: &HeaderRules) -> String {
    let names = |verb: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")));
    let of = |pairs: &'_ [(String, config::Template)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (set, add) = (of(&rules.set), of(&rules.add));
    let all = [
        names("remove", rules.remove.iter().map(String::as_str).collect()),
        names("set", set.iter().map(String::as_str).collect()),
        names("add", add.iter().map(String::as_str).collect()),
    ];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn stickiness(sticky: &config::Sticky) -> String {
    let by = match &sticky.by {
        StickyBy::Cookie { name, .. } => format!("by our cookie {name:?}"),
        StickyBy::AppCookie { name, .. } => format!("by the application's cookie {name:?}"),
        StickyBy::Header(name) => format!("by header:{name}"),
        StickyBy::SourceIp => "by the client's address".to_owned(),
    };
    let fallback = if sticky.fallback == StickyFallback::Reject { ", fallback = \"reject\"" } else { "" };
    format!("{by}{fallback}")
}

fn retries(retry: &config::Retry, idempotent: bool) -> String {
    if retry.attempts == 0 {
        return "none".to_owned();
    }
    let on = [(retry.on_connect, "connect"), (retry.on_reset, "reset"), (retry.on_timeout, "timeout")];
    let mut on: Vec<_> = on.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
    if retry.on_status != config::Statuses::default() {
        on.push("some statuses");
    }
    if retry.on_grpc != 0 {
        on.push("some gRPC statuses");
    }
    let once = match idempotent || retry.non_idempotent {
        true => "",
        false => "; not once a byte of it has been written, as its method is not idempotent",
    };
    format!("{} more on {}{once}", retry.attempts, on.join(", "))
}

fn protocol(pool: &Pool) -> String {
    let protocol = match pool.settings.protocol {
        config::Protocol::H1 => "h1",
        config::Protocol::H2 => "h2",
        config::Protocol::Auto => "auto",
    };
    let tls = if pool.settings.tls.is_some() { " over TLS" } else { "" };
    let host = if pool.settings.pass_host { "" } else { ", with the backend's own Host" };
    format!("{protocol}{tls}{host}")
}
