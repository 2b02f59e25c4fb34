//! An HTTP/2 response as a [`Head`]: guarded like those of HTTP/1.

use super::request::is_name;
use crate::{
    error::Kind,
    http::{
        guard::{self, Asked, Framing, Guarded, Reject, Upgrade},
        head::{Head, Start, Version},
        method::Method,
        name::Name,
        websocket,
    },
};
use http::response::Parts;

const fn bad(why: &'static str) -> Reject {
    Reject { kind: Kind::BadResponse, why }
}

/// Fills `head` from `parts`; `bodiless` = the stream ended with its head.
///
/// # Errors
/// The response is malformed (RFC 9113 section 8.2): 502.
pub(super) fn guarded(parts: &Parts, bodiless: bool, head: &mut Head, asked: Asked) -> Result<Guarded, Reject> {
    head.clear();
    let status = parts.status.as_u16();
    if status == 101 || status > 599 {
        return Err(bad("the status is none of HTTP/2"));
    }
    let reason = head.note(parts.status.canonical_reason().unwrap_or_default().as_bytes());
    head.set_start(Start::Response(status, reason), Version::Http2);
    for (name, value) in &parts.headers {
        // Blanks around a value are cut off, as HTTP/1 does it.
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes().trim_ascii());
        if !is_name(name) {
            return Err(bad("a field name is invalid"));
        }
        let id = Name::of(name);
        if id.is_of_http1() {
            return Err(bad("a field of HTTP/1's connections"));
        }
        head.add_pieces(name, id, &[value]);
    }
    if asked.upgrade == Some(Upgrade::WebSocket) && (200..300).contains(&status) {
        return Ok(switched(head));
    }
    let length = guard::content_length(head).map_err(Reject::of_response)?;
    head.remove(Name::ContentLength);
    let without = status < 200 || matches!(status, 204 | 304) || asked.method == Method::Head;
    let framing = match length {
        _ if bodiless && !without && length.unwrap_or(0) > 0 => return Err(bad("Content-Length without a body")),
        _ if bodiless || without => Framing::None,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Streamed,
    };
    // Of what ends with its head HTTP/1 must be told that nothing follows. Calls of gRPC, which may end so, never go there.
    let call = head.get(Name::ContentType).is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let length = length.or_else(|| (bodiless && !without && !call).then_some(0));
    let length = length.filter(|_| status >= 200 && status != 204);
    Ok(Guarded { framing, length, keep_alive: true, ..Guarded::NOTHING })
}

/// The inner form of an opening's success, as HTTP/1.1 has it (RFC 8441 section 5).
fn switched(head: &mut Head) -> Guarded {
    let reason = head.note(b"Switching Protocols");
    head.set_start(Start::Response(101, reason), Version::Http2);
    // RFC 9110 section 9.3.6: it frames nothing; and of a key nobody has asked for, nothing is proved.
    head.remove(Name::ContentLength);
    websocket::take_accept(head, b"");
    Guarded { keep_alive: true, upgrade: Some(Upgrade::WebSocket), ..Guarded::NOTHING }
}
