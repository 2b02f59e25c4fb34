//! h2spec `http2`, sections 3 and 4: the preface, frames, and field blocks.

use super::*;
use crate::support::Client;
use crate::support::h2raw::{PREFACE, setting};

#[test]
fn http2_3_5_case_1_preface() {
    let mut h2 = H2::connect(address());
    h2.send(PREFACE);
    h2.settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]);
    let first = until(&mut h2, "frame", |_| true);
    assert!(first.is(kind::SETTINGS) && !first.has(flag::ACK), "{first:?}");
}

#[test]
fn http2_3_5_case_2_invalid_preface() {
    // Without TLS it may be HTTP/1.1, so an answer may come before the end.
    let mut client = Client::h1(address());
    client.send("INVALID CONNECTION PREFACE\r\n\r\n");
    client.rest();
}

#[test]
fn http2_4_1_case_1_unknown_type() {
    let mut h2 = open();
    h2.frame(kind::UNKNOWN, flag::NONE, 0, [0; 8]);
    pings(&mut h2);
}

#[test]
fn http2_4_1_case_2_undefined_flags() {
    let mut h2 = open();
    // All but ACK.
    h2.ping(0x16, [0; 8]);
    pong(&mut h2, &[0; 8]);
}

#[test]
fn http2_4_1_case_3_reserved_bit() {
    let mut h2 = open();
    h2.frame(kind::PING, 0x16, 0x8000_0000, [0; 8]);
    pong(&mut h2, &[0; 8]);
}

#[test]
fn http2_4_2_case_1_data_of_the_largest_size() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    let data = vec![b'x'; h2.max_frame_size()];
    h2.data(1, flag::END_STREAM, data);
    answered(&mut h2, 1);
}

#[test]
fn http2_4_2_case_2_data_that_are_too_large() {
    let mut h2 = open();
    h2.headers(1, flag::END_HEADERS, post());
    let data = vec![b'x'; h2.max_frame_size() + 1];
    h2.data(1, flag::END_STREAM, data);
    stream_error(&mut h2, 1, &[code::FRAME_SIZE_ERROR]);
}

#[test]
fn http2_4_2_case_3_headers_that_are_too_large() {
    let mut h2 = open();
    let dummies: Vec<u8> = (0..=h2.max_frame_size() / 4000).flat_map(|_| dummy()).collect();
    h2.headers(1, flag::WHOLE, [get(), dummies].concat());
    connection_error(&mut h2, &[code::FRAME_SIZE_ERROR]);
}

#[test]
fn http2_4_3_case_1_invalid_field_block() {
    let mut h2 = open();
    // A literal with incremental indexing that has neither name nor value.
    h2.headers(1, flag::WHOLE, b"\x40");
    connection_error(&mut h2, &[code::COMPRESSION_ERROR, OF_THE_CRATE]);
}

#[test]
fn http2_4_3_case_2_priority_inside_a_field_block() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, get());
    h2.priority(1, 0, 255);
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}

#[test]
fn http2_4_3_case_3_headers_of_another_stream_inside_a_field_block() {
    let mut h2 = open();
    h2.headers(1, flag::NONE, get());
    h2.headers(3, flag::WHOLE, get());
    h2.continuation(1, flag::END_HEADERS, dummy());
    connection_error(&mut h2, &[code::PROTOCOL_ERROR]);
}
