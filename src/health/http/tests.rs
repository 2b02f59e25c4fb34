//! Checks by HTTP against a server that answers from a script.

use super::{super::probe::within, super::testing, *};
use crate::config::{Address, BodyMatch};
use serde_json::json;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, MutexGuard},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
};

const LONG: Duration = Duration::from_secs(20);

/// One answer, and what becomes of the connection then.
enum Answer {
    Keep(Vec<u8>),
    Close(Vec<u8>),
    Hang(Vec<u8>),
}
use Answer::{Close, Hang, Keep};

#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    /// By number of the connection.
    requests: Mutex<Vec<(usize, String)>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), requests: Mutex::default() })
    }

    async fn listen(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::clone(self);
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&script).converse(connection, stream));
            }
        });
        address
    }

    async fn converse(self: Arc<Self>, connection: usize, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(request) = receive(&mut stream).await {
            self.requests.lock().unwrap().push((connection, request));
            let answer = self.answers.lock().unwrap().pop_front();
            let (bytes, hang) = match answer.expect("an answer for each request") {
                Keep(bytes) => {
                    stream.write_all(&bytes).await.unwrap();
                    continue;
                }
                Close(bytes) => (bytes, false),
                Hang(bytes) => (bytes, true),
            };
            // A client that has seen enough may be gone.
            let _ = stream.write_all(&bytes).await;
            if hang {
                let _ = stream.read_u8().await;
            }
            return;
        }
    }

    fn requests(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.requests.lock().unwrap()
    }
}

/// One request with its body, in lower case but for that.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let mut text = String::from_utf8(bytes).unwrap();
    let length = text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    text.push_str(str::from_utf8(&body).unwrap());
    Some(text)
}

fn http(address: SocketAddr, port: u16, probe: &HttpProbe) -> Http {
    let backend = testing::backend(address);
    Http::new(Arc::new(Expected::new(probe)), Remote::new(&backend.address, port, &Arc::default(), None), &backend)
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Passed => "passed".into(),
        Outcome::Failed(reason) => reason.into_owned(),
        Outcome::Unasked(error) => panic!("{error}"),
    }
}

/// What one check says of one answer.
async fn outcome(answer: Answer, change: impl FnOnce(&mut HttpProbe)) -> String {
    let address = Script::new([answer]).listen().await;
    let mut probe = testing::http_probe();
    change(&mut probe);
    words(within(LONG, &mut http(address, 0, &probe)).await)
}

