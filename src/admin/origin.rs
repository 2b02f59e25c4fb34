//! Who is asked, and from where: keeps web pages away from the admin address (PRODUCT.md section 11). Pure.
//!
//! A browser on the operator's machine reaches addresses that its pages should not. DNS rebinding shows as a foreign
//! name in `Host`, a request from another site as a foreign `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use http::{Request, Version};
use rustix::system::uname;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No `Host` in HTTP/1.1, or more than one (RFC 9112 section 3.2).
    Malformed,
    /// The host that is asked for is not us.
    Host,
    /// The page that asks is not ours.
    Origin,
}

/// The names of this instance, in lower case.
#[derive(Debug)]
pub(super) struct Names(Vec<String>);

/// A host as it is compared: addresses by value, names without regard to case.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Names {
    /// localhost, the host's name and `server_name`.
    pub(super) fn new(server_name: &str) -> Self {
        let node = uname().nodename().to_string_lossy().to_ascii_lowercase();
        let mut names = vec!["localhost".to_owned(), node, server_name.to_ascii_lowercase()];
        names.retain(|name| !name.is_empty());
        Self(names)
    }

    /// Whether `request` is meant for us and comes from no other site.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let headers = request.headers();
        let host = match single(headers, &HOST)? {
            Some(value) => Some(self.own(Host::parse(value))?),
            None if request.version() >= Version::HTTP_11 => return Err(Refusal::Malformed),
            None => None,
        };
        // An absolute target outweighs Host (RFC 9112 section 3.2.2): it must not name anyone else either.
        let target =
            request.uri().authority().map(|authority| self.own(Host::parse(authority.as_str()))).transpose()?;
        let Some(origin) = single(headers, &ORIGIN).map_err(|_| Refusal::Origin)? else { return Ok(()) };
        match Host::of_origin(origin) {
            Some(origin) if target.or(host).as_ref() == Some(&origin) => Ok(()),
            _ => Err(Refusal::Origin),
        }
    }

    fn own(&self, host: Option<Host>) -> Result<Host, Refusal> {
        match host {
            Some(Host::Ip(ip)) => Ok(Host::Ip(ip)),
            Some(Host::Name(name)) if self.0.contains(&name) => Ok(Host::Name(name)),
            _ => Err(Refusal::Host),
        }
    }
}

impl Host {
    /// The host of `host`, `host:port`, `[v6]` or `[v6]:port`. By hand, as `http::uri::Authority` takes the host of
    /// `[::1].evil.example` to be `[::1]`.
    fn parse(authority: &str) -> Option<Self> {
        if let Some(bracketed) = authority.strip_prefix('[') {
            let (v6, port) = bracketed.split_once(']')?;
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
            return if is_port { v6.parse::<Ipv6Addr>().ok().map(|v6| Self::Ip(v6.into())) } else { None };
        }
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        let address = || host.parse::<Ipv4Addr>().map(|v4| Self::Ip(v4.into()));
        is_digits(port).then(|| address().unwrap_or_else(|_| Self::Name(host.to_ascii_lowercase())))
    }

    /// The host of `scheme://host[:port]`; `null` and other opaque origins have none.
    fn of_origin(origin: &str) -> Option<Self> {
        let (scheme, authority) = origin.split_once("://")?;
        if matches!(scheme, "http" | "https") { Self::parse(authority) } else { None }
    }
}

fn is_digits(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

/// The only field of this name; what is no text reads as empty, which names nobody.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.to_str().unwrap_or(""))),
        (Some(_), Some(_)) => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: Version, target: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let request = Request::builder().version(version).uri(target);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Names::new("LB-1").check(&request.body(()).unwrap())
    }

    fn host(value: &str) -> Result<(), Refusal> {
        check(Version::HTTP_11, "/metrics", &[("host", value)])
    }

    #[test]
    fn a_host_is_an_address_or_a_name_of_ours_with_any_port() {
        let node = uname().nodename().to_str().unwrap().to_owned();
        for own in ["127.0.0.1", "192.0.2.7:80", "[::1]", "[2001:db8::1]:9900", "localhost", "LocalHost:1", "lb-1:9900"]
        {
            assert_eq!(host(own), Ok(()), "{own}");
        }
        assert_eq!(host(&node), Ok(()));
        for foreign in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "lb-1.evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0x7f.1",
            "user@localhost",
            "localhost@evil.example",
            "[::1",
            "[::1].evil.example",
            "[localhost]",
            "[127.0.0.1]",
            "localhost/",
            "localhost:80:80",
            "localhost:x",
            "[::1]x",
            "::1",
            "localhost evil",
            "evil.example, localhost",
            "localhost\u{e9}",
        ] {
            assert_eq!(host(foreign), Err(Refusal::Host), "{foreign}");
        }
    }

    #[test]
    fn an_instance_without_a_name_is_not_called_by_none() {
        let request = Request::builder().uri("/").header("host", "").body(()).unwrap();
        assert_eq!(Names::new("").check(&request), Err(Refusal::Host));
    }

    #[test]
    fn http_1_1_needs_one_host_and_http_1_0_none() {
        assert_eq!(check(Version::HTTP_11, "/", &[]), Err(Refusal::Malformed));
        assert_eq!(check(Version::HTTP_10, "/", &[]), Ok(()));
        assert_eq!(check(Version::HTTP_10, "/", &[("host", "evil.example")]), Err(Refusal::Host));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check(Version::HTTP_11, "/", &twice), Err(Refusal::Malformed));
    }

    #[test]
    fn an_absolute_target_names_us_too() {
        let own = [("host", "localhost")];
        assert_eq!(check(Version::HTTP_11, "http://127.0.0.1:9900/metrics", &own), Ok(()));
        assert_eq!(check(Version::HTTP_11, "http://evil.example/metrics", &own), Err(Refusal::Host));
    }

    #[test]
    fn an_origin_is_the_host_that_is_asked() {
        let origin = |host, origin| check(Version::HTTP_11, "/", &[("host", host), ("origin", origin)]);
        assert_eq!(origin("localhost:9900", "http://localhost:3000"), Ok(()));
        assert_eq!(origin("LB-1", "https://lb-1"), Ok(()));
        assert_eq!(origin("[::1]:9900", "http://[0:0::1]:9900"), Ok(()));
        for foreign in ["null", "", "http://evil.example", "http://192.0.2.7", "http://127.0.0.1", "file://localhost"] {
            assert_eq!(origin("localhost:9900", foreign), Err(Refusal::Origin), "{foreign}");
        }
        let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(check(Version::HTTP_11, "/", &twice), Err(Refusal::Origin));
        assert_eq!(check(Version::HTTP_10, "/", &[("origin", "http://localhost")]), Err(Refusal::Origin));
    }
}
