//! Host names as DNS has them: checked, not resolved. Used by `address` and by `read` for `discover`.

/// The longest name, without its final dot (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
/// The longest part between two dots.
const MAX_LABEL: usize = 63;

/// The host name `text` in lower case. RFC 1123 section 2.1, and `_`, which services and containers have in theirs; one
/// final dot says that no search list is asked.
///
/// # Errors
/// A sentence for people: why it is none.
pub(super) fn host(text: &str) -> Result<String, &'static str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || name.len() > MAX_NAME {
        return Err("a host name has 1 to 253 bytes");
    }
    name.split('.').try_for_each(label)?;
    // Otherwise 10.0.0.256 would be asked for.
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("the last part of a host name is not a number");
    }
    Ok(text.to_ascii_lowercase())
}

fn label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() || label.len() > MAX_LABEL {
        return Err("between its dots a host name has 1 to 63 bytes");
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        return Err("a host name has letters, digits, `-` and `_`; other letters are written as xn--…");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("no part of a host name begins or ends with `-`");
    }
    Ok(())
}

/// The name of SRV records (RFC 2782), `_service._proto` in front, that stands in `text`, among other things perhaps.
pub(super) fn service(text: &str) -> Option<&str> {
    let is_service = |name: &str| {
        let mut labels = name.split('.');
        let mut marked = || labels.next().is_some_and(|label| label.len() > 1 && label.starts_with('_'));
        marked() && marked() && host(name).is_ok()
    };
    let part = |letter: char| !letter.is_ascii_alphanumeric() && !"-._".contains(letter);
    text.split(part).find(|name| is_service(name))
}

/// Somebody has meant a host name by it.
pub(super) fn resembles(text: &str) -> bool {
    text.chars().any(char::is_alphabetic)
        && text.chars().all(|letter| letter.is_alphanumeric() || "-._".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_hosts_are_told_from_others() {
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for good in ["localhost", "App.internal", "a-b.c_d", "_api._tcp.x.local", "x.", "1a", "3com.1a", &long[..253]] {
            assert_eq!(host(good), Ok(good.to_ascii_lowercase()));
        }
        let too_long = "a".repeat(64);
        for bad in ["", ".", "..", "a..b", ".a", "a..", "-a", "a-.b", "1", "10.0.0.256", "a.1", "ä.b", "a b", "a:1"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert!(host(&too_long).is_err() && host(&long).is_err());
    }

    #[test]
    fn services_are_found_in_what_others_write() {
        for text in
            ["_web._tcp.x", "srv+http://_web._tcp.x", "dnssrv+_web._tcp.x:80", "dns:///_web._tcp.x", "a/_web._tcp.x/b"]
        {
            assert_eq!(service(text), Some("_web._tcp.x"), "{text}");
        }
        for text in
            ["", "web.x", "_web.x", "_._tcp.x", "a_web._tcp.x", "_web.tcp._x", "_web._tcp..x", "http://web_.x:80"]
        {
            assert_eq!(service(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_a_name_and_stays_one(text in "[a-zA-Z0-9._-]{0,70}|.{0,30}") {
            let _ = (resembles(&text), service(&text));
            if let Ok(name) = host(&text) {
                prop_assert!(name.is_ascii() && name.len() <= 254 && !name.contains(".."));
                prop_assert_eq!(host(&name), Ok(name.clone()));
                prop_assert!(name.parse::<std::net::IpAddr>().is_err(), "no address is a name");
            }
        }
    }
}
