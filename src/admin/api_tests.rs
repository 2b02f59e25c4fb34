//! The API over real sockets, with a played control behind it.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;

use super::testing::{Play, TOKEN, exchange, shared, socket, status};
use super::*;
use crate::telemetry::testing::Lines;

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("the test hangs") });
}

/// A listener on a free port, and what it shares.
struct Server {
    address: String,
    shared: Shared,
}

impl Server {
    async fn start(play: Play, limits: Limits, access: Access) -> Self {
        let (shared, commands) = shared(Some(TOKEN));
        tokio::spawn(play.run(commands));
        Self::serve(shared, limits, access).await
    }

    async fn serve(shared: Shared, limits: Limits, access: Access) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve_within(limits, Listener::Tcp(listener), shared.clone(), access));
        Self { address, shared }
    }

    async fn full() -> Self {
        Self::start(Play::default(), LIMITS, Access::Full).await
    }

    /// The answer to a request with these further fields, each ending in CRLF.
    async fn ask(&self, line: &str, fields: &str, body: &str) -> String {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let length = body.len();
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
        exchange(stream, &format!("{head}{fields}\r\n{body}")).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path}"), "", "").await
    }

    /// With the token.
    async fn with_token(&self, line: &str, body: &str) -> String {
        self.ask(line, &bearer(), body).await
    }
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn detail(answer: &str) -> String {
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert_eq!(body(answer)["status"].to_string(), status(answer));
    body(answer)["detail"].as_str().unwrap_or_default().to_owned()
}

const BACKEND: &str = "PATCH /api/v1/pools/web/backends/a";
const ADD: &str = "POST /api/v1/pools/web/backends";
const REMOVE: &str = "DELETE /api/v1/pools/web/backends/a";

