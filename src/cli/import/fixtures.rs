//! Configurations as they are found in the world, in tests/import: what is made of each is in the repository, `check` accepts
//! it, its own tests hold, and requests go where people have said that they go (`NAME.expect`).
//! `EVENKEEL_BLESS=1 cargo test --lib -- cli::import` writes the results anew.

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::{
    config::{self, Action},
    net::Budget,
    plan::{Ground, Numbers, Plan},
    policy::{Rewrite, test_head},
    pool::Registry,
    route::{Request, Router},
    telemetry::metrics::Telemetry,
};

/// A folder with what a configuration names, gone with its value.
struct World(PathBuf);

impl World {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = env::temp_dir().join(format!("evenkeel-import-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed)));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// `toml` with each absolute path of a file that must be there below this folder, and the file there.
    fn with_files(&self, toml: &str) -> String {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["import.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let pem = format!("{}{}", cert.pem(), key.serialize_pem());
        let users = "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n";
        let names = regex::Regex::new(r#"\b(cert|key|client_ca|ca|file|html) = "(/[^"]+)""#).unwrap();
        names
            .replace_all(toml, |found: &regex::Captures<'_>| {
                let path = self.0.join(found[2].trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = if &found[1] == "file" { users } else { &pem };
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
                format!("{} = \"{}\"", &found[1], path.display())
            })
            .into_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One request of an expectation: `GET https://host/path NAME: VALUE; from: IP -> END`.
struct Ask {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    from: Option<IpAddr>,
}

impl Ask {
    fn get(url: &str) -> Self {
        Self { method: "GET".into(), url: url.into(), headers: Vec::new(), from: None }
    }

    fn parse(text: &str) -> Self {
        let mut words = text.splitn(3, ' ');
        let mut ask = Self { method: words.next().unwrap().into(), ..Self::get(words.next().unwrap()) };
        if let Some((name, value)) = words.next().and_then(|rest| rest.split_once(": ")) {
            match name {
                "from" => ask.from = Some(value.parse().unwrap()),
                name => ask.headers.push((name.into(), value.into())),
            }
        }
        ask
    }
}

/// A configuration that was made, and its router: the one that serves.
struct Made {
    config: Config,
    router: Router,
}

impl Made {
    fn new(toml: &str) -> Self {
        let config = Config::parse(untested(toml), Path::new("/nowhere/imported.toml"));
        let config = config.unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        build(&config);
        let listeners: Vec<String> = config.listeners.iter().map(|listener| listener.name.clone()).collect();
        let router = Router::new(&config.routes, &listeners);
        Self { config, router }
    }

    /// The route that a request takes, and the path that a backend would see.
    fn route(&self, ask: &Ask) -> Option<(&config::Route, String)> {
        let (scheme, rest) = ask.url.split_once("://").unwrap();
        let (authority, target) = rest.split_at(rest.find('/').unwrap());
        let host = authority.split(':').next().unwrap();
        let port = authority.split_once(':').map_or(if scheme == "https" { "443" } else { "80" }, |(_, port)| port);
        let end = format!(":{port}");
        let fits = |listener: &&config::Listener| {
            listener.address.to_string().ends_with(&end) && listener.tls.is_some() == (scheme == "https")
        };
        let listener = self.config.listeners.iter().find(fits).unwrap_or_else(|| panic!("no listener for {}", ask.url));
        let place = self.config.listeners.iter().position(|other| other.name == listener.name).unwrap();
        let lines: String = ask.headers.iter().map(|(name, value)| format!("\n{name}: {value}")).collect();
        let mut head = test_head(&format!("{} {target} HTTP/1.1\nHost: {host}{lines}", ask.method));
        let client = ask.from.or(Some("198.18.0.1".parse().unwrap()));
        let found = self.router.find(&Request { head: &head, listener: place, client })?;
        let route = &self.config.routes[found];
        if let Some(rewrite) = &route.rewrite {
            Rewrite::new(rewrite).apply(&mut head, &mut Vec::new());
        }
        Some((route, String::from_utf8_lossy(head.text(head.target.path)).into_owned()))
    }

    /// What becomes of a request, in the words of an expectation.
    fn end(&self, ask: &Ask) -> String {
        let Some((route, path)) = self.route(ask) else { return "404".into() };
        let client = ask.from.unwrap_or("198.18.0.1".parse().unwrap());
        let refused = route.deny.iter().any(|net| net.contains(&client));
        if refused {
            return "403".into();
        }
        match &route.action {
            Action::Pool(name) => format!("{name} {path}"),
            Action::Split { pools, .. } => {
                let sides: Vec<_> = pools.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
                format!("split {}", sides.join(" "))
            }
            Action::Respond(respond) => respond.status.to_string(),
            Action::Redirect { to, status } => format!("{status} {}", filled(to, ask)),
        }
    }
}

fn build(config: &Config) {
    let registry = Registry::new(Budget::new(None), Arc::new(Telemetry::new(&[], &[1.0], 1)), 1);
    let mut numbers = Numbers::default();
    let memory = crate::policy::Memory::default();
    let mut ground =
        Ground { registry: &registry, memory: &memory, numbers: &mut numbers, algorithm: None, before: None };
    Plan::build(config, 1, &mut ground).unwrap();
}

/// `Location`, of the variables that the fixtures have.
fn filled(to: &config::Template, ask: &Ask) -> String {
    let (scheme, rest) = ask.url.split_once("://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let one = |piece: &config::Piece| match piece {
        config::Piece::Text(text) => text.clone(),
        config::Piece::Variable(config::Variable::Host) => host.to_owned(),
        config::Piece::Variable(config::Variable::Scheme) => scheme.to_owned(),
        config::Piece::Variable(config::Variable::PathAndQuery) => path.to_owned(),
        config::Piece::Variable(other) => format!("{other:?}"),
    };
    to.pieces.iter().map(one).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// The fixtures of one kind, in their order.
fn fixtures(kind: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join(kind)).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|other| other == extension));
    found.sort();
    assert!(found.len() >= 10, "{}", found.len());
    found
}

/// `text` is what stands in the file at `path`, or is written there.
fn golden(path: &Path, text: &str) {
    if env::var_os("EVENKEEL_BLESS").is_some() {
        fs::write(path, text).unwrap();
    }
    let before = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(before, text, "{}: the result changed; read it, then set EVENKEEL_BLESS=1", path.display());
}

fn every(kind: &str, extension: &str) {
    let mut wrong = Vec::new();
    for fixture in fixtures(kind, extension) {
        let imported = import::import(&fixture, None).unwrap_or_else(|why| panic!("{why}"));
        golden(&fixture.with_extension("toml"), &imported.toml);
        golden(&fixture.with_extension("report"), &imported.report.to_string());
        let world = World::new();
        let toml = world.with_files(&imported.toml);
        let made = Made::new(&toml);
        let expected = fs::read_to_string(fixture.with_extension("expect")).unwrap();
        for line in expected.lines() {
            let (ask, end) = line.split_once(" -> ").unwrap();
            let found = made.end(&Ask::parse(ask));
            // A pool may stand alone, without the path that its backends see.
            let same = found == end || found.split_once(' ').is_some_and(|(pool, _)| pool == end);
            if !same {
                wrong.push(format!("{}: {ask} -> {found}, not {end}", fixture.display()));
            }
        }
        its_own_tests_hold(&made, &imported.toml, &fixture);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn its_own_tests_hold(made: &Made, toml: &str, fixture: &Path) {
    let table: toml::Table = toml::from_str(toml).unwrap();
    let tests = table.get("test").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    assert!(!tests.is_empty(), "{}: no test", fixture.display());
    for test in tests {
        let ask = Ask::get(test["request"]["url"].as_str().unwrap());
        let (route, _) = made.route(&ask).unwrap_or_else(|| panic!("{}: {test}: no route", fixture.display()));
        assert_eq!(Some(route.name.as_str()), test["expect"]["route"].as_str(), "{}: {test}", fixture.display());
        let found = made.end(&ask);
        let end = found.split(' ').next();
        if let Some(pool) = test["expect"].get("pool") {
            assert_eq!(end, pool.as_str(), "{}: {test}", fixture.display());
        }
        if let Some(status) = test["expect"].get("status") {
            assert_eq!(end, Some(status.to_string().as_str()), "{}: {test}", fixture.display());
        }
    }
}

#[test]
fn files_of_nginx_are_imported() {
    every("nginx", "conf");
}

#[test]
fn files_of_haproxy_are_imported() {
    every("haproxy", "cfg");
}

#[test]
fn the_file_goes_to_stdout_and_the_report_to_stderr() {
    let file = folder().join("nginx/03-websocket.conf");
    let imported = import::import(&file, Some(import::From::Nginx)).unwrap();
    let told = |json| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        tell(&imported, json, (&mut out, &mut err)).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (out, err) = told(false);
    assert_eq!(out, imported.toml);
    assert!(err.starts_with("03-websocket.conf:") && err.contains("`check` accepts it"), "{err}");
    let (_, err) = told(true);
    let rows: serde_json::Value = serde_json::from_str(&err).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["line"] == 10).unwrap();
    assert_eq!((row["outcome"].as_str(), row["directive"].as_str()), (Some("converted"), Some("listen 80")));
}

#[test]
fn what_is_none_of_both_is_refused() {
    let missing = import::import(Path::new("/nowhere/nginx.conf"), None).unwrap_err();
    assert!(missing.to_string().starts_with("nginx.conf: it cannot be read"), "{missing}");
    let guess = import::import(&Path::new(env!("CARGO_MANIFEST_DIR")).join("LICENSE"), None);
    assert!(guess.is_err());
}
