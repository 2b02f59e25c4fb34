//! Keys of tokens that are fetched from servers: one task a place, on control, for as long as a plan looks at it.

use super::{Shared, fetch};
use crate::{
    config::{
        Url,
        auth::{KeySet, MAX_KEY_SET},
    },
    plan::Plan,
    policy::{Keys, Place, after_failures, good_for},
};
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout},
};

/// A server has so long for its keys.
const PATIENCE: Duration = Duration::from_secs(5);

/// The tasks, by where the keys are in memory, which the task keeps.
#[derive(Default)]
pub(super) struct Fetchers(HashMap<usize, Fetcher>);

/// Stops with it.
struct Fetcher(AbortHandle);

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetchers {
    /// The keys that `plan` looks at are kept fresh, and no others.
    pub(super) fn follow(&mut self, plan: &Plan, shared: &Arc<Shared>) {
        let mut old = std::mem::take(&mut self.0);
        for keys in plan.auths.iter().filter_map(|auth| auth.keys()) {
            let Place::Url(url) = &keys.place else { continue };
            let known = Arc::as_ptr(keys).addr();
            let fetcher = old.remove(&known);
            self.0.entry(known).or_insert_with(|| {
                let start = || tokio::spawn(keep(Arc::clone(keys), url.clone(), Arc::clone(shared)));
                fetcher.unwrap_or_else(|| Fetcher(start().abort_handle()))
            });
        }
    }
}

impl fmt::Debug for Fetchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fetchers").field(&self.0.len()).finish()
    }
}

/// Fetches without end.
async fn keep(keys: Arc<Keys>, url: Url, shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        keys.looks();
        let wait = match look(&keys, &url, &shared).await {
            Ok(good) => {
                if failures > 0 {
                    tracing::info!(url = %url, failures, "the keys of tokens are there again");
                }
                failures = 0;
                good
            }
            Err(why) => {
                failures += 1;
                say(&url, &why, failures, keys.today().is_some());
                after_failures(failures)
            }
        };
        keys.looked(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = keys.wanted() => {}
        }
    }
}

/// Fetches once. Gives how long that is good.
async fn look(keys: &Keys, url: &Url, shared: &Arc<Shared>) -> Result<Duration, String> {
    let question = fetch::question(url, &shared.registry);
    let fetching = fetch::fetch(url, question.as_deref(), &shared.registry, MAX_KEY_SET);
    let found = timeout(PATIENCE, fetching).await.map_err(|_| format!("it took longer than {PATIENCE:?}"))??;
    let good = good_for(found.cache_control.as_deref());
    let (set, strange) = KeySet::parse(&found.bytes)?;
    if keys.replace(set) {
        tracing::info!(url = %url, "other keys verify tokens from now on");
        strange.iter().for_each(|why| tracing::warn!(url = %url, %why, "a key is not used"));
    }
    Ok(good)
}

/// Says when failures begin, each minute while there are no keys, and hardly ever while there are.
fn say(url: &Url, why: &str, failures: u32, has_keys: bool) {
    match (has_keys, failures) {
        (true, failures) if failures % 60 == 1 => {
            tracing::warn!(url = %url, why, failures, "keys of tokens cannot be fetched; the last ones stay");
        }
        (false, 1 | 6..) => {
            tracing::error!(url = %url, why, failures, "there are no keys yet, so no token is believed: 503");
        }
        _ => tracing::debug!(url = %url, why, failures, "keys of tokens cannot be fetched"),
    }
}
