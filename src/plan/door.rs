//! Who may connect to a listener: `allow`, `deny`, `max_connections_per_ip`. A listener that asks for nothing has none.
//! Asked by `runtime` for each connection: at accept, or once a PROXY header has said whose it is; and for all that there
//! are when a reload changes it.

use crate::{
    config,
    http::Origin,
    net::{Access, Held, Peer, PerIp},
    telemetry::metrics::Closed,
};
use std::{net::IpAddr, sync::Arc};

/// Looks at addresses.
#[derive(Debug)]
pub struct Door {
    /// None: all may come.
    access: Option<Access>,
    per_ip: Option<u32>,
    /// The same in all plans.
    counts: Arc<PerIp>,
}

impl Door {
    /// That of `listener`, whose connections `counts` counts.
    pub(super) fn build(listener: &config::Listener, counts: Arc<PerIp>) -> Option<Arc<Self>> {
        let (access, per_ip) = (Access::new(&listener.allow, &listener.deny), listener.max_connections_per_ip);
        (access.is_some() || per_ip.is_some()).then(|| Arc::new(Self { access, per_ip, counts }))
    }

    /// Lets a connection of `address` in: what counts it, if it is counted.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, address: IpAddr) -> Result<Option<Held>, Closed> {
        if self.denies(address) {
            return Err(Closed::Denied);
        }
        let Some(most) = self.per_ip else { return Ok(None) };
        self.counts.take(address, most).map(Some).ok_or(Closed::PerIp)
    }

    /// Nobody of `address` may be here.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.access.as_ref().is_some_and(|access| !access.lets_in(Some(address)))
    }

    /// Counts a connection of `address` that came in before there was a limit, or by another plan.
    pub fn count(&self, address: IpAddr) -> Option<Held> {
        self.per_ip.and_then(|_| self.counts.take(address, u32::MAX))
    }
}

impl super::Listener {
    /// The address that a connection is looked at by: its peer's, or the one that its PROXY header names. A proxy that speaks
    /// for itself has none, nor has a unix socket.
    pub fn looks_at(&self, origin: &Origin) -> Option<IpAddr> {
        let Peer::Tcp(peer) = origin.peer else { return None };
        let told = origin.proxied.as_ref().map_or(!self.proxy_protocol, |by| by.peer != origin.peer);
        told.then(|| peer.ip())
    }
    /// `origin` may not be here, as far as is known of it.
    pub fn denies(&self, origin: &Origin) -> bool {
        let Some(door) = &self.door else { return false };
        self.looks_at(origin).is_some_and(|ip| door.denies(ip))
    }
}
