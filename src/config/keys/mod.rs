//! Which keys may stand where: those that are built, those that the product will have, and what other proxies call them.
//!
//! `section` asks on opening a table. A key that is documented but not built is refused, never accepted and ignored.

mod auth;
mod balance;
mod breaker;
mod limit;
mod listener;
mod pool;
mod process;
mod route;
mod test;

use toml::de::DeValue;

pub(super) use self::{
    auth::{AUTH, CORS, FILE},
    balance::{CUSTOM_LOAD, HASH, POLL, STICKY},
    breaker::{CIRCUIT_BREAKER, OUTLIER},
    limit::{IN_FLIGHT_LIMIT, RATE_LIMIT, TIER, TIER_KEYS},
    listener::{CERTIFICATE, H2, LISTENER, LISTENER_TLS},
    pool::{BACKEND, BACKOFF, BODY, DISCOVER, HEALTH_CHECK, KEEPALIVE, POOL, POOL_TLS, QUEUE, RETRY},
    process::{ADMIN, DOCUMENT, ERROR_PAGE, LOG, METRICS, SECRET, SERVER, TRACE},
    route::{FALLBACK, HEADER_RULES, MIRROR, PATH, REDIRECT, RESPOND, REWRITE, ROUTE, SPLIT, TEXT},
    test::{EXPECT, SAMPLE, TEST},
};
use super::report::Wrong;

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    /// What the table is called in messages.
    pub(super) title: &'static str,
    /// How it is written.
    pub(super) example: &'static str,
    /// Keys that are built.
    pub(super) known: &'static [&'static str],
    /// Keys that PRODUCT.md documents and that are not built yet.
    pub(super) later: &'static [&'static str],
    /// Words of nginx, HAProxy, Envoy, Traefik, Caddy and of habit, with ours.
    pub(super) peers: &'static [(&'static str, &'static str)],
}

impl Keys {
    /// What to write instead of `value`, which is no table and turns off what the table is about.
    pub(super) fn turned_off(&self, value: &DeValue<'_>) -> Option<&'static str> {
        let off = match value {
            DeValue::Boolean(yes) => !yes,
            DeValue::Integer(number) => number.as_str() == "0",
            DeValue::String(text) => OFF.contains(&text.to_ascii_lowercase().as_str()),
            _ => false,
        };
        TURNED_OFF.iter().find(|(title, _)| off && *title == self.title).map(|(_, help)| *help)
    }

    /// Why `key` may not stand in this table; `None` if it may.
    pub(super) fn refuse(&self, key: &str) -> Option<Wrong> {
        if self.known.contains(&key) {
            return None;
        }
        if self.is_later(key) {
            let wrong = Wrong::new(format!("`{key}` is not supported yet"));
            return Some(wrong.help("this build cannot honour it: take it out, or wait for a version that can"));
        }
        let wrong = Wrong::new(format!("unknown key in {}", self.title));
        if let Some(advice) = self.advice(key) {
            return Some(wrong.help(advice));
        }
        if let Some(ours) = self.meant(key) {
            let later = if self.is_later(ours) { ", which is not supported yet" } else { "" };
            return Some(wrong.help(format!("did you mean `{ours}`{later}?")));
        }
        if let Some(other) = self.nearby().chain(self.others()).find(|keys| keys.known.contains(&key)) {
            return Some(wrong.help(format!("`{key}` belongs in {}", other.title)));
        }
        Some(wrong.help(format!("its keys are: {}", self.known.join(", "))))
    }

    /// What to do about `key` where the name of another key does not say it.
    fn advice(&self, key: &str) -> Option<&'static str> {
        let plain = key.to_ascii_lowercase().replace('-', "_");
        let fits = |advice: &&Advice| advice.title == self.title && advice.words.contains(&plain.as_str());
        ADVICE.iter().find(fits).map(|advice| advice.help)
    }

