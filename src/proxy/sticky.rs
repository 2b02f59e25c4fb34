//! Keeps clients at their backends: what a request says of its client, where that leads, and what the answer tells the
//! client or us. Called by `handle` and `forward`. Hot path: a pool without `sticky` costs a look at a pointer.
//!
//! **Where a client goes.** To its session's backend while that is in today's table, drained or not. Is it gone, or has
//! it failed this exchange, `fallback` says: to the one that consistent hashing finds, the same on every instance, which
//! has the session from then on; or nowhere. Is it full, the other workers are asked first to give idle connections up,
//! and where the pool has a queue, a session waits in it for its own backend, up to a fifth of the queue's time. Then the
//! hash finds another one for this request alone, and the session stays where it is: what is kept in that backend's memory
//! is worth a second, and no more. What goes by hash has nothing there, and does not wait while others have room.

use super::{Local, Record, client, queue::Full};
use crate::{
    balance::{Pick, Tried, hash},
    http::{Client, Head, Name, Span},
    plan::{Plan, Pool},
    policy::{self, By, Read, Said, Sticky},
    pool::Table,
    telemetry::{metrics::Stuck, unix_millis},
};
use std::time::SystemTime;

/// What is known of the client of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Session {
    known: Known,
    /// Our cookie is to be sealed anew.
    renew: bool,
    /// The identity of the backend that has the session, or that the hash has found first.
    home: Option<u64>,
    /// What another one is found by.
    key: u64,
    /// Where the values of our cookie are in the request's head: backends do not see it.
    cookie: Span,
}

/// What the request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    /// Nothing.
    #[default]
    New,
    /// Our cookie, forged, too old or too long.
    Invalid,
    /// Which backend has the session.
    Home,
    /// What the backend is found by.
    Key,
    /// A session of the application that we have not seen begin.
    Foreign,
}

impl Session {
    fn of(known: Known, key: u64, home: Option<u64>) -> Self {
        Self { known, key, home, ..Self::default() }
    }

    fn unknown() -> Self {
        Self::of(Known::New, 0, None)
    }

    /// A backend has it: it is not by hash that it is found.
    pub(super) fn is_kept(&self) -> bool {
        self.known == Known::Home
    }
}

/// Looks at what `request` says of its client to the pool at `place`, and takes our cookie out of it. The pool in
/// `record` is the one that has looked before, if any.
pub(super) fn look(local: &Local, plan: &Plan, place: usize, request: &mut Head, record: &mut Record) {
    let pool = &plan.pools[place];
    let Some(sticky) = &pool.sticky else {
        record.sticky = None;
        return;
    };
    let session = match &sticky.by {
        By::Cookie(cookie) => {
            let before = record.pool.and_then(|pool| plan.pools[pool].sticky.as_ref()?.cookie());
            let same = before.is_some_and(|before| before.name() == cookie.name());
            let taken = record.sticky.as_ref().filter(|_| same).map(|session| session.cookie);
            ours(local, cookie, taken.unwrap_or_default(), request)
        }
        By::AppCookie(name, ttl) => application(local, pool, name, *ttl, request).unwrap_or(Session::unknown()),
        By::Key(key) => {
            let key = key.of(request, record.address);
            key.map_or(Session::unknown(), |key| Session::of(Known::Key, key, None))
        }
    };
    record.sticky = Some(Box::new(session));
}

/// By our own cookie; `taken` is what has been taken out of the request before.
fn ours(local: &Local, cookie: &policy::Cookie, taken: Span, request: &mut Head) -> Session {
    let taken_text = Some(request.text(taken)).filter(|text| !text.is_empty());
    let read = cookie.read(policy::cookies(request, cookie.name()).chain(taken_text), unix_millis(SystemTime::now()));
    let mut session = match read {
        Read::Absent => Session::unknown(),
        Read::Invalid => Session::of(Known::Invalid, 0, None),
        Read::Valid(ticket) => {
            Session { renew: ticket.renew, ..Session::of(Known::Home, ticket.key, Some(ticket.backend)) }
        }
    };
    let mut scratch = local.scratch();
    for value in policy::cookies(request, cookie.name()) {
        scratch.extend_from_slice(value);
        scratch.push(b'.');
    }
    session.cookie = if scratch.is_empty() { taken } else { request.note(&scratch[..scratch.len() - 1]) };
    policy::hide(request, cookie.name(), &mut scratch);
    session
}

/// By the application's cookie; `None`: there is none.
fn application(local: &Local, pool: &Pool, name: &[u8], ttl: u32, request: &Head) -> Option<Session> {
    let (key, home) = pool.application(name, ttl, request, local.second())?;
    Some(Session::of(if home.is_some() { Known::Home } else { Known::Foreign }, key, home))
}

