//! `evenkeel import`: what goes to which stream, what the exit code says, and that the result is a file that `check` takes and
//! that serves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn evenkeel(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel")).args(words).output().unwrap()
}

/// A file of that name that holds `text`.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("import-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const NGINX: &str = "upstream web { server 10.0.0.1:80; }\nserver {\n  listen 8080;\n  gzip on;\n  location /x { proxy_pass http://web; \
                     proxy_set_header Host $host; }\n}\n";

#[test]
fn what_is_imported_is_taken_by_check() {
    let source = file("site.conf", NGINX);
    let Output { status, stdout, stderr } = evenkeel(&["import", source.to_str().unwrap()]);
    let (toml, report) = (text(&stdout), text(&stderr));
    assert_eq!(status.code(), Some(0), "{report}");
    assert!(toml.contains("path = { prefix = \"/x\" }") && toml.contains(":5 location /x"), "{toml}");
    assert!(report.contains("site.conf:4: not supported: `gzip on`"), "{report}");
    let result = file("site.toml", &toml);
    let checked = evenkeel(&["check", "-c", result.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
}

#[test]
fn the_report_is_json_for_tools() {
    let source = file("l.cfg", "listen l\n mode http\n bind :80\n option forwardfor\n server s 10.0.0.1:80\n");
    let said = evenkeel(&["import", "--from", "haproxy", "--json", source.to_str().unwrap()]);
    let rows: serde_json::Value = serde_json::from_slice(&said.stderr).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["line"] == 3).unwrap();
    assert_eq!((row["outcome"].as_str(), row["directive"].as_str()), (Some("converted"), Some("bind :80")));
    assert!(text(&said.stdout).contains("[pool.l]"));
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let source = file("bad.conf", "server {\n listen 80\n}\n");
    let said = evenkeel(&["import", source.to_str().unwrap()]);
    assert_eq!((said.status.code(), text(&said.stdout)), (Some(1), String::new()));
    assert!(text(&said.stderr).contains("bad.conf:3: "), "{}", text(&said.stderr));
    let tls = NGINX.replace("8080;", "8443 ssl; ssl_certificate none.pem; ssl_certificate_key none.pem;");
    let said = evenkeel(&["import", file("tls.conf", &tls).to_str().unwrap()]);
    assert_eq!(said.status.code(), Some(1), "its certificate is not here");
    assert!(text(&said.stdout).contains("none.pem"), "{}", text(&said.stdout));
    let said = evenkeel(&["import", "/nowhere/nginx.conf"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(evenkeel(&["import"]).status.code(), Some(2));
}
