//! Backends that DNS knows: one for each address, coming and going with its answers.

use std::sync::Arc;

use hickory_proto::rr::RecordType;

use super::{Dns, backends, file, member_names, members};
use crate::support::tls::{Authority, Secure, asked};
use crate::support::{Backend, Evenkeel, Load, Process, told, wait_for};

fn discover(name: &str, port: u16) -> String {
    format!("discover = {{ dns = \"{name}\", port = {port} }}")
}

fn named(ips: &[&str], port: u16) -> Vec<String> {
    ips.iter().map(|ip| format!("{ip}:{port}")).collect()
}

#[test]
fn backends_come_and_go_without_a_failed_request() {
    let dns = Dns::start();
    let (all, port) = backends(["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    dns.set("api.local", &["127.0.0.2"], 1);
    let evenkeel = Process::spawn(&file(&dns, &discover("api.local", port)));
    let admin = evenkeel.listener("admin");
    assert_eq!(member_names(admin), named(&["127.0.0.2"], port), "the start has waited for the answer");
    let load = Load::start(evenkeel.address(), 8);
    load.wait_for(100);
    for ips in [&["127.0.0.2", "127.0.0.3", "127.0.0.4"][..], &["127.0.0.4"], &["127.0.0.3", "127.0.0.4"]] {
        dns.set("api.local", ips, 1);
        wait_for(&format!("the pool has {ips:?}"), || member_names(admin) == named(ips, port));
        load.wait_for(100);
        for backend in &all {
            let ip = backend.address().ip().to_string();
            let (is_in, before) = (ips.contains(&ip.as_str()), backend.requests());
            if is_in {
                wait_for(&format!("{ip} has traffic"), || backend.requests() > before);
            } else {
                wait_for(&format!("connections to {ip} are closed"), || backend.open() == 0);
            }
        }
    }
    load.stop().assert_all_fine();
    let status = told(admin, "/api/v1/status");
    assert_eq!(status["generation"], 1, "it is no reload");
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
    let log = evenkeel.log();
    let said = |text: &str| log.iter().any(|line| line.contains(text));
    assert!(said("pool web: 2 backends came, 0 went (dns)"), "{log:?}");
    assert!(said("pool web: 0 backends came, 2 went (dns)"), "{log:?}");
    assert!(said("pool web: 1 backend came, 0 went (dns)"), "{log:?}");
    // What has gone has no series any more.
    wait_for("the series of the one that went has gone", || {
        let gone = evenkeel.metric("evenkeel_backend_weight", &[("backend", &format!("127.0.0.2:{port}"))]);
        gone == 0.0
    });
}

#[test]
fn a_service_that_is_not_there_is_waited_for_and_never_forgotten() {
    let dns = Dns::start();
    let ([backend], port) = backends(["127.0.0.2"]);
    let evenkeel = Evenkeel::start(&file(&dns, &discover("api.local", port)));
    evenkeel.get("/").assert_refused(503, "dns");
    assert_eq!(members(evenkeel.admin()).len(), 0);
    dns.set("api.local", &["127.0.0.2"], 1);
    wait_for("it is served", || evenkeel.get("/").status == 200);
    let failed = |result: &str| evenkeel.metric("evenkeel_dns_resolutions_total", &[("result", result)]);
    let before = failed("nxdomain");
    dns.remove("api.local");
    wait_for("it is gone", || failed("nxdomain") > before);
    assert_eq!(evenkeel.get("/").status, 200, "the last good answer stays");
    assert!(backend.requests() >= 2);
}

#[test]
fn services_say_ports_weights_and_tiers() {
    let dns = Dns::start();
    let (light, heavy, spare) = (Backend::ok("light"), Backend::ok("heavy"), Backend::ok("spare"));
    let port = |backend: &Backend| backend.address().port();
    ["a.local", "b.local", "c.local"].iter().for_each(|name| dns.set(name, &["127.0.0.1"], 1));
    let service = "_api._tcp.local";
    let all = [
        (10, 0, port(&light), "a.local."),
        (10, 3, port(&heavy), "b.local."),
        (20, 5, port(&spare), "c.local."),
        (10, 1, 9, "nobody.local."),
    ];
    dns.set_srv(service, &all, 1);
    let evenkeel = Evenkeel::start(&file(&dns, &format!("discover = {{ srv = \"{service}\" }}")));
    assert_eq!(members(evenkeel.admin()).len(), 3, "a host that is not there is left out");
    for _ in 0..40 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    assert_eq!((light.requests(), heavy.requests(), spare.requests()), (10, 30, 0));
    dns.set_srv(service, &all[2..3], 1);
    wait_for("the spare one is all there is", || members(evenkeel.admin()).len() == 1);
    assert_eq!(evenkeel.get("/").text(), "spare");
    // One of its hosts cannot be asked for: part of a service is not the service.
    dns.fail("a.local");
    dns.set_srv(service, &all[..3], 1);
    wait_for("it fails", || evenkeel.metric("evenkeel_dns_resolutions_total", &[("result", "error")]) >= 1.0);
    assert_eq!(members(evenkeel.admin()).len(), 1);
    evenkeel.assert_no_failure();
}

#[test]
fn a_family_that_is_not_answered_for_stays_as_it_was() {
    let dns = Dns::start();
    dns.set("api.local", &["127.0.0.2", "::1"], 1);
    let evenkeel = Evenkeel::start(&file(&dns, &discover("api.local", 9)));
    assert_eq!(member_names(evenkeel.admin()), ["127.0.0.2:9", "[::1]:9"]);
    dns.lose("api.local", RecordType::AAAA);
    dns.set("api.local", &["127.0.0.3"], 1);
    wait_for("the other family is new", || member_names(evenkeel.admin()) == ["127.0.0.3:9", "[::1]:9"]);
}

#[test]
fn a_certificate_that_was_renewed_stays_when_others_are_discovered() {
    let (dns, authority) = (Dns::start(), Authority::new());
    let ([_backend], port) = backends(["127.0.0.2"]);
    dns.set("api.local", &["127.0.0.2"], 1);
    let pair = authority.write("a", asked(&["a.example"]).days(50));
    let tls = format!("[listener.tls]\ncertificates = [{pair}]\n\n[pool.web]");
    let evenkeel = Process::spawn(&file(&dns, &discover("api.local", port)).replace("[pool.web]", &tls));
    let config = Arc::new(authority.client());
    let shown = || Secure::connect(evenkeel.address(), &config, "a.example").unwrap().shown();
    let before = shown();
    let new = authority.issue(asked(&["a.example"]).days(90));
    authority.put("a", &new);
    wait_for("the new certificate is shown", || shown() != before);
    dns.set("api.local", &["127.0.0.2", "127.0.0.3"], 1);
    wait_for("another backend is there", || member_names(evenkeel.listener("admin")).len() == 2);
    assert_eq!(shown(), new.der);
}

#[test]
fn backends_of_the_file_win() {
    let dns = Dns::start();
    let (_all, port) = backends(["127.0.0.2", "127.0.0.3"]);
    dns.set("api.local", &["127.0.0.2", "127.0.0.3"], 60);
    let own = format!("backends = [{{ address = \"127.0.0.2:{port}\", name = \"own\", weight = 7 }}]");
    let evenkeel = Evenkeel::start(&file(&dns, &format!("{own}\n{}", discover("api.local", port))));
    assert_eq!(member_names(evenkeel.admin()), [&format!("127.0.0.3:{port}"), "own"]);
    assert_eq!(members(evenkeel.admin())[0]["weight"], 7);
}

#[test]
fn a_reload_keeps_what_was_discovered() {
    let dns = Dns::start();
    let (all, port) = backends(["127.0.0.2", "127.0.0.3"]);
    dns.set("api.local", &["127.0.0.2", "127.0.0.3"], 1);
    let pool = discover("api.local", port);
    let evenkeel = Process::spawn(&file(&dns, &pool));
    dns.die(true);
    let load = Load::start(evenkeel.address(), 4);
    load.wait_for(50);
    for most in [100, 200] {
        evenkeel.reload(&file(&dns, &format!("{pool}\nmax_connections = {most}")));
        assert_eq!(member_names(evenkeel.listener("admin")), named(&["127.0.0.2", "127.0.0.3"], port));
        load.wait_for(50);
    }
    load.stop().assert_all_fine();
    assert!(all.iter().all(|backend| backend.requests() > 0));
    assert_eq!(evenkeel.metric("evenkeel_failures_total", &[]), 0.0);
}

#[test]
fn an_answer_that_is_too_large_for_a_datagram_comes_by_tcp() {
    const MANY: usize = 120;
    let dns = Dns::start();
    let ips: Vec<_> = (1..=MANY).map(|last| format!("127.0.1.{last}")).collect();
    let ips: Vec<_> = ips.iter().map(String::as_str).collect();
    dns.set("api.local", &ips, 60);
    let evenkeel = Evenkeel::start(&file(&dns, &discover("api.local", 9)));
    wait_for("all are known", || members(evenkeel.admin()).len() == MANY);
    assert!(dns.asked_by_tcp() >= 1);
}

#[test]
fn plans_of_several_pools_are_made_at_most_once_a_second() {
    let dns = Dns::start();
    let ([backend], port) = backends(["127.0.0.2"]);
    let names: Vec<_> = (0..20).map(|number| format!("api-{number}.local")).collect();
    let pools: String = names[1..]
        .iter()
        .enumerate()
        .map(|(number, name)| {
            format!("[pool.p{number}]\n{}\nhealth_check = {{ type = \"off\" }}\n", discover(name, port))
        })
        .collect();
    let web = file(&dns, &discover(&names[0], port));
    let evenkeel = Process::spawn(&format!("{web}{pools}[[route]]\npool = \"web\"\n"));
    names.iter().for_each(|name| dns.set(name, &["127.0.0.2"], 60));
    let backends = || evenkeel.metric("evenkeel_backend_up", &[]);
    wait_for("all pools have theirs", || backends() == names.len() as f64);
    let said = || evenkeel.log().iter().filter(|line| line.contains("1 backend came, 0 went (dns)")).count();
    wait_for("a line for each pool", || said() == names.len());
    assert_eq!(evenkeel.client().get("/").text(), backend.address().ip().to_string());
}
