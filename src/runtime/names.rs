//! Names of backends, as control has to do with them: what DNS says becomes tables, and plans with other backends.

use super::{Phase, Shared, control::Control};
use crate::{
    config::Config,
    net::dns::{self, Question, Resolver},
    plan::{self, Plan, diff::Gone},
};
use std::{collections::HashSet, future::pending, io, sync::Arc, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// A start, or a reload, waits so long for the addresses of names that are new. Later ones come by themselves.
const FIRST: Duration = Duration::from_secs(1);
/// The least time between two plans that differ in what was discovered: answers that come together make one.
const PLANS: Duration = Duration::from_secs(1);

/// Answers that come so soon after the first make one plan with it.
const SOON: Duration = Duration::from_millis(50);

/// Who asks, and when its answers make the next plan.
#[derive(Debug, Default)]
pub(super) struct Names {
    asked: Option<dns::Names>,
    /// Tells of pools that want new tables.
    changed: Option<mpsc::UnboundedSender<String>>,
    /// When the last plan was made of answers.
    last: Option<Instant>,
    due: Option<Instant>,
}

/// An answer that is news; true: the first one.
type News = (Arc<Question>, bool);

impl Names {
    /// The names of `plan` are asked for, and no others.
    pub(super) fn follow(&self, plan: &Plan) {
        if let Some(asked) = &self.asked {
            asked.follow(plan.questions().cloned());
        }
    }

    /// From now on `resolver` is asked.
    pub(super) fn ask_by(&self, resolver: Arc<Resolver>) {
        if let Some(asked) = &self.asked {
            asked.ask_by(resolver);
        }
    }

    /// Waits until the next plan is due; for ever if none is.
    pub(super) async fn wait(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }
}

impl Control {
    /// Starts asking. Gives what is news.
    pub(super) fn ask_for_names(&mut self, changed: mpsc::UnboundedSender<String>) -> mpsc::UnboundedReceiver<News> {
        let (tell, news) = mpsc::unbounded_channel();
        let resolver = Arc::new(Resolver::new(&self.config.server.resolvers));
        let telemetry = Arc::clone(&self.shared.telemetry);
        let hear = move |question: &Arc<Question>, is_first| drop(tell.send((Arc::clone(question), is_first)));
        self.names.asked = Some(dns::Names::new(resolver, telemetry, hear));
        self.names.changed = Some(changed);
        news
    }

    /// There is another answer: with the first one backends come to life, and others may be discovered.
    pub(super) fn hear(&mut self, question: &Arc<Question>, is_first: bool) {
        let is_it = |other: &Arc<Question>| Arc::ptr_eq(other, question);
        for pool in &self.plan.pools {
            let has = pool.members.iter().any(|member| member.backend.question.as_ref().is_some_and(is_it));
            if let Some(changed) = self.names.changed.as_ref().filter(|_| is_first && has) {
                let _ = changed.send(pool.name.clone());
            }
        }
        tracing::debug!(name = %question.ask, "the name stands for other addresses");
        if self.names.due.is_none() && self.plan.pools.iter().any(|pool| pool.discovers.as_ref().is_some_and(is_it)) {
            let now = Instant::now();
            self.names.due = Some((now + SOON).max(self.names.last.map_or(now, |last| last + PLANS)));
        }
    }

    /// The configuration in force, with the backends that are discovered now.
    pub(super) async fn rediscover(&mut self) {
        (self.names.due, self.names.last) = (None, Some(Instant::now()));
        if *self.shared.phase.borrow() > Phase::Leaving {
            return;
        }
        let (plan, gone) = match self.build(&self.effective(), self.plan.generation, Plan::rebuild).await {
            Ok(built) => built,
            Err(error) => return tracing::error!(error, "what DNS has said is not in use"),
        };
        let before = Arc::clone(&self.plan);
        self.put_beside(plan, gone).await;
        say(&before, &self.plan);
    }

    /// `plan` is today's, which has other backends, and is otherwise the one before, without what has `gone`.
    pub(super) async fn put_beside(&mut self, plan: Arc<Plan>, gone: Gone) {
        let sockets = self.shared.workers.iter().map(|_| Vec::new()).collect();
        self.put_in_force(plan, gone, sockets, None).await;
        // Certificates are those of the plan before: they may have been renewed since.
        self.follow();
        self.tell_systemd();
    }
}

/// One line for each pool that has other backends.
fn say(before: &Plan, after: &Plan) {
    let addresses =
        |pool: &plan::Pool| pool.members.iter().map(|member| member.backend.address.clone()).collect::<HashSet<_>>();
    // Both are of one configuration.
    for (old, new) in before.pools.iter().zip(&after.pools) {
        let (was, is) = (addresses(old), addresses(new));
        let (came, went) = (is.difference(&was).count(), was.difference(&is).count());
        if came + went > 0 {
            let plural = |count: usize| format!("{count} backend{}", if count == 1 { "" } else { "s" });
            tracing::info!("pool {}: {} came, {went} went (dns)", new.name, plural(came));
        }
    }
}

/// For a plan of `config`: whom it asks, and its names, of which those that are new have been asked for once. They are to be
/// held until the plan is made.
pub(super) async fn prepare(config: &Config, shared: &Shared) -> (Arc<Resolver>, Vec<Arc<Question>>) {
    let resolver = Arc::new(Resolver::new(&config.server.resolvers));
    let questions = plan::questions(config, &shared.registry);
    dns::first(&resolver, &shared.telemetry, &questions, FIRST).await;
    (resolver, questions)
}

/// The same at the start, where there is no runtime yet: one for the while.
pub(super) fn ask_first(config: &Config, shared: &Shared) -> io::Result<Vec<Arc<Question>>> {
    if plan::questions(config, &shared.registry).is_empty() {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Sockets that wait for answers go with it.
    Ok(runtime.block_on(prepare(config, shared)).1)
}
