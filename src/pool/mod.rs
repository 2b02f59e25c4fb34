//! Named sets of backends: who they are, what they carry, and which of them can be chosen.

mod adaptive;
mod backend;
mod breaker;
mod drain;
mod guard;
mod health;
mod lease;
mod outlier;
mod queue;
mod registry;
mod retry_budget;
mod seen;
mod sessions;
mod slot;
mod slow_start;
mod table;
mod window;

pub use adaptive::Adaptive;
pub use backend::{Backend, Counted, Ordered};
pub use breaker::{Breaker, Change, Circuit, Rules, Ticket};
pub use drain::Drain;
pub use guard::{Ejections, Guard, On, Room};
pub use health::{Health, Verdict};
pub use lease::{Lease, Refused};
pub use outlier::{News, Outlier, OutlierRule, judge};
pub use queue::{Called, Place, Turn, Wants};
pub use registry::Registry;
pub use retry_budget::RetryBudget;
pub use seen::Seen;
pub use sessions::Sessions;
pub use slot::Slot;
pub use slow_start::SlowStart;
pub use table::{Build, Table};
