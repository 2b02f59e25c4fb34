//! Which side of a `split` a request is kept on, and who has a session of the application. Called by `proxy`, and by
//! `explain`. Hot path.

use super::{Forward, Plan, Pool};
use crate::{
    balance::hash,
    http::Head,
    policy::{self, By, Read, Split},
    telemetry::unix_millis,
};
use std::{net::IpAddr, time::SystemTime};

impl Plan {
    /// The place in `forward` of the pool that `request` is kept at: by the key of `split`; else where that leaves it to
    /// chance, by its session, of the cookie that was issued last, among those that have a share. `None`: by chance.
    /// `second` is now, as sessions count.
    pub fn side(
        &self,
        forward: &Forward,
        split: &Split,
        request: &Head,
        client: Option<IpAddr>,
        second: u32,
    ) -> Option<usize> {
        if let Some(key) = split.key(request, client) {
            return Some(split.pick(Some(key), 0));
        }
        let sides = forward.pools.iter().map(|&pool| &self.pools[pool]).enumerate();
        let known = sides.filter(|&(place, _)| split.has_share(place)).filter_map(|(place, pool)| {
            let issued = match &pool.sticky.as_ref()?.by {
                By::Cookie(cookie) => {
                    match cookie.read(policy::cookies(request, cookie.name()), unix_millis(SystemTime::now())) {
                        Read::Valid(ticket) => ticket.issued,
                        Read::Absent | Read::Invalid => return None,
                    }
                }
                By::AppCookie(name, ttl) => pool.application(name, *ttl, request, second)?.1.map(|_| 0)?,
                By::Key(_) => return None,
            };
            Some((issued, place))
        });
        known.max_by_key(|&(issued, _)| issued).map(|(_, place)| place)
    }
}

impl Pool {
    /// The session in the application's cookie `name`, and the identity of the backend that has it, if that is known;
    /// `None`: there is no such cookie.
    pub fn application(&self, name: &[u8], ttl: u32, request: &Head, second: u32) -> Option<(u64, Option<u64>)> {
        let key = hash(policy::cookies(request, name).find(|value| !value.is_empty())?);
        Some((key, self.slot.sessions.find(key, second, ttl)))
    }
}
