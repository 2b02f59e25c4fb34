//! nghttp2's clients: nghttp, which shows every frame, and h2load, which counts.

use std::fs;

use super::*;

fn nghttp() -> Option<Program> {
    Program::find("nghttp", "nghttp2-client")
}

/// Runs nghttp, which trusts the authority of `edge`; its account of the frames.
fn frames(nghttp: &Program, edge: &Edge, words: &[&str]) -> String {
    let mut command = nghttp.command(words);
    let said = nghttp.finish(command.env("SSL_CERT_FILE", edge.file("ca.pem"))).fine();
    assert!(!said.contains("verification failed"), "{said}");
    said
}

/// How often `text` is in `said`.
fn count(said: &str, text: &str) -> usize {
    said.matches(text).count()
}

#[test]
fn streams_share_a_connection_and_fields_pass() {
    let Some(nghttp) = nghttp() else { return };
    let backend = Backend::http(|request| Reply::new("200 OK", "X-Answer: yes\r\n", request.target));
    let edge = Edge::new(&backend);
    for base in [edge.https(""), edge.http("")] {
        let urls: Vec<String> = (0..20).map(|number| format!("{base}/{number}")).collect();
        let fixed = ["-v", "--no-dep", "-H", "x-asked: of nghttp", "-H", "cookie: a=1", "-H", "cookie: b=2"];
        let words: Vec<&str> = fixed.into_iter().chain(urls.iter().map(String::as_str)).collect();
        let said = frames(&nghttp, &edge, &words);
        assert_eq!((count(&said, ":status: 200"), count(&said, "x-answer: yes")), (20, 20), "{said}");
        assert_eq!(count(&said, "recv RST_STREAM"), 0, "{said}");
        let seen = std::mem::take(&mut *backend.seen());
        assert_eq!(seen.len(), 20);
        for request in &seen {
            assert_eq!(request.field("x-asked"), Some("of nghttp"));
            assert_eq!(request.head.fields.all("cookie"), ["a=1; b=2"]);
        }
    }
    assert_eq!(edge.connections(), 1.0);
}

#[test]
fn trailers_pass_both_ways() {
    let Some(nghttp) = nghttp() else { return };
    let backend = Backend::raw(|conn, _| {
        while let Some(request) = conn.request() {
            let sum = request.trailers.get("x-sum").unwrap_or("none").to_owned();
            let body = String::from_utf8(request.body).unwrap();
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Sum-Back: {sum}\r\n\r\n",
                body.len()
            ));
        }
    });
    let edge = Edge::new(&backend);
    fs::write(edge.file("body"), "a body").unwrap();
    let (body, url) = (edge.file("body"), edge.https("/"));
    let words = ["-v", "-d", &body, "--no-content-length", "--trailer", "x-sum: 42", "-H", "te: trailers", &url];
    let said = frames(&nghttp, &edge, &words);
    assert!(said.contains("a body") && said.contains("x-sum-back: 42"), "{said}");
    assert_eq!(backend.last().trailers.0, [("x-sum".to_owned(), "42".to_owned())]);
}

#[test]
fn bodies_go_up_and_come_down_in_small_windows() {
    let Some(nghttp) = nghttp() else { return };
    let backend = echo();
    let edge = Edge::new(&backend);
    let body: Vec<u8> = pattern(700_000).iter().map(|byte| b'a' + byte % 26).collect();
    fs::write(edge.file("body"), &body).unwrap();
    let (up, url) = (edge.file("body"), edge.https("/"));
    for more in [&[][..], &["--expect-continue"], &["-w", "14", "-W", "14"], &["--padding", "200"]] {
        let said = frames(&nghttp, &edge, &[&["-d", &up, &url], more].concat());
        assert!(said.as_bytes() == body, "{more:?}: another body of {} bytes came back", said.len());
    }
}

#[test]
fn thousands_of_requests_and_not_one_fails() {
    let Some(h2load) = Program::find("h2load", "nghttp2-client") else { return };
    let backend = Backend::ok("fine");
    let edge = Edge::new(&backend);
    let runs = [
        (edge.https("/"), &["-n", "5000", "-c", "8", "-m", "32"][..], "h2", 8),
        (edge.http("/"), &["-n", "5000", "-c", "8", "-m", "32"], "h2c", 8),
        (edge.https("/"), &["-n", "2000", "-c", "8", "--h1"], "http/1.1", 8),
        // A connection to every five requests.
        (edge.https("/"), &["-n", "1000", "-c", "200", "-m", "5"], "h2", 200),
    ];
    for (url, words, protocol, _) in &runs {
        let said = h2load.run(&[words, &[url.as_str()][..]].concat()).fine();
        backend.forget();
        let total = words[1];
        let requests = format!(
            "requests: {total} total, {total} started, {total} done, {total} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        let codes = format!("status codes: {total} 2xx, 0 3xx, 0 4xx, 0 5xx");
        assert!(said.contains(&requests) && said.contains(&codes), "{said}");
        assert!(said.contains(&format!("Application protocol: {protocol}\n")), "{said}");
    }
    let secure: usize = runs.iter().filter(|run| run.0.starts_with("https")).map(|run| run.3).sum();
    assert_eq!(edge.connections(), secure as f64);
    assert_eq!(edge.requests(), 8000.0);
}
