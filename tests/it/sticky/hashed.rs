//! A field, or the address: the same client goes to the same backend, and nothing is kept.

use super::*;

/// Two instances, and the fields of the request of a user.
fn agree(keys: &str, lines: impl Fn(usize) -> String) {
    let backends = backends(5);
    let start = || site(&backends, keys).server("trusted_proxies = [\"127.0.0.0/8\"]").start();
    let (one, other) = (start(), start());
    let mut used = [0; 5];
    let homes: Vec<_> = (0..60).map(|user| place(&get(one.address(), &lines(user)))).collect();
    for (user, home) in homes.iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(place(&get(one.address(), &lines(user))), *home, "user {user}");
            assert_eq!(place(&get(other.address(), &lines(user))), *home, "user {user}");
        }
        used[*home] += 1;
    }
    assert!(used.iter().all(|&used| used > 2), "{used:?}");
    counted(|name, labels| one.metric(name, labels), [180, 0, 0, 0]);
}

#[test]
fn a_header_keeps_a_client_at_its_backend() {
    agree("sticky = { type = \"header\", name = \"X-Tenant\" }", |user| format!("x-tenant: tenant {user}\r\n"));
}

#[test]
fn the_address_keeps_a_client_at_its_backend() {
    agree("sticky = { type = \"source_ip\" }", |user| format!("X-Forwarded-For: 198.51.100.{user}\r\n"));
    // The /64 is what counts of IPv6.
    agree("sticky = { type = \"source_ip\" }", |user| {
        static LAST: AtomicUsize = AtomicUsize::new(1);
        format!("X-Forwarded-For: 2001:db8:0:{user}::{:x}\r\n", LAST.fetch_add(1, SeqCst))
    });
}

#[test]
fn who_says_nothing_is_spread_by_the_algorithm() {
    let backends = backends(3);
    let keys = "sticky = { type = \"header\", name = \"X-Tenant\" }";
    let evenkeel = site(&backends, keys).start();
    for _ in 0..30 {
        get(evenkeel.address(), "X-Tenant: \r\n");
    }
    assert!(backends.iter().all(|backend| backend.requests() == 10), "round robin");
    counted(|name, labels| evenkeel.metric(name, labels), [0, 30, 0, 0]);
}

#[test]
fn a_failure_moves_a_client_and_reject_does_not() {
    for (fallback, moves) in [("reassign", true), ("reject", false)] {
        let backends = backends(3);
        let keys =
            format!("sticky = {{ type = \"source_ip\", fallback = \"{fallback}\" }}\nretry = {{ attempts = 1 }}");
        let evenkeel = site(&backends, keys).start();
        let home = place(&evenkeel.get("/"));
        backends[home].kill();
        let answer = evenkeel.get("/");
        if moves {
            assert_ne!(place(&answer), home);
            counted(|name, labels| evenkeel.metric(name, labels), [1, 0, 1, 0]);
        } else {
            answer.assert_refused(502, "connect_refused");
        }
    }
}

#[test]
fn requests_of_a_client_stay_together_until_they_are_many() {
    let gate = Gate::default();
    let backends = ["a", "b", "c"].map(|name| Backend::behind(&gate, name));
    let evenkeel = site(&backends, "sticky = { type = \"source_ip\" }").start();
    let mut clients = Vec::new();
    let mut ask = |count: usize| {
        for _ in 0..count {
            let mut client = evenkeel.client();
            client.send(request("GET", "test", "/", ""));
            clients.push(client);
            let all = || backends.iter().map(Backend::requests).sum::<usize>();
            wait_for("it is at a backend", || all() == clients.len());
        }
        let mut served: Vec<_> = backends.iter().map(Backend::requests).collect();
        served.sort_unstable();
        served
    };
    assert_eq!(ask(8), [0, 0, 8], "a page and what is in it");
    // A third of 48 is 16; 125 % of it are 20.
    assert_eq!(ask(40)[2], 20, "and no backend is drowned");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    // All went where the hash sent them: what is above the bound has no other home.
    counted(|name, labels| evenkeel.metric(name, labels), [48, 0, 0, 0]);
}
