//! Backends that operators have added and removed over the API: an overlay of the file's pools, which holds until the file
//! changes those backends itself. Every plan is made of both. Called by `control` and `reload`.

use super::{control::Control, names, view};
use crate::{
    admin::command::{BackendView, Override, Refused},
    config::{Backend, Config},
    plan::Plan,
    pool,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// What differs from the file's pools.
#[derive(Clone, Debug, Default)]
pub(super) struct Overlay {
    /// By pool.
    added: Vec<(String, Backend)>,
    /// By pool, as the file has them.
    removed: Vec<(String, Backend)>,
}

impl Overlay {
    /// What `config` and the operators say together.
    pub(super) fn apply(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for pool in &mut config.pools {
            pool.backends.retain(|backend| !self.removed.iter().any(|(of, gone)| *of == pool.name && gone == backend));
            let of_pool = self.added.iter().filter(|(of, _)| *of == pool.name);
            pool.backends.extend(of_pool.map(|(_, backend)| backend.clone()));
        }
        config
    }

    /// As [`Overlay::apply`]; without anything to say it is `config` itself.
    pub(super) fn over(&self, config: &Arc<Config>) -> Arc<Config> {
        match self {
            Self { added, removed } if added.is_empty() && removed.is_empty() => Arc::clone(config),
            laid => Arc::new(laid.apply(config)),
        }
    }

    /// `config` is the file's now: what it says itself of a backend holds.
    #[must_use]
    pub(super) fn beside(&self, config: &Config) -> Self {
        let find = |pool: &str| config.pools.iter().find(|other| other.name == pool);
        let mut kept = Self::default();
        let stays = |(pool, gone): &&(String, Backend)| find(pool).is_some_and(|pool| pool.backends.contains(gone));
        kept.removed.extend(self.removed.iter().filter(stays).cloned());
        for (pool, new) in &self.added {
            let free = |backend: &Backend| {
                kept.has_removed(pool, backend) || backend.address != new.address && backend.name != new.name
            };
            if find(pool).is_some_and(|pool| pool.backends.iter().all(free)) {
                kept.added.push((pool.clone(), new.clone()));
            }
        }
        // A pool without backends is none: then the file's are back.
        let laid = kept.apply(config);
        let empty =
            |pool: &str| laid.pools.iter().any(|of| of.name == pool && of.backends.is_empty() && of.discover.is_none());
        kept.removed.retain(|(pool, _)| !empty(pool));
        kept
    }

    /// What of it `kept` has no more, for people.
    pub(super) fn forgotten<'o>(&'o self, kept: &'o Self) -> impl Iterator<Item = String> + 'o {
        let of = |all: &'o [(String, Backend)], kept: &'o [(String, Backend)], was: &'static str, now: &'static str| {
            let gone = all.iter().filter(|one| !kept.contains(one));
            gone.map(move |(pool, backend)| {
                format!("backend {:?} of pool {pool:?} was {was} over the API: {now}", backend.name)
            })
        };
        let added =
            of(&self.added, &kept.added, "added", "the file has its name, its address or no such pool, and it is gone");
        added.chain(of(
            &self.removed,
            &kept.removed,
            "removed",
            "the file has another one of that name, or none, and holds",
        ))
    }

    fn has_removed(&self, pool: &str, backend: &Backend) -> bool {
        self.removed.iter().any(|(of, gone)| of == pool && gone == backend)
    }

    fn add(&mut self, pool: &str, backend: Backend) {
        let before = self.removed.len();
        self.removed.retain(|(of, gone)| !(of == pool && *gone == backend));
        if self.removed.len() == before {
            self.added.push((pool.to_owned(), backend));
        }
    }

    fn remove(&mut self, pool: &str, backend: Backend) {
        let before = self.added.len();
        self.added.retain(|(of, new)| !(of == pool && *new == backend));
        if self.added.len() == before {
            self.removed.push((pool.to_owned(), backend));
        }
    }

    /// For the status.
    pub(super) fn overrides(&self) -> impl Iterator<Item = Override> {
        let told = |what: &'static str| {
            move |(pool, backend): &(String, Backend)| Override {
                pool: pool.clone(),
                backend: backend.name.clone(),
                what: what.to_owned(),
            }
        };
        self.added.iter().map(told("added")).chain(self.removed.iter().map(told("removed")))
    }
}

impl Control {
    /// The configuration in force: the file's, with what operators have added and removed.
    pub(super) fn effective(&self) -> Arc<Config> {
        self.overlay.over(&self.config)
    }

    /// Adds a backend to a pool, as the file would.
    pub(super) async fn add_backend(
        &mut self,
        pool: &str,
        backend: Backend,
        if_match: Option<u64>,
    ) -> Result<BackendView, Refused> {
        self.check_generation(if_match)?;
        let effective = self.effective();
        let of_name = effective.pools.iter().find(|other| other.name == pool);
        let of_name = of_name.ok_or_else(|| Refused::NotFound(format!("pool {pool:?}")))?;
        of_name.takes(&backend).map_err(Refused::Unwanted)?;
        let name = backend.name.clone();
        let mut overlay = self.overlay.clone();
        overlay.add(pool, backend);
        self.lay_over(overlay, &effective, None).await?;
        view::find(&self.plan, pool, &name).map(|(pool, member)| view::backend(pool, member))
    }

