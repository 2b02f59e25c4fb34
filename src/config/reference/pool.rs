//! What `[pool.NAME]` says of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::Value;

use super::{
    breaker::{CircuitBreaker, Outlier},
    kinds::{
        AutoLimit, Call, Count, CountOr, Duration, HashKey, Ip, Limit, Many, Method, Metrics, Name, Off, Or, PathText,
        Percent, RetryOn, Share, SizeOrOff, Statuses, Timeout,
    },
    process::Secret,
};

/// A set of backends with one algorithm; NAME is a name of your own.
#[derive(JsonSchema)]
pub(super) struct Pool {
    /// How one of the backends is chosen; each honours weights. Which one when, with pictures: config/algorithms/README.md;
    /// `evenkeel simulate` tries them on your own traffic.
    ///
    /// "round_robin" = in turn, smoothly: a weight of 3 is not three requests in a row. Where backends and requests are alike.
    ///
    /// "random" = any of them.
    ///
    /// "power_of_two_choices" = the less busy one of two random ones: nearly as even as least_connections, and many
    /// balancers in front of one pool do not all run to the same backend.
    ///
    /// "least_connections" = the one with the fewest requests in flight. Where some requests take much longer than others.
    ///
    /// "least_response_time" = the one that would answer first: the time to its response head, times what is in flight
    /// there. The time is a peak EWMA, which rises with one slow answer and falls slowly. The textbooks' lowest average sees
    /// a stall late, and then sends everybody to whoever was fast last.
    ///
    /// "least_bandwidth" = the one through which the fewest bytes go, both ways, of late. Where sizes differ much.
    ///
    /// "ip_hash" = by the client's address, and "hash" = by a key of yours, see [pool.NAME.hash]. Both are consistent: a
    /// backend that leaves moves its own clients alone, and every instance finds the same one. The textbooks' hash modulo
    /// the number of backends moves nearly everybody.
    ///
    /// "custom_load" = the one that says of itself that it has the least to do, see [pool.NAME.custom_load].
    ///
    /// The least_* look at every backend of up to 32, and above at the best of 8 random ones: a choice costs the same in a
    /// pool of 10,000, and nobody is run over for having been idle a moment ago. "weighted_round_robin" and
    /// "weighted_least_connections" are the textbooks' names of two of these.
    #[schemars(extend("default" = "round_robin", "enum" = ["round_robin", "weighted_round_robin", "random", "power_of_two_choices", "least_connections", "weighted_least_connections", "least_response_time", "least_bandwidth", "ip_hash", "hash", "custom_load"]))]
    algorithm: String,
    /// "IP:PORT", "HOST:PORT", "unix:/run/app.sock", or a table, see below. At least one, unless there is `discover`.
    ///
    /// "HOST:PORT" is one backend, whatever number of addresses its name has: connections go to them in turn, IPv6 first, the
    /// next after 250 ms without an answer or at once after a failure (happy eyeballs, RFC 8305). It is resolved again as its
    /// TTL says, bounded to 1 s to 1 h. A name that does not resolve stops neither start nor reload: the backend is down with
    /// the reason dns until it does, and the last good answer is kept for as long as there is no other. Connections to an
    /// address that is gone carry no further request. The lines of /etc/hosts come first, and those of a name that stands
    /// there are all of it.
    #[schemars(extend("examples" = [["10.0.1.10:8080", "10.0.1.11:8080"]], "x-shown" = true))]
    backends: Many<Or<Call, Backend>>,
    /// When no backend is healthy: "reject" with 503 | "try_any" of them.
    #[schemars(extend("default" = "reject", "enum" = ["reject", "try_any"]))]
    when_all_down: String,
    /// A backend that joins a running pool, or recovers, begins with a tenth of its weight and has all of it after this
    /// long, whatever the algorithm; or "off". At most 1h. Not at the start of the process.
    #[schemars(extend("default" = "10s"))]
    slow_start: Timeout,
    /// For a connection; cannot be turned off.
    #[schemars(extend("default" = "2s"))]
    connect_timeout: Duration,
    /// One attempt, from the request sent to the response head, or "off".
    #[schemars(extend("default" = "30s"))]
    response_timeout: Timeout,
    /// The longest silence inside a body, in either direction, or "off". Of a gRPC call tunnel_timeout holds instead.
    #[schemars(extend("default" = "60s"))]
    body_timeout: Timeout,
    /// The longest silence of a WebSocket, of a CONNECT tunnel, or of a gRPC call to an HTTP/2 backend, both directions
    /// taken together; or "off".
    #[schemars(extend("default" = "1h"))]
    tunnel_timeout: Timeout,
    /// "h1" = HTTP/1.1 | "h2" = HTTP/2, without TLS by prior knowledge | "auto" = what a backend chooses by ALPN, with tls
    /// alone. gRPC wants "h2" or "auto": a call is a request over HTTP/2 whose content-type is application/grpc.
    #[schemars(extend("default" = "h1", "enum" = ["h1", "h2", "auto"]))]
    protocol: String,
    /// Connections to each backend, of the process. One that is at it takes no more until one of its connections is free: an
    /// idle one of another worker is closed for it.
    #[schemars(extend("default" = "off", "examples" = [500]))]
    max_connections: Limit,
    /// Requests at each backend at a time, of the process, each counted until its answer has gone, or its tunnel has ended.
    /// A backend that is at it is passed over; when all are, requests wait in the queue. "auto" = as many as it answers
    /// without becoming slow: found out from its response times, its failures and its 503s, never by starving it.
    /// evenkeel_in_flight_limit shows what that would be in any case.
    #[schemars(extend("default" = "off", "examples" = [200]))]
    max_in_flight: AutoLimit,
    /// "off" | "v1" | "v2": a PROXY header in front of each connection says who the client is; v2 with ALPN, SNI and TLS
    /// version. Such a connection is one client's, so none is kept or shared. Health checks at the backend's own port begin
    /// with LOCAL (v2) or UNKNOWN (v1).
    #[schemars(extend("default" = "off", "enum" = ["off", "v1", "v2"]))]
    send_proxy_protocol: String,
    /// Send the client's Host; false: the backend's address as written.
    #[schemars(extend("default" = true))]
    pass_host: bool,
    /// Addresses of this host to connect from, in turn: each gives about 28,000 more ports to one backend. Those of the other
    /// family than the backend's address are passed over. When no port is left on any of them: 503 ports_exhausted.
    #[schemars(extend("default" = [], "examples" = [["10.0.0.5", "10.0.0.6"]]))]
    source_address: Many<Ip>,
    discover: Discover,
    tls: Or<Tls, bool>,
    hash: Hash,
    custom_load: CustomLoad,
    sticky: Sticky,
    keepalive: Keepalive,
    queue: Or<Queue, Off>,
    health_check: Many<HealthCheck>,
    circuit_breaker: CircuitBreaker,
    outlier: Outlier,
    retry: Retry,
}

