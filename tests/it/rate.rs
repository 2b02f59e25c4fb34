//! How many requests pass: `[rate_limit.NAME]` and `in_flight_limit` (PRODUCT.md sections 3, 7, 9, 10 and 12).

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::h2::{ask, connect, run, to};
use crate::support::{Backend, Client, Evenkeel, Gate, Load, Process, Reply, Response, Site, request, wait_for};

/// So slow that no test sees a token come back.
const SLOW: &str = "rate = \"1/h\"";

/// A file of its own, whose name nobody has yet.
fn file(name: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("rate-{}-{}-{name}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn limit(name: &str, lines: &str) -> String {
    format!("[rate_limit.{name}]\n{lines}\n")
}

fn route(lines: &str) -> String {
    format!("[[route]]\npool = \"web\"\n{lines}\n")
}

/// How many pass of `count` at `target` on one connection, before the first that does not.
fn passing(client: &mut Client, target: &str, count: usize) -> usize {
    (0..count).take_while(|_| client.get(target).status == 200).count()
}

/// `"NAME";r=…;t=…` of an answer.
#[track_caller]
fn left(answer: &Response, name: &str) -> (u64, u64) {
    let said = answer.field("ratelimit").unwrap();
    let rest = said.strip_prefix(&format!("\"{name}\";r=")).unwrap_or_else(|| panic!("{said}"));
    let (left, time) = rest.split_once(";t=").unwrap();
    (left.parse().unwrap(), time.parse().unwrap())
}

fn limited(evenkeel: &Evenkeel, name: &str) -> f64 {
    evenkeel.series("evenkeel_rate_limited_total", &[("limit", name)]).unwrap()
}

#[test]
fn answers_say_what_is_left_and_a_refusal_says_when() {
    let backend = Backend::http(|_| Reply::new("200 OK", "RateLimit: \"own\";r=9\r\n", "fine"));
    let log = file("access.log");
    let text = limit("per-ip", "key = \"client_ip\"\nrate = \"60/h\"\nburst = 3")
        + &limit("unused", "key = \"global\"\nrate = \"1/s\"")
        + &route("rate_limit = [\"per-ip\"]");
    let site = Site::new(text).log(format!("access = {log:?}"));
    let evenkeel = site.pool("web", backend.address()).start();
    assert_eq!((limited(&evenkeel, "per-ip"), limited(&evenkeel, "unused")), (0.0, 0.0));
    let mut client = evenkeel.client();
    for (number, wanted) in [(2, 60), (1, 120), (0, 60)].into_iter().enumerate() {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "fine"));
        assert_eq!(answer.field("ratelimit-policy"), Some("\"per-ip\";q=60;w=3600"));
        let all = answer.head.fields.all("ratelimit");
        assert_eq!(all.len(), 2, "the backend's own stands beside ours: {all:?}");
        let ours = all.iter().find(|value| value.starts_with("\"per-ip\"")).unwrap();
        let (left, time) = ours.strip_prefix("\"per-ip\";r=").unwrap().split_once(";t=").unwrap();
        let time: u64 = time.parse().unwrap();
        assert_eq!(left.parse(), Ok(wanted.0), "request {number}");
        // A machine that stands still takes off seconds.
        assert!(time <= wanted.1 && time + 20 > wanted.1, "{time} of {}", wanted.1);
        assert_eq!(answer.field("retry-after"), None);
    }
    let answer = client.get("/");
    answer.assert_refused(429, "rate_limited");
    let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((30..=60).contains(&seconds), "{seconds}");
    assert_eq!(left(&answer, "per-ip"), (0, seconds));
    assert_eq!(answer.field("ratelimit-policy"), Some("\"per-ip\";q=60;w=3600"));
    assert!(answer.text().contains("\"failure\":\"rate_limited\"") && answer.text().contains("\"status\":429"));
    client.get("/").assert_refused(429, "rate_limited");
    assert_eq!(backend.requests(), 3);
    assert_eq!(limited(&evenkeel, "per-ip"), 2.0);
    evenkeel.wait_failures("rate_limited", 2);
    wait_for("five lines are written", || fs::read_to_string(&log).unwrap_or_default().lines().count() == 5);
    let limits: Vec<_> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["limit"].as_str().map(str::to_owned))
        .collect();
    let per_ip = Some("per-ip".to_owned());
    assert_eq!(limits, [None, None, None, per_ip.clone(), per_ip]);
}