    /// Removes a backend, as the file would; what is left of it ends within `server.drain_timeout`, or after `deadline` if
    /// that is sooner. Gives it as it was.
    pub(super) async fn remove_backend(
        &mut self,
        pool: &str,
        name: &str,
        deadline: Option<Duration>,
        if_match: Option<u64>,
    ) -> Result<BackendView, Refused> {
        self.check_generation(if_match)?;
        let (of_pool, member) = view::find(&self.plan, pool, name)?;
        let last = view::backend(of_pool, member);
        let leaves = deadline.map(|deadline| (Arc::clone(&member.backend), deadline));
        let effective = self.effective();
        let written = effective.pools.iter().find(|other| other.name == pool);
        let backend = written.and_then(|pool| pool.backends.iter().find(|backend| backend.name == name));
        let (Some(written), Some(backend)) = (written, backend) else {
            let what = "it is not of the file, nor was it added here: it would come back. Put it into maintenance";
            return Err(Refused::Unwanted(format!("backend {name:?}: {what}")));
        };
        if written.backends.len() == 1 && written.discover.is_none() {
            return Err(Refused::Unwanted(format!("backend {name:?} is the last one of pool {pool:?}")));
        }
        let mut overlay = self.overlay.clone();
        overlay.remove(pool, backend.clone());
        self.lay_over(overlay, &effective, leaves).await?;
        Ok(last)
    }

    /// `overlay` is in force, in place of the one that is and makes `before` of the file. What is left of the backend that
    /// `leaves` ends after that time.
    async fn lay_over(
        &mut self,
        overlay: Overlay,
        before: &Config,
        leaves: Option<(Arc<pool::Backend>, Duration)>,
    ) -> Result<(), Refused> {
        let effective = overlay.over(&self.config);
        let (_resolver, _questions) = names::prepare(&effective, &self.shared).await;
        let built = self.build(&effective, self.plan.generation, Plan::rebuild).await;
        let (plan, gone) = built.map_err(Refused::Failed)?;
        if let Some((backend, deadline)) = leaves {
            backend.drain.end_after(Some(deadline), Instant::now());
        }
        self.forget_orders(before, &effective);
        self.overlay = overlay;
        self.put_beside(plan, gone).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(backends: &str) -> Config {
        let toml = format!("[[listener]]\naddress = \"[::]:80\"\n[pool.web]\nbackends = [{backends}]\n");
        Config::parse(&toml, Path::new("x.toml")).unwrap()
    }

    fn backend(name: &str, host: u8) -> Backend {
        let json = format!("{{\"address\": \"10.0.0.{host}:80\", \"name\": \"{name}\"}}");
        Backend::of_json(serde_json::from_str(&json).unwrap()).unwrap()
    }

    fn names(overlay: &Overlay, config: &Config) -> Vec<String> {
        overlay.apply(config).pools[0].backends.iter().map(|backend| backend.name.clone()).collect()
    }

    const A: &str = "{ address = \"10.0.0.1:80\", name = \"a\" }";
    const B: &str = "{ address = \"10.0.0.2:80\", name = \"b\" }";

    #[test]
    fn it_holds_until_the_file_changes_the_same() {
        let file = config(&format!("{A}, {B}"));
        let mut overlay = Overlay::default();
        overlay.add("web", backend("c", 3));
        overlay.remove("web", backend("b", 2));
        assert_eq!(names(&overlay, &file), ["a", "c"]);
        let told: Vec<_> = overlay.overrides().map(|over| format!("{} {}", over.backend, over.what)).collect();
        assert_eq!(told, ["c added", "b removed"]);
        let same = overlay.beside(&file);
        assert_eq!(names(&same, &file), ["a", "c"]);
        let file = config(&format!("{A}, {{ address = \"10.0.0.2:80\", name = \"b\", weight = 2 }}"));
        assert_eq!(names(&overlay.beside(&file), &file), ["a", "b", "c"], "the file has changed b");
        let file = config(&format!("{A}, {{ address = \"10.0.0.3:80\", name = \"d\" }}"));
        assert_eq!(names(&overlay.beside(&file), &file), ["a", "d"], "the file has the address itself");
        let file = config(B);
        assert_eq!(names(&overlay.beside(&file), &file), ["c"]);
        overlay.remove("web", backend("c", 3));
        assert_eq!(names(&overlay.beside(&file), &file), ["b"], "the last one of the pool stays");
    }

    #[test]
    fn there_and_back_is_nothing() {
        let file = config(&format!("{A}, {B}"));
        let mut overlay = Overlay::default();
        overlay.add("web", backend("c", 3));
        overlay.remove("web", backend("c", 3));
        overlay.remove("web", backend("b", 2));
        overlay.add("web", backend("b", 2));
        assert_eq!((names(&overlay, &file), overlay.overrides().count()), (vec!["a".into(), "b".into()], 0));
    }
}
