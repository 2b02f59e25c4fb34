//! The last of a client's connection. Called by the servers of `h1` and `h2` when they close one that may still send.

use super::{Client, Waits};
use crate::net::Stream;
use std::{
    future::poll_fn,
    task::{Poll, ready},
    time::Duration,
};
use tokio::time::Instant;

/// What is read of a client that we have no more use for: bytes and time.
pub(super) const LINGER_BYTES: u64 = 64 * 1024;
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Ends our side, then reads on for a while: what is unread when a socket is closed makes a reset of it, and a reset takes
/// from the client what we said last (RFC 9112 section 9.6). Its time runs from our answer, and when places run short it is
/// over.
pub(super) async fn linger(io: &Stream, client: &Client) {
    let (mut seen, since) = (0, last(client));
    let drain = poll_fn(|cx| {
        if client.is_cut() {
            return Poll::Ready(());
        }
        let mut room = [0; 4096];
        let _ = ready!(io.poll_shutdown(cx));
        while seen < LINGER_BYTES {
            match ready!(io.poll_read(cx, &mut room)) {
                Ok(n @ 1..) => seen += n as u64,
                _ => break,
            }
        }
        Poll::Ready(())
    });
    let _ = tokio::time::timeout_at(since + LINGER, drain).await;
}

/// Our answer to `client` has gone: since when.
pub(super) fn last(client: &Client) -> Instant {
    if let Waits::Last(since) = client.waits() {
        return since;
    }
    let now = Instant::now();
    client.waits_for(Waits::Last(now));
    now
}
