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
    let (found, _) = plan.explain_first(config, &test.request, false);
    let Expect { route, pool, status, location, headers } = &test.expect;
    let tell = |what: String| format!("{:?}: {what}", test.name);
    let mut failed = Vec::new();
    if let Some((wanted, what)) = differs(route, |name| other_route(name, &found)) {
        failed.push(wanted.failed(tell(what), why(&found, Some(&wanted.value))));
    }
    if let Some((wanted, what)) = differs(pool, |name| other_pool(name, &found)) {
        failed.push(wanted.failed(tell(what), why(&found, None)));
    }
    if let Some((wanted, what)) = differs(status, |status| other_status(*status, &found)) {
        failed.push(wanted.failed(tell(what), why(&found, None)));
    }
    if let Some((wanted, what)) = differs(location, |location| other_location(location, &found)) {
        failed.push(wanted.failed(tell(what), why(&found, None)));
    }
    for (name, wanted) in headers {
        failed.extend(header(config, name, wanted, &found).map(|what| wanted.failed(tell(what), why(&found, None))));
    }
    failed
}

/// What is expected, if something is and it is not so, and what was found in its place.
fn differs<T>(wanted: &Option<Wanted<T>>, found: impl FnOnce(&T) -> Option<String>) -> Option<(&Wanted<T>, String)> {
    let wanted = wanted.as_ref()?;
    found(&wanted.value).map(|what| (wanted, what))
}

fn other_route(wanted: &str, found: &Explanation) -> Option<String> {
    match &found.route {
        Some(name) if name == wanted => None,
        Some(name) => Some(format!("found route {name:?}, wanted {wanted:?}")),
        None => Some(format!("found no route, wanted {wanted:?}")),
    }
}

fn other_pool(wanted: &str, found: &Explanation) -> Option<String> {
    match &found.pool {
        Some(name) if name == wanted => None,
        Some(name) => Some(format!("found pool {name:?}, wanted {wanted:?}")),
        None if found.answer.is_none() => {
            Some(format!("chance decides between pools, and {wanted:?} cannot be expected"))
        }
        None => Some(format!("found no pool, wanted {wanted:?}")),
    }
}

fn other_status(wanted: u16, found: &Explanation) -> Option<String> {
    match found.answer.as_ref().and_then(|answer| answer.status) {
        Some(status) if status == wanted => None,
        Some(status) => Some(format!("found {status}, wanted {wanted}")),
        None => Some(unknown(found, "the status")),
    }
}

fn other_location(wanted: &str, found: &Explanation) -> Option<String> {
    let Some(answer) = &found.answer else { return Some(unknown(found, "the place")) };
    match &answer.location {
        Some(location) if location == wanted => None,
        Some(location) => Some(format!("found {location:?}, wanted {wanted:?}")),
        None => Some("the answer sends nobody elsewhere".to_owned()),
    }
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
