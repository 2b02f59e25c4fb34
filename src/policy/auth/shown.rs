//! Where a client shows what it has: a field, a cookie, a parameter. Called by `api_key`, and by whoever wants a token. Hot
//! path.

use super::super::{FieldName, request};
use crate::{
    config::ShownIn,
    http::{Head, Repeated},
};
use std::borrow::Cow;

/// Where it is looked for.
#[derive(Debug)]
pub(super) struct Shown(Place);

#[derive(Debug)]
enum Place {
    Header(FieldName),
    Cookie(Box<[u8]>),
    Query(Box<[u8]>),
}

impl Shown {
    pub(super) fn new(place: &ShownIn) -> Self {
        Self(match place {
            ShownIn::Header(name) => Place::Header(FieldName::new(name)),
            ShownIn::Cookie(name) => Place::Cookie(name.as_bytes().into()),
            ShownIn::Query(name) => Place::Query(name.as_bytes().into()),
        })
    }

    /// What `request` shows there, if that is anything.
    ///
    /// # Errors
    /// It shows several things: the backend might look at another one than we do.
    pub(super) fn find<'r>(&'r self, request: &'r Head) -> Result<Option<Cow<'r, [u8]>>, Repeated> {
        match &self.0 {
            Place::Header(name) => {
                let mut count = 0;
                name.any(request, |_| {
                    count += 1;
                    count > 1
                });
                if count > 1 { Err(Repeated) } else { Ok(name.first(request).map(Cow::Borrowed)) }
            }
            Place::Cookie(name) => one(request::cookies(request, name).map(Cow::Borrowed)),
            Place::Query(name) => {
                let values = request::parameters(request.text(request.target.query), name);
                one(values.map(|value| match value.plain() {
                    Some(plain) => Cow::Borrowed(plain),
                    None => Cow::Owned(value.bytes().collect()),
                }))
            }
        }
    }
}

fn one<T>(mut values: impl Iterator<Item = T>) -> Result<Option<T>, Repeated> {
    let first = values.next();
    if values.next().is_some() { Err(Repeated) } else { Ok(first) }
}

/// What stands behind `scheme` and its blanks in a value of `Authorization`; the scheme's case does not count (RFC 9110
/// section 11.1).
pub(super) fn behind_scheme<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    let (first, rest) = value.split_at_checked(scheme.len())?;
    (first.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first() == Some(&b' ')).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_head;

    #[test]
    fn what_is_shown_is_found_if_it_is_one() {
        let head = test_head(
            "GET /?k=1%2b&two=a&two=b HTTP/1.1\nHost: a\nX-Key: one\nX-Two: 1\nx-two: 2\nAuthorization: x\nCookie: s=t; u=1; u=2",
        );
        let find = |place| {
            let shown = Shown::new(&place);
            let found = shown.find(&head);
            found.map(|value| value.map(|value| String::from_utf8(value.into_owned()).unwrap())).map_err(|_| ())
        };
        let (header, cookie, query) = (
            |name: &str| ShownIn::Header(name.into()),
            |name: &str| ShownIn::Cookie(name.into()),
            |name: &str| ShownIn::Query(name.into()),
        );
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(find(header("x-key")), some("one"));
        assert_eq!(find(header("authorization")), some("x"));
        assert_eq!((find(header("x-two")), find(header("x-none"))), (Err(()), Ok(None)));
        assert_eq!((find(cookie("s")), find(cookie("u")), find(cookie("v"))), (some("t"), Err(()), Ok(None)));
        assert_eq!((find(query("k")), find(query("two")), find(query("v"))), (some("1+"), Err(()), Ok(None)));
    }

    #[test]
    fn a_scheme_stands_in_front_in_any_case() {
        for (value, rest) in [
            ("Bearer abc", Some("abc")),
            ("bEARER   abc ", Some("abc")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("", None),
        ] {
            assert_eq!(behind_scheme(value.as_bytes(), "Bearer"), rest.map(str::as_bytes), "{value}");
        }
    }
}
