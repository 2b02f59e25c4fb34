//! OpenSSL's `s_client`: sessions and their resumption, and what a session must not do.

use super::*;

/// A GET on a connection that ends after it.
const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn openssl() -> Option<Program> {
    Program::find("openssl", "openssl")
}

/// What `s_client` with `words` says of a session in which it sends `input`.
fn session(openssl: &Program, edge: &Edge, input: &str, words: &[&str]) -> Said {
    let (address, ca) = (edge.secure().to_string(), edge.file("ca.pem"));
    let fixed = ["s_client", "-connect", &address, "-servername", "localhost", "-CAfile", &ca, "-verify_return_error"];
    openssl.run_on(input.as_bytes(), &[&fixed[..], words].concat())
}

#[test]
fn a_session_is_resumed_without_early_data() {
    let Some(openssl) = openssl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let file = edge.file("session");
    for version in ["-tls1_2", "-tls1_3"] {
        let first = session(&openssl, &edge, GET, &[version, "-ign_eof", "-sess_out", &file]).fine();
        assert!(first.contains("\nNew, ") && first.contains("HTTP/1.1 200 OK"), "{first}");
        assert!(version == "-tls1_2" || first.contains("Max Early Data: 0\n"), "{first}");
        // More than once, and on every worker.
        for _ in 0..8 {
            let again = session(&openssl, &edge, GET, &[version, "-ign_eof", "-sess_in", &file]).fine();
            assert!(again.contains("\nReused, ") && again.contains("HTTP/1.1 200 OK"), "{again}");
        }
    }
    let said = session(&openssl, &edge, "", &["-tls1_2", "-reconnect"]).fine();
    assert_eq!((said.matches("\nNew, ").count(), said.matches("\nReused, ").count()), (1, 5), "{said}");
}

#[test]
fn the_end_of_a_connection_is_said() {
    let Some(openssl) = openssl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    for version in ["-tls1_2", "-tls1_3"] {
        let said = session(&openssl, &edge, GET, &[version, "-ign_eof"]);
        assert!(!said.err.contains("unexpected eof"), "{said:?}");
        assert!(said.fine().ends_with("closed\n"));
    }
}

#[test]
fn nothing_is_compressed_and_the_order_of_ciphers_is_ours() {
    let Some(openssl) = openssl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let (small, large) = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384");
    for order in [format!("{small}:{large}"), format!("{large}:{small}")] {
        let said = session(&openssl, &edge, "", &["-tls1_2", "-comp", "-cipher", &order]).fine();
        assert!(said.contains(&format!("Cipher is {large}\n")), "{said}");
        assert!(said.contains("Compression: NONE\n") && said.contains("Secure Renegotiation IS supported"), "{said}");
    }
    for weak in ["ALL:-ECDHE", "ECDHE+SHA1", "NULL", "3DES", "RC4"] {
        let cipher = format!("{weak}:@SECLEVEL=0");
        let said = session(&openssl, &edge, "", &["-tls1_2", "-cipher", &cipher]);
        assert!(said.code != Some(0), "{weak}: {said:?}");
    }
}

#[test]
fn a_session_is_not_negotiated_anew() {
    let Some(openssl) = openssl() else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::made(&backend, |_| String::new(), |setup| setup.listener("header_timeout = \"3s\""));
    // A line with one R asks for it.
    let said = session(&openssl, &edge, &format!("R\n{GET}"), &["-tls1_2"]);
    assert!(said.err.contains("RENEGOTIATING") || said.out.contains("RENEGOTIATING"), "{said:?}");
    assert!(said.err.contains("no renegotiation"), "{said:?}");
    let log = edge.process.log();
    assert!(!log.iter().any(|line| line.contains("NoRenegotiation")), "a client can fill the log: {log:?}");
    assert_eq!(backend.requests(), 0);
}