#[test]
fn failures_of_backends_and_answers_of_ours_say_it_as_well() {
    let dead = Backend::refused();
    let text = limit("all", "key = \"global\"\nrate = \"100/s\"")
        + &route("path = \"/dead\"\nrate_limit = \"all\"")
        + "[[route]]\npath = \"/own\"\nrespond = { status = 200, body = \"own\" }\nrate_limit = \"all\"\n"
        + &route("path = \"/free\"");
    let evenkeel = Site::new(text).pool("web", dead.address()).start();
    let mut client = evenkeel.client();
    for (target, status) in [("/dead", 502), ("/own", 200)] {
        let answer = client.get(target);
        assert_eq!((answer.status, answer.field("ratelimit-policy")), (status, Some("\"all\";q=100;w=1")));
        assert!(left(&answer, "all").0 >= 90);
    }
    let free = client.get("/free");
    assert_eq!((free.status, free.field("ratelimit-policy"), free.field("ratelimit")), (502, None, None));
}

#[test]
fn http2_and_calls_hear_of_it_in_their_own_words() {
    let backend = Backend::ok("fine");
    let gate = Gate::default();
    let busy = Backend::behind(&gate, "late");
    let text = limit("per-ip", &format!("key = \"client_ip\"\n{SLOW}\nburst = 2"))
        + &route("path = \"/*\"\nrate_limit = [\"per-ip\"]")
        + "[[route]]\npath = \"/busy\"\npool = \"busy\"\nin_flight_limit = { key = \"client_ip\", max = 1 }\n";
    let evenkeel = Site::new(text).pool("web", backend.address()).pool("busy", busy.address()).start();
    run(async {
        let client = connect(evenkeel.address()).await;
        let call = || to("POST", "/x").header("content-type", "application/grpc").header("te", "trailers");
        for expected in ["\"per-ip\";r=1;t=3600", "\"per-ip\";r=0;t=3"] {
            let answer = ask(&client, to("GET", "/"), b"").await.unwrap();
            assert_eq!(answer.status, 200);
            assert!(answer.fields["ratelimit"].to_str().unwrap().starts_with(expected));
            assert_eq!(answer.fields["ratelimit-policy"], "\"per-ip\";q=1;w=3600");
        }
        let answer = ask(&client, to("GET", "/"), b"").await.unwrap();
        assert_eq!(answer.status, 429);
        assert!(answer.fields["ratelimit"].to_str().unwrap().starts_with("\"per-ip\";r=0;t=3"));
        let answer = ask(&client, call(), b"").await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.fields["grpc-status"], "8");
        assert_eq!(answer.fields["grpc-message"], "rate_limited");
        assert!(answer.fields.contains_key("retry-after") && answer.fields.contains_key("ratelimit"));
    });
    let mut first = evenkeel.client();
    first.send(request("GET", "test", "/busy", ""));
    wait_for("it is in flight", || busy.requests() == 1);
    run(async {
        let client = connect(evenkeel.address()).await;
        let call = to("POST", "/busy").header("content-type", "application/grpc").header("te", "trailers");
        let answer = ask(&client, call, b"").await.unwrap();
        assert_eq!(answer.fields["grpc-status"], "8");
        assert_eq!(answer.fields["grpc-message"], "in_flight_limited");
        let answer = ask(&client, to("GET", "/busy"), b"").await.unwrap();
        assert_eq!(answer.status, 429);
        assert_eq!(answer.fields["retry-after"], "1");
    });
    gate.open();
    assert_eq!(first.response().text(), "late");
}

#[test]
fn two_workers_let_exactly_the_burst_pass() {
    let backend = Backend::ok("fine");
    let text = limit("all", &format!("key = \"global\"\n{SLOW}\nburst = 150")) + &route("rate_limit = \"all\"");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let address = evenkeel.address();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn(move || {
                let mut client = Client::h1(address);
                (0..25).filter(|_| client.get("/").status == 200).count()
            })
        })
        .collect();
    let passed: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!((passed, backend.requests()), (150, 150));
    assert_eq!(limited(&evenkeel, "all"), 250.0);
}

