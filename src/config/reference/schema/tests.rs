//! The schema against a validator that others wrote, and against the reader of the file, whom it must not contradict.

use std::{collections::BTreeMap, env, fs, path::Path};

use boon::{Compiler, SchemaIndex, Schemas};

use super::*;
use crate::config::{Config, reference};

/// A schema that can be asked.
struct Validator {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Validator {
    fn new(schema: &Value) -> Self {
        const PLACE: &str = "http://evenkeel.example/schema.json";
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource(PLACE, schema.clone()).unwrap();
        let index = compiler.compile(PLACE, &mut schemas).unwrap();
        Self { schemas, index }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        self.schemas.validate(value, self.index).map_err(|error| error.to_string())
    }

    /// Of TOML; what is none is refused.
    fn check_text(&self, text: &str) -> Result<(), String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        self.check(&serde_json::to_value(table).unwrap())
    }
}

fn whole() -> Value {
    serde_json::from_str(&schema()).unwrap()
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn the_file_is_what_the_source_says() {
    let file = folder().join("evenkeel.schema.json");
    if env::var_os("EVENKEEL_BLESS").is_some() {
        fs::write(&file, schema()).unwrap();
    }
    let before = fs::read_to_string(file).unwrap();
    assert!(before == schema(), "a key or its documentation changed: set EVENKEEL_BLESS=1");
}

#[test]
fn every_recipe_fits_and_names_the_schema() {
    const LINE: &str = "#:schema ./evenkeel.schema.json\n";
    let validator = Validator::new(&whole());
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(LINE), "{}: its first line is not {LINE}", path.display());
            validator.check_text(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            count += 1;
        }
    }
    assert!(count >= 24, "{count}");
    validator.check_text(&reference()).unwrap();
}

/// Each bad file of the golden messages, with what follows it there: those that the reader takes, the schema takes.
#[test]
fn what_is_read_fits_and_most_of_what_is_not_does_not() {
    const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";
    const POOL: &str = "[pool.web]\nbackends = \"10.0.0.1:80\"\n";
    let both = format!("{LISTENER}{POOL}");
    let files = [
        ("process.txt", &*both),
        ("listener.txt", POOL),
        ("pool.txt", LISTENER),
        ("balance.txt", LISTENER),
        ("limit.txt", &both),
        ("route.txt", &both),
        ("auth.txt", POOL),
        ("tls.txt", POOL),
        ("pool_tls.txt", LISTENER),
        ("test.txt", &both),
        ("warning.txt", &both),
    ];
    let validator = Validator::new(&whole());
    let (mut taken, mut refused, mut all) = (0, 0, 0);
    for (file, suffix) in files {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/golden").join(file);
        for case in fs::read_to_string(golden).unwrap().split("===== ").skip(1) {
            let (title, rest) = case.split_once('\n').unwrap();
            let (input, said) = rest.split_once("-----\n").unwrap();
            let text = format!("{}\n{suffix}", input.trim_end());
            let fits = validator.check_text(&text);
            if Config::parse(&text, Path::new("evenkeel.toml")).is_ok() {
                assert_eq!(fits, Ok(()), "{file}: {title}");
                taken += 1;
            }
            let strange = said.contains("unknown key in") || said.contains("is not supported yet");
            assert!(fits.is_err() || !strange, "{file}: {title}: a key that there is not fits");
            refused += usize::from(fits.is_err());
            all += 1;
        }
    }
    assert!(taken >= 20 && refused >= 150, "{taken} were read; of {all}, {refused} did not fit");
}

/// A key, and one of the schemas of its value.
type Leaf<'s> = (String, &'s Value);

/// All that is no table. Where the file has names, `x` stands for them; tables of a list are written as one.
fn leaves<'s>(schema: &'s Value, root: &'s Value, path: &str, found: &mut Vec<Leaf<'s>>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return leaves(root.pointer(&name[1..]).unwrap(), root, path, found);
    }
    let named = [("properties", ""), ("patternProperties", "503")];
    for (key, name) in named {
        for (own, inner) in schema.get(key).and_then(Value::as_object).into_iter().flatten() {
            leaves(inner, root, &below(if name.is_empty() { own } else { name }), found);
        }
    }
    for (key, path) in [("additionalProperties", below("x")), ("items", path.to_owned())] {
        if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
            leaves(inner, root, &path, found);
        }
    }
    for one in ["allOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten() {
        leaves(one, root, path, found);
    }
    let types = schema.get("type").map(ToString::to_string).unwrap_or_default();
    if ["string", "integer", "number", "boolean"].iter().any(|kind| types.contains(kind)) {
        found.push((path.to_owned(), schema));
    }
}

