//! What `[auth.NAME]` and `cors` say of themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    kinds::{Claim, Duration, JwtAlgorithm, Many, Method, Or, ShownIn, Timeout, Url},
    process::Secret,
};

/// A way to find out who asks; a route with `auth = "NAME"` wants it. Who does not show what is wanted gets 401, and who may
/// not have it 403. Who it was stands in the access log, as `user`. Fields that it writes for backends are taken out of
/// clients' requests on all routes. It has one of four types; each key says of which it is.
#[derive(JsonSchema)]
pub(super) struct Auth {
    /// "basic": user and password in each request. "api_key": a key. "jwt": a signed token. "forward": a service decides.
    #[schemars(rename = "type", extend("examples" = ["basic"], "enum" = ["basic", "api_key", "jwt", "forward"], "x-required" = true))]
    kind: String,
    /// Of basic; must be written: a file of lines NAME:HASH, each with a hash of bcrypt (`htpasswd -nB NAME` makes one)
    /// or argon2 (bcrypt looks at the first 72 bytes of a password). It is looked at every 5 seconds, and read anew
    /// when it has changed; a bad one changes nothing, and is logged. Passwords are checked beside the threads that
    /// serve, a few at a time; further ones wait, and get 503 auth_unavailable where too many do, a quarter of them
    /// from one address, or for longer than 10 seconds. Hashes of one file should cost the same:
    /// else the time that a refusal takes tells something of who is there. What was right is remembered for five minutes, as a MAC under a
    /// key of this process, until its line changes. `Authorization` goes on to the backend. Put a rate_limit on the
    /// route: guessing should cost the guesser something, too.
    #[schemars(extend("examples" = [{ "file": "/etc/evenkeel/users.htpasswd" }]))]
    users: File,
    /// Of basic: what browsers show. Default: the name.
    #[schemars(extend("examples" = ["staff"]))]
    realm: String,
    /// Of api_key and jwt: where it is shown, as "header:NAME", "cookie:NAME" or "query:NAME". In `Authorization` it may
    /// have "Bearer" in front. Default: "header:x-api-key" for a key, "header:authorization" for a token.
    #[schemars(extend("examples" = ["header:authorization"]))]
    from: ShownIn,
    /// Of api_key; must be written: a file of lines NAME:SHA256-HEX (`printf %s "$KEY" | sha256sum`), looked at as `users`
    /// is. Several lines may have one name. Keys are long and random (`openssl rand -hex 32`): a short one is found by its
    /// digest. Backends get the name in X-Api-Key-Name.
    #[schemars(extend("examples" = [{ "file": "/etc/evenkeel/api.keys" }]))]
    keys: File,
    /// Of jwt: the public keys, a JWKS (RFC 7517), as a URL or as { file = "…" }; this or `secret` must be written. What is
    /// at a URL is asked for in the background: every 5 minutes, or as long as its Cache-Control says, from 1 minute to a
    /// day; and when a token has a `kid` that nobody knows, at most once in 10 seconds, while that token waits. Redirects
    /// are not followed. While it cannot be had, the last good keys stay; until there are any, 503 auth_unavailable. A file
    /// is looked at as `users` is. Keys for encryption are left out, and so are symmetric ones and RSA below 2048 bits. A
    /// set has at most 100 keys and 1 MiB.
    #[schemars(extend("examples" = ["https://auth.example.com/.well-known/jwks.json"]))]
    jwks: Or<Url, File>,
    /// Of jwt: the secret of HS256, HS384 and HS512, as { file = "…" } or { env = "…" }, of at least 32, 48 and 64 bytes.
    #[schemars(extend("examples" = [{ "file": "/etc/evenkeel/jwt.key" }]))]
    secret: Secret,
    /// Of jwt: those that are taken. An algorithm must be here, and belong to the very key that a token's `kid` names;
    /// a token without `kid` is taken if exactly one key fits. RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384,
    /// EdDSA; with `secret` HS256, HS384, HS512. Default: RS256, ES256 and EdDSA; with `secret` HS256.
    #[schemars(extend("examples" = [["RS256", "ES256", "EdDSA"]]))]
    algorithms: Many<JwtAlgorithm>,
    /// Of jwt: who makes the tokens, `iss`; one of a list. Default: anybody who has the key.
    #[schemars(extend("examples" = ["https://auth.example.com"]))]
    issuer: Many<String>,
    /// Of jwt: whom they are for, `aud`; one of a list. Default: anybody.
    #[schemars(extend("examples" = ["api"]))]
    audience: Many<String>,
    /// Of jwt: clocks may differ by so much, up to 10m. A token must have `exp`; `nbf` and `iat` count where they are.
    /// Tokens longer than 8 KiB are refused. Default: "30s".
    #[schemars(extend("examples" = ["30s"]))]
    leeway: Timeout,
    /// Of jwt: claims that backends get, each in a header of its own: numbers and true as JSON writes them, lists with
    /// commas, objects not at all. A token that has a control character in one of the claims that are used, here or
    /// elsewhere, is refused. The token itself goes on to the backend.
    #[schemars(extend("examples" = [{ "sub": "x-user" }]))]
    claims_to_headers: BTreeMap<String, String>,
    /// Of jwt: claims and what they must be, a text or one of a list; of a claim that is a list it must be one, and one of
    /// the words of `scope` and `scp`. Who has a token without gets 403.
    #[schemars(extend("examples" = [{ "scope": "orders" }]))]
    require: BTreeMap<String, Many<Claim>>,
    /// Of jwt: the claim that is `user` in the access log. Default: "sub".
    #[schemars(extend("examples" = ["sub"]))]
    user: String,
    /// Of forward; must be written: what is asked, by a GET with the fields of each request (not its body, and none that
    /// speaks of it or is conditional) and X-Forwarded-Method, -Proto, -Host, -Uri and -For. 2xx lets it in. 3xx and 4xx go
    /// to the client as they are, with up to 64 KiB; what is larger, 5xx, and no answer are 503 auth_unavailable. In
    /// metrics, log and API the service is the pool auth:NAME; up to 1024 questions run at a time.
    #[schemars(extend("examples" = ["http://127.0.0.1:9000/verify"]))]
    url: Url,
    /// Of forward: for its answer; cannot be turned off. Default: "2s".
    #[schemars(extend("examples" = ["2s"]))]
    timeout: Duration,
    /// Of forward: headers of its answer that the request gets. A client's own of that name are taken out: `Authorization`
    /// and `Cookie` once the service has seen them, all others on every route.
    #[schemars(extend("examples" = [["x-user"]]))]
    copy_headers: Many<String>,
}

