//! backend (and the half of listen): pools. Called by `haproxy::import`.

use std::time::Duration;

use super::{
    super::{
        report::Outcome,
        text,
        toml::{Table, Value},
    },
    Import, Proxy,
    read::Line,
};

/// Times are milliseconds unless they say otherwise.
pub(super) const MS: Duration = Duration::from_millis(1);

impl<'a> Import<'a> {
    /// The pool of `proxy` under `name`; `None`: it has no server that can be called.
    pub(super) fn pool(&mut self, proxy: &Proxy<'a>, name: &str) -> Option<Table> {
        let mut pool = Table::new(&["pool", name]);
        pool.comment(format!("{} {}", proxy.head.place, proxy.head.text()));
        self.algorithm(&mut pool, proxy);
        let servers: Vec<_> =
            proxy.lines.iter().copied().filter(|line| ["server", "server-template"].contains(&line.word(0))).collect();
        let mut backends = Vec::new();
        let mut settings: Vec<Server> = Vec::new();
        for line in &servers {
            let server = self.server(line, proxy);
            if let Some((value, server)) = server {
                match line.word(0) == "server-template" {
                    true => self.template(&mut pool, line, &value),
                    false => backends.push(value),
                }
                settings.push(server);
            }
        }
        if settings.is_empty() {
            return None;
        }
        if !backends.is_empty() {
            pool.set(&["backends"], Value::words(backends), None);
        }
        self.shared(&mut pool, &settings, &servers);
        self.checks(&mut pool, proxy, &settings);
        self.sticky(&mut pool, proxy);
        self.times(&mut pool, proxy);
        self.retries(&mut pool, proxy);
        Some(pool)
    }

    fn algorithm(&mut self, pool: &mut Table, proxy: &Proxy<'a>) {
        let Some(line) = proxy.last(&["balance"]) else { return };
        let report = &mut self.draft.report;
        let name = line.word(1);
        let place = Some(&line.place);
        let argument = name
            .split_once('(')
            .map(|(_, rest)| rest.trim_end_matches(')'))
            .or_else(|| line.words.get(2).map(String::as_str))
            .unwrap_or_default();
        let mut hash = |pool: &mut Table, key: String| {
            pool.set(&["algorithm"], "hash", place);
            pool.set(&["hash", "key"], key, None);
            line.approximated(report, "the hash is consistent, and another one than HAProxy's");
        };
        match name.split('(').next().unwrap_or_default() {
            "roundrobin" | "static-rr" => line.converted(report),
            "leastconn" => {
                pool.set(&["algorithm"], "least_connections", place);
                line.converted(report);
            }
            "source" => {
                pool.set(&["algorithm"], "ip_hash", place);
                line.approximated(report, "the hash is consistent: addresses are of other servers than before");
            }
            "uri" => hash(pool, "path".to_owned()),
            "url_param" => hash(pool, format!("query:{argument}")),
            "hdr" if argument.eq_ignore_ascii_case("host") => hash(pool, "host".to_owned()),
            "hdr" if text::is_token(argument) => hash(pool, format!("header:{}", argument.to_ascii_lowercase())),
            "hash" => {
                let fetch = line.word(2).trim_start_matches("req.");
                let (kind, rest) = fetch.split_once('(').unwrap_or((fetch, ""));
                let inner = rest.split(')').next().unwrap_or_default();
                match kind {
                    "src" => hash(pool, "client_ip".to_owned()),
                    "path" | "pathq" | "url" => hash(pool, "path".to_owned()),
                    "hdr" | "fhdr" if inner.eq_ignore_ascii_case("host") => hash(pool, "host".to_owned()),
                    "hdr" | "fhdr" if text::is_token(inner) => {
                        hash(pool, format!("header:{}", inner.to_ascii_lowercase()));
                    }
                    "cook" if text::is_token(inner) => hash(pool, format!("cookie:{inner}")),
                    "url_param" | "urlp" => hash(pool, format!("query:{inner}")),
                    _ => line.unsupported(report, "this key is none of ours: the servers are asked in turn"),
                }
            }
            "random" => {
                let algorithm = if argument == "1" { "random" } else { "power_of_two_choices" };
                pool.set(&["algorithm"], algorithm, place);
                line.converted(report);
            }
            "first" => line.approximated(report, "the servers are asked in turn; nobody is kept free"),
            _ => line.unsupported(report, "the servers are asked in turn"),
        }
        if let Some(factor) = proxy.last(&["hash-balance-factor"]) {
            match factor.word(1).parse::<u64>().ok().filter(|share| (101..=1000).contains(share)) {
                Some(share) => {
                    pool.set(&["hash", "bounded_load"], format!("{share}%"), Some(&factor.place));
                    factor.converted(&mut self.draft.report);
                }
                None => factor.unsupported(&mut self.draft.report, "above 100 and up to 1000"),
            }
        }
        if let Some(kind) = proxy.last(&["hash-type"]) {
            match kind.has("consistent") {
                true => kind.converted(&mut self.draft.report),
                false => kind.approximated(&mut self.draft.report, "hashes are consistent"),
            }
        }
    }

