//! HTTP/2 from clients that are slow, hostile, or in the way of a change: what a connection may take, and how it ends.

mod bounds;
mod downgrade;
mod ends;
mod floods;
mod limits;
mod timers;

use crate::support::h2raw::{Event, Frame, H2, block, flag, kind};
use crate::support::{Backend, Evenkeel, Gate, Reply, Setup};

/// evenkeel with these keys of its listener.
fn with(backend: &Backend, keys: &str) -> Evenkeel {
    Setup::to(&[backend.address()]).listener(keys).start()
}

/// The field block of a GET.
fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[])
}

/// The field block of a request.
fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")], more].concat();
    block(&fields)
}

/// Asks for `path` and waits for the whole answer's status.
fn ask(h2: &mut H2, stream: u32, path: &str) -> u16 {
    h2.headers(stream, flag::WHOLE, get(path));
    h2.answer(stream).unwrap_or_else(|why| panic!("{why:?}")).status
}

/// Everything up to the end of the connection. Pings are acknowledged.
fn rest(h2: &mut H2) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        match h2.next() {
            Event::Closed => return frames,
            Event::Silence => panic!("the connection does not end: {frames:?}"),
            Event::Frame(frame) => {
                if frame.is(kind::PING) && !frame.has(flag::ACK) {
                    h2.ping(flag::ACK, frame.payload[..].try_into().unwrap());
                }
                frames.push(frame);
            }
        }
    }
}

/// The codes of the GOAWAYs with which the connection ends.
fn farewells(h2: &mut H2) -> Vec<u32> {
    rest(h2).iter().filter(|frame| frame.is(kind::GOAWAY)).map(Frame::code).collect()
}

/// A backend that holds requests for `/held` until the gate is open, and answers others.
fn holding(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::http(move |request| {
        if request.target == "/held" {
            gate.pass();
        }
        Reply::ok("fine")
    })
}

/// Fails unless each of `streams` is answered 503 `draining`.
fn assert_cut(h2: &mut H2, streams: &[u32]) {
    let mut left = streams.to_vec();
    while !left.is_empty() {
        let Event::Frame(frame) = h2.next() else { panic!("no answer on {left:?}") };
        if !left.contains(&frame.stream) {
            continue;
        }
        if frame.is(kind::HEADERS) {
            let word = frame.fields.get("proxy-status").unwrap_or_default();
            assert!(frame.fields.get(":status") == Some("503") && word.contains("draining"), "{frame:?}");
        }
        if frame.ends() {
            left.retain(|stream| *stream != frame.stream);
        }
    }
}
