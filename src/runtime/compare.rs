//! What a reload would change and end, told before it is done: `POST /api/v1/diff`, and `reload --if-drops`. Called by
//! `control` and `reload`.
//!
//! The new plan is built as a reload builds it, but beside what serves: nothing of it is ever in force. How much would end
//! is counted by the workers, with the walk that ends it.

use super::{
    Message,
    control::Control,
    leaving::{Cause, Ending},
};
use crate::{
    admin::command::{Change, Diff, Kind, Refused, What},
    config::{Config, Problem, Problems},
    plan::{self, Ground, Plan, Route, TestError, diff::Gone},
    policy::Memory,
};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// What is said of a configuration whose own tests fail.
const TEST_FAILS: &str = "a [[test]] of it fails, and a reload would be refused: `evenkeel check` tells which";
/// A worker that does not count for so long is stuck; the watchdog's business.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// What the configuration `text` would change, if it stood where the file is that a reload reads.
    pub(super) async fn compare_with(&self, text: String) -> Result<Diff, Refused> {
        let file = self.file().unwrap_or_else(|| "evenkeel.toml".into());
        let known: HashSet<PathBuf> = self.config.written.files().map(|(path, _)| path.to_owned()).collect();
        let parse = move || Config::parse(&text, &file).map_err(|problems| told(&problems, &known));
        let parsed = tokio::task::spawn_blocking(parse).await.map_err(|error| error.to_string());
        let config = parsed.and_then(|parsed| parsed).map_err(Refused::Failed)?;
        self.compare(&Arc::new(config)).await.map_err(Refused::Failed)
    }

    /// What a step to `config` would change, and how much would end for it now.
    pub(super) async fn compare(&self, config: &Arc<Config>) -> Result<Diff, String> {
        let (old, new) = (self.effective(), self.overlay.beside(config).over(config));
        let (shared, algorithm) = (Arc::clone(&self.shared), self.builder.algorithm);
        let file = self.file().unwrap_or_default();
        let (mut numbers, fixed, before) = (self.numbers.clone(), self.fixed.clone(), Arc::clone(&self.plan));
        let generation = self.generation;
        let build = move || {
            let (registry, memory) = (shared.registry.aside(), Memory::default());
            let (registry, memory, numbers) = (&registry, &memory, &mut numbers);
            let mut ground = Ground { registry, memory, numbers, algorithm, before: None };
            let plan = Plan::build(&new, generation + 1, &mut ground)?;
            let mut diff = Diff::between(&old, &new, &fixed);
            if let Err(TestError::Failed(_)) = plan::test(&new, &file) {
                diff.notes.push(TEST_FAILS.to_owned());
            }
            Ok::<_, String>((Arc::new(Gone::between(&before, &plan)), Arc::new(plan), diff))
        };
        let built = tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?;
        let (gone, plan, mut diff) = built?;
        let ending = self.count(&plan, &gone).await;
        let before = Arc::clone(&self.plan);
        let attribute = move || {
            diff.generation = Some(generation);
            diff.drains = Some(ending.all);
            attribute(&mut diff, ending, &gone, &before);
            diff
        };
        // It may be 10,000 backends. The plan is freed there, too.
        let attributed = tokio::task::spawn_blocking(move || (drop(plan), attribute()).1);
        attributed.await.map_err(|error| error.to_string())
    }

    /// How much would end on all workers.
    async fn count(&self, plan: &Arc<Plan>, gone: &Arc<Gone>) -> Ending {
        let mut answers = Vec::new();
        for worker in &self.shared.workers {
            let (done, answer) = oneshot::channel();
            let message = Message::Count { plan: Arc::clone(plan), gone: Arc::clone(gone), done };
            if worker.send(message).is_ok() {
                answers.push(answer);
            }
        }
        let mut all = Ending::default();
        for answer in answers {
            if let Ok(Ok(ending)) = timeout(PATIENCE, answer).await {
                all += ending;
            }
        }
        all
    }
}

/// Says of each change what ends for it. What DNS had found goes with its pool; a question to the service of an `auth` is no
/// client's exchange, and goes on.
fn attribute(diff: &mut Diff, ending: Ending, gone: &Gone, before: &Plan) {
    let listed = diff.changes.iter().enumerate().filter(|(_, change)| change.change != What::Added);
    let own = |(place, change): (usize, &Change)| ((change.kind, change.pool.clone(), change.name.clone()), place);
    let places: HashMap<_, _> = listed.map(own).collect();
    let find =
        |kind, pool: Option<&str>, name: &str| places.get(&(kind, pool.map(str::to_owned), name.to_owned())).copied();
    let backends: HashMap<_, _> = before.backends().map(|backend| (backend.id, backend)).collect();
    for (cause, drains) in ending.by {
        let place = match cause {
            Cause::Listener(number) | Cause::Denied(number) => {
                before.listener(number).and_then(|listener| find(Kind::Listener, None, &listener.name))
            }
            Cause::Route(place) => {
                let is_it = |route: &&Route| Arc::ptr_eq(&route.metrics, &gone.routes[place]);
                before.routes.iter().find(is_it).and_then(|route| find(Kind::Route, None, &route.name))
            }
            Cause::Backend(id) => backends.get(&id).and_then(|backend| {
                find(Kind::Backend, Some(&backend.pool), &backend.name)
                    .or_else(|| find(Kind::Pool, None, &backend.pool))
            }),
        };
        if let Some(change) = place.and_then(|place| diff.changes.get_mut(place)) {
            *change.drains.get_or_insert_default() += drains;
        }
    }
}

/// What is wrong, for whoever sent a text. A file that it includes and that is none of the configuration in force may be
/// anybody's: nothing of it is told.
fn told(problems: &Problems, known: &HashSet<PathBuf>) -> String {
    let foreign = |file: &&Path| *file != problems.file() && !known.contains(*file);
    match problems.iter().flat_map(Problem::files).find(foreign) {
        None => problems.render(false),
        Some(file) => {
            format!("{} is none of the files in use, and has problems: `evenkeel check` tells which", file.display())
        }
    }
}
