//! h2spec `http2`, sections 7 and 8: error codes, and what a request may look like.

use super::*;

/// Sends a whole request that is malformed (RFC 9113 section 8.1.1).
#[track_caller]
fn malformed(block: Vec<u8>) {
    let mut h2 = open();
    h2.headers(1, flag::WHOLE, block);
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

/// The block of `GET /` without the pseudo-field `name`.
fn without(name: &str) -> Vec<u8> {
    let rest: Vec<_> = fields("GET", "/").into_iter().filter(|(other, _)| *other != name).collect();
    block(&rest)
}

#[test]
fn http2_7_case_1_goaway_with_an_unknown_code() {
    let mut h2 = open();
    h2.go_away(code::UNKNOWN, b"");
    pings_or_closes(&mut h2);
}

#[test]
fn http2_7_case_2_rst_stream_with_an_unknown_code() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.reset(1, code::UNKNOWN);
    pings(&mut h2);
}

#[test]
fn http2_8_1_case_1_second_headers_without_end() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::NONE, "test");
    h2.headers(1, flag::END_HEADERS, block(&[("x-test", "ok")]));
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_8_1_2_case_1_upper_case_in_a_name() {
    malformed(get_with("X-TEST", "ok"));
}

#[test]
fn http2_8_1_2_1_case_1_unknown_pseudo_field() {
    malformed(get_with(":test", "ok"));
}

#[test]
fn http2_8_1_2_1_case_2_pseudo_field_of_a_response() {
    malformed(get_with(":status", "200"));
}

#[test]
fn http2_8_1_2_1_case_3_pseudo_field_in_trailers() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    h2.data(1, flag::NONE, "test");
    // Without END_STREAM, as in h2spec: with it the `h2` crate drops such a field in silence (see corpus::h2).
    h2.headers(1, flag::END_HEADERS, block(&[(":method", "POST")]));
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_8_1_2_1_case_4_pseudo_field_after_a_field() {
    malformed(block(&[vec![("x-test", "ok")], fields("GET", "/")].concat()));
}

#[test]
fn http2_8_1_2_2_case_1_connection_field() {
    malformed(get_with("connection", "keep-alive"));
}

#[test]
fn http2_8_1_2_2_case_2_te_other_than_trailers() {
    malformed(block(&[fields("GET", "/"), vec![("trailers", "test"), ("te", "trailers, deflate")]].concat()));
}

#[test]
fn http2_8_1_2_3_case_1_empty_path() {
    malformed(block(&fields("GET", "")));
}

#[test]
fn http2_8_1_2_3_case_2_no_method() {
    malformed(without(":method"));
}

#[test]
fn http2_8_1_2_3_case_3_no_scheme() {
    malformed(without(":scheme"));
}

#[test]
fn http2_8_1_2_3_case_4_no_path() {
    malformed(without(":path"));
}

#[test]
fn http2_8_1_2_3_case_5_two_methods() {
    malformed(get_with(":method", "GET"));
}

#[test]
fn http2_8_1_2_3_case_6_two_schemes() {
    malformed(get_with(":scheme", "http"));
}

#[test]
fn http2_8_1_2_3_case_7_two_paths() {
    malformed(get_with(":path", "/"));
}

/// The block of a POST that says it has one byte.
fn one_byte_long() -> Vec<u8> {
    block(&[fields("POST", "/"), vec![("content-length", "1")]].concat())
}

#[test]
fn http2_8_1_2_6_case_1_content_length_that_lies() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, one_byte_long());
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_8_1_2_6_case_2_content_length_that_lies_about_several_data() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, one_byte_long());
    h2.data(1, flag::NONE, "test");
    h2.data(1, flag::END_STREAM, "test");
    stream_error(&mut h2, 1, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_8_2_case_1_push_promise() {
    let mut h2 = open();
    h2.frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, [&3u32.to_be_bytes()[..], &get()].concat());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}
