//! Files of users and keys that change on disk: looked after by a task of control.

use crate::{
    policy::{Auth, Auths},
    tls::Stamp,
};
use std::{io, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time};

/// How often files are looked at, as certificates are.
const LOOK: Duration = Duration::from_secs(5);

/// The files of a plan's ways in.
#[derive(Debug, Default)]
pub(super) struct Credentials(Vec<Entry>);

/// A file, and whose it is.
#[derive(Debug)]
struct Entry {
    auth: Arc<Auth>,
    /// What is in force was read from it in this state; `None` = not looked at yet: it may have changed since the
    /// configuration was read.
    seen: Option<Result<Stamp, io::ErrorKind>>,
    /// Why it was refused when it was last spoken of.
    refused: Option<String>,
}

impl Credentials {
    /// Those of `auths`.
    pub(super) fn of(auths: &Auths) -> Self {
        let with_file = auths.iter().filter(|auth| auth.file().is_some());
        Self(with_file.map(|auth| Entry { auth: Arc::clone(auth), seen: None, refused: None }).collect())
    }

    /// What was said of the same files by `before` is not said again.
    fn follow(&mut self, before: &Self) {
        for entry in &mut self.0 {
            let same = |other: &&Entry| (&other.auth.name, other.auth.file()) == (&entry.auth.name, entry.auth.file());
            entry.refused = before.0.iter().find(same).and_then(|other| other.refused.clone());
        }
    }

    /// Looks at all files, and puts in force what has changed. Blocks.
    fn look(&mut self) {
        self.0.iter_mut().for_each(Entry::look);
    }
}

impl Entry {
    fn look(&mut self) {
        let Some(file) = self.auth.file() else { return };
        let now = Stamp::of(file);
        if self.seen == Some(now) {
            self.refused = None;
            return;
        }
        let (auth, file) = (&self.auth.name, file.display());
        match self.auth.read() {
            Ok(changed) => {
                // Somebody may write it at this moment: then the next look reads it once more.
                self.seen = self.auth.file().map(Stamp::of).filter(|after| *after == now);
                self.refused = None;
                if changed {
                    tracing::info!(%auth, %file, "who may come in has changed");
                }
            }
            // It is read again each time, until it is whole.
            Err(why) if self.refused.as_ref() == Some(&why) => {}
            Err(why) => {
                tracing::error!(%auth, %file, %why, "the file cannot be used, what is in force stays");
                self.refused = Some(why);
            }
        }
    }
}

/// Looks after the files that were last sent, until nobody can send any.
pub(super) async fn watch_over(mut sent: mpsc::UnboundedReceiver<Credentials>) {
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut credentials = Credentials::default();
    loop {
        tokio::select! {
            next = sent.recv() => {
                let Some(mut next) = next else { return };
                next.follow(&credentials);
                credentials = next;
            }
            _ = ticks.tick(), if !credentials.0.is_empty() => {
                let mut all = std::mem::take(&mut credentials);
                let look = move || {
                    all.look();
                    all
                };
                match tokio::task::spawn_blocking(look).await {
                    Ok(all) => credentials = all,
                    Err(error) => tracing::error!(%error, "users and keys are not looked after until the next reload"),
                }
            }
        }
    }
}
