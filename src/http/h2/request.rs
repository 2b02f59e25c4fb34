//! An HTTP/2 request as a [`Head`]: the one copy a field, and the checks that keep a downgrade safe.

use crate::{
    error::Kind,
    http::{
        Limits, grpc,
        guard::{self, Framing, Guarded, Reject, Upgrade},
        h1::HeadLimits,
        head::{Head, Method, Start, Version},
        name::Name,
        target, websocket,
    },
};
use http::{request::Parts, uri::PathAndQuery};

const fn bad(why: &'static str) -> Reject {
    Reject { kind: Kind::BadRequest, why }
}

const TOO_LARGE: Reject = Reject { kind: Kind::HeadTooLarge, why: "the request head is too large" };

/// What a field costs besides its name and value (RFC 9113 section 6.5.2).
const FIELD: usize = 32;
/// `:method`, `:scheme`, `:authority` and `:path`.
const PSEUDO: usize = 7 + 7 + 10 + 5 + 4 * FIELD;

/// Fills `head` from `parts`; `bodiless` = the stream ended with its head. What is refused here is what HTTP/1's guard
/// refuses, and what RFC 9113 sections 8.2, 8.3 and 10.3 do. The `h2` and `http` crates have refused much before: names
/// that are no lower-case tokens, values with CR, LF or NUL, a field of HTTP/1's connections, pseudo-fields that are
/// missing, repeated, unknown or late, and a `Content-Length` that differs from another, or from the body.
///
/// # Errors
/// The request would be ambiguous or malformed in HTTP/1.1, or is larger than `limits` allow.
pub(super) fn guarded(parts: &Parts, bodiless: bool, head: &mut Head, limits: &Limits) -> Result<Guarded, Reject> {
    head.clear();
    let opening = opening(parts)?;
    // The inner form of an opening, as HTTP/1.1 has it.
    let method = if opening { "GET" } else { parts.method.as_str() };
    let method = Method::known(method).unwrap_or_else(|| Method::Other(head.note(method.as_bytes())));
    head.set_start(Start::Request(method), Version::Http2);
    let size = target(parts, head, method, &limits.head)?;
    let trailers = fields(parts, head, size + parts.method.as_str().len() + PSEUDO, &limits.head)?;
    guard::check_underscores(head, limits.underscores)?;
    if opening {
        websocket::forget_key(head);
    }
    let length = guard::content_length(head)?;
    head.remove(Name::ContentLength);
    let upgrade = match method {
        Method::Connect => Some(Upgrade::Raw),
        _ => opening.then_some(Upgrade::WebSocket),
    };
    let framing = match length {
        _ if upgrade.is_some() && length.unwrap_or(0) > 0 => return Err(bad("a tunnel has a Content-Length")),
        // What follows is the tunnel's.
        _ if upgrade.is_some() => Framing::None,
        _ if bodiless && length.unwrap_or(0) > 0 => return Err(bad("Content-Length without a body")),
        _ if bodiless => Framing::None,
        // Of 0 too: a request that is whole with its head would go out before the stream shows that the length lies.
        Some(0) | None => Framing::Streamed,
        Some(length) => Framing::Length(length),
    };
    if length.zip(limits.max_body).is_some_and(|(length, max)| length > max) {
        return Err(guard::BODY_TOO_LARGE);
    }
    // As in HTTP/1.1: without a body there is nothing to wait for.
    let expect = guard::take_expect(head)? && framing != Framing::None;
    head.received = head.target;
    Ok(Guarded { framing, length, keep_alive: true, upgrade, trailers, expect, keep_timeout: None })
}

/// The request is a WebSocket opening (RFC 8441 section 5).
fn opening(parts: &Parts) -> Result<bool, Reject> {
    match parts.extensions.get::<h2::ext::Protocol>() {
        None => Ok(false),
        Some(protocol) if protocol.as_str().eq_ignore_ascii_case("websocket") => Ok(true),
        Some(_) => Err(Reject { kind: Kind::ConnectDenied, why: "the protocol is not websocket" }),
    }
}

