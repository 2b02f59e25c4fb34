//! Frames that cost us more than they cost their sender: over `reset_rate` the connection ends, and it is counted.

use super::*;
use crate::support::h2raw::{PREFACE, code, dependency, frame};
use crate::support::{H2Backend, Process, push, wait_for};

const ENHANCE_YOUR_CALM: u32 = 0xb;

fn closed(evenkeel: &Evenkeel) -> f64 {
    evenkeel.metric("evenkeel_connections_closed_total", &[("listener", "web"), ("reason", "flood")])
}

/// The connection ends, as a flood, and that is the `count`th.
fn assert_calmed(h2: &mut H2, evenkeel: &Evenkeel, count: usize) {
    assert_eq!(farewells(h2), [ENHANCE_YOUR_CALM]);
    wait_for("it is counted", || closed(evenkeel) == count as f64);
}

/// `count` of what `make` makes for odd streams, in one piece.
fn many(count: u32, make: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|number| make(2 * number + 3)).collect()
}

/// Makes the frames of a stream.
type Make = fn(u32) -> Vec<u8>;

/// Each kind of flood, as frames for a stream.
fn kinds() -> Vec<(&'static str, Make)> {
    vec![
        ("resets", |stream| {
            let begin = frame(kind::HEADERS, flag::WHOLE, stream, &get("/"));
            [begin, frame(kind::RST_STREAM, 0, stream, &code::CANCEL.to_be_bytes())].concat()
        }),
        ("pings", |_| frame(kind::PING, 0, 0, b"12345678")),
        ("settings", |_| frame(kind::SETTINGS, 0, 0, &[])),
        ("empty_frames", |_| frame(kind::DATA, 0, 1, &[])),
        ("priorities", |stream| frame(kind::PRIORITY, 0, stream, &dependency(0, 1))),
        ("tiny_windows", |_| frame(kind::WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
    ]
}

#[test]
fn each_kind_of_flood_ends_the_connection_and_is_counted() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let evenkeel = with(&backend, "h2 = { reset_rate = \"50/s\" }");
    for (number, (name, make)) in kinds().into_iter().enumerate() {
        let mut h2 = H2::open(evenkeel.address());
        // An upload is under way: empty frames belong to it.
        h2.headers(1, flag::END_HEADERS, request("PUT", "/held", &[]));
        h2.send(many(400, make));
        println!("{name}");
        assert_calmed(&mut h2, &evenkeel, number + 1);
    }
    let open = || evenkeel.metric("evenkeel_listener_connections", &[]) + evenkeel.in_flight();
    wait_for("nothing is left of them", || open() == 0.0);
    // Others do not notice.
    assert_eq!(ask(&mut H2::open(evenkeel.address()), 1, "/"), 200);
}

#[test]
fn below_the_rate_nothing_happens() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "");
    for (name, make) in kinds().into_iter().filter(|(name, _)| *name != "empty_frames") {
        let mut h2 = H2::open(evenkeel.address());
        // 100 a second are allowed; with those of the handshake it stays below.
        h2.send(many(15, make));
        assert_eq!(ask(&mut h2, 1001, "/"), 200, "{name}");
    }
    assert_eq!(closed(&evenkeel), 0.0);
}

#[test]
fn a_ping_for_each_answer_is_no_flood() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "h2 = { reset_rate = \"5/s\" }");
    let mut h2 = H2::open(evenkeel.address());
    for turn in 0..200 {
        assert_eq!(ask(&mut h2, 2 * turn + 1, "/"), 200);
        h2.ping(flag::NONE, [7; 8]);
    }
    assert_eq!(closed(&evenkeel), 0.0);
}

#[test]
fn the_rate_can_be_turned_off() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "h2 = { reset_rate = \"off\" }");
    let mut h2 = H2::open(evenkeel.address());
    h2.send(many(2_000, |_| frame(kind::PRIORITY, 0, 99, &dependency(0, 1))));
    assert_eq!(ask(&mut h2, 1, "/"), 200);
}

