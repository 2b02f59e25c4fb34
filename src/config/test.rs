//! `[[test]]` as it was read: a request, and what is expected of it. Filled by `read::test`; `plan::test` asks, and tells
//! here what was found instead.

use std::path::Path;

use super::{
    Sample, Text,
    problem::{Place, Problem, Problems},
    section::Field,
};

/// `[[test]]`: a request, and what is expected of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// For people; `GET https://a.example/x` by default.
    pub name: String,
    /// What is asked about.
    pub request: Sample,
    /// What is expected; something is.
    pub expect: Expect,
}

/// What is expected of a request; `None` = nothing in that respect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// The name of the route that it takes, which there is.
    pub route: Option<Wanted<String>>,
    /// The name of the pool that it goes to, which there is.
    pub pool: Option<Wanted<String>>,
    /// The status of our own answer, 100 to 599.
    pub status: Option<Wanted<u16>>,
    /// The place that our own answer sends it to.
    pub location: Option<Wanted<String>>,
    /// Fields of the answer, by name in lower case.
    pub headers: Vec<(String, Wanted<Text>)>,
}

/// One expectation, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<T> {
    /// What is expected.
    pub value: T,
    key: String,
    place: Place,
}

impl<T> Wanted<T> {
    /// `value` is what `field` says.
    pub(super) fn new(value: T, field: &Field<'_>) -> Self {
        Self { value, key: field.key.clone(), place: field.place() }
    }

    /// It is not so: what was found, and why.
    pub fn failed(&self, message: String, why: String) -> Problem {
        let mut problem = self.place.source.problem(Some(self.place.span.clone()), &self.key, message);
        problem.help = Some(why);
        problem
    }
}

impl Problems {
    /// What failed of the tests of the configuration at `file`; `None` if nothing did.
    pub fn of_tests(file: &Path, failed: Vec<Problem>) -> Option<Self> {
        Self::new(file, failed)
    }
}
