//! gRPC over HTTP/2, as far as a proxy meets it: which requests are calls, how long they may take, and how a failure is
//! said to them (grpc/doc/PROTOCOL-HTTP2.md). Messages pass unseen. Called by `proxy`, by answers of ours, and by
//! health checks. Hot path for calls.

use super::{
    guard::Reject,
    head::{Head, Version},
    name::Name,
};
use crate::{config::GRPC_STATUSES, error::Kind};
use std::time::Duration;

/// What calls are made of, and answers to them.
pub const CONTENT_TYPE: &[u8] = b"application/grpc";
const TIMEOUT: &[u8] = b"grpc-timeout";
/// Digits of a time-out.
const DIGITS: usize = 8;

/// How a call has ended, as far as we say so ourselves (grpc/doc/statuscodes.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the status itself")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The name of the status `code`; `None` = there is none of that code.
pub fn name(code: u8) -> Option<&'static str> {
    GRPC_STATUSES.get(usize::from(code)).copied()
}

impl Code {
    /// How a call ends that has failed so, with that status over HTTP: by grpc/doc/http-grpc-status-mapping.md, but where gRPC has a word of its own.
    pub fn of(kind: Kind, status: u16) -> Self {
        match kind {
            Kind::Deadline => Self::DeadlineExceeded,
            Kind::BodyTooLarge
            | Kind::HeadTooLarge
            | Kind::TargetTooLong
            | Kind::ResponseHeadTooLarge
            | Kind::RateLimited
            | Kind::InFlightLimited => Self::ResourceExhausted,
            Kind::ClientGone => Self::Cancelled,
            Kind::Internal => Self::Internal,
            _ => match status {
                400 => Self::Internal,
                401 => Self::Unauthenticated,
                403 => Self::PermissionDenied,
                404 => Self::Unimplemented,
                429 | 502 | 503 | 504 => Self::Unavailable,
                _ => Self::Unknown,
            },
        }
    }
}

/// `request` is a call: it came over HTTP/2, and its `content-type` is that of gRPC, with or without a format behind it.
/// gRPC-Web is not: it is plain HTTP.
pub fn is_call(request: &Head) -> bool {
    request.version() == Version::Http2 && request.get(Name::ContentType).is_some_and(is_grpc)
}

/// A `content-type` of gRPC.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let Some((kind, rest)) = content_type.split_at_checked(CONTENT_TYPE.len()) else { return false };
    kind.eq_ignore_ascii_case(CONTENT_TYPE) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// How long a call may take as a whole, if it says so.
///
/// # Errors
/// `grpc-timeout` stands twice, or is no one to eight digits with a unit.
pub fn timeout(request: &Head) -> Result<Option<Duration>, Reject> {
    let bad = |why| Reject { kind: Kind::BadRequest, why };
    let mut all = request.iter().filter(|(name, _)| name.eq_ignore_ascii_case(TIMEOUT));
    let Some((_, value)) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(bad("there is more than one grpc-timeout"));
    }
    parse(value).map(Some).ok_or(bad("grpc-timeout is malformed"))
}

/// Says that so much of the time is left, where `request` says a time at all. What is over is the least that can be said.
pub fn set_timeout(request: &mut Head, left: Duration) {
    if request.find(TIMEOUT).is_none() {
        return;
    }
    request.remove_where(|name| name.eq_ignore_ascii_case(TIMEOUT));
    let mut text = [0; DIGITS + 1];
    let text = write(left, &mut text);
    request.add_pieces(TIMEOUT, Name::Other, &[text]);
}

/// The units, with how many nanoseconds each has.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let (_, nanoseconds) = UNITS.iter().find(|(letter, _)| letter == unit)?;
    if !(1..=DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'));
    let nanoseconds = number * nanoseconds;
    // Ten thousand years and more: fits by far.
    let second = 1_000_000_000;
    Some(Duration::new((nanoseconds / second) as u64, (nanoseconds % second) as u32))
}

