//! The types carry what comes next: the same `proxy::handle` answers exchanges from an HTTP/2 connection, and streams
//! are TLS sessions on both sides. (No key turns this on yet.)

use bytes::Bytes;
use evenkeel::{
    config::Config,
    http::{Client, Exchange, h1, h2 as served},
    net::{Budget, Peer, Stream},
    plan::{Ground, Numbers, Plan, Tls},
    pool::Registry,
    proxy::{self, Local},
    telemetry::metrics::Telemetry,
};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use std::{future::Future, net::SocketAddr, path::Path, rc::Rc, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Both halves of TLS with one self-signed certificate for `localhost`.
struct Keys {
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
}

fn keys(alpn: &[u8]) -> Keys {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let cert = made.cert.der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.clone()).unwrap();
    let mut server = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert], key).unwrap();
    let mut client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    if !alpn.is_empty() {
        (server.alpn_protocols, client.alpn_protocols) = (vec![alpn.to_vec()], vec![alpn.to_vec()]);
    }
    Keys { server: Arc::new(server), client: Arc::new(client) }
}

/// A backend behind TLS that answers with the method, the path, some fields and the body.
async fn backend(keys: &Keys) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, acceptor) = (listener.local_addr().unwrap(), TlsAcceptor::from(Arc::clone(&keys.server)));
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                let Ok(session) = acceptor.accept(stream).await else { return };
                let service = service_fn(answer);
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(session), service).await;
            });
        }
    });
    address
}

async fn answer(request: hyper::Request<Incoming>) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let via = parts.headers.get("via").map(|via| via.to_str().unwrap().to_string()).unwrap_or_default();
    let cookie = parts.headers.get("cookie").map(|cookie| cookie.to_str().unwrap().to_string()).unwrap_or_default();
    let mut text = format!("{} {} {via} {cookie} ", parts.method, parts.uri).into_bytes();
    text.extend_from_slice(&body);
    let mut response = hyper::Response::new(Full::new(text.into()));
    response.headers_mut().insert("x-backend", http::HeaderValue::from_static("tls"));
    Ok(response)
}

/// A worker's own, with TLS to `backend`.
fn local(backend: SocketAddr, keys: &Keys) -> Local {
    let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[pool.web]\nbackends = [\"{backend}\"]\n");
    let config = Config::parse(&text, Path::new("test.toml")).unwrap();
    let telemetry = Arc::new(Telemetry::new(&evenkeel::error::Kind::WORDS, &[1.0], 1));
    let registry = Registry::new(Budget::new(None), telemetry, 1);
    let mut numbers = Numbers::default();
    let mut ground = Ground { registry: &registry, numbers: &mut numbers, algorithm: None };
    let mut plan = Plan::build(&config, 1, &mut ground);
    let server_name = ServerName::try_from("localhost").unwrap();
    plan.pools[0].settings.tls = Some(Tls { config: Arc::clone(&keys.client), server_name });
    plan.pools[0].refresh();
    Local::new(Arc::new(plan), 0, 4, tokio::time::Instant::now(), Box::new(|_| Vec::new()))
}

/// Serves TLS clients with `local`: HTTP/2 where ALPN says so, else HTTP/1.1.
async fn balancer(local: Local, keys: &Keys) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, acceptor) = (listener.local_addr().unwrap(), TlsAcceptor::from(Arc::clone(&keys.server)));
    let local = Rc::new(local);
    tokio::task::spawn_local(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (acceptor, local) = (acceptor.clone(), Rc::clone(&local));
            tokio::task::spawn_local(async move {
                let Ok(session) = acceptor.accept(stream).await else { return };
                let limits = Arc::clone(&local.plan().plan.listener(0).unwrap().limits);
                let client = Rc::new(Client::new(Peer::Tcp(peer), None, 0, true, false, limits));
                let is_h2 = session.get_ref().1.alpn_protocol() == Some(b"h2");
                let (io, spares) = (Stream::tls(session.into()), Rc::clone(&local.spares));
                let handle = async move |exchange: &mut Exchange<'_>| proxy::handle(&local, exchange).await;
                if is_h2 {
                    let _ = served::serve(io, client, spares, Rc::new(handle)).await;
                } else {
                    let connection = h1::ClientSide::new(h1::Wire::new(io, spares), client);
                    h1::serve(&Rc::new(connection), &h1::Server::new(handle)).await;
                }
            });
        }
    });
    address
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).unwrap().block_on(test);
}

async fn connect(address: SocketAddr, keys: &Keys) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(&keys.client)).connect(name, stream).await.unwrap()
}

#[test]
fn http_1_over_tls_on_both_sides() {
    run(async {
        let keys = keys(b"http/1.1");
        let address = balancer(local(backend(&keys).await, &keys), &keys).await;
        let mut session = connect(address, &keys).await;
        for turn in 0..3 {
            let body = "x".repeat(100_000 * turn);
            let head = format!("PUT /{turn} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
            session.write_all((head + &body).as_bytes()).await.unwrap();
            let wanted = format!("PUT /{turn} 1.1 evenkeel  {body}");
            let mut got = Vec::new();
            while !got.ends_with(wanted.as_bytes()) {
                assert!(session.read_buf(&mut got).await.unwrap() > 0, "{}", String::from_utf8_lossy(&got));
            }
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"));
        }
    });
}

/// Sends one request on `client` and gives the status, the field `x-backend` and the body.
async fn ask(
    client: &mut ::h2::client::SendRequest<Bytes>,
    request: http::Request<()>,
    body: &[u8],
) -> (u16, Option<http::HeaderValue>, Vec<u8>) {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut send) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        let mut rest = Bytes::copy_from_slice(body);
        while !rest.is_empty() {
            send.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.unwrap().unwrap();
            let piece = rest.split_to(room.min(rest.len()));
            send.send_data(piece, rest.is_empty()).unwrap();
        }
    }
    let (parts, mut stream) = response.await.unwrap().into_parts();
    let mut got = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        got.extend_from_slice(&data);
    }
    (parts.status.as_u16(), parts.headers.get("x-backend").cloned(), got)
}

fn request(method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(format!("https://localhost{path}"))
}

#[test]
fn http_2_from_clients_by_the_same_handle() {
    run(async {
        let (outer, inner) = (keys(b"h2"), keys(b""));
        let address = balancer(local(backend(&inner).await, &inner), &outer).await;
        let (mut client, connection) = ::h2::client::handshake(connect(address, &outer).await).await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });

        let get = request("GET", "/a/../b?c=d").header("cookie", "x=1").header("cookie", "y=2").body(()).unwrap();
        let (status, backend, body) = ask(&mut client, get, b"").await;
        assert_eq!((status, backend.unwrap().to_str().unwrap()), (200, "tls"));
        assert_eq!(String::from_utf8(body).unwrap(), "GET /b?c=d 2 evenkeel x=1; y=2 ");

        let large = vec![b'x'; 1_000_000];
        let (status, _, body) = ask(&mut client, request("PUT", "/large").body(()).unwrap(), &large).await;
        assert_eq!(status, 200);
        assert!(body.ends_with(&large), "{} bytes came back", body.len());

        let (status, _, _) = ask(&mut client, request("HEAD", "/").body(()).unwrap(), b"").await;
        assert_eq!(status, 200);
        let bad = request("GET", "/%00").body(()).unwrap();
        let (status, backend, body) = ask(&mut client, bad, b"").await;
        assert_eq!((status, backend), (400, None));
        assert!(String::from_utf8(body).unwrap().contains("bad_request"));
    });
}