/// Chooses a backend for a client of a pool that is `sticky`. `waits`: those that are full may soon have room.
pub(super) fn choose(
    sticky: &Sticky,
    table: &Table,
    mut pick: Pick<'_>,
    waits: Option<&Tried>,
    session: &mut Session,
) -> Option<usize> {
    if matches!(session.known, Known::New | Known::Invalid) {
        return table.pick(&pick);
    }
    if let Some(home) = session.home {
        let place = table.find(home);
        if let Some(place) = place {
            let id = table.backend(place).id;
            if !pick.tried.has(id) {
                return Some(place);
            }
            if waits.is_some_and(|full| full.has(id)) {
                return None;
            }
        }
        if sticky.rejects {
            return None;
        }
    }
    pick.key = session.key;
    let place = table.pick_hashed(&pick)?;
    session.home.get_or_insert(table.backend(place).identity);
    Some(place)
}

/// The number of the one backend that the client waits for while all that it may go to are `full`; `None`: any will do.
pub(super) fn waits_for(sticky: &Sticky, table: &Table, session: &Session, full: &Full<'_>) -> Option<u32> {
    let backend = table.backend(table.find(session.home?)?);
    let own = full.patient && session.is_kept() && !full.tried.has(backend.id);
    (sticky.rejects || own).then_some(backend.id)
}

/// No other backend may have the client.
pub(super) fn stays(sticky: &Sticky, session: &Session) -> bool {
    sticky.rejects && session.home.is_some()
}

/// Learns from a backend's own head who has which session of the application.
pub(super) fn learn(local: &Local, plan: &Plan, head: &Head, record: &Record) {
    let Some((pool, sticky, session)) = asked(plan, record) else { return };
    let (By::AppCookie(name, _), Some(backend)) = (&sticky.by, record.backend()) else { return };
    let (sessions, now) = (&pool.slot.sessions, local.second());
    if let Some(new_home) = moves(record) {
        sessions.learn(session.key, new_home, now);
    }
    for field in head.all(Name::SetCookie) {
        match policy::read_set_cookie(field, name, SystemTime::now) {
            Some(Said::Holds(value)) => sessions.learn(hash(value), backend.identity, now),
            Some(Said::Ends) => sessions.forget(session.key),
            None => {}
        }
    }
}

/// Tells the client where its session is, if it does not know it yet or not well.
pub(super) fn tell(local: &Local, plan: &Plan, head: &mut Head, request: &Head, client: &Client, record: &Record) {
    let Some((_, sticky, session)) = asked(plan, record) else { return };
    let (Some(cookie), Some(backend)) = (sticky.cookie(), record.backend()) else { return };
    let home = match session.home {
        None => backend.identity,
        Some(home) => match moves(record) {
            Some(new_home) => new_home,
            None if session.renew => home,
            None => return,
        },
    };
    let mut scratch = local.scratch();
    let secure = client::came_over_tls(client, request);
    cookie.write(home, request.text(session.cookie), unix_millis(SystemTime::now()), secure, &mut scratch);
    if !scratch.is_empty() {
        head.add(Name::SetCookie, &scratch);
    }
}

/// What became of it; `None`: nobody has asked, or nobody was reached.
pub(super) fn result(record: &Record) -> Option<Stuck> {
    let session = record.sticky.as_ref()?;
    match session.known {
        Known::New | Known::Foreign => Some(Stuck::New),
        Known::Invalid => Some(Stuck::Invalid),
        Known::Home | Known::Key => {
            let reached = record.backend()?.identity;
            Some(if session.home == Some(reached) { Stuck::Hit } else { Stuck::Moved })
        }
    }
}

/// The pool whose clients stick and what is known of this one, if the exchange is one of those.
fn asked<'p>(plan: &'p Plan, record: &'p Record) -> Option<(&'p Pool, &'p Sticky, &'p Session)> {
    let session = record.sticky.as_deref()?;
    let pool = &plan.pools[record.pool?];
    Some((pool, pool.sticky.as_deref()?, session))
}

/// Where the session moves: it was known, and another backend answers because its own is gone or has failed. One that was
/// passed over because it was full keeps it: then the first attempt has gone elsewhere, although it is there.
fn moves(record: &Record) -> Option<u64> {
    let home = record.sticky.as_ref().filter(|session| session.known == Known::Home)?.home?;
    let (seen, place) = record.chosen.as_ref()?;
    let reached = seen.table.backend(*place as usize).identity;
    let full = || record.attempts == 1 && seen.table.find(home).is_some();
    (reached != home && !full()).then_some(reached)
}
