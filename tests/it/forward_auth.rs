//! `type = "forward"`: another service decides who comes in (PRODUCT.md section 3).

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{
    Backend, Client, Evenkeel, Gate, Process, Reply, Response, Site,
    h2raw::{H2, block, flag},
    request,
    tls::{self, Authority, asked},
    wait_for,
};

/// The route `all` asks `service`, by an `auth` with further lines.
fn site(service: &Backend, lines: &str, web: &Backend) -> Site {
    let asks =
        format!("[auth.door]\ntype = \"forward\"\nurl = \"http://{}/verify?strict=1\"\n{lines}\n", service.address());
    Site::new(format!("[[route]]\nname = \"all\"\npool = \"web\"\nauth = \"door\"\n\n{asks}"))
        .pool("web", web.address())
}

fn start(service: &Backend, lines: &str, web: &Backend) -> Evenkeel {
    site(service, lines, web).server("underscore_headers = \"allow\"").start()
}

fn ask(client: &mut Client, lines: &str) -> Response {
    client.exchange(request("GET", "shop.example", "/a?b=c", lines))
}

#[test]
fn the_service_hears_of_the_request_and_the_backend_of_the_service() {
    let lines = "X-User: ann\r\nx-user: of sales\r\nX-Role: admin\r\nX-Secret: s\r\nSet-Cookie: a=b\r\n";
    let (service, web) = (Backend::http(move |_| Reply::new("200 OK", lines, "welcome")), Backend::ok("fine"));
    let evenkeel = start(&service, "copy_headers = [\"x-user\", \"x-role\", \"x-none\"]", &web);
    let mut client = evenkeel.client();
    let forged = "X-User: root\r\nX_USER: root\r\nx-none: 1\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Method: GET\r\n\
                  X-Forwarded-Uri: /public\r\nX-Forwarded-Proto: https\r\n";
    let head = format!(
        "POST /a/../b%2Fc?d=e HTTP/1.1\r\nHost: shop.example\r\nCookie: s=1\r\nAuthorization: Basic YTpi\r\n{forged}\
         Connection: x-hop\r\nX-Hop: 1\r\nIf-None-Match: \"x\"\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    );
    let answer = client.exchange(head);
    assert_eq!((answer.status, answer.text().as_str(), answer.field("set-cookie")), (200, "fine", None));
    let (asked, passed) = (service.last(), web.last());
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str(), asked.body.as_slice()),
        ("GET", "/verify?strict=1", &b""[..])
    );
    for (name, value) in [
        ("host", service.address().to_string().as_str()),
        ("cookie", "s=1"),
        ("authorization", "Basic YTpi"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/b%2Fc?d=e"),
        ("x-request-id", passed.field("x-request-id").unwrap()),
    ] {
        assert_eq!(asked.head.fields.all(name), [value], "{name}");
    }
    for name in ["x-user", "x_user", "x-hop", "content-type", "content-length", "if-none-match", "transfer-encoding"] {
        assert!(!asked.head.fields.has(name), "{name}");
    }
    assert_eq!((passed.method.as_str(), passed.body.as_slice()), ("POST", &b"hello"[..]));
    assert_eq!(passed.head.fields.all("x-user"), ["ann", "of sales"]);
    assert_eq!(passed.head.fields.all("x-role"), ["admin"]);
    for name in ["x_user", "x-none", "x-secret", "set-cookie"] {
        assert!(!passed.head.fields.has(name), "{name}");
    }
    assert_eq!(passed.field("if-none-match"), Some("\"x\""));

    let mut h2 = H2::open(evenkeel.address());
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/two"), ("x-user", "root")];
    h2.headers(1, flag::WHOLE, block(&fields));
    assert_eq!(h2.answer(1).unwrap().text(), "fine");
    assert_eq!(
        (service.last().field("x-forwarded-uri"), service.last().field("x-forwarded-host")),
        (Some("/two"), Some("a"))
    );
    assert_eq!(web.last().head.fields.all("x-user"), ["ann", "of sales"]);
    evenkeel.assert_no_failure();
    let asked = evenkeel.metric("evenkeel_backend_requests_total", &[("pool", "auth:door"), ("code", "200")]);
    assert_eq!(asked, 2.0, "it is seen as a pool");
}

