//! Keys that tokens are verified with: read from a JSON Web Key Set (RFC 7517), or a shared secret. Called by `read::auth`,
//! and by control when a file changes or a server has answered. Choosing one is on the hot path.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Keys of one set. Who has more does not rotate them, he collects them.
const MAX_KEYS: usize = 100;
/// Bytes of one set.
pub const MAX_KEY_SET: usize = 1024 * 1024;
/// Bits of an RSA modulus: the shorter ones can be broken, the longer ones keep a worker busy.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key, and what it may verify.
#[derive(Clone, Debug)]
pub struct Key {
    id: Option<Box<str>>,
    key: DecodingKey,
    /// Algorithms that are this kind of key's, on this curve, and that the key's own `alg` allows.
    fits: &'static [Algorithm],
    alg: Option<Algorithm>,
}

impl Key {
    /// The key itself.
    pub fn key(&self) -> &DecodingKey {
        &self.key
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.fits.contains(&algorithm) && self.alg.is_none_or(|only| only == algorithm)
    }
}

/// Keys that are in force together.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    /// It is one secret: whatever `kid` a token has, there is no other.
    is_secret: bool,
    /// SHA-256 of what was read.
    written: [u8; 32],
}

/// The set in the file at `path`, and why some of its keys are not used, if that is strange.
///
/// # Errors
/// A sentence for people: the file cannot be read, or is no set.
pub fn key_set(path: &Path) -> Result<(KeySet, Vec<String>), String> {
    KeySet::parse(&super::read(path, MAX_KEY_SET as u64)?)
}

/// Why no key can verify a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// None has its `kid`: a newer set may.
    Unknown,
    /// Those that may be meant are not for its algorithm, or there are several.
    Unfit,
}

const RSA: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// A key as it is written. What is of no use to us is not read.
#[derive(Deserialize)]
struct Written {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl KeySet {
    /// The set that `bytes` are, and why some of its keys are not used, if that is strange.
    ///
    /// # Errors
    /// A sentence for people: it is no set, or none of its keys is of use.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<String>), String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        if bytes.len() > MAX_KEY_SET {
            return Err("it is larger than 1 MiB".into());
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("it is no JSON Web Key Set: {error}"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!("it has {} keys, and may have {MAX_KEYS}", set.keys.len()));
        }
        let (mut keys, mut strange): (Vec<Key>, _) = (Vec::new(), Vec::new());
        for (number, value) in set.keys.into_iter().enumerate() {
            let written = serde_json::from_value::<Written>(value).map_err(|error| error.to_string());
            let name =
                written.as_ref().ok().and_then(|key| key.kid.clone()).unwrap_or_else(|| (number + 1).to_string());
            match written.and_then(key) {
                Ok(Some(key))
                    if keys.iter().any(|other| other.id == key.id && key.id.is_some() && other.fits == key.fits) =>
                {
                    strange.push(format!("key {name:?}: another one has the same `kid`"));
                }
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(why) => strange.push(format!("key {name:?}: {why}")),
            }
        }
        if keys.is_empty() {
            let why = strange.first().map(|why| format!(" ({why})")).unwrap_or_default();
            return Err(format!("none of its keys verifies tokens{why}"));
        }
        Ok((Self { keys, is_secret: false, written: sha256(bytes) }, strange))
    }

    /// The one secret.
    pub fn secret(secret: &[u8]) -> Self {
        let key = Key { id: None, key: DecodingKey::from_secret(secret), fits: HMAC, alg: None };
        Self { keys: vec![key], is_secret: true, written: [0; 32] }
    }

    /// The key for a token of that header.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn choose(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<&Key, NoKey> {
        let kid = kid.filter(|_| !self.is_secret);
        let mut named = self.keys.iter().filter(|key| kid.is_none() || key.id.as_deref() == kid).peekable();
        if named.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        let mut fitting = named.filter(|key| key.is_for(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            _ => Err(NoKey::Unfit),
        }
    }

    /// What was read is the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.written == other.written
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There is no key; never so.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// What `written` is. `None`: it is for something else.
fn key(written: Written) -> Result<Option<Key>, String> {
    let Written { kty, purpose, key_ops, alg, kid, crv, n, e, x, y } = written;
    if purpose.is_some_and(|purpose| purpose != "sig")
        || key_ops.is_some_and(|operations| !operations.iter().any(|operation| operation == "verify"))
    {
        return Ok(None);
    }
    let refused = |error: jsonwebtoken::errors::Error| error.to_string();
    let (key, fits) = match (kty.as_str(), crv.as_deref()) {
        ("RSA", _) => {
            let bits = bits(&bytes("n", &n)?);
            if !RSA_BITS.contains(&bits) {
                return Err(format!("its modulus has {bits} bits, and is to have 2048 to 8192"));
            }
            (DecodingKey::from_rsa_components(&n, &e).map_err(refused)?, RSA)
        }
        ("EC", Some("P-256")) => (point(&x, &y, 32)?, &[Algorithm::ES256][..]),
        ("EC", Some("P-384")) => (point(&x, &y, 48)?, &[Algorithm::ES384][..]),
        ("OKP", Some("Ed25519")) => {
            exactly("x", &x, 32)?;
            (DecodingKey::from_ed_components(&x).map_err(refused)?, &[Algorithm::EdDSA][..])
        }
        ("oct", _) => return Err("it is symmetric, and who can read it can make tokens: give it as `secret`".into()),
        // Other kinds, other curves: none of our algorithms is theirs.
        _ => return Ok(None),
    };
    let alg = match alg.as_deref() {
        None => None,
        // RFC 9864 has it so.
        Some("Ed25519") => Some(Algorithm::EdDSA),
        Some(name) => match name.parse::<Algorithm>() {
            Ok(algorithm) if fits.contains(&algorithm) => Some(algorithm),
            Ok(_) => return Err(format!("its `alg` is {name}, which is not for such a key")),
            // RSA-OAEP, for example: it encrypts.
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(Key { id: kid.map(Into::into), key, fits, alg }))
}

/// The digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn bytes(name: &str, text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|error| format!("its `{name}` is no base64url: {error}"))
}