/// What else must be written for a key to be looked at at all.
const BESIDE: &[(&str, &str)] = &[
    ("auth.x.", "auth.x.type = \"jwt\""),
    ("route.cors.", "route.cors.origins = \"*\""),
    ("pool.x.sticky.fallback", "pool.x.sticky.type = \"source_ip\""),
    ("pool.x.discover.port", "pool.x.discover.dns = \"app.internal\""),
    ("rate_limit.x.burst", "rate_limit.x.rate = \"1000000/s\""),
];
/// Tiers are read where their files are.
const UNREAD: &str = "rate_limit.x.tiers.burst";

/// What the reader says of `key` with `value`, if that value is none for it.
fn refusal(key: &str, value: &Value) -> Option<String> {
    let beside = BESIDE.iter().find(|(front, line)| key.starts_with(front) && !line.starts_with(&format!("{key} =")));
    let line = beside.map(|(_, line)| *line).unwrap_or_default();
    let text = format!("{line}\n{key} = {value}\n");
    let problems = Config::parse(&text, Path::new("evenkeel.toml")).expect_err("parts are missing");
    let own = problems.into_iter().find(|problem| problem.key == key && problem.message.starts_with("found "));
    own.map(|problem| problem.message.clone())
}

#[test]
fn words_are_those_that_are_read() {
    let whole = whole();
    let mut found = Vec::new();
    leaves(&whole, &whole, "", &mut found);
    let mut count = 0;
    for (key, leaf) in found {
        let words: Vec<&str> =
            leaf.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if words.is_empty() {
            continue;
        }
        let said = refusal(&key, &"zzzzzzzzzzzz".into()).unwrap_or_else(|| panic!("{key}: a word of ours is taken"));
        let (_, wanted) = said.split_once("wanted ").unwrap();
        let read: Vec<&str> = wanted.split('"').skip(1).step_by(2).collect();
        assert_eq!(words, read, "{key}: {said}");
        count += 1;
    }
    assert!(count > 25, "{count}");
}

#[test]
fn bounds_of_numbers_are_those_that_are_read() {
    let whole = whole();
    let mut found = Vec::new();
    leaves(&whole, &whole, "", &mut found);
    let mut count = 0;
    for (key, leaf) in found.iter().filter(|(key, _)| key != UNREAD) {
        let bound = |name| leaf.get(name).and_then(Value::as_u64);
        if let Some(most) = bound("maximum") {
            assert!(refusal(key, &(most + 1).into()).is_some(), "{key}: more than {most} is read");
            assert_eq!(refusal(key, &most.into()).filter(|_| most > 0), None, "{key}: {most} is not read");
            count += 1;
        }
        if let Some(least) = bound("minimum").filter(|least| *least > 0) {
            assert!(refusal(key, &(least - 1).into()).is_some(), "{key}: less than {least} is read");
            assert_eq!(refusal(key, &least.into()), None, "{key}: {least} is not read");
        }
    }
    assert!(count > 50, "{count}");
}

