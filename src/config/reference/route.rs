//! What `[[route]]` says of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    auth::Cors,
    kinds::{
        Count, Host, Many, Method, Name, Network, OffOrZero, Or, PathText, RedirectStatus, Share, SizeOrOff, SplitKey,
        Timeout, True, Upgrade,
    },
    limit::InFlightLimit,
};

/// Which requests, and what becomes of them. Every predicate that is written must hold, and of a list one element. A
/// route goes first by its host (exact, longest wildcard, any), then its path (exact, longest prefix, regular expression),
/// then the number of its predicates, then its place in the file. With one pool and no route, everything goes to it.
#[derive(JsonSchema)]
pub(super) struct Route {
    /// In logs and metrics. Default: derived from its match, such as "api.example.com/v1/*".
    #[schemars(extend("examples" = ["api"]))]
    name: Name,
    /// Names of listeners. Default: all.
    #[schemars(extend("examples" = [["web"]]))]
    listener: Many<String>,
    /// Hosts, without a port; "*.example.org" is one label or more below example.org, and not itself. Default: any.
    #[schemars(extend("examples" = [["api.example.com", "*.example.org"]]))]
    host: Many<Host>,
    /// "/v1/*" = /v1 and what is below it, "/v1" = that path, or a table, see below. Paths are normalised before. Default:
    /// any.
    #[schemars(extend("examples" = ["/v1/*"]))]
    path: Many<Or<PathText, Path>>,
    /// Methods, in capitals. Default: any.
    #[schemars(extend("examples" = [["GET", "HEAD"]]))]
    method: Many<Method>,
    /// Headers, by name: a text that is equal, or a table, see below.
    #[schemars(extend("examples" = [{ "x-tier": "gold" }]))]
    header: BTreeMap<String, Or<String, Text>>,
    /// Cookies, alike.
    #[schemars(extend("examples" = [{ "plan": "premium" }]))]
    cookie: BTreeMap<String, Or<String, Text>>,
    /// Parameters of the query, alike.
    #[schemars(extend("examples" = [{ "beta": "1" }]))]
    query: BTreeMap<String, Or<String, Text>>,
    /// Networks and addresses that the client must be in.
    #[schemars(extend("examples" = [["10.0.0.0/8"]]))]
    client_ip: Many<Network>,
    /// Networks and addresses that the client must be in, beside what the route matches: others get 403 denied. A client on
    /// a unix socket whose address nobody tells is in none. Default: any.
    #[schemars(extend("default" = [], "examples" = [["10.0.0.0/8"]]))]
    allow: Many<Network>,
    /// Networks and addresses that it must not be in, whatever `allow` says: 403 denied.
    #[schemars(extend("default" = [], "examples" = [["192.0.2.7"]]))]
    deny: Many<Network>,
    /// Who may ask: the name of an [auth.NAME]. Default: everybody. It holds for what the route matches, and no more: a path
    /// is compared after `.`, `..` and escapes are resolved, but //admin, /admin;x, /ADMIN and /%2Fadmin are other paths than
    /// /admin, which some backends take for it. Ask on the whole host, and write routes for the paths that are open
    /// (config/auth.toml). The same holds for `allow` and `deny`.
    #[schemars(extend("examples" = ["main"]))]
    auth: String,
    /// Requests go to this pool. A route has one of pool, split, redirect and respond.
    #[schemars(extend("examples" = ["api"], "x-shown" = true))]
    pool: String,
    /// Keeps a user on one side of a split: "client_ip" | "cookie:NAME" | "header:NAME". Default: chance.
    #[schemars(extend("examples" = ["cookie:session"]))]
    split_by: SplitKey,
    /// The whole exchange up to the response head, retries included, or "off". A gRPC call that says a grpc-timeout has
    /// that as well, for all of it; its backend is told what is left.
    #[schemars(extend("default" = "60s"))]
    timeout: Timeout,
    /// Who is shed first when the process is at a high-water mark (server.max_in_flight, server.max_memory): "low" from 90 %
    /// of the mark on | "normal" at it | "high" from 110 %. A request that is shed gets 503 with Retry-After, before any
    /// other policy is asked and any backend. redirect and respond are never shed: their answers are as cheap as the
    /// refusal, and health checks of whoever stands in front may go there.
    #[schemars(extend("default" = "normal", "enum" = ["high", "normal", "low"]))]
    priority: String,
    /// Bytes of a request body; the listener's bound holds as well.
    #[schemars(extend("default" = "off", "examples" = ["10MiB"]))]
    max_body_size: SizeOrOff,
    /// Upgrades that pass, whatever versions the two sides speak; [] = none: over HTTP/1.1 the request goes on without,
    /// over HTTP/2 (RFC 8441) it is refused with 405, as are other protocols. A backend with protocol = "h2" must take
    /// extended CONNECT, else 502 upgrade_failed.
    #[schemars(extend("default" = ["websocket"]))]
    upgrade: Many<Upgrade>,
    /// Allow CONNECT: a raw tunnel to a backend of the pool, on a connection of its own, over TLS where the pool has it.
    /// The host is that of CONNECT's target; there is no path: a route with `path` does not match. Where the route that
    /// matches does not allow it: 405. Beside pool or split alone.
    #[schemars(extend("default" = false))]
    connect: bool,
    /// Names of limits, see [rate_limit.NAME], which all must agree: a request that one refuses is counted by none of them.
    /// Those by claims are asked after `auth`, the others before.
    #[schemars(extend("default" = [], "examples" = [["per-ip"]]))]
    rate_limit: Many<String>,
    /// "off": no line in the access log but for failures.
    #[schemars(extend("default" = "on", "enum" = ["on", "off"]))]
    access: String,
    split: Many<Split>,
    redirect: Redirect,
    respond: Respond,
    fallback: Fallback,
    mirror: Mirror,
    request_headers: HeaderRules,
    response_headers: HeaderRules,
    rewrite: Rewrite,
    cors: Cors,
    in_flight_limit: Or<InFlightLimit, OffOrZero>,
}

