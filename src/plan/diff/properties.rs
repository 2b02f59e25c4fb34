//! Whatever is written: equal configurations differ in nothing, and each change shows once. Seeds are printed by proptest.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// A pool: its name, its backends with their weights, its attempts.
type Street = (u8, Vec<(u8, u8)>, u8);

/// A small configuration: what varies is a number of things with a number of settings.
#[derive(Clone, Debug, PartialEq)]
struct Town {
    workers: u8,
    listeners: Vec<(u8, u8)>,
    pools: Vec<Street>,
    routes: Vec<(u8, u8)>,
}

impl Town {
    fn toml(&self) -> String {
        let mut text = format!("server.workers = {}\n", self.workers + 1);
        for (place, (port, idle)) in self.listeners.iter().enumerate() {
            text += &format!(
                "[[listener]]\nname = \"l{place}\"\naddress = \"127.0.0.{place}:{}\"\nidle_timeout = \"{}s\"\n",
                u16::from(*port) + 1000,
                idle + 1
            );
        }
        for (name, backends, attempts) in &self.pools {
            let backend =
                |(host, weight): &(u8, u8)| format!("{{ address = \"10.0.0.{host}:80\", weight = {} }}", weight + 1);
            let backends: Vec<_> = backends.iter().map(backend).collect();
            text += &format!("[pool.p{name}]\nbackends = [{}]\nretry.attempts = {attempts}\n", backends.join(", "));
        }
        for (place, (pool, timeout)) in self.routes.iter().enumerate() {
            let pool = &self.pools[usize::from(*pool) % self.pools.len()].0;
            text += &format!(
                "[[route]]\nname = \"r{place}\"\nhost = \"r{place}.example\"\npool = \"p{pool}\"\ntimeout = \"{}s\"\n",
                timeout + 1
            );
        }
        text
    }

    fn config(&self) -> Config {
        let toml = self.toml();
        Config::parse(&toml, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}\n{toml}"))
    }
}

fn town() -> impl Strategy<Value = Town> {
    let backends = prop::collection::btree_map(1..9u8, 0..3u8, 1..4);
    let pools = prop::collection::btree_map(0..4u8, (backends, 0..3u8), 1..4);
    let listeners = prop::collection::vec((0..2u8, 0..3u8), 1..3);
    let routes = prop::collection::vec((0..4u8, 0..3u8), 1..4);
    (0..2u8, listeners, pools, routes).prop_map(|(workers, listeners, pools, routes)| {
        let pools =
            pools.into_iter().map(|(name, (backends, attempts))| (name, backends.into_iter().collect(), attempts));
        Town { workers, listeners, pools: pools.collect(), routes }
    })
}

fn diff(old: &Config, new: &Config) -> Diff {
    Diff::between(old, new, &Fixed::of(old))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn equal_ones_differ_in_nothing(town in town()) {
        let diff = diff(&town.config(), &town.config());
        prop_assert!(diff.is_empty() && diff.restart.is_empty(), "{diff:?}");
    }

    /// What is added on the way there is removed on the way back, and what is changed has its sides exchanged.
    #[test]
    fn the_way_back_is_the_way_there(one in town(), two in town()) {
        let (one, two) = (one.config(), two.config());
        let back = |change: &Change| {
            let what = match change.change {
                What::Added => What::Removed,
                What::Removed => What::Added,
                What::Changed => What::Changed,
            };
            let exchanged = |key: &KeyChange| KeyChange { key: key.key.clone(), old: key.new.clone(), new: key.old.clone() };
            Change { change: what, keys: change.keys.iter().map(exchanged).collect(), ..change.clone() }
        };
        let there = diff(&one, &two);
        let mut mirrored: Vec<_> = there.changes.iter().map(back).collect();
        mirrored.sort_by(|one, two| one.order().cmp(&two.order()));
        prop_assert_eq!(mirrored, diff(&two, &one).changes);
        prop_assert_eq!(there.is_empty(), one == two, "as they mean the same or not");
        let mut told: Vec<_> = there.changes.iter().map(|change| (change.kind, &change.pool, &change.name)).collect();
        let all = told.len();
        told.dedup();
        prop_assert_eq!(told.len(), all, "each thing shows once");
    }

    /// One setting alone.
    #[test]
    fn one_change_shows_once(town in town(), which in 0..5usize) {
        let mut other = town.clone();
        let (kind, what, keys): (_, _, &[&str]) = match which {
            0 => { other.workers += 1; (Kind::Section, What::Changed, &["workers"]) }
            1 => { other.listeners[0].1 += 1; (Kind::Listener, What::Changed, &["idle_timeout"]) }
            2 => { other.pools[0].2 += 1; (Kind::Pool, What::Changed, &["retry.attempts"]) }
            3 => { other.pools[0].1[0].1 += 1; (Kind::Backend, What::Changed, &["weight"]) }
            _ => { other.pools[0].1.push((200, 0)); (Kind::Backend, What::Added, &["address"]) }
        };
        let diff = diff(&town.config(), &other.config());
        prop_assert_eq!(diff.changes.len(), 1, "{:?}", diff);
        let change = &diff.changes[0];
        prop_assert_eq!((change.kind, change.change), (kind, what));
        prop_assert_eq!(change.keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), keys);
        prop_assert_eq!(diff.restart.len(), usize::from(which == 0));
    }
}