fn exactly(name: &str, text: &str, length: usize) -> Result<(), String> {
    let found = bytes(name, text)?.len();
    if found == length { Ok(()) } else { Err(format!("its `{name}` has {found} bytes, wanted {length}")) }
}

fn point(x: &str, y: &str, length: usize) -> Result<DecodingKey, String> {
    exactly("x", x, length)?;
    exactly("y", y, length)?;
    DecodingKey::from_ec_components(x, y).map_err(|error| error.to_string())
}

/// Bits of a number, the highest byte first.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    number.get(zeros).map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Signer, *};
    use serde_json::{Value, json};

    fn set(keys: &[Value]) -> Result<(KeySet, Vec<String>), String> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    /// `key`, with some members changed; `null` takes one out.
    fn with(key: &Value, changes: Value) -> Value {
        let mut key = key.clone();
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(key.as_object_mut().unwrap().remove(name)),
                value => key[name] = value.clone(),
            }
        }
        key
    }

    #[test]
    fn a_key_is_for_its_own_algorithms_alone() {
        let signers = [Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed25519()];
        let all = RSA.iter().chain(HMAC).copied().chain([Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]);
        let all: Vec<_> = all.collect();
        for signer in &signers {
            let (keys, strange) = set(&[with(&signer.jwk("a"), json!({ "alg": null }))]).unwrap();
            assert!(strange.is_empty(), "{strange:?}");
            let fit: Vec<_> = all.iter().copied().filter(|&alg| keys.choose(alg, Some("a")).is_ok()).collect();
            assert_eq!(fit, signer.fits(), "{signer:?}");
            assert!(all.iter().all(|&alg| keys.choose(alg, Some("b")).is_err_and(|why| why == NoKey::Unknown)));
        }
        let (keys, _) = set(&[with(&signers[0].jwk("a"), json!({ "alg": "PS256" }))]).unwrap();
        assert!(keys.choose(Algorithm::PS256, None).is_ok());
        assert_eq!(keys.choose(Algorithm::RS256, None).unwrap_err(), NoKey::Unfit, "the key's own `alg` counts");
        let secret = KeySet::secret(b"0123456789abcdef0123456789abcdef");
        let fit: Vec<_> = all.iter().copied().filter(|&alg| secret.choose(alg, Some("any")).is_ok()).collect();
        assert_eq!(fit, HMAC);
    }

    #[test]
    fn without_a_name_the_one_that_fits_is_meant() {
        let (rsa, other, ec) = (Signer::rsa(), Signer::rsa_too(), Signer::p256());
        let (keys, _) = set(&[rsa.jwk("a"), ec.jwk("b")]).unwrap();
        assert!(keys.choose(Algorithm::ES256, None).is_ok());
        assert!(keys.choose(Algorithm::RS256, Some("a")).is_ok());
        assert_eq!(keys.choose(Algorithm::RS256, Some("b")).unwrap_err(), NoKey::Unfit);
        let (keys, _) = set(&[rsa.jwk("a"), other.jwk("b")]).unwrap();
        assert_eq!(keys.choose(Algorithm::RS256, None).unwrap_err(), NoKey::Unfit, "it may be either");
        assert!(keys.choose(Algorithm::RS256, Some("b")).is_ok());
    }

    #[test]
    fn what_is_not_for_verifying_is_left_out() {
        let good = Signer::p256().jwk("good");
        for (changes, silent) in [
            (json!({ "use": "enc" }), true),
            (json!({ "key_ops": ["sign"] }), true),
            (json!({ "crv": "P-521" }), true),
            (json!({ "kty": "AKP" }), true),
            (json!({ "alg": "RSA-OAEP" }), true),
            (json!({ "kty": "oct", "k": "c2VjcmV0" }), false),
            (json!({ "alg": "ES384" }), false),
            (json!({ "alg": "HS256" }), false),
            (json!({ "crv": "P-384" }), false),
            (json!({ "x": "!" }), false),
            (json!({ "x": "AAAA" }), false),
            (json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), false),
            (json!({ "kid": 7 }), false),
            (json!({ "kid": "good" }), false),
        ] {
            let other = with(&with(&Signer::p256().jwk("other"), json!({ "alg": null })), changes.clone());
            let (keys, strange) = set(&[good.clone(), other.clone()]).unwrap();
            assert_eq!((keys.len(), strange.is_empty()), (1, silent), "{changes}: {strange:?}");
            if changes["kid"] != "good" {
                assert!(set(&[other]).is_err(), "{changes}: alone it is no set");
            }
        }
        let (keys, _) = set(&[with(&good, json!({ "use": "sig", "key_ops": ["verify"], "x5c": 7 }))]).unwrap();
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let key = Signer::p256().jwk("a");
        for text in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", "{\"keys\":[1]}"] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
        let many: Vec<_> = (0..=MAX_KEYS).map(|number| with(&key, json!({ "kid": number.to_string() }))).collect();
        assert_eq!(set(&many[1..]).unwrap().0.len(), MAX_KEYS);
        assert!(set(&many).is_err());
        let large = format!("{{\"keys\":[{key}]{}}}", " ".repeat(MAX_KEY_SET));
        assert!(KeySet::parse(large.as_bytes()).is_err());
    }
}
