//! CONNECT: refused, but where a route asks for it; there it is a raw tunnel to a backend of the pool (RFC 9110 section 9.3.6,
//! RFC 9113 section 8.5, PRODUCT.md section 12).

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::h2::Reason;
use http::Request;

use crate::support::tunnel::{self, End, Opened};
use crate::support::{Backend, Client, Conn, Evenkeel, Setup, tls, tls::Authority, wait_for};

const ROUTE: &str = "\n[[route]]\nname = \"tunnels\"\nconnect = true\npool = \"web\"\n";
const CONNECT: &str = "CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n";

fn start(setup: &Setup, route: &str) -> Evenkeel {
    Evenkeel::start(&(setup.toml() + route))
}

/// Sends every byte back, and `bye` behind the end.
fn mirror(conn: &mut Conn) {
    while conn.wire.fill().is_ok_and(|read| read > 0) {
        let count = conn.wire.pending().len();
        let bytes = conn.wire.exact(count).unwrap();
        if !conn.send(bytes) {
            return;
        }
    }
    conn.send("bye");
}

fn mirrors() -> Backend {
    Backend::raw(|conn, _| mirror(conn))
}

/// CONNECT over HTTP/2, on a connection of its own.
fn over_h2(address: SocketAddr, authority: &str, early: &'static [u8]) -> Opened {
    let mut request = Request::new(());
    *request.method_mut() = http::Method::CONNECT;
    *request.uri_mut() = authority.parse().unwrap();
    tunnel::open(address, request, None, early)
}

#[test]
fn an_http_1_client_gets_a_raw_tunnel() {
    let backend = mirrors();
    let evenkeel = start(&Setup::to(&[backend.address()]), ROUTE);
    let mut client = evenkeel.client();
    client.send(format!("{CONNECT}early"));
    let head = client.head();
    assert_eq!(head.start, "HTTP/1.1 200 OK");
    for name in ["content-length", "transfer-encoding", "connection", "upgrade"] {
        assert!(!head.fields.has(name), "{head:?}");
    }
    assert_eq!(client.exact(5), b"early", "what came behind the head is the tunnel's");
    let large = vec![7; 1_000_000];
    client.send(&large);
    assert_eq!(client.exact(large.len()), large);
    client.finish();
    assert_eq!(client.rest(), b"bye");
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
    assert!(backend.records()[0].starts_with(b"early"), "the CONNECT itself is not sent");
    evenkeel.assert_no_failure();
    let labels = [("route", "tunnels"), ("code", "200")];
    assert_eq!(evenkeel.metric("evenkeel_requests_total", &labels), 1.0);
    assert_eq!(evenkeel.metric("evenkeel_backend_requests_total", &[("code", "200")]), 1.0);
    let bytes = |name: &str| evenkeel.metric(name, &[("route", "tunnels")]);
    assert_eq!(bytes("evenkeel_request_bytes_total"), 1_000_005.0);
    assert_eq!(bytes("evenkeel_response_bytes_total"), 1_000_008.0);
}

#[test]
fn a_backend_may_speak_first() {
    let backend = Backend::raw(|conn, _| {
        conn.send("220 hello\r\n");
        conn.wait_closed();
    });
    let evenkeel = start(&Setup::to(&[backend.address()]), ROUTE);
    let mut client = evenkeel.client();
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
    assert_eq!(client.exact(11), b"220 hello\r\n");
}

#[test]
fn an_http_2_client_gets_a_raw_tunnel() {
    let backend = mirrors();
    let evenkeel = start(&Setup::to(&[backend.address()]), ROUTE);
    let opened = over_h2(evenkeel.address(), "db.test:5432", b"early");
    assert_eq!(opened.status, 200);
    assert!(!opened.fields.contains_key("content-length"), "{:?}", opened.fields);
    let mut tunnel = opened.tunnel.unwrap();
    let mut early = [0; 5];
    tunnel.stream.read_exact(&mut early).unwrap();
    assert_eq!(&early, b"early");
    tunnel.stream.write_all(b"late").unwrap();
    tunnel.stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    tunnel.stream.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), tunnel.end()), ("latebye", Some(End::Finished)));
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
    evenkeel.assert_no_failure();
}

