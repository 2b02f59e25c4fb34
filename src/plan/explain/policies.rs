//! What a route's policies ask of a request, in words.

use super::{Setting, Walk, time};
use crate::{
    config::{self, AuthKind, Config, JwtKeys, LimitAlgorithm, LimitKey, Priority, ShownIn},
    policy::{self, Stage},
};
use ipnet::IpNet;
use std::net::IpAddr;

/// Tells what is in force of `route`, before anything is decided.
pub(super) fn tell(walk: &mut Walk<'_>, route: &config::Route) {
    if let Some(access) = access(route, walk.client) {
        push(walk, "allow, deny", access);
    }
    if route.cors.is_some() {
        let allowed = walk.visit.answer.find("access-control-allow-origin");
        let allowed = allowed.map(|origin| String::from_utf8_lossy(origin).into_owned());
        push(
            walk,
            "cors",
            match allowed {
                Some(origin) => format!("pages of {origin} may see the answer"),
                None => "no page of another origin may see the answer".to_owned(),
            },
        );
    }
    let limits: Vec<_> = route.rate_limit.iter().filter_map(|name| limit(walk, name)).collect();
    limits.into_iter().for_each(|limit| push(walk, "rate_limit", limit));
    if let Some(limit) = &route.in_flight_limit {
        let text = format!("{} at a time by {}", limit.max, keys(walk, &limit.key, &route.name));
        push(walk, "in_flight_limit", text);
    }
    if let Some(auth) = route.auth.as_deref().and_then(|name| auth(walk.config, name)) {
        push(walk, "auth", format!("{:?}: {}", auth.name, kind(auth)));
    }
    match route.priority {
        Priority::Normal => {}
        Priority::High => push(walk, "priority", "high".to_owned()),
        Priority::Low => push(walk, "priority", "low".to_owned()),
    }
}

/// Why it is answered at `stage`.
pub(super) fn why(stage: Stage, route: &config::Route, client: Option<IpAddr>, config: &Config) -> String {
    match stage {
        Stage::Access => format!("`allow` and `deny` of the route: {}", access(route, client).unwrap_or_default()),
        Stage::Preflight => "a preflight, which `cors` of the route answers".to_owned(),
        _ => {
            let auth = route.auth.as_deref().and_then(|name| auth(config, name));
            let place = auth.map_or_else(String::new, |auth| format!(" {:?}: {}", auth.name, kind(auth)));
            format!("`auth`{place}; no good one is shown. What is shown there counts as good here, whatever it is")
        }
    }
}

/// What `allow` and `deny` say of `client`, and which of their networks it is in.
fn access(route: &config::Route, client: Option<IpAddr>) -> Option<String> {
    if route.allow.is_empty() && route.deny.is_empty() {
        return None;
    }
    let Some(client) = client else {
        let who = "a peer on a unix socket has no address";
        return Some(if route.allow.is_empty() {
            format!("{who}: it may come")
        } else {
            format!("{who}, and `allow` asks for one")
        });
    };
    let within = |nets: &[IpNet]| nets.iter().find(|net| net.contains(&client)).map(ToString::to_string);
    Some(match (within(&route.deny), within(&route.allow)) {
        (Some(net), _) => format!("{client} is in {net} of `deny`"),
        (None, Some(net)) => format!("{client} is in {net} of `allow`"),
        (None, None) if route.allow.is_empty() => format!("{client} is in no network of `deny`"),
        (None, None) => format!("{client} is in no network of `allow`"),
    })
}

fn limit(walk: &Walk<'_>, name: &str) -> Option<String> {
    let limit = walk.config.rate_limits.iter().find(|limit| limit.name == name)?;
    let unit = match limit.rate.seconds {
        1 => "s",
        60 => "m",
        _ => "h",
    };
    let beyond = match limit.algorithm {
        LimitAlgorithm::TokenBucket => format!("burst {}", limit.burst),
        LimitAlgorithm::LeakyBucket => format!("max_delay {}", time(Some(limit.max_delay))),
    };
    let tiers: Vec<_> = limit.tiers.iter().map(|tier| format!("{:?}", tier.name)).collect();
    let tiers = if tiers.is_empty() { String::new() } else { format!(", or more for tier {}", tiers.join(", ")) };
    let dry = if limit.dry_run { ", dry_run" } else { "" };
    let (route, rate) = (walk.said.route.as_deref().unwrap_or_default(), limit.rate.requests);
    Some(format!("{name:?}: {rate}/{unit}, {beyond}{tiers}{dry}, by {}", keys(walk, &limit.key, route)))
}

/// What it is counted by: values of headers, cookies and claims may be secrets, and are not told.
fn keys(walk: &Walk<'_>, keys: &[LimitKey], route: &str) -> String {
    let shown = |there: bool| if there { "shown" } else { "not shown: all such requests share one" };
    let key = |key: &LimitKey| match key {
        LimitKey::ClientIp => match walk.client {
            Some(client) => format!("client_ip ({client})"),
            None => "client_ip (none)".to_owned(),
        },
        LimitKey::Header(name) => {
            let there = policy::FieldName::new(name).first(&walk.head).is_some_and(|value| !value.is_empty());
            format!("header:{name} ({})", shown(there))
        }
        LimitKey::Cookie(name) => {
            let there = policy::cookies(&walk.head, name.as_bytes()).any(|value| !value.is_empty());
            format!("cookie:{name} ({})", shown(there))
        }
        LimitKey::Claim(name) => format!("claim:{name}"),
        LimitKey::Path => format!("path ({})", walk.said.request.path),
        LimitKey::Route => format!("route ({route})"),
        LimitKey::Global => "global".to_owned(),
    };
    keys.iter().map(key).collect::<Vec<_>>().join(" and ")
}

fn auth<'c>(config: &'c Config, name: &str) -> Option<&'c config::Auth> {
    config.auths.iter().find(|auth| auth.name == name)
}

/// Its type, and where it looks.
fn kind(auth: &config::Auth) -> String {
    let shown = |place: &ShownIn| match place {
        ShownIn::Header(name) => format!("header:{name}"),
        ShownIn::Cookie(name) => format!("cookie:{name}"),
        ShownIn::Query(name) => format!("query:{name}"),
    };
    match &auth.kind {
        AuthKind::Basic(_) => "basic, a user and a password in header:authorization".to_owned(),
        AuthKind::ApiKey(api_key) => format!("api_key, a key in {}", shown(&api_key.from)),
        AuthKind::Jwt(jwt) => {
            let from = match &jwt.keys {
                JwtKeys::Url(_) => "jwks",
                JwtKeys::File(_) => "keys of a file",
                JwtKeys::Secret(_) => "a secret",
            };
            format!("jwt, a token in {} that {from} verify", shown(&jwt.from))
                .replace("secret verify", "secret verifies")
        }
        AuthKind::Forward(forward) => format!("forward, {} decides", forward.url.authority),
    }
}

fn push(walk: &mut Walk<'_>, name: &str, value: String) {
    walk.said.settings.push(Setting { name: name.to_owned(), value });
}
