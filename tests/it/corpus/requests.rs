//! Sends every malformed request and looks at both sides: the client gets its status and is closed, the backend sees
//! nothing that it could take for a request.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use super::{Case, Stage, oversize, requests};
use crate::support::{Backend, Client, Evenkeel, Head, Reply, Response, Setup, Wire, in_front_of, latin1, wait_for};

/// The statuses after which the connection is closed (PRODUCT.md section 12).
const CLOSING: [u16; 5] = [400, 408, 413, 414, 431];

#[test]
fn the_corpus_is_large_and_no_name_stands_twice() {
    let cases = requests();
    let mut names = HashSet::new();
    let twice: Vec<_> = cases.iter().filter(|case| !names.insert(&case.name)).map(|case| &case.name).collect();
    assert!(cases.len() >= 260, "{} cases", cases.len());
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn no_malformed_request_gets_an_answer_of_the_backend_or_gets_out() {
    let backend = Backend::ok("fine");
    let small = format!("[[listener]]\nname = \"small\"\naddress = \"127.0.0.1:0\"\n{}", oversize::SMALL);
    let evenkeel = Evenkeel::start(&format!("{}\n{small}\n", Setup::to(&[backend.address()]).toml()));
    let cases = requests();
    let next = AtomicUsize::new(0);
    let run = || {
        let mut wrong = Vec::new();
        while let Some((number, case)) = take(&next, &cases) {
            if let Err(what) = refused(&evenkeel, number, case) {
                wrong.push(format!("{} ({}): {what}", case.name, case.why));
            }
        }
        wrong
    };
    let mut wrong: Vec<String> = thread::scope(|scope| {
        let runners: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        runners.into_iter().flat_map(|runner| runner.join().unwrap()).collect()
    });
    // What was sent to the backend for a body that turned out bad is cut: evenkeel leaves.
    wait_for("no exchange is in flight", || evenkeel.in_flight() == 0.0);
    let body = |number: usize| cases[number].stage == Stage::Body;
    wrong.extend(leaks(&backend, |start| (0..cases.len()).any(|number| body(number) && start.contains(&mark(number)))));
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn take<'a>(next: &AtomicUsize, cases: &'a [Case]) -> Option<(usize, &'a Case)> {
    let number = next.fetch_add(1, SeqCst);
    cases.get(number).map(|case| (number, case))
}

/// The text that stands for `MARK` in the case `number`.
pub(super) fn mark(number: usize) -> String {
    format!("case-{number}-")
}

/// The case as it goes on the wire.
pub(super) fn marked(number: usize, bytes: &[u8]) -> Vec<u8> {
    let Some(at) = bytes.windows(4).position(|window| window == b"MARK") else { return bytes.to_vec() };
    [&bytes[..at], mark(number).as_bytes(), &bytes[at + 4..]].concat()
}

/// Sends one case; what was wrong with the answer.
fn refused(evenkeel: &Evenkeel, number: usize, case: &Case) -> Result<(), String> {
    let mut client = Client::h1(evenkeel.listener(case.listener));
    // evenkeel may answer and close before it has all: that is not an error of this side.
    let _ = client.try_send(marked(number, &case.bytes));
    let response = client.try_response("GET").map_err(|error| format!("no answer: {error}"))?;
    check_refusal(&response, case.status, case.word)?;
    if CLOSING.contains(&case.status) {
        return closed(&mut client);
    }
    match client.get("/good-after").status {
        200 => Ok(()),
        other => Err(format!("{other} for a good request on the same connection")),
    }
}

/// Whether `response` is evenkeel's own, with this status and word.
pub(super) fn check_refusal(response: &Response, status: u16, word: &str) -> Result<(), String> {
    let said = response.word();
    if (response.status, said) != (status, Some(word)) {
        return Err(format!("{} {said:?}, not {status} {word}; {:?}", response.status, response.head.fields.0));
    }
    match response.field("content-type") {
        Some(kind) if kind.starts_with("application/problem+json") => Ok(()),
        other => Err(format!("content type {other:?}")),
    }
}

fn closed(client: &mut Client) -> Result<(), String> {
    match client.wire.fill() {
        Ok(0) => Ok(()),
        Ok(_) => Err(format!("more after the answer: {:?}", latin1(client.wire.pending()))),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(format!("not closed: {error}")),
    }
}

/// What the backend got and should not have; `streaming` = a body that is cut may follow this request line.
pub(super) fn leaks(backend: &Backend, streaming: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for record in backend.records() {
        if latin1(&record).contains("/smuggled HTTP/") {
            wrong.push(format!("smuggled to the backend: {:?}", latin1(&record)));
        }
        for (head, whole) in parse(&record) {
            let fine = head.start.contains("/good-") || (!whole && streaming(&head.start));
            if !fine {
                wrong.push(format!("at the backend: {:?}, whole: {whole}", head.start));
            }
        }
    }
    wrong
}

/// The requests in what a connection brought, and whether each is whole. Nonsense is a request that is whole.
fn parse(mut record: &[u8]) -> Vec<(Head, bool)> {
    let mut wire = Wire::new(&mut record);
    let mut requests = Vec::new();
    loop {
        match wire.head() {
            Ok(None) => return requests,
            Ok(Some(head)) => {
                let whole = head.request_framing().and_then(|framing| wire.body(framing, &mut |_| ())).is_ok();
                requests.push((head, whole));
                if !whole {
                    return requests;
                }
            }
            Err(error) => {
                requests.push((Head { start: format!("nonsense: {error}"), ..Head::default() }, true));
                return requests;
            }
        }
    }
}

#[test]
fn a_malformed_request_behind_a_good_one_is_refused_after_its_answer() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let poison: [&[u8]; 8] = [
        b"GET /poison HTTP/1.1\r\n\r\n",
        b"GET /poison HTTP/1.1\nHost: test\n\n",
        b"GET /poison\\ HTTP/1.1\r\nHost: test\r\n\r\n",
        b"POST /poison HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /poison HTTP/2.0\r\nHost: test\r\n\r\n",
        b"X\r\n\r\nGET /poison HTTP/1.1\r\nHost: test\r\n\r\n",
        b"\r\n\r\nGET /poison HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET /poison HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\nGET /poison HTTP/1.1\r\nHost: test\r\n\r\n",
    ];
    for poison in poison {
        let mut client = evenkeel.client();
        let good = b"POST /good HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello";
        client.send([&good[..], poison].concat());
        assert_eq!(client.response().text(), "fine", "{:?}", latin1(poison));
        client.response().assert_refused(400, "bad_request");
        client.assert_closed();
    }
    assert!(backend.seen().iter().all(|request| request.target == "/good"), "{:?}", backend.seen());
    assert!(!backend.records().iter().any(|record| latin1(record).contains("poison")));
}

#[test]
fn what_follows_a_refused_request_is_never_read_as_one() {
    let backend = Backend::ok("fine");
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    let refused = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5, 6\r\n\r\n";
    client.send(format!("{refused}{}", "GET /poison HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100)));
    client.response().assert_refused(400, "bad_request");
    client.assert_closed();
    assert_eq!(backend.requests(), 0);
}

#[test]
fn a_malformed_request_is_refused_wherever_it_is_split() {
    let backend = Backend::http(|_| Reply::ok("fine"));
    let evenkeel = in_front_of(&backend);
    let bad = b"POST /bad HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n";
    for split in 1..bad.len() {
        let mut client = evenkeel.client();
        client.send(&bad[..split]);
        // It may be refused before the second half comes.
        let _ = client.try_send(&bad[split..]);
        client.response().assert_refused(400, "bad_request");
    }
    assert_eq!(backend.requests(), 0);
}
