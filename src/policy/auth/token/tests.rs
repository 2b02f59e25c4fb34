//! Whom is believed: one table of good tokens, and one of every trick that we know of.

use super::*;
use crate::config::auth::testing::{Signer, encoded};
use serde_json::json;

const NOW: f64 = 1_800_000_000.0;
const ALL: [Algorithm; 12] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
];

fn rules() -> Rules {
    let (issuers, audiences) = (vec!["https://a.example".into()], vec!["api".into(), "web".into()]);
    Rules { algorithms: ALL.to_vec(), issuers, audiences, leeway: 30.0 }
}

fn claims() -> Value {
    json!({ "iss": "https://a.example", "aud": "api", "sub": "u", "exp": NOW + 60.0, "iat": NOW - 60.0 })
}

fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// The four keys of a set that has one of each kind, and no two of one.
fn keys() -> KeySet {
    let keys = [Signer::rsa().jwk("rsa"), Signer::p256().jwk("p256"), Signer::p384().jwk("p384")];
    let keys = json!({ "keys": [keys[0], keys[1], keys[2], Signer::ed25519().jwk("ed")] });
    KeySet::parse(keys.to_string().as_bytes()).unwrap().0
}

fn look(keys: &KeySet, token: &str) -> Result<(Said, f64), Fault> {
    verify(&rules(), keys, token.as_bytes(), NOW)
}

fn is_refused(keys: &KeySet, token: &str, why: &str) {
    match look(keys, token) {
        Err(Fault::Invalid(said)) => assert!(said.contains(why), "{said:?}, wanted {why:?}: {token}"),
        other => panic!("{other:?}, wanted {why:?}: {token}"),
    }
}

#[test]
fn every_algorithm_verifies_what_its_key_has_signed() {
    let keys = keys();
    for (signer, kid) in
        [(Signer::rsa(), "rsa"), (Signer::p256(), "p256"), (Signer::p384(), "p384"), (Signer::ed25519(), "ed")]
    {
        for &algorithm in signer.fits() {
            let token = signer.token(json!({ "alg": algorithm, "kid": kid }), &claims());
            let (said, until) = look(&keys, &token).unwrap();
            assert_eq!((&said["sub"], until), (&json!("u"), NOW + 90.0), "{algorithm:?}");
            let unnamed = signer.token(json!({ "alg": algorithm, "typ": "at+jwt" }), &claims());
            assert!(look(&keys, &unnamed).is_ok(), "{algorithm:?}: one key fits");
            let only = Rules { algorithms: ALL.into_iter().filter(|&other| other != algorithm).collect(), ..rules() };
            let refused = verify(&only, &keys, token.as_bytes(), NOW);
            assert_eq!(refused, Err(Fault::Invalid("its `alg` is not allowed")), "{algorithm:?}");
        }
    }
    let secret = Signer::secret(b"0123456789abcdef0123456789abcdef");
    let keys = KeySet::secret(b"0123456789abcdef0123456789abcdef");
    for &algorithm in secret.fits() {
        assert!(look(&keys, &secret.token(json!({ "alg": algorithm, "kid": "any" }), &claims())).is_ok());
    }
}

