//! `[[test]]`: what is asked about, and what is expected.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::{
    super::{
        Expect, Sample, Test, Text, Wanted, Who, field, keys,
        keys::nearest,
        report::Wrong,
        section::{Document, Field, Section},
        units::quoted,
        values,
    },
    route,
};

const STATUSES: RangeInclusive<u64> = 100..=599;

/// All of them, file by file. Names of routes are looked up where `routes` could be read; `pools` are names, too.
pub(super) fn tests(document: &Document<'_>, routes: Option<&BTreeSet<&str>>, pools: &BTreeSet<String>) -> Vec<Test> {
    let fields: Vec<_> = document.written("test").iter().flat_map(Field::list).collect();
    fields.iter().filter_map(|field| test(field, routes, pools)).collect()
}

/// `None`: it cannot be built, which has been reported.
fn test(field: &Field<'_>, routes: Option<&BTreeSet<&str>>, pools: &BTreeSet<String>) -> Option<Test> {
    let section = field.section(&keys::TEST)?;
    let name = section.field("name").and_then(|field| field.read(values::name));
    let request = match section.field("request") {
        Some(field) => request(&field),
        None => {
            let wrong = Wrong::new("nothing says what is asked about");
            section.missing("request", wrong.help("write request = { url = \"https://api.example.com/v1/x\" }"));
            None
        }
    };
    let expect = match section.field("expect") {
        Some(field) => expect(&field, routes, pools),
        None => {
            let wrong = Wrong::new("nothing is expected");
            section.missing("expect", wrong.help("write expect = { route = \"api\" }, for example"));
            None
        }
    };
    let (request, expect) = (request?, expect?);
    let url = |request: &Sample| match (request.https, &request.authority) {
        (Some(https), Some(host)) => format!("http{}://{host}{}", if https { "s" } else { "" }, request.target),
        (_, host) => format!("{}{}", host.as_deref().unwrap_or_default(), request.target),
    };
    let name = name.unwrap_or_else(|| format!("{} {}", request.method, url(&request)));
    Some(Test { name, request, expect })
}

fn request(field: &Field<'_>) -> Option<Sample> {
    let section = field.section(&keys::SAMPLE)?;
    let method = section.read("method", "GET".to_owned(), field::method);
    let headers = headers(&section);
    let from = section.read("from", Who::default(), |field| {
        let text = values::text(field, "an IP address or \"unix\"")?;
        Who::parse(text).map_err(|what| values::wanted(field.value(), &what))
    });
    let Some(url) = section.field("url") else {
        let wrong = Wrong::new("nothing says what is asked for");
        section.missing("url", wrong.help("write url = \"https://api.example.com/v1/x\", or a path alone"));
        return None;
    };
    url.read(|field| {
        let text = values::text(field, "a URL")?;
        Sample::new(&method, text, headers, from).map_err(Wrong::new)
    })
}

/// Names and values; several of one name as a list.
fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let Some(table) = section.field("headers") else { return Vec::new() };
    if !table.value().is_table() {
        let wrong = values::wanted(table.value(), "a table of names and values");
        table.wrong(wrong.help("write headers = { accept = \"text/html\" }"));
    }
    let mut headers = Vec::new();
    for (written, field) in table.entries() {
        if !field::is_token(written) {
            field.wrong_name(Wrong::new(format!("found {}, wanted the name of a header", quoted(written))));
            continue;
        }
        let values = field.list();
        let values = values.iter().filter_map(|field| field.read(field::value));
        headers.extend(values.map(|value| (written.to_owned(), value.to_owned())));
    }
    headers
}

fn expect(field: &Field<'_>, routes: Option<&BTreeSet<&str>>, pools: &BTreeSet<String>) -> Option<Expect> {
    let section = field.section(&keys::EXPECT)?;
    if field.entries().is_empty() {
        field.wrong(Wrong::new("nothing is expected").help("write expect = { route = \"api\" }, for example"));
    }
    let pools: BTreeSet<&str> = pools.iter().map(String::as_str).collect();
    Some(Expect {
        route: named(&section, "route", routes),
        pool: named(&section, "pool", Some(&pools)),
        status: one(&section, "status", |field| values::count(STATUSES)(field).map(|status| status as u16)),
        location: one(&section, "location", |field| values::text(field, "where it is sent").map(str::to_owned)),
        headers: fields(&section),
    })
}

fn one<'a, T>(
    section: &Section<'a>,
    key: &str,
    parse: impl FnOnce(&Field<'a>) -> Result<T, Wrong>,
) -> Option<Wanted<T>> {
    let field = section.field(key)?;
    field.read(parse).map(|value| Wanted::new(value, &field))
}

/// The name of something that there is, if it is known what there is.
fn named(section: &Section<'_>, key: &'static str, all: Option<&BTreeSet<&str>>) -> Option<Wanted<String>> {
    one(section, key, |field| {
        let text = values::text(field, &format!("the name of a {key}"))?;
        let Some(all) = all.filter(|all| !all.contains(text)) else { return Ok(text.to_owned()) };
        let wrong = Wrong::new(format!("there is no {key} {}", quoted(text))).missed();
        Err(match nearest(text, all.iter().copied()) {
            Some(meant) => wrong.help(format!("did you mean {}?", quoted(meant))),
            None if all.is_empty() => wrong,
            None => {
                let some: Vec<_> = all.iter().take(8).map(|name| quoted(name)).collect();
                let more = if all.len() > some.len() { ", …" } else { "" };
                wrong.help(format!("there are {}{more}", some.join(", ")))
            }
        })
    })
}

/// Fields of the answer.
fn fields(section: &Section<'_>) -> Vec<(String, Wanted<Text>)> {
    let Some(table) = section.field("header") else { return Vec::new() };
    if !table.value().is_table() {
        let wrong = values::wanted(table.value(), "a table of names and what they must be");
        table.wrong(wrong.help("write header = { cache-control = \"no-store\" }"));
    }
    let mut fields = Vec::new();
    for (written, field) in table.entries() {
        let text = route::text(&field);
        match field::name(written) {
            Ok(name) => fields.extend(text.map(|text| (name, Wanted::new(text, &field)))),
            Err(wrong) => field.wrong_name(wrong),
        }
    }
    fields
}
