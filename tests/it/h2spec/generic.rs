//! h2spec `generic`, sections 1 to 4: what every endpoint must take.

use super::*;
use crate::support::h2raw::{PREFACE, dependency, setting};

#[test]
fn generic_1_case_1_the_first_frame_is_settings() {
    let mut h2 = H2::connect(address());
    h2.send(PREFACE);
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]);
    let first = until(&mut h2, "frame", |_| true);
    assert!(first.is(kind::SETTINGS) && !first.has(flag::ACK), "{first:?}");
}

#[test]
fn generic_2_case_1_priority_on_an_idle_stream() {
    let mut h2 = open();
    h2.priority(1, 0, 255);
    pings(&mut h2);
}

#[test]
fn generic_2_case_2_window_update_on_a_half_closed_stream() {
    let mut h2 = open();
    // No window: the answer cannot end the stream.
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    h2.headers(1, flag::WHOLE, get());
    h2.window_update(1, 1);
    one_byte(&mut h2, 1);
}

#[test]
fn generic_2_case_3_priority_on_a_half_closed_stream() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    h2.headers(1, flag::WHOLE, get());
    h2.priority(1, 0, 255);
    h2.window_update(1, 1);
    one_byte(&mut h2, 1);
}

#[test]
fn generic_2_case_4_rst_stream_on_a_half_closed_stream() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.reset(1, code::CANCEL);
    pings_or_closes(&mut h2);
}

#[test]
fn generic_2_case_5_priority_on_a_closed_stream() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    stream_ended(&mut h2, 1);
    h2.priority(1, 0, 255);
    pings(&mut h2);
}

#[test]
fn generic_3_1_case_1_data() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::END_STREAM, "test");
    answered(&mut h2, 1);
}

#[test]
fn generic_3_1_case_2_data_in_pieces() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::NONE, "test");
    h2.data(1, flag::END_STREAM, "test");
    answered(&mut h2, 1);
}

#[test]
fn generic_3_1_case_3_data_with_padding() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::END_STREAM | flag::PADDED, b"\x06test\0\0\0\0\0\0");
    answered(&mut h2, 1);
}

#[test]
fn generic_3_2_case_1_headers() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_2_case_2_headers_with_padding() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE | flag::PADDED, [&[8], &get()[..], &[0; 8]].concat());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_2_case_3_headers_with_priority() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE | flag::PRIORITY, [dependency(0, 255), get()].concat());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_3_case_1_priority_1() {
    let mut h2 = open();
    h2.priority(1, 0, 0);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_3_case_2_priority_256() {
    let mut h2 = open();
    h2.priority(1, 0, 255);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_3_case_3_priority_with_a_dependency() {
    let mut h2 = open();
    h2.priority(3, 1, 0);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_3_case_4_exclusive_priority() {
    let mut h2 = open();
    h2.priority(1, 0x8000_0000, 0);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_3_case_5_priority_of_an_idle_stream_and_headers_of_a_lower_one() {
    let mut h2 = open();
    h2.priority(3, 0, 255);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn generic_3_4_case_1_rst_stream() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.reset(1, code::CANCEL);
    pings_or_closes(&mut h2);
}

#[test]
fn generic_3_5_case_1_settings() {
    let mut h2 = open();
    h2.settings(&[
        (setting::HEADER_TABLE_SIZE, 4096),
        (setting::ENABLE_PUSH, 1),
        (setting::MAX_CONCURRENT_STREAMS, 100),
        (setting::INITIAL_WINDOW_SIZE, 65_535),
        (setting::MAX_FRAME_SIZE, 16_384),
        (setting::MAX_HEADER_LIST_SIZE, 100),
    ]);
    acknowledged(&mut h2);
}

#[test]
fn generic_3_7_case_1_ping() {
    let mut h2 = open();
    pings(&mut h2);
}

#[test]
fn generic_3_8_case_1_goaway() {
    let mut h2 = open();
    h2.go_away(code::NO_ERROR, b"h2spec");
    pings_or_closes(&mut h2);
}

#[test]
fn generic_3_9_case_1_window_update_of_the_connection() {
    let mut h2 = open();
    h2.window_update(0, 1);
    pings(&mut h2);
}

#[test]
fn generic_3_9_case_2_window_update_of_a_stream() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    h2.window_update(1, 1);
    answered(&mut h2, 1);
}

#[test]
fn generic_3_10_case_1_continuation() {
    let (mut h2, block) = (open(), get());
    h2.headers(1, flag::END_STREAM, &block[..5]);
    h2.continuation(1, flag::END_HEADERS, &block[5..]);
    answered(&mut h2, 1);
}

#[test]
fn generic_3_10_case_2_continuations() {
    let (mut h2, block) = (open(), get());
    h2.headers(1, flag::END_STREAM, &block[..5]);
    h2.continuation(1, flag::NONE, &block[5..10]);
    h2.continuation(1, flag::END_HEADERS, &block[10..]);
    answered(&mut h2, 1);
}

#[test]
fn generic_4_case_1_get() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    let response = h2.answer(1).unwrap();
    assert_eq!((response.status, response.text()), (200, BODY.to_owned()));
}

#[test]
fn generic_4_case_2_head() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, block(&fields("HEAD", "/")));
    answered(&mut h2, 1);
}

#[test]
fn generic_4_case_3_post() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::END_STREAM, "test");
    answered(&mut h2, 1);
}

#[test]
fn generic_4_case_4_post_with_trailers() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, block(&[fields("POST", "/"), vec![("trailer", "x-test")]].concat()));
    h2.data(1, flag::NONE, "test");
    h2.headers(1, flag::WHOLE, block(&[("x-test", "ok")]));
    answered(&mut h2, 1);
}
