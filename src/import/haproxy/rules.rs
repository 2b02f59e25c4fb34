//! http-request, http-response, redirect, use_backend: lines as rules that `decide` walks. Called by `frontend`.

use super::{
    super::{report::Outcome, text, toml::Value},
    Import, Proxy,
    acl::{Acls, Beyond, Side, Terms},
    decide::{Act, Rule},
    edit::{Changed, Edit},
    format::{format, groups, strip},
    gates::{instead, is_harmless},
    read::Line,
};

/// Where a way ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Pool(String),
    /// `redirect` or `respond`, and its status.
    Answer(&'static str, Value, u64),
    /// What protects could not be converted.
    Closed,
}

impl End {
    /// It sends elsewhere.
    pub(super) fn is_redirect(&self) -> bool {
        matches!(self, Self::Answer("redirect", ..))
    }

    /// It is no refusal.
    pub(super) fn is_served(&self) -> bool {
        matches!(self, Self::Answer(_, _, ..400))
    }
}

/// What one line does.
enum Done {
    Act(Act<Edit, End>),
    /// It has been told of.
    Told,
    /// It is none of ours.
    Other,
}

impl<'a> Import<'a> {
    /// The rules of `proxy` in the order in which HAProxy asks them, without where they lead at last.
    pub(super) fn requests(&mut self, proxy: &Proxy<'a>, acls: &Acls<'a>) -> Vec<Rule<Edit, End>> {
        let mut rules = Vec::new();
        let phase = |line: &Line| match (line.word(0), line.word(1)) {
            ("tcp-request", "connection") => Some(0),
            ("tcp-request", "session") => Some(1),
            ("tcp-request", "content") => Some(2),
            ("monitor-uri", _) => Some(3),
            ("block", _) => Some(4),
            ("http-request", _) => Some(5),
            ("redirect", _) => Some(6),
            _ => None,
        };
        // Those of its defaults come first, and name ACLs that stand there.
        let inherited = Acls::new(&proxy.defaults, acls.places.clone(), self.files);
        let own = proxy.lines.iter().map(|line| (*line, acls));
        let lines = proxy.defaults.iter().map(|line| (*line, &inherited)).chain(own);
        let mut lines: Vec<_> = lines.filter_map(|(line, acls)| Some((phase(line)?, line, acls))).collect();
        lines.sort_by_key(|(phase, ..)| *phase);
        for (phase, line, acls) in lines {
            let done = match line.word(0) {
                "http-request" | "block" => self.request(line, 1),
                "tcp-request" => self.connection(line),
                "redirect" => self.redirect(line, 1),
                _ => {
                    let path = line.word(1);
                    line.converted(&mut self.draft.report);
                    let answer = Value::table([("status", 200.into()), ("body", "ok".into())]);
                    self.rule(
                        line,
                        Act::End(End::Answer("respond", answer, 200)),
                        Ok(vec![vec![super::acl::path_is(path)]]),
                        phase,
                        &mut rules,
                    );
                    continue;
                }
            };
            let changed = Changed::by(line);
            let done = match done {
                Done::Told | Done::Other if changed != Changed::Nothing => {
                    if !line.is_told() {
                        let (outcome, note) = super::known::note(proxy.head.word(0), &line.words);
                        line.tell(&mut self.draft.report, outcome, note);
                    }
                    Done::Act(Act::Edit(Edit::Hidden(changed)))
                }
                done => done,
            };
            if let Done::Act(act) = done {
                // A redirect for nearly the same requests opens nothing.
                let side = match &act {
                    Act::End(end) if end.is_redirect() => Side::Neither,
                    Act::Allow => Side::In,
                    act if instead(act).is_some() => Side::Out,
                    _ => Side::Neither,
                };
                let condition = acls.condition(&line.words, side != Side::Neither, side);
                let condition = self.limited((line, phase), condition, &act, proxy, &mut rules);
                let condition = condition.map_err(|why| (why, acls.wider(&line.words)));
                self.rule(line, act, condition, phase, &mut rules);
            }
        }
        for line in inherited.used().into_iter().filter(|line| !line.is_told()) {
            line.converted(&mut self.draft.report);
        }
        rules
    }

