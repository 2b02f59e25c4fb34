//! Who asks: `[auth.NAME]`. Pure: what takes time is a [`Verdict`] that `proxy` carries out. Hot path, but for what is built
//! with the plan, and read anew by control.

mod api_key;
mod basic;
mod desk;
mod forward;
mod jwks;
mod jwt;
mod shown;
mod token;
mod written;

pub(super) use self::desk::Desk;
pub(super) use self::jwks::Places;
pub use self::written::{Written, is_alias};
use self::{
    api_key::ApiKey,
    basic::Basic,
    jwt::{Jwt, Vouched},
};
pub use self::{
    desk::Job,
    forward::{Forward, Judged, MAX_ANSWER},
    jwks::{Keys, News, Place, after_failures, good_for},
    token::{Fault as TokenFault, Rules as TokenRules, Said as TokenSaid, fuzz, verify as verify_token},
};
use super::{Ask, Asked, Memory, Verdict, Visit};
use crate::{
    config::{self, AuthKind, Config, JwtAuth, JwtKeys, LimitKey, auth::KeySet},
    http::Head,
};
use std::{collections::BTreeSet, path::Path, sync::Arc};

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
    Jwt(Box<Jwt>),
    Forward(Forward),
}

/// What ways in are made from beside the configuration.
#[derive(Clone, Copy, Debug)]
pub struct AuthGround<'g> {
    /// What survives reloads.
    pub memory: &'g Memory,
    /// How many workers there are.
    pub workers: usize,
    /// Where in the plan the pool of the first service is; the others follow in the order of the file.
    pub services: usize,
}

impl Auths {
    /// Those of `config`.
    ///
    /// # Errors
    /// A sentence for people: what one of them needs is not on this machine.
    pub fn build(config: &Config, ground: AuthGround<'_>) -> Result<Self, String> {
        let mut services = ground.services..;
        let counted = counted(config);
        let mut build = |auth| Auth::build(auth, ground, &counted, &mut services).map(Arc::new);
        // What clients show themselves goes only where somebody writes another one in its place.
        let written = config.auths.iter().flat_map(|auth| auth.kind.written()).filter(|name| !is_credential(name));
        Ok(Self {
            all: config.auths.iter().map(&mut build).collect::<Result<_, _>>()?,
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

    /// The fields that they alone write, if there are any.
    pub fn written(&self) -> Option<&Arc<Written>> {
        Some(&self.written).filter(|written| !written.is_empty())
    }
}

impl Auth {
    fn build(
        auth: &config::Auth,
        ground: AuthGround<'_>,
        counted: &[Box<str>],
        services: &mut impl Iterator<Item = usize>,
    ) -> Result<Self, String> {
        let kind = match &auth.kind {
            AuthKind::Basic(basic) => Kind::Basic(Basic::new(basic, ground.memory.desk())),
            AuthKind::ApiKey(api_key) => Kind::ApiKey(ApiKey::new(&auth.name, api_key)),
            AuthKind::Jwt(jwt) => {
                let vouched = vouched(jwt, ground.memory).map_err(|why| format!("auth {}: jwks: {why}", auth.name))?;
                Kind::Jwt(Box::new(Jwt::new(&auth.name, jwt, vouched, counted, ground.workers)))
            }
            AuthKind::Forward(forward) => Kind::Forward(Forward::new(forward, services.next().unwrap_or_default())),
        };
        Ok(Self { name: auth.name.as_str().into(), kind })
    }

    /// Looks who asks.
    pub(super) fn look(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        match &self.kind {
            Kind::Basic(basic) => basic.look(visit, asked),
            Kind::ApiKey(api_key) => api_key.look(visit, asked),
            Kind::Jwt(jwt) => jwt.look(visit, asked),
            Kind::Forward(_) => Verdict::Ask(Ask::Service),
        }
    }

    /// `request` shows something that is worth a look; or a service is asked, whatever it shows.
    pub(super) fn is_shown(&self, request: &Head) -> bool {
        match &self.kind {
            Kind::Basic(_) => basic::is_shown(request),
            Kind::ApiKey(api_key) => api_key.is_shown(request),
            Kind::Jwt(jwt) => jwt.is_shown(request),
            Kind::Forward(_) => true,
        }
    }

    /// The service that is asked, if one is.
    pub(super) fn forward(&self) -> Option<&Forward> {
        match &self.kind {
            Kind::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    /// The keys that are fetched, if it has such.
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        match &self.kind {
            Kind::Jwt(jwt) => jwt.keys(),
            _ => None,
        }
    }

    /// The file that is read anew when it has changed.
    pub fn file(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Basic(basic) => Some(basic.file()),
            Kind::ApiKey(api_key) => Some(api_key.file()),
            Kind::Jwt(jwt) => match &jwt.keys()?.place {
                Place::File(path) => Some(path),
                Place::Url(_) => None,
            },
            Kind::Forward(_) => None,
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
            Kind::Jwt(jwt) => jwt.keys().map_or(Ok(false), |keys| read(keys)),
            Kind::Forward(_) => Ok(false),
        }
    }
}

/// Claims that some limit goes by.
fn counted(config: &Config) -> Vec<Box<str>> {
    let rates = config.rate_limits.iter().flat_map(|limit| &limit.key);
    let in_flight = config.routes.iter().filter_map(|route| route.in_flight_limit.as_ref());
    let claims = rates.chain(in_flight.flat_map(|limit| &limit.key)).filter_map(|part| match part {
        LimitKey::Claim(name) => Some(Box::from(name.as_str())),
        _ => None,
    });
    claims.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What `jwt` is verified with. A file is read, and what it says is in force; a server is asked later.
fn vouched(jwt: &JwtAuth, memory: &Memory) -> Result<Vouched, String> {
    let place = match &jwt.keys {
        JwtKeys::Secret(secret) => return Ok(Vouched::Secret(Arc::new(KeySet::secret(secret.expose())))),
        JwtKeys::File(path) => Place::File(path.clone()),
        JwtKeys::Url(url) => Place::Url(url.clone()),
    };
    let keys = memory.places().keys(&place);
    read(&keys)?;
    Ok(Vouched::Set(keys))
}

/// Reads keys that are in a file anew. True: they are others than before.
fn read(keys: &Keys) -> Result<bool, String> {
    let Place::File(path) = &keys.place else { return Ok(false) };
    let (set, strange) = config::auth::key_set(path)?;
    let news = keys.replace(set);
    if news {
        strange.iter().for_each(|why| tracing::warn!(file = %path.display(), %why, "a key is not used"));
    }
    Ok(news)
}

/// Fields in which clients show who they are: somebody has to look at them first.
fn is_credential(name: &str) -> bool {
    matches!(name, "authorization" | "cookie")
}