    /// One server: its element of `backends`, and what is the pool's here.
    fn server(&mut self, line: &'a Line, proxy: &Proxy<'a>) -> Option<(Value, Server)> {
        let template = line.word(0) == "server-template";
        let at = if template { 3 } else { 2 };
        let report = &mut self.draft.report;
        let mut words: Vec<&str> = Vec::new();
        for default in proxy.every(&["default-server"]) {
            words.extend(default.words.iter().skip(1).map(String::as_str));
            if !default.is_told() {
                default.converted(report);
            }
        }
        words.extend(line.words.iter().skip(at + 1).map(String::as_str));
        let written = line.word(at).trim_start_matches("ipv4@").trim_start_matches("ipv6@");
        let address = match written.strip_prefix("unix@").or_else(|| written.starts_with('/').then_some(written)) {
            Some(path) => Some(format!("unix:{path}")),
            None => text::backend(written, if words.contains(&"ssl") { 443 } else { 80 }),
        };
        let Some(address) = address else {
            line.unsupported(report, "this is no address that can be called");
            return None;
        };
        let mut server = Server::default();
        let mut pairs = vec![("address".to_owned(), Value::from(address))];
        if !template {
            pairs.push(("name".to_owned(), line.word(1).into()));
        }
        let mut notes: Vec<String> = Vec::new();
        let mut rest = words.iter().copied();
        while let Some(word) = rest.next() {
            let mut next = || rest.next().unwrap_or_default();
            match word {
                "weight" => pairs.push(("weight".to_owned(), next().parse::<u64>().unwrap_or(1).min(256).into())),
                "backup" => pairs.push(("backup".to_owned(), true.into())),
                "maxconn" => match next().parse::<u64>() {
                    Ok(most) if most > 0 => pairs.push(("max_in_flight".to_owned(), most.into())),
                    _ => {}
                },
                "check" => server.check = true,
                "no-check" => server.check = false,
                "check-ssl" => server.check_tls = true,
                "disabled" => server.disabled = true,
                "inter" => server.inter = text::read_time(next(), MS),
                "fastinter" | "downinter" => server.inter_down = text::read_time(next(), MS),
                "rise" => server.rise = next().parse().ok(),
                "fall" => server.fall = next().parse().ok(),
                "port" => server.port = next().parse().ok(),
                "slowstart" => server.slow = text::read_time(next(), MS),
                "ssl" => server.tls = true,
                "verify" => server.verify = Some(next() == "required"),
                "ca-file" => server.ca = Some(next().to_owned()),
                "crt" => server.crt = Some(next().to_owned()),
                "sni" => server.sni = Some(next().to_owned()),
                "verifyhost" => server.sni = Some(next().to_owned()),
                "alpn" => server.alpn = next().to_owned(),
                "proto" => server.h2 = next() == "h2",
                "send-proxy" => server.proxy = Some("v1"),
                "send-proxy-v2" | "send-proxy-v2-ssl" | "send-proxy-v2-ssl-cn" => server.proxy = Some("v2"),
                "source" => server.source = Some(next().to_owned()),
                "cookie"
                | "resolvers"
                | "init-addr"
                | "resolve-prefer"
                | "resolve-opts"
                | "resolve-net"
                | "id"
                | "pool-max-conn"
                | "pool-purge-delay"
                | "pool-low-conn"
                | "minconn"
                | "maxqueue"
                | "check-sni"
                | "check-alpn"
                | "check-proto"
                | "ciphers"
                | "ciphersuites"
                | "ssl-min-ver"
                | "ssl-max-ver"
                | "crl-file"
                | "tcp-ut"
                | "log-proto"
                | "set-proxy-v2-tlv-fmt" => {
                    next();
                }
                "observe" | "error-limit" | "on-error" | "on-marked-down" | "on-marked-up" | "agent-addr"
                | "agent-port" | "agent-inter" | "agent-send" | "redir" | "track" | "addr" | "namespace" => {
                    let value = next().to_owned();
                    if !["mark-down", "shutdown-sessions", "layer7", "layer4"].contains(&value.as_str())
                        && word != "error-limit"
                    {
                        notes.push(format!("`{word} {value}` is not converted"));
                    }
                }
                "check-send-proxy" | "allow-0rtt" | "no-ssl-reuse" | "no-sslv3" | "no-tlsv10" | "no-tlsv11"
                | "no-tls-tickets" | "tfo" | "non-stick" | "stick" | "enabled" | "force-tlsv12" | "force-tlsv13"
                | "no-backup" | "no-ssl" => {}
                other => notes.push(format!("`{other}` is not converted")),
            }
        }
        if server.disabled {
            line.approximated(report, "it is disabled: left out");
            return None;
        }
        match notes.is_empty() {
            true => line.converted(report),
            false => line.approximated(report, notes.join("; ")),
        }
        let value = if template { line.word(at).into() } else { Value::Table(pairs) };
        Some((value, server))
    }