    /// Adds the rule of `line`, or says why there is none.
    pub(super) fn rule(
        &mut self,
        line: &'a Line,
        act: Act<Edit, End>,
        condition: Result<Terms, (Beyond, Terms)>,
        phase: u8,
        rules: &mut Vec<Rule<Edit, End>>,
    ) {
        match condition {
            Ok(terms) => {
                if terms.is_empty() {
                    return;
                }
                if !line.is_told() {
                    line.converted(&mut self.draft.report);
                }
                self.origins.push(line);
                rules.push(Rule { terms, act, phase, origin: self.origins.len() - 1 });
            }
            Err((why, wider)) => {
                let what = format!("`{}` cannot be asked for by a route", why.what);
                let report = &mut self.draft.report;
                let other = match instead(&act) {
                    Some(Act::End(_)) if why.counts => None,
                    other => other,
                };
                match &other {
                    Some(Act::End(_)) => {
                        let note =
                            format!("{what}, and it refuses: whatever it may be about gets 503 until you decide");
                        line.tell(report, Outcome::Closed, note);
                    }
                    Some(_) => {
                        line.approximated(report, format!("{what}: the header is removed from all it may be about"));
                    }
                    None => line.unsupported(report, what),
                }
                let hidden = match &act {
                    Act::Edit(edit) => Some(Act::Edit(edit.hidden())),
                    _ => None,
                };
                if let Some(act) = other.or(hidden) {
                    self.origins.push(line);
                    rules.push(Rule { terms: wider, act, phase, origin: self.origins.len() - 1 });
                }
            }
        }
    }

    fn connection(&mut self, line: &'a Line) -> Done {
        let refusal = || Done::Act(Act::End(End::Answer("respond", Value::table([("status", 403.into())]), 403)));
        let at = if line.word(1) == "inspect-delay" { return Done::Other } else { 2 };
        match line.word(at) {
            "reject" | "silent-drop" => {
                line.approximated(
                    &mut self.draft.report,
                    "the answer is 403; deny of a listener closes connections at once",
                );
                refusal()
            }
            "accept" => Done::Act(Act::Allow),
            name if name.starts_with("track-sc") => Done::Told,
            name => self.unknown(line, name),
        }
    }

    /// What stands behind `http-request`.
    fn request(&mut self, line: &'a Line, at: usize) -> Done {
        let (name, argument) = line
            .word(at)
            .split_once('(')
            .map_or((line.word(at), ""), |(name, rest)| (name, rest.trim_end_matches(')')));
        if line.word(0) == "block" {
            return Done::Act(Act::End(End::Answer("respond", Value::table([("status", 403.into())]), 403)));
        }
        match name {
            "deny" | "reject" | "silent-drop" | "tarpit" => {
                let status =
                    line.after("deny_status").or_else(|| line.after("status")).and_then(|text| text.parse().ok());
                let status = status.filter(|status| (400..=599).contains(status)).unwrap_or(403u64);
                if name != "deny" {
                    line.approximated(&mut self.draft.report, format!("the answer is {status}, at once"));
                }
                Done::Act(Act::End(End::Answer("respond", Value::table([("status", status.into())]), status)))
            }
            "return" => self.answer(line),
            "allow" => Done::Act(Act::Allow),
            "auth" => {
                line.tell(
                    &mut self.draft.report,
                    Outcome::Closed,
                    "users of a userlist are not read: write a file of htpasswd -B, [auth.NAME] with type = \"basic\", and auth in these routes",
                );
                Done::Act(Act::End(End::Closed))
            }
            "redirect" => self.redirect(line, at + 1),
            "set-header" | "add-header" => {
                let path = if name == "set-header" { "set" } else { "add" };
                self.header(line, "request_headers", path, line.word(at + 1), line.word(at + 2))
            }
            "del-header" => self.removed(line, "request_headers", line.word(at + 1)),
            "replace-header" | "replace-value" => self.cleared(line, line.word(at + 1), "it cannot be edited here"),
            "set-path" | "replace-path" | "set-pathq" => self.path(line, name, at),
            "use-service" => {
                line.approximated(&mut self.draft.report, "the admin address has /metrics; here it is 404");
                Done::Act(Act::End(End::Answer("respond", Value::table([("status", 404.into())]), 404)))
            }
            "set-log-level" if line.word(at + 1) == "silent" => {
                Done::Act(Act::Edit(Edit::Set(vec!["access".to_owned()], "off".into())))
            }
            "capture" | "set-log-level" | "set-nice" | "set-mark" | "set-tos" | "disable-l7-retry"
            | "normalize-uri" => {
                line.approximated(
                    &mut self.draft.report,
                    "paths are normalised anyway; log.access_fields has headers in the log",
                );
                Done::Told
            }
            "wait-for-handshake" | "wait-for-body" => {
                line.tell(
                    &mut self.draft.report,
                    Outcome::Converted,
                    "there is no 0-RTT, and bodies are streamed within bounds",
                );
                Done::Told
            }
            name if name.starts_with("track-sc") => Done::Told,
            "set-var" | "unset-var" if !argument.is_empty() => {
                line.unsupported(&mut self.draft.report, "evenkeel has no variables of your own");
                Done::Told
            }
            name => self.unknown(line, name),
        }
    }

