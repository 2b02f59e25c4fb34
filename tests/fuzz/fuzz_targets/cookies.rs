//! Any bytes as cookies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel::policy::fuzz::cookies(data));
