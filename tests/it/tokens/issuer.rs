//! Who issues tokens, with keys that are made anew in each process.

use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rand::SystemRandom};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Has a key, and perhaps a name for it.
pub(super) struct Issuer {
    kid: Option<&'static str>,
    key: Key,
}

enum Key {
    P256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
    Secret(&'static str),
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(super) fn p256(kid: &'static str) -> Self {
        Self { kid: Some(kid), key: Key::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()) }
    }

    pub(super) fn rsa(kid: &'static str) -> Self {
        Self { kid: Some(kid), key: Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(super) fn secret(secret: &'static str) -> Self {
        Self { kid: None, key: Key::Secret(secret) }
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        match &self.key {
            Key::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "kid": self.kid, "x": text(&point[1..33]), "y": text(&point[33..]) })
            }
            Key::Rsa(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": text(n), "e": text(e) })
            }
            Key::Secret(_) => panic!("a secret is not published"),
        }
    }

    /// A set of this key.
    pub(super) fn set(&self) -> String {
        set(&[self])
    }

    /// A token with these claims, good for a long time unless they say otherwise.
    pub(super) fn token(&self, claims: &Value) -> String {
        let alg = match &self.key {
            Key::P256(_) => "ES256",
            Key::Rsa(_) => "RS256",
            Key::Secret(_) => "HS256",
        };
        let mut header = json!({ "alg": alg, "typ": "JWT" });
        if let Some(kid) = self.kid {
            header["kid"] = json!(kid);
        }
        let mut all = json!({ "exp": 4_000_000_000u64 });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let message = format!("{}.{}", text(header.to_string()), text(all.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::P256(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes()).as_ref().to_vec()
            }
        };
        format!("{message}.{}", text(signature))
    }
}

/// A set of these keys.
pub(super) fn set(issuers: &[&Issuer]) -> String {
    let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}
