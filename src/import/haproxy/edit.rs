//! What rules change, and what rules behind them see of it. Called by `rules` and `frontend`. Pure.

use super::{
    super::toml::{Table, Value},
    predicate::Key,
    read::Line,
};

/// What a rule changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Edit {
    /// Key of a route, dotted, and its value.
    Set(Vec<String>, Value),
    /// One more element of the list there.
    Push(Vec<String>, Value),
    /// What backends see of the path.
    Rewrite(Vec<(&'static str, String)>),
    /// Nothing is written, though rules behind it would see something else.
    Hidden(Changed),
}

/// What rules behind an edit do not see as the client has sent it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Changed {
    Nothing,
    /// With the query.
    Path,
    Method,
    Client,
    Header(String),
    All,
}

impl Changed {
    /// What `line` changes, whatever is made of it.
    pub(super) fn by(line: &Line) -> Self {
        let at = match line.word(0) {
            "http-request" => 1,
            "tcp-request" => 2,
            _ => return Self::Nothing,
        };
        match line.word(at) {
            "set-header" | "add-header" | "replace-header" | "replace-value" | "del-header" => match line.has("-m") {
                true => Self::All,
                false => Self::Header(line.word(at + 1).to_ascii_lowercase()),
            },
            "set-path" | "set-pathq" | "set-uri" | "set-query" | "replace-path" | "replace-pathq" | "replace-uri" => {
                Self::Path
            }
            "set-method" => Self::Method,
            "set-src" | "expect-proxy" | "expect-netscaler-cip" => Self::Client,
            name if ["lua.", "send-spoe"].iter().any(|kind| name.starts_with(kind)) => Self::All,
            _ => Self::Nothing,
        }
    }
}

impl Edit {
    /// Does it to `route`.
    pub(super) fn write(&self, route: &mut Table) {
        match self {
            Self::Set(path, value) => {
                let path: Vec<_> = path.iter().map(String::as_str).collect();
                // What was added before is replaced.
                if let [side, "set", name] = path.as_slice() {
                    route.remove(&[side, "add", name]);
                }
                route.set(&path, value.clone(), None);
            }
            Self::Push(path, value) => {
                let path: Vec<_> = path.iter().map(String::as_str).collect();
                // Ours removes before it writes: what was written before goes.
                if let ([side, "remove"], Value::Text(name)) = (path.as_slice(), value) {
                    route.remove(&[side, "set", name]);
                    route.remove(&[side, "add", name]);
                }
                let list = match route.value(&path) {
                    None => value.clone(),
                    Some(Value::List(list)) if list.contains(value) => return,
                    Some(Value::List(list)) => Value::List(list.iter().cloned().chain([value.clone()]).collect()),
                    Some(one) if one == value => return,
                    Some(one) => Value::List(vec![one.clone(), value.clone()]),
                };
                route.set(&path, list, None);
            }
            Self::Hidden(_) => {}
            Self::Rewrite(pairs) => {
                for part in ["strip_prefix", "add_prefix", "regex", "replacement"] {
                    route.remove(&["rewrite", part]);
                }
                for (part, text) in pairs {
                    route.set(&["rewrite", part], text.as_str(), None);
                }
            }
        }
    }

    /// It is of use where nothing goes to a backend.
    pub(super) fn is_for_answers(&self) -> bool {
        match self {
            Self::Set(path, _) | Self::Push(path, _) => path.first().is_none_or(|first| first != "request_headers"),
            Self::Rewrite(_) | Self::Hidden(_) => false,
        }
    }

    /// It is not made, though rules behind it would see what it does.
    pub(super) fn hidden(&self) -> Self {
        Self::Hidden(match self {
            Self::Set(path, _) | Self::Push(path, _) => match (path.as_slice(), self) {
                ([side, way], Self::Push(_, Value::Text(name))) if side == "request_headers" && way == "remove" => {
                    Changed::Header(name.clone())
                }
                ([side, _, name], _) if side == "request_headers" => Changed::Header(name.clone()),
                _ => Changed::Nothing,
            },
            Self::Rewrite(_) => Changed::Path,
            Self::Hidden(changed) => changed.clone(),
        })
    }

    /// Rules behind it see something else at `key` than what the client has sent.
    pub(super) fn changes(&self, key: &Key) -> bool {
        let Self::Hidden(changed) = self.hidden() else { return false };
        match (key, changed) {
            (Key::Listener, _) | (_, Changed::Nothing) => false,
            (_, Changed::All) => true,
            (Key::Path | Key::Query(_), Changed::Path) => true,
            (Key::Method, Changed::Method) | (Key::Client, Changed::Client) => true,
            (Key::Header(name), Changed::Header(other)) => *name == other,
            (Key::Host, Changed::Header(other)) => other == "host",
            (Key::Cookie(_), Changed::Header(other)) => other == "cookie",
            _ => false,
        }
    }
}
