//! Files that change on disk beside the configuration: users and keys of `auth`, keys of rate limits' tiers. `disk` has
//! them looked at. Certificates come in pairs, and have their own: `certificates`.

use super::disk::Watch;
use crate::{
    config::Tier,
    plan::Plan,
    policy::{Auth, limit::Rate},
    tls::Stamp,
};
use std::{io, path::PathBuf, sync::Arc};

/// The files of a plan.
#[derive(Debug, Default)]
pub(super) struct Files(Vec<Watched>);

/// A file.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    whose: Whose,
    /// What is in force was read from it in this state; `None` = not looked at yet: it may have changed since the
    /// configuration was read.
    seen: Option<Result<Stamp, io::ErrorKind>>,
    /// Why it was refused when it was last spoken of.
    refused: Option<String>,
}

/// Who reads it.
#[derive(Debug)]
enum Whose {
    Auth(Arc<Auth>),
    /// One of a limit, with its name.
    Tier(Arc<Rate>, String),
}

impl Files {
    /// Those of `plan`.
    pub(super) fn of(plan: &Plan) -> Self {
        let auths = plan.auths.iter().filter_map(|auth| Some((auth.file()?.to_owned(), Whose::Auth(Arc::clone(auth)))));
        let of_rate = |rate: &Arc<Rate>| {
            let whose = |name: &str| Whose::Tier(Arc::clone(rate), name.to_owned());
            rate.files().map(|(path, name)| (path.to_owned(), whose(name))).collect::<Vec<_>>()
        };
        let all = auths.chain(plan.rates.values().flat_map(of_rate));
        Self(all.map(|(path, whose)| Watched { path, whose, seen: None, refused: None }).collect())
    }
}

impl Watch for Files {
    const WHAT: &'static str = "files";

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn follow(&mut self, before: &Self) {
        for file in &mut self.0 {
            let same = before.0.iter().find(|other| other.path == file.path && other.whose.name() == file.whose.name());
            file.refused = same.and_then(|other| other.refused.clone());
        }
    }

    fn look(&mut self) {
        self.0.iter_mut().for_each(Watched::look);
    }
}

impl Watched {
    fn look(&mut self) {
        let now = Stamp::of(&self.path);
        if self.seen == Some(now) {
            self.refused = None;
            return;
        }
        match self.read(now) {
            Ok(changed) => {
                // Somebody may write it at this moment: then the next look reads it once more.
                self.seen = Some(Stamp::of(&self.path)).filter(|after| *after == now);
                self.refused = None;
                if changed {
                    self.whose.say_changed(&self.path.display().to_string());
                }
            }
            // It is read again each time, until it is whole.
            Err(why) if self.refused.as_ref() == Some(&why) => {}
            Err(why) => {
                self.whose.say_refused(&self.path.display().to_string(), &why);
                self.refused = Some(why);
            }
        }
    }

    /// Puts in force what it says, which was in this state before. True: that is something else than was.
    fn read(&self, before: Result<Stamp, io::ErrorKind>) -> Result<bool, String> {
        match &self.whose {
            Whose::Auth(auth) => auth.read(),
            Whose::Tier(rate, _) => {
                let keys = Tier::load(&self.path)?;
                Ok(Stamp::of(&self.path) == before && rate.replace(&self.path, &keys))
            }
        }
    }
}

impl Whose {
    fn name(&self) -> (&str, &str) {
        match self {
            Self::Auth(auth) => ("auth", &auth.name),
            Self::Tier(_, name) => ("tier", name),
        }
    }

    fn say_changed(&self, file: &str) {
        match self.name() {
            ("auth", auth) => tracing::info!(auth, file, "who may come in has changed"),
            (_, tier) => tracing::info!(tier, file, "the keys of a tier have changed"),
        }
    }

    fn say_refused(&self, file: &str, why: &str) {
        match self.name() {
            ("auth", auth) => tracing::error!(auth, file, why, "the file cannot be used, what is in force stays"),
            (_, tier) => tracing::error!(tier, file, why, "the keys of a tier cannot be read, those in use stay"),
        }
    }
}
