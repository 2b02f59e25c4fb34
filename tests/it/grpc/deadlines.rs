//! `grpc-timeout`: a deadline for the whole call, whatever the backend does. Bare frames, as gRPC libraries keep it too.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use std::time::{Duration, Instant};

use ::h2::{Reason, SendStream};
use bytes::Bytes;
use http::{Request, Response, Uri};
use tonic::codegen::BoxStream;

use super::{Backend, Gone, call, pool};
use crate::support::{self, H2Backend, h2, wait_for};

/// The word in a trailers-only answer of code `DEADLINE_EXCEEDED`.
#[track_caller]
fn exceeded(answer: &h2::Answer) {
    let field = |name| answer.fields.get(name).and_then(|value| value.to_str().ok());
    assert_eq!(
        (answer.status, field("grpc-status"), field("grpc-message")),
        (200, Some("4"), Some("deadline")),
        "{answer:?}"
    );
}

/// Resets that a backend has seen.
type Resets = Arc<Mutex<Vec<Reason>>>;

/// Waits until the stream is reset, and notes how.
async fn note(resets: &Resets, stream: &mut SendStream<Bytes>) {
    if let Ok(reason) = std::future::poll_fn(|cx| stream.poll_reset(cx)).await {
        resets.lock().unwrap().push(reason);
    }
}

/// A backend that takes a call and never answers.
fn silent(resets: &Resets) -> H2Backend {
    let resets = Arc::clone(resets);
    H2Backend::start(100, move |request, mut respond| {
        let resets = Arc::clone(&resets);
        async move {
            let _taken = request;
            if let Ok(reason) = std::future::poll_fn(|cx| respond.poll_reset(cx)).await {
                resets.lock().unwrap().push(reason);
            }
        }
    })
}

#[test]
fn a_call_is_answered_when_its_time_is_over_and_its_backend_hears_so() {
    let resets = Resets::default();
    let backend = silent(&resets);
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let begun = Instant::now();
        exceeded(&h2::ask(&client, call("/").header("grpc-timeout", "200m"), b"hello").await.unwrap());
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert!(begun.elapsed() < Duration::from_secs(5));
    });
    wait_for("the backend is told", || *resets.lock().unwrap() == [Reason::CANCEL]);
    evenkeel.wait_failures("deadline", 1);
}

#[test]
fn a_body_that_is_still_coming_does_not_stop_the_clock() {
    let resets = Resets::default();
    let backend = silent(&resets);
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut client = h2::connect(evenkeel.address()).await.ready().await.unwrap();
        let request = call("/").header("grpc-timeout", "200m").body(()).unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4");
    });
    wait_for("the backend is told", || *resets.lock().unwrap() == [Reason::CANCEL]);
}

#[test]
fn after_the_head_the_call_is_cut_on_both_sides() {
    let resets = Resets::default();
    let noted = Arc::clone(&resets);
    let backend = H2Backend::start(100, move |request, mut respond| {
        let resets = Arc::clone(&noted);
        async move {
            let _taken = request;
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            send.send_data(Bytes::from_static(b"message"), false).unwrap();
            note(&resets, &mut send).await;
        }
    });
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let mut client = h2::connect(evenkeel.address()).await.ready().await.unwrap();
        let request = call("/").header("grpc-timeout", "300m").body(()).unwrap();
        let (answer, _body) = client.send_request(request, false).unwrap();
        let mut answer = answer.await.unwrap().into_body();
        assert_eq!(answer.data().await.unwrap().unwrap(), "message");
        let cut = answer.data().await.unwrap().unwrap_err();
        assert_eq!(cut.reason(), Some(Reason::CANCEL), "{cut:?}");
    });
    wait_for("the backend is told", || *resets.lock().unwrap() == [Reason::CANCEL]);
    evenkeel.wait_failures("deadline", 1);
    wait_for("nothing is left", || evenkeel.in_flight() == 0.0);
}

