//! The only way in: no message passes that two readers could understand in two ways (RFC 9112 sections 6.3, 9.6, 11).
//! Hot path.
//!
//! The guard lifts what frames a message or belongs to one hop OUT of the fields: `Content-Length`,
//! `Transfer-Encoding`, `Connection` and what it names, `Keep-Alive`, `Proxy-Connection`, `TE`, `Upgrade`, `Host`,
//! `Expect`. What is left is end to end. The encoders write the hop's own.

use super::{
    head::{Head, Method, Start, Version},
    name::Name,
    target,
};
use crate::{config::Underscores, error::Kind};
use std::time::Duration;

/// Options of `Connection`: each may cost a walk over all fields.
const MAX_OPTIONS: usize = 32;
/// A peer that keeps idle connections for longer than a day does not mean it.
const MAX_KEEP: u64 = 86_400;

/// Why a message is refused: for the client a kind, for the log a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject {
    /// What the client or the metric sees.
    pub kind: Kind,
    /// What the operator sees.
    pub why: &'static str,
}

impl Reject {
    /// The same of a response: its backend is to blame.
    pub(super) fn of_response(self) -> Self {
        Self { kind: Kind::BadResponse, ..self }
    }
}

/// More of a body has come, or is announced, than is allowed.
pub(super) const BODY_TOO_LARGE: Reject = Reject { kind: Kind::BodyTooLarge, why: "the request body is too large" };

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, or the frames of later versions.
    Streamed,
    /// Until the connection ends (responses alone).
    UntilClose,
}

/// A protocol that a connection may be turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455. An opening has this one form, whatever version it came in: GET, answered by 101.
    WebSocket,
    /// CONNECT (RFC 9110 section 9.3.6), answered by 200: bytes, of which we know nothing.
    Raw,
}

/// What the guard lifted out of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// How the body is delimited.
    pub framing: Framing,
    /// `Content-Length` as announced, also where no body follows (HEAD, 304).
    pub length: Option<u64>,
    /// The connection may carry another message after this one.
    pub keep_alive: bool,
    /// The switch that is asked for, or made.
    pub upgrade: Option<Upgrade>,
    /// `TE: trailers` was said.
    pub trailers: bool,
    /// `Expect: 100-continue` was said.
    pub expect: bool,
    /// How long the peer keeps an idle connection (`Keep-Alive: timeout`).
    pub keep_timeout: Option<Duration>,
}

impl Guarded {
    /// Nothing was said: for messages that are refused before the guard has spoken.
    pub const NOTHING: Self = Self {
        framing: Framing::None,
        length: None,
        keep_alive: false,
        upgrade: None,
        trailers: false,
        expect: false,
        keep_timeout: None,
    };
}

const fn bad(why: &'static str) -> Reject {
    Reject { kind: Kind::BadRequest, why }
}

/// Guards a request that came over HTTP/1: checks it, sets its target, lifts the hop's fields out.
///
/// # Errors
/// The request is ambiguous or malformed; nothing of it may be forwarded.
pub fn h1_request(head: &mut Head, raw_target: super::Span, underscores: Underscores) -> Result<Guarded, Reject> {
    let method = head.method();
    head.target = target::parse(head, raw_target, method)?;
    host(head)?;
    let (framing, length) = body(head)?;
    let framing = match framing {
        Framing::UntilClose => Framing::None,
        framing => framing,
    };
    let mut guarded = Guarded { framing, length, ..connection(head)? };
    guarded.upgrade = match method {
        // RFC 6455 section 4.1: a GET; and a body would have no end once the connection has become a tunnel.
        Method::Get if framing == Framing::None => guarded.upgrade,
        // RFC 9110 section 9.3.6: it has no content. What comes behind its head is the tunnel's, or nobody's.
        Method::Connect if framing != Framing::None => return Err(bad("CONNECT has a body")),
        Method::Connect => Some(Upgrade::Raw),
        _ => None,
    };
    // RFC 9110 section 10.1.1: an HTTP/1.0 client cannot mean it, and without a body there is nothing to wait for.
    guarded.expect = take_expect(head)? && head.version() != Version::Http10 && framing != Framing::None;
    check_underscores(head, underscores)?;
    head.received = head.target;
    Ok(guarded)
}

