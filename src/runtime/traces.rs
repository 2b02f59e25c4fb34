//! Sends the spans that workers have left to the collector of traces. A task of control, which nobody waits for.
//!
//! What is there goes once a second, sooner where there is much: a message of at most 512 spans at a time. One that is not
//! taken is sent again a few times, as the collector says or after a while, and is then lost. Meanwhile spans find no room
//! with the workers, who drop them. All that is lost is counted.

use super::{
    Phase, Shared,
    collector::{Collector, Refused},
};
use crate::{
    config::{Config, Url},
    telemetry::trace::{Batches, Source, Spans, message},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// How long a span waits for others.
const EVERY: Duration = Duration::from_secs(1);
/// A collector has so long for a message.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a message is sent,
const TRIES: u32 = 5;
/// and how long is waited between two times at the most, whatever the collector says.
const LONGEST: Duration = Duration::from_secs(30);
/// How often it is said that spans cannot be sent.
const SAY: Duration = Duration::from_secs(60);
/// How soon it is said for another reason.
const SAY_OTHER: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans to be taken.
const LAST: Duration = Duration::from_secs(2);

/// Where spans go, and who sends them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    url: Url,
    source: Arc<Source>,
}

impl Target {
    fn of(config: &Config) -> Option<Self> {
        let url = config.trace.as_ref()?.otlp.clone();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Some(Self { url, source: Arc::new(Source { instance: config.server.name.clone(), host }) })
    }
}

/// From now on spans go where `config` says; those that are there still go where they were to.
pub(super) fn set(config: &Config, shared: &Shared) {
    let target = Target::of(config);
    shared.spans.set_open(target.is_some());
    shared.traces.send_if_modified(|now| {
        let changes = *now != target;
        *now = target;
        changes
    });
}

/// Sends until no worker leaves spans any more.
pub(super) async fn export(shared: Arc<Shared>) {
    let mut end = End { targets: shared.traces.subscribe(), phase: shared.phase.subscribe(), target: None };
    loop {
        end.target = end.targets.borrow().clone();
        match &end.target {
            None => end.comes().await,
            Some(target) => {
                let collector = Collector::new(target.url.clone(), &shared.registry);
                let source = Arc::clone(&target.source);
                let complaint = Complaint::new(target.url.to_string(), &shared.spans);
                let mut exporter = Exporter { shared: &shared, source, collector, complaint, end: &mut end };
                exporter.run().await;
            }
        }
        if *end.phase.borrow() == Phase::Ended {
            return;
        }
    }
}

/// Waits until the last spans are sent, but not for long.
pub(super) async fn finish(export: JoinHandle<()>) {
    if timeout(LAST, export).await.is_err() {
        tracing::warn!("the last spans are not taken: they are lost");
    }
}

/// When spans go elsewhere, or nowhere.
struct End {
    targets: watch::Receiver<Option<Target>>,
    phase: watch::Receiver<Phase>,
    target: Option<Target>,
}

impl End {
    /// Resolves when that is so, and each time then.
    async fn comes(&mut self) {
        let target = &self.target;
        tokio::select! {
            _ = self.targets.wait_for(|now| now != target) => {}
            _ = self.phase.wait_for(|phase| *phase == Phase::Ended) => {}
        }
    }
}

/// Sends to one collector.
struct Exporter<'e> {
    shared: &'e Shared,
    source: Arc<Source>,
    collector: Collector,
    complaint: Complaint<'e>,
    end: &'e mut End,
}