/// The request that one check sends, and the address that it is sent to.
async fn sent(change: impl FnOnce(&mut HttpProbe)) -> (SocketAddr, String) {
    let script = Script::new([Close(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())]);
    let address = script.listen().await;
    let mut probe = testing::http_probe();
    change(&mut probe);
    assert_eq!(words(within(LONG, &mut http(address, 0, &probe)).await), "passed");
    let (_, request) = script.requests().remove(0);
    (address, request)
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn the_smallest_request_says_who_asks_and_closes() {
    let (address, request) = sent(|_| {}).await;
    assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nhost: {address}\r\n")), "{request}");
    assert!(request.contains("\r\nuser-agent: evenkeel/"), "{request}");
    assert!(request.contains("(health)\r\n"), "{request}");
    assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
    assert!(!request.contains("content-length"), "{request}");
}

#[tokio::test]
async fn a_request_is_sent_as_configured_but_framing_is_ours() {
    let (_, request) = sent(|probe| {
        probe.method = "POST".into();
        probe.path = "/check?deep=1".into();
        probe.body = Some("{}".into());
        probe.host = Some("api.internal".into());
        probe.headers = [
            ("X-Token", "a"),
            ("user-agent", "probe"),
            ("content-length", "7"),
            ("transfer-encoding", "chunked"),
            ("connection", "keep-alive"),
            ("host", "other"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    })
    .await;
    assert!(request.starts_with("POST /check?deep=1 HTTP/1.1\r\n"), "{request}");
    for line in ["x-token: a", "user-agent: probe", "content-length: 2", "connection: close", "host: api.internal"] {
        assert_eq!(request.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line} in {request}");
    }
    assert!(!request.contains("chunked") && !request.contains("other"), "{request}");
    assert!(request.ends_with("\r\n\r\n{}"), "{request}");
}

#[tokio::test]
async fn what_cannot_be_sent_fails() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let changes: [fn(&mut HttpProbe); 3] = [
        |probe| probe.path = "not a path".into(),
        |probe| probe.method = "N O".into(),
        |probe| probe.headers = vec![("a b".into(), "x".into())],
    ];
    for change in changes {
        let mut probe = testing::http_probe();
        change(&mut probe);
        assert_eq!(words(http(address, 0, &probe).check().await), "request cannot be sent");
    }
}

#[tokio::test]
async fn another_port_is_asked_and_named() {
    let script = Script::new([Close(answer("200 OK", ""))]);
    let live = script.listen().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut probe = http(dead, live.port(), &testing::http_probe());
    assert_eq!(words(within(LONG, &mut probe).await), "passed");
    assert!(script.requests()[0].1.contains(&format!("\r\nhost: {live}\r\n")));
    let refused = words(within(LONG, &mut http(dead, 0, &testing::http_probe())).await);
    assert_eq!(refused, "connection refused");
}

#[tokio::test]
async fn a_unix_socket_is_asked_too() {
    let path = std::env::temp_dir().join(format!("evenkeel-health-http-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let script = Script::new([Close(answer("200 OK", ""))]);
    let serving = tokio::spawn(Arc::clone(&script).converse(0, {
        let mut probe = http(SocketAddr::from(([127, 0, 0, 1], 1)), 0, &testing::http_probe());
        probe.remote.address = Address::Unix(path.clone());
        let check = tokio::spawn(async move { words(within(LONG, &mut probe).await) });
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move { assert_eq!(check.await.unwrap(), "passed") });
        stream
    }));
    serving.await.unwrap();
    assert!(script.requests()[0].1.starts_with("GET /health HTTP/1.1\r\n"));
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn the_status_decides_and_interim_ones_do_not() {
    for (bytes, wanted) in [
        (answer("200 OK", "x"), "passed"),
        (answer("204 No Content", ""), "passed"),
        (answer("503 Service Unavailable", "sorry"), "status 503"),
        (answer("302 Found", ""), "status 302"),
        (b"HTTP/1.0 200 OK\r\n\r\nold".to_vec(), "passed"),
    ] {
        assert_eq!(outcome(Close(bytes), |_| {}).await, wanted);
    }
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec();
    let bytes = [interim, answer("200 OK", "")].concat();
    assert_eq!(outcome(Close(bytes), |_| {}).await, "passed");
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec();
    assert_eq!(outcome(Close(head), |probe| probe.method = "HEAD".into()).await, "passed");
}

#[tokio::test]
async fn a_body_is_looked_at_in_every_framing() {
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n".to_vec();
    for bytes in [answer("200 OK", "all well"), chunked, b"HTTP/1.1 200 OK\r\n\r\nall well".to_vec()] {
        let text = |text: &str| Some(BodyMatch::Contains(text.into()));
        assert_eq!(outcome(Close(bytes.clone()), |probe| probe.expect_body = text("all well")).await, "passed");
        let outcome = outcome(Close(bytes), |probe| probe.expect_body = text("ill")).await;
        assert_eq!(outcome, "body does not match");
    }
    let json = answer("200 OK", r#"{"checks": {"database": "lost"}}"#);
    let expected = vec![("checks.database".to_owned(), json!("connected"))];
    let outcome = outcome(Close(json), |probe| probe.expect_json = expected).await;
    assert_eq!(outcome, "json: checks.database");
}

#[tokio::test]
async fn a_long_body_is_judged_by_its_first_64_kib() {
    let size = conversation::BODY_SIZE;
    for (before, wanted) in [(size - 6, "passed"), (size - 5, "body does not match")] {
        let body = format!("{}needle{}", "x".repeat(before), "x".repeat(4 * size));
        let expected = Some(BodyMatch::Contains("needle".into()));
        let bytes = answer("200 OK", &body);
        assert_eq!(outcome(Close(bytes), |probe| probe.expect_body = expected).await, wanted, "{before}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_fails_where_it_matters() {
    let cut = || b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nok".to_vec();
    let expected = Some(BodyMatch::Contains("ok".into()));
    assert_eq!(outcome(Close(cut()), |probe| probe.expect_body = expected).await, "body was cut short");
    assert_eq!(outcome(Close(cut()), |_| {}).await, "passed");
}

#[tokio::test]
async fn a_body_without_end_does_not_hold_up_a_check_that_does_not_want_it() {
    let endless = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n".to_vec();
    assert_eq!(outcome(Hang(endless), |probe| probe.reuse = true).await, "passed");
}

#[tokio::test]
async fn no_answer_in_time_is_said_so() {
    for bytes in [&b""[..], b"HTTP/1.1 200 OK\r\n"] {
        let address = Script::new([Hang(bytes.to_vec())]).listen().await;
        let mut probe = http(address, 0, &testing::http_probe());
        assert_eq!(words(within(Duration::from_millis(50), &mut probe).await), "timed out");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_named() {
    for (bytes, wanted) in [
        (b"".to_vec(), "closed before a response"),
        (b"HTTP/1.1 200".to_vec(), "closed before a response"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec(), "bad response"),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n".to_vec(), "bad response"),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(200_000)).into_bytes(), "response head too large"),
        (format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(300)).into_bytes(), "response head too large"),
    ] {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        assert_eq!(outcome(Close(bytes), |_| {}).await, wanted, "{text}");
    }
}

/// The connections of three checks in a row with `reuse`, the second answer being `second`.
async fn connections(first: Answer, rest: impl IntoIterator<Item = Answer>) -> Vec<usize> {
    let script = Script::new([first].into_iter().chain(rest));
    let address = script.listen().await;
    let mut probe = testing::http_probe();
    probe.reuse = true;
    let mut probe = http(address, 0, &probe);
    for _ in 0..3 {
        assert_eq!(words(within(LONG, &mut probe).await), "passed");
    }
    script.requests().iter().map(|(connection, _)| *connection).collect()
}

#[tokio::test]
async fn a_kept_connection_serves_the_next_check() {
    let fine = || Keep(answer("200 OK", "fine"));
    assert_eq!(connections(fine(), [fine(), fine()]).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_kept_connection_that_is_dead_is_replaced_and_no_failure() {
    let fine = || Keep(answer("200 OK", "fine"));
    let closed = || Close(answer("200 OK", "fine"));
    assert_eq!(connections(closed(), [closed(), closed()]).await, [0, 1, 2], "closed between checks");
    assert_eq!(connections(fine(), [Close(Vec::new()), fine(), fine()]).await, [0, 0, 1, 1], "closed at the request");
    let half = Close(b"HTTP/1.1 20".to_vec());
    assert_eq!(connections(fine(), [half, fine(), fine()]).await, [0, 0, 1, 1], "closed in the response");
    let said = || Keep(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_vec());
    assert_eq!(connections(said(), [said(), said()]).await, [0, 1, 2], "as the backend said");
}

#[tokio::test]
async fn a_new_connection_that_dies_is_a_failure_after_a_kept_one_too() {
    let script = Script::new([Keep(answer("200 OK", "")), Close(Vec::new()), Close(Vec::new())]);
    let address = script.listen().await;
    let mut probe = testing::http_probe();
    probe.reuse = true;
    let mut probe = http(address, 0, &probe);
    assert_eq!(words(within(LONG, &mut probe).await), "passed");
    assert_eq!(words(within(LONG, &mut probe).await), "closed before a response");
    assert_eq!(script.requests().len(), 3);
}
