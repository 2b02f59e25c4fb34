//! Lets a backend send every malformed response, and looks at what the client gets, and at whether that connection is
//! used again.

use std::collections::HashSet;
use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::{fs, process};

use super::replies::{Fate, ROWS, Row};
use super::requests::check_refusal;
use crate::support::{Backend, Client, Conn, Evenkeel, PATIENCE, Response, Setup, Wire, in_front_of, latin1, wait_for};

#[test]
fn the_corpus_of_responses_is_large_and_no_name_stands_twice() {
    let mut names = HashSet::new();
    assert!(ROWS.len() >= 60, "{} cases", ROWS.len());
    assert!(ROWS.iter().all(|(name, ..)| names.insert(name)));
}

/// `/case/N` gets the bytes of row N; anything else gets an answer that names its connection.
fn misbehave(conn: &mut Conn) {
    while let Some(request) = conn.request() {
        match request.target.strip_prefix("/case/") {
            Some(number) => {
                let (_, bytes, close, _) = &ROWS[number.parse::<usize>().unwrap()];
                conn.send(bytes);
                if *close {
                    return;
                }
            }
            None => assert!(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")),
        }
    }
}

#[test]
fn no_malformed_response_gets_to_a_client_or_spoils_the_next_one() {
    let backend = Backend::raw(|conn, _| misbehave(conn));
    let evenkeel = in_front_of(&backend);
    let mut wrong = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        if let Err(what) = guarded(&evenkeel, &backend, number, row) {
            wrong.push(format!("{}: {what}", row.0));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

/// Asks for one row, then for a good answer, the way a client goes on.
fn guarded(evenkeel: &Evenkeel, backend: &Backend, number: usize, row: &Row) -> Result<(), String> {
    let mut client = evenkeel.client();
    client.send(format!("GET /case/{number} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let response = client.try_response("GET").map_err(|error| format!("no answer: {error}"))?;
    judge(&response, row.3)?;
    if response.cut {
        client = evenkeel.client();
    }
    let target = format!("/good/{number}");
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let good = client.try_response("GET").map_err(|error| format!("no next answer: {error}"))?;
    if (good.status, good.text().as_str()) != (200, "good") {
        return Err(format!("the next answer is {} {:?}", good.status, good.text()));
    }
    let seen = backend.seen();
    let connection = |target: &str| seen.iter().rfind(|request| request.target == target).map(|one| one.connection);
    if connection(&target) == connection(&format!("/case/{number}")) {
        return Err("its connection was used again".to_owned());
    }
    Ok(())
}

fn judge(response: &Response, fate: Fate) -> Result<(), String> {
    match fate {
        Fate::Refused(words) => {
            let word = words.iter().find(|word| response.word() == Some(**word)).unwrap_or(&words[0]);
            check_refusal(response, 502, word)
        }
        Fate::Broken if response.cut && response.status == 200 => Ok(()),
        Fate::Broken => check_refusal(response, 502, response.word().unwrap_or("bad_response")),
        Fate::Surplus(status, body) if (response.status, response.text().as_str()) == (status, body) => Ok(()),
        Fate::Surplus(..) => Err(format!("{} {:?}", response.status, response.text())),
    }
}

#[test]
fn a_response_that_is_cut_is_counted_as_truncated() {
    let backend = Backend::raw(|conn, _| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    });
    let evenkeel = in_front_of(&backend);
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let response = client.response();
    assert!(response.cut);
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    evenkeel.wait_failures("truncated", 1);
}

/// The answer to a client of a backend that sends `head` and then `line` until nobody takes it any more.
fn endless(head: &'static str, line: &'static str) -> Response {
    let backend = Backend::raw(move |conn, _| {
        conn.request();
        conn.send(head);
        let lines = line.repeat(100);
        // Bounded, so that an evenkeel without a bound fails instead of filling the memory: about 64 MiB.
        let mut left = (64 << 20) / lines.len();
        while left > 0 && conn.send(&lines) {
            left -= 1;
        }
    });
    let evenkeel = in_front_of(&backend);
    evenkeel.get("/")
}

#[test]
fn a_response_head_without_an_end_is_too_large() {
    endless("HTTP/1.1 200 OK\r\n", "X-Field: value\r\n").assert_refused(502, "response_head_too_large");
    endless("HTTP/1.1 200 OK\r\nX: ", "value").assert_refused(502, "response_head_too_large");
    endless("HTTP/1.1 200 ", "reason").assert_refused(502, "response_head_too_large");
}

#[test]
fn interim_answers_without_an_end_are_refused() {
    endless("", "HTTP/1.1 103 Early Hints\r\n\r\n").assert_refused(502, "bad_response");
}

/// Sends an answer of 200.
fn answer(backend: &mut Wire<UnixStream>, body: &str) {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    backend.stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
}

/// One request through evenkeel, and the body of what its client gets. `backend` gives the connection that it comes on.
fn pass<'b>(client: &mut Wire<UnixStream>, backend: impl FnOnce() -> &'b mut Wire<UnixStream>, body: &str) -> String {
    client.stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let backend = backend();
    assert!(backend.head().unwrap().is_some());
    answer(backend, body);
    let (head, mut got) = (client.head().unwrap().unwrap(), Vec::new());
    client.body(head.response_framing("GET").unwrap(), &mut |piece| got.extend_from_slice(piece)).unwrap();
    latin1(&got)
}

/// Over unix sockets: what was sent on one is there at once, and a worker reads a request after it has learnt what is
/// there on all of its sockets. Over TCP the first may be late, and the client's next request may have come before the
/// worker learns anything anew: then it cannot know of the backend's bytes either.
#[test]
fn a_response_without_a_request_spoils_its_connection() {
    let [front, back] = ["front", "back"].map(|name| {
        let name = format!("responses-{name}-{}.sock", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        path
    });
    let listener = UnixListener::bind(&back).unwrap();
    listener.set_nonblocking(true).unwrap();
    let next = || {
        let mut accepted = None;
        wait_for("evenkeel makes a new connection", || {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        over(accepted.unwrap().0)
    };
    let web = |address: &str| format!("name = \"web\"\naddress = \"{address}\"");
    let toml = Setup::to(&[]).toml().replace(&web("127.0.0.1:0"), &web(&format!("unix:{}", front.display())));
    let toml = toml.replace("backends = []", &format!("backends = [\"unix:{}\"]", back.display()));
    let _evenkeel = Evenkeel::start(&toml);
    let mut client = over(UnixStream::connect(&front).unwrap());
    let (mut first, mut second) = (None, None);
    assert_eq!(pass(&mut client, || first.insert(next()), "0"), "0");
    answer(first.as_mut().unwrap(), "poison");
    assert_eq!(pass(&mut client, || second.insert(next()), "1"), "1");
    for body in ["2", "3"] {
        assert_eq!(pass(&mut client, || second.as_mut().unwrap(), body), body);
    }
    fs::remove_file(&back).unwrap();
}

fn over(stream: UnixStream) -> Wire<UnixStream> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Wire::new(stream)
}

#[test]
fn an_answer_before_the_request_is_never_the_answer_to_the_next_one() {
    // The second answer comes together with the first: whatever a client asks next must not get it.
    let backend = Backend::raw(|conn, number| {
        conn.request();
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}{poison}"));
        conn.wait_closed();
    });
    let evenkeel = in_front_of(&backend);
    for number in 0..8 {
        assert_eq!(Client::h1(evenkeel.address()).get("/").text(), number.to_string());
    }
}
