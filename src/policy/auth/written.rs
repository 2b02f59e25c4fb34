//! Fields that ways in write for backends: what backends believe must not come from clients, neither in a head nor in
//! trailers. Called for every request of a plan that has such. Hot path.

use crate::http::{Head, Name};

/// Names of fields, in lower case.
#[derive(Debug, Default)]
pub struct Written {
    /// By number where the engine knows them.
    known: Box<[Name]>,
    others: Box<[Box<[u8]>]>,
}

impl Written {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names.dedup();
        let id = |name: &&str| Some(Name::of(name.as_bytes())).filter(|id| *id != Name::Other);
        let others = names.iter().filter(|name| id(name).is_none());
        Self {
            known: names.iter().filter_map(id).collect(),
            others: others.map(|name| name.as_bytes().into()).collect(),
        }
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.others.is_empty()
    }

    /// Takes them out of what a client has sent, with `_` for `-` as well: WSGI and CGI do not tell the two apart.
    pub fn remove(&self, request: &mut Head) {
        for id in &self.known {
            request.remove(*id);
        }
        request.remove_where(|name| {
            self.others.iter().any(|other| is_alias(other, name))
                || self.known.iter().any(|id| is_alias(id.spelling().as_bytes(), name))
        });
    }
}

/// Some backends take `name` for `ours`, whatever its case: WSGI and CGI do not tell `_` and `-` apart.
pub fn is_alias(ours: &[u8], name: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    ours.len() == name.len() && ours.iter().zip(name).all(|(a, b)| plain(*a) == plain(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};

    #[test]
    fn clients_own_go_however_they_are_spelled() {
        let written = Written::new(["x-user", "x-api-key-name", "referer", "x-user"].into_iter());
        let mut head = test_head(
            "GET / HTTP/1.1\nHost: a\nX-User: 1\nx_user: 2\nX-User-Id: 3\nX_API-Key_Name: 4\nReferer: 5\nX-UseR: 6",
        );
        written.remove(&mut head);
        assert_eq!(test_lines(&head), "X-User-Id: 3\n");
        assert!(!written.is_empty() && Written::default().is_empty());
    }
}
