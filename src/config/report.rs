//! Collects problems while a file is read, so that all of them are told at once.
//!
//! Shared by every part of `read`, one after the other: hence a cell, not `&mut` through all of them.

use std::{cell::RefCell, ops::Range};

use super::problem::{Problem, Problems, Source};

/// A value that is not what its key wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What was found and what was wanted.
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Where the problems of one file are gathered.
pub(super) struct Report {
    /// The file.
    pub(super) source: Source,
    list: RefCell<Vec<Problem>>,
}

impl Report {
    pub(super) fn new(source: Source) -> Self {
        Self { source, list: RefCell::default() }
    }

    /// `key` at `span` is wrong.
    pub(super) fn wrong(&self, span: Range<usize>, key: &str, wrong: Wrong) {
        let mut problem = self.source.problem(Some(span), key, wrong.message);
        problem.help = wrong.help;
        self.list.borrow_mut().push(problem);
    }

    /// `key` at `span` is wrong because of what stands at `first`.
    pub(super) fn clash(&self, span: Range<usize>, key: &str, wrong: Wrong, first: (Range<usize>, &'static str)) {
        let mut problem = self.source.problem(Some(span), key, wrong.message);
        problem.help = wrong.help;
        problem.also = Some(first);
        self.list.borrow_mut().push(problem);
    }

    /// `key` is not there: in the table at `span`, or in the whole file.
    pub(super) fn missing(&self, span: Option<Range<usize>>, key: &str, wrong: Wrong) {
        let mut problem = self.source.problem(span, key, wrong.message);
        problem.help = wrong.help;
        problem.absence = true;
        self.list.borrow_mut().push(problem);
    }

    /// Forgets what was said of the text from `end` on, and what was missed: the text is no TOML from there.
    pub(super) fn believe_until(&self, end: usize) {
        self.list
            .borrow_mut()
            .retain(|problem| !problem.absence && problem.span.as_ref().is_some_and(|span| span.start < end));
    }

    /// What was found, if anything.
    pub(super) fn finish(self) -> Option<Problems> {
        Problems::new(self.source, self.list.into_inner())
    }
}
