//! `[[route]]`: which requests, and what becomes of them.

mod access;
mod action;
mod edit;
mod matches;
mod name;

pub(super) use self::matches::text;

use std::{collections::HashMap, time::Duration};

use super::{
    super::{
        Action, Priority, Route, Variable, field, keys,
        report::Wrong,
        section::{Document, Field, Section},
        units::quoted,
        values,
    },
    Names, limit,
};

/// A route, and where in the files it stands.
pub(super) struct Entry<'a> {
    pub(super) route: Route,
    pub(super) field: Field<'a>,
    /// Its name, if one is written.
    named: Option<Field<'a>>,
}

/// All of them, file by file; `None` if one cannot be built.
pub(super) fn routes<'a>(document: &Document<'a>, names: &Names) -> Option<Vec<Entry<'a>>> {
    let fields: Vec<_> = document.written("route").iter().flat_map(Field::list).collect();
    let read: Vec<_> = fields.iter().map(|field| route(field, names)).collect();
    let mut seen: HashMap<&str, &Field<'_>> = HashMap::new();
    for entry in read.iter().flatten() {
        let Some(field) = &entry.named else { continue };
        if let Some(first) = seen.insert(&entry.route.name, field) {
            let wrong = Wrong::new(format!("another route is called {} already", quoted(&entry.route.name)));
            field.clash(wrong.help("give this one a `name` of its own"), first);
        }
    }
    let mut routes = read.into_iter().collect::<Option<Vec<_>>>()?;
    name::give(&mut routes);
    Some(routes)
}

fn route<'a>(field: &Field<'a>, names: &Names) -> Option<Entry<'a>> {
    let section = field.section(&keys::ROUTE)?;
    let named = section.field("name");
    let name = named.as_ref().and_then(|field| field.read(values::name));
    let action = action::action(&section, names);
    let fallback = action::fallback(&section, names);
    let mirror = action::mirror(&section, names);
    let route = Route {
        name: name.unwrap_or_default(),
        listeners: matches::listeners(&section, names),
        hosts: matches::hosts(&section),
        paths: matches::paths(&section),
        methods: matches::methods(&section),
        headers: matches::headers(&section),
        cookies: matches::cookies(&section),
        query: matches::query(&section),
        client_ip: matches::client_ip(&section),
        allow: access::networks(&section, "allow"),
        deny: access::networks(&section, "deny"),
        cors: access::cors(&section),
        auth: access::auth(&section, names),
        action: Action::Pool(String::new()),
        fallback: None,
        mirror,
        timeout: section.read("timeout", Some(Duration::from_secs(60)), values::timeout),
        request_headers: edit::headers(&section, "request_headers", field::editable),
        response_headers: edit::headers(&section, "response_headers", field::editable_in_response),
        rewrite: section.field("rewrite").and_then(|field| edit::rewrite(&field)),
        max_body_size: section.read("max_body_size", None, values::size_limit),
        upgrade: upgrade(&section),
        connect: section.read("connect", false, values::flag),
        priority: priority(&section),
        rate_limit: limit::of_route(&section, names),
        in_flight_limit: limit::in_flight(&section),
        access: access(&section),
    };
    let route = Route { action: action?, fallback, ..route };
    idle(&section, &route);
    doubt(&section, &route);
    Some(Entry { route, field: field.clone(), named })
}

/// Upgrades that pass: WebSocket or none.
fn upgrade(section: &Section<'_>) -> bool {
    if section.field("upgrade").is_none() {
        return true;
    }
    let peers = &[("ws", "websocket"), ("wss", "websocket")];
    let upgrades = section.list("upgrade", |field| {
        values::choice(&[("websocket", ())], &[], peers)(field).map_err(|wrong| match field.value().as_bool() {
            Some(true) => wrong.help("write [\"websocket\"]"),
            Some(false) => wrong.help("write [] for none"),
            None => wrong,
        })
    });
    !upgrades.is_empty()
}

fn priority(section: &Section<'_>) -> Priority {
    let words = &[("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];
    let peers = &[
        ("default", "normal"),
        ("medium", "normal"),
        ("critical", "high"),
        ("urgent", "high"),
        ("best_effort", "low"),
        ("background", "low"),
        ("batch", "low"),
        ("sheddable", "low"),
    ];
    section.read("priority", Priority::Normal, values::choice(words, &[], peers))
}

fn access(section: &Section<'_>) -> bool {
    let words = &[("on", true), ("off", false)];
    section.read("access", true, |field| {
        values::choice(words, &[], &[("true", "on"), ("false", "off")])(field).map_err(|wrong| {
            match field.value().as_bool() {
                Some(yes) => wrong.help(format!("write \"{}\"", if yes { "on" } else { "off" })),
                None => wrong,
            }
        })
    })
}

/// Reports what a route that answers by itself has no use for.
fn idle(section: &Section<'_>, route: &Route) {
    let what = match route.action {
        Action::Redirect { .. } => "redirect",
        Action::Respond(_) => "respond",
        Action::Pool(_) | Action::Split { .. } => return,
    };
    for key in ["fallback", "mirror", "rewrite", "request_headers"] {
        if let Some(field) = section.field(key) {
            let wrong = Wrong::new(format!("`{key}` has no effect beside `{what}`: nothing is sent to a backend"));
            field.wrong(wrong.help(format!("take `{key}` out")));
        }
    }
    if let Some(field) = section.field("connect").filter(|_| route.connect) {
        let wrong = Wrong::new(format!("`connect` has no effect beside `{what}`: a tunnel leads to a backend"));
        field.wrong(wrong.help("take `connect` out, or name a `pool`"));
    }
}

/// Warns of what has a meaning that is hardly meant.
fn doubt(section: &Section<'_>, route: &Route) {
    if let Some(field) = section.field("timeout").filter(|_| route.timeout.is_none()) {
        let wrong = Wrong::new("without a limit, requests that are retried or wait for a backend may take for ever");
        field.warn(wrong.help("write how long a client would wait at most, such as \"5m\""));
    }
    if let Action::Redirect { to, .. } = &route.action
        && to.has(Variable::Host)
        && route.hosts.is_empty()
        && let Some(field) = section.field("redirect")
    {
        let wrong = Wrong::new("`{host}` is whatever the client says: the route has no `host`");
        field.warn(wrong.help("write `host = \"…\"` in the route, or the name itself in `to`"));
    }
}
