//! Files of which a configuration is made: the TOML itself, secrets, error pages. Every read is bounded.
//!
//! Called by `Config::load` and by `read`.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::de::DeValue;

use super::{
    Secret,
    problem::{Problem, Source},
    report::Wrong,
    section::Field,
    units::quoted,
    values,
};

/// A file that is longer than this is no configuration of ours: `-c /dev/zero` ends with a message, too.
const MAX_TOML: u64 = 64 << 20;
/// Pages are kept in memory, and an error is answered with one however large it is.
const MAX_PAGE: u64 = 1 << 20;
/// A token or a key is shorter than that by far.
const MAX_SECRET: u64 = 64 << 10;
/// Shorter ones can be guessed.
const MIN_SECRET: usize = 16;
/// The same for what signs: as long as what SHA-256 makes of it.
const MIN_MAC_KEY: usize = 32;
/// A forged cookie is checked against each of them.
const MAX_MAC_KEYS: usize = 16;
/// A million keys.
const MAX_TIER: u64 = 64 << 20;
const MAKE_ONE: &str = "`openssl rand -hex 32` makes one that nobody guesses";

/// The file at `path`; `order` is its place among all that are read.
pub(super) fn source(path: &Path, order: usize) -> Result<Arc<Source>, Box<Problem>> {
    let bytes = read(path, MAX_TOML).map_err(|error| Box::new(Problem::unreadable(path, order, &error)))?;
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(Arc::new(Source::new(path, order, text))),
        Err(error) => Err(Box::new(Problem::not_utf8(path, order, &bytes, error))),
    }
}

/// The contents of the file that `field` names.
pub(super) fn page(field: &Field<'_>) -> Result<Vec<u8>, Wrong> {
    regular(field, MAX_PAGE)
}

/// The secret of `{ file = "…" }` or `{ env = "…" }`, of which neither the value nor a part of it is ever told.
pub(super) fn secret(field: &Field<'_>) -> Option<Secret> {
    kept(field, super::keys::SECRET.example, enough)
}

/// The same, kept as in `example`; how long it must be, the caller knows.
pub(super) fn key(field: &Field<'_>, example: &str) -> Option<Secret> {
    kept(field, example, |bytes| Ok(Secret::new(bytes)))
}

/// Keys for a MAC, one a line, kept as a [`secret`] is.
pub(super) fn mac_keys(field: &Field<'_>) -> Option<Vec<Secret>> {
    kept(field, "{ file = \"/etc/evenkeel/sticky.key\" } or { env = \"STICKY_KEY\" }", lines)
}

/// What `read` makes of the bytes that `field` says where to find.
fn kept<T>(field: &Field<'_>, example: &str, read: impl Fn(&[u8]) -> Result<T, Wrong>) -> Option<T> {
    let found = match field.value() {
        DeValue::Table(_) => None,
        DeValue::Array(_) => Some("a list"),
        _ => Some("the secret itself"),
    };
    if let Some(found) = found {
        let wrong = Wrong::new(format!("found {found}, wanted where it is kept"));
        field.wrong(wrong.help(format!("write {example}")));
        return None;
    }
    let section = field.section(&super::keys::SECRET)?;
    match (section.field("file"), section.field("env")) {
        (Some(file), None) => file.read(|file| read(&regular(file, MAX_SECRET)?)),
        (None, Some(name)) => name.read(|name| {
            let text = values::text(name, "the name of an environment variable")?;
            let fine = !text.is_empty() && !text.contains(['=', '\0']);
            let value = fine.then(|| std::env::var_os(text)).flatten();
            let missing = || Wrong::new(format!("the environment variable {} is not set", quoted(text)));
            read(std::os::unix::ffi::OsStrExt::as_bytes(value.ok_or_else(missing)?.as_os_str()))
        }),
        (Some(file), Some(name)) => {
            name.clash(Wrong::new("a secret is kept in one place").help("keep `file` or `env`"), &file);
            None
        }
        (None, None) => {
            let wrong = Wrong::new("a secret wants a `file` or an `env`");
            section.missing("file", wrong.help(format!("write {example}")));
            None
        }
    }
}

