//! Every way in which an exchange can fail, in one table: status, word, RFC 9209 type, side, and whether another
//! attempt may help. The word is the same in the log (`failure`), the metric (`reason`) and `Proxy-Status`.
//!
//! Used by every layer that can refuse something.

use std::{error, fmt};

/// Who is at fault; decides whether a backend is charged with the failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client sent something that we refuse, or has left.
    Client,
    /// A backend failed us.
    Backend,
    /// evenkeel itself: a limit, a policy, or a defect.
    Proxy,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    kind: Kind,
    status: u16,
    word: &'static str,
    rfc9209: &'static str,
    side: Side,
    title: &'static str,
}

/// What went wrong, as one word of PRODUCT.md section 7. Small and `Copy`: the hot path passes it around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The request is malformed or ambiguous (RFC 9112 section 11).
    BadRequest,
    /// It does not say who it is, or that cannot be believed.
    Unauthorized,
    /// Its client may not have this.
    Denied,
    /// CONNECT where no route asks for it.
    ConnectDenied,
    /// No route is for it.
    NoRoute,
    /// The name of the TLS handshake has another certificate than the request's host (RFC 9110 section 15.5.20).
    Misdirected,
    /// The head or the body came too slowly.
    RequestTimeout,
    /// The body is larger than `max_body_size`.
    BodyTooLarge,
    /// The request target is longer than `max_target_size`.
    TargetTooLong,
    /// The head is larger than `max_header_size` or has more fields than `max_headers`.
    HeadTooLarge,
    /// Its client has sent too many requests.
    RateLimited,
    /// Its client has too many requests in flight.
    InFlightLimited,
    /// The client left before its answer was complete (logged only).
    ClientGone,
    /// The backend refused the connection.
    ConnectRefused,
    /// The backend cannot be reached.
    ConnectFailed,
    /// The connection ended before a whole response head.
    Reset,
    /// The response is malformed or ambiguous.
    BadResponse,
    /// The response head is larger than we accept.
    ResponseHeadTooLarge,
    /// TLS to the backend failed.
    BackendTls,
    /// The backend's certificate is not one that we take. The same word as [`Kind::BackendTls`], another type.
    BackendCertificate,
    /// An upgrade was answered by something that is not one.
    UpgradeFailed,
    /// The request has passed through us ten times.
    Loop,
    /// No local port is left for the backend's address.
    PortsExhausted,
    /// No backend is usable.
    NoBackend,
    /// The pool's circuit is open: by its own breaker, or by an operator's word.
    BreakerOpen,
    /// No backend is usable, for no other reason than that their names do not resolve.
    Dns,
    /// Every backend is at its limit, and so is the queue.
    QueueFull,
    /// Every backend was at its limit for the whole time that a request may wait.
    QueueTimeout,
    /// Load is shed: the process is at a high-water mark.
    Shed,
    /// Who decides whether it may pass cannot be asked.
    AuthUnavailable,
    /// A rehearsed failure, as an operator asked for it.
    Chaos,
    /// We end the exchange: the process goes, or what serves it.
    Draining,
    /// The backend did not accept the connection in time.
    ConnectTimeout,
    /// The backend did not answer in time.
    ResponseTimeout,
    /// The route's `timeout` was over before there was a response.
    Deadline,
    /// The backend's body ended early, after the head had gone out (logged only).
    Truncated,
    /// The backend's body stalled, after the head had gone out (logged only).
    BodyTimeout,
    /// The client took nothing of what we held for it (logged only).
    WriteTimeout,
    /// A defect of ours.
    Internal,
}

