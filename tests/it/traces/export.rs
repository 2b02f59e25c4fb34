//! What becomes of spans where the collector is slow, gone, or wants none; and when the configuration changes.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;

use super::collector::{Collector, taken};
use crate::support::{
    Backend, Client, Evenkeel, Gate, PATIENCE, Process, Reply, Setup,
    tls::{Authority, asked},
    wait_for,
};

fn start(backend: &Backend, collector: &Collector) -> Evenkeel {
    Setup::to(&[backend.address()]).server(collector.toml("100%")).start()
}

/// So many requests, which all go well.
fn ask(client: &mut Client, count: usize) {
    for _ in 0..count {
        assert_eq!(client.get("/").status, 200);
    }
}

/// A collector that answers its first message with `first`, and takes all further ones.
fn at_first(first: fn() -> Reply) -> Collector {
    let count = AtomicUsize::new(0);
    Collector::answering(move |_| if count.fetch_add(1, SeqCst) == 0 { first() } else { taken() })
}

fn counted(evenkeel: &Evenkeel) -> (f64, f64) {
    let of = |end: &str| evenkeel.metric(&format!("evenkeel_trace_spans_{end}_total"), &[]);
    (of("sent"), of("dropped"))
}

#[test]
fn what_may_be_taken_later_is_sent_again_when_the_collector_says() {
    for status in [429, 502, 503, 504] {
        let first: fn() -> Reply = match status {
            429 => || Reply::new("429 No", "Retry-After: 1\r\n", ""),
            502 => || Reply::new("502 No", "Retry-After: 1\r\n", ""),
            503 => || Reply::new("503 No", "Retry-After: 1\r\n", ""),
            _ => || Reply::new("504 No", "Retry-After: 1\r\n", "").close(),
        };
        let (collector, backend) = (at_first(first), Backend::ok("fine"));
        let evenkeel = start(&backend, &collector);
        ask(&mut evenkeel.client(), 1);
        wait_for("it is sent again", || collector.0.seen().len() == 2);
        let seen = collector.0.seen().clone();
        assert_eq!(seen[0].body, seen[1].body, "{status}");
        wait_for("it is counted once", || counted(&evenkeel) == (2.0, 0.0));
    }
}

#[test]
fn a_pause_is_as_long_as_the_collector_says() {
    let (collector, backend) = (at_first(|| Reply::new("503 No", "Retry-After: 2\r\n", "")), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector);
    ask(&mut evenkeel.client(), 1);
    wait_for("it has come", || collector.0.seen().len() == 1);
    let begun = Instant::now();
    wait_for("it is sent again", || collector.0.seen().len() == 2);
    let waited = begun.elapsed().as_secs_f64();
    // Without the field it would be a second at the most.
    assert!(waited > 1.5, "{waited}");
}

#[test]
fn what_is_never_taken_is_given_up() {
    let collector = Collector::answering(|_| Reply::new("503 No", "Retry-After: 0\r\n", ""));
    let backend = Backend::ok("fine");
    let evenkeel = start(&backend, &collector);
    ask(&mut evenkeel.client(), 1);
    wait_for("it is given up", || counted(&evenkeel) == (0.0, 2.0));
    assert_eq!(collector.0.seen().len(), 5, "times that it was sent");
}

#[test]
fn the_end_waits_for_no_second_try() {
    let collector = Collector::answering(|_| Reply::new("503 No", "Retry-After: 30\r\n", ""));
    let backend = Backend::ok("fine");
    let mut process = Process::spawn(&Setup::to(&[backend.address()]).server(collector.toml("100%")).toml());
    ask(&mut process.client(), 1);
    wait_for("it is said", || process.log().iter().any(|line| line.contains("spans cannot be sent")));
    process.signal("TERM");
    assert!(process.wait().success());
    let lost = |line: &String| line.contains("the last spans are not taken");
    assert!(!process.log().iter().any(lost), "{:?}", process.log());
    assert_eq!(collector.0.seen().len(), 2, "it was tried once more, and that was all");
}

#[test]
fn a_long_answer_is_not_read_to_its_end() {
    let (collector, backend) = (Collector::answering(|_| Reply::ok("x".repeat(1 << 20))), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector);
    for round in 1..=2 {
        ask(&mut evenkeel.client(), 1);
        wait_for("it is taken", || counted(&evenkeel) == (2.0 * f64::from(round), 0.0));
    }
    assert_eq!(collector.0.connections(), 2, "such a connection is not used again");
}

#[test]
fn what_will_never_be_taken_is_dropped_and_counted() {
    let (collector, backend) = (at_first(|| Reply::new("400 No", "", "")), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector);
    ask(&mut evenkeel.client(), 1);
    wait_for("it is dropped", || counted(&evenkeel) == (0.0, 2.0));
    ask(&mut evenkeel.client(), 1);
    wait_for("the next one is taken", || counted(&evenkeel) == (2.0, 2.0));
    assert_eq!(collector.0.seen().len(), 2, "none was sent twice");
    assert_eq!(collector.0.connections(), 1, "the connection is kept");
}

#[test]
fn an_answer_may_take_a_part() {
    let (collector, backend) = (
        at_first(|| {
            let partial_success =
                Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".into() });
            Reply::ok(ExportTraceServiceResponse { partial_success }.encode_to_vec())
        }),
        Backend::ok("fine"),
    );
    let evenkeel = start(&backend, &collector);
    ask(&mut evenkeel.client(), 1);
    wait_for("a part is counted as dropped", || counted(&evenkeel) == (1.0, 1.0));
}