/// Where users, keys or a JWKS are kept.
#[derive(JsonSchema)]
pub(super) struct File {
    /// Its path, from the folder of the file that names it.
    #[schemars(extend("examples" = ["users.htpasswd"], "x-required" = true))]
    file: String,
}

/// Which pages of other origins may ask (the Fetch standard's CORS). Preflights are answered here, with 204, before limits
/// and auth; one of another origin gets no permission in it. The backend's own answers lose Access-Control-Allow-*,
/// -Max-Age and get ours, and so do our errors; Access-Control-Expose-Headers passes. What is not allowed is not refused:
/// browsers keep the answer from the page.
#[derive(JsonSchema)]
pub(super) struct Cors {
    /// Whose pages: "https://app.example.com", "https://*.example.com" (one label or more), "null", or "*" for anybody's.
    /// Must be written.
    #[schemars(extend("examples" = [["https://app.example.com"]], "x-required" = true))]
    origins: Many<String>,
    /// Methods beside GET, HEAD and POST, or "*".
    #[schemars(extend("examples" = [["PUT", "DELETE"]]))]
    methods: Many<Method>,
    /// Headers of requests beside those that every page may set, or "*", which is all but Authorization.
    #[schemars(extend("examples" = [["content-type", "authorization"]]))]
    headers: Many<String>,
    /// Cookies and Authorization of the user may come along. Not with "*". Default: false.
    #[schemars(extend("examples" = [false]))]
    credentials: bool,
    /// Browsers need not ask again for so long, up to 24h. Default: "10m".
    #[schemars(extend("examples" = ["10m"]))]
    max_age: Timeout,
}
