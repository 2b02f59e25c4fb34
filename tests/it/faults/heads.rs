//! Response heads that do not come, or are none.

use std::thread;
use std::time::Duration;

use super::{BAD_RESPONSE, Failure, LATE, RESET, RESPONSE, Stage};
use crate::support::Backend;

/// Reads each request, answers it with `bytes`, and then waits or, if it is to `end`, leaves.
fn says(bytes: impl AsRef<[u8]> + Send + Sync + 'static, end: bool) -> Backend {
    Backend::raw(move |conn, _| {
        conn.request();
        conn.send(&bytes);
        if !end {
            conn.wait_closed();
        }
    })
}

#[test]
fn half_then_silence() {
    let bad = says("HTTP/1.1 200 OK\r\nContent-", false);
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(LATE, RESPONSE);
    // An answer that has begun is not asked for again.
    stage.assert_pair(LATE, false);
    stage.end(bad);
}

#[test]
fn half_then_end() {
    let bad = says("HTTP/1.1 200 OK\r\nContent-", true);
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(RESET, Duration::ZERO);
    stage.assert_pair(RESET, false);
    stage.end(bad);
}

#[test]
fn garbage() {
    let bad = says("\x16\x03\x01 what is this?\r\n\r\n", false);
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(BAD_RESPONSE, Duration::ZERO);
    stage.assert_pair(BAD_RESPONSE, false);
    stage.end(bad);
}

#[test]
fn too_large() {
    let bad = says(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(200_000)), false);
    let stage = Stage::new(bad.address(), "");
    let failure = Failure { status: 502, word: "response_head_too_large", kind: "http_response_header_section_size" };
    stage.assert_fails_alone(failure, Duration::ZERO);
    stage.assert_pair(failure, false);
    stage.end(bad);
}

#[test]
fn reset() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    });
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(RESET, Duration::ZERO);
    stage.assert_pair(RESET, true);
    stage.end(bad);
}

#[test]
fn reset_within() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-");
        // A reset must not overtake what it follows: the kernel throws away what is not read by then.
        thread::sleep(Duration::from_millis(50));
        conn.reset();
    });
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(RESET, Duration::ZERO);
    stage.assert_pair(RESET, false);
    stage.end(bad);
}

#[test]
fn drip() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n\r\n" {
            // Never silent for as long as any time-out, and far longer than each in all.
            thread::sleep(Duration::from_millis(50));
            if !conn.send([*byte]) {
                return;
            }
        }
    });
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(LATE, RESPONSE);
    stage.assert_pair(LATE, false);
    stage.end(bad);
}

#[test]
fn interim_flood() {
    let bad = Backend::raw(|conn, _| {
        conn.request();
        while conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n") {}
    });
    let stage = Stage::new(bad.address(), "");
    let mut client = stage.evenkeel.client();
    for path in ["/alone/0", "/alone/1"] {
        let response = client.get(path);
        // As many as one answer may have have gone out by then.
        assert!((1..=33).contains(&response.interim.len()), "{} came", response.interim.len());
        stage.assert_failed(path, &response, BAD_RESPONSE);
    }
    stage.assert_pair(BAD_RESPONSE, false);
    stage.assert_attempts("alone", &[("502", 2)]);
    drop(client);
    stage.end(bad);
}
