//! The application's cookie: whoever set it has the session.

use super::*;

const KEYS: &str = "sticky = { type = \"app_cookie\", name = \"SID\" }";

/// Answers with its name; `/login?ID` begins the session ID, and `/logout` ends the one that is shown.
fn named(name: &'static str) -> Backend {
    Backend::http(move |request| {
        let line = match request.target.split_once('?') {
            Some(("/login", id)) => format!("Set-Cookie: other=1\r\nSet-Cookie: SID={id}; Path=/; HttpOnly\r\n"),
            Some(("/logout", _)) => "Set-Cookie: SID=gone; Max-Age=0\r\n".to_owned(),
            _ => String::new(),
        };
        Reply::new("200 OK", &line, name)
    })
}

fn trio() -> [Backend; 3] {
    ["a", "b", "c"].map(named)
}

fn ask(address: SocketAddr, target: &str, session: &str) -> Response {
    Client::h1(address).exchange(request("GET", "test", target, &format!("Cookie: x=1; SID={session}\r\n")))
}

#[test]
fn sessions_are_learned_and_survive_a_reload() {
    let backends = trio();
    let process = Process::spawn(&site(&backends, KEYS).toml());
    let homes: Vec<_> = (0..30).map(|n| place(&process.client().get(&format!("/login?user{n}")))).collect();
    assert!((0..3).all(|backend| homes.contains(&backend)), "the algorithm spreads new ones: {homes:?}");
    let stay = || {
        for (number, home) in homes.iter().enumerate() {
            let answer = ask(process.address(), "/", &format!("user{number}"));
            assert_eq!(place(&answer), *home);
            assert!(!answer.head.fields.has("set-cookie"), "the cookie is the application's");
        }
    };
    stay();
    assert_eq!(backends[homes[29]].last().field("cookie"), Some("x=1; SID=user29"), "and it is for the application");
    process.reload(&site(&backends, format!("{KEYS}\nalgorithm = \"random\"")).toml());
    stay();
    counted(|name, labels| process.metric(name, labels), [60, 30, 0, 0]);
}

#[test]
fn sessions_end() {
    let backends = trio();
    let evenkeel = site(&backends, KEYS).start();
    evenkeel.get("/login?one");
    evenkeel.get("/login?two");
    assert_eq!(ask(evenkeel.address(), "/logout?", "one").status, 200);
    counted(|name, labels| evenkeel.metric(name, labels), [1, 2, 0, 0]);
    ask(evenkeel.address(), "/", "one");
    counted(|name, labels| evenkeel.metric(name, labels), [1, 3, 0, 0]);
    ask(evenkeel.address(), "/", "two");
    counted(|name, labels| evenkeel.metric(name, labels), [2, 3, 0, 0]);
}

#[test]
fn sessions_are_forgotten_when_they_are_not_used() {
    let backends = trio();
    let evenkeel = site(&backends, KEYS.replace(" }", ", ttl = \"1s\" }")).start();
    evenkeel.get("/login?one");
    let result = |result| evenkeel.metric("evenkeel_sticky_total", &[("result", result)]);
    let ago = std::time::Instant::now();
    wait_for("enough time has passed", || ago.elapsed() > std::time::Duration::from_millis(3_100));
    ask(evenkeel.address(), "/", "one");
    wait_for("nobody remembers it", || result("new") == 2.0);
    assert_eq!(result("hit"), 0.0);
}

#[test]
fn a_session_moves_with_its_client() {
    let backends = trio();
    let process = operated(&site(&backends, KEYS));
    let home = place(&process.client().get("/login?one"));
    order(&process, &backends[home], "drain");
    assert_eq!(place(&ask(process.address(), "/", "one")), home);
    order(&process, &backends[home], "maintenance");
    let new_home = place(&ask(process.address(), "/", "one"));
    assert_ne!(new_home, home);
    order(&process, &backends[home], "ready");
    assert_eq!(place(&ask(process.address(), "/", "one")), new_home, "who answered has it");
    counted(|name, labels| process.metric(name, labels), [2, 1, 1, 0]);
}

#[test]
fn a_session_that_nobody_has_seen_begin_goes_where_every_instance_would_send_it() {
    let backends = trio();
    let (one, other) = (site(&backends, KEYS).start(), site(&backends, KEYS).start());
    let mut used = [0; 3];
    for number in 0..60 {
        let session = format!("unseen{number}");
        let home = place(&ask(one.address(), "/", &session));
        assert_eq!(place(&ask(other.address(), "/", &session)), home);
        assert_eq!(place(&ask(one.address(), "/", &session)), home);
        used[home] += 1;
    }
    assert!(used.iter().all(|&used| used > 5), "{used:?}");
    counted(|name, labels| one.metric(name, labels), [0, 120, 0, 0]);
}
