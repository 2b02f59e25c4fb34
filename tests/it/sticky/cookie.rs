//! Our own cookie.

use super::*;
use crate::support::tls::{Authority, Secure, asked};
use crate::support::{h2, tunnel};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

#[test]
fn it_keeps_a_client_at_its_backend_and_only_changes_are_told() {
    let (backends, secrets) = (backends(3), Secrets::new(&[ONE]));
    let evenkeel = site(&backends, secrets.cookie("")).start();
    let first = evenkeel.get("/");
    let line = first.field("set-cookie").unwrap().to_owned();
    let cookie = given(&first);
    assert_eq!(line, format!("{cookie}; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax"));
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(cookie.strip_prefix("evenkeel=").unwrap()).unwrap();
    assert_eq!((sealed[0], sealed.len()), (1, 51));
    let mut client = evenkeel.client();
    for _ in 0..20 {
        let answer =
            client.exchange(request("GET", "test", "/", &format!("cookie: a=1; {cookie}; b=\"2\"\r\nX-A: 1\r\n")));
        assert_eq!((place(&answer), set(&answer)), (place(&first), None));
    }
    let seen = backends[place(&first)].last();
    assert_eq!(seen.head.fields.all("cookie"), ["a=1; b=\"2\""], "ours is not for backends");
    show(evenkeel.address(), &cookie);
    assert!(!backends[place(&first)].last().head.fields.has("cookie"), "nothing is left of it");
    counted(|name, labels| evenkeel.metric(name, labels), [21, 1, 0, 0]);
}

#[test]
fn what_a_route_writes_is_no_part_of_it() {
    let (backends, secrets) = (backends(1), Secrets::new(&[ONE]));
    let rules =
        "request_headers = { set = { x-a = \"{path}\" } }\nresponse_headers = { set = { x-b = \"{client_ip}\" } }";
    let rewrites = ["strip_prefix = \"/a\"", "add_prefix = \"/b\"", "regex = \"^/a(.*)\", replacement = \"/c$1\""];
    for rewrite in rewrites {
        let routes = format!("[[route]]\npath = \"/*\"\npool = \"web\"\nrewrite = {{ {rewrite} }}\n{rules}\n");
        let evenkeel = Site::new(routes).pool_with("web", &addresses(&backends), &secrets.cookie("")).start();
        let first = evenkeel.get("/a/b=1;Domain=test;c");
        let line = first.field("set-cookie").unwrap();
        let cookie = given(&first);
        assert!(cookie.starts_with("evenkeel=") && !line.contains("Domain"), "{rewrite}: {line}");
        assert_eq!(line, format!("{cookie}; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax"), "{rewrite}");
        let told = show(evenkeel.address(), &cookie);
        assert_eq!((told.status, set(&told)), (200, None), "{rewrite}");
    }
}

#[test]
fn new_clients_are_spread_by_the_algorithm() {
    let (backends, secrets) = (backends(3), Secrets::new(&[ONE]));
    let evenkeel = site(&backends, secrets.cookie(", name = \"lb\"")).start();
    for _ in 0..30 {
        let first = evenkeel.get("/");
        assert!(given(&first).starts_with("lb="));
        assert_eq!(place(&show(evenkeel.address(), &given(&first))), place(&first));
    }
    assert!(backends.iter().all(|backend| backend.requests() >= 10), "round robin");
}