/// `left` in the finest unit that has room, rounded down: nobody is told of more time than there is.
fn write(left: Duration, text: &mut [u8; DIGITS + 1]) -> &[u8] {
    let most = 10_u128.pow(DIGITS as u32) - 1;
    let nanoseconds = left.as_nanos().max(1);
    let fits = |(_, size): &&(u8, u128)| nanoseconds / size <= most;
    let (unit, size) = UNITS.iter().find(fits).unwrap_or(&UNITS[UNITS.len() - 1]);
    let mut number = (nanoseconds / size).min(most);
    let mut start = DIGITS;
    text[start] = *unit;
    while number > 0 {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    &text[start..]
}

/// The status in an answer's head, where the head is all that there is; or in trailers.
pub fn status(head: &Head) -> Option<u8> {
    head.find(b"grpc-status").and_then(parse_status)
}

/// The code of a `grpc-status`; `None` = it is none.
pub fn parse_status(value: &[u8]) -> Option<u8> {
    match value {
        [digit] if digit.is_ascii_digit() => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'6'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Start};

    fn request(version: Version, fields: &[(&str, &str)]) -> Head {
        let mut head = Head::default();
        head.begin(Start::Request(Method::Post), version);
        for (name, value) in fields {
            head.add_pieces(name.as_bytes(), Name::of(name.as_bytes()), &[value.as_bytes()]);
        }
        head
    }

    #[test]
    fn a_call_is_known_by_its_version_and_its_content_type() {
        for (kind, call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("Application/GRPC+json", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grp", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_call(&request(Version::Http2, &[("content-type", kind)])), call, "{kind}");
        }
        assert!(!is_call(&request(Version::Http11, &[("content-type", "application/grpc")])));
        assert!(!is_call(&request(Version::Http2, &[])));
    }

    #[test]
    fn a_timeout_is_digits_and_a_unit_and_nothing_else() {
        let of = |value: &str| timeout(&request(Version::Http2, &[("grpc-timeout", value)]));
        for (value, nanoseconds) in [
            ("1n", 1),
            ("20u", 20_000),
            ("300m", 300_000_000),
            ("4S", 4_000_000_000),
            ("5M", 300_000_000_000),
            ("00000001H", 3_600_000_000_000),
            ("0S", 0),
            ("99999999H", 99_999_999 * 3_600_000_000_000),
        ] {
            assert_eq!(of(value).unwrap().map(|time| time.as_nanos()), Some(nanoseconds), "{value}");
        }
        for value in ["", "S", "1", "1s", "1h", "123456789S", "1.5S", "-1S", "+1S", " 1S", "1S ", "1 S", "1SS", "1mm"] {
            assert!(of(value).is_err(), "{value:?}");
        }
        assert_eq!(timeout(&request(Version::Http2, &[])), Ok(None));
        let twice = request(Version::Http2, &[("grpc-timeout", "1S"), ("grpc-timeout", "1S")]);
        assert!(timeout(&twice).is_err());
    }

    #[test]
    fn what_is_left_is_said_in_the_finest_unit_that_has_room_and_never_more() {
        for (left, said) in [
            (Duration::ZERO, "1n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_millis(1_500), "1500000u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(86_400 * 365), "31536000S"),
            (Duration::from_secs(3_600 * 99_999_999), "99999999H"),
            (Duration::MAX, "99999999H"),
        ] {
            let mut head = request(Version::Http2, &[("grpc-timeout", "1H"), ("x", "y")]);
            set_timeout(&mut head, left);
            assert_eq!(head.find(b"grpc-timeout"), Some(said.as_bytes()), "{left:?}");
            assert!(timeout(&head).unwrap().unwrap() <= left.max(Duration::from_nanos(1)));
        }
        let mut silent = request(Version::Http2, &[]);
        set_timeout(&mut silent, Duration::from_secs(1));
        assert_eq!(silent.find(b"grpc-timeout"), None);
    }

    #[test]
    fn a_status_is_one_of_seventeen() {
        for code in 0..=16 {
            assert_eq!(parse_status(code.to_string().as_bytes()), Some(code));
            assert!(name(code).is_some());
        }
        for value in ["", "17", "20", "014", "1a", "-1", "116"] {
            assert_eq!(parse_status(value.as_bytes()), None, "{value}");
        }
        assert_eq!(name(17), None);
    }

    #[test]
    fn failures_have_the_statuses_that_grpc_wants() {
        for (kind, code) in [
            (Kind::BadRequest, Code::Internal),
            (Kind::NoRoute, Code::Unimplemented),
            (Kind::NoBackend, Code::Unavailable),
            (Kind::ConnectRefused, Code::Unavailable),
            (Kind::Reset, Code::Unavailable),
            (Kind::QueueFull, Code::Unavailable),
            (Kind::ResponseTimeout, Code::Unavailable),
            (Kind::Deadline, Code::DeadlineExceeded),
            (Kind::BodyTooLarge, Code::ResourceExhausted),
            (Kind::HeadTooLarge, Code::ResourceExhausted),
            (Kind::RateLimited, Code::ResourceExhausted),
            (Kind::InFlightLimited, Code::ResourceExhausted),
            (Kind::Internal, Code::Internal),
            (Kind::RequestTimeout, Code::Unknown),
        ] {
            assert_eq!(Code::of(kind, kind.status()), code, "{kind:?}");
        }
        for kind in Kind::all() {
            assert_ne!(Code::of(kind, kind.status()), Code::Ok, "{kind:?}");
            // Nothing in a word needs the escapes of `grpc-message`.
            assert!(kind.word().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        }
    }
}
