//! How many requests pass: rate limits by key, and how many of a key are in flight. Called by `policies`, at two stages: by
//! what a request shows, and by what `auth` has found out. Hot path.
//!
//! - `table`: buckets by key, bounded whatever comes · `in_flight`: counts by key
//! - `key`: what a request is counted by · `tier`: whose keys have a rate of their own
//! - `rate`: one `[rate_limit.NAME]` · `memory`: what outlives a plan
//!
//! **Several limits** of a route must agree: a request that one refuses is counted by none of its stage. What an earlier
//! stage has counted stays counted, as the request has come so far.
//!
//! **What answers say.** Refused ones: `Retry-After`. All of a route with limits that refuse: `RateLimit-Policy` of each and
//! `RateLimit` of the one that is nearest to its end (draft-ietf-httpapi-ratelimit-headers): `q` and `w` are the rate as
//! written, `r` is what passes now and never more than `q`, even where the burst is larger; `t` says when all of that is
//! there again, or with `r=0` when the next one passes.

mod in_flight;
mod key;
mod memory;
mod rate;
mod table;
mod tier;

use self::{
    in_flight::InFlight,
    rate::{Ask, seconds},
};
use super::{Asked, Verdict, Visit};
use crate::{error::Kind, http::h1::write::decimal};
use std::{sync::Arc, time::Duration};

pub use in_flight::{Counts, Held};
pub use memory::{Memory, OfRoute, Rates};
pub use rate::Rate;
pub use table::{Table, Terms};

/// Limits that a route may name.
pub const MOST: usize = crate::config::MOST_LIMITS;
/// What the access log calls `in_flight_limit`.
const IN_FLIGHT: &str = "in_flight";
/// Nobody knows when one of those in flight will end.
const RETRY_AFTER: u64 = 1;

/// What a route asks at one stage.
#[derive(Debug, Default)]
pub struct Limits {
    in_flight: Option<InFlight>,
    rates: Vec<Arc<Rate>>,
}

impl Limits {
    fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.rates.is_empty()
    }

    /// May the request pass?
    pub fn ask(&self, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
        if let Some(limit) = &self.in_flight {
            match limit.enter(asked, visit) {
                // While it waits for its turn it is in flight, too.
                Some(held) => visit.held = Some(held),
                None => {
                    visit.limit = Some(IN_FLIGHT.into());
                    retry_after(visit, RETRY_AFTER);
                    return Verdict::Refuse(Kind::InFlightLimited);
                }
            }
        }
        if self.rates.is_empty() { Verdict::Pass } else { self.count(visit, asked) }
    }

    fn count(&self, visit: &mut Visit, asked: &Asked<'_>) -> Verdict {
        let mut asks = [Ask::default(); MOST];
        let asks = &mut asks[..self.rates.len().min(MOST)];
        for (rate, ask) in self.rates.iter().zip(&mut *asks) {
            *ask = rate.look(asked, visit);
        }
        let (mut delay, mut late) = (0, None);
        for (place, rate) in self.rates.iter().enumerate() {
            match rate.take(&mut asks[place], asked.now) {
                Ok(0) => {}
                Ok(_) if rate.dry_run => note(visit, rate),
                Ok(wait) if wait > delay => (delay, late) = (wait, Some(rate)),
                Ok(_) => {}
                Err(_) if rate.dry_run => {
                    rate.metrics.limited(asked.worker);
                    note(visit, rate);
                }
                Err(wait) => {
                    rate.metrics.limited(asked.worker);
                    note(visit, rate);
                    self.refuse(visit, asks, place, seconds(wait));
                    return Verdict::Refuse(Kind::RateLimited);
                }
            }
        }
        self.say(visit, asks);
        match late {
            None => Verdict::Pass,
            Some(rate) => {
                note(visit, rate);
                Verdict::Sleep(Duration::from_nanos(delay))
            }
        }
    }

    /// The limit at `refusing` lets nothing pass for so many seconds: those before it give back what they have counted.
    fn refuse(&self, visit: &mut Visit, asks: &[Ask], refusing: usize, seconds: u64) {
        // One of a dry run that has refused has counted nothing, and `ahead` tells.
        let counted = self.rates.iter().zip(asks).take(refusing).filter(|(_, ask)| ask.is_counted());
        counted.for_each(|(rate, ask)| rate.give_back(*ask));
        visit.held = None;
        retry_after(visit, seconds);
        self.say_policies(visit, asks);
        visit.answer.add("RateLimit", |out| self.rates[refusing].write_refusal(seconds, out));
    }

    /// Tells the client where it stands.
    fn say(&self, visit: &mut Visit, asks: &[Ask]) {
        let left = |(rate, ask): (&Arc<Rate>, &Ask)| rate.left(*ask);
        let real = self.rates.iter().zip(asks).filter(|(rate, _)| !rate.dry_run);
        let Some((least, rate, ask)) = real.map(|pair| (left(pair), pair.0, pair.1)).min_by_key(|(left, ..)| *left)
        else {
            return;
        };
        self.say_policies(visit, asks);
        visit.answer.add("RateLimit", |out| rate.write_left(*ask, least, out));
    }

    fn say_policies(&self, visit: &mut Visit, asks: &[Ask]) {
        visit.answer.add("RateLimit-Policy", |out| {
            let real = self.rates.iter().zip(asks).filter(|(rate, _)| !rate.dry_run);
            for (place, (rate, ask)) in real.enumerate() {
                out.extend_from_slice(if place > 0 { b", " } else { b"" });
                rate.write_policy(*ask, out);
            }
        });
    }
}

/// Whoever reads the log learns which limit it was.
fn note(visit: &mut Visit, rate: &Rate) {
    visit.limit = Some(rate.name.clone());
}

fn retry_after(visit: &mut Visit, seconds: u64) {
    visit.answer.add("Retry-After", |out| decimal(seconds, out));
}

#[cfg(test)]
mod tests;