/// A path as a table, with one of:
#[derive(JsonSchema)]
pub(super) struct Path {
    /// An expression of the Rust crate `regex`, found anywhere in the path unless it is anchored.
    #[schemars(extend("examples" = ["^/v[0-9]+/"]))]
    regex: String,
    /// Whatever begins so, at the end of a segment or not.
    #[schemars(extend("examples" = ["/v1"]))]
    prefix: PathText,
}

/// A header, cookie or parameter as a table, with one of:
#[derive(JsonSchema)]
pub(super) struct Text {
    /// An expression of the Rust crate `regex`, found anywhere in the text unless it is anchored.
    #[schemars(extend("examples" = ["^[0-9]+$"]))]
    regex: String,
    /// It begins so.
    #[schemars(extend("examples" = ["gold-"]))]
    prefix: String,
    /// It is there.
    #[schemars(extend("examples" = [true]))]
    present: True,
    /// It is not there.
    #[schemars(extend("examples" = [true]))]
    absent: True,
}

/// Instead of `pool`: requests are shared out. One of these for each side.
#[derive(JsonSchema)]
pub(super) struct Split {
    /// The pool of this side.
    #[schemars(extend("examples" = ["api"], "x-required" = true))]
    pool: String,
    /// Its share, beside the others' weights, 0 to 1000000. Default: 1.
    #[schemars(extend("examples" = [95]))]
    weight: Count<0, 1_000_000>,
}

/// Instead of `pool`: requests are sent elsewhere.
#[derive(JsonSchema)]
pub(super) struct Redirect {
    /// Where to: a URL, or a path that begins with one `/`. Variables: {host} {path} {path_and_query} {query} {scheme}
    /// {client_ip} {request_id} {route} {pool} {backend} {tls_version} {sni}; "{{" is a brace.
    #[schemars(extend("examples" = ["https://{host}{path_and_query}"], "x-required" = true))]
    to: String,
    /// 301 | 302 | 303 | 307 | 308. Default: 308.
    #[schemars(extend("examples" = [308]))]
    status: RedirectStatus,
}

