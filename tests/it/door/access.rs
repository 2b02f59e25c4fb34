//! `allow` and `deny` of a listener: others are closed at accept, without an answer.

use super::*;
use crate::support::{Process, wait_for};

#[test]
fn who_may_not_connect_is_closed_and_counted() {
    let backend = Backend::ok("fine");
    for (keys, allowed, others) in [
        ("deny = [\"127.0.0.2\", \"127.0.0.4/31\"]", [1, 3, 6], [2, 4, 5]),
        ("allow = [\"127.0.0.4/30\"]", [4, 5, 7], [1, 3, 8]),
        ("allow = [\"127.0.0.0/29\"]\ndeny = [\"127.0.0.2/31\"]", [1, 4, 7], [2, 3, 8]),
    ] {
        let evenkeel = with(&backend, keys);
        let address = evenkeel.address();
        assert!(allowed.iter().all(|source| answered(*source, address).is_some()), "{keys}");
        assert!(others.iter().all(|source| answered(*source, address).is_none()), "{keys}");
        assert_eq!((closed(&evenkeel, "denied"), closed(&evenkeel, "per_ip")), (3.0, 0.0));
        assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[]), 3.0);
        evenkeel.assert_no_failure();
    }
}

#[test]
fn it_is_said_once_a_second_and_a_reload_changes_it() {
    let backend = Backend::ok("fine");
    let toml = |keys: &str| Setup::to(&[backend.address()]).listener(keys).toml();
    let evenkeel = Process::spawn(&toml("deny = [\"127.0.0.9\"]"));
    let address = evenkeel.address();
    let start = std::time::Instant::now();
    for _ in 0..200 {
        assert!(answered(9, address).is_none());
    }
    let said = || evenkeel.log().iter().filter(|line| line.contains("connection closed at accept")).count();
    wait_for("it is said", || said() > 0);
    assert!(said() <= start.elapsed().as_secs() as usize + 1);
    let log = evenkeel.log();
    let line = log.iter().find(|line| line.contains("closed at accept")).unwrap();
    assert!(["127.0.0.9", "denied", "web", "addresses=1"].iter().all(|word| line.contains(word)), "{line}");
    let mut other = answered(1, address).unwrap();
    let mut third = answered(3, address).unwrap();
    let before = refused(&evenkeel);
    evenkeel.reload(&toml("deny = [\"127.0.0.1\"]"));
    let mut ninth = answered(9, address).unwrap();
    assert!(answered(1, address).is_none());
    other.assert_closed();
    assert_eq!(third.get("/").status, 200);
    assert_eq!(refused(&evenkeel), before + 2.0);
    // Nobody is counted twice.
    evenkeel.reload(&toml("allow = [\"127.0.0.3\"]"));
    ninth.assert_closed();
    assert_eq!(third.get("/").status, 200);
    assert_eq!(refused(&evenkeel), before + 3.0);
}

/// How many of the process's connections have been closed as denied.
fn refused(process: &Process) -> f64 {
    process.metric("evenkeel_connections_closed_total", &[("listener", "web"), ("reason", "denied")])
}