    /// An action that nothing is written for.
    fn unknown(&mut self, line: &'a Line, name: &str) -> Done {
        if is_harmless(name) {
            return Done::Other;
        }
        let note = "what it does is not known, and it may refuse: whom it is for gets 503 until you decide";
        line.tell(&mut self.draft.report, Outcome::Closed, note);
        Done::Act(Act::End(End::Closed))
    }

    fn answer(&mut self, line: &'a Line) -> Done {
        let status: u64 = line.after("status").and_then(|text| text.parse().ok()).unwrap_or(200);
        if !(200..=599).contains(&status) {
            return Done::Other;
        }
        let body = line
            .after("string")
            .map(text::literal)
            .or_else(|| line.after("lf-string").and_then(|text| format(text).ok()));
        let mut pairs = vec![("status".to_owned(), status.into())];
        if let Some(body) = body.filter(|_| ![204, 205, 304].contains(&status)) {
            pairs.push(("body".to_owned(), body.into()));
        }
        if let Some(kind) = line.after("content-type") {
            pairs.push(("content_type".to_owned(), kind.into()));
        }
        if line.has("file") || line.has("lf-file") || line.has("errorfile") || line.has("hdr") {
            line.approximated(&mut self.draft.report, "files and headers of the answer are not converted");
        }
        Done::Act(Act::End(End::Answer("respond", Value::Table(pairs), status)))
    }

    /// What stands behind `redirect`.
    fn redirect(&mut self, line: &'a Line, at: usize) -> Done {
        let code = line.after("code").and_then(|text| text.parse().ok()).unwrap_or(302u64);
        let target = line.word(at + 1);
        let made = match line.word(at) {
            "scheme" if ["https", "http"].contains(&target) => Ok(format!("{target}://{{host}}{{path_and_query}}")),
            "prefix" => {
                let query = if line.has("drop-query") { "{path}" } else { "{path_and_query}" };
                format(target).map(|prefix| match prefix.as_str() {
                    "/" | "" => format!("{{scheme}}://{{host}}{query}"),
                    prefix if prefix.starts_with('/') => {
                        format!("{{scheme}}://{{host}}{}{query}", prefix.trim_end_matches('/'))
                    }
                    prefix => format!("{}{query}", prefix.trim_end_matches('/')),
                })
            }
            "location" => format(target),
            _ => Err(line.word(at).to_owned()),
        };
        let clear = |to: &String| {
            let away = ["https://", "http://", "{scheme}://"].iter().any(|scheme| to.starts_with(scheme));
            to.bytes().all(|byte| byte.is_ascii_graphic())
                && (away || to.starts_with('/') && !to[1..].starts_with(['/', '\\', '{']))
        };
        if line.has("set-cookie") || line.has("clear-cookie") || line.has("append-slash") {
            line.approximated(&mut self.draft.report, "cookies and slashes are not added");
        }
        match made.ok().filter(clear).filter(|_| [301, 302, 303, 307, 308].contains(&code)) {
            Some(to) => {
                let mut pairs = vec![("to".to_owned(), Value::from(to))];
                if code != 308 {
                    pairs.push(("status".to_owned(), code.into()));
                }
                Done::Act(Act::End(End::Answer("redirect", Value::Table(pairs), code)))
            }
            None => {
                let note =
                    "it leads to where a template of ours cannot: whom it would redirect gets 503 until you decide";
                line.tell(&mut self.draft.report, Outcome::Closed, note);
                Done::Act(Act::End(End::Closed))
            }
        }
    }

