//! `type = "jwt"`: who has a token that we believe comes in, whoever issued the keys, and whenever they change (PRODUCT.md
//! section 3).

mod fetched;
mod issuer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use serde_json::json;

use self::issuer::Issuer;
use crate::support::{
    Backend, Client, Process, Reply, Site, bearer as admin,
    h2raw::{H2, block, flag},
    json as body, request, wait_for,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The route `all` wants a token, by an `auth` of these lines.
fn site(lines: &str, backend: &Backend) -> Site {
    Site::new(format!(
        "[[route]]\nname = \"all\"\npool = \"web\"\nauth = \"main\"\n\n[auth.main]\ntype = \"jwt\"\n{lines}\n"
    ))
    .pool("web", backend.address())
}

/// A file with `text`; its path in quotes.
fn file(text: &str) -> (PathBuf, String) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("tokens-{}-{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    let quoted = format!("{:?}", path.to_str().unwrap());
    (path, quoted)
}

fn bearer(token: &str) -> String {
    request("GET", "shop.example", "/", &format!("Authorization: Bearer {token}\r\n"))
}

fn status(client: &mut Client, token: &str) -> u16 {
    client.exchange(bearer(token)).status
}

/// Answers with the fields that are told of the client.
fn mirror() -> Backend {
    Backend::http(|request| {
        let told = ["x-user", "x-roles", "x_user"].map(|name| request.head.fields.all(name).join("|"));
        Reply::ok(told.join(";"))
    })
}

#[test]
fn a_token_opens_and_tells_backend_and_log_whose_it_is() {
    let backend = mirror();
    let (key, log) = (file(SECRET), file(""));
    let lines = format!(
        "secret = {{ file = {} }}\naudience = \"api\"\nclaims_to_headers = {{ sub = \"x-user\", roles = \"x-roles\" }}\n\
         require = {{ scope = \"orders\" }}",
        key.1
    );
    let toml =
        site(&lines, &backend).server("underscore_headers = \"allow\"").log(format!("access = {}", log.1)).toml();
    let evenkeel = Process::spawn(&toml);
    let issuer = Issuer::secret(SECRET);
    let token = issuer.token(&json!({ "sub": "ann", "aud": "api", "scope": "read orders", "roles": ["a", 7] }));
    let forged = "X-User: root\r\nx-USER: root\r\nX_User: root\r\nX-Roles: admin\r\n";
    let answer = evenkeel.client().exchange(request(
        "GET",
        "shop.example",
        "/",
        &format!("{forged}Authorization: Bearer {token}\r\n"),
    ));
    assert_eq!((answer.status, answer.text().as_str()), (200, "ann;a,7;"));
    assert!(backend.last().field("authorization").is_some_and(|value| value.contains(&token)), "it goes on");

    let mut h2 = H2::open(evenkeel.address());
    let value = format!("bearer {token}");
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
        ("authorization", &value),
        ("x-user", "root"),
    ];
    h2.headers(1, flag::WHOLE, block(&fields));
    assert_eq!(h2.answer(1).unwrap().text(), "ann;a,7;");

    let refused = evenkeel.client().exchange(bearer("x.y.z"));
    refused.assert_refused(401, "unauthorized");
    assert_eq!(refused.field("www-authenticate"), Some("Bearer realm=\"main\", error=\"invalid_token\""));
    let refused = evenkeel.client().get("/");
    refused.assert_refused(401, "unauthorized");
    assert_eq!(refused.field("www-authenticate"), Some("Bearer realm=\"main\""));
    let refused =
        evenkeel.client().exchange(bearer(&issuer.token(&json!({ "sub": "bob", "aud": "api", "scope": "read" }))));
    refused.assert_refused(403, "denied");
    assert_eq!(refused.field("www-authenticate"), Some("Bearer realm=\"main\", error=\"insufficient_scope\""));
    assert_eq!(backend.requests(), 2, "who is refused is not heard of");
    let users = || {
        let text = fs::read_to_string(&log.0).unwrap();
        let user = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["user"].clone();
        let mut users: Vec<_> = text.lines().map(|line| user(line).as_str().unwrap_or("-").to_owned()).collect();
        users.sort();
        users
    };
    wait_for("five lines", || users().len() == 5);
    assert_eq!(users(), ["-", "-", "ann", "ann", "bob"]);
    // Nothing of a token is in our own log, and of strangers' ones no more than a line a second.
    let lines = evenkeel.log();
    assert!(!lines.iter().any(|line| line.contains("x.y.z") || line.contains(&token)), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("tokens are refused")).count(), 1, "{lines:?}");
}

