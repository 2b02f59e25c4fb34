//! Which keys may stand where: those that are built, those that the product will have, and what other proxies call them.
//!
//! `section` asks on opening a table. A key that is documented but not built is refused, never accepted and ignored.

use super::report::Wrong;

/// The keys of one table.
pub(super) struct Keys {
    /// What the table is called in messages.
    pub(super) title: &'static str,
    /// How it is written.
    pub(super) example: &'static str,
    /// Keys that are built.
    pub(super) known: &'static [&'static str],
    /// Keys that PRODUCT.md documents and no issue has built yet.
    pub(super) later: &'static [&'static str],
    /// Words of nginx, HAProxy, Envoy, Traefik, Caddy and of habit, with ours.
    pub(super) peers: &'static [(&'static str, &'static str)],
}

impl Keys {
    /// Why `key` may not stand in this table; `None` if it may.
    pub(super) fn refuse(&self, key: &str) -> Option<Wrong> {
        if self.known.contains(&key) {
            return None;
        }
        if self.later.contains(&key) {
            let wrong = Wrong::new(format!("`{key}` is not supported yet"));
            return Some(wrong.help("this build cannot honour it: take it out, or wait for a version that can"));
        }
        let wrong = Wrong::new(format!("unknown key in {}", self.title));
        if let Some(ours) = self.meant(key) {
            let later = if self.later.contains(&ours) { ", which is not supported yet" } else { "" };
            return Some(wrong.help(format!("did you mean `{ours}`{later}?")));
        }
        if let Some(other) = ALL.iter().find(|keys| keys.known.contains(&key)) {
            return Some(wrong.help(format!("`{key}` belongs in {}", other.title)));
        }
        Some(wrong.help(format!("its keys are: {}", self.known.join(", "))))
    }

    /// The key that was probably meant: same but for case and `-`, a word of a peer, or a slip of the fingers.
    pub(super) fn meant(&self, key: &str) -> Option<&'static str> {
        if self.known.contains(&key) || self.later.contains(&key) {
            return None;
        }
        let plain = key.to_ascii_lowercase().replace('-', "_");
        let ours = || self.known.iter().chain(self.later).copied();
        ours()
            .find(|candidate| *candidate == plain)
            .or_else(|| self.peers.iter().find(|(word, _)| *word == plain).map(|(_, ours)| *ours))
            .or_else(|| nearest(&plain, ours()))
    }
}

/// The candidate that is at most a third of its letters away from `word`.
pub(super) fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3).min(3) && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Every table, to tell where a misplaced key belongs.
const ALL: [&Keys; 8] = [&DOCUMENT, &LISTENER, &POOL, &BACKEND, &KEEPALIVE, &SERVER, &LOG, &ADMIN];

/// The file itself.
pub(super) const DOCUMENT: Keys = Keys {
    title: "the file",
    example: "tables such as `[[listener]]` and `[pool.web]`",
    known: &["server", "admin", "log", "listener", "pool"],
    later: &["include", "trace", "metrics", "route", "error_pages", "rate_limit", "auth", "test", "cache"],
    peers: &[
        ("backend", "pool"),
        ("backends", "pool"),
        ("upstream", "pool"),
        ("upstreams", "pool"),
        ("cluster", "pool"),
        ("clusters", "pool"),
        ("service", "pool"),
        ("services", "pool"),
        ("bind", "listener"),
        ("entry_points", "listener"),
        ("entrypoints", "listener"),
        ("frontend", "listener"),
        ("listen", "listener"),
        ("servers", "listener"),
        ("location", "route"),
        ("router", "route"),
        ("routers", "route"),
        ("routing", "route"),
        ("rules", "route"),
        ("defaults", "server"),
        ("events", "server"),
        ("global", "server"),
        ("http", "server"),
        ("main", "server"),
        ("process", "server"),
        ("accesslog", "log"),
        ("logger", "log"),
        ("logging", "log"),
        ("api", "admin"),
        ("dashboard", "admin"),
        ("stats", "admin"),
        ("tracing", "trace"),
        ("prometheus", "metrics"),
    ],
};

