//! `sticky` of a pool: what keeps a client at its backend.

use std::time::Duration;

use super::super::{
    Secret, Sticky, StickyBy, StickyFallback, field, files, keys,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// `type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cookie,
    AppCookie,
    Header,
    SourceIp,
}

const KINDS: &[(&str, Kind)] = &[
    ("cookie", Kind::Cookie),
    ("app_cookie", Kind::AppCookie),
    ("header", Kind::Header),
    ("source_ip", Kind::SourceIp),
];
const PEERS: &[(&str, &str)] = &[
    ("insert", "cookie"),
    ("lb_cookie", "cookie"),
    ("appsession", "app_cookie"),
    ("application_cookie", "app_cookie"),
    ("learn", "app_cookie"),
    ("prefix", "app_cookie"),
    ("rewrite", "app_cookie"),
    ("route", "app_cookie"),
    ("http_header", "header"),
    ("address", "source_ip"),
    ("client_ip", "source_ip"),
    ("clientip", "source_ip"),
    ("ip", "source_ip"),
    ("ip_hash", "source_ip"),
    ("source", "source_ip"),
    ("src", "source_ip"),
];
const FALLBACKS: &[(&str, StickyFallback)] =
    &[("reassign", StickyFallback::Reassign), ("reject", StickyFallback::Reject)];
const PEERS_FALLBACKS: &[(&str, &str)] = &[
    ("any", "reassign"),
    ("none", "reassign"),
    ("redispatch", "reassign"),
    ("retry", "reassign"),
    ("503", "reject"),
    ("error", "reject"),
    ("fail", "reject"),
    ("strict", "reject"),
];
const NAME: &str = "evenkeel";
const TTL: Duration = Duration::from_secs(8 * 3600);

/// `sticky` of `pool`; `None` as well if it cannot be built, which has been reported.
pub(super) fn sticky(pool: &Section<'_>) -> Option<Sticky> {
    let section = pool.section("sticky", &keys::STICKY)?;
    let Some(field) = section.field("type") else {
        let wrong = Wrong::new("nothing says by what a client is known");
        section.missing("type", wrong.help("write type = \"cookie\"; or \"app_cookie\", \"header\", \"source_ip\""));
        return None;
    };
    let kind = field.read(values::choice(KINDS, &[], PEERS));
    let fallback = section.read("fallback", StickyFallback::Reassign, values::choice(FALLBACKS, &[], PEERS_FALLBACKS));
    let ttl = section.read("ttl", TTL, ttl);
    let kind = kind?;
    useless(&section, kind);
    let by = match kind {
        Kind::Cookie => StickyBy::Cookie {
            name: section.read("name", NAME.to_owned(), cookie),
            ttl,
            secrets: secrets(&section, &field),
        },
        Kind::AppCookie => {
            StickyBy::AppCookie { name: named(&section, "the application's cookie", "JSESSIONID", cookie)?, ttl }
        }
        Kind::Header => StickyBy::Header(named(&section, "the header", "x-user", header)?),
        Kind::SourceIp => StickyBy::SourceIp,
    };
    Some(Sticky { by, fallback })
}

/// Those that sign our cookies; warns, at `kind`, of there being none.
fn secrets(section: &Section<'_>, kind: &Field<'_>) -> Vec<Secret> {
    let Some(field) = section.field("secret") else {
        if !section.meant(&["secret"]) {
            let wrong = Wrong::new(
                "without `secret` cookies are signed by a key that is made at the start: a restart, and every other instance, forgets the clients",
            );
            kind.warn(wrong.help("write secret = { file = \"/etc/evenkeel/sticky.key\" }, the same on every instance; `openssl rand -hex 32` makes one"));
        }
        return Vec::new();
    };
    files::mac_keys(&field).unwrap_or_default()
}

/// `name`, which must be written; `None` if it is not, or is wrong, which has been reported.
fn named(
    section: &Section<'_>,
    what: &str,
    example: &str,
    parse: impl Fn(&Field<'_>) -> Result<String, Wrong>,
) -> Option<String> {
    let Some(field) = section.field("name") else {
        let wrong = Wrong::new(format!("nothing says what {what} is called"));
        section.missing("name", wrong.help(format!("write name = \"{example}\", for example")));
        return None;
    };
    field.read(parse)
}

/// Reports what this kind of stickiness has no use for.
fn useless(section: &Section<'_>, kind: Kind) {
    let word = KINDS.iter().find(|(_, other)| *other == kind).map_or("", |(word, _)| word);
    let keys: &[(&str, &str)] = match kind {
        Kind::Cookie => &[],
        Kind::AppCookie => &[("secret", ": the application makes the cookie, and nothing is signed")],
        Kind::Header => &[("ttl", ": nothing is remembered"), ("secret", ": nothing is signed")],
        Kind::SourceIp => &[("name", ""), ("ttl", ": nothing is remembered"), ("secret", ": nothing is signed")],
    };
    for (key, why) in keys {
        if let Some(field) = section.field(key) {
            field.wrong(Wrong::new(format!("`{key}` has no meaning for type = \"{word}\"{why}")).help("take it out"));
        }
    }
}

/// A cookie's `Max-Age` counts whole seconds.
fn ttl(field: &Field<'_>) -> Result<Duration, Wrong> {
    let time = values::period(field)?;
    if time >= Duration::from_secs(1) {
        return Ok(time);
    }
    Err(values::wanted(field.value(), "a duration of at least 1s"))
}

/// A token, as RFC 6265 section 4.1.1 wants it.
fn cookie(value: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "the name of a cookie";
    let text = values::text(value, WHAT)?;
    if field::is_token(text) {
        return Ok(text.to_owned());
    }
    let wrong = values::wanted(value.value(), WHAT);
    Err(match text.split_once('=') {
        Some((name, _)) if field::is_token(name) => {
            wrong.help(format!("write {}: the value is not for here", quoted(name)))
        }
        _ => wrong.help("it is made of letters, digits and any of !#$%&'*+-.^_`|~"),
    })
}

fn header(value: &Field<'_>) -> Result<String, Wrong> {
    let text = values::text(value, "the name of a header")?;
    field::matchable(text).map_err(|wrong| match field::name(text) {
        Ok(_) => {
            Wrong::new(format!("`{text}` tells no client from another")).help("name a header that users differ in")
        }
        Err(_) => wrong,
    })
}
