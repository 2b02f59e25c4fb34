//! The access log: a line for each request, with everything that is needed to find out why it failed and nothing that is
//! secret (PRODUCT.md sections 3, `[log]`, 5, 7 and 10), and the trace that it names (section 8).

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;

use crate::support::{Backend, Evenkeel, Process, Reply, Setup, command, wait_for};

/// An access log of its own, in a file.
struct Log(PathBuf);

impl Log {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("access-{}-{}.log", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&file);
        Self(file)
    }

    /// `setup` with this log, and further keys of `[log]`.
    fn toml(&self, setup: &Setup, keys: &str) -> String {
        setup.toml().replace("access = \"off\"", &format!("access = {:?}\n{keys}", self.0))
    }

    fn start(&self, setup: &Setup, keys: &str) -> Evenkeel {
        Evenkeel::start(&self.toml(setup, keys))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }

    /// The lines, once there are `count`; more fail the test.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} lines are written"), || self.text().matches('\n').count() >= count);
        let lines = parsed(&self.text());
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    /// The only line.
    #[track_caller]
    fn line(&self) -> Value {
        self.lines(1).remove(0)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))).collect()
}

fn is(line: &Value, key: &str, pattern: &str) -> bool {
    let value = line[key].as_str().unwrap_or_else(|| panic!("no text {key} in {line:#}"));
    Regex::new(pattern).unwrap().is_match(value)
}

/// What a request needs to be logged in full.
const FULL: &str = "POST /shop//cart?secretquery=1 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: it/1.0\r\n\
                    Referer: http://from.test/\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_line_says_everything_that_applies_and_nothing_else() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]).server("name = \"lb-7\""), "");
    let mut client = evenkeel.client();
    let ip = client.wire.stream.local_addr().unwrap().ip().to_string();
    assert_eq!(client.exchange(FULL).status, 200);
    let (line, seen) = (log.line(), backend.last());

    let trace = seen.field("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
    let address = backend.address().to_string();
    let texts = [
        ("instance", "lb-7"),
        ("request_id", seen.field("x-request-id").unwrap()),
        ("trace_id", &trace),
        ("client_ip", &ip),
        ("peer_ip", &ip),
        ("listener", "web"),
        ("method", "POST"),
        ("scheme", "http"),
        ("host", "shop.test"),
        ("path", "/shop//cart"),
        ("protocol", "HTTP/1.1"),
        ("route", "default"),
        ("pool", "web"),
        ("backend", &address),
        ("user_agent", "it/1.0"),
        ("referer", "http://from.test/"),
    ];
    for (key, value) in texts {
        assert_eq!(line[key], value, "{key} in {line:#}");
    }
    assert!(is(&line, "ts", r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"), "{line:#}");
    for (key, value) in [("status", 200), ("attempts", 1), ("generation", 1)] {
        assert_eq!(line[key], value, "{key} in {line:#}");
    }
    for key in ["duration_ms", "connect_ms", "ttfb_ms"] {
        assert!(line[key].as_f64().is_some_and(|value| (0.0..10_000.0).contains(&value)), "{key} in {line:#}");
    }
    assert!(line["duration_ms"].as_f64() >= line["ttfb_ms"].as_f64(), "{line:#}");
    for (key, body) in [("bytes_in", 5), ("bytes_out", 4)] {
        assert!(line[key].as_u64().is_some_and(|bytes| bytes >= body), "{key} in {line:#}");
    }
    for key in ["failure", "user", "sticky", "cache", "limit", "tls_version", "sni"] {
        assert!(line.get(key).is_none(), "{key} does not apply: {line:#}");
    }
    assert!(!log.text().contains("secretquery"), "the query is not part of the path");
}

#[test]
fn what_does_not_apply_is_left_out() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "");
    let mut client = evenkeel.client();
    client.get("/first");
    client.get("/second");
    let lines = log.lines(2);
    assert!(lines[0].get("connect_ms").is_some(), "{:#}", lines[0]);
    assert_eq!(backend.connections(), 1, "the second went on a kept connection");
    assert!(lines[1].get("connect_ms").is_none(), "{:#}", lines[1]);
    for key in ["user_agent", "referer"] {
        assert!(lines[0].get(key).is_none(), "{key}: {:#}", lines[0]);
    }
}

#[test]
fn the_client_behind_a_trusted_proxy_is_named() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]).server("trusted_proxies = [\"127.0.0.1\"]"), "");
    let request = "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                   X-Request-Id: from-the-edge\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(request).status, 200);
    let line = log.line();
    assert_eq!((&line["client_ip"], &line["peer_ip"]), (&"192.0.2.7".into(), &"127.0.0.1".into()), "{line:#}");
    assert_eq!((&line["scheme"], &line["request_id"]), (&"https".into(), &"from-the-edge".into()), "{line:#}");
}

