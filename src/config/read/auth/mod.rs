//! `[auth.NAME]`: a name, a type, and what that type needs.

mod forward;
mod jwt;
mod warn;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub(super) use self::{forward::url, warn::warn};
use super::super::{
    ApiKeyAuth, Auth, AuthKind, BasicAuth, ShownIn,
    auth::{api_keys, users},
    field, files, keys,
    report::Wrong,
    section::{Document, Field, Section},
    units::quoted,
    values,
};
use super::{
    pool,
    tables::{self, Tables},
};

/// `type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Basic,
    ApiKey,
    Jwt,
    Forward,
}

const KINDS: &[(&str, Kind)] =
    &[("basic", Kind::Basic), ("api_key", Kind::ApiKey), ("jwt", Kind::Jwt), ("forward", Kind::Forward)];
const PEERS: &[(&str, &str)] = &[
    ("auth_basic", "basic"),
    ("basic_auth", "basic"),
    ("htpasswd", "basic"),
    ("http_basic", "basic"),
    ("password", "basic"),
    ("apikey", "api_key"),
    ("key", "api_key"),
    ("key_auth", "api_key"),
    ("auth_jwt", "jwt"),
    ("bearer", "jwt"),
    ("jwt_authn", "jwt"),
    ("oauth2", "jwt"),
    ("oidc", "jwt"),
    ("openid", "jwt"),
    ("auth_request", "forward"),
    ("ext_authz", "forward"),
    ("forward_auth", "forward"),
    ("forwardauth", "forward"),
];
const TABLES: Tables = Tables {
    keys: &keys::AUTH,
    wanted: "a table for each way in",
    help: "a way in is a table with a name of your own: write [auth.NAME] with type = \"basic\", for example",
    one: "a table",
    name_it: "write [auth.NAME] with a name of your own for [auth]",
};

const MAKE_USERS: &str = "`htpasswd -B -c FILE NAME` makes it (package apache2-utils or httpd-tools); without that, write a \
                          line NAME:HASH, with the hash that `mkpasswd -m bcrypt` makes (package whois)";
const MAKE_KEYS: &str = "write a line NAME:SHA256-HEX for each key; `printf %s \"$KEY\" | sha256sum` makes the number";

/// A way in, and where it stands.
pub(super) struct Entry<'a> {
    pub(super) auth: Auth,
    pub(super) field: Field<'a>,
}

/// All of them; `None` if one cannot be built.
pub(super) fn auths<'a>(document: &Document<'a>) -> Option<Vec<Entry<'a>>> {
    let tables = tables::named(document, "auth", &TABLES)?;
    let auths: Vec<_> = tables.into_iter().map(|(name, field)| auth(name, field)).collect();
    auths.into_iter().collect()
}

/// Reports pools that are called like the pool of a service.
pub(super) fn services(auths: &[Entry<'_>], pools: &[pool::Entry<'_>]) {
    for entry in auths.iter().filter(|entry| matches!(entry.auth.kind, AuthKind::Forward(_))) {
        let name = entry.auth.service();
        if let Some(pool) = pools.iter().find(|pool| pool.pool.name == name) {
            let wrong = Wrong::new(format!("{} is what the pool of this service is called", quoted(&name)));
            entry.field.clash(wrong.help("give the pool of the file another name"), &pool.field);
        }
    }
}

fn auth<'a>(name: &str, field: Field<'a>) -> Option<Entry<'a>> {
    let section = field.section(&keys::AUTH)?;
    if !values::check_name(name) || name.contains(['"', '\\']) || !name.is_ascii() {
        let wrong = Wrong::new("wanted a name of 1 to 255 letters of ASCII, without quotes and control characters");
        field.wrong_name(wrong.help("clients may see it"));
    }
    let Some(kind) = section.field("type") else {
        let wrong = Wrong::new("nothing says how it is found out who asks");
        section.missing("type", wrong.help("write type = \"basic\"; or \"api_key\", \"jwt\", \"forward\""));
        return None;
    };
    let kind = kind.read(values::choice(KINDS, &[], PEERS))?;
    useless(&section, kind);
    let kind = match kind {
        Kind::Basic => basic(name, &section).map(AuthKind::Basic),
        Kind::ApiKey => api_key(&section).map(AuthKind::ApiKey),
        Kind::Jwt => jwt::jwt(&section).map(|jwt| AuthKind::Jwt(Box::new(jwt))),
        Kind::Forward => forward::forward(&section).map(AuthKind::Forward),
    };
    Some(Entry { auth: Auth { name: name.to_owned(), kind: kind? }, field })
}