#[test]
fn a_collector_that_closes_its_connections_loses_nothing() {
    let (collector, backend) = (Collector::answering(|_| taken().close()), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector);
    for round in 1..=3 {
        ask(&mut evenkeel.client(), 1);
        wait_for("it is taken", || counted(&evenkeel) == (2.0 * f64::from(round), 0.0));
    }
    collector.wait(6);
}

#[test]
fn a_collector_that_is_not_there_costs_requests_nothing_and_what_is_lost_is_counted() {
    let (gone, silent, next) = (Backend::refused(), Backend::silent(), Collector::new());
    for address in [gone.address(), silent.address()] {
        let backend = Backend::ok("fine");
        let setup = |address| {
            let trace = format!("[trace]\notlp = \"http://{address}\"\nsample = \"100%\"\n");
            Setup::to(&[backend.address()]).server(trace).toml()
        };
        let process = Process::spawn(&setup(address));
        let begun = Instant::now();
        ask(&mut process.client(), 200);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        wait_for("it is said", || {
            process.log().iter().any(|line| line.contains("spans cannot be sent")) || address == silent.address()
        });
        // Where they are to go elsewhere, nobody waits for the old collector any longer than for one answer.
        process.reload(&setup(next.0.address()));
        let counted = |end: &str| process.metric(&format!("evenkeel_trace_spans_{end}_total"), &[]);
        if address == gone.address() {
            wait_for("all are counted", || counted("dropped") == 400.0);
            ask(&mut process.client(), 1);
            wait_for("the next ones are taken", || counted("sent") == 2.0);
            assert_eq!((counted("dropped"), next.spans().len()), (400.0, 2));
        } else {
            ask(&mut process.client(), 1);
        }
    }
}

#[test]
fn a_reload_turns_it_on_and_off_and_sends_what_was_there() {
    let (collector, other, backend) = (Collector::new(), Collector::new(), Backend::ok("fine"));
    let setup = |trace: &str| Setup::to(&[backend.address()]).server(trace).toml();
    let process = Process::spawn(&setup(""));
    let mut client = process.client();
    ask(&mut client, 1);
    process.reload(&setup(&collector.toml("100%")));
    // On the connection that was there before.
    ask(&mut client, 1);
    process.reload(&setup(&other.toml("100%")));
    collector.wait(2);
    ask(&mut client, 2);
    process.reload(&setup(""));
    other.wait(4);
    ask(&mut client, 3);
    process.reload(&setup(&collector.toml("0%")));
    ask(&mut client, 3);
    process.reload(&setup(&collector.toml("100%")));
    ask(&mut client, 1);
    collector.wait(4);
    other.wait(4);
    assert_eq!(process.metric("evenkeel_trace_spans_dropped_total", &[]), 0.0);
}

#[test]
fn what_ends_when_nobody_takes_it_any_more_is_counted() {
    let (gate, collector) = (Gate::default(), Collector::new());
    let backend = Backend::behind(&gate, "late");
    let setup = |trace: &str| Setup::to(&[backend.address()]).server(trace).toml();
    let process = Process::spawn(&setup(&collector.toml("100%")));
    let mut client = process.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_for("the exchange is on its way", || backend.requests() == 1);
    process.reload(&setup(""));
    gate.open();
    assert_eq!(client.response().text(), "late");
    wait_for("its spans are counted", || process.metric("evenkeel_trace_spans_dropped_total", &[]) == 2.0);
}

#[test]
fn the_last_spans_are_sent_when_it_ends() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let mut process = Process::spawn(&Setup::to(&[backend.address()]).server(collector.toml("100%")).toml());
    ask(&mut process.client(), 20);
    process.signal("TERM");
    assert!(process.wait().success());
    collector.wait(40);
}

#[test]
fn many_spans_go_in_messages_of_a_bounded_size() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let evenkeel = Setup::to(&[backend.address()]).one_worker().server(collector.toml("100%")).start();
    ask(&mut evenkeel.client(), 1_000);
    wait_for("all are taken", || counted(&evenkeel) == (2_000.0, 0.0));
    let of = |message: &opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest| {
        message.resource_spans[0].scope_spans[0].spans.len()
    };
    let counts: Vec<_> = collector.messages().iter().map(of).collect();
    assert!(counts.iter().all(|count| *count <= 512) && counts.iter().sum::<usize>() == 2_000, "{counts:?}");
}

#[test]
fn a_collector_over_tls_is_believed_by_its_certificate() {
    let (authority, collector, backend) = (Authority::new(), Collector::new(), Backend::ok("fine"));
    // TLS ends at a balancer of its own.
    let pair = authority.write("own", asked(&["localhost"]).local());
    let door = Setup::to(&[collector.0.address()]).listener(authority.listener(&[&pair], "")).start();
    let trace = format!("[trace]\notlp = \"https://{}\"\nsample = \"100%\"\n", door.address());
    let toml = Setup::to(&[backend.address()]).server(trace).toml();
    let start = |roots: &Authority| {
        let roots = format!("SSL_CERT_FILE={}", roots.path("ca.pem").display());
        Process::spawn_under(&["env", &roots], &toml)
    };
    let process = start(&authority);
    ask(&mut process.client(), 1);
    collector.wait(2);
    let process = start(&Authority::new());
    ask(&mut process.client(), 1);
    wait_for("it is said why not", || {
        let why = |line: &String| line.contains("spans cannot be sent") && line.contains("the certificate is refused");
        process.log().iter().any(why)
    });
    assert_eq!(collector.spans().len(), 2);
}
