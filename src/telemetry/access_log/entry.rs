//! What one line of the access log says. Filled in by `proxy` when an exchange has ended, pushed by the worker.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// One exchange (PRODUCT.md section 10), borrowed from where it lies: pushing copies it. What is `None` is left out of
/// the line. Text may be anything a client has sent: it is escaped when the line is made. Of each text the first
/// [`Entry::LONGEST`] bytes are kept.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When the request's head had come. Kept to the millisecond.
    pub ts: SystemTime,
    /// The `X-Request-Id` that went to the backend.
    pub request_id: Option<&'a [u8]>,
    /// The trace of the `traceparent` that went to the backend.
    pub trace_id: Option<[u8; 16]>,
    /// The client as it is believed to be; `None` = on a unix socket, written as `unix`.
    pub client_ip: Option<IpAddr>,
    /// The other end of the connection; `None` = on a unix socket, written as `unix`.
    pub peer_ip: Option<IpAddr>,
    /// The listener's name.
    pub listener: Option<&'a [u8]>,
    /// The request's method.
    pub method: Option<&'a [u8]>,
    /// `http` or `https`.
    pub scheme: Option<&'a [u8]>,
    /// The host that the client asked for.
    pub host: Option<&'a [u8]>,
    /// The path that the client asked for, without the query.
    pub path: Option<&'a [u8]>,
    /// `HTTP/1.1` and the like.
    pub protocol: Option<&'a [u8]>,
    /// The answer's status, or the one that section 7 names for a failure without an answer.
    pub status: u16,
    /// Bytes that the client sent, of the head and the body.
    pub bytes_in: u64,
    /// Bytes that were sent to the client, of the head and the body.
    pub bytes_out: u64,
    /// The route's name.
    pub route: Option<&'a [u8]>,
    /// The pool's name.
    pub pool: Option<&'a [u8]>,
    /// The backend's name, of the last attempt.
    pub backend: Option<&'a [u8]>,
    /// How many attempts were made; `None` = the answer was to come from no backend.
    pub attempts: Option<u32>,
    /// From the first byte of the request to the last of the answer. Kept to the microsecond, as are those below.
    pub duration: Duration,
    /// Time in the pool's queue.
    pub queue: Option<Duration>,
    /// Time to connect to the backend; `None` = on a kept connection.
    pub connect: Option<Duration>,
    /// From the request sent to the answer's head, of the last attempt.
    pub ttfb: Option<Duration>,
    /// The word of section 7.
    pub failure: Option<&'a [u8]>,
    /// Who the client has proved to be.
    pub user: Option<&'a [u8]>,
    /// What became of stickiness: `hit`, `new`, `moved`, `invalid`.
    pub sticky: Option<&'a [u8]>,
    /// What the cache said.
    pub cache: Option<&'a [u8]>,
    /// The limit that refused or delayed it.
    pub limit: Option<&'a [u8]>,
    /// Why the route's fallback was asked in place of its pool: a word of section 7.
    pub fallback: Option<&'a [u8]>,
    /// The failure that was rehearsed with it: `delay`, `abort`, `reset`, `slow_body`.
    pub chaos: Option<&'a [u8]>,
    /// The client connection's version of TLS.
    pub tls_version: Option<&'a [u8]>,
    /// The server name of the client's handshake.
    pub sni: Option<&'a [u8]>,
    /// The `User-Agent` field.
    pub user_agent: Option<&'a [u8]>,
    /// The `Referer` field.
    pub referer: Option<&'a [u8]>,
    /// The generation of the configuration that the exchange was served by.
    pub generation: u64,
    /// The names of `access_fields` as written, of the configuration that the exchange was served by: an exchange may
    /// end after a reload has changed them.
    pub extra_names: &'a [String],
    /// The values of `extra_names`, in the same order.
    pub extra: &'a [Option<&'a [u8]>],
}

impl Entry<'_> {
    /// How many bytes of one text are kept.
    pub const LONGEST: usize = 65_534;

    /// An entry of which nothing is known but its time; for `..Entry::new(ts)`.
    pub fn new(ts: SystemTime) -> Self {
        Self {
            ts,
            request_id: None,
            trace_id: None,
            client_ip: None,
            peer_ip: None,
            listener: None,
            method: None,
            scheme: None,
            host: None,
            path: None,
            protocol: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            route: None,
            pool: None,
            backend: None,
            attempts: None,
            duration: Duration::ZERO,
            queue: None,
            connect: None,
            ttfb: None,
            failure: None,
            user: None,
            sticky: None,
            cache: None,
            limit: None,
            fallback: None,
            chaos: None,
            tls_version: None,
            sni: None,
            user_agent: None,
            referer: None,
            generation: 0,
            extra_names: &[],
            extra: &[],
        }
    }
}
