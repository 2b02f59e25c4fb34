//! What tests of health checks share.

use crate::{
    config::{Address, HttpProbe},
    net::Budget,
    pool::Backend,
};
use std::{net::SocketAddr, sync::Arc};

/// A backend at that address. The one place where tests make some.
pub(super) fn backend(address: SocketAddr) -> Arc<Backend> {
    Arc::new(Backend::new(0, address.to_string(), Address::Tcp(address), 1, Budget::new(None)))
}

/// `GET /health`, wanting 2xx.
pub(super) fn http_probe() -> HttpProbe {
    HttpProbe {
        path: "/health".into(),
        method: "GET".into(),
        body: None,
        host: None,
        headers: Vec::new(),
        reuse: false,
        expect_status: vec![(200, 299)],
        expect_body: None,
        expect_json: Vec::new(),
    }
}
