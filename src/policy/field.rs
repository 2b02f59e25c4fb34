//! Field names of the configuration: looked up once, when it is read. Called by `route` and by policies. Hot path.

use crate::http::{Head, Name};

/// A field's name, known by number where the engine knows it.
#[derive(Clone, Debug)]
pub struct FieldName {
    id: Name,
    spelling: Box<[u8]>,
}

impl FieldName {
    /// The field `name`, which is sent as it is spelled here and matched in any case.
    pub fn new(name: &str) -> Self {
        Self { id: Name::of(name.as_bytes()), spelling: name.as_bytes().into() }
    }

    /// As it is sent.
    pub fn spelling(&self) -> &[u8] {
        &self.spelling
    }

    /// The value of the first such field. `Host` is what the request's target says.
    pub fn first<'a>(&self, head: &'a Head) -> Option<&'a [u8]> {
        match self.id {
            Name::Host => authority(head),
            Name::Other => head.find(&self.spelling),
            id => head.get(id),
        }
    }

    /// The value of one such field satisfies `fits`.
    pub fn any(&self, head: &Head, fits: impl FnMut(&[u8]) -> bool) -> bool {
        match self.id {
            Name::Host => authority(head).into_iter().any(fits),
            Name::Other => {
                let named = head.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&self.spelling));
                named.map(|(_, value)| value).any(fits)
            }
            id => head.all(id).any(fits),
        }
    }

    /// Removes every such field.
    pub fn remove(&self, head: &mut Head) {
        match self.id {
            Name::Other => head.remove_where(|name| name.eq_ignore_ascii_case(&self.spelling)),
            id => head.remove(id),
        }
    }

    /// Appends one.
    pub fn add(&self, head: &mut Head, value: &[u8]) {
        head.add_pieces(&self.spelling, self.id, &[value]);
    }
}

/// The guard lifts `Host` out of the fields.
fn authority(head: &Head) -> Option<&[u8]> {
    Some(head.text(head.target.authority)).filter(|authority| !authority.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{test_head, test_lines};

    #[test]
    fn known_and_other_names_are_alike() {
        let mut head = test_head("GET / HTTP/1.1\nHost: a:1\nX-A: 1\nAccept: 2\nx-a: 3\naccept: 4");
        for (name, values) in [("x-a", ["1", "3"]), ("accept", ["2", "4"])] {
            let name = FieldName::new(name);
            assert_eq!(name.first(&head), Some(values[0].as_bytes()));
            assert!(values.iter().all(|wanted| name.any(&head, |value| value == wanted.as_bytes())));
            assert!(!name.any(&head, |value| value == b"5"));
            name.remove(&mut head);
            assert!(name.first(&head).is_none() && !name.any(&head, |_| true));
            name.add(&mut head, b"6");
            assert_eq!(name.first(&head), Some(&b"6"[..]));
        }
        assert_eq!(test_lines(&head), "x-a: 6\naccept: 6\n");
        assert_eq!(FieldName::new("host").first(&head), Some(&b"a:1"[..]));
        assert_eq!(FieldName::new("x-b").first(&head), None);
    }
}
