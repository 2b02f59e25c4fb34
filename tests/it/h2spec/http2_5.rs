//! h2spec `http2`, section 5: the states of streams, their numbers, and how errors are handled.

use super::*;
use crate::support::h2raw::{dependency, setting};

#[test]
fn http2_5_1_case_1_idle_data() {
    let mut h2 = open();
    h2.data(1, flag::END_STREAM, "test");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_2_idle_rst_stream() {
    let mut h2 = open();
    h2.reset(1, code::CANCEL);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_3_idle_window_update() {
    let mut h2 = open();
    h2.window_update(1, 100);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_4_idle_continuation() {
    let mut h2 = open();
    h2.continuation(1, flag::END_HEADERS, get());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_5_half_closed_data() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_5_1_case_6_half_closed_headers() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.headers(1, flag::WHOLE, held());
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_5_1_case_7_half_closed_continuation() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.continuation(1, flag::END_HEADERS, held());
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_8_closed_by_rst_stream_data() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.reset(1, code::CANCEL);
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED]);
}

#[test]
fn http2_5_1_case_9_closed_by_rst_stream_headers() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.reset(1, code::CANCEL);
    h2.headers(1, flag::WHOLE, get());
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_5_1_case_10_closed_by_rst_stream_continuation() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.reset(1, code::CANCEL);
    h2.continuation(1, flag::END_HEADERS, dummy());
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_case_11_closed_data() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    stream_ended(&mut h2, 1);
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED]);
}

#[test]
fn http2_5_1_case_12_closed_headers() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    stream_ended(&mut h2, 1);
    h2.headers(1, flag::WHOLE, get());
    connection_error(&mut h2, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_5_1_case_13_closed_continuation() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    stream_ended(&mut h2, 1);
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_1_case_1_even_stream_number() {
    let mut h2 = open();
    h2.headers(2, flag::WHOLE, get());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_1_case_2_stream_number_below_the_last() {
    let mut h2 = open();
    h2.headers(5, flag::WHOLE, held());
    h2.headers(3, flag::WHOLE, held());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_1_1_case_3_the_same_stream_number_again() {
    let mut h2 = open();
    h2.headers(5, flag::WHOLE, held());
    h2.headers(5, flag::WHOLE, held());
    stream_error(&mut h2, 5, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_5_1_2_case_1_more_streams_than_allowed() {
    let mut h2 = open();
    let most = h2.setting(setting::MAX_CONCURRENT_STREAMS).expect("a bound on streams");
    // No window: no answer can end a stream.
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    let streams: Vec<u32> = (0..=most).map(|number| 2 * number + 1).collect();
    for &stream in &streams {
        h2.headers(stream, flag::WHOLE, get());
    }
    stream_error(&mut h2, 2 * most + 1, &[code::PROTOCOL_ERROR, code::REFUSED_STREAM]);
}

/// RFC 9113 section 5.3 has no dependencies any more; what RFC 7540 says of them may still be kept.
#[test]
fn http2_5_3_1_case_1_headers_that_depend_on_themselves() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE | flag::PRIORITY, [dependency(1, 255), get()].concat());
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

/// As case 1.
#[test]
fn http2_5_3_1_case_2_priority_that_depends_on_itself() {
    let mut h2 = open();
    h2.priority(1, 1, 255);
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_5_4_1_case_1_the_connection_is_closed_after_an_error() {
    let mut h2 = open();
    h2.frame(kind::PING, flag::NONE, 3, [0; 8]);
    closed(&mut h2);
}

/// A SHOULD: GOAWAY before the connection ends.
#[test]
fn http2_5_4_1_case_2_goaway_comes_before_the_end() {
    let mut h2 = open();
    h2.frame(kind::PING, flag::NONE, 3, [0; 8]);
    let frame = until(&mut h2, "GOAWAY", |frame| frame.is(kind::GOAWAY));
    assert_eq!(frame.code(), code::PROTOCOL_ERROR);
}

#[test]
fn http2_5_5_case_1_unknown_frame() {
    let mut h2 = open();
    h2.frame(kind::UNKNOWN, flag::NONE, 0, [0; 8]);
    pings(&mut h2);
}

#[test]
fn http2_5_5_case_2_unknown_frame_inside_a_field_block() {
    let mut h2 = open();
    h2.headers(1, flag::END_STREAM, get());
    h2.frame(kind::UNKNOWN, flag::NONE, 0, [0; 8]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}
