//! How a pool's health checks speak TLS, where they do. Made with the pool.

use super::Plan;
use crate::{
    config::{self, PoolTls, Probe, Protocol},
    pool::Registry,
    tls,
};
use rustls::pki_types::ServerName;
use std::sync::Arc;

/// TLS of each check of a pool, in their order; `None` = it uses none.
pub type ChecksTls = Arc<[Option<Arc<tls::Client>>]>;

/// TLS for the checks of `pool`: `https` has it, and `grpc` where the pool has. It is the pool's, or else verified by the
/// system's roots; where that names nobody, the check's `host` is who must answer. Another protocol than the pool's may be
/// agreed on, so sessions are its own.
///
/// # Errors
/// A sentence for people: there are no roots to verify with.
pub(super) fn secured(pool: &config::Pool, registry: &Registry, before: Option<&Plan>) -> Result<ChecksTls, String> {
    let same = before.and_then(|plan| plan.pools.iter().find(|other| other.name == pool.name));
    let checks = pool.health_checks.iter().enumerate().map(|(place, check)| {
        let (protocol, host) = match &check.probe {
            Probe::Http(probe) if probe.tls => (Protocol::H1, &probe.host),
            Probe::Grpc(probe) if pool.tls.is_some() => (Protocol::H2, &probe.host),
            _ => return Ok(None),
        };
        let system = PoolTls { roots: None, server_name: None, identity: None, verify: true };
        let mut settings = pool.tls.clone().unwrap_or(system);
        settings.server_name = settings.server_name.or_else(|| host.as_deref().and_then(name));
        let before = same.and_then(|pool| pool.checks_tls.get(place)?.as_deref());
        let addresses: Vec<_> = pool.backends.iter().map(|backend| backend.address.at_port(check.port)).collect();
        let built = tls::Client::build(&settings, protocol, addresses.iter(), before, registry.system_roots());
        built.map(Some).map_err(|why| format!("pool {}: health_check: tls: {why}", pool.name))
    });
    checks.collect()
}

/// A host without its port; an address counts as one.
fn name(host: &str) -> Option<ServerName<'static>> {
    let authority: ::http::uri::Authority = host.parse().ok()?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_without_its_port() {
        for (host, said) in [
            ("api.internal", Some("api.internal")),
            ("api.internal:8443", Some("api.internal")),
            ("[::1]:8443", Some("::1")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("under_score.internal", Some("under_score.internal")),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(name(host).map(|name| name.to_str().into_owned()).as_deref(), said, "{host}");
        }
    }
}
