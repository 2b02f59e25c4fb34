//! An operator: calls of the admin API, as the bytes that they are, and commands against a running process.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::{Client, Response};

/// The token that [`Process`](super::Process) has in its environment; a configuration [with it](with_token) wants it.
pub(crate) const TOKEN: &str = "a-token-of-more-than-16-bytes";
/// The variable that has it, for `token = { env = "…" }`.
pub(super) const TOKEN_NAME: &str = "EVENKEEL_TEST_TOKEN";
/// The admin API of most tests.
pub(super) const ANY_PORT: &str = "[admin]\naddress = \"127.0.0.1:0\"";

/// The field that shows [`TOKEN`].
pub(crate) fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

/// The configuration `toml`, whose admin API wants [`TOKEN`].
#[track_caller]
pub(crate) fn with_token(toml: &str) -> String {
    assert_eq!(toml.matches(ANY_PORT).count(), 1, "{toml}");
    toml.replace(ANY_PORT, &format!("{ANY_PORT}\ntoken = {{ env = \"{TOKEN_NAME}\" }}"))
}

/// One call on a connection of its own; `fields` are lines, each with its CRLF, and replace `Host` where they name it.
pub(crate) fn call(admin: SocketAddr, line: &str, fields: &str, body: &str) -> Response {
    let host = if fields.contains("Host: ") { "" } else { "Host: localhost\r\n" };
    let length = body.len();
    let request =
        format!("{line} HTTP/1.1\r\n{host}{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    Client::h1(admin).exchange(request)
}

/// What `path` of the admin API tells.
pub(crate) fn told(admin: SocketAddr, path: &str) -> Value {
    let answer = call(admin, &format!("GET {path}"), "", "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    json(&answer)
}

/// The body of an answer.
pub(crate) fn json(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}
