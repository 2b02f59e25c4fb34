//! How evenkeel says what went wrong: RFC 9457, RFC 9209 and PRODUCT.md section 7.

use std::sync::mpsc;
use std::thread;

use crate::support::{Backend, PATIENCE, Reply, Setup, in_front_of, wait_for};

#[test]
fn an_error_is_a_problem_document() {
    let port = Backend::refused();
    let evenkeel = Setup::to(&[port.address()]).start();
    let response = evenkeel.get("/");
    response.assert_refused(502, "connect_refused");
    assert_eq!(response.field("proxy-status"), Some("evenkeel; error=connection_refused; details=\"connect_refused\""));
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    let text = response.text();
    for member in ["\"type\"", "\"title\"", "\"status\"", "\"request_id\""] {
        assert!(text.contains(member), "{member}: {text}");
    }
    assert!(text.trim_start().starts_with('{') && text.trim_end().ends_with('}'), "{text}");
    let compact: String = text.split_whitespace().collect();
    assert!(compact.contains("\"status\":502"), "{text}");
    assert!(!text.contains("127.0.0.1"), "an address has no place in an answer: {text}");
}

#[test]
fn a_browser_gets_a_page() {
    let port = Backend::refused();
    let evenkeel = Setup::to(&[port.address()]).start();
    let accept = |accept: &str| {
        let response = evenkeel.client().exchange(format!("GET / HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"));
        assert_eq!(response.status, 502);
        response.field("content-type").unwrap().to_owned()
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    assert!(accept(browser).starts_with("text/html"));
    assert!(accept("text/html").starts_with("text/html"));
    assert!(accept("text/html;q=0.9, application/json;q=0.1").starts_with("text/html"));
    for other in ["*/*", "application/json", "application/json, text/html;q=0.5", "text/html;q=0", ""] {
        assert!(accept(other).starts_with("application/problem+json"), "{other:?}");
    }
}

#[test]
fn a_page_does_not_repeat_what_was_sent() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let request = "GET /<script>alert(1)</script>\\ HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n";
    let response = evenkeel.client().exchange(request);
    assert_eq!(response.status, 400);
    assert!(!response.text().contains("alert"), "{}", response.text());
}

#[test]
fn the_connection_goes_on_after_an_error_of_the_backend() {
    let port = Backend::refused();
    let evenkeel = Setup::to(&[port.address()]).start();
    let mut client = evenkeel.client();
    for _ in 0..3 {
        client.get("/").assert_refused(502, "connect_refused");
        client.with_body("POST", "/", b"hello").assert_refused(502, "connect_refused");
    }
    evenkeel.wait_failures("connect_refused", 6);
    assert_eq!(evenkeel.metric("evenkeel_requests_total", &[("code", "502")]), 6.0);
}

#[test]
fn an_error_to_head_has_no_body() {
    let port = Backend::refused();
    let evenkeel = Setup::to(&[port.address()]).start();
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.exchange("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        response.assert_refused(502, "connect_refused");
        assert!(response.body.is_empty());
    }
}

#[test]
fn our_pseudonym_is_the_one_that_was_chosen() {
    let port = Backend::refused();
    let evenkeel = Setup::to(&[port.address()]).server("via = \"edge-7\"").start();
    let status = evenkeel.get("/").field("proxy-status").unwrap().to_owned();
    assert_eq!(status, "edge-7; error=connection_refused; details=\"connect_refused\"");
}

#[test]
fn a_backend_that_comes_back_is_used_again() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    backend.kill();
    evenkeel.get("/").assert_refused(502, "connect_refused");
    backend.restart();
    wait_for("it is used again", || evenkeel.get("/").status == 200);
}

#[test]
fn an_answer_of_the_backend_is_not_ours() {
    let backend = Backend::http(|_| Reply::new("503 Service Unavailable", "", "down"));
    let response = in_front_of(&backend).get("/");
    assert_eq!((response.status, response.text().as_str(), response.field("proxy-status")), (503, "down", None));
}

#[test]
fn stopping_ends_every_thread() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let _idle = evenkeel.client().get("/");
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        evenkeel.stop();
        done.send(()).unwrap();
    });
    wait.recv_timeout(PATIENCE).expect("stop returns");
    thread.join().unwrap();
}
