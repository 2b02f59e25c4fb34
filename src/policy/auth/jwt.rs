//! `type = "jwt"`: a signed token says who asks. Hot path: a token that was believed a moment ago costs one SHA-256.

use super::{
    super::{Ask, Asked, Claims, FieldName, Verdict, Visit},
    jwks::Keys,
    shown::{Shown, behind_scheme},
    token::{self, Fault, Rules},
    written::Written,
};
use crate::{
    config::{
        JwtAlgorithm, JwtAuth, ShownIn,
        auth::{KeySet, sha256},
    },
    error::Kind,
    http::{Head, trace_id},
    telemetry::Seldom,
};
use jsonwebtoken::Algorithm;
use quick_cache::unsync::Cache;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// Tokens of which a worker remembers that they are good.
const REMEMBERED: usize = 1024;
/// How often strangers can make us say why they are refused.
const SAID: Duration = Duration::from_secs(1);

/// Verifies tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    name: Box<str>,
    rules: Rules,
    vouched: Vouched,
    shown: Shown,
    /// It stands in `Authorization`, where there may be other schemes.
    needs_scheme: bool,
    /// Claims, and of each the texts one of which it must be or have.
    require: Vec<(String, Vec<String>)>,
    /// The claim that is `user`.
    user: String,
    /// What backends are told: the claim, and the field.
    fields: Vec<(String, FieldName)>,
    /// Those of them in which clients show who they are: they are looked at before they go.
    credentials: Written,
    /// Claims that limits go by.
    counted: Vec<Box<str>>,
    /// One for each worker: nobody waits for its lock.
    memories: Box<[Mutex<Memory>]>,
    said: Seldom,
}

/// What tokens are signed with.
#[derive(Clone, Debug)]
pub(super) enum Vouched {
    /// A key of a set, which changes.
    Set(Arc<Keys>),
    /// A secret.
    Secret(Arc<KeySet>),
}

/// Tokens that were believed, by their SHA-256.
#[derive(Debug)]
struct Memory {
    /// By these keys. With others in force, it is all forgotten.
    set: Option<Arc<KeySet>>,
    tokens: Cache<[u8; 32], Arc<Believed>>,
}

/// What is left of a token.
#[derive(Debug)]
struct Believed {
    /// The second from which on it no longer counts.
    until: f64,
    /// It does not have what is required.
    lacks: bool,
    user: Option<Box<[u8]>>,
    /// In the order of [`Jwt::fields`].
    fields: Box<[Option<Box<[u8]>>]>,
    claims: Option<Arc<Claims>>,
}

/// Why a request is not let in by its token.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It has none.
    Missing,
    /// It is not believed.
    Fault(Fault),
    /// There are no keys yet.
    NoKeys,
}

impl Jwt {
    /// As `auth` says. Limits go by the claims `counted`.
    pub(super) fn new(name: &str, auth: &JwtAuth, vouched: Vouched, counted: &[Box<str>], workers: usize) -> Self {
        let names = || auth.claims_to_headers.iter().map(|(_, name)| name.as_str());
        let memory = || Mutex::new(Memory { set: None, tokens: Cache::new(REMEMBERED) });
        Self {
            name: name.into(),
            rules: Rules {
                algorithms: auth.algorithms.iter().copied().map(algorithm).collect(),
                issuers: auth.issuers.clone(),
                audiences: auth.audiences.clone(),
                leeway: auth.leeway.as_secs_f64(),
            },
            vouched,
            shown: Shown::new(&auth.from),
            needs_scheme: matches!(&auth.from, ShownIn::Header(name) if name == "authorization"),
            require: auth.require.clone(),
            user: auth.user.clone(),
            fields: auth.claims_to_headers.iter().map(|(claim, name)| (claim.clone(), FieldName::new(name))).collect(),
            credentials: Written::new(names().filter(|name| super::is_credential(name))),
            counted: counted.to_vec(),
            memories: (0..workers.max(1)).map(|_| memory()).collect(),
            said: Seldom::new(SAID),
        }
    }

    /// The keys that are to be kept fresh.
    pub(super) fn keys(&self) -> Option<&Arc<Keys>> {
        match &self.vouched {
            Vouched::Set(keys) => Some(keys),
            Vouched::Secret(_) => None,
        }
    }

