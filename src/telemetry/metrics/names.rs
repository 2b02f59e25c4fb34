//! Which series there are: the handles that somebody holds, by their labels. Called by control, and when a scrape
//! gathers; not hot.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::locked;

/// So many dead names may wait before the first look for them.
const FEW: usize = 64;

/// The labels of a series as they stand between the braces: `pool="web",backend="b"`. Shared by a handle and the table
/// that finds it.
pub(super) type Labels = Arc<str>;

/// `names` and `values` as [`Labels`], escaped. Two lists of values never give the same text.
pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut text = String::new();
    for (number, (name, value)) in pairs.iter().enumerate() {
        text.push_str(if number == 0 { "" } else { "," });
        let _ = write!(text, "{name}=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text.into()
}

/// Handles of one kind. Holds none of them: a series ends with the last plan or backend that holds its handle.
#[derive(Debug)]
pub(super) struct Names<T>(Mutex<Table<T>>);

#[derive(Debug)]
struct Table<T> {
    handles: BTreeMap<Labels, Weak<T>>,
    /// At so many names the dead are looked for: twice those that lived the last time, so that a name costs a constant
    /// share of the looks, and the dead are never more than the living and a few.
    full: usize,
}

impl<T> Names<T> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Table { handles: BTreeMap::new(), full: FEW }))
    }

    /// The living handle with these `labels`, or one that `make` makes.
    pub(super) fn handle(&self, labels: Labels, make: impl FnOnce(Labels) -> T) -> Arc<T> {
        let mut table = self.lock();
        if let Some(living) = table.handles.get(&labels).and_then(Weak::upgrade) {
            return living;
        }
        if table.handles.len() >= table.full {
            table.prune();
        }
        let made = Arc::new(make(Arc::clone(&labels)));
        table.handles.insert(labels, Arc::downgrade(&made));
        made
    }

    /// How many names there are, some of which may be dead.
    pub(super) fn len(&self) -> usize {
        self.lock().handles.len()
    }

    /// The handles that live, by their labels. The dead are forgotten.
    pub(super) fn living(&self) -> Vec<Arc<T>> {
        let mut table = self.lock();
        let living: Vec<_> = table.handles.values().filter_map(Weak::upgrade).collect();
        if living.len() < table.handles.len() {
            table.prune();
        }
        living
    }

    fn lock(&self) -> MutexGuard<'_, Table<T>> {
        locked(&self.0)
    }
}

impl<T> Table<T> {
    fn prune(&mut self) {
        self.handles.retain(|_, handle| handle.strong_count() > 0);
        self.full = FEW + 2 * self.handles.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_held_is_the_same_handle_and_another_one_is_not() {
        let names = Names::new();
        let one = names.handle(labels(&[("a", "x")]), |_| 1);
        let same = names.handle(labels(&[("a", "x")]), |_| 2);
        let other = names.handle(labels(&[("a", "y")]), |_| 3);
        assert!(Arc::ptr_eq(&one, &same) && *other == 3);
        assert_eq!(names.living(), [one, other]);
    }

    #[test]
    fn a_name_that_nobody_holds_is_forgotten_and_begins_anew() {
        let names = Names::new();
        drop(names.handle(labels(&[("a", "x")]), |_| 1));
        assert!(names.living().is_empty() && names.len() == 0);
        assert_eq!(*names.handle(labels(&[("a", "x")]), |_| 2), 2);
    }

    #[test]
    fn dead_names_do_not_pile_up_when_nobody_looks() {
        let names = Names::new();
        let held: Vec<_> = (0..100).map(|n| names.handle(labels(&[("a", &format!("held {n}"))]), |_| n)).collect();
        for number in 0..10_000 {
            names.handle(labels(&[("a", &number.to_string())]), |_| number);
            assert!(names.len() <= FEW + 2 * held.len());
        }
        assert_eq!(names.living().len(), held.len());
    }

    #[test]
    fn labels_are_escaped_so_that_none_can_be_taken_for_another() {
        assert_eq!(&*labels(&[("a", "x\\y\"z\n"), ("b", "é{}=,")]), r#"a="x\\y\"z\n",b="é{}=,""#);
        assert_ne!(labels(&[("a", "x\",b=\"y"), ("b", "z")]), labels(&[("a", "x"), ("b", "y\",b=\"z")]));
        assert_eq!(&*labels(&[]), "");
    }
}