/// TLS to the backends; tls = true for this table without keys. Absent: no TLS. Not to unix sockets. cert and key are read
/// again when they change, ca with a reload.
#[derive(JsonSchema)]
#[schemars(rename = "PoolTls")]
pub(super) struct Tls {
    /// CAs of the backends, PEM. Default: the system's.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/ca.pem"]))]
    ca: String,
    /// The name to ask for and to verify. Default: the backend's host name, or its address; with discover.dns that name, for
    /// all of the pool.
    #[schemars(extend("examples" = ["api.internal"]))]
    server_name: String,
    /// Our certificate for backends that ask, PEM; with `key`.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/evenkeel.pem"]))]
    cert: String,
    /// Its key, PEM.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/evenkeel.key"]))]
    key: String,
    /// false: whoever answers is believed, which is warned of. Default: true.
    #[schemars(extend("examples" = [true]))]
    verify: bool,
}

/// Backends that DNS knows, one for each address, named by it: they come and go with its answers, at most once a second.
/// One that goes is drained as if a reload had removed it. Beside `backends`, which win where an address stands in both, or
/// instead of them. Either dns and port, or srv. While there has been no answer, requests get 503 dns; the last good answer
/// is kept for as long as there is no other. Where a server gives some of many addresses at a time, in turn, backends would
/// come and go with each answer: write the name into `backends` then.
#[derive(JsonSchema)]
pub(super) struct Discover {
    /// A host name: its addresses (A and AAAA) are the backends.
    #[schemars(extend("examples" = ["api.service.local"]))]
    dns: String,
    /// Their port, with dns alone.
    #[schemars(extend("examples" = [8080]))]
    port: Count<1, 65_535>,
    /// A service with SRV records (RFC 2782): those of the lowest priority value are the first tier, the others backups;
    /// weights are the records', 0 counts as 1 and more than 1000 as 1000.
    #[schemars(extend("examples" = ["_api._tcp.service.local"]))]
    srv: String,
}