impl Exporter<'_> {
    /// Until its end has come; then it sends what is there for the last time.
    async fn run(&mut self) {
        loop {
            let last = tokio::select! {
                biased;
                () = self.end.comes() => true,
                () = self.shared.spans.filling() => false,
                () = sleep(EVERY) => false,
            };
            self.send(last).await;
            if last {
                return;
            }
        }
    }

    /// Sends all that is there.
    async fn send(&mut self, mut last: bool) {
        let mut records = Bytes::from(self.shared.spans.take());
        let batches: Vec<_> = Batches(&records).collect();
        for (bytes, spans) in batches {
            let (batch, source) = (records.split_to(bytes), Arc::clone(&self.source));
            match tokio::task::spawn_blocking(move || message(&source, &batch)).await {
                Ok(message) => last = self.deliver(message.into(), spans, last).await,
                Err(_) => self.shared.spans.lose(spans),
            }
        }
    }

    /// Sends `message`, again if it is worth it; only once if its end has come, which it tells.
    async fn deliver(&mut self, message: Bytes, spans: u64, mut last: bool) -> bool {
        let mut tries = 0;
        loop {
            tries += 1;
            let posting = self.collector.post(&self.shared.registry, message.clone());
            let late = || Err(Refused::Later(format!("it took longer than {PATIENCE:?}"), None));
            let (why, wait) = match timeout(PATIENCE, posting).await.unwrap_or_else(|_| late()) {
                Ok(rejected) => {
                    let (lost, why) = rejected.map_or((0, None), |(lost, why)| (lost.min(spans), Some(why)));
                    self.shared.spans.deliver(spans - lost);
                    self.shared.spans.lose(lost);
                    self.complaint.taken(why.as_deref());
                    return last;
                }
                Err(Refused::Later(why, after)) => (why, Some(after.unwrap_or_else(|| pause(tries)).min(LONGEST))),
                Err(Refused::Never(why)) => (why, None),
            };
            let Some(wait) = wait.filter(|_| !last && tries < TRIES) else {
                self.shared.spans.lose(spans);
                self.complaint.refused(&why);
                return last;
            };
            self.complaint.refused(&why);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.end.comes() => last = true,
            }
        }
    }
}

/// How long it is waited after so many tries: twice as long each time, and up to half of it less, so that not all come at
/// once when a collector is back.
fn pause(tries: u32) -> Duration {
    let most = Duration::from_secs(1 << (tries - 1).min(5));
    let part = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    most.mul_f64(1.0 - part / 2.0)
}

/// Says that spans cannot be sent: at once, when the reason is another one, once a minute, and when they can be again; with
/// how many have been lost since it last said so, those included that found no room.
struct Complaint<'s> {
    url: String,
    said: Option<(Instant, String)>,
    spans: &'s Spans,
    /// Of the lost ones so many have been spoken of.
    told: u64,
}

impl<'s> Complaint<'s> {
    fn new(url: String, spans: &'s Spans) -> Self {
        Self { url, said: None, spans, told: spans.dropped() }
    }

    fn refused(&mut self, why: &str) {
        let due = self.said.as_ref().is_none_or(|(at, said)| {
            let wait = if said == why { SAY } else { SAY_OTHER };
            at.elapsed() >= wait
        });
        if due {
            self.said = Some((Instant::now(), why.to_owned()));
            let lost = self.lost();
            tracing::warn!(collector = self.url, why, lost, "spans cannot be sent");
        }
    }

    fn taken(&mut self, rejected: Option<&str>) {
        if let Some(why) = rejected {
            self.refused(&format!("it did not take all of them: {why}"));
        } else if self.said.take().is_some() {
            let lost = self.lost();
            tracing::info!(collector = self.url, lost, "spans can be sent again");
        }
    }

    fn lost(&mut self) -> u64 {
        let all = self.spans.dropped();
        all - std::mem::replace(&mut self.told, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_not_all_alike() {
        for (tries, most) in [(1, 1), (2, 2), (3, 4), (4, 8), (6, 32), (60, 32)] {
            let most = Duration::from_secs(most);
            assert!((0..100).all(|_| (most / 2..=most).contains(&pause(tries))), "{tries}");
        }
        let pauses: Vec<_> = (0..20).map(|_| pause(5)).collect();
        assert!(pauses.windows(2).any(|two| two[0] != two[1]), "{pauses:?}");
    }
}
