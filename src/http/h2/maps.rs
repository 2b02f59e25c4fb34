//! Spare maps of fields, as the `h2` crate takes and gives them: what a request's fields came in serves an answer. Used by
//! the server's streams. Hot path.

use http::HeaderMap;
use std::cell::RefCell;

/// How many are kept, and for how many fields each: streams are many at a time.
const KEEP: usize = 512;
const ROOM: usize = 48;

/// A worker's spare maps.
#[derive(Debug, Default)]
pub struct Maps {
    spare: RefCell<Vec<HeaderMap>>,
}

impl Maps {
    /// An empty map with room for so many fields.
    pub(super) fn take(&self, fields: usize) -> HeaderMap {
        let spare = self.spare.borrow_mut().pop();
        spare.filter(|map| map.capacity() >= fields).unwrap_or_else(|| HeaderMap::with_capacity(fields))
    }

    /// Takes a map that is no longer needed, unless it has no memory, or much.
    pub(super) fn give(&self, mut map: HeaderMap) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEEP && (1..=ROOM).contains(&map.capacity()) {
            map.clear();
            spare.push(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    #[test]
    fn a_map_comes_back_empty_and_one_that_is_too_small_does_not() {
        let maps = Maps::default();
        let mut map = HeaderMap::new();
        map.append(header::COOKIE, HeaderValue::from_static("a=b"));
        map.append(header::COOKIE, HeaderValue::from_static("c=d"));
        let room = map.capacity();
        maps.give(map);
        let map = maps.take(1);
        assert!(map.is_empty() && map.get(header::COOKIE).is_none() && map.capacity() == room);
        maps.give(map);
        assert!(maps.take(room + 1).capacity() > room);
        maps.give(HeaderMap::new());
        assert!(maps.spare.borrow().is_empty(), "nothing is kept that has no memory");
    }
}
