//! HTTP/2 to backends: the exchanges of a worker share connections, and each is answered as over one of its own.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use http::{HeaderMap, Response};

use crate::support::{Client, Evenkeel, Gate, H2Backend, Setup, h2, push, wait_for, whole};

fn in_front_of(backend: &H2Backend) -> Evenkeel {
    Setup::to(&[backend.address()]).one_worker().pool("protocol = \"h2\"").start()
}

#[test]
fn an_http_1_client_reaches_an_http_2_backend() {
    let backend = H2Backend::echo();
    let evenkeel = in_front_of(&backend);
    let mut client = Client::h1(evenkeel.address());
    let answer = client.get("/a/../b?c=d");
    assert_eq!((answer.status, answer.text().as_str()), (200, "GET /b?c=d "));
    assert_eq!(answer.head.fields.get("x-authority"), Some("test"));
    assert_eq!(answer.head.fields.get("x-saw-via"), Some("1.1 evenkeel"));
    let body = "x".repeat(500_000);
    let put = format!("PUT /large HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = client.exchange(put);
    assert!(answer.status == 200 && answer.text() == format!("PUT /large {body}"), "{} bytes", answer.text().len());
    assert_eq!(backend.connections(), 1);
}

#[test]
fn bodies_and_trailers_pass_both_ways_between_http_2_sides() {
    let backend = H2Backend::echo();
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await.ready().await;
        let mut client = client.unwrap();
        let request = h2::to("POST", "/").header("te", "trailers").body(()).unwrap();
        let (response, mut send) = client.send_request(request, false).unwrap();
        push(&mut send, b"hello".to_vec(), false).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "abc".parse().unwrap());
        send.send_trailers(trailers.clone()).unwrap();
        let mut stream = response.await.unwrap().into_body();
        let (body, got) = whole(&mut stream).await;
        assert_eq!((body.as_slice(), got), (&b"POST / hello"[..], Some(trailers)));
    });
}

#[test]
fn many_exchanges_share_few_connections() {
    let gate = Gate::default();
    let opened = gate.clone();
    let backend = H2Backend::start(100, move |_, mut respond| {
        let gate = opened.clone();
        async move {
            tokio::task::spawn_blocking(move || gate.pass()).await.unwrap();
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    let evenkeel = in_front_of(&backend);
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let client = client.clone();
                tokio::task::spawn_local(async move { h2::ask(&client, h2::to("GET", "/"), b"").await })
            })
            .collect();
        tokio::task::spawn_blocking(move || {
            wait_for("all requests are there", || backend.requests() == 100);
            assert_eq!(backend.connections(), 1);
            gate.open();
        })
        .await
        .unwrap();
        for answer in asking {
            assert_eq!(answer.await.unwrap().unwrap().status, 200);
        }
    });
}

#[test]
fn what_a_backend_refused_without_a_look_goes_out_again_even_a_post() {
    let refused = AtomicUsize::new(0);
    let backend = H2Backend::start(100, move |request, mut respond| {
        let first = refused.fetch_add(1, SeqCst) == 1;
        async move {
            let (body, _) = whole(&mut request.into_body()).await;
            if first {
                return respond.send_reset(::h2::Reason::REFUSED_STREAM);
            }
            let mut send = respond.send_response(Response::new(()), false).unwrap();
            push(&mut send, body, true).await;
        }
    });
    let evenkeel = in_front_of(&backend);
    let mut client = Client::h1(evenkeel.address());
    assert_eq!(client.get("/").status, 200, "the connection is a kept one from here on");
    let answer = client.exchange("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(backend.requests(), 3);
}

#[test]
fn a_backend_that_speaks_no_http_2_is_a_bad_response() {
    let backend = crate::support::Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("protocol = \"h2\"").start();
    let answer = evenkeel.get("/");
    assert_eq!(answer.status, 502, "{answer:?}");
}
