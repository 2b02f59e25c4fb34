//! `[auth.NAME]` and `cors` as they were read: who may come in, and whose pages may ask.
//!
//! Filled by `read::auth` and `read::route`; the plan makes its policies of it.

mod jwks;
mod keys;
mod origin;
#[cfg(test)]
pub(crate) mod testing;
mod users;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Address, Secret, files};

pub use self::{
    jwks::{Key, KeySet, MAX_KEY_SET, NoKey, key_set, sha256},
    keys::{ApiKeys, api_keys},
    origin::Origin,
    users::{PasswordHash, Users, users},
};

/// `[auth.NAME]`: a way to find out who asks.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// What routes call it.
    pub name: String,
    /// How it is done.
    pub kind: AuthKind,
}

/// `type`: how it is found out who asks.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthKind {
    /// A user and a password in each request (RFC 7617).
    Basic(BasicAuth),
    /// A key that its owner shows.
    ApiKey(ApiKeyAuth),
    /// A signed token (RFC 7519).
    Jwt(Box<JwtAuth>),
    /// Another service decides.
    Forward(ForwardAuth),
}

impl Auth {
    /// The name of the pool that the service of a `forward` is.
    pub fn service(&self) -> String {
        format!("auth:{}", self.name)
    }
}

impl AuthKind {
    /// Fields of the request that it alone writes: those of clients are taken out. Names in lower case.
    pub fn written(&self) -> impl Iterator<Item = &str> {
        let (own, claims, copied) = match self {
            Self::Basic(_) => (None, None, None),
            Self::ApiKey(_) => (Some(ApiKeyAuth::FIELD), None, None),
            Self::Jwt(jwt) => (None, Some(&jwt.claims_to_headers), None),
            Self::Forward(forward) => (None, None, Some(&forward.copy_headers)),
        };
        let claims = claims.into_iter().flatten().map(|(_, name)| name.as_str());
        own.into_iter().chain(claims).chain(copied.into_iter().flatten().map(String::as_str))
    }
}

/// `type = "basic"`
#[derive(Clone, Debug, PartialEq)]
pub struct BasicAuth {
    /// Where the users are kept.
    pub file: PathBuf,
    /// What stood there when the configuration was read.
    pub users: Arc<Users>,
    /// What browsers show to whoever is asked; printable ASCII.
    pub realm: String,
}

/// `type = "api_key"`
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKeyAuth {
    /// Where a key is shown.
    pub from: ShownIn,
    /// Where the keys are kept.
    pub file: PathBuf,
    /// What stood there when the configuration was read.
    pub keys: Arc<ApiKeys>,
}

impl ApiKeyAuth {
    /// The field that tells backends whose key it was. In lower case.
    pub const FIELD: &str = "x-api-key-name";
}

/// `from`: where a client shows what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownIn {
    /// A field, by its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
}

/// `type = "jwt"`
#[derive(Clone, Debug, PartialEq)]
pub struct JwtAuth {
    /// What signatures are verified with.
    pub keys: JwtKeys,
    /// Those that are taken; at least one, and each fits `keys`.
    pub algorithms: Vec<JwtAlgorithm>,
    /// `iss` is one of them; empty = any.
    pub issuers: Vec<String>,
    /// `aud` has one of them; empty = any.
    pub audiences: Vec<String>,
    /// Clocks may differ by so much.
    pub leeway: Duration,
    /// Where a token is shown.
    pub from: ShownIn,
    /// Claims, and the fields that tell backends of them. No field stands twice; names in lower case.
    pub claims_to_headers: Vec<(String, String)>,
    /// Claims, and of each the texts one of which it must be or have.
    pub require: Vec<(String, Vec<String>)>,
    /// The claim that is `user` in the access log.
    pub user: String,
}

/// What signatures of tokens are verified with.
#[derive(Clone, Debug, PartialEq)]
pub enum JwtKeys {
    /// A JWKS (RFC 7517) on this machine. It is read with each plan.
    File(PathBuf),
    /// A JWKS of a server.
    Url(Url),
    /// A secret that both sides know: as many bytes as the longest of the algorithms' digests.
    Secret(Secret),
}

/// An algorithm of RFC 7518 section 3 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the algorithm itself")]
pub enum JwtAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

impl JwtAlgorithm {
    /// Whoever can verify with it can sign.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }
}

/// `type = "forward"`
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAuth {
    /// What is asked.
    pub url: Url,
    /// For the whole answer.
    pub timeout: Duration,
    /// Fields of its answer that the request gets. In lower case.
    pub copy_headers: Vec<String>,
}

/// An `http` or `https` URL of somebody whom we ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    /// It is `https`.
    pub tls: bool,
    /// Whom we call: the URL's port, 80 or 443 without one.
    pub address: Address,
    /// For `Host`: as written, with the port if one is.
    pub authority: String,
    /// Path and query; begins with `/`.
    pub path: String,
}

/// `cors` of a route: which pages of other origins may ask, and what.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    /// Whose pages.
    pub origins: Vec<Origin>,
    /// Methods beside GET, HEAD and POST, which every page may use; `*` = any, without credentials alone.
    pub methods: Vec<String>,
    /// Fields of requests beside those that every page may set; in lower case. `*` = any, without credentials alone.
    pub headers: Vec<String>,
    /// Cookies and `Authorization` may come along.
    pub credentials: bool,
    /// A preflight's answer holds so long.
    pub max_age: Duration,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// The file at `path`, of at most `most` bytes; no device, and no pipe.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let bytes = files::check(path).and_then(|()| files::read(path, most));
    bytes.map_err(|error| format!("it cannot be read: {error}"))
}

/// The lines of a file that say something, with their numbers, without the white space around them.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#")).map(|(number, line)| (number + 1, line))
}
