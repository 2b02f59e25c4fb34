//! Checks by gRPC against tonic's own health service, and against servers that are odd.

use super::*;
use crate::{
    config::Address,
    health::{probe::within, testing},
};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{service::Routes, transport::Server, transport::server::TcpIncoming};
use tonic_health::{ServingStatus, server::health_reporter};

const SOON: Duration = Duration::from_secs(5);

fn grpc(address: SocketAddr, service: &str) -> Grpc {
    let backend = testing::backend(address);
    let probe = GrpcProbe { service: service.into(), host: None };
    Grpc::new(&probe, Remote::new(&Address::Tcp(address), 0, &std::sync::Arc::default(), None), &backend)
}

/// What a check comes to, in words.
async fn check(address: SocketAddr, service: &str) -> String {
    match within(SOON, &mut grpc(address, service)).await {
        Outcome::Passed => "passed".into(),
        Outcome::Failed(reason) => reason.into_owned(),
        Outcome::Unasked(error) => format!("unasked: {error}"),
    }
}

async fn serve(routes: Routes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener)));
    address
}

#[tokio::test]
async fn what_the_service_says_is_what_counts() {
    let (reporter, health) = health_reporter();
    let address = serve(Routes::new(health)).await;
    assert_eq!(check(address, "").await, "passed");
    assert_eq!(check(address, "shop.v1.Orders").await, "service is not known");
    for (status, said) in [
        (ServingStatus::Serving, "passed"),
        (ServingStatus::NotServing, "not serving"),
        (ServingStatus::Unknown, "serving status is unknown"),
        (ServingStatus::Serving, "passed"),
    ] {
        reporter.set_service_status("shop.v1.Orders", status).await;
        assert_eq!(check(address, "shop.v1.Orders").await, said);
    }
    assert_eq!(check(address, "").await, "passed");
}

#[tokio::test]
async fn one_without_the_service_has_not_implemented_it() {
    let address = serve(Routes::default()).await;
    assert_eq!(check(address, "").await, "grpc.health.v1 is not implemented");
}

#[tokio::test]
async fn nobody_there_is_a_refused_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(check(address, "").await, "connection refused");
}

/// Each connection is `talk`'s.
async fn raw<T: Future<Output = ()> + Send>(talk: impl Fn(TcpStream) -> T + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            talk(stream).await;
        }
    });
    address
}

/// Each call is answered by the h2 crate with `head`, then `body`, then `trailers`.
async fn odd(head: &'static [(&str, &str)], body: &'static [u8], trailers: &'static [(&str, &str)]) -> SocketAddr {
    raw(move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            assert_eq!((request.method(), request.uri().path()), (&Method::POST, PATH));
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.headers()["te"], "trailers");
            let mut response = Response::builder();
            for (name, value) in head {
                match *name {
                    ":status" => response = response.status(*value),
                    name => response = response.header(name, *value),
                }
            }
            let alone = body.is_empty() && trailers.is_empty();
            let mut send = respond.send_response(response.body(()).unwrap(), alone).unwrap();
            if !body.is_empty() {
                send.send_data(Bytes::from_static(body), trailers.is_empty()).unwrap();
            }
            if !trailers.is_empty() {
                let all = trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
                send.send_trailers(all.collect()).unwrap();
            }
        }
    })
    .await
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
const FINE: &[(&str, &str)] = &[("grpc-status", "0")];

#[tokio::test]
async fn an_answer_that_is_not_whole_or_not_right_fails() {
    static LARGE: [u8; message::MOST + 1] = [0; message::MOST + 1];
    assert_eq!(check(odd(&[GRPC], SERVING, FINE).await, "").await, "passed");
    const PROTO: (&str, &str) = ("content-type", "application/grpc+proto");
    assert_eq!(check(odd(&[PROTO], SERVING, FINE).await, "").await, "passed");
    for (address, said) in [
        (odd(&[(":status", "503"), GRPC], SERVING, FINE).await, "status 503"),
        (odd(&[("content-type", "text/html")], SERVING, FINE).await, "not grpc"),
        (odd(&[], SERVING, FINE).await, "not grpc"),
        (odd(&[GRPC], SERVING, &[]).await, "no grpc status"),
        (odd(&[GRPC], SERVING, &[("grpc-status", "99")]).await, "no grpc status"),
        (odd(&[GRPC], SERVING, &[("grpc-status", "14")]).await, "grpc status unavailable"),
        (odd(&[GRPC, ("grpc-status", "7")], &[], &[]).await, "grpc status permission_denied"),
        (odd(&[GRPC, ("grpc-status", "0")], &[], &[]).await, "bad response"),
        (odd(&[GRPC], &[0, 0, 0, 0, 2, 8, 9], FINE).await, "serving status 9"),
        (odd(&[GRPC], &[1, 0, 0, 0, 2, 8, 1], FINE).await, "bad response"),
        (odd(&[GRPC], &LARGE, FINE).await, "answer too large"),
    ] {
        assert_eq!(check(address, "").await, said);
    }
}

#[tokio::test]
async fn whoever_speaks_no_http_2_or_nothing_fails_in_time() {
    let http_1 = raw(|mut stream| async move {
        let mut room = [0; 1024];
        let _ = stream.read(&mut room).await;
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    });
    assert_eq!(check(http_1.await, "").await, "bad response");
    let closing = raw(|stream| async move { drop(stream) });
    let said = check(closing.await, "").await;
    assert!(said.starts_with("connection"), "{said}");
    let silent = raw(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    });
    let outcome = within(Duration::from_millis(50), &mut grpc(silent.await, "")).await;
    assert!(matches!(outcome, Outcome::Failed(reason) if reason == "timed out"));
}

#[tokio::test]
async fn a_connection_ends_with_its_check() {
    let (_reporter, health) = health_reporter();
    let address = serve(Routes::new(health)).await;
    // Between them: every byte passes here, and the end of the first connection can be awaited.
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = between.local_addr().unwrap();
    let passed = tokio::spawn(async move {
        let (mut client, _) = between.accept().await.unwrap();
        let mut server = TcpStream::connect(address).await.unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
    });
    assert_eq!(check(front, "").await, "passed");
    timeout(SOON, passed).await.unwrap().unwrap().unwrap();
}
