//! What holds at a place: blocks in blocks, where what stands inside replaces what stands outside. Used by all of `nginx`.

use std::{collections::BTreeMap, rc::Rc};

use super::{known, read::Directive};

/// A block, and those around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'a> {
    /// The outermost first.
    levels: Vec<Rc<Level<'a>>>,
    /// What protects in them, and in which: servers have thousands of directives, and few of these.
    gates: Vec<(usize, &'a Directive)>,
}

/// One block.
#[derive(Debug)]
struct Level<'a> {
    all: &'a [Directive],
    /// The places of directives by their name.
    named: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Level<'a> {
    fn new(all: &'a [Directive]) -> Self {
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, one) in all.iter().enumerate() {
            named.entry(&one.name).or_default().push(at);
        }
        Self { all, named }
    }

    /// Those whose name `fits`, in their order.
    fn like(&self, fits: impl Fn(&str) -> bool) -> Vec<&'a Directive> {
        let mut places: Vec<usize> =
            self.named.iter().filter(|(name, _)| fits(name)).flat_map(|(_, places)| places).copied().collect();
        places.sort_unstable();
        places.into_iter().map(|at| &self.all[at]).collect()
    }

    fn of(&self, name: &str) -> Vec<&'a Directive> {
        self.named.get(name).map_or_else(Vec::new, |places| places.iter().map(|at| &self.all[*at]).collect())
    }
}

impl<'a> Scope<'a> {
    /// One with `block` inside of it.
    pub(super) fn within(&self, block: &'a [Directive]) -> Self {
        let Self { mut levels, mut gates } = self.clone();
        let protects = |one: &&Directive| known::protects(&one.name) || one.name == "internal";
        gates.extend(block.iter().filter(protects).map(|one| (levels.len(), one)));
        levels.push(Rc::new(Level::new(block)));
        Self { levels, gates }
    }

    /// What protects in all blocks, the outermost first, and how deep each stands.
    pub(super) fn gates(&self) -> &[(usize, &'a Directive)] {
        &self.gates
    }

    /// The innermost block.
    pub(super) fn own(&self) -> &'a [Directive] {
        self.levels.last().map_or(&[], |level| level.all)
    }

    /// All `name`s of the innermost block that has one: how nginx inherits what may be written several times.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        self.levels.iter().rev().map(|level| level.of(name)).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// As `all`, of several names that are inherited together.
    pub(super) fn any(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of = |level: &Rc<Level<'a>>| match names.iter().filter(|name| level.named.contains_key(*name)).count() {
            0 => Vec::new(),
            _ => level.like(|name| names.contains(&name)),
        };
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The last `name` of the innermost block that has one.
    pub(super) fn last(&self, name: &str) -> Option<&'a Directive> {
        let of = |level: &Rc<Level<'a>>| level.named.get(name)?.last().map(|at| &level.all[*at]);
        self.levels.iter().rev().find_map(of)
    }

    /// All directives of all blocks whose name `fits`, the outermost first.
    pub(super) fn like(&self, fits: impl Fn(&str) -> bool) -> Vec<&'a Directive> {
        self.levels.iter().flat_map(|level| level.like(&fits)).collect()
    }

    /// Every `name` of every block.
    pub(super) fn every(&self, name: &str) -> Vec<&'a Directive> {
        self.levels.iter().flat_map(|level| level.of(name)).collect()
    }

    /// The innermost block has `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.levels.last().is_some_and(|level| level.named.contains_key(name))
    }
}
