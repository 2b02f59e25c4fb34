//! option httpchk and http-check: health checks. Called by `backend`.

use std::time::Duration;

use super::{
    super::{
        text,
        toml::{Table, Value},
    },
    Import, Proxy,
    backend::Server,
};

impl<'a> Import<'a> {
    /// How it is found out whether a server can serve.
    pub(super) fn checks(&mut self, pool: &mut Table, proxy: &Proxy<'a>, servers: &[Server]) {
        let checked: Vec<_> = servers.iter().filter(|one| one.check).collect();
        let Some(first) = checked.first() else {
            // Ours looks whether connections are accepted anyway.
            return;
        };
        let mut expect = false;
        if let Some(line) = proxy.last(&["option", "httpchk"]) {
            let tls = first.check_tls || first.tls && first.port.is_none();
            pool.set(&["health_check", "type"], if tls { "https" } else { "http" }, Some(&line.place));
            let (method, path) = match (line.word(2), line.word(3)) {
                ("", _) => ("OPTIONS", "/"),
                (path, "") => ("OPTIONS", path),
                (method, path) => (method, path),
            };
            let mut host = None;
            // `HTTP/1.1\r\nHost:\ www` is how it was written of old.
            if let Some((_, rest)) = line.value().to_ascii_lowercase().split_once("host:") {
                host = rest.split_whitespace().next().map(str::to_owned);
            }
            line.converted(&mut self.draft.report);
            self.sent(pool, proxy, (method, path), host);
            expect = true;
        }
        for line in
            proxy.every(&["option"]).filter(|line| line.word(1).ends_with("-check") || line.word(1) == "ldap-check")
        {
            if line.word(1) != "tcp-check" {
                line.approximated(&mut self.draft.report, "a check looks whether connections are accepted");
            } else {
                line.converted(&mut self.draft.report);
            }
        }
        if expect {
            self.expected(pool, proxy);
        }
        let mut time = |key: &str, time: Option<Duration>, default: u64| {
            if let Some(time) = time.filter(|time| !time.is_zero() && *time != Duration::from_secs(default)) {
                pool.set(&["health_check", key], text::time(time), None);
            }
        };
        // Every two seconds, unless told otherwise.
        time("interval", Some(first.inter.unwrap_or(Duration::from_secs(2))), 10);
        time("interval_down", first.inter_down, 2);
        let checks = proxy.time("check");
        if let Some((line, Some(limit))) = checks {
            time("timeout", Some(limit), 5);
            line.converted(&mut self.draft.report);
        }
        let mut count = |key: &str, count: Option<u64>, default: u64| {
            if let Some(count) = count.filter(|count| *count != default && *count > 0) {
                pool.set(&["health_check", key], count, None);
            }
        };
        count("healthy_threshold", first.rise, 2);
        count("unhealthy_threshold", first.fall, 3);
        count("port", first.port, 0);
    }

    /// What the check asks for.
    fn sent(&mut self, pool: &mut Table, proxy: &Proxy<'a>, (method, path): (&str, &str), host: Option<String>) {
        let (mut method, mut path, mut host) = (method.to_owned(), path.to_owned(), host);
        for send in proxy.every(&["http-check", "send"]) {
            method =
                send.after("meth").map_or(if method == "OPTIONS" { "GET".to_owned() } else { method }, str::to_owned);
            path = send.after("uri").map_or(path, str::to_owned);
            let at = send.words.iter().position(|word| word.eq_ignore_ascii_case("host"));
            host = at.and_then(|at| send.words.get(at + 1)).cloned().or(host);
            if let Some(body) = send.after("body") {
                pool.set(&["health_check", "body"], body, Some(&send.place));
            }
            for (at, _) in send.words.iter().enumerate().filter(|(_, word)| *word == "hdr") {
                let (name, value) = (send.word(at + 1), send.word(at + 2));
                if !name.eq_ignore_ascii_case("host") && text::is_token(name) && !text::is_ours(name) {
                    pool.set(&["health_check", "headers", &name.to_ascii_lowercase()], value, None);
                }
            }
            send.converted(&mut self.draft.report);
        }
        if !path.starts_with('/') {
            path = "/".to_owned();
        }
        pool.set(&["health_check", "path"], path, None);
        if method != "GET" {
            pool.set(&["health_check", "method"], method, None);
        }
        if let Some(host) = host.filter(|host| text::is_host(host) || text::backend(host, 80).is_some()) {
            pool.set(&["health_check", "host"], host, None);
        }
    }

    /// What is expected of it: any answer that is no error, unless told otherwise.
    fn expected(&mut self, pool: &mut Table, proxy: &Proxy<'a>) {
        let mut statuses = Value::List(vec!["200-399".into()]);
        for line in proxy.every(&["http-check", "expect"]) {
            let negated = line.has("!");
            let word = line.words.iter().skip(2).find(|word| {
                !["!", "min-recv", "comment", "ok-status", "error-status", "tout-status"].contains(&word.as_str())
            });
            let kind = word.map_or("", String::as_str);
            let value = line.after(kind).unwrap_or_default();
            match (kind, negated) {
                ("status", false) => {
                    let one = |text: &str| match text.parse::<u64>() {
                        Ok(number) => Value::Number(number),
                        Err(_) => text.into(),
                    };
                    let list: Vec<_> = value
                        .split(',')
                        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
                        .map(one)
                        .collect();
                    if list.is_empty() {
                        line.unsupported(&mut self.draft.report, "these are no statuses");
                        continue;
                    }
                    statuses = Value::List(list);
                }
                ("string", false) => pool.set(&["health_check", "expect_body"], value, Some(&line.place)),
                ("rstring", false) if text::is_regex(value) => {
                    pool.set(
                        &["health_check", "expect_body"],
                        Value::table([("regex", value.into())]),
                        Some(&line.place),
                    );
                }
                ("rstatus", false) => {
                    let hundreds: Vec<Value> = (1..=5)
                        .filter(|digit| {
                            value.contains(&format!("{digit}..")) || value.contains(&format!("{digit}[0-9]"))
                        })
                        .map(|digit| format!("{digit}00-{digit}99").into())
                        .collect();
                    if hundreds.is_empty() {
                        line.unsupported(&mut self.draft.report, "write expect_status with numbers and ranges");
                        continue;
                    }
                    statuses = Value::List(hundreds);
                }
                _ => {
                    line.unsupported(&mut self.draft.report, "what must not be there cannot be expected");
                    continue;
                }
            }
            line.converted(&mut self.draft.report);
        }
        pool.set(&["health_check", "expect_status"], statuses, None);
    }
}