    /// Looks at the request's token.
    pub(super) fn look(&self, visit: &mut Visit, asked: &mut Asked<'_>) -> Verdict {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let believed = match self.believed(asked, now) {
            Ok(believed) => believed,
            Err(refused) => return self.refuse(visit, refused, asked.request),
        };
        visit.user.clone_from(&believed.user);
        if believed.lacks {
            self.challenge(visit, Some("insufficient_scope"));
            let trace_id = trace_id(asked.request);
            tracing::debug!(auth = &*self.name, %trace_id, "a token does not have what is required");
            return Verdict::Refuse(Kind::Denied);
        }
        if !self.credentials.is_empty() {
            self.credentials.remove(asked.request);
        }
        for ((_, field), value) in self.fields.iter().zip(&believed.fields) {
            if let Some(value) = value {
                field.add(asked.request, value);
            }
        }
        visit.claims.clone_from(&believed.claims);
        Verdict::Pass
    }

    /// What the request's token says, remembered or verified.
    fn believed(&self, asked: &Asked<'_>, now: f64) -> Result<Arc<Believed>, Refused> {
        let shown = self.shown.find(asked.request);
        let shown = shown.map_err(|_| Refused::Fault(Fault::Invalid("there are several")))?;
        let token = shown.as_deref().and_then(|shown| self.token(shown)).ok_or(Refused::Missing)?;
        let set = match &self.vouched {
            Vouched::Set(keys) => keys.today().ok_or(Refused::NoKeys)?,
            Vouched::Secret(set) => Arc::clone(set),
        };
        let digest = sha256(token);
        let memory = &self.memories[asked.worker % self.memories.len()];
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        if !memory.set.as_ref().is_some_and(|before| Arc::ptr_eq(before, &set)) {
            memory.tokens.clear();
            memory.set = Some(Arc::clone(&set));
        }
        if let Some(known) = memory.tokens.get(&digest) {
            if now < known.until {
                return Ok(Arc::clone(known));
            }
            memory.tokens.remove(&digest);
        }
        let (said, until) = token::verify(&self.rules, &set, token, now).map_err(Refused::Fault)?;
        if !self.names().all(|name| token::is_clean(&said, name)) {
            return Err(Refused::Fault(Fault::Invalid("a claim that we use has a control character")));
        }
        let believed = Arc::new(self.keep(&said, until));
        memory.tokens.insert(digest, Arc::clone(&believed));
        Ok(believed)
    }

    /// The token in what is shown, if there is one.
    fn token<'s>(&self, shown: &'s [u8]) -> Option<&'s [u8]> {
        let token = behind_scheme(shown, "Bearer");
        let token = if self.needs_scheme { token } else { Some(token.unwrap_or(shown)) };
        token.filter(|token| !token.is_empty())
    }

    /// One token is there: whether it is good is not looked at.
    pub(super) fn is_shown(&self, request: &Head) -> bool {
        self.shown.find(request).is_ok_and(|shown| shown.is_some_and(|shown| self.token(&shown).is_some()))
    }

    /// The claims that are used.
    fn names(&self) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter().map(|(claim, _)| claim.as_str());
        let counted = self.counted.iter().map(|claim| &**claim);
        let required = self.require.iter().map(|(claim, _)| claim.as_str());
        fields.chain(counted).chain(required).chain([self.user.as_str()])
    }

    fn keep(&self, said: &token::Said, until: f64) -> Believed {
        let counted = self.counted.iter().filter_map(|name| Some((name.clone(), token::written(said, name)?)));
        let claims: Arc<Claims> = counted.collect();
        Believed {
            until,
            lacks: self.require.iter().any(|(name, wanted)| !token::has(said, name, wanted)),
            user: token::written(said, &self.user),
            fields: self.fields.iter().map(|(claim, _)| token::written(said, claim)).collect(),
            claims: (!claims.is_empty()).then_some(claims),
        }
    }

    /// What becomes of a request without a good token.
    fn refuse(&self, visit: &mut Visit, refused: Refused, request: &Head) -> Verdict {
        let why = match refused {
            Refused::Missing => {
                self.challenge(visit, None);
                return Verdict::Refuse(Kind::Unauthorized);
            }
            Refused::NoKeys => return Verdict::Refuse(Kind::AuthUnavailable),
            Refused::Fault(Fault::UnknownKey) => {
                if let Vouched::Set(keys) = &self.vouched
                    && !visit.waited
                    && let Some(news) = keys.ask(Instant::now())
                {
                    visit.waited = true;
                    return Verdict::Ask(Ask::Keys(news));
                }
                "nobody knows its key"
            }
            Refused::Fault(Fault::Invalid(why)) => why,
        };
        tracing::debug!(auth = &*self.name, why, trace_id = %trace_id(request), "a token is refused");
        if let Some(times) = self.said.happens() {
            tracing::info!(auth = &*self.name, why, times, "tokens are refused");
        }
        self.challenge(visit, Some("invalid_token"));
        Verdict::Refuse(Kind::Unauthorized)
    }

    /// RFC 6750 section 3: what is wanted, and in one word what was wrong.
    fn challenge(&self, visit: &mut Visit, error: Option<&str>) {
        visit.answer.add("WWW-Authenticate", |out| {
            out.extend_from_slice(b"Bearer realm=\"");
            out.extend_from_slice(self.name.as_bytes());
            out.push(b'"');
            if let Some(error) = error {
                out.extend_from_slice(b", error=\"");
                out.extend_from_slice(error.as_bytes());
                out.push(b'"');
            }
        });
    }
}

