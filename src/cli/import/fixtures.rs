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
        // A listener refuses the same certificate twice.
        let pem = |path: &str| {
            let name = format!("{}.import.example", path.bytes().map(u64::from).sum::<u64>());
            let cert = CertificateParams::new([name]).unwrap().self_signed(&key).unwrap();
            format!("{}{}", cert.pem(), key.serialize_pem())
        };
        let users = "ann:$2y$04$7o.LNKxlDMNxhw8ahk4KUOnk4G4jMx0FMHOiy3oWdmSVvdu80eWcu\n";
        let names = regex::Regex::new(r#"\b(cert|key|client_ca|ca|file|html) = "(/[^"]+)""#).unwrap();
        names
            .replace_all(toml, |found: &regex::Captures<'_>| {
                let path = self.0.join(found[2].trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = if &found[1] == "file" { users.to_owned() } else { pem(&found[2]) };
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
pub(super) struct Made {
    pub(super) config: Config,
    plan: Plan,
}

impl Made {
    /// Its tests hold, as `check` asks them.
    pub(super) fn holds(&self) {
        if let Err(failed) = plan::test(&self.config, Path::new("imported.toml")) {
            panic!("{failed}");
        }
    }

    /// What becomes of `GET https://host/path NAME: VALUE + NAME: VALUE`, in the words of an expectation: a status and
    /// `Location`, or a pool and the path that its backends see.
    pub(super) fn end(&self, asked: &str) -> String {
        let mut words = asked.splitn(3, ' ');
        let (method, url) = (words.next().unwrap(), words.next().unwrap());
        let (mut headers, mut from) = (Vec::new(), Who::default());
        for field in words.next().into_iter().flat_map(|fields| fields.split(" + ")) {
            match field.split_once(": ").unwrap() {
                ("from", address) => from = Who::parse(address).unwrap(),
                (name, value) => headers.push((name.to_owned(), value.to_owned())),
            }
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
    let wrong: Vec<String> = fixtures(kind, extension).iter().flat_map(|fixture| one(fixture)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with what is made of `fixture`.
fn one(fixture: &Path) -> Vec<String> {
    let imported = import::import(fixture, None).unwrap_or_else(|why| panic!("{why}"));
    golden(&fixture.with_extension("toml"), &imported.toml);
    golden(&fixture.with_extension("report"), &imported.report.to_string());
    let world = World::new();
    let toml = world.with_files(&imported.toml);
    let told = |what: String| format!("{}: {what}", fixture.display());
    let file = world.0.join("imported.toml");
    let config = match Config::parse(&toml, &file) {
        Ok(config) => config,
        Err(problems) => return vec![told(problems.to_string())],
    };
    if let Err(failed) = plan::test(&config, &file) {
        return vec![told(failed.to_string())];
    }
    if config.tests.is_empty() {
        return vec![told("no test is written".to_owned())];
    }
    let made = Made { plan: Plan::alone(&config).unwrap(), config };
    let expected = fs::read_to_string(fixture.with_extension("expect")).unwrap();
    let lines = expected.lines().map(|line| line.split_once(" -> ").unwrap());
    let wrong = |(asked, end): (&str, &str)| {
        let found = made.end(asked);
        // A pool may stand alone, without the path that its backends see.
        let same = found == end || found.split_once(' ').is_some_and(|(pool, _)| pool == end);
        (!same).then(|| told(format!("{asked} -> {found}, not {end}")))
    };
    lines.filter_map(wrong).collect()
}

/// What is made of a file of `kind` with that text, and its report.
pub(super) fn made(kind: import::From, text: &str) -> (Made, String) {
    let world = World::new();
    let file = world.0.join("imported.conf");
    fs::write(&file, text).unwrap();
    let imported = import::import(&file, Some(kind)).unwrap_or_else(|why| panic!("{why}"));
    let toml = world.with_files(&imported.toml);
    let config = Config::parse(&toml, &file).unwrap_or_else(|problems| panic!("{problems}\n{toml}"));
    (Made { plan: Plan::alone(&config).unwrap(), config }, format!("{}{toml}", imported.report))
}

/// A call of `import` whose file has been read already.
pub(super) fn call(json: bool, verbose: bool) -> Import {
    Import { file: PathBuf::new(), from: None, json, verbose }
}

/// Locations of nginx beside one that is open to all.
fn nginx(locations: &str) -> String {
    format!(
        "http {{\n upstream u {{ server 10.0.0.1:80; }}\n server {{\n listen 80;\n server_name a.example b.example;\n \
         location / {{ proxy_pass http://u; }}\n {locations}\n }}\n}}\n"
    )
}

#[test]
fn what_nginx_refuses_is_never_open() {
    let check = "location = /check { internal; proxy_pass http://u; }";
    let basic = "auth_basic \"a\"; auth_basic_user_file /etc/users;";
    for (location, asked, end) in [
        (
            &*format!("location /x {{ {basic} auth_request /check; proxy_pass http://u; }} {check}"),
            "/x authorization: Basic YTpi",
            "503",
        ),
        ("location /x { deny unix:; proxy_pass http://u; }", "/x", "503"),
        ("location /x { auth_jwt \"a\"; proxy_set_header x-a b; proxy_pass http://u; }", "/x", "503"),
        ("location /x { if ($host != \"a.example\") { return 403; } proxy_pass http://u; }", "/x", "503"),
        ("location /x { return 301 //evil.example$request_uri; }", "/x", "503"),
        (
            "location /x { deny 10.0.0.0/8; allow 192.0.2.0/24; deny all; proxy_pass http://u; }",
            "/x from: 10.0.0.1",
            "403",
        ),
        (
            "location /x { deny 10.0.0.0/8; allow 192.0.2.0/24; deny all; proxy_pass http://u; }",
            "/x from: 192.0.2.1",
            "u",
        ),
    ] {
        let (made, told) = made(import::From::Nginx, &nginx(location));
        made.holds();
        let found = made.end(&format!("GET http://a.example{asked}"));
        assert!(!told.contains("request_headers"), "what is closed has nothing to send: {told}");
        assert!(
            found == end || found.split_once(' ').is_some_and(|(pool, _)| pool == end),
            "{location}: {found}\n{told}"
        );
    }
    let server = |name: &str, asks: &str| {
        format!(
            "server {{\n listen 443 ssl;\n server_name {name}.example;\n ssl_certificate /{name}.pem;\n ssl_certificate_key /{name}.key;\n \
             {asks}\n location / {{ proxy_pass http://10.0.0.1; }}\n}}\n"
        )
    };
    let ca = |name: &str, asks: &str| format!("ssl_client_certificate /{name}.crt; ssl_verify_client {asks};");
    for (servers, end, optional) in [
        (server("a", "ssl_verify_client on;"), "closed", false),
        (server("a", &ca("one", "on")) + &server("b", &ca("two", "on")), "closed", false),
        (server("a", &ca("one", "on")), "10.0.0.1", false),
        (server("a", &ca("one", "optional")), "10.0.0.1", true),
    ] {
        let (made, told) = made(import::From::Nginx, &format!("http {{\n{servers}}}\n"));
        made.holds();
        let found = made.end("GET https://a.example/");
        assert_eq!(found.split(' ').next(), Some(end), "{servers}{told}");
        assert_eq!(told.contains("client_auth = \"optional\""), optional, "{told}");
    }
}

#[test]
fn what_haproxy_refuses_is_never_open() {
    let many: String = (0..12).map(|n| format!(" http-request set-header x-{n} v if {{ hdr(y-{n}) 1 }}\n")).collect();
    for (bind, rules, asked, end) in [
        (
            "",
            " http-request deny if { hdr(x-a) -m reg a+ } { hdr(x-a) -m reg b+ }\n",
            "http://a.example/ x-a: ab",
            "503",
        ),
        ("", &*many, "http://a.example/", "503"),
        ("", " http-request deny if !{ src 10.0.0.0/8 }\n", "http://a.example/ from: 192.0.2.1", "403"),
        ("", " http-request deny if !{ src 10.0.0.0/8 }\n", "http://a.example/ from: 10.0.0.1", "u"),
        ("", " http-request deny unless { path /x }\n", "http://a.example/y", "403"),
        ("", " http-request deny unless { path /x }\n", "http://a.example/x", "u"),
        ("", " http-request deny deny_status 429 if { path /x }\n", "http://a.example/x", "429"),
        ("", " http-request auth unless { path /x }\n", "http://a.example/", "503"),
        ("", " http-request redirect location //evil.example\n", "http://a.example/", "503"),
        ("", " http-request deny if !TRUE\n", "http://a.example/", "u"),
        (" ssl crt /c.pem verify required", "", "https://a.example/", "closed"),
        (" ssl crt /c.pem ca-file /ca.pem verify required", "", "https://a.example/", "u"),
    ] {
        let text = format!(
            "defaults\n mode http\nfrontend f\n bind :{}{bind}\n{rules} default_backend u\nbackend u\n server s 10.0.0.1:80\n",
            if bind.is_empty() { 80 } else { 443 }
        );
        let (made, told) = made(import::From::Haproxy, &text);
        assert!(!told.contains("client_auth"), "whoever shows no certificate stays out: {told}");
        let found = made.end(&format!("GET {asked}"));
        assert!(
            found == end || found.split_once(' ').is_some_and(|(pool, _)| pool == end),
            "{asked}: {found}\n{text}{told}"
        );
    }
}

#[test]
fn bounds_and_trust_of_haproxy_are_kept() {
    let text = |limit: &str, server: &str| {
        format!(
            "defaults\n mode http\nfrontend f\n bind :80\n stick-table type ip size 1m expire 10s store http_req_rate(10s)\n \
             http-request track-sc0 src\n http-request deny deny_status 429 if {{ sc_http_req_rate(0) {limit} }}\n \
             default_backend u\nbackend u\n server s 10.0.0.1:443 {server}\n"
        )
    };
    let limits = |limit: &str| made(import::From::Haproxy, &text(limit, "")).0.config.rate_limits;
    assert_eq!((limits("ge 101"), limits("gt 100").len()), (limits("gt 100"), 1));
    for (server, believed) in [("ssl verify none", true), ("ssl verify required", false)] {
        let (_, told) = made(import::From::Haproxy, &text("gt 100", server));
        assert_eq!(told.contains("tls.verify = false"), believed, "{told}");
    }
}

#[test]
fn a_server_of_one_address_is_not_served_to_all() {
    let server = |listen: &str, name: &str, host: u8| {
        format!(
            "server {{ listen {listen}; server_name {name}.example; location / {{ proxy_pass http://10.0.0.{host}; }} }}\n"
        )
    };
    let text = format!("http {{\n{}{}}}\n", server("80", "a", 1), server("10.0.0.9:80", "b", 2));
    let (made, told) = made(import::From::Nginx, &text);
    assert_eq!((made.end("GET http://b.example/").as_str(), made.config.listeners.len()), ("10.0.0.1 /", 1), "{told}");
    assert!(told.contains("this one is not served there"), "{told}");
}

#[test]
fn what_check_would_not_accept_is_said() {
    let toml = "[[listener]]\naddress = \"0.0.0.0:80\"\n[pool.a]\nbackends = \"10.0.0.1:80\"\n\
                [[test]]\nrequest = { url = \"/\" }\nexpect = { status = 200 }\n";
    let imported = Imported { toml: toml.to_owned(), report: Default::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    tell(&imported, &call(false, false), (&mut out, &mut err)).unwrap();
    assert!(String::from_utf8(err).unwrap().contains("`check` does not accept it"));
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
    let told = |json, verbose| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        tell(&imported, &call(json, verbose), (&mut out, &mut err)).unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    };
    let (out, err) = told(false, true);
    assert_eq!(out, imported.toml);
    assert!(err.contains(":10: converted: `listen 80`\n") && err.contains("`check` accepts it"), "{err}");
    let (_, brief) = told(false, false);
    assert!(brief.contains(": approximated: ") && brief.contains(" converted (--verbose lists them), "), "{brief}");
    assert!(
        !brief.contains(": converted: ") && brief.lines().all(|line| line.contains('(') || err.contains(line)),
        "{brief}"
    );
    let (_, err) = told(true, false);
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
