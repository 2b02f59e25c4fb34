//! Files with the keys of rate limits' tiers, which may change: looked at by a task of control, on its blocking pool.

use crate::{
    config::Tier,
    policy::limit::{Rate, Rates},
    tls::Stamp,
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// As often as certificates.
const LOOK: Duration = Duration::from_secs(5);

/// The files of a plan.
#[derive(Default)]
pub(super) struct Tiers(Vec<Watched>);

/// A file.
struct Watched {
    path: PathBuf,
    /// For people.
    tier: String,
    rate: Arc<Rate>,
    /// As it was when its keys were taken; `None` = not looked at yet.
    seen: Option<Stamp>,
    /// Why it cannot be read, which has been said.
    refused: Option<String>,
}

impl Tiers {
    /// Those of `rates`.
    pub(super) fn of(rates: &Rates) -> Self {
        let files = |rate: &Arc<Rate>| {
            let watched = |(path, tier): (&std::path::Path, &str)| Watched {
                path: path.to_owned(),
                tier: tier.to_owned(),
                rate: Arc::clone(rate),
                seen: None,
                refused: None,
            };
            rate.files().map(watched).collect::<Vec<_>>()
        };
        Self(rates.values().flat_map(files).collect())
    }

    /// Looks at all files, and puts in force what has changed. Blocks.
    fn look(&mut self) {
        self.0.iter_mut().for_each(Watched::look);
    }
}

impl Watched {
    fn look(&mut self) {
        let now = Stamp::of(&self.path).ok();
        if now.is_some() && now == self.seen {
            return;
        }
        let (file, tier) = (self.path.display(), &self.tier);
        match Tier::load(&self.path) {
            // Somebody writes it at this moment: the next look tells.
            Ok(_) if Stamp::of(&self.path).ok() != now => {}
            Ok(keys) => {
                self.rate.replace(&self.path, &keys);
                let first = self.seen.is_none() && self.refused.is_none();
                (self.seen, self.refused) = (now, None);
                if !first {
                    tracing::info!(%file, tier, keys = keys.len(), "the keys of a tier have changed");
                }
            }
            Err(why) => {
                if self.refused.as_ref() != Some(&why) {
                    tracing::error!(%file, tier, %why, "the keys of a tier cannot be read, those in use stay");
                }
                self.refused = Some(why);
            }
        }
    }
}

/// Looks after the files that were last sent, until nobody can send any.
pub(super) async fn watch_over(mut sent: mpsc::UnboundedReceiver<Tiers>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tiers = Tiers::default();
    loop {
        tokio::select! {
            next = sent.recv() => {
                let Some(next) = next else { return };
                tiers = next;
            }
            _ = ticks.tick(), if !tiers.0.is_empty() => {
                let mut all = std::mem::take(&mut tiers);
                let look = move || {
                    all.look();
                    all
                };
                match tokio::task::spawn_blocking(look).await {
                    Ok(all) => tiers = all,
                    Err(error) => tracing::error!(%error, "tiers are not looked after until the next reload"),
                }
            }
        }
    }
}
