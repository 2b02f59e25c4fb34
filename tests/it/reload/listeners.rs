//! Listeners that come, go, move, and change their names.

use super::*;
use crate::support::{Gate, Load};

/// Whether a connection to `address` is refused.
fn refused(address: SocketAddr) -> bool {
    Client::connect(address).is_err()
}

#[test]
fn a_new_listener_serves_and_a_removed_one_refuses() {
    let backend = Backend::ok("fine");
    let both = file(&[WEB, ("more", "127.0.0.1:0")], &[("web", &[&backend])], "");
    let one = file(&[WEB], &[("web", &[&backend])], "");
    let evenkeel = Process::spawn(&one);
    let mut kept = evenkeel.client();
    assert_eq!(kept.get("/").status, 200);

    evenkeel.reload(&both);
    let more = bound(&evenkeel, "more").expect("the new listener has an address");
    assert_eq!(Client::h1(more).get("/").text(), "fine");
    let counted = |name: &str| evenkeel.metric("evenkeel_requests_total", &[("listener", name)]);
    wait_for("the new listener counts", || counted("more") == 1.0);

    evenkeel.reload(&one);
    wait_for("the removed listener refuses", || refused(more));
    assert_eq!(bound(&evenkeel, "more"), None);
    assert_eq!(kept.get("/").status, 200, "the other listener did not notice");
    assert_eq!(evenkeel.client().get("/").status, 200);
}

#[test]
fn a_removed_listener_ends_its_idle_connections_and_finishes_its_exchanges() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let both = file(&[WEB, ("more", "127.0.0.1:0")], &[("web", &[&backend])], "");
    // Long enough that the exchange is not cut by it.
    let long = |toml: &str| toml.replace("drain_timeout = \"1s\"", "drain_timeout = \"10s\"");
    let evenkeel = Process::spawn(&long(&both));
    let more = evenkeel.listener("more");
    let (mut idle, mut busy) = (Client::h1(more), Client::h1(more));
    busy.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == 1);
    evenkeel.reload(&long(&file(&[WEB], &[("web", &[&backend])], "")));
    wait_for("the removed listener refuses", || refused(more));
    idle.assert_closed();
    gate.open();
    assert_eq!(busy.response().text(), "late");
    busy.assert_closed();
}

#[test]
fn an_exchange_of_a_removed_listener_is_cut_after_drain_timeout() {
    let backend = Backend::thinking();
    let both = file(&[WEB, ("more", "127.0.0.1:0")], &[("web", &[&backend])], "");
    let evenkeel = Process::spawn(&both);
    let mut busy = Client::h1(evenkeel.listener("more"));
    busy.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == 1);
    let start = std::time::Instant::now();
    evenkeel.reload(&file(&[WEB], &[("web", &[&backend])], ""));
    busy.rest();
    assert!(start.elapsed() < Duration::from_secs(8), "drain_timeout is 1 s: {:?}", start.elapsed());
    wait_for("nothing is left of it", || backend.open() == 0);
}

#[test]
fn a_listener_that_is_renamed_keeps_its_socket_and_its_connections() {
    let backend = Backend::ok("fine");
    // Port 0 in the file goes by the name: here the address tells.
    let port = Backend::refused();
    let address = port.address().to_string();
    let toml = |name: &str| file(&[(name, &address)], &[("web", &[&backend])], "");
    let evenkeel = Process::spawn(&toml("web"));
    let mut kept = evenkeel.client();
    assert_eq!(kept.get("/").status, 200);
    let load = Load::start(evenkeel.address(), 2);
    for name in ["front", "site", "web", "front"] {
        evenkeel.reload(&toml(name));
        load.wait_for(20);
    }
    // Had the socket been bound anew, a connection in its queue would have been lost.
    load.stop().assert_all_fine();
    assert_eq!((bound(&evenkeel, "front"), bound(&evenkeel, "web")), (Some(port.address()), None));
    assert_eq!(kept.get("/").status, 200);
    let open = |name: &str| evenkeel.metric("evenkeel_listener_connections", &[("listener", name)]);
    wait_for("it is counted under its new name", || (open("web"), open("front")) == (0.0, 1.0));
    let counted = || evenkeel.metric("evenkeel_requests_total", &[("listener", "front")]);
    let before = counted();
    assert_eq!(evenkeel.client().get("/").status, 200);
    wait_for("it counts under its new name", || counted() > before);
}

