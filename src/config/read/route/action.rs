//! What becomes of a route's requests: `pool`, `split`, `redirect`, `respond`; `fallback` and `mirror`.

use super::super::{
    super::{
        Action, Fallback, Mirror, Piece, Respond, SplitBy, Template, Variable, field, keys,
        keys::nearest,
        report::Wrong,
        section::{Field, Section},
        units::quoted,
        values,
    },
    Names,
};

const ACTIONS: [&str; 4] = ["pool", "split", "redirect", "respond"];
/// Fine enough for a canary of a millionth.
const MAX_SHARE: u64 = 1_000_000;
const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// The one action of `route`; `None` if there is none that can be built, which has been reported.
pub(super) fn action(route: &Section<'_>, names: &Names) -> Option<Action> {
    let written: Vec<_> = ACTIONS.iter().filter_map(|key| Some((*key, route.field(key)?))).collect();
    if let [(_, first), (_, second), ..] = written.as_slice() {
        let wrong = Wrong::new("a route does one thing with its requests");
        second.clash(wrong.help("keep one of `pool`, `split`, `redirect` and `respond`"), first);
    }
    let by = route.field("split_by").map(|by| (by.read(split_by), by));
    if let Some((_, by)) = by.as_ref().filter(|_| route.field("split").is_none()) {
        by.wrong(Wrong::new("`split_by` has no meaning without `split`").help("take it out"));
    }
    let Some((key, field)) = written.first() else {
        if !route.meant(&ACTIONS) {
            let wrong = Wrong::new("a route wants one of `pool`, `split`, `redirect` and `respond`");
            let pool = names.pools.first().map_or("web", String::as_str);
            route.missing("pool", wrong.help(format!("write pool = {}, for example", quoted(pool))));
        }
        return None;
    };
    match *key {
        "pool" => field.read(|field| pool(field, names)).map(Action::Pool),
        "split" => split(field, names).map(|pools| Action::Split { pools, by: by.and_then(|(by, _)| by) }),
        "redirect" => redirect(field),
        _ => respond(field).map(Action::Respond),
    }
}

/// `fallback` of `route`.
pub(super) fn fallback(route: &Section<'_>, names: &Names) -> Option<Fallback> {
    let field = route.field("fallback")?;
    let section = field.section(&keys::FALLBACK)?;
    match (section.field("pool"), section.field("respond")) {
        (Some(field), None) => {
            let name = field.read(|field| pool(field, names))?;
            if let Some(first) = route.field("pool").filter(|first| first.value().as_str() == Some(&name)) {
                let wrong = Wrong::new(format!("the fallback of pool {} is itself", quoted(&name)));
                field.clash(wrong.help("name another pool, or answer with `respond`"), &first);
            }
            Some(Fallback::Pool(name))
        }
        (None, Some(field)) => respond(&field).map(Fallback::Respond),
        (Some(first), Some(second)) => {
            second.clash(Wrong::new("a fallback does one thing").help("keep `pool` or `respond`"), &first);
            None
        }
        (None, None) => {
            if !section.meant(keys::FALLBACK.known) {
                let wrong = Wrong::new("a fallback wants `pool` or `respond`");
                field.wrong(wrong.help(format!("write {}", keys::FALLBACK.example)));
            }
            None
        }
    }
}

/// `mirror` of `route`.
pub(super) fn mirror(route: &Section<'_>, names: &Names) -> Option<Mirror> {
    let section = route.section("mirror", &keys::MIRROR)?;
    let share = section.read("share", 1.0, values::share);
    let Some(field) = section.field("pool") else {
        let wrong = Wrong::new("a mirror wants `pool`: where the copies go");
        section.missing("pool", wrong.help(format!("write {}", keys::MIRROR.example)));
        return None;
    };
    let name = field.read(|field| pool(field, names))?;
    if let Some(first) = route.field("pool").filter(|first| first.value().as_str() == Some(&name)) {
        let wrong = Wrong::new(format!("the mirror of pool {} is itself", quoted(&name)));
        field.clash(wrong.help("its backends would do everything twice: name another pool"), &first);
    }
    Some(Mirror { pool: name, share })
}

/// The name of a pool that there is.
fn pool(field: &Field<'_>, names: &Names) -> Result<String, Wrong> {
    let text = values::text(field, "the name of a pool")?;
    if names.pools.contains(text) {
        return Ok(text.to_owned());
    }
    let wrong = Wrong::new(format!("there is no pool {}", quoted(text))).missed();
    if text.contains("://") || text.parse::<std::net::SocketAddr>().is_ok() {
        return Err(wrong.help("a route names a pool: write [pool.NAME] with its backends, and that name here"));
    }
    let short = text.strip_prefix("pool.").unwrap_or(text);
    Err(match nearest(short, names.pools.iter().map(String::as_str)) {
        Some(meant) => wrong.help(format!("did you mean {}?", quoted(meant))),
        None => wrong.help(format!("write [pool.{}] with its backends", bare(short))),
    })
}

/// `name` as TOML wants it in a header.
fn bare(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { name.to_owned() } else { quoted(name) }
}

