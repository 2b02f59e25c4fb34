//! proxy_set_header, add_header and their like: edits of headers. Called by `route`.

use super::{
    super::{
        report::Place,
        text,
        toml::{Table, Value},
    },
    Import,
    read::Directive,
    route::Draft,
    scope::Scope,
    variables,
};

/// What backends are told by evenkeel itself.
const TOLD: [(&str, &[&str]); 6] = [
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr"]),
    ("x-forwarded-proto", &["$scheme", "https", "http"]),
    ("x-forwarded-host", &["$host", "$http_host", "$host:$server_port"]),
    ("x-forwarded-port", &["$server_port", "443", "80"]),
    ("x-request-id", &["$request_id"]),
    ("forwarded", &[]),
];

impl<'a> Import<'a> {
    /// What backends get beside what clients send. What nginx would write over and cannot be said is removed: backends believe
    /// it, and the client's own must not reach them.
    pub(super) fn request_headers(&mut self, route: &mut Draft, scope: &Scope<'a>, server: &str) {
        let mut remove = Vec::new();
        let mut place = None;
        let all = if scope.has("grpc_pass") { "grpc_set_header" } else { "proxy_set_header" };
        for set in scope.all(all) {
            let (name, value) = (set.word(0).to_ascii_lowercase(), set.word(1));
            // The pool has it.
            if name == "host" || is_upgrade(set) {
                if !set.is_told() {
                    set.converted(&mut self.draft.report);
                }
                continue;
            }
            // What the service of auth_request has said: `access` copies it.
            let copied = |one: &&Directive| {
                one.word(0) == value && one.word(1) == format!("$upstream_http_{}", name.replace('-', "_"))
            };
            let asked = scope.last("auth_request").is_some_and(|one| one.word(0) != "off");
            if scope.all("auth_request_set").iter().any(copied) && asked {
                continue;
            }
            if text::is_ours(&name) {
                self.told(route, set, &name, value);
            } else if !text::is_token(&name) {
                set.unsupported(&mut self.draft.report, "this is not the name of a header");
            } else if value.strip_prefix("$http_").is_some_and(|own| own == name.replace('-', "_")) {
                set.converted(&mut self.draft.report);
            } else if variables::expand(value, &self.constants).is_empty() {
                set.converted(&mut self.draft.report);
                place = Some(&set.place);
                remove.push(name);
            } else if !self.edit(&mut route.table, (&["request_headers", "set"], &name), set, value, server) {
                place = Some(&set.place);
                remove.push(name);
            }
        }
        for more in scope.every("more_clear_input_headers").into_iter().chain(scope.every("more_set_input_headers")) {
            place = self.more(route, more, &mut remove).or(place);
        }
        for pass in scope.all("proxy_pass_request_headers").into_iter().chain(scope.all("proxy_pass_request_body")) {
            match pass.word(0) {
                "on" => pass.converted(&mut self.draft.report),
                _ if pass.is_told() => {}
                _ => pass.unsupported(&mut self.draft.report, "requests pass whole"),
            }
        }
        remove.sort();
        remove.dedup();
        // Nothing is sent to anybody where it was closed on the way.
        if route.table.value(&["respond"]).is_some() {
            route.table.drop_under("request_headers");
        } else if !remove.is_empty() {
            route.table.set(&["request_headers", "remove"], Value::words(remove), place);
        }
    }

