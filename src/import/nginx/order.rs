//! Which of the answers of a place goes first: nginx asks in the order of the file, a router of ours for what asks for most.
//! Called by `route`.

use std::collections::BTreeSet;

use super::{
    Import, Server,
    condition::{Condition, Test},
    flow::{Action, Flow},
    guards::differs,
    location::Location,
    route::Spot,
};

impl<'a> Import<'a> {
    /// Somewhere the order of the guards has to be kept by expressions, which are tried in the order of the file.
    pub(super) fn outranked(
        &mut self,
        outer: &Flow<'a>,
        locations: &[Location<'a>],
        server: &Server<'a>,
        spot: &Spot<'_>,
    ) -> bool {
        let constants = self.constants.clone();
        let mut found = outranks(&outer.guards, None, spot.everywhere);
        for one in locations {
            let inner = self.inner(one, &server.name);
            self.constants = constants.clone();
            let guards = [outer.guards.as_slice(), inner.guards.as_slice()].concat();
            found |= outranks(&guards, inner.end.as_ref(), spot.everywhere);
        }
        found
    }
}

/// Routes of one host go before those of any: the others' answers must be of that host as well.
pub(super) fn hosts_first(guards: Vec<(Condition, Action)>) -> Vec<(Condition, Action)> {
    let alone = |(condition, _): &(Condition, Action)| matches!(condition.test, Test::Host(_)) && condition.negated;
    let (hosts, rest): (Vec<_>, Vec<_>) = guards.into_iter().partition(alone);
    hosts.into_iter().chain(rest).collect()
}

/// Of the routes that `guards` in front of `end` become, one would go before an earlier one because it asks for more: that
/// of all others, or one that refuses nobody before one that does.
pub(super) fn outranks(guards: &[(Condition, Action)], end: Option<&Action>, everywhere: bool) -> bool {
    let refuses = |action: &Action| action.status >= 400;
    // How many things each asks for, and whether it refuses, in the order of the file.
    let (mut before, mut keys) = (Vec::new(), BTreeSet::new());
    for (condition, action) in guards {
        let asked = keys.len();
        match (&condition.test, condition.negated) {
            (Test::Key(key, value), negated) => {
                let with = asked + usize::from(!keys.contains(key));
                if !negated || differs(key, value).is_some() {
                    before.push((with, refuses(action)));
                }
                if negated {
                    keys.insert(key);
                }
            }
            (Test::Host(_), true) => {}
            (Test::Tls(_) | Test::Port(_), _) => before.push((asked + usize::from(everywhere), refuses(action))),
            (Test::Host(_), false) => before.push((asked + 1, refuses(action))),
        }
    }
    let asked = keys.len();
    // Those of the negated ones stand behind that of all others, and ask for less.
    let main = !end.is_some_and(refuses) && before.iter().any(|(earlier, _)| *earlier < asked);
    main || before.iter().enumerate().any(|(at, (asked, refuses))| {
        !refuses && before[..at].iter().any(|(earlier, refused)| *refused && earlier < asked)
    })
}
