//! What a reload would change and end, told before it is done: `evenkeel diff`, `POST /api/v1/diff`, `reload --if-drops`.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::{Backend, Client, Conn, Gate, Process, Response, bearer, call, h2, json, scrape, told, wait_for};

const HEAD: &str = "[server]\nworkers = 2\ndrain_timeout = \"1s\"\n\n[log]\naccess = \"off\"\n\n\
                    [admin]\naddress = \"127.0.0.1:0\"\ntoken = { env = \"EVENKEEL_TEST_TOKEN\" }\n\n";
const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const CHAT: &str = "[[route]]\nname = \"chat\"\npath = \"/chat\"\npool = \"chat\"\n";
const SLOW: &str = "[[route]]\nname = \"slow\"\npath = \"/slow\"\npool = \"slow\"\n";
const REST: &str = "[[route]]\nname = \"rest\"\npool = \"web\"\n";

/// A tunnel that stays, an exchange that waits for its gate, and whatever else there is.
fn versatile(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::raw(move |conn: &mut Conn, _| {
        while let Some(request) = conn.request() {
            match request.target.as_str() {
                "/chat" => {
                    conn.send(SWITCH);
                    return conn.wait_closed();
                }
                "/slow" => gate.pass(),
                _ => {}
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
        }
    })
}

/// Listeners `web` and `more`, pools `web`, `chat` and `slow`, each with a backend of its own.
struct Story {
    gate: Gate,
    backends: Arc<[Backend; 3]>,
    evenkeel: Process,
    toml: String,
}

impl Story {
    fn new() -> Self {
        let gate = Gate::default();
        let backends = Arc::new([(); 3].map(|()| versatile(&gate)));
        let mut toml = HEAD.to_owned();
        for name in ["web", "more"] {
            toml += &format!("[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\n\n");
        }
        for (name, backend) in ["web", "chat", "slow"].iter().zip(backends.iter()) {
            let off = "health_check = { type = \"off\" }\nretry = { attempts = 0 }\nslow_start = \"0s\"";
            toml += &format!("[pool.{name}]\nbackends = [\"{}\"]\n{off}\n\n", backend.address());
        }
        toml += &[CHAT, SLOW, REST].concat();
        let evenkeel = Process::spawn(&toml);
        Self { gate, backends, evenkeel, toml }
    }

    fn admin(&self) -> SocketAddr {
        self.evenkeel.listener("admin")
    }

    /// What a reload of `toml` would change.
    #[track_caller]
    fn diff(&self, toml: &str) -> Value {
        let answer = self.post("diff", toml);
        assert_eq!(answer.status, 200, "{}", answer.text());
        json(&answer)
    }

    fn post(&self, what: &str, body: &str) -> Response {
        call(self.admin(), &format!("POST /api/v1/{what}"), &bearer(), body)
    }

    /// Three tunnels, two exchanges that wait, and four kept connections of the listener `more`.
    fn busy(&self) -> (Vec<Client>, Vec<Client>, Vec<Client>) {
        let web = self.evenkeel.address();
        let tunnel = |_| {
            let mut client = Client::h1(web);
            client.send(ASK);
            assert_eq!(client.head().status().unwrap(), 101);
            client
        };
        let waiting = |_| {
            let mut client = Client::h1(web);
            client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        };
        let kept = |_| {
            let mut client = Client::h1(self.evenkeel.listener("more"));
            assert_eq!(client.get("/").text(), "fine");
            client
        };
        let all = ((0..3).map(tunnel).collect(), (0..2).map(waiting).collect(), (0..4).map(kept).collect());
        wait_for("the exchanges are on their way", || self.backends[2].requests() == 2);
        all
    }

    /// The file without what stands between `from` and the next empty line.
    fn without(&self, from: &str) -> String {
        without(&self.toml, from)
    }
}

/// `toml` without what stands between `from` and the next empty line.
fn without(toml: &str, from: &str) -> String {
    let start = toml.find(from).unwrap_or_else(|| panic!("no {from:?}"));
    let end = toml[start..].find("\n\n").map_or(toml.len(), |end| start + end + 2);
    format!("{}{}", &toml[..start], &toml[end..])
}

/// What is told of one thing alone.
fn only(diff: &Value) -> &Value {
    let changes = diff["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{diff}");
    &changes[0]
}

#[test]
fn what_would_end_is_counted_by_what_it_ends_for() {
    let story = Story::new();
    let (_tunnels, _waiting, _kept) = story.busy();
    assert_eq!(story.diff(&story.toml)["changes"], json!([]));
    assert_eq!(story.diff(&story.toml)["drains"], 0);

    let listener = story.diff(&story.without("[[listener]]\nname = \"more\""));
    assert_eq!((&only(&listener)["kind"], &only(&listener)["change"]), (&json!("listener"), &json!("removed")));
    assert_eq!(only(&listener)["drains"], json!({ "connections": 4, "exchanges": 0, "tunnels": 0 }));
    assert_eq!((&listener["drains"], &listener["within"]), (&json!(4), &json!("1s")));

    let moved = story.toml.replace(&story.backends[2].address().to_string(), "127.0.0.1:1");
    let backend = story.diff(&moved);
    let drains: Vec<_> = backend["changes"].as_array().unwrap().iter().map(|change| &change["drains"]).collect();
    assert_eq!(drains, [&Value::Null, &json!({ "connections": 0, "exchanges": 2, "tunnels": 0 })], "{backend}");

    let route = story.diff(&story.toml.replace(CHAT, ""));
    assert_eq!(only(&route)["drains"], json!({ "connections": 0, "exchanges": 0, "tunnels": 3 }));

    // The tunnels go with their route and with their pool, and are three all the same.
    let pool = story.diff(&story.without("[pool.chat]").replace(CHAT, ""));
    assert_eq!((&pool["drains"], pool["changes"].as_array().map(Vec::len)), (&json!(3), Some(2)), "{pool}");

    let goes = &pool["changes"].as_array().unwrap().iter().find(|change| change["kind"] == "pool").unwrap()["drains"];
    assert_eq!(*goes, json!({ "connections": 0, "exchanges": 0, "tunnels": 3 }), "{pool}");

    // Elsewhere than where it was, a tunnel is one still.
    let moved = story.diff(&story.toml.replace(&story.backends[1].address().to_string(), "127.0.0.1:1"));
    assert_eq!(moved["changes"][1]["drains"], json!({ "connections": 0, "exchanges": 0, "tunnels": 3 }), "{moved}");

    let denied = story.toml.replacen("name = \"web\"", "name = \"web\"\ndeny = [\"127.0.0.0/8\"]", 1);
    assert_eq!(story.diff(&denied)["drains"], 5, "those who may not be here any more");

    let test = "[[test]]\nrequest = { url = \"http://test/chat\" }\nexpect = { route = \"rest\" }\n";
    let tested = story.diff(&format!("{}\n{test}", story.toml));
    assert_eq!(tested["changes"], json!([]), "a test is nothing that runs");
    assert!(tested["notes"][0].as_str().is_some_and(|note| note.contains("[[test]]")), "{tested}");

    let limit = story.diff(&story.toml.replace("[pool.slow]\n", "[pool.slow]\nmax_in_flight = 9\n"));
    let key = json!([{ "key": "max_in_flight", "new": "9" }]);
    assert_eq!((&only(&limit)["keys"], &limit["drains"]), (&key, &json!(0)), "a setting drains nothing");
}

#[test]
fn what_was_counted_is_what_ends() {
    for gone in ["[[listener]]\nname = \"more\"", "[pool.chat]"] {
        let story = Story::new();
        let (tunnels, waiting, kept) = story.busy();
        let toml = if gone.contains("chat") { story.without(gone).replace(CHAT, "") } else { story.without(gone) };
        let counted = story.diff(&toml)["drains"].as_u64().unwrap();
        story.evenkeel.reload(&toml);
        let ended = |clients: Vec<Client>| {
            let is_over = |mut client: Client| !client.silent_for(std::time::Duration::from_millis(1500));
            let over: Vec<_> = clients.into_iter().map(|client| std::thread::spawn(move || is_over(client))).collect();
            over.into_iter().map(|over| u64::from(over.join().unwrap())).sum::<u64>()
        };
        let all = ended(tunnels) + ended(waiting) + ended(kept);
        assert_eq!(all, counted, "{gone}");
    }
}

#[test]
fn what_ends_already_and_what_is_within_another_is_not_counted_again() {
    let story = Story::new();
    let toml = story.toml.replace("drain_timeout = \"1s\"", "drain_timeout = \"30s\"");
    story.evenkeel.reload(&toml);
    let more = story.evenkeel.listener("more");
    let slow = |listener| {
        let mut client = Client::h1(listener);
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let _first = slow(story.evenkeel.address());
    h2::run(async {
        let client = h2::connect(more).await;
        let asked = [(); 2].map(|()| {
            let client = client.clone();
            tokio::task::spawn_local(async move { h2::ask(&client, h2::to("GET", "/slow"), b"").await })
        });
        let backends = Arc::clone(&story.backends);
        let there = move || wait_for("all three are there", || backends[2].requests() == 3);
        tokio::task::spawn_blocking(there).await.unwrap();
        // Two streams of one connection.
        let listener = story.diff(&without(&toml, "[[listener]]\nname = \"more\""));
        assert_eq!(listener["drains"], 1, "{listener}");
        assert_eq!(only(&listener)["drains"], json!({ "connections": 1, "exchanges": 0, "tunnels": 0 }));
        story.gate.open();
        for asked in asked {
            assert_eq!(asked.await.unwrap().unwrap().text(), "fine");
        }
    });
}

#[test]
fn who_is_shut_out_already_is_not_counted_again() {
    let story = Story::new();
    let toml = story.toml.replace("drain_timeout = \"1s\"", "drain_timeout = \"30s\"");
    let (_tunnels, mut waiting, _kept) = story.busy();
    let denied = toml.replacen("name = \"web\"", "name = \"web\"\ndeny = [\"127.0.0.0/8\"]", 1);
    story.evenkeel.reload(&denied);
    assert_eq!(story.diff(&denied)["drains"], 0, "they end already");
    story.gate.open();
    assert_eq!(waiting[0].response().text(), "fine");
}

#[test]
fn a_reload_that_would_drain_too_much_is_refused() {
    let story = Story::new();
    let (_tunnels, mut waiting, _kept) = story.busy();
    let toml = story.toml.replace(&story.backends[2].address().to_string(), "127.0.0.1:1");
    story.evenkeel.rewrite(&toml);
    let generation = story.evenkeel.generation();
    let refused = story.post("reload", "{\"if_drops\": 1}");
    assert_eq!(refused.status, 409, "{}", refused.text());
    for word in ["2 live connections", "pool \\\"slow\\\"", "2 exchanges", "at most 1"] {
        assert!(refused.text().contains(word), "{word}: {}", refused.text());
    }
    let (code, _, said) = story.evenkeel.operate(&["reload", "--if-drops", "0"]);
    assert_eq!((code, story.evenkeel.generation()), (Some(1), generation), "{said}");
    assert!(story.evenkeel.last_reload(), "the file has no problem");
    assert_eq!(story.post("reload", "{\"if_drop\": 1}").status, 400);
    story.gate.open();
    for client in &mut waiting {
        assert_eq!(client.response().text(), "fine");
    }
    let (code, _, said) = story.evenkeel.operate(&["reload", "--if-drops", "0"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(story.evenkeel.generation(), generation + 1.0);
}

#[test]
fn a_look_changes_nothing() {
    let story = Story::new();
    let before = scrape(story.admin());
    let (a, other) = (story.backends[0].address().to_string(), "127.0.0.9:1");
    let renamed = story.toml.replace(&format!("\"{a}\""), &format!("{{ address = \"{a}\", name = \"x\" }}"));
    story.diff(&renamed);
    story.diff(&story.toml.replace(&a, other));
    let more = "[[listener]]\nname = \"new\"\naddress = \"127.0.0.1:0\"\n[pool.new]\nbackends = [\"127.0.0.9:1\"]\n\
                [[route]]\nname = \"new\"\npath = \"/new\"\npool = \"new\"\n";
    story.diff(&format!("{}\n{more}", story.toml));
    story.diff(&format!("{}\n[rate_limit.x]\nkey = \"client_ip\"\nrate = \"1/s\"\n", story.toml));
    let after = scrape(story.admin());
    let names =
        |page: &str| page.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "no series came or went");
    assert_eq!(story.evenkeel.client().get("/").text(), "fine");
    let status = told(story.admin(), "/api/v1/status");
    assert_eq!(status["generation"], 1);
    // What was looked at is not what the next reload compares with.
    story.evenkeel.reload(&renamed);
    let pools = told(story.admin(), "/api/v1/pools");
    assert_eq!(pools["pools"][0]["backends"][0]["name"], "x");
}

#[test]
fn whoever_asks_shows_the_token_and_sends_a_configuration() {
    let story = Story::new();
    assert_eq!(call(story.admin(), "POST /api/v1/diff", "", &story.toml).status, 401);
    assert_eq!(call(story.admin(), "GET /api/v1/diff", "", "").status, 405);
    let invalid = story.post("diff", &story.toml.replace("retry", "retri"));
    assert_eq!(invalid.status, 422);
    assert!(invalid.text().contains("did you mean") && invalid.text().contains("evenkeel.toml"), "{}", invalid.text());
    assert_eq!(story.post("diff", &"#".repeat((1 << 20) + 1)).status, 413);
    let long = story.diff(&format!("{}# {}", story.toml, "x".repeat(200_000)));
    assert_eq!(long["changes"], json!([]), "a configuration may be longer than other bodies");
    let secret = story.evenkeel.file().with_file_name("shadow");
    fs::write(&secret, "root:very-secret-hash\n").unwrap();
    let nosy = format!("include = [{:?}]\n{}", secret.to_str().unwrap(), story.toml);
    let answer = story.post("diff", &nosy);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("shadow") && !answer.text().contains("very-secret"), "{}", answer.text());
}

#[test]
fn the_command_tells_people_and_tools() {
    let story = Story::new();
    let (_tunnels, _waiting, _kept) = story.busy();
    let new = story.evenkeel.file().with_file_name("new.toml");
    fs::write(&new, story.toml.replace(CHAT, "").replace("\"1s\"", "\"2s\"")).unwrap();
    let path = new.to_str().unwrap();
    let (code, out, err) = story.evenkeel.operate(&["diff", path]);
    assert_eq!(code, Some(0), "{err}");
    let expected = "2 changes (generation 1 is in use)\n~ [server]\n    drain_timeout: \"1s\" -> \"2s\"\n- route \"chat\"\n    \
                    name = \"chat\" (taken out)\n    path = \"/chat\" (taken out)\n    pool = \"chat\" (taken out)\n    \
                    drains 3 tunnels, within 1s\n3 live connections would be drained, within 1s\n";
    assert_eq!(out, expected);
    let (code, out, _) = story.evenkeel.operate(&["diff", path, "--json"]);
    let diff: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &diff["drains"]), (Some(0), &json!(3)));
    fs::write(&new, story.toml.replace("retry", "retri")).unwrap();
    let (code, out, err) = story.evenkeel.operate(&["diff", path]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("did you mean"), "{err}");
}
