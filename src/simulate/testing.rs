//! For tests of the simulator.

use super::{Contender, Outcome, Traffic, compare};
use crate::config::scenario::Scenario;
use std::path::Path;

/// The scenario of `text`; with a backend, if it names none.
pub(super) fn scenario(text: &str) -> Scenario {
    let backend = if text.contains("backend") { "" } else { "\nbackend = { service = \"1ms\" }" };
    let text = format!("{text}{backend}");
    Scenario::parse(&text, Path::new("test.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What each of `contenders` makes of the scenario of `text`.
pub(super) fn play<const N: usize>(text: &str, contenders: [Contender; N]) -> [Outcome; N] {
    let scenario = scenario(text);
    let traffic = Traffic::load(&scenario).unwrap();
    println!("seed {}", scenario.seed);
    compare(&scenario, &traffic, &contenders, N, &|_| {}).try_into().unwrap()
}
