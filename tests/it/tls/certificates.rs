//! Which certificate a client gets, and which requests belong on its connection.

use rustls::SignatureScheme;

use super::*;

#[test]
fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let pairs = [
        authority.write("default", asked(&["default.example"])),
        authority.write("wild", asked(&["*.wild.example"])),
        authority.write("exact", asked(&["exact.wild.example", "other.example"])),
    ];
    let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
    let evenkeel = start(&backend, &authority.listener(&pairs, ""));
    for name in ["default.example", "a.wild.example", "EXACT.wild.example", "other.example"] {
        let mut secure = connect(evenkeel.address(), &authority, name);
        let answer = secure.get(name, "");
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"), "{name}");
    }
    // The default's certificate is for neither: the client says so.
    for name in ["unknown.example", "a.b.wild.example"] {
        assert!(Secure::connect(evenkeel.address(), &Arc::new(authority.client()), name).is_err(), "{name}");
    }
    wait_for("both are counted", || failures(&evenkeel, "certificate") == 2.0);
    let mut nameless = authority.client();
    nameless.enable_sni = false;
    let secure = Secure::connect(evenkeel.address(), &Arc::new(nameless), "default.example").unwrap();
    assert_eq!(secure.session().peer_certificates().unwrap().len(), 1);
}

/// A client that can verify signatures of that kind alone.
fn only(authority: &Authority, scheme: SignatureScheme) -> Arc<ClientConfig> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let all = provider.signature_verification_algorithms;
    // The authority signs by ECDSA: chains are verified by all, handshakes by that one.
    let mapping: Vec<_> = all.mapping.iter().copied().filter(|(known, _)| *known == scheme).collect();
    provider.signature_verification_algorithms =
        rustls::crypto::WebPkiSupportedAlgorithms { all: all.all, mapping: mapping.leak() };
    let builder = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(authority.roots()).with_no_client_auth())
}

#[test]
fn rsa_is_for_those_who_cannot_verify_ecdsa() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let (rsa, ecdsa) = (authority.issue(asked(&["a.example"]).rsa()), authority.issue(asked(&["a.example"])));
    authority.put("rsa", &rsa);
    authority.put("ecdsa", &ecdsa);
    let tls = authority.listener(&[&authority.pair("rsa"), &authority.pair("ecdsa")], "");
    let evenkeel = start(&backend, &tls);
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").shown(), ecdsa.der);
    for (scheme, expected) in
        [(SignatureScheme::RSA_PSS_SHA256, &rsa), (SignatureScheme::ECDSA_NISTP256_SHA256, &ecdsa)]
    {
        let secure = Secure::connect(evenkeel.address(), &only(&authority, scheme), "a.example").unwrap();
        assert_eq!(secure.shown(), expected.der, "{scheme:?}");
    }
}

#[test]
fn a_request_for_a_host_with_another_certificate_is_misdirected() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let pairs = [
        authority.write("a", asked(&["a.example", "both.example"])),
        authority.write("b", asked(&["b.example", "*.b.example"])),
    ];
    let evenkeel = start(&backend, &authority.listener(&[&pairs[0], &pairs[1]], ""));
    for (name, host, status) in [
        ("a.example", "a.example", 200),
        ("a.example", "A.Example:443", 200),
        ("a.example", "both.example", 200),
        ("a.example", "b.example", 421),
        // It has no certificate of its own: the default one is shown for it, which is this one.
        ("a.example", "unknown.example", 200),
        ("b.example", "a.example", 421),
        ("b.example", "unknown.example", 421),
        ("b.example", "x.b.example:8443", 200),
        ("x.b.example", "y.b.example", 200),
    ] {
        let mut secure = connect(evenkeel.address(), &authority, name);
        let answer = secure.get(host, "");
        assert_eq!(answer.status, status, "{name} {host}");
        if status == 421 {
            answer.assert_refused(421, "misdirected");
            assert_eq!(secure.get(name, "").status, 200, "the connection goes on");
        }
    }
    evenkeel.wait_failures("misdirected", 3);
    let mut nameless = authority.client();
    nameless.enable_sni = false;
    let mut secure = Secure::connect(evenkeel.address(), &Arc::new(nameless), "a.example").unwrap();
    assert_eq!(secure.get("b.example", "").status, 200, "no name was sent");
}
