//! proxy_set_header, add_header and their like: edits of headers. Called by `route`.

use super::{
    super::{
        text,
        toml::{Table, Value},
    },
    Import,
    read::Directive,
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
    /// What backends get beside what clients send.
    pub(super) fn request_headers(&mut self, route: &mut Table, scope: &Scope<'a>, server: &str) {
        let mut remove = Vec::new();
        let mut place = None;
        for set in scope.any(&["proxy_set_header", "grpc_set_header"]) {
            let (name, value) = (set.word(0).to_ascii_lowercase(), set.word(1));
            // The pool has it.
            if name == "host" || is_upgrade(set) {
                if !set.is_told() {
                    set.converted(&mut self.draft.report);
                }
                continue;
            }
            if text::is_ours(&name) {
                self.told(set, &name, value);
            } else if !text::is_token(&name) {
                set.unsupported(&mut self.draft.report, "this is not the name of a header");
            } else if value.is_empty() {
                set.converted(&mut self.draft.report);
                place = Some(&set.place);
                remove.push(name);
            } else if !set.is_told() || route.value(&["auth"]).is_none() {
                self.edit(route, (&["request_headers", "set"], &name), set, value, server);
            }
        }
        for pass in scope.all("proxy_pass_request_headers").into_iter().chain(scope.all("proxy_pass_request_body")) {
            match pass.word(0) {
                "on" => pass.converted(&mut self.draft.report),
                _ if pass.is_told() => {}
                _ => pass.unsupported(&mut self.draft.report, "requests pass whole"),
            }
        }
        if !remove.is_empty() {
            route.set(&["request_headers", "remove"], Value::words(remove), place);
        }
    }

    /// A field that evenkeel writes itself.
    fn told(&mut self, set: &Directive, name: &str, value: &str) {
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
            _ => set.unsupported(report, "evenkeel writes this header itself, or frames messages with it"),
        }
    }

    /// One header of `route`.
    fn edit(&mut self, route: &mut Table, (path, name): (&[&str], &str), from: &Directive, value: &str, server: &str) {
        let value = variables::expand(value, &self.constants);
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
            }
            Ok(_) => from.unsupported(&mut self.draft.report, "the value of a header is one line"),
            Err(variable) => from.unsupported(&mut self.draft.report, format!("there is no {variable} here")),
        }
    }

    /// What clients get beside what backends send.
    pub(super) fn response_headers(&mut self, route: &mut Table, scope: &Scope<'a>, server: &str) {
        let mut remove = Vec::new();
        let mut place = None;
        for hide in scope.every("proxy_hide_header").chain(scope.every("more_clear_headers")) {
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
