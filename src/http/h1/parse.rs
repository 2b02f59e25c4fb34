//! Finds the end of a head, and makes a [`Head`] of its bytes. Hot path.
//!
//! httparse is the tokenizer, not the guard: it takes bare line feeds, leading blank lines and other things that two
//! readers may understand in two ways. Those are refused here, on the raw bytes.

use crate::{
    error::Kind,
    http::{
        guard::Reject,
        head::{Head, Method, Span, Start, Version},
        name::Name,
    },
};
use memchr::memchr;
use std::mem::MaybeUninit;

/// Field lines that are parsed without an allocation.
const USUAL: usize = 128;

const fn reject(kind: Kind, why: &'static str) -> Reject {
    Reject { kind, why }
}

/// Looks for the empty line that ends a head, from `scanned` on, which it moves.
///
/// # Errors
/// A line feed that does not follow a carriage return (RFC 9112 section 2.2).
pub(crate) fn head_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Reject> {
    while let Some(found) = memchr(b'\n', &bytes[*scanned..]) {
        let at = *scanned + found;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(reject(Kind::BadRequest, "a line feed without a carriage return"));
        }
        *scanned = at + 1;
        if at >= 2 && bytes[at - 2] == b'\n' || at == 1 {
            return Ok(Some(at + 1));
        }
    }
    *scanned = bytes.len();
    Ok(None)
}

/// Reads a request head that stands at the beginning of `bytes`, whole and in good order: the usual case, in one pass.
/// Returns where its target is and where the head ends. `None` says nothing of what is wrong: [`head_end`] and
/// [`request`] do.
pub(crate) fn whole_request(bytes: &[u8], head: &mut Head, max_fields: usize) -> Option<(Span, usize)> {
    let Read { target, end, strict } = read_request(bytes, head, max_fields).ok()?;
    if !strict {
        head.clear();
    }
    strict.then_some((target, end))
}

/// Like [`whole_request`], for a response.
pub(crate) fn whole_response(bytes: &[u8], head: &mut Head, max_fields: usize) -> Option<usize> {
    let Read { end, strict, .. } = read_response(bytes, head, max_fields).ok()?;
    if !strict {
        head.clear();
    }
    strict.then_some(end)
}

/// Reads a whole request head. Returns where its target is.
///
/// # Errors
/// It is malformed (RFC 9112 sections 3 and 5), or has more than `max_fields` field lines.
pub(crate) fn request(bytes: &[u8], head: &mut Head, max_fields: usize) -> Result<Span, Reject> {
    read_request(bytes, head, max_fields).map(|read| read.target).map_err(|error| match error {
        httparse::Error::TooManyHeaders => reject(Kind::HeadTooLarge, "there are too many fields"),
        _ => reject(Kind::BadRequest, "the request head is malformed"),
    })
}

/// Reads a whole response head.
///
/// # Errors
/// It is malformed (RFC 9112 sections 4 and 5), or has more than `max_fields` field lines.
pub(crate) fn response(bytes: &[u8], head: &mut Head, max_fields: usize) -> Result<(), Reject> {
    read_response(bytes, head, max_fields).map(drop).map_err(|error| match error {
        httparse::Error::TooManyHeaders => reject(Kind::ResponseHeadTooLarge, "there are too many fields"),
        _ => reject(Kind::BadResponse, "the response head is malformed"),
    })
}

/// What was found in front of a body.
struct Read {
    /// Of a request.
    target: Span,
    /// Where the head ends.
    end: usize,
    /// It begins with its start line, and CRLF ends each line: httparse takes blank lines in front, and bare line feeds.
    strict: bool,
}