#[test]
fn an_answer_of_our_own_has_no_backend() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let toml = log.toml(&Setup::to(&[backend.address()]), "");
    let routes = "[[route]]\nname = \"old\"\npath = \"/old\"\nredirect = { to = \"/new\" }\n\n\
                  [[route]]\nname = \"hello\"\npath = \"/hello\"\nrespond = { status = 200, body = \"hello\" }\n\n\
                  [[route]]\nname = \"rest\"\npool = \"web\"\n";
    let evenkeel = Evenkeel::start(&format!("{toml}\n{routes}"));
    let mut client = evenkeel.client();
    for target in ["/old", "/hello", "/x"] {
        client.get(target);
    }
    let lines = log.lines(3);
    let said: Vec<_> =
        lines.iter().map(|line| (line["route"].as_str().unwrap(), line["status"].as_u64().unwrap())).collect();
    assert_eq!(said, [("old", 308), ("hello", 200), ("rest", 200)]);
    for line in &lines[..2] {
        for key in ["backend", "pool", "attempts", "connect_ms", "ttfb_ms", "failure"] {
            assert!(line.get(key).is_none(), "{key}: {line:#}");
        }
    }
    assert_eq!(lines[2]["pool"], "web");
}

/// A story of a failure: what the client does, and what the line says of it.
fn failing(setup: &Setup, request: &str, status: u16, word: &str) {
    let log = Log::new();
    let evenkeel = log.start(setup, "");
    let response = evenkeel.client().exchange(request);
    let line = log.line();
    assert_eq!((&line["status"], &line["failure"]), (&status.into(), &word.into()), "{line:#}");
    assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{line:#}");
    if response.status >= 400 {
        response.assert_refused(status, word);
    }
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn a_failure_says_why() {
    let dead = Backend::refused();
    let (fine, silent) = (Backend::ok("fine"), Backend::thinking());
    let resetting = Backend::raw(|conn, _| {
        conn.request();
        conn.reset();
    });
    let nonsense = Backend::http(|_| Reply::raw("nonsense\r\n\r\n").close());
    let cut = Backend::http(|_| Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").close());
    failing(&Setup::to(&[dead.address()]), GET, 502, "connect_refused");
    failing(&Setup::to(&[resetting.address()]), GET, 502, "reset");
    failing(&Setup::to(&[nonsense.address()]), GET, 502, "bad_response");
    failing(&Setup::to(&[silent.address()]).pool("response_timeout = \"100ms\""), GET, 504, "response_timeout");
    failing(&Setup::to(&[cut.address()]), GET, 200, "truncated");
    let large = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n";
    failing(&Setup::to(&[fine.address()]).listener("max_body_size = 10"), large, 413, "body_too_large");
    failing(
        &Setup::to(&[fine.address()]),
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
        405,
        "connect_denied",
    );
    let slow = "GET / HTTP/1.1\r\nHo";
    failing(&Setup::to(&[fine.address()]).listener("header_timeout = \"100ms\""), slow, 408, "request_timeout");
    let down = "health_check = { initial_state = \"down\" }";
    failing(&Setup::to(&[dead.address()]).pool(down), GET, 503, "no_backend");
}

#[test]
fn a_request_without_a_route_is_logged() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let toml = log.toml(&Setup::to(&[backend.address()]), "");
    let evenkeel = Evenkeel::start(&format!("{toml}\n[[route]]\nhost = \"shop.test\"\npool = \"web\"\n"));
    evenkeel.get("/x").assert_refused(404, "no_route");
    let line = log.line();
    assert_eq!((&line["status"], &line["failure"], &line["path"]), (&404.into(), &"no_route".into(), &"/x".into()));
    assert!(line["route"].as_str().unwrap_or_default().is_empty(), "{line:#}");
}

#[test]
fn a_client_that_left_is_499() {
    let (log, backend) = (Log::new(), Backend::thinking());
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "");
    let mut client = evenkeel.client();
    client.send(GET);
    wait_for("it is at the backend", || backend.requests() == 1);
    client.leave();
    let line = log.line();
    assert_eq!((&line["status"], &line["failure"]), (&499.into(), &"client_gone".into()), "{line:#}");
}

#[test]
fn attempts_are_counted() {
    let (log, dead, fine) = (Log::new(), Backend::refused(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[dead.address(), fine.address()]).pool("retry = {}"), "");
    for _ in 0..4 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    let lines = log.lines(4);
    let attempts: u64 = lines.iter().map(|line| line["attempts"].as_u64().unwrap()).sum();
    let made = evenkeel.metric("evenkeel_backend_requests_total", &[]);
    assert!(attempts >= 6 && attempts as f64 == made, "{attempts} in the log, {made} in the metric");
    for line in &lines {
        assert_eq!(line["backend"], fine.address().to_string(), "the one that answered: {line:#}");
        assert!(line.get("failure").is_none(), "the user noticed nothing: {line:#}");
    }
}

#[test]
fn a_malformed_request_is_logged() {
    let backend = Backend::http(|_| unreachable!("none is well formed"));
    let secret = "Authorization: Basic c2VjcmV0\r\nCookie: secret=1\r\n";
    let malformed = [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "NONSENSE\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
        format!("GET /secret?secret HTTP/1.1\r\nHost: a\r\nHost: b\r\n{secret}\r\n"),
        format!("GET / HTTP/1.1\r\n{secret}Host: a\r\nContent-Length: x\r\n\r\n"),
    ];
    for request in malformed {
        let log = Log::new();
        let evenkeel = log.start(&Setup::to(&[backend.address()]), "");
        assert_eq!(evenkeel.client().exchange(&request).status, 400);
        let line = log.line();
        assert_eq!((&line["status"], &line["failure"]), (&400.into(), &"bad_request".into()), "{request:?}: {line:#}");
        assert_eq!((&line["client_ip"], &line["listener"]), (&"127.0.0.1".into(), &"web".into()), "{line:#}");
        assert!(!log.text().contains("c2VjcmV0") && !log.text().contains("secret=1"), "{line:#}");
        assert!(line.get("backend").is_none(), "{line:#}");
    }
}

const SECRETS: &str = "GET /?token=secret4 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer secret1\r\n\
                       Cookie: session=secret2\r\nX-Tenant: acme\r\n\r\n";

fn with_secrets() -> Backend {
    let lines = "Set-Cookie: session=secret3\r\nX-Cache: hit\r\n";
    Backend::http(move |_| Reply::new("200 OK", lines, "fine"))
}

#[test]
fn secrets_are_never_written() {
    for format in ["json", "combined"] {
        let (log, backend) = (Log::new(), with_secrets());
        let evenkeel = log.start(&Setup::to(&[backend.address()]), &format!("access_format = \"{format}\""));
        assert_eq!(evenkeel.client().exchange(SECRETS).status, 200);
        wait_for("the line is written", || log.text().ends_with('\n'));
        assert!(!log.text().contains("secret"), "{format}: {}", log.text());
    }
}

#[test]
fn secrets_cannot_be_asked_for() {
    let backend = with_secrets();
    for field in ["request:authorization", "request:Cookie", "response:set-cookie"] {
        let log = Log::new();
        let toml = log.toml(&Setup::to(&[backend.address()]), &format!("access_fields = [\"{field}\"]"));
        let (code, said) = command(&["check", "-c"], &toml);
        assert_eq!(code, Some(1), "{field}: {said}");
        assert!(said.contains("access_fields") && said.contains(field), "{said}");
    }
}

#[test]
fn more_fields_can_be_asked_for() {
    let (log, backend) = (Log::new(), with_secrets());
    let keys = "access_fields = [\"request:x-tenant\", \"response:x-cache\", \"request:x-none\", \"query\"]";
    let evenkeel = log.start(&Setup::to(&[backend.address()]), keys);
    assert_eq!(evenkeel.client().exchange(SECRETS).status, 200);
    let line = log.line();
    assert_eq!(line["request:x-tenant"], "acme", "{line:#}");
    assert_eq!(line["response:x-cache"], "hit", "{line:#}");
    assert_eq!(line["query"], "token=secret4", "{line:#}");
    assert!(line.get("request:x-none").is_none(), "{line:#}");
}

#[test]
fn values_of_clients_never_break_a_line() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_fields = [\"request:x-in\"]");
    let request = b"GET /a%22b HTTP/1.1\r\nHost: test\r\nUser-Agent: a\"b\\c\td\r\nX-In: \xff\xfe\xc3\xa9\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(request).status, 200);
    let line = log.line();
    assert_eq!(line["user_agent"], "a\"b\\c\td", "{line:#}");
    assert!(line["request:x-in"].as_str().is_some_and(|text| !text.is_empty()), "{line:#}");
}

