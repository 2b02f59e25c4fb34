//! The harness against itself, without a balancer: what it calls malformed, closed or refused is so.

use std::io::ErrorKind;

use crate::support::{Backend, Client, Gate, Reply, Rng, Wire, sum_of, wait_for};

#[test]
fn a_client_and_a_backend_understand_each_other() {
    let backend = Backend::http(|request| Reply::new("201 Created", "X-A: b\r\n", request.body));
    let mut client = Client::h1(backend.address());
    for body in [&b""[..], b"hello", &[7; 100_000]] {
        let response = client.with_body("PUT", "/x?y", body);
        assert_eq!((response.status, response.field("x-a"), response.body.as_slice()), (201, Some("b"), body));
    }
    assert_eq!((backend.connections(), backend.requests(), backend.seen().len()), (1, 3, 3));
    assert_eq!((backend.last().method.as_str(), backend.last().target.as_str()), ("PUT", "/x?y"));
    assert!(backend.records()[0].starts_with(b"PUT /x?y HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"));
}

#[test]
fn a_client_reads_all_framings_and_interim_answers() {
    let backend = Backend::http(|request| match request.target.as_str() {
        "/chunked" => {
            Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
        }
        "/hints" => Reply::raw("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        "/cut" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok").close(),
        _ => Reply::raw("HTTP/1.1 200 OK\r\n\r\nok").close(),
    });
    let mut client = Client::h1(backend.address());
    let chunked = client.get("/chunked");
    assert_eq!((chunked.text().as_str(), chunked.trailers.get("x-sum")), ("ok", Some("1")));
    let hints = client.get("/hints");
    assert_eq!((hints.status, hints.interim[0].fields.get("link")), (204, Some("x")));
    assert!(!client.get("/until-close").cut);
    client.assert_closed();
    let cut = Client::h1(backend.address()).get("/cut");
    assert_eq!((cut.text().as_str(), cut.cut), ("ok", true));
}

#[test]
fn a_malformed_message_is_an_error() {
    for bytes in [
        &b"HTTP/1.1 200 OK\n\n"[..],
        b"HTTP/1.1 200 OK\r\nX: y\rz\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ] {
        let backend = Backend::http(move |_| Reply::raw(bytes));
        let mut client = Client::h1(backend.address());
        client.send("GET / HTTP/1.1\r\n\r\n");
        let error = client.try_response("GET").expect_err("it is malformed");
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
    }
}

#[test]
fn a_killed_backend_refuses_and_comes_back_on_its_port() {
    let backend = Backend::ok("fine");
    let mut kept = Client::h1(backend.address());
    assert_eq!(kept.get("/").status, 200);
    for _ in 0..20 {
        backend.kill();
        wait_for("its connections are closed", || backend.open() == 0);
        let refused = Client::connect(backend.address()).err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        backend.restart();
        assert_eq!(Client::h1(backend.address()).get("/").status, 200);
    }
    kept.rest();
}

#[test]
fn a_port_refuses_or_does_not_answer_at_all() {
    let port = Backend::refused();
    assert!(Client::connect(port.address()).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    let _full = port.listen_full();
    let stream = std::net::TcpStream::connect_timeout(&port.address(), std::time::Duration::from_millis(100));
    assert!(stream.is_err_and(|error| error.kind() == ErrorKind::TimedOut));
}

#[test]
fn a_backend_can_reset_and_notices_a_reset() {
    let backend = Backend::raw(|conn, number| {
        conn.request();
        if number == 0 {
            conn.reset();
        } else {
            conn.wait_closed();
        }
    });
    let mut client = Client::h1(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    let error = client.try_response("GET").expect_err("it was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let mut client = Client::h1(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    wait_for("the request is there", || backend.requests() == 2);
    client.reset();
    wait_for("the reset is noticed", || backend.open() == 0);
}

#[test]
fn a_gate_holds_answers_back() {
    let gate = Gate::default();
    let backend = Backend::behind(&gate, "late");
    let mut client = Client::h1(backend.address());
    client.send("GET / HTTP/1.1\r\n\r\n");
    wait_for("the request is there", || backend.requests() == 1);
    gate.open();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn a_wire_that_is_cut_at_random_reads_the_same() {
    let mut rng = Rng::for_test("wire");
    let message =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    for _ in 0..200 {
        let mut wire = Wire::new(&message[..]);
        wire.splits = Some(rng.fork());
        let head = wire.head().unwrap().unwrap();
        let mut body = Vec::new();
        let framing = head.response_framing("GET").unwrap();
        let trailers = wire.body(framing, &mut |piece| body.extend_from_slice(piece)).unwrap();
        assert_eq!((body.as_slice(), trailers.get("x-sum")), (&b"hello world"[..], Some("1")));
    }
}

#[test]
fn series_are_summed_by_their_labels() {
    let text = "# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"1\",y=\"3\"} 4\na{x=\"2\",y=\"3\"} 5\nab 6\nb 7.5\n";
    assert_eq!(sum_of(text, "a", &[]), Some(12.0));
    assert_eq!(sum_of(text, "a", &[("x", "1")]), Some(7.0));
    assert_eq!(sum_of(text, "a", &[("y", "3"), ("x", "2")]), Some(5.0));
    assert_eq!(sum_of(text, "a", &[("x", "3")]), None);
    assert_eq!(sum_of(text, "b", &[]), Some(7.5));
}
