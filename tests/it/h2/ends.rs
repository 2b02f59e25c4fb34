//! How connections and streams end: drain, reload, backends that leave, and clients that do.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::support::h2raw::code;
use crate::support::{Client, Process, h2, in_front_of, wait_for};

const HEAD: &str = "[server]\nworkers = 2\ndrain_timeout = \"1s\"\n\n[log]\naccess = \"off\"\n\n\
                    [admin]\naddress = \"127.0.0.1:0\"\n\n";

/// The listeners by name, and one pool.
fn file(listeners: &[&str], backends: &[&Backend]) -> String {
    let listener = |name: &&str| format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n\n");
    let listeners: String = listeners.iter().map(listener).collect();
    let backends: Vec<_> = backends.iter().map(|backend| backend.address().to_string()).collect();
    let off = "health_check = { type = \"off\" }\nretry = { attempts = 0 }";
    format!("{HEAD}{listeners}[pool.web]\nbackends = {backends:?}\n{off}\n")
}

/// A connection with `count` requests that the backend holds.
fn holds(address: std::net::SocketAddr, backend: &Backend, count: u32) -> H2 {
    let before = backend.requests();
    let mut h2 = H2::open(address);
    for number in 0..count {
        h2.headers(2 * number + 1, flag::WHOLE, get("/held"));
    }
    wait_for("the requests are under way", || backend.requests() == before + count as usize);
    h2
}

fn nothing_left(evenkeel: &Evenkeel, backend: &Backend) {
    let left = || evenkeel.metric("evenkeel_listener_connections", &[]) + evenkeel.in_flight();
    wait_for("nothing is left", || left() == 0.0 && backend.open() == 0);
}

#[test]
fn on_term_streams_finish_and_then_the_process_ends() {
    let gate = Gate::default();
    let backend = holding(&gate);
    let mut evenkeel = Setup::to(&[backend.address()]).spawn();
    let address = evenkeel.address();
    let mut h2 = holds(address, &backend, 3);
    evenkeel.signal("TERM");
    wait_for("nobody is let in any more", || Client::connect(address).is_err());
    gate.open();
    let frames = rest(&mut h2);
    let answered = frames.iter().filter(|frame| frame.ends()).count();
    assert_eq!(answered, 3, "{frames:?}");
    let goaways: Vec<_> = frames.iter().filter(|frame| frame.is(kind::GOAWAY)).map(Frame::code).collect();
    assert!(!goaways.is_empty() && goaways.iter().all(|code| *code == code::NO_ERROR), "{goaways:?}");
    assert_eq!(evenkeel.wait().code(), Some(0), "{:?}", evenkeel.log());
}

#[test]
fn an_idle_connection_does_not_hold_the_end_up_even_if_its_client_sleeps() {
    let backend = Backend::ok("fine");
    let mut evenkeel = Setup::to(&[backend.address()]).server("drain_timeout = \"1h\"").spawn();
    let mut h2 = H2::open(evenkeel.address());
    assert_eq!(ask(&mut h2, 1, "/"), 200);
    // The client reads nothing and acknowledges nothing.
    evenkeel.signal("TERM");
    assert_eq!(evenkeel.wait().code(), Some(0), "{:?}", evenkeel.log());
}

#[test]
fn streams_that_drain_timeout_cuts_hear_so() {
    let backend = holding(&Gate::default());
    let mut evenkeel = Setup::to(&[backend.address()]).server("drain_timeout = \"700ms\"").spawn();
    let mut h2 = holds(evenkeel.address(), &backend, 2);
    evenkeel.signal("TERM");
    assert_cut(&mut h2, &[1, 3]);
    assert_eq!(evenkeel.wait().code(), Some(0), "{:?}", evenkeel.log());
}

