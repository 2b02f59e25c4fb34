//! Bodies and trailers, whole and in both directions, in every framing, with every version.

use std::io::{Read, Write};
use std::thread;

use crate::support::{Backend, Client, Conn, Gate, Reply, Rng, in_front_of, wait_for};

const MIB: usize = 1 << 20;

#[test]
fn bodies_of_every_size_go_both_ways() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = in_front_of(&backend);
    let mut rng = Rng::for_test("bodies of every size");
    let mut client = evenkeel.client();
    for size in [0, 1, 2, 100, 4095, 4096, 16_383, 16_384, 16_385, 65_536, 262_144, 300_000, 2 * MIB] {
        let body = rng.bytes(size);
        let mut writer = client.writer();
        let request = body.clone();
        let writing = thread::spawn(move || {
            let head = format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n");
            writer.write_all(&[head.as_bytes(), &request].concat()).unwrap();
        });
        let response = client.response();
        writing.join().unwrap();
        assert_eq!(response.field("content-length"), Some(size.to_string().as_str()));
        assert!(response.body == body, "{size} bytes");
    }
}

#[test]
fn chunks_go_both_ways_with_their_trailers() {
    let backend = Backend::http(|request| {
        let sum = request.trailers.get("x-sum").unwrap_or("none").to_owned();
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Back: {sum}\r\nx-two: 2\r\n\r\n"
        ))
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.exchange(
            "POST / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 42\r\nX-More: 1\r\n\r\n",
        );
        assert_eq!(backend.last().body, b"hello!");
        assert_eq!(backend.last().trailers.names(), ["X-Sum", "X-More"]);
        assert_eq!(response.text(), "abcdefg");
        assert_eq!(response.trailers.get("x-back"), Some("42"));
        assert_eq!(response.trailers.names(), ["X-Back", "x-two"]);
    }
}

#[test]
fn a_forbidden_trailer_of_a_response_is_dropped() {
    let backend = Backend::http(|_| {
        Reply::raw(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\
             Connection: close\r\nX-Fine: 1\r\n\r\n",
        )
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
        assert_eq!((response.text().as_str(), response.trailers.names()), ("ok", vec!["X-Fine"]));
    }
}

#[test]
fn a_body_until_close_becomes_chunks_and_the_client_stays() {
    let backend = Backend::http(|_| Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").close());
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.text(), "until the end");
        assert!(response.head.fields.lists("transfer-encoding", "chunked"), "{response:?}");
    }
}

#[test]
fn head_and_no_content_have_no_body_and_keep_their_length() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/head" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        "/head-chunked" => Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "/304" => Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n"),
        "/204" => Reply::raw("HTTP/1.1 204 No Content\r\n\r\n"),
        _ => Reply::ok("fine"),
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let head = client.exchange("HEAD /head HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!((head.status, head.field("content-length")), (200, Some("1000")));
        assert_eq!(client.exchange("HEAD /head-chunked HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
        let unchanged = client.get("/304");
        assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some("\"x\"")));
        let none = client.get("/204");
        assert_eq!((none.status, none.field("content-length"), none.field("transfer-encoding")), (204, None, None));
        assert_eq!(client.get("/").text(), "fine");
    }
    assert_eq!(backend.connections(), 1, "a connection is kept after an answer without a body");
}

#[test]
fn a_client_that_expects_100_gets_it_before_it_sends() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        let interim = client.wire.head().unwrap().unwrap();
        assert_eq!(interim.status().unwrap(), 100);
        client.send("hello");
        let response = client.response();
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
        assert!(response.interim.is_empty(), "one 100 is enough: {response:?}");
    }
}

#[test]
fn a_final_answer_instead_of_100_reaches_the_client() {
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        conn.finish();
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
}

