//! Over real sockets.

use std::fs;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use super::testing::{exchange, shared, socket, status};
use super::*;

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, test).await.expect("the test hangs") });
}

/// Serves on a free port; gives its address.
async fn start(limits: Limits) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = async move { serve_within(limits, Listener::Tcp(listener), shared(None).0, Access::Full).await };
    (address, tokio::spawn(serving))
}

async fn ask(address: &str, line: &str, host: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    exchange(stream, &format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
}

#[test]
fn metrics_and_health_are_answered() {
    run(async {
        let (address, _) = start(LIMITS).await;
        let metrics = ask(&address, "GET /metrics?x=y", &address).await;
        assert_eq!(status(&metrics), "200");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("\nevenkeel_worker_connections{worker=\"0\"} 0\n"), "{metrics}");
        assert!(metrics.contains("\nprocess_open_fds "), "{metrics}");
        let health = ask(&address, "GET /healthz", "lb-1").await;
        assert!(status(&health) == "200" && health.ends_with("\r\n\r\nok"), "{health}");
        for path in ["/metrics", "/healthz"] {
            let head = ask(&address, &format!("HEAD {path}"), &address).await;
            assert!(status(&head) == "200" && head.ends_with("\r\n\r\n"), "{head}");
            assert!(head.contains("content-length: ") && !head.contains("content-length: 0"), "{head}");
        }
    });
}

#[test]
fn what_is_wrong_is_a_problem_document() {
    run(async {
        let (address, _) = start(LIMITS).await;
        for (line, host, expected) in [
            ("GET /index.html", &*address, "404"),
            ("POST /", &address, "405"),
            ("POST /api/v1/events", &address, "405"),
            ("GET /", "evil.example", "403"),
            ("GET /api/v1/events", "evil.example", "403"),
            ("GET /metrics/", &address, "404"),
            ("POST /nowhere", &address, "404"),
            ("POST /metrics", &address, "405"),
            ("OPTIONS /healthz", &address, "405"),
            ("GET /metrics", "evil.example", "403"),
            ("GET /nowhere", "evil.example", "403"),
            ("GET /metrics", "localhost\r\nOrigin: null", "403"),
            ("GET /metrics", "localhost\r\nHost: localhost", "400"),
        ] {
            let answer = ask(&address, line, host).await;
            assert_eq!(status(&answer), expected, "{line} {answer}");
            assert!(answer.contains("content-type: application/problem+json"), "{answer}");
            assert!(answer.contains(&format!("\"status\":{expected},")), "{answer}");
            assert_eq!(answer.contains("allow: GET, HEAD"), expected == "405", "{answer}");
        }
    });
}

#[test]
fn a_unix_socket_asks_for_no_name() {
    run(async {
        let path = socket();
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(serve(Listener::Unix(listener), shared(None).0, Access::Full));
        let stream = UnixStream::connect(&path).await.unwrap();
        let request = "GET /healthz HTTP/1.1\r\nHost: any.example\r\nOrigin: null\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&exchange(stream, request).await), "200");
        fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    run(async {
        let (address, _) = start(LIMITS).await;
        let stream = TcpStream::connect(&address).await.unwrap();
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let last = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answers = exchange(stream, &format!("{request}{request}{last}")).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    });
}

#[test]
fn a_connection_above_the_limit_waits_for_its_turn() {
    run(async {
        let (address, _) = start(Limits { connections: 2, ..LIMITS }).await;
        let mut idle = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
            idle.push(stream);
        }
        let mut third = pin!(ask(&address, "GET /healthz", "localhost"));
        assert!(timeout(Duration::from_millis(100), third.as_mut()).await.is_err());
        idle.pop();
        assert_eq!(status(&third.await), "200");
    });
}

#[test]
fn who_says_nothing_makes_room_for_those_who_ask() {
    run(async {
        let (address, _) = start(Limits { connections: 3, ..LIMITS }).await;
        let mut asked = TcpStream::connect(&address).await.unwrap();
        let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        asked.write_all(request).await.unwrap();
        assert!(asked.read(&mut [0; 512]).await.unwrap() > 0);
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
            silent.push(stream);
        }
        assert_eq!(status(&ask(&address, "GET /healthz", "localhost").await), "200");
        assert_eq!(silent[0].read(&mut [0; 512]).await.unwrap_or_default(), 0, "the oldest has gone");
        asked.write_all(request).await.unwrap();
        assert!(asked.read(&mut [0; 512]).await.unwrap() > 0, "who has asked before stays");
    });
}

#[test]
fn a_slow_head_an_old_connection_and_a_large_head_are_ended() {
    run(async {
        let short = Duration::from_millis(50);
        let (slow, _) = start(Limits { head: short, ..LIMITS }).await;
        let stream = TcpStream::connect(&slow).await.unwrap();
        assert!(!exchange(stream, "GET /healthz HTTP/1.1\r\n").await.contains("200"));

        let (old, _) = start(Limits { age: short, grace: short, head: LIMITS.age, ..LIMITS }).await;
        let stream = TcpStream::connect(&old).await.unwrap();
        let answer = exchange(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(status(&answer), "200");

        let large = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_SIZE));
        let answer = exchange(TcpStream::connect(&slow).await.unwrap(), &large).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    });
}

#[test]
fn dropping_the_server_closes_its_connections() {
    run(async {
        let (address, serving) = start(LIMITS).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 512]).await.unwrap() > 0);
        serving.abort();
        assert_eq!(stream.read(&mut [0; 512]).await.unwrap(), 0);
    });
}
