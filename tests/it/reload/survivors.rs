//! What is open stays open: kept connections, tunnels, downloads.

use super::*;
use crate::support::Conn;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Sends back what comes through the tunnel.
fn echo(conn: &mut Conn) {
    conn.send(SWITCH);
    while !conn.wire.pending().is_empty() || conn.wire.fill().is_ok_and(|read| read > 0) {
        let count = conn.wire.pending().len();
        let bytes = conn.wire.exact(count).unwrap();
        if !conn.send(bytes) {
            return;
        }
    }
}

/// Opens a tunnel for `/chat`, sends ten bytes for each that the gate lets through for `/download`, and answers the rest.
fn versatile(steps: std::sync::mpsc::Receiver<()>) -> Backend {
    let steps = std::sync::Mutex::new(steps);
    Backend::raw(move |conn, _| {
        while let Some(request) = conn.request() {
            match request.target.as_str() {
                "/chat" => return echo(conn),
                "/download" => {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n");
                    for _ in 0..20 {
                        steps.lock().unwrap().recv().unwrap();
                        conn.send("0123456789");
                    }
                }
                _ => drop(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")),
            }
        }
    })
}

/// A client with a tunnel that works.
fn tunnel(address: SocketAddr) -> Client {
    let mut client = Client::h1(address);
    client.send(ASK);
    assert_eq!(client.head().status().unwrap(), 101);
    client.send("ping");
    assert_eq!(client.exact(4), b"ping");
    client
}

#[test]
fn a_kept_connection_survives_and_sees_the_new_routes() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&versioned(&backend, "0"));
    let mut clients: Vec<_> = (0..8).map(|_| evenkeel.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "fine");
    }
    let connections = backend.connections();
    for number in 1..=20 {
        let number = number.to_string();
        evenkeel.reload(&versioned(&backend, &number));
        for client in &mut clients {
            assert_eq!(
                (client.get("/version").text().as_str(), client.get("/").text().as_str()),
                (number.as_str(), "fine")
            );
        }
    }
    assert_eq!(backend.connections(), connections, "connections to a backend that stays are kept too");
}

#[test]
fn a_tunnel_and_a_slow_download_stay_open_over_twenty_reloads() {
    let (step, steps) = std::sync::mpsc::channel();
    let backend = versatile(steps);
    let other = Backend::ok("other");
    let evenkeel = Process::spawn(&versioned(&backend, "0"));
    let mut tunnel = tunnel(evenkeel.address());
    let mut download = evenkeel.client();
    download.send("GET /download HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(download.head().status().unwrap(), 200);
    for number in 1..=20 {
        // Routes change, and a backend comes and goes beside theirs.
        let both: &[&Backend] = if number % 2 == 0 { &[&backend] } else { &[&backend, &other] };
        evenkeel.reload(&file(&[WEB], &[("web", both)], &version(&number.to_string())));
        tunnel.send(number.to_string());
        assert_eq!(tunnel.exact(number.to_string().len()), number.to_string().as_bytes());
        step.send(()).unwrap();
        assert_eq!(download.exact(10), b"0123456789", "after reload {number}");
    }
    assert_eq!(download.get("/").status, 200, "its connection goes on");
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn a_tunnel_outlives_drain_timeout_where_its_backend_stays() {
    let (_step, steps) = std::sync::mpsc::channel();
    let backend = versatile(steps);
    let short = |text: &str| versioned(&backend, text).replace("drain_timeout = \"1s\"", "drain_timeout = \"200ms\"");
    let evenkeel = Process::spawn(&short("0"));
    let mut client = tunnel(evenkeel.address());
    evenkeel.reload(&short("1"));
    assert!(client.silent_for(Duration::from_secs(1)), "the tunnel is open");
    client.send("pong");
    assert_eq!(client.exact(4), b"pong");
}

#[test]
fn tunnels_on_a_removed_backend_end_within_drain_timeout() {
    let (_steps, (a, b)) = {
        let (one, first) = std::sync::mpsc::channel();
        let (two, second) = std::sync::mpsc::channel();
        ((one, two), (versatile(first), versatile(second)))
    };
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&a, &b])], ""));
    let mut clients: Vec<_> = (0..12).map(|_| tunnel(evenkeel.address())).collect();
    assert_eq!((a.open(), b.open()), (6, 6));
    let start = std::time::Instant::now();
    evenkeel.reload(&file(&[WEB], &[("web", &[&b])], ""));
    wait_for("the tunnels of the removed backend end", || a.open() == 0);
    assert!(start.elapsed() < Duration::from_secs(8), "drain_timeout is 1 s: {:?}", start.elapsed());
    let alive = clients.iter_mut().filter_map(|client| {
        client.try_send("pong").ok()?;
        client.wire.exact(4).ok()
    });
    assert_eq!(alive.count(), 6, "the tunnels of the other backend stay");
}

#[test]
fn a_tunnel_whose_route_is_gone_ends_within_drain_timeout() {
    let (_step, steps) = std::sync::mpsc::channel();
    let backend = versatile(steps);
    let other = Backend::ok("other");
    let chat = "[[route]]\nname = \"chat\"\npath = \"/chat\"\npool = \"web\"\n\n";
    let rest = "[[route]]\nname = \"rest\"\npool = \"web\"\n";
    let toml = |routes: String| file(&[WEB], &[("web", &[&backend]), ("other", &[&other])], &routes);
    let evenkeel = Process::spawn(&toml(format!("{chat}{rest}")));
    let mut client = tunnel(evenkeel.address());
    let start = std::time::Instant::now();
    evenkeel.reload(&toml(rest.to_owned()));
    client.rest();
    assert!(start.elapsed() < Duration::from_secs(8), "drain_timeout is 1 s: {:?}", start.elapsed());
}
