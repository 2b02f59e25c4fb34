//! `max_connections_per_ip`: exact, over all workers, by /64 of IPv6, by the address that a PROXY header names.

use std::thread;

use super::*;
use crate::support::{Process, wait_for};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]";

#[test]
fn an_address_has_so_many_and_others_have_theirs() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connections_per_ip = 3");
    let address = evenkeel.address();
    let mut held: Vec<_> = (0..3).map(|_| answered(1, address).unwrap()).collect();
    let mut fourth = evenkeel.client();
    fourth.assert_closed();
    wait_for("it is counted", || closed(&evenkeel, "per_ip") == 1.0);
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[]), 3.0, "it was none of ours");
    assert!(answered(2, address).is_some());
    assert!(held.iter_mut().all(|client| client.get("/").status == 200));
    held.pop();
    wait_for("a place is free", || answered(1, address).is_some());
}

#[test]
fn a_storm_on_two_workers_is_counted_exactly() {
    const MOST: usize = 20;
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, &format!("max_connections_per_ip = {MOST}"));
    let address = evenkeel.address();
    for round in 1..=3 {
        let held: Vec<_> = thread::scope(|scope| {
            let storm = || (0..15).filter_map(|_| answered(1, address)).collect::<Vec<_>>();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(storm)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(held.len(), MOST, "in round {round}");
        assert_eq!(closed(&evenkeel, "per_ip"), (round * (8 * 15 - MOST)) as f64);
        drop(held);
        wait_for("all have gone", || evenkeel.metric("evenkeel_listener_connections", &[]) == 0.0);
    }
}

#[test]
fn clients_that_come_and_go_leave_no_count_behind() {
    let backend = Backend::ok("fine");
    let evenkeel = with(&backend, "max_connections_per_ip = 8");
    let address = evenkeel.address();
    let open = || evenkeel.metric("evenkeel_listener_connections", &[]);
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                for turn in 0..60 {
                    // Ends in the ways that connections have: kept and left, reset, cut in its head, silent.
                    let Some(mut client) = answered(1, address) else { panic!("it is one of four, of eight") };
                    match (number + turn) % 4 {
                        0 => drop(client),
                        1 => client.reset(),
                        2 => client.send("GET / HT"),
                        _ => assert_eq!(client.get("/").status, 200),
                    }
                }
            });
        }
    });
    wait_for("all have gone", || open() == 0.0);
    let held: Vec<_> = (0..8).map(|_| answered(1, address).expect("none is counted any more")).collect();
    assert!(answered(1, address).is_none());
    drop(held);
}

/// A client that a proxy says comes from `address`.
fn proxied(evenkeel: &Evenkeel, family: &str, address: &str, ours: &str) -> Option<Client> {
    let mut client = evenkeel.client();
    client.send(format!("PROXY {family} {address} {ours} 1000 443\r\n{GET}"));
    client.try_response("GET").ok().map(|_| client)
}

#[test]
fn behind_a_proxy_it_is_the_address_that_the_header_names() {
    let backend = Backend::ok("fine");
    let keys = "proxy_protocol = true\nmax_connections_per_ip = 2\ndeny = [\"192.0.2.66\", \"127.0.0.1\"]";
    let evenkeel = Setup::to(&[backend.address()]).server(TRUSTED).listener(keys).start();
    let v6 = |address| proxied(&evenkeel, "TCP6", address, "2001:db8:ff::1");
    let _first = v6("2001:db8:0:1::1").unwrap();
    let second = v6("2001:db8:0:1:ffff::2").unwrap();
    assert!(v6("2001:db8:0:1::3").is_none(), "one /64 is one client");
    assert!(v6("2001:db8:0:2::1").is_some());
    drop(second);
    wait_for("a place is free", || v6("2001:db8:0:1::3").is_some());
    let v4 = |address| proxied(&evenkeel, "TCP4", address, "203.0.113.9");
    assert!(v4("192.0.2.66").is_none() && v4("192.0.2.67").is_some());
    assert_eq!(closed(&evenkeel, "denied"), 1.0);
    assert!(closed(&evenkeel, "per_ip") >= 1.0);
    assert_eq!(closed(&evenkeel, "proxy_protocol"), 0.0);
    // The proxy's own checks are nobody's.
    let mut checks: Vec<_> = (0..5).map(|_| evenkeel.client()).collect();
    for check in &mut checks {
        check.send(format!("PROXY UNKNOWN\r\n{GET}"));
        assert_eq!(check.response().status, 200);
    }
}

#[test]
fn a_reload_changes_it_for_those_that_come() {
    let backend = Backend::ok("fine");
    let toml = |keys: &str| Setup::to(&[backend.address()]).listener(keys).toml();
    let evenkeel = Process::spawn(&toml(""));
    let address = evenkeel.address();
    let mut held: Vec<_> = (0..3).map(|_| answered(1, address).unwrap()).collect();
    // They came before there was a limit, and are counted now.
    evenkeel.reload(&toml("max_connections_per_ip = 4"));
    held.push(answered(1, address).unwrap());
    assert!(answered(1, address).is_none());
    evenkeel.reload(&toml("max_connections_per_ip = 2"));
    assert!(held.iter_mut().all(|client| client.get("/").status == 200), "nobody is thrown out");
    assert!(answered(1, address).is_none());
    held.truncate(1);
    wait_for("there is one place", || answered(1, address).is_some());
    evenkeel.reload(&toml(""));
    held.extend((0..5).map(|_| answered(1, address).unwrap()));
}
