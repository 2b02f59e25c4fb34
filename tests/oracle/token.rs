//! JSON Web Tokens signed with a shared secret: against RFC 7515 and 7519 read again, with base64 by hand. That nobody else's
//! signature is taken is asked of every input; that the right ones are, too.

use aws_lc_rs::hmac;
use evenkeel::policy::{KeySet, TokenRules, verify_token};
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use crate::{Dice, compare};

const NOW: f64 = 1_800_000_000.0;
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";
const WORDS: &[&[u8]] =
    &[b".", b"..", b"=", b"_", b"-", b"+", b"/", b"A", b"e30", b"eyJ", b"\n", b" ", b"\xff", b"none"];
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        (0..=three.len()).for_each(|place| out.push(ALPHABET[(number >> (18 - 6 * place) & 63) as usize]));
    }
    out
}

/// Bit by bit; what is left at the end must be nothing, and no byte may be only half there.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for letter in text {
        held = held << 6 | ALPHABET.iter().position(|one| one == letter)? as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (bits < 6 && held == 0).then_some(out)
}

fn sign(alg: &str, signed: &[u8]) -> Option<Vec<u8>> {
    let algorithm = match alg {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => return None,
    };
    Some(hmac::sign(&hmac::Key::new(algorithm, SECRET), signed).as_ref().to_vec())
}

/// What the token says, if all is as it must be.
fn read(rules: &TokenRules, token: &[u8]) -> Option<Map<String, Value>> {
    let parts: Vec<&[u8]> = token.split(|&byte| byte == b'.').collect();
    let [head, said, signature] = parts[..] else { return None };
    let header: Map<String, Value> = serde_json::from_slice(&decode(head)?).ok()?;
    let alg = header.get("alg")?.as_str()?;
    let allowed = rules.algorithms.iter().any(|allowed| format!("{allowed:?}") == alg);
    let extended = ["crit", "b64", "enc", "zip"].iter().any(|name| header.contains_key(*name));
    let kid = header.get("kid").is_none_or(Value::is_string);
    let nested = header.get("cty").is_some_and(|kind| match kind.as_str().map(str::to_lowercase) {
        Some(kind) => kind == "jwt" || kind == "application/jwt",
        None => true,
    });
    let right = sign(alg, &[head, b".", said].concat())? == decode(signature)?;
    if token.len() > 8192 || !allowed || extended || !kid || nested || !right {
        return None;
    }
    let said: Map<String, Value> = serde_json::from_slice(&decode(said)?).ok()?;
    let time = |name: &str| said.get(name).map(|time| time.as_f64().ok_or(())).transpose();
    let (ends, begins, issued) = (time("exp").ok()??, time("nbf").ok()?, time("iat").ok()?);
    let late =
        NOW - rules.leeway >= ends || [begins, issued].iter().flatten().any(|begins| NOW < begins - rules.leeway);
    let listed = |list: &[String], value: &Value| value.as_str().is_some_and(|text| list.iter().any(|one| one == text));
    let from = rules.issuers.is_empty() || said.get("iss").is_some_and(|issuer| listed(&rules.issuers, issuer));
    let to = rules.audiences.is_empty()
        || said.get("aud").is_some_and(|meant| {
            listed(&rules.audiences, meant)
                || meant.as_array().is_some_and(|list| list.iter().any(|one| listed(&rules.audiences, one)))
        });
    (!late && from && to).then_some(said)
}

fn object(dice: &mut Dice, usual: &[(&str, Value)], odd: &[(&str, Value)]) -> Map<String, Value> {
    let mut members = Map::new();
    for (name, value) in usual {
        if !dice.one_in(12) {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    for (name, value) in odd {
        if dice.one_in(16) {
            members.insert((*name).to_owned(), value.clone());
        }
    }
    members
}

#[test]
fn token() {
    assert_eq!(decode(&encode(b"any carnal pleas")), Some(b"any carnal pleas".to_vec()));
    let keys = KeySet::secret(SECRET);
    compare("token", |dice| {
        let all = [
            Algorithm::HS256,
            Algorithm::HS384,
            Algorithm::HS512,
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ];
        let texts = |dice: &mut Dice| (0..dice.below(3)).map(|_| dice.of(&["a", "b"]).to_owned()).collect();
        let rules = TokenRules {
            algorithms: all.into_iter().filter(|_| !dice.one_in(3)).collect(),
            issuers: texts(dice),
            audiences: texts(dice),
            leeway: dice.of(&[0.0, 30.0]),
        };
        let alg = dice.of(&["HS256", "HS256", "HS384", "HS512", "RS256", "none", "hs256"]);
        let odd = [
            ("kid", json!("k")),
            ("kid", json!(1)),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("cty", json!("Jwt")),
            ("cty", json!("text")),
            ("zip", json!("DEF")),
            ("jwk", json!({"kty": "oct", "k": "AAAA"})),
            ("alg", json!(["HS256"])),
        ];
        let header = object(dice, &[("alg", json!(alg)), ("typ", json!("JWT"))], &odd);
        let mut near = || NOW + dice.of(&[-3600.0, -31.0, -30.0, -29.0, -0.5, 0.0, 0.5, 29.0, 30.0, 31.0, 3600.0]);
        let (ends, begins) = (near(), near());
        let usual = [
            ("exp", json!(if dice.one_in(2) { NOW + 60.0 } else { ends })),
            ("iss", json!("a")),
            ("aud", json!(["x", "b"])),
        ];
        let odd = [
            ("nbf", json!(begins)),
            ("iat", json!(begins)),
            ("iat", json!("today")),
            ("exp", json!("1900000000")),
            ("exp", json!(null)),
            ("aud", json!("a")),
            ("aud", json!({"a": "a"})),
            ("iss", json!(["a"])),
            ("sub", json!("ä\u{0}")),
        ];
        let said = object(dice, &usual, &odd);
        let mut signed = encode(&serde_json::to_vec(&header).unwrap());
        signed.push(b'.');
        signed.extend(encode(&serde_json::to_vec(&said).unwrap()));
        let by = if dice.one_in(10) { dice.of(&["HS256", "HS384", "HS512"]) } else { alg };
        let signature = sign(by, &signed).unwrap_or_else(|| dice.bytes(70));
        let mut token = [&signed[..], b".", &encode(&signature)].concat();
        if dice.one_in(3) {
            dice.damage(&mut token, WORDS);
        }
        let ours = verify_token(&rules, &keys, &token, NOW).ok().map(|(said, _)| said);
        let wanted = read(&rules, &token);
        assert_eq!(ours, wanted, "{rules:?} {header:?} {said:?} {}", token.escape_ascii());
        evenkeel::policy::fuzz_token(&token);
        evenkeel::policy::fuzz_token(&serde_json::to_vec(&said).unwrap());
    });
}
