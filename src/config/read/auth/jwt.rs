//! `type = "jwt"`: which tokens are taken.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    super::super::{
        JwtAlgorithm, JwtAuth, JwtKeys, ShownIn,
        auth::key_set,
        field, files,
        report::Wrong,
        section::{Field, Section},
        units::quoted,
        values,
    },
    file, forward, from,
};

const ALGORITHMS: &[(&str, JwtAlgorithm)] = &[
    ("RS256", JwtAlgorithm::Rs256),
    ("RS384", JwtAlgorithm::Rs384),
    ("RS512", JwtAlgorithm::Rs512),
    ("PS256", JwtAlgorithm::Ps256),
    ("PS384", JwtAlgorithm::Ps384),
    ("PS512", JwtAlgorithm::Ps512),
    ("ES256", JwtAlgorithm::Es256),
    ("ES384", JwtAlgorithm::Es384),
    ("EdDSA", JwtAlgorithm::EdDsa),
    ("HS256", JwtAlgorithm::Hs256),
    ("HS384", JwtAlgorithm::Hs384),
    ("HS512", JwtAlgorithm::Hs512),
];
const PEERS: &[(&str, &str)] = &[
    ("rs256", "RS256"),
    ("rs384", "RS384"),
    ("rs512", "RS512"),
    ("rsa", "RS256"),
    ("ps256", "PS256"),
    ("ps384", "PS384"),
    ("ps512", "PS512"),
    ("es256", "ES256"),
    ("es384", "ES384"),
    ("ecdsa", "ES256"),
    ("eddsa", "EdDSA"),
    ("ed25519", "EdDSA"),
    ("hs256", "HS256"),
    ("hs384", "HS384"),
    ("hs512", "HS512"),
    ("hmac", "HS256"),
];
const LONGEST_LEEWAY: Duration = Duration::from_secs(600);
const WHERE: &str = "write jwks = \"https://auth.example.com/.well-known/jwks.json\" or jwks = { file = \"jwks.json\" }; for \
                     HS256 secret = { file = \"jwt.key\" }";

const SECRET: &str = "{ file = \"/etc/evenkeel/jwt.key\" } or { env = \"JWT_SECRET\" }";

pub(super) fn jwt(section: &Section<'_>) -> Option<JwtAuth> {
    let keys = keys(section);
    let symmetric = section.field("secret").is_some();
    let algorithms = algorithms(section, symmetric);
    if let (Some(JwtKeys::Secret(secret)), Some(field)) = (&keys, section.field("secret")) {
        long_enough(&field, secret.expose().len(), &algorithms);
    }
    let jwt = JwtAuth {
        keys: JwtKeys::File(std::path::PathBuf::new()),
        algorithms,
        issuers: section.list("issuer", |field| named(field, "who makes the tokens")),
        audiences: section.list("audience", |field| named(field, "whom the tokens are for")),
        leeway: section.read("leeway", Duration::from_secs(30), leeway),
        from: section.read("from", ShownIn::Header("authorization".into()), from),
        claims_to_headers: claims_to_headers(section),
        require: require(section),
        user: section.read("user", "sub".to_owned(), |field| named(field, "the name of a claim")),
    };
    if let (Some(field), true) = (section.field("jwks"), jwt.audiences.is_empty() && !section.meant(&["audience"])) {
        let wrong = Wrong::new("without `audience`, tokens that were made for other services open this one, too");
        field.warn(wrong.help("write audience = \"api\": what the tokens for this one have as their `aud`"));
    }
    Some(JwtAuth { keys: keys?, ..jwt })
}

/// `jwks` or `secret`.
fn keys(section: &Section<'_>) -> Option<JwtKeys> {
    match (section.field("jwks"), section.field("secret")) {
        (Some(field), None) => match field.value() {
            DeValue::String(text) if text.contains("://") => {
                let url = field.read(|field| forward::url(field, forward::EXAMPLE))?;
                if !url.tls && !forward::is_near(&url) {
                    let wrong = Wrong::new("keys that come unencrypted can be replaced on their way by anybody's");
                    field.warn(wrong.help("write https://, if the server has it"));
                }
                Some(JwtKeys::Url(url))
            }
            _ => {
                let file = file(&field, WHERE)?;
                let path = file.read(|file| {
                    let path = files::path(file)?;
                    let found = key_set(&path);
                    found.map_err(|why| Wrong::new(format!("{}: {why}", quoted(&path.to_string_lossy()))))?;
                    Ok(path)
                });
                path.map(JwtKeys::File)
            }
        },
        (None, Some(field)) => files::key(&field, SECRET).map(JwtKeys::Secret),
        (Some(first), Some(second)) => {
            let wrong = Wrong::new("tokens are signed by those who have a private key, or by those who share a secret");
            second.clash(wrong.help("keep `jwks` or `secret`"), &first);
            None
        }
        (None, None) => {
            if !section.meant(&["jwks", "secret"]) {
                section.missing("jwks", Wrong::new("nothing says what signatures are verified with").help(WHERE));
            }
            None
        }
    }
}

