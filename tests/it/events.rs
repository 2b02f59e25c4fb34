//! `GET /api/v1/events`: what those are told who listen (PRODUCT.md section 11).

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::{Backend, Gate, PATIENCE, Process, Setup, bearer, call, wait_for};

/// Somebody who listens.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn new(admin: SocketAddr) -> Self {
        Self::try_new(admin).expect("there is a place")
    }

    /// `None`: it is refused.
    fn try_new(admin: SocketAddr) -> Option<Self> {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut listener = Self(BufReader::new(stream));
        let is_let_in = listener.line().starts_with("HTTP/1.1 200 ");
        is_let_in.then_some(listener)
    }

    /// The next line; chunks begin and end at lines, and their sizes are lines of their own. Empty at the end.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// The next event of that name, or `None` at the end.
    fn next(&mut self, name: &str) -> Option<Value> {
        loop {
            let line = self.line();
            // The last chunk has no bytes.
            if line.is_empty() || line == "0\r\n" {
                return None;
            }
            if line.trim_end() == format!("event: {name}") {
                let data = self.line();
                return Some(serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap());
            }
        }
    }
}

#[test]
fn each_second_all_is_told_with_what_has_happened_in_it() {
    let (good, bad) = (Backend::ok("fine"), Backend::refused());
    let check = "health_check = { type = \"tcp\", interval = \"100ms\", interval_down = \"100ms\" }";
    let evenkeel = Setup::to(&[good.address(), bad.address()]).pool(check).start();
    let mut listener = Listener::new(evenkeel.admin());
    let first = listener.next("snapshot").unwrap();
    assert!(first["traffic"]["requests_per_second"].is_null(), "nobody has looked before: {first}");
    assert_eq!((&first["phase"], &first["pools"][0]["name"]), (&"running".into(), &"web".into()));
    wait_for("one is down", || evenkeel.metric("evenkeel_backend_up", &[]) == 1.0);
    let mut client = evenkeel.client();
    let mut told = Value::Null;
    // What is asked may fall into two seconds.
    for _ in 0..20 {
        (0..20).for_each(|_| drop(client.get("/")));
        told = listener.next("snapshot").unwrap();
        if told["traffic"]["requests_per_second"].as_f64() > Some(0.0) && told["traffic"]["p50_ms"].is_number() {
            break;
        }
    }
    let (traffic, pool) = (&told["traffic"], &told["pools"][0]);
    assert!(traffic["requests_per_second"].as_f64() > Some(0.0) && traffic["p99_ms"].is_number(), "{told}");
    assert!(traffic["statuses"]["2xx"].as_f64() > Some(0.0), "{told}");
    assert!(traffic["connections"].as_u64() >= Some(1), "{told}");
    assert!(told["listeners"][0]["requests_per_second"].as_f64() > Some(0.0), "{told}");
    assert!(pool["requests_per_second"].as_f64() > Some(0.0), "{told}");
    let [up, down] = &pool["backends"].as_array().unwrap()[..] else { panic!("two backends: {told}") };
    assert!(up["state"] == "ready" && up["p99_ms"].is_number() && up["check"]["result"] == "pass", "{up}");
    assert!(down["state"] == "down" && down["reason"].as_str().unwrap().contains("refused"), "{down}");
    assert!(down["check"]["result"] == "fail" && down["effective_weight"] == 0.0, "{down}");
}

#[test]
fn what_is_on_its_way_and_what_differs_from_the_file_is_told() {
    let gate = Gate::default();
    let late = Backend::behind(&gate, "late");
    let token = "[admin]\ntoken = { env = \"EVENKEEL_TEST_TOKEN\" }\n";
    let evenkeel = Process::spawn(&Setup::to(&[late.address()]).toml().replace("[admin]\n", token));
    let (admin, name) = (evenkeel.listener("admin"), late.address().to_string());
    let mut client = evenkeel.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || late.requests() == 1);
    let line = format!("PATCH /api/v1/pools/web/backends/{name}");
    assert_eq!(call(admin, &line, &bearer(), "{\"weight\": 3}").status, 200);
    let told = Listener::new(admin).next("snapshot").unwrap();
    let (listener, backend) = (&told["listeners"][0], &told["pools"][0]["backends"][0]);
    assert_eq!([&listener["in_flight"], &backend["in_flight"], &backend["connections"]], [1, 1, 1], "{told}");
    assert_eq!((&told["overrides"][0]["backend"], told["overrides"].as_array().map(Vec::len)), (&name.into(), Some(1)));
    gate.open();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn so_many_listen_and_each_place_comes_back() {
    let backend = Backend::ok("fine");
    let evenkeel = Setup::to(&[backend.address()]).start();
    let mut listeners: Vec<_> = (0..32).map(|_| Listener::new(evenkeel.admin())).collect();
    let refused = call(evenkeel.admin(), "GET /api/v1/events", "", "");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
    assert!(refused.text().contains("too many listen"), "{}", refused.text());
    listeners.pop();
    wait_for("there is a place again", || Listener::try_new(evenkeel.admin()).is_some());
    for listener in &mut listeners {
        assert!(listener.next("snapshot").is_some());
    }
}

#[test]
fn a_drain_ends_them_and_says_so() {
    let backend = Backend::ok("fine");
    let mut evenkeel = Process::spawn(&Setup::to(&[backend.address()]).server("drain_delay = \"4s\"").toml());
    let admin = evenkeel.listener("admin");
    let mut listener = Listener::new(admin);
    listener.next("snapshot").unwrap();
    evenkeel.signal("TERM");
    let end = listener.next("end").expect("the stream says why it ends");
    assert_eq!(end["reason"], "draining");
    assert!(listener.next("snapshot").is_none());
    let refused = call(admin, "GET /api/v1/events", "", "");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(evenkeel.wait().success());
}
