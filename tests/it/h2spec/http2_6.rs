//! h2spec `http2`, section 6: each type of frame.

use super::*;
use crate::support::h2raw::setting;

/// The largest window that there may be.
const MOST: u32 = 0x7fff_ffff;

#[test]
fn http2_6_1_case_1_data_without_a_stream() {
    let mut h2 = open();
    h2.data(0, flag::END_STREAM, "test");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_1_case_2_data_on_a_half_closed_stream() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, post());
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::STREAM_CLOSED, OF_THE_CRATE]);
}

#[test]
fn http2_6_1_case_3_data_with_more_padding_than_frame() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, block(&[fields("POST", "/"), vec![("content-length", "4")]].concat()));
    h2.data(1, flag::END_STREAM | flag::PADDED, b"\x06Test");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_2_case_1_priority_after_headers_without_end() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, get());
    h2.priority(1, 0, 255);
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_2_case_2_headers_of_another_stream_after_headers_without_end() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, get());
    h2.headers(3, flag::WHOLE, get());
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_2_case_3_headers_without_a_stream() {
    let mut h2 = open();
    h2.headers(0, flag::WHOLE, get());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_2_case_4_headers_with_more_padding_than_frame() {
    let (mut h2, block) = (open(), get());
    let padding = u8::try_from(block.len() + 2).unwrap();
    h2.headers(1, flag::WHOLE | flag::PADDED, [&[padding], &block[..]].concat());
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_3_case_1_priority_without_a_stream() {
    let mut h2 = open();
    h2.priority(0, 0, 255);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_3_case_2_priority_of_four_bytes() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.frame(kind::PRIORITY, flag::NONE, 1, b"\x80\0\0\x01");
    stream_error(&mut h2, 1, &[code::FRAME_SIZE_ERROR, OF_THE_CRATE]);
}

/// One of h2spec's strict cases, later moved to generic 3.3.
#[test]
fn http2_6_3_case_3_priority_of_an_idle_stream_and_headers_of_a_lower_one() {
    let mut h2 = open();
    h2.priority(3, 0, 255);
    h2.headers(1, flag::WHOLE, get());
    answered(&mut h2, 1);
}

#[test]
fn http2_6_4_case_1_rst_stream_without_a_stream() {
    let mut h2 = open();
    h2.reset(0, code::CANCEL);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_4_case_2_rst_stream_on_an_idle_stream() {
    let mut h2 = open();
    h2.reset(1, code::CANCEL);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_4_case_3_rst_stream_of_three_bytes() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, held());
    h2.frame(kind::RST_STREAM, flag::NONE, 1, [0; 3]);
    stream_error(&mut h2, 1, &[code::FRAME_SIZE_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_5_case_1_settings_ack_with_payload() {
    let mut h2 = open();
    h2.frame(kind::SETTINGS, flag::ACK, 0, [0]);
    connection_error(&mut h2, &[code::FRAME_SIZE_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_5_case_2_settings_on_a_stream() {
    let mut h2 = open();
    h2.frame(kind::SETTINGS, flag::NONE, 1, b"\0\x03\0\0\0\x64");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_5_case_3_settings_of_no_multiple_of_six_bytes() {
    let mut h2 = open();
    h2.frame(kind::SETTINGS, flag::NONE, 0, b"\0\x03\0\0\0\x64\0\x02\0");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR, code::FRAME_SIZE_ERROR]);
}

#[test]
fn http2_6_5_2_case_1_enable_push_is_2() {
    let mut h2 = open();
    h2.settings(&[(setting::ENABLE_PUSH, 2)]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_5_2_case_2_initial_window_too_large() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, MOST + 1)]);
    connection_error(&mut h2, &[code::FLOW_CONTROL_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_5_2_case_3_max_frame_size_too_small() {
    let mut h2 = open();
    h2.settings(&[(setting::MAX_FRAME_SIZE, 16_383)]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_5_2_case_4_max_frame_size_too_large() {
    let mut h2 = open();
    h2.settings(&[(setting::MAX_FRAME_SIZE, 16_777_216)]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_5_2_case_5_unknown_setting() {
    let mut h2 = open();
    h2.settings(&[(setting::UNKNOWN, 1)]);
    pings(&mut h2);
}

#[test]
fn http2_6_5_3_case_1_settings_apply_in_their_order() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 100), (setting::INITIAL_WINDOW_SIZE, 1)]);
    acknowledged(&mut h2);
    h2.headers(1, flag::WHOLE, get());
    one_byte(&mut h2, 1);
}

#[test]
fn http2_6_5_3_case_2_settings_are_acknowledged() {
    let mut h2 = open();
    h2.settings(&[(setting::ENABLE_PUSH, 0)]);
    acknowledged(&mut h2);
}

#[test]
fn http2_6_7_case_1_ping_is_answered() {
    let mut h2 = open();
    pings(&mut h2);
}

#[test]
fn http2_6_7_case_2_ping_ack_is_not_answered() {
    let mut h2 = open();
    h2.ping(flag::ACK, *b"invalid\0");
    // The first PING that comes must answer this one.
    pings(&mut h2);
}

#[test]
fn http2_6_7_case_3_ping_on_a_stream() {
    let mut h2 = open();
    h2.frame(kind::PING, flag::NONE, 1, [0; 8]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_7_case_4_ping_of_six_bytes() {
    let mut h2 = open();
    h2.frame(kind::PING, flag::NONE, 0, [0; 6]);
    connection_error(&mut h2, &[code::FRAME_SIZE_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_8_case_1_goaway_on_a_stream() {
    let mut h2 = open();
    h2.frame(kind::GOAWAY, flag::NONE, 1, [0; 8]);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_9_case_1_window_update_of_0_for_the_connection() {
    let mut h2 = open();
    h2.window_update(0, 0);
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_9_case_2_window_update_of_0_for_a_stream() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.window_update(1, 0);
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_9_case_3_window_update_of_three_bytes() {
    let mut h2 = open();
    h2.frame(kind::WINDOW_UPDATE, flag::NONE, 0, [0, 0, 1]);
    connection_error(&mut h2, &[code::FRAME_SIZE_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_9_1_case_1_data_fit_into_the_window() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
    acknowledged(&mut h2);
    h2.headers(1, flag::WHOLE, get());
    one_byte(&mut h2, 1);
}

#[test]
fn http2_6_9_1_case_2_window_of_the_connection_too_large() {
    let mut h2 = open();
    h2.window_update(0, MOST);
    h2.window_update(0, MOST);
    let frame = until(&mut h2, "GOAWAY", |frame| frame.is(kind::GOAWAY));
    assert_eq!(frame.code(), code::FLOW_CONTROL_ERROR);
}

#[test]
fn http2_6_9_1_case_3_window_of_a_stream_too_large() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, get());
    h2.window_update(1, MOST);
    h2.window_update(1, MOST);
    let frame = until(&mut h2, "RST_STREAM", |frame| frame.is(kind::RST_STREAM));
    assert_eq!((frame.stream, frame.code()), (1, code::FLOW_CONTROL_ERROR));
}

#[test]
fn http2_6_9_2_case_1_the_initial_window_grows_after_headers() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]);
    acknowledged(&mut h2);
    h2.headers(1, flag::WHOLE, get());
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
    one_byte(&mut h2, 1);
}

#[test]
fn http2_6_9_2_case_2_the_window_becomes_negative() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 3)]);
    acknowledged(&mut h2);
    h2.headers(1, flag::WHOLE, get());
    let first = until(&mut h2, "DATA", |frame| frame.is(kind::DATA));
    assert_eq!(first.payload.len(), 3, "{first:?}");
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 2)]);
    acknowledged(&mut h2);
    // From -1 to 1.
    h2.window_update(1, 2);
    one_byte(&mut h2, 1);
}

#[test]
fn http2_6_9_2_case_3_initial_window_too_large() {
    let mut h2 = open();
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, MOST + 1)]);
    connection_error(&mut h2, &[code::FLOW_CONTROL_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_6_10_case_1_continuations_after_headers() {
    let mut h2 = open();
    h2.headers(1, flag::END_STREAM, get());
    h2.continuation(1, flag::NONE, dummy());
    h2.continuation(1, flag::END_HEADERS, dummy());
    answered(&mut h2, 1);
}

#[test]
fn http2_6_10_case_2_data_after_a_continuation_without_end() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, post());
    h2.continuation(1, flag::NONE, dummy());
    h2.data(1, flag::END_STREAM, "test");
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_10_case_3_continuation_without_a_stream() {
    let mut h2 = open();
    h2.headers(1, flag::END_STREAM, get());
    h2.continuation(0, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_10_case_4_continuation_after_headers_with_end() {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, get());
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_10_case_5_continuation_after_a_continuation_with_end() {
    let mut h2 = open();
    h2.headers(1, flag::END_STREAM, get());
    h2.continuation(1, flag::END_HEADERS, dummy());
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_6_10_case_6_continuation_after_data() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, post());
    h2.data(1, flag::END_STREAM, "test");
    h2.continuation(1, flag::NONE, dummy());
    h2.continuation(0, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}
