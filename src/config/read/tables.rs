//! Tables that have names of the operator's, `[pool.NAME]` and the like: those of all files together. Used by `pool`, `auth`
//! and `limit`.

use std::collections::{BTreeSet, HashMap};

use super::super::{
    keys::Keys,
    report::Wrong,
    section::{Document, Field},
    values,
};

/// What is said where something else is written.
pub(super) struct Tables {
    /// The keys of one of them: what stands there without a name is told from one.
    pub(super) keys: &'static Keys,
    /// "a table for each pool"
    pub(super) wanted: &'static str,
    /// What to write instead of no table.
    pub(super) help: &'static str,
    /// "a pool": what a key without a name belongs in.
    pub(super) one: &'static str,
    /// How a name is given.
    pub(super) name_it: &'static str,
}

/// Each table at `key` by its name, file by file; `None` if one is none, which has been reported. Of two with the same name
/// the first counts.
pub(super) fn named<'a>(document: &Document<'a>, key: &str, of: &Tables) -> Option<Vec<(&'a str, Field<'a>)>> {
    let mut tables: Vec<(&str, Field<'a>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for field in document.written(key) {
        for (name, field) in of_file(&field, of)? {
            if let Some(first) = places.get(name) {
                let first = &tables[*first].1;
                let wrong = Wrong::new(format!("[{}] stands in another file already", first.key));
                field.clash(wrong.help("keep one of them, or give this one another name"), first);
                continue;
            }
            places.insert(name, tables.len());
            tables.push((name, field));
        }
    }
    Some(tables)
}

/// The names alone, for those who refer to them.
pub(super) fn names(document: &Document<'_>, key: &str) -> BTreeSet<String> {
    document.written(key).iter().flat_map(Field::entries).map(|(name, _)| name.to_owned()).collect()
}

fn of_file<'a>(field: &Field<'a>, of: &Tables) -> Option<Vec<(&'a str, Field<'a>)>> {
    if !field.value().is_table() {
        field.wrong(values::wanted(field.value(), of.wanted).help(of.help));
        return None;
    }
    let entries = field.entries();
    let direct = |name: &str, field: &Field<'_>| !field.value().is_table() && of.keys.has(name);
    if let Some((name, field)) = entries.iter().find(|(name, field)| direct(name, field)) {
        let wrong = Wrong::new(format!("`{name}` belongs in {} that has a name", of.one));
        field.wrong(wrong.help(of.name_it));
        return None;
    }
    Some(entries)
}
