//! Any bytes as a request target.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel::http::fuzz::target(data));