#[test]
fn any_other_answer_goes_to_the_client() {
    for (status, lines, text) in [
        ("302 Found", "Location: https://login.example/?a=b\r\nSet-Cookie: back=%2F\r\nSet-Cookie: two=2\r\n", ""),
        ("401 Unauthorized", "WWW-Authenticate: Custom realm=\"x\"\r\nContent-Type: text/plain\r\n", "who are you?"),
        ("403 Forbidden", "Keep-Alive: timeout=5\r\nTrailer: x-sum\r\nX-Why: no\r\n", "no"),
        ("429 Too Many Requests", "Retry-After: 7\r\n", "later"),
    ] {
        let service = Backend::http(move |_| Reply::new(status, &format!("{lines}Date: yesterday\r\n"), text));
        let web = Backend::ok("");
        let evenkeel = start(&service, "copy_headers = [\"x-why\"]", &web);
        let mut client = evenkeel.client();
        for _ in 0..2 {
            let answer = ask(&mut client, "");
            assert_eq!((format!("{} ", answer.status), answer.text().as_str()), (status[..4].into(), text));
            for line in lines.lines().filter(|line| !line.starts_with("Keep-Alive") && !line.starts_with("Trailer")) {
                let (name, value) = line.split_once(": ").unwrap();
                assert!(answer.head.fields.all(name).contains(&value), "{line}");
            }
            assert!(!answer.head.fields.has("trailer"));
            assert!(!answer.head.fields.has("keep-alive") && answer.head.fields.all("date").len() == 1);
            assert_ne!(answer.field("date"), Some("yesterday"));
        }
        let head = client.exchange(request("HEAD", "a", "/", ""));
        assert_eq!((head.status, head.body.len()), (status[..3].parse().unwrap(), 0));
        assert_eq!((web.requests(), service.connections()), (0, 1), "one connection is kept");
        match status {
            "401 Unauthorized" => evenkeel.wait_failures("unauthorized", 3),
            "403 Forbidden" => evenkeel.wait_failures("denied", 3),
            _ => evenkeel.assert_no_failure(),
        }
        let mut h2 = H2::open(evenkeel.address());
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        h2.headers(1, flag::WHOLE, block(&fields));
        assert_eq!(h2.answer(1).unwrap().text(), text);
    }
}

/// What it does, and how it is made.
type Kind = (&'static str, fn() -> Backend);

#[test]
fn a_service_that_does_not_answer_lets_nobody_in() {
    let kinds: [Kind; 9] = [
        ("500", || Backend::http(|_| Reply::new("500 Internal Server Error", "X-User: root\r\n", "oh"))),
        ("503", || Backend::http(|_| Reply::new("503 Service Unavailable", "", ""))),
        ("garbage", || Backend::http(|_| Reply::raw("who wants to know?\r\n\r\n").close())),
        ("two lengths", || {
            Backend::http(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"))
        }),
        ("switches", || {
            Backend::http(|_| {
                Reply::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            })
        }),
        ("closes", || Backend::raw(|conn, _| drop(conn.request()))),
        ("silence", Backend::silent),
        ("large", || Backend::http(|_| Reply::new("403 Forbidden", "", vec![b'x'; 64 * 1024 + 1]))),
        ("cut", || Backend::http(|_| Reply::raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nno").close())),
    ];
    for (name, service) in kinds {
        let (service, web) = (service(), Backend::ok(""));
        let evenkeel = start(&service, "timeout = \"300ms\"\ncopy_headers = [\"x-user\"]", &web);
        let (mut client, begun) = (evenkeel.client(), Instant::now());
        let answer = ask(&mut client, "");
        assert!(begun.elapsed() < Duration::from_secs(2), "{name}");
        answer.assert_refused(503, "auth_unavailable");
        assert!(answer.field("retry-after").is_some(), "{name}");
        assert_eq!(web.requests(), 0, "{name}");
        evenkeel.wait_failures("auth_unavailable", 1);
    }
    let (service, web) = (Backend::ok(""), Backend::ok(""));
    let evenkeel = start(&service, "", &web);
    service.kill();
    ask(&mut evenkeel.client(), "").assert_refused(503, "auth_unavailable");
    service.restart();
    assert_eq!(ask(&mut evenkeel.client(), "").status, 200);
    // The largest that still fits.
    let service = Backend::http(|_| Reply::new("403 Forbidden", "", vec![b'x'; 64 * 1024]));
    let answer = ask(&mut start(&service, "", &web).client(), "");
    assert_eq!((answer.status, answer.body.len()), (403, 64 * 1024));
}

#[test]
fn a_kept_connection_that_the_service_had_closed_is_no_error() {
    let web = Backend::ok("fine");
    // It says nothing of it, and the close comes with the next question.
    let service = Backend::raw(|conn, _| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            conn.request();
            conn.reset();
        }
    });
    let evenkeel = Evenkeel::start(&site(&service, "", &web).toml().replace("workers = 2", "workers = 1"));
    let mut client = evenkeel.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "").text(), "fine");
    }
    assert_eq!(service.connections(), 5);
    evenkeel.assert_no_failure();
}

#[test]
fn a_success_passes_before_its_body_has_come() {
    let web = Backend::ok("fine");
    let service = Backend::raw(|conn, _| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nX-User: ann\r\nContent-Length: 9\r\n\r\nno");
            conn.request();
        }
    });
    let evenkeel = start(&service, "timeout = \"60s\"\ncopy_headers = [\"x-user\"]", &web);
    let (mut client, begun) = (evenkeel.client(), Instant::now());
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "").text(), "fine");
        assert_eq!(web.last().field("x-user"), Some("ann"));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(service.connections(), 3, "what may still come on them is for nobody");
    evenkeel.assert_no_failure();
}

