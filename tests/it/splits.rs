//! Ten thousand exchanges whose bytes are cut at random on all four sides come out equal.

use std::io::{self, Write};
use std::thread;

use crate::support::{Backend, Client, Conn, Evenkeel, Rng, in_front_of};

const EXCHANGES: usize = 10_000;
const THREADS: usize = 8;

/// Writes `bytes` in pieces of random sizes; after 200 of them the rest at once, so that a large body does not take all day.
fn write_split(rng: &mut Rng, out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    for _ in 0..200 {
        let piece = rng.split().min(rest.len());
        out.write_all(&rest[..piece])?;
        rest = &rest[piece..];
        if rest.is_empty() {
            return Ok(());
        }
        if rng.one_in(4) {
            thread::yield_now();
        }
    }
    out.write_all(rest)
}

/// A body in chunks of random sizes, or as it is with its length: the field line and the bytes.
fn framed(rng: &mut Rng, body: &[u8]) -> (String, Vec<u8>) {
    if rng.one_in(2) {
        return (format!("Content-Length: {}", body.len()), body.to_vec());
    }
    let (mut rest, mut bytes) = (body, Vec::new());
    while !rest.is_empty() {
        let (size, extension) = (rng.split().min(rest.len()), if rng.one_in(4) { ";x=\"y\"" } else { "" });
        write!(bytes, "{size:x}{extension}\r\n").unwrap();
        bytes.extend_from_slice(&rest[..size]);
        bytes.extend_from_slice(b"\r\n");
        rest = &rest[size..];
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    ("Transfer-Encoding: chunked".to_owned(), bytes)
}

/// Mostly small, now and then up to 128 KiB.
fn size(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => 0,
        1 => rng.below(128 * 1024),
        _ => rng.below(2048),
    }
}

/// Echoes the body of each request, cut and framed anew.
fn echo(conn: &mut Conn, seed: u64) {
    let mut rng = Rng::new(seed);
    conn.wire.splits = Some(rng.fork());
    conn.wire.record = None;
    while let Some(request) = conn.request() {
        let (framing, body) = framed(&mut rng, &request.body);
        let id = request.field("x-id").unwrap_or_default();
        let head = format!("HTTP/1.1 200 OK\r\nX-Id: {id}\r\n{framing}\r\n\r\n");
        let answer = [head.as_bytes(), &body].concat();
        if write_split(&mut rng, &mut conn.wire.stream, &answer).is_err() {
            return;
        }
    }
}

/// One exchange; its answer must be its own.
fn exchange(rng: &mut Rng, client: &mut Client, id: &str) {
    let length = size(rng);
    let body = rng.bytes(length);
    let (framing, bytes) = framed(rng, &body);
    let head = format!("POST /{id} HTTP/1.1\r\nHost: test\r\nX-Id: {id}\r\n{framing}\r\n\r\n");
    let request = [head.as_bytes(), &bytes].concat();
    let mut writer = client.writer();
    let mut splits = rng.fork();
    // The echo answers when it has the whole request, so a write that blocks is never waited for by the read.
    write_split(&mut splits, &mut writer, &request).unwrap();
    let response = client.response();
    assert_eq!((response.status, response.field("x-id"), response.cut), (200, Some(id), false));
    assert!(response.body == body, "{id}: {} bytes became {}", body.len(), response.body.len());
}

fn work(evenkeel: &Evenkeel, backend: &Backend, mut rng: Rng, worker: usize) {
    let connect = |rng: &mut Rng| {
        let mut client = evenkeel.client();
        client.wire.splits = Some(rng.fork());
        client
    };
    let mut client = connect(&mut rng);
    for number in 0..EXCHANGES / THREADS {
        exchange(&mut rng, &mut client, &format!("{worker}-{number}"));
        if rng.one_in(50) {
            client = connect(&mut rng);
            backend.forget();
        }
    }
}

#[test]
fn ten_thousand_exchanges_cut_at_random_come_out_equal() {
    let mut rng = Rng::for_test("splits");
    let seed = rng.next();
    let backend = Backend::raw(move |conn, number| echo(conn, seed ^ number as u64));
    let evenkeel = in_front_of(&backend);
    let workers: Vec<_> = (0..THREADS).map(|worker| (worker, rng.fork())).collect();
    thread::scope(|scope| {
        for (worker, rng) in workers {
            let (evenkeel, backend) = (&evenkeel, &backend);
            scope.spawn(move || work(evenkeel, backend, rng, worker));
        }
    });
    assert_eq!(backend.requests(), EXCHANGES);
}
