//! What `include`, `[server]`, `[admin]`, `[log]`, `[metrics]` and `[error_pages]` say of themselves.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    auth::Auth,
    kinds::{
        AccessField, Auto, CountOr, Duration, ErrorStatus, Limit, ListenOrOff, Many, Memory, Name, NetworkOrUnix,
        Resolver, Share, Timeout, Url,
    },
    limit::RateLimit,
    listener::Listener,
    pool::Pool,
    route::Route,
    test::Test,
};

/// Durations are written "250ms", "30s", "5m", "1h"; sizes "512B", "16KiB", "1MiB"; shares "20%"; "off" or 0 turns a
/// limit off. A list of one may be written as its one element. Relative paths start at the file that names them.
#[derive(JsonSchema)]
pub(super) struct Document {
    /// More files, in lexical order; each may hold listeners, routes and pools, and the tables that stand once if no
    /// other has them. `*` stands for any letters in the name of a file. Unless it is written, a folder that is not
    /// there is fine.
    #[schemars(extend("default" = ["conf.d/*.toml"]))]
    include: Many<String>,
    server: Server,
    admin: Admin,
    log: Log,
    trace: Trace,
    metrics: Metrics,
    error_pages: BTreeMap<ErrorStatus, ErrorPage>,
    listener: Many<Listener>,
    route: Many<Route>,
    auth: BTreeMap<String, Auth>,
    rate_limit: BTreeMap<String, RateLimit>,
    pool: BTreeMap<String, Pool>,
    test: Many<Test>,
}

/// The process as a whole.
#[derive(JsonSchema)]
pub(super) struct Server {
    /// Threads that serve. "auto" = as many as the cores that this process may use: affinity and the quota of its cgroup
    /// count. A change wants a restart.
    #[schemars(extend("default" = "auto"))]
    workers: CountOr<1, 1024, Auto>,
    /// On TERM: /readyz answers 503, and connections are still accepted for this long, so that whoever sends them here
    /// has time to look.
    #[schemars(extend("default" = "0s"))]
    drain_delay: Timeout,
    /// Then nothing is accepted any more, exchanges may finish for this long, and what is left is cut. What a reload
    /// takes away ends within it, too.
    #[schemars(extend("default" = "30s"))]
    drain_timeout: Timeout,
    /// Networks and addresses of proxies in front of this one, whose X-Forwarded-*, Forwarded, traceparent and
    /// X-Request-Id are believed; "unix" = peers on unix sockets. Those of all others are removed.
    #[schemars(extend("default" = [], "examples" = [["10.0.0.0/8", "2001:db8::7", "unix"]]))]
    trusted_proxies: Many<NetworkOrUnix>,
    /// This instance, in logs and status. Default: the host's name.
    #[schemars(extend("examples" = ["lb-1"]))]
    name: Name,
    /// Our name in the headers Via and Proxy-Status.
    #[schemars(extend("default" = "evenkeel", "pattern" = "^[A-Za-z][!#$%&'*+.^_`|~0-9A-Za-z-]*$"))]
    via: String,
    /// Send Forwarded (RFC 7239) as well as X-Forwarded-*.
    #[schemars(extend("default" = false))]
    forwarded: bool,
    /// Connections of the process, to clients and to backends together. "auto" = 90 % of the file descriptors that it may
    /// open.
    #[schemars(extend("default" = "auto"))]
    max_connections: CountOr<1, 1_073_741_824, Auto>,
    /// The high-water mark of memory: a size, or a share of what the process may have (its cgroup's limit, or the
    /// machine's memory, the least of these: evenkeel_memory_limit_bytes); "off" = none. Measured is resident memory, as ps
    /// shows it, ten times a second: sockets' buffers in the kernel are not in it. What is kept for later (spare buffers) is
    /// given back from 90 % of the mark on, and load is shed by the routes' `priority`, until memory is 10 % below. Memory
    /// that was needed once may stay with the process, where it is used again; so no more requests at a time are let in than
    /// there were at the mark, fewer while memory grows still, and one at a time close to what the process may have.
    #[schemars(extend("default" = "off", "examples" = ["1GiB", "80%"]))]
    max_memory: Memory,
    /// The high-water mark of requests in flight, of the process: those on their way to a backend, waiting for one, or
    /// being answered by one. A WebSocket or CONNECT counts until it is a tunnel: that is a connection (max_connections).
    /// Above the mark load is shed by the routes' `priority`: "low" from 90 % of it on, "normal" at it, "high" from 110 %;
    /// each until 10 % of the mark less are in flight. The log says when it begins and ends;
    /// evenkeel_failures_total{route,reason="shed"} counts, evenkeel_shedding{by} shows who is shed now.
    #[schemars(extend("default" = "off", "examples" = [10000]))]
    max_in_flight: Limit,
    /// Header names with "_", which WSGI and CGI take for the same name with "-": "drop" | "allow" | "reject" (400).
    #[schemars(extend("default" = "drop", "enum" = ["drop", "allow", "reject"]))]
    underscore_headers: String,
    /// DNS servers that are asked for the names of backends, and no others; port 53 unless written. Default: those of
    /// /etc/resolv.conf, with its search list; /etc/hosts comes first either way. As nginx (resolver) and HAProxy
    /// (resolvers) have it, for hosts whose own resolver is not the one that knows the services.
    #[schemars(extend("default" = [], "examples" = [["10.0.0.2:53", "10.0.0.3:53"]]))]
    resolvers: Many<Resolver>,
}