#[test]
fn no_algorithm_is_taken_for_another() {
    let keys = keys();
    // The public key as the secret of an HMAC, in the forms that libraries have fallen for.
    let rsa = Signer::rsa();
    for public in rsa.public_forms() {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let forged = Signer::secret(&public).token(json!({ "alg": algorithm, "kid": "rsa" }), &claims());
            is_refused(&keys, &forged, "no key, or more than one, fits");
            let unnamed = Signer::secret(&public).token(json!({ "alg": algorithm }), &claims());
            is_refused(&keys, &unnamed, "no key, or more than one, fits");
        }
    }
    for none in ["none", "None", "NONE", "nOnE", "", "RS1", "rs256", "ES512", "ES256K", "EdDSA448"] {
        for signature in ["", "AA"] {
            let forged =
                format!("{}.{}.{signature}", encoded(&json!({ "alg": none, "kid": "rsa" })), encoded(&claims()));
            is_refused(&keys, &forged, "its `alg` is none that we know");
        }
    }
    for header in [json!({}), json!({ "alg": 7 }), json!({ "alg": ["RS256"] }), json!({ "alg": null })] {
        let forged = format!("{}.{}.AA", encoded(&header), encoded(&claims()));
        is_refused(&keys, &forged, "its `alg` is none that we know");
    }
    // Signed by one key of ours, said to be another's.
    for (signer, alg, kid, why) in [
        (Signer::p256(), "ES256", "rsa", "fits"),
        (Signer::p256(), "ES256", "p384", "fits"),
        (Signer::p256(), "ES384", "p384", "signature"),
        (Signer::p256(), "ES384", "p256", "fits"),
        (Signer::p384(), "ES256", "p256", "signature"),
        (Signer::ed25519(), "ES256", "ed", "fits"),
        (Signer::rsa_too(), "RS256", "rsa", "signature"),
        (Signer::rsa(), "ES256", "rsa", "fits"),
    ] {
        is_refused(&keys, &signer.token_as(json!({ "alg": alg, "kid": kid }), &claims()), why);
    }
    // RSA's two paddings are two algorithms.
    let token = rsa.token(json!({ "alg": "PS256", "kid": "rsa" }), &claims());
    let (_, rest) = token.split_once('.').unwrap();
    is_refused(&keys, &format!("{}.{rest}", encoded(&json!({ "alg": "RS256", "kid": "rsa" }))), "signature");
}

#[test]
fn a_key_that_a_token_brings_along_is_not_believed() {
    let (keys, thief) = (keys(), Signer::rsa_too());
    let jwk = thief.jwk("rsa");
    for header in [
        json!({ "alg": "RS256", "kid": "rsa", "jwk": jwk }),
        json!({ "alg": "RS256", "kid": "rsa", "jku": "https://thief.example/" }),
        json!({ "alg": "RS256", "kid": "rsa", "x5u": "https://thief.example/", "x5c": ["AA=="] }),
        json!({ "alg": "RS256", "jwk": jwk }),
    ] {
        is_refused(&keys, &thief.token(header, &claims()), "signature");
    }
    for kid in ["thief", "", "rsa\0", "RSA", "../rsa", "' OR 1=1", "\u{202e}asr"] {
        let token = thief.token(json!({ "alg": "RS256", "kid": kid }), &claims());
        assert_eq!(look(&keys, &token), Err(Fault::UnknownKey), "{kid:?}");
    }
    for kid in [json!(7), json!(["rsa"]), json!({ "a": "rsa" }), json!(null)] {
        is_refused(&keys, &Signer::rsa().token(json!({ "alg": "RS256", "kid": kid }), &claims()), "its `kid`");
    }
}

#[test]
fn a_header_that_asks_for_more_is_refused() {
    let keys = keys();
    for (more, why) in [
        (json!({ "crit": ["exp"], "exp": 1 }), "extension"),
        (json!({ "crit": [] }), "extension"),
        (json!({ "crit": null }), "extension"),
        (json!({ "b64": false, "crit": ["b64"] }), "extension"),
        (json!({ "b64": false }), "extension"),
        (json!({ "zip": "DEF" }), "encrypted or compressed"),
        (json!({ "enc": "A128GCM" }), "encrypted or compressed"),
        (json!({ "cty": "JWT" }), "another token"),
        (json!({ "cty": "application/jwt" }), "another token"),
        (json!({ "cty": 7 }), "another token"),
    ] {
        let header = changed(json!({ "alg": "ES256", "kid": "p256" }), more);
        is_refused(&keys, &Signer::p256().token(header, &claims()), why);
    }
}