    /// The tables around this one, and within it: where several have a key, theirs is meant.
    fn nearby(&self) -> impl Iterator<Item = &'static Keys> {
        let of_pool = OF_POOL.iter().any(|keys| keys.title == self.title).then_some(&POOL);
        let of_test = (TEST.title == self.title).then_some([&SAMPLE, &EXPECT]);
        of_pool.into_iter().chain(of_test.into_iter().flatten())
    }

    /// Every table of the file that this one is of; scenarios are files of their own, and small.
    fn others(&self) -> impl Iterator<Item = &'static Keys> {
        let ours = ALL.iter().any(|keys| keys.title == self.title);
        ALL.into_iter().filter(move |_| ours)
    }

    /// `key` is one of this table's, built or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.known.contains(&key) || self.is_later(key)
    }

    fn is_later(&self, key: &str) -> bool {
        self.later.contains(&key)
    }

    /// The key that was probably meant: same but for case and `-`, a word of a peer, or a slip of the fingers.
    pub(super) fn meant(&self, key: &str) -> Option<&'static str> {
        if self.has(key) {
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

const OFF: &[&str] = &["disabled", "false", "no", "none", "off"];

/// How a table that is turned off is written, where a word alone does not do it.
const TURNED_OFF: &[(&str, &str)] = &[
    (RETRY.title, "for no retries write `retry = { attempts = 0 }`"),
    (CIRCUIT_BREAKER.title, "for none write `circuit_breaker = { enabled = false }`"),
    (OUTLIER.title, "take it out: without it outliers are reported, and not ejected"),
    (QUEUE.title, "for none write `queue = \"off\"`"),
    (MIRROR.title, "take it out: without it nothing is mirrored"),
    (FALLBACK.title, "take it out: without it there is none"),
    (STICKY.title, "take it out: without it nobody sticks to a backend"),
    (TRACE.title, "take it out: without it no spans are recorded"),
    (KEEPALIVE.title, "to keep no connection write `keepalive = { max_idle = 0 }`"),
];

/// Words that no key stands for by its name alone.
struct Advice {
    /// The table that they stand in.
    title: &'static str,
    words: &'static [&'static str],
    help: &'static str,
}

const WAF: &[&str] = &["coraza", "modsecurity", "modsecurity_rules", "waf"];
const NO_WAF: &str = "rules on what requests contain are not here: auth with type = \"forward\" asks a service that has them; \
                      config/waf.toml shows how";
const PROVIDERS: &[&str] = &["jwt_providers", "provider", "providers"];
const PROVIDER: &str =
    "each provider is a table of its own: write [auth.NAME] with type = \"jwt\", and auth = \"NAME\" in a route";
const SECURITY: &[&str] = &["hsts", "ststseconds", "security_headers", "strict_transport_security"];
const IN_HEADERS: &str = "write response_headers = { set = { strict-transport-security = \"max-age=31536000\" } } in a route; \
                          config/security-headers.toml has more of them";

