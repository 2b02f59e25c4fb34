//! What keeps a client at its backend: `sticky` of a pool. Built by `plan`, asked by `proxy`. Hot path.

mod cookie;
pub mod fuzz;
mod session;

pub use cookie::{Cookie, Read, Ticket};
pub use session::{Said, read as read_set_cookie};

use super::Key;
use crate::{
    config::{self, HashKey, StickyBy, StickyFallback},
    http::{Head, Name},
};

/// How a pool knows its clients.
#[derive(Debug)]
pub struct Sticky {
    /// By what.
    pub by: By,
    /// A client whose backend is gone is refused, and not given another one.
    pub rejects: bool,
}

/// By what a client is known.
#[derive(Debug)]
pub enum By {
    /// Our own cookie.
    Cookie(Cookie),
    /// The application's cookie of that name; so many seconds after its last use its backend is forgotten.
    AppCookie(Box<[u8]>, u32),
    /// A field's value, or the client's address: nothing is kept.
    Key(Key),
}

impl Sticky {
    /// What `sticky` of `pool` says. `own_key` seals cookies where no secret is configured.
    pub fn new(sticky: &config::Sticky, pool: &config::Pool, own_key: &[u8]) -> Self {
        let by = match &sticky.by {
            StickyBy::Cookie { name, ttl, secrets } => {
                let own = secrets.is_empty().then_some(own_key);
                By::Cookie(Cookie::new(name, *ttl, &pool.name, secrets.iter().map(|key| key.expose()).chain(own)))
            }
            StickyBy::AppCookie { name, ttl } => {
                By::AppCookie(name.as_bytes().into(), u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX))
            }
            StickyBy::Header(name) => By::Key(Key::new(&HashKey::Header(name.clone()), pool.hash.ipv6_prefix)),
            StickyBy::SourceIp => By::Key(Key::new(&HashKey::ClientIp, pool.hash.ipv6_prefix)),
        };
        Self { by, rejects: sticky.fallback == StickyFallback::Reject }
    }

    /// Our own cookie, if that is what clients are known by.
    pub fn cookie(&self) -> Option<&Cookie> {
        match &self.by {
            By::Cookie(cookie) => Some(cookie),
            _ => None,
        }
    }
}

/// Takes the cookies `name` out of `request`; the others stay as they are, in their order. `scratch` is where they are
/// put together. False: there was none.
pub fn hide(request: &mut Head, name: &[u8], scratch: &mut Vec<u8>) -> bool {
    if super::cookies(request, name).next().is_none() {
        return false;
    }
    // Each field as its name, a colon, what stays of it, and a line's end: none of them has one.
    scratch.clear();
    for (field, value) in request.iter().filter(|(field, _)| Name::of(field) == Name::Cookie) {
        scratch.extend_from_slice(field);
        scratch.push(b':');
        let start = scratch.len();
        for crumb in value.split(|&byte| byte == b';').filter(|crumb| !is_named(crumb, name)) {
            let first = scratch.len() == start;
            scratch.extend_from_slice(if first { b"" } else { b";" });
            scratch.extend_from_slice(if first { crumb.trim_ascii_start() } else { crumb });
        }
        scratch.push(b'\n');
    }
    request.remove(Name::Cookie);
    for line in scratch.split(|&byte| byte == b'\n') {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        if colon + 1 < line.len() {
            request.add_pieces(&line[..colon], Name::Cookie, &[&line[colon + 1..]]);
        }
    }
    true
}

/// As [`super::cookies`] sees it.
fn is_named(crumb: &[u8], name: &[u8]) -> bool {
    crumb.iter().position(|&byte| byte == b'=').is_some_and(|at| crumb[..at].trim_ascii() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};

    #[test]
    fn our_crumb_goes_and_the_others_stay() {
        for (sent, wanted) in [
            ("Cookie: evenkeel=x", ""),
            ("cookie: a=1; evenkeel=x; b=2", "cookie: a=1; b=2\n"),
            ("Cookie: evenkeel=x; a=1", "Cookie: a=1\n"),
            ("Cookie: a=1;evenkeel=x;;  b ; evenkeel = y ;c=", "Cookie: a=1;;  b ;c=\n"),
            ("Cookie: a=1\nX-A: 1\nCookie: evenkeel=x\nCookie: b=2", "X-A: 1\nCookie: a=1\nCookie: b=2\n"),
            ("Cookie: Evenkeel=x; evenkeel2=y; evenkeel", "Cookie: Evenkeel=x; evenkeel2=y; evenkeel\n"),
            ("X-A: evenkeel=x", "X-A: evenkeel=x\n"),
        ] {
            let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\n{sent}"));
            let had = crate::policy::cookies(&head, b"evenkeel").next().is_some();
            assert_eq!(hide(&mut head, b"evenkeel", &mut b"left".to_vec()), had);
            assert_eq!(test_lines(&head), wanted, "{sent}");
            assert!(crate::policy::cookies(&head, b"evenkeel").next().is_none());
        }
    }
}