#[test]
fn a_sample_of_none_still_has_every_failure() {
    let log = Log::new();
    let backend = Backend::http(|request| match request.target.as_str() {
        "/bad" => Reply::raw("nonsense\r\n\r\n").close(),
        "/mine" => Reply::new("500 Internal Server Error", "", "mine"),
        _ => Reply::ok("fine"),
    });
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_sample = \"0%\"");
    for _ in 0..20 {
        assert_eq!(evenkeel.get("/").status, 200);
    }
    evenkeel.get("/bad").assert_refused(502, "bad_response");
    let mut client = evenkeel.client();
    client.send("NONSENSE\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert_eq!(evenkeel.get("/mine").status, 500);
    evenkeel.stop();
    let mut said: Vec<_> = parsed(&log.text()).iter().map(|line| line["status"].as_u64().unwrap()).collect();
    said.sort_unstable();
    assert_eq!(said, [400, 500, 502], "errors, and no other");
}

#[test]
fn a_sample_has_about_its_share() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_sample = \"25%\"");
    let mut client = evenkeel.client();
    for _ in 0..800 {
        assert_eq!(client.get("/").status, 200);
    }
    evenkeel.stop();
    let lines = parsed(&log.text()).len();
    // 200 is the mean and 12 the standard deviation.
    assert!((120..=280).contains(&lines), "{lines} of 800");
}

