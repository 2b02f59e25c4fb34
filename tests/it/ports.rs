//! When local ports run out: each of a pool's `source_address`es is tried, then the answer says why there is none, and service
//! returns with the ports. In a network namespace of its own, where the kernel has few ports to give.

use std::env;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::support::{Backend, Client, Gate, Process, Program, Reply, Setup, sum_of, wait_for};

/// The variable that says that we are in the namespace.
const INSIDE: &str = "EVENKEEL_TEST_NAMESPACE";
/// Ports that the kernel gives, for each pair of addresses.
const PORTS: usize = 8;

/// Whether this is the process that runs the story `name`. Else it has been run, in a namespace, or is skipped and says so.
fn inside(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    if Program::find("unshare", "util-linux").is_none() || Program::find("ip", "iproute2").is_none() {
        return false;
    }
    let unshare = |how: &str| {
        let mut command = Command::new("unshare");
        command.arg(how).stdin(Stdio::null());
        command
    };
    let may = |how: &&str| unshare(how).arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let Some(how) = ["-rn", "-n"].into_iter().find(may) else {
        assert!(env::var("EVENKEEL_TEST_PROGRAMS").as_deref() != Ok("all"), "no network namespace can be made");
        std::io::stderr().write_all(b"SKIPPED: no network namespace can be made here\n").unwrap();
        return false;
    };
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let test = format!("ports::{name}");
    let mut command = unshare(how);
    command.args(["sh", "-c", script]).arg(env::current_exe().unwrap()).args(["--exact", &test, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "in the namespace:\n{said}");
    false
}

/// From now on the kernel has few ports. Listeners have theirs.
fn few_ports() {
    let range = format!("40000 {}", 40_000 + PORTS - 1);
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
}

/// A client that calls the listener at an address of its own, so that its port is none of the others'. It is not bound to
/// one: the kernel gives nobody else a port that somebody has bound.
fn client(number: usize, evenkeel: &Process) -> Client {
    let last = u8::try_from(number + 1).unwrap();
    Client::h1(SocketAddr::from(([127, 0, 1, last], evenkeel.address().port())))
}

/// A backend that answers when it may, and then closes; and evenkeel before it, with its access log.
fn stage(gate: &Gate, pool: &str) -> (Backend, Process) {
    let gate = gate.clone();
    let backend = Backend::http(move |_| {
        gate.pass();
        Reply::ok("fine").close()
    });
    let process = before(&backend, pool, &log().display().to_string());
    (backend, process)
}

fn before(backend: &Backend, pool: &str, log: &str) -> Process {
    let log = format!("access = {log:?}");
    let toml = Setup::to(&[backend.address()]).pool(pool).toml().replace("access = \"off\"", &log);
    let toml = toml.replace("name = \"web\"\naddress = \"127.0.0.1:0\"", "name = \"web\"\naddress = \"0.0.0.0:0\"");
    Process::spawn(&toml)
}

fn log() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ports-{}.log", std::process::id()))
}

/// Ports of the first source address that somebody else has.
const TAKEN: usize = 5;

/// As many requests as there are ports reach the backend, and the next ones are told that there are none; then all is well
/// again. Of the first of several `sources` somebody else has taken some: its turns come to the others.
fn story(sources: &[&str]) {
    let gate = Gate::default();
    let from = |list: &[&str]| if list.is_empty() { String::new() } else { format!("source_address = {list:?}") };
    let (backend, evenkeel) = stage(&gate, &from(sources));
    let neighbour = sources.first().map(|first| before(&backend, &from(&[first]), "off"));
    // One connection, made while there were ports.
    let mut scraper = Client::h1(evenkeel.listener("admin"));
    few_ports();
    let mut metric = |name: &str, labels: &[(&str, &str)]| {
        let page = scraper.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        sum_of(&page.text(), name, labels).unwrap_or(0.0)
    };
    let all = PORTS * sources.len().max(1);
    let ask_at = |number, evenkeel: &Process| {
        let mut client = client(number, evenkeel);
        // Whoever closes first has the port for a while longer: not the client, which has few.
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        client
    };
    let ask = |number| ask_at(number, &evenkeel);
    let mut clients: Vec<_> = (0..all)
        .map(|number| {
            let client = ask_at(number, neighbour.as_ref().filter(|_| number < TAKEN).unwrap_or(&evenkeel));
            wait_for(&format!("{} are at the backend", number + 1), || backend.requests() == number + 1);
            client
        })
        .collect();
    for number in all..all + 4 {
        let answer = ask(number).response();
        answer.assert_refused(503, "ports_exhausted");
        let said = "evenkeel; error=connection_limit_reached; details=\"ports_exhausted\"";
        assert_eq!((answer.field("proxy-status"), answer.head.fields.has("retry-after")), (Some(said), true));
    }
    wait_for("they are counted", || metric("evenkeel_failures_total", &[("reason", "ports_exhausted")]) == 4.0);
    wait_for("they are in the access log", || {
        let lines = fs::read_to_string(log()).unwrap_or_default();
        lines.matches("\"failure\":\"ports_exhausted\"").count() == 4
    });
    assert_eq!(backend.requests(), all, "none of them came to the backend");
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "fine");
    }
    // Ports that are free again are used again.
    let (mut number, mut fine) = (0, 0);
    wait_for("it serves again", || {
        number = (number + 1) % 200;
        fine += usize::from(ask(number).response().status == 200);
        fine == 3 * PORTS
    });
    drop((clients, neighbour));
    for gauge in ["evenkeel_requests_in_flight", "evenkeel_backend_in_flight", "evenkeel_backend_connections"] {
        wait_for(&format!("{gauge} is 0"), || metric(gauge, &[]) == 0.0);
    }
    let _ = fs::remove_file(log());
}

#[test]
fn without_a_port_the_answer_says_so_and_service_returns() {
    if inside("without_a_port_the_answer_says_so_and_service_returns") {
        story(&[]);
    }
}

#[test]
fn where_one_source_address_has_no_port_the_next_is_tried() {
    if inside("where_one_source_address_has_no_port_the_next_is_tried") {
        story(&["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    }
}
