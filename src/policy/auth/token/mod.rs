//! A JSON Web Token (RFC 7519) in its compact form, signed (RFC 7515): is it whole, does one of our keys vouch for it, and
//! is it for us and for now. Pure. Called by `jwt`; RFC 8725 is the list of what goes wrong here.
//!
//! Signatures are `jsonwebtoken`'s. Claims are looked at here: the time is an argument, and nothing is taken for absent
//! because it has another type.

use crate::config::auth::{KeySet, NoKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, crypto};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The longest token that is looked at, in bytes.
const MAX_LENGTH: usize = 8 * 1024;

/// What a token must be.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// It is signed by one of these.
    pub algorithms: Vec<Algorithm>,
    /// One of these has issued it; none = whoever has the key.
    pub issuers: Vec<String>,
    /// It is for one of these; none = for anybody.
    pub audiences: Vec<String>,
    /// So many seconds other clocks may differ from ours.
    pub leeway: f64,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// For the log alone: whoever sent it need not know.
    Invalid(&'static str),
    /// Today's keys have none of that `kid`.
    UnknownKey,
}

/// What a token says.
pub type Said = Map<String, Value>;

/// What `token` says, and the second from which on it no longer counts. `now` is in seconds since 1970.
///
/// # Errors
/// Why it is not believed.
pub fn verify(rules: &Rules, keys: &KeySet, token: &[u8], now: f64) -> Result<(Said, f64), Fault> {
    if token.len() > MAX_LENGTH {
        return Err(Fault::Invalid("it is too long"));
    }
    let text = str::from_utf8(token).ok().filter(|text| text.is_ascii());
    let text = text.ok_or(Fault::Invalid("it is no token: it has other characters"))?;
    let mut parts = text.split('.');
    let (Some(head), Some(said), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Invalid("it has not three parts"));
    };
    let header = object(head).ok_or(Fault::Invalid("its header is no JSON object, or has a member twice"))?;
    let algorithm = algorithm(&header).ok_or(Fault::Invalid("its `alg` is none that we know"))?;
    if !rules.algorithms.contains(&algorithm) {
        return Err(Fault::Invalid("its `alg` is not allowed"));
    }
    let kid = understood(&header)?;
    let key = keys.choose(algorithm, kid).map_err(|why| match why {
        NoKey::Unknown => Fault::UnknownKey,
        NoKey::Unfit => Fault::Invalid("no key, or more than one, fits its `alg` and `kid`"),
    })?;
    let signed = &token[..head.len() + 1 + said.len()];
    if !crypto::verify(signature, signed, key.key(), algorithm).unwrap_or(false) {
        return Err(Fault::Invalid("its signature is wrong"));
    }
    // From here on it is what its issuer has written.
    let said = object(said).ok_or(Fault::Invalid("its claims are no JSON object, or there is one twice"))?;
    let until = in_time(rules, &said, now)?;
    for_us(rules, &said)?;
    Ok((said, until))
}

/// The JSON object that `part` encodes.
fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok().map(|Unique(members)| members)
}

/// An object whose members all have different names: of two, one reader takes the first and another the last (RFC 7515
/// section 4, RFC 7519 section 4).
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members).map(Self)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, value)) = from.next_entry()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands there twice"));
            }
        }
        Ok(members)
    }
}

/// `none` is none of them, in whatever case.
fn algorithm(header: &Map<String, Value>) -> Option<Algorithm> {
    header.get("alg")?.as_str()?.parse().ok()
}

/// Nothing in `header` asks for more than we do. Gives its `kid`. Keys that it brings along (`jwk`, `jku`, `x5u`, `x5c`)
/// are not looked at.
fn understood(header: &Map<String, Value>) -> Result<Option<&str>, Fault> {
    // RFC 7515 section 4.1.11: we know no extension, so none can be critical. `b64` would be one, and is not to be missed.
    if ["crit", "b64"].iter().any(|name| header.contains_key(*name)) {
        return Err(Fault::Invalid("its header asks for an extension"));
    }
    if ["enc", "zip"].iter().any(|name| header.contains_key(*name)) {
        return Err(Fault::Invalid("it is encrypted or compressed"));
    }
    let is_nested = |kind: &str| ["jwt", "application/jwt"].iter().any(|nested| kind.eq_ignore_ascii_case(nested));
    if header.get("cty").is_some_and(|kind| kind.as_str().is_none_or(is_nested)) {
        return Err(Fault::Invalid("there is another token in it"));
    }
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) => Ok(Some(kid)),
        Some(_) => Err(Fault::Invalid("its `kid` is no text")),
    }
}