/// A backend as a table, where it has more than an address.
#[derive(JsonSchema)]
pub(super) struct Backend {
    /// "IP:PORT", "HOST:PORT" or "unix:/run/app.sock".
    #[schemars(extend("examples" = ["10.0.1.10:8080"], "x-required" = true))]
    address: Call,
    /// In logs and metrics. Default: the address as written.
    #[schemars(extend("examples" = ["a"]))]
    name: Name,
    /// Its share beside the others' weights, 0 to 1000. Default: 1.
    #[schemars(extend("examples" = [3]))]
    weight: Count<0, 1_000>,
    /// Used only while no other backend can be. Default: false.
    #[schemars(extend("examples" = [true]))]
    backup: bool,
    /// Requests at a time, or "auto", or "off". Default: the pool's.
    #[schemars(extend("examples" = [200]))]
    max_in_flight: AutoLimit,
}

/// Connections to backends that are kept for the next request.
#[derive(JsonSchema)]
pub(super) struct Keepalive {
    /// Per backend, of the process; 0 = none.
    #[schemars(extend("default" = 64))]
    max_idle: Count<0, 65_536>,
    /// How long, or "off"; a backend's own Keep-Alive: timeout is honoured.
    #[schemars(extend("default" = "30s"))]
    idle_timeout: Timeout,
    /// Requests on one connection before it is closed.
    #[schemars(extend("default" = "off", "examples" = [1000]))]
    max_requests: Limit,
}

/// Where requests wait while every backend is at max_in_flight or max_connections: first come, first served, and nobody
/// overtakes. queue = "off": they are refused at once. The route's timeout counts meanwhile. Retries wait as well, at the
/// end. A client with a session waits for its own backend, up to a fifth of the timeout; then another one serves it and does
/// not get the session, unless sticky.fallback = "reject".
#[derive(JsonSchema)]
pub(super) struct Queue {
    /// How many may wait; further ones get 503 queue_full, or the route's fallback. 0 = none.
    #[schemars(extend("default" = 1024))]
    size: CountOr<0, 1_000_000, Off>,
    /// How long; then 503 queue_timeout, or the fallback. "off" = as long as the route's timeout lets them.
    #[schemars(extend("default" = "5s"))]
    timeout: Timeout,
}

/// How it is found out whether a backend can serve. [[pool.NAME.health_check]] for several, all of which must pass.
#[derive(JsonSchema)]
pub(super) struct HealthCheck {
    /// "tcp" = a connection is accepted | "http" = a request is answered as expected | "https" = the same by the pool's tls,
    /// or verified by the system's CAs if it has none, over HTTP/1.1 | "grpc" = grpc.health.v1 says SERVING, by the pool's
    /// tls or HTTP/2 without TLS | "off".
    #[schemars(rename = "type", extend("default" = "tcp", "enum" = ["tcp", "http", "https", "grpc", "off"]))]
    kind: String,
    /// Path and query. From here to expect_json, but for `service` and `port`, all is for the types "http" and "https".
    /// Default: "/".
    #[schemars(extend("examples" = ["/health"]))]
    path: PathText,
    /// Default: "GET".
    #[schemars(extend("examples" = ["GET"]))]
    method: Method,
    /// Sent with its length. Default: none.
    #[schemars(extend("examples" = ["ping"]))]
    body: String,
    /// For type "grpc": the service to ask for, by its full name. Default: "", the server as a whole.
    #[schemars(extend("examples" = ["shop.v1.Orders"]))]
    service: String,
    /// For the header Host, and :authority of type "grpc"; by TLS also the name to ask for and to verify, unless tls has a
    /// server_name. Default: the backend's address.
    #[schemars(extend("examples" = ["api.internal"]))]
    host: String,
    /// Further headers.
    #[schemars(extend("examples" = [{ "x-check": "evenkeel" }]))]
    headers: BTreeMap<String, String>,
    /// Where, for every type; 0 = the backend's own port.
    #[schemars(extend("default" = 0))]
    port: Count<0, 65_535>,
    /// Keep the connection for the next check. Default: false.
    #[schemars(extend("examples" = [true]))]
    reuse: bool,
    /// Statuses and ranges that pass. Default: ["200-299"].
    #[schemars(extend("examples" = [["200-299", 304]]))]
    expect_status: Many<Statuses>,
    /// Text that the body must hold; or a table, see below.
    #[schemars(extend("examples" = ["ok"]))]
    expect_body: Or<String, Body>,
    /// Values at dotted places of a JSON body.
    #[schemars(extend("examples" = [{ "status": "healthy", "checks.database": "connected" }]))]
    expect_json: BTreeMap<String, Value>,
    /// Time between checks, give or take a tenth; the first is at the start.
    #[schemars(extend("default" = "10s"))]
    interval: Duration,
    /// The same while the backend is not healthy, or changing.
    #[schemars(extend("default" = "2s"))]
    interval_down: Duration,
    /// For one check.
    #[schemars(extend("default" = "5s"))]
    timeout: Duration,
    /// Passes in a row that make a backend healthy.
    #[schemars(extend("default" = 2))]
    healthy_threshold: Count<1, 1_000>,
    /// Failures in a row that make it unhealthy.
    #[schemars(extend("default" = 3))]
    unhealthy_threshold: Count<1, 1_000>,
    /// "up" | "down", until the first verdict.
    #[schemars(extend("default" = "up", "enum" = ["up", "down"]))]
    initial_state: String,
    /// A check that passes and takes longer than this makes its backend degraded: it serves with half its weight, until
    /// healthy_threshold checks in a row have been quicker. Below `timeout`; or "off".
    #[schemars(extend("default" = "off", "examples" = ["500ms"]))]
    slow_after: Timeout,
}

