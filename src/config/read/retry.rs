//! `retry` of a pool: how often, after what, and within which budget.

use std::ops::RangeInclusive;

use super::super::{
    GRPC_STATUSES, Retry, Statuses,
    keys::{self, nearest},
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// Whoever wants more attempts wants another backend.
const MAX_ATTEMPTS: u64 = 100;
const MAX_FLOOR: u64 = 1_000_000;
/// Per request, in memory.
const MAX_BUFFER: u64 = 64 << 20;

/// What a retry may be for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Connect,
    Reset,
    Timeout,
    /// A gRPC status, by its code.
    Grpc(u8),
    /// A status, or all of the hundred that begin with it.
    Status(u16, u16),
}

const WORDS: &[(&str, On)] = &[("connect", On::Connect), ("reset", On::Reset), ("timeout", On::Timeout)];
const PEERS: &[(&str, &str)] = &[
    ("connect_failure", "connect"),
    ("conn_failure", "connect"),
    ("error", "reset"),
    ("empty_response", "reset"),
    ("junk_response", "reset"),
    ("refused_stream", "reset"),
    ("response_timeout", "timeout"),
];

/// `retry` of `pool`, or its defaults.
pub(super) fn retry(pool: &Section<'_>) -> Retry {
    let mut retry = Retry::default();
    let Some(section) = pool.section("retry", &keys::RETRY) else { return retry };
    let small = |number: usize| u32::try_from(number).expect("the ranges fit");
    retry.attempts = small(section.read("attempts", retry.attempts as usize, values::count_or_off(MAX_ATTEMPTS)));
    if section.field("on").is_some() {
        let on = section.list("on", on);
        retry.on_connect = on.contains(&On::Connect);
        retry.on_reset = on.contains(&On::Reset);
        retry.on_timeout = on.contains(&On::Timeout);
        retry.on_status = Statuses::of(on.iter().filter_map(statuses));
        retry.on_grpc = on.iter().fold(0, |bits, on| if let On::Grpc(code) = on { bits | 1 << code } else { bits });
    }
    retry.idempotency_key = section.read("idempotency_key", retry.idempotency_key, values::flag);
    retry.non_idempotent = section.read("non_idempotent", retry.non_idempotent, values::flag);
    if let Some(field) = section.field("non_idempotent").filter(|_| retry.non_idempotent) {
        let wrong = Wrong::new("a POST may be carried out twice: where a backend fails, it is sent to another one");
        field.warn(wrong.help("with idempotency_key = true, only requests with an Idempotency-Key are"));
    }
    backoff(&section, &mut retry);
    retry.budget = section.read("budget", retry.budget, values::share);
    retry.budget_floor = small(section.read("budget_floor", retry.budget_floor as usize, values::count(0..=MAX_FLOOR)));
    retry.buffer = section.read("buffer", retry.buffer, buffer);
    retry
}

fn backoff(retry: &Section<'_>, read: &mut Retry) {
    let Some(section) = retry.section("backoff", &keys::BACKOFF) else { return };
    read.backoff_base = section.read("base", read.backoff_base, values::delay);
    // A base alone that is above the default bound raises it: nobody wants the bound to win unseen.
    read.backoff_max = section.read("max", read.backoff_max.max(read.backoff_base), values::delay);
    if let Some(max) = section.field("max").filter(|_| read.backoff_max < read.backoff_base) {
        max.wrong(values::wanted(max.value(), "a duration of at least `base`").help("it is where the backoff ends"));
    }
}

fn statuses(on: &On) -> Option<RangeInclusive<u16>> {
    if let On::Status(first, last) = *on { Some(first..=last) } else { None }
}

fn on(field: &Field<'_>) -> Result<On, Wrong> {
    const WHAT: &str = "\"connect\", \"reset\", \"timeout\", a status such as \"503\", \"5xx\" or \"grpc:NAME\"";
    let text = match field.value().as_integer() {
        Some(number) => number.to_string(),
        None => values::text(field, WHAT)?.to_owned(),
    };
    if let Some(name) = text.strip_prefix("grpc:") {
        return grpc(field, name);
    }
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return status(&text).ok_or_else(|| {
            let wrong = Wrong::new(format!("found {}, wanted {WHAT}", quoted(&text)));
            wrong.help("a status that is tried again is one of a failure: 400 to 599, or all of \"4xx\" or \"5xx\"")
        });
    }
    values::choice(WORDS, &[], PEERS)(field).map_err(|wrong| {
        let message = values::wanted(field.value(), WHAT).message;
        let help = status_of_grpc(&text).map(|meant| format!("did you mean \"grpc:{meant}\"?"));
        let help = help.or_else(|| statuses_of_peers(&text).map(|meant| format!("did you mean {meant}?")));
        Wrong { message, help: help.or(wrong.help), ..wrong }
    })
}

/// `"503"`, `"5xx"`.
fn status(text: &str) -> Option<On> {
    match text {
        "4xx" => Some(On::Status(400, 499)),
        "5xx" => Some(On::Status(500, 599)),
        number => number.parse().ok().filter(|status| (400..=599).contains(status)).map(|one| On::Status(one, one)),
    }
}

/// What nginx (`http_503`) and Envoy (`gateway-error`) call them.
fn statuses_of_peers(text: &str) -> Option<String> {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    match plain.as_str() {
        "gateway_error" => Some("\"502\", \"503\", \"504\"".to_owned()),
        "retriable_status_codes" | "retriable_4xx" => Some("the statuses themselves, such as \"503\"".to_owned()),
        _ => plain.strip_prefix("http_").filter(|text| status(text).is_some()).map(quoted),
    }
}

fn grpc(field: &Field<'_>, name: &str) -> Result<On, Wrong> {
    match GRPC_STATUSES.iter().zip(0_u8..).find(|(known, _)| **known == name) {
        Some((_, 0)) => {
            let wrong = values::wanted(field.value(), "the gRPC status of a failure");
            Err(wrong.help("a call that went well is not made again: take it out"))
        }
        Some((_, code)) => Ok(On::Grpc(code)),
        None => {
            let wrong = values::wanted(field.value(), "the name of a gRPC status");
            Err(match status_of_grpc(name).or_else(|| nearest(name, GRPC_STATUSES.into_iter())) {
                Some(meant) => wrong.help(format!("did you mean \"grpc:{meant}\"?")),
                None => wrong.help(format!("they are: {}", GRPC_STATUSES[1..].join(", "))),
            })
        }
    }
}

/// The status that `text` is, as others write it: `UNAVAILABLE`, `resource-exhausted`, `14`.
fn status_of_grpc(text: &str) -> Option<&'static str> {
    let plain = text.to_ascii_lowercase().replace(['-', ' '], "_");
    let plain = if plain == "canceled" { "cancelled" } else { plain.as_str() };
    let by_code = || GRPC_STATUSES.get(text.parse::<usize>().ok()?).copied();
    let squeezed = |name: &&str| name.replace('_', "") == plain;
    GRPC_STATUSES
        .into_iter()
        .find(|name| *name == plain)
        .or_else(|| GRPC_STATUSES.into_iter().find(squeezed))
        .or_else(by_code)
}

/// 0 and `"off"`: no body is kept.
fn buffer(field: &Field<'_>) -> Result<usize, Wrong> {
    match values::size_limit(field)? {
        None => Ok(0),
        Some(size) if size <= MAX_BUFFER => Ok(usize::try_from(size).expect("MAX_BUFFER fits")),
        Some(_) => {
            Err(values::wanted(field.value(), "a size up to 64MiB").help("it is kept in memory for each request"))
        }
    }
}