#[test]
fn it_is_secure_where_the_client_came_over_tls() {
    let (authority, backends, secrets) = (Authority::new(), backends(2), Secrets::new(&[ONE]));
    let tls = authority.listener(&[&authority.write("a", asked(&["test"]))], "");
    let evenkeel = site(&backends, secrets.cookie("")).listener(tls).start();
    let mut config = authority.client();
    let mut secure = Secure::connect(evenkeel.address(), &config.clone().into(), "test").unwrap();
    let first = secure.get("test", "");
    assert!(first.field("set-cookie").unwrap().ends_with("; SameSite=Lax; Secure"), "{first:?}");
    config.alpn_protocols = vec![b"h2".to_vec()];
    h2::run(async {
        let stream = tokio::net::TcpStream::connect(evenkeel.address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let stream = connector.connect("test".try_into().unwrap(), stream).await.unwrap();
        let client = h2::over(stream).await;
        let get = |cookie: Option<&str>| {
            let request = http::Request::builder().uri("https://test/");
            cookie.into_iter().fold(request, |request, cookie| request.header("cookie", cookie))
        };
        let answer = h2::ask(&client, get(None), b"").await.unwrap();
        let line = answer.fields["set-cookie"].to_str().unwrap().to_owned();
        assert!(line.ends_with("; Secure"), "{line}");
        let cookie = line.split(';').next().unwrap();
        let again = h2::ask(&client, get(Some(cookie)).header("cookie", "a=1"), b"").await.unwrap();
        assert_eq!((again.text(), again.fields.get("set-cookie")), (answer.text(), None));
        let seen = &backends[usize::from(answer.body[0] - b'a')];
        assert_eq!(seen.last().field("cookie"), Some("a=1"));
    });
}

#[test]
fn a_trusted_proxy_says_that_it_was_tls() {
    let (backends, secrets) = (backends(1), Secrets::new(&[ONE]));
    let line = |server: &str| {
        let evenkeel = site(&backends, secrets.cookie("")).server(server).start();
        get(evenkeel.address(), "X-Forwarded-Proto: https\r\n").field("set-cookie").unwrap().to_owned()
    };
    assert!(line("trusted_proxies = [\"127.0.0.0/8\"]").ends_with("; Secure"));
    assert!(line("").ends_with("SameSite=Lax"));
}

#[test]
fn keys_rotate() {
    let backends = backends(3);
    let [old, both, new] = [&[ONE][..], &[TWO, ONE], &[TWO]].map(|keys| {
        let secrets = Secrets::new(keys);
        site(&backends, secrets.cookie("")).start()
    });
    let first = old.get("/");
    let again = show(both.address(), &given(&first));
    assert_eq!(place(&again), place(&first), "the old key still opens");
    assert_eq!(place(&show(new.address(), &given(&again))), place(&first), "and has been replaced by the new one");
    counted(|name, labels| both.metric(name, labels), [1, 0, 0, 0]);
    counted(|name, labels| new.metric(name, labels), [1, 0, 0, 0]);
    show(new.address(), &given(&first));
    counted(|name, labels| new.metric(name, labels), [1, 0, 0, 1]);
}

#[test]
fn what_is_forged_old_or_too_long_is_ignored_counted_and_logged() {
    let (backends, secrets, log) = (backends(3), Secrets::new(&[ONE]), Secrets::new(&[]));
    let text = format!("access = {:?}", log.0.to_str().unwrap());
    let evenkeel = site(&backends, secrets.cookie(", ttl = \"4s\"")).log(text).start();
    let first = given(&evenkeel.get("/"));
    let forged = format!("{}A", &first[..first.len() - 1]);
    let forged = if forged == first { format!("{}B", &first[..first.len() - 1]) } else { forged };
    let long = format!("evenkeel={}", "a".repeat(5000));
    for cookie in [forged.as_str(), long.as_str(), "evenkeel=", "evenkeel=127.0.0.1:80", "evenkeel=\u{e9}.."] {
        given(&show(evenkeel.address(), cookie));
    }
    counted(|name, labels| evenkeel.metric(name, labels), [0, 1, 0, 5]);
    let both = show(evenkeel.address(), &format!("evenkeel=x; {first}"));
    assert_eq!(set(&both), None, "the first valid one counts");
    let (home, mut latest) = (place(&both), first.clone());
    let invalid = || evenkeel.metric("evenkeel_sticky_total", &[("result", "invalid")]);
    wait_for("it is too old", || {
        let answer = show(evenkeel.address(), &latest);
        assert_eq!(place(&answer), home, "who goes on asking goes on there: past half its time it is made anew");
        latest = set(&answer).unwrap_or(latest.clone());
        latest != first && {
            show(evenkeel.address(), &first);
            invalid() > 5.0
        }
    });
    let lines = || fs::read_to_string(&log.0).unwrap();
    wait_for("all results are logged", || {
        ["hit", "new", "invalid"].iter().all(|word| lines().contains(&format!("\"sticky\":\"{word}\"")))
    });
    assert!(!lines().contains(&first) && !lines().contains(&first[9..]));
}

#[test]
fn upgrades_carry_it_too() {
    const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let named = |name: &'static str| {
        Backend::raw(move |conn, _| {
            let Some(request) = conn.request() else { return };
            let key = request.field("sec-websocket-key").unwrap().as_bytes();
            let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key);
            conn.send(format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nX-Backend: {name}\r\n\r\n"
            ));
            conn.wait_closed();
        })
    };
    let (backends, secrets) = (["a", "b", "c"].map(named), Secrets::new(&[ONE]));
    let evenkeel = site(&backends, secrets.cookie("")).start();
    let open = |cookie: &str| {
        let mut client = evenkeel.client();
        client.send(request("GET", "test", "/", &format!("{ASK}{cookie}")));
        let head = client.head();
        assert_eq!(head.status().unwrap(), 101, "{head:?}");
        head
    };
    let first = open("");
    let cookie = first.fields.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..5 {
        let again = open(&format!("Cookie: {cookie}\r\n"));
        assert_eq!(again.fields.get("x-backend"), first.fields.get("x-backend"));
        assert!(!again.fields.has("set-cookie"));
        let over_h2 = h2::to("CONNECT", "/").header("cookie", &cookie).header("sec-websocket-version", "13");
        let opened = tunnel::open(evenkeel.address(), over_h2.body(()).unwrap(), Some("websocket"), b"");
        assert_eq!(opened.status, 200);
        assert_eq!(opened.fields["x-backend"], first.fields.get("x-backend").unwrap());
        assert!(!opened.fields.contains_key("set-cookie"));
    }
    let over_h2 = h2::to("CONNECT", "/").header("sec-websocket-version", "13");
    let opened = tunnel::open(evenkeel.address(), over_h2.body(()).unwrap(), Some("websocket"), b"");
    assert!(opened.fields["set-cookie"].to_str().unwrap().starts_with("evenkeel="));
}