#[test]
fn routes_that_name_a_limit_share_it_unless_it_counts_by_route() {
    let backend = Backend::ok("fine");
    let text = limit("shared", &format!("key = \"client_ip\"\n{SLOW}\nburst = 3"))
        + &limit("own", &format!("key = [\"route\", \"client_ip\"]\n{SLOW}\nburst = 3"))
        + &["/a", "/b"].map(|path| route(&format!("path = {path:?}\nrate_limit = \"shared\""))).concat()
        + &["/c", "/d"].map(|path| route(&format!("path = {path:?}\nrate_limit = \"own\""))).concat();
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let mut client = evenkeel.client();
    assert_eq!((passing(&mut client, "/a", 2), passing(&mut client, "/b", 9)), (2, 1));
    assert_eq!((passing(&mut client, "/c", 9), passing(&mut client, "/d", 9)), (3, 3));
}

#[test]
fn keys_are_what_is_written_and_to_leave_one_out_is_no_way_past() {
    let backend = Backend::ok("fine");
    let by = |name: &str, key: &str| {
        limit(name, &format!("key = {key}\n{SLOW}\nburst = 2"))
            + &route(&format!("path = \"/{name}/*\"\nrate_limit = {name:?}"))
    };
    let text = by("header", "\"header:X-Key\"")
        + &by("cookie", "\"cookie:s\"")
        + &by("path", "\"path\"")
        + &by("both", "[\"header:X-Key\", \"path\"]")
        + &by("user", "\"claim:sub\"");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let mut client = evenkeel.client();
    let mut pass = |target: &str, lines: &str| {
        (0..9).take_while(|_| client.exchange(request("GET", "test", target, lines)).status == 200).count()
    };
    for (target, lines, wanted) in [
        ("/header/", "X-Key: a\r\n", 2),
        ("/header/", "x-key: a\r\n", 0),
        ("/header/", "X-Key: b\r\n", 2),
        ("/header/", "", 2),
        ("/header/x", "X-Key:\r\n", 0),
        ("/cookie/", "Cookie: t=1; s=7\r\n", 2),
        ("/cookie/", "Cookie: s=7\r\n", 0),
        ("/cookie/", "Cookie: s=8\r\n", 2),
        ("/path/a?x=1", "", 2),
        ("/path/./%61?x=2", "", 0),
        ("/path/b", "", 2),
        ("/both/a", "X-Key: a\r\n", 2),
        ("/both/b", "X-Key: a\r\n", 2),
        ("/both/b", "X-Key: c\r\n", 2),
        ("/both/b", "X-Key: a\r\n", 0),
        ("/user/", "", 2),
        ("/user/", "X-User: sub\r\n", 0),
    ] {
        assert_eq!(pass(target, lines), wanted, "{target} {lines}");
    }
}

#[test]
fn a_leaky_bucket_lets_through_one_by_one_and_lets_go_of_who_leaves() {
    let backend = Backend::ok("fine");
    let slow = "key = \"client_ip\"\nalgorithm = \"leaky_bucket\"\nrate = \"5/s\"\nmax_delay = \"600ms\"";
    let evenkeel =
        Site::new(limit("slow", slow) + &route("rate_limit = \"slow\"")).pool("web", backend.address()).start();
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| evenkeel.client()).collect();
    for (turn, client) in clients.iter_mut().enumerate() {
        client.send(request("GET", "test", "/", ""));
        wait_for("its turn is fixed", || evenkeel.in_flight() + backend.requests() as f64 >= turn as f64 + 1.0);
    }
    for (turn, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), "fine");
        let least = Duration::from_millis(200 * turn as u64);
        assert!(begun.elapsed() >= least, "{turn} came after {:?}", begun.elapsed());
    }
    // A bucket that is full for a while refuses; those who wait for their turn are let in, and who leaves is forgotten.
    let mut waiting: Vec<_> = (0..12).map(|_| evenkeel.client()).collect();
    waiting.iter_mut().for_each(|client| client.send(request("GET", "test", "/", "")));
    let leaving = waiting.pop();
    let statuses: Vec<_> = waiting.iter_mut().map(|client| client.response().status).collect();
    drop(leaving);
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    assert!(limited(&evenkeel, "slow") >= 1.0);
    wait_for("nobody waits any more", || evenkeel.in_flight() == 0.0);
}

