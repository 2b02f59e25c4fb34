//! What `[[listener]]` says of itself.

use schemars::JsonSchema;

use super::kinds::{Alpn, ByteRate, Count, Limit, Listen, Many, Name, Network, Rate, Size, SizeOrOff, Timeout};

/// An address that connections are accepted on, and the bounds of what comes in there. Once for each address.
///
/// What two servers could read differently is refused, and has no switch, because that is how requests are smuggled past
/// routes, limits and auth: lines that end with LF alone, folded lines, blanks before a colon, control characters,
/// Content-Length that is repeated, a list or signed, Content-Length beside Transfer-Encoding, transfer codings other than
/// chunked alone, a Host that is missing, empty or repeated, and in paths NUL, controls and backslashes, encoded or not. A
/// client that sends such things is better mended, or given a proxy of its own that writes them anew. What may be chosen:
/// underscore_headers in [server], half_close and non_ascii_targets here.
///
/// Not here on purpose: rules on what requests contain (a WAF). auth with type = "forward" asks one beside us about heads;
/// where bodies count, a WAF that is a proxy stands in front or behind (config/waf.toml).
#[derive(JsonSchema)]
pub(super) struct Listener {
    /// In logs and metrics, and for routes. Default: the address as written.
    #[schemars(extend("examples" = ["web"]))]
    name: Name,
    /// "0.0.0.0:8080" = every IPv4 address of this host, "[::]:8080" = IPv6 and IPv4, "unix:/run/evenkeel.sock" = a socket.
    #[schemars(extend("examples" = ["0.0.0.0:8080"], "x-shown" = true, "x-required" = true))]
    address: Listen,
    /// "[::]" takes IPv6 alone.
    #[schemars(extend("default" = false))]
    ipv6_only: bool,
    /// "http": HTTP/1.1 and HTTP/2, with WebSocket and gRPC. Without TLS, HTTP/2 by prior knowledge.
    #[schemars(extend("default" = "http", "enum" = ["http"]))]
    protocol: String,
    /// Answer every request with 308 to https, before any route: to the same host without its port, thus to port 443. Not
    /// where a trusted proxy says X-Forwarded-Proto: https. Not beside tls.
    #[schemars(extend("default" = false))]
    redirect_to_https: bool,
    /// Connections that the kernel holds before they are accepted.
    #[schemars(extend("default" = 4096))]
    backlog: Count<1, 1_000_000>,
    /// The kernel hands a connection over with its first bytes (TCP_DEFER_ACCEPT); silent ones are then not counted.
    #[schemars(extend("default" = false))]
    defer_accept: bool,
    /// Further connections wait in the kernel's queue; or "off". From 90 % on, idle connections are closed, down to 85 %:
    /// first those of the address that has most. Idle are kept connections without a request, those that have not sent
    /// their first byte for 2 s, and request heads that are not whole after 2 s; when clients wait already, sooner. Small
    /// limits, below 10, are near only when a client waits. The same holds for the clients' half of server.max_connections.
    #[schemars(extend("default" = 100_000))]
    max_connections: Limit,
    /// Connections of one address, of IPv6 those of one /64: further ones are closed at once, without an answer. Or "off".
    /// With proxy_protocol the address that the header names is counted, and the proxy's own connections (LOCAL) are not.
    #[schemars(extend("default" = "off", "examples" = [100]))]
    max_connections_per_ip: Limit,
    /// Networks and addresses that may connect; others are closed at once, without an answer. Empty: all may. With
    /// proxy_protocol it is the address that the header names.
    #[schemars(extend("default" = [], "examples" = [["10.0.0.0/8", "2001:db8::/32"]]))]
    allow: Many<Network>,
    /// Networks and addresses that may not connect, whatever allow says. Whoever is in when a reload shuts it out goes at
    /// its next safe point, within drain_timeout.
    #[schemars(extend("default" = [], "examples" = [["192.0.2.0/24"]]))]
    deny: Many<Network>,
    /// For a whole request head, or "off": from accept for the first, from its first byte for later ones. Slow heads get
    /// 408.
    #[schemars(extend("default" = "10s"))]
    header_timeout: Timeout,
    /// The longest silence inside a request body, or "off". Of a gRPC call the pool's tunnel_timeout holds instead.
    #[schemars(extend("default" = "30s"))]
    body_timeout: Timeout,
    /// Mean rate of a request body, looked at after its first 5 s, or "off". Not of gRPC calls.
    #[schemars(extend("default" = "100B/s"))]
    min_body_rate: ByteRate,
    /// The longest time that a client takes nothing of what is held for it, or "off". Of HTTP/2, of each stream and of the
    /// connection. One that takes a little now and then, or by HTTP/2 grants a byte of window, is not cut, however long it
    /// takes: what is held for it is bounded, max_connections_per_ip bounds how many there are, and max_connection_age how
    /// long they last.
    #[schemars(extend("default" = "30s"))]
    write_timeout: Timeout,
    /// A kept connection without a request, or "off".
    #[schemars(extend("default" = "75s"))]
    idle_timeout: Timeout,
    /// A client that shuts its sending side after the request still gets its answer; false: it has left.
    #[schemars(extend("default" = false))]
    half_close: bool,
    /// Bytes of a request head, 1KiB to 1MiB; more get 431.
    #[schemars(extend("default" = "32KiB"))]
    max_header_size: Size,
    /// Headers of a request, 1 to 1024; more get 431.
    #[schemars(extend("default" = 128))]
    max_headers: Count<1, 1024>,
    /// Bytes of a request target, 256B to 1MiB; more get 414.
    #[schemars(extend("default" = "8KiB"))]
    max_target_size: Size,
    /// UTF-8 in a request target, which RFC 3986 does not have, though some clients send é as it is: "reject" (400) |
    /// "encode" as %C3%A9, before routes, logs and backends see it; nginx passes it on as it came. The risk: a backend gets
    /// what it was shielded from, and two spellings of a letter (é, e and an accent) are two paths. What is no UTF-8 is 400.
    #[schemars(extend("default" = "reject", "enum" = ["reject", "encode"]))]
    non_ascii_targets: String,
    /// Bytes of a request body; more get 413.
    #[schemars(extend("default" = "off", "examples" = ["100MiB"]))]
    max_body_size: SizeOrOff,
    /// true: a PROXY header, v1 or v2, is required within header_timeout and believed; only from server.trusted_proxies,
    /// other peers are closed. Who it names is the client everywhere; peer_ip in the access log stays the proxy.
    #[schemars(extend("default" = false))]
    proxy_protocol: bool,
    /// Then a connection ends at its next safe point (Connection: close, GOAWAY), give or take 10 %.
    #[schemars(extend("default" = "off", "examples" = ["1h"]))]
    max_connection_age: Timeout,
    h2: H2,
    tls: Tls,
}

