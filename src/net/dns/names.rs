//! Keeps answers fresh: one small task a question asks when it is due, on control's runtime.

use super::{Failure, Progress, Question, Resolver, schedule};
use crate::telemetry::metrics::{Resolution, Telemetry};
use arc_swap::ArcSwap;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};

/// Hears of answers that are news. True: there was none before.
type Changed = dyn Fn(&Arc<Question>, bool) + Send + Sync;

/// Asks until it is dropped.
pub struct Names {
    shared: Arc<Shared>,
    /// By where the question is in memory, which the entry keeps.
    entries: Mutex<HashMap<usize, Entry>>,
}

/// What all tasks share.
struct Shared {
    resolver: ArcSwap<Resolver>,
    telemetry: Arc<Telemetry>,
    changed: Box<Changed>,
}

/// A question with its task, which stops with it.
struct Entry {
    _question: Arc<Question>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    /// Asks nothing yet. `changed` is called on the runtime that asks, when an answer is news; its flag says that it is the
    /// first.
    pub fn new(
        resolver: Arc<Resolver>,
        telemetry: Arc<Telemetry>,
        changed: impl Fn(&Arc<Question>, bool) + Send + Sync + 'static,
    ) -> Self {
        let shared = Shared { resolver: ArcSwap::new(resolver), telemetry, changed: Box::new(changed) };
        Self { shared: Arc::new(shared), entries: Mutex::default() }
    }

    /// Asks `resolver` from now on.
    pub fn ask_by(&self, resolver: Arc<Resolver>) {
        self.shared.resolver.store(resolver);
    }

    /// Follows the list: new questions are asked, or go on where they were, those that are not in it are not asked any
    /// more. Must be called on a tokio runtime, on which they are then asked.
    pub fn follow(&self, list: impl Iterator<Item = Arc<Question>>) {
        let mut entries = lock(&self.entries);
        let mut old = std::mem::take(&mut *entries);
        for question in list {
            let key = Arc::as_ptr(&question).addr();
            let known = old.remove(&key);
            entries.entry(key).or_insert_with(|| {
                known.unwrap_or_else(|| {
                    let task = tokio::spawn(keep(Arc::clone(&self.shared), Arc::clone(&question), question.version()))
                        .abort_handle();
                    Entry { _question: question, task }
                })
            });
        }
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("questions", &lock(&self.entries).len()).finish_non_exhaustive()
    }
}

/// Asks those of `questions` that have no answer, at once, and waits for it, no longer than `within`: a plan that is made then
/// has the addresses of all names that resolve.
pub async fn first(
    resolver: &Arc<Resolver>,
    telemetry: &Arc<Telemetry>,
    questions: &[Arc<Question>],
    within: Duration,
) {
    let mut tasks = JoinSet::new();
    for question in questions.iter().filter(|question| !question.is_answered()) {
        let (resolver, telemetry, question) = (Arc::clone(resolver), Arc::clone(telemetry), Arc::clone(question));
        tasks.spawn(async move { once(&resolver, &telemetry, &question).await });
    }
    // What takes longer is asked again by its task.
    let _ = timeout(within, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Asks without end. What has been `told` is known to the plan that has the question.
async fn keep(shared: Arc<Shared>, question: Arc<Question>, mut told: u64) {
    loop {
        let due = lock(&question.progress).due;
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let resolver = shared.resolver.load_full();
        once(&resolver, &shared.telemetry, &question).await;
        // It may be somebody else's answer, for a plan that has not come.
        let version = question.version();
        if version != told {
            (shared.changed)(&question, told == 0);
            told = version;
        }
    }
}

/// Asks once, counts it, says what is new, and notes when to ask again.
async fn once(resolver: &Arc<Resolver>, telemetry: &Telemetry, question: &Question) {
    let before = question.answer();
    let outcome = resolver.ask(&question.ask, before.as_deref().map_or(&[], Vec::as_slice)).await;
    telemetry.resolved(match &outcome {
        Ok(_) => Resolution::Ok,
        Err(Failure::NxDomain) => Resolution::NxDomain,
        Err(Failure::Empty) => Resolution::Empty,
        Err(Failure::Timeout) => Resolution::Timeout,
        Err(Failure::Error(_)) => Resolution::Error,
    });
    let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
    let mut progress = lock(&question.progress);
    let failures = progress.failures;
    let (wait, failures) = match &outcome {
        Ok(found) => (schedule::after_answer(found.ttl, random), 0),
        Err(_) => (schedule::after_failure(failures + 1, random), failures.saturating_add(1)),
    };
    say(question, &outcome.as_ref().map(drop), (progress.failures, before.is_some()));
    *progress = Progress { due: Some(Instant::now() + wait), failures };
    drop(progress);
    if let Ok(found) = outcome {
        question.take(found.endpoints);
    }
}

/// Says when failures begin and end, each once.
fn say(question: &Question, outcome: &Result<(), &Failure>, (failures, known): (u32, bool)) {
    let name = &question.ask;
    match outcome {
        Ok(()) if failures > 0 => tracing::info!(%name, failures, "the name resolves again"),
        Err(why) if failures == 0 && known => {
            tracing::warn!(%name, %why, "the name does not resolve; its last answer is kept");
        }
        Err(why) if failures == 0 => tracing::warn!(%name, %why, "the name does not resolve; its backends are down"),
        Err(why) => tracing::debug!(%name, %why, failures, "the name still does not resolve"),
        Ok(()) => {}
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
