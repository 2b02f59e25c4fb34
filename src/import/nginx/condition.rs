//! `if`: what it asks for as predicates of a route of ours. Called by `route`.

use super::{
    super::{text, toml::Value},
    flow::Action,
    listen::Door,
    read::Directive,
};
use crate::config;

/// What a request must be like.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// A key of a route, dotted, and its value.
    Key(Vec<String>, Value),
    /// The host instead of the server's own.
    Host(String),
    /// TLS, or none.
    Tls(bool),
    /// The port of the listener.
    Port(u16),
}

/// The condition of an `if`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) test: Test,
    /// It is for the requests that are not like that.
    pub(super) negated: bool,
}

/// Reads what stands in the parentheses of `one`; `None`: our routes cannot ask for it.
pub(super) fn condition(one: &Directive) -> Option<Condition> {
    let joined = one.words.join("\u{0}");
    let inner = joined.trim().strip_prefix('(')?.strip_suffix(')')?;
    let words: Vec<_> = inner.split('\u{0}').map(str::trim).filter(|word| !word.is_empty()).collect();
    let (name, operator, value) = match words.as_slice() {
        [name] => (*name, "", ""),
        [name, operator] if inner.ends_with('\u{0}') || ["=", "!="].contains(operator) => (*name, *operator, ""),
        [name, operator, value] => (*name, *operator, *value),
        _ => return None,
    };
    let name = name.strip_prefix('$')?;
    let negated = operator.starts_with('!');
    let test = match operator.trim_start_matches('!') {
        "" if operator.is_empty() => matched(name, Value::table([("present", true.into())]))?,
        "=" if value.is_empty() => matched(name, Value::table([("absent", true.into())]))?,
        "=" => equal(name, value)?,
        "~" => found(name, value, false)?,
        "~*" => found(name, value, true)?,
        _ => return None,
    };
    Some(Condition { test, negated })
}

impl Test {
    /// By which listener a request comes decides; `None`: something else does.
    pub(super) fn fits(&self, door: &Door) -> Option<bool> {
        match self {
            Self::Tls(tls) => Some(door.tls == *tls),
            Self::Port(port) => Some(door.port == Some(*port)),
            Self::Key(..) | Self::Host(_) => None,
        }
    }
}

impl Condition {
    /// It asks for the client's address.
    pub(super) fn is_of_client(&self) -> bool {
        matches!(&self.test, Test::Key(key, _) if key == &["client_ip"])
    }

    /// nginx looks at the first argument or cookie of a name, in letters of any case; ours at all of exactly that name. What
    /// passes here and not there is somebody that `refuses` would keep out.
    pub(super) fn is_near(&self, refuses: bool) -> bool {
        let Test::Key(key, value) = &self.test else { return false };
        // Who has none of them has none here either; but the name of an argument may be written with escapes, which nginx does
        // not see.
        let absent = *value == Value::table([("absent", true.into())]) && !self.negated && key[0] == "cookie";
        refuses && !absent && ["cookie", "query"].contains(&key[0].as_str())
    }
}

fn equal(name: &str, value: &str) -> Option<Test> {
    match name {
        "request_method" => Some(Test::Key(vec!["method".to_owned()], value.into())),
        "scheme" if ["http", "https"].contains(&value) => Some(Test::Tls(value == "https")),
        "https" if value == "on" => Some(Test::Tls(true)),
        "server_port" => value.parse().ok().map(Test::Port),
        "host" | "http_host" => text::is_match(value).then(|| Test::Host(value.to_ascii_lowercase())),
        // Letter by letter: a network is no address.
        "remote_addr" if value.contains('/') => None,
        "remote_addr" => Some(Test::Key(vec!["client_ip".to_owned()], text::network(value)?.into())),
        _ => matched(name, value.into()),
    }
}

fn found(name: &str, regex: &str, any_case: bool) -> Option<Test> {
    let regex = super::location::regex(regex);
    if name == "request_method" {
        let words = text::words(&regex)?;
        return Some(Test::Key(vec!["method".to_owned()], Value::words(words)));
    }
    let regex = if any_case { format!("(?i){regex}") } else { regex };
    let regex = text::octets(&regex);
    let value = Value::table([("regex", regex.as_str().into())]);
    matched(name, value).filter(|_| text::is_regex(&regex))
}

/// A header, cookie or parameter.
fn matched(name: &str, value: Value) -> Option<Test> {
    let key = |kind: &str, name: &str| Test::Key(vec![kind.to_owned(), name.to_owned()], value.clone());
    if let Some(name) = name.strip_prefix("cookie_") {
        return Some(key("cookie", name));
    }
    if let Some(name) = name.strip_prefix("arg_") {
        return Some(key("query", name));
    }
    let name = name.strip_prefix("http_")?.replace('_', "-");
    let fine = text::is_token(&name) && !config::is_lifted(&name) && name != "cookie";
    fine.then(|| key("header", &name))
}

/// What nginx takes for empty is there and empty, or not there: two predicates of ours. So `= ""` asks for both, and so does an
/// expression that is found in nothing.
pub(super) fn empty((condition, action): (Condition, Action)) -> Vec<(Condition, Action)> {
    let mut both = vec![(condition.clone(), action.clone())];
    let absent = Value::table([("absent", true.into())]);
    let (Test::Key(key, value), false) = (condition.test, condition.negated) else { return both };
    let found = match &value {
        Value::Table(pairs) => pairs.iter().find_map(|(kind, regex)| match regex {
            Value::Text(regex) if kind == "regex" => text::compiled(regex),
            _ => None,
        }),
        _ => None,
    };
    let other = match () {
        () if value == absent => Value::table([("regex", "^$".into())]),
        () if found.is_some_and(|regex| regex.is_match(b"")) => absent,
        () => return both,
    };
    both.push((Condition { test: Test::Key(key, other), negated: false }, action));
    both
}