#[test]
fn a_set_in_a_file_is_read_anew_and_a_bad_one_is_not_taken() {
    let backend = Backend::ok("");
    let (one, two) = (Issuer::p256("1"), Issuer::rsa("2"));
    let keys = file(&one.set());
    let toml = site(&format!("jwks = {{ file = {} }}", keys.1), &backend).toml();
    let evenkeel = Process::spawn(&toml);
    let mut client = evenkeel.client();
    let (first, second) = (one.token(&json!({})), two.token(&json!({})));
    assert_eq!((status(&mut client, &first), status(&mut client, &second)), (200, 401));
    fs::write(&keys.0, two.set()).unwrap();
    evenkeel.reload(&toml);
    assert_eq!((status(&mut client, &first), status(&mut client, &second)), (401, 200), "with its key a token goes");
    fs::write(&keys.0, "{\"keys\":[]}").unwrap();
    evenkeel.reload_in_vain(&toml);
    assert_eq!(status(&mut client, &second), 200, "the last good keys stay");
    fs::write(&keys.0, one.set()).unwrap();
    // Nobody tells it.
    wait_for("the file is looked at", || status(&mut client, &first) == 200);
}

#[test]
fn changed_rules_hold_for_tokens_that_were_believed() {
    let backend = Backend::ok("");
    let key = file(SECRET);
    let toml = |more: &str| site(&format!("secret = {{ file = {} }}\n{more}", key.1), &backend).toml();
    let evenkeel = Process::spawn(&toml(""));
    let token = Issuer::secret(SECRET).token(&json!({ "scope": "read", "aud": "api" }));
    let mut client = evenkeel.client();
    assert_eq!([status(&mut client, &token), status(&mut client, &token)], [200, 200]);
    for (more, wanted) in
        [("require = { scope = \"orders\" }", 403), ("audience = \"other\"", 401), ("audience = \"api\"", 200)]
    {
        evenkeel.reload(&toml(more));
        assert_eq!(status(&mut client, &token), wanted, "{more}");
    }
    fs::write(&key.0, SECRET.replace('0', "9")).unwrap();
    evenkeel.reload(&toml(""));
    assert_eq!(status(&mut client, &token), 401, "another secret");
    let shown = crate::support::call(evenkeel.listener("admin"), "GET /api/v1/status", &admin(), "");
    assert!(!body(&shown).to_string().contains(SECRET));
}

#[test]
fn limits_go_by_what_tokens_say() {
    let backend = Backend::ok("");
    let key = file(SECRET);
    let limits = "[rate_limit.tenant]\nkey = \"claim:tenant\"\nrate = \"1/h\"\nburst = 2\n";
    let toml = site(&format!("secret = {{ file = {} }}\n\n{limits}", key.1), &backend).toml();
    let evenkeel = Process::spawn(&toml.replace("auth = \"main\"", "auth = \"main\"\nrate_limit = \"tenant\""));
    let issuer = Issuer::secret(SECRET);
    let token = |tenant: &str, user: &str| issuer.token(&json!({ "tenant": tenant, "sub": user }));
    let mut client = evenkeel.client();
    let mut ask = |tenant: &str, user: &str| status(&mut client, &token(tenant, user));
    assert_eq!([ask("a", "ann"), ask("a", "bob"), ask("a", "ann"), ask("b", "bob")], [200, 200, 429, 200]);
    assert_eq!(evenkeel.client().get("/").status, 401, "who is nobody costs no token");
    assert_eq!([ask("b", "eve"), ask("b", "eve"), ask("a", "eve")], [200, 429, 429]);
}
