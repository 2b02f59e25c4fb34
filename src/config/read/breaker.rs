//! `circuit_breaker` and `outlier` of a pool: what counts as a failure, how much of it is too much, and for how long.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::super::{
    BreakerScope, CircuitBreaker, Outlier, Pool, Statuses, keys,
    report::Wrong,
    section::{Field, Section},
    units::quoted,
    values,
};

/// More than this is nobody's window.
const MAX_COUNT: u64 = 1_000_000;
/// More trials than this are traffic.
const MAX_TRIALS: u64 = 1000;
/// What an outlier is further than this from is another planet.
const MAX_FACTOR: f64 = 1000.0;

const SCOPES: &[(&str, BreakerScope)] = &[("backend", BreakerScope::Backend), ("pool", BreakerScope::Pool)];
const PEERS_SCOPE: &[(&str, &str)] =
    &[("endpoint", "backend"), ("host", "backend"), ("server", "backend"), ("cluster", "pool"), ("service", "pool")];

/// What may be a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Connect,
    Reset,
    Timeout,
    /// Answers with these statuses.
    Status(u16, u16),
}

const WORDS: &[(&str, On)] = &[("connect", On::Connect), ("reset", On::Reset), ("timeout", On::Timeout)];
const PEERS_ON: &[(&str, &str)] = &[
    ("connect_failure", "connect"),
    ("layer4", "connect"),
    ("error", "reset"),
    ("empty_response", "reset"),
    ("junk_response", "reset"),
    ("response_timeout", "timeout"),
];

/// `circuit_breaker` of `pool`, or its defaults.
pub(super) fn circuit_breaker(pool: &Section<'_>) -> CircuitBreaker {
    let mut read = CircuitBreaker::default();
    let Some(section) = pool.section("circuit_breaker", &keys::CIRCUIT_BREAKER) else { return read };
    let small = |number: usize| u32::try_from(number).expect("the ranges fit");
    read.enabled = section.read("enabled", read.enabled, values::flag);
    read.scope = section.read("scope", read.scope, values::choice(SCOPES, &[], PEERS_SCOPE));
    if section.field("on").is_some() {
        let on = section.list("on", on);
        read.on_connect = on.contains(&On::Connect);
        read.on_reset = on.contains(&On::Reset);
        read.on_timeout = on.contains(&On::Timeout);
        read.on_status = Statuses::of(on.iter().filter_map(statuses));
    }
    read.consecutive_failures = section.read("consecutive_failures", read.consecutive_failures, |field| {
        match values::limit(field)?.map(u32::try_from) {
            None => Ok(None),
            Some(Ok(number)) if u64::from(number) <= MAX_COUNT => Ok(Some(number)),
            Some(_) => Err(values::wanted(field.value(), "a number up to 1000000 or \"off\"")),
        }
    });
    let rate = |field: &Field<'_>| values::share(field).map(|share| (share > 0.0).then_some(share));
    read.failure_rate = section.read("failure_rate", read.failure_rate, rate);
    read.min_requests = small(section.read("min_requests", read.min_requests as usize, values::count(1..=MAX_COUNT)));
    read.window = section.read("window", read.window, values::period);
    lengths(&section, &mut read);
    let trials = section.read("half_open_requests", read.half_open_requests as usize, values::count(1..=MAX_TRIALS));
    read.half_open_requests = small(trials);
    read.max_ejected = section.read("max_ejected", read.max_ejected, max_ejected);
    doubt(&read, &section);
    read
}

/// `open_for`, and what it grows to.
fn lengths(section: &Section<'_>, read: &mut CircuitBreaker) {
    let open = section.field("open_for");
    let first = open.as_ref().map_or(Some(read.open_for), |field| field.read(values::period));
    read.open_for = first.unwrap_or(read.open_for);
    // A first time that is above the default bound raises it.
    read.open_for_max = section.read("open_for_max", read.open_for_max.max(read.open_for), values::period);
    let too_short = first.is_some_and(|first| read.open_for_max < first);
    let Some(max) = section.field("open_for_max").filter(|_| too_short) else { return };
    let wanted = |which: &str| {
        let wrong = values::wanted(max.value(), &format!("a duration of at least `open_for`, which is {which}"));
        wrong.help("it is where the doubling ends: write a longer one, or a shorter `open_for`")
    };
    match open {
        Some(open) => {
            let text = quoted(open.value().as_str().unwrap_or_default());
            max.wrong_because(wanted(&text), &open, "so long the first time");
        }
        None => max.wrong(wanted(&format!("\"{}s\" where it is not written", read.open_for.as_secs()))),
    }
}

/// `"off"` is no bound. 0 could mean that, or nobody, and is refused.
fn max_ejected(field: &Field<'_>) -> Result<f64, Wrong> {
    const HELP: &str = "write \"off\" for no bound, or \"0%\" so that nobody is ever ejected";
    match field.value() {
        DeValue::String(text) if text == "off" => Ok(1.0),
        value if value.as_integer().is_some_and(|number| number.as_str() == "0") => {
            Err(values::wanted(value, "a share or \"off\"").help(HELP))
        }
        _ => values::share(field),
    }
}

