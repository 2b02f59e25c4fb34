//! The times of a connection: its first request, a slow head, idleness, age, and a client that takes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::support::h2raw::{PREFACE, code, frame, setting};
use crate::support::tls::{Authority, asked};
use crate::support::{h2, wait_for};

const SHORT: Duration = Duration::from_millis(300);
/// Where something else must come in time before.
const LONG: Duration = Duration::from_secs(1);
/// What a timer may be early by, as tests measure it.
const SLACK: Duration = Duration::from_millis(50);

fn nothing_left(evenkeel: &Evenkeel) {
    let left = || evenkeel.metric("evenkeel_listener_connections", &[]) + evenkeel.in_flight();
    wait_for("nothing is left of the connection", || left() == 0.0);
}

#[test]
fn a_connection_without_a_request_ends_with_header_timeout() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "header_timeout = \"300ms\"");
    let start = Instant::now();
    let mut h2 = H2::open(evenkeel.address());
    assert_eq!(farewells(&mut h2), [code::NO_ERROR]);
    assert!(start.elapsed() >= SHORT - SLACK, "{:?}", start.elapsed());
    // Nor may the handshake take longer.
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    assert_eq!(farewells(&mut h2), [code::NO_ERROR]);
    nothing_left(&evenkeel);
}

#[test]
fn a_field_block_that_trickles_ends_the_connection() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let evenkeel = with(&backend, "header_timeout = \"1s\"");
    let mut h2 = H2::open(evenkeel.address());
    // A stream that is under way keeps it from being idle, not from being slow.
    h2.headers(1, flag::WHOLE, get("/held"));
    wait_for("the request is under way", || backend.requests() == 1);
    let start = Instant::now();
    for byte in frame(kind::HEADERS, flag::WHOLE, 3, &request("GET", "/", &[("x", &"v".repeat(300))])) {
        h2.send([byte]);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(farewells(&mut h2), [code::NO_ERROR]);
    assert!(start.elapsed() >= LONG - SLACK);
    nothing_left(&evenkeel);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_field_block_that_waits_for_its_end_ends_the_connection() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "header_timeout = \"1s\"");
    let mut h2 = H2::open(evenkeel.address());
    assert_eq!(ask(&mut h2, 1, "/"), 200);
    h2.headers(3, flag::END_STREAM, get("/"));
    assert_eq!(farewells(&mut h2), [code::NO_ERROR]);
}

#[test]
fn an_idle_connection_ends_and_one_with_a_stream_does_not() {
    let backend = Backend::http(|request| {
        if request.target == "/slow" {
            thread::sleep(SHORT * 3);
        }
        Reply::ok("fine")
    });
    let evenkeel = with(&backend, "idle_timeout = \"300ms\"");
    let mut h2 = H2::open(evenkeel.address());
    assert_eq!(ask(&mut h2, 1, "/slow"), 200);
    let start = Instant::now();
    // The second one ends it: no request that was on its way is lost.
    assert_eq!(farewells(&mut h2), [code::NO_ERROR, code::NO_ERROR]);
    assert!(start.elapsed() >= SHORT - SLACK, "{:?}", start.elapsed());
    nothing_left(&evenkeel);
}

#[test]
fn an_old_connection_takes_no_more_streams_and_finishes_those_it_has() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let evenkeel = with(&backend, "max_connection_age = \"1s\"");
    let start = Instant::now();
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::WHOLE, get("/held"));
    let mut goaways = 0;
    while goaways < 2 {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::GOAWAY) => {
                assert_eq!(frame.code(), code::NO_ERROR);
                goaways += 1;
            }
            Event::Frame(frame) if frame.is(kind::PING) => h2.ping(flag::ACK, frame.payload[..].try_into().unwrap()),
            Event::Frame(frame) if frame.is(kind::SETTINGS) || frame.is(kind::WINDOW_UPDATE) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(start.elapsed() >= LONG.mul_f64(0.9) - SLACK, "{:?}", start.elapsed());
    // It is over: this one is nobody's.
    h2.headers(3, flag::WHOLE, get("/"));
    gate.open();
    assert_eq!(h2.answer(1).unwrap().status, 200);
    assert!(rest(&mut h2).iter().all(|frame| frame.stream != 3));
    assert_eq!(backend.requests(), 1);
    nothing_left(&evenkeel);
}

