//! The four shapes of a call, many messages, large ones, and readers that are slow.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::time::Duration;

use tonic::codegen::tokio_stream::{self, StreamExt};
use tonic::{Code, Response, Status};

use super::{Backend, Caller, in_front_of, open, text};
use crate::support::h2;

#[test]
fn all_four_shapes_go_through_one_connection() {
    let backend = Backend::start();
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        assert_eq!(caller.say("hello").await.unwrap(), "hello");
        let words = ["one", " ", "two", " ", "three"].map(text);
        assert_eq!(caller.join(tokio_stream::iter(words)).await.unwrap(), "one two three");
        let repeated: Vec<_> =
            caller.listen("Repeat", "5").await.unwrap().map(|text| text.unwrap().text).collect().await;
        assert_eq!(repeated, ["0", "1", "2", "3", "4"]);

        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        for turn in ["ping", "pong"] {
            say.send(text(turn)).await.unwrap();
            assert_eq!(heard.message().await.unwrap().unwrap().text, turn);
        }
        // Half-close: the answer ends after the request has.
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
        assert!(heard.trailers().await.unwrap().is_some());
    });
    assert_eq!(backend.calls(), 4);
    evenkeel.assert_no_failure();
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[("listener", "web")]), 1.0);
}

#[test]
fn a_server_goes_on_after_the_client_has_finished() {
    let backend = Backend::with(|_, request| async move {
        let mut messages = request.into_inner();
        let late = async move {
            while let Ok(Some(_)) = messages.message().await {}
            Ok(text("you have finished"))
        };
        let all: tonic::codegen::BoxStream<_> = Box::pin(tokio_stream::once(Ok(text("hello"))).merge(once(late)));
        Ok(Response::new(all))
    });
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Late", said).await.unwrap();
        assert_eq!(heard.message().await.unwrap().unwrap().text, "hello");
        say.send(text("well")).await.unwrap();
        drop(say);
        assert_eq!(heard.message().await.unwrap().unwrap().text, "you have finished");
        assert_eq!(heard.message().await.unwrap(), None);
    });
}

/// A stream of one that takes its time.
fn once<T: Send + 'static>(
    item: impl Future<Output = T> + Send + 'static,
) -> impl tokio_stream::Stream<Item = T> + Send {
    let (tell, told) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let item = item.await;
        drop(tell.send(item).await);
    });
    tokio_stream::wrappers::ReceiverStream::new(told)
}

#[test]
fn a_thousand_messages_go_each_way_one_by_one_and_all_at_once() {
    let backend = Backend::start();
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        let mut heard = caller.stream("Chat", said).await.unwrap();
        for turn in 0..1_000 {
            say.send(text(turn.to_string())).await.unwrap();
            assert_eq!(heard.message().await.unwrap().unwrap().text, turn.to_string());
        }
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);

        let all = tokio_stream::iter((0..1_000).map(|turn| text(turn.to_string())));
        let heard = caller.stream("Chat", all).await.unwrap();
        let heard: Vec<_> = heard.map(|text| text.unwrap().text).collect().await;
        assert!(heard.iter().enumerate().all(|(turn, text)| *text == turn.to_string()) && heard.len() == 1_000);
    });
    evenkeel.assert_no_failure();
}

#[test]
fn large_messages_pass_both_ways() {
    let backend = Backend::start();
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let large = "x".repeat(3_000_000);
        assert!(caller.say(&large).await.unwrap() == large);
        let several = (0..4).map(|turn| text(turn.to_string().repeat(3_000_000)));
        let heard: Vec<_> = caller.stream("Chat", tokio_stream::iter(several)).await.unwrap().collect().await;
        let sizes: Vec<_> = heard.into_iter().map(|text| text.unwrap().text.len()).collect();
        assert_eq!(sizes, [3_000_000; 4]);
    });
}

#[test]
fn a_client_that_does_not_read_holds_its_server_back_and_nobody_else() {
    const SIZE: usize = 64 * 1024;
    const TIMES: usize = 400;
    let produced = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&produced);
    let backend = Backend::with(move |_, _| {
        let counted = Arc::clone(&counted);
        async move {
            let large = tokio_stream::iter(0..TIMES).map(move |_| {
                counted.fetch_add(1, SeqCst);
                Ok(text("x".repeat(SIZE)))
            });
            Ok(Response::new(Box::pin(large) as tonic::codegen::BoxStream<_>))
        }
    });
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let mut slow = caller.listen("Flood", "").await.unwrap();
        // Another stream of the same connections, meanwhile: it is served, and what is produced comes to rest.
        let mut before = usize::MAX;
        while before != produced.load(SeqCst) {
            before = produced.load(SeqCst);
            assert_eq!(caller.say("hello").await.unwrap(), "hello");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(before < TIMES / 2, "{before} messages were produced for a client that reads none");
        let mut read = 0;
        while let Some(message) = slow.message().await.unwrap() {
            assert_eq!(message.text.len(), SIZE);
            read += 1;
        }
        assert_eq!(read, TIMES);
    });
}

#[test]
fn a_server_may_answer_before_the_client_has_finished() {
    let backend = Backend::with(|_, _| async { Err(Status::failed_precondition("not today")) });
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (say, said) = open();
        say.send(text("first")).await.unwrap();
        let status = caller.stream("Refuse", said).await.expect_err("it is refused");
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not today"));
        drop(say);
        assert_eq!(caller.say("again").await.unwrap(), "again");
    });
    evenkeel.assert_no_failure();
}