#[test]
fn a_client_that_leaves_while_it_waits_is_not_sent_on() {
    let backend = Backend::ok("fine");
    let slow = "key = \"client_ip\"\nalgorithm = \"leaky_bucket\"\nrate = \"10/m\"\nmax_delay = \"1m\"";
    let text = limit("slow", slow) + &route("rate_limit = \"slow\"\nin_flight_limit = { key = \"global\", max = 1 }");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    assert_eq!(evenkeel.get("/").status, 200);
    wait_for("its place is free", || evenkeel.in_flight() == 0.0);
    let mut waits = evenkeel.client();
    waits.send(request("GET", "test", "/", ""));
    wait_for("it waits", || evenkeel.in_flight() == 1.0);
    evenkeel.get("/").assert_refused(429, "in_flight_limited");
    drop(waits);
    evenkeel.wait_failures("client_gone", 1);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn a_dry_run_says_nothing_but_to_its_operator() {
    let backend = Backend::ok("fine");
    let log = file("dry.log");
    let text = limit("dry", &format!("key = \"client_ip\"\n{SLOW}\ndry_run = true")) + &route("rate_limit = \"dry\"");
    let site = Site::new(text).log(format!("access = {log:?}"));
    let evenkeel = site.pool("web", backend.address()).start();
    let mut client = evenkeel.client();
    for _ in 0..4 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.field("ratelimit"), answer.field("ratelimit-policy")), (200, None, None));
    }
    assert_eq!(limited(&evenkeel, "dry"), 3.0);
    evenkeel.assert_no_failure();
    wait_for("lines are written", || fs::read_to_string(&log).unwrap_or_default().lines().count() == 4);
    assert_eq!(fs::read_to_string(&log).unwrap().matches("\"limit\":\"dry\"").count(), 3);
}

#[test]
fn keys_of_a_tier_have_more_and_their_file_may_change() {
    let backend = Backend::ok("fine");
    let keys = file("gold.keys");
    fs::write(&keys, "# gold\nkey-1\n").unwrap();
    let text = limit(
        "api",
        &format!(
            "key = \"header:x-api-key\"\n{SLOW}\nburst = 2\ntiers = [{{ name = \"gold\", keys = {{ file = {keys:?} }}, rate = \"2/h\", burst = 6 }}]"
        ),
    ) + &route("rate_limit = \"api\"");
    let evenkeel = Process::spawn(&Site::new(text).pool("web", backend.address()).toml());
    let mut client = evenkeel.client();
    let mut with = |key: &str| client.exchange(request("GET", "test", "/", &format!("X-Api-Key: {key}\r\n")));
    let mut passing = |key: &str| (0..9).take_while(|_| with(key).status == 200).count();
    assert_eq!((passing("key-1"), passing("key-2"), passing("# gold")), (6, 2, 2));
    fs::write(keys.with_extension("new"), "key-3\n").unwrap();
    fs::rename(keys.with_extension("new"), &keys).unwrap();
    let policy = |answer: &Response| answer.field("ratelimit-policy").unwrap().to_owned();
    wait_for("the new file is in force", || policy(&with("key-3")) == "\"api\";q=2;w=3600");
    assert_eq!(policy(&with("key-1")), "\"api\";q=1;w=3600");
    // One that cannot be read leaves the keys as they are, and is said once.
    fs::remove_file(&keys).unwrap();
    let told = |log: Vec<String>| log.iter().filter(|line| line.contains("cannot be read")).count();
    wait_for("the missing file is told of", || told(evenkeel.log()) == 1);
    assert_eq!(policy(&with("key-3")), "\"api\";q=2;w=3600");
}

