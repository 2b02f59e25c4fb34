//! The PROXY protocol: who the client is, as the proxy in front of us says, and as we say to the backends; by sockets of
//! our own, and with HAProxy and nginx where they are installed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use std::{fs, process, thread};

use serde_json::Value;

use crate::support::{Backend, Client, Evenkeel, H2Backend, Reply, Setup, Site, h2, wait_for};

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\", \"unix\"]";
const V1: &str = "PROXY TCP4 192.0.2.1 203.0.113.9 56324 443\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// The addresses of [`V1`].
const IPV4: [u8; 12] = [192, 0, 2, 1, 203, 0, 113, 9, 0xdc, 0x04, 0x01, 0xbb];

/// The additions of a proxy whose client came over TLS.
fn over_tls() -> Vec<u8> {
    let ssl = [&[3, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3")].concat();
    [tlv(1, b"http/1.1"), tlv(2, b"shop.test"), tlv(0x20, &ssl)].concat()
}

/// A configuration whose listener wants headers, of peers on this host.
fn believing(backend: &Backend) -> Setup {
    Setup::to(&[backend.address()]).server(TRUSTED).listener("proxy_protocol = true")
}

fn closed(evenkeel: &Evenkeel) -> f64 {
    evenkeel.metric("evenkeel_connections_closed_total", &[("listener", "web"), ("reason", "proxy_protocol")])
}

/// A client whose first bytes are `header`.
fn behind(evenkeel: &Evenkeel, header: impl AsRef<[u8]>) -> Client {
    let mut client = evenkeel.client();
    client.send(header);
    client
}

fn scratch(name: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("proxy-protocol-{name}-{}-{}", process::id(), NUMBER.fetch_add(1, SeqCst));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn a_header_says_who_the_client_is() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).start();
    let mut block = [0; 36];
    block[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    (block[15], block[31], block[35]) = (7, 1, 80);
    for (header, source, port) in [
        (V1.as_bytes().to_vec(), "192.0.2.1", "443"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 80\r\n".to_vec(), "2001:db8::7", "80"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 80\r\n".to_vec(), "192.0.2.1", "80"),
        (v2(0x21, 0x11, &IPV4), "192.0.2.1", "443"),
        (v2(0x21, 0x21, &block), "2001:db8::7", "80"),
    ] {
        let mut client = behind(&evenkeel, [&header[..], GET.as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        // It holds for the whole connection.
        assert_eq!(client.get("/again").status, 200);
        for seen in backend.seen().drain(..) {
            assert_eq!(seen.head.fields.all("x-forwarded-for"), [source]);
            assert_eq!(seen.head.fields.all("x-forwarded-port"), [port]);
            assert_eq!(seen.head.fields.all("x-forwarded-proto"), ["http"]);
        }
    }
    assert_eq!(closed(&evenkeel), 0.0);
}

#[test]
fn routes_templates_and_the_log_know_the_client() {
    let (backend, log) = (Backend::ok("fine"), scratch("log"));
    let text = "[[route]]\nclient_ip = \"192.0.2.0/24\"\nrespond = { status = 200, body = \"{client_ip} {tls_version} {sni}\" }\n\
                [[route]]\npool = \"web\"\n";
    let site = Site::new(text).pool("web", backend.address()).server(TRUSTED);
    let site = site.listener("proxy_protocol = true").log(format!("access = {log:?}"));
    let evenkeel = Evenkeel::start(&site.toml());
    let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls()].concat());
    let answer = behind(&evenkeel, header).exchange(GET);
    assert_eq!(answer.text(), "192.0.2.1 TLSv1.3 shop.test");
    let line = || fs::read_to_string(&log).unwrap_or_default();
    wait_for("the line is written", || line().ends_with('\n'));
    let line: Value = serde_json::from_str(&line()).unwrap();
    for (key, value) in [
        ("client_ip", "192.0.2.1"),
        ("peer_ip", "127.0.0.1"),
        ("scheme", "https"),
        ("tls_version", "TLSv1.3"),
        ("sni", "shop.test"),
    ] {
        assert_eq!(line[key], value, "{line:#}");
    }
    fs::remove_file(&log).unwrap();
}

#[test]
fn a_client_that_came_to_its_proxy_over_tls_is_secure() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).listener("redirect_to_https = true").start();
    assert_eq!(behind(&evenkeel, V1).exchange(GET).status, 308);
    let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls()].concat());
    assert_eq!(behind(&evenkeel, header).exchange(GET).status, 200);
    assert_eq!(backend.last().head.fields.all("x-forwarded-proto"), ["https"]);
}

