//! testssl.sh: TLS as it is by default has nothing that it finds worse than "low".

use std::fs;

use super::*;

/// What it says of the test's certificate and of the machine, not of us: nobody knows the authority, which publishes no
/// revocation and no CAA record, and OpenSSL here has no GOST.
const NOT_OURS: &[&str] =
    &["cert_chain_of_trust", "cert_revocation", "cert_expirationStatus", "DNS_CAArecord", "engine_problem"];

/// What it may fail to learn: its client leaves before a ticket of TLS 1.3 has come, on a busy machine. openssl.rs resumes.
const UNSURE: (&str, &str) = ("sessionresumption_ticket", "WARN");

/// Its word for a finding that is worse than low, or for a check that it could not make.
const BAD: &[&str] = &["MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"];

/// What must be among its findings: else it has not looked.
const LOOKED: &[&str] =
    &["TLS1_3", "cipherlist_NULL", "cipher_order", "ALPN_HTTP2", "heartbleed", "secure_client_renego", "RC4"];

#[test]
fn testssl_finds_nothing_above_low() {
    // Debian drops the end of its name.
    let Some(testssl) = Program::find("testssl", "testssl.sh") else { return };
    let testssl = testssl.within(300);
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let report = edge.file("testssl.json");
    // Protocols, ciphers, forward secrecy, the server's choices, what it shows, vulnerabilities. No DNS: CI may have none.
    let fixed = ["--warnings", "batch", "--color", "0", "--quiet", "--nodns", "none", "--ip", "127.0.0.1"];
    let checks = ["-p", "-s", "-f", "-P", "-S", "-U", "--jsonfile", &report];
    let said = testssl.run(&[&fixed[..], &checks, &[&edge.https("/")]].concat());
    let report = fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&report).unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    for id in LOOKED {
        assert!(findings.iter().any(|finding| text(finding, "id") == *id), "no finding {id}: {said:?}");
    }
    let bad = |finding: &&serde_json::Value| {
        let (id, severity) = (text(finding, "id"), text(finding, "severity"));
        let excepted = NOT_OURS.contains(&id.as_str()) || (id.as_str(), severity.as_str()) == UNSURE;
        BAD.contains(&severity.as_str()) && !excepted
    };
    let bad: Vec<_> = findings.iter().filter(bad).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