/// Takes out `Expect`; whether it was there.
pub(super) fn take_expect(head: &mut Head) -> Result<bool, Reject> {
    let Some(expect) = head.get(Name::Expect) else { return Ok(false) };
    if !expect.eq_ignore_ascii_case(b"100-continue") {
        return Err(bad("the expectation is unknown"));
    }
    head.remove(Name::Expect);
    Ok(true)
}

pub(super) fn check_underscores(head: &mut Head, underscores: Underscores) -> Result<(), Reject> {
    if underscores == Underscores::Allow || !head.has_underscore() {
        return Ok(());
    }
    if underscores == Underscores::Reject {
        return Err(bad("a field name has an underscore"));
    }
    head.remove_where(|name| name.contains(&b'_'));
    Ok(())
}

/// RFC 9112 section 3.2: exactly one `Host`, valid. The authority of an absolute target wins over it.
fn host(head: &mut Head) -> Result<(), Reject> {
    let span = head.single(Name::Host).map_err(|_| bad("there is more than one Host"))?;
    match span {
        Some(span) => {
            target::authority(head.text(span))?;
            if head.target.authority.is_empty() {
                head.target.authority = span;
            }
        }
        None if head.version() == Version::Http10 => {}
        None => return Err(bad("there is no Host")),
    }
    head.remove(Name::Host);
    Ok(())
}

/// What `Content-Length` says. It stays where it is.
pub(super) fn content_length(head: &Head) -> Result<Option<u64>, Reject> {
    match head.single(Name::ContentLength).map_err(|_| bad("Content-Length is repeated"))? {
        Some(span) => decimal(head.text(span)).map(Some).ok_or(bad("Content-Length is malformed")),
        None => Ok(None),
    }
}

/// `Content-Length` and `Transfer-Encoding` (RFC 9112 sections 6.1 to 6.3), lifted out.
fn body(head: &mut Head) -> Result<(Framing, Option<u64>), Reject> {
    let length = content_length(head)?;
    let coding = head.single(Name::TransferEncoding).map_err(|_| bad("Transfer-Encoding is repeated"))?;
    let Some(coding) = coding else {
        head.remove(Name::ContentLength);
        return Ok((length.map_or(Framing::UntilClose, framing_of), length));
    };
    if length.is_some() {
        return Err(bad("there are Content-Length and Transfer-Encoding"));
    }
    if head.version() == Version::Http10 {
        return Err(bad("Transfer-Encoding in HTTP/1.0"));
    }
    if !head.text(coding).eq_ignore_ascii_case(b"chunked") {
        return Err(bad("the transfer coding is not chunked alone"));
    }
    head.remove(Name::TransferEncoding);
    Ok((Framing::Streamed, None))
}

fn framing_of(length: u64) -> Framing {
    if length == 0 { Framing::None } else { Framing::Length(length) }
}

/// 1*DIGIT that fits (RFC 9110 section 8.6): no sign, no list, no blank.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// `Connection`, what it names, and the other fields of one hop (RFC 9110 section 7.6.1), lifted out.
fn connection(head: &mut Head) -> Result<Guarded, Reject> {
    let mut guarded = Guarded { keep_alive: head.version() == Version::Http11, ..Guarded::NOTHING };
    if head.has(Name::Connection) {
        connection_options(head, &mut guarded)?;
        head.remove(Name::Connection);
    } else {
        // An upgrade that `Connection` does not name is not one.
        head.remove(Name::Upgrade);
    }
    if head.has(Name::Te) {
        // RFC 9110 section 10.1.4; the other codings of TE are the hop's own affair, and ours is chunked alone.
        guarded.trailers = head.all(Name::Te).flat_map(list).any(is_trailers);
        head.remove(Name::Te);
    }
    if let Some(value) = head.get(Name::KeepAlive) {
        guarded.keep_timeout = list(value).find_map(|item| {
            let seconds = item.strip_prefix(b"timeout=").or_else(|| item.strip_prefix(b"Timeout="))?;
            Some(Duration::from_secs(decimal(seconds)?.min(MAX_KEEP)))
        });
        head.remove(Name::KeepAlive);
    }
    head.remove(Name::ProxyConnection);
    head.remove(Name::Http2Settings);
    Ok(guarded)
}

fn is_trailers(coding: &[u8]) -> bool {
    let name = coding.split(|&byte| byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"trailers")
}

