//! `retry` of a pool: how often, after what, and within which budget.

use super::super::{
    Retry, keys,
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
    retry.attempts = small(section.read("attempts", retry.attempts as usize, values::count(0..=MAX_ATTEMPTS)));
    if section.field("on").is_some() {
        let on = section.list("on", on);
        retry.on_connect = on.contains(&On::Connect);
        retry.on_reset = on.contains(&On::Reset);
        retry.on_timeout = on.contains(&On::Timeout);
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

fn on(field: &Field<'_>) -> Result<On, Wrong> {
    let text = match field.value().as_integer() {
        Some(number) => number.to_string(),
        None => values::text(field, "\"connect\", \"reset\" or \"timeout\"")?.to_owned(),
    };
    let status = text.len() == 3 && text.starts_with(|first: char| first.is_ascii_digit());
    if status || text.starts_with("grpc:") || text == "retriable_status_codes" {
        let wrong =
            Wrong::new(format!("{} is not supported yet, wanted \"connect\", \"reset\" or \"timeout\"", quoted(&text)));
        return Err(wrong.help("this build retries where no response came: take it out"));
    }
    values::choice(WORDS, &[], PEERS)(field)
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