#[test]
fn a_proxy_that_speaks_for_itself_is_the_client() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).start();
    let port = evenkeel.address().port().to_string();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x20, 0, &[]), v2(0x21, 0x31, &[b'/'; 216])] {
        assert_eq!(behind(&evenkeel, header).exchange(GET).status, 200);
        assert_eq!(backend.last().head.fields.all("x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(backend.last().head.fields.all("x-forwarded-port"), [port.as_str()]);
    }
}

#[test]
fn whether_a_chain_is_believed_depends_on_the_client_not_on_its_proxy() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).start();
    let request = "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n";
    behind(&evenkeel, V1).exchange(request);
    assert_eq!(backend.last().head.fields.all("x-forwarded-for"), ["192.0.2.1"], "a stranger's claim");
    behind(&evenkeel, "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n").exchange(request);
    assert_eq!(backend.last().head.fields.all("x-forwarded-for"), ["198.51.100.1, 127.0.0.1"]);
}

#[test]
fn strangers_are_closed_at_once() {
    let backend = Backend::ok("fine");
    let setup = Setup::to(&[backend.address()]).server("trusted_proxies = [\"192.0.2.0/24\"]");
    let evenkeel = setup.listener("proxy_protocol = true\nheader_timeout = \"off\"").start();
    evenkeel.client().assert_closed();
    behind(&evenkeel, [V1, GET].concat()).assert_closed();
    wait_for("both are counted", || closed(&evenkeel) == 2.0);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn without_a_header_there_is_no_answer() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).listener("header_timeout = \"off\"").start();
    let wrong = [
        GET.as_bytes().to_vec(),
        b"PROXY TCP4 192.0.2.1 203.0.113.9 056324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 203.0.113.9 56324 443\n".to_vec(),
        b"\x16\x03\x01\x02\x00".to_vec(),
        v2(0x31, 0x11, &IPV4),
        v2(0x21, 0x11, &[&IPV4[..], &tlv(3, &[0; 4])].concat()),
        v2(0x21, 0x11, &IPV4[..11]),
    ];
    for bytes in &wrong {
        behind(&evenkeel, bytes).assert_closed();
    }
    wait_for("all are counted", || closed(&evenkeel) == wrong.len() as f64);
    // Cut short counts; only looking does not.
    let mut client = behind(&evenkeel, &V1[..20]);
    client.finish();
    client.assert_closed();
    let mut client = evenkeel.client();
    client.finish();
    client.assert_closed();
    wait_for("the connections are gone", || evenkeel.metric("evenkeel_listener_connections", &[]) == 0.0);
    assert_eq!(closed(&evenkeel), wrong.len() as f64 + 1.0);
    assert_eq!(backend.requests(), 0);
    assert_eq!(behind(&evenkeel, V1).exchange(GET).status, 200, "others are served");
}

#[test]
fn a_header_has_its_time() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).listener("header_timeout = \"300ms\"").start();
    behind(&evenkeel, &V1[..20]).assert_closed();
    wait_for("it is counted", || closed(&evenkeel) == 1.0);
    // The request's head shares it: the answer to a slow one is 408.
    behind(&evenkeel, [V1, "GET / HT"].concat()).response().assert_refused(408, "request_timeout");
}

