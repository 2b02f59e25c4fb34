//! A collector of traces: an HTTP server that decodes what it gets with the messages of OpenTelemetry's own crate.

use std::io::Write;
use std::process::{Command, Stdio};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{Backend, Reply, Request, wait_for};

/// What evenkeel sends its spans to.
pub(super) struct Collector(pub(super) Backend);

impl Collector {
    /// Takes everything.
    pub(super) fn new() -> Self {
        Self::answering(|_| taken())
    }

    /// Answers as `answer` says; everything that comes counts as seen.
    pub(super) fn answering(answer: impl Fn(Request) -> Reply + Send + Sync + 'static) -> Self {
        Self(Backend::http(answer))
    }

    /// `[trace]` for it, of which `share` are recorded.
    pub(super) fn toml(&self, share: &str) -> String {
        format!("[trace]\notlp = \"http://{}\"\nsample = \"{share}\"\n", self.0.address())
    }

    /// The messages that have come, each as it was sent.
    pub(super) fn messages(&self) -> Vec<ExportTraceServiceRequest> {
        let seen = self.0.seen();
        let message = |request: &Request| {
            assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
            assert_eq!(request.field("content-type"), Some("application/x-protobuf"));
            ExportTraceServiceRequest::decode(&*plain(request)).unwrap()
        };
        seen.iter().map(message).collect()
    }

    /// The spans that have come, in their order.
    pub(super) fn spans(&self) -> Vec<Span> {
        let resources = self.messages().into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The spans, once there are `count`; more fail the test.
    #[track_caller]
    pub(super) fn wait(&self, count: usize) -> Vec<Span> {
        wait_for(&format!("{count} spans have come"), || self.spans().len() >= count);
        let spans = self.spans();
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }

    /// Who has sent the first message.
    pub(super) fn resource(&self) -> Resource {
        self.messages()[0].resource_spans[0].resource.clone().unwrap()
    }
}

/// The body as it was before it was made smaller. We never do that; other collectors do.
fn plain(request: &Request) -> Vec<u8> {
    if request.field("content-encoding").is_none() {
        return request.body.clone();
    }
    assert_eq!(request.field("content-encoding"), Some("gzip"));
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(&request.body).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

/// 200, with an empty message.
pub(super) fn taken() -> Reply {
    Reply::new("200 OK", "Content-Type: application/x-protobuf\r\n", "")
}

/// The attribute `key` as text.
pub(super) fn of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found: Vec<_> = attributes.iter().filter(|attribute| attribute.key == key).collect();
    assert!(found.len() <= 1, "{key} stands twice");
    Some(match found.first()?.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

/// The attribute `key` of a span.
pub(super) fn said(span: &Span, key: &str) -> Option<String> {
    of(&span.attributes, key)
}

/// Two digits a byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a backend sees of an attempt whose span this is.
pub(super) fn parent(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}