fn enough(bytes: &[u8]) -> Result<Secret, Wrong> {
    let secret = Secret::new(bytes);
    let length = secret.expose().len();
    if length >= MIN_SECRET {
        return Ok(secret);
    }
    let wrong = Wrong::new(format!("found {length} bytes there, wanted at least {MIN_SECRET}"));
    Err(wrong.help(MAKE_ONE))
}

/// One key a line, the newest first; empty lines are none.
fn lines(bytes: &[u8]) -> Result<Vec<Secret>, Wrong> {
    let mut keys = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let key = Secret::new(line);
        let length = key.expose().len();
        if key.expose().starts_with(b"#") {
            let wrong = Wrong::new(format!("line {} begins with `#`, and a comment would be a key", number + 1));
            return Err(wrong.help("write keys alone, one a line"));
        }
        if (1..MIN_MAC_KEY).contains(&length) {
            let wrong = Wrong::new(format!(
                "line {} has {length} bytes, wanted keys of at least {MIN_MAC_KEY}, one a line",
                number + 1
            ));
            return Err(wrong.help(MAKE_ONE));
        }
        if length > 0 {
            keys.push(key);
        }
    }
    match keys.len() {
        0 => Err(Wrong::new("found no key there, wanted one a line").help(MAKE_ONE)),
        1..=MAX_MAC_KEYS => Ok(keys),
        count => {
            let wrong = Wrong::new(format!("found {count} keys there, wanted at most {MAX_MAC_KEYS}"));
            Err(wrong.help("the first signs, and all are tried: take those out that sign no cookie any more"))
        }
    }
}

/// The keys of a tier in the file at `path`, one a line; empty lines and those that begin with `#` are none.
///
/// # Errors
/// A sentence for people: it cannot be read.
pub(super) fn tier_keys(path: &Path) -> Result<Vec<Secret>, String> {
    let bytes = check(path).and_then(|()| read(path, MAX_TIER));
    let bytes =
        bytes.map_err(|error| format!("the file {} cannot be read: {error}", quoted(&path.to_string_lossy())))?;
    let keys = bytes.split(|byte| *byte == b'\n').map(Secret::new);
    Ok(keys.filter(|key| !key.expose().is_empty() && !key.expose().starts_with(b"#")).collect())
}

/// The path that `field` names, from the folder of the file that it stands in.
pub(super) fn path(field: &Field<'_>) -> Result<PathBuf, Wrong> {
    const WHAT: &str = "the path of a file";
    let text = values::text(field, WHAT)?;
    if text.contains("-----BEGIN") {
        return Err(Wrong::new(format!("found PEM itself, wanted {WHAT}")).help("write where the file is kept"));
    }
    if text.is_empty() || text.contains('\0') {
        return Err(Wrong::new(format!("found {}, wanted {WHAT}", quoted(text))));
    }
    Ok(field.folder().join(text))
}

/// The file that `field` names, which must be a file and not a device or a pipe: those may never end, or never begin.
fn regular(field: &Field<'_>, most: u64) -> Result<Vec<u8>, Wrong> {
    let path = path(field)?;
    let bytes = check(&path).and_then(|()| read(&path, most));
    bytes.map_err(|error| Wrong::new(format!("the file {} cannot be read: {error}", quoted(&path.to_string_lossy()))))
}

/// That there is a file at `path` that is no device, pipe or folder.
pub(super) fn check(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The file at `path`, of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if File::open(path)?.take(most + 1).read_to_end(&mut bytes)? as u64 > most {
        let size = if most >= 1 << 20 { format!("{} MiB", most >> 20) } else { format!("{} KiB", most >> 10) };
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file is larger than {size}")));
    }
    Ok(bytes)
}