fn connection_options(head: &mut Head, guarded: &mut Guarded) -> Result<(), Reject> {
    // Nearly always it is one word.
    if let Ok(Some(only)) = head.single(Name::Connection) {
        let keep = head.text(only).eq_ignore_ascii_case(b"keep-alive");
        if keep || head.text(only).eq_ignore_ascii_case(b"close") {
            guarded.keep_alive = keep;
            head.remove(Name::Upgrade);
            return Ok(());
        }
    }
    let (mut close, mut upgrade, mut named) = (false, false, false);
    for (count, option) in head.all(Name::Connection).flat_map(list).enumerate() {
        if count == MAX_OPTIONS {
            return Err(bad("Connection has too many options"));
        }
        match option {
            option if option.eq_ignore_ascii_case(b"keep-alive") => guarded.keep_alive = true,
            option if option.eq_ignore_ascii_case(b"close") => close = true,
            option if option.eq_ignore_ascii_case(b"upgrade") => upgrade = true,
            option if Name::of(option).frames_or_routes() => return Err(bad("Connection names a field that frames")),
            option if !option.iter().all(|&byte| is_token(byte)) => return Err(bad("Connection is malformed")),
            _ => named = true,
        }
    }
    guarded.keep_alive &= !close;
    if upgrade && head.version() != Version::Http10 {
        let websocket = |value| list(value).any(|item| item.eq_ignore_ascii_case(b"websocket"));
        guarded.upgrade = head.all(Name::Upgrade).any(websocket).then_some(Upgrade::WebSocket);
    }
    head.remove(Name::Upgrade);
    if named {
        let names: Vec<Vec<u8>> = head.all(Name::Connection).flat_map(list).map(<[u8]>::to_vec).collect();
        // TE and Keep-Alive are read before they go.
        let kept = |name: &&Vec<u8>| !matches!(Name::of(name), Name::Te | Name::KeepAlive);
        names.iter().filter(kept).for_each(|name| head.remove_named(name));
    }
    Ok(())
}

/// The elements of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a response answers: it decides whether a body follows (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The request's method.
    pub method: Method,
    /// The switch that was asked for.
    pub upgrade: Option<Upgrade>,
}

/// Guards a response that came over HTTP/1.
///
/// # Errors
/// The response is ambiguous or malformed: 502, and its connection must not be used again.
pub fn h1_response(head: &mut Head, asked: Asked) -> Result<Guarded, Reject> {
    let Start::Response(status, _) = head.start() else { return Err(bad("this is no response").of_response()) };
    let (framing, length) = body(head).map_err(Reject::of_response)?;
    let guarded = connection(head).map_err(Reject::of_response)?;
    let bodiless = status < 200 || matches!(status, 204 | 304) || asked.method == Method::Head;
    if status < 200 && framing == Framing::Streamed {
        return Err(bad("an interim response has a transfer coding").of_response());
    }
    // What must not have a body and says that it has one may send it: whoever is next would get it.
    let doubtful = status == 204 && framing != Framing::UntilClose || status == 304 && framing == Framing::Streamed;
    let switched = status == 101;
    if switched && (asked.upgrade.is_none() || guarded.upgrade != asked.upgrade) {
        return Err(bad("a switch of protocols that was not asked for").of_response());
    }
    Ok(Guarded {
        framing: if bodiless { Framing::None } else { framing },
        // RFC 9110 section 8.6: a server must not send it with 1xx and 204.
        length: length.filter(|_| status >= 200 && status != 204),
        upgrade: guarded.upgrade.filter(|_| switched),
        keep_alive: guarded.keep_alive && !doubtful && (bodiless || framing != Framing::UntilClose),
        ..guarded
    })
}

/// A trailer section may not frame, route, authorise or describe what has already been acted on
/// (RFC 9110 section 6.5.1).
pub fn forbidden_in_trailers(name: Name) -> bool {
    name.frames_or_routes()
        || matches!(
            name,
            Name::Authorization
                | Name::ContentType
                | Name::Cookie
                | Name::Forwarded
                | Name::Http2Settings
                | Name::KeepAlive
                | Name::ProxyConnection
                | Name::SetCookie
                | Name::Te
                | Name::Upgrade
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::XRealIp
                | Name::XRequestId
        )
}