#[test]
fn a_listener_that_goes_finishes_streams_under_load() {
    let backend = Backend::ok("fine");
    let both = file(&["web", "more"], &[&backend]);
    let evenkeel = Process::spawn(&both);
    let address = evenkeel.listener("more");
    h2::run(async {
        let (fine, over) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let client = h2::connect(address).await;
            for _ in 0..8 {
                let (mut client, fine, over) = (client.clone(), Rc::clone(&fine), Rc::clone(&over));
                tasks.push(tokio::task::spawn_local(async move {
                    // Until it is told to go; whatever it has asked by then is answered.
                    loop {
                        let Ok(ready) = client.ready().await else { break };
                        client = ready;
                        let request = h2::to("GET", "/").body(()).unwrap();
                        let Ok((response, _)) = client.send_request(request, true) else { break };
                        let response = response.await.expect("what was asked is answered");
                        assert_eq!(response.status(), 200);
                        fine.set(fine.get() + 1);
                    }
                    assert!(over.get(), "it ends when the listener goes, and not before");
                }));
            }
        }
        while fine.get() < 200 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        over.set(true);
        let toml = file(&["web"], &[&backend]);
        let evenkeel = tokio::task::spawn_blocking(move || {
            evenkeel.reload(&toml);
            evenkeel
        });
        let evenkeel = evenkeel.await.unwrap();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(ask(&mut H2::open(evenkeel.address()), 1, "/"), 200, "the other listener did not notice");
    });
}

#[test]
fn streams_of_a_listener_that_is_gone_are_cut_after_drain_timeout() {
    let backend = Backend::thinking();
    let evenkeel = Process::spawn(&file(&["web", "more"], &[&backend]));
    let mut h2 = holds(evenkeel.listener("more"), &backend, 2);
    evenkeel.reload(&file(&["web"], &[&backend]));
    assert_cut(&mut h2, &[1, 3]);
    rest(&mut h2);
    wait_for("nothing is left of them", || backend.open() == 0);
}

#[test]
fn a_backend_that_leaves_takes_its_streams_and_not_the_connection() {
    let (leaves, stays) = (Backend::thinking(), Backend::ok("fine"));
    let evenkeel = Process::spawn(&file(&["web"], &[&leaves]));
    let mut h2 = holds(evenkeel.address(), &leaves, 2);
    evenkeel.reload(&file(&["web"], &[&stays]));
    assert_eq!(ask(&mut h2, 101, "/"), 200, "the connection goes on");
    assert_cut(&mut h2, &[1, 3]);
    assert_eq!(ask(&mut h2, 103, "/"), 200, "and on");
    wait_for("nothing is left of them", || leaves.open() == 0);
}

#[test]
fn a_stream_that_is_reset_ends_its_attempt_at_once() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    let mut h2 = holds(evenkeel.address(), &backend, 2);
    h2.reset(1, code::CANCEL);
    wait_for("its attempt has ended", || backend.open() == 1);
    evenkeel.wait_failures("client_gone", 1);
    assert_eq!(evenkeel.in_flight(), 1.0, "the other goes on");
    h2.reset(3, code::CANCEL);
    evenkeel.wait_failures("client_gone", 2);
    wait_for("both have ended", || backend.open() == 0);
    wait_for("nothing is in flight", || evenkeel.in_flight() == 0.0);
}

#[test]
fn an_answer_that_is_reset_half_way_ends_its_attempt() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::WHOLE, get("/"));
    while !matches!(h2.next(), Event::Frame(frame) if frame.is(kind::DATA)) {}
    h2.reset(1, code::CANCEL);
    wait_for("its attempt has ended", || backend.open() == 0);
    evenkeel.wait_failures("client_gone", 1);
}

#[test]
fn an_upload_that_is_reset_ends_its_attempt() {
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    let mut h2 = H2::open(evenkeel.address());
    h2.headers(1, flag::END_HEADERS, request("PUT", "/", &[]));
    h2.data(1, flag::NONE, "half");
    wait_for("the request is under way", || backend.requests() == 1);
    h2.reset(1, code::CANCEL);
    wait_for("its attempt has ended", || backend.open() == 0);
    evenkeel.wait_failures("client_gone", 1);
}

#[test]
fn a_connection_that_breaks_ends_all_its_streams() {
    let backend = Backend::thinking();
    let evenkeel = in_front_of(&backend);
    let h2 = holds(evenkeel.address(), &backend, 50);
    drop(h2);
    nothing_left(&evenkeel, &backend);
    evenkeel.wait_failures("client_gone", 50);
}
