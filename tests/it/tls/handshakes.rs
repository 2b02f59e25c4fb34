//! Handshakes that go well, are resumed, or fail.

use std::time::Duration;

use rustls::version::{TLS12, TLS13};

use super::*;
use crate::support::{Client, h2};

#[test]
fn versions_and_protocols_are_those_of_the_listener() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let pair = authority.write("a", asked(&["a.example"]));
    let evenkeel = start(&backend, &authority.listener(&[&pair], ""));
    let modern = start(&backend, &authority.listener(&[&pair], "min_version = \"1.3\"\nalpn = [\"http/1.1\"]\n"));
    for version in [&TLS12, &TLS13] {
        let mut config = authority.client_of(version);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        let secure = Secure::connect(evenkeel.address(), &Arc::new(config), "a.example").unwrap();
        assert_eq!(secure.session().alpn_protocol(), Some(&b"h2"[..]), "ours is the choice");
        assert_eq!(secure.session().protocol_version(), Some(version.version));
    }
    let mut secure = Secure::connect(modern.address(), &Arc::new(authority.client_of(&TLS13)), "a.example").unwrap();
    assert_eq!(secure.get("a.example", "").status, 200, "without ALPN it is HTTP/1.1");
    assert_eq!(secure.session().alpn_protocol(), None);
    assert!(Secure::connect(modern.address(), &Arc::new(authority.client_of(&TLS12)), "a.example").is_err());
    wait_for("it is counted", || failures(&modern, "version") == 1.0);
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(Secure::connect(modern.address(), &Arc::new(config), "a.example").is_err());
    wait_for("it is counted", || failures(&modern, "alpn") == 1.0);
    let mut config = authority.client();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut secure = Secure::connect(modern.address(), &Arc::new(config), "a.example").unwrap();
    secure.assert_closed_after(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
}

#[test]
fn http2_is_what_alpn_says() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let evenkeel = start(&backend, &authority.listener(&[&authority.write("a", asked(&["test"]))], ""));
    let mut config = authority.client();
    config.alpn_protocols = vec![b"h2".to_vec()];
    h2::run(async {
        let stream = tokio::net::TcpStream::connect(evenkeel.address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("test".try_into().unwrap(), stream).await.unwrap();
        let client = h2::over(stream).await;
        let request = http::Request::builder().uri("https://test/");
        let answer = h2::ask(&client, request, b"").await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "fine"));
    });
    assert_eq!(backend.last().field("x-forwarded-proto"), Some("https"));
}

#[test]
fn a_ticket_of_one_worker_is_good_for_all() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let evenkeel = start(&backend, &authority.listener(&[&authority.write("a", asked(&["a.example"]))], ""));
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client_of(version));
        assert!(!resumed(evenkeel.address(), &config, "a.example"));
        // The kernel deals connections out to both workers; each of them must know the ticket.
        assert!((0..32).all(|_| resumed(evenkeel.address(), &config, "a.example")), "{version:?}");
    }
    let busy = |worker| evenkeel.metric("evenkeel_worker_busy_seconds_total", &[("worker", worker)]);
    assert!(busy("0") > 0.0 && busy("1") > 0.0);
}

#[test]
fn a_session_outlives_a_reload_unless_other_clients_are_let_in() {
    let (authority, others, backend) = (Authority::new(), Authority::new(), Backend::ok("fine"));
    let pair = authority.write("a", asked(&["a.example"]));
    let address = Backend::refused().address();
    let toml = |more: &str| {
        let tls = authority.listener(&[&pair], more);
        let toml = Setup::to(&[backend.address()]).listener(tls).toml();
        toml.replace("name = \"web\"\naddress = \"127.0.0.1:0\"", &format!("name = \"web\"\naddress = \"{address}\""))
    };
    let optional = |ca: &Authority| format!("{}client_auth = \"optional\"\n", ca.client_ca());
    let evenkeel = Process::spawn(&toml(""));
    let config = Arc::new(authority.client());
    let resumed = || resumed(address, &config, "a.example");
    assert!(!resumed() && resumed());
    evenkeel.reload(&toml("min_version = \"1.3\"\n"));
    assert!(resumed(), "the same clients");
    evenkeel.reload(&toml(&optional(&authority)));
    assert!(!resumed() && resumed(), "clients are asked now");
    evenkeel.reload(&toml(&optional(&others)));
    assert!(!resumed() && resumed(), "others vouch for them");
    evenkeel.reload(&toml(""));
    assert!(!resumed());
}

