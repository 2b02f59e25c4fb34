//! HTTP/2 backends that go away, give up, or never let anything through; frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use super::{BAD_RESPONSE, LATE, RESET, RESPONSE, SLACK, Stage};
use crate::support::h2raw::{PREFACE, block, code, flag, frame, kind, setting};
use crate::support::{Backend, Conn, wait_for};

/// RFC 9113 section 7; those that [`code`] does not have.
const INTERNAL_ERROR: u32 = 2;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const HTTP_1_1_REQUIRED: u32 = 0xd;

/// A connection that a backend serves by hand.
struct Streams<'c>(&'c mut Conn);

impl<'c> Streams<'c> {
    /// Takes the preface and says its own settings.
    fn open(conn: &'c mut Conn, settings: &[(u16, u32)]) -> Option<Self> {
        let preface = conn.wire.exact(PREFACE.len()).ok()?;
        assert_eq!(preface, PREFACE);
        let entry = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let payload: Vec<u8> = settings.iter().flat_map(entry).collect();
        conn.send(frame(kind::SETTINGS, flag::NONE, 0, &payload)).then_some(Self(conn))
    }

    /// The next frame: its type, flags and stream. Settings and pings are acknowledged.
    fn next(&mut self) -> Option<(u8, u8, u32)> {
        let head = self.0.wire.exact(9).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.0.wire.exact(length).ok()?;
        let (kind, flags) = (head[3], head[4]);
        if flags & flag::ACK == 0 && kind == kind::SETTINGS {
            self.send(kind::SETTINGS, flag::ACK, 0, &[]);
        }
        if flags & flag::ACK == 0 && kind == kind::PING {
            self.send(kind::PING, flag::ACK, 0, &payload);
        }
        Some((kind, flags, u32::from_be_bytes([head[5], head[6], head[7], head[8]])))
    }

    /// The stream of the next request; its body, if it has one, is left on the wire.
    fn request(&mut self) -> Option<u32> {
        loop {
            if let (kind::HEADERS, _, stream) = self.next()? {
                return Some(stream);
            }
        }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.0.send(frame(kind, flags, stream, payload))
    }

    fn head(&mut self, stream: u32) -> bool {
        self.send(kind::HEADERS, flag::END_HEADERS, stream, &block(&[(":status", "200")]))
    }

    fn answer(&mut self, stream: u32, body: &str) -> bool {
        self.head(stream) && self.send(kind::DATA, flag::END_STREAM, stream, body.as_bytes())
    }