/// A body that is expected, as a table.
#[derive(JsonSchema)]
pub(super) struct Body {
    /// An expression that must be found in it.
    #[schemars(extend("examples" = ["ok|fine"], "x-required" = true))]
    regex: String,
}

/// Further attempts at a request that can be sent again, each on another backend while there is one.
#[derive(JsonSchema)]
pub(super) struct Retry {
    /// After the first; 0 or "off" = none.
    #[schemars(extend("default" = 2))]
    attempts: CountOr<0, 100, Off>,
    /// "connect" = no connection could be made | "reset" = it died before a byte of the response | "timeout" = the
    /// response did not come in time | a status from "400" to "599", or all of "4xx" or "5xx" = the backend answered with
    /// it: the client gets the answer of the last attempt, as it came; a Retry-After is not waited for, and what came behind an
    /// interim response (103) is final | "grpc:NAME" =
    /// that gRPC status, such as "grpc:unavailable", when no message came and the call's body is still held whole. Every
    /// gRPC call is a POST: that they may be made twice is your word.
    #[schemars(extend("default" = ["connect", "reset", "timeout"]))]
    on: Many<RetryOn>,
    /// true: a request with an Idempotency-Key counts as idempotent, whatever its method: its backends must know it again.
    #[schemars(extend("default" = false))]
    idempotency_key: bool,
    /// true: POST, PATCH and the like are tried again too, even when bytes of them had reached a backend, as long as the
    /// body is still held whole: they may be carried out twice. `check` warns of it.
    #[schemars(extend("default" = false))]
    non_idempotent: bool,
    /// Retries, as a share of the pool's requests of the last 10 s, so that a storm cannot form.
    #[schemars(extend("default" = "20%"))]
    budget: Share,
    /// Retries in 10 s that are always allowed.
    #[schemars(extend("default" = 10))]
    budget_floor: Count<0, 1_000_000>,
    /// Bytes of a request body that are kept for being sent again; larger bodies are not. At most 64MiB.
    #[schemars(extend("default" = "64KiB"))]
    buffer: SizeOrOff,
    backoff: Backoff,
}

/// The wait before a retry, of which chance takes a part.
#[derive(JsonSchema)]
pub(super) struct Backoff {
    /// Up to this before the first, twice that before the next.
    #[schemars(extend("default" = "25ms"))]
    base: Timeout,
    /// Never longer.
    #[schemars(extend("default" = "250ms"))]
    max: Timeout,
}

/// How keys become backends: of the algorithms "hash" and "ip_hash", and of sticky, which looks for another backend so.
#[derive(JsonSchema)]
pub(super) struct Hash {
    /// For algorithm = "hash", what is equal in requests that go to the same backend: "client_ip" | "header:NAME" |
    /// "cookie:NAME" | "query:NAME" (a parameter) | "path" (as it goes to the backend, without the query) | "host". A
    /// request without it goes to any. Default: "client_ip".
    #[schemars(extend("examples" = ["header:x-tenant"]))]
    key: HashKey,
    /// No backend has more in flight than this share of the mean, by weight: above it keys go on to their next backend, so
    /// that one popular key drowns nobody. Of few requests that is few: in a pool at rest a client that asks for several
    /// things at once meets several backends. A higher bound keeps it together, and `sticky` does. Whole percents above 100% and up to 1000%. Default: "125%".
    #[schemars(extend("examples" = ["125%"]))]
    bounded_load: Percent,
    /// Bits of an IPv6 address that count, 1 to 128: a client has a network of its own, and changes addresses in it.
    /// Default: 64.
    #[schemars(extend("examples" = [64]))]
    ipv6_prefix: Count<1, 128>,
}