#[test]
fn what_is_no_handshake_is_closed_and_counted_by_its_reason() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["a.example"]))], "");
    let evenkeel = start(&backend, &format!("header_timeout = \"300ms\"\n{tls}"));
    for reason in ["not_tls", "timeout", "closed", "version", "cipher", "client_certificate", "alpn", "certificate"] {
        let labels = [("listener", "web"), ("reason", reason)];
        assert_eq!(evenkeel.series("evenkeel_tls_handshake_failures_total", &labels), Some(0.0), "{reason}");
    }
    let mut plain = evenkeel.client();
    plain.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let rest = plain.rest();
    assert!(rest.is_empty() || rest[0] == 0x15, "nothing, or an alert: {rest:?}");
    wait_for("plain HTTP is counted", || failures(&evenkeel, "not_tls") == 1.0);
    Client::h1(evenkeel.address()).send([0x16, 3, 1, 0, 4, 5, 0, 0, 0]);
    wait_for("nonsense is counted", || failures(&evenkeel, "malformed") == 1.0);
    let mut half = evenkeel.client();
    half.send([0x16, 3, 1, 2, 0, 1]);
    half.leave();
    wait_for("one who leaves is counted", || failures(&evenkeel, "closed") == 1.0);
    let (mut slow, mut silent) = (evenkeel.client(), evenkeel.client());
    slow.send([0x16, 3, 1, 2, 0, 1]);
    slow.assert_closed();
    silent.assert_closed();
    wait_for("the slow are counted", || failures(&evenkeel, "timeout") == 2.0);
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").get("a.example", "").status, 200);
    wait_for("all have gone", || evenkeel.metric("evenkeel_listener_connections", &[("listener", "web")]) == 0.0);
    assert_eq!(backend.requests(), 1);
}

#[test]
fn the_time_of_the_first_head_counts_from_accept() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["a.example"]))], "");
    let evenkeel = start(&backend, &format!("header_timeout = \"400ms\"\n{tls}"));
    let mut secure = connect(evenkeel.address(), &authority, "a.example");
    let start = std::time::Instant::now();
    secure.assert_closed_after(b"");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_idle_connection_holds_little() {
    const COUNT: usize = 500;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let evenkeel = spawn(&backend, &authority.listener(&[&authority.write("a", asked(&["a.example"]))], ""));
    let config = Arc::new(authority.client());
    let idle = |count| {
        let connect = |_| {
            let mut secure = Secure::connect(evenkeel.address(), &config, "a.example").unwrap();
            assert_eq!(secure.get("a.example", "").status, 200);
            secure
        };
        (0..count).map(connect).collect::<Vec<_>>()
    };
    // What is needed once, whatever the number of connections, is there after these.
    let warm = idle(100);
    let before = evenkeel.resident();
    let clients = idle(COUNT);
    let each = evenkeel.resident().saturating_sub(before) / COUNT;
    println!("{each} bytes for each idle connection");
    assert!(each <= 16 * 1024, "{each} bytes for each idle connection");
    drop((warm, clients));
}

#[test]
fn names_and_versions_are_told() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["a.example"]))], "");
    let route = "[[route]]\nhost = \"a.example\"\npool = \"web\"\n\
                 request_headers = { set = { x-tls = \"{tls_version} {sni} {scheme}\" } }\n";
    let log = authority.path("access.log");
    let toml = Setup::to(&[backend.address()]).listener(format!("{tls}\n{route}")).toml();
    let toml = toml.replace("access = \"off\"", &format!("access = {:?}", log.display().to_string()));
    let evenkeel = Evenkeel::start(&toml);
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").get("a.example", "").status, 200);
    assert_eq!(backend.last().field("x-tls"), Some("TLSv1.3 a.example https"));
    let line = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for("the line is written", || line().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&line()).unwrap();
    assert_eq!((&line["tls_version"], &line["sni"]), (&"TLSv1.3".into(), &"a.example".into()), "{line}");
    assert_eq!((&line["scheme"], &line["host"]), (&"https".into(), &"a.example".into()), "{line}");
}

#[test]
fn a_listener_that_sends_everybody_to_https_stands_beside_it() {
    let (authority, backend) = (Authority::new(), Backend::ok("fine"));
    let tls = authority.listener(&[&authority.write("a", asked(&["a.example"]))], "");
    let plain = "[[listener]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\nredirect_to_https = true\n";
    let evenkeel = start(&backend, &format!("{tls}\n{plain}"));
    let answer = Client::h1(evenkeel.listener("plain")).exchange("GET /a?b HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert_eq!((answer.status, answer.field("location")), (308, Some("https://a.example/a?b")));
    assert_eq!(connect(evenkeel.address(), &authority, "a.example").get("a.example", "").status, 200);
}