#[test]
fn backends_are_added_and_removed() {
    run(async {
        let server = Server::full().await;
        let new = r#"{"address": "10.0.0.9:80", "name": "c", "weight": 2}"#;
        let added = server.with_token(ADD, new).await;
        assert_eq!((status(&added), &body(&added)["name"]), ("201", &json!("c")), "{added}");
        assert_eq!(status(&server.with_token(ADD, new).await), "409");
        for (wrong, word) in [
            ("", "JSON object"),
            ("[]", "JSON object"),
            (r#"{"weight": 2}"#, "a backend wants an address"),
            (r#"{"address": "10.0.0.9:80", "wieght": 2}"#, "did you mean `weight`"),
        ] {
            let answer = server.with_token(ADD, wrong).await;
            assert!(status(&answer) == "400" && detail(&answer).contains(word), "{answer}");
        }
        assert_eq!(status(&server.with_token("POST /api/v1/pools/none/backends", new).await), "404");
        assert_eq!(status(&server.with_token(REMOVE, r#"{"deadline": 5}"#).await), "400");
        let removed = server.with_token(REMOVE, r#"{"deadline": "5s"}"#).await;
        assert_eq!((status(&removed), &body(&removed)["name"]), ("200", &json!("a")), "{removed}");
        assert_eq!(status(&server.with_token(REMOVE, "").await), "404");
        for line in [ADD, REMOVE, "POST /api/v1/rollback", "POST /api/v1/reload", BACKEND] {
            let body = if line == ADD {
                new
            } else if line == BACKEND {
                r#"{"weight": 1}"#
            } else {
                ""
            };
            let stale = server.ask(line, &format!("{}If-Match: \"6\"\r\n", bearer()), body).await;
            assert_eq!(status(&stale), "412", "{line}: {stale}");
        }
    });
}

#[test]
fn a_difference_is_told_to_those_who_show_the_token() {
    run(async {
        let server = Server::full().await;
        let diff = server.with_token("POST /api/v1/diff", "listener = 1").await;
        assert_eq!((status(&diff), &body(&diff)["drains"]), ("200", &json!(3)), "{diff}");
        assert!(diff.contains("etag: \"7\"\r\n"), "{diff}");
        let none = server.with_token("POST /api/v1/diff", "same").await;
        assert_eq!(body(&none)["changes"], json!([]));
        let refused = server.with_token("POST /api/v1/reload", r#"{"if_drops": 2}"#).await;
        assert_eq!(status(&refused), "409", "{refused}");
    });
}

#[test]
fn status_and_pools_are_told_with_their_generation() {
    run(async {
        let server = Server::full().await;
        let told = server.get("/api/v1/status").await;
        assert!(status(&told) == "200" && told.contains("etag: \"7\"\r\n"), "{told}");
        for field in
            ["content-type: application/json\r\n", "cache-control: no-store\r\n", "x-content-type-options: nosniff\r\n"]
        {
            assert!(told.contains(field), "{field} {told}");
        }
        let told = body(&told);
        assert_eq!(
            (&told["generation"], &told["phase"], &told["uptime_seconds"]),
            (&json!(7), &json!("running"), &json!(3723))
        );
        assert_eq!(told["config"]["last_reload_successful"], json!(true));
        assert_eq!(told["overrides"], json!([{"pool": "api", "backend": "b", "what": "weight 3, 1 in the file"}]));

        let pools = server.get("/api/v1/pools").await;
        assert!(pools.contains("etag: \"7\"\r\n"), "{pools}");
        let backend = json!({
            "name": "a", "address": "10.0.0.1:80", "state": "ready", "weight": 1, "effective_weight": 1.0, "in_flight": 3,
            "requests": 42, "errors": 2, "circuit": "closed", "since": "2026-01-02T03:04:05Z",
        });
        let pools = body(&pools);
        assert_eq!(pools.as_object().unwrap().len(), 1);
        assert_eq!(pools["pools"][0]["backends"][0], backend);
        assert_eq!(told["pools"], pools["pools"]);

        let pool = server.get("/api/v1/pools/%77eb?x=y").await;
        assert!(pool.contains("etag: \"7\"\r\n"), "{pool}");
        assert_eq!(body(&pool), pools["pools"][0]);

        let head = server.ask("HEAD /api/v1/pools", "", "").await;
        assert!(status(&head) == "200" && head.ends_with("\r\n\r\n") && head.contains("etag: \"7\""), "{head}");
    });
}

#[test]
fn a_pool_is_opened_and_left_to_its_breaker() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    run(async {
        let server = Server::full().await;
        let pool = "PATCH /api/v1/pools/web";
        for (word, circuit) in [("open", "open"), ("auto", "closed")] {
            let answer = server.with_token(pool, &format!(r#"{{"circuit": "{word}"}}"#)).await;
            assert_eq!((status(&answer), &body(&answer)["circuit"]), ("200", &json!(circuit)), "{answer}");
        }
        for (sent, named) in [("{}", "nothing to change"), (r#"{"circuit": "closed"}"#, "`auto`"), ("[]", "object")] {
            let answer = server.with_token(pool, sent).await;
            assert!(status(&answer) == "400" && detail(&answer).contains(named), "{answer}");
        }
        let open = r#"{"circuit": "open"}"#;
        assert_eq!(status(&server.ask(pool, "", open).await), "401");
        assert_eq!(status(&server.ask(pool, &format!("{}If-Match: \"6\"\r\n", bearer()), open).await), "412");
        assert_eq!(status(&server.with_token("PATCH /api/v1/pools/none", open).await), "404");
    });
    let text = lines.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("admin API")).collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("from=\"closed\" to=\"open\"") && lines[0].contains("by=\"127.0.0.1:"), "{text}");
    assert!(lines[2].contains("someone else was faster"), "{text}");
}

#[test]
fn what_is_not_there_is_404_with_its_name() {
    run(async {
        let server = Server::full().await;
        let pool = server.get("/api/v1/pools/n%C3%A9").await;
        assert_eq!((status(&pool), detail(&pool)), ("404", "there is no pool \"né\"".into()));
        for (line, named) in [
            ("PATCH /api/v1/pools/none/backends/a", "pool \"none\""),
            ("PATCH /api/v1/pools/web/backends/b%0A", "backend \"b\\n\""),
        ] {
            let answer = server.with_token(line, r#"{"weight": 1}"#).await;
            assert!(status(&answer) == "404" && detail(&answer).contains(named), "{answer}");
        }
        assert_eq!(status(&server.get("/api/v1/pools/web/").await), "404");
        assert_eq!(status(&server.get("/api/v1/pools/%zz").await), "400");
    });
}

#[test]
fn other_methods_are_405_with_those_that_there_are() {
    run(async {
        let server = Server::full().await;
        for (line, allow) in [
            ("POST /api/v1/status", "GET, HEAD"),
            ("DELETE /api/v1/pools/web", "GET, HEAD, PATCH"),
            ("GET /api/v1/pools/web/backends", "POST"),
            ("GET /api/v1/pools/web/backends/a", "DELETE, PATCH"),
            ("GET /api/v1/reload", "POST"),
            ("POST /api/v1/chaos", "PUT"),
            ("PUT /readyz", "GET, HEAD"),
        ] {
            let answer = server.with_token(line, "").await;
            assert!(status(&answer) == "405" && answer.contains(&format!("allow: {allow}\r\n")), "{line} {answer}");
            assert!(detail(&answer).starts_with("use "), "{answer}");
        }
    });
}

#[test]
fn a_backend_is_changed() {
    run(async {
        let server = Server::full().await;
        let answer = server.with_token(BACKEND, r#"{"state": "drain", "weight": 0, "deadline": "5m"}"#).await;
        assert_eq!(status(&answer), "200", "{answer}");
        let view = body(&answer);
        assert_eq!(
            (&view["state"], &view["weight"], &view["reason"]),
            (&json!("drain"), &json!(0), &json!("within 300s"))
        );
        assert_eq!(body(&server.get("/api/v1/pools/web").await)["backends"][0], view);
        for (path, state) in [("unix%3A%2Frun%2Fx", "maintenance"), ("unix:/run/x", "ready")] {
            let line = format!("PATCH /api/v1/pools/web/backends/{path}");
            let answer = server.with_token(&line, &format!(r#"{{"state": "{state}"}}"#)).await;
            assert!(status(&answer) == "200" && body(&answer)["state"] == state, "{answer}");
        }
    });
}

#[test]
fn a_change_that_makes_no_sense_is_400_with_why() {
    run(async {
        let server = Server::full().await;
        for (sent, named) in [
            ("", "JSON object"),
            ("[\"drain\"]", "JSON object"),
            ("{", "EOF"),
            ("{} {}", "trailing"),
            ("{\"weight\": 1, \"x\": \"\u{1}\"}", "`x`"),
            (r#"{"wieght": 1}"#, "`wieght`"),
            (r#"{"state": "up"}"#, "`maintenance`"),
            (r#"{"weight": 1001}"#, "1000"),
            (r#"{"state": "drain", "deadline": "5"}"#, "\"5m\""),
            ("{}", "nothing to change"),
            (r#"{"weight": 666}"#, "not that one"),
        ] {
            let answer = server.with_token(BACKEND, sent).await;
            assert!(status(&answer) == "400" && detail(&answer).contains(named), "{sent} {answer}");
        }
    });
}

#[test]
fn chaos_is_set_shown_and_ended() {
    run(async {
        let server = Server::full().await;
        let line = "PUT /api/v1/chaos";
        let rule = r#"{"route": "api", "share": "10%", "for": "5m", "delay": "200ms"}"#;
        let shown =
            json!([{ "route": "api", "share": "10%", "delay": "200ms", "ends": "2026-01-02T03:09:05Z", "hits": 7 }]);
        let answer = server.with_token(line, rule).await;
        assert_eq!((status(&answer), &body(&answer)["chaos"]), ("200", &shown), "{answer}");
        assert_eq!(body(&server.get("/api/v1/status").await)["chaos"], shown);
        for (sent, code, named) in [
            (r#"{"route": "none", "share": "1%", "for": "1m", "reset": true}"#, "404", "route \"none\""),
            (r#"{"share": "1%", "for": "1m"}"#, "400", "nothing to rehearse"),
            ("", "400", "JSON object"),
        ] {
            let answer = server.with_token(line, sent).await;
            assert!(status(&answer) == code && detail(&answer).contains(named), "{answer}");
        }
        let stale = format!("{}If-Match: \"6\"\r\n", bearer());
        assert_eq!(status(&server.ask(line, &stale, "{}").await), "412");
        let answer = server.with_token(line, "{}").await;
        assert_eq!((status(&answer), &body(&answer)["chaos"]), ("200", &json!([])));
        assert_eq!(body(&server.get("/api/v1/status").await)["chaos"], Value::Null);
    });
}

#[test]
fn a_change_needs_the_token() {
    run(async {
        let server = Server::full().await;
        let lines = [
            BACKEND,
            "PATCH /api/v1/pools/none/backends/a",
            "POST /api/v1/reload",
            "PUT /api/v1/chaos",
            "POST /api/v1/rollback",
            "POST /api/v1/diff",
            ADD,
            REMOVE,
        ];
        for line in lines {
            for fields in ["", "Authorization: Bearer 0123456789abcdeX\r\n", "Authorization: Basic x\r\n"] {
                let answer = server.ask(line, fields, r#"{"weight": 1}"#).await;
                assert!(status(&answer) == "401" && answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
                assert!(!answer.contains(TOKEN) && !detail(&answer).is_empty(), "{answer}");
            }
        }
        assert_eq!(body(&server.get("/api/v1/status").await)["generation"], 7);

        // A reload of ours may bring another token, or take it away.
        server.shared.token.store(Some(Arc::new(Secret::new(b"another-token-of-16"))));
        assert_eq!(status(&server.with_token("POST /api/v1/reload", "").await), "401");
        let other = "Authorization: Bearer another-token-of-16\r\n";
        assert_eq!(status(&server.ask("POST /api/v1/reload", other, "").await), "200");
        server.shared.token.store(None);
        let answer = server.ask("POST /api/v1/reload", other, "").await;
        assert!(status(&answer) == "403" && detail(&answer).contains("admin.token"), "{answer}");
        assert!(!answer.contains("www-authenticate"), "{answer}");
    });
}

#[test]
fn pages_of_other_sites_change_nothing() {
    run(async {
        let server = Server::full().await;
        for fields in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
            let answer = server.ask("POST /api/v1/reload", &format!("{}{fields}", bearer()), "").await;
            assert!(status(&answer) == "403" && detail(&answer).contains("Origin"), "{answer}");
        }
        let own = format!("{}Origin: http://localhost:1\r\n", bearer());
        assert_eq!(status(&server.ask("POST /api/v1/reload", &own, "").await), "200");
    });
}

#[test]
fn on_a_unix_socket_neither_token_nor_name_is_asked() {
    run(async {
        let (shared, commands) = shared(None);
        tokio::spawn(Play::default().run(commands));
        let path = socket();
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(serve(Listener::Unix(listener), shared, Access::Full));
        let request = "POST /api/v1/reload HTTP/1.1\r\nHost: x\r\nOrigin: null\r\nConnection: close\r\n\r\n";
        let answer = exchange(UnixStream::connect(&path).await.unwrap(), request).await;
        assert!(status(&answer) == "200" && answer.contains("etag: \"8\""), "{answer}");
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn whoever_was_slower_gets_412() {
    run(async {
        let server = Server::full().await;
        let ask = async |line, matches: &str, sent| {
            server.ask(line, &format!("{}If-Match: {matches}\r\n", bearer()), sent).await
        };
        let weight = r#"{"weight": 2}"#;
        for matches in ["\"7\"", "7", "*"] {
            assert_eq!(status(&ask(BACKEND, matches, weight).await), "200", "{matches}");
        }
        for (line, sent) in [(BACKEND, weight), ("POST /api/v1/reload", "")] {
            let answer = ask(line, "\"6\"", sent).await;
            assert!(status(&answer) == "412" && answer.contains("etag: \"7\"\r\n"), "{answer}");
            assert!(detail(&answer).contains('7'), "{answer}");
            for wrong in ["\"x\"", "\"7\"\r\nIf-Match: \"6\""] {
                assert_eq!(status(&ask(line, wrong, sent).await), "400", "{wrong}");
            }
        }
        assert_eq!(status(&ask("POST /api/v1/reload", "\"7\"", "").await), "200");
    });
}

#[test]
fn a_reload_tells_its_generation_or_the_problems() {
    run(async {
        let server = Server::full().await;
        for (number, sent) in [(8, ""), (9, "{}"), (10, " \n")] {
            let answer = server.with_token("POST /api/v1/reload", sent).await;
            assert!(answer.contains(&format!("etag: \"{number}\"\r\n")), "{answer}");
            assert_eq!(body(&answer), json!({"generation": number, "notes": ["workers: needs a restart"]}));
        }
        let answer = server.with_token("POST /api/v1/reload", r#"{"if_drop": 0}"#).await;
        assert!(status(&answer) == "400" && detail(&answer).contains("if_drops"), "{answer}");

        let problems = "error: unknown key \"x\"\n --> evenkeel.toml:1:1\n";
        let play = Play { file: Some(problems.into()), ..Play::default() };
        let server = Server::start(play, LIMITS, Access::Full).await;
        let answer = server.with_token("POST /api/v1/reload", "").await;
        assert_eq!((status(&answer), detail(&answer)), ("422", problems.into()));
        assert_eq!(body(&server.get("/api/v1/status").await)["config"]["error"], problems);
    });
}

#[test]
fn a_body_is_bounded_in_size_and_time() {
    run(async {
        let server = Server::full().await;
        let fits = format!("{{\"weight\": 1{}}}", " ".repeat(64 * 1024 - 13));
        assert_eq!(fits.len(), 64 * 1024);
        assert_eq!(status(&server.with_token(BACKEND, &fits).await), "200");
        for size in [1, 200 * 1024] {
            let answer = server.with_token(BACKEND, &format!("{fits}{}", " ".repeat(size))).await;
            assert!(status(&answer) == "413" && detail(&answer).contains("64 KiB"), "{answer}");
        }
        let limits = Limits { body: Duration::from_millis(50), ..LIMITS };
        let server = Server::start(Play::default(), limits, Access::Full).await;
        let slow = format!("{BACKEND} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n{}\r\n{{", bearer());
        let answer = exchange(TcpStream::connect(&server.address).await.unwrap(), &slow).await;
        assert_eq!(status(&answer), "408", "{answer}");
    });
}

#[test]
fn a_stuck_control_is_504_and_none_is_503() {
    run(async {
        let limits = Limits { command: Duration::from_millis(50), ..LIMITS };
        let play = Play { stuck: true, ..Play::default() };
        let stuck = Server::start(play, limits, Access::Full).await;
        let (gone, commands) = shared(Some(TOKEN));
        drop(commands);
        let gone = Server::serve(gone, limits, Access::Full).await;
        for (line, sent) in [
            ("GET /api/v1/status", ""),
            ("GET /api/v1/pools", ""),
            ("GET /api/v1/pools/web", ""),
            (BACKEND, r#"{"weight": 1}"#),
            ("POST /api/v1/reload", ""),
        ] {
            let answer = stuck.with_token(line, sent).await;
            assert!(status(&answer) == "504" && detail(&answer).contains("50ms"), "{answer}");
            assert_eq!(status(&gone.with_token(line, sent).await), "503", "{line}");
        }
        assert_eq!(status(&stuck.get("/healthz").await), "200");
    });
}

#[test]
fn a_command_that_is_dropped_is_503() {
    run(async {
        let (shared, mut commands) = shared(Some(TOKEN));
        tokio::spawn(async move { while commands.recv().await.is_some() {} });
        let server = Server::serve(shared, LIMITS, Access::Full).await;
        assert_eq!(status(&server.get("/api/v1/status").await), "503");
        assert_eq!(status(&server.with_token(BACKEND, r#"{"weight": 1}"#).await), "503");
    });
}

#[test]
fn readiness_ends_with_draining() {
    run(async {
        let server = Server::full().await;
        let ready = server.get("/readyz").await;
        assert!(status(&ready) == "200" && ready.ends_with("\r\n\r\nok"), "{ready}");
        server.shared.draining.store(true, Relaxed);
        let draining = server.get("/readyz").await;
        assert!(status(&draining) == "503" && draining.ends_with("\r\n\r\ndraining"), "{draining}");
        assert_eq!(status(&server.ask("HEAD /readyz", "", "").await), "503");
        assert_eq!(status(&server.get("/healthz").await), "200");
    });
}

#[test]
fn a_metrics_address_serves_scrapers_alone_under_any_name() {
    run(async {
        let server = Server::start(Play::default(), LIMITS, Access::MetricsOnly).await;
        for (path, expected) in [
            ("/metrics", "200"),
            ("/healthz", "200"),
            ("/readyz", "200"),
            ("/api/v1/status", "404"),
            ("/api/v1/pools", "404"),
            ("/api/v1/reload", "404"),
            ("/", "404"),
        ] {
            let stream = TcpStream::connect(&server.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: lb.example.com\r\nConnection: close\r\n\r\n");
            assert_eq!(status(&exchange(stream, &request).await), expected, "{path}");
        }
        assert_eq!(status(&server.with_token("POST /api/v1/reload", "").await), "404");
        assert_eq!(status(&server.with_token("POST /metrics", "").await), "405");
    });
}

#[test]
fn changes_are_logged_with_who_and_from_what_to_what() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    run(async {
        let server = Server::full().await;
        server.with_token(BACKEND, r#"{"state": "drain"}"#).await;
        server.with_token("PATCH /api/v1/pools/web/backends/x%0Afaked", r#"{"weight": 2}"#).await;
        server.with_token("POST /api/v1/reload", "").await;
        for _ in 0..3 {
            server.ask(BACKEND, "Authorization: Bearer x\r\n", r#"{"weight": 9}"#).await;
        }
    });
    let text = lines.text();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("admin API")).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("by=\"127.0.0.1:") && lines[0].contains("backend=\"a\""), "{text}");
    assert!(lines[0].contains("from=\"ready, weight 1\" to=\"drain, weight 1\""), "{text}");
    assert!(lines[1].contains("refused") && lines[1].contains("x\\nfaked"), "{text}");
    assert!(lines[2].contains("generation=8"), "{text}");
    assert!(lines.iter().all(|line| line.contains("evenkeel::audit")), "{text}");
    let refused: Vec<_> = text.lines().filter(|line| line.contains("the token is")).collect();
    assert_eq!(refused.len(), 1, "{text}");
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn a_change_is_logged_even_if_its_client_has_left() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    run(async {
        let (shared, mut commands) = shared(Some(TOKEN));
        let server = Server::serve(shared, LIMITS, Access::Full).await;
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let request =
            format!("POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{}\r\n", bearer());
        stream.write_all(request.as_bytes()).await.unwrap();
        let Some(Command::Reload { reply, .. }) = commands.recv().await else { panic!("not what was asked") };
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        reply.send(Ok(command::Reloaded { generation: 8, notes: Vec::new() })).unwrap();
        while !lines.text().contains("generation=8") {
            tokio::task::yield_now().await;
        }
    });
}