fn split(field: &Field<'_>, names: &Names) -> Option<Vec<(String, u32)>> {
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    let mut pools = Vec::new();
    let sides = field.list();
    for side in &sides {
        let Some(section) = side.section(&keys::SPLIT) else { continue };
        let weight = section.read("weight", 1, values::count(0..=MAX_SHARE));
        let Some(named) = section.field("pool") else {
            section.missing("pool", Wrong::new("a side of a split wants a pool"));
            continue;
        };
        let Some(name) = named.read(|field| pool(field, names)) else { continue };
        if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
            let wrong = Wrong::new(format!("pool {} is a side of this split already", quoted(&name)));
            named.clash(wrong.help("keep one of them: its share is its `weight`"), first);
        }
        pools.push((name.clone(), u32::try_from(weight).expect("MAX_SHARE fits")));
        seen.push((name, named));
    }
    if sides.is_empty() || (pools.len() == sides.len() && pools.iter().all(|(_, weight)| *weight == 0)) {
        let wrong = Wrong::new("a split wants at least one pool with a weight above 0");
        field.wrong(wrong.help(format!("write {}", keys::SPLIT.example)));
    }
    (!pools.is_empty()).then_some(pools)
}

fn split_by(field: &Field<'_>) -> Result<SplitBy, Wrong> {
    const WHAT: &str = "\"client_ip\", \"cookie:NAME\" or \"header:NAME\"";
    let text = values::text(field, WHAT)?;
    let wrong = || values::wanted(field.value(), WHAT);
    match text.split_once(':') {
        None if text == "client_ip" => Ok(SplitBy::ClientIp),
        Some(("cookie", name)) if field::is_token(name) => Ok(SplitBy::Cookie(name.to_owned())),
        Some(("header", name)) => field::matchable(name).map(SplitBy::Header),
        _ if ["ip", "source", "source_ip", "src"].contains(&text) => Err(wrong().help("did you mean \"client_ip\"?")),
        _ => Err(wrong().help("what keeps a user on one side; leave it out for chance")),
    }
}

fn redirect(field: &Field<'_>) -> Option<Action> {
    let section = field.section(&keys::REDIRECT)?;
    let status = section.read("status", 308, |field| {
        const WHAT: &str = "301, 302, 303, 307 or 308";
        match values::count(100..=599)(field) {
            Ok(status) if [301, 302, 303, 307, 308].contains(&status) => Ok(status as u16),
            _ => Err(values::wanted(field.value(), WHAT)
                .help("308 and 307 keep the method, for good and for now; 303 makes it a GET")),
        }
    });
    let Some(to) = section.field("to") else {
        section.missing("to", Wrong::new("a redirect wants `to`").help(format!("write {}", keys::REDIRECT.example)));
        return None;
    };
    to.read(location).map(|to| Action::Redirect { to, status })
}

/// What stands in `Location`: it must be clear which host it leads to.
fn location(field: &Field<'_>) -> Result<Template, Wrong> {
    const WHAT: &str = "a URL or a path to redirect to";
    let text = values::text(field, WHAT)?;
    let wrong = || values::wanted(field.value(), WHAT);
    if let Some(bad) = text.chars().find(|letter| !letter.is_ascii_graphic()) {
        let what = if bad == ' ' { "white space" } else { "control characters or letters outside of ASCII" };
        return Err(wrong().help(format!("a URL has no {what}: write each of its bytes as `%` and two digits")));
    }
    let template = field::parse(field, text)?;
    let clear = match template.pieces.as_slice() {
        [Piece::Text(first), rest @ ..] if first.starts_with('/') => {
            (first == "/" && rest.is_empty()) || (first.len() > 1 && !first[1..].starts_with(['/', '\\']))
        }
        [Piece::Text(first), ..] => first.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)),
        [Piece::Variable(Variable::Scheme), Piece::Text(then), ..] => then.starts_with("://"),
        [Piece::Variable(Variable::Path | Variable::PathAndQuery), ..] => false,
        _ => false,
    };
    if clear {
        return Ok(template);
    }
    let help = "write \"https://{host}{path_and_query}\" or \"/new\", for example";
    Err(match template.pieces.first() {
        Some(Piece::Variable(Variable::Path | Variable::PathAndQuery)) => {
            wrong().help("a request for `//other.example` would be sent there: write \"{scheme}://{host}\" in front")
        }
        Some(Piece::Text(first)) if first.starts_with('/') => {
            wrong().help("what begins with `//` leads to another host: write its scheme in front")
        }
        _ => wrong().help(help),
    })
}

/// RFC 3986 section 3.1.
fn is_scheme(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(fine)
}

fn respond(field: &Field<'_>) -> Option<Respond> {
    if let Some(number) = field.value().as_integer() {
        let wrong = values::wanted(field.value(), "a table");
        field.wrong(wrong.help(format!("write respond = {{ status = {number} }}")));
        return None;
    }
    let section = field.section(&keys::RESPOND)?;
    let status = section.read("status", 200, values::count(200..=599));
    let body = section.read("body", Template::default(), |field| field::parse(field, values::text(field, "text")?));
    let content_type = section.read("content_type", CONTENT_TYPE.to_owned(), |value| {
        let text = field::value(value)?;
        let fine = text.is_ascii() && text.split_once('/').is_some_and(|(kind, _)| field::is_token(kind));
        if fine {
            Ok(text.to_owned())
        } else {
            Err(values::wanted(value.value(), "a media type, such as \"text/html\""))
        }
    });
    if let Some(field) = section.field("body").filter(|_| [204, 205, 304].contains(&status) && !body.pieces.is_empty())
    {
        field.wrong(Wrong::new(format!("an answer with status {status} has no body")).help("take `body` out"));
    }
    Some(Respond { status: u16::try_from(status).expect("at most 599"), body, content_type })
}
