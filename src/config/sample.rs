//! A request that is asked about and never sent: what a `[[test]]` and `explain` ask with. Made by `read::test`, the
//! command line and the admin API; `plan::explain` answers it.

use std::{fmt, net::IpAddr, net::Ipv4Addr};

use super::field::is_token;

/// Bytes of all that it says: more than any listener takes.
const MOST: usize = 2 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// As it is written.
    pub method: String,
    /// The URL says so; `None` = it is a path alone.
    pub https: Option<bool>,
    /// Host and port as the URL has them; `None` = it is a path alone.
    pub authority: Option<String>,
    /// Path and query as the URL has them, or `*`; nothing where the method is CONNECT.
    pub target: String,
    /// Further fields, names and values.
    pub headers: Vec<(String, String)>,
    /// Who connects.
    pub from: Who,
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// That address.
    Ip(IpAddr),
    /// A process of this machine, by a unix socket.
    Unix,
}

impl Default for Who {
    /// Nobody in particular: an address of documentation (RFC 5737), which is in no network that is written for others.
    fn default() -> Self {
        Self::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }
}

impl Who {
    /// Reads an IP address, or `unix`.
    ///
    /// # Errors
    /// What was wanted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match plain.parse() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) if text == "unix" => Ok(Self::Unix),
            Err(_) => Err("an IP address, such as \"192.0.2.1\", or \"unix\"".into()),
        }
    }

    /// The address, if there is one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.to_canonical()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

impl Sample {
    /// `method` at `url`: `http://` or `https://` with a host, or a path alone; for CONNECT the `host:port` that it names.
    ///
    /// # Errors
    /// What is wrong with it, for people. What a listener would refuse is none of that: it is asked about, too.
    pub fn new(method: &str, url: &str, headers: Vec<(String, String)>, from: Who) -> Result<Self, String> {
        if !is_token(method) {
            return Err(format!("found {method:?}, wanted a method, such as \"GET\""));
        }
        if let Some(letter) = url.chars().find(|letter| letter.is_control() || letter.is_whitespace()) {
            return Err(format!(
                "the URL has {letter:?} in it, which no request line can carry: write it percent-encoded"
            ));
        }
        let size = headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + url.len();
        if size > MOST {
            return Err(format!("it has {size} bytes, and {MOST} at most can be asked about"));
        }
        for (name, value) in &headers {
            check(name, value)?;
        }
        // What follows `#` is the browser's own (RFC 9110 section 4.2.5).
        let url = url.split('#').next().unwrap_or_default();
        let (https, rest) = scheme(url)?;
        let (authority, target) = match https {
            _ if method == "CONNECT" => (Some(rest.trim_end_matches('/')), ""),
            None => (None, rest),
            Some(_) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
        };
        if authority.is_some_and(str::is_empty) {
            return Err(format!("the URL {url:?} names no host"));
        }
        let target = match target {
            "" if method != "CONNECT" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            target => target.to_owned(),
        };
        let (method, authority) = (method.to_owned(), authority.map(str::to_owned));
        Ok(Self { method, https, authority, target, headers, from })
    }
}

/// Whether it is https, and the rest of `url`; `None`: it is a path, or CONNECT's.
fn scheme(url: &str) -> Result<(Option<bool>, &str), String> {
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?'])) else {
        let host = |text: &str| !text.starts_with('/') && text != "*";
        return match host(url) && !url.contains(':') {
            true => Err(format!("found {url:?}, wanted a URL with http:// or https://, or a path that begins with /")),
            false => Ok((None, url)),
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => Ok((Some(false), rest)),
        "https" | "wss" => Ok((Some(true), rest)),
        other => Err(format!("found {other:?}, wanted http or https")),
    }
}

/// A field that can be written on one line.
fn check(name: &str, value: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!("found {name:?}, wanted the name of a header"));
    }
    match value.chars().any(|letter| letter.is_control() && letter != '\t') {
        true => Err(format!("the value of {name} has control characters: a header is one line")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(method: &str, url: &str) -> Result<Sample, String> {
        Sample::new(method, url, Vec::new(), Who::default())
    }

    #[test]
    fn urls_and_paths_are_taken_apart() {
        for (method, url, https, authority, target) in [
            ("GET", "https://a.example/x?y#z", Some(true), Some("a.example"), "/x?y"),
            ("GET", "HTTP://a.example:81", Some(false), Some("a.example:81"), "/"),
            ("GET", "http://[::1]:80?q=http://b", Some(false), Some("[::1]:80"), "/?q=http://b"),
            ("GET", "wss://a/x", Some(true), Some("a"), "/x"),
            ("GET", "/a//b/../%zz?q", None, None, "/a//b/../%zz?q"),
            ("GET", "/x://y", None, None, "/x://y"),
            ("OPTIONS", "*", None, None, "*"),
            ("CONNECT", "db.example:5432", None, Some("db.example:5432"), ""),
            ("CONNECT", "https://db.example:443/", Some(true), Some("db.example:443"), ""),
        ] {
            let made = sample(method, url).unwrap();
            let found = (made.https, made.authority.as_deref(), made.target.as_str());
            assert_eq!(found, (https, authority, target), "{url}");
        }
    }

    #[test]
    fn what_no_request_can_say_is_refused() {
        for (method, url, named) in [
            ("GE T", "/", "method"),
            ("", "/", "method"),
            ("GET", "", "URL"),
            ("GET", "a.example/x", "https://"),
            ("GET", "ftp://a/", "ftp"),
            ("GET", "https:///x", "no host"),
            ("GET", "/a b", "percent-encoded"),
            ("GET", "/a\r\nX: y", "percent-encoded"),
        ] {
            assert!(sample(method, url).unwrap_err().contains(named), "{method} {url}: {:?}", sample(method, url));
        }
        for (name, value) in [("x a", "1"), ("", "1"), ("x", "1\r\ny: 2"), ("x", "\0")] {
            assert!(Sample::new("GET", "/", vec![(name.into(), value.into())], Who::default()).is_err());
        }
        let long = "x".repeat(MOST + 1);
        assert!(sample("GET", &format!("/{long}")).unwrap_err().contains("at most"));
    }

    #[test]
    fn who_connects_is_an_address_or_unix() {
        assert_eq!(Who::parse("unix"), Ok(Who::Unix));
        for text in ["10.0.0.1", "::1", "[2001:db8::1]"] {
            assert!(Who::parse(text).unwrap().ip().is_some(), "{text}");
        }
        for text in ["", "localhost", "10.0.0.1:80", "10.0.0.0/8"] {
            assert!(Who::parse(text).is_err(), "{text}");
        }
        assert_eq!(Who::parse("::ffff:10.0.0.1").unwrap().ip(), Some("10.0.0.1".parse().unwrap()));
    }
}
