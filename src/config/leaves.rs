//! What is written in a configuration's files, key by key: the values that people recognise in a diff. Secrets are masked.
//!
//! Made by `written`, read by the plan's diff. Whether two configurations mean the same is not decided here: this tells what
//! stands in the files where they do not.

use std::{collections::BTreeMap, fmt};

use toml::{Table, Value};

use super::{section::join, units};

/// The longest value that is shown whole.
const LONGEST: usize = 200;
/// The last part of a key whose value is not shown. Where it is kept is: `token.file`.
const SECRETS: &[&str] = &["token", "secret", "password", "passwd", "api_key", "apikey"];
/// Fields that show who somebody is, wherever they stand in a key.
const FIELDS: &[&str] = &["authorization", "proxy_authorization", "cookie", "set_cookie", "x_api_key", "x_auth_token"];

/// All tables of all files.
#[derive(Debug, Default)]
pub struct Leaves(Table);

/// The keys of one table, dotted, with what is written there.
pub type Keys = BTreeMap<String, Leaf>;

/// A value as it is written.
#[derive(Clone, Debug)]
pub struct Leaf {
    value: Value,
    masked: bool,
}

impl Leaves {
    /// Of the texts of a configuration, which is known to be valid, in the order that they were read.
    pub(super) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut all = Table::new();
        for text in texts {
            // A byte order mark is none of the text.
            let table: Table = text.trim_start_matches('\u{feff}').parse().unwrap_or_default();
            table.into_iter().for_each(|(name, value)| join_in(&mut all, name, value));
        }
        Self(all)
    }

    /// What is written in `[name]`.
    pub fn section(&self, name: &str) -> Keys {
        self.0.get(name).map(keys).unwrap_or_default()
    }

    /// What is written in `[kind.name]`.
    pub fn named(&self, kind: &str, name: &str) -> Keys {
        let value = self.0.get(kind).and_then(|kind| kind.get(name));
        value.map(keys).unwrap_or_default()
    }

    /// What is written in the `place`th `[[kind]]` of all files.
    pub fn element(&self, kind: &str, place: usize) -> Keys {
        let value = self.0.get(kind).and_then(|kind| match kind {
            Value::Array(list) => list.get(place),
            one => Some(one).filter(|_| place == 0),
        });
        value.map(keys).unwrap_or_default()
    }
}

impl Leaf {
    /// Both are written alike, or mean the same: `"60s"` and `"1m"`.
    pub fn is_like(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::String(one), Value::String(two)) => {
                one == two || same(one, two, units::duration) || same(one, two, units::size)
            }
            (one, two) => one == two,
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.masked {
            return f.write_str("***");
        }
        let text = without_password(&self.value.to_string());
        match text.char_indices().nth(LONGEST) {
            Some((at, _)) => write!(f, "{}…", &text[..at]),
            None => f.write_str(&text),
        }
    }
}

fn same<T: PartialEq, E>(one: &str, two: &str, read: impl Fn(&str) -> Result<T, E>) -> bool {
    matches!((read(one), read(two)), (Ok(one), Ok(two)) if one == two)
}

/// What another file says of the same: tables of names have all of them, lists go on.
fn join_in(all: &mut Table, name: String, value: Value) {
    match (all.get_mut(&name), value) {
        (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
        (Some(known), more) => {
            let list = |value: &mut Value| match std::mem::replace(value, Value::Boolean(false)) {
                Value::Array(list) => list,
                one => vec![one],
            };
            let (mut both, mut more) = (list(known), more);
            both.append(&mut list(&mut more));
            *known = Value::Array(both);
        }
        (None, value) => drop(all.insert(name, value)),
    }
}

fn keys(value: &Value) -> Keys {
    let mut keys = Keys::new();
    flatten("", value, &mut keys);
    keys
}

/// Tables are walked into, lists of tables too; a list of one is its one element.
fn flatten(path: &str, value: &Value, keys: &mut Keys) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&join(path, key), value, keys)),
        Value::Array(list) => match list.as_slice() {
            [one] if !path.is_empty() => flatten(path, one, keys),
            list if list.iter().any(Value::is_table) => {
                list.iter().enumerate().for_each(|(place, value)| flatten(&format!("{path}[{place}]"), value, keys));
            }
            _ => drop(keys.insert(path.to_owned(), Leaf { value: value.clone(), masked: is_secret(path) })),
        },
        value => drop(keys.insert(path.to_owned(), Leaf { value: value.clone(), masked: is_secret(path) })),
    }
}

