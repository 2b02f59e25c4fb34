//! Clients that all have one address, because a proxy is in front that nobody believes: what tells them apart by their
//! addresses tells nothing. Called once everything is read and nothing is wrong.

use super::{
    super::{
        Action, Address, Algorithm, HashKey, LimitKey, Listener, Pool, Route, Server, SplitBy, StickyBy, report::Wrong,
        section::Field, units::quoted,
    },
    limit, pool, route,
    warn::pools_of,
};

/// What was read.
pub(super) struct All<'r, 'a> {
    pub(super) server: &'r Server,
    pub(super) listeners: &'r [Listener],
    pub(super) pools: &'r [pool::Entry<'a>],
    /// None: everything goes to the pool.
    pub(super) routes: &'r [route::Entry<'a>],
    pub(super) limits: &'r [limit::Entry<'a>],
}

/// Warns of each key that goes by addresses where there is one alone.
pub(super) fn warn(all: &All<'_, '_>) {
    for entry in all.pools {
        if let Some(field) = of_pool(&entry.pool, &entry.field) {
            all.doubt(&field, all.routes_to(|route| pools_of(route).contains(&entry.pool.name.as_str())));
        }
    }
    for entry in all.limits.iter().filter(|entry| entry.limit.key == [LimitKey::ClientIp]) {
        if let Some(field) = within(&entry.field, &["key"]) {
            all.doubt(&field, all.routes_to(|route| route.rate_limit.contains(&entry.limit.name)));
        }
    }
    for entry in all.routes {
        let by_address = matches!(&entry.route.action, Action::Split { by: Some(SplitBy::ClientIp), .. });
        if let Some(field) = within(&entry.field, &["split_by"]).filter(|_| by_address) {
            all.doubt(&field, vec![&entry.route]);
        }
        let counts = entry.route.in_flight_limit.as_ref().is_some_and(|limit| limit.key == [LimitKey::ClientIp]);
        if let Some(field) = within(&entry.field, &["in_flight_limit", "key"]).filter(|_| counts) {
            all.doubt(&field, vec![&entry.route]);
        }
    }
}

/// What of a pool goes by addresses.
fn of_pool<'a>(pool: &Pool, field: &Field<'a>) -> Option<Field<'a>> {
    let keys: &[&str] = match (&pool.sticky, pool.algorithm) {
        (Some(sticky), _) if matches!(sticky.by, StickyBy::SourceIp) => &["sticky", "type"],
        (_, Algorithm::Hash) if pool.hash.key != HashKey::ClientIp => return None,
        (_, Algorithm::IpHash | Algorithm::Hash) => &["algorithm"],
        _ => return None,
    };
    within(field, keys)
}

/// What is written at `keys` below `field`.
fn within<'a>(field: &Field<'a>, keys: &[&str]) -> Option<Field<'a>> {
    let Some((first, rest)) = keys.split_first() else { return Some(field.clone()) };
    let (_, below) = field.entries().into_iter().find(|(key, _)| key == first)?;
    within(&below, rest)
}

impl<'r> All<'r, '_> {
    fn routes_to(&self, leads: impl Fn(&Route) -> bool) -> Vec<&'r Route> {
        self.routes.iter().map(|entry| &entry.route).filter(|route| leads(route)).collect()
    }

    /// Warns of `field`, if all that comes by `routes` has one address; by no route at all, where there is none.
    fn doubt(&self, field: &Field<'_>, routes: Vec<&Route>) {
        let leads = |listener: &&Listener| {
            let named = |route: &&Route| route.listeners.is_empty() || route.listeners.contains(&listener.name);
            !listener.redirect_to_https && (self.routes.is_empty() || routes.iter().any(named))
        };
        let listeners: Vec<&Listener> = self.listeners.iter().filter(leads).collect();
        let Some(listener) = listeners.first() else { return };
        if !listeners.iter().all(|listener| self.is_alike(listener)) {
            return;
        }
        let (why, proxy) = match &listener.address {
            Address::Tcp(address) => {
                let name = quoted(&listener.name);
                let why = format!("listener {name} takes connections of this host alone: all clients have one address");
                (why, address.ip().to_string())
            }
            _ => ("clients of a unix socket have no address to tell them apart by".to_owned(), "unix".to_owned()),
        };
        let wrong = Wrong::new(why);
        let help = "if a proxy in front says whose the requests are (X-Forwarded-For), write trusted_proxies";
        field.warn(wrong.help(format!("{help} = [{}] in [server]", quoted(&proxy))));
    }

    /// All who come to `listener` have the same address, or none, and nobody there is believed to tell of others.
    fn is_alike(&self, listener: &Listener) -> bool {
        let trusted = &self.server.trusted_proxies;
        let near = match &listener.address {
            Address::Tcp(address) => {
                let ip = address.ip().to_canonical();
                ip.is_loopback() && !trusted.nets.iter().any(|net| net.contains(&ip))
            }
            Address::Unix(_) => !trusted.unix,
            Address::Named(..) => false,
        };
        near && !listener.proxy_protocol
    }
}