#[test]
fn a_route_may_be_silent_but_for_failures() {
    let log = Log::new();
    let backend = Backend::http(|request| match request.target.as_str() {
        "/health/bad" => Reply::raw("nonsense\r\n\r\n").close(),
        _ => Reply::ok("fine"),
    });
    let toml = log.toml(&Setup::to(&[backend.address()]), "");
    let routes = "[[route]]\nname = \"quiet\"\npath = \"/health/*\"\naccess = \"off\"\npool = \"web\"\n\n\
                  [[route]]\nname = \"rest\"\npool = \"web\"\n";
    let evenkeel = Evenkeel::start(&format!("{toml}\n{routes}"));
    for _ in 0..10 {
        assert_eq!(evenkeel.get("/health/x").status, 200);
    }
    evenkeel.get("/health/bad").assert_refused(502, "bad_response");
    assert_eq!(evenkeel.get("/x").status, 200);
    evenkeel.stop();
    let mut said: Vec<_> = parsed(&log.text())
        .iter()
        .map(|line| (line["route"].as_str().unwrap().to_owned(), line["status"].as_u64().unwrap()))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [("quiet".to_owned(), 502), ("rest".to_owned(), 200)]);
}

/// `clients` × `each` requests at once, with paths of `length` bytes.
fn load(evenkeel: &Evenkeel, clients: usize, each: usize, length: usize) {
    let path = format!("/{}", "x".repeat(length));
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = evenkeel.client();
                for _ in 0..each {
                    assert_eq!(client.get(&path).status, 200);
                }
            });
        }
    });
}

#[test]
fn under_load_every_request_has_its_line() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_overflow = \"wait\"");
    load(&evenkeel, 8, 500, 10);
    let lines = log.lines(4000);
    let mut ids: Vec<_> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4000, "each has a line of its own");
    assert_eq!(evenkeel.metric("evenkeel_log_dropped_total", &[]), 0.0);
}

/// A log that is a pipe, which takes only what is read from it: the slowest disk there is.
struct Pipe {
    file: File,
    text: Vec<u8>,
    lines: usize,
}

impl Pipe {
    fn new(log: &Log) -> Self {
        mknodat(CWD, &log.0, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&log.0).unwrap();
        Self { file, text: Vec::new(), lines: 0 }
    }

    /// Reads what it holds; how many lines have come so far.
    fn lines(&mut self) -> usize {
        let mut room = [0; 64 * 1024];
        while let Ok(read @ 1..) = self.file.read(&mut room) {
            self.text.extend_from_slice(&room[..read]);
            self.lines += room[..read].iter().filter(|&&byte| byte == b'\n').count();
        }
        self.lines
    }

    /// All lines, which must be whole.
    fn parsed(self) -> Vec<Value> {
        parsed(&String::from_utf8(self.text).unwrap())
    }
}

