//! Connections that do not come about, or come to nothing.

use std::time::Duration;

use super::{CONNECT, Failure, LATE, RESET, RESPONSE, Stage};
use crate::support::Backend;

const TIMEOUT: Failure = Failure { status: 504, word: "connect_timeout", kind: "connection_timeout" };

#[test]
fn refuses() {
    let bad = Backend::refused();
    let stage = Stage::new(bad.address(), "");
    let refused = Failure { status: 502, word: "connect_refused", kind: "connection_refused" };
    stage.assert_fails_alone(refused, Duration::ZERO);
    stage.assert_pair(refused, true);
    stage.end(bad);
}

#[test]
fn black_hole() {
    let bad = Backend::refused();
    let full = bad.listen_full();
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(TIMEOUT, CONNECT);
    stage.assert_pair(TIMEOUT, true);
    stage.end((bad, full));
}

#[test]
fn silence() {
    let bad = Backend::silent();
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(LATE, RESPONSE);
    stage.assert_pair(LATE, true);
    stage.end(bad);
}

#[test]
fn tls_stalls() {
    let bad = Backend::silent();
    let stage = Stage::new(bad.address(), "tls = { verify = false }");
    // The handshake is part of the connection, and of its time.
    stage.assert_fails_alone(TIMEOUT, CONNECT);
    stage.end(bad);
}

#[test]
fn tls_ends() {
    let bad = Backend::raw(|conn, _| drop(conn.wire.exact(5)));
    let stage = Stage::new(bad.address(), "tls = { verify = false }");
    stage.assert_fails_alone(Failure { status: 502, word: "backend_tls", kind: "tls_protocol_error" }, Duration::ZERO);
    stage.end(bad);
}

#[test]
fn accepts_and_closes() {
    let bad = Backend::raw(|_, _| {});
    let stage = Stage::new(bad.address(), "");
    stage.assert_fails_alone(RESET, Duration::ZERO);
    stage.assert_pair(RESET, true);
    stage.end(bad);
}
