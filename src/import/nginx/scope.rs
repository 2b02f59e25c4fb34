//! What holds at a place: blocks in blocks, where what stands inside replaces what stands outside. Used by all of `nginx`.

use super::{known, read::Directive};

/// A block, and those around it.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'a> {
    /// The outermost first.
    levels: Vec<&'a [Directive]>,
    /// What protects in them, and in which: servers have thousands of directives, and few of these.
    gates: Vec<(usize, &'a Directive)>,
}

impl<'a> Scope<'a> {
    /// One with `block` inside of it.
    pub(super) fn within(&self, block: &'a [Directive]) -> Self {
        let Self { mut levels, mut gates } = self.clone();
        let protects = |one: &&Directive| known::protects(&one.name) || one.name == "internal";
        gates.extend(block.iter().filter(protects).map(|one| (levels.len(), one)));
        levels.push(block);
        Self { levels, gates }
    }

    /// What protects in all blocks, the outermost first, and how deep each stands.
    pub(super) fn gates(&self) -> &[(usize, &'a Directive)] {
        &self.gates
    }

    /// The innermost block.
    pub(super) fn own(&self) -> &'a [Directive] {
        self.levels.last().copied().unwrap_or_default()
    }

    /// All `name`s of the innermost block that has one: how nginx inherits what may be written several times.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        let of = |level: &&'a [Directive]| level.iter().filter(|one| one.name == name).collect::<Vec<_>>();
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// As `all`, of several names that are inherited together.
    pub(super) fn any(&self, names: &[&str]) -> Vec<&'a Directive> {
        let of =
            |level: &&'a [Directive]| level.iter().filter(|one| names.contains(&one.name.as_str())).collect::<Vec<_>>();
        self.levels.iter().rev().map(of).find(|found| !found.is_empty()).unwrap_or_default()
    }

    /// The last `name` of the innermost block that has one.
    pub(super) fn last(&self, name: &str) -> Option<&'a Directive> {
        self.all(name).last().copied()
    }

    /// All directives of all blocks, the outermost first.
    pub(super) fn levels(&self) -> impl Iterator<Item = &'a Directive> {
        self.levels.iter().flat_map(|level| level.iter())
    }

    /// Every `name` of every block.
    pub(super) fn every(&self, name: &str) -> impl Iterator<Item = &'a Directive> {
        self.levels().filter(move |one| one.name == name)
    }

    /// The innermost block has `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.own().iter().any(|one| one.name == name)
    }
}
