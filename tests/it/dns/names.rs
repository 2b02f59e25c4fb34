//! A backend that is written as a name: one backend, whatever number of addresses it has.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;

use super::{Dns, backends, file, members, ports};
use crate::support::tls::{self, Authority, asked};
use crate::support::{Backend, Evenkeel, H2Backend, Load, Process, told, wait_for};

fn resolutions(evenkeel: &Evenkeel, result: &str) -> f64 {
    evenkeel.metric("evenkeel_dns_resolutions_total", &[("result", result)])
}

#[test]
fn a_name_is_one_backend_and_is_called_by_it() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    dns.set("app.internal", &["127.0.0.1"], 60);
    let address = format!("App.internal:{}", backend.address().port());
    let pool = format!("backends = [\"{address}\"]\npass_host = false");
    let evenkeel = Evenkeel::start(&file(&dns, &pool));
    assert_eq!(evenkeel.get("/").text(), "here", "the start has waited for the address");
    let host = backend.last().field("host").map(str::to_owned);
    assert_eq!(host, Some(address.to_ascii_lowercase()), "the Host is the name, not what it stands for");
    let said = &members(evenkeel.admin())[0];
    assert_eq!((&said["name"], &said["state"]), (&address.clone().into(), &"ready".into()), "{said}");
    assert_eq!(resolutions(&evenkeel, "ok"), 1.0);
    assert_eq!(resolutions(&evenkeel, "nxdomain"), 0.0);
    assert_eq!(dns.asked("app.internal"), 2, "once for each family");
    evenkeel.assert_no_failure();
}

#[test]
fn localhost_needs_no_server() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    let pool = format!("backends = [\"localhost:{}\"]", backend.address().port());
    // By the server of the file, and by the system's: neither is asked.
    for toml in [file(&dns, &pool), file(&dns, &pool).replace(&dns.line(), "")] {
        let evenkeel = Evenkeel::start(&toml);
        assert_eq!(evenkeel.get("/").text(), "here");
        assert_eq!(resolutions(&evenkeel, "ok"), 1.0);
    }
    assert_eq!(dns.all_asked(), 0);
}

#[test]
fn a_changed_answer_moves_traffic_without_a_failed_request() {
    let dns = Dns::start();
    let ([first, second], port) = backends(["127.0.0.2", "127.0.0.3"]);
    dns.set("app.internal", &["127.0.0.2"], 1);
    let evenkeel = Evenkeel::start(&file(&dns, &format!("backends = [\"app.internal:{port}\"]")));
    let load = Load::start(evenkeel.address(), 8);
    load.wait_for(100);
    assert_eq!(second.requests(), 0);
    dns.set("app.internal", &["127.0.0.3"], 1);
    wait_for("the second has traffic", || second.requests() > 0);
    wait_for("connections to the first have been closed", || first.open() == 0);
    let before = first.requests();
    load.wait_for(100);
    assert_eq!(first.requests(), before, "nothing goes where the name no longer points");
    // It is still the same backend.
    assert_eq!(members(evenkeel.admin()).len(), 1);
    load.stop().assert_all_fine();
    evenkeel.assert_no_failure();
}

#[test]
fn a_name_that_does_not_resolve_is_down_until_it_does() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    let check = "health_check = { type = \"tcp\", interval = \"20ms\", interval_down = \"20ms\" }";
    let pool = format!("backends = [\"app.internal:{}\"]\n{check}", backend.address().port());
    let evenkeel = Evenkeel::start(&file(&dns, &pool));
    evenkeel.get("/").assert_refused(503, "dns");
    let said = &members(evenkeel.admin())[0];
    assert_eq!((&said["state"], &said["reason"]), (&"down".into(), &"dns".into()), "{said}");
    assert!(resolutions(&evenkeel, "nxdomain") >= 1.0);
    assert_eq!(evenkeel.metric("evenkeel_backend_up", &[]), 0.0);
    assert_eq!(evenkeel.metric("evenkeel_all_down", &[("pool", "web")]), 1.0);
    // There is nobody to check.
    assert_eq!(evenkeel.metric("evenkeel_health_checks_total", &[]), 0.0);
    dns.set("app.internal", &[], 1);
    wait_for("the name is there, without addresses", || resolutions(&evenkeel, "empty") >= 1.0);
    evenkeel.get("/").assert_refused(503, "dns");
    dns.set("app.internal", &["127.0.0.1"], 1);
    wait_for("it is served", || evenkeel.get("/").status == 200);
    wait_for("it is checked", || evenkeel.metric("evenkeel_health_checks_total", &[("result", "pass")]) >= 1.0);
    assert_eq!(members(evenkeel.admin())[0]["state"], "ready");
    wait_for("all is counted", || evenkeel.in_flight() == 0.0);
    let failures = |labels| evenkeel.metric("evenkeel_failures_total", labels);
    // Between its first answer and the table that has it, nobody can serve, and the name is known.
    let known = failures(&[("reason", "dns")]) + failures(&[("reason", "no_backend")]);
    assert_eq!(known, failures(&[]), "nothing failed for another reason");
}

