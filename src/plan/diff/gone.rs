//! What the step from one plan to the next takes away: workers end what is left of it, and count it for those who ask
//! before. One list for both, so that what is told is what is done.

use std::{collections::HashSet, sync::Arc};

use super::super::Plan;
use crate::{config::Address, pool::Backend, telemetry::metrics::RouteMetrics};

/// What one plan has and the next one has not.
#[derive(Debug, Default)]
pub struct Gone {
    /// Numbers of listeners.
    pub listeners: HashSet<usize>,
    /// Numbers of backends.
    pub backends: HashSet<u32>,
    /// What counts routes.
    pub routes: Vec<Arc<RouteMetrics>>,
    /// Numbers of backends that only the next one has.
    pub met: Vec<u32>,
}

/// Under another name, at another address or in another pool it is another backend.
type Identity<'p> = (&'p str, &'p str, &'p Address);

fn identity(backend: &Arc<Backend>) -> Identity<'_> {
    (&backend.pool, &backend.name, &backend.address)
}

impl Gone {
    /// From `before` to `after`, which may have been made for a look alone: backends are known by what they are called.
    pub fn between(before: &Plan, after: &Plan) -> Self {
        let known = |plan| Plan::backends(plan).map(identity).collect::<HashSet<_>>();
        let (old, new) = (known(before), known(after));
        let of = |plan, others: &HashSet<Identity<'_>>| -> Vec<u32> {
            Plan::backends(plan)
                .filter(|backend| !others.contains(&identity(backend)))
                .map(|backend| backend.id)
                .collect()
        };
        let routes: HashSet<_> = after.routes.iter().map(|route| route.name.as_str()).collect();
        let gone = before.routes.iter().filter(|route| !routes.contains(route.name.as_str()));
        let listeners = before.listeners().map(|listener| listener.number);
        Self {
            listeners: listeners.filter(|number| after.listener(*number).is_none()).collect(),
            backends: of(before, &new).into_iter().collect(),
            routes: gone.map(|route| Arc::clone(&route.metrics)).collect(),
            met: of(after, &old),
        }
    }

    /// The place of that route among those that are gone.
    pub fn route(&self, route: &Arc<RouteMetrics>) -> Option<usize> {
        self.routes.iter().position(|gone| Arc::ptr_eq(gone, route))
    }
}
