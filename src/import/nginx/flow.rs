//! What nginx does before it looks who serves a request: return, rewrite, set, if. Called by `route`.

use super::{
    super::{
        report::{Outcome, Place},
        text,
        toml::{Table, Value},
    },
    Import,
    condition::{Condition, condition},
    location::{self, Location},
    pass,
    read::Directive,
    scope::Scope,
    variables,
};

/// An answer of our own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    key: &'static str,
    value: Value,
    pub(super) status: u64,
    pub(super) place: Place,
}

impl Action {
    /// What is refused until people decide, for the sake of `one`.
    pub(super) fn closed(one: &Directive) -> Self {
        let answer = [("status", 503.into()), ("body", "closed by the import of its configuration".into())];
        Self { key: "respond", value: Value::table(answer), status: 503, place: one.place.clone() }
    }

    /// It leads elsewhere than to the same path of another scheme or host.
    fn sends_away(&self) -> bool {
        let Value::Table(pairs) = &self.value else { return false };
        let to = pairs.iter().find_map(|(name, to)| match to {
            Value::Text(to) if self.key == "redirect" && name == "to" => to.split_once("://"),
            _ => None,
        });
        self.key == "redirect"
            && to.is_none_or(|(_, to)| to.find(['/', '?']).is_some() || !to.ends_with("{path_and_query}"))
    }

    /// Makes it what `route` does.
    pub(super) fn write(&self, route: &mut Table) {
        route.set(&[self.key], self.value.clone(), Some(&self.place));
    }
}

/// What is done at one place.
#[derive(Debug, Default)]
pub(super) struct Flow<'a> {
    /// Answers for some requests, in their order.
    pub(super) guards: Vec<(Condition, Action)>,
    /// Answers for some paths.
    pub(super) paths: Vec<(String, Action)>,
    /// The answer for all others.
    pub(super) end: Option<Action>,
    /// Expression, replacement, and where it stands.
    pub(super) rewrite: Option<(String, String, Place)>,
    /// What protects and could not be converted.
    pub(super) closed: Option<&'a Directive>,
    /// Rewrites that lead to what protects.
    pub(super) jumps: Vec<&'a Directive>,
}

