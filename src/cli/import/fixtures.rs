//! Configurations as they are found in the world, in tests/import: what is made of each is in the repository, `check` accepts
//! it, its own tests hold, and requests go where people have said that they go (`NAME.expect`).
//! `EVENKEEL_BLESS=1 cargo test --lib -- cli::import` writes the results anew.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::{
    config::{Sample, Who},
    plan::Plan,
    policy::{Rewrite, test_head},
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

/// A configuration that was made, and what it means.
struct Made {
    config: Config,
    plan: Plan,
}

impl Made {
    fn new(toml: &str, file: &Path) -> Self {
        let config = Config::parse(toml, file).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
        plan::test(&config, file).unwrap_or_else(|failed| panic!("{failed}"));
        let plan = Plan::alone(&config).unwrap();
        Self { config, plan }
    }

    /// What becomes of `GET https://host/path NAME: VALUE`, in the words of an expectation: a status and `Location`, or a pool
    /// and the path that its backends see.
    fn end(&self, asked: &str) -> String {
        let mut words = asked.splitn(3, ' ');
        let (method, url) = (words.next().unwrap(), words.next().unwrap());
        let (mut headers, mut from) = (Vec::new(), Who::default());
        match words.next().map(|field| field.split_once(": ").unwrap()) {
            Some(("from", address)) => from = Who::parse(address).unwrap(),
            field => headers.extend(field.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        }
        let sample = Sample::new(method, url, headers, from).unwrap();
        let found = self.plan.explain(&self.config, &sample, false);
        if let Some(answer) = found.answer {
            let status = answer.status.map_or("closed".to_owned(), |status| status.to_string());
            return [Some(status), answer.location].into_iter().flatten().collect::<Vec<_>>().join(" ");
        }
        if !found.split.is_empty() {
            let sides = found.split.iter().map(|side| format!("{} {}", side.pool, side.share));
            return format!("split {}", sides.collect::<Vec<_>>().join(" "));
        }
        let route = self.config.routes.iter().find(|route| Some(&route.name) == found.route.as_ref()).unwrap();
        let mut head = test_head(&format!("GET {} HTTP/1.1\nHost: a", found.request.path));
        if let Some(rewrite) = &route.rewrite {
            Rewrite::new(rewrite).apply(&mut head, &mut Vec::new());
        }
        format!("{} {}", found.pool.unwrap(), String::from_utf8_lossy(head.text(head.target.path)))
    }
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
        assert!(toml.contains("[[test]]"), "{}: no test", fixture.display());
        let made = Made::new(&toml, &world.0.join("imported.toml"));
        let expected = fs::read_to_string(fixture.with_extension("expect")).unwrap();
        for line in expected.lines() {
            let (asked, end) = line.split_once(" -> ").unwrap();
            let found = made.end(asked);
            // A pool may stand alone, without the path that its backends see.
            let same = found == end || found.split_once(' ').is_some_and(|(pool, _)| pool == end);
            if !same {
                wrong.push(format!("{}: {asked} -> {found}, not {end}", fixture.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
