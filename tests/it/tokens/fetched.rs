//! Keys that a server has: they come late, they change, and they fail to come.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock};
use std::thread;

use serde_json::json;

use super::issuer::{Issuer, set};
use super::{bearer, site, status};
use crate::support::{
    Backend, Client, Process, Reply,
    tls::{self, Authority, asked},
    wait_for,
};

/// A server of keys, which can be changed.
struct Server {
    backend: Backend,
    says: Arc<Mutex<String>>,
}

impl Server {
    fn new(says: &str) -> Self {
        let says = Arc::new(Mutex::new(says.to_owned()));
        let current = Arc::clone(&says);
        let answer = move |_| Reply::new("200 OK", "Content-Type: application/json\r\n", &*current.lock().unwrap());
        Self { backend: Backend::http(answer), says }
    }

    fn says(&self, text: &str) {
        *self.says.lock().unwrap() = text.to_owned();
    }

    fn lines(&self) -> String {
        format!("jwks = \"http://{}/keys.json?a=1\"\naudience = \"api\"", self.backend.address())
    }
}

fn api(issuer: &Issuer) -> String {
    issuer.token(&json!({ "aud": "api" }))
}

#[test]
fn without_keys_it_starts_and_says_that_it_cannot_tell() {
    let (web, issuer) = (Backend::ok(""), Issuer::p256("1"));
    let server = Server::new(&issuer.set());
    server.backend.kill();
    let evenkeel = Process::spawn(&site(&server.lines(), &web).toml());
    let mut client = evenkeel.client();
    let refused = client.exchange(bearer(&api(&issuer)));
    refused.assert_refused(503, "auth_unavailable");
    assert!(refused.field("retry-after").is_some());
    client.get("/").assert_refused(401, "unauthorized");
    server.backend.restart();
    wait_for("the keys have come", || status(&mut client, &api(&issuer)) == 200);
    let asked = server.backend.last();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/keys.json?a=1"));
    assert_eq!(asked.field("host"), Some(server.backend.address().to_string().as_str()));
    assert!(evenkeel.log().iter().any(|line| line.contains("there are no keys yet")), "{:?}", evenkeel.log());
    server.backend.kill();
    assert_eq!(status(&mut client, &api(&issuer)), 200, "the last good keys stay");
    assert_eq!(status(&mut client, &api(&Issuer::p256("2"))), 401, "and nobody waits for more");
}

#[test]
fn keys_change_under_load_and_nobody_notices() {
    let (web, old, new) = (Backend::ok(""), Issuer::p256("old"), Issuer::rsa("new"));
    let server = Server::new(&old.set());
    let evenkeel = Process::spawn(&site(&server.lines(), &web).toml());
    let token = Arc::new(RwLock::new(api(&old)));
    wait_for("the keys have come", || status(&mut evenkeel.client(), &api(&old)) == 200);
    let (stop, fine, wrong) =
        (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<u16>>>::default());
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (stop, fine, wrong) = (Arc::clone(&stop), Arc::clone(&fine), Arc::clone(&wrong));
            let (token, address) = (Arc::clone(&token), evenkeel.address());
            thread::spawn(move || {
                let mut client = Client::h1(address);
                while !stop.load(SeqCst) {
                    let current = token.read().unwrap().clone();
                    match status(&mut client, &current) {
                        200 => drop(fine.fetch_add(1, SeqCst)),
                        status => wrong.lock().unwrap().push(status),
                    }
                }
            })
        })
        .collect();
    let more = |count: usize| {
        let enough = fine.load(SeqCst) + count;
        wait_for("more answers come", || fine.load(SeqCst) >= enough || !wrong.lock().unwrap().is_empty());
    };
    more(200);
    // Both at once, as issuers do, and tokens of the new key from this moment on.
    server.says(&set(&[&old, &new]));
    *token.write().unwrap() = api(&new);
    more(200);
    stop.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(*wrong.lock().unwrap(), [0u16; 0]);
    assert_eq!(server.backend.requests(), 2, "once at first, and once for the new key");
    assert_eq!(status(&mut evenkeel.client(), &api(&old)), 200);
}