#[test]
fn what_a_slow_log_cannot_take_is_dropped_and_counted() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let mut pipe = Pipe::new(&log);
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_overflow = \"drop\"");
    let dropped = || evenkeel.metric("evenkeel_log_dropped_total", &[]) as usize;
    let mut requests = 0;
    wait_for("lines are dropped, and no request waits for one", || {
        load(&evenkeel, 4, 100, 7000);
        requests += 400;
        dropped() > 0
    });
    wait_for("every request is written or counted", || pipe.lines() + dropped() >= requests);
    assert_eq!(pipe.lines() + dropped(), requests);
    pipe.parsed();
}

#[test]
fn where_no_line_may_be_lost_requests_wait_for_a_slow_log() {
    let (log, backend, answered) = (Log::new(), Backend::ok("fine"), AtomicUsize::new(0));
    let evenkeel;
    // Ends before evenkeel does, which waits for its last lines to be read.
    let mut pipe = Pipe::new(&log);
    evenkeel = log.start(&Setup::to(&[backend.address()]), "access_overflow = \"wait\"");
    let path = format!("/{}", "x".repeat(7000));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = evenkeel.client();
                for _ in 0..300 {
                    assert_eq!(client.get(&path).status, 200);
                    answered.fetch_add(1, SeqCst);
                }
            });
        }
        let (mut before, mut since) = (0, Instant::now());
        wait_for("nobody gets an answer for a while", || {
            let now = answered.load(SeqCst);
            if now != before {
                (before, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_millis(300)
        });
        assert!(answered.load(SeqCst) < 1200, "nobody waits");
        wait_for("every request has its line", || pipe.lines() >= 1200);
    });
    assert_eq!(evenkeel.metric("evenkeel_log_dropped_total", &[]), 0.0);
    assert_eq!(pipe.parsed().len(), 1200);
}

#[test]
fn a_log_that_was_moved_is_opened_anew() {
    let (log, moved, backend) = (Log::new(), Log::new(), Backend::ok("fine"));
    let evenkeel = Process::spawn(&log.toml(&Setup::to(&[backend.address()]), ""));
    assert_eq!(evenkeel.client().get("/one").status, 200);
    assert_eq!(log.line()["path"], "/one");
    fs::rename(&log.0, &moved.0).unwrap();
    assert_eq!(evenkeel.client().get("/two").status, 200);
    assert_eq!(moved.lines(2)[1]["path"], "/two", "until it is told, it goes on in the same file");
    evenkeel.signal("USR1");
    wait_for("there is a new file", || log.0.exists());
    assert_eq!(evenkeel.client().get("/three").status, 200);
    assert_eq!(log.line()["path"], "/three");
    assert_eq!(moved.lines(2).len(), 2);
}

#[test]
fn rotation_under_load_loses_no_line() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = Process::spawn(&log.toml(&Setup::to(&[backend.address()]), "access_overflow = \"wait\""));
    let mut moved = Vec::new();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = evenkeel.client();
                    for _ in 0..300 {
                        assert_eq!(client.get("/").status, 200);
                    }
                })
            })
            .collect();
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            wait_for("there is a file", || log.0.exists());
            let old = Log::new();
            fs::rename(&log.0, &old.0).unwrap();
            moved.push(old);
            evenkeel.signal("USR1");
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(moved.len() > 1, "it was rotated under load");
    let count =
        || log.text().matches('\n').count() + moved.iter().map(|old| old.text().matches('\n').count()).sum::<usize>();
    wait_for("all lines are written", || count() >= 1200);
    assert_eq!(count(), 1200);
}

#[test]
fn the_end_of_the_process_loses_no_line() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let mut evenkeel = Process::spawn(&log.toml(&Setup::to(&[backend.address()]), ""));
    let mut client = evenkeel.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
    evenkeel.signal("TERM");
    assert!(evenkeel.wait().success());
    assert_eq!(parsed(&log.text()).len(), 200);
}

#[test]
fn the_log_may_go_to_stderr() {
    let backend = Backend::ok("fine");
    let toml = Setup::to(&[backend.address()]).toml().replace("access = \"off\"", "access = \"stderr\"");
    let evenkeel = Process::spawn(&toml);
    assert_eq!(evenkeel.client().get("/seen").status, 200);
    wait_for("the line is on stderr", || {
        evenkeel.log().iter().any(|line| line.starts_with('{') && line.contains("\"path\":\"/seen\""))
    });
}

