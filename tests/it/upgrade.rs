//! WebSocket tunnels: they begin after 101, pass everything both ways, and end side by side.

use crate::support::{Backend, Client, Gate, Setup, in_front_of, wait_for};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts the upgrade and sends everything back; after the end of the client's side it says `bye`.
fn echo() -> Backend {
    Backend::raw(|conn, _| {
        conn.request();
        conn.send(SWITCH);
        loop {
            if conn.wire.pending().is_empty() && !conn.wire.fill().is_ok_and(|read| read > 0) {
                break;
            }
            let count = conn.wire.pending().len();
            let bytes = conn.wire.exact(count).unwrap();
            if !conn.send(bytes) {
                return;
            }
        }
        conn.send("bye");
    })
}

/// Asks for a tunnel and gets it.
fn open(client: &mut Client) {
    client.send(ASK);
    let head = client.head();
    assert_eq!(head.status().unwrap(), 101, "{head:?}");
    assert!(head.fields.lists("connection", "upgrade"), "{head:?}");
    assert_eq!(head.fields.all("upgrade"), ["websocket"]);
    assert_eq!(head.fields.get("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
}

#[test]
fn bytes_go_both_ways() {
    let backend = echo();
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    open(&mut client);
    for size in [1, 100, 70_000] {
        let frame = vec![size as u8; size];
        client.send(&frame);
        assert_eq!(client.exact(size), frame);
    }
    let seen = backend.last();
    assert_eq!(seen.head.fields.all("upgrade"), ["websocket"]);
    assert!(seen.head.fields.lists("connection", "upgrade") && !seen.head.fields.lists("connection", "keep-alive"));
    assert_eq!(seen.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
}

#[test]
fn each_side_ends_by_itself() {
    let backend = echo();
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    open(&mut client);
    client.send("last");
    client.finish();
    assert_eq!(client.rest(), b"lastbye");
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
    evenkeel.assert_no_failure();
}

#[test]
fn a_backend_that_ends_first_still_hears_the_client() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send(SWITCH);
        conn.send("done");
        conn.finish();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    open(&mut client);
    assert_eq!(client.rest(), b"done");
    client.send("still here");
    wait_for("it arrived", || backend.records()[0].ends_with(b"still here"));
    drop(client);
    wait_for("the tunnel is gone", || backend.open() == 0);
}

#[test]
fn bytes_right_behind_101_are_the_tunnels() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send(format!("{SWITCH}early"));
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    open(&mut client);
    assert_eq!(client.exact(5), b"early");
}

#[test]
fn a_clients_early_bytes_wait_for_101() {
    let gate = Gate::default();
    let go = gate.clone();
    let backend = Backend::raw(move |conn, _| {
        conn.request();
        go.pass();
        conn.send(SWITCH);
        let early = conn.wire.exact(5).unwrap();
        conn.send(early);
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send(format!("{ASK}early"));
    wait_for("the backend has the request", || backend.requests() == 1);
    assert!(client.silent_for(std::time::Duration::from_millis(100)));
    assert!(backend.records()[0].ends_with(b"\r\n\r\n"), "a tunnel starts only after 101");
    gate.open();
    assert_eq!(client.head().status().unwrap(), 101);
    assert_eq!(client.exact(5), b"early");
}

#[test]
fn another_answer_than_101_is_an_answer() {
    let backend = Backend::raw(|conn, _| {
        while let Some(request) = conn.request() {
            let answer = if request.target == "/chat" { "426 Upgrade Required" } else { "200 OK" };
            conn.send(format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nno"));
        }
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    assert_eq!(client.exchange(ASK).status, 426);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_switch_to_another_protocol_than_asked_for_is_refused() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: telnet\r\n\r\nlogin:");
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let response = evenkeel.client().exchange(ASK);
    assert_eq!(response.status, 502, "{response:?}");
    assert!(matches!(response.word(), Some("upgrade_failed" | "bad_response")), "{response:?}");
    wait_for("the backend is left", || backend.open() == 0);
}

#[test]
fn h2c_is_never_asked_for() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let ask = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(ask).text(), "fine");
    assert_eq!(evenkeel.client().exchange(ask.replace("h2c\r\n", "h2c, websocket\r\n")).status, 200);
    for seen in backend.seen().iter() {
        assert!(!seen.head.fields.lists("upgrade", "h2c") && !seen.head.fields.has("http2-settings"), "{seen:?}");
    }
}

#[test]
fn a_silent_tunnel_ends_after_its_time() {
    let backend = echo();
    let evenkeel = Setup::to(&[backend.address()]).pool("tunnel_timeout = \"300ms\"").start();
    let mut client = evenkeel.client();
    open(&mut client);
    client.send("x");
    assert_eq!(client.exact(1), b"x");
    client.rest();
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
}

#[test]
fn a_tunnel_outlives_the_timeouts_of_requests() {
    let backend = echo();
    let short =
        "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"\nwrite_timeout = \"300ms\"\nidle_timeout = \"300ms\"";
    let pool = "response_timeout = \"300ms\"\nbody_timeout = \"300ms\"";
    let evenkeel = Setup::to(&[backend.address()]).listener(short).pool(pool).start();
    let mut client = evenkeel.client();
    open(&mut client);
    assert!(client.silent_for(std::time::Duration::from_secs(1)));
    client.send("x");
    assert_eq!(client.exact(1), b"x");
}

#[test]
fn the_end_of_either_side_leaves_nothing_behind() {
    let backend = echo();
    let evenkeel = in_front_of(&backend);
    for _ in 0..10 {
        let mut client = evenkeel.client();
        open(&mut client);
        client.reset();
    }
    wait_for("the tunnels are gone", || evenkeel.in_flight() == 0.0 && backend.open() == 0);
    let mut client = evenkeel.client();
    open(&mut client);
    backend.kill();
    client.rest();
    drop(client);
    wait_for("the tunnel is gone", || evenkeel.in_flight() == 0.0);
}
