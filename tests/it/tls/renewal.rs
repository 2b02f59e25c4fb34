//! Certificates that change on disk, with and without a reload, and those that end soon.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// Certificates are looked at every five seconds, and a file is taken at the second look at the latest.
const SOON: Duration = Duration::from_secs(10);

/// Waits until `address` shows `der`, within the time that PRODUCT.md promises.
#[track_caller]
fn wait_shown(address: SocketAddr, authority: &Authority, der: &[u8]) {
    let start = Instant::now();
    while *connect(address, authority, "a.example").shown() != *der {
        assert!(start.elapsed() < SOON, "the new certificate is not shown");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_renewed_certificate_is_shown_within_ten_seconds_and_a_pair_that_is_none_is_kept_out() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    // As certbot and Kubernetes do: what the configuration names are links.
    for (folder, days) in [("one", 50), ("two", 90)] {
        std::fs::create_dir(authority.path(folder)).unwrap();
        authority.write(&format!("{folder}/a"), asked(&["a.example"]).days(days));
    }
    let der = |name: &str| {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_file(authority.path(name)).unwrap()
    };
    let (one, two) = (der("one/a.pem"), der("two/a.pem"));
    authority.link("live", "one");
    let evenkeel = spawn(&backend, &authority.listener(&[&authority.pair("live/a")], ""));
    let address = evenkeel.address();
    assert_eq!(connect(address, &authority, "a.example").shown(), one);
    let not_after = || evenkeel.metric("evenkeel_tls_certificate_not_after_timestamp_seconds", &[]);
    let before = not_after();
    assert!(before > 1.7e9);
    let mut kept = connect(address, &authority, "a.example");
    authority.link("live", "two");
    wait_shown(address, &authority, &two);
    assert_eq!(not_after() - before, 40.0 * 86_400.0);
    assert_eq!(kept.get("a.example", "").status, 200, "a connection with the old one goes on");

    // A certificate without its key: the old pair stays, and it is said once.
    let three = authority.issue(asked(&["a.example"]).days(90));
    authority.replace("two/a.pem", &three.cert);
    let complaints = || evenkeel.log().iter().filter(|line| line.contains("cannot be used")).count();
    wait_for("it is refused", || complaints() == 1);
    let line = evenkeel.log().into_iter().find(|line| line.contains("cannot be used")).unwrap();
    assert!(line.contains("live/a.pem") && line.contains("a.key"), "{line}");
    assert_eq!(connect(address, &authority, "a.example").shown(), two);
    // The next look finds the same, and does not say it again; then the key comes.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(complaints(), 1);
    authority.replace("two/a.key", &three.key);
    wait_shown(address, &authority, &three.der);
    assert_eq!(evenkeel.generation(), 1.0, "without a reload");
}

#[test]
fn a_reload_reads_certificates_at_once_and_refuses_what_is_no_pair() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    authority.write("a", asked(&["a.example"]));
    let toml = Setup::to(&[backend.address()]).listener(authority.listener(&[&authority.pair("a")], "")).toml();
    let port = Backend::refused();
    let toml = toml.replace(
        "name = \"web\"\naddress = \"127.0.0.1:0\"",
        &format!("name = \"web\"\naddress = \"{}\"", port.address()),
    );
    let evenkeel = Process::spawn(&toml);
    let new = authority.issue(asked(&["a.example"]));
    authority.put("a", &new);
    evenkeel.reload(&toml);
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").shown(), new.der);
    authority.replace("a.pem", &authority.issue(asked(&["a.example"])).cert);
    evenkeel.reload_in_vain(&toml);
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").shown(), new.der);
}

#[test]
fn an_end_that_is_near_is_said_and_one_that_has_come_is_an_error() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let pairs = [
        authority.write("far", asked(&["far.example"]).days(30)),
        authority.write("soon", asked(&["soon.example"]).days(10)),
        authority.write("over", asked(&["over.example"]).days(-1)),
    ];
    let pairs: Vec<_> = pairs.iter().map(String::as_str).collect();
    let evenkeel = spawn(&backend, &authority.listener(&pairs, ""));
    let said = |words: &[&str]| {
        let all = |line: &String| words.iter().all(|word| line.contains(word));
        evenkeel.log().iter().filter(|line| all(line)).count()
    };
    wait_for("both are said", || {
        said(&["WARN", "the certificate ends soon", "soon.pem"]) == 1
            && said(&["ERROR", "the certificate has expired", "over.pem"]) == 1
    });
    assert_eq!(said(&["the certificate", "far.pem"]), 0);
}

/// How long new pairs come, one a second.
const RENEWALS: usize = 12;

#[test]
fn no_handshake_fails_while_certificates_are_renewed() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    authority.write("a", asked(&["a.example"]));
    let evenkeel = spawn(&backend, &authority.listener(&[&authority.pair("a")], ""));
    let (address, done, fine) = (evenkeel.address(), AtomicBool::new(false), AtomicUsize::new(0));
    let shown = std::sync::Mutex::new(std::collections::HashSet::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    // A client of its own each time: nothing is resumed.
                    let mut secure = connect(address, &authority, "a.example");
                    assert_eq!(secure.get("a.example", "Connection: close\r\n").status, 200);
                    shown.lock().unwrap().insert(secure.shown().to_vec());
                    fine.fetch_add(1, SeqCst);
                }
            });
        }
        for _ in 0..RENEWALS {
            // The key first, then the certificate: a look between the two finds no pair.
            authority.put("a", &authority.issue(asked(&["a.example"])));
            // Not a wait for something: the pace of the renewals.
            thread::sleep(Duration::from_secs(1));
        }
        done.store(true, SeqCst);
    });
    let (fine, shown) = (fine.into_inner(), shown.into_inner().unwrap().len());
    println!("{fine} handshakes, {shown} certificates");
    assert!(fine > 100 && shown >= 2, "{fine} handshakes, {shown} certificates");
    let failed = evenkeel.metric("evenkeel_tls_handshake_failures_total", &[]);
    assert_eq!(failed, 0.0);
}