/// Warns of what never opens, and of what says nothing.
fn doubt(read: &CircuitBreaker, section: &Section<'_>) {
    let nothing = section.field("on").is_some_and(|field| field.list().is_empty());
    let never = nothing || read.consecutive_failures.is_none() && read.failure_rate.is_none();
    let at = ["on", "failure_rate", "consecutive_failures"].into_iter().find_map(|key| section.field(key));
    if let (true, true, Some(field)) = (read.enabled, never, at) {
        let wrong = Wrong::new("this circuit breaker never opens");
        field.warn(wrong.help("write enabled = false if that is meant"));
    }
    let Some(field) = section.field("max_ejected").filter(|_| read.enabled) else { return };
    if read.scope == BreakerScope::Pool {
        let wrong = Wrong::new("`max_ejected` is of scope = \"backend\" alone: it says nothing here");
        field.warn(wrong.help("take it out, or the scope"));
    } else if read.max_ejected <= 0.0 {
        let wrong = Wrong::new("nobody is ever ejected");
        field.warn(wrong.help("write enabled = false if that is meant, or \"off\" for no bound"));
    }
}

fn statuses(on: &On) -> Option<RangeInclusive<u16>> {
    if let On::Status(first, last) = *on { Some(first..=last) } else { None }
}

fn on(field: &Field<'_>) -> Result<On, Wrong> {
    const WHAT: &str = "\"connect\", \"reset\", \"timeout\", \"5xx\" or a status such as \"503\"";
    let text = match field.value() {
        DeValue::Integer(number) => number.to_string(),
        _ => values::text(field, WHAT)?.to_owned(),
    };
    let wrong = || values::wanted(field.value(), WHAT);
    match text.to_ascii_lowercase().as_str() {
        "5xx" => return Ok(On::Status(500, 599)),
        "4xx" => {
            return Err(wrong().help("most of them are clients' mistakes: write those that are not, such as \"429\""));
        }
        _ => {}
    }
    if let (3, Ok(status)) = (text.len(), text.parse::<u16>()) {
        return match status {
            400..=599 => Ok(On::Status(status, status)),
            _ => Err(wrong().help("a status that is a failure is 400 to 599")),
        };
    }
    values::choice(WORDS, &[], PEERS_ON)(field)
        .map_err(|wrong| Wrong { message: values::wanted(field.value(), WHAT).message, ..wrong })
}

/// `outlier` of `pool`: who is one is ejected. `None`: it is told alone, by the defaults.
pub(super) fn outlier(pool: &Section<'_>) -> Option<Outlier> {
    let section = pool.section("outlier", &keys::OUTLIER)?;
    let default = Outlier::default();
    Some(Outlier {
        latency: section.read("latency", default.latency, factor),
        lasts: section.read("for", default.lasts, values::period),
    })
}

/// Warns of outliers that nobody can eject, or find.
pub(super) fn outlier_fits(pool: &Pool, section: &Section<'_>) {
    let Some(field) = section.field("outlier").filter(|_| pool.outlier.is_some()) else { return };
    let why = match &pool.circuit_breaker {
        CircuitBreaker { enabled: false, .. } => "the circuit breaker, which is turned off",
        CircuitBreaker { scope: BreakerScope::Pool, .. } => "the circuit breaker, whose scope is the whole pool",
        _ if pool.discover.is_none() && pool.backends.len() == 1 => {
            let wrong = Wrong::new("an outlier is slower than the others of its pool, and this pool has one backend");
            return field.warn(wrong.help("take it out, or add a backend"));
        }
        _ => return,
    };
    let wrong = Wrong::new(format!("outliers are ejected by {why}"));
    field.warn(wrong.help("take one of the two out: outliers are reported without `outlier`, too"));
}

/// `"3x"`, above 1.
fn factor(field: &Field<'_>) -> Result<f64, Wrong> {
    const WHAT: &str = "how many times the others' median, such as \"3x\"";
    let wrong = || values::wanted(field.value(), WHAT);
    let text = match field.value() {
        DeValue::Integer(number) => return Err(wrong().help(format!("write \"{number}x\""))),
        DeValue::Float(number) => return Err(wrong().help(format!("write \"{}x\"", number.as_str()))),
        _ => values::text(field, WHAT)?,
    };
    let number =
        text.strip_suffix('x').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    match number.and_then(|number| number.parse::<f64>().ok()) {
        Some(factor) if factor > 1.0 && factor <= MAX_FACTOR => Ok(factor),
        Some(_) => Err(wrong().help("it is above \"1x\" and up to \"1000x\"")),
        None => Err(wrong().help("write a number and an x")),
    }
}
