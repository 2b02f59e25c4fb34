//! `health_check` of a pool: a table, several, or none at all.

use std::time::Duration;

use toml::de::DeValue;

use super::super::{
    BodyMatch, GrpcProbe, HealthCheck, HttpProbe, Probe, field, keys,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// Keys that say what is sent or expected: a connection alone has neither.
const OF_HTTP: [&str; 9] =
    ["path", "method", "body", "host", "headers", "reuse", "expect_status", "expect_body", "expect_json"];
/// More checks in a row than this are hours.
const MAX_THRESHOLD: u64 = 1000;

/// `type`
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Grpc,
    Off,
}

impl Kind {
    fn word(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

const KINDS: &[(&str, Kind)] =
    &[("tcp", Kind::Tcp), ("http", Kind::Http), ("https", Kind::Https), ("grpc", Kind::Grpc), ("off", Kind::Off)];
const PEERS: &[(&str, &str)] = &[
    ("none", "off"),
    ("false", "off"),
    ("http1", "http"),
    ("httpchk", "http"),
    ("h2", "http"),
    ("connect", "tcp"),
    ("ssl", "https"),
    ("tls", "https"),
    ("grpc_health", "grpc"),
    ("grpc.health.v1", "grpc"),
];

/// The checks of `pool`; by default one by TCP.
pub(super) fn checks(pool: &Section<'_>) -> Vec<HealthCheck> {
    let Some(field) = pool.field("health_check") else { return vec![HealthCheck::tcp()] };
    let fields = field.list();
    if fields.is_empty() {
        field.wrong(Wrong::new("found an empty list, wanted a check").help("write { type = \"off\" } for no check"));
    }
    let mut checks = Vec::new();
    for field in &fields {
        match check(field) {
            Some((Kind::Off, _)) if fields.len() > 1 => {
                let wrong = Wrong::new("type = \"off\" stands beside other checks");
                field.wrong(wrong.help("write it alone for no check, or take it out"));
            }
            Some((Kind::Off, _)) | None => {}
            Some((_, check)) => checks.push(check),
        }
    }
    checks
}

fn check(field: &Field<'_>) -> Option<(Kind, HealthCheck)> {
    if field.value().as_str().is_some() || field.value().as_bool().is_some() {
        let help = "write health_check = { type = \"off\" } for none, or { type = \"http\", path = \"/health\" }";
        field.wrong(values::wanted(field.value(), "a table").help(help));
        return None;
    }
    let section = field.section(&keys::HEALTH_CHECK)?;
    let written = section.field("type");
    let kind = match &written {
        Some(field) => field.read(values::choice(KINDS, &[], PEERS)),
        None => Some(Kind::Tcp),
    };
    let mut check = timing(&section);
    let http = http(&section);
    let grpc = GrpcProbe { service: section.read("service", String::new(), service), host: http.host.clone() };
    let kind = kind?;
    match kind {
        Kind::Http | Kind::Https => {
            check.probe = Probe::Http(Box::new(HttpProbe { tls: kind == Kind::Https, ..http }));
        }
        Kind::Grpc => check.probe = Probe::Grpc(grpc),
        Kind::Tcp | Kind::Off => {}
    }
    useless(&section, kind, written.is_some());
    Some((kind, check))
}

/// What checks of every type have.
fn timing(section: &Section<'_>) -> HealthCheck {
    let default = HealthCheck::tcp();
    let threshold = |key, default: u32| {
        let count = section.read(key, default as usize, values::count(1..=MAX_THRESHOLD));
        u32::try_from(count).expect("MAX_THRESHOLD fits")
    };
    let port = section.read("port", 0, values::count(0..=65_535));
    let states = &[("up", true), ("down", false)];
    let peers = &[("healthy", "up"), ("unhealthy", "down")];
    let check = HealthCheck {
        probe: Probe::Tcp,
        port: u16::try_from(port).expect("the range is that of a port"),
        interval: section.read("interval", default.interval, values::period),
        interval_down: section.read("interval_down", default.interval_down, values::period),
        timeout: section.read("timeout", default.timeout, values::period),
        healthy_threshold: threshold("healthy_threshold", default.healthy_threshold),
        unhealthy_threshold: threshold("unhealthy_threshold", default.unhealthy_threshold),
        initially_up: section.read("initial_state", default.initially_up, values::choice(states, &[], peers)),
        slow_after: section.read("slow_after", default.slow_after, values::timeout),
    };
    let late = |slow: &Duration| *slow >= check.timeout;
    if let (Some(field), Some(_)) = (section.field("slow_after"), check.slow_after.as_ref().filter(|slow| late(slow))) {
        let wrong = values::wanted(field.value(), "a duration below `timeout`");
        field.wrong(wrong.help("a check that takes as long as that fails"));
    }
    check
}

/// Reports what a check of this type has no use for.
fn useless(section: &Section<'_>, kind: Kind, written: bool) {
    let wrong = |key: &str, why: &str, help: &str| {
        let Some(field) = section.field(key) else { return };
        let default = if written { "" } else { ", the default" };
        let word = kind.word();
        let wrong = Wrong::new(format!("`{key}` has no meaning for a check of type \"{word}\"{default}{why}"));
        field.wrong(wrong.help(help));
    };
    if kind == Kind::Tcp {
        OF_HTTP.iter().for_each(|key| wrong(key, ": nothing is sent", "write type = \"http\" as well"));
    }
    if kind == Kind::Grpc {
        let of_grpc = |key: &&&str| **key != "host";
        let help = "the request and the answer are those of grpc.health.v1: take it out";
        OF_HTTP.iter().filter(of_grpc).for_each(|key| wrong(key, "", help));
    }
    if !matches!(kind, Kind::Grpc | Kind::Off) {
        wrong("service", "", "write type = \"grpc\" as well");
    }
}

/// Empty = the server as a whole.
fn service(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "the full name of a service, such as \"shop.v1.Orders\"";
    let text = values::text(field, WHAT)?;
    // Names are by convention of a package and a service, but a server may register what it likes.
    if text.len() <= 255 && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(values::wanted(field.value(), WHAT).help("leave it out to ask for the server as a whole"))
}

fn http(section: &Section<'_>) -> HttpProbe {
    let status = section.list("expect_status", status);
    HttpProbe {
        tls: false,
        path: section.read("path", "/".into(), path),
        method: section.read("method", "GET".into(), method),
        body: section.read("body", None, |field| values::text(field, "text").map(|text| Some(text.to_owned()))),
        host: section.read("host", None, host),
        headers: headers(section),
        reuse: section.read("reuse", false, values::flag),
        expect_status: if status.is_empty() { vec![(200, 299)] } else { status },
        expect_body: section.field("expect_body").and_then(|field| expect_body(&field)),
        expect_json: expect_json(section),
    }
}

/// Sent as it stands.
pub(super) fn path(field: &Field<'_>) -> Result<String, Wrong> {
    const WHAT: &str = "a path, which begins with `/`";
    let text = values::text(field, WHAT)?;
    let wrong = values::wanted(field.value(), WHAT);
    if !text.starts_with('/') {
        return Err(match text.split_once("://") {
            Some((_, rest)) => wrong.help(format!("write {}", quoted(rest.find('/').map_or("/", |at| &rest[at..])))),
            None => wrong.help(format!("write {}", quoted(&format!("/{text}")))),
        });
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Ok(text.to_owned());
    }
    Err(values::wanted(field.value(), "a path as it is sent")
        .help("no white space, no `#`, and other letters as `%` and two digits each"))
}

fn method(value: &Field<'_>) -> Result<String, Wrong> {
    match field::method(value)? {
        method if method == "CONNECT" => {
            Err(values::wanted(value.value(), "a method with an answer").help("write \"GET\" or \"OPTIONS\""))
        }
        method => Ok(method),
    }
}

fn host(field: &Field<'_>) -> Result<Option<String>, Wrong> {
    const WHAT: &str = "a host, such as \"api.internal\"";
    let text = values::text(field, WHAT)?;
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if !text.is_empty() && text.len() <= 255 && text.bytes().all(fine) {
        return Ok(Some(text.to_owned()));
    }
    Err(values::wanted(field.value(), WHAT).help("it is sent as it stands in the header Host"))
}

fn headers(section: &Section<'_>) -> Vec<(String, String)> {
    let Some(table) = section.field("headers") else { return Vec::new() };
    if !table.value().is_table() {
        table.wrong(values::wanted(table.value(), "a table").help("write headers = { x-check = \"evenkeel\" }"));
    }
    let mut headers = Vec::new();
    for (name, value) in table.entries() {
        match field::editable(name) {
            Ok(name) => headers.extend(value.read(field::value).map(|value| (name, value.to_owned()))),
            Err(_) if name.eq_ignore_ascii_case("host") => {
                value
                    .wrong_name(Wrong::new("`host` is a key of the check").help("write host = \"…\" beside `headers`"));
            }
            Err(wrong) => value.wrong_name(Wrong { help: None, ..wrong }),
        }
    }
    headers
}

/// A status or a range of them.
fn status(field: &Field<'_>) -> Result<(u16, u16), Wrong> {
    const WHAT: &str = "a status or a range: 200 or \"200-299\"";
    let text = match field.value() {
        DeValue::Integer(number) => number.to_string(),
        _ => values::text(field, WHAT)?.to_owned(),
    };
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|status| (100..=599).contains(status) && text.len() == 3);
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        _ => {
            let wrong = values::wanted(field.value(), WHAT);
            Err(match text.as_bytes() {
                [class @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                    let class = char::from(*class);
                    wrong.help(format!("write \"{class}00-{class}99\""))
                }
                _ => wrong.help("a status is 100 to 599, and a range goes from the lower to the higher"),
            })
        }
    }
}

