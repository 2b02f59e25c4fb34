//! What a scenario says of its backends, in the order of its time: who fails, comes, goes, and when the balancers know.

use super::nanos;
use crate::config::scenario::{Backend, Scenario, Span};
use std::time::Duration;

/// A ramp has so many steps, and none is shorter than this: as control does it.
const STEPS: u32 = 20;
const LEAST_STEP: Duration = Duration::from_millis(250);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    /// From now on it is measured.
    Measure,
    /// This backend begins to fail.
    Fails(u32),
    /// It can serve again.
    Heals(u32),
    /// It is so many times as slow.
    Slows(u32, f64),
    /// The balancers take it out: its checks have failed, or it leaves.
    Out(u32),
    /// They take it in.
    In(u32),
    /// Weights have grown.
    Ramp,
}

/// Backends of a scenario one by one, in its order: the group of each, and its name.
pub(super) fn backends(scenario: &Scenario) -> impl Iterator<Item = (usize, String)> {
    scenario.backends.iter().enumerate().flat_map(|(group, backend)| {
        let name = move |number: u32| match backend.count {
            1 => (group, backend.name.clone()),
            _ => (group, format!("{}-{number}", backend.name)),
        };
        (1..=backend.count).map(name)
    })
}

/// All that happens, in order, with its time in nanoseconds.
pub(super) fn changes(scenario: &Scenario) -> Vec<(u64, Change)> {
    let mut all = vec![(nanos(scenario.warm_up), Change::Measure)];
    for (id, (group, _)) in (0..).zip(backends(scenario)) {
        let backend = &scenario.backends[group];
        for span in &backend.fails {
            fails(scenario, (id, backend), *span, &mut all);
        }
        for (Span { at, length }, factor) in &backend.slow {
            all.push((nanos(*at), Change::Slows(id, *factor)));
            all.push((nanos(*at + *length), Change::Slows(id, 1.0)));
        }
        if let Some(at) = backend.joins {
            joins(scenario, id, at, &mut all);
        }
        all.extend(backend.leaves.map(|at| (nanos(at), Change::Out(id))));
    }
    // In a step of the time, what is out before what is in: the order that they were written in counts.
    all.sort_by_key(|(at, _)| *at);
    all
}

/// It fails, and the balancers find out in time, as far as it is one of theirs then.
fn fails(
    scenario: &Scenario,
    (id, Backend { joins: joins_at, leaves, .. }): (u32, &Backend),
    span: Span,
    all: &mut Vec<(u64, Change)>,
) {
    let (from, to) = (span.at, span.at + span.length);
    all.push((nanos(from), Change::Fails(id)));
    all.push((nanos(to), Change::Heals(id)));
    let (out, back) = (from + scenario.down_after, to + scenario.up_after);
    if out >= to || joins_at.is_some_and(|joins| out < joins) {
        return;
    }
    all.push((nanos(out), Change::Out(id)));
    if leaves.is_none_or(|leaves| back < leaves) {
        joins(scenario, id, back, all);
    }
}

/// It joins, with the steps of its ramp.
fn joins(scenario: &Scenario, id: u32, at: Duration, all: &mut Vec<(u64, Change)>) {
    all.push((nanos(at), Change::In(id)));
    let Some(time) = scenario.slow_start else { return };
    let step = (time / STEPS).max(LEAST_STEP);
    let mut passed = step;
    while passed < time {
        all.push((nanos(at + passed), Change::Ramp));
        passed += step;
    }
    all.push((nanos(at + time), Change::Ramp));
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn what_happens_is_in_order_with_what_the_balancers_know_of_it() {
        let scenario = testing::scenario(
            "duration = \"60s\"\nslow_start = \"1s\"\ndown_after = \"2s\"\nup_after = \"3s\"\nwarm_up = \"5s\"\n\
             arrivals = { rate = \"1/s\" }\nbackend = [{ service = \"1ms\" }, { name = \"b\", service = \"1ms\", \
             fails = [{ at = \"10s\", for = \"5s\" }, { at = \"30s\", for = \"1s\" }], \
             slow = { at = \"20s\", for = \"1s\", factor = 3 }, leaves = \"50s\" }]",
        );
        let told: Vec<_> = changes(&scenario).into_iter().map(|(at, change)| (at / 1_000_000, change)).collect();
        assert_eq!(
            told,
            [
                (5_000, Change::Measure),
                (10_000, Change::Fails(1)),
                (12_000, Change::Out(1)),
                (15_000, Change::Heals(1)),
                (18_000, Change::In(1)),
                (18_250, Change::Ramp),
                (18_500, Change::Ramp),
                (18_750, Change::Ramp),
                (19_000, Change::Ramp),
                (20_000, Change::Slows(1, 3.0)),
                (21_000, Change::Slows(1, 1.0)),
                (30_000, Change::Fails(1)),
                (31_000, Change::Heals(1)),
                (50_000, Change::Out(1)),
            ]
        );
    }
}