#[test]
fn the_route_s_own_timeout_bounds_the_head_whichever_is_earlier() {
    let resets = Resets::default();
    let backend = silent(&resets);
    let route = "[[route]]\npool = \"web\"\ntimeout = \"200ms\"";
    let site = support::Site::new(route).pool_with("web", &[backend.address()], "protocol = \"h2\"");
    let evenkeel = site.start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        for timeout in ["1H", "50m"] {
            exceeded(&h2::ask(&client, call("/").header("grpc-timeout", timeout), b"hello").await.unwrap());
        }
        exceeded(&h2::ask(&client, call("/"), b"hello").await.unwrap());
    });
}

#[test]
fn what_is_no_time_is_refused_and_what_is_over_is_not_begun() {
    let backend = H2Backend::echo();
    let evenkeel = pool(&[backend.address()], "").start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        for timeout in ["", "1", "1s", "123456789S", "soon"] {
            let answer = h2::ask(&client, call("/").header("grpc-timeout", timeout), b"").await.unwrap();
            let field = |name| answer.fields.get(name).and_then(|value| value.to_str().ok());
            assert_eq!((field("grpc-status"), field("grpc-message")), (Some("13"), Some("bad_request")), "{timeout:?}");
        }
        exceeded(&h2::ask(&client, call("/").header("grpc-timeout", "0S"), b"").await.unwrap());
        // To a request that is no call it is a field as any other.
        assert_eq!(h2::ask(&client, h2::to("GET", "/").header("grpc-timeout", "soon"), b"").await.unwrap().status, 200);
    });
    assert_eq!(backend.requests(), 1);
}

#[test]
fn the_backend_is_told_what_is_left() {
    /// In milliseconds.
    fn left(uri: &Uri, request: &Request<::h2::RecvStream>) -> u64 {
        let said = request.headers()["grpc-timeout"].to_str().unwrap();
        let (number, unit) = said.split_at(said.len() - 1);
        let number: u64 = number.parse().unwrap();
        match unit {
            "n" => number / 1_000_000,
            "u" => number / 1_000,
            "m" => number,
            _ => panic!("{said} to {uri}"),
        }
    }
    let said = Arc::<Mutex<Vec<u64>>>::default();
    let noted = Arc::clone(&said);
    let backend = H2Backend::start(100, move |request, mut respond| {
        let turn = {
            let mut said = noted.lock().unwrap();
            said.push(left(request.uri(), &request));
            said.len()
        };
        async move {
            if turn == 1 {
                // Not looked at, after a while: it goes out again.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            respond.send_response(Response::builder().header("grpc-status", "0").body(()).unwrap(), true).unwrap();
        }
    });
    let evenkeel = pool(&[backend.address()], "retry = { attempts = 2 }").start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let answer = h2::ask(&client, call("/").header("grpc-timeout", "60S"), b"hello").await.unwrap();
        assert_eq!(answer.fields["grpc-status"], "0");
    });
    let said = said.lock().unwrap();
    assert!(said[0] <= 60_000 && said[0] > 50_000 && said[1] <= said[0] - 50 && said.len() == 2, "{said:?}");
}

#[test]
fn a_tonic_server_is_given_up_when_the_time_is_over() {
    let gone = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&gone);
    let backend = Backend::with(move |_, _| {
        let gone = Gone(Arc::clone(&counted));
        async move {
            let _gone = gone;
            std::future::pending::<()>().await;
            Ok(tonic::Response::new(Box::pin(tonic::codegen::tokio_stream::empty()) as BoxStream<_>))
        }
    });
    // The route's: a server that hears of a `grpc-timeout` gives up by itself.
    let route = "[[route]]\npool = \"web\"\ntimeout = \"200ms\"";
    let evenkeel = support::Site::new(route).pool_with("web", &[backend.address()], "protocol = \"h2\"").start();
    h2::run(async {
        let mut caller = super::Caller::to(evenkeel.address()).await;
        let status = caller.unary("Wait", tonic::Request::new(super::text(""))).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (tonic::Code::DeadlineExceeded, "deadline"));
    });
    wait_for("the handler is given up", || gone.load(SeqCst) == 1);
}