fn expect_body(field: &Field<'_>) -> Option<BodyMatch> {
    if !field.value().is_table() {
        return field.read(|field| match values::text(field, "text or { regex = \"…\" }")? {
            "" => Err(values::wanted(field.value(), "text that the body must hold").help("take it out for any body")),
            text => Ok(BodyMatch::Contains(text.to_owned())),
        });
    }
    let section = field.section(&keys::BODY)?;
    let Some(regex) = section.field("regex") else {
        section.missing("regex", Wrong::new("found a table without `regex`").help("write { regex = \"ok|fine\" }"));
        return None;
    };
    regex.read(values::regex).map(|regex| BodyMatch::Regex(regex.as_str().to_owned()))
}

fn expect_json(section: &Section<'_>) -> Vec<(String, serde_json::Value)> {
    let Some(table) = section.field("expect_json") else { return Vec::new() };
    if !table.value().is_table() {
        let help = "write expect_json = { status = \"healthy\", \"checks.database\" = \"connected\" }";
        table.wrong(values::wanted(table.value(), "a table").help(help));
    }
    let mut places = Vec::new();
    json_places("", &table, &mut places);
    places
}

/// `"a.b" = 1`, `a.b = 1` and `a = { b = 1 }` are the same place.
fn json_places(path: &str, table: &Field<'_>, places: &mut Vec<(String, serde_json::Value)>) {
    for (name, field) in table.entries() {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if name.split('.').any(str::is_empty) {
            field.wrong_name(Wrong::new(format!("found {}, wanted names parted by one dot each", quoted(name))));
        } else if field.value().is_table() {
            json_places(&path, &field, places);
        } else {
            places.extend(field.read(json).map(|value| (path, value)));
        }
    }
}

fn json(field: &Field<'_>) -> Result<serde_json::Value, Wrong> {
    let wrong = || values::wanted(field.value(), "text, a number, `true` or `false`");
    match field.value() {
        DeValue::String(text) => Ok(text.as_ref().into()),
        DeValue::Boolean(yes) => Ok((*yes).into()),
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| wrong())?;
            Ok(number.into())
        }
        DeValue::Float(number) => {
            let number: f64 = number.as_str().parse().map_err(|_| wrong())?;
            serde_json::Number::from_f64(number).map(Into::into).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}