#[test]
fn our_own_answers_do_not_set_it() {
    let (refused, secrets) = (Backend::refused(), Secrets::new(&[ONE]));
    let text = "[[route]]\npath = \"/\"\npool = \"web\"\n\n[[route]]\npath = \"/own\"\nrespond = { status = 200 }\n";
    let evenkeel = Site::new(text).pool_with("web", &[refused.address()], &secrets.cookie("")).start();
    let failed = evenkeel.get("/");
    failed.assert_refused(502, "connect_refused");
    assert_eq!(set(&failed), None);
    assert_eq!(set(&evenkeel.get("/own")), None);
}

#[test]
fn pools_share_one_cookie_and_each_keeps_its_own() {
    let (web, api, secrets) = (backends(3), backends(3), Secrets::new(&[ONE]));
    let text = "[[route]]\npath = \"/web\"\npool = \"web\"\n\n[[route]]\npath = \"/api\"\npool = \"api\"\n";
    let evenkeel = Site::new(text)
        .pool_with("web", &addresses(&web), &secrets.cookie(""))
        .pool_with("api", &addresses(&api), &secrets.cookie(""))
        .start();
    let mut client = evenkeel.client();
    let mut ask =
        |path: &str, cookie: &str| client.exchange(request("GET", "test", path, &format!("Cookie: x=1; {cookie}\r\n")));
    let at_web = ask("/web", "y=2");
    let at_api = ask("/api", &given(&at_web));
    let cookie = given(&at_api);
    for _ in 0..10 {
        let (web, api) = (ask("/web", &cookie), ask("/api", &cookie));
        assert_eq!((place(&web), place(&api)), (place(&at_web), place(&at_api)));
        assert_eq!((set(&web), set(&api)), (None, None));
    }
    counted(|name, labels| evenkeel.metric(name, labels), [10, 1, 0, 0]);
}

#[test]
fn a_key_of_the_process_holds_over_reloads() {
    let backends = backends(3);
    let keys = "sticky = { type = \"cookie\" }";
    let process = Process::spawn(&site(&backends, keys).toml());
    let first = process.client().get("/");
    process.reload(&site(&backends, format!("{keys}\nalgorithm = \"random\"")).toml());
    let again = show(process.address(), &given(&first));
    assert_eq!((place(&again), set(&again)), (place(&first), None));
    let other = Process::spawn(&site(&backends, keys).toml());
    given(&show(other.address(), &given(&first)));
    counted(|name, labels| other.metric(name, labels), [0, 0, 0, 1]);
}