/// Instead of `pool`: requests are answered here.
#[derive(JsonSchema)]
pub(super) struct Respond {
    /// 200 to 599. Default: 200.
    #[schemars(extend("examples" = [200]))]
    status: Count<200, 599>,
    /// Text with variables, as in a redirect. Default: none.
    #[schemars(extend("examples" = ["ok"]))]
    body: String,
    /// Of the body. Default: "text/plain; charset=utf-8".
    #[schemars(extend("examples" = ["text/plain; charset=utf-8"]))]
    content_type: String,
}

/// When the pool cannot answer (no backend, its circuit is open, its queue is full or takes too long, its names do not
/// resolve, no local port is left), one of the following. A backend that was asked and failed is no such case: what refuses
/// connections falls back once its checks or circuit have found that out. The access log has why, in `fallback` where
/// another pool was asked, else in `failure`; evenkeel_fallbacks_total{route} counts the former.
#[derive(JsonSchema)]
pub(super) struct Fallback {
    /// An answer of ours, as in `respond`.
    #[schemars(extend("examples" = [{ "status": 503, "body": "back soon" }]))]
    respond: Respond,
    /// Another pool.
    #[schemars(extend("examples" = ["spare"]))]
    pool: String,
}

/// Copies of requests to another pool, whose fate never touches the originals: neither their time nor their answer.
///
/// A copy is made once its original's request is whole, and goes out once: a body larger than the other pool's
/// retry.buffer is not copied, nor are CONNECT, WebSocket openings and gRPC calls. It has the head that goes to the
/// original's backend, the same Host, and `X-Mirror` with our name (server.via); its body has a Content-Length and no
/// trailers. Its answer is read and thrown away, up to 1 MiB, within the pool's time-outs. A worker has at most 128 copies
/// at a time; further ones are dropped. All are counted in `evenkeel_mirrored_total{route,result}`: "sent" (it was
/// answered) | "failed" | "dropped" (never sent); and as attempts of that pool's backends. The access log does not show them.
#[derive(JsonSchema)]
pub(super) struct Mirror {
    /// Where they go; must be written.
    #[schemars(extend("examples" = ["shadow"], "x-required" = true))]
    pool: String,
    /// So many of the requests are copied. Default: "100%".
    #[schemars(extend("examples" = ["10%"]))]
    share: Share,
}

/// Edits of headers, done in the order remove, set, add. Values are text with variables, as in a redirect. Headers that
/// frame or that are ours (Host, Connection, X-Forwarded-* and so on) are not for rules; X-Request-Id is one of them in
/// requests alone: `response_headers = { set = { x-request-id = "{request_id}" } }` tells clients.
#[derive(JsonSchema)]
pub(super) struct HeaderRules {
    /// These replace what is there.
    #[schemars(extend("examples" = [{ "x-env": "prod", "x-client": "{client_ip}" }]))]
    set: BTreeMap<String, String>,
    /// These come beside what is there; several values as a list.
    #[schemars(extend("examples" = [{ "x-note": "one more" }]))]
    add: BTreeMap<String, Many<String>>,
    /// These go.
    #[schemars(extend("examples" = [["x-debug"]]))]
    remove: Many<String>,
}

/// An edit of the path before it is sent to a backend; the query stays. Either the first two or the last two:
#[derive(JsonSchema)]
pub(super) struct Rewrite {
    /// Taken off at the end of a segment, if it is there.
    #[schemars(extend("examples" = ["/v1"]))]
    strip_prefix: PathText,
    /// Then put in front.
    #[schemars(extend("examples" = ["/api"]))]
    add_prefix: PathText,
    /// Every match is replaced.
    #[schemars(extend("examples" = ["^/old/(.*)$"]))]
    regex: String,
    /// With $1 or ${name} for groups, and $$ for a dollar.
    #[schemars(extend("examples" = ["/new/$1"]))]
    replacement: String,
}