#[test]
fn a_header_may_come_in_pieces() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).start();
    let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls()].concat());
    let mut client = evenkeel.client();
    for byte in [&header[..], GET.as_bytes()].concat() {
        client.send([byte]);
    }
    assert_eq!(client.response().status, 200);
    assert_eq!(backend.last().field("x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn large_bodies_go_through_as_ever() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = believing(&backend).start();
    let body: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    let mut client = behind(&evenkeel, V1);
    let answer = client.with_body("POST", "/", &body);
    assert!(answer.status == 200 && answer.body == body, "{} bytes came back", answer.body.len());
}

#[test]
fn http_2_follows_a_header_too() {
    let backend = Backend::ok("fine");
    let evenkeel = believing(&backend).start();
    h2::run(async {
        let mut stream = tokio::net::TcpStream::connect(evenkeel.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, V1.as_bytes()).await.unwrap();
        let (client, connection) = ::h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(async move { drop(connection.await) });
        assert_eq!(h2::ask(&client, h2::to("GET", "/"), b"").await.unwrap().status, 200);
    });
    assert_eq!(backend.last().field("x-forwarded-for"), Some("192.0.2.1"));
}

/// One exchange over the unix socket at `path`; the connection ends after it.
fn over_unix(path: &Path, header: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(&[header, b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_proxy_may_come_over_a_unix_socket() {
    let (backend, path) = (Backend::ok("fine"), scratch("in.sock"));
    let address = format!("\"unix:{}\"", path.display());
    let toml = believing(&backend)
        .toml()
        .replace("name = \"web\"\naddress = \"127.0.0.1:0\"", &format!("address = {address}"));
    let evenkeel = Evenkeel::start(&toml);
    let answer = over_unix(&path, V1.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(backend.last().field("x-forwarded-for"), Some("192.0.2.1"));
    evenkeel.stop();
}

#[test]
fn a_connection_that_waits_for_its_header_does_not_hold_a_drain_up() {
    let backend = Backend::ok("fine");
    let setup = believing(&backend).listener("header_timeout = \"off\"").server("drain_timeout = \"1h\"");
    let mut evenkeel = setup.spawn();
    let mut client = Client::h1(evenkeel.listener("web"));
    client.send(&V1[..20]);
    wait_for("it is accepted", || evenkeel.metric("evenkeel_listener_connections", &[]) == 1.0);
    evenkeel.signal("TERM");
    client.assert_closed();
    assert_eq!(evenkeel.wait().code(), Some(0));
}

/// What the backend got on its connections before the requests.
fn headers(backend: &Backend) -> Vec<Vec<u8>> {
    let request = b"GET /";
    let before = |record: Vec<u8>| {
        let end = record.windows(request.len()).position(|bytes| bytes == request).unwrap_or(record.len());
        record[..end].to_vec()
    };
    backend.records().into_iter().map(before).collect()
}

/// A backend that takes a header of either version and then requests.
fn expecting() -> Backend {
    Backend::raw(|conn, _| {
        if conn.wire.exact(1).is_ok_and(|first| first == b"P") {
            let _ = conn.wire.line();
        } else if let Ok(fixed) = conn.wire.exact(15) {
            let _ = conn.wire.exact(usize::from(u16::from_be_bytes([fixed[13], fixed[14]])));
        }
        while let Some(request) = conn.request() {
            if !conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                request.target.len(),
                request.target
            )) {
                break;
            }
        }
    })
}

#[test]
fn backends_are_told_who_the_client_is() {
    for version in ["v1", "v2"] {
        let backend = expecting();
        let setup = Setup::to(&[backend.address()]).pool(format!("send_proxy_protocol = \"{version}\""));
        let evenkeel = setup.start();
        let mut client = evenkeel.client();
        let (from, to) = (client.wire.stream.local_addr().unwrap().port(), evenkeel.address().port());
        assert_eq!(client.get("/first").text(), "/first");
        let wanted = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes(),
            _ => {
                let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
                v2(0x21, 0x11, &[&[127, 0, 0, 1, 127, 0, 0, 1], &ports[..]].concat())
            }
        };
        assert_eq!(headers(&backend), [wanted], "{version}");
    }
}

#[test]
fn a_connection_with_a_header_is_never_used_again() {
    let backend = expecting();
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool("send_proxy_protocol = \"v1\"").start();
    let (mut one, mut other) = (evenkeel.client(), evenkeel.client());
    for client in [&mut one, &mut other] {
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200);
        }
    }
    assert_eq!(backend.connections(), 6);
    let port = |client: &Client| client.wire.stream.local_addr().unwrap().port();
    let (to, wanted) =
        (evenkeel.address().port(), [port(&one), port(&one), port(&one), port(&other), port(&other), port(&other)]);
    let wanted = wanted.map(|from| format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes());
    assert_eq!(headers(&backend), wanted);
    wait_for("none is kept", || backend.open() == 0);
}

#[test]
fn connections_that_were_kept_before_a_reload_are_not_used_with_headers() {
    let plain = |text: &str| Setup::to(&["127.0.0.1:1".parse().unwrap()]).one_worker().pool(text).toml();
    let backend = Backend::raw(|conn, number| {
        if number > 0 {
            let _ = conn.wire.line();
        }
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
        }
    });
    let to = |text: &str| plain(text).replace("127.0.0.1:1\"", &format!("{}\"", backend.address()));
    let evenkeel = crate::support::Process::spawn(&to(""));
    let mut client = Client::h1(evenkeel.listener("web"));
    assert_eq!(client.get("/").status, 200);
    evenkeel.reload(&to("send_proxy_protocol = \"v1\""));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(backend.connections(), 2);
    assert!(backend.records()[1].starts_with(b"PROXY TCP4 127.0.0.1 "));
}

