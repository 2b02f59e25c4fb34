//! Who gives a call up, and that the other side hears of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use ::h2::Reason;
use bytes::Bytes;
use http::Response;
use tonic::codegen::tokio_stream::StreamExt;
use tonic::codegen::{BoxStream, tokio_stream};
use tonic::{Code, Request};

use super::{Backend, Caller, Gone, call, open, pool, text, until};
use crate::support::{Evenkeel, H2Backend, h2, wait_for};

/// A backend whose method `Wait` never answers and whose others send one message and never end; and how many were given
/// up.
fn patient() -> (Backend, Arc<AtomicUsize>) {
    let gone = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&gone);
    let backend = Backend::with(move |method, request| {
        let gone = Gone(Arc::clone(&counted));
        async move {
            if method == "Wait" {
                let _held = (&gone, request);
                std::future::pending::<()>().await;
            }
            let first = tokio_stream::once(Ok(text("first")));
            let rest = tokio_stream::pending().map(move |never| {
                let _held = &gone;
                never
            });
            Ok(tonic::Response::new(Box::pin(first.chain(rest)) as BoxStream<_>))
        }
    });
    (backend, gone)
}

#[track_caller]
fn left(evenkeel: &Evenkeel, gone: &AtomicUsize, times: usize) {
    wait_for("the handler is given up", || gone.load(SeqCst) == times);
    wait_for("nothing is left", || evenkeel.in_flight() == 0.0);
    evenkeel.wait_failures("client_gone", times);
}

#[test]
fn a_client_that_cancels_ends_its_call_at_the_backend() {
    let (backend, gone) = patient();
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        // While it waits for an answer.
        let waits = caller.unary("Wait", Request::new(text("")));
        tokio::select! {
            _ = waits => panic!("nobody answers"),
            () = until(|| backend.calls() == 1) => {}
        }
        until(|| gone.load(SeqCst) == 1).await;
        // While it listens.
        let mut heard = caller.listen("Some", "").await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("first")));
        drop(heard);
        until(|| gone.load(SeqCst) == 2).await;
        // While both could speak.
        let (say, said) = open();
        let mut heard = caller.stream("Some", said).await.unwrap();
        assert_eq!(heard.message().await.unwrap(), Some(text("first")));
        // By tonic, a stream lives while its client may still speak.
        drop((heard, say));
        until(|| gone.load(SeqCst) == 3).await;
    });
    left(&evenkeel, &gone, 3);
}

#[test]
fn a_client_whose_backend_takes_nothing_can_still_cancel() {
    let (backend, gone) = patient();
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut client = h2::connect(evenkeel.address()).await.ready().await.unwrap();
        let (_answer, mut body) = client.send_request(call("/test.Echo/Wait").body(()).unwrap(), false).unwrap();
        // As much as anybody takes: it stands at evenkeel, for want of the backend's window.
        let filling = crate::support::push(&mut body, vec![0; 16 << 20], false);
        tokio::select! {
            () = filling => panic!("all of it was taken"),
            () = async {
                until(|| backend.calls() == 1).await;
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            } => {}
        }
        body.send_reset(Reason::CANCEL);
        until(|| gone.load(SeqCst) == 1).await;
    });
    left(&evenkeel, &gone, 1);
}

#[test]
fn a_client_that_is_gone_ends_all_its_calls() {
    let (backend, gone) = patient();
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let mut all = Vec::new();
        for _ in 0..20 {
            let mut heard = caller.listen("Some", "").await.unwrap();
            assert_eq!(heard.message().await.unwrap(), Some(text("first")));
            all.push(heard);
        }
    });
    left(&evenkeel, &gone, 20);
}

#[test]
fn a_backend_that_cancels_ends_the_call_at_the_client() {
    let backend = H2Backend::start(100, |_, mut respond| async move {
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(head, false).unwrap();
        send.send_data(Bytes::from_static(&[0, 0, 0, 0, 0]), false).unwrap();
        send.send_reset(Reason::CANCEL);
    });
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut caller = Caller::to(evenkeel.address()).await;
        let (_say, said) = open();
        let status = match caller.stream("Any", said).await {
            Err(status) => status,
            Ok(mut heard) => loop {
                match heard.message().await {
                    Ok(message) => assert!(message.is_some(), "it does not end well"),
                    Err(status) => break status,
                }
            },
        };
        assert!(matches!(status.code(), Code::Internal | Code::Unavailable | Code::Cancelled), "{status:?}");
    });
    wait_for("nothing is left", || evenkeel.in_flight() == 0.0);
}