#[test]
fn two_listeners_may_exchange_their_names() {
    let backend = Backend::ok("fine");
    let route = "[[route]]\nlistener = \"a\"\nrespond = { status = 200, body = \"a\" }\n\n\
                 [[route]]\nlistener = \"b\"\nrespond = { status = 200, body = \"b\" }\n";
    let ports = [Backend::refused(), Backend::refused()];
    let [first, second] = [ports[0].address(), ports[1].address()];
    let toml = |one: &str, other: &str| {
        file(&[(one, &first.to_string()), (other, &second.to_string())], &[("web", &[&backend])], route)
    };
    let evenkeel = Process::spawn(&toml("a", "b"));
    let mut kept = Client::h1(first);
    assert_eq!((kept.get("/").text().as_str(), Client::h1(second).get("/").text().as_str()), ("a", "b"));
    evenkeel.reload(&toml("b", "a"));
    assert_eq!((bound(&evenkeel, "b"), bound(&evenkeel, "a")), (Some(first), Some(second)));
    assert_eq!((Client::h1(first).get("/").text().as_str(), Client::h1(second).get("/").text().as_str()), ("b", "a"));
    assert_eq!(kept.get("/").status, 200);
}

#[test]
fn a_listener_moves_to_another_address() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&backend])], ""));
    let old = evenkeel.address();
    let mut kept = evenkeel.client();
    assert_eq!(kept.get("/").status, 200);
    evenkeel.reload(&file(&[("web", "127.0.0.2:0")], &[("web", &[&backend])], ""));
    let new = bound(&evenkeel, "web").expect("it has an address");
    assert_eq!(new.ip().to_string(), "127.0.0.2");
    assert_eq!(Client::h1(new).get("/").status, 200);
    wait_for("the old address refuses", || refused(old));
    kept.assert_closed();
}

#[test]
fn an_address_that_is_in_use_refuses_the_whole_reload() {
    let backend = Backend::ok("fine");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let evenkeel = Process::spawn(&versioned(&backend, "one"));
    let old = evenkeel.address();
    let free = ("third", "127.0.0.3:0");
    evenkeel.reload_in_vain(&file(&[WEB, free, ("more", &address)], &[("web", &[&backend])], &version("two")));
    assert_eq!(evenkeel.client().get("/version").text(), "one");
    assert_eq!((bound(&evenkeel, "web"), bound(&evenkeel, "more"), bound(&evenkeel, "third")), (Some(old), None, None));
    wait_for("the log names the address", || evenkeel.log().iter().any(|line| line.contains(&address)));

    drop(taken);
    // A process that another test starts at this moment may hold the socket for an instant.
    wait_for("the address is free", || post_reload(&evenkeel).status == 200);
    assert_eq!(Client::h1(address.parse().unwrap()).get("/version").text(), "two");
}

#[test]
fn an_address_of_a_listener_that_goes_is_free_for_another_one() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&backend])], ""));
    // Another text for the same address: the port that it got, then that of a listener with another name.
    let address = evenkeel.address().to_string();
    evenkeel.reload(&file(&[("web", "127.0.0.2:0")], &[("web", &[&backend])], ""));
    wait_for("the old address refuses", || refused(address.parse().unwrap()));
    evenkeel.reload(&file(&[("other", &address)], &[("web", &[&backend])], ""));
    assert_eq!(Client::h1(address.parse().unwrap()).get("/").status, 200);
}

#[test]
fn limits_of_a_listener_that_stays_are_the_new_ones() {
    let backend = Backend::ok("fine");
    let evenkeel = Process::spawn(&file(&[WEB], &[("web", &[&backend])], ""));
    assert_eq!(evenkeel.client().with_body("PUT", "/", &[7; 100]).status, 200);
    let narrow = ("web", "127.0.0.1:0\"\nmax_body_size = \"10B");
    evenkeel.reload(&file(&[narrow], &[("web", &[&backend])], ""));
    assert_eq!(evenkeel.client().with_body("PUT", "/", &[7; 100]).status, 413);
}

#[test]
fn a_unix_listener_comes_and_goes() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let backend = Backend::ok("fine");
    let path = std::env::temp_dir().join(format!("evenkeel-listener-{}.sock", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let one = file(&[WEB], &[("web", &[&backend])], "");
    let evenkeel = Process::spawn(&one);
    for _ in 0..2 {
        evenkeel.reload(&file(&[WEB, ("local", &unix)], &[("web", &[&backend])], ""));
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine"), "{answer}");
        evenkeel.reload(&one);
        wait_for("it refuses", || UnixStream::connect(&path).is_err());
    }
    let _ = std::fs::remove_file(path);
}

#[test]
fn setup_and_reload_agree_on_port_0() {
    // The configuration of the other tests, as it is: port 0 in the file means the socket that is there.
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).toml();
    let evenkeel = Process::spawn(&toml);
    let address = evenkeel.address();
    evenkeel.reload(&toml);
    assert_eq!(bound(&evenkeel, "web"), Some(address));
    assert_eq!(evenkeel.client().get("/").status, 200);
}
