//! What a route's policies learn of one exchange, and leave behind for it. Made for exchanges whose route has some. Hot path.

use super::{Stage, cors, limit::Held};
use crate::http::{Head, Name};
use std::sync::Arc;

/// What a token says of its bearer, by claim; what is no text is written as JSON writes it. Only what limits go by.
pub type Claims = [(Box<str>, Box<[u8]>)];

/// One exchange's way through its route's [`Policies`](super::Policies).
#[derive(Debug, Default)]
pub struct Visit {
    /// What it is asked next.
    pub stage: Stage,
    /// Who has been let in, or who a refused one says it is, for the log.
    pub user: Option<Box<[u8]>>,
    /// What is known of who that is: shared by all requests with the same token.
    pub claims: Option<Arc<Claims>>,
    /// The limit that refused it or made it wait, for the log.
    pub limit: Option<Box<str>>,
    /// Newer keys have been waited for on its behalf.
    pub waited: bool,
    /// It is counted as in flight while this is there.
    pub held: Option<Held>,
    /// Fields of its answer, whoever makes that.
    pub answer: Fields,
    /// What a backend says of CORS gives way to them.
    pub cors: bool,
}

impl Visit {
    /// As if nobody had come; what it has taken is given back, its memory stays.
    pub fn clear(&mut self) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        *self = Self { answer, ..Self::default() };
    }

    /// Writes what its answer says into `head`.
    pub fn say(&self, head: &mut Head) {
        if self.cors {
            cors::strip(head);
        }
        self.answer.write(head);
    }
}

impl Visit {
    /// What the request's token says under the claim `name`, if a limit asks for that: never empty.
    pub fn claim(&self, name: &str) -> Option<&[u8]> {
        let claims = self.claims.as_deref().unwrap_or_default();
        claims.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

/// Bytes of the fields of most answers.
const ROOM: usize = 112;
/// What is kept for others.
const MOST_ROOM: usize = 1024;

/// Fields that are written into a head later.
#[derive(Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    fields: Vec<Place>,
}

/// Where one stands: its name from `start` to `value`, its value from there to `end`.
#[derive(Debug)]
struct Place {
    id: Name,
    start: usize,
    value: usize,
    end: usize,
}

impl Fields {
    /// There is none any more. Memory stays, unless it is unusually much.
    fn clear(&mut self) {
        if self.bytes.capacity() > MOST_ROOM {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.fields.clear();
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds the field `name`, whose value `write` appends: visible ASCII and blanks.
    pub fn add(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        // Once for all of most answers.
        self.bytes.reserve(if self.bytes.is_empty() { ROOM } else { name.len() });
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let value = self.bytes.len();
        write(&mut self.bytes);
        self.fields.push(Place { id: Name::of(name.as_bytes()), start, value, end: self.bytes.len() });
    }

    /// The value of the first field `name`.
    pub fn find(&self, name: &str) -> Option<&[u8]> {
        let named = |place: &&Place| self.bytes[place.start..place.value].eq_ignore_ascii_case(name.as_bytes());
        self.fields.iter().find(named).map(|place| &self.bytes[place.value..place.end])
    }

    /// Appends them to `head`.
    pub fn write(&self, head: &mut Head) {
        for &Place { id, start, value, end } in &self.fields {
            head.add_pieces(&self.bytes[start..value], id, &[&self.bytes[value..end]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};

    #[test]
    fn claims_are_found_by_their_names() {
        let mut visit = Visit::default();
        assert_eq!(visit.claim("sub"), None);
        visit.claims = Some(Arc::new([("tenant".into(), b"t"[..].into()), ("sub".into(), b"7"[..].into())]));
        assert_eq!([visit.claim("sub"), visit.claim("SUB"), visit.claim("")], [Some(&b"7"[..]), None, None]);
    }

    #[test]
    fn nothing_is_left_of_an_earlier_visit() {
        let mut visit = Visit { cors: true, user: Some(b"u"[..].into()), stage: Stage::Auth, ..Visit::default() };
        visit.answer.add("X-One", |out| out.resize(2 * MOST_ROOM, b'1'));
        visit.clear();
        assert!(visit.answer.is_empty() && visit.answer.find("x-one").is_none() && visit.user.is_none() && !visit.cors);
        assert!(visit.stage == Stage::Access && visit.answer.bytes.capacity() <= MOST_ROOM);
    }

    #[test]
    fn fields_are_written_as_they_were_added() {
        let mut fields = Fields::default();
        assert!(fields.is_empty());
        fields.add("X-One", |out| out.extend_from_slice(b"1; 2"));
        fields.add("WWW-Authenticate", |out| out.extend_from_slice(b"Basic"));
        assert_eq!(fields.find("www-authenticate"), Some(&b"Basic"[..]));
        let mut head = test_head("GET / HTTP/1.1\nHost: a\nAccept: 1");
        fields.write(&mut head);
        assert_eq!(test_lines(&head), "Accept: 1\nX-One: 1; 2\nWWW-Authenticate: Basic\n");
    }
}
