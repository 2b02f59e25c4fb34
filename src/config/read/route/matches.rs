//! Predicates of a route: every one that is written must hold, and of a list one element.

use ipnet::IpNet;

use super::super::{
    super::{
        HostMatch, PathMatch, Text, field, host, keys,
        keys::nearest,
        network, path,
        report::Wrong,
        section::{Field, Section},
        units::quoted,
        values,
    },
    Names,
};

/// `listener`
pub(super) fn listeners(route: &Section<'_>, names: &Names) -> Vec<String> {
    some(route, "listener", |field| {
        field.read(|field| {
            let text = values::text(field, "the name of a listener")?;
            if names.listeners.contains(text) {
                return Ok(text.to_owned());
            }
            let wrong = Wrong::new(format!("there is no listener {}", quoted(text))).missed();
            Err(match nearest(text, names.listeners.iter().map(String::as_str)) {
                Some(meant) => wrong.help(format!("did you mean {}?", quoted(meant))),
                None => wrong.help("a listener's name is its `name`, or else its address as written"),
            })
        })
    })
}

/// `host`
pub(super) fn hosts(route: &Section<'_>) -> Vec<HostMatch> {
    some(route, "host", |field| field.read(host::host))
}

/// `path`
pub(super) fn paths(route: &Section<'_>) -> Vec<PathMatch> {
    some(route, "path", path::path)
}

/// `method`
pub(super) fn methods(route: &Section<'_>) -> Vec<String> {
    some(route, "method", |field| field.read(field::method))
}

/// `client_ip`
pub(super) fn client_ip(route: &Section<'_>) -> Vec<IpNet> {
    some(route, "client_ip", |field| field.read(network::network))
}

/// `header`
pub(super) fn headers(route: &Section<'_>) -> Vec<(String, Text)> {
    const EXAMPLE: &str = "write header = { x-tier = \"gold\" }";
    pairs(route, "header", EXAMPLE, field::matchable)
}

/// `cookie`
pub(super) fn cookies(route: &Section<'_>) -> Vec<(String, Text)> {
    pairs(route, "cookie", "write cookie = { plan = \"premium\" }", |name| {
        if field::is_token(name) {
            return Ok(name.to_owned());
        }
        Err(Wrong::new(format!("found {}, wanted the name of a cookie", quoted(name))))
    })
}

/// `query`
pub(super) fn query(route: &Section<'_>) -> Vec<(String, Text)> {
    pairs(route, "query", "write query = { beta = \"1\" }", |name| Ok(name.to_owned()))
}

/// The list at `key`; reported if nothing is in it, which would match nothing.
fn some<T>(route: &Section<'_>, key: &str, read: impl FnMut(&Field<'_>) -> Option<T>) -> Vec<T> {
    let Some(field) = route.field(key) else { return Vec::new() };
    let fields = field.list();
    if fields.is_empty() {
        let wrong = Wrong::new("found an empty list, wanted at least one element");
        field.wrong(wrong.help(format!("for any {key}, leave it out")));
    }
    fields.iter().filter_map(read).collect()
}

/// The table at `key`, by names that `name` makes of what is written.
fn pairs(
    route: &Section<'_>,
    key: &str,
    example: &str,
    name: impl Fn(&str) -> Result<String, Wrong>,
) -> Vec<(String, Text)> {
    let Some(table) = route.field(key) else { return Vec::new() };
    if !table.value().is_table() {
        table.wrong(values::wanted(table.value(), "a table of names and what they must be").help(example));
    }
    let mut seen: Vec<(String, Field<'_>)> = Vec::new();
    let mut pairs = Vec::new();
    for (written, field) in table.entries() {
        let text = text(&field);
        match name(written) {
            Ok(name) if seen.iter().any(|(other, _)| *other == name) => {
                let first = seen.iter().find(|(other, _)| *other == name).map_or(&field, |(_, first)| first);
                field.clash(Wrong::new(format!("`{name}` stands here twice")).help("keep one of them"), first);
            }
            Ok(name) => {
                seen.push((name.clone(), field));
                pairs.extend(text.map(|text| (name, text)));
            }
            Err(wrong) => field.wrong_name(wrong),
        }
    }
    pairs
}

/// Text that is matched: a string, or a table with one word.
pub(in super::super) fn text(field: &Field<'_>) -> Option<Text> {
    if !field.value().is_table() {
        return field.read(|field| match values::text(field, "text or a table") {
            Ok(text) => Ok(Text::Equal(text.to_owned())),
            Err(wrong) if field.value().as_bool() == Some(true) => Err(wrong.help("write { present = true }")),
            Err(wrong) if field.value().as_bool() == Some(false) => Err(wrong.help("write { absent = true }")),
            Err(wrong) => Err(wrong),
        });
    }
    let section = field.section(&keys::TEXT)?;
    let written: Vec<_> = keys::TEXT.known.iter().filter_map(|key| Some((*key, section.field(key)?))).collect();
    let [(key, value)] = written.as_slice() else {
        if let [(_, first), (_, second), ..] = written.as_slice() {
            second.clash(Wrong::new("text is matched in one way").help("keep one of them"), first);
        } else if !section.meant(keys::TEXT.known) {
            let wrong = Wrong::new("found a table that says nothing, wanted what is matched");
            field.wrong(wrong.help(format!("write {}", keys::TEXT.example)));
        }
        return None;
    };
    match *key {
        "regex" => value.read(values::regex).map(|regex| Text::Regex(regex.as_str().to_owned())),
        "prefix" => value.read(prefix),
        "present" => value.read(|field| yes(field, "{ absent = true }")).map(|()| Text::Present),
        _ => value.read(|field| yes(field, "{ present = true }")).map(|()| Text::Absent),
    }
}

fn prefix(field: &Field<'_>) -> Result<Text, Wrong> {
    match values::text(field, "the beginning of a text")? {
        "" => Err(values::wanted(field.value(), "the beginning of a text").help("write { present = true } for any")),
        text => Ok(Text::Prefix(text.to_owned())),
    }
}

/// `true`, since the other way round has a word of its own.
fn yes(field: &Field<'_>, opposite: &str) -> Result<(), Wrong> {
    if values::flag(field)? {
        return Ok(());
    }
    Err(values::wanted(field.value(), "`true`").help(format!("write {opposite}")))
}
