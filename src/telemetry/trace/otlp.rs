//! Records of spans as OTLP: the request of `POST /v1/traces` in protobuf (opentelemetry.io/docs/specs/otlp), with the stable
//! attributes of HTTP (opentelemetry.io/docs/specs/semconv/http/http-spans). Called by control; not hot.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode,
};
use prost::Message;

use super::{Entry, Kind};

/// Spans of a message.
pub const BATCH: usize = 512;
/// Bytes of records of a message, unless a single one has more.
const BYTES: usize = 512 * 1024;
/// What a message is.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

const NAME: &str = "evenkeel";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Methods that may stand in names (semantic conventions); any other is `_OTHER`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
/// The trace is sampled, it is known whether the parent is elsewhere, and it is (`SpanFlags`).
const FLAGS: [u32; 3] = [0x1, 0x100, 0x200];

/// Who sends the spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name of this instance.
    pub instance: String,
    /// The name of its host.
    pub host: String,
}

/// Records in pieces that make messages of a bounded size: how many bytes, and how many spans.
#[derive(Debug)]
pub struct Batches<'a>(pub &'a [u8]);

impl Iterator for Batches<'_> {
    type Item = (usize, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let (mut bytes, mut spans) = (0, 0);
        while let Some(length) = Entry::length(&self.0[bytes..]) {
            if spans == BATCH || spans > 0 && bytes + length > BYTES {
                break;
            }
            bytes += length;
            spans += 1;
        }
        self.0 = &self.0[bytes..];
        (spans > 0).then_some((bytes, spans as u64))
    }
}

