//! TLS to backends: whom we believe, and who we are.

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ServerConfig};

use super::*;
use crate::support::{Client, Gate, tls};

/// What a backend has seen of our handshakes.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: Option<String>,
    protocol: Option<Vec<u8>>,
    resumed: bool,
    certificate: Option<Vec<u8>>,
}

/// A backend that speaks TLS, and what it sees. It closes each connection after one answer if it is to be `brief`.
fn backend(config: Arc<ServerConfig>, brief: bool) -> (Backend, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let noted = Arc::clone(&seen);
    let backend = Backend::raw(move |conn, _| {
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &config) else { return };
        let session = &wire.stream.conn;
        noted.lock().unwrap().push(Seen {
            name: session.server_name().map(str::to_owned),
            protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: session.peer_certificates().map(|certificates| certificates[0].to_vec()),
        });
        while let Ok(Some(_)) = wire.head() {
            use std::io::Write;
            let lines = if brief { "Connection: close\r\n" } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 4\r\n\r\nfine");
            if wire.stream.write_all(answer.as_bytes()).is_err() || brief {
                return;
            }
        }
    });
    (backend, seen)
}

/// A key `tls` of a pool with this authority's CA and further keys.
fn ca(authority: &Authority, more: &str) -> String {
    format!("tls = {{ ca = {:?}{more} }}", authority.path("ca.pem").display().to_string())
}

/// The RFC 9209 type of a refusal.
fn kind(answer: &crate::support::Response) -> Option<&str> {
    let said = answer.field("proxy-status")?.strip_prefix("evenkeel; error=")?;
    said.split(';').next()
}

#[test]
fn a_backend_is_believed_by_its_certificate() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let own = authority.issue(asked(&["api.internal"]).local());
    let (backend, seen) = backend(authority.server(&own, false), false);
    let answer = |line: &str| {
        let evenkeel = Setup::to(&[backend.address()]).pool(line).start();
        evenkeel.get("/")
    };
    let named = ", server_name = \"api.internal\"";
    for (line, name) in [(ca(&authority, named), Some("api.internal")), (ca(&authority, ""), None)] {
        assert_eq!(answer(&line).text(), "fine", "{line}");
        let last = seen.lock().unwrap().last().cloned().unwrap();
        assert_eq!(last.name.as_deref(), name, "of an address no name is sent");
    }
    for line in [ca(&authority, ", server_name = \"other.internal\""), ca(&strangers, named)] {
        let answer = answer(&line);
        answer.assert_refused(502, "backend_tls");
        assert_eq!(kind(&answer), Some("tls_certificate_error"), "{line}");
    }
    assert_eq!(answer("tls = { verify = false }").text(), "fine");
}

#[test]
fn a_backend_that_speaks_no_tls_is_a_failure_of_its_own() {
    let (authority, plain) = (Authority::new(), Backend::ok("fine"));
    let evenkeel = Setup::to(&[plain.address()]).pool(ca(&authority, "")).start();
    let answer = evenkeel.get("/");
    answer.assert_refused(502, "backend_tls");
    assert_eq!(kind(&answer), Some("tls_protocol_error"));
    evenkeel.wait_failures("backend_tls", 1);
    assert_eq!(plain.requests(), 0);
}

#[test]
fn we_show_a_certificate_to_a_backend_that_asks_for_one() {
    let authority = Authority::new();
    let (own, ours) = (authority.issue(asked(&[]).local()), authority.issue(asked(&[]).subject("lb", "Boats")));
    authority.put("ours", &ours);
    let (backend, seen) = backend(authority.server(&own, true), false);
    let pair = authority.pair("ours");
    let keys = format!(", {}", pair.trim_matches(['{', '}']).trim());
    let evenkeel = Setup::to(&[backend.address()]).pool(ca(&authority, &keys)).start();
    assert_eq!(evenkeel.get("/").text(), "fine");
    assert_eq!(seen.lock().unwrap()[0].certificate.as_deref(), Some(&*ours.der));
    let nobody = Setup::to(&[backend.address()]).pool(ca(&authority, "")).start();
    // TLS 1.3 tells it after the handshake: by an alert, which a reset may overtake.
    let answer = nobody.get("/");
    assert!(answer.status == 502 && matches!(answer.word(), Some("backend_tls" | "reset")), "{answer:?}");
    println!("{:?}", answer.word());
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn a_connection_is_kept_and_a_session_is_resumed() {
    let authority = Authority::new();
    let own = authority.issue(asked(&["api.internal"]).local());
    let (kept, seen) = backend(authority.server(&own, false), false);
    let evenkeel = Setup::to(&[kept.address()]).one_worker().pool(ca(&authority, "")).start();
    let mut client = evenkeel.client();
    assert!((0..5).all(|_| client.get("/").text() == "fine"));
    assert_eq!(seen.lock().unwrap().len(), 1);
    let (brief, seen) = backend(authority.server(&own, false), true);
    let evenkeel = Setup::to(&[brief.address()]).one_worker().pool(ca(&authority, "")).start();
    assert!((0..5).all(|_| Client::h1(evenkeel.address()).get("/").text() == "fine"));
    let resumed: Vec<_> = seen.lock().unwrap().iter().map(|seen| seen.resumed).collect();
    assert_eq!(resumed, [false, true, true, true, true]);
}

#[test]
fn backends_of_one_name_have_sessions_of_their_own() {
    let authority = Authority::new();
    let own = authority.issue(asked(&["api.internal"]));
    let (a, seen_of_a) = backend(authority.server(&own, false), true);
    let (b, seen_of_b) = backend(authority.server(&own, false), true);
    let line = ca(&authority, ", server_name = \"api.internal\"");
    let evenkeel = Setup::to(&[a.address(), b.address()]).one_worker().pool(line).start();
    assert!((0..8).all(|_| Client::h1(evenkeel.address()).get("/").text() == "fine"));
    for seen in [seen_of_a, seen_of_b] {
        let resumed: Vec<_> = seen.lock().unwrap().iter().map(|seen| seen.resumed).collect();
        assert_eq!(resumed, [false, true, true, true]);
    }
}

/// A backend that speaks HTTP/2 over TLS alone, and only once `gate` is open; its thread ends with the process.
fn http2(config: Arc<ServerConfig>, gate: Gate) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, gate) = (tokio_rustls::TlsAcceptor::from(Arc::clone(&config)), gate.clone());
                tokio::spawn(async move {
                    tokio::task::spawn_blocking(move || gate.pass()).await.ok()?;
                    let stream = acceptor.accept(stream).await.ok()?;
                    let mut connection = h2::server::handshake(stream).await.ok()?;
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let text = format!("{:?} {}", request.version(), request.uri().scheme_str().unwrap_or("-"));
                        let mut send = respond.send_response(http::Response::new(()), false).ok()?;
                        send.send_data(text.into(), true).ok()?;
                    }
                    Some(())
                });
            }
        });
    });
    address
}

