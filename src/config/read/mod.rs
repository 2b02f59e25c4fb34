//! From the TOML tree to [`Config`]: one file a table, each with the defaults and bounds of PRODUCT.md.
//!
//! Called by `Config::parse`. Every part reads all that it has before it gives up, so that no problem hides another.

mod alike;
mod auth;
mod balance;
mod breaker;
mod custom_load;
mod discover;
mod health;
mod limit;
mod listener;
mod log;
mod pages;
mod pool;
mod process;
mod queue;
mod retry;
mod route;
mod sticky;
mod tables;
mod test;
mod tls;
mod trace;
mod warn;

use std::collections::BTreeSet;

use super::{
    Address, Admin, Backend, Config, Route,
    report::{Findings, Wrong},
    section::{Document, Field},
    units::quoted,
};

/// All files; `None` if a part is missing, which has then been reported.
pub(super) fn document(document: &Document<'_>, findings: &Findings) -> Option<Config> {
    let server = process::server(document);
    let (admin, taken) = process::admin(document);
    let log = log::log(document);
    let trace = trace::trace(document, &server);
    let metrics = log::metrics(document);
    let error_pages = pages::error_pages(document);
    let names = Names {
        listeners: listener::names(document),
        pools: tables::names(document, "pool"),
        auths: tables::names(document, "auth"),
        limits: tables::names(document, "rate_limit"),
    };
    let listeners = listener::listeners(document, &taken);
    let pools = pool::pools(document);
    let auths = auth::auths(document);
    let limits = limit::limits(document);
    let routes = route::routes(document, &names);
    let silent = document.written("route").is_empty();
    if silent {
        pool::none(document);
    }
    // Without a route, the one that there is has this name.
    let known = routes.as_ref().map(|routes| match silent {
        true => BTreeSet::from(["default"]),
        false => routes.iter().map(|entry| entry.route.name.as_str()).collect(),
    });
    let tests = test::tests(document, known.as_ref(), &names.pools);
    let (listeners, pools, routes, auths, limits) = (listeners?, pools?, routes?, auths?, limits?);
    auth::services(&auths, &pools);
    warn::shut(&listeners, &server, document);
    warn::prefixed(&listeners, &server, &pools);
    if silent && pools.len() > 1 {
        unrouted(&pools);
    }
    if findings.fine() && !silent {
        warn::warn(&listeners, &pools, &routes, document);
    }
    if findings.fine() {
        auth::warn(&auths, &routes, &listeners, &server);
        warn::unused(&limits, &routes);
        warn::nameless(&limits, &routes, &auths);
        let (server, listeners) = (&server, &listeners[..]);
        alike::warn(&alike::All { server, listeners, pools: &pools, routes: &routes, limits: &limits });
    }
    let pools: Vec<_> = pools.into_iter().map(|entry| entry.pool).collect();
    let auths = auths.into_iter().map(|entry| entry.auth).collect();
    let routes = match pools.first() {
        Some(pool) if silent => vec![Route::all_to(&pool.name)],
        _ => routes.into_iter().map(|entry| entry.route).collect(),
    };
    let rate_limits = limits.into_iter().map(|entry| entry.limit).collect();
    let (warnings, written) = Default::default();
    Some(Config {
        server,
        admin,
        log,
        trace,
        metrics,
        listeners,
        routes,
        pools,
        auths,
        rate_limits,
        error_pages,
        tests,
        warnings,
        written,
    })
}

/// `[admin]`, whatever else is wrong.
pub(super) fn admin(document: &Document<'_>) -> Admin {
    process::admin(document).0
}

/// One backend, by itself.
pub(super) fn backend(field: &Field<'_>) -> Option<Backend> {
    pool::backend(field)
}

/// Two pools and no route.
fn unrouted(pools: &[pool::Entry<'_>]) {
    let [first, second, ..] = pools else { return };
    let (one, two) = (quoted(&first.pool.name), quoted(&second.pool.name));
    let count = pools.len();
    let wrong = Wrong::new(format!("found {count} pools and no route: nothing says which pool a request goes to"));
    let help = format!(
        "write which requests are whose, by host or by path:\n\n[[route]]\nhost = \"other.example.com\"\npool = {two}\n\n\
         [[route]]\npool = {one}"
    );
    second.field.clash(wrong.help(help), &first.field);
}

/// What can be referred to, as far as it can be read.
struct Names {
    listeners: BTreeSet<String>,
    pools: BTreeSet<String>,
    auths: BTreeSet<String>,
    limits: BTreeSet<String>,
}

/// An address, its text, and the field that it stands in.
struct Written<'a> {
    address: Address,
    text: String,
    field: Field<'a>,
}

impl<'a> Written<'a> {
    /// `field` as it stands in the file, and what `address` it means.
    fn new(address: Address, field: Field<'a>) -> Self {
        Self { address, text: field.value().as_str().unwrap_or_default().to_owned(), field }
    }
}

#[cfg(test)]
mod tests;