    /// server-template: whatever the name stands for.
    fn template(&mut self, pool: &mut Table, line: &'a Line, value: &Value) {
        let Value::Text(written) = value else { return };
        if written.starts_with('_') {
            pool.set(&["discover", "srv"], written.as_str(), Some(&line.place));
        } else if let Some((host, port)) = text::split_port(written) {
            pool.set(&["discover", "dns"], host, Some(&line.place));
            pool.set(&["discover", "port"], u64::from(port.unwrap_or(80)), None);
        }
        line.approximated(&mut self.draft.report, "as many backends as the name has addresses");
    }

    /// What servers say each for themselves, and a pool for all of them.
    fn shared(&mut self, pool: &mut Table, servers: &[Server], lines: &[&'a Line]) {
        let report = &mut self.draft.report;
        let Some(first) = servers.first() else { return };
        let differ = servers.iter().any(|one| {
            (one.tls, one.verify, &one.ca, &one.sni, one.proxy, one.h2)
                != (first.tls, first.verify, &first.ca, &first.sni, first.proxy, first.h2)
        });
        if let Some(line) = lines.iter().rev().find(|_| differ) {
            line.approximated(report, "TLS and PROXY are the pool's: those of its first server hold for all of them");
        }
        if let Some(version) = first.proxy {
            pool.set(&["send_proxy_protocol"], version, None);
        }
        if first.h2 || first.alpn.starts_with("h2") {
            pool.set(&["protocol"], if first.tls && first.alpn.contains("http/1.1") { "auto" } else { "h2" }, None);
        }
        if let Some(source) = &first.source {
            let address = text::split_port(source).map_or(source.as_str(), |(host, _)| host);
            if address.parse::<std::net::IpAddr>().is_ok_and(|ip| !ip.is_unspecified()) {
                pool.set(&["source_address"], address, None);
            }
        }
        if first.tls {
            let sni = first.sni.as_deref().map(|sni| sni.trim_start_matches("str(").trim_end_matches(')'));
            let mut plain = true;
            if let Some(name) = sni.filter(|name| text::is_host(name)) {
                pool.set(&["tls", "server_name"], name, None);
                plain = false;
            }
            if let Some(crt) = &first.crt {
                let path = self.base.crt(crt);
                pool.set(&["tls", "cert"], path.as_str(), None);
                pool.set(&["tls", "key"], path.as_str(), None);
                plain = false;
            }
            match (first.verify, &first.ca) {
                (Some(false), _) => pool.set(&["tls", "verify"], false, None),
                (_, Some(ca)) if ca != "@system-ca" => pool.set(&["tls", "ca"], self.base.ca(ca), None),
                _ if plain => pool.set(&["tls"], true, None),
                _ => {}
            }
        }
        if let Some(slow) = servers.iter().filter_map(|one| one.slow).max() {
            pool.set(&["slow_start"], text::time(slow), None);
        }
    }

    fn sticky(&mut self, pool: &mut Table, proxy: &Proxy<'a>) {
        if let Some(line) = proxy.last(&["cookie"]) {
            let report = &mut self.draft.report;
            if line.has("insert") {
                pool.set(&["sticky", "type"], "cookie", Some(&line.place));
                pool.set(&["sticky", "name"], line.word(1), None);
                if let Some(time) = line.after("maxlife").and_then(|text| text::read_time(text, Duration::from_secs(1)))
                {
                    pool.set(&["sticky", "ttl"], text::time(time), None);
                }
                line.approximated(
                    report,
                    "the cookie is evenkeel's own, sealed; write sticky.secret, the same on every instance",
                );
            } else if line.has("prefix") || line.has("rewrite") {
                pool.set(&["sticky", "type"], "app_cookie", Some(&line.place));
                pool.set(&["sticky", "name"], line.word(1), None);
                line.approximated(report, "the application's cookie is learned, and stays as it is");
            } else {
                line.unsupported(report, "write [pool.NAME.sticky]");
            }
        }
        for line in proxy.lines.iter().copied().filter(|line| line.word(0) == "stick") {
            let report = &mut self.draft.report;
            let what = if ["on", "match", "store-request", "store-response"].contains(&line.word(1)) {
                line.word(2)
            } else {
                ""
            };
            let (kind, inner) = what
                .trim_start_matches("req.")
                .trim_start_matches("res.")
                .split_once('(')
                .map_or((what, ""), |(kind, rest)| (kind, rest.trim_end_matches(')')));
            let (by, name) = match kind {
                "src" => ("source_ip", None),
                "cook" | "cookie" if text::is_token(inner) => ("app_cookie", Some(inner)),
                "hdr" | "fhdr" if text::is_token(inner) => ("header", Some(inner)),
                _ => {
                    line.unsupported(report, "write [pool.NAME.sticky]");
                    continue;
                }
            };
            if pool.value(&["sticky", "type"]).is_none() {
                pool.set(&["sticky", "type"], by, Some(&line.place));
                if let Some(name) = name {
                    pool.set(&["sticky", "name"], name, None);
                }
            }
            line.approximated(report, "by consistent hash, or learned; there is no table that is shared");
            for table in proxy.lines.iter().filter(|line| line.word(0) == "stick-table" && !line.is_told()) {
                table.approximated(report, "evenkeel keeps what it needs");
            }
        }
    }

    fn times(&mut self, pool: &mut Table, proxy: &Proxy<'a>) {
        // Each of ours, and what it is when nothing is written.
        for (theirs, ours) in [
            ("connect", &[(&["connect_timeout"][..], 2)][..]),
            ("server", &[(&["response_timeout"], 30), (&["body_timeout"], 60)]),
            ("tunnel", &[(&["tunnel_timeout"], 3600)]),
            ("queue", &[(&["queue", "timeout"], 5)]),
        ] {
            let Some((line, time)) = proxy.time(theirs) else { continue };
            match time {
                Some(time) if time.is_zero() => line.unsupported(&mut self.draft.report, "no time at all is none"),
                Some(time) => {
                    line.converted(&mut self.draft.report);
                    for (path, _) in ours.iter().filter(|(_, default)| time != Duration::from_secs(*default)) {
                        pool.set(path, text::time(time), Some(&line.place));
                    }
                }
                None => line.unsupported(&mut self.draft.report, "this is no time"),
            }
        }
    }

    fn retries(&mut self, pool: &mut Table, proxy: &Proxy<'a>) {
        if let Some(line) = proxy.last(&["retries"]) {
            match line.word(1).parse::<u64>() {
                Ok(2) => line.converted(&mut self.draft.report),
                Ok(count) => {
                    pool.set(&["retry", "attempts"], count.min(10), Some(&line.place));
                    line.approximated(
                        &mut self.draft.report,
                        "each on another backend while there is one, within a budget",
                    );
                }
                Err(_) => line.unsupported(&mut self.draft.report, "this is no number"),
            }
        }
        let Some(line) = proxy.last(&["retry-on"]) else { return };
        let mut on: Vec<Value> = Vec::new();
        for word in line.words.iter().skip(1) {
            let ours: &[&str] = match word.as_str() {
                "conn-failure" => &["connect"],
                "empty-response" | "junk-response" | "0rtt-rejected" => &["reset"],
                "response-timeout" => &["timeout"],
                "all-retryable-errors" => &["connect", "reset", "timeout", "500", "502", "503", "504"],
                code if code.parse::<u16>().is_ok_and(|code| (400..=599).contains(&code)) => &[code],
                _ => &[],
            };
            on.extend(ours.iter().map(|&one| Value::from(one)).filter(|one| !on.contains(one)).collect::<Vec<_>>());
        }
        if on.is_empty() {
            pool.set(&["retry", "attempts"], 0, Some(&line.place));
        } else {
            pool.set(&["retry", "on"], Value::List(on), Some(&line.place));
        }
        line.tell(
            &mut self.draft.report,
            Outcome::Approximated,
            "what cannot be sent twice is not, unless retry.non_idempotent says so",
        );
    }
}

/// What a server says that is the pool's here.
#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) check: bool,
    pub(super) check_tls: bool,
    disabled: bool,
    pub(super) inter: Option<Duration>,
    pub(super) inter_down: Option<Duration>,
    pub(super) rise: Option<u64>,
    pub(super) fall: Option<u64>,
    pub(super) port: Option<u64>,
    slow: Option<Duration>,
    pub(super) tls: bool,
    verify: Option<bool>,
    ca: Option<String>,
    crt: Option<String>,
    sni: Option<String>,
    alpn: String,
    h2: bool,
    proxy: Option<&'static str>,
    source: Option<String>,
}
