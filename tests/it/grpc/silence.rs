//! How long a call may be silent: as long as a tunnel, in both directions, whatever bounds bodies have.

use std::time::Duration;

use tonic::Code;
use tonic::codegen::tokio_stream::StreamExt;

use super::{Backend, Caller, open, pool, text};
use crate::support::{Setup, h2};

/// Every bound of bodies is shorter than the silences of these stories.
fn bounds(setup: Setup, tunnel: &str) -> Setup {
    let setup = setup.listener("body_timeout = \"100ms\"\nidle_timeout = \"100ms\"\nmin_body_rate = \"1000B/s\"");
    setup.pool(format!("body_timeout = \"100ms\"\ntunnel_timeout = {tunnel:?}"))
}

#[test]
fn a_call_may_be_silent_for_longer_than_a_body() {
    let backend = Backend::start();
    let evenkeel = bounds(pool(&[backend.address()], ""), "1m").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        for turn in ["one", "two"] {
            tokio::time::sleep(Duration::from_millis(400)).await;
            say.send(text(turn)).await.unwrap();
            assert_eq!(heard.message().await.unwrap(), Some(text(turn)));
        }
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
        // Before there is an answer, too.
        let (say, said) = open();
        let joined = tokio::task::spawn_local(async move { caller.join(said).await });
        for turn in ["one", "two"] {
            say.send(text(turn)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        drop(say);
        assert_eq!(joined.await.unwrap().unwrap(), "onetwo");
    });
    evenkeel.assert_no_failure();
}

#[test]
fn the_least_rate_of_bodies_is_not_that_of_calls() {
    let backend = Backend::start();
    let evenkeel = bounds(pool(&[backend.address()], ""), "1m").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        // Longer than the grace of a body's rate, which is 5 s.
        tokio::time::sleep(Duration::from_millis(6_500)).await;
        say.send(text("slow")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("slow")));
    });
}

#[test]
fn a_call_that_is_silent_for_longer_than_a_tunnel_is_cut() {
    let backend = Backend::start();
    let evenkeel = bounds(pool(&[backend.address()], ""), "300ms").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        say.send(text("one")).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("one")));
        let status = heard.message().await.unwrap_err();
        assert!(matches!(status.code(), Code::Internal | Code::Unavailable), "{status:?}");
        drop(say);

        // Without an answer, it is the client that is waited for.
        let (_say, said) = open();
        let status = caller.join(said).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unknown, "request_timeout"));
    });
    evenkeel.wait_failures("body_timeout", 1);
    evenkeel.wait_failures("request_timeout", 1);
}

#[test]
fn one_side_that_speaks_is_enough() {
    let backend = Backend::with(|_, request| async move {
        let often = tonic::codegen::tokio_stream::iter(0..10).then(|turn| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(text(turn.to_string()))
        });
        let _unread = request;
        Ok(tonic::Response::new(Box::pin(often) as tonic::codegen::BoxStream<_>))
    });
    let evenkeel = bounds(pool(&[backend.address()], ""), "400ms").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        // The client says nothing for a second, and does not end its side.
        let (_say, said) = open();
        let mut heard = caller.stream("Tell", said).await.unwrap();
        for turn in 0..10 {
            assert_eq!(heard.message().await.unwrap(), Some(text(turn.to_string())));
        }
        assert_eq!(heard.message().await.unwrap(), None);
    });
    evenkeel.assert_no_failure();
}
