//! Any bytes as a response head.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel::http::fuzz::response_head(data));