/// Text that the reader takes for a key of this kind fits its pattern.
#[test]
fn what_is_written_in_units_is_what_is_read() {
    let whole = whole();
    let mut found = Vec::new();
    leaves(&whole, &whole, "", &mut found);
    let leaves: BTreeMap<String, &Value> = found.into_iter().collect();
    let (mut taken, mut refused) = (0, 0);
    for (keys, texts) in [
        (
            &["listener.idle_timeout", "pool.x.connect_timeout", "server.drain_delay"][..],
            &["1us", "1ms", "1.5s", "0s", "off", "2d", "0.5h", "1", "-1s", "1S", "1h30m", "1 s", ".5s", "s", "", "1.s"]
                [..],
        ),
        (
            &["route.max_body_size", "listener.max_header_size", "server.max_memory"],
            &["2048", "2KiB", "1.5MiB", "10KB", "1TiB", "1kib", "16k", "off", "20%", "-1B", "B", "", "1.2.3KiB"],
        ),
        (
            &["listener.min_body_rate"],
            &["100B/s", "1KiB/s", "1.5KiB/s", "off", "100", "100/s", "100B", "100B/m", "/s", ""],
        ),
        (&["listener.h2.reset_rate"], &["100/s", "0/s", "off", "1/m", "100", "1.5/s", "-1/s", ""]),
        (&["log.access_sample", "pool.x.retry.budget"], &["20%", "0.5%", "100%", "off", "20", "20 %", "-1%", "%", ""]),
        (&["rate_limit.x.rate"], &["1/s", "300/m", "1000/h", "5/d", "0.5/s", "off", "1", "/s", "10r/s"]),
        (&["pool.x.hash.bounded_load"], &["101%", "1000%", "off", "1.25", "125"]),
        (&["pool.x.outlier.latency"], &["3x", "1.5x", "3", "x", "-3x"]),
        (
            &["listener.address"],
            &["127.0.0.1:80", "[::]:80", "[fe80::1%2]:80", "unix:/x", "unix:x", ":80", "80", "localhost:80"],
        ),
        (
            &["pool.x.backends"],
            &["10.0.0.1:80", "[::1]:80", "app:80", "a_b.c-d.:80", "unix:/x", "http://app:80", "app", "app:http"],
        ),
        (
            &["route.host"],
            &["a.example", "*.a.example", "[::1]", "10.0.0.1", "*", "a.example:80", "http://a", "ä.example"],
        ),
        (&["route.method"], &["GET", "M-SEARCH", "get", "GET, HEAD", "*"]),
        (&["route.allow"], &["10.0.0.0/8", "::1", "2001:db8::/32", "::ffff:10.0.0.1", "all", "10.0.0.0/x", "app"]),
        (&["server.resolvers"], &["10.0.0.2", "10.0.0.2:53", "::1", "[::1]:53", "[fe80::1%2]:53", "dns.internal"]),
        (
            &["pool.x.retry.on"],
            &["connect", "503", "0503", "5xx", "grpc:unavailable", "5XX", "grpc:UNAVAILABLE", "error"],
        ),
        (&["pool.x.circuit_breaker.on"], &["connect", "503", "5xx", "5XX", "0503", "4xx", "error"]),
        (&["pool.x.health_check.expect_status"], &["200", "200-299", "2xx", "ok", "200-"]),
        (&["log.level"], &["info", "off", "info,evenkeel=debug", "verbose"]),
        (&["log.access"], &["off", "/var/log/x", "x.log", "./x", "/dev/stdout", "syslog", "none"]),
        (&["server.via"], &["evenkeel", "lb-1", "1lb", "a b", ""]),
        (&["auth.x.jwks"], &["https://a.example/x", "HTTP://a.example/x", "jwks.json"]),
        (&["auth.x.from"], &["header:x", "cookie:x", "query:x", "x", "header:"]),
        (&["rate_limit.x.key"], &["client_ip", "global", "header:x", "claim:sub", "ip", "cookie:"]),
        (&["pool.x.hash.key"], &["client_ip", "host", "query:x", "uri", "header:"]),
        (&["log.access_fields"], &["query", "request:x", "response:x", "x", "header:x"]),
    ] {
        for key in keys {
            let leaf = leaves.get(*key).unwrap_or_else(|| panic!("{key}"));
            let mut schema = (*leaf).clone();
            schema["$defs"] = whole["$defs"].clone();
            let validator = Validator::new(&schema);
            for text in texts {
                let (fits, read) = (validator.check(&(*text).into()), refusal(key, &(*text).into()));
                assert!(fits.is_ok() || read.is_some(), "{key}: {text:?} is read, and does not fit");
                taken += usize::from(fits.is_ok());
                refused += usize::from(fits.is_err());
            }
        }
    }
    assert!(taken > 80 && refused > 80, "{taken}, {refused}");
}

#[test]
fn defaults_and_examples_fit_their_keys_and_every_key_says_what_it_means() {
    let whole = whole();
    let tables = whole["$defs"].as_object().unwrap();
    let mut count = 0;
    for (name, table) in tables.iter().map(|(name, table)| (name.as_str(), table)).chain([("", &whole)]) {
        let Some(properties) = table.get("properties").and_then(Value::as_object) else { continue };
        assert_eq!(table["additionalProperties"], false, "{name}: any key fits");
        for (key, property) in properties {
            assert!(property.get("$ref").is_none(), "{name}: {key}: older validators see its table alone");
            let said = property.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(said.ends_with(['.', ':']), "{name}: {key} has no sentence: {said}");
            let mut schema = property.clone();
            schema["$defs"] = whole["$defs"].clone();
            let validator = Validator::new(&schema);
            let examples = property.get("examples").and_then(Value::as_array).into_iter().flatten();
            for value in examples.chain(property.get("default")) {
                validator.check(value).unwrap_or_else(|why| panic!("{name}: {key} = {value}: {why}"));
                count += 1;
            }
        }
    }
    assert!(count > 150, "{count}");
    assert!(OURS.iter().all(|key| !whole.to_string().contains(key)), "what only the source knows is in it");
}
