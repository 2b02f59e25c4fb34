//! `evenkeel import`: what goes to which stream, what the exit code says, and that the result is a file that `check` takes and
//! that serves.

use std::path::{Path, PathBuf};

use crate::support::run;

/// A file of that name that holds `text`.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("import-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

const NGINX: &str = "upstream web { server 10.0.0.1:80; }\nserver {\n  listen 8080;\n  gzip on;\n  location /x { proxy_pass http://web; \
                     proxy_set_header Host $host; }\n}\n";

#[test]
fn what_is_imported_is_taken_by_check() {
    let source = file("site.conf", NGINX);
    let (code, toml, report) = run(&["import", source.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report}");
    assert!(toml.contains("path = { prefix = \"/x\" }") && toml.contains(":5 location /x"), "{toml}");
    assert!(report.contains("site.conf:4: not supported: `gzip on`"), "{report}");
    let result = file("site.toml", &toml);
    let (code, _, err) = run(&["check", "-c", result.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn the_report_is_json_for_tools() {
    let source = file("l.cfg", "listen l\n mode http\n bind :80\n option forwardfor\n server s 10.0.0.1:80\n");
    let (_, toml, report) = run(&["import", "--from", "haproxy", "--json", source.to_str().unwrap()]);
    let rows: serde_json::Value = serde_json::from_str(&report).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["line"] == 3).unwrap();
    assert_eq!((row["outcome"].as_str(), row["directive"].as_str()), (Some("converted"), Some("bind :80")));
    assert!(toml.contains("[pool.l]"));
}

#[test]
fn what_cannot_be_read_is_said_with_its_line() {
    let source = file("bad.conf", "server {\n listen 80\n}\n");
    let (code, out, err) = run(&["import", source.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("bad.conf:3: "), "{err}");
    let tls = NGINX.replace("8080;", "8443 ssl; ssl_certificate none.pem; ssl_certificate_key none.pem;");
    let (code, out, _) = run(&["import", file("tls.conf", &tls).to_str().unwrap()]);
    assert_eq!(code, Some(1), "its certificate is not here");
    assert!(out.contains("none.pem"), "{out}");
    assert_eq!(run(&["import", "/nowhere/nginx.conf"]).0, Some(1));
    assert_eq!(run(&["import"]).0, Some(2));
}
