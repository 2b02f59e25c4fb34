//! What tests of both versions' servers serve.

use super::{Client, Limits, Origin, h1::HeadLimits};
use crate::{config::Underscores, net::Peer};
use std::{rc::Rc, sync::Arc};
use tokio::time::Instant;

/// A client at a unix socket whose time is not bounded.
pub(super) fn client() -> Client {
    let head = HeadLimits { max_size: 1024, max_fields: 16, max_target: 256, encode: false };
    let limits = Limits {
        head,
        header_timeout: None,
        body_timeout: None,
        min_body_rate: None,
        write_timeout: None,
        idle_timeout: None,
        max_body: None,
        half_close: false,
        underscores: Underscores::Drop,
        max_age: None,
        h2: Default::default(),
    };
    let (limits, lines) = (Arc::new(limits), Default::default());
    let (tls, trusted, proxied) = Default::default();
    let (peer, local, listener, accepted, jitter) = (Peer::Unix, None, 0, Instant::now(), 0);
    Client::new(Rc::new(Origin { peer, local, listener, tls, trusted, proxied, accepted, jitter, limits, lines }))
}
