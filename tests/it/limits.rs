//! Connections have bounds, and running into them is survived.

use std::time::Duration;

use crate::support::{Backend, Client, Gate, Process, Setup, wait_for};

#[test]
fn connections_over_the_listeners_bound_wait_their_turn() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "fine");
    let evenkeel = Setup::to(&[backend.address()]).listener("max_connections = 2").start();
    let (mut first, mut second) = (evenkeel.client(), evenkeel.client());
    for busy in [&mut first, &mut second] {
        busy.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("both are at the backend", || backend.requests() == 2);
    let mut third = evenkeel.client();
    third.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(third.silent_for(Duration::from_millis(300)), "it waits in the kernel's queue");
    gate.open();
    assert_eq!((first.response().status, second.response().status), (200, 200));
    drop(first);
    assert_eq!(third.response().status, 200);
    drop(second);
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(evenkeel.metric("evenkeel_listener_connections_total", &[("listener", "web")]), 4.0);
}

#[test]
fn connections_over_the_process_bound_wait_their_turn() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).server("max_connections = 8").start();
    let mut clients: Vec<_> = (0..16).map(|_| evenkeel.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn a_backend_that_is_full_is_said_to_be() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "ok");
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool("max_connections = 2\nqueue = \"off\"").start();
    let mut busy: Vec<_> = (0..2).map(|_| evenkeel.client()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("both are at the backend", || backend.requests() == 2);
    let response = evenkeel.get("/");
    response.assert_refused(503, "queue_full");
    assert!(response.field("retry-after").is_some(), "{response:?}");
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(evenkeel.get("/").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn kept_connections_to_a_backend_have_a_bound() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "ok");
    let evenkeel = Setup::to(&[backend.address()]).pool("keepalive = { max_idle = 4 }").start();
    let mut clients: Vec<_> = (0..20).map(|_| evenkeel.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("all are at the backend", || backend.requests() == 20);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    wait_for("the others are closed", || backend.open() <= 4);
}

#[test]
fn a_kept_connection_has_a_number_of_requests() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).pool("keepalive = { max_requests = 5 }").start();
    let mut client = evenkeel.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 4);
}

/// Lines that say that there are no descriptors left.
fn complaints(evenkeel: &Process) -> usize {
    let tells = |line: &&String| {
        let line = line.to_lowercase();
        // The configuration is kept at the start, when there may be none left either: that line is another story.
        !line.contains("cannot be kept") && (line.contains("file descriptors") || line.contains("too many open files"))
    };
    evenkeel.log().iter().filter(tells).count()
}

#[test]
fn without_descriptors_accepting_rests_and_recovers() {
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).server("max_connections = 1000").toml();
    let evenkeel = Process::spawn_under(&["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"], &toml);
    assert_eq!(evenkeel.client().get("/").status, 200);
    let clients: Vec<Client> = (0..100).map(|_| evenkeel.client()).collect();
    wait_for("it says so", || complaints(&evenkeel) > 0);
    // It rests instead of trying again and again: in half a second it uses less than half of it.
    let before = evenkeel.ticks();
    std::thread::sleep(Duration::from_millis(500));
    let ticks = evenkeel.ticks() - before;
    assert!(ticks < 25, "{ticks} hundredths of a second of processor time in half a second of rest");
    drop(clients);
    wait_for("it serves again", || {
        let mut client = evenkeel.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        client.try_response("GET").is_ok_and(|response| response.status == 200)
    });
    assert_eq!(complaints(&evenkeel), 1, "it says so once: {:?}", evenkeel.log());
}

#[test]
fn forty_backends_that_are_all_full_are_said_to_be() {
    let gate = Gate::default();
    let backends: Vec<_> = (0..40).map(|_| Backend::behind(&gate, "ok")).collect();
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    let evenkeel = Setup::to(&addresses).one_worker().pool("max_connections = 1\nqueue = \"off\"").start();
    let mut busy: Vec<_> = (0..40).map(|_| evenkeel.client()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    wait_for("each has one", || backends.iter().all(|backend| backend.requests() == 1));
    evenkeel.get("/").assert_refused(503, "queue_full");
    gate.open();
    for client in &mut busy {
        assert_eq!(client.response().status, 200);
    }
}