impl<'a> Import<'a> {
    /// Reads the innermost block of `scope`; `server` is that server's name.
    pub(super) fn flow(&mut self, scope: &Scope<'a>, server: &str) -> Flow<'a> {
        self.steps(scope, server, false)
    }

    /// `own`: of a location, whose route can edit the path.
    fn steps(&mut self, scope: &Scope<'a>, server: &str, own: bool) -> Flow<'a> {
        let mut flow = Flow::default();
        for one in scope.own() {
            match one.name.as_str() {
                "set" => self.set(one),
                "return" => {
                    if let Some(action) = self.answer(one, scope, server) {
                        if !one.is_told() {
                            one.converted(&mut self.draft.report);
                        }
                        flow.end = Some(action);
                    } else {
                        flow.closed = Some(one);
                    }
                    break;
                }
                "rewrite" => {
                    self.rewrite(one, &mut flow, server, own);
                    if flow.end.is_some() {
                        break;
                    }
                }
                "if" => self.branch(one, scope, &mut flow, server),
                "break" => one.converted(&mut self.draft.report),
                // Whatever else gives a name to something knows it at run time alone.
                name if name.starts_with("set_") || name == "auth_request_set" => {
                    self.constants.remove(one.word(0).trim_start_matches('$'));
                }
                _ => {}
            }
        }
        flow
    }

    /// What is done at `one`, and then at the named location that it comes to.
    pub(super) fn inner(&mut self, one: &Location<'a>, server: &str) -> Flow<'a> {
        let mut flow = self.steps(&one.scope, server, true);
        let named = pass::named(one, &self.server_locations).filter(|_| flow.end.is_none()).cloned();
        if let Some(named) = named {
            let then = self.steps(&named.scope, server, true);
            flow.guards.extend(then.guards);
            flow.jumps.extend(then.jumps);
            flow.end = then.end;
            flow.closed = flow.closed.or(then.closed);
            flow.rewrite = then.rewrite.or(flow.rewrite);
        }
        flow
    }

    /// A name for a text that is known now.
    fn set(&mut self, one: &'a Directive) {
        let name = one.word(0).trim_start_matches('$').to_owned();
        let value = variables::expand(one.word(1), &self.constants);
        let report = &mut self.draft.report;
        match value.contains('$') && !value.ends_with("${request_uri}") {
            true => {
                self.constants.remove(&name);
                one.unsupported(report, "its value is known at run time alone");
            }
            false => {
                one.converted(report);
                self.constants.insert(name, value);
            }
        }
    }

    /// `return`
    fn answer(&mut self, one: &Directive, scope: &Scope<'a>, server: &str) -> Option<Action> {
        let text = |at: usize| variables::expand(one.word(at), &self.constants);
        let (status, value) = match one.word(0).parse::<u64>() {
            Ok(status) => (status, text(1)),
            Err(_) => (302, text(0)),
        };
        let place = one.place.clone();
        if [301, 302, 303, 307, 308].contains(&status) {
            return redirect(&value, status, server, place);
        }
        let status = match status {
            // A connection that is closed without a word.
            444 => 403,
            200..=599 => status,
            _ => return None,
        };
        let mut pairs = vec![("status".to_owned(), status.into())];
        if !value.is_empty() && ![204, 205, 304].contains(&status) {
            let body = variables::template(&value, server).unwrap_or_else(|variable| {
                one.approximated(&mut self.draft.report, format!("there is no {variable} here: its body is empty"));
                String::new()
            });
            pairs.push(("body".to_owned(), body.into()));
            let kind = scope.last("default_type").map(|one| one.word(0)).filter(|kind| *kind != "text/plain");
            let fine =
                |kind: &&str| kind.contains('/') && kind.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'$');
            if let Some(kind) = kind.filter(fine) {
                pairs.push(("content_type".to_owned(), kind.into()));
            }
        }
        Some(Action { key: "respond", value: Value::Table(pairs), status, place })
    }

    fn rewrite(&mut self, one: &'a Directive, flow: &mut Flow<'a>, server: &str, own: bool) {
        let (regex, to, flag) = (location::regex(one.word(0)), one.word(1), one.word(2));
        let away = ["http://", "https://", "$scheme://"].iter().any(|scheme| to.starts_with(scheme));
        let report = &mut self.draft.report;
        if flag == "redirect" || flag == "permanent" || away {
            let status = if flag == "permanent" { 301 } else { 302 };
            let all = ["^", "^(.*)$", "^(.*)", "(.*)", "^/(.*)$", "^/(.*)", "/(.*)", "^/?(.*)$", "^.*$", "^(/.*)$"];
            let whole = match (all.contains(&regex.as_str()), regex.contains("/(") || regex.contains("/?(")) {
                (true, true) => Some(to.replace("/$1", "$request_uri")),
                (true, false) => Some(to.replace("$1", "$request_uri")),
                (false, _) => None,
            };
            let fixed = !to.contains("$1") && !to.contains("$2");
            let to = whole.as_deref().unwrap_or(to).trim_end_matches('?');
            let action = redirect(&variables::expand(to, &self.constants), status, server, one.place.clone());
            match action {
                Some(action) if whole.is_some() => {
                    one.converted(report);
                    flow.end = Some(action);
                }
                None if whole.is_some() => flow.closed = Some(one),
                Some(_) if fixed && own => one.unsupported(report, "a route has one answer: write one for these paths"),
                Some(action) if fixed && !own && text::is_regex(&regex) => {
                    one.approximated(report, "the query is not kept; an exact location goes first");
                    flow.paths.push((regex, action));
                }
                _ => one.unsupported(report, "a redirect has no pieces of the path: write the routes that are meant"),
            }
            return;
        }
        let replacement = replacement(to);
        match (flag, replacement) {
            ("break", Some(replacement)) if own && text::is_regex(&regex) && text::groups_fit(&regex, &replacement) => {
                match flow.rewrite {
                    None => one.converted(report),
                    Some(_) => return one.unsupported(report, "a route has one rewrite"),
                }
                flow.rewrite = Some((text::whole_path(&regex), replacement, one.place.clone()));
            }
            ("break", _) if own => one.unsupported(report, "this cannot be written as an expression and a path"),
            _ if location::leads_in(&self.server_locations, &regex, to) => flow.jumps.push(one),
            _ => {
                one.unsupported(
                    report,
                    "paths are not looked up again: write the rewrite into the route that is meant",
                );
            }
        }
    }

    fn branch(&mut self, one: &'a Directive, scope: &Scope<'a>, flow: &mut Flow<'a>, server: &str) {
        let constants = self.constants.clone();
        let inner = self.flow(&scope.within(one.inside()), server);
        // What it names is so for some, and nobody knows for whom.
        self.constants = constants;
        for set in one.inside().iter().filter(|inside| inside.name.starts_with("set")) {
            self.constants.remove(set.word(0).trim_start_matches('$'));
        }
        let refuses = inner.end.as_ref().is_some_and(|action| action.status >= 400)
            || one.inside().iter().any(|inside| super::known::protects(&inside.name))
            || inner.closed.is_some()
            || !inner.jumps.is_empty();
        // Those who are led elsewhere do not come here, unless it is for want of a file.
        let leads = one.inside().iter().any(|inside| inside.name.ends_with("_pass") || inside.name == "rewrite");
        let file = one.word(0).trim_start_matches(['(', '!']).starts_with('-');
        let end = match inner.end {
            None if leads && !file && !refuses => {
                let note = "it leads elsewhere, which a route cannot do for some: they get 503 until you decide";
                one.tell(&mut self.draft.report, Outcome::Closed, note);
                Some(Action::closed(one))
            }
            end => end,
        };
        let refuses = refuses || leads && end.as_ref().is_some_and(|action| action.status == 503);
        let asked = condition(one);
        // Who is sent away, to log in maybe, is kept out as well.
        let sent = end.as_ref().is_some_and(Action::sends_away);
        let gate = refuses || sent && asked.as_ref().is_none_or(|asked| asked.negated);
        let near =
            |asked: &Condition| asked.is_near(gate) || gate && asked.is_of_client() && !self.knows_clients(scope);
        match (asked.filter(|asked| !near(asked)), end) {
            (Some(condition), Some(action)) => {
                if !one.is_told() {
                    one.converted(&mut self.draft.report);
                }
                flow.guards.push((condition, action));
            }
            _ if gate => {
                flow.closed = Some(one);
            }
            (None, _) => one.unsupported(&mut self.draft.report, "its condition cannot be asked for by a route"),
            (Some(_), None) => one.unsupported(&mut self.draft.report, "what it does cannot be done by a route"),
        }
    }
}

/// A redirect to `to`; `None` where it cannot be said.
fn redirect(to: &str, status: u64, server: &str, place: Place) -> Option<Action> {
    let to = variables::template(to, server).ok()?;
    let graphic = to.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = to.starts_with("http://") || to.starts_with("https://") || to.starts_with("{scheme}://");
    let to = match to.strip_prefix("{path_and_query}").or_else(|| to.strip_prefix("{path}")) {
        // Where it stays on this host, that is said: a path may begin with two slashes.
        Some(_) => format!("{{scheme}}://{{host}}{to}"),
        None => to,
    };
    let local = to.starts_with('/') && !to.starts_with("//") && !to[1..].starts_with(['\\', '{']);
    if !graphic || !(absolute || local || to.starts_with("{scheme}://")) {
        return None;
    }
    let mut pairs = vec![("to".to_owned(), Value::from(to))];
    if status != 308 {
        pairs.push(("status".to_owned(), status.into()));
    }
    Some(Action { key: "redirect", value: Value::Table(pairs), status, place })
}

/// What nginx puts in place of a path, as the crate `regex` writes it; the arguments are kept anyway.
fn replacement(to: &str) -> Option<String> {
    let to = to.trim_end_matches('?');
    let to = ["?$args", "$is_args$args"].iter().fold(to, |to, end| to.trim_end_matches(end));
    if !to.starts_with('/') && !to.starts_with('$') || to.contains(['?', '#', '\\', ' ']) {
        return None;
    }
    let mut out = String::new();
    for piece in variables::pieces(to) {
        match piece {
            variables::Piece::Text(text) => out.push_str(&text.replace('$', "$$")),
            variables::Piece::Variable(name) => {
                // `$1x` is group 1 and an x in nginx, and a name here.
                let digit = name.chars().next().filter(char::is_ascii_digit);
                match digit {
                    Some(digit) => out.extend(["${", &digit.to_string(), "}", &name[1..]]),
                    None => return None,
                }
            }
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_are_of_the_whole_path() {
        let rewritten = |regex: &str, to: &str, path: &str| {
            let regex = ::regex::Regex::new(&text::whole_path(regex)).unwrap();
            regex.replace_all(path, replacement(to).unwrap()).into_owned()
        };
        assert_eq!(rewritten("^/api/(.*)$", "/$1", "/api/x/y"), "/x/y");
        assert_eq!(rewritten("/old", "/new", "/a/old/b"), "/new");
        assert_eq!(rewritten("^/u/(\\d+)x?", "/user/$1z", "/u/12"), "/user/12z");
        assert_eq!(replacement("/a?b=$1"), None);
        assert_eq!(replacement("$uri/x"), None);
        assert_eq!(replacement("/x$is_args$args").as_deref(), Some("/x"));
    }
}
