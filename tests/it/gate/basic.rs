//! `type = "basic"`.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::support::{Backend, Client, Process, Site, h2, request, wait_for};

/// Files are looked at every five seconds.
const SOON: Duration = Duration::from_secs(10);

fn site(folder: &Folder, lines: &str, backend: &Backend) -> Site {
    let auth = basic_auth("staff", &folder.put("users", lines));
    let text = format!("{auth}[[route]]\nname = \"in\"\npool = \"web\"\nauth = \"staff\"\n");
    Site::new(text).pool("web", backend.address())
}

fn get(fields: &str) -> String {
    request("GET", "test", "/", fields)
}

#[test]
fn users_come_in_by_their_passwords_and_the_log_has_their_names() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let log = folder.put("access.log", "");
    let lines = user("ann", "blue", 4) + &user("bob", "red", 4);
    let evenkeel = site(&folder, &lines, &backend).log(format!("access = {log}")).start();
    let mut client = evenkeel.client();
    for (fields, status) in [
        (shown("ann", "blue"), 200),
        (shown("ann", "blue"), 200),
        (shown("bob", "red"), 200),
        (shown("ann", "red"), 401),
        (shown("eve", "blue"), 401),
        (String::new(), 401),
    ] {
        let answer = client.exchange(get(&fields));
        assert_eq!(answer.status, status, "{fields}");
        if status == 401 {
            answer.assert_refused(401, "unauthorized");
            assert_eq!(answer.field("www-authenticate"), Some("Basic realm=\"a place\", charset=\"UTF-8\""));
        } else {
            assert_eq!(answer.field("www-authenticate"), None);
            let sent = fields.trim().strip_prefix("Authorization: ").unwrap().to_owned();
            assert_eq!(backend.last().field("authorization"), Some(&*sent), "it goes on to the backend");
        }
    }
    assert_eq!(backend.requests(), 3);
    evenkeel.wait_failures("unauthorized", 3);
    evenkeel.stop();
    let text = fs::read_to_string(folder.0.join("access.log")).unwrap();
    let users: Vec<_> = text
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["user"].as_str().map(str::to_owned)
        })
        .collect();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(users, [some("ann"), some("ann"), some("bob"), some("ann"), some("eve"), None]);
}

#[test]
fn over_http2_a_body_waits_until_its_user_is_known() {
    let (folder, backend) = (Folder::new(), Backend::http(|request| crate::support::Reply::ok(request.body)));
    let evenkeel = site(&folder, &user("ann", "blue", 6), &backend).start();
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let with = |password: &str| {
            let line = shown("ann", password);
            h2::to("POST", "/").header("authorization", line.trim().strip_prefix("Authorization: ").unwrap())
        };
        let body = vec![7; 300_000];
        let answer = h2::ask(&client, with("blue"), &body).await.unwrap();
        assert_eq!((answer.status, answer.body), (200, body));
        let refused = h2::ask(&client, with("red"), b"").await.unwrap();
        assert_eq!(refused.status, 401);
        assert_eq!(refused.fields["www-authenticate"], "Basic realm=\"a place\", charset=\"UTF-8\"");
    });
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_file_that_changes_is_in_force_within_ten_seconds_and_a_bad_one_never() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let toml = site(&folder, &user("ann", "blue", 4), &backend).toml();
    let evenkeel = Process::spawn(&toml);
    let status = |name: &str, password: &str| evenkeel.client().exchange(get(&shown(name, password))).status;
    assert_eq!((status("ann", "blue"), status("bob", "red")), (200, 401));
    let soon = |what: &str, condition: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < SOON, "{what}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    folder.put("users", &(user("ann", "green", 4) + &user("bob", "red", 4)));
    soon("bob is in it", &|| status("bob", "red") == 200);
    assert_eq!((status("ann", "blue"), status("ann", "green")), (401, 200), "what was remembered is not any more");
    // A bad one: what is in force stays, and it is said once, though it is read each time.
    folder.put("users", "ann:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n");
    let complaints = || evenkeel.log().iter().filter(|line| line.contains("cannot be used")).count();
    soon("it is refused", &|| complaints() == 1);
    let line = evenkeel.log().into_iter().find(|line| line.contains("cannot be used")).unwrap();
    assert!(line.contains("staff") && line.contains("line 1") && !line.contains("lZL6V"), "{line}");
    assert_eq!(status("bob", "red"), 200);
    // Nor is it by a reload.
    let before = evenkeel.generation();
    evenkeel.reload_in_vain(&toml);
    assert_eq!((evenkeel.generation(), status("bob", "red")), (before, 200));
    thread::sleep(Duration::from_secs(6));
    assert_eq!(complaints(), 1);
    folder.put("users", &user("eve", "grey", 4));
    soon("eve is in it", &|| status("eve", "grey") == 200);
    assert_eq!(status("bob", "red"), 401);
}