/// `[server]`
pub(super) const SERVER: Keys = Keys {
    title: "[server]",
    example: "`[server]` with its keys below",
    known: &["workers", "trusted_proxies", "underscore_headers", "via", "name", "forwarded", "max_connections"],
    later: &["drain_delay", "drain_timeout", "max_memory", "max_in_flight"],
    peers: &[
        ("concurrency", "workers"),
        ("nbthread", "workers"),
        ("threads", "workers"),
        ("worker_processes", "workers"),
        ("worker_threads", "workers"),
        ("forwarded_headers", "trusted_proxies"),
        ("real_ip", "trusted_proxies"),
        ("set_real_ip_from", "trusted_proxies"),
        ("trusted", "trusted_proxies"),
        ("trusted_ips", "trusted_proxies"),
        ("underscores_in_headers", "underscore_headers"),
        ("pseudonym", "via"),
        ("hostname", "name"),
        ("id", "name"),
        ("instance", "name"),
        ("maxconn", "max_connections"),
        ("worker_connections", "max_connections"),
        ("grace_period", "drain_timeout"),
        ("hard_stop_after", "drain_timeout"),
        ("shutdown_timeout", "drain_timeout"),
        ("worker_shutdown_timeout", "drain_timeout"),
    ],
};

/// `[admin]`
pub(super) const ADMIN: Keys = Keys {
    title: "[admin]",
    example: "`[admin]` with its keys below",
    known: &["address"],
    later: &["metrics_address", "token"],
    peers: &[
        ("addr", "address"),
        ("bind", "address"),
        ("host", "address"),
        ("listen", "address"),
        ("port", "address"),
        ("socket", "address"),
        ("metrics", "metrics_address"),
        ("password", "token"),
        ("secret", "token"),
    ],
};

/// `[log]`
pub(super) const LOG: Keys = Keys {
    title: "[log]",
    example: "`[log]` with its keys below",
    known: &["level", "access"],
    later: &["format", "access_format", "access_sample", "access_overflow", "access_fields"],
    peers: &[
        ("filter", "level"),
        ("severity", "level"),
        ("verbosity", "level"),
        ("access_log", "access"),
        ("log_format", "format"),
        ("fields", "access_fields"),
        ("sample", "access_sample"),
    ],
};

/// `[[listener]]`
pub(super) const LISTENER: Keys = Keys {
    title: "[[listener]]",
    example: "`[[listener]]` with its keys below",
    known: &[
        "name",
        "address",
        "ipv6_only",
        "backlog",
        "defer_accept",
        "max_connections",
        "header_timeout",
        "body_timeout",
        "min_body_rate",
        "write_timeout",
        "idle_timeout",
        "half_close",
        "max_header_size",
        "max_headers",
        "max_target_size",
        "max_body_size",
    ],
    later: &[
        "protocol",
        "pool",
        "redirect_to_https",
        "proxy_protocol",
        "max_connections_per_ip",
        "max_connection_age",
        "allow",
        "deny",
        "h2",
        "tls",
    ],
    peers: &[
        ("addr", "address"),
        ("bind", "address"),
        ("host", "address"),
        ("listen", "address"),
        ("port", "address"),
        ("socket", "address"),
        ("ipv6only", "ipv6_only"),
        ("v6only", "ipv6_only"),
        ("deferred", "defer_accept"),
        ("maxconn", "max_connections"),
        ("max_conns", "max_connections"),
        ("client_header_timeout", "header_timeout"),
        ("header_read_timeout", "header_timeout"),
        ("read_header_timeout", "header_timeout"),
        ("request_headers_timeout", "header_timeout"),
        ("timeout_http_request", "header_timeout"),
        ("client_body_timeout", "body_timeout"),
        ("read_body", "body_timeout"),
        ("read_timeout", "body_timeout"),
        ("send_timeout", "write_timeout"),
        ("timeout_client", "write_timeout"),
        ("keepalive", "idle_timeout"),
        ("keep_alive", "idle_timeout"),
        ("keepalive_timeout", "idle_timeout"),
        ("timeout_http_keep_alive", "idle_timeout"),
        ("client_header_buffer_size", "max_header_size"),
        ("large_client_header_buffers", "max_header_size"),
        ("max_header_bytes", "max_header_size"),
        ("http_maxhdr", "max_headers"),
        ("max_headers_count", "max_headers"),
        ("max_uri_size", "max_target_size"),
        ("client_max_body_size", "max_body_size"),
        ("max_request_body", "max_body_size"),
        ("max_request_size", "max_body_size"),
        ("cert", "tls"),
        ("certificate", "tls"),
        ("ssl", "tls"),
        ("accept_proxy", "proxy_protocol"),
        ("http2", "h2"),
        ("backend", "pool"),
        ("default_backend", "pool"),
        ("upstream", "pool"),
    ],
};

