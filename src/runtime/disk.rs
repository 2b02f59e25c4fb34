//! Looks after what changes on disk, on control's blocking pool: files (`files`) and certificates (`certificates`) of the plan
//! that is in force. Spawned by control.

use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{self, MissedTickBehavior},
};

/// How often it is looked at: PRODUCT.md section 6 promises that a new certificate is found within ten seconds.
const LOOK: Duration = Duration::from_secs(5);

/// What is looked after.
pub(super) trait Watch: Default + Send + 'static {
    /// In words for the log.
    const WHAT: &'static str;

    /// There is nothing to look at.
    fn is_empty(&self) -> bool;

    /// What was said of the same by `before` is not said again.
    fn follow(&mut self, before: &Self);

    /// Looks at all of it, and puts in force what has changed. Blocks.
    fn look(&mut self);
}

/// Looks after what was last sent, until nobody can send any.
pub(super) async fn watch_over<W: Watch>(mut sent: mpsc::UnboundedReceiver<W>) {
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watched = W::default();
    loop {
        tokio::select! {
            next = sent.recv() => {
                let Some(mut next) = next else { return };
                next.follow(&watched);
                watched = next;
            }
            _ = ticks.tick(), if !watched.is_empty() => {
                let mut all = std::mem::take(&mut watched);
                let look = move || {
                    all.look();
                    all
                };
                match tokio::task::spawn_blocking(look).await {
                    Ok(all) => watched = all,
                    Err(error) => tracing::error!(%error, "{} are not looked after until the next reload", W::WHAT),
                }
            }
        }
    }
}
