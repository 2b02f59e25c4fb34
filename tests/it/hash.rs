//! Who serves which key: `ip_hash` and `hash` (PRODUCT.md section 3). Backends have names, by which the map is the same in
//! every run.

use std::collections::BTreeSet;

use crate::support::{Backend, Client, Evenkeel, Gate, Setup, wait_for};

/// Users, or whatever a key stands for.
const KEYS: usize = 40;
const CHECKS: &str = "health_check = { type = \"tcp\", interval = \"20ms\", interval_down = \"20ms\" }";
const BY_USER: &str = "algorithm = \"hash\"\nhash = { key = \"header:x-user\" }";

/// A pool of named backends, with further keys of each.
fn start(server: &str, backends: &[(&str, &Backend, &str)], keys: &str) -> Evenkeel {
    let table = |(name, backend, keys): &(&str, &Backend, &str)| {
        format!("{{ address = \"{}\", name = \"{name}\"{keys} }}", backend.address())
    };
    let tables = backends.iter().map(table).collect::<Vec<_>>().join(", ");
    let toml = Setup::to(&[]).server(server).pool(keys).toml();
    Evenkeel::start(&toml.replace("backends = []", &format!("backends = [{tables}]")))
}

/// The text that a GET with these lines (each with its CRLF) is answered with.
fn asked(client: &mut Client, target: &str, lines: &str) -> String {
    let response = client.exchange(format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n{lines}\r\n"));
    assert_eq!(response.status, 200, "{target} {lines}: {response:?}");
    response.text()
}

/// Who serves each user.
fn by_user(evenkeel: &Evenkeel) -> Vec<String> {
    let mut client = evenkeel.client();
    (0..KEYS).map(|user| asked(&mut client, "/", &format!("X-User: user-{user}\r\n"))).collect()
}

fn three() -> [Backend; 3] {
    [Backend::ok("a"), Backend::ok("b"), Backend::ok("c")]
}

fn distinct(texts: &[String]) -> usize {
    texts.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn every_instance_sends_a_key_to_the_same_backend() {
    let [a, b, c] = three();
    let one = start("", &[("a", &a, ""), ("b", &b, ""), ("c", &c, "")], BY_USER);
    let other = start("", &[("c", &c, ""), ("a", &a, ""), ("b", &b, "")], BY_USER);
    let served = by_user(&one);
    assert_eq!(served, by_user(&one), "a user stays where they are");
    assert_eq!(served, by_user(&other), "the order of the list is nothing");
    assert_eq!(distinct(&served), 3, "{served:?}");
    let mut client = one.client();
    let unknown: Vec<_> = (0..KEYS).map(|_| asked(&mut client, "/", "")).collect();
    assert_eq!(distinct(&unknown), 3, "who does not say who they are is spread: {unknown:?}");
}

/// The map of balance/consistent/tests.rs, by way of the configuration: no version may change it.
#[test]
fn the_map_is_the_published_one() {
    let names = ["a", "b", "c", "d", "10.0.0.5:8080"];
    let backends = names.map(Backend::ok);
    let weights = ["", "", ", weight = 2", ", weight = 3", ""];
    let of = |place: usize| (names[place], &backends[place], weights[place]);
    let evenkeel = start("", &[0, 1, 2, 3, 4].map(of), BY_USER);
    let published = [1, 3, 2, 4, 3, 3, 0, 2, 3, 0, 1, 4, 0, 3, 3, 3, 2, 2, 0, 2].map(|place: usize| names[place]);
    assert_eq!(by_user(&evenkeel)[..published.len()], published);
}

#[test]
fn a_backend_that_dies_moves_its_own_users_alone_and_all_agree_where() {
    let [a, b, c] = three();
    let backends = [("a", &a, ""), ("b", &b, ""), ("c", &c, "")];
    let knows = start("", &backends, &format!("{BY_USER}\n{CHECKS}"));
    let retry = "retry = { attempts = 1, budget = \"100%\", budget_floor = 1000 }";
    let finds_out = start("", &backends, &format!("{BY_USER}\n{retry}"));
    let before = by_user(&knows);
    assert_eq!(before, by_user(&finds_out));
    b.kill();
    wait_for("one is down", || knows.metric("evenkeel_backend_up", &[("pool", "web")]) == 2.0);
    let after = by_user(&knows);
    for (user, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(before == after || before == "b", "user-{user} was moved from {before} to {after}");
    }
    let heirs: Vec<_> = before.iter().zip(&after).filter(|(before, _)| *before == "b").map(|(_, heir)| heir).collect();
    assert!(heirs.iter().any(|heir| *heir == "a") && heirs.iter().any(|heir| *heir == "c"), "{heirs:?}");
    // An instance that has not found out yet tries the dead one and goes on: to the same heir, but for some slots that
    // one member alone has met (balance/consistent).
    let retried = by_user(&finds_out);
    let differ = after.iter().zip(&retried).filter(|(after, retried)| after != retried).count();
    assert!(differ <= 2, "{differ} of {}: {after:?}, {retried:?}", heirs.len());
    b.restart();
    wait_for("it is back", || knows.metric("evenkeel_backend_up", &[("pool", "web")]) == 3.0);
    assert_eq!(by_user(&knows), before, "everybody is back");
}

#[test]
fn ip_hash_goes_by_the_client_that_a_trusted_proxy_names() {
    let [a, b, c] = three();
    let backends = [("a", &a, ""), ("b", &b, ""), ("c", &c, "")];
    let served = |server: &str, keys: &str, address: &dyn Fn(usize) -> String| -> Vec<String> {
        let evenkeel = start(server, &backends, &format!("algorithm = \"ip_hash\"\n{keys}"));
        let mut client = evenkeel.client();
        (0..KEYS).map(|n| asked(&mut client, "/", &format!("X-Forwarded-For: {}\r\n", address(n)))).collect()
    };
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
    let v4 = served(trusted, "", &|n| format!("192.0.2.{n}"));
    assert_eq!(distinct(&v4), 3, "{v4:?}");
    assert_eq!(v4, served(trusted, "", &|n| format!("198.51.100.7, 192.0.2.{n}")), "who called our proxy counts");
    assert_eq!(distinct(&served("", "", &|n| format!("192.0.2.{n}"))), 1, "nobody is believed");
    let v6 = served(trusted, "", &|n| format!("2001:db8:0:{n:x}::1"));
    assert_eq!(distinct(&v6), 3, "{v6:?}");
    assert_eq!(v6, served(trusted, "", &|n| format!("2001:db8:0:{n:x}::{:x}", n + 2)), "a /64 is one client");
    let wide = served(trusted, "hash = { ipv6_prefix = 48 }", &|n| format!("2001:db8:0:{n:x}::1"));
    assert_eq!(distinct(&wide), 1, "{wide:?}");
}

#[test]
fn keys_are_taken_from_the_query_the_path_the_host_and_cookies() {
    /// A target and lines that say `n`.
    type Says = fn(usize) -> (String, String);
    let cases: [(&str, Says, Says); 4] = [
        ("query:id", |n| (format!("/?id={n}"), String::new()), |n| (format!("/other?x=1&%69d={n}&y"), String::new())),
        ("path", |n| (format!("/p/{n}"), String::new()), |n| (format!("/x/../p/./{n}?y=1"), String::new())),
        (
            "host",
            |n| (format!("http://s{n}.test/"), String::new()),
            |n| (format!("http://S{n}.TEST:80/x"), String::new()),
        ),
        (
            "cookie:session",
            |n| ("/".into(), format!("Cookie: session={n}\r\n")),
            |n| ("/x".into(), format!("Cookie: a=b; session={n}\r\n")),
        ),
    ];
    let [a, b, c] = three();
    for (key, one, other) in cases {
        let keys = format!("algorithm = \"hash\"\nhash = {{ key = \"{key}\" }}");
        let evenkeel = start("", &[("a", &a, ""), ("b", &b, ""), ("c", &c, "")], &keys);
        let mut client = evenkeel.client();
        let mut served = |says: Says| -> Vec<String> {
            let texts = (0..KEYS).map(says).map(|(target, lines)| asked(&mut client, &target, &lines));
            texts.collect()
        };
        let texts = served(one);
        assert_eq!(texts, served(other), "{key}");
        assert_eq!(distinct(&texts), 3, "{key}: {texts:?}");
    }
}

/// `bounded_load`: one user who asks for all does not overrun their backend.
#[test]
fn nobody_serves_more_than_the_bound() {
    for (bound, most) in [("125%", 5), ("200%", 8)] {
        let gate = Gate::default();
        let backends = ["a", "b", "c"].map(|name| Backend::behind(&gate, name));
        let [a, b, c] = backends.each_ref();
        let keys = format!("algorithm = \"hash\"\nhash = {{ key = \"header:x-user\", bounded_load = \"{bound}\" }}");
        let evenkeel = start("", &[("a", a, ""), ("b", b, ""), ("c", c, "")], &keys);
        let mut clients = Vec::new();
        for number in 1..=12 {
            let mut client = evenkeel.client();
            client.send("GET / HTTP/1.1\r\nHost: test\r\nX-User: user-1\r\n\r\n");
            clients.push(client);
            wait_for("it is at a backend", || backends.iter().map(Backend::requests).sum::<usize>() == number);
        }
        let mut served = backends.each_ref().map(Backend::requests);
        served.sort_unstable();
        // Of 12 in flight a third is 4: the first has all that the bound allows.
        assert_eq!(served[2], most, "{bound}: {served:?}");
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
}