/// For algorithm = "custom_load": what backends say of themselves, and how it becomes one number: who says half as
/// much gets twice the requests.
#[derive(JsonSchema)]
pub(super) struct CustomLoad {
    /// "header" = in the header endpoint-load-metrics (ORCA, TEXT or JSON) of any response, which clients do not get to see |
    /// "poll" = as JSON at a path of theirs, see below. Default: "header".
    #[schemars(extend("examples" = ["header"], "enum" = ["header", "poll"]))]
    source: String,
    /// The metrics that count, and how much, 0 to 1000000: must be written, at most 16 of them. ORCA has cpu_utilization,
    /// mem_utilization, application_utilization, rps_fractional, eps, and "named_metrics.X", "utilization.X" and
    /// "request_cost.X" for those of your own. What is polled is named as in its JSON, with dots for what is nested.
    #[schemars(extend("examples" = [{ "cpu_utilization": 0.6, "mem_utilization": 0.2, "named_metrics.disk": 0.2 }], "x-required" = true))]
    weights: Metrics,
    /// Of the metrics times their weights: "sum" | "max". Default: "sum".
    #[schemars(extend("examples" = ["sum"], "enum" = ["sum", "max"]))]
    combine: String,
    /// A backend with a metric above its limit gets nothing new while others can take it. Default: none.
    #[schemars(extend("examples" = [{ "mem_utilization": 0.95 }]))]
    limits: Metrics,
    /// A backend that has said nothing for so long counts as the mean of the others. Default: "3m".
    #[schemars(extend("examples" = ["3m"]))]
    expire: Duration,
    poll: Poll,
}

/// For source = "poll": what backends are asked, at their own port.
#[derive(JsonSchema)]
pub(super) struct Poll {
    /// Path and query; must be written.
    #[schemars(extend("examples" = ["/load"], "x-required" = true))]
    path: PathText,
    /// Time between polls, below `expire`. Default: "5s".
    #[schemars(extend("examples" = ["5s"]))]
    interval: Duration,
}

/// A client stays at the backend that it had; by a cookie also while that one drains or has weight 0. New clients get theirs
/// by `algorithm`. Absent: no client is known again.
#[derive(JsonSchema)]
pub(super) struct Sticky {
    /// By what a client is known; must be written.
    ///
    /// "cookie" = by a cookie of ours, sealed, without an address in it. Nothing is stored: any instance that has the secret
    /// reads it, backends do not see it. Up to four pools with the same name and secret here share one cookie. Of a split's
    /// pools, the one that it names gets the client, unless split_by decides.
    ///
    /// "app_cookie" = by a cookie that the application sets, such as that of its session: who set it, holds it. 65,536
    /// sessions are remembered, over reloads too. What is not, such as what another instance saw, goes by consistent hash.
    ///
    /// "header" = by the consistent hash of a header, as the client sent it; without it, by `algorithm`.
    ///
    /// "source_ip" = by the consistent hash of the client's address; `algorithm` is never asked. A backend always takes 8
    /// requests at a time of what is hashed here; above that hash.bounded_load holds, and others get the rest.
    #[schemars(rename = "type", extend("examples" = ["cookie"], "enum" = ["cookie", "app_cookie", "header", "source_ip"], "x-required" = true))]
    kind: String,
    /// Of the cookie or the header. Default: "evenkeel" for our cookie; must be written for the application's, and for a
    /// header.
    #[schemars(extend("examples" = ["evenkeel"]))]
    name: String,
    /// How long our cookie holds, which is made anew in the second half of that time when it is used; or how long a session
    /// of the application is remembered that is not used. Default: "8h".
    #[schemars(extend("examples" = ["8h"]))]
    ttl: Duration,
    /// For type = "cookie", what signs: a file, or an environment variable as { env = "NAME" }. 1 to 16 keys of at least 32
    /// bytes, one a line: the first signs and all verify, so that a new one is put in front, and the old one goes when its
    /// cookies have ended. The same on every instance. Default: a random one at the start, which is warned of.
    #[schemars(extend("examples" = [{ "file": "/etc/evenkeel/sticky.key" }]))]
    secret: Secret,
    /// When the client's backend is gone, or an attempt there fails: "reassign" = another one, the same at every instance,
    /// which has the client from then on | "reject" with 503; retries go to the same one. What goes by hash has no backend
    /// that could be missed: for it "reject" is about retries alone. While its backend is full, a client waits for it a
    /// while in the pool's queue; then another one serves it and does not get the session, or "reject" refuses. Default: "reassign".
    #[schemars(extend("examples" = ["reassign"], "enum" = ["reassign", "reject"]))]
    fallback: String,
}