fn algorithm(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Rs384 => Algorithm::RS384,
        JwtAlgorithm::Rs512 => Algorithm::RS512,
        JwtAlgorithm::Ps256 => Algorithm::PS256,
        JwtAlgorithm::Ps384 => Algorithm::PS384,
        JwtAlgorithm::Ps512 => Algorithm::PS512,
        JwtAlgorithm::Es256 => Algorithm::ES256,
        JwtAlgorithm::Es384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Hs384 => Algorithm::HS384,
        JwtAlgorithm::Hs512 => Algorithm::HS512,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::jwks::Place, *};
    use crate::{
        config::{
            Address, JwtKeys, Secret, Url,
            auth::testing::{Signer, claims},
        },
        policy::{test_head, test_lines},
    };
    use serde_json::{Value, json};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn auth() -> JwtAuth {
        JwtAuth {
            keys: JwtKeys::Secret(Secret::new(SECRET)),
            algorithms: vec![JwtAlgorithm::Hs256, JwtAlgorithm::Es256],
            issuers: Vec::new(),
            audiences: Vec::new(),
            leeway: Duration::ZERO,
            from: ShownIn::Header("authorization".into()),
            claims_to_headers: vec![("sub".into(), "x-user".into()), ("groups".into(), "x-groups".into())],
            require: vec![("scope".into(), vec!["orders".into(), "admin".into()])],
            user: "sub".into(),
        }
    }

    fn secret() -> Vouched {
        Vouched::Secret(Arc::new(KeySet::secret(SECRET)))
    }

    fn jwt(auth: &JwtAuth, vouched: Vouched) -> Jwt {
        Jwt::new("main", auth, vouched, &["tenant".into(), "sub".into(), "none".into()], 2)
    }

    fn token(changes: &Value) -> String {
        Signer::secret(SECRET).token(json!({ "alg": "HS256" }), &claims(changes))
    }

    /// What is said to a request with these fields: the verdict, its visit, and its fields then.
    fn look(jwt: &Jwt, fields: &str) -> (Verdict, Visit, String) {
        let (mut visit, mut head) = (Visit::default(), test_head(&format!("GET / HTTP/1.1\nHost: a\n{fields}")));
        let mut asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 3 };
        let verdict = jwt.look(&mut visit, &mut asked);
        (verdict, visit, test_lines(&head))
    }

    #[test]
    fn a_good_token_opens_and_tells() {
        let jwt = jwt(&auth(), secret());
        let token = token(&json!({ "sub": "ann", "scope": "read orders", "groups": ["a", "b"], "tenant": 7 }));
        for shown in [format!("Authorization: Bearer {token}"), format!("authorization: bearer  {token}")] {
            for _ in 0..2 {
                let (verdict, visit, fields) = look(&jwt, &shown);
                assert!(matches!(verdict, Verdict::Pass), "{verdict:?}");
                assert_eq!(visit.user.as_deref(), Some(&b"ann"[..]));
                assert_eq!(
                    [visit.claim("tenant"), visit.claim("sub"), visit.claim("none")],
                    [Some(&b"7"[..]), Some(b"ann"), None]
                );
                assert!(fields.ends_with("x-user: ann\nx-groups: a,b\n"), "{fields}");
                assert!(visit.answer.is_empty());
            }
        }
    }

    #[test]
    fn a_claim_with_a_control_passes_for_no_other() {
        let jwt = jwt(&auth(), secret());
        for (changes, fine) in [
            (json!({ "sub": "ann" }), true),
            (json!({ "sub": "an\u{0}n" }), false),
            (json!({ "sub": "ann\u{85}" }), false),
            (json!({ "groups": ["a", "b\r\nX-Admin: 1"] }), false),
            (json!({ "tenant": "t\n" }), false),
            (json!({ "scope": "orders\t" }), false),
            (json!({ "unused": "t\n" }), true),
        ] {
            let mut all = json!({ "sub": "bob", "scope": "orders" });
            all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let (verdict, visit, _) = look(&jwt, &format!("Authorization: Bearer {}", token(&all)));
            assert_eq!(matches!(verdict, Verdict::Pass), fine, "{changes}: {verdict:?}");
            assert!(
                fine || matches!(verdict, Verdict::Refuse(Kind::Unauthorized)) && visit.user.is_none(),
                "{changes}"
            );
        }
    }

    #[test]
    fn a_refusal_says_what_rfc_6750_says_and_no_more() {
        let jwt = jwt(&auth(), secret());
        let (good, over) = (token(&json!({ "scope": "orders" })), token(&json!({ "scope": "orders", "exp": 1 })));
        let other = token(&json!({ "scope": "read" }));
        let none = token(&json!({ "scope": null }));
        let (invalid, insufficient) = (", error=\"invalid_token\"", ", error=\"insufficient_scope\"");
        for (fields, kind, error) in [
            ("X-A: 1".to_owned(), Kind::Unauthorized, ""),
            ("Authorization: Basic YTpi".into(), Kind::Unauthorized, ""),
            (format!("Authorization: {good}"), Kind::Unauthorized, ""),
            ("Authorization: Bearer ".into(), Kind::Unauthorized, ""),
            ("Authorization: Bearer x".into(), Kind::Unauthorized, invalid),
            (format!("Authorization: Bearer {over}"), Kind::Unauthorized, invalid),
            (format!("Authorization: Bearer {good}x"), Kind::Unauthorized, invalid),
            (format!("Authorization: Bearer {good}\nAuthorization: Bearer {good}"), Kind::Unauthorized, invalid),
            (format!("Authorization: Bearer {other}"), Kind::Denied, insufficient),
            (format!("Authorization: Bearer {none}"), Kind::Denied, insufficient),
            // Once more: what is remembered of it is the same.
            (format!("Authorization: Bearer {other}"), Kind::Denied, insufficient),
        ] {
            let (verdict, visit, after) = look(&jwt, &fields);
            assert!(matches!(verdict, Verdict::Refuse(found) if found == kind), "{fields}: {verdict:?}");
            let challenge = format!("Bearer realm=\"main\"{error}");
            assert_eq!(visit.answer.find("www-authenticate"), Some(challenge.as_bytes()), "{fields}");
            assert!(visit.claims.is_none() && !after.contains("x-user"), "{fields}");
            assert_eq!(visit.user.is_some(), kind == Kind::Denied, "{fields}: the log says whose it was");
        }
    }

    #[test]
    fn a_token_may_be_replaced_by_what_it_says() {
        let claims_to_headers = vec![("sub".into(), "authorization".into()), ("none".into(), "cookie".into())];
        let jwt = jwt(&JwtAuth { claims_to_headers, ..auth() }, secret());
        let token = token(&json!({ "sub": "ann", "scope": "admin" }));
        let (verdict, _, fields) = look(&jwt, &format!("Authorization: Bearer {token}\nCookie: a=b\nX-A: 1"));
        assert!(matches!(verdict, Verdict::Pass), "{verdict:?}");
        assert_eq!(fields, "X-A: 1\nauthorization: ann\n");
    }

    #[test]
    fn other_places_want_no_scheme() {
        for (from, fields) in [
            (ShownIn::Header("x-token".into()), "X-Token: {}"),
            (ShownIn::Header("x-token".into()), "X-Token: Bearer {}"),
            (ShownIn::Cookie("session".into()), "Cookie: a=b; session={}"),
        ] {
            let jwt = jwt(&JwtAuth { from, ..auth() }, secret());
            let shown = fields.replace("{}", &token(&json!({ "scope": "admin" })));
            assert!(matches!(look(&jwt, &shown).0, Verdict::Pass), "{fields}");
            assert!(matches!(look(&jwt, "Authorization: Bearer x").0, Verdict::Refuse(Kind::Unauthorized)));
        }
    }

    fn url() -> Place {
        let address = Address::Tcp("127.0.0.1:80".parse().unwrap());
        Place::Url(Url { tls: false, address, authority: "127.0.0.1".into(), path: "/".into() })
    }

    fn set(kid: &str) -> KeySet {
        KeySet::parse(json!({ "keys": [Signer::p256().jwk(kid)] }).to_string().as_bytes()).unwrap().0
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_and_go_and_what_was_believed_goes_with_them() {
        let keys = Arc::new(Keys::new(url()));
        let jwt = jwt(&auth(), Vouched::Set(Arc::clone(&keys)));
        let signed = |kid: &str| {
            Signer::p256().token(json!({ "alg": "ES256", "kid": kid }), &claims(&json!({ "scope": "admin" })))
        };
        let (one, two) =
            (format!("Authorization: Bearer {}", signed("1")), format!("Authorization: Bearer {}", signed("2")));
        assert!(matches!(look(&jwt, &one).0, Verdict::Refuse(Kind::AuthUnavailable)), "there are no keys yet");
        keys.replace(set("1"));
        for _ in 0..2 {
            assert!(matches!(look(&jwt, &one).0, Verdict::Pass));
        }
        // Nobody knows that key: it is asked for, once, and those who wait look again.
        let (verdict, mut visit, _) = look(&jwt, &two);
        assert!(matches!(verdict, Verdict::Ask(Ask::Keys(_))), "{verdict:?}");
        keys.wanted().await;
        keys.looks();
        keys.replace(set("2"));
        keys.looked(Instant::now());
        let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\n{two}"));
        let mut asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 3 };
        assert!(matches!(jwt.look(&mut visit, &mut asked), Verdict::Pass));
        let (verdict, ..) = look(&jwt, &one);
        assert!(matches!(verdict, Verdict::Refuse(Kind::Unauthorized)), "its key has gone, and so has it: {verdict:?}");
        tokio::time::advance(Duration::from_secs(10)).await;
        let (verdict, mut visit, _) = look(&jwt, &one);
        assert!(matches!(verdict, Verdict::Ask(Ask::Keys(_))), "{verdict:?}");
        let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\n{one}"));
        let mut asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 3 };
        let verdict = jwt.look(&mut visit, &mut asked);
        assert!(matches!(verdict, Verdict::Refuse(Kind::Unauthorized)), "nobody waits twice: {verdict:?}");
    }

    #[test]
    fn what_is_remembered_ends_with_the_token() {
        let jwt = jwt(&auth(), secret());
        let token = token(&json!({ "scope": "admin", "iat": 0, "exp": 1000 }));
        let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer {token}"));
        let asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 0 };
        let first = jwt.believed(&asked, 999.0).unwrap();
        assert!(Arc::ptr_eq(&first, &jwt.believed(&asked, 999.9).unwrap()), "it is not verified twice");
        let expired = Refused::Fault(Fault::Invalid("it has expired"));
        assert_eq!(jwt.believed(&asked, 1000.0).unwrap_err(), expired);
        let elsewhere = Asked { worker: 1, ..asked };
        assert!(!Arc::ptr_eq(&first, &jwt.believed(&elsewhere, 999.0).unwrap()), "each worker has its own");
    }

    /// Says what a look costs; `cargo test --release --lib policy::auth::jwt -- --ignored --nocapture`.
    #[test]
    #[ignore = "it measures"]
    fn what_a_look_costs() {
        for (name, signer) in [("RS256", Signer::rsa()), ("ES256", Signer::p256()), ("EdDSA", Signer::ed25519())] {
            let keys = json!({ "keys": [signer.jwk("1")] }).to_string();
            let set = Arc::new(KeySet::parse(keys.as_bytes()).unwrap().0);
            let algorithms = vec![JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa];
            let jwt = jwt(&JwtAuth { algorithms, ..auth() }, Vouched::Secret(set));
            let said = claims(&json!({ "scope": "orders", "sub": "ann", "filler": "x".repeat(300) }));
            let token = signer.token(json!({ "alg": name, "kid": "1" }), &said);
            let mut head = test_head(&format!("GET / HTTP/1.1\nHost: a\nAuthorization: Bearer {token}"));
            let asked = Asked { request: &mut head, client: None, route: "r", now: 0, worker: 0 };
            for (what, forget) in [("verified", true), ("remembered", false)] {
                let (count, begun) = (2000, std::time::Instant::now());
                for _ in 0..count {
                    if forget {
                        jwt.memories[0].lock().unwrap().tokens.clear();
                    }
                    assert!(jwt.believed(&asked, 1.0).is_ok());
                }
                println!(
                    "{name} {what}: {:.2} us, {} bytes",
                    begun.elapsed().as_secs_f64() * 1e6 / f64::from(count),
                    token.len()
                );
            }
        }
    }
}