/// Takes a line of version 1, and passes on what follows.
fn stripping(to: SocketAddr) -> Backend {
    Backend::raw(move |conn, _| {
        let _ = conn.wire.line();
        let Ok(mut up) = TcpStream::connect(to) else { return };
        let (mut down, mut out) = (up.try_clone().unwrap(), conn.wire.stream.try_clone().unwrap());
        let back = thread::spawn(move || {
            let _ = io::copy(&mut down, &mut out);
            let _ = out.shutdown(Shutdown::Write);
        });
        while !conn.wire.pending().is_empty() || conn.wire.fill().is_ok_and(|read| read > 0) {
            let bytes = conn.wire.exact(conn.wire.pending().len()).unwrap();
            if up.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = up.shutdown(Shutdown::Write);
        let _ = back.join();
    })
}

#[test]
fn connections_by_http_2_are_not_shared_between_clients() {
    let behind = H2Backend::echo();
    let backend = stripping(behind.address());
    let pool = "protocol = \"h2\"\nsend_proxy_protocol = \"v1\"";
    let evenkeel = Setup::to(&[backend.address()]).one_worker().pool(pool).start();
    let (mut one, mut other) = (evenkeel.client(), evenkeel.client());
    for turn in 0..3 {
        let client = if turn == 1 { &mut other } else { &mut one };
        assert_eq!(client.get("/").text(), "GET / ");
    }
    // Streams of one client do not share either, not even while they wait for a connection.
    h2::run(async {
        let client = h2::connect(evenkeel.address()).await;
        let ask = || h2::ask(&client, h2::to("GET", "/"), b"");
        let (first, second) = tokio::join!(ask(), ask());
        assert_eq!((first.unwrap().status, second.unwrap().status), (200, 200));
    });
    assert_eq!((behind.requests(), backend.connections()), (5, 5));
    for (record, client) in backend.records().iter().zip([&one, &other, &one]) {
        let from = client.wire.stream.local_addr().unwrap().port();
        let wanted =
            format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {}\r\nPRI * HTTP/2.0\r\n", evenkeel.address().port());
        assert!(record.starts_with(wanted.as_bytes()), "{:?}", record.escape_ascii().to_string());
    }
    wait_for("none is kept", || backend.open() == 0);
}

#[test]
fn what_we_were_told_is_passed_on() {
    let backend = expecting();
    let evenkeel = believing(&backend).pool("send_proxy_protocol = \"v2\"").start();
    let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls(), &tlv(4, b"padding")].concat());
    assert_eq!(behind(&evenkeel, header).exchange(GET).status, 200);
    // That a certificate was verified is said of the connection and of its session: both may be meant.
    let ssl = [&[7, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3")].concat();
    let tlvs = [tlv(1, b"http/1.1"), tlv(2, b"shop.test"), tlv(0x20, &ssl)].concat();
    assert_eq!(headers(&backend), [v2(0x21, 0x11, &[&IPV4[..], &tlvs].concat())]);
}

#[test]
fn a_client_on_a_unix_socket_has_no_address_to_tell() {
    for (version, wanted) in [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", v2(0x20, 0, &[]))] {
        let (backend, path) = (expecting(), scratch("out.sock"));
        let address = format!("address = \"unix:{}\"", path.display());
        let setup = Setup::to(&[backend.address()]).pool(format!("send_proxy_protocol = \"{version}\""));
        let toml = setup.toml().replace("name = \"web\"\naddress = \"127.0.0.1:0\"", &address);
        let evenkeel = Evenkeel::start(&toml);
        assert!(over_unix(&path, b"").starts_with("HTTP/1.1 200"));
        assert_eq!(headers(&backend), [wanted], "{version}");
        evenkeel.stop();
    }
}

#[test]
fn the_address_that_was_called_is_told_behind_a_wildcard() {
    let backend = expecting();
    let setup = Setup::to(&[backend.address()]).pool("send_proxy_protocol = \"v1\"");
    for (listening, family, called) in
        [("0.0.0.0:0", "TCP4", "127.0.0.1"), ("[::]:0", "TCP4", "127.0.0.1"), ("[::]:0", "TCP6", "::1")]
    {
        let toml = setup.toml().replace(
            "name = \"web\"\naddress = \"127.0.0.1:0\"",
            &format!("name = \"web\"\naddress = \"{listening}\""),
        );
        let evenkeel = Evenkeel::start(&toml);
        let port = evenkeel.address().port();
        let mut client = Client::h1(SocketAddr::new(called.parse().unwrap(), port));
        let from = client.wire.stream.local_addr().unwrap().port();
        assert_eq!(client.get("/").status, 200);
        let wanted = format!("PROXY {family} {called} {called} {from} {port}\r\n").into_bytes();
        assert_eq!(headers(&backend).last(), Some(&wanted));
    }
}

#[test]
fn checks_say_that_they_are_our_own() {
    let check = |kind: &str| format!("health_check = {{ type = {kind:?}, interval = \"50ms\" }}");
    for (version, wanted) in [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", v2(0x20, 0, &[]))] {
        for kind in ["tcp", "http"] {
            let backend = expecting();
            let pool = format!("send_proxy_protocol = \"{version}\"\n{}", check(kind));
            let evenkeel = Setup::to(&[backend.address()]).pool(pool).start();
            let passed = || evenkeel.metric("evenkeel_health_checks_total", &[("result", "pass")]);
            wait_for("a check has passed", || passed() > 0.0);
            wait_for("its bytes have come", || headers(&backend)[0].len() >= wanted.len());
            assert_eq!(headers(&backend)[0], wanted, "{version} {kind}");
        }
    }
}

/// A server of others, on a port of ours; killed with its value.
struct Server {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
    _port: crate::support::Port,
}

impl Server {
    /// Runs `program` with its configuration, in which `PORT` is its port and `DIR` a directory of its own; `None`, said
    /// loudly, where it is not installed. `arguments` come before the configuration's file.
    fn start(program: &str, arguments: &[&str], configuration: &str) -> Option<Self> {
        let (port, directory) = (Backend::refused(), scratch(program));
        let address = port.address();
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("configuration");
        let text = configuration.replace("PORT", &address.port().to_string());
        fs::write(&path, text.replace("DIR", directory.to_str().unwrap())).unwrap();
        let mut command = Command::new(format!("/usr/sbin/{program}"));
        command.args(arguments).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not by a macro: those are silent in a test that passes.
                let skipped = format!("SKIPPED: {program} is not installed\n");
                io::stderr().write_all(skipped.as_bytes()).unwrap();
                fs::remove_dir_all(&directory).unwrap();
                return None;
            }
            started => started.unwrap(),
        };
        let server = Self { child, address, directory, _port: port };
        wait_for(&format!("{program} listens"), || {
            TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        });
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

const HAPROXY: &str = "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n";

#[test]
fn haproxy_in_front_of_us_is_believed() {
    for options in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"] {
        let backend = Backend::ok("fine");
        let evenkeel = believing(&backend).start();
        let configuration = format!(
            "{HAPROXY}frontend f\n bind 127.0.0.1:PORT\n unique-id-format %pid-%rt\n default_backend b\n\
             backend b\n server s {} {options}\n",
            evenkeel.address()
        );
        let Some(haproxy) = Server::start("haproxy", &["-db", "-f"], &configuration) else { return };
        assert_eq!(Client::h1(haproxy.address).get("/").status, 200, "{options}");
        let seen = backend.last();
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.field("x-forwarded-port"), Some(haproxy.address.port().to_string().as_str()), "{options}");
        assert_eq!(closed(&evenkeel), 0.0, "{options}");
    }
}