/// `[pool.NAME]`
pub(super) const POOL: Keys = Keys {
    title: "[pool.NAME]",
    example: "`[pool.NAME]` with a name of your own, such as `[pool.web]`, and its keys below",
    known: &[
        "algorithm",
        "backends",
        "keepalive",
        "max_connections",
        "source_address",
        "connect_timeout",
        "response_timeout",
        "body_timeout",
        "tunnel_timeout",
        "pass_host",
    ],
    later: &[
        "discover",
        "when_all_down",
        "slow_start",
        "protocol",
        "tls",
        "send_proxy_protocol",
        "max_in_flight",
        "queue",
        "hash",
        "custom_load",
        "sticky",
        "health_check",
        "circuit_breaker",
        "outlier",
        "retry",
    ],
    peers: &[
        ("balance", "algorithm"),
        ("lb_algorithm", "algorithm"),
        ("lb_policy", "algorithm"),
        ("load_balancing", "algorithm"),
        ("method", "algorithm"),
        ("policy", "algorithm"),
        ("strategy", "algorithm"),
        ("address", "backends"),
        ("addresses", "backends"),
        ("backend", "backends"),
        ("endpoints", "backends"),
        ("hosts", "backends"),
        ("members", "backends"),
        ("nodes", "backends"),
        ("server", "backends"),
        ("servers", "backends"),
        ("targets", "backends"),
        ("upstream", "backends"),
        ("upstreams", "backends"),
        ("url", "backends"),
        ("urls", "backends"),
        ("keep_alive", "keepalive"),
        ("maxconn", "max_connections"),
        ("max_conns", "max_connections"),
        ("bind", "source_address"),
        ("local_address", "source_address"),
        ("proxy_bind", "source_address"),
        ("source", "source_address"),
        ("dial_timeout", "connect_timeout"),
        ("proxy_connect_timeout", "connect_timeout"),
        ("timeout_connect", "connect_timeout"),
        ("proxy_read_timeout", "response_timeout"),
        ("read_timeout", "response_timeout"),
        ("response_header_timeout", "response_timeout"),
        ("timeout", "response_timeout"),
        ("timeout_server", "response_timeout"),
        ("timeout_tunnel", "tunnel_timeout"),
        ("host_header", "pass_host"),
        ("pass_host_header", "pass_host"),
        ("preserve_host", "pass_host"),
        ("check", "health_check"),
        ("health", "health_check"),
        ("healthcheck", "health_check"),
        ("health_checks", "health_check"),
        ("breaker", "circuit_breaker"),
        ("outlier_detection", "outlier"),
        ("proxy_next_upstream", "retry"),
        ("retries", "retry"),
        ("cookie", "sticky"),
        ("session", "sticky"),
        ("slowstart", "slow_start"),
        ("ssl", "tls"),
        ("dns", "discover"),
        ("resolve", "discover"),
        ("send_proxy", "send_proxy_protocol"),
    ],
};

/// A backend that is written as a table.
pub(super) const BACKEND: Keys = Keys {
    title: "a backend",
    example: "`\"10.0.1.10:8080\"` or `{ address = \"10.0.1.10:8080\", weight = 2 }`",
    known: &["address", "name", "weight"],
    later: &["max_in_flight", "backup"],
    peers: &[
        ("addr", "address"),
        ("host", "address"),
        ("ip", "address"),
        ("port", "address"),
        ("server", "address"),
        ("target", "address"),
        ("uri", "address"),
        ("url", "address"),
        ("id", "name"),
        ("label", "name"),
        ("priority", "weight"),
        ("max_conns", "max_in_flight"),
        ("maxconn", "max_in_flight"),
    ],
};

/// `keepalive` of a pool.
pub(super) const KEEPALIVE: Keys = Keys {
    title: "keepalive",
    example: "`keepalive = { max_idle = 64, idle_timeout = \"30s\" }`",
    known: &["max_idle", "idle_timeout", "max_requests"],
    later: &[],
    peers: &[
        ("connections", "max_idle"),
        ("max_idle_connections", "max_idle"),
        ("max_idle_conns_per_host", "max_idle"),
        ("pool_max_conn", "max_idle"),
        ("size", "max_idle"),
        ("keepalive_timeout", "idle_timeout"),
        ("timeout", "idle_timeout"),
        ("ttl", "idle_timeout"),
        ("keepalive_requests", "max_requests"),
        ("requests", "max_requests"),
    ],
};
