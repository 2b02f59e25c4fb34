//! `config/reference.toml`: every key with its meaning and its default, written from the doc comments of the types here.
//!
//! Called by `evenkeel reference`. The types describe what may be written and are never filled: `read` fills [`Config`].
//! The order of the keys is that of `keys`; tests see to it that neither knows a key that the other does not. A field
//! without a comment is a table that is a part of its own; `schema` tells of the same types to editors.
//!
//! [`Config`]: super::Config
#![allow(dead_code, reason = "the types are read by their schema alone")]

mod auth;
mod breaker;
mod kinds;
mod limit;
mod listener;
mod pool;
mod process;
mod route;
mod schema;
mod test;

use schemars::{JsonSchema, Schema, schema_for};
use serde_json::Value;

pub use self::schema::schema;
use super::keys::{self, Keys};

/// Where a comment is broken.
const WIDTH: usize = 110;
const HEAD: &str = "\
#:schema ./evenkeel.schema.json

# Every key that evenkeel understands, with its default; what is commented out is an example, and not a default.
#
#   evenkeel reference > evenkeel.toml
#
# Written by that command from the source: do not edit it here.
";

/// A table of the file.
struct Part {
    /// How it is headed; nothing for the file itself.
    head: &'static str,
    keys: &'static Keys,
    schema: Schema,
    /// Its values are the defaults; otherwise it is an example as a whole.
    live: bool,
}

fn part<T: JsonSchema>(head: &'static str, keys: &'static Keys, live: bool) -> Part {
    Part { head, keys, schema: schema_for!(T), live }
}

/// In the order of PRODUCT.md.
fn parts() -> Vec<Part> {
    vec![
        part::<process::Document>("", &keys::DOCUMENT, true),
        part::<process::Server>("[server]", &keys::SERVER, true),
        part::<process::Admin>("[admin]", &keys::ADMIN, true),
        part::<process::Secret>("[admin.token]", &keys::SECRET, false),
        part::<process::Log>("[log]", &keys::LOG, true),
        part::<process::Trace>("[trace]", &keys::TRACE, false),
        part::<process::Metrics>("[metrics]", &keys::METRICS, true),
        part::<process::ErrorPage>("[error_pages.503]", &keys::ERROR_PAGE, false),
        part::<listener::Listener>("[[listener]]", &keys::LISTENER, true),
        part::<listener::H2>("[listener.h2]", &keys::H2, true),
        part::<listener::Tls>("[listener.tls]", &keys::LISTENER_TLS, false),
        part::<listener::Certificate>("[[listener.tls.certificates]]", &keys::CERTIFICATE, false),
        part::<route::Route>("[[route]]", &keys::ROUTE, true),
        part::<route::Path>("[route.path]", &keys::PATH, false),
        part::<route::Text>("[route.header.x-id]", &keys::TEXT, false),
        part::<route::Split>("[[route.split]]", &keys::SPLIT, false),
        part::<route::Redirect>("[route.redirect]", &keys::REDIRECT, false),
        part::<route::Respond>("[route.respond]", &keys::RESPOND, false),
        part::<route::Fallback>("[route.fallback]", &keys::FALLBACK, false),
        part::<route::Mirror>("[route.mirror]", &keys::MIRROR, false),
        part::<route::HeaderRules>("[route.request_headers]", &keys::HEADER_RULES, false),
        part::<route::HeaderRules>("[route.response_headers]", &keys::HEADER_RULES, false),
        part::<route::Rewrite>("[route.rewrite]", &keys::REWRITE, false),
        part::<auth::Cors>("[route.cors]", &keys::CORS, false),
        part::<auth::Auth>("[auth.main]", &keys::AUTH, false),
        part::<auth::File>("[auth.main.users]", &keys::FILE, false),
        part::<limit::InFlightLimit>("[route.in_flight_limit]", &keys::IN_FLIGHT_LIMIT, false),
        part::<limit::RateLimit>("[rate_limit.per-ip]", &keys::RATE_LIMIT, false),
        part::<limit::Tier>("[[rate_limit.per-ip.tiers]]", &keys::TIER, false),
        part::<limit::TierKeys>("[rate_limit.per-ip.tiers.keys]", &keys::TIER_KEYS, false),
        part::<test::Test>("[[test]]", &keys::TEST, false),
        part::<test::Sample>("[test.request]", &keys::SAMPLE, false),
        part::<test::Expect>("[test.expect]", &keys::EXPECT, false),
        part::<pool::Pool>("[pool.api]", &keys::POOL, true),
        part::<pool::Discover>("[pool.api.discover]", &keys::DISCOVER, false),
        part::<pool::Backend>("[[pool.api.backends]]", &keys::BACKEND, false),
        part::<pool::Tls>("[pool.api.tls]", &keys::POOL_TLS, false),
        part::<pool::Hash>("[pool.api.hash]", &keys::HASH, false),
        part::<pool::CustomLoad>("[pool.api.custom_load]", &keys::CUSTOM_LOAD, false),
        part::<pool::Poll>("[pool.api.custom_load.poll]", &keys::POLL, false),
        part::<pool::Sticky>("[pool.api.sticky]", &keys::STICKY, false),
        part::<pool::Keepalive>("[pool.api.keepalive]", &keys::KEEPALIVE, true),
        part::<pool::Queue>("[pool.api.queue]", &keys::QUEUE, true),
        part::<pool::HealthCheck>("[pool.api.health_check]", &keys::HEALTH_CHECK, true),
        part::<pool::Body>("[pool.api.health_check.expect_body]", &keys::BODY, false),
        part::<breaker::CircuitBreaker>("[pool.api.circuit_breaker]", &keys::CIRCUIT_BREAKER, true),
        part::<breaker::Outlier>("[pool.api.outlier]", &keys::OUTLIER, false),
        part::<pool::Retry>("[pool.api.retry]", &keys::RETRY, true),
        part::<pool::Backoff>("[pool.api.retry.backoff]", &keys::BACKOFF, true),
    ]
}