fn parse(toml: &str) -> Config {
    Config::parse(toml, Path::new("x.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

/// As a person would note it down.
fn brief(old: &str, new: &str) -> Vec<String> {
    let of = |change: &Change| {
        let show = |side: &Option<String>| side.clone().unwrap_or_default();
        let keys: Vec<_> =
            change.keys.iter().map(|key| format!("{}: {} > {}", key.key, show(&key.old), show(&key.new))).collect();
        let pool = change.pool.as_ref().map(|pool| format!("{pool}/")).unwrap_or_default();
        format!("{:?} {} {pool}{} [{}]", change.change, change.kind, change.name, keys.join("; "))
    };
    let diff = diff(&parse(old), &parse(new));
    diff.changes.iter().map(of).chain(diff.notes).collect()
}

#[test]
fn names_are_what_things_are_known_by() {
    let file = |listener: &str, backend: &str| {
        format!("[[listener]]\n{listener}\naddress = \"[::]:80\"\n[pool.web]\nbackends = [{backend}]")
    };
    let a = "{ name = \"a\", address = \"10.0.0.1:80\" }";
    assert_eq!(
        brief(&file("name = \"x\"", a), &file("name = \"y\"", a)),
        ["Changed listener x [name: \"x\" > \"y\"]"],
        "at its address it is the same one"
    );
    assert_eq!(
        brief(&file("", a), &file("", "{ name = \"b\", address = \"10.0.0.1:80\" }")),
        ["Changed backend web/a [name: \"a\" > \"b\"]"]
    );
    assert_eq!(
        brief(&file("", a), &file("", "{ name = \"a\", address = \"10.0.0.2:80\", weight = 3 }")),
        ["Changed backend web/a [address: \"10.0.0.1:80\" > \"10.0.0.2:80\"; weight:  > 3]"]
    );
    assert_eq!(
        brief(&file("", a), &file("", "\"10.0.0.3:80\"")),
        [
            "Added backend web/10.0.0.3:80 [address:  > \"10.0.0.3:80\"]",
            "Removed backend web/a [address: \"10.0.0.1:80\" > ; name: \"a\" > ]"
        ]
    );
}

#[test]
fn what_changes_places_is_no_twin() {
    let file = |listener: &str, backends: &str| {
        format!("[[listener]]\nname = \"{listener}\"\naddress = \"127.0.0.1:0\"\n[pool.web]\nbackends = [{backends}]")
    };
    let at = |name: &str, host: u8| format!("{{ name = \"{name}\", address = \"10.0.0.{host}:80\" }}");
    assert_eq!(
        brief(&file("x", &at("a", 1)), &file("x", &format!("{}, {}", at("a", 2), at("b", 1)))),
        [
            "Changed backend web/a [address: \"10.0.0.1:80\" > \"10.0.0.2:80\"]",
            "Added backend web/b [address:  > \"10.0.0.1:80\"; name:  > \"b\"]"
        ],
        "`a` is still there, at another address"
    );
    let told = brief(&file("x", &at("a", 1)), &file("y", &at("a", 1)));
    let told: Vec<_> = told.iter().filter_map(|line| line.split(" [").next()).collect();
    assert_eq!(told, ["Removed listener x", "Added listener y"], "each port 0 is another port");
}

#[test]
fn a_file_that_says_something_else_is_told() {
    let page = std::env::temp_dir().join(format!("evenkeel-diff-{}.html", std::process::id()));
    let config = |text: &str| {
        std::fs::write(&page, text).unwrap();
        parse(&format!(
            "[[listener]]\naddress = \"[::]:80\"\n[pool.a]\nbackends = \"10.0.0.1:80\"\n[error_pages]\n503 = {{ html = {page:?} }}"
        ))
    };
    let (one, two) = (config("<p>one</p>"), config("<p>two</p>"));
    let _ = std::fs::remove_file(&page);
    let told: Vec<_> = diff(&one, &two).changes.into_iter().map(|change| (change.name, change.contents)).collect();
    assert_eq!(told, [("error_pages".to_owned(), true)]);
}

#[test]
fn what_needs_a_restart_is_measured_against_the_start() {
    let file = |workers: u8, backlog: u32| {
        parse(&format!(
            "[server]\nworkers = {workers}\n[[listener]]\nname = \"x\"\naddress = \"[::]:80\"\nbacklog = {backlog}\n\
             [pool.a]\nbackends = \"10.0.0.1:80\""
        ))
    };
    let restart = |start: &Config, old: &Config, new: &Config| Diff::between(old, new, &Fixed::of(start)).restart;
    let (one, two, longer) = (file(1, 100), file(2, 100), file(1, 200));
    assert_eq!(restart(&one, &two, &two), ["server.workers: a change needs a restart"], "it has one still");
    assert_eq!(restart(&one, &two, &one), [""; 0], "it has had one all the time");
    assert_eq!(
        restart(&one, &one, &longer),
        ["listener x: backlog, ipv6_only, defer_accept: a change needs a restart"]
    );
}

#[test]
fn what_is_written_otherwise_and_means_the_same_is_no_change() {
    let one = "[[listener]]\naddress = \"[::]:80\"\nidle_timeout = \"75s\"\n[pool.web]\nbackends = [\"10.0.0.1:80\"]\n\
               connect_timeout = \"60s\"";
    let two = "listener = { address = \"[::]:80\" }\n[pool.web]\nbackends = { address = \"10.0.0.1:80\", weight = 1 }\n\
               connect_timeout = \"1m\"";
    assert!(brief(one, two).is_empty(), "{:?}", brief(one, two));
}

#[test]
fn a_pool_that_goes_or_comes_is_one_change() {
    let pool = |name: &str| format!("[pool.{name}]\nbackends = [\"10.0.0.1:80\"]\nconnect_timeout = \"1s\"\n");
    let file = |pools: &str, route: &str| format!("[[listener]]\naddress = \"[::]:80\"\n{pools}\n{route}");
    let route = "[[route]]\nname = \"r\"\npool = \"a\"\n";
    let one = file(&pool("a"), route);
    let two = file(&(pool("a") + &pool("b")), route);
    assert_eq!(brief(&one, &two), ["Added pool b [backends:  > \"10.0.0.1:80\"; connect_timeout:  > \"1s\"]"]);
    assert_eq!(brief(&two, &one), ["Removed pool b [backends: \"10.0.0.1:80\" > ; connect_timeout: \"1s\" > ]"]);
}

#[test]
fn routes_in_another_order_are_told() {
    let file = |first: &str, second: &str| {
        format!("[[listener]]\naddress = \"[::]:80\"\n[pool.a]\nbackends = [\"10.0.0.1:80\"]\n{first}{second}")
    };
    let route = |name: &str| format!("[[route]]\nname = \"{name}\"\npath = {{ regex = \"{name}\" }}\npool = \"a\"\n");
    let told = brief(&file(&route("a"), &route("b")), &file(&route("b"), &route("a")));
    assert!(told.len() == 1 && told[0].contains("another order"), "{told:?}");
}

#[test]
fn a_secret_is_never_shown() {
    let file = |value: &str| {
        format!(
            "[[listener]]\naddress = \"[::]:80\"\n[pool.a]\nbackends = [\"10.0.0.1:80\"]\n[[route]]\nname = \"r\"\npool = \"a\"\n\
             request_headers = {{ set = {{ Authorization = \"Basic {value}\" }} }}"
        )
    };
    assert_eq!(brief(&file("one"), &file("two")), ["Changed route r [request_headers.set.Authorization: *** > ***]"]);
}

#[test]
fn what_ends_is_told_in_words() {
    let drains = |connections, exchanges, tunnels| Drains { connections, exchanges, tunnels }.to_string();
    assert_eq!(drains(0, 0, 0), "nothing");
    assert_eq!(drains(1, 0, 0), "1 connection");
    assert_eq!(drains(2, 1, 3), "2 connections, 1 exchange and 3 tunnels");
}
