//! A WebSocket opening between versions. Over HTTP/1.1 it has a key that the answer proves to know (RFC 6455 section 1.3),
//! over HTTP/2 it has none (RFC 8441 section 5): where the sides differ we are the side that is missing. Called by
//! `Attempt`.

use super::{
    attempt::{Attempt, Outcome},
    is_backends,
};
use crate::{
    dial::{Connection, Share},
    error::Kind,
    http::{
        self, Head, Version,
        websocket::{self, Key},
    },
};
use tokio::time::Instant;

/// What is done to an opening and to its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opening {
    /// Nothing: both sides speak the same version, and the client proves what there is to prove.
    Alike,
    /// The client has no key: this is ours, and the backend must answer it.
    Keyed(Key),
    /// The backend answers no key: this is what the client's wants.
    Answered([u8; 28]),
}

impl Opening {
    /// Of `request`, on `connection`. It must be `deadline` at the latest.
    ///
    /// # Errors
    /// `bad_request`: there is no valid key to be answered. `upgrade_failed`: the backend takes no openings.
    /// `connect_timeout`: its settings, where it would say so, did not come. `deadline`.
    pub(super) async fn new(
        attempt: &Attempt<'_>,
        request: &Head,
        connection: &Connection,
        deadline: Option<Instant>,
    ) -> Result<Self, Kind> {
        let keyless = request.version() == Version::Http2;
        let random = || attempt.way.local.random();
        let share = match connection {
            Connection::H1(_) if keyless => return Ok(Self::Keyed(Key::new([random(), random()]))),
            Connection::H1(_) => return Ok(Self::Alike),
            Connection::H2(share) => share,
        };
        let opening = match Key::of(request) {
            _ if keyless => Self::Alike,
            Some(key) => Self::Answered(key.accept()),
            None => return Err(Kind::BadRequest),
        };
        if !takes_websockets(attempt, share, deadline).await? {
            let backend = &attempt.lease.backend().name;
            let trace_id = http::trace_id(request);
            tracing::debug!(%backend, %trace_id, "no SETTINGS_ENABLE_CONNECT_PROTOCOL: it takes no WebSocket over HTTP/2");
            return Err(Kind::UpgradeFailed);
        }
        Ok(opening)
    }

    /// The key that the backend is given beside the client's own fields.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Keyed(key) => Some(key.text()),
            Self::Alike | Self::Answered(_) => None,
        }
    }

    /// Looks at the answer, and makes it one for the client.
    ///
    /// # Errors
    /// `upgrade_failed`: our key is not answered; or a success that is no switch, which the client would take for one.
    pub(super) fn settle(&self, answer: &mut Head) -> Result<(), Kind> {
        match (self, answer.status()) {
            (Self::Keyed(key), 101) if websocket::take_accept(answer, &key.accept()) => Ok(()),
            (Self::Keyed(_), 101 | 200..300) => Err(Kind::UpgradeFailed),
            (Self::Answered(accept), 101) => {
                websocket::set_accept(answer, accept);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Attempt<'_> {
    /// Nothing has been sent: the opening cannot be said to this backend.
    pub(super) fn unopened(&self, kind: Kind) -> Outcome {
        if is_backends(kind) {
            self.lease.failed(kind, Instant::now());
            self.lease.backend().metrics.attempt(self.way.local.worker, kind.status(), None);
        }
        Outcome::Failed(kind)
    }
}

/// The backend at the other end of `share` takes openings. A fresh connection has the pool's `connect_timeout` to say so.
async fn takes_websockets(attempt: &Attempt<'_>, share: &Share, deadline: Option<Instant>) -> Result<bool, Kind> {
    let wait = attempt.pool.settings.connect_timeout.map(|time| Instant::now() + time);
    let until = [(wait, Kind::ConnectTimeout), (deadline, Kind::Deadline)];
    let until = until.into_iter().filter_map(|(at, kind)| Some((at?, kind))).min_by_key(|(at, _)| *at);
    let takes = share.session().takes_websockets();
    match until {
        Some((at, kind)) => tokio::time::timeout_at(at, takes).await.map_err(|_| kind),
        None => Ok(takes.await),
    }
}