/// A configuration that can be used, and that says of every key what it means and what its default is.
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    for part in parts() {
        out.push('\n');
        let front = if part.live { "" } else { "# " };
        comment(&mut out, "", description(part.schema.get("description")));
        let head = if part.head.is_empty() { String::new() } else { format!("{front}{}", part.head) };
        out.push_str(&format!("{head}\n"));
        // Tables of a table are parts of their own.
        let settings = part.keys.known.iter().filter_map(|key| Some((key, property(&part, key)?)));
        for (number, (key, property)) in settings.enumerate() {
            if number > 0 {
                out.push_str(if part.live { "\n" } else { "#\n" });
            }
            setting(&mut out, key, property, part.live);
        }
    }
    out
}

/// What is said of `key`; nothing of tables, which are parts of their own.
fn property<'p>(part: &'p Part, key: &str) -> Option<&'p Value> {
    part.schema.get("properties")?.get(key).filter(|property| property.get("description").is_some())
}

/// A key with its default, or else commented out with an example; both where the default shows no form.
fn setting(out: &mut String, key: &str, property: &Value, live: bool) {
    let front = if live { "" } else { "# " };
    comment(out, front, description(property.get("description")));
    let example = property.get("examples").and_then(|examples| examples.get(0));
    let shown = property.get("x-shown").is_some();
    match property.get("default").or(example.filter(|_| shown)) {
        Some(value) => out.push_str(&format!("{front}{key} = {}\n", toml(value))),
        None => out.extend(example.map(|value| format!("# {key} = {}\n", toml(value)))),
    }
    if let (Some(_), Some(example)) = (property.get("default"), example) {
        out.push_str(&format!("# {key} = {}\n", toml(example)));
    }
}

fn description(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

/// `text` as comments behind `front`, a line for each paragraph, broken between words.
fn comment(out: &mut String, front: &str, text: &str) {
    for paragraph in text.split("\n\n") {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                out.push_str(&format!("{front}# {line}\n"));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            out.push_str(&format!("{front}# {line}\n"));
        }
    }
}

