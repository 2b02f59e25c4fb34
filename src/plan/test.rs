//! `[[test]]`: whether requests go where they should. Asked by `check`, before a start, and before each reload; the answer
//! is what `explain` says.

use super::{Explanation, Plan, Setting};
use crate::{
    config::{Config, Expect, Problem, Problems, Test, Text, Wanted},
    route,
};
use std::{fmt, path::Path};

/// Why the tests of a configuration did not pass.
#[derive(Debug)]
pub enum TestError {
    /// It cannot be made a plan of on this machine.
    Plan(String),
    /// They have failed.
    Failed(Problems),
}

impl fmt::Display for TestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(why) => f.write_str(why),
            Self::Failed(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for TestError {}

/// Runs the tests of `config`, which stands in `file`. Without tests nothing is built.
///
/// # Errors
/// Some have failed, with all that was found.
pub fn test(config: &Config, file: &Path) -> Result<(), TestError> {
    if config.tests.is_empty() {
        return Ok(());
    }
    let plan = Plan::alone(config).map_err(TestError::Plan)?;
    let failed = config.tests.iter().flat_map(|test| run(&plan, config, test)).collect();
    Problems::of_tests(file, failed).map_or(Ok(()), |problems| Err(TestError::Failed(problems)))
}

fn run(plan: &Plan, config: &Config, test: &Test) -> Vec<Problem> {
    let found = plan.explain(config, &test.request, false);
    let mut failed = Vec::new();
    let mut check = |problem: Option<Problem>| failed.extend(problem);
    let Expect { route, pool, status, location, headers } = &test.expect;
    let tell = |what: String| format!("{:?}: {what}", test.name);
    check(route.as_ref().and_then(|wanted| name(wanted, found.route.as_deref(), "route", &found, &tell)));
    check(pool.as_ref().and_then(|wanted| match found.split.iter().any(|side| side.kept) || found.split.is_empty() {
        true => name(wanted, found.pool.as_deref(), "pool", &found, &tell),
        false if found.pool.as_ref() == Some(&wanted.value) => None,
        false => {
            Some(wanted.failed(tell(format!("chance decides between pools: {}", found.headline())), why(&found, None)))
        }
    }));
    check(status.as_ref().and_then(|wanted| {
        let answer = found.answer.as_ref();
        match answer.and_then(|answer| answer.status) {
            Some(status) if status == wanted.value => None,
            Some(status) => {
                Some(wanted.failed(tell(format!("found {status}, wanted {}", wanted.value)), why(&found, None)))
            }
            None => Some(wanted.failed(tell(unknown(&found, "the status")), why(&found, None))),
        }
    }));
    check(location.as_ref().and_then(|wanted| match found.answer.as_ref().map(|answer| answer.location.as_deref()) {
        Some(Some(location)) if location == wanted.value => None,
        Some(Some(location)) => {
            Some(wanted.failed(tell(format!("found {location:?}, wanted {:?}", wanted.value)), why(&found, None)))
        }
        Some(None) => Some(wanted.failed(tell("the answer sends nobody elsewhere".to_owned()), why(&found, None))),
        None => Some(wanted.failed(tell(unknown(&found, "the place")), why(&found, None))),
    }));
    for (name, wanted) in headers {
        check(header(config, name, wanted, &found).map(|message| wanted.failed(tell(message), why(&found, None))));
    }
    failed
}

/// The route or pool that was expected.
fn name(
    wanted: &Wanted<String>,
    found: Option<&str>,
    what: &str,
    explanation: &Explanation,
    tell: &impl Fn(String) -> String,
) -> Option<Problem> {
    if found == Some(&wanted.value) {
        return None;
    }
    let found = found.map_or_else(|| format!("no {what}"), |name| format!("{what} {name:?}"));
    let other = (what == "route").then_some(wanted.value.as_str());
    Some(wanted.failed(tell(format!("found {found}, wanted {:?}", wanted.value)), why(explanation, other)))
}

/// What is wrong with the field `name` of the answer.
fn header(config: &Config, name: &str, wanted: &Wanted<Text>, found: &Explanation) -> Option<String> {
    let (fields, ours) = match &found.answer {
        Some(answer) => (&answer.headers, true),
        None => (&found.response_headers, false),
    };
    let values: Vec<_> = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).collect();
    let text = route::Text::new(&wanted.value);
    let fits = |field: &&&Setting| text.matches(field.value.as_bytes());
    let fine = values.iter().any(|field| fits(&field));
    let removed = || {
        let route = config.routes.iter().find(|route| found.route.as_ref() == Some(&route.name));
        route.is_some_and(|route| route.response_headers.remove.iter().any(|other| other == name))
    };
    match (text.wants_absence(), values.first()) {
        (false, Some(_)) if fine => None,
        (false, Some(first)) => Some(format!("found {name}: {:?}, which is another value", first.value)),
        (true, Some(first)) => Some(format!("found {name}: {:?}, wanted none", first.value)),
        (true, None) if ours || removed() => None,
        (false, None) if ours || removed() => Some(format!("the answer has no {name}")),
        (_, None) => Some(unknown(found, &format!("the header {name}"))),
    }
}

/// A backend's answer is nobody's to know here.
fn unknown(found: &Explanation, what: &str) -> String {
    match &found.pool {
        _ if found.answer.is_some() => format!("{what} is not known: the connection is closed without an answer"),
        Some(pool) => format!("{what} is what a backend of {pool:?} says: it cannot be known here"),
        None => format!("{what} is what a backend says: it cannot be known here"),
    }
}

/// What happened instead, and what kept it from the route `wanted`.
fn why(found: &Explanation, wanted: Option<&str>) -> String {
    let because = found.answer.as_ref().map(|answer| format!(": {}", answer.why)).unwrap_or_default();
    let missed = found.routes.iter().find(|tried| wanted == Some(tried.name.as_str()));
    let missed = missed.map(|tried| format!("; {:?}: {}", tried.name, tried.why)).unwrap_or_default();
    format!("{}{because}{missed}", found.headline())
}