/// Reports what this type has no use for.
fn useless(section: &Section<'_>, kind: Kind) {
    let word = KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(word, _)| word);
    let own: &[&str] = match kind {
        Kind::Basic => &["users", "realm"],
        Kind::ApiKey => &["from", "keys"],
        Kind::Jwt => &[
            "from",
            "jwks",
            "secret",
            "algorithms",
            "issuer",
            "audience",
            "leeway",
            "claims_to_headers",
            "require",
            "user",
        ],
        Kind::Forward => &["url", "timeout", "copy_headers"],
    };
    for key in keys::AUTH.known.iter().filter(|key| **key != "type" && !own.contains(key)) {
        if let Some(field) = section.field(key) {
            field.wrong(Wrong::new(format!("`{key}` has no meaning for type = \"{word}\"")).help("take it out"));
        }
    }
}

fn basic(name: &str, section: &Section<'_>) -> Option<BasicAuth> {
    let realm = section.read("realm", name.to_owned(), realm);
    let (file, users) = kept(section, "users", "the users", ("users.htpasswd", MAKE_USERS), users)?;
    Some(BasicAuth { file, users, realm })
}

/// What stands between quotes in `WWW-Authenticate`.
fn realm(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "what browsers show: printable letters of ASCII";
    let text = values::text(field, WHAT)?;
    let fine = text.bytes().all(|byte| (byte == b' ' || byte.is_ascii_graphic()) && !b"\"\\".contains(&byte));
    if fine && text.len() <= 255 {
        return Ok(text.to_owned());
    }
    Err(values::wanted(field.value(), WHAT).help("without quotes and `\\`, 255 at most"))
}

fn api_key(section: &Section<'_>) -> Option<ApiKeyAuth> {
    let from = section.read("from", ShownIn::Header("x-api-key".into()), from);
    let (file, keys) = kept(section, "keys", "the keys", ("api.keys", MAKE_KEYS), api_keys)?;
    Some(ApiKeyAuth { from, file, keys })
}

/// `from`
fn from(field: &Field<'_>) -> Result<ShownIn, Wrong> {
    const WHAT: &str = "\"header:NAME\", \"cookie:NAME\" or \"query:NAME\"";
    let text = values::text(field, WHAT)?;
    let wrong = || values::wanted(field.value(), WHAT);
    match text.split_once(':') {
        Some(("header", name)) => field::matchable(name).map(ShownIn::Header),
        Some(("cookie", name)) if field::is_token(name) => Ok(ShownIn::Cookie(name.to_owned())),
        Some(("query", name)) if !name.is_empty() && !name.chars().any(char::is_control) => {
            Ok(ShownIn::Query(name.to_owned()))
        }
        None if field::is_token(text) => Err(wrong().help(format!("write {}", quoted(&format!("header:{text}"))))),
        _ => Err(wrong()),
    }
}

/// The file at `key`, `{ file = "…" }`, and what `load` makes of it; `None` if it cannot be read, which has been reported.
fn kept<T>(
    section: &Section<'_>,
    key: &str,
    what: &str,
    (example, make): (&str, &str),
    load: impl Fn(&Path) -> Result<T, String>,
) -> Option<(PathBuf, Arc<T>)> {
    let help = format!("write {key} = {{ file = \"/etc/evenkeel/{example}\" }}");
    let Some(field) = section.field(key) else {
        section.missing(key, Wrong::new(format!("nothing says where {what} are kept")).help(help));
        return None;
    };
    let file = file(&field, &help)?;
    file.read(|file| {
        let path = files::path(file)?;
        let loaded = load(&path);
        match loaded {
            Ok(loaded) => Ok((path, Arc::new(loaded))),
            Err(why) => {
                let wrong = Wrong::new(format!("{}: {why}", quoted(&path.to_string_lossy())));
                Err(if path.exists() { wrong } else { wrong.help(make) })
            }
        }
    })
}

/// The `file` of the table in `field`.
fn file<'a>(field: &Field<'a>, help: &str) -> Option<Field<'a>> {
    if !field.value().is_table() {
        field.wrong(values::wanted(field.value(), "a table that names a file").help(help));
        return None;
    }
    let section = field.section(&keys::FILE)?;
    let file = section.field("file");
    if file.is_none() {
        section.missing("file", Wrong::new("nothing says which file").help(help));
    }
    file
}