#[test]
fn buckets_survive_reloads_that_change_all_but_the_key() {
    let backend = Backend::ok("fine");
    let with = |key: &str, rate: &str, burst: usize| {
        let text = limit("x", &format!("key = {key:?}\nrate = {rate:?}\nburst = {burst}"));
        Site::new(text + &route("rate_limit = \"x\"")).pool("web", backend.address()).toml()
    };
    let evenkeel = Process::spawn(&with("client_ip", "1/h", 5));
    let mut client = evenkeel.client();
    assert_eq!(passing(&mut client, "/", 9), 5);
    evenkeel.reload(&with("client_ip", "1/h", 7));
    assert_eq!(passing(&mut client, "/", 9), 2, "two more than five");
    evenkeel.reload(&with("client_ip", "2/h", 3));
    assert_eq!(passing(&mut client, "/", 9), 0);
    evenkeel.reload(&with("path", "2/h", 3));
    assert_eq!(passing(&mut client, "/", 9), 3, "what is counted by another key begins anew");
    evenkeel.reload_in_vain(&with("path", "nonsense", 3));
    assert_eq!(passing(&mut client, "/", 9), 0);
}

#[test]
fn reloads_under_load_refuse_nobody_who_keeps_to_the_limit() {
    let backend = Backend::ok("fine");
    let with = |rate: u32, keys: u32| {
        let text = limit(
            "x",
            &format!("key = [\"client_ip\", \"path\"]\nrate = \"{rate}/s\"\nburst = 1000000\nmax_keys = {keys}"),
        );
        let route = route("rate_limit = \"x\"\nin_flight_limit = { key = \"client_ip\", max = 1000 }");
        Site::new(text + &route).pool("web", backend.address()).toml()
    };
    let evenkeel = Process::spawn(&with(1_000_000, 1_000));
    let load = Load::start(evenkeel.address(), 8);
    for turn in 0..10 {
        load.wait_for(100);
        evenkeel.reload(&with(1_000_000 - turn, 1_000 << (turn % 5)));
    }
    load.wait_for(100);
    load.stop().assert_all_fine();
}

#[test]
fn what_is_in_flight_is_bounded_over_workers_and_given_back_however_it_ends() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let text = route("in_flight_limit = { key = \"client_ip\", max = 4 }");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let mut clients: Vec<_> = (0..12).map(|_| evenkeel.client()).collect();
    clients.iter_mut().for_each(|client| client.send(request("GET", "test", "/", "")));
    evenkeel.wait_failures("in_flight_limited", 8);
    wait_for("four are at the backend", || backend.requests() == 4);
    // One of those who were let in leaves: another may come.
    let place = clients.iter_mut().position(|client| client.silent_for(Duration::from_millis(20))).unwrap();
    drop(clients.remove(place));
    evenkeel.wait_failures("client_gone", 1);
    let mut next = evenkeel.client();
    next.send(request("GET", "test", "/", ""));
    wait_for("its place is taken", || backend.requests() == 5);
    let refused = evenkeel.get("/");
    refused.assert_refused(429, "in_flight_limited");
    assert_eq!(refused.field("retry-after"), Some("1"));
    gate.open();
    assert_eq!(next.response().text(), "late");
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.response().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 3, "{statuses:?}");
    wait_for("all have ended", || evenkeel.in_flight() == 0.0);
    assert_eq!((0..9).filter(|_| evenkeel.get("/").status == 200).count(), 9);
}

#[test]
fn a_tunnel_is_in_flight_while_it_lives() {
    let backend = Backend::raw(|conn, _| {
        let Some(_) = conn.head() else { return };
        conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
        conn.wait_closed();
    });
    let text = route("in_flight_limit = { key = \"client_ip\", max = 1 }");
    let evenkeel = Site::new(text).pool("web", backend.address()).start();
    let opening = request(
        "GET",
        "test",
        "/",
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    let mut tunnel = evenkeel.client();
    tunnel.send(&opening);
    assert_eq!(tunnel.head().status().unwrap(), 101);
    evenkeel.get("/").assert_refused(429, "in_flight_limited");
    tunnel.wire.stream.write_all(b"x").unwrap();
    drop(tunnel);
    wait_for("the tunnel has ended", || evenkeel.in_flight() == 0.0);
    let mut again = evenkeel.client();
    again.send(&opening);
    assert_eq!(again.head().status().unwrap(), 101);
    again.finish();
    let mut rest = Vec::new();
    let _ = again.wire.stream.read_to_end(&mut rest);
}