fn algorithms(section: &Section<'_>, symmetric: bool) -> Vec<JwtAlgorithm> {
    use JwtAlgorithm::{EdDsa, Es256, Hs256, Rs256};
    let Some(field) = section.field("algorithms") else {
        return if symmetric { vec![Hs256] } else { vec![Rs256, Es256, EdDsa] };
    };
    let (kept, other) = if symmetric { ("secret", "jwks") } else { ("jwks", "secret") };
    let algorithm = |field: &Field<'_>| {
        let algorithm = values::choice(ALGORITHMS, &[], PEERS)(field).map_err(|wrong| {
            match field.value().as_str().map(str::to_ascii_lowercase).as_deref() {
                Some("none") => Wrong::new("a token that nobody has signed is anybody's").help("take it out"),
                _ => wrong,
            }
        })?;
        if algorithm.is_symmetric() == symmetric {
            return Ok(algorithm);
        }
        let word = quoted(field.value().as_str().unwrap_or_default());
        let wrong = Wrong::new(format!("{word} is no algorithm for `{kept}`"));
        Err(wrong.help(format!("take it out; it wants `{other}`")))
    };
    let mut algorithms = section.list("algorithms", algorithm);
    let mut seen = std::collections::HashSet::new();
    algorithms.retain(|algorithm| seen.insert(*algorithm));
    if field.value().as_array().is_some_and(|list| list.is_empty()) {
        field.wrong(Wrong::new("no token would be taken").help("leave it out, or name those of your tokens"));
    }
    algorithms
}

/// RFC 7518 section 3.2: a key has at least as many bytes as the digest.
fn long_enough(field: &Field<'_>, length: usize, algorithms: &[JwtAlgorithm]) {
    let wanted = |algorithm: &JwtAlgorithm| match algorithm {
        JwtAlgorithm::Hs512 => 64,
        JwtAlgorithm::Hs384 => 48,
        _ => 32,
    };
    let wanted = algorithms.iter().map(wanted).max().unwrap_or(32);
    if length < wanted {
        let wrong = Wrong::new(format!("found {length} bytes there, wanted at least {wanted} for these algorithms"));
        field.wrong(wrong.help(format!("`openssl rand -hex {wanted}` makes one that nobody guesses")));
    }
}

fn named(field: &Field<'_>, what: &str) -> Result<String, Wrong> {
    let text = values::text(field, what)?;
    if text.is_empty() { Err(values::wanted(field.value(), what)) } else { Ok(text.to_owned()) }
}

fn leeway(field: &Field<'_>) -> Result<Duration, Wrong> {
    let time = values::delay(field)?;
    if time <= LONGEST_LEEWAY {
        return Ok(time);
    }
    Err(values::wanted(field.value(), "a duration of at most 10m").help("a token is taken so long after its end"))
}

fn claims_to_headers(section: &Section<'_>) -> Vec<(String, String)> {
    const EXAMPLE: &str = "write claims_to_headers = { sub = \"x-user\" }";
    let Some(table) = section.field("claims_to_headers") else { return Vec::new() };
    if !table.value().is_table() {
        table.wrong(values::wanted(table.value(), "a table of claims and names of headers").help(EXAMPLE));
    }
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    let mut claims = Vec::new();
    for (claim, field) in table.entries() {
        let read = |field: &Field<'_>| field::editable(values::text(field, "the name of a header")?);
        let Some(name) = field.read(read) else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            field.clash(Wrong::new(format!("`{name}` has another claim already")).help("name another header"), first);
        }
        claims.push((claim.to_owned(), name.clone()));
        seen.push((name, field));
    }
    claims
}

fn require(section: &Section<'_>) -> Vec<(String, Vec<String>)> {
    let Some(table) = section.field("require") else { return Vec::new() };
    if !table.value().is_table() {
        let wrong = values::wanted(table.value(), "a table of claims and what they must be");
        table.wrong(wrong.help("write require = { scope = \"orders\" }"));
    }
    let text = |field: &Field<'_>| match field.value() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().replace('_', "")),
        value => Err(values::wanted(value, "what the claim must be: a text, or a list of which one will do")),
    };
    let mut all = Vec::new();
    for (claim, field) in table.entries() {
        let list = field.list();
        if list.is_empty() {
            field.wrong(Wrong::new("nothing would do").help("write what the claim must be, or take it out"));
        }
        all.push((claim.to_owned(), list.iter().filter_map(|field| field.read(text)).collect()));
    }
    all
}
