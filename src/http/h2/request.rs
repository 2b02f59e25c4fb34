//! An HTTP/2 request as a [`Head`]: the one copy a field, and the checks that keep a downgrade safe.

use crate::{
    config::Underscores,
    error::Kind,
    http::{
        guard::{self, Framing, Guarded, Reject},
        head::{Head, Method, Start, Version},
        name::Name,
        target,
    },
};
use http::request::Parts;

const fn bad(why: &'static str) -> Reject {
    Reject { kind: Kind::BadRequest, why }
}

/// Fills `head` from `parts`; `bodiless` = the stream ended with its head.
///
/// # Errors
/// The request would be ambiguous or malformed in HTTP/1.1 (RFC 9113 sections 8.2 and 8.3).
pub(super) fn guarded(
    parts: &Parts,
    bodiless: bool,
    head: &mut Head,
    underscores: Underscores,
) -> Result<Guarded, Reject> {
    head.clear();
    let method = parts.method.as_str();
    let method = Method::known(method).unwrap_or_else(|| Method::Other(head.note(method.as_bytes())));
    head.set_start(Start::Request(method), Version::Http2);
    target(parts, head, method)?;
    let trailers = fields(parts, head)?;
    guard::check_underscores(head, underscores)?;
    let length = match head.single(Name::ContentLength).map_err(|_| bad("Content-Length is repeated"))? {
        Some(span) => Some(guard::decimal(head.text(span)).ok_or(bad("Content-Length is malformed"))?),
        None => None,
    };
    head.remove(Name::ContentLength);
    let expect = expects(head)?;
    head.received = head.target;
    let framing = match length {
        _ if bodiless && length.unwrap_or(0) > 0 => return Err(bad("Content-Length without a body")),
        _ if bodiless => Framing::None,
        // Of 0 too: a request that is whole with its head would go out before the stream shows that the length lies.
        Some(0) | None => Framing::Streamed,
        Some(length) => Framing::Length(length),
    };
    // As in HTTP/1.1: without a body there is nothing to wait for.
    let expect = expect && framing != Framing::None;
    Ok(Guarded { framing, length, keep_alive: true, upgrade: None, trailers, expect, keep_timeout: None })
}

/// Takes out `Expect`; whether it was there.
fn expects(head: &mut Head) -> Result<bool, Reject> {
    let Some(expect) = head.get(Name::Expect) else { return Ok(false) };
    if !expect.eq_ignore_ascii_case(b"100-continue") {
        return Err(bad("the expectation is unknown"));
    }
    head.remove(Name::Expect);
    Ok(true)
}

fn target(parts: &Parts, head: &mut Head, method: Method) -> Result<(), Reject> {
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
    let authority = authority.or(host).ok_or(bad("there is no authority"))?;
    target::authority(authority)?;
    head.target.authority = head.note(authority);
    let scheme = uri.scheme_str();
    // The h2 crate takes any, and the empty one; HTTP/1.1's absolute targets are as strict as this.
    if scheme.is_some_and(|scheme| !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))) {
        return Err(bad("the scheme is neither http nor https"));
    }
    head.target.scheme = head.note(scheme.unwrap_or_default().as_bytes());
    let path = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let raw = head.note(path.as_bytes());
    match path.as_bytes() {
        b"*" if method == Method::Options => head.target.path = raw,
        // RFC 9113 section 8.5: it has neither scheme nor path.
        [] if method == Method::Connect => {}
        [b'/', ..] => {
            let (path, query) = target::path_and_query(head, raw.start(), raw.end())?;
            (head.target.path, head.target.query) = (path, query);
        }
        _ => return Err(bad("the path is invalid")),
    }
    Ok(())
}

/// Whether a field is well formed, in a head and in trailers. The http crate lets no CR, LF or NUL through.
pub(super) fn check_field(name: &[u8], value: &[u8]) -> Result<(), Reject> {
    // It takes a quotation mark for part of a token.
    if !name.iter().all(|&byte| guard::is_token(byte)) {
        return Err(bad("a field name is invalid"));
    }
    // RFC 9113 section 8.2.1.
    if value.first().is_some_and(u8::is_ascii_whitespace) || value.last().is_some_and(u8::is_ascii_whitespace) {
        return Err(bad("a field value begins or ends with a blank"));
    }
    Ok(())
}

/// Copies the fields; true = `TE: trailers` was among them.
fn fields(parts: &Parts, head: &mut Head) -> Result<bool, Reject> {
    let mut trailers = false;
    let mut crumbs: Vec<&[u8]> = Vec::new();
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        check_field(name, value)?;
        match Name::of(name) {
            Name::Host => {}
            Name::Te => trailers = value == b"trailers",
            Name::Cookie => crumbs.push(value),
            Name::Connection
            | Name::KeepAlive
            | Name::ProxyConnection
            | Name::TransferEncoding
            | Name::Upgrade
            | Name::Http2Settings => return Err(bad("a field of HTTP/1's connections")),
            id => {
                head.add_pieces(name, id, &[value]);
            }
        }
    }
    if !crumbs.is_empty() {
        // RFC 9113 section 8.2.3.
        head.add_pieces(b"cookie", Name::Cookie, &[&crumbs.join(&b"; "[..])]);
    }
    Ok(trailers)
}
