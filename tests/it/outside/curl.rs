//! curl: every version of HTTP over every version of TLS, bodies both ways, client certificates.

use std::fs;

use super::*;

fn curl() -> Option<Program> {
    Program::find("curl", "curl")
}

/// What curl writes about the last transfer.
const ABOUT: &str = "\n%{http_code} %{http_version} %{ssl_verify_result} %{num_connects}";

/// Arguments that trust the authority of `edge`, then `words`.
fn words(edge: &Edge, words: &[&str]) -> Vec<String> {
    let ca = edge.file("ca.pem");
    let fixed = ["-q", "--silent", "--show-error", "--max-time", "30", "--cacert", &ca];
    fixed.iter().chain(words).map(|word| (*word).to_owned()).collect()
}

#[test]
fn each_version_of_http_over_each_version_of_tls() {
    let Some(curl) = curl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let https = edge.https("/");
    for (http, version) in
        [("--http2", "2"), ("--http1.1", "1.1"), ("--http1.0", "1.1"), ("--http2-prior-knowledge", "2")]
    {
        for tls in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            let said = curl.run(&words(&edge, &[&[http, "-w", ABOUT, &https], &tls[..]].concat()));
            assert_eq!(said.fine(), format!("fine\n200 {version} 0 1"), "{http} {tls:?}");
        }
    }
    assert_eq!(edge.requests(), 8.0);
    let http = edge.http("/");
    // Without TLS, `--http2` asks for an upgrade to h2c, which is not taken (RFC 9113 section 3.1).
    for (wish, version) in [("--http2-prior-knowledge", "2"), ("--http2", "1.1"), ("--http1.1", "1.1")] {
        let said = curl.run(&words(&edge, &[wish, "-w", ABOUT, &http]));
        assert_eq!(said.fine(), format!("fine\n200 {version} 0 1"), "{wish}");
    }
    assert!(backend.seen().iter().all(|request| !request.head.fields.has("http2-settings")));
}

#[test]
fn old_versions_of_tls_and_strangers_are_refused() {
    let Some(curl) = curl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let https = edge.https("/");
    let old = ["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &https];
    assert_eq!(curl.run(&words(&edge, &old)).code, Some(35), "a failed handshake");
    let strangers = Authority::new();
    let ca = strangers.path("ca.pem").display().to_string();
    assert_eq!(curl.run(&["-q", "-sS", "--cacert", &ca, &https]).code, Some(60), "a certificate that nobody knows");
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_file_goes_up_and_comes_down_again() {
    let Some(curl) = curl() else { return };
    let backend = echo();
    let edge = Edge::new(&backend);
    let body = pattern(3_000_001);
    fs::write(edge.file("body"), &body).unwrap();
    let (up, down) = (edge.file("body"), edge.file("answer"));
    for http in ["--http2", "--http1.1", "--http2-prior-knowledge"] {
        for url in [edge.https("/"), edge.http("/")] {
            let said = curl.run(&words(&edge, &[http, "-T", &up, "-o", &down, "-w", "%{http_code}", &url]));
            assert_eq!(said.fine(), "200", "{http} {url}");
            assert!(fs::read(&down).unwrap() == body, "{http} {url}: another body came back");
            // Of a length that is not known before.
            let said = curl.run_on(&body, &words(&edge, &[http, "-T", "-", "-o", &down, "-w", "%{http_code}", &url]));
            assert_eq!(said.fine(), "200", "{http} {url}");
            assert!(fs::read(&down).unwrap() == body, "{http} {url}: another body came back");
            backend.forget();
        }
    }
}

#[test]
fn fifty_requests_share_one_connection() {
    let Some(curl) = curl() else { return };
    let backend = Backend::http(|request| Reply::ok(request.target));
    let edge = Edge::new(&backend);
    let url = edge.https("/[1-50]");
    let to = edge.file("answer-#1");
    curl.run(&words(&edge, &["--http2", "--parallel", "--parallel-max", "50", "-o", &to, &url])).fine();
    for number in 1..=50 {
        assert_eq!(fs::read_to_string(edge.file(&format!("answer-{number}"))).unwrap(), format!("/{number}"));
    }
    assert_eq!(edge.connections(), 1.0);
}

#[test]
fn a_certificate_is_shown_or_the_door_stays_shut() {
    let Some(curl) = curl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::with(&backend, Authority::client_ca);
    let alice = edge.authority.issue(asked(&[]).subject("alice", "Boats"));
    edge.authority.put("alice", &alice);
    let (cert, key, https) = (edge.file("alice.pem"), edge.file("alice.key"), edge.https("/"));
    for http in ["--http2", "--http1.1"] {
        for max in ["1.2", "1.3"] {
            let with = [http, "--tls-max", max, "--cert", &cert, "--key", &key, &https];
            assert_eq!(curl.run(&words(&edge, &with)).fine(), "fine");
            let seen = backend.last();
            assert_eq!(seen.field("x-client-cert-verified"), Some("SUCCESS"));
            assert_eq!(seen.field("x-client-cert-subject"), Some("CN=alice,O=Boats"));
            let without = curl.run(&words(&edge, &[http, "--tls-max", max, &https]));
            assert!(matches!(without.code, Some(35 | 55 | 56 | 98)), "{without:?}");
        }
    }
    assert_eq!(backend.requests(), 4);
}

#[test]
fn a_body_that_ends_with_the_connection_is_whole_or_known_to_be_cut() {
    let Some(curl) = curl() else { return };
    let backend = Backend::raw(|conn, _| {
        let Some(request) = conn.request() else { return };
        match request.target.as_str() {
            "/whole" => conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"),
            _ => conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun"),
        };
    });
    let edge = Edge::new(&backend);
    let (whole, cut) = (edge.https("/whole"), edge.https("/cut"));
    // An HTTP/1.0 client knows no chunks: TLS alone says that the end is the end.
    assert_eq!(curl.run(&words(&edge, &["--http1.0", &whole])).fine(), "whole");
    for http in ["--http1.0", "--http1.1", "--http2"] {
        let said = curl.run(&words(&edge, &[http, &cut]));
        assert!(said.code != Some(0), "{http}: {said:?}");
    }
}
