//! `retry.on = ["grpc:NAME"]`: a call that was answered by a status alone is made again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use tonic::codegen::{BoxStream, tokio_stream};
use tonic::{Code, Request, Response, Status};

use super::{Backend, Caller, open, pool, text};
use crate::support::{Evenkeel, h2};

const UNAVAILABLE: &str =
    "retry = { on = [\"grpc:unavailable\"], attempts = 2, backoff = { base = \"1ms\", max = \"1ms\" } }";

/// A backend that is `code` for the first `times` calls, and then answers what it is told; its first messages as well
/// if `after_one`.
fn failing(code: Code, times: usize, after_one: bool) -> Backend {
    let calls = AtomicUsize::new(0);
    let calls = Arc::new(calls);
    Backend::with(move |_, request| {
        let fails = calls.fetch_add(1, SeqCst) < times;
        async move {
            let status = Status::new(code, "says the backend");
            let said = if after_one { vec![Ok(text("one")), Err(status)] } else { Vec::new() };
            match (fails, after_one) {
                (true, false) => Err(Status::new(code, "says the backend")),
                (true, true) => Ok(Response::new(Box::pin(tokio_stream::iter(said)) as BoxStream<_>)),
                (false, _) => Ok(Response::new(Box::pin(request.into_inner()) as BoxStream<_>)),
            }
        }
    })
}

fn retries(evenkeel: &Evenkeel) -> f64 {
    evenkeel.metric("evenkeel_retries_total", &[("pool", "web"), ("reason", "grpc")])
}

/// What one call of `said` to `backend` comes to, with the pool's lines.
fn once(backend: &Backend, lines: &str, said: &str) -> (Result<String, Status>, Evenkeel) {
    let evenkeel = pool(&[backend.address()], lines).start();
    let heard = h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let heard = caller.unary("Any", Request::new(text(said))).await;
        heard.map(|heard| heard.into_inner().text)
    });
    (heard, evenkeel)
}

#[test]
fn a_call_that_found_its_backend_unavailable_is_made_again_with_its_body() {
    let backend = failing(Code::Unavailable, 2, false);
    let (heard, evenkeel) = once(&backend, UNAVAILABLE, "hello");
    assert_eq!(heard.unwrap(), "hello");
    assert_eq!((backend.calls(), retries(&evenkeel)), (3, 2.0));
    evenkeel.assert_no_failure();
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("code", "200")]), 3.0);
}

#[test]
fn another_backend_is_tried_first() {
    let (bad, good) = (
        failing(Code::Unavailable, usize::MAX, false),
        Backend::with(|_, request| async move { Ok(Response::new(Box::pin(request.into_inner()) as BoxStream<_>)) }),
    );
    let evenkeel = pool(&[bad.address(), good.address()], UNAVAILABLE).start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        for turn in 0..10 {
            let heard = caller.unary("Any", Request::new(text(turn.to_string()))).await.unwrap();
            assert_eq!(heard.into_inner().text, turn.to_string());
        }
    });
    assert_eq!(good.calls(), 10);
    assert_eq!(retries(&evenkeel), bad.calls() as f64);
}

#[test]
fn the_last_answer_counts_when_attempts_are_over() {
    let backend = failing(Code::Unavailable, usize::MAX, false);
    let (heard, evenkeel) = once(&backend, UNAVAILABLE, "hello");
    let status = heard.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "says the backend"));
    assert_eq!((backend.calls(), retries(&evenkeel)), (3, 2.0));
    evenkeel.assert_no_failure();
}

#[test]
fn nothing_is_made_again_that_was_not_asked_for() {
    for (code, lines) in [
        (Code::Unavailable, "retry = { attempts = 2 }"),
        (Code::Internal, UNAVAILABLE),
        (Code::Unavailable, "retry = { on = [\"grpc:internal\"] }"),
        (Code::Unavailable, "retry = { on = [\"grpc:unavailable\"], attempts = 0 }"),
    ] {
        let backend = failing(code, 1, false);
        let (heard, evenkeel) = once(&backend, lines, "hello");
        assert_eq!(heard.unwrap_err().code(), code, "{lines}");
        assert_eq!((backend.calls(), retries(&evenkeel)), (1, 0.0), "{lines}");
    }
}

#[test]
fn nothing_is_made_again_once_a_message_has_come() {
    let backend = failing(Code::Unavailable, 1, true);
    let evenkeel = pool(&[backend.address()], UNAVAILABLE).start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let mut heard = caller.listen("Any", "hello").await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("one")));
        assert_eq!(heard.message().await.unwrap_err().code(), Code::Unavailable);
    });
    assert_eq!((backend.calls(), retries(&evenkeel)), (1, 0.0));
}

#[test]
fn a_body_that_is_not_held_whole_is_not_sent_again() {
    let backend = failing(Code::Unavailable, 1, false);
    let lines = "retry = { on = [\"grpc:unavailable\"], buffer = \"1KiB\" }";
    // The status comes when the body has gone: a unary call's message is sent with its head.
    let (heard, evenkeel) = once(&backend, lines, &"x".repeat(10_000));
    assert_eq!(heard.unwrap_err().code(), Code::Unavailable);
    assert_eq!((backend.calls(), retries(&evenkeel)), (1, 0.0));
}

#[test]
fn a_stream_whose_first_messages_are_held_goes_on_at_the_next_attempt() {
    let backend = failing(Code::Unavailable, 1, false);
    let evenkeel = pool(&[backend.address()], UNAVAILABLE).start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        say.send(text("one")).await.unwrap();
        let mut heard = caller.stream("Any", said).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("one")));
        say.send(text("two")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("two")));
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
    });
    assert_eq!((backend.calls(), retries(&evenkeel)), (2, 1.0));
}

#[test]
fn retries_stay_within_the_budget() {
    let backend = failing(Code::Unavailable, usize::MAX, false);
    let lines = "retry = { on = [\"grpc:unavailable\"], budget = \"0%\", budget_floor = 1 }";
    let (heard, evenkeel) = once(&backend, lines, "hello");
    assert_eq!(heard.unwrap_err().message(), "says the backend");
    assert_eq!((backend.calls(), retries(&evenkeel)), (2, 1.0));
    assert_eq!(evenkeel.metric("evenkeel_retry_budget_exhausted_total", &[]), 1.0);
}