#[test]
fn a_reload_remembers_who_was_let_in() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    // A hash takes some tenths of a second here: what is remembered takes none.
    let toml = site(&folder, &user("ann", "blue", 9), &backend).toml();
    let evenkeel = Process::spawn(&toml);
    let time = || {
        let mut client = evenkeel.client();
        let start = Instant::now();
        assert_eq!(client.exchange(get(&shown("ann", "blue"))).status, 200);
        start.elapsed()
    };
    let (first, second) = (time(), time());
    assert!(second < first / 4, "{first:?} {second:?}");
    evenkeel.reload(&toml.replace("workers = 2", "workers = 2\nvia = \"other\""));
    let third = time();
    assert!(third < first / 4, "{first:?} {third:?}");
}

/// As many passwords as are checked and wait at a time.
fn most() -> usize {
    let places = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    places * 65
}

#[test]
fn guessers_wait_in_a_queue_that_has_an_end_and_those_who_are_known_do_not_wait() {
    let (folder, backend) = (Folder::new(), Backend::ok("fine"));
    let site = site(&folder, &user("ann", "blue", 12), &backend);
    let evenkeel = site.server("trusted_proxies = [\"127.0.0.0/8\"]").start();
    let mut known = evenkeel.client();
    assert_eq!(known.exchange(get(&shown("ann", "blue"))).status, 200);
    let start = Instant::now();
    let mut guessers: Vec<_> = (0..most() + 40).map(|_| evenkeel.client()).collect();
    for (number, client) in guessers.iter_mut().enumerate() {
        // Each of another address: one alone gets a quarter of the queue.
        let from = format!("X-Forwarded-For: 10.0.{}.{}\r\n", number / 250, number % 250);
        client.send(get(&(from + &shown("ann", &number.to_string()))));
    }
    wait_full(evenkeel.address());
    let (mut slowest, began) = (Duration::ZERO, Instant::now());
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(known.exchange(get(&shown("ann", "blue"))).status, 200);
        slowest = slowest.max(asked.elapsed());
    }
    println!("sent in {:?}, slowest of 50 known ones {slowest:?}, all in {:?}", began - start, began.elapsed());
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // They leave: their places are free at once, though their hashes would have taken long.
    drop(guessers);
    let mut client = evenkeel.client();
    wait_for("there is room", || client.exchange(get(&shown("ann", "wrong"))).status == 401);
    assert_eq!(evenkeel.in_flight(), 0.0);
}

/// Waits until a password that is wrong is not even checked.
fn wait_full(address: std::net::SocketAddr) {
    // Each that is not refused waits itself, and fills the queue.
    let mut waiting = Vec::new();
    wait_for("further ones are refused", || {
        let mut client = Client::h1(address);
        let from = format!("X-Forwarded-For: 10.9.0.{}\r\n", waiting.len());
        client.send(get(&(from + &shown("ann", "wrong"))));
        let stream = client.writer();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if stream.peek(&mut [0]).is_err() {
            waiting.push(client);
            return false;
        }
        let answer = client.response();
        answer.assert_refused(503, "auth_unavailable");
        assert!(answer.field("retry-after").is_some());
        true
    });
}