#[test]
fn a_pool_that_has_others_says_that_nobody_can_serve_and_falls_back_alike() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    let pool = format!("backends = [\"{}\", \"app.internal:80\"]", backend.address());
    let fallback = "[[route]]\npool = \"web\"\n[route.fallback.respond]\nstatus = 200\nbody = \"back soon\"\n";
    let evenkeel = Evenkeel::start(&file(&dns, &pool));
    for _ in 0..10 {
        assert_eq!(evenkeel.get("/").text(), "here", "a name without addresses gets nothing");
    }
    evenkeel.assert_no_failure();
    let check = "health_check = { type = \"tcp\", interval = \"20ms\", unhealthy_threshold = 1 }";
    let evenkeel = Evenkeel::start(&file(&dns, &format!("{pool}\n{check}")));
    backend.kill();
    wait_for("nobody is left", || evenkeel.get("/").word() == Some("no_backend"));
    let evenkeel = Evenkeel::start(&format!("{}{fallback}", file(&dns, "backends = [\"app.internal:80\"]")));
    assert_eq!(evenkeel.get("/").text(), "back soon");
}

#[test]
fn the_last_good_answer_stays_while_there_is_no_other() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    dns.set("app.internal", &["127.0.0.1"], 1);
    let pool = format!("backends = [\"app.internal:{}\"]", backend.address().port());
    let evenkeel = Process::spawn(&file(&dns, &pool));
    let count = |result: &str| evenkeel.metric("evenkeel_dns_resolutions_total", &[("result", result)]);
    let fine = |when: &str| assert_eq!(evenkeel.client().get("/").text(), "here", "{when}");
    let said = |text: &str| evenkeel.log().iter().filter(|line| line.contains(text)).count();
    fine("at first");
    dns.fail("app.internal");
    wait_for("the server has failed", || count("error") >= 1.0);
    fine("while the server fails");
    dns.remove("app.internal");
    wait_for("the name is gone", || count("nxdomain") >= 1.0);
    fine("while the name is gone");
    assert_eq!(said("the name does not resolve; its last answer is kept"), 1, "{:?}", evenkeel.log());
    dns.set("app.internal", &["127.0.0.1"], 1);
    wait_for("it is said that it resolves again", || said("the name resolves again") == 1);
    dns.die(true);
    wait_for("nobody has answered", || count("timeout") >= 1.0);
    fine("while nobody answers");
    assert_eq!(said("the name does not resolve; its last answer is kept"), 2, "{:?}", evenkeel.log());
    // A reload asks nobody for what is known.
    evenkeel.reload(&file(&dns, &format!("{pool}\nmax_connections = 100")));
    fine("after a reload");
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn an_address_that_is_dead_costs_a_moment_and_one_that_refuses_nothing() {
    for kind in ["refuses", "is silent"] {
        let dns = Dns::start();
        // IPv6 is tried first.
        let [dead, alive] = ports(["::1", "127.0.0.1"]);
        let port = alive.address().port();
        let _full = (kind == "is silent").then(|| dead.listen_full());
        let _backend = Backend::ok_on(alive, "here".to_owned());
        dns.set("app.internal", &["127.0.0.1", "::1"], 60);
        let pool =
            format!("backends = [\"app.internal:{port}\"]\nconnect_timeout = \"5s\"\nkeepalive = {{ max_idle = 0 }}");
        let evenkeel = Evenkeel::start(&file(&dns, &pool));
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(evenkeel.get("/").text(), "here", "{kind}");
            // 250 ms by the clock, and some for a machine that is busy: far from the time-out.
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(2), "the other address {kind}: {took:?}");
        }
        evenkeel.assert_no_failure();
    }
}