/// It is neither over nor to come. Gives when it is over.
fn in_time(rules: &Rules, said: &Said, now: f64) -> Result<f64, Fault> {
    let time = |name: &str| match said.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => Ok(number.as_f64()),
        Some(_) => Err(Fault::Invalid("one of its times is no number")),
    };
    // One that never ends cannot be taken back either.
    let Some(ends) = time("exp")? else { return Err(Fault::Invalid("it has no `exp`")) };
    let until = ends + rules.leeway;
    if now >= until {
        return Err(Fault::Invalid("it has expired"));
    }
    if [time("nbf")?, time("iat")?].into_iter().flatten().any(|begins| now + rules.leeway < begins) {
        return Err(Fault::Invalid("its time has not come (`nbf`, `iat`)"));
    }
    Ok(until)
}

/// It is from whom we trust, and for us.
fn for_us(rules: &Rules, said: &Said) -> Result<(), Fault> {
    let one_of = |list: &[String], value: &Value| value.as_str().is_some_and(|text| list.iter().any(|one| one == text));
    let issued = |value: &Value| one_of(&rules.issuers, value);
    if !rules.issuers.is_empty() && !said.get("iss").is_some_and(issued) {
        return Err(Fault::Invalid("its `iss` is another"));
    }
    let meant = |value: &Value| match value {
        Value::Array(list) => list.iter().any(|value| one_of(&rules.audiences, value)),
        value => one_of(&rules.audiences, value),
    };
    if !rules.audiences.is_empty() && !said.get("aud").is_some_and(meant) {
        return Err(Fault::Invalid("its `aud` is another"));
    }
    Ok(())
}

/// One of `wanted` is the claim `name`, or in it if it is a list, or one of its words if it is a scope (RFC 8693 section
/// 4.2).
pub(super) fn has(said: &Said, name: &str, wanted: &[String]) -> bool {
    let is = |value: &Value| match value {
        Value::String(text) => wanted.contains(text),
        Value::Number(_) | Value::Bool(_) => wanted.contains(&value.to_string()),
        _ => false,
    };
    match said.get(name) {
        None => false,
        Some(Value::Array(list)) => list.iter().any(is),
        Some(Value::String(words)) if matches!(name, "scope" | "scp") => {
            words.split(' ').any(|word| !word.is_empty() && wanted.iter().any(|wanted| wanted == word))
        }
        Some(value) => is(value),
    }
}

/// The claim `name`, if it is there, has no control character: without it, it would pass for another.
pub(super) fn is_clean(said: &Said, name: &str) -> bool {
    let clean = |value: &Value| !matches!(value, Value::String(text) if text.contains(char::is_control));
    match said.get(name) {
        Some(Value::Array(list)) => list.iter().all(clean),
        value => value.is_none_or(clean),
    }
}

/// The claim `name` as the value of a field: numbers and truths as JSON writes them, lists with commas, and no control in
/// it. `None`: there is none, or nothing of it can be written so.
pub(super) fn written(said: &Said, name: &str) -> Option<Box<[u8]>> {
    let mut out = Vec::new();
    match said.get(name)? {
        Value::Array(list) => {
            for value in list {
                let (before, start) = (out.len(), if out.is_empty() { 0 } else { out.len() + 1 });
                out.resize(start, b',');
                write(value, &mut out);
                if out.len() == start {
                    out.truncate(before);
                }
            }
        }
        value => write(value, &mut out),
    }
    let written = out.trim_ascii();
    (!written.is_empty()).then(|| written.into())
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => out.extend(text.bytes().filter(|&byte| !crate::policy::values::is_control(byte))),
        Value::Number(_) | Value::Bool(_) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Null | Value::Array(_) | Value::Object(_) => {}
    }
}

/// For fuzzing: any bytes as a token, and as a key set. They must not panic, and nobody believes them.
pub fn fuzz(data: &[u8]) {
    let _ = KeySet::parse(data);
    let keys = KeySet::secret(b"a secret that no fuzzer finds out");
    let rules = Rules {
        algorithms: vec![Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        ..Rules::default()
    };
    assert!(verify(&rules, &keys, data, 0.0).is_err(), "nobody else can sign one");
    // What stands behind the signature is reached with it taken for granted.
    if let Ok(said) = serde_json::from_slice::<Said>(data) {
        let _ = in_time(&rules, &said, 0.0);
        let _ = for_us(&Rules { issuers: vec!["a".into()], audiences: vec!["b".into()], ..rules }, &said);
        for name in said.keys() {
            has(&said, name, &["a".into()]);
            if let Some(value) = written(&said, name) {
                assert!(!value.iter().any(|&byte| crate::policy::values::is_control(byte)), "a field is one line");
            }
        }
    }
}

#[cfg(test)]
mod tests;
