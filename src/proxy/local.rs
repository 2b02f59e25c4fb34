//! What one worker owns and lends to its exchanges. Not `Send`, by design. Hot path.

use crate::{
    dial::Dialer,
    http::Spares,
    net::Splice,
    plan::{Metrics, Plan},
};
use std::{cell::Cell, fmt, rc::Rc, sync::Arc};
use tokio::sync::oneshot;

/// Asks the other workers to close an idle connection to a backend; each receiver is done when one has looked.
pub type AskOthers = Box<dyn Fn(u32) -> Vec<oneshot::Receiver<()>>>;

/// One worker's own.
pub struct Local {
    /// What the configuration means.
    pub plan: Arc<Plan>,
    /// Its connections to backends.
    pub dialer: Dialer,
    /// Buffers, pipes and heads.
    pub spares: Rc<Spares>,
    /// What it counts in, with its number.
    pub metrics: Arc<Metrics>,
    /// Its number.
    pub worker: usize,
    /// How to reach the others.
    pub ask_others: AskOthers,
    random: Cell<u64>,
}

impl Local {
    /// A worker's own, with nothing kept yet. Large bodies go through up to `pipes` pipes at a time.
    pub fn new(plan: Arc<Plan>, metrics: Arc<Metrics>, worker: usize, pipes: usize, ask_others: AskOthers) -> Self {
        Self {
            plan,
            dialer: Dialer::default(),
            spares: Rc::new(Spares { pipes: Splice::new(pipes), ..Spares::default() }),
            metrics,
            worker,
            ask_others,
            random: Cell::new(getrandom::u64().unwrap_or(worker as u64)),
        }
    }

    /// Random bits; not for secrets. (splitmix64: Steele, Lea and Flood, OOPSLA 2014.)
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("worker", &self.worker).finish_non_exhaustive()
    }
}
