//! Failures of evenkeel's own, as a gRPC client hears of them: a status, and with it what every other client is told.

use std::path::Path;

use tonic::{Code, Request, Status};

use super::{Backend, Caller, call, pool, text};
use crate::support::{self, Client, Evenkeel, H2Backend, Setup, Site, h2, wait_for};

/// The status is evenkeel's, of that code and word.
#[track_caller]
fn check(status: &Status, code: Code, word: &str) {
    assert_eq!((status.code(), status.message()), (code, word), "{status:?}");
    let said = status.metadata().get("proxy-status").unwrap().to_str().unwrap();
    assert!(said.starts_with("evenkeel; error=") && said.ends_with(&format!("; details=\"{word}\"")), "{said}");
    assert_eq!(status.metadata().get("x-request-id").unwrap().len(), 32);
}

#[test]
fn our_failures_are_statuses_of_grpc_and_counted_as_what_is_on_the_wire() {
    let dead = support::Backend::refused();
    let down = "protocol = \"h2\"\nhealth_check = { type = \"tcp\", initial_state = \"down\", healthy_threshold = 9 }";
    let closing = support::Backend::raw(|_, _| ());
    let routes = "[[route]]\nhost = \"127.0.0.1\"\npath = \"/test.Echo/Dead\"\npool = \"dead\"\n\
                  [[route]]\npath = \"/test.Echo/Down\"\npool = \"down\"\n\
                  [[route]]\npath = \"/test.Echo/Reset\"\npool = \"reset\"\n\
                  [[route]]\npath = \"/test.Echo/Small\"\npool = \"dead\"\nmax_body_size = \"10B\"\n";
    let site = Site::new(routes).pool_with("dead", &[dead.address()], "protocol = \"h2\"");
    let site = site.pool_with("down", &[dead.address()], down);
    let evenkeel = site.pool_with("reset", &[closing.address()], "protocol = \"h2\"").start();
    let cases = [
        ("Dead", Code::Unavailable, "connect_refused"),
        ("Down", Code::Unavailable, "no_backend"),
        ("Reset", Code::Unavailable, "reset"),
        ("Nowhere", Code::Unimplemented, "no_route"),
    ];
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        for (method, code, word) in cases {
            let status = caller.unary(method, Request::new(text("hello"))).await.unwrap_err();
            check(&status, code, word);
        }
        // The connection has gone on; a request that is no call gets what others get.
        let client = h2::connect(evenkeel.address()).await;
        let answer =
            h2::ask(&client, h2::to("POST", "/test.Echo/Nowhere").header("content-type", "application/grpc-web"), b"");
        assert_eq!(answer.await.unwrap().status, 404);
    });
    for (_, _, word) in cases.iter().filter(|case| case.2 != "no_route") {
        evenkeel.wait_failures(word, 1);
    }
    evenkeel.wait_failures("no_route", 2);
    let code = |code| evenkeel.metric("evenkeel_requests_total", &[("code", code)]);
    assert_eq!((code("200"), code("404")), (4.0, 1.0));
}

#[test]
fn a_body_over_its_bound_exhausts_a_resource() {
    let backend = Backend::start();
    let evenkeel = pool(&[backend.address()], "").listener("max_body_size = \"1KiB\"").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let status = caller.say(&"x".repeat(2_000)).await.unwrap_err();
        check(&status, Code::ResourceExhausted, "body_too_large");
        assert_eq!(caller.say("small").await.unwrap(), "small");
    });
}

#[test]
fn the_answer_is_a_head_alone() {
    let dead = support::Backend::refused();
    let evenkeel = pool(&[dead.address()], "").start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let answer = h2::ask(&client, call("/test.Echo/Say"), b"").await.unwrap();
        assert_eq!((answer.status, answer.body.len(), answer.trailers), (200, 0, None));
        let field = |name| answer.fields.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(field("content-type"), Some("application/grpc"));
        assert_eq!((field("grpc-status"), field("grpc-message")), (Some("14"), Some("connect_refused")));
        assert_eq!(field("proxy-status"), Some("evenkeel; error=connection_refused; details=\"connect_refused\""));
        assert_eq!((field("content-length"), field("retry-after")), (None, None));
        // A HTTP/1.1 client speaks no gRPC, whatever it sends.
        let post = "POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(Client::h1(evenkeel.address()).exchange(post).status, 502);
    });
}

#[test]
fn a_call_that_is_refused_for_its_head_hears_so_as_a_call() {
    let backend = Backend::start();
    let limits = "max_header_size = \"1KiB\"\nmax_target_size = \"256B\"";
    let evenkeel = pool(&[backend.address()], "").listener(limits).start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let long = format!("/test.Echo/{}", "x".repeat(300));
        for (request, code, word) in [
            (call("/%00"), "13", "bad_request"),
            (call(&long), "8", "target_too_long"),
            (
                h2::to("POST", "/").header("x-large", "x".repeat(1_500)).header("content-type", "application/grpc"),
                "8",
                "head_too_large",
            ),
        ] {
            let answer = h2::ask(&client, request, b"").await.unwrap();
            let field = |name| answer.fields.get(name).and_then(|value| value.to_str().ok());
            assert_eq!((answer.status, field("grpc-status"), field("grpc-message")), (200, Some(code), Some(word)));
        }
        assert_eq!(h2::ask(&client, h2::to("POST", "/%00"), b"").await.unwrap().status, 400);
    });
    assert_eq!(backend.calls(), 0);
}

#[test]
fn the_log_has_the_status_of_the_wire_and_the_word() {
    let dead = support::Backend::refused();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("grpc-{}.log", std::process::id()));
    let setup = Setup::to(&[dead.address()]).pool("protocol = \"h2\"");
    let evenkeel = Evenkeel::start(&setup.toml().replace("access = \"off\"", &format!("access = {file:?}")));
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        caller.say("hello").await.unwrap_err();
    });
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_for("a line is written", || text().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&text()).unwrap();
    assert_eq!((line["status"].as_u64(), line["failure"].as_str()), (Some(200), Some("connect_refused")), "{line:#}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_backend_that_is_killed_ends_its_streams_with_an_error() {
    let mut backend = Backend::start();
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = super::open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        say.send(text("hello")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("hello")));
        backend.kill();
        let status = heard.message().await.unwrap_err();
        assert!(matches!(status.code(), Code::Internal | Code::Unavailable), "{status:?}");
        drop(say);
        let status = caller.say("again").await.unwrap_err();
        check(&status, Code::Unavailable, "connect_refused");
    });
    evenkeel.wait_failures("truncated", 1);
    wait_for("nothing is left", || evenkeel.in_flight() == 0.0);
}

#[test]
fn an_answer_that_is_no_grpc_passes_as_it_is() {
    let backend = H2Backend::start(100, |_, mut respond| async move {
        respond.send_response(http::Response::builder().status(503).body(()).unwrap(), true).unwrap();
    });
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let status = caller.say("hello").await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "the client's own reading of 503: {status:?}");
    });
    evenkeel.assert_no_failure();
}