#[test]
fn all_addresses_of_a_name_get_connections() {
    let dns = Dns::start();
    let (all, port) = backends(["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    dns.set("app.internal", &["127.0.0.2", "127.0.0.3", "127.0.0.4"], 60);
    let pool = format!("backends = [\"app.internal:{port}\"]\nkeepalive = {{ max_idle = 0 }}");
    let evenkeel = Evenkeel::start(&file(&dns, &pool));
    for _ in 0..30 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    let counts = all.each_ref().map(Backend::requests);
    assert!(counts.iter().all(|count| *count >= 5), "in turn: {counts:?}");
    all[0].kill();
    for _ in 0..30 {
        assert_eq!(evenkeel.get("/").status, 200, "who refuses is passed over");
    }
    evenkeel.assert_no_failure();
}

#[test]
fn a_family_that_is_not_answered_for_leaves_the_other_alone() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    dns.lose("app.internal", RecordType::AAAA);
    dns.set("app.internal", &["127.0.0.1"], 60);
    let pool = format!("backends = [\"app.internal:{}\"]", backend.address().port());
    let evenkeel = Evenkeel::start(&file(&dns, &pool));
    assert_eq!(evenkeel.get("/").status, 200, "the start does not wait for it in vain");
    assert_eq!(resolutions(&evenkeel, "ok"), 1.0);
}

/// A backend that speaks TLS with a certificate for `name` alone; and the names that it was asked for.
fn secure(authority: &Authority, name: &str) -> (Backend, Arc<Mutex<Vec<Option<String>>>>) {
    let config = authority.server(&authority.issue(asked(&[name])), false);
    let names = Arc::<Mutex<Vec<Option<String>>>>::default();
    let noted = Arc::clone(&names);
    let backend = Backend::raw(move |conn, _| {
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &config) else { return };
        noted.lock().unwrap().push(wire.stream.conn.server_name().map(str::to_owned));
        while let Ok(Some(_)) = wire.head() {
            if wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").is_err() {
                return;
            }
        }
    });
    (backend, names)
}

#[test]
fn by_tls_the_name_is_asked_for_and_verified() {
    let (dns, authority) = (Dns::start(), Authority::new());
    let (backend, names) = secure(&authority, "app.internal");
    ["app.internal", "other.internal"].iter().for_each(|name| dns.set(name, &["127.0.0.1"], 60));
    let tls = format!("tls = {{ ca = {:?} }}", authority.path("ca.pem").display().to_string());
    let port = backend.address().port();
    let written = |name: &str| format!("backends = [\"{name}:{port}\"]\n{tls}");
    let found = |name: &str| format!("discover = {{ dns = \"{name}\", port = {port} }}\n{tls}");
    for pool in [written("app.internal"), written("app.internal."), found("app.internal")] {
        let check = "health_check = { type = \"https\", interval = \"20ms\" }";
        let evenkeel = Evenkeel::start(&file(&dns, &format!("{pool}\n{check}")));
        assert_eq!(evenkeel.get("/").text(), "fine", "{pool}");
        wait_for("it is checked", || evenkeel.metric("evenkeel_health_checks_total", &[("result", "pass")]) >= 1.0);
        assert_eq!(evenkeel.metric("evenkeel_health_checks_total", &[("result", "fail")]), 0.0);
    }
    assert!(names.lock().unwrap().iter().all(|name| name.as_deref() == Some("app.internal")), "{names:?}");
    for pool in [written("other.internal"), found("other.internal")] {
        Evenkeel::start(&file(&dns, &pool)).get("/").assert_refused(502, "backend_tls");
    }
}

#[test]
fn checks_call_the_name_and_follow_it() {
    let dns = Dns::start();
    let ([first, second], port) = backends(["127.0.0.2", "127.0.0.3"]);
    dns.set("app.internal", &["127.0.0.2"], 1);
    let check = "health_check = { type = \"http\", path = \"/health\", interval = \"20ms\", interval_down = \"20ms\" }";
    let evenkeel = Evenkeel::start(&file(&dns, &format!("backends = [\"app.internal:{port}\"]\n{check}")));
    let up = || evenkeel.metric("evenkeel_backend_up", &[]) == 1.0;
    wait_for("it is checked", || first.requests() >= 3);
    assert_eq!(first.last().field("host"), Some(format!("app.internal:{port}").as_str()));
    first.kill();
    wait_for("it is down", || !up());
    dns.set("app.internal", &["127.0.0.3"], 1);
    wait_for("it is up where the name points now", up);
    assert!(second.requests() >= 1);
    assert_eq!(evenkeel.get("/").text(), "127.0.0.3");
}