/// What stands at `path` is not for everybody.
fn is_secret(path: &str) -> bool {
    let plain = path.to_ascii_lowercase().replace('-', "_");
    let name = |part: &'_ str| part.split('[').next().unwrap_or_default().trim_matches('"').to_owned();
    let parts: Vec<_> = plain.split('.').map(name).collect();
    let last = parts.last().map(String::as_str).unwrap_or_default();
    // `cookie = { plan = "x" }` is a route's predicate: the name of a cookie is no field.
    let is_field = |part: &String| FIELDS.contains(&part.as_str());
    SECRETS.iter().any(|word| last.ends_with(word)) || parts.iter().skip(1).any(is_field)
}

/// `text` without what stands between `://` and `@` there.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.find(['/', '"', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Leaves {
        Leaves::of(texts.iter().copied())
    }

    fn shown(keys: &Keys) -> Vec<String> {
        keys.iter().map(|(key, leaf)| format!("{key} = {leaf}")).collect()
    }

    #[test]
    fn tables_of_several_files_are_one_configuration() {
        let leaves = of(&[
            "[server]\nworkers = 2\n[[route]]\npath = \"/a\"\npool = \"a\"\n[pool.a]\nbackends = [\"x:1\"]",
            "[pool.b]\nbackends = [\"x:1\", \"y:1\"]\n[pool.b.retry]\nattempts = 1\n[[route]]\npool = \"b\"",
        ]);
        assert_eq!(shown(&leaves.section("server")), ["workers = 2"]);
        assert_eq!(shown(&leaves.named("pool", "b")), ["backends = [\"x:1\", \"y:1\"]", "retry.attempts = 1"]);
        assert_eq!(shown(&leaves.named("pool", "a")), ["backends = \"x:1\""], "a list of one is its element");
        assert_eq!(shown(&leaves.element("route", 1)), ["pool = \"b\""]);
        assert!(leaves.element("route", 2).is_empty() && leaves.named("pool", "c").is_empty());
        let one = of(&["listener.address = \"[::]:80\""]);
        assert_eq!(shown(&one.element("listener", 0)), ["address = \"[::]:80\""]);
    }

    #[test]
    fn lists_of_tables_are_walked_into() {
        let leaves = of(&["[pool.a]\nhealth_check = [{ type = \"tcp\" }, { type = \"http\", path = \"/\" }]"]);
        let keys =
            ["health_check[0].type = \"tcp\"", "health_check[1].path = \"/\"", "health_check[1].type = \"http\""];
        assert_eq!(shown(&leaves.named("pool", "a")), keys);
    }

    #[test]
    fn secrets_are_masked_and_where_they_are_kept_is_not() {
        let leaves = of(&["[s]\ntoken = { file = \"/t\" }\n[s.request_headers.set]\nAuthorization = \"Bearer x\"\n\
                           x-env = \"prod\"\nx-my-token = \"y\"\n[s.query]\npassword = \"z\"\n\
                           [s.headers]\n\"X-Api-Key\" = { present = true }\n[s.auth]\njwks = \"https://me:pw@x/keys\""]);
        let shown = shown(&leaves.section("s")).join("\n");
        for line in [
            "token.file = \"/t\"",
            "request_headers.set.Authorization = ***",
            "request_headers.set.x-env = \"prod\"",
            "request_headers.set.x-my-token = ***",
            "query.password = ***",
            "headers.X-Api-Key.present = ***",
            "auth.jwks = \"https://***@x/keys\"",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
    }

    #[test]
    fn what_means_the_same_is_alike() {
        let leaf = |text: &str| Leaf { value: Value::String(text.into()), masked: false };
        for (one, two) in [("60s", "1m"), ("1KiB", "1024B"), ("x", "x")] {
            assert!(leaf(one).is_like(&leaf(two)), "{one} {two}");
        }
        for (one, two) in [("60s", "60m"), ("x", "y"), ("60s", "off"), ("1KB", "1KiB")] {
            assert!(!leaf(one).is_like(&leaf(two)), "{one} {two}");
        }
        let long = leaf(&"x".repeat(300)).to_string();
        assert!(long.ends_with('…') && long.chars().count() == LONGEST + 1);
    }
}