/// The message that says `records`.
pub fn message(source: &Source, mut records: &[u8]) -> Vec<u8> {
    let mut spans = Vec::new();
    while let Some((entry, behind)) = Entry::split(records) {
        spans.push(span(&entry));
        records = behind;
    }
    let scope = InstrumentationScope { name: NAME.into(), version: VERSION.into(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA.into() }];
    let mut known = Attributes::default();
    known.text("service.name", NAME);
    known.text("service.instance.id", &source.instance);
    known.text("service.version", VERSION);
    known.text("host.name", &source.host);
    let resource = Some(Resource { attributes: known.0, ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: SCHEMA.into() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// How many spans of a message its answer says were not taken, and why. What is no answer says nothing.
pub fn rejected(answer: &[u8]) -> Option<(u64, String)> {
    let partial = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    let spans = u64::try_from(partial.rejected_spans).unwrap_or(0);
    (spans > 0 || !partial.error_message.is_empty()).then_some((spans, partial.error_message))
}

fn span(entry: &Entry<'_>) -> Span {
    let written = text(entry.method.unwrap_or_default());
    let known = METHODS.contains(&&*written);
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", if known { &written } else { "_OTHER" });
    if !known && !written.is_empty() {
        attributes.text("http.request.method_original", &written);
    }
    let route = entry.route.map(text);
    let kind = match entry.kind {
        Kind::Server => server(entry, route.as_deref(), &mut attributes),
        Kind::Client => client(entry, &mut attributes),
    };
    both(entry, &mut attributes);
    let method = if known { &*written } else { "HTTP" };
    let name = match (&route, entry.kind) {
        (Some(route), Kind::Server) => format!("{method} {route}"),
        _ => method.to_owned(),
    };
    let [sampled, tells, remote] = FLAGS;
    let elsewhere = entry.kind == Kind::Server && entry.parent.is_some();
    let code = if entry.failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: entry.trace.to_vec(),
        span_id: entry.span.to_vec(),
        trace_state: entry.state.map(|state| text(state).into_owned()).unwrap_or_default(),
        parent_span_id: entry.parent.map(Vec::from).unwrap_or_default(),
        flags: sampled | tells | if elsewhere { remote } else { 0 },
        name,
        kind: kind.into(),
        start_time_unix_nano: entry.times.0,
        end_time_unix_nano: entry.times.1.max(entry.times.0),
        attributes: attributes.0,
        status: Some(Status { message: String::new(), code: code.into() }),
        ..Span::default()
    }
}

/// What the span of a request has, and that of an attempt has not.
fn server(entry: &Entry<'_>, route: Option<&str>, attributes: &mut Attributes) -> SpanKind {
    let mut add = |key, value: Option<&[u8]>| {
        if let Some(value) = value {
            attributes.text(key, &text(value));
        }
    };
    add("url.scheme", entry.scheme);
    add("url.path", entry.path);
    add("network.protocol.version", entry.protocol);
    add("user_agent.original", entry.agent);
    add("evenkeel.request_id", entry.request_id);
    add("evenkeel.listener", entry.listener);
    if let Some(route) = route {
        attributes.text("http.route", route);
    }
    for (key, ip) in [("client.address", entry.client), ("network.peer.address", entry.peer)] {
        if let Some(ip) = ip {
            attributes.text(key, &ip.to_string());
        }
    }
    for (key, time) in [("evenkeel.queue_ms", entry.queue), ("evenkeel.connect_ms", entry.connect)] {
        attributes.millis(key, time);
    }
    SpanKind::Server
}

/// What the span of an attempt has, and that of a request has not.
fn client(entry: &Entry<'_>, attributes: &mut Attributes) -> SpanKind {
    if let (Some(scheme), Some(host), Some(path)) = (entry.scheme, entry.host, entry.path) {
        attributes.text("url.full", &format!("{}://{}{}", text(scheme), text(host), text(path)));
    }
    if entry.resend > 0 {
        attributes.number("http.request.resend_count", entry.resend.into());
    }
    SpanKind::Client
}

/// What both have.
fn both(entry: &Entry<'_>, attributes: &mut Attributes) {
    if let Some(host) = entry.host {
        let host = text(host);
        let (name, port) = split(&host);
        attributes.text("server.address", name);
        if let Some(port) = port {
            attributes.number("server.port", port.into());
        }
    }
    for (key, value) in [("evenkeel.pool", entry.pool), ("evenkeel.backend", entry.backend)] {
        if let Some(value) = value {
            attributes.text(key, &text(value));
        }
    }
    if entry.status > 0 {
        attributes.number("http.response.status_code", entry.status.into());
    }
    match entry.failure {
        Some(word) => attributes.text("error.type", &text(word)),
        None if entry.failed => attributes.text("error.type", &entry.status.to_string()),
        None => {}
    }
}

/// A host and its port, if one is written; an IPv6 address without its brackets.
fn split(host: &str) -> (&str, Option<u16>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    (name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name), port)
}

/// Protobuf has UTF-8 alone.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What is said of a span, or of all.
#[derive(Debug, Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, Value::StringValue(value.to_owned()));
    }

    fn number(&mut self, key: &str, value: i64) {
        self.add(key, Value::IntValue(value));
    }

    fn millis(&mut self, key: &str, time: Option<Duration>) {
        if let Some(time) = time {
            self.add(key, Value::DoubleValue(time.as_secs_f64() * 1e3));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::full;
    use super::*;

    fn source() -> Source {
        Source { instance: "lb-1".into(), host: "host-1".into() }
    }

    fn decoded(records: &[u8]) -> ResourceSpans {
        let request = ExportTraceServiceRequest::decode(&*message(&source(), records)).unwrap();
        let [resource] = <[_; 1]>::try_from(request.resource_spans).unwrap();
        resource
    }

    fn made(entry: Entry<'_>) -> Span {
        let mut records = Vec::new();
        entry.encode(&mut records);
        let mut scopes = decoded(&records).scope_spans;
        assert_eq!((scopes.len(), scopes[0].spans.len()), (1, 1));
        scopes.remove(0).spans.remove(0)
    }

    /// Attributes as `key=value`, sorted.
    fn shown(attributes: &[KeyValue]) -> Vec<String> {
        let one = |attribute: &KeyValue| match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(text) => format!("{}={text}", attribute.key),
            Value::IntValue(number) => format!("{}={number}", attribute.key),
            Value::DoubleValue(number) => format!("{}={number:.3}", attribute.key),
            other => panic!("{other:?}"),
        };
        let mut all: Vec<_> = attributes.iter().map(one).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn the_span_of_a_request_says_what_semantic_conventions_want() {
        let span = made(full());
        assert_eq!((span.name.as_str(), span.kind()), ("GET shop", SpanKind::Server));
        assert_eq!((span.trace_id, span.span_id, span.parent_span_id), (vec![7; 16], vec![1; 8], vec![2; 8]));
        assert_eq!((span.trace_state.as_str(), span.flags), ("rojo=1", 0x301));
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 250_000_000);
        assert_eq!(span.status.unwrap().code(), StatusCode::Error);
        assert_eq!(
            shown(&span.attributes),
            [
                "client.address=203.0.113.7",
                "error.type=reset",
                "evenkeel.backend=10.0.0.1:80",
                "evenkeel.listener=web",
                "evenkeel.pool=carts",
                "evenkeel.queue_ms=1.500",
                "evenkeel.request_id=abc",
                "http.request.method=GET",
                "http.response.status_code=502",
                "http.route=shop",
                "network.peer.address=2001:db8::1",
                "network.protocol.version=2",
                "server.address=shop.example",
                "server.port=8443",
                "url.path=/cart",
                "url.scheme=https",
                "user_agent.original=it/1.0",
            ]
        );
    }

    #[test]
    fn the_span_of_an_attempt_says_whom_it_called() {
        let entry = Entry {
            parent: Some([1; 8]),
            status: 200,
            resend: 2,
            method: Some(b"GET"),
            scheme: Some(b"http"),
            host: Some(b"[2001:db8::7]:8080"),
            path: Some(b"/cart"),
            pool: Some(b"carts"),
            backend: Some(b"b1"),
            ..Entry::new(Kind::Client, [7; 16], [3; 8], (9, 5))
        };
        let span = made(entry);
        assert_eq!((span.name.as_str(), span.kind(), span.flags), ("GET", SpanKind::Client, 0x101));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (9, 9), "never before it began");
        assert_eq!(span.status.unwrap().code(), StatusCode::Unset);
        assert_eq!(
            shown(&span.attributes),
            [
                "evenkeel.backend=b1",
                "evenkeel.pool=carts",
                "http.request.method=GET",
                "http.request.resend_count=2",
                "http.response.status_code=200",
                "server.address=2001:db8::7",
                "server.port=8080",
                "url.full=http://[2001:db8::7]:8080/cart",
            ]
        );
    }

    #[test]
    fn a_method_of_nobodys_is_in_no_name() {
        let span = made(Entry { method: Some(b"MKCOL\xff"), ..full() });
        assert_eq!(span.name, "HTTP shop");
        let said = shown(&span.attributes);
        assert!(said.contains(&"http.request.method=_OTHER".to_owned()), "{said:?}");
        assert!(said.contains(&"http.request.method_original=MKCOL\u{fffd}".to_owned()), "{said:?}");
        assert_eq!(made(Entry { route: None, ..full() }).name, "GET");
    }

    #[test]
    fn an_error_without_a_word_is_its_status() {
        let answered = |status, failed| shown(&made(Entry { status, failed, failure: None, ..full() }).attributes);
        assert!(answered(503, true).contains(&"error.type=503".to_owned()));
        assert!(answered(404, false).iter().all(|said| !said.starts_with("error.type")));
    }

    #[test]
    fn the_resource_is_this_instance() {
        let mut records = Vec::new();
        full().encode(&mut records);
        let resource = decoded(&records);
        let version = format!("service.version={VERSION}");
        let said = shown(&resource.resource.unwrap().attributes);
        assert_eq!(said, ["host.name=host-1", "service.instance.id=lb-1", "service.name=evenkeel", &version]);
        assert_eq!(resource.scope_spans[0].scope.as_ref().unwrap().name, "evenkeel");
    }

    #[test]
    fn messages_are_bounded_by_count_and_by_bytes_and_have_every_span_once() {
        let (mut short, mut long) = (Vec::new(), Vec::new());
        let (path, count) = ([b'x'; 4096], 1_500);
        for _ in 0..count {
            full().encode(&mut short);
            Entry { path: Some(&path), ..full() }.encode(&mut long);
        }
        for records in [&short, &long] {
            let batches: Vec<_> = Batches(records).collect();
            assert_eq!(batches.iter().map(|(_, spans)| spans).sum::<u64>(), count);
            assert_eq!(batches.iter().map(|(bytes, _)| bytes).sum::<usize>(), records.len());
            assert!(batches.iter().all(|&(bytes, spans)| bytes <= BYTES && spans <= BATCH as u64), "{batches:?}");
            let (bytes, spans) = batches[0];
            assert_eq!(decoded(&records[..bytes]).scope_spans[0].spans.len() as u64, spans);
        }
        assert_eq!(Batches(&short).map(|(_, spans)| spans).collect::<Vec<_>>(), [512, 512, 476]);
        assert_eq!(Batches(&[]).next(), None);
    }

    #[test]
    fn an_answer_may_say_that_some_were_not_taken() {
        let answer = |rejected_spans, error_message: &str| {
            use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
            let error_message = error_message.to_owned();
            let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        };
        assert_eq!(rejected(&answer(3, "too old")), Some((3, "too old".into())));
        assert_eq!(rejected(&answer(0, "be careful")), Some((0, "be careful".into())));
        assert_eq!(rejected(&answer(-1, "")), None);
        assert_eq!((rejected(b""), rejected(b"<html>")), (None, None));
    }

    #[test]
    fn a_host_may_have_a_port() {
        for (host, expected) in [
            ("a.example", ("a.example", None)),
            ("a.example:80", ("a.example", Some(80))),
            ("[::1]:8080", ("::1", Some(8080))),
            ("[::1]", ("::1", None)),
            ("10.0.0.1:http", ("10.0.0.1", None)),
        ] {
            assert_eq!(split(host), expected, "{host}");
        }
    }
}
