//! `[listener.h2]` and the bounds of a request, on streams.

use super::*;
use crate::support::h2raw::{PREFACE, Unanswered, code, setting};
use crate::support::wait_for;

#[test]
fn what_the_file_says_is_told_to_the_client() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "h2 = { max_streams = 7, window = \"128KiB\" }");
    let mut h2 = H2::connect(evenkeel.address());
    h2.send(PREFACE);
    h2.settings(&[]);
    h2.headers(1, flag::WHOLE, get("/"));
    let (mut settings, mut window) = (Vec::new(), 65_535);
    loop {
        match h2.next() {
            Event::Frame(frame) if frame.is(kind::SETTINGS) && !frame.has(flag::ACK) => settings = frame.payload,
            Event::Frame(frame) if frame.is(kind::WINDOW_UPDATE) && frame.stream == 0 => {
                window += u32::from_be_bytes(frame.payload[..].try_into().unwrap());
            }
            Event::Frame(frame) if frame.ends() => break,
            Event::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    }
    let entry = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    for (id, value) in [(setting::MAX_CONCURRENT_STREAMS, 7), (setting::INITIAL_WINDOW_SIZE, 128 << 10)] {
        assert!(settings.chunks(6).any(|known| known == entry(id, value)), "{id} in {settings:?}");
    }
    assert_eq!(window, 512 << 10, "the connection's window is four times a stream's");
}

#[test]
fn streams_above_the_limit_are_refused_and_the_others_answered() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let evenkeel = with(&backend, "h2 = { max_streams = 2 }");
    let mut h2 = H2::open(evenkeel.address());
    for stream in [1, 3, 5] {
        h2.headers(stream, flag::WHOLE, get("/held"));
    }
    assert_eq!(h2.answer(5).err(), Some(Unanswered::Reset(code::REFUSED_STREAM)));
    // Before either is answered: what the third was refused for.
    wait_for("both are at the backend", || backend.requests() == 2);
    gate.open();
    assert_eq!(h2.answer(1).or_else(|_| h2.answer(3)).unwrap().status, 200);
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_request_that_is_too_large_is_answered_as_in_http_1() {
    let backend = Backend::ok("fine");
    let keys = "max_header_size = \"4KiB\"\nmax_headers = 20\nmax_target_size = \"1KiB\"\nmax_body_size = \"1KiB\"";
    let evenkeel = with(&backend, keys);
    let mut h2 = H2::open(evenkeel.address());
    let mut stream = 1;
    let mut refused = |block: &[u8], flags: u8, status: u16, word: &str| {
        h2.headers(stream, flags, block);
        let answer = h2.answer(stream).unwrap_or_else(|why| panic!("{word}: {why:?}"));
        answer.assert_refused(status, word);
        stream += 2;
    };
    let many: Vec<_> = (0..21).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
    let long = "v".repeat(4096);
    refused(&request("GET", "/", &[("x", &long)]), flag::WHOLE, 431, "head_too_large");
    refused(&request("GET", "/", &many), flag::WHOLE, 431, "head_too_large");
    refused(&get(&format!("/{}", "p".repeat(1024))), flag::WHOLE, 414, "target_too_long");
    refused(&request("PUT", "/", &[("content-length", "1025")]), flag::END_HEADERS, 413, "body_too_large");
    evenkeel.wait_failures("head_too_large", 2);
    evenkeel.wait_failures("target_too_long", 1);
    evenkeel.wait_failures("body_too_large", 1);
    // What is allowed is allowed.
    let fits = [("x", &long[..3000]), ("cookie", "a=1"), ("cookie", "b=2")];
    h2.headers(stream, flag::WHOLE, request("GET", &format!("/{}", "p".repeat(500)), &fits));
    assert_eq!(h2.answer(stream).unwrap().status, 200);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_head_of_more_than_twice_the_limit_is_answered_too_and_the_connection_goes_on() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_header_size = \"4KiB\"");
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::WHOLE, request("GET", "/", &[("x", &"v".repeat(9_000))]));
    assert_eq!(h2.answer(1).unwrap().status, 431);
    assert_eq!(ask(&mut h2, 3, "/"), 200);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_body_that_grows_over_the_limit_is_cut() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_body_size = \"1KiB\"");
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_HEADERS, request("PUT", "/", &[]));
    h2.data(1, flag::END_STREAM, [b'x'; 1025]);
    h2.answer(1).unwrap().assert_refused(413, "body_too_large");
    assert!(backend.seen().is_empty(), "no whole request has come");
}
