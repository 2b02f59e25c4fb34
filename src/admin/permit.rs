//! Whether a request may change something: its token (PRODUCT.md section 11), and its `If-Match`. Pure; called by `api`.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, IF_MATCH, WWW_AUTHENTICATE};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::Secret;

/// Refuses a request without `token`. How long it takes tells nothing of the token but its length.
pub(super) fn token(headers: &HeaderMap, token: Option<&Secret>) -> Result<(), Problem> {
    let Some(token) = token else {
        let detail = "no token is configured: set admin.token, or call on a unix socket";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    };
    match bearer(headers) {
        Some(shown) if bool::from(shown.ct_eq(token.expose())) => Ok(()),
        shown => {
            let detail = if shown.is_some() { "the token is wrong" } else { "a token is needed" };
            let challenge = HeaderValue::from_static("Bearer");
            Err(Problem::new(StatusCode::UNAUTHORIZED, detail).with(WWW_AUTHENTICATE, challenge))
        }
    }
}

/// The token of the only `Authorization` field (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else { return None };
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// The generation that must be in use still: `"7"`, or 7 without quotes; `*` is any.
pub(super) fn generation(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_none() {
        if text == "*" {
            return Ok(None);
        }
        let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if number.bytes().all(|byte| byte.is_ascii_digit())
            && let Ok(generation) = number.parse()
        {
            return Ok(Some(generation));
        }
    }
    Err(Problem::new(StatusCode::BAD_REQUEST, "If-Match: wanted one generation, such as \"7\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).unwrap())).collect()
    }

    fn shown(values: &[&str]) -> Result<(), u16> {
        let secret = Secret::new(b"0123456789abcdef\n");
        token(&fields(AUTHORIZATION, values), Some(&secret)).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn the_one_token_is_wanted() {
        for right in ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER   0123456789abcdef "] {
            assert_eq!(shown(&[right]), Ok(()), "{right}");
        }
        for wrong in ["", "Bearer", "Bearer ", "0123456789abcdef", "Basic 0123456789abcdef", "Bearer 0123456789abcde"] {
            assert_eq!(shown(&[wrong]), Err(401), "{wrong}");
        }
        for wrong in ["Bearer 0123456789abcdeF", "Bearer 0123456789abcdef0", "Bearer0123456789abcdef", "Béarer x"] {
            assert_eq!(shown(&[wrong]), Err(401), "{wrong}");
        }
        assert_eq!(shown(&[]), Err(401));
        assert_eq!(shown(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]), Err(401));
        let none = token(&fields(AUTHORIZATION, &["Bearer x"]), None).unwrap_err();
        assert_eq!(none.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn a_generation_is_a_number_in_quotes_or_without() {
        let read = |values: &[&str]| generation(&fields(IF_MATCH, values)).map_err(drop);
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(None));
        assert_eq!(read(&["\"7\""]), Ok(Some(7)));
        assert_eq!(read(&["7"]), Ok(Some(7)));
        for wrong in ["", "\"\"", "\"7", "W/\"7\"", "+7", "-7", "\"7\", \"8\"", "abc", "99999999999999999999"] {
            assert_eq!(read(&[wrong]), Err(()), "{wrong}");
        }
        assert_eq!(read(&["7", "7"]), Err(()));
    }
}
