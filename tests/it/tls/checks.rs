//! Health checks over TLS: `https`, and `grpc` where the pool has TLS.

use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Response};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::support::{told, wait_for};

const QUICK: &str = "interval = \"20ms\", interval_down = \"20ms\", unhealthy_threshold = 2, initial_state = \"down\"";

/// What `/api/v1/pools` says of the only backend: its state and the reason.
fn state(evenkeel: &Evenkeel) -> (String, String) {
    let pools = told(evenkeel.admin(), "/api/v1/pools");
    let word = |key: &str| pools["pools"][0]["backends"][0][key].as_str().unwrap_or_default().to_owned();
    (word("state"), word("reason"))
}

#[track_caller]
fn becomes(evenkeel: &Evenkeel, wanted: &str, reason: &str) {
    wait_for(&format!("the backend is {wanted} {reason}, not {:?}", state(evenkeel)), || {
        let (state, why) = state(evenkeel);
        // Behind a refusal stands the TLS library's own word.
        state == wanted && (why == reason || why.starts_with(&format!("{reason}: ")))
    });
}

/// The name that each handshake asked for, and whether it showed a certificate.
type Seen = Arc<Mutex<Vec<(Option<String>, bool)>>>;

/// A backend that answers requests by HTTP/1.1 or calls of its health by gRPC, whichever is agreed on; and
/// what it has seen.
fn backend(config: Arc<ServerConfig>) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(config);
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let session = stream.get_ref().1;
                    let name = session.server_name().map(str::to_owned);
                    noted.lock().unwrap().push((name, session.peer_certificates().is_some()));
                    if session.alpn_protocol() == Some(b"h2") {
                        serve_calls(stream).await;
                    } else {
                        serve_requests(stream).await;
                    }
                });
            }
        });
    });
    (address, seen)
}

type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn serve_calls(stream: Stream) {
    let Ok(mut connection) = ::h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        assert_eq!(request.uri().scheme_str(), Some("https"));
        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut send = respond.send_response(head, false).unwrap();
        send.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        send.send_trailers(trailers).unwrap();
    }
}

async fn serve_requests(mut stream: Stream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") && stream.read_buf(&mut seen).await.is_ok_and(|count| count > 0) {}
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
    let _ = stream.shutdown().await;
}

/// The server side of a certificate for `names` and this host, with both protocols.
fn config(authority: &Authority, names: &[&str]) -> Arc<ServerConfig> {
    let own = authority.issue(asked(names).local());
    let mut config = ServerConfig::clone(&authority.server(&own, false));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn check(address: SocketAddr, check: &str, more: &str) -> Evenkeel {
    Setup::to(&[address]).pool(format!("health_check = {{ {check}, {QUICK} }}")).pool(more).start()
}

#[test]
fn an_https_check_is_the_http_one_by_the_pool_s_tls() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let (address, seen) = backend(config(&authority, &["api.internal"]));
    let ca = |authority: &Authority, more: &str| {
        format!("tls = {{ ca = {:?}{more} }}", authority.path("ca.pem").display().to_string())
    };
    for (line, host, name) in [
        ("", "", None),
        (", server_name = \"api.internal\"", "", Some("api.internal")),
        ("", ", host = \"api.internal:8443\"", Some("api.internal")),
        (", server_name = \"api.internal\"", ", host = \"other.internal\"", Some("api.internal")),
    ] {
        seen.lock().unwrap().clear();
        let evenkeel = check(address, &format!("type = \"https\", expect_body = \"ok\"{host}"), &ca(&authority, line));
        becomes(&evenkeel, "ready", "");
        assert_eq!(seen.lock().unwrap()[0].0.as_deref(), name, "{line}{host}");
    }
    for (lines, host) in [(ca(&strangers, ""), ""), (ca(&authority, ""), ", host = \"other.internal\"")] {
        let evenkeel = check(address, &format!("type = \"https\"{host}"), &lines);
        becomes(&evenkeel, "down", "certificate is refused");
    }
    becomes(&check(address, "type = \"https\", expect_status = 204", "tls = { verify = false }"), "down", "status 200");
}

#[test]
fn without_tls_of_the_pool_the_system_s_roots_verify() {
    // None of them knows this authority.
    if rustls_native_certs::load_native_certs().certs.is_empty() {
        return println!("this machine has no roots: nothing to be tried");
    }
    let (address, _) = backend(config(&Authority::new(), &["api.internal"]));
    becomes(&check(address, "type = \"https\", host = \"api.internal\"", ""), "down", "certificate is refused");
}

#[test]
fn a_check_at_another_port_has_tls_there_and_shows_our_certificate() {
    let authority = Authority::new();
    let own = authority.issue(asked(&["api.internal"]).local());
    let mut asks = ServerConfig::clone(&authority.server(&own, true));
    asks.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (address, seen) = backend(Arc::new(asks));
    let shown = authority.write("evenkeel", asked(&["evenkeel"]));
    let dead = Backend::refused();
    let ca = format!("ca = {:?}, ", authority.path("ca.pem").display().to_string());
    let tls = format!("tls = {}", shown.replacen("{ ", &format!("{{ {ca}"), 1));
    let evenkeel = check(dead.address(), &format!("type = \"https\", port = {}", address.port()), &tls);
    becomes(&evenkeel, "ready", "");
    assert_eq!(seen.lock().unwrap()[0], (None, true));
}

#[test]
fn a_backend_that_speaks_no_tls_fails_its_check() {
    let plain = Backend::ok("fine");
    let evenkeel = check(plain.address(), "type = \"https\"", "tls = { verify = false }");
    becomes(&evenkeel, "down", "tls handshake failed");
}

#[test]
fn a_grpc_check_goes_by_the_pool_s_tls() {
    let authority = Authority::new();
    let (address, seen) = backend(config(&authority, &["api.internal"]));
    let tls = format!("protocol = \"h2\"\ntls = {{ ca = {:?} }}", authority.path("ca.pem").display().to_string());
    becomes(&check(address, "type = \"grpc\", host = \"api.internal\"", &tls), "ready", "");
    assert_eq!(seen.lock().unwrap()[0].0.as_deref(), Some("api.internal"));
    // Who does not agree on HTTP/2 is not called.
    let own = authority.issue(asked(&["api.internal"]).local());
    let (address, _) = backend(authority.server(&own, false));
    let evenkeel = check(address, "type = \"grpc\"", &tls);
    wait_for("it is down and says why", || {
        let (state, reason) = state(&evenkeel);
        state == "down" && ["h2 is not agreed on", "tls handshake failed"].contains(&reason.as_str())
    });
}