    /// Headers of clients that are taken away, or written over: these go all the same, without what would be written.
    fn more(&mut self, route: &mut Draft, more: &'a Directive, remove: &mut Vec<String>) -> Option<&'a Place> {
        let names =
            more.words.iter().map(|word| word.split(':').next().unwrap_or_default().trim().to_ascii_lowercase());
        let (fine, other): (Vec<_>, Vec<_>) =
            names.partition(|name| text::is_token(name) && !name.contains('*') && !text::is_ours(name));
        match other.iter().find(|name| !text::is_ours(name)) {
            Some(_) => {
                self.shut(&mut route.table, &mut route.end, more, "these headers cannot be named one by one");
                return None;
            }
            None if more.name == "more_clear_input_headers" => more.converted(&mut self.draft.report),
            None => more.approximated(&mut self.draft.report, "what clients send of it is removed; nothing is written"),
        }
        remove.extend(fine);
        Some(&more.place)
    }

    /// A field that evenkeel writes itself.
    fn told(&mut self, route: &mut Draft, set: &Directive, name: &str, value: &str) {
        let report = &mut self.draft.report;
        let known = TOLD.iter().find(|(known, _)| *known == name);
        match (name, known) {
            (_, Some((_, values))) if values.contains(&value) => set.converted(report),
            ("connection", _) if ["", "close", "keep-alive"].contains(&value) => set.converted(report),
            ("x-real-ip", _) => set.approximated(
                report,
                "backends get X-Forwarded-For, whose first address is the client's; X-Real-IP is not sent",
            ),
            ("te", _) | ("keep-alive", _) | ("expect", _) => set.converted(report),
            // Those of trusted proxies pass, with what their clients have said.
            _ if name.starts_with("x-forwarded-") && self.draft.server.value(&["trusted_proxies"]).is_some() => {
                self.shut(&mut route.table, &mut route.end, set, "a trusted proxy may pass on what its client sends");
            }
            _ => set.unsupported(report, "evenkeel writes this header itself, or frames messages with it"),
        }
    }

    /// One header of `route`; `false`: its value cannot be said.
    fn edit(
        &mut self,
        route: &mut Table,
        (path, name): (&[&str], &str),
        from: &Directive,
        value: &str,
        server: &str,
    ) -> bool {
        let value = variables::expand(value, &self.constants);
        let gone = if path.first() == Some(&"request_headers") { ": what clients send of it is removed" } else { "" };
        match variables::template(&value, server) {
            Ok(template) if !template.chars().any(|letter| letter != '\t' && letter.is_control()) => {
                let whole: Vec<&str> = path.iter().copied().chain([name]).collect();
                let near = value.contains("http_host") || value.contains("upstream_addr");
                let note = match (route.value(&whole), path.last()) {
                    (Some(first), Some(&"add")) => {
                        let mut list = match first {
                            Value::List(list) => list.clone(),
                            one => vec![one.clone()],
                        };
                        list.push(template.as_str().into());
                        route.set(&whole, Value::List(list), Some(&from.place));
                        None
                    }
                    (Some(_), _) => {
                        route.set(&whole, template, Some(&from.place));
                        Some("it stands here twice: the last one counts")
                    }
                    (None, _) => {
                        route.set(&whole, template, Some(&from.place));
                        near.then_some("{host} has no port, and {backend} is its name")
                    }
                };
                match note {
                    Some(note) => from.approximated(&mut self.draft.report, note),
                    None if from.is_told() => {}
                    None => from.converted(&mut self.draft.report),
                }
                return true;
            }
            Ok(_) => from.unsupported(&mut self.draft.report, format!("the value of a header is one line{gone}")),
            Err(variable) => from.unsupported(&mut self.draft.report, format!("there is no {variable} here{gone}")),
        }
        false
    }

    /// What clients get beside what backends send.
    pub(super) fn response_headers(&mut self, route: &mut Table, scope: &Scope<'a>, server: &str) {
        let mut remove = Vec::new();
        let mut place = None;
        for hide in scope.every("proxy_hide_header").into_iter().chain(scope.every("more_clear_headers")) {
            let name = hide.word(0).to_ascii_lowercase();
            if text::is_token(&name) && !text::is_ours(&name) {
                hide.converted(&mut self.draft.report);
                place = Some(&hide.place);
                if !remove.contains(&name) {
                    remove.push(name);
                }
            } else {
                hide.unsupported(&mut self.draft.report, "evenkeel sees to this header itself");
            }
        }
        if !remove.is_empty() {
            route.set(&["response_headers", "remove"], Value::words(remove), place);
        }
        for add in scope.all("add_header") {
            let name = add.word(0).to_ascii_lowercase();
            if !text::is_token(&name) || text::is_ours(&name) {
                add.unsupported(&mut self.draft.report, "evenkeel sees to this header itself");
            } else if add.word(1).is_empty() {
                add.converted(&mut self.draft.report);
            } else {
                self.edit(route, (&["response_headers", "add"], &name), add, add.word(1), server);
            }
        }
        for set in scope.all("more_set_headers") {
            match set.word(0).split_once(':') {
                Some((name, value)) if text::is_token(name) && !text::is_ours(name) => {
                    let name = name.to_ascii_lowercase();
                    self.edit(route, (&["response_headers", "set"], &name), set, value.trim(), server);
                }
                _ => set.unsupported(&mut self.draft.report, "evenkeel sees to this header itself"),
            }
        }
        self.expires(route, scope);
    }

    fn expires(&mut self, route: &mut Table, scope: &Scope<'a>) {
        let Some(expires) = scope.last("expires") else { return };
        let value = match expires.word(0) {
            "off" => return expires.converted(&mut self.draft.report),
            "epoch" => "no-cache".to_owned(),
            "max" => "max-age=315360000".to_owned(),
            text if text.starts_with('-') => "no-cache".to_owned(),
            text => match text::read_time(text, std::time::Duration::from_secs(1)) {
                Some(time) => format!("max-age={}", time.as_secs()),
                None => return expires.unsupported(&mut self.draft.report, "this is no time"),
            },
        };
        route.set(&["response_headers", "set", "cache-control"], value, Some(&expires.place));
        expires.approximated(&mut self.draft.report, "Cache-Control alone: caches of HTTP/1.1 prefer it to Expires");
    }
}

/// Of the idiom that lets WebSockets pass, which they do anyway.
fn is_upgrade(set: &Directive) -> bool {
    let name = set.word(0);
    let value = set.word(1);
    name.eq_ignore_ascii_case("upgrade") && value == "$http_upgrade"
        || name.eq_ignore_ascii_case("connection") && (value.eq_ignore_ascii_case("upgrade") || value.starts_with('$'))
}
