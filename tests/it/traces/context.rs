//! Whose trace goes on, and whose spans are recorded (W3C Trace Context, level 1).

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::collector::{Collector, hex, parent};
use crate::support::{Backend, Evenkeel, Setup, Site};

const TRUSTED: &str = "trusted_proxies = [\"127.0.0.1\"]";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn start(backend: &Backend, collector: &Collector, trusted: bool, share: &str) -> Evenkeel {
    let setup = Setup::to(&[backend.address()]);
    let setup = if trusted { setup.server(TRUSTED) } else { setup };
    setup.server(collector.toml(share)).start()
}

/// A request with these lines.
fn ask(evenkeel: &Evenkeel, lines: &str) {
    let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n");
    assert_eq!(evenkeel.client().exchange(request).status, 200);
}

fn line(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{CALLER}-{flags}\r\n")
}

#[test]
fn a_sampled_caller_is_recorded_whatever_the_share() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector, true, "0%");
    ask(&evenkeel, &format!("{}tracestate: rojo=1,congo=2\r\n", line("01")));
    let spans = collector.wait(2);
    let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let client = spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!((server.flags, client.flags), (0x301, 0x101), "its caller is elsewhere");
    assert_eq!(client.parent_span_id, server.span_id);
    assert!(spans.iter().all(|span| span.trace_state == "rojo=1,congo=2"));
    let seen = backend.last();
    assert_eq!(seen.head.fields.all("traceparent"), [parent(client)]);
    assert_eq!(seen.head.fields.all("tracestate"), ["rojo=1,congo=2"]);
}

#[test]
fn what_a_route_writes_is_no_part_of_it() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let routes = "[[route]]\npath = \"/*\"\npool = \"web\"\nrewrite = { add_prefix = \"/b\" }\n";
    let evenkeel =
        Site::new(routes).pool("web", backend.address()).server(TRUSTED).server(collector.toml("0%")).start();
    for _ in 0..2 {
        ask(&evenkeel, &format!("{}tracestate: rojo=1\r\ntracestate: congo=2\r\n", line("01")));
        assert_eq!(backend.last().head.fields.all("tracestate"), ["rojo=1,congo=2"]);
    }
    let spans = collector.wait(4);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE && span.trace_state == "rojo=1,congo=2"));
}

#[test]
fn of_an_unsampled_callers_requests_the_share_is_recorded_within_its_trace() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector, true, "100%");
    ask(&evenkeel, &line("00"));
    let spans = collector.wait(2);
    let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let client = spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!((hex(&server.trace_id).as_str(), hex(&server.parent_span_id).as_str()), (TRACE, CALLER));
    assert_eq!(backend.last().head.fields.all("traceparent"), [parent(client)]);
}

#[test]
fn the_others_contexts_of_an_unsampled_caller_are_passed_on() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    let evenkeel = start(&backend, &collector, true, "0%");
    ask(&evenkeel, &line("00"));
    assert_eq!(backend.last().head.fields.all("traceparent"), [format!("00-{TRACE}-{CALLER}-00")]);
    // The last ones are sent at the end: none was kept back.
    ask(&evenkeel, &line("01"));
    evenkeel.stop();
    let spans = collector.wait(2);
    assert_eq!(spans.len(), 2, "{spans:#?}");
}

#[test]
fn nobody_else_decides() {
    for (trusted, lines) in [
        (false, line("01")),
        (true, format!("{}traceparent: 00-{TRACE}-b7ad6b7169203332-01\r\n", line("01"))),
        (true, line("01").replace(TRACE, &"0".repeat(32))),
        (true, line("01").replace("00-", "ff-")),
        (true, line("01").replace("af", "AF")),
        (true, "traceparent: nonsense\r\n".to_owned()),
        (true, String::new()),
    ] {
        let (collector, backend) = (Collector::new(), Backend::ok("fine"));
        let evenkeel = start(&backend, &collector, trusted, "0%");
        ask(&evenkeel, &format!("{lines}tracestate: rojo=1\r\n"));
        let seen = backend.last();
        let [found] = &seen.head.fields.all("traceparent")[..] else { panic!("{seen:?}") };
        assert!(!found.contains(TRACE) && found.ends_with("-00"), "{lines:?}: {found}");
        assert!(!seen.head.fields.has("tracestate"), "{lines:?}");
        evenkeel.stop();
        assert_eq!(collector.spans(), [], "{lines:?}");
    }
}

#[test]
fn what_is_passed_on_is_what_level_1_knows() {
    let (collector, backend) = (Collector::new(), Backend::ok("fine"));
    for with in [true, false] {
        let setup = Setup::to(&[backend.address()]).server(TRUSTED);
        let evenkeel = if with { setup.server(collector.toml("0%")) } else { setup }.start();
        let plain = format!("00-{TRACE}-{CALLER}-00");
        for (value, expected) in [
            (plain.clone(), &plain),
            (format!("00-{TRACE}-{CALLER}-fe"), &plain),
            (format!("cc-{TRACE}-{CALLER}-00"), &plain),
            (format!("cc-{TRACE}-{CALLER}-00-what-the-future-will-be-like"), &plain),
        ] {
            ask(&evenkeel, &format!("traceparent: {value}\r\n"));
            assert_eq!(backend.last().head.fields.all("traceparent"), [expected], "{value}");
        }
        let long: Vec<_> = (0..9).map(|number| format!("k{number:02}={}", "v".repeat(60))).collect();
        for (state, expected) in [
            ("tracestate: a=1\r\ntracestate: b=2 , c=3,\r\n".to_owned(), Some("a=1,b=2,c=3".to_owned())),
            ("tracestate: a=1\r\ntracestate: A=2\r\n".to_owned(), None),
            ("tracestate: a=1,a=2\r\n".to_owned(), None),
            (format!("tracestate: {}\r\n", long.join(",")), Some(long[..7].join(","))),
            ("tracestate:\r\n".to_owned(), None),
        ] {
            ask(&evenkeel, &format!("{}{state}", line("00")));
            let seen = backend.last();
            assert_eq!(seen.head.fields.all("tracestate"), Vec::from_iter(expected), "{state}");
            assert_eq!(seen.head.fields.all("traceparent"), [&plain], "a list that is none is nothing to it");
        }
    }
}

#[test]
fn a_share_of_all_is_all_and_of_none_is_none() {
    for (share, expected) in [("100%", 30), ("0%", 0)] {
        let (collector, backend) = (Collector::new(), Backend::ok("fine"));
        let evenkeel = start(&backend, &collector, false, share);
        let mut client = evenkeel.client();
        for _ in 0..30 {
            assert_eq!(client.get("/").status, 200);
        }
        evenkeel.stop();
        let spans = collector.spans();
        let servers: Vec<_> = spans.iter().filter(|span| span.kind() == SpanKind::Server).collect();
        assert_eq!((servers.len(), spans.len()), (expected, 2 * expected), "{share}");
        let flags = if expected > 0 { "-01" } else { "-00" };
        let seen = backend.seen();
        assert!(seen.iter().all(|request| request.field("traceparent").is_some_and(|value| value.ends_with(flags))));
    }
}