const ADVICE: &[Advice] = &[
    Advice { title: DOCUMENT.title, words: CHAOS, help: REHEARSED },
    Advice { title: ROUTE.title, words: CHAOS, help: REHEARSED },
    Advice { title: LISTENER.title, words: LIMITS, help: OF_ROUTES },
    Advice { title: SERVER.title, words: LIMITS, help: OF_ROUTES },
    Advice { title: POOL.title, words: LIMITS, help: OF_ROUTES },
    Advice {
        title: RATE_LIMIT.title,
        words: &["nodelay", "no_delay"],
        help: "take it out: algorithm = \"token_bucket\", the default, delays nothing, and \"leaky_bucket\" delays up to \
               `max_delay`",
    },
    Advice { title: SERVER.title, words: NORMALISED, help: ALWAYS },
    Advice { title: LISTENER.title, words: NORMALISED, help: ALWAYS },
    Advice { title: LISTENER.title, words: RELAXED, help: ONE_BY_ONE },
    Advice { title: SERVER.title, words: RELAXED, help: ONE_BY_ONE },
    Advice { title: POOL.title, words: CHAOS, help: REHEARSED },
    Advice { title: DOCUMENT.title, words: WAF, help: NO_WAF },
    Advice { title: SERVER.title, words: WAF, help: NO_WAF },
    Advice { title: LISTENER.title, words: WAF, help: NO_WAF },
    Advice { title: ROUTE.title, words: WAF, help: NO_WAF },
    Advice {
        title: ROUTE.title,
        words: &["auth_basic_user_file", "basicauth", "htpasswd", "users"],
        help: "write auth = \"NAME\" here, and [auth.NAME] with type = \"basic\" and users = { file = \"…\" }",
    },
    Advice {
        title: ROUTE.title,
        words: &["satisfy"],
        help: "take it out: `allow`, `deny` and `auth` must all let a request in; where one is enough, write two routes, \
               the first with `client_ip` and without `auth`",
    },
    Advice { title: ROUTE.title, words: PROVIDERS, help: PROVIDER },
    Advice { title: AUTH.title, words: PROVIDERS, help: PROVIDER },
    Advice { title: ROUTE.title, words: SECURITY, help: IN_HEADERS },
    Advice { title: LISTENER.title, words: SECURITY, help: IN_HEADERS },
    Advice {
        title: POOL.title,
        words: &["error_limit", "max_fails"],
        help: "write circuit_breaker = { consecutive_failures = 5 }",
    },
    Advice {
        title: POOL.title,
        words: &["fail_duration", "fail_timeout"],
        help: "write circuit_breaker = { open_for = \"10s\" }; `window` there is the time that failures are counted in",
    },
    Advice {
        title: POOL.title,
        words: &["timeout", "timeouts"],
        help: "did you mean `response_timeout`? There are `connect_timeout`, `body_timeout` and `tunnel_timeout` as well, \
               and queue = { timeout = \"5s\" }",
    },
    Advice {
        title: BACKEND.title,
        words: &["error_limit", "fail_duration", "fail_timeout", "max_fails"],
        help: "write circuit_breaker = { consecutive_failures = 5, open_for = \"10s\" } in [pool.NAME]: it holds for each \
               of its backends",
    },
    Advice {
        title: BACKEND.title,
        words: &["max_queue", "maxqueue", "timeout_queue"],
        help: "write queue = { size = 1024, timeout = \"5s\" } in [pool.NAME]: its backends share it",
    },
    Advice {
        title: BACKEND.title,
        words: &["disabled", "down", "drain", "draining", "enabled", "maintenance", "state", "status"],
        help: "it is set while evenkeel runs, and not in the file: evenkeel backends drain NAME, or disable NAME",
    },
    Advice {
        title: RESPOND.title,
        words: &["body_file", "file", "html", "page"],
        help: "the text itself stands in `body`; files are of [error_pages], for the errors that evenkeel answers with: \
               write 503 = { html = \"pages/503.html\" } there",
    },
    Advice {
        title: FALLBACK.title,
        words: &["error_page", "error_pages", "file", "html", "page"],
        help: "write respond = { status = 503, body = \"back soon\" }; files are of [error_pages], for the errors that \
               evenkeel answers with",
    },
    Advice {
        title: DOCUMENT.title,
        words: &["tls", "ssl", "https", "certificate", "certificates", "cert", "certs"],
        help: "TLS with clients is [listener.tls], below its [[listener]]; with backends it is [pool.NAME.tls]",
    },
    Advice {
        title: BACKEND.title,
        words: &["tls", "ssl", "https"],
        help: "`tls` belongs in [pool.NAME], and holds for all of its backends: others want a pool of their own",
    },
    Advice {
        title: LISTENER_TLS.title,
        words: &[
            "cert",
            "cert_file",
            "certificate",
            "certs",
            "crt",
            "crt_list",
            "key",
            "key_file",
            "ssl_certificate",
            "ssl_certificate_key",
            "tls_certificates",
        ],
        help: "write certificates = [{ cert = \"a.pem\", key = \"a.key\" }], with both paths of each certificate",
    },
    Advice { title: LISTENER_TLS.title, words: MAX_VERSION, help: NO_UPPER_BOUND },
    Advice { title: POOL_TLS.title, words: MAX_VERSION, help: NO_UPPER_BOUND },
    Advice {
        title: POOL_TLS.title,
        words: &["min_version", "minversion", "proxy_ssl_protocols", "ssl_min_ver", "versions"],
        help: "take it out: TLS 1.2 and 1.3 are spoken with backends, the newest that both sides know",
    },
    Advice {
        title: BACKEND.title,
        words: &["cookie", "sticky"],
        help: "a backend needs no value of its own: [pool.NAME.sticky] signs a hash of its name",
    },
    Advice {
        title: STICKY.title,
        words: &["domain", "http_only", "httponly", "path", "same_site", "samesite", "secure"],
        help: "take it out: the cookie is HttpOnly; SameSite=Lax; Path=/, and Secure where the client speaks TLS",
    },
    Advice {
        title: STICKY.title,
        words: &["indirect", "insert", "nocache", "prefix", "rewrite"],
        help: "take it out: type = \"cookie\" is a cookie of ours, and \"app_cookie\" is one of the application",
    },
    Advice {
        title: HASH.title,
        words: &[
            "algorithm",
            "function",
            "hash_function",
            "maximum_ring_size",
            "method",
            "minimum_ring_size",
            "replicas",
            "ring_size",
            "seed",
            "table_size",
            "type",
        ],
        help: "take it out: hash and table are the same everywhere, so that every instance finds the same backend",
    },
];
const LIMITS: &[&str] = &["auth", "in_flight_limit", "rate_limit"];
const OF_ROUTES: &str =
    "it is a key of [[route]], and each route that wants it names it: nothing sets it for all at once";