    /// A header that is written; `way` is `set` or `add`.
    fn header(&mut self, line: &'a Line, side: &str, way: &str, name: &str, value: &str) -> Done {
        let name = name.to_ascii_lowercase();
        let report = &mut self.draft.report;
        if !text::is_token(&name) {
            line.unsupported(report, "this is not the name of a header");
            return Done::Told;
        }
        if text::is_ours(&name) {
            match name.as_str() {
                "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "x-request-id"
                | "forwarded" => line.converted(report),
                "x-real-ip" => line.approximated(
                    report,
                    "backends get X-Forwarded-For, whose first address is the client's; X-Real-IP is not sent",
                ),
                "host" => line.unsupported(
                    report,
                    "pass_host = false of a pool sends its backends' address as Host; one of your own cannot be set",
                ),
                _ if name.starts_with("x-client-cert") => line.converted(report),
                _ => line.unsupported(report, "evenkeel writes this header itself, or frames messages with it"),
            }
            return Done::Told;
        }
        match format(value) {
            Ok(template) if !template.chars().any(|letter| letter != '\t' && letter.is_control()) => {
                let path = vec![side.to_owned(), way.to_owned(), name];
                Done::Act(Act::Edit(if way == "set" {
                    Edit::Set(path, template.into())
                } else {
                    Edit::Push(path, template.into())
                }))
            }
            value => {
                let why =
                    value.map_or_else(|what| format!("there is no {what} here"), |_| "a value is one line".to_owned());
                if side == "request_headers" && way == "set" {
                    return self.cleared(line, &name, &why);
                }
                line.unsupported(report, why);
                Done::Told
            }
        }
    }

    /// A header of requests whose value of theirs ours cannot have: clients may not write it either.
    fn cleared(&mut self, line: &'a Line, name: &str, why: &str) -> Done {
        let done = self.removed(line, "request_headers", name);
        if matches!(done, Done::Act(_)) {
            line.approximated(&mut self.draft.report, format!("{why}: the header is removed, whoever sends it"));
        }
        done
    }

    fn removed(&mut self, line: &'a Line, side: &str, name: &str) -> Done {
        let name = name.to_ascii_lowercase();
        if line.has("-m") && side == "request_headers" {
            let note =
                "which headers those are cannot be said: whose they would be removed from gets 503 until you decide";
            line.tell(&mut self.draft.report, Outcome::Closed, note);
            return Done::Act(Act::End(End::Closed));
        }
        if text::is_ours(&name) || !text::is_token(&name) || line.has("-m") {
            match name.starts_with("x-forwarded-") || name == "x-real-ip" {
                true => line.tell(
                    &mut self.draft.report,
                    Outcome::Converted,
                    "what others than trusted proxies send is removed",
                ),
                false => line.unsupported(&mut self.draft.report, "this header is not for rules"),
            }
            return Done::Told;
        }
        Done::Act(Act::Edit(Edit::Push(vec![side.to_owned(), "remove".to_owned()], name.into())))
    }

    fn path(&mut self, line: &'a Line, name: &str, at: usize) -> Done {
        let (first, second) = (line.word(at + 1), line.word(at + 2));
        let pairs = match name {
            "replace-path" => {
                let regex = first.replace("\\/", "/");
                groups(second)
                    .filter(|to| to.starts_with('/') && text::is_path(&to.replace(['$', '{', '}'], "")))
                    .filter(|to| text::groups_fit(&regex, to))
                    .map(|to| vec![("regex", text::whole_path(&regex)), ("replacement", to)])
            }
            // The path with something in front or behind.
            _ => match first.split_once("%[path]").or_else(|| first.split_once("%[pathq]")) {
                Some((front, "")) if text::is_path(front) => {
                    Some(vec![("add_prefix", front.trim_end_matches('/').to_owned())])
                }
                None if text::is_path(first) => {
                    Some(vec![("regex", "^.*$".to_owned()), ("replacement", first.replace('$', "$$"))])
                }
                _ => strip(first),
            },
        };
        match pairs {
            Some(pairs) => Done::Act(Act::Edit(Edit::Rewrite(pairs))),
            None => {
                line.unsupported(&mut self.draft.report, "this edit of the path has no counterpart");
                Done::Told
            }
        }
    }

    /// Edits of answers, for all routes of `proxy`; what has a condition cannot be one.
    pub(super) fn responses(&mut self, proxy: &Proxy<'a>) -> Vec<Edit> {
        let mut edits = Vec::new();
        // The latter are done when all of the former are.
        for line in proxy.every(&["http-response"]).chain(proxy.every(&["http-after-response"])) {
            if line.has("if") || line.has("unless") {
                line.unsupported(&mut self.draft.report, "edits of answers have no conditions");
                continue;
            }
            let done = match line.word(1) {
                "set-header" => self.header(line, "response_headers", "set", line.word(2), line.word(3)),
                "add-header" => self.header(line, "response_headers", "add", line.word(2), line.word(3)),
                "del-header" => self.removed(line, "response_headers", line.word(2)),
                _ => Done::Other,
            };
            if let Done::Act(Act::Edit(edit)) = done {
                line.converted(&mut self.draft.report);
                edits.push(edit);
            }
        }
        edits
    }
}