#[test]
fn a_reset_on_either_side_is_one_on_the_other() {
    // RFC 9113 section 8.5.
    let backend = Backend::raw(|conn, _| {
        conn.wire.fill().unwrap();
        if conn.wire.pending() == b"reset me" {
            conn.reset();
        } else {
            let error = loop {
                match conn.wire.fill() {
                    Ok(1..) => {}
                    other => break other,
                }
            };
            assert!(error.is_err(), "a FIN is not what the client said");
            conn.reset();
        }
    });
    let evenkeel = start(&Setup::to(&[backend.address()]), ROUTE);
    let mut tunnel = over_h2(evenkeel.address(), "db.test:5432", b"reset me").tunnel.unwrap();
    let mut rest = Vec::new();
    tunnel.stream.read_to_end(&mut rest).unwrap();
    assert_eq!(tunnel.end(), Some(End::Reset(Reason::CONNECT_ERROR)));

    let tunnel = over_h2(evenkeel.address(), "db.test:5432", b"I reset you").tunnel.unwrap();
    wait_for("the backend has it", || backend.records().last().is_some_and(|record| record == b"I reset you"));
    tunnel.reset(Reason::CANCEL);
    wait_for("the tunnels are gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
}

#[test]
fn it_is_refused_where_no_route_asks_for_it() {
    let backend = Backend::ok("fine");
    let setup = Setup::to(&[backend.address()]);
    let plain = "\n[[route]]\npool = \"web\"\n";
    let by_path = "\n[[route]]\npath = \"/*\"\nconnect = true\npool = \"web\"\n";
    let by_expression = "\n[[route]]\npath = { regex = \".*\" }\nconnect = true\npool = \"web\"\n";
    let by_host = "\n[[route]]\nhost = \"other.test\"\nconnect = true\npool = \"web\"\n";
    for route in ["", plain, by_path, by_expression, by_host] {
        let evenkeel = start(&setup, route);
        evenkeel.client().exchange(CONNECT).assert_refused(405, "connect_denied");
        let opened = over_h2(evenkeel.address(), "db.test:5432", b"");
        assert_eq!((opened.status, opened.word()), (405, Some("connect_denied")), "{route}");
    }
    assert_eq!(backend.connections(), 0);
    let evenkeel = start(&setup, &by_host.replace("other", "*"));
    evenkeel.client().send(CONNECT);
    wait_for("the host is the authority's", || backend.connections() == 1);
}

#[test]
fn what_is_ambiguous_is_refused() {
    let backend = Backend::ok("fine");
    let evenkeel = start(&Setup::to(&[backend.address()]), ROUTE);
    for request in [
        "CONNECT db.test HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT db.test: HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT /path HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT http://db.test:80/ HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT db.test:80 HTTP/1.1\r\nHost: db.test:80\r\nContent-Length: 5\r\n\r\nhello",
        "CONNECT db.test:80 HTTP/1.1\r\nHost: db.test:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        evenkeel.client().exchange(request).assert_refused(400, "bad_request");
    }
    let opened = over_h2(evenkeel.address(), "db.test", b"");
    assert_eq!((opened.status, opened.word()), (400, Some("bad_request")));
    assert_eq!(backend.connections(), 0);
}

#[test]
fn what_follows_a_connect_that_failed_is_no_request() {
    // RFC 9931: it may have been meant for the tunnel.
    let dead = Backend::refused();
    let evenkeel = start(&Setup::to(&[dead.address()]), ROUTE);
    let mut client = evenkeel.client();
    let response = client.exchange(format!("{CONNECT}GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    response.assert_refused(502, "connect_refused");
    assert!(response.head.fields.lists("connection", "close"), "{response:?}");
    client.assert_closed();

    let evenkeel = start(&Setup::to(&[dead.address()]), "");
    let mut client = evenkeel.client();
    let response = client.exchange(format!("{CONNECT}GET / HTTP/1.1\r\nHost: test\r\n\r\n"));
    response.assert_refused(405, "connect_denied");
    client.assert_closed();
}

#[test]
fn an_answer_of_ours_never_passes_for_a_tunnel() {
    let dead = Backend::refused();
    let fallback = format!("{ROUTE}fallback = {{ respond = {{ status = 200, body = \"sorry\" }} }}\n");
    let evenkeel = start(&Setup::to(&[dead.address()]).pool("health_check = { initial_state = \"down\" }"), &fallback);
    evenkeel.client().exchange(CONNECT).assert_refused(503, "no_backend");
    let opened = over_h2(evenkeel.address(), "db.test:5432", b"");
    assert_eq!((opened.status, opened.word()), (503, Some("no_backend")), "{}", opened.body);
}

#[test]
fn another_backend_is_tried_where_one_cannot_be_connected_to() {
    let (dead, backend) = (Backend::refused(), mirrors());
    let setup = Setup::to(&[dead.address(), backend.address()]).pool("retry = { attempts = 1 }");
    let evenkeel = start(&setup, ROUTE);
    for _ in 0..4 {
        let mut client = evenkeel.client();
        client.send(CONNECT);
        assert_eq!(client.head().status().unwrap(), 200);
        client.send("x");
        assert_eq!(client.exact(1), b"x");
    }
    assert_eq!(backend.connections(), 4);
    assert!(evenkeel.metric("evenkeel_retries_total", &[("reason", "connect")]) >= 1.0);
}

#[test]
fn connections_of_tunnels_and_of_requests_are_apart() {
    let backend = Backend::raw(|conn, number| match number {
        0 => while conn.request().is_some() && conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine") {},
        _ => mirror(conn),
    });
    let evenkeel = start(&Setup::to(&[backend.address()]).one_worker(), ROUTE);
    assert_eq!(evenkeel.get("/").text(), "fine");
    for connections in 2..4 {
        let mut client = evenkeel.client();
        client.send(CONNECT);
        assert_eq!(client.head().status().unwrap(), 200);
        client.finish();
        assert_eq!(client.rest(), b"bye");
        assert_eq!(backend.connections(), connections);
        assert_eq!(evenkeel.get("/").text(), "fine", "on the kept connection");
    }
}

#[test]
fn what_a_pool_speaks_does_not_matter() {
    let backend = mirrors();
    let evenkeel = start(&Setup::to(&[backend.address()]).pool("protocol = \"h2\""), ROUTE);
    let mut client = evenkeel.client();
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
    client.send("PING");
    assert_eq!(client.exact(4), b"PING");
    assert_eq!(backend.records()[0], b"PING");
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    let backend = mirrors();
    let evenkeel = start(&Setup::to(&[backend.address()]).pool("tunnel_timeout = \"300ms\""), ROUTE);
    let mut client = evenkeel.client();
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
    client.send("x");
    assert_eq!(client.exact(1), b"x");
    assert!(client.silent_for(Duration::from_millis(200)));
    client.rest();
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
}

#[test]
fn the_bound_on_connections_holds_for_tunnels() {
    let backend = mirrors();
    let evenkeel =
        start(&Setup::to(&[backend.address()]).one_worker().pool("max_connections = 1\nqueue = \"off\""), ROUTE);
    let mut client = Client::h1(evenkeel.address());
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
    evenkeel.client().exchange(CONNECT).assert_refused(503, "queue_full");
    drop(client);
    wait_for("there is room again", || backend.open() == 0 && evenkeel.in_flight() == 0.0);
    let mut client = evenkeel.client();
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
}

#[test]
fn a_pool_with_tls_has_it_around_tunnels_too_and_agrees_on_no_protocol() {
    let authority = Authority::new();
    let mut config = (*authority.server(&authority.issue(tls::asked(&["api.internal"]).local()), false)).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let backend = Backend::raw(move |conn, _| {
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &config) else { return };
        assert_eq!(wire.stream.conn.alpn_protocol(), None);
        let heard = wire.exact(4).unwrap();
        wire.stream.write_all(&heard).unwrap();
        conn.wait_closed();
    });
    let ca = authority.path("ca.pem").display().to_string();
    let pool = format!("protocol = \"auto\"\ntls = {{ ca = {ca:?}, server_name = \"api.internal\" }}");
    let evenkeel = start(&Setup::to(&[backend.address()]).pool(pool), ROUTE);
    let mut client = evenkeel.client();
    client.send(CONNECT);
    assert_eq!(client.head().status().unwrap(), 200);
    client.send("PING");
    assert_eq!(client.exact(4), b"PING");
    assert!(!backend.records()[0].windows(4).any(|bytes| bytes == b"PING"), "it is encrypted");
}

#[test]
fn a_tunnel_has_a_line_in_the_access_log_when_it_ends() {
    let log = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("connect-{}.log", std::process::id()));
    let _ = fs::remove_file(&log);
    let backend = mirrors();
    let toml = Setup::to(&[backend.address()]).toml() + ROUTE;
    let evenkeel = Evenkeel::start(&toml.replace("access = \"off\"", &format!("access = {log:?}")));
    let mut client = evenkeel.client();
    client.send(format!("{CONNECT}hello"));
    client.head();
    client.finish();
    assert_eq!(client.rest(), b"hellobye");
    wait_for("the line is written", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text("method"), text("host"), text("route")),
        ("CONNECT".into(), "db.test:5432".into(), "tunnels".into())
    );
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&200.into(), &5.into(), &8.into()));
    assert!(line.get("path").is_none() && line.get("failure").is_none(), "{line:#}");
    let _ = fs::remove_file(&log);
}