#[test]
fn a_field_block_without_end_is_a_flood_too() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "");
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_STREAM, get("/"));
    for number in 0..200 {
        h2.continuation(1, flag::NONE, block(&[(format!("x-{number}"), "v".repeat(1000))]));
    }
    assert_calmed(&mut h2, &evenkeel, 1);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn empty_continuations_are_a_flood() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "h2 = { reset_rate = \"3/s\" }");
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_STREAM, get("/"));
    h2.send(frame(kind::CONTINUATION, 0, 1, &[]).repeat(50));
    assert_calmed(&mut h2, &evenkeel, 1);
}

#[test]
fn a_flood_is_logged_with_its_kind() {
    let backend = Backend::ok("fine");
    let evenkeel: Process = Setup::to(&[backend.address()]).listener("h2 = { reset_rate = \"50/s\" }").spawn();
    for _ in 0..5 {
        let mut h2 = H2::open(evenkeel.address());
        h2.send(many(400, |_| frame(kind::SETTINGS, 0, 0, &[])));
        assert_eq!(farewells(&mut h2), [ENHANCE_YOUR_CALM]);
    }
    let lines = || evenkeel.log().iter().filter(|line| line.contains("too many frames")).cloned().collect::<Vec<_>>();
    wait_for("it is said", || !lines().is_empty());
    assert!(lines()[0].contains("settings") && lines()[0].contains("web"), "{:?}", lines());
    assert!(lines().len() < 5, "it is not said for each, when there are many: {:?}", lines());
}

/// As gRPC's own library does: for each short message it opens the stream's and the connection's window by its length,
/// and measures the path.
#[test]
fn a_client_of_many_short_messages_is_no_flood() {
    let backend = H2Backend::start(100, |request, mut respond| async move {
        let mut stream = request.into_body();
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        while let Some(Ok(data)) = stream.data().await {
            let _ = stream.flow_control().release_capacity(data.len());
            push(&mut send, data.to_vec(), false).await;
        }
        let _ = send.send_data(bytes::Bytes::new(), true);
    });
    let evenkeel = Setup::to(&[backend.address()]).pool("protocol = \"h2\"").start();
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_HEADERS, request("POST", "/", &[]));
    for turn in 0..1_000 {
        h2.frame(kind::DATA, 0, 1, b"hello!");
        loop {
            match h2.next() {
                Event::Frame(frame) if frame.kind == kind::DATA => break,
                Event::Frame(frame) => assert_ne!(frame.kind, kind::GOAWAY, "turn {turn}"),
                other => panic!("turn {turn}: {other:?}"),
            }
        }
        for stream in [0, 1] {
            h2.frame(kind::WINDOW_UPDATE, 0, stream, 6u32.to_be_bytes());
        }
        h2.frame(kind::PING, 0, 0, [0; 8]);
    }
}

#[test]
fn a_window_that_cuts_an_answer_into_crumbs_is_a_flood() {
    let backend = Backend::ok("x".repeat(10_000).leak());
    let evenkeel = with(&backend, "h2 = { reset_rate = \"50/s\" }");
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    // SETTINGS_INITIAL_WINDOW_SIZE.
    h2.send(frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]));
    h2.headers(1, flag::END_HEADERS | flag::END_STREAM, request("GET", "/", &[]));
    let mut crumbs = 0;
    // One byte more for each byte that comes: no increment is without its answer.
    loop {
        match h2.next() {
            Event::Frame(frame) if frame.kind == kind::DATA => {
                crumbs += 1;
                h2.frame(kind::WINDOW_UPDATE, 0, 1, 1u32.to_be_bytes());
            }
            Event::Frame(frame) if frame.kind == kind::GOAWAY => {
                assert_eq!(frame.payload[4..8], ENHANCE_YOUR_CALM.to_be_bytes());
                break;
            }
            Event::Frame(_) => {}
            other => panic!("after {crumbs}: {other:?}"),
        }
    }
    assert!((50..1_000).contains(&crumbs), "{crumbs}");
    wait_for("it is counted", || closed(&evenkeel) == 1.0);
}