/// A request that is refused stays a gRPC call, wherever the guard stopped: the answer is for one.
pub(super) fn keep_call(parts: &Parts, head: &mut Head) {
    let kind = parts.headers.get(http::header::CONTENT_TYPE);
    if kind.is_some_and(|kind| grpc::is_grpc(kind.as_bytes())) && !head.has(Name::ContentType) {
        head.add(Name::ContentType, grpc::CONTENT_TYPE);
    }
}

/// Sets the target. Returns its size.
fn target(parts: &Parts, head: &mut Head, method: Method, limits: &HeadLimits) -> Result<usize, Reject> {
    let uri = &parts.uri;
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host"));
    }
    // RFC 9113 section 8.3.1: they must not differ.
    if let (Some(authority), Some(host)) = (authority, host)
        && !authority.eq_ignore_ascii_case(host)
    {
        return Err(bad(":authority and Host differ"));
    }
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) => scheme.as_bytes(),
        // CONNECT has none; and the crate keeps it only where there is an authority.
        None if method == Method::Connect || authority.is_none() => b"",
        _ => return Err(bad("the scheme is neither http nor https")),
    };
    // It gives "/" for a path that is missing, but here.
    let path = if uri.path().is_empty() { "" } else { uri.path_and_query().map_or("", PathAndQuery::as_str) };
    if path.len() > limits.max_target {
        return Err(Reject { kind: Kind::TargetTooLong, why: "the request target is too long" });
    }
    let authority = authority.or(host).ok_or(bad("there is no authority"))?;
    target::authority(authority)?;
    head.target.authority = head.note(authority);
    head.target.scheme = head.note(scheme);
    let raw = head.note(path.as_bytes());
    let raw = if limits.encode { target::encode(head, raw) } else { raw };
    match path.as_bytes() {
        b"*" if method == Method::Options => head.target.path = raw,
        // RFC 9113 section 8.5: it has neither scheme nor path.
        [] if method == Method::Connect => target::port(authority)?,
        [b'/', ..] if method != Method::Connect => {
            let (path, query) = target::path_and_query(head, raw.start(), raw.end())?;
            (head.target.path, head.target.query) = (path, query);
        }
        _ => return Err(bad("the path is invalid")),
    }
    Ok(authority.len() + scheme.len() + path.len())
}

/// Whether a field's name is one of HTTP/1.1: the http crate takes lower-case tokens, but also a quotation mark in one.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.contains(&b'"')
}

/// Copies the fields; true = `TE: trailers` was among them. `size` = of what came before them.
fn fields(parts: &Parts, head: &mut Head, mut size: usize, limits: &HeadLimits) -> Result<bool, Reject> {
    let mut trailers = false;
    let mut crumbs: Vec<&[u8]> = Vec::new();
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        size += name.len() + value.len() + FIELD;
        if size > limits.max_size {
            return Err(TOO_LARGE);
        }
        if !is_name(name) {
            return Err(bad("a field name is invalid"));
        }
        // The http crate lets no CR, LF or NUL through; what is left of RFC 9113 section 8.2.1 is the blanks.
        if value.first().is_some_and(u8::is_ascii_whitespace) || value.last().is_some_and(u8::is_ascii_whitespace) {
            return Err(bad("a field value begins or ends with a blank"));
        }
        match Name::of(name) {
            Name::Host => {}
            Name::Te => trailers = value == b"trailers",
            Name::Cookie => crumbs.push(value),
            id if id.is_of_http1() => return Err(bad("a field of HTTP/1's connections")),
            id => {
                head.add_pieces(name, id, &[value]);
            }
        }
        if head.len() > limits.max_fields {
            return Err(Reject { kind: Kind::HeadTooLarge, why: "there are too many fields" });
        }
    }
    if !crumbs.is_empty() {
        // RFC 9113 section 8.2.3. Together they count as one field.
        head.add_pieces(b"cookie", Name::Cookie, &[&crumbs.join(&b"; "[..])]);
    }
    Ok(trailers)
}
