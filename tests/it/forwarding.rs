//! Who is calling, and through whom: `X-Forwarded-*`, `Forwarded`, `Via`, `X-Request-Id` (PRODUCT.md sections 8 and 12).

use crate::support::{Backend, Request, Setup, in_front_of};

/// A GET with `lines` (each with its CRLF) through an evenkeel with `server` settings; what the backend saw.
fn seen(server: &str, lines: &str) -> Request {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).server(server).start();
    let response = evenkeel.client().exchange(format!("GET / HTTP/1.1\r\nHost: shop.test:81\r\n{lines}\r\n"));
    assert_eq!(response.status, 200, "{response:?}");
    backend.last()
}

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\", \"2001:db8::/32\"]";

#[test]
fn the_backend_learns_who_asked_for_what() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    evenkeel.client().exchange("GET / HTTP/1.1\r\nHost: shop.test:81\r\n\r\n");
    let seen = backend.last();
    let port = evenkeel.address().port().to_string();
    let wanted = [
        ("host", "shop.test:81"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.test:81"),
        ("x-forwarded-port", port.as_str()),
        ("via", "1.1 evenkeel"),
    ];
    for (name, value) in wanted {
        assert_eq!(seen.head.fields.all(name), [value], "{name}");
    }
    assert!(!seen.head.fields.has("forwarded"));
}

#[test]
fn what_an_untrusted_client_claims_is_removed() {
    let seen = seen(
        "",
        "X-Forwarded-For: 192.0.2.66\r\nx-forwarded-for: 192.0.2.67\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
         X-Forwarded-Port: 443\r\nX-Real-IP: 192.0.2.66\r\nForwarded: for=192.0.2.66\r\nX-Request-Id: chosen\r\n",
    );
    assert_eq!(seen.head.fields.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.head.fields.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.head.fields.all("x-forwarded-host"), ["shop.test:81"]);
    assert_ne!(seen.field("x-forwarded-port"), Some("443"));
    assert!(!seen.head.fields.has("x-real-ip") && !seen.head.fields.has("forwarded"), "{seen:?}");
    assert_ne!(seen.field("x-request-id"), Some("chosen"));
}

#[test]
fn a_trusted_proxy_is_appended_to_and_believed() {
    let seen = seen(
        TRUSTED,
        "X-Forwarded-For: 192.0.2.1, 10.0.0.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front.test\r\n\
         X-Forwarded-Port: 443\r\nX-Request-Id: chosen-by-the-front\r\n",
    );
    let chain = seen.head.fields.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "192.0.2.1, 10.0.0.7, 127.0.0.1");
    assert_eq!(seen.head.fields.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.head.fields.all("x-forwarded-host"), ["front.test"]);
    assert_eq!(seen.head.fields.all("x-request-id"), ["chosen-by-the-front"]);
}

#[test]
fn several_forwarded_for_fields_are_one_list() {
    let seen = seen(TRUSTED, "X-Forwarded-For: 192.0.2.1\r\nX-Other: x\r\nX-Forwarded-For: 10.0.0.7\r\n");
    assert_eq!(seen.head.fields.all("x-forwarded-for").join(", "), "192.0.2.1, 10.0.0.7, 127.0.0.1");
}

#[test]
fn forwarded_is_sent_when_it_is_on() {
    let seen = seen("forwarded = true", "Forwarded: for=192.0.2.66\r\n");
    let forwarded = seen.head.fields.all("forwarded").join(", ").to_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    assert!(forwarded.contains("host=\"shop.test:81\""), "{forwarded}");
    assert!(!forwarded.contains("192.0.2.66"), "{forwarded}");
}

#[test]
fn our_pseudonym_in_via_can_be_chosen_and_is_appended() {
    let seen = seen("via = \"edge-7\"", "Via: 1.0 before\r\n");
    assert_eq!(seen.head.fields.all("via").join(", "), "1.0 before, 1.1 edge-7");
}

#[test]
fn via_says_which_version_the_client_spoke() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    evenkeel.client().exchange("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!(backend.last().head.fields.all("via"), ["1.0 evenkeel"]);
}

#[test]
fn every_request_has_an_id_of_its_own() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..50 {
        client.get("/");
    }
    let mut ids: Vec<_> =
        backend.seen().iter().map(|request| request.field("x-request-id").unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| id.len() >= 16), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
}

#[test]
fn ten_vias_of_our_own_are_a_loop() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let via = |count| format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "Via: 1.1 evenkeel\r\n".repeat(count));
    let mut client = evenkeel.client();
    assert_eq!(client.exchange(via(9)).status, 200);
    client.exchange(via(10)).assert_refused(502, "loop");
    let list = ["1.1 evenkeel"; 10].join(", ");
    client.exchange(format!("GET / HTTP/1.1\r\nHost: test\r\nVia: {list}\r\n\r\n")).assert_refused(502, "loop");
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn vias_of_others_are_no_loop() {
    let seen = seen("", &"Via: 1.1 evenkeel-two\r\nVia: 1.1 other\r\n".repeat(20));
    assert!(seen.head.fields.all("via").join(", ").ends_with("1.1 evenkeel"));
}

#[test]
fn the_backends_name_replaces_host_when_it_is_asked_for() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("pass_host = false").start();
    evenkeel.client().exchange("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(backend.last().head.fields.all("host"), [backend.address().to_string()]);
    assert_eq!(backend.last().field("x-forwarded-host"), Some("shop.test"));
}