#[test]
fn interim_answers_pass() {
    let backend = Backend::http(|_| {
        Reply::raw(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        )
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.get("/");
        let statuses: Vec<_> = response.interim.iter().map(|head| head.status().unwrap()).collect();
        assert_eq!((statuses, response.text().as_str()), (vec![103, 102], "ok"));
        assert_eq!(response.interim[0].fields.get("link"), Some("</a>; rel=preload"));
    }
}

#[test]
fn an_interim_answer_does_not_wait_for_the_final_one() {
    let gate = Gate::default();
    let go = gate.clone();
    let backend = Backend::raw(move |conn, _| {
        conn.request();
        conn.send("HTTP/1.1 103 Early Hints\r\n\r\n");
        go.pass();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.wire.head().unwrap().unwrap().status().unwrap(), 103);
    gate.open();
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks_and_no_interim_answers() {
    let backend = Backend::http(|_| {
        Reply::raw(
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let response = client.exchange("GET / HTTP/1.0\r\nHost: test\r\n\r\n");
    assert_eq!((response.text().as_str(), response.field("transfer-encoding")), ("hello", None));
    assert!(response.interim.is_empty(), "{response:?}");
    client.assert_closed();
}

#[test]
fn a_client_of_http_1_0_may_keep_its_connection() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(response.text(), "fine");
        assert!(response.head.fields.lists("connection", "keep-alive"), "{response:?}");
    }
    assert_eq!(client.exchange("GET / HTTP/1.0\r\nHost: test\r\n\r\n").text(), "fine");
    client.assert_closed();
}

#[test]
fn a_backend_of_http_1_0_is_asked_anew_each_time() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/length" => Reply::raw("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").close(),
        _ => Reply::raw("HTTP/1.0 200 OK\r\n\r\nhello").close(),
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    for target in ["/length", "/", "/length", "/"] {
        let response = client.get(target);
        assert_eq!(response.text(), "hello");
        assert!(response.head.start.starts_with("HTTP/1.1 200"), "{response:?}");
    }
    assert_eq!(backend.connections(), 4);
}

#[test]
fn a_request_that_ends_early_is_no_request() {
    let backend = Backend::http(|request| Reply::ok(request.body));
    let evenkeel = in_front_of(&backend);
    let halves = [
        "POST /half HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello",
        "POST /half HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
        "POST /half HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST /half HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "GET /half HTTP/1.1\r\nHost: te",
        "GET /half",
    ];
    for half in halves {
        let mut client = evenkeel.client();
        client.send(half);
        client.finish();
        assert!(!String::from_utf8_lossy(&client.rest()).contains("200 OK"));
    }
    wait_for("no exchange is left", || evenkeel.in_flight() == 0.0);
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
}

/// A request of `size` bytes in chunks or not, echoed by the backend while it comes; both sides move at once.
fn at_once(chunked: bool, size: usize) {
    let backend = Backend::raw(move |conn, _| {
        conn.wire.record = None;
        echo(conn, chunked, size);
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let mut writer = client.writer();
    let seed = Rng::for_test("both ways at once").next();
    let writing = thread::spawn(move || upload(&mut writer, chunked, size, seed));
    let head = client.head();
    let mut wanted = Rng::new(seed);
    let (mut expected, mut got) = (vec![0; 64 * 1024], 0);
    let framing = head.response_framing("POST").unwrap();
    client
        .wire
        .body(framing, &mut |mut piece| {
            while !piece.is_empty() {
                let offset = got % expected.len();
                if offset == 0 {
                    wanted.fill(&mut expected);
                }
                let part = piece.len().min(expected.len() - offset);
                assert!(piece[..part] == expected[offset..offset + part], "bytes differ after {got}");
                (piece, got) = (&piece[part..], got + part);
            }
        })
        .unwrap();
    writing.join().unwrap();
    assert_eq!(got, size);
}

fn upload(writer: &mut impl Write, chunked: bool, size: usize, seed: u64) {
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
    write!(writer, "POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n").unwrap();
    let (mut rng, mut piece) = (Rng::new(seed), vec![0; 64 * 1024]);
    for _ in 0..size / piece.len() {
        rng.fill(&mut piece);
        if chunked {
            write!(writer, "{:x}\r\n", piece.len()).unwrap();
        }
        writer.write_all(&piece).unwrap();
        if chunked {
            writer.write_all(b"\r\n").unwrap();
        }
    }
    if chunked {
        writer.write_all(b"0\r\n\r\n").unwrap();
    }
}

fn echo(conn: &mut Conn, chunked: bool, size: usize) {
    let Some(head) = conn.head() else { return };
    let framing = head.request_framing().unwrap();
    let mut out = conn.wire.stream.try_clone().unwrap();
    if chunked {
        out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    } else {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
    }
    let mut send = |piece: &[u8]| {
        if chunked && !piece.is_empty() {
            write!(out, "{:x}\r\n", piece.len()).unwrap();
        }
        out.write_all(piece).unwrap();
        if chunked && !piece.is_empty() {
            out.write_all(b"\r\n").unwrap();
        }
    };
    conn.wire.body(framing, &mut send).unwrap();
    if chunked {
        conn.send("0\r\n\r\n");
    }
    conn.wait_closed();
}

#[test]
fn sixty_four_mebibytes_go_up_and_down_at_once() {
    at_once(false, 64 * MIB);
}

#[test]
fn sixty_four_mebibytes_in_chunks_go_up_and_down_at_once() {
    at_once(true, 64 * MIB);
}

#[test]
fn a_body_arrives_piece_by_piece() {
    // Each piece is sent only when the one before has come back: nothing is held until a buffer is full.
    let backend = Backend::raw(|conn, _| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        let mut byte = [0];
        while conn.wire.pending().is_empty() && conn.wire.stream.read(&mut byte).is_ok_and(|read| read == 1) {
            conn.send(byte);
        }
    });
    let evenkeel = in_front_of(&backend);
    let mut client = Client::h1(evenkeel.address());
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(client.head().status().unwrap(), 200);
    for byte in *b"0123456789" {
        client.send([byte]);
        assert_eq!(client.exact(1), [byte]);
    }
}