/// In the order of [`Kind`]; a test holds the two together.
const TABLE: &[Row] = &[
    row(Kind::BadRequest, 400, "bad_request", "http_request_error", Side::Client, "The request is malformed"),
    row(
        Kind::Unauthorized,
        401,
        "unauthorized",
        "http_request_denied",
        Side::Client,
        "Credentials are missing or not valid",
    ),
    row(Kind::Denied, 403, "denied", "http_request_denied", Side::Client, "This is not allowed"),
    row(Kind::ConnectDenied, 405, "connect_denied", "http_request_denied", Side::Client, "CONNECT is not allowed here"),
    row(Kind::NoRoute, 404, "no_route", "destination_not_found", Side::Client, "There is nothing at this address"),
    row(
        Kind::Misdirected,
        421,
        "misdirected",
        "http_request_error",
        Side::Client,
        "The request is for another name than its connection",
    ),
    row(
        Kind::RequestTimeout,
        408,
        "request_timeout",
        "http_request_error",
        Side::Client,
        "The request took too long to arrive",
    ),
    row(Kind::BodyTooLarge, 413, "body_too_large", "http_request_error", Side::Client, "The request body is too large"),
    row(
        Kind::TargetTooLong,
        414,
        "target_too_long",
        "http_request_error",
        Side::Client,
        "The request target is too long",
    ),
    row(Kind::HeadTooLarge, 431, "head_too_large", "http_request_error", Side::Client, "The request head is too large"),
    row(Kind::RateLimited, 429, "rate_limited", "http_request_denied", Side::Client, "Too many requests"),
    row(
        Kind::InFlightLimited,
        429,
        "in_flight_limited",
        "http_request_denied",
        Side::Client,
        "Too many requests at a time",
    ),
    row(Kind::ClientGone, 499, "client_gone", "-", Side::Client, "The client has left"),
    row(
        Kind::ConnectRefused,
        502,
        "connect_refused",
        "connection_refused",
        Side::Backend,
        "The backend refused the connection",
    ),
    row(
        Kind::ConnectFailed,
        502,
        "connect_failed",
        "destination_ip_unroutable",
        Side::Backend,
        "The backend cannot be reached",
    ),
    row(Kind::Reset, 502, "reset", "connection_terminated", Side::Backend, "The backend closed the connection"),
    row(
        Kind::BadResponse,
        502,
        "bad_response",
        "http_protocol_error",
        Side::Backend,
        "The backend's response is malformed",
    ),
    row(
        Kind::ResponseHeadTooLarge,
        502,
        "response_head_too_large",
        "http_response_header_section_size",
        Side::Backend,
        "The backend's response head is too large",
    ),
    row(Kind::BackendTls, 502, "backend_tls", "tls_protocol_error", Side::Backend, "TLS to the backend failed"),
    row(
        Kind::BackendCertificate,
        502,
        "backend_tls",
        "tls_certificate_error",
        Side::Backend,
        "TLS to the backend failed",
    ),
    row(
        Kind::UpgradeFailed,
        502,
        "upgrade_failed",
        "http_upgrade_failed",
        Side::Backend,
        "The backend's upgrade failed",
    ),
    row(Kind::Loop, 502, "loop", "proxy_loop_detected", Side::Proxy, "The request goes round in a loop"),
    row(Kind::PortsExhausted, 503, "ports_exhausted", "connection_limit_reached", Side::Proxy, "No local port is left"),
    row(Kind::NoBackend, 503, "no_backend", "destination_unavailable", Side::Backend, "No backend is available"),
    row(Kind::BreakerOpen, 503, "breaker_open", "destination_unavailable", Side::Backend, "The service is failing"),
    row(Kind::Dns, 503, "dns", "dns_error", Side::Backend, "No backend's name resolves"),
    row(Kind::QueueFull, 503, "queue_full", "connection_limit_reached", Side::Proxy, "Every backend is at its limit"),
    row(
        Kind::QueueTimeout,
        503,
        "queue_timeout",
        "connection_limit_reached",
        Side::Proxy,
        "Every backend was at its limit for too long",
    ),
    row(Kind::Shed, 503, "shed", "http_request_denied", Side::Proxy, "The service is overloaded"),
    row(
        Kind::AuthUnavailable,
        503,
        "auth_unavailable",
        "destination_unavailable",
        Side::Proxy,
        "Credentials cannot be verified now",
    ),
    row(Kind::Chaos, 503, "chaos", "proxy_internal_response", Side::Proxy, "This failure is a rehearsal"),
    row(Kind::Draining, 503, "draining", "destination_unavailable", Side::Proxy, "The service is being changed"),
    row(
        Kind::ConnectTimeout,
        504,
        "connect_timeout",
        "connection_timeout",
        Side::Backend,
        "The backend did not accept the connection in time",
    ),
    row(
        Kind::ResponseTimeout,
        504,
        "response_timeout",
        "http_response_timeout",
        Side::Backend,
        "The backend did not answer in time",
    ),
    row(Kind::Deadline, 504, "deadline", "http_response_timeout", Side::Backend, "The response did not come in time"),
    row(
        Kind::Truncated,
        502,
        "truncated",
        "http_response_incomplete",
        Side::Backend,
        "The backend's response ended early",
    ),
    row(
        Kind::BodyTimeout,
        504,
        "body_timeout",
        "connection_read_timeout",
        Side::Backend,
        "The backend's response stalled",
    ),
    row(Kind::WriteTimeout, 408, "write_timeout", "connection_write_timeout", Side::Client, "The client does not read"),
    row(Kind::Internal, 500, "internal", "proxy_internal_error", Side::Proxy, "An internal error occurred"),
];

