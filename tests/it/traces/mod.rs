//! Spans for a collector of traces (PRODUCT.md sections 3 and 8), as it gets them.

mod collector;
mod context;
mod export;
mod rotel;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::Value;

use self::collector::{Collector, hex, of, parent, said};
use crate::support::tls::{self, Authority, asked};
use crate::support::{Backend, Evenkeel, Gate, Process, Reply, Setup, Site, h2raw, request, wait_for};

/// Whether a span is an error.
fn code(span: &Span) -> StatusCode {
    span.status.as_ref().unwrap().code()
}

/// The span of the request, and those of its attempts.
fn sorted(spans: Vec<Span>) -> (Span, Vec<Span>) {
    let (mut servers, clients): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.kind() == SpanKind::Server);
    assert_eq!(servers.len(), 1, "{servers:#?}");
    assert!(clients.iter().all(|span| span.kind() == SpanKind::Client));
    let server = servers.remove(0);
    for client in &clients {
        assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
        let within = server.start_time_unix_nano <= client.start_time_unix_nano
            && client.start_time_unix_nano <= client.end_time_unix_nano
            && client.end_time_unix_nano <= server.end_time_unix_nano;
        assert!(within, "{client:#?} is not within {server:#?}");
    }
    (server, clients)
}

#[test]
fn a_request_has_a_span_and_its_attempt_another_and_neither_tells_a_secret() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let setup = Setup::to(&[backend.address()]).server("name = \"lb-7\"").server(collector.toml("100%"));
    let evenkeel = setup.start();
    let head = "GET /shop//cart?token=hunter2 HTTP/1.1\r\nHost: shop.test:8080\r\nUser-Agent: it/1.0\r\nCookie: \
                s=hunter2\r\nAuthorization: Bearer hunter2\r\nX-Api-Key: hunter2\r\nReferer: http://a/?p=hunter2\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(head).status, 200);
    let (server, clients) = sorted(collector.wait(2));
    let [client] = &clients[..] else { panic!("{clients:#?}") };
    assert_eq!(backend.last().head.fields.all("traceparent"), [parent(client)]);
    assert_eq!((server.parent_span_id.len(), server.flags, client.flags), (0, 0x101, 0x101));
    assert_eq!((server.name.as_str(), client.name.as_str()), ("GET default", "GET"));
    assert_eq!((code(&server), code(client)), (StatusCode::Unset, StatusCode::Unset));
    let id = backend.last().field("x-request-id").unwrap().to_owned();
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "default"),
        ("url.path", "/shop//cart"),
        ("url.scheme", "http"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "it/1.0"),
        ("evenkeel.listener", "web"),
        ("evenkeel.pool", "web"),
        ("evenkeel.backend", &backend.address().to_string()),
        ("evenkeel.request_id", &id),
    ] {
        assert_eq!(said(&server, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((said(&server, "error.type"), said(&server, "url.query")), (None, None));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("url.full", &format!("http://{}/shop//cart", backend.address())),
        ("server.address", "127.0.0.1"),
        ("server.port", &backend.address().port().to_string()),
        ("evenkeel.pool", "web"),
        ("evenkeel.backend", &backend.address().to_string()),
    ] {
        assert_eq!(said(client, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(said(client, "http.request.resend_count"), None);
    let sent = String::from_utf8_lossy(&collector.0.last().body).into_owned();
    assert!(!sent.contains("hunter2"), "{sent:?}");
    let resource = collector.resource().attributes;
    let name = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    for (key, value) in [
        ("service.name", "evenkeel"),
        ("service.instance.id", "lb-7"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", &name),
    ] {
        assert_eq!(of(&resource, key).as_deref(), Some(value), "{key}");
    }
    wait_for("they are counted", || evenkeel.metric("evenkeel_trace_spans_sent_total", &[]) == 2.0);
    assert_eq!(evenkeel.metric("evenkeel_trace_spans_dropped_total", &[]), 0.0);
}

#[test]
fn over_http_2_it_is_the_same() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let evenkeel = Setup::to(&[backend.address()]).server(collector.toml("100%")).start();
    let mut h2 = h2raw::H2::open(evenkeel.address());
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/two?x=1")];
    h2.headers(1, h2raw::flag::WHOLE, h2raw::block(&fields));
    assert_eq!(h2.answer(1).unwrap().text(), "fine");
    let (server, clients) = sorted(collector.wait(2));
    assert_eq!(said(&server, "network.protocol.version").as_deref(), Some("2"));
    assert_eq!((said(&server, "url.path").as_deref(), said(&server, "server.port")), (Some("/two"), None));
    assert_eq!(backend.last().head.fields.all("traceparent"), [parent(&clients[0])]);
}

/// Reads a request and leaves.
fn resetting() -> Backend {
    Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    })
}

/// The pool's backend is `first`, which fails, and `second` has its turn after it.
fn failing(first: SocketAddr, second: &Backend, collector: &Collector) -> String {
    let retry =
        "retry = { attempts = 2, backoff = { base = \"1ms\", max = \"2ms\" }, on = [\"connect\", \"reset\", 503] }";
    let both = format!("[\"{first}\", {{ address = \"{}\", backup = true }}]", second.address());
    let toml = Setup::to(&[first]).server(collector.toml("100%")).pool(retry).toml();
    toml.replace(&format!("[\"{first}\"]"), &both)
}

#[test]
fn each_attempt_has_a_span_and_each_backend_hangs_from_its_own() {
    let (collector, bad, good) = (Collector::new(), resetting(), Backend::ok("fine"));
    let evenkeel = Evenkeel::start(&failing(bad.address(), &good, &collector));
    assert_eq!(evenkeel.get("/a?b=c").status, 200);
    let (server, clients) = sorted(collector.wait(3));
    let [first, second] = &clients[..] else { panic!("{clients:#?}") };
    assert_eq!((code(&server), said(&server, "error.type")), (StatusCode::Unset, None), "it went well in the end");
    assert_eq!((code(first), said(first, "error.type").as_deref()), (StatusCode::Error, Some("reset")));
    assert_eq!((said(first, "http.response.status_code"), said(first, "http.request.resend_count")), (None, None));
    assert_eq!((code(second), said(second, "http.request.resend_count").as_deref()), (StatusCode::Unset, Some("1")));
    for (span, backend) in [(first, &bad), (second, &good)] {
        let all = backend.last();
        assert_eq!(all.head.fields.all("traceparent"), [parent(span)], "its own, and no other's");
        assert_eq!(said(span, "evenkeel.backend"), Some(backend.address().to_string()));
    }
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano);
}

#[test]
fn an_attempt_that_met_nobody_and_one_whose_answer_was_not_taken_have_spans() {
    let (collector, nobody, good) = (Collector::new(), Backend::refused(), Backend::ok("fine"));
    let evenkeel = Evenkeel::start(&failing(nobody.address(), &good, &collector));
    assert_eq!(evenkeel.get("/").status, 200);
    let (_, clients) = sorted(collector.wait(3));
    assert_eq!(said(&clients[0], "error.type").as_deref(), Some("connect_refused"));
    assert_eq!(code(&clients[0]), StatusCode::Error);
    assert_eq!(good.last().head.fields.all("traceparent"), [parent(&clients[1])]);

    let (collector, busy, good) =
        (Collector::new(), Backend::http(|_| Reply::new("503 No", "", "")), Backend::ok("fine"));
    let evenkeel = Evenkeel::start(&failing(busy.address(), &good, &collector));
    assert_eq!(evenkeel.get("/").status, 200);
    let (_, clients) = sorted(collector.wait(3));
    assert_eq!(said(&clients[0], "http.response.status_code").as_deref(), Some("503"));
    assert_eq!((code(&clients[0]), said(&clients[0], "error.type").as_deref()), (StatusCode::Error, Some("503")));
}

/// Two wait for the same connection to a backend, which turns out to be for one alone.
#[test]
fn an_attempt_begins_after_the_queue() {
    let (collector, authority) = (Collector::new(), Authority::new());
    let (handshakes, answers) = (Gate::default(), Gate::default());
    let config = authority.server(&authority.issue(asked(&[]).local()), false);
    let (shaken, opened) = (handshakes.clone(), answers.clone());
    let backend = Backend::raw(move |conn, _| {
        shaken.pass();
        let mut wire = tls::accept(conn.wire.stream.try_clone().unwrap(), &config).unwrap();
        while let Ok(Some(_)) = wire.head() {
            opened.pass();
            wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").unwrap();
        }
    });
    let ca = authority.path("ca.pem").display().to_string();
    let keys = format!("protocol = \"auto\"\nmax_connections = 1\ntls = {{ ca = {ca:?} }}");
    let setup = Setup::to(&[backend.address()]).one_worker().server(collector.toml("100%")).pool(keys);
    let evenkeel = setup.start();
    let ask = |path: &str, in_flight: f64| {
        let mut client = evenkeel.client();
        client.send(request("GET", "test", path, ""));
        wait_for("its backend is chosen", || evenkeel.metric("evenkeel_backend_in_flight", &[]) == in_flight);
        client
    };
    let mut clients = [ask("/first", 1.0), ask("/second", 2.0)];
    handshakes.open();
    wait_for("one is in the queue", || evenkeel.metric("evenkeel_queue_length", &[("pool", "web")]) == 1.0);
    answers.open();
    assert!(clients.iter_mut().all(|client| client.response().text() == "fine"));
    assert_eq!(backend.connections(), 1);
    let mut spans = collector.wait(4);
    let second =
        spans.iter().find(|span| said(span, "url.path").as_deref() == Some("/second")).unwrap().trace_id.clone();
    spans.retain(|span| span.trace_id == second);
    let (server, clients) = sorted(spans);
    let spent = |key| said(&server, key).unwrap().parse::<f64>().unwrap();
    let waited = spent("evenkeel.connect_ms") + spent("evenkeel.queue_ms");
    let before = (clients[0].start_time_unix_nano - server.start_time_unix_nano) as f64 / 1e6;
    assert!(clients.len() == 1 && before > waited - 1e-6, "{before} ms, of which {waited} ms were spent waiting");
}

#[test]
fn answers_of_our_own_have_a_span_too_and_only_5xx_is_an_error() {
    let collector = Collector::new();
    let routes = "[[route]]\nname = \"hello\"\npath = \"/hello\"\nrespond = { body = \"hi\" }\n\
                  [[route]]\nname = \"down\"\npath = \"/down\"\npool = \"none\"\n";
    let nobody = Backend::refused();
    let evenkeel = Site::new(format!("{}{routes}", collector.toml("100%"))).pool("none", nobody.address()).start();
    for (path, status, name, error, failed) in [
        ("/hello", 200, "GET hello", None, StatusCode::Unset),
        ("/nothing", 404, "GET", Some("no_route"), StatusCode::Unset),
        ("/down", 502, "GET down", Some("connect_refused"), StatusCode::Error),
    ] {
        collector.0.forget();
        assert_eq!(evenkeel.get(path).status, status, "{path}");
        let (server, clients) = sorted(collector.wait(if path == "/down" { 2 } else { 1 }));
        assert_eq!((server.name.as_str(), said(&server, "error.type").as_deref()), (name, error));
        assert_eq!((code(&server), said(&server, "http.response.status_code")), (failed, Some(status.to_string())));
        assert_eq!(clients.len(), usize::from(path == "/down"));
    }
    collector.0.forget();
    assert_eq!(evenkeel.client().exchange("GET /%00 HTTP/1.1\r\nHost: test\r\n\r\n").status, 400);
    assert_eq!(evenkeel.get("/hello").status, 200);
    assert_eq!(sorted(collector.wait(1)).0.name, "GET hello", "nothing that a malformed one says can be relied on");
}

#[test]
fn copies_and_questions_hang_from_the_request_itself() {
    let (collector, web, shadow, desk) = (Collector::new(), Backend::ok("fine"), Backend::ok(""), Backend::ok(""));
    let text = format!(
        "{}[[route]]\nname = \"all\"\npool = \"web\"\nauth = \"door\"\nmirror = {{ pool = \"shadow\", share = \"100%\" }}\n\
         [auth.door]\ntype = \"forward\"\nurl = \"http://{}/\"\n",
        collector.toml("100%"),
        desk.address()
    );
    let evenkeel = Site::new(text).pool("web", web.address()).pool("shadow", shadow.address()).start();
    // Whom nobody believes: neither the backend nor the others hear of it.
    let forged =
        "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(forged).status, 200);
    let (server, clients) = sorted(collector.wait(2));
    assert_eq!(clients.len(), 1, "the attempt alone");
    assert_eq!(web.last().head.fields.all("traceparent"), [parent(&clients[0])]);
    wait_for("the copy has come", || !shadow.seen().is_empty());
    for other in [&shadow, &desk] {
        assert_eq!(other.last().head.fields.all("traceparent"), [parent(&server)]);
    }
}

#[test]
fn both_logs_tell_the_trace() {
    let (collector, bad, good) = (Collector::new(), resetting(), Backend::ok("fine"));
    let toml = failing(bad.address(), &good, &collector);
    let access = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("traces-{}.log", std::process::id()));
    let _ = fs::remove_file(&access);
    let keys = format!("access = {access:?}\nformat = \"json\"\nlevel = \"info,evenkeel::proxy=debug\"");
    let process = Process::spawn(&toml.replace("access = \"off\"", &keys));
    assert_eq!(process.client().get("/").status, 200);
    let (server, _) = sorted(collector.wait(3));
    let trace = hex(&server.trace_id);
    wait_for("the line is written", || fs::read_to_string(&access).is_ok_and(|text| text.ends_with('\n')));
    let line: Value = serde_json::from_str(&fs::read_to_string(&access).unwrap()).unwrap();
    assert_eq!(line["trace_id"], trace);
    let told = || {
        let lines: Vec<Value> = process.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter().find(|line| line["message"] == "attempt failed")
    };
    wait_for("the failed attempt is told", || told().is_some());
    assert_eq!(told().unwrap()["trace_id"], trace);
    let _ = fs::remove_file(&access);
}
