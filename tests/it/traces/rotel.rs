//! A collector that others have written: rotel reads what we send, and sends what it has read to a collector of the test.

use std::process::{Child, Command, Stdio};

use super::collector::{Collector, parent, said};
use super::{code, sorted};
use crate::support::{Backend, Program, Setup, wait_for};

/// Ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_collector_of_others_reads_what_we_send() {
    if Program::find("rotel-agent", "none; tests/run takes it from the Python package rotel").is_none() {
        return;
    }
    // Ports that nobody else is given while they are bound here, and that may be listened at all the same.
    let (http, grpc) = (Backend::refused(), Backend::refused());
    let (end, backend) = (Collector::new(), Backend::ok("fine"));
    let to = format!("http://{}", end.0.address());
    let words = [
        "start",
        "--otlp-http-endpoint",
        &http.address().to_string(),
        "--otlp-grpc-endpoint",
        &grpc.address().to_string(),
        "--exporter",
        "otlp",
        "--otlp-exporter-protocol",
        "http",
        "--otlp-exporter-endpoint",
        &to,
    ]
    .map(str::to_owned);
    let mut command = Command::new("rotel-agent");
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());
    wait_for("rotel listens", || {
        assert!(running.0.try_wait().unwrap().is_none(), "rotel has ended");
        std::net::TcpStream::connect(http.address()).is_ok()
    });
    let trace = format!("[trace]\notlp = \"http://{}\"\nsample = \"100%\"\n", http.address());
    let evenkeel = Setup::to(&[backend.address()]).server(trace).start();
    let agent = "GET /a?b=c HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: caf\u{e9}\r\n\r\n";
    assert_eq!(evenkeel.client().exchange(agent).status, 200);
    let (server, clients) = sorted(end.wait(2));
    assert_eq!((server.name.as_str(), said(&server, "url.path").as_deref()), ("GET default", Some("/a")));
    assert_eq!(said(&server, "user_agent.original").as_deref(), Some("caf\u{e9}"));
    assert_eq!(code(&server), opentelemetry_proto::tonic::trace::v1::status::StatusCode::Unset);
    assert_eq!(backend.last().head.fields.all("traceparent"), [parent(&clients[0])]);
    wait_for("they are counted", || evenkeel.metric("evenkeel_trace_spans_sent_total", &[]) == 2.0);
}
