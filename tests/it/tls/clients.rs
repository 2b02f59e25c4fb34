//! Clients that show a certificate, and those that only say so.

use super::*;
use crate::support::{Client, Request};

const FORGED: &str = "X-Client-Cert-Verified: SUCCESS\r\nx-client-cert-subject: CN=root\r\n\
                      X-CLIENT-CERT-FINGERPRINT: 00\r\n";

/// What the backend was told: verified, subject, fingerprint, each of them once or not at all.
fn told(request: &Request) -> [Option<&str>; 3] {
    ["x-client-cert-verified", "x-client-cert-subject", "x-client-cert-fingerprint"].map(|name| {
        assert!(request.head.fields.all(name).len() <= 1, "{name}");
        request.field(name)
    })
}

fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_certificate_is_required_and_told_to_the_backend() {
    let (authority, strangers, backend) = (Authority::new(), Authority::new(), Backend::ok("fine"));
    let pair = authority.write("a", asked(&["a.example"]));
    let evenkeel = start(&backend, &authority.listener(&[&pair], &authority.client_ca()));
    let alice = authority.issue(asked(&[]).subject("alice", "Boats, Inc."));
    let config = Arc::new(authority.client_with(&alice));
    for turn in ["full", "resumed"] {
        let mut secure = Secure::connect(evenkeel.address(), &config, "a.example").unwrap();
        assert_eq!(secure.get("a.example", FORGED).status, 200);
        assert_eq!(secure.is_resumed(), turn == "resumed");
        let expected = fingerprint(&alice.der);
        assert_eq!(told(&backend.last()), [Some("SUCCESS"), Some(r"CN=alice,O=Boats\, Inc."), Some(&*expected)]);
    }
    let mallory = authority.client_with(&strangers.issue(asked(&[]).subject("mallory", "")));
    for (config, count) in [(authority.client(), 1.0), (mallory, 2.0)] {
        let refused = Secure::connect(evenkeel.address(), &Arc::new(config), "a.example");
        assert!(refused.and_then(|mut secure| secure.try_get("a.example", "")).is_err());
        wait_for("it is counted", || failures(&evenkeel, "client_certificate") == count);
    }
    assert_eq!(backend.requests(), 2);
}

#[test]
fn an_optional_certificate_may_be_missing_and_must_not_be_bad() {
    let (authority, strangers, backend) = (Authority::new(), Authority::new(), Backend::ok("fine"));
    let pair = authority.write("a", asked(&["a.example"]));
    let more = format!("{}client_auth = \"optional\"\n", authority.client_ca());
    let evenkeel = start(&backend, &authority.listener(&[&pair], &more));
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").get("a.example", FORGED).status, 200);
    assert_eq!(told(&backend.last()), [Some("NONE"), None, None]);
    let alice = authority.issue(asked(&[]).subject("alice", "Boats"));
    let config = Arc::new(authority.client_with(&alice));
    let mut secure = Secure::connect(evenkeel.address(), &config, "a.example").unwrap();
    assert_eq!(secure.get("a.example", FORGED).status, 200);
    assert_eq!(told(&backend.last())[..2], [Some("SUCCESS"), Some("CN=alice,O=Boats")]);
    let mallory = authority.client_with(&strangers.issue(asked(&[]).subject("mallory", "")));
    let refused = Secure::connect(evenkeel.address(), &Arc::new(mallory), "a.example");
    assert!(refused.and_then(|mut secure| secure.try_get("a.example", "")).is_err());
}

#[test]
fn nobody_is_believed_who_only_says_so() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let pair = authority.write("a", asked(&["a.example"]));
    let plain = Setup::to(&[backend.address()]).start();
    let said = || {
        let request = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{FORGED}\r\n");
        move |address| Client::h1(address).exchange(&request).status
    };
    assert_eq!(said()(plain.address()), 200);
    assert_eq!(told(&backend.last()), [None; 3]);
    let secure = start(&backend, &authority.listener(&[&pair], ""));
    assert_eq!(connect(secure.address(), &authority, "a.example").get("a.example", FORGED).status, 200);
    assert_eq!(told(&backend.last()), [None; 3], "nobody was asked for a certificate");
    // A proxy of ours that has asked its client.
    let trusting = Setup::to(&[backend.address()]).server("trusted_proxies = [\"127.0.0.1\"]").start();
    assert_eq!(said()(trusting.address()), 200);
    assert_eq!(told(&backend.last()), [Some("SUCCESS"), Some("CN=root"), Some("00")]);
    // But here it is asked for itself.
    let more = format!("{}client_auth = \"optional\"\n", authority.client_ca());
    let asking = Setup::to(&[backend.address()])
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .listener(authority.listener(&[&pair], &more))
        .start();
    assert_eq!(connect(asking.address(), &authority, "a.example").get("a.example", FORGED).status, 200);
    assert_eq!(told(&backend.last()), [Some("NONE"), None, None]);
}

#[test]
fn what_tells_of_a_certificate_is_no_trailer_and_is_not_named_by_connection() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).start();
    let named = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-client-cert-verified\r\n\r\n";
    evenkeel.client().exchange(named).assert_refused(400, "bad_request");
}
