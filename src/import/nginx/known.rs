//! Directives that nothing is written for: because evenkeel does it anyway, or has no such thing. Called by
//! `nginx::leftovers`, for whatever nobody else has told of.

use super::super::report::Outcome::{self, Approximated, Converted, Unsupported};

/// What protects: where it cannot be converted, its requests are refused. Of modules that nobody knows here the name tells.
pub(super) fn protects(name: &str) -> bool {
    const NAMES: [&str; 21] = [
        "allow",
        "deny",
        "auth_basic",
        "auth_basic_user_file",
        "auth_request",
        "auth_jwt",
        "auth_jwt_key_file",
        "auth_jwt_key_request",
        "auth_jwt_require",
        "limit_except",
        "secure_link",
        "secure_link_md5",
        "secure_link_secret",
        "valid_referers",
        "auth_oidc",
        "modsecurity",
        "SecRulesEnabled",
        "ModSecurityEnabled",
        "app_protect_enable",
        "shib_request",
        // Of a file that is not there: it may have protected something.
        "include",
    ];
    // They refuse nobody by themselves.
    const HARMLESS: [&str; 4] = ["auth_request_set", "auth_delay", "auth_http", "access_log"];
    const BEGIN: [&str; 5] = ["auth", "access", "rewrite_by", "server_rewrite_by", "js_access"];
    NAMES.contains(&name) || BEGIN.iter().any(|begin| name.starts_with(begin)) && !HARMLESS.contains(&name)
}