#[test]
fn what_is_not_whole_is_no_token() {
    let keys = keys();
    let token = Signer::p256().token(json!({ "alg": "ES256", "kid": "p256" }), &claims());
    assert!(look(&keys, &token).is_ok());
    for end in 0..token.len() {
        assert!(matches!(look(&keys, &token[..end]), Err(Fault::Invalid(_))), "{end} bytes of it");
    }
    let parts: Vec<_> = token.split('.').collect();
    let [head, said, signature] = parts[..] else { panic!("{token}") };
    let longer = encoded(&changed(claims(), json!({ "admin": true })));
    for (forged, why) in [
        (format!("{head}.{longer}.{signature}"), "signature"),
        (format!("{head}.{said}.{signature}A"), "signature"),
        (format!("{head}.{said}.{signature}=="), "signature"),
        (format!("{head}.{said}."), "signature"),
        (format!("{head}.{said}.{}", "A".repeat(86)), "signature"),
        (format!("{head}..{signature}"), "signature"),
        (format!(".{said}.{signature}"), "header"),
        (format!("{head}=.{said}.{signature}"), "header"),
        (format!("{head}\n.{said}.{signature}"), "header"),
        (format!("bnVsbA.{said}.{signature}"), "header"),
        (format!("W10.{said}.{signature}"), "header"),
        (format!("{head}.{said}"), "three parts"),
        (format!("{token}."), "three parts"),
        (format!("{head}.{said}.{signature}.{said}.{signature}"), "three parts"),
        (String::new(), "three parts"),
        ("..".into(), "header"),
        (format!("{token}é"), "other characters"),
        (format!("{}{token}", "A".repeat(MAX_LENGTH)), "too long"),
    ] {
        is_refused(&keys, &forged, why);
    }
    assert!(verify(&rules(), &keys, b"\xff\xfe.\x80.\x00", NOW).is_err());
    for header in ["{\"alg\":\"ES256\",\"alg\":\"ES256\"}", "{\"alg\":\"ES256\",\"kid\":\"a\",\"kid\":\"p256\"}"] {
        is_refused(&keys, &format!("{}.{said}.{signature}", URL_SAFE_NO_PAD.encode(header)), "header");
    }
    let deep = format!("{}1{}", "[".repeat(2000), "]".repeat(2000));
    is_refused(&keys, &format!("{}.{said}.{signature}", URL_SAFE_NO_PAD.encode(deep)), "header");
    // A signature that is right, below claims that are none.
    for said in [
        "{\"exp\":2e9,\"aud\":\"api\",\"\\u0061ud\":\"x\"}",
        "{\"sub\":1,\"sub\":1}",
        "7",
        "[]",
        "null",
        "\"a\"",
        "",
        "{\"exp\":1e999}",
        "{",
        "\u{feff}{}",
    ] {
        let token = Signer::p256().sign("ES256", &json!({ "alg": "ES256", "kid": "p256" }), said.as_bytes());
        is_refused(&keys, &token, "its claims are no JSON object");
    }
}

