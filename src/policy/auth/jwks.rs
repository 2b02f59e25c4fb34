//! Keys that tokens are verified with: read from a JSON Web Key Set (RFC 7517), or a shared secret, and what is known of
//! where they come from. Pure: `runtime` fetches and watches, workers look. `Memory` has one [`Keys`] a place, so that a
//! reload keeps what was fetched.

use crate::config::Url;
use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// Keys of one set. Who has more does not rotate them, he collects them.
pub(super) const MAX_KEYS: usize = 100;
/// Bytes of one set.
pub const MAX_KEY_SET: usize = 1024 * 1024;
/// A key that nobody knows makes us ask for the set before its time, but not sooner than this after the last time.
const EARLY: Duration = Duration::from_secs(10);
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
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
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

/// Where a set is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// At an `http` or `https` URL.
    Url(Url),
}

/// The keys of one place, as they are today.
#[derive(Debug)]
pub struct Keys {
    /// Where they are from.
    pub place: Place,
    today: ArcSwapOption<KeySet>,
    /// Somebody wants them anew.
    wanted: Notify,
    progress: Mutex<Progress>,
    /// How many looks have ended.
    looks: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Somebody wants a look that has not ended.
    is_wanted: bool,
    /// It has begun.
    has_begun: bool,
    /// When the last one that somebody wanted ended.
    ended: Option<Instant>,
}

impl Keys {
    /// Of a place where nobody has looked yet.
    pub fn new(place: Place) -> Self {
        let (today, wanted, progress) = Default::default();
        Self { place, today, wanted, progress, looks: watch::Sender::new(0) }
    }

    /// Today's. `None`: there have never been any.
    pub fn today(&self) -> Option<Arc<KeySet>> {
        self.today.load_full()
    }

    /// From now on it is `set`. False: it is the same as before, and what was believed by it stays so.
    pub fn replace(&self, set: KeySet) -> bool {
        let news = self.today.load().as_ref().is_none_or(|today| today.written != set.written);
        if news {
            self.today.store(Some(Arc::new(set)));
        }
        news
    }

    /// A token has a key that today's set does not have. Asks for another look, if none was asked for a while: then the
    /// news can be waited for.
    pub fn ask(&self, now: Instant) -> Option<News> {
        if matches!(self.place, Place::File(_)) {
            // It is looked at all the time.
            return None;
        }
        let mut progress = self.progress();
        if !progress.is_wanted {
            if progress.ended.is_some_and(|last| now < last + EARLY) {
                return None;
            }
            progress.is_wanted = true;
            self.wanted.notify_one();
        }
        Some(News { looks: self.looks.subscribe() })
    }

    /// Waits until somebody wants another look.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A look begins: whoever has asked until now hears of it.
    pub fn looks(&self) {
        let mut progress = self.progress();
        progress.has_begun = progress.is_wanted;
    }

