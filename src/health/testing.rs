//! What tests of health checks share.

use crate::{
    config::{Address, HttpProbe},
    net::Budget,
    pool::{Backend, Registry},
    telemetry::metrics::Telemetry,
};
use std::{net::SocketAddr, sync::Arc};

/// A backend at that address. The one place where tests make some.
pub(super) fn backend(address: SocketAddr) -> Arc<Backend> {
    let telemetry = Arc::new(Telemetry::new(&[], &[1.0], 1));
    let registry = Registry::new(Budget::new(None), telemetry, 1);
    registry.backend("web", &address.to_string(), &Address::Tcp(address))
}

/// `GET /health`, wanting 2xx.
pub(super) fn http_probe() -> HttpProbe {
    HttpProbe {
        tls: false,
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
