//! A backend that goes, and what becomes of its clients.

use super::*;

/// Fails over at once, and is not checked: what is killed stays in the table.
const RETRY: &str = "retry = { attempts = 3, backoff = { base = \"1ms\", max = \"1ms\" } }";

#[test]
fn instances_with_one_secret_agree_and_agree_on_the_next_one() {
    let (backends, secrets) = (backends(5), Secrets::new(&[ONE]));
    let keys = format!("{}\n{RETRY}", secrets.cookie(""));
    let (one, other) = (site(&backends, &keys).start(), site(&backends, &keys).start());
    let clients: Vec<_> = (0..20).map(|_| one.get("/")).collect();
    for first in &clients {
        let there = show(other.address(), &given(first));
        assert_eq!((place(&there), set(&there)), (place(first), None));
    }
    let gone = place(&clients[0]);
    backends[gone].kill();
    for first in &clients {
        let [here, there] = [&one, &other].map(|instance| show(instance.address(), &given(first)));
        assert_eq!(place(&here), place(&there), "both find the same one");
        let moved = place(first) == gone;
        assert_eq!((place(&here) != place(first), set(&here).is_some()), (moved, moved), "only its own clients move");
        if moved {
            let again = show(one.address(), &given(&there));
            assert_eq!((place(&again), set(&again)), (place(&here), None), "the cookie has moved with it");
        }
    }
    let moved = clients.iter().filter(|first| place(first) == gone).count();
    counted(|name, labels| other.metric(name, labels), [40 - moved, 0, moved, 0]);
}

#[test]
fn a_body_is_not_lost_on_a_move() {
    let named = |name: &'static str| Backend::http(move |request| Reply::ok([name.as_bytes(), &request.body].concat()));
    let (backends, secrets) = (["a", "b", "c"].map(named), Secrets::new(&[ONE]));
    let evenkeel = site(&backends, format!("{}\n{RETRY}", secrets.cookie(""))).start();
    let first = evenkeel.get("/");
    backends[place(&first)].kill();
    let body = "x".repeat(100_000);
    let post = format!("Cookie: {}\r\nContent-Length: {}\r\n", given(&first), body.len());
    let answer = evenkeel.client().exchange(request("POST", "test", "/", &post) + &body);
    assert_ne!(place(&answer), place(&first));
    assert!(answer.body[1..] == *body.as_bytes(), "{} bytes came back", answer.body.len());
    given(&answer);
}

#[test]
fn a_drained_backend_keeps_its_clients_and_one_in_maintenance_does_not() {
    let (backends, secrets) = (backends(3), Secrets::new(&[ONE]));
    let process = operated(&site(&backends, secrets.cookie("")));
    let first = process.client().get("/");
    let (home, cookie) = (place(&first), given(&first));
    order(&process, &backends[home], "drain");
    let again = show(process.address(), &cookie);
    assert_eq!((place(&again), set(&again)), (home, None));
    assert!((0..9).all(|_| place(&process.client().get("/")) != home), "nobody new comes");
    order(&process, &backends[home], "maintenance");
    let moved = show(process.address(), &cookie);
    assert_ne!(place(&moved), home);
    assert_eq!(place(&show(process.address(), &given(&moved))), place(&moved));
    order(&process, &backends[home], "ready");
    assert_eq!(place(&show(process.address(), &given(&moved))), place(&moved), "it has moved for good");
    counted(|name, labels| process.metric(name, labels), [3, 10, 1, 0]);
}

#[test]
fn weight_0_is_for_sticky_clients_alone() {
    let (backends, secrets) = (backends(2), Secrets::new(&[ONE]));
    let before = site(&backends, secrets.cookie(""));
    let process = Process::spawn(&before.toml());
    let first = (0..9).map(|_| process.client().get("/")).find(|answer| place(answer) == 0).unwrap();
    let address = format!("{:?}", backends[0].address().to_string());
    process.reload(&before.toml().replace(&address, &format!("{{ address = {address}, weight = 0 }}")));
    assert!((0..9).all(|_| place(&process.client().get("/")) == 1));
    assert_eq!(place(&show(process.address(), &given(&first))), 0);
}

#[test]
fn reject_gives_nobody_another_backend() {
    let (backends, secrets) = (backends(3), Secrets::new(&[ONE]));
    let keys = format!("{}\n{RETRY}", secrets.cookie(", fallback = \"reject\""));
    let process = operated(&site(&backends, keys));
    let first = process.client().get("/");
    let (home, cookie) = (place(&first), given(&first));
    backends[home].kill();
    let failed = show(process.address(), &cookie);
    failed.assert_refused(502, "connect_refused");
    assert_eq!(set(&failed), None);
    order(&process, &backends[home], "maintenance");
    show(process.address(), &cookie).assert_refused(503, "no_backend");
    assert_ne!(place(&show(process.address(), "evenkeel=forged")), home, "who has no place yet gets one");
    backends[home].restart();
    order(&process, &backends[home], "ready");
    let again = show(process.address(), &cookie);
    assert_eq!((place(&again), set(&again)), (home, None), "and nothing was lost");
    // The failed attempt was at its own backend.
    counted(|name, labels| process.metric(name, labels), [2, 1, 0, 1]);
}

#[test]
fn nobody_left_is_said_so() {
    let (backends, secrets) = (backends(1), Secrets::new(&[ONE]));
    let process = operated(&site(&backends, secrets.cookie("")));
    let cookie = given(&process.client().get("/"));
    order(&process, &backends[0], "drain");
    assert_eq!(show(process.address(), &cookie).status, 200);
    process.client().get("/").assert_refused(503, "no_backend");
}

#[test]
fn a_full_backend_lends_its_client_and_keeps_the_session() {
    let gate = Gate::default();
    let named = |name: &'static str| {
        let gate = gate.clone();
        Backend::http(move |request| {
            if request.target == "/slow" {
                gate.pass();
            }
            Reply::ok(name)
        })
    };
    let (backends, secrets) = (["a", "b"].map(named), Secrets::new(&[ONE]));
    let keys = format!("{}\nmax_connections = 1\nqueue = \"off\"", secrets.cookie(""));
    let evenkeel = site(&backends, keys).start();
    let first = evenkeel.get("/");
    let (home, cookie) = (place(&first), format!("Cookie: {}\r\n", given(&first)));
    // The answer is there a moment before its connection is: until then the backend is full.
    wait_for("its connection is free", || evenkeel.in_flight() == 0.0);
    let before = backends[home].requests();
    let mut slow = evenkeel.client();
    slow.send(request("GET", "test", "/slow", &cookie));
    wait_for("it is busy", || backends[home].requests() == before + 1);
    let lent = get(evenkeel.address(), &cookie);
    assert_ne!(place(&lent), home);
    assert_eq!(set(&lent), None);
    gate.open();
    assert_eq!(place(&slow.response()), home);
    wait_for("it has room again", || place(&get(evenkeel.address(), &cookie)) == home);
}