/// A value as TOML writes it on one line.
fn toml(value: &Value) -> String {
    let list = |list: Vec<String>| list.join(", ");
    match value {
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Array(values) => format!("[{}]", list(values.iter().map(toml).collect())),
        Value::Object(table) => {
            let entry = |(key, value): (&String, &Value)| match key.contains('.') {
                true => format!("\"{key}\" = {}", toml(value)),
                false => format!("{key} = {}", toml(value)),
            };
            format!("{{ {} }}", list(table.iter().map(entry).collect()))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, env, fs, path::Path};

    use super::*;
    use crate::config::Config;

    fn file() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml")
    }

    #[test]
    fn the_file_is_what_the_source_says() {
        if env::var_os("EVENKEEL_BLESS").is_some() {
            fs::write(file(), reference()).unwrap();
        }
        let before = fs::read_to_string(file()).unwrap();
        assert_eq!(before, reference(), "the documentation of a key changed: set EVENKEEL_BLESS=1");
    }

    #[test]
    fn it_is_a_configuration_whose_values_are_the_defaults() {
        let config = Config::parse(&reference(), &file()).unwrap();
        assert_eq!(config.warnings, None);
        let minimal = "[[listener]]\naddress = \"0.0.0.0:8080\"\n[[route]]\nname = \"api\"\npool = \"api\"\n\
                       [pool.api]\nbackends = [\"10.0.1.10:8080\", \"10.0.1.11:8080\"]\n";
        let mut minimal = Config::parse(minimal, &file()).unwrap();
        minimal.routes[0].name.clone_from(&config.routes[0].name);
        assert_eq!(config, minimal);
    }

    #[test]
    fn every_key_stands_in_it_and_none_that_there_is_not() {
        let parts = parts();
        let shown: BTreeSet<_> = parts.iter().map(|part| part.keys.title).collect();
        assert_eq!(shown, keys::ALL.iter().map(|keys| keys.title).collect());
        for part in &parts {
            let properties = part.schema.get("properties").and_then(Value::as_object).unwrap();
            for key in properties.keys() {
                assert!(part.keys.known.contains(&key.as_str()), "{}: {key} is no key", part.head);
            }
            let unknown = part.keys.known.iter().find(|key| !properties.contains_key(**key));
            assert_eq!(unknown, None, "{}: the schema has no such key: give its type a field for it", part.head);
            let inner = part.head.trim_matches(['[', ']']);
            for key in part.keys.known {
                let head = if inner.is_empty() { (*key).to_owned() } else { format!("{inner}.{key}") };
                let below = |part: &Part| {
                    let other = part.head.trim_matches(['[', ']']);
                    other == head || other.starts_with(&format!("{head}."))
                };
                let documented = property(part, key).is_some() || parts.iter().any(below);
                assert!(documented, "{}: {key} is not documented", part.head);
            }
            for (key, property) in properties.iter().filter(|(key, _)| property(part, key).is_some()) {
                let text = description(property.get("description"));
                assert!(text.ends_with(['.', ':']), "{}: {key} has no sentence: {text}", part.head);
                let shown = property.get("default").is_some() || property.get("examples").is_some();
                assert!(shown, "{}: {key} has neither a default nor an example", part.head);
            }
        }
    }

    #[test]
    fn every_example_has_a_form_that_is_read() {
        let all = reference();
        let lines: Vec<_> = all.lines().collect();
        let mut count = 0;
        for (number, line) in lines.iter().enumerate() {
            let Some(example) = line.strip_prefix("# ").filter(|line| is_setting(line)) else { continue };
            let mut text = lines.clone();
            let key = example.split(' ').next().unwrap();
            let head = lines[..number].iter().rposition(|line| line.trim_start_matches("# ").starts_with('[')).unwrap();
            text[number] = example;
            if lines[head].starts_with('#') {
                // An example of a table that is one: all of its keys are read, whatever else is wrong with them.
                text[head] = &lines[head][2..];
            }
            let twin = (head..lines.len()).take_while(|line| *line == head || !lines[*line].starts_with('['));
            for line in twin.filter(|line| *line != number && lines[*line].starts_with(&format!("{key} = "))) {
                text[line] = "";
            }
            let told = Config::parse(&text.join("\n"), &file()).err().map(|problems| problems.to_string());
            let told = told.unwrap_or_default();
            assert!(!told.contains("unknown key") && !told.contains("is not TOML"), "{example}\n{told}");
            count += 1;
        }
        assert!(count > 50, "{count}");
    }

    fn is_setting(line: &str) -> bool {
        let key = line.split(' ').next().unwrap();
        line[key.len()..].starts_with(" = ") && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }
}