#[test]
fn unknown_keys_make_us_ask_once_in_a_while_and_hold_nobody_up() {
    let (web, issuer) = (Backend::ok(""), Issuer::p256("1"));
    let server = Server::new(&issuer.set());
    let evenkeel = Process::spawn(&site(&server.lines(), &web).toml());
    let mut client = evenkeel.client();
    wait_for("the keys have come", || status(&mut client, &api(&issuer)) == 200);
    let stranger = api(&Issuer::p256("stranger"));
    for _ in 0..50 {
        assert_eq!(status(&mut client, &stranger), 401);
        assert_eq!(status(&mut client, &api(&issuer)), 200);
    }
    assert_eq!(server.backend.requests(), 2);
    assert_eq!(web.requests(), 51);
}

#[test]
fn a_reload_keeps_keys_while_their_place_is_the_same() {
    let (web, issuer) = (Backend::ok(""), Issuer::p256("1"));
    let server = Server::new(&issuer.set());
    let toml = |more: &str| site(&format!("{}\n{more}", server.lines()), &web).toml();
    let evenkeel = Process::spawn(&toml(""));
    let mut client = evenkeel.client();
    wait_for("the keys have come", || status(&mut client, &api(&issuer)) == 200);
    server.backend.kill();
    evenkeel.reload(&toml("leeway = \"1s\""));
    assert_eq!(status(&mut client, &api(&issuer)), 200);
    server.backend.restart();
    assert_eq!(server.backend.requests(), 1);
    let other = Server::new(&Issuer::p256("2").set());
    evenkeel.reload(&site(&other.lines(), &web).toml());
    wait_for("the other keys have come", || status(&mut client, &api(&issuer)) == 401);
}

/// What is said of it, and what the server answers.
type Case = (&'static str, Box<dyn Fn() -> Reply + Send + Sync>);

#[test]
fn what_is_no_set_is_not_taken() {
    let (web, issuer) = (Backend::ok(""), Issuer::p256("1"));
    let good = Server::new(&issuer.set());
    let elsewhere = format!("Location: http://{}/\r\n", good.backend.address());
    let cases: [Case; 6] = [
        ("redirects are not followed", Box::new(move || Reply::new("302 Found", &elsewhere, ""))),
        ("404", Box::new(|| Reply::new("404 Not Found", "", "{\"keys\":[]}"))),
        ("it is no JSON Web Key Set", Box::new(|| Reply::ok("<html>"))),
        ("none of its keys", Box::new(|| Reply::ok("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}"))),
        ("it is larger", Box::new(|| Reply::ok(" ".repeat(2 << 20)))),
        ("no answer", Box::new(|| Reply::raw("what?\r\n\r\n").close())),
    ];
    for (why, answer) in cases {
        let server = Backend::http(move |_| answer());
        let lines = format!("jwks = \"http://{}/\"\naudience = \"api\"", server.address());
        let evenkeel = Process::spawn(&site(&lines, &web).toml());
        wait_for("it has been asked", || server.requests() > 0);
        evenkeel.client().exchange(bearer(&api(&issuer))).assert_refused(503, "auth_unavailable");
        let said = || evenkeel.log().iter().any(|line| line.contains(why) && line.contains("there are no keys yet"));
        wait_for(&format!("it is said: {why}"), said);
    }
    assert_eq!(good.backend.requests(), 0);
    assert_eq!(web.requests(), 0);
}

#[test]
fn a_server_is_believed_by_its_certificate() {
    let (authority, web, issuer) = (Authority::new(), Backend::ok(""), Issuer::p256("1"));
    let own = authority.server(&authority.issue(asked(&["keys.internal"]).local()), false);
    let text = issuer.set();
    let server = Backend::raw(move |conn, _| {
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &own) else { return };
        while let Ok(Some(_)) = wire.head() {
            let _ = write!(wire.stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        }
    });
    let lines = format!("jwks = \"https://{}/\"\naudience = \"api\"", server.address());
    let toml = site(&lines, &web).toml();
    let roots = |path: &std::path::Path| format!("SSL_CERT_FILE={}", path.display());
    let evenkeel = Process::spawn_under(&["env", &roots(&authority.path("ca.pem"))], &toml);
    wait_for("the keys have come", || status(&mut evenkeel.client(), &api(&issuer)) == 200);
    let stranger = Authority::new();
    let evenkeel = Process::spawn_under(&["env", &roots(&stranger.path("ca.pem"))], &toml);
    wait_for("the certificate is refused", || {
        evenkeel.log().iter().any(|line| line.contains("the certificate is refused"))
    });
    evenkeel.client().exchange(bearer(&api(&issuer))).assert_refused(503, "auth_unavailable");
}