const NORMALISED: &[&str] = &["merge_slashes", "normalise_path", "normalize_path"];
const ALWAYS: &str = "take it out: paths are always normalised, but `//a` stays another path than `/a`; path = { regex = \
                      \"^/+a$\" } in a route takes both";
const RELAXED: &[&str] = &["ignore_invalid_headers", "relax", "relaxed", "relaxations", "strict", "unsafe"];
const ONE_BY_ONE: &str = "there is no switch for all of it: `non_ascii_targets` and `half_close` of a listener and \
                          `underscore_headers` of [server] may be chosen, each with its risk";
const CHAOS: &[&str] = &["chaos", "fault", "fault_injection", "faults"];
const REHEARSED: &str = "failures are rehearsed while it runs, and not in the file: PUT /api/v1/chaos";
const MAX_VERSION: &[&str] =
    &["max_version", "maxversion", "ssl_max_ver", "tls_max_version", "tls_maximum_protocol_version"];
const NO_UPPER_BOUND: &str = "take it out: there is no upper bound, the newest that both sides know is used";

/// Tables inside `[pool.NAME]`.
const OF_POOL: [&Keys; 15] = [
    &BACKEND,
    &DISCOVER,
    &KEEPALIVE,
    &HEALTH_CHECK,
    &BODY,
    &RETRY,
    &BACKOFF,
    &POOL_TLS,
    &HASH,
    &CUSTOM_LOAD,
    &POLL,
    &STICKY,
    &CIRCUIT_BREAKER,
    &OUTLIER,
    &QUEUE,
];

/// Every table, to tell where a misplaced key belongs.
pub(super) const ALL: [&Keys; 48] = [
    &DOCUMENT,
    &LISTENER,
    &ROUTE,
    &POOL,
    &DISCOVER,
    &BACKEND,
    &KEEPALIVE,
    &QUEUE,
    &HEALTH_CHECK,
    &RETRY,
    &SERVER,
    &LOG,
    &TRACE,
    &METRICS,
    &ADMIN,
    &BACKOFF,
    &BODY,
    &SECRET,
    &ERROR_PAGE,
    &TEXT,
    &PATH,
    &SPLIT,
    &REDIRECT,
    &RESPOND,
    &FALLBACK,
    &MIRROR,
    &HEADER_RULES,
    &REWRITE,
    &RATE_LIMIT,
    &TIER,
    &TIER_KEYS,
    &IN_FLIGHT_LIMIT,
    &CORS,
    &AUTH,
    &FILE,
    &H2,
    &LISTENER_TLS,
    &CERTIFICATE,
    &POOL_TLS,
    &HASH,
    &CUSTOM_LOAD,
    &POLL,
    &STICKY,
    &CIRCUIT_BREAKER,
    &OUTLIER,
    &TEST,
    &SAMPLE,
    &EXPECT,
];