#[test]
fn a_shared_connection_follows_the_name_as_well() {
    let (dns, backend) = (Dns::start(), H2Backend::echo());
    dns.set("app.internal", &["127.0.0.1"], 1);
    let pool = format!("backends = [\"app.internal:{}\"]\nprotocol = \"h2\"", backend.address().port());
    let evenkeel = Evenkeel::start(&file(&dns, &pool).replace("workers = 2", "workers = 1"));
    for _ in 0..3 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 1);
    // Nobody is there.
    dns.set("app.internal", &["127.0.0.9"], 1);
    wait_for("the old connection is not used", || evenkeel.get("/").word() == Some("connect_refused"));
    dns.set("app.internal", &["127.0.0.1"], 1);
    wait_for("it is served again", || evenkeel.get("/").status == 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_reload_from_an_address_to_a_name_drops_nothing() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    dns.set("app.internal", &["127.0.0.1"], 60);
    let port = backend.address().port();
    let toml = |host: &str| file(&dns, &format!("backends = [\"{host}:{port}\"]"));
    let evenkeel = Process::spawn(&toml("127.0.0.1"));
    let load = Load::start(evenkeel.address(), 4);
    load.wait_for(50);
    for host in ["app.internal", "127.0.0.1", "app.internal."] {
        evenkeel.reload(&toml(host));
        load.wait_for(50);
    }
    load.stop().assert_all_fine();
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn a_reload_asks_again_for_what_is_not_known() {
    let (nobody, dns, backend) = (Dns::start(), Dns::start(), Backend::ok("here"));
    dns.set("app.internal", &["127.0.0.1"], 1);
    let pool = format!("backends = [\"app.internal:{}\"]", backend.address().port());
    let evenkeel = Process::spawn(&file(&nobody, &pool));
    wait_for("its waits have become long", || nobody.asked("app.internal") >= 6);
    evenkeel.client().get("/").assert_refused(503, "dns");
    evenkeel.reload(&file(&dns, &pool));
    assert_eq!(evenkeel.client().get("/").text(), "here", "another server is asked at once");
    dns.set("app.internal", &["127.0.0.1"], 60);
    let asked = dns.asked("app.internal");
    wait_for("it is asked from now on", || dns.asked("app.internal") >= asked + 2);
    nobody.set("app.internal", &["127.0.0.9"], 1);
    evenkeel.reload(&file(&nobody, &pool));
    assert_eq!(evenkeel.client().get("/").text(), "here", "what is known holds for its time");
}

#[test]
fn two_hundred_names_are_asked_for_once_each() {
    const NAMES: usize = 200;
    let dns = Dns::start();
    let names: Vec<_> = (0..NAMES).map(|number| format!("app-{number}.internal")).collect();
    names.iter().for_each(|name| dns.set(name, &["127.0.0.1"], 300));
    let list: Vec<_> = names.iter().map(|name| format!("{name}:9")).collect();
    let evenkeel = Evenkeel::start(&file(&dns, &format!("backends = {list:?}")));
    wait_for("all are known", || resolutions(&evenkeel, "ok") >= NAMES as f64);
    wait_for("all are up", || evenkeel.metric("evenkeel_backend_up", &[]) == NAMES as f64);
    let asked: Vec<_> = names.iter().map(|name| dns.asked(name)).collect();
    // A start that is cut after a second may ask for some of them once more.
    assert!(asked.iter().all(|times| (2..=4).contains(times)), "{asked:?}");
    assert_eq!(resolutions(&evenkeel, "error") + resolutions(&evenkeel, "timeout"), 0.0);
}

#[test]
fn a_name_that_the_file_has_no_more_is_not_asked_for() {
    let (dns, backend) = (Dns::start(), Backend::ok("here"));
    dns.set("app.internal", &["127.0.0.1"], 1);
    let port = backend.address().port();
    let evenkeel = Process::spawn(&file(&dns, &format!("backends = [\"app.internal:{port}\"]")));
    wait_for("it is asked for again and again", || dns.asked("app.internal") >= 6);
    evenkeel.reload(&file(&dns, &format!("backends = [\"127.0.0.1:{port}\"]")));
    let before = dns.asked("app.internal");
    dns.set("other.internal", &["127.0.0.1"], 1);
    evenkeel.reload(&file(&dns, &format!("backends = [\"other.internal:{port}\"]")));
    // By then the first would have been asked for, too.
    wait_for("another one is", || dns.asked("other.internal") >= 6);
    assert!(dns.asked("app.internal") <= before + 2, "but for a question that was on its way");
    assert_eq!(told(evenkeel.listener("admin"), "/api/v1/status")["generation"], 3);
}
