//! What a backend's `Set-Cookie` says of the application's session. Called by `proxy`. Hot path.

use std::time::SystemTime;

/// One `Set-Cookie` of the application's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The session of this value goes on here.
    Holds(&'a [u8]),
    /// The session is over.
    Ends,
}

/// Reads the value of a `Set-Cookie`; `None` if it is of another name than `name`, or is none. A clock is asked where it
/// says when it ends.
pub fn read<'a>(field: &'a [u8], name: &[u8], now: impl Fn() -> SystemTime) -> Option<Said<'a>> {
    let mut parts = field.split(|&byte| byte == b';');
    let (said, value) = pair(parts.next()?)?;
    if said != name {
        return None;
    }
    // RFC 6265 section 5.3: `Max-Age` counts before `Expires`, and the last of each.
    let (mut age, mut expires) = (None, None);
    for (key, text) in parts.filter_map(pair) {
        if key.eq_ignore_ascii_case(b"max-age") {
            age = is_over(text).or(age);
        } else if key.eq_ignore_ascii_case(b"expires") {
            expires = date(text).map(|date| date <= now()).or(expires);
        }
    }
    let over = value.is_empty() || age.or(expires).unwrap_or(false);
    Some(if over { Said::Ends } else { Said::Holds(value) })
}

fn pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|&byte| byte == b'=')?;
    Some((part[..at].trim_ascii(), part[at + 1..].trim_ascii()))
}

/// RFC 6265 section 5.2.2: an age of 0 or less is over; what is no number is not there.
fn is_over(age: &[u8]) -> Option<bool> {
    let digits = age.strip_prefix(b"-").unwrap_or(age);
    let number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    number.then(|| digits.len() < age.len() || digits.iter().all(|&digit| digit == b'0'))
}

/// A date as servers write it; some put dashes between its parts.
fn date(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).or_else(|_| httpdate::parse_http_date(&text.replace('-', " "))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(field: &str) -> Option<Said<'_>> {
        read(field.as_bytes(), b"JSESSIONID", || SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000))
    }

    #[test]
    fn sessions_begin() {
        for field in [
            "JSESSIONID=a.b",
            " JSESSIONID = a.b ; Path=/",
            "JSESSIONID=a.b; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "JSESSIONID=a.b; Expires=Wed, 01 Jan 2070 00:00:00 GMT; HttpOnly",
            "JSESSIONID=a.b; Expires=soon; Max-Age=long; max-age=; Max-Age=-",
            "JSESSIONID=a.b; Max-Age=0; max-age=1",
        ] {
            assert_eq!(said(field), Some(Said::Holds(b"a.b")), "{field}");
        }
        assert_eq!(said("JSESSIONID=\"q\"; Secure"), Some(Said::Holds(b"\"q\"")), "as the client will send it");
    }

    #[test]
    fn sessions_end() {
        for field in [
            "JSESSIONID=",
            "JSESSIONID=; Path=/",
            "JSESSIONID=a; Max-Age=0",
            "JSESSIONID=a; max-age = -1; Expires=Wed, 01 Jan 2070 00:00:00 GMT",
            "JSESSIONID=a; expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "JSESSIONID=deleted; expires=Thu, 01-Jan-1970 00:00:01 GMT; Max-Age=0",
            "JSESSIONID=a; Expires=Thu, 01-Jan-1970 00:00:10 GMT",
        ] {
            assert_eq!(said(field), Some(Said::Ends), "{field}");
        }
    }

    #[test]
    fn others_are_not_ours() {
        for field in ["", "JSESSIONID", "jsessionid=a", "X=a; JSESSIONID=b", "=JSESSIONID", "JSESSIONID2=a"] {
            assert_eq!(said(field), None, "{field}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(field in proptest::collection::vec(any::<u8>(), 0..100)) {
            let field = [b"JSESSIONID=", &field[..]].concat();
            let said = read(&field, b"JSESSIONID", SystemTime::now);
            prop_assert!(matches!(said, Some(Said::Ends | Said::Holds(_))));
        }
    }
}
