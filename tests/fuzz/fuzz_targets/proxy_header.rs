//! Any bytes as a PROXY header.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel::net::proxy_protocol::fuzz::header(data));
