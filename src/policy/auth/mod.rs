//! Who asks: `[auth.NAME]`. Pure: what takes time is a [`Verdict`] that `proxy` carries out. Hot path, but for what is built
//! with the plan, and read anew by control.

mod api_key;
mod basic;
mod desk;
mod shown;
mod written;

pub(super) use self::desk::Desk;
pub use self::desk::Job;
pub(super) use self::written::Written;
use self::{api_key::ApiKey, basic::Basic};
use super::{Asked, Memory, Verdict, Visit};
use crate::config::{self, AuthKind, Config};
use std::{path::Path, sync::Arc};

/// The ways in that a plan has, by their names.
#[derive(Clone, Debug, Default)]
pub struct Auths {
    all: Vec<Arc<Auth>>,
    /// What any of them writes for backends.
    written: Arc<Written>,
}

/// A way in.
#[derive(Debug)]
pub struct Auth {
    /// What routes and messages call it.
    pub name: Box<str>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Basic(Basic),
    ApiKey(ApiKey),
}

impl Auths {
    /// Those of `config`.
    ///
    /// # Errors
    /// A sentence for people: what one of them needs is not on this machine.
    pub fn build(config: &Config, memory: &Memory) -> Result<Self, String> {
        let build = |auth| Auth::build(auth, memory).map(Arc::new);
        let written = config.auths.iter().flat_map(|auth| auth.kind.written());
        Ok(Self {
            all: config.auths.iter().map(build).collect::<Result<_, _>>()?,
            written: Arc::new(Written::new(written)),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Auth>> {
        self.all.iter()
    }

    /// The one of that name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Auth>> {
        self.all.iter().find(|auth| *auth.name == *name)
    }

    /// The fields that they alone write.
    pub(super) fn written(&self) -> &Arc<Written> {
        &self.written
    }
}

impl Auth {
    fn build(auth: &config::Auth, memory: &Memory) -> Result<Self, String> {
        let kind = match &auth.kind {
            AuthKind::Basic(basic) => Kind::Basic(Basic::new(basic, memory.desk())),
            AuthKind::ApiKey(api_key) => Kind::ApiKey(ApiKey::new(&auth.name, api_key)),
            AuthKind::Jwt(_) | AuthKind::Forward(_) => {
                return Err(format!("auth {}: this `type` is not supported yet", auth.name));
            }
        };
        Ok(Self { name: auth.name.as_str().into(), kind })
    }

    /// Looks who asks.
    pub(super) fn look(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        match &self.kind {
            Kind::Basic(basic) => basic.look(visit, asked),
            Kind::ApiKey(api_key) => api_key.look(visit, asked),
        }
    }

    /// The file that is read anew when it has changed.
    pub fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Basic(basic) => Some(basic.file()),
            Kind::ApiKey(api_key) => Some(api_key.file()),
        }
    }

    /// Reads the file anew, and puts in force what it says. True: that is something else than before. Blocks.
    ///
    /// # Errors
    /// A sentence for people: it cannot be used, and what is in force stays.
    pub fn read(&self) -> Result<bool, String> {
        match &self.kind {
            Kind::Basic(basic) => basic.read(),
            Kind::ApiKey(api_key) => api_key.read(),
        }
    }
}
