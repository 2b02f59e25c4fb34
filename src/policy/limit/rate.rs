//! A limit by its name: what it counts by, what passes, and what answers say of it. Hot path.

use super::{
    key::{Key, Seed},
    table::{Table, Terms},
    tier::Tier,
};
use crate::{
    config::{self, LimitAlgorithm, Secret},
    http::h1::write::decimal,
    policy::{Asked, Visit},
    telemetry::metrics::LimitMetrics,
};
use std::{path::Path, sync::Arc};

const SECOND: u64 = 1_000_000_000;

/// `[rate_limit.NAME]`. Shared by all routes of a plan that name it.
#[derive(Debug)]
pub struct Rate {
    pub(super) name: Box<str>,
    /// As a string of structured fields (RFC 9651).
    quoted: Box<[u8]>,
    pub(super) key: Key,
    seed: Seed,
    table: Arc<Table>,
    max_keys: usize,
    /// For keys of no tier.
    plain: Offer,
    tiers: Box<[(Tier, Offer)]>,
    /// Requests wait for their turn.
    pub(super) delays: bool,
    pub(super) dry_run: bool,
    pub(super) metrics: Arc<LimitMetrics>,
}

/// What a key may do.
#[derive(Debug)]
struct Offer {
    terms: Terms,
    /// Requests in a window.
    quota: u64,
    /// What `RateLimit-Policy` says.
    policy: Box<[u8]>,
}

/// A request before one limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask {
    hash: u64,
    /// The tier of its key, from 1; 0 = none.
    tier: usize,
    /// How far ahead the key is, once the request has been let in.
    ahead: u64,
}

impl Ask {
    /// It has been let in.
    pub(super) fn is_counted(&self) -> bool {
        self.ahead > 0
    }
}

impl Rate {
    /// As the configuration says; its buckets are in `table`.
    pub(super) fn new(
        limit: &config::RateLimit,
        seed: &Seed,
        table: impl FnOnce(u64) -> Arc<Table>,
        metrics: Arc<LimitMetrics>,
    ) -> Self {
        let quoted = format!("\"{}\"", limit.name);
        let delays = limit.algorithm == LimitAlgorithm::LeakyBucket;
        let offer = |rate: config::Rate, burst| Offer {
            terms: match limit.algorithm {
                LimitAlgorithm::TokenBucket => Terms::token_bucket(rate.period(), burst),
                LimitAlgorithm::LeakyBucket => Terms::leaky_bucket(rate.period(), nanos(limit.max_delay)),
            },
            quota: rate.requests,
            policy: format!("{quoted};q={};w={}", rate.requests, rate.seconds).into_bytes().into(),
        };
        let plain = offer(limit.rate, limit.burst);
        let tiers = limit.tiers.iter().map(|tier| (Tier::new(tier, seed), offer(tier.rate, tier.burst)));
        let tiers: Box<[_]> = tiers.collect();
        Self {
            name: limit.name.as_str().into(),
            key: Key::new(&limit.key),
            seed: seed.clone(),
            table: table(deepest(&plain, &tiers)),
            max_keys: limit.max_keys,
            plain,
            tiers,
            delays,
            dry_run: limit.dry_run,
            metrics,
            quoted: quoted.into_bytes().into(),
        }
    }

    /// It is in force: its buckets follow its bounds.
    pub fn settle(&self) {
        self.table.resize(self.max_keys, deepest(&self.plain, &self.tiers));
    }

    /// The files with keys of its tiers, and the tiers' names.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.tiers.iter().map(|(tier, _)| (tier.file.as_path(), &*tier.name))
    }

    /// `file` has these keys now. True: these are others than before.
    pub fn replace(&self, file: &Path, keys: &[Secret]) -> bool {
        let same = self.tiers.iter().filter(|(tier, _)| tier.is(file));
        same.fold(false, |changed, (tier, _)| tier.replace(keys, &self.seed) || changed)
    }

    /// Whose request it is.
    pub(super) fn look(&self, asked: &Asked<'_>, visit: &Visit) -> Ask {
        let mut tier = 0;
        let hash = self.key.hash(&self.seed, asked, visit, |hash| {
            let known = || self.tiers.iter().position(|(tier, _)| tier.has(hash)).map_or(0, |place| place + 1);
            tier = if tier == 0 { known() } else { tier };
        });
        Ask { hash, tier, ahead: 0 }
    }

    /// Counts the request if it may pass, and gives how long it waits.
    ///
    /// # Errors
    /// It may not; one may after so long.
    pub(super) fn take(&self, ask: &mut Ask, now: u64) -> Result<u64, u64> {
        let terms = self.offer(*ask).terms;
        let ahead = self.table.take(ask.hash, now, terms)?;
        ask.ahead = terms.after(ahead);
        Ok(if self.delays { ahead } else { 0 })
    }

    /// The request is not sent after all.
    pub(super) fn give_back(&self, ask: Ask) {
        self.table.give_back(ask.hash, self.offer(ask).terms);
    }

    /// How many more may be sent now: at most a window's.
    pub(super) fn left(&self, ask: Ask) -> u64 {
        let Offer { terms, quota, .. } = self.offer(ask);
        terms.left(ask.ahead).min(*quota)
    }

    /// Appends what `RateLimit-Policy` says to this client.
    pub(super) fn write_policy(&self, ask: Ask, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offer(ask).policy);
    }

    /// Appends what `RateLimit` says: so many now, and when there are more.
    pub(super) fn write_left(&self, ask: Ask, left: u64, out: &mut Vec<u8>) {
        // With nothing left: when the next may be sent. Else: when all of the quota is there again.
        let wait = if left == 0 { self.offer(ask).terms.wait(ask.ahead) } else { ask.ahead };
        self.write(left, seconds(wait), out);
    }

    /// Appends what `RateLimit` says to whom it refuses, for so many seconds.
    pub(super) fn write_refusal(&self, seconds: u64, out: &mut Vec<u8>) {
        self.write(0, seconds, out);
    }

    fn write(&self, left: u64, seconds: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.quoted);
        out.extend_from_slice(b";r=");
        decimal(left, out);
        out.extend_from_slice(b";t=");
        decimal(seconds, out);
    }

    fn offer(&self, ask: Ask) -> &Offer {
        let tier = ask.tier.checked_sub(1).and_then(|place| self.tiers.get(place));
        tier.map_or(&self.plain, |(_, offer)| offer)
    }
}

/// In whole seconds, rounded up; at least one.
pub(super) fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(SECOND).max(1)
}

fn nanos(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn deepest(plain: &Offer, tiers: &[(Tier, Offer)]) -> u64 {
    let all = tiers.iter().map(|(_, offer)| offer).chain([plain]);
    all.map(|offer| offer.terms.deepest()).max().unwrap_or_default()
}