const fn row(
    kind: Kind,
    status: u16,
    word: &'static str,
    rfc9209: &'static str,
    side: Side,
    title: &'static str,
) -> Row {
    Row { kind, status, word, rfc9209, side, title }
}

impl Kind {
    /// How many kinds there are: the size of a table by kind.
    pub const COUNT: usize = TABLE.len();

    /// The words of all kinds, in the order of their numbers.
    pub const WORDS: [&str; Self::COUNT] = {
        let mut words = [""; Self::COUNT];
        let mut number = 0;
        while number < Self::COUNT {
            words[number] = TABLE[number].word;
            number += 1;
        }
        words
    };

    /// Every kind, in the order of its number.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.kind)
    }

    /// The number that failures are counted by: one for each word.
    pub fn counted(self) -> usize {
        match self {
            Self::BackendCertificate => Self::BackendTls as usize,
            kind => kind as usize,
        }
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The status that the client gets, or that the log shows when no answer could be sent.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// The one word for log, metric and `Proxy-Status`.
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// The error type of RFC 9209 section 2.3, or `-` where there is none.
    pub fn rfc9209(self) -> &'static str {
        self.row().rfc9209
    }

    /// Who is at fault.
    pub fn side(self) -> Side {
        self.row().side
    }

    /// A sentence for people, without detail that could help an attacker.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// The client's connection cannot go on after this answer (PRODUCT.md section 12).
    pub fn closes(self) -> bool {
        matches!(self.status(), 400 | 408 | 413 | 414 | 431)
    }

    /// There is nobody who could answer: a route's `fallback` may.
    pub fn falls_back(self) -> bool {
        use Kind::{BreakerOpen, Dns, NoBackend, PortsExhausted, QueueFull, QueueTimeout};
        matches!(self, NoBackend | BreakerOpen | Dns | QueueFull | QueueTimeout | PortsExhausted)
    }

    /// No connection to the backend could be made.
    pub fn is_connect(self) -> bool {
        use Kind::{BackendCertificate, BackendTls, ConnectFailed, ConnectRefused, ConnectTimeout};
        matches!(self, ConnectRefused | ConnectFailed | ConnectTimeout | BackendTls | BackendCertificate)
    }

    /// A later request may fare better: the answer carries `Retry-After`.
    pub fn retry_later(self) -> bool {
        self.status() == 503
    }
}

/// A failure with what caused it. `Display` prints this level alone; the chain is `source()`.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// The failure `kind`, caused by `source`.
    pub fn new(kind: Kind, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds_and_no_word_stands_twice() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, number);
            let first = TABLE.iter().position(|other| other.word == row.word);
            assert_eq!(first, Some(row.kind.counted()), "{}", row.word);
            assert!(row.kind == Kind::BackendCertificate || row.kind.counted() == number, "{}", row.word);
        }
    }
}
