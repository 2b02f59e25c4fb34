//! Lines that nothing is written for: because evenkeel does it anyway, or has no such thing. Called by
//! `haproxy::leftovers`, for whatever nobody else has told of.

use super::super::report::Outcome::{self, Approximated, Converted, Unsupported};

/// What is said of a line with these words, in a section of this kind.
pub(super) fn note(section: &str, words: &[String]) -> (Outcome, &'static str) {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match (section, word(0), word(1)) {
        ("global", name, _)
            if name.starts_with("tune.") || name.starts_with("ssl-default-") || name.starts_with("ssl-engine") =>
        {
            match name.starts_with("ssl-") {
                true => (Approximated, "rustls has safe suites alone, and speaks TLS 1.2 and 1.3"),
                false => (Converted, "there is nothing to tune"),
            }
        }
        (
            "global",
            "user"
            | "group"
            | "uid"
            | "gid"
            | "chroot"
            | "daemon"
            | "master-worker"
            | "pidfile"
            | "nbproc"
            | "cpu-map"
            | "ulimit-n"
            | "set-dumpable"
            | "node"
            | "description"
            | "hard-stop-after"
            | "localpeer"
            | "maxpipes"
            | "quiet"
            | "unix-bind"
            | "h1-case-adjust"
            | "numa-cpu-mapping"
            | "grace"
            | "expose-experimental-directives"
            | "insecure-fork-wanted"
            | "setenv"
            | "presetenv"
            | "zero-warning"
            | "strict-limits",
            _,
        ) => (Converted, "the systemd unit and evenkeel see to it"),
        ("global", "stats", _) => (Approximated, "the admin address has status, metrics and changes"),
        ("global", "ca-base" | "crt-base", _) => (Converted, "written out in each path"),
        ("global", "maxconnrate" | "maxsessrate" | "maxsslrate" | "maxsslconn", _) => (Unsupported, ""),
        ("global", "lua-load" | "lua-prepend-path", _) => (Unsupported, "evenkeel runs no scripts"),
        (_, "log" | "log-format" | "log-tag" | "log-format-sd" | "error-log-format" | "log-send-hostname", _) => {
            (Approximated, "a JSON line for each request on stdout, which the journal keeps")
        }
        (
            _,
            "option",
            "httplog"
            | "tcplog"
            | "dontlognull"
            | "log-health-checks"
            | "log-separate-errors"
            | "logasap"
            | "httpslog"
            | "socket-stats"
            | "dontlog-normal"
            | "contstats",
        ) => (Converted, "evenkeel logs requests, failures and checks"),
        (_, "no", "log") => (Approximated, "access = \"off\" in a route, or log.access = \"off\""),
        (
            _,
            "option",
            "http-server-close"
            | "http-keep-alive"
            | "httpclose"
            | "forceclose"
            | "http-pretend-keepalive"
            | "prefer-last-server"
            | "http-use-proxy-header"
            | "tcp-smart-accept"
            | "tcp-smart-connect"
            | "splice-auto"
            | "splice-request"
            | "splice-response"
            | "clitcpka"
            | "srvtcpka"
            | "tcpka"
            | "http-no-delay"
            | "redispatch"
            | "abortonclose"
            | "http-buffer-request"
            | "nolinger"
            | "idle-close-on-response"
            | "allbackups"
            | "spop-check",
        )
        | (_, "no", "option")
        | (_, "http-reuse" | "max-keep-alive-queue" | "pool-purge-delay", _) => {
            (Converted, "evenkeel keeps connections on both sides, and streams")
        }
        (_, "option", "forwardfor" | "originalto" | "http-restrict-req-hdr-names") => {
            (Converted, "X-Forwarded-For is sent; server.trusted_proxies says whose is believed")
        }
        (_, "option", "forwarded") => (Converted, ""),
        (
            _,
            "option",
            "accept-invalid-http-request"
            | "accept-invalid-http-response"
            | "accept-unsafe-violations-in-http-request"
            | "h1-case-adjust-bogus-client",
        ) => (Unsupported, "what two servers could read differently is refused"),
        (_, "mode" | "description" | "id" | "enabled" | "guid", _) => (Converted, ""),
        (_, "timeout", "client-fin" | "server-fin" | "tarpit" | "client-hs") => {
            (Converted, "evenkeel has bounds of its own for it")
        }
        (_, "timeout", _) => (Approximated, "it is not the one that counts here"),
        (_, "stats", _) | (_, "monitor", _) => {
            (Approximated, "the admin address has status, metrics, changes and /healthz")
        }
        (_, "compression" | "filter", _) => (Unsupported, "evenkeel does not compress, and has no filters"),
        (_, "errorfile" | "errorfiles" | "errorloc" | "errorloc302" | "errorloc303" | "http-error", _) => {
            (Unsupported, "write [error_pages]: a body alone, without the head that HAProxy's files have")
        }
        (_, "capture" | "declare", _) => {
            (Approximated, "log.access_fields = [\"request:NAME\"] has headers in the access log")
        }
        (_, "unique-id-format" | "unique-id-header", _) => (Approximated, "backends and clients get X-Request-Id"),
        (_, "tcp-request", "inspect-delay") => (Converted, "header_timeout bounds the wait for a request"),
        (_, "tcp-request", "content" | "connection" | "session") => (Unsupported, ""),
        (_, "fullconn" | "minconn", _) => (Approximated, "max_in_flight = \"auto\" of a pool finds a backend's limit"),
        (_, "bind-process" | "disabled" | "grace", _) => (Converted, ""),
        (_, "load-server-state-from-file" | "server-state-file" | "server-state-base", _) => {
            (Converted, "what the API has changed holds over reloads")
        }
        (_, "external-check" | "persist" | "email-alert" | "dispatch" | "transparent" | "source" | "usesrc", _) => {
            (Unsupported, "")
        }
        ("userlist", ..) => (Unsupported, "write a file of htpasswd -B, and [auth.NAME] with type = \"basic\""),
        ("peers", ..) => (Unsupported, "what is counted is not shared between instances"),
        ("resolvers", "nameserver", _) => (Converted, ""),
        ("resolvers", ..) => (Converted, "names are resolved again as their TTL says"),
        ("mailers" | "program" | "cache" | "ring" | "http-errors" | "log-forward" | "fcgi-app", ..) => {
            (Unsupported, "")
        }
        (_, name, _) if name.starts_with('.') => (Unsupported, "what stands in `.if` is taken in any case"),
        _ => (Unsupported, ""),
    }
}