    fn reset(&mut self, stream: u32, code: u32) -> bool {
        self.send(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
    }

    fn go_away(&mut self, last: u32, code: u32) -> bool {
        self.send(kind::GOAWAY, flag::NONE, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
    }

    /// Takes what comes until evenkeel leaves.
    fn wait_closed(&mut self) {
        while self.next().is_some() {}
    }
}

/// A backend that does so with each connection, and how many requests it has seen.
fn backend(serve: impl Fn(&mut Streams<'_>, &AtomicUsize) + Send + Sync + 'static) -> (Backend, Arc<AtomicUsize>) {
    let seen = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&seen);
    let backend = Backend::raw(move |conn, _| {
        if let Some(mut streams) = Streams::open(conn, &[]) {
            serve(&mut streams, &count);
        }
    });
    (backend, seen)
}

const H2: &str = "protocol = \"h2\"";

#[test]
fn reset_before_the_answer() {
    for code in
        [code::NO_ERROR, code::PROTOCOL_ERROR, INTERNAL_ERROR, code::CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED]
    {
        let (bad, seen) = backend(move |streams, seen| {
            while let Some(stream) = streams.request() {
                seen.fetch_add(1, SeqCst);
                streams.reset(stream, code);
            }
        });
        let stage = Stage::new(bad.address(), H2);
        stage.assert_fails_alone(RESET, Duration::ZERO);
        assert_eq!(seen.load(SeqCst), 2, "code {code}: nothing is sent twice without a retry");
        // With retries, it is: what came of the stream is nothing.
        let response = stage.get("/pair/0");
        stage.assert_failed("/pair/0", &response, RESET);
        stage.assert_attempts("pair", &[("502", 3)]);
        stage.end(bad);
    }
}

#[test]
fn refused() {
    let (bad, seen) = backend(move |streams, seen| {
        while let Some(stream) = streams.request() {
            // Each second request is refused without a look.
            if seen.fetch_add(1, SeqCst).is_multiple_of(2) {
                streams.reset(stream, code::REFUSED_STREAM);
            } else {
                streams.answer(stream, "fine");
            }
        }
    });
    let stage = Stage::new(bad.address(), H2);
    for number in 0..6 {
        // Even a POST goes out again.
        let response = stage.evenkeel.client().with_body("POST", &format!("/pair/{number}"), b"order");
        assert_eq!((response.status, response.text().as_str()), (200, "fine"), "{response:?}");
    }
    assert_eq!(seen.load(SeqCst), 12);
    stage.end(bad);
}

#[test]
fn reset_within_the_answer() {
    for code in [INTERNAL_ERROR, code::CANCEL, code::REFUSED_STREAM] {
        let (bad, _) = backend(move |streams, _| {
            while let Some(stream) = streams.request() {
                streams.head(stream);
                streams.send(kind::DATA, flag::NONE, stream, b"hello");
                // evenkeel has passed that on when it gives its room back, or at the latest in a moment.
                std::thread::sleep(Duration::from_millis(50));
                streams.reset(stream, code);
            }
        });
        let stage = Stage::new(bad.address(), H2);
        for path in ["/alone/0", "/pair/0"] {
            let response = stage.get(path);
            assert_eq!((response.status, response.text().as_str(), response.cut), (200, "hello", true));
            stage.assert_noted(path, 200, "truncated");
        }
        stage.assert_attempts("pair", &[("200", 1)]);
        stage.end(bad);
    }
}

#[test]
fn goaway_after_each_answer_is_not_noticed() {
    let (bad, seen) = backend(|streams, seen| {
        let Some(stream) = streams.request() else { return };
        seen.fetch_add(1, SeqCst);
        streams.go_away(stream, code::NO_ERROR);
        streams.answer(stream, "fine");
        streams.wait_closed();
    });
    let stage = Stage::new(bad.address(), H2);
    let mut client = stage.evenkeel.client();
    for number in 0..20 {
        assert_eq!(client.get(&format!("/alone/{number}")).text(), "fine");
    }
    assert_eq!((bad.connections(), seen.load(SeqCst)), (20, 20));
    stage.assert_attempts("alone", &[("200", 20)]);
    drop(client);
    stage.end(bad);
}

#[test]
fn goaway_that_has_not_seen_a_request_lets_it_go_elsewhere() {
    let seen = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&seen);
    let bad = Backend::raw(move |conn, number| {
        let Some(mut streams) = Streams::open(conn, &[]) else { return };
        while let Some(stream) = streams.request() {
            count.fetch_add(1, SeqCst);
            if number.is_multiple_of(2) {
                // Nothing of it has been looked at (RFC 9113 section 6.8).
                streams.go_away(0, code::NO_ERROR);
                return streams.wait_closed();
            }
            streams.go_away(stream, code::NO_ERROR);
            streams.answer(stream, "fine");
        }
    });
    let stage = Stage::new(bad.address(), H2);
    for number in 0..5 {
        let response = stage.evenkeel.client().with_body("POST", &format!("/pair/{number}"), b"order");
        assert_eq!((response.status, response.text().as_str()), (200, "fine"), "{response:?}");
    }
    assert_eq!(seen.load(SeqCst), 10);
    stage.end(bad);
}

#[test]
fn goaway_with_an_error_ends_what_is_on_its_way() {
    // A connection that is left open may still answer what it has taken: then its time is the bound.
    for (close, failure, least) in [(true, RESET, Duration::ZERO), (false, LATE, RESPONSE)] {
        let (bad, _) = backend(move |streams, _| {
            let Some(stream) = streams.request() else { return };
            streams.go_away(stream, INTERNAL_ERROR);
            if !close {
                streams.wait_closed();
            }
        });
        let stage = Stage::new(bad.address(), H2);
        stage.assert_fails_alone(failure, least);
        stage.end(bad);
    }
}

#[test]
fn goaway_within_an_answer_cuts_it() {
    let (bad, _) = backend(|streams, _| {
        let Some(stream) = streams.request() else { return };
        streams.head(stream);
        streams.send(kind::DATA, flag::NONE, stream, b"hello");
        std::thread::sleep(Duration::from_millis(50));
        streams.go_away(stream, INTERNAL_ERROR);
    });
    let stage = Stage::new(bad.address(), H2);
    for path in ["/alone/0", "/alone/1"] {
        let response = stage.get(path);
        assert_eq!((response.status, response.text().as_str(), response.cut), (200, "hello", true));
        stage.assert_noted(path, 200, "truncated");
    }
    stage.end(bad);
}

#[test]
fn window_never_opened() {
    let bad = Backend::raw(|conn, _| {
        let settings = [(setting::INITIAL_WINDOW_SIZE, 0)];
        Streams::open(conn, &settings).into_iter().for_each(|mut streams| streams.wait_closed());
    });
    let stage = Stage::new(bad.address(), H2);
    // The settings come behind the first request; from the second on they are known. Neither gets its body out, as the
    // window that a stream begins with is taken back.
    for number in 0..2 {
        let (path, start) = (format!("/alone/{number}"), Instant::now());
        let response = stage.evenkeel.client().with_body("PUT", &path, &[b'x'; 200_000]);
        let took = start.elapsed();
        assert!(took + Duration::from_millis(2) >= RESPONSE && took < RESPONSE + SLACK, "{took:?}");
        stage.assert_failed(&path, &response, LATE);
    }
    stage.assert_attempts("alone", &[("504", 2)]);
    stage.end(bad);
}

#[test]
fn silence() {
    // Not even settings: requests need not wait for them, and their time runs.
    let bad = Backend::silent();
    let stage = Stage::new(bad.address(), H2);
    stage.assert_fails_alone(LATE, RESPONSE);
    stage.end(bad);
}

#[test]
fn garbage() {
    let bad = Backend::raw(|conn, _| {
        conn.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        conn.wait_closed();
    });
    let stage = Stage::new(bad.address(), H2);
    stage.assert_fails_alone(BAD_RESPONSE, Duration::ZERO);
    wait_for("it is left", || bad.open() == 0);
    stage.end(bad);
}