#[test]
fn a_token_is_for_its_time() {
    let keys = keys();
    for (changes, why) in [
        (json!({ "exp": NOW - 29.0 }), ""),
        (json!({ "exp": NOW - 29.5 }), ""),
        (json!({ "exp": NOW - 30.0 }), "expired"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": -1 }), "expired"),
        (json!({ "exp": null }), "no number"),
        (json!({ "exp": "1900000000" }), "no number"),
        (json!({ "exp": [NOW + 60.0] }), "no number"),
        (json!({ "exp": u64::MAX }), ""),
        (json!({ "exp": 1e300 }), ""),
        (json!({ "nbf": NOW + 30.0 }), ""),
        (json!({ "nbf": NOW + 31.0 }), "has not come"),
        (json!({ "nbf": "soon" }), "no number"),
        (json!({ "nbf": -1e300 }), ""),
        (json!({ "iat": NOW + 31.0 }), "has not come"),
        (json!({ "iat": true }), "no number"),
    ] {
        let token =
            Signer::ed25519().token(json!({ "alg": "EdDSA", "kid": "ed" }), &changed(claims(), changes.clone()));
        match why {
            "" => assert!(look(&keys, &token).is_ok(), "{changes}"),
            why => is_refused(&keys, &token, why),
        }
    }
    let mut endless = claims();
    endless.as_object_mut().unwrap().remove("exp");
    is_refused(&keys, &Signer::ed25519().token(json!({ "alg": "EdDSA", "kid": "ed" }), &endless), "no `exp`");
}

#[test]
fn a_token_is_for_us() {
    let keys = keys();
    for (changes, why) in [
        (json!({ "aud": ["x", "web"] }), ""),
        (json!({ "aud": "web" }), ""),
        (json!({ "aud": "x" }), "`aud`"),
        (json!({ "aud": [] }), "`aud`"),
        (json!({ "aud": ["ap", "apii", "API"] }), "`aud`"),
        (json!({ "aud": null }), "`aud`"),
        (json!({ "aud": { "api": true } }), "`aud`"),
        (json!({ "aud": [["api"]] }), "`aud`"),
        (json!({ "iss": "https://a.example/" }), "`iss`"),
        (json!({ "iss": "https://b.example" }), "`iss`"),
        (json!({ "iss": ["https://a.example"] }), "`iss`"),
        (json!({ "iss": null }), "`iss`"),
    ] {
        let token =
            Signer::ed25519().token(json!({ "alg": "EdDSA", "kid": "ed" }), &changed(claims(), changes.clone()));
        match why {
            "" => assert!(look(&keys, &token).is_ok(), "{changes}"),
            why => is_refused(&keys, &token, why),
        }
    }
    let anybody = Rules { issuers: Vec::new(), audiences: Vec::new(), ..rules() };
    let token = Signer::ed25519().token(json!({ "alg": "EdDSA" }), &changed(claims(), json!({ "aud": "x", "iss": 7 })));
    assert!(verify(&anybody, &keys, token.as_bytes(), NOW).is_ok(), "who asks for nobody takes everybody");
}

#[test]
fn claims_are_required_as_they_are_written() {
    let said = json!({
        "scope": "orders:read orders  admin", "scp": ["orders"], "role": "orders admin", "groups": ["a", "b", 7],
        "level": 3, "staff": true, "address": { "a": 1 }, "none": null,
    });
    let said = said.as_object().unwrap();
    for (name, wanted, held) in [
        ("scope", "orders", true),
        ("scope", "orders:read", true),
        ("scope", "order", false),
        ("scope", "orders:read orders", false),
        ("scope", "", false),
        ("scp", "orders", true),
        ("scp", "order", false),
        ("role", "orders admin", true),
        ("role", "orders", false),
        ("groups", "b", true),
        ("groups", "7", true),
        ("groups", "c", false),
        ("level", "3", true),
        ("level", "30", false),
        ("staff", "true", true),
        ("staff", "false", false),
        ("address", "1", false),
        ("none", "null", false),
        ("missing", "", false),
    ] {
        assert_eq!(has(said, name, &["other".into(), wanted.into()]), held, "{name} = {wanted}");
    }
    assert!(!has(said, "role", &[]));
}

#[test]
fn claims_are_written_on_one_line() {
    let said = json!({
        "text": "a b", "split": "a\r\nX-Admin: 1\0\u{7f}", "blank": " \r\n\t ", "edges": "\t a ", "number": 1.5, "big": u64::MAX,
        "yes": true, "list": ["a", 1, true, null, { "b": 1 }, "", "c\r\n"], "none": null, "object": { "a": 1 },
        "empty": [], "unicode": "é\u{202e}",
    });
    let said = said.as_object().unwrap();
    for (name, wanted) in [
        ("text", Some("a b")),
        ("split", Some("aX-Admin: 1")),
        ("blank", None),
        ("edges", Some("a")),
        ("number", Some("1.5")),
        ("big", Some("18446744073709551615")),
        ("yes", Some("true")),
        ("list", Some("a,1,true,c")),
        ("none", None),
        ("object", None),
        ("empty", None),
        ("unicode", Some("é\u{202e}")),
        ("missing", None),
    ] {
        assert_eq!(written(said, name).as_deref(), wanted.map(str::as_bytes), "{name}");
    }
}

#[test]
fn whatever_bytes_come_are_no_token() {
    let token = Signer::p256().token(json!({ "alg": "ES256", "kid": "p256" }), &claims());
    for data in [b"".as_slice(), b"...", token.as_bytes(), b"{\"exp\":1,\"a\":[\"\\r\\n\"]}", b"{\"keys\":[{}]}"] {
        fuzz(data);
    }
}
