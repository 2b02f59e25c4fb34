//! A listener with `proxy_protocol`: who the client of a fresh connection is, as its proxy says. Called by `connection`.

use super::connection::Open;
use crate::{
    http::{ByProxy, Client, Origin},
    net::{
        Held, Peer, Stream,
        proxy_protocol::{self, NoHeader, Proxied},
    },
    plan::Plan,
    telemetry::metrics::Closed,
};
use std::{
    cell::OnceCell,
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
};
use tokio::time::timeout_at;

/// Why a connection is closed before its client's first byte.
#[derive(Debug)]
enum Refused {
    /// Its peer is not one whose word is believed.
    Untrusted,
    /// The header did not come in time.
    Late,
    /// What came is none.
    NoHeader(NoHeader),
    /// Whom it names may not come in.
    Shut(Closed),
    /// The listener goes, or the process; or it gives way to others.
    Closing,
}

impl Refused {
    /// What it is counted as: nothing when the listener goes, nor when the peer has left without a byte.
    fn counts(&self) -> Option<Closed> {
        match self {
            Self::Closing | Self::NoHeader(NoHeader::Closed) => None,
            Self::Shut(reason) => Some(*reason),
            Self::Untrusted | Self::Late | Self::NoHeader(_) => Some(Closed::ProxyProtocol),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("the peer is not in trusted_proxies"),
            Self::Late => f.write_str("no PROXY header within header_timeout"),
            Self::NoHeader(why) => why.fmt(f),
            Self::Shut(reason) => f.write_str(reason.word()),
            Self::Closing => f.write_str("the listener is closing"),
        }
    }
}

/// Reads who the client of a fresh connection is. False: it must be closed.
pub(super) async fn introduced(open: &Open, stream: &Stream) -> bool {
    let (client, pinned) = (open.client(), open.plan());
    let come = introduce(&pinned.plan, &client, stream).await;
    match come.and_then(|origin| Ok((admit(&pinned.plan, &origin)?, origin))) {
        Ok((held, origin)) => {
            open.becomes(origin);
            open.is_held(held);
            true
        }
        Err(refused) => {
            tracing::debug!(peer = ?client.peer, why = %refused, "closed for its PROXY header");
            if let Some(reason) = refused.counts() {
                open.closed_by(reason);
            }
            false
        }
    }
}

/// Whom the header names comes in, or not.
fn admit(plan: &Plan, origin: &Origin) -> Result<Option<Held>, Refused> {
    let Some(listener) = plan.listener(origin.listener) else { return Ok(None) };
    match (&listener.door, listener.looks_at(origin)) {
        (Some(door), Some(ip)) => door.admit(ip).map_err(Refused::Shut),
        _ => Ok(None),
    }
}

/// Reads the header of the connection `stream`, accepted as that of `client`, and gives whom it is from.
async fn introduce(plan: &Plan, client: &Client, stream: &Stream) -> Result<Origin, Refused> {
    if !client.trusted {
        return Err(Refused::Untrusted);
    }
    let mut read = pin!(proxy_protocol::read(stream));
    let read = poll_fn(|cx| {
        client.wake_with(cx.waker());
        if client.is_closing() {
            return Poll::Ready(Err(Refused::Closing));
        }
        read.as_mut().poll(cx).map_err(Refused::NoHeader)
    });
    let proxied = match client.limits.header_timeout {
        Some(time) => timeout_at(client.accepted + time, read).await.unwrap_or(Err(Refused::Late))?,
        None => read.await?,
    };
    Ok(origin(plan, client, proxied))
}

/// Without addresses the proxy speaks for itself: the connection's own ones hold.
fn origin(plan: &Plan, client: &Client, proxied: Proxied) -> Origin {
    let Proxied { addresses, tlvs } = proxied;
    let (peer, local) = match addresses {
        Some((source, destination)) => (Peer::Tcp(source), Some(destination)),
        None => (client.peer, client.local),
    };
    Origin {
        peer,
        local,
        listener: client.listener,
        tls: None,
        trusted: plan.trusts(peer),
        proxied: Some(Box::new(ByProxy { peer: client.peer, tlvs })),
        accepted: client.accepted,
        jitter: client.jitter,
        limits: Arc::clone(&client.limits),
        lines: OnceCell::new(),
    }
}
