//! Any bytes as a request head.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel::http::fuzz::request_head(data));