fn read_request(bytes: &[u8], head: &mut Head, max_fields: usize) -> Result<Read, httparse::Error> {
    head.clear();
    let read = with_fields(max_fields, |fields| {
        let mut parsed = httparse::Request::new(&mut []);
        let httparse::Status::Complete(end) = parsed.parse_with_uninit_headers(bytes, fields)? else {
            return Err(httparse::Error::NewLine);
        };
        let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(httparse::Error::Token);
        };
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let written = span_in(bytes, method.as_bytes());
        let strict = written.start() == 0 && push_fields(head, &bytes[..end], parsed.headers);
        head.set_start(Start::Request(Method::known(method).unwrap_or(Method::Other(written))), version);
        Ok(Read { target: span_in(bytes, target.as_bytes()), end, strict })
    })?;
    head.buf_mut().extend_from_slice(&bytes[..read.end]);
    Ok(read)
}

fn read_response(bytes: &[u8], head: &mut Head, max_fields: usize) -> Result<Read, httparse::Error> {
    head.clear();
    let read = with_fields(max_fields, |fields| {
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let parsing = config.parse_response_with_uninit_headers(&mut parsed, bytes, fields)?;
        let httparse::Status::Complete(end) = parsing else { return Err(httparse::Error::NewLine) };
        let (Some(version), Some(status), Some(reason)) = (parsed.version, parsed.code, parsed.reason) else {
            return Err(httparse::Error::Status);
        };
        if !(100..600).contains(&status) {
            return Err(httparse::Error::Status);
        }
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        let reason = if reason.is_empty() { Span::default() } else { span_in(bytes, reason.as_bytes()) };
        let strict = push_fields(head, &bytes[..end], parsed.headers) && bytes.starts_with(b"HTTP/");
        head.set_start(Start::Response(status, reason), version);
        Ok(Read { target: Span::default(), end, strict })
    })?;
    head.buf_mut().extend_from_slice(&bytes[..read.end]);
    Ok(read)
}

/// Reads a trailer section that ends with an empty line (RFC 9112 section 7.1.2).
///
/// # Errors
/// It is malformed, or has more than `max_fields` field lines.
pub(crate) fn trailers(bytes: &[u8], head: &mut Head, max_fields: usize) -> Result<(), Reject> {
    head.clear();
    head.buf_mut().extend_from_slice(bytes);
    let mut fields = vec![httparse::EMPTY_HEADER; max_fields];
    match httparse::parse_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => {
            push_fields(head, bytes, fields);
            Ok(())
        }
        Err(httparse::Error::TooManyHeaders) => Err(reject(Kind::HeadTooLarge, "there are too many trailers")),
        _ => Err(reject(Kind::BadRequest, "the trailer section is malformed")),
    }
}

/// Lends room for as many field lines as are allowed: on the stack for usual heads, then again for larger ones.
fn with_fields<'b, T>(
    max_fields: usize,
    mut parse: impl FnMut(&mut [MaybeUninit<httparse::Header<'b>>]) -> Result<T, httparse::Error>,
) -> Result<T, httparse::Error> {
    let mut fields = [const { MaybeUninit::uninit() }; USUAL];
    match parse(&mut fields[..max_fields.min(USUAL)]) {
        Err(httparse::Error::TooManyHeaders) if max_fields > USUAL => {}
        answer => return answer,
    }
    let mut fields = Vec::new();
    fields.resize_with(max_fields, MaybeUninit::uninit);
    parse(&mut fields)
}

/// Makes fields of what was found in `bytes`, a whole section. Returns whether CRLF ends each line in front of a field,
/// and the section: then it ends all lines.
fn push_fields(head: &mut Head, bytes: &[u8], fields: &[httparse::Header<'_>]) -> bool {
    let mut strict = bytes.ends_with(b"\r\n\r\n");
    for field in fields {
        let name = span_in(bytes, field.name.as_bytes());
        let id = Name::of(field.name.as_bytes());
        strict &= bytes[..name.start()].ends_with(b"\r\n");
        // httparse gives no place for an empty value.
        if field.value.is_empty() {
            head.push(name, Span::new(name.end(), name.end()), id, false);
            continue;
        }
        let value = span_in(bytes, field.value);
        let verbatim = bytes[value.end()..].starts_with(b"\r\n");
        head.push(name, value, id, verbatim);
    }
    strict
}

/// Where `part`, a slice of `whole`, is.
fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    Span::new(start, start + part.len())
}