/// What is said of `name` with `value`.
pub(super) fn note(name: &str, value: &str) -> (Outcome, &'static str) {
    match name {
        "user"
        | "pid"
        | "daemon"
        | "master_process"
        | "worker_rlimit_nofile"
        | "worker_cpu_affinity"
        | "worker_priority"
        | "pcre_jit"
        | "events"
        | "use"
        | "multi_accept"
        | "accept_mutex"
        | "worker_shutdown_timeout" => (Converted, "the systemd unit and evenkeel see to it"),
        "worker_connections" => (Converted, "server.max_connections is \"auto\": 90 % of the file descriptors"),
        "sendfile"
        | "tcp_nopush"
        | "tcp_nodelay"
        | "aio"
        | "directio"
        | "output_buffers"
        | "postpone_output"
        | "reset_timedout_connection"
        | "sendfile_max_chunk"
        | "types_hash_max_size"
        | "types_hash_bucket_size"
        | "server_names_hash_max_size"
        | "server_names_hash_bucket_size"
        | "variables_hash_max_size"
        | "variables_hash_bucket_size"
        | "map_hash_max_size"
        | "map_hash_bucket_size"
        | "proxy_headers_hash_max_size"
        | "proxy_headers_hash_bucket_size"
        | "open_file_cache"
        | "open_file_cache_valid"
        | "open_file_cache_min_uses"
        | "open_file_cache_errors"
        | "log_not_found"
        | "lingering_close"
        | "lingering_time"
        | "lingering_timeout"
        | "keepalive_disable"
        | "connection_pool_size"
        | "request_pool_size"
        | "proxy_socket_keepalive" => (Converted, "there is nothing to tune"),
        "default_type" | "types" | "charset" | "source_charset" | "override_charset" | "etag" | "if_modified_since" => {
            (Converted, "it is about files, which evenkeel does not serve")
        }
        "server_tokens" => (Converted, "evenkeel names no version; Via says server.via"),
        "proxy_buffering"
        | "proxy_buffers"
        | "proxy_buffer_size"
        | "proxy_busy_buffers_size"
        | "proxy_request_buffering"
        | "proxy_max_temp_file_size"
        | "proxy_temp_file_write_size"
        | "proxy_temp_path"
        | "client_body_buffer_size"
        | "client_body_temp_path"
        | "client_body_in_file_only"
        | "client_header_buffer_size"
        | "grpc_buffer_size"
        | "client_body_in_single_buffer" => (Converted, "evenkeel streams, within bounds"),
        "proxy_http_version" | "chunked_transfer_encoding" => (Converted, "evenkeel speaks HTTP/1.1 to backends"),
        "ssl_session_cache"
        | "ssl_session_timeout"
        | "ssl_session_tickets"
        | "ssl_prefer_server_ciphers"
        | "ssl_buffer_size"
        | "ssl_early_data"
        | "proxy_ssl_session_reuse"
        | "ssl_session_ticket_key" => (Converted, "rustls sees to it; there is no 0-RTT"),
        "ssl_ciphers" | "ssl_ecdh_curve" | "ssl_conf_command" | "proxy_ssl_ciphers" | "proxy_ssl_protocols" => {
            (Approximated, "rustls has safe suites alone, and they cannot be chosen")
        }
        "ssl_dhparam" => (Converted, "finite-field Diffie-Hellman is not used"),
        "ssl_stapling"
        | "ssl_stapling_verify"
        | "ssl_stapling_file"
        | "ssl_stapling_responder"
        | "ssl_trusted_certificate" => (Approximated, "OCSP responses are not stapled"),
        "ssl_password_file" => (Unsupported, "keys with a passphrase cannot be read: store the key without one"),
        "ssl_crl" => (Unsupported, "certificates of clients are not looked up in a CRL"),
        "resolver" | "resolver_timeout" => {
            (Approximated, "names of backends are resolved by server.resolvers, or the system's")
        }
        "error_log" => (Approximated, "evenkeel logs to stderr, which the journal keeps"),
        "access_log" | "log_format" | "open_log_file_cache" => {
            (Approximated, "a JSON line for each request on stdout; log.access and log.access_format say otherwise")
        }
        "gzip" | "gunzip" | "gzip_static" | "brotli" | "brotli_static" if value == "off" => (Converted, ""),
        "gzip" | "gzip_types" | "gzip_min_length" | "gzip_comp_level" | "gzip_proxied" | "gzip_vary"
        | "gzip_buffers" | "gzip_http_version" | "gzip_disable" | "gunzip" | "gzip_static" | "brotli"
        | "brotli_types" | "brotli_comp_level" | "brotli_static" | "brotli_min_length" => {
            (Unsupported, "evenkeel does not compress: let the backends do it")
        }
        "proxy_cache" if value == "off" => (Converted, ""),
        name if name.starts_with("proxy_cache") || name == "proxy_no_cache" || name == "proxy_store" => {
            (Unsupported, "evenkeel has no cache")
        }
        "root" | "index" | "alias" | "try_files" | "autoindex" | "disable_symlinks" | "expires" | "add_after_body" => {
            (Unsupported, "evenkeel serves no files")
        }
        name if ["fastcgi_", "uwsgi_", "scgi_", "memcached_"].iter().any(|kind| name.starts_with(kind)) => {
            (Unsupported, "evenkeel speaks HTTP to backends")
        }
        name if name.contains("_lua")
            || name.starts_with("lua_")
            || name.starts_with("js_")
            || name.starts_with("perl_") =>
        {
            (Unsupported, "evenkeel runs no scripts")
        }
        "load_module" => (Unsupported, "there are no modules"),
        "stream" | "mail" => (Unsupported, "evenkeel speaks HTTP alone"),
        "map" | "geo" | "set" | "geoip_country" | "geoip2" => (Unsupported, "evenkeel has no variables of your own"),
        "proxy_redirect" => {
            (Approximated, "Location passes as the backend writes it: with its own Host it is right already")
        }
        "proxy_cookie_domain" | "proxy_cookie_path" | "proxy_cookie_flags" => {
            (Unsupported, "Set-Cookie passes as it is")
        }
        "proxy_intercept_errors" | "error_page" => (Unsupported, "answers of backends pass as they are"),
        "sub_filter" | "sub_filter_once" | "sub_filter_types" => (Unsupported, "bodies are not edited"),
        "proxy_bind" => (Unsupported, "source_address of a pool is for addresses of this host"),
        "merge_slashes" => (Approximated, "`//` in a path is kept"),
        "ignore_invalid_headers" | "underscores_in_headers" => {
            (Approximated, "server.underscore_headers says what becomes of `_`")
        }
        "server_name_in_redirect" | "port_in_redirect" | "absolute_redirect" => (Converted, ""),
        "limit_req_status" | "limit_conn_status" => (Approximated, "refusals are 429, with Retry-After"),
        "limit_req_log_level" | "limit_conn_log_level" => (Converted, "the access log names the limit"),
        "limit_rate" | "limit_rate_after" => (Unsupported, "the rate of an answer is not bounded"),
        "limit_req_dry_run" => (Unsupported, "write dry_run = true in the limit"),
        "stub_status" | "status" | "api" => (Approximated, "the admin address has /metrics and /api/v1/status"),
        "health_check" | "check" | "check_http_send" => (Unsupported, "write [pool.NAME.health_check]"),
        "proxy_ignore_client_abort" => (Approximated, "a backend is told when its client has gone"),
        _ => (Unsupported, ""),
    }
}