#[test]
fn what_is_said_of_a_silent_service_is_taken_back() {
    let (service, web) = (Backend::ok(""), Backend::ok(""));
    let evenkeel = Process::spawn(&site(&service, "", &web).toml());
    service.kill();
    ask(&mut evenkeel.client(), "").assert_refused(503, "auth_unavailable");
    service.restart();
    for _ in 0..3 {
        assert_eq!(ask(&mut evenkeel.client(), "").status, 200);
    }
    let of_it = || evenkeel.log().into_iter().filter(|line| line.contains("who may come in")).collect::<Vec<_>>();
    wait_for("both are said", || of_it().len() >= 2);
    let lines = of_it();
    assert!(lines[0].contains("cannot be asked") && !lines[0].contains("status"), "there was no answer: {lines:?}");
    assert!(lines.len() == 2 && lines[1].contains("can be asked again"), "{lines:?}");
}

#[test]
fn who_leaves_is_not_asked_for_any_longer() {
    let (web, service) = (Backend::ok(""), Backend::thinking());
    let evenkeel = start(&service, "timeout = \"60s\"", &web);
    let mut client = evenkeel.client();
    client.send(request("GET", "a", "/", ""));
    wait_for("it is asked", || service.requests() == 1);
    client.reset();
    wait_for("the question has ended", || service.open() == 0);
    evenkeel.wait_failures("client_gone", 1);
    assert_eq!(web.requests(), 0);
}

#[test]
fn a_body_waits_for_the_answer_and_time_does_not_run_meanwhile() {
    let (gate, web) = (Gate::default(), Backend::http(|request| Reply::ok(request.body)));
    let service = Backend::behind(&gate, "");
    let toml = site(&service, "timeout = \"20s\"", &web)
        .toml()
        .replace("auth = \"door\"", "auth = \"door\"\ntimeout = \"500ms\"");
    let evenkeel = Evenkeel::start(&toml);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    let mut writer = client.writer();
    let sender = std::thread::spawn(move || writer.write_all(&[7; 300_000]));
    wait_for("it is asked", || service.requests() == 1);
    // Longer than the route's own bound: that is the backend's.
    assert!(client.silent_for(Duration::from_millis(700)));
    assert_eq!(web.connections(), 0);
    gate.open();
    let answer = client.response();
    sender.join().unwrap().unwrap();
    assert_eq!((answer.status, answer.body), (200, vec![7; 300_000]));
    evenkeel.assert_no_failure();
}

#[test]
fn the_service_is_not_called_for_what_is_refused_before() {
    let (web, service) = (Backend::ok(""), Backend::ok(""));
    let toml = site(&service, "", &web).toml().replace("auth = \"door\"", "auth = \"door\"\ndeny = [\"127.0.0.0/8\"]");
    let evenkeel = Evenkeel::start(&toml);
    ask(&mut evenkeel.client(), "").assert_refused(403, "denied");
    assert_eq!((service.connections(), web.connections()), (0, 0));
}

#[test]
fn a_service_by_https_is_believed_by_its_certificate() {
    let (authority, web) = (Authority::new(), Backend::ok("fine"));
    let own = authority.server(&authority.issue(asked(&["door.internal"]).local()), false);
    let service = Backend::raw(move |conn, _| {
        let Ok(mut wire) = tls::accept(conn.wire.stream.try_clone().unwrap(), &own) else { return };
        while let Ok(Some(_)) = wire.head() {
            let _ = wire.stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let toml = site(&service, "", &web).toml().replace("http://", "https://");
    let roots = |path: &std::path::Path| format!("SSL_CERT_FILE={}", path.display());
    let evenkeel =
        Process::spawn_under(&["env", &roots(&authority.path("ca.pem"))], &toml.replace("workers = 2", "workers = 1"));
    let mut client = evenkeel.client();
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "").text(), "fine");
    }
    assert_eq!(service.connections(), 1, "the session is kept");
    let stranger = Authority::new();
    let evenkeel = Process::spawn_under(&["env", &roots(&stranger.path("ca.pem"))], &toml);
    ask(&mut evenkeel.client(), "").assert_refused(503, "auth_unavailable");
}

#[test]
fn a_service_may_replace_what_the_client_has_shown() {
    let service = Backend::http(|request| {
        let shown = request.field("authorization") == Some("Basic YTpi") && request.field("cookie") == Some("s=1");
        Reply::new(if shown { "200 OK" } else { "401 Unauthorized" }, "Authorization: Bearer ours\r\n", "")
    });
    let web = Backend::ok("");
    let evenkeel = start(&service, "copy_headers = [\"authorization\", \"cookie\"]", &web);
    assert_eq!(ask(&mut evenkeel.client(), "Authorization: Basic YTpi\r\nCookie: s=1\r\n").status, 200);
    let passed = web.last();
    assert_eq!((passed.head.fields.all("authorization"), passed.field("cookie")), (vec!["Bearer ours"], None));
}
