//! Collects problems while files are read, so that all of them are told at once.
//!
//! Shared by every part of `read`, one after the other: hence a cell, not `&mut` through all of them.

use std::{cell::RefCell, ops::Range, path::Path, sync::Arc};

use super::problem::{Place, Problem, Problems, RestsOn, Severity, Source};

/// A value that is not what its key wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What was found and what was wanted.
    pub(super) message: String,
    /// What to write instead.
    pub(super) help: Option<String>,
    /// Something that is missed in all files: not to be believed if one of them is no TOML.
    pub(super) missed: bool,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, missed: false }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// It says that something stands in none of the files.
    pub(super) fn missed(mut self) -> Self {
        self.missed = true;
        self
    }
}

/// What was found in all files.
#[derive(Default)]
pub(super) struct Findings(RefCell<Vec<Problem>>);

impl Findings {
    fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// Nothing but warnings.
    pub(super) fn fine(&self) -> bool {
        self.0.borrow().iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// Forgets what was missed in all files: one of them could not be read.
    pub(super) fn miss_nothing(&self) {
        self.0.borrow_mut().retain(|problem| problem.rests_on != RestsOn::All);
    }

    /// All of it, if anything; `file` is the one that was asked for.
    pub(super) fn finish(self, file: &Path) -> Option<Problems> {
        Problems::new(file, self.0.into_inner())
    }
}

/// Where the problems of one file are told.
#[derive(Clone, Copy)]
pub(super) struct Report<'a> {
    /// The file.
    pub(super) source: &'a Arc<Source>,
    findings: &'a Findings,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Arc<Source>, findings: &'a Findings) -> Self {
        Self { source, findings }
    }

    /// `key` at `span` is wrong.
    pub(super) fn wrong(self, span: Range<usize>, key: &str, wrong: Wrong) {
        self.tell(Some(span), key, wrong, |_| {});
    }

    /// `key` at `span` is wrong because of what stands at `first`, and what that is.
    pub(super) fn clash(self, span: Range<usize>, key: &str, wrong: Wrong, first: (Place, &'static str)) {
        self.tell(Some(span), key, wrong, |problem| problem.also = Some(first));
    }

    /// `key` at `span` has a meaning that is hardly meant, perhaps because of what stands at `also`.
    pub(super) fn warn(self, span: Range<usize>, key: &str, wrong: Wrong, also: Option<(Place, &'static str)>) {
        self.tell(Some(span), key, wrong, |problem| {
            problem.severity = Severity::Warning;
            problem.also = also;
        });
    }

    /// `key` is not there: in the table at `span`, or in all files.
    pub(super) fn missing(self, span: Option<Range<usize>>, key: &str, wrong: Wrong) {
        let rests_on = if span.is_some() { RestsOn::File } else { RestsOn::All };
        self.tell(span, key, wrong, |problem| problem.rests_on = rests_on);
    }

    /// A problem of another file that cannot be read.
    pub(super) fn push(self, problem: Problem) {
        self.findings.push(problem);
    }

    /// A piece of the file.
    pub(super) fn place(self, span: Range<usize>) -> Place {
        Place { source: Arc::clone(self.source), span }
    }

    /// Forgets what was said of the text from `end` on, and what was missed: the text is no TOML from there.
    pub(super) fn believe_until(self, end: usize) {
        self.findings.0.borrow_mut().retain(|problem| match problem.rests_on {
            RestsOn::All => false,
            _ if !Arc::ptr_eq(&problem.source, self.source) => true,
            RestsOn::File => false,
            RestsOn::Itself => problem.span.as_ref().is_some_and(|span| span.start < end),
        });
    }

    fn tell(self, span: Option<Range<usize>>, key: &str, wrong: Wrong, change: impl FnOnce(&mut Problem)) {
        let mut problem = self.source.problem(span, key, wrong.message);
        problem.help = wrong.help;
        if wrong.missed {
            problem.rests_on = RestsOn::All;
        }
        change(&mut problem);
        self.findings.push(problem);
    }
}