/// Where metrics, health and the API are served.
#[derive(JsonSchema)]
pub(super) struct Admin {
    /// "IP:PORT", "unix:/run/evenkeel/admin.sock", or "off".
    #[schemars(extend("default" = "127.0.0.1:9900"))]
    address: ListenOrOff,
    /// One more listener with /metrics, /healthz and /readyz alone, for scrapers from outside; or "off".
    #[schemars(extend("default" = "off", "examples" = ["0.0.0.0:9901"]))]
    metrics_address: ListenOrOff,
    token: Secret,
}

/// What a caller must show to change something, but on a unix socket; at least 16 bytes, white space around it is
/// trimmed. Without it such calls are refused. One of the two:
#[derive(JsonSchema)]
pub(super) struct Secret {
    /// The file that holds it.
    #[schemars(extend("examples" = ["/etc/evenkeel/admin.token"]))]
    file: String,
    /// The environment variable that holds it.
    #[schemars(extend("examples" = ["EVENKEEL_TOKEN"]))]
    env: String,
}

/// What is written about our own doings (on stderr) and about requests.
#[derive(JsonSchema)]
pub(super) struct Log {
    /// "off" | "error" | "warn" | "info" | "debug" | "trace", or directives as in RUST_LOG: "info,evenkeel::dial=debug".
    #[schemars(extend("default" = "info", "pattern" = "^(off|error|warn|info|debug|trace|.*=.*)$"))]
    level: String,
    /// "text" for people | "json", an object a line.
    #[schemars(extend("default" = "text", "enum" = ["text", "json"]))]
    format: String,
    /// A line for each request: "off" | "stdout" | "stderr" | the path of a file, which is opened anew on USR1. An error of
    /// our own to a gRPC call is a status of gRPC on HTTP 200: `status` is 200, here and in metrics, and `failure` tells.
    ///
    /// A request that a rehearsed failure has hit (PUT /api/v1/chaos) has the field `chaos`: "delay" | "abort" | "reset" |
    /// "slow_body". Where it was reset, or refused by an abort, `failure` is "chaos" as well, and no backend was asked.
    #[schemars(extend("default" = "stdout", "examples" = ["/var/log/evenkeel/access.log"], "pattern" = "^(off|stdout|stderr|.*[/.].*)$"))]
    access: String,
    /// "json" | "combined", as Apache and nginx write it: it does not tell of TLS.
    #[schemars(extend("default" = "json", "enum" = ["json", "combined"]))]
    access_format: String,
    /// The share of requests that get a line; failures always do.
    #[schemars(extend("default" = "100%"))]
    access_sample: Share,
    /// When the writer lags behind: "drop" the line and count it | "wait", so that none is lost.
    #[schemars(extend("default" = "drop", "enum" = ["drop", "wait"]))]
    access_overflow: String,
    /// More fields: "request:NAME" and "response:NAME" are headers, "query" is the query string. Authorization and
    /// cookies are never logged.
    #[schemars(extend("default" = [], "examples" = [["request:x-tenant", "response:x-cache", "query"]]))]
    access_fields: Many<AccessField>,
}

/// Spans of requests for a collector of traces (OpenTelemetry, Jaeger, Tempo and the like): one of each request, and below it
/// one of each attempt at a backend, with the stable attributes of HTTP; `http.route` is the route's name, `error.type` the
/// word of `failure`. Queries and credentials are never in them. Without this table there are none, and W3C trace context
/// is passed on all the same: a `traceparent` of a trusted peer as it is, any other is replaced by a new one.
///
/// Where the collector is slow or gone, no request waits for it: spans that find no room are dropped and counted
/// (evenkeel_trace_spans_dropped_total; evenkeel_trace_spans_sent_total counts the others). A reload changes all of this.
#[derive(JsonSchema)]
pub(super) struct Trace {
    /// Where spans go: OTLP over HTTP, in protobuf, "http://…" or "https://…". The path is /v1/traces, below what is
    /// written.
    #[schemars(extend("examples" = ["http://127.0.0.1:4318"], "x-required" = true))]
    otlp: Url,
    /// The share of requests whose spans are recorded, of those that no trusted peer has sampled (`traceparent` ends in 01).
    /// What such a peer has sampled is recorded always. A trace that it began goes on either way.
    #[schemars(extend("default" = "1%"))]
    sample: Share,
}

/// What of the metrics may be chosen; they are served by [admin].
#[derive(JsonSchema)]
pub(super) struct Metrics {
    /// Upper bounds of the histograms' buckets, from the shortest to the longest, at most 50.
    #[schemars(extend("default" = [
        "1ms", "5ms", "10ms", "25ms", "50ms", "100ms", "200ms", "300ms", "500ms", "1s", "2.5s", "5s", "10s"
    ]))]
    buckets: Many<Duration>,
    /// Histograms of each backend: "auto" = up to 1,000 backends | "on" | "off".
    #[schemars(extend("default" = "auto", "enum" = ["auto", "on", "off"]))]
    backend_histograms: String,
}

/// Bodies of our own error answers, by status, 400 to 599: files of at most 1 MiB, read when the configuration is.
#[derive(JsonSchema)]
pub(super) struct ErrorPage {
    /// For browsers.
    #[schemars(extend("examples" = ["pages/503.html"]))]
    html: String,
    /// For the rest.
    #[schemars(extend("examples" = ["pages/503.json"]))]
    json: String,
}