fn speaks_http2(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[test]
fn waiting_for_the_connection_of_another_is_no_time_of_the_backend() {
    let (authority, gate) = (Authority::new(), Gate::default());
    let own = authority.issue(asked(&[]).local());
    let backend = http2(speaks_http2(&authority.server(&own, false)), gate.clone());
    let evenkeel =
        Setup::to(&[backend]).one_worker().pool(format!("{}\nprotocol = \"h2\"", ca(&authority, ""))).start();
    let mut clients = [(); 2].map(|()| Client::h1(evenkeel.address()));
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    wait_for("both are on their way", || evenkeel.in_flight() == 2.0);
    // So long that it cannot be overlooked in the sum; the bound below is the time that was really there.
    std::thread::sleep(Duration::from_millis(500));
    let opened = Instant::now();
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let there = opened.elapsed().as_secs_f64();
    assert_eq!(evenkeel.metric("evenkeel_backend_connections", &[]), 1.0, "they share it");
    let spent = |what: &str| evenkeel.metric(&format!("evenkeel_backend_response_seconds_{what}"), &[]);
    wait_for("both are counted", || spent("count") == 2.0);
    assert!(spent("sum") <= 2.0 * there, "{} s of {there} s", spent("sum"));
}

#[test]
fn what_is_spoken_is_agreed_upon() {
    let authority = Authority::new();
    let own = authority.issue(asked(&[]).local());
    let (modern, gate) = (speaks_http2(&authority.server(&own, false)), Gate::default());
    gate.open();
    let modern = http2(modern, gate);
    let (old, seen) = backend(authority.server(&own, false), false);
    let answer = |address: SocketAddr, protocol: &str| {
        let line = format!("{}\nprotocol = \"{protocol}\"", ca(&authority, ""));
        Setup::to(&[address]).pool(line).start().get("/")
    };
    assert_eq!(answer(modern, "h2").text(), "HTTP/2.0 https");
    assert_eq!(answer(modern, "auto").text(), "HTTP/2.0 https");
    assert_eq!(answer(old.address(), "auto").text(), "fine");
    answer(old.address(), "h2").assert_refused(502, "backend_tls");
    answer(modern, "h1").assert_refused(502, "backend_tls");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn connections_are_used_again_only_by_who_would_make_the_same() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let own = authority.issue(asked(&["api.internal"]).local());
    let (backend, seen) = backend(authority.server(&own, false), false);
    let port = Backend::refused();
    let (address, any) = (port.address(), "name = \"web\"\naddress = \"127.0.0.1:0\"");
    let toml = |line: String| {
        let toml = Setup::to(&[backend.address()]).one_worker().pool(line).toml();
        toml.replace(any, &format!("name = \"web\"\naddress = \"{address}\""))
    };
    let evenkeel = Process::spawn(&toml(ca(&authority, "")));
    let last = || seen.lock().unwrap().last().cloned().unwrap();
    let (get, count) = (|| Client::h1(address).get("/"), || seen.lock().unwrap().len());
    assert_eq!((get().text().as_str(), count()), ("fine", 1));
    evenkeel.reload(&toml(ca(&authority, "")));
    assert_eq!((get().text().as_str(), count()), ("fine", 1), "the same settings");
    evenkeel.reload(&toml(ca(&authority, ", server_name = \"api.internal\"")));
    assert_eq!((get().text().as_str(), count()), ("fine", 2), "another name");
    assert!(!last().resumed, "it was verified by another name");
    evenkeel.reload(&toml(ca(&strangers, "")));
    get().assert_refused(502, "backend_tls");
}