#[test]
fn haproxy_behind_us_believes_us() {
    let configuration = format!(
        "{HAPROXY}frontend f\n bind 127.0.0.1:PORT accept-proxy\n \
         http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority]\"\n"
    );
    let Some(haproxy) = Server::start("haproxy", &["-db", "-f"], &configuration) else { return };
    for (version, name) in [("v1", ""), ("v2", "shop.test")] {
        let setup = Setup::to(&[haproxy.address]).server(TRUSTED).listener("proxy_protocol = true");
        let evenkeel = setup.pool(format!("send_proxy_protocol = \"{version}\"")).start();
        let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls()].concat());
        let answer = behind(&evenkeel, header).exchange(GET);
        assert_eq!(answer.text(), format!("192.0.2.1 56324 203.0.113.9 443 {name}"), "{version}");
    }
}

#[test]
fn nginx_behind_us_believes_us() {
    let configuration = "daemon off; master_process off; pid DIR/pid; error_log DIR/error;\n\
        events {}\nhttp { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c; \
        uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;\nserver { listen 127.0.0.1:PORT proxy_protocol; location / { \
        return 200 \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\"; } } }\n";
    let Some(nginx) = Server::start("nginx", &["-c"], configuration) else { return };
    for version in ["v1", "v2"] {
        let setup = Setup::to(&[nginx.address]).server(TRUSTED).listener("proxy_protocol = true");
        let evenkeel = setup.pool(format!("send_proxy_protocol = \"{version}\"")).start();
        let header = v2(0x21, 0x11, &[&IPV4[..], &over_tls()].concat());
        let answer = behind(&evenkeel, header).exchange(GET);
        assert_eq!(answer.text(), "192.0.2.1 56324 203.0.113.9 443", "{version}");
    }
}
