//! Origins of pages (RFC 6454), as `cors` names them and as browsers send them. Matching is on the hot path.

/// Whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`: anybody's.
    Any,
    /// `https://app.example.com`, in lower case; or `null`.
    Exact(String),
    /// `https://*.example.com:8443`: one label or more in place of the star.
    Below {
        /// `https://`
        scheme: String,
        /// `.example.com:8443`
        rest: String,
    },
}

impl Origin {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// A sentence for people: what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write \"https://app.example.com\", for example";
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Exact(text.to_owned())),
            _ => {}
        }
        let lower = text.to_ascii_lowercase();
        let Some((scheme, host)) = lower.split_once("://") else {
            return Err(format!("an origin begins with its scheme: {EXAMPLE}"));
        };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return Err(format!("that is no scheme: {EXAMPLE}"));
        }
        if let Some((origin, _)) = host.split_once('/') {
            return Err(format!("an origin has no path: write \"{scheme}://{origin}\""));
        }
        let default =
            matches!((scheme, host.rsplit_once(':')), ("https", Some((_, "443"))) | ("http", Some((_, "80"))));
        if let (true, Some((name, port))) = (default, host.rsplit_once(':')) {
            return Err(format!("browsers leave {port} out, the port of {scheme}: write \"{scheme}://{name}\""));
        }
        let (star, name) = match host.strip_prefix('*') {
            Some(rest) => (true, rest.strip_prefix('.').unwrap_or_default()),
            None => (false, host),
        };
        if !is_host(name) {
            return Err(format!("a host is wanted behind `://`, or `*.` and a host: {EXAMPLE}"));
        }
        Ok(match star {
            true => Self::Below { scheme: format!("{scheme}://"), rest: format!(".{name}") },
            false => Self::Exact(lower),
        })
    }

    /// A page of `origin`, as its browser wrote that, is one of these.
    pub fn has(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, rest } => {
                let label = origin.strip_prefix(scheme.as_bytes()).and_then(|host| host.strip_suffix(rest.as_bytes()));
                label.is_some_and(|label| !label.is_empty() && label.split(|&byte| byte == b'.').all(is_label))
            }
        }
    }
}

fn is_label(label: &[u8]) -> bool {
    let fine = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
    !label.is_empty() && label.iter().all(fine)
}

/// A name or an address, with a port or without.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let address = |host: &str| host.parse::<std::net::Ipv6Addr>().is_ok();
    let name = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').is_some_and(address),
        None => host.split('.').all(|label| is_label(label.as_bytes())),
    };
    name && port.is_none_or(|port| !port.starts_with('0') && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_matched_as_a_whole() {
        for (written, origin, has) in [
            ("https://app.example.com", "https://app.example.com", true),
            ("https://APP.example.com", "https://app.example.com", true),
            ("https://app.example.com", "http://app.example.com", false),
            ("https://app.example.com", "https://app.example.com:8443", false),
            ("https://app.example.com", "https://app.example.com.evil.net", false),
            ("https://app.example.com", "https://evil.net/https://app.example.com", false),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b-c.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://a..example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://evil.net/.example.com", false),
            ("https://*.example.com", "https://evil.net:1.example.com", false),
            ("https://*.example.com", "https://user@a.example.com", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("*", "https://whoever.net", true),
            ("*", "null", true),
            ("null", "null", true),
            ("https://app.example.com", "null", false),
        ] {
            assert_eq!(Origin::parse(written).unwrap().has(origin.as_bytes()), has, "{written} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_explained() {
        for (text, told) in [
            ("app.example.com", "scheme"),
            ("https://app.example.com/", "no path"),
            ("https://app.example.com:443", "leave 443 out"),
            ("http://a:80", "leave 80 out"),
            ("https://*", "a host is wanted"),
            ("https://*example.com", "a host is wanted"),
            ("https://a.*.com", "a host is wanted"),
            ("https://", "a host is wanted"),
            ("https://a:b", "a host is wanted"),
            ("https://a b", "a host is wanted"),
            ("9://a", "no scheme"),
        ] {
            let why = Origin::parse(text).unwrap_err();
            assert!(why.contains(told), "{text}: {why}");
        }
    }
}
