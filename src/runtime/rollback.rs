//! The configuration before, in force again until the file changes: over a reload that finds the file as it was, and over a
//! restart. Called by `control` and `reload`; what was accepted is kept by `state`.

use super::{
    control::Control,
    state::{Keep, Kept, State},
};
use crate::{
    admin::command::{Refused, Reloaded},
    config::{Config, Problems, Written},
};
use std::{path::Path, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// A disk that does not answer for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What control knows of rollbacks.
#[derive(Debug, Default)]
pub(super) struct Rollback {
    /// Keeps what is accepted; `None`: nobody has asked for that.
    pub(super) keeper: Option<mpsc::UnboundedSender<Keep>>,
    /// The one that holds.
    pub(super) holds: Option<Holds>,
}

/// A rollback that holds.
#[derive(Clone, Debug)]
pub(crate) struct Holds {
    /// When the configuration in force was accepted first, RFC 3339.
    pub(crate) to: String,
    /// Files with that hash are passed over.
    pub(crate) passed_over: String,
}

impl Rollback {
    /// `written`, as it stands on disk, is in force.
    pub(super) fn accepted(&mut self, written: &Written, generation: u64) {
        self.holds = None;
        self.send(Keep::Accepted(written.clone(), generation));
    }

    fn send(&self, what: Keep) {
        if let Some(keeper) = &self.keeper {
            let _ = keeper.send(what);
        }
    }

    /// Answers with what came of a reload or a rollback once it is on disk: it holds over whatever happens to the process.
    pub(super) fn answer(&self, reply: oneshot::Sender<Result<Reloaded, Refused>>, outcome: Result<Reloaded, Refused>) {
        match self.keeper.clone().filter(|_| outcome.is_ok()) {
            None => drop(reply.send(outcome)),
            Some(keeper) => drop(tokio::spawn(async move {
                kept(&keeper).await;
                let _ = reply.send(outcome);
            })),
        }
    }

    /// The configuration that was in force before.
    async fn before(&self) -> Result<Kept, String> {
        let keeper = self.keeper.as_ref().ok_or("no configurations are kept: this process has no state directory")?;
        let (reply, answer) = oneshot::channel();
        let _ = keeper.send(Keep::Before(reply));
        let late = || "the state directory does not answer".to_owned();
        timeout(PATIENCE, answer).await.map_err(|_| late())?.map_err(|_| late())?
    }
}

/// All that was to be kept is on disk, or the disk has failed.
pub(super) async fn kept(keeper: &mpsc::UnboundedSender<Keep>) {
    let (done, is_done) = oneshot::channel();
    let _ = keeper.send(Keep::Done(done));
    let _ = timeout(PATIENCE, is_done).await;
}

impl Control {
    /// Puts the configuration before in force again, unless somebody else was faster.
    pub(super) async fn roll_back(&mut self, if_match: Option<u64>) -> Result<Reloaded, Refused> {
        self.check_generation(if_match)?;
        let kept = self.rollback.before().await.map_err(Refused::Unwanted)?;
        let passed_over = self.on_disk().await.unwrap_or_else(|| self.config.written.hash());
        let (to, time) = (kept.sequence, kept.time.clone());
        let read = move || Config::of_written(&kept.written()).map_err(|problems| problems.render(false));
        let config = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string());
        let config = config.and_then(|config| config).map_err(Refused::Failed)?;
        let mut reloaded = self.put(Some(config)).await?;
        tracing::warn!(accepted = time, "rolled back: the configuration before is in force until the file changes");
        reloaded.notes.push(format!("the configuration of {time} is in use until the file changes"));
        self.rollback.send(Keep::RolledBack(to, passed_over.clone()));
        self.rollback.holds = Some(Holds { to: time, passed_over });
        Ok(reloaded)
    }

    /// The file is as it was when it was rolled back: what is in force stays, and that is said. Whoever ends takes nothing.
    pub(super) async fn is_passed_over(&self) -> Option<Reloaded> {
        let holds = self.rollback.holds.as_ref().filter(|_| !self.is_ending())?;
        if self.on_disk().await.as_ref() != Some(&holds.passed_over) {
            return None;
        }
        let to = &holds.to;
        let note = format!("the file is as it was when it was rolled back: the configuration of {to} stays in use");
        tracing::warn!("{note} until it changes");
        Some(Reloaded { generation: self.generation, notes: vec![format!("{note} until it changes")] })
    }

    /// The hash of the files on disk.
    async fn on_disk(&self) -> Option<String> {
        let file = self.file()?;
        let read = tokio::task::spawn_blocking(move || Written::read(&file).ok().map(|written| written.hash()));
        read.await.ok()?
    }
}

impl State {
    /// The configuration that a process starts with: the file at `path`, or the one that it was rolled back to, and what is
    /// to be said of that.
    pub fn load(&mut self, path: &Path) -> (Result<Config, Problems>, Option<String>) {
        let Some(kept) = Written::read(path).ok().and_then(|written| self.instead_of(&written)) else {
            return (Config::load(path), None);
        };
        let (file, time) = (path.display(), &kept.time);
        match Config::of_written(&kept.written()) {
            Ok(config) => {
                let said =
                    format!("{file} was rolled back: the configuration of {time} is in use until the file changes");
                (Ok(config), Some(said))
            }
            Err(problems) => {
                self.holds = None;
                let said =
                    format!("{file} was rolled back to the configuration of {time}, which cannot be used any more");
                (Config::load(path), Some(format!("{said}:\n{}", problems.render(false))))
            }
        }
    }
}