/// HTTP/2 from clients.
#[derive(JsonSchema)]
pub(super) struct H2 {
    /// Concurrent streams of a connection, 1 to 65536.
    #[schemars(extend("default" = 128))]
    max_streams: Count<1, 65_536>,
    /// Bytes of a stream that may be on their way, 65535B to 16MiB; the connection's window is four times that.
    #[schemars(extend("default" = "256KiB"))]
    window: Size,
    /// Resets, pings, settings and empty frames of a connection, each; over it the connection ends with GOAWAY, which is
    /// counted. Or "off".
    #[schemars(extend("default" = "100/s"))]
    reset_rate: Rate,
}

/// TLS alone is spoken on this listener. Absent: no TLS. Certificates and keys are read again when they change, client_ca
/// with a reload. A request, HTTP/1.1 or HTTP/2, for a host that has another certificate than the name of its handshake
/// gets 421.
#[derive(JsonSchema)]
#[schemars(rename = "ListenerTls")]
pub(super) struct Tls {
    /// "1.2" | "1.3". Default: "1.2".
    #[schemars(extend("examples" = ["1.2"], "enum" = ["1.2", "1.3"]))]
    min_version: String,
    /// What is offered, the best first: "h2" | "http/1.1". Default: both.
    #[schemars(extend("examples" = [["h2", "http/1.1"]]))]
    alpn: Many<Alpn>,
    /// CAs of clients, PEM: a client is asked for its certificate, and the backend is told of it in X-Client-Cert-Subject,
    /// -Fingerprint and -Verified, which clients cannot send themselves. Default: no client is asked.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/clients.pem"]))]
    client_ca: String,
    /// "required" | "optional": a client without a certificate may come in. A bad one is refused. Default: "required".
    #[schemars(extend("examples" = ["required"], "enum" = ["required", "optional"]))]
    client_auth: String,
    certificates: Many<Certificate>,
}

/// Chosen by the name that the client asks for; the first is for all others. When one ends is the metric
/// evenkeel_tls_certificate_not_after_timestamp_seconds, whose label `certificate` is `cert` as written here.
#[derive(JsonSchema)]
pub(super) struct Certificate {
    /// PEM: the certificate, then those that vouch for it.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/a.pem"], "x-required" = true))]
    cert: String,
    /// PEM, without a passphrase: its key, ECDSA, RSA or Ed25519; may be the same file.
    #[schemars(extend("examples" = ["/etc/evenkeel/certs/a.key"], "x-required" = true))]
    key: String,
}
