//! Keys of the file itself, and of the tables that concern the whole process.

use super::{Inert, Keys};

/// The file itself.
pub(in super::super) const DOCUMENT: Keys = Keys {
    title: "the file",
    example: "tables such as `[[listener]]` and `[pool.web]`",
    known: &["include", "server", "admin", "log", "metrics", "listener", "route", "error_pages", "pool"],
    later: &[
        ("trace", Inert::Never),
        ("rate_limit", Inert::Never),
        ("auth", Inert::Never),
        ("test", Inert::Never),
        ("cache", Inert::Never),
    ],
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
        ("match", "route"),
        ("rule", "route"),
        ("proxy_pass", "route"),
        ("import", "include"),
        ("includes", "include"),
        ("error_page", "error_pages"),
        ("errorfile", "error_pages"),
        ("custom_errors", "error_pages"),
    ],
};

/// `[server]`
pub(in super::super) const SERVER: Keys = Keys {
    title: "[server]",
    example: "`[server]` with its keys below",
    known: &[
        "workers",
        "drain_delay",
        "drain_timeout",
        "trusted_proxies",
        "name",
        "via",
        "forwarded",
        "max_connections",
        "max_memory",
        "max_in_flight",
        "underscore_headers",
        "resolvers",
    ],
    later: &[],
    peers: &[
        ("dns", "resolvers"),
        ("dns_resolvers", "resolvers"),
        ("nameserver", "resolvers"),
        ("nameservers", "resolvers"),
        ("resolver", "resolvers"),
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
        ("memory", "max_memory"),
        ("memory_limit", "max_memory"),
        ("max_heap_size", "max_memory"),
        ("max_heap_size_bytes", "max_memory"),
        ("overload", "max_in_flight"),
        ("overload_manager", "max_in_flight"),
        ("max_requests", "max_in_flight"),
        ("max_concurrent_requests", "max_in_flight"),
        ("concurrent_requests", "max_in_flight"),
        ("grace_period", "drain_timeout"),
        ("hard_stop_after", "drain_timeout"),
        ("shutdown_timeout", "drain_timeout"),
        ("worker_shutdown_timeout", "drain_timeout"),
        ("graceful_timeout", "drain_timeout"),
        ("lame_duck", "drain_delay"),
        ("shutdown_delay", "drain_delay"),
        ("request_accept_grace_timeout", "drain_delay"),
    ],
};

/// `[admin]`
pub(in super::super) const ADMIN: Keys = Keys {
    title: "[admin]",
    example: "`[admin]` with its keys below",
    known: &["address", "metrics_address", "token"],
    later: &[],
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

/// `token` of the admin API, and secrets of the tables to come.
pub(in super::super) const SECRET: Keys = Keys {
    title: "a secret",
    example: "`{ file = \"/etc/evenkeel/admin.token\" }` or `{ env = \"EVENKEEL_TOKEN\" }`",
    known: &["file", "env"],
    later: &[],
    peers: &[("path", "file"), ("filename", "file"), ("variable", "env"), ("environment", "env")],
};

/// `[log]`
pub(in super::super) const LOG: Keys = Keys {
    title: "[log]",
    example: "`[log]` with its keys below",
    known: &["level", "format", "access", "access_format", "access_sample", "access_overflow", "access_fields"],
    later: &[],
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

/// `[metrics]`
pub(in super::super) const METRICS: Keys = Keys {
    title: "[metrics]",
    example: "`[metrics]` with its keys below",
    known: &["buckets", "backend_histograms"],
    later: &[],
    peers: &[
        ("histogram_buckets", "buckets"),
        ("latency_buckets", "buckets"),
        ("histograms", "backend_histograms"),
        ("per_backend", "backend_histograms"),
    ],
};

/// A status of `[error_pages]`.
pub(in super::super) const ERROR_PAGE: Keys = Keys {
    title: "an error page",
    example: "`503 = { html = \"503.html\", json = \"503.json\" }`",
    known: &["html", "json"],
    later: &[],
    peers: &[("file", "html"), ("path", "html"), ("page", "html"), ("body", "html")],
};