#[test]
fn an_old_connection_of_http_1_says_so_in_its_next_answer_or_closes() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connection_age = \"300ms\"");
    let (mut idle, mut busy) = (evenkeel.client(), evenkeel.client());
    let start = Instant::now();
    assert_eq!(idle.get("/").status, 200);
    idle.assert_closed();
    let took = start.elapsed();
    assert!(took >= SHORT.mul_f64(0.9) - SLACK && took < SHORT * 20, "{took:?}");
    drop(busy);
    // One that always has something to do is told.
    busy = evenkeel.client();
    let mut last = busy.get("/");
    while !last.head.fields.lists("connection", "close") {
        assert!(last.status == 200 && start.elapsed() < SHORT * 20);
        last = busy.get("/");
    }
    assert_eq!(last.status, 200);
    busy.assert_closed();
}

#[test]
fn a_client_that_takes_nothing_is_left() {
    let backend = Backend::http(|_| Reply::ok(vec![b'x'; 32 << 20]));
    let evenkeel = with(&backend, "write_timeout = \"500ms\"");
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    h2.window_update(0, 0x7fff_ffff - 65_535);
    h2.headers(1, flag::WHOLE, get("/"));
    // The windows are open, and nobody reads from the socket.
    wait_for("the backend is asked", || backend.requests() == 1);
    nothing_left(&evenkeel);
}

#[test]
fn each_stream_has_its_own_time() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let pool = "response_timeout = \"1s\"";
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool(pool).start();
    let mut h2 = H2::open(evenkeel.address());
    // One after the other takes over what the one before has left.
    for turn in 0..3 {
        assert_eq!(ask(&mut h2, 4 * turn + 1, "/"), 200);
        let start = Instant::now();
        h2.headers(4 * turn + 3, flag::WHOLE, get("/held"));
        h2.answer(4 * turn + 3).unwrap().assert_refused(504, "response_timeout");
        assert!(start.elapsed() >= LONG - SLACK, "{:?}", start.elapsed());
    }
}

/// A TLS session whose client has said `bytes` of HTTP/2.
async fn secure(address: SocketAddr, authority: &Authority, bytes: Vec<u8>) -> TlsStream<tokio::net::TcpStream> {
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("test".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream
}

#[test]
fn over_tls_the_same_times_hold() {
    let (authority, backend) = (Authority::new(), Backend::http(|_| Reply::ok(vec![b'x'; 32 << 20])));
    let times = "write_timeout = \"500ms\"\nheader_timeout = \"1s\"";
    let tls = authority.listener(&[&authority.write("a", asked(&["test"]))], "");
    let evenkeel = with(&backend, &format!("{times}\n{tls}"));
    let open = [setting::INITIAL_WINDOW_SIZE.to_be_bytes().as_slice(), &0x7fff_ffffu32.to_be_bytes()].concat();
    let hungry = [
        PREFACE,
        &frame(kind::SETTINGS, 0, 0, &open),
        &frame(kind::WINDOW_UPDATE, 0, 0, &(0x7fff_ffffu32 - 65_535).to_be_bytes()),
        &frame(kind::HEADERS, flag::WHOLE, 1, &get("/")),
    ];
    h2::run(async {
        // One says nothing after the handshake, one opens its windows, asks, and takes nothing.
        let mut silent = secure(evenkeel.address(), &authority, PREFACE.to_vec()).await;
        let mut heard = Vec::new();
        silent.read_to_end(&mut heard).await.unwrap();
        let _hungry = secure(evenkeel.address(), &authority, hungry.concat()).await;
        tokio::task::spawn_blocking(move || {
            wait_for("the backend is asked", || backend.requests() == 1);
            nothing_left(&evenkeel);
        })
        .await
        .unwrap();
    });
}