    /// It has ended, whatever it has shown.
    pub fn looked(&self, now: Instant) {
        let mut progress = self.progress();
        if std::mem::take(&mut progress.has_begun) {
            *progress = Progress { is_wanted: false, has_begun: false, ended: Some(now) };
            self.looks.send_modify(|looks| *looks += 1);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that goes on.
#[derive(Debug)]
pub struct News {
    looks: watch::Receiver<u64>,
}

impl News {
    /// Waits until it has ended. The caller bounds the time.
    pub async fn come(mut self) {
        // It is an error if nobody looks any more.
        let _ = self.looks.changed().await;
    }
}

/// All places that plans look at. One is forgotten with its last plan.
#[derive(Debug, Default)]
pub(in super::super) struct Places(Mutex<HashMap<Place, Weak<Keys>>>);

impl Places {
    /// The keys of `place`: the same for all plans that are alive together.
    pub(super) fn keys(&self, place: &Place) -> Arc<Keys> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, keys| keys.strong_count() > 0);
        if let Some(keys) = places.get(place).and_then(Weak::upgrade) {
            return keys;
        }
        let keys = Arc::new(Keys::new(place.clone()));
        places.insert(place.clone(), Arc::downgrade(&keys));
        keys
    }
}

/// How long a set is good that came with that `Cache-Control` (RFC 9111 section 5.2.2): five minutes where it does not
/// say, never less than one minute nor more than a day.
pub fn good_for(cache_control: Option<&str>) -> Duration {
    const USUAL: u64 = 5 * 60;
    let directives = cache_control.into_iter().flat_map(|value| value.split(','));
    let age = |directive: &str| {
        let (name, value) = directive.split_once('=')?;
        let is_it = name.trim().eq_ignore_ascii_case("max-age");
        is_it.then(|| value.trim().trim_matches('"').parse::<u64>().ok())?
    };
    let age = directives.filter_map(age).next().unwrap_or(USUAL);
    Duration::from_secs(age.clamp(60, 24 * 60 * 60))
}

/// When it is looked again after so many failures in a row: soon at first, each minute in the end.
pub fn after_failures(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::testing::Signer;
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

    #[test]
    fn a_set_is_good_for_as_long_as_it_says_within_bounds() {
        for (value, wanted) in [
            (None, 300),
            (Some("no-cache"), 300),
            (Some("public, Max-Age=600, must-revalidate"), 600),
            (Some("max-age=\"120\""), 120),
            (Some("max-age=0"), 60),
            (Some("max-age=99999999"), 86_400),
            (Some("max-age=x"), 300),
            (Some("s-maxage=7200"), 300),
        ] {
            assert_eq!(good_for(value), Duration::from_secs(wanted), "{value:?}");
        }
        let waits: Vec<_> = [1, 2, 3, 6, 7, 100].map(|failures| after_failures(failures).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 32, 60, 60]);
    }

    fn url() -> Place {
        let address = crate::config::Address::Tcp("127.0.0.1:80".parse().unwrap());
        Place::Url(Url { tls: false, address, authority: "127.0.0.1".into(), path: "/".into() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_asked_for_at_most_once_in_ten_seconds() {
        let keys = Keys::new(url());
        // A look on time is nobody's, and keeps nobody from asking.
        keys.looks();
        let first = keys.ask(Instant::now()).unwrap();
        keys.looked(Instant::now());
        keys.wanted().await;
        keys.looks();
        let second = keys.ask(Instant::now()).expect("it goes on: one may wait for it");
        let again = tokio::time::timeout(Duration::from_secs(1), keys.wanted());
        assert!(again.await.is_err(), "it is asked for once");
        let early = tokio::time::timeout(Duration::from_secs(1), first.come());
        assert!(early.await.is_err(), "the look that had begun before was not for it");
        keys.looked(Instant::now());
        second.come().await;
        assert!(keys.ask(Instant::now()).is_none());
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert!(keys.ask(Instant::now()).is_none());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(keys.ask(Instant::now()).is_some());
        assert!(Keys::new(Place::File("a".into())).ask(Instant::now()).is_none(), "a file is looked at anyhow");
    }

    #[test]
    fn the_same_set_is_no_news() {
        let keys = Keys::new(url());
        let text = |kid: &str| json!({ "keys": [Signer::p256().jwk(kid)] }).to_string();
        let set = |kid: &str| KeySet::parse(text(kid).as_bytes()).unwrap().0;
        assert!(keys.replace(set("a")) && !keys.replace(set("a")) && keys.replace(set("b")));
    }

    #[test]
    fn a_place_is_the_same_while_somebody_looks_at_it() {
        let places = Places::default();
        let place = Place::File("a".into());
        let keys = places.keys(&place);
        keys.replace(KeySet::secret(b"x"));
        assert!(Arc::ptr_eq(&keys, &places.keys(&place)));
        assert!(!Arc::ptr_eq(&keys, &places.keys(&Place::File("b".into()))));
        drop(keys);
        assert!(places.keys(&place).today().is_none(), "nobody had it");
    }
}