#[test]
fn combined_is_what_tools_for_apache_and_nginx_read() {
    let (log, backend) = (Log::new(), Backend::ok("fine!"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "access_format = \"combined\"");
    evenkeel.client().exchange(FULL);
    wait_for("the first line is written", || log.text().matches('\n').count() == 1);
    let mut client = evenkeel.client();
    client.exchange("GET /x HTTP/1.1\r\nHost: test\r\nUser-Agent: a\"b\\c\r\n\r\n");
    wait_for("the second line is written", || log.text().matches('\n').count() == 2);
    client.send("NONSENSE\r\n\r\n");
    wait_for("the third line is written", || log.text().matches('\n').count() == 3);
    let (text, time) = (log.text(), r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]");
    let lines: Vec<_> = text.lines().collect();
    let first =
        format!(r#"^127\.0\.0\.1 - - {time} "POST /shop//cart HTTP/1\.1" 200 5 "http://from\.test/" "it/1\.0"$"#);
    assert!(Regex::new(&first).unwrap().is_match(lines[0]), "{first}\n{}", lines[0]);
    let second = format!(r#"^127\.0\.0\.1 - - {time} "GET /x HTTP/1\.1" 200 5 "-" "a(\\"|\\x22)b(\\\\|\\x5C)c"$"#);
    assert!(Regex::new(&second).unwrap().is_match(lines[1]), "{second}\n{}", lines[1]);
    let third = format!(r#"^127\.0\.0\.1 - - {time} "[^"]*" 400 \d+ "-" "-"$"#);
    assert!(Regex::new(&third).unwrap().is_match(lines[2]), "{third}\n{}", lines[2]);
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What the backend saw of the trace that a client sent, and the `trace_id` in the log.
fn traced(server: &str, lines: &str) -> (String, Option<String>, String) {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]).server(server), "");
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    assert_eq!(evenkeel.client().exchange(request).status, 200);
    let seen = backend.last();
    let parents = seen.head.fields.all("traceparent");
    assert_eq!(parents.len(), 1, "one parent: {seen:?}");
    let state = seen.field("tracestate").map(str::to_owned);
    (parents[0].to_owned(), state, log.line()["trace_id"].as_str().unwrap().to_owned())
}

fn parent(trace: &str) -> String {
    format!("traceparent: 00-{trace}-b7ad6b7169203331-01\r\ntracestate: rojo=1,congo=2\r\n")
}

/// A new parent, well formed, and the same trace in the log.
fn assert_new(parent: &str, id: &str) {
    let form = Regex::new("^00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-9a-f]$").unwrap();
    let found = form.captures(parent).unwrap_or_else(|| panic!("{parent}"));
    assert_eq!(&found[1], id);
    assert_ne!((&found[1], &found[2]), (TRACE, "b7ad6b7169203331"));
    assert!(found[1].bytes().any(|byte| byte != b'0') && found[2].bytes().any(|byte| byte != b'0'), "{parent}");
}

#[test]
fn the_trace_of_a_trusted_peer_is_passed_on_unchanged() {
    let (seen, state, id) = traced("trusted_proxies = [\"127.0.0.1\"]", &parent(TRACE));
    assert_eq!(seen, format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(state.as_deref(), Some("rojo=1,congo=2"));
    assert_eq!(id, TRACE);
}

#[test]
fn any_other_trace_is_replaced() {
    let trusted = "trusted_proxies = [\"127.0.0.1\"]";
    let zero = parent(&"0".repeat(32));
    let twice = format!("{}traceparent: 00-{TRACE}-b7ad6b7169203332-01\r\n", parent(TRACE));
    for (server, lines) in [
        ("", parent(TRACE).as_str()),
        ("", ""),
        (trusted, ""),
        (trusted, zero.as_str()),
        (trusted, "traceparent: nonsense\r\ntracestate: rojo=1\r\n"),
        (trusted, twice.as_str()),
        (trusted, "tracestate: rojo=1\r\n"),
    ] {
        let (seen, state, id) = traced(server, lines);
        assert_new(&seen, &id);
        assert_eq!(state, None, "{lines:?}");
    }
}

#[test]
fn each_request_has_a_trace_of_its_own() {
    let (log, backend) = (Log::new(), Backend::ok("fine"));
    let evenkeel = log.start(&Setup::to(&[backend.address()]), "");
    let mut client = evenkeel.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").status, 200);
    }
    for key in ["trace_id", "request_id"] {
        let mut ids: Vec<_> = log.lines(50).iter().map(|line| line[key].as_str().unwrap().to_owned()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 50, "{key}");
    }
}
