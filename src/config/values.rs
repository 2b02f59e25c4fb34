//! One parser a kind of value: a field in; what it means, or what is wrong with it, out. Used by `read`.
//!
//! `"off"`, `0` and `"0s"` turn a limit off where the result is an `Option`; elsewhere they are refused.

use std::{ops::RangeInclusive, time::Duration};

use regex::bytes::{Regex, RegexBuilder};
use toml::de::{DeInteger, DeValue};

use super::{
    keys::nearest,
    report::Wrong,
    section::Field,
    units::{self, quoted},
};

/// Below a millisecond the timers of the engine do not tell durations apart.
const SHORTEST: Duration = Duration::from_millis(1);
/// A year: what is longer is a slip, or should be `"off"`.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// Bytes of a compiled expression.
pub(crate) const MAX_REGEX: usize = 1 << 20;
/// Larger counts than this are slips; "off" is how to say "no limit".
const MOST: u64 = 1_000_000_000;

/// "found X, wanted Y".
pub(super) fn wanted(value: &DeValue<'_>, what: &str) -> Wrong {
    let found = match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(yes) => format!("`{yes}`"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    };
    Wrong::new(format!("found {found}, wanted {what}"))
}

/// A time that can be turned off.
pub(super) fn timeout(field: &Field<'_>) -> Result<Option<Duration>, Wrong> {
    time(field, "a duration or \"off\"")
}

fn time(field: &Field<'_>, what: &str) -> Result<Option<Duration>, Wrong> {
    let time = match field.value() {
        DeValue::String(text) if text == "off" => return Ok(None),
        DeValue::String(text) => units::duration(text)?,
        DeValue::Integer(number) if integer(number) == Some(0) => return Ok(None),
        value => return Err(no_text(value, what, "s", "\"30s\"")),
    };
    if time.is_zero() {
        return Ok(None);
    }
    if time < SHORTEST {
        return Err(wanted(field.value(), "a duration of at least 1ms").help("write \"1ms\" or more"));
    }
    if time > LONGEST {
        return Err(wanted(field.value(), "a duration of at most a year").help("write \"off\" for no limit"));
    }
    Ok(Some(time))
}

/// A time that cannot be turned off.
pub(super) fn bounded_timeout(field: &Field<'_>) -> Result<Option<Duration>, Wrong> {
    match timeout(field)? {
        None => {
            Err(wanted(field.value(), "a duration: this limit cannot be turned off").help("write \"2s\", for example"))
        }
        some => Ok(some),
    }
}

/// A time to wait, which may be none.
pub(super) fn delay(field: &Field<'_>) -> Result<Duration, Wrong> {
    time(field, "a duration").map(Option::unwrap_or_default)
}

/// A time above 0, which cannot be turned off.
pub(super) fn period(field: &Field<'_>) -> Result<Duration, Wrong> {
    match time(field, "a duration above 0")? {
        None => Err(wanted(field.value(), "a duration above 0").help("write \"5s\", for example")),
        Some(time) => Ok(time),
    }
}

/// A share of the whole, 0 to 1; `"off"` and `0` are none of it.
pub(super) fn share(field: &Field<'_>) -> Result<f64, Wrong> {
    match field.value() {
        DeValue::String(text) if text == "off" => Ok(0.0),
        DeValue::String(text) => units::share(text),
        DeValue::Integer(number) if integer(number) == Some(0) => Ok(0.0),
        DeValue::Float(number) => Err(match number.as_str().parse::<f64>() {
            // Whoever writes 0.2 means a fifth.
            Ok(share) if (0.0..=1.0).contains(&share) => {
                let percent = (share * 1e8).round() / 1e6;
                wanted(field.value(), "a share").help(format!("write \"{percent}%\""))
            }
            _ => no_text(field.value(), "a share", "%", "\"20%\""),
        }),
        value => Err(no_text(value, "a share", "%", "\"20%\"")),
    }
}

/// A number within `range`, which cannot be turned off.
pub(super) fn count(range: RangeInclusive<u64>) -> impl Fn(&Field<'_>) -> Result<usize, Wrong> {
    move |field| {
        let what = format!("a number from {} to {}", range.start(), range.end());
        match number(field.value(), &what)? {
            Some(number) if range.contains(&number) => fit(number, field.value(), &what),
            Some(0) | None => Err(wanted(field.value(), &format!("{what}: this cannot be turned off"))),
            Some(_) => Err(wanted(field.value(), &what)),
        }
    }
}

/// A number up to `most` of something that there may be none of: `"off"` is 0.
pub(super) fn count_or_off(most: u64) -> impl Fn(&Field<'_>) -> Result<usize, Wrong> {
    move |field| match field.value().as_str() {
        Some("off") => Ok(0),
        _ => count(0..=most)(field),
    }
}

/// A number that can be turned off.
pub(super) fn limit(field: &Field<'_>) -> Result<Option<usize>, Wrong> {
    const WHAT: &str = "a number up to 1000000000 or \"off\"";
    match number(field.value(), WHAT)? {
        Some(0) | None => Ok(None),
        Some(number) if number <= MOST => fit(number, field.value(), WHAT).map(Some),
        Some(_) => Err(wanted(field.value(), WHAT).help("write \"off\" for no limit")),
    }
}

/// A number from 1 to `most`, or `"auto"`.
pub(super) fn auto(most: u64) -> impl Fn(&Field<'_>) -> Result<Option<usize>, Wrong> {
    move |field| {
        let what = format!("a number from 1 to {most}, or \"auto\"");
        if field.value().as_str() == Some("auto") {
            return Ok(None);
        }
        match number(field.value(), &what)? {
            Some(number) if (1..=most).contains(&number) => fit(number, field.value(), &what).map(Some),
            _ => Err(wanted(field.value(), &what).help("write \"auto\" to leave the choice to evenkeel")),
        }
    }
}

/// Bytes within `range`, which cannot be turned off.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Field<'_>) -> Result<usize, Wrong> {
    move |field| {
        let what = format!("a size from {} to {}", bytes(*range.start()), bytes(*range.end()));
        match size_limit(field) {
            Ok(Some(size)) if range.contains(&size) => fit(size, field.value(), &what),
            Ok(None) => Err(wanted(field.value(), &format!("{what}: this limit cannot be turned off"))),
            Ok(Some(_)) => Err(wanted(field.value(), &what)),
            Err(wrong) => Err(wrong),
        }
    }
}

/// Bytes, or no limit.
pub(super) fn size_limit(field: &Field<'_>) -> Result<Option<u64>, Wrong> {
    const WHAT: &str = "a size";
    match field.value() {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) => units::size(text).map(|size| (size > 0).then_some(size)),
        DeValue::Integer(_) => Ok(number(field.value(), WHAT)?.filter(|size| *size > 0)),
        value => Err(no_text(value, WHAT, "B", "\"16KiB\"")),
    }
}

/// Bytes per second, or no limit.
pub(super) fn byte_rate(field: &Field<'_>) -> Result<Option<u64>, Wrong> {
    match field.value() {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) => units::byte_rate(text).map(|rate| (rate > 0).then_some(rate)),
        DeValue::Integer(number) if integer(number) == Some(0) => Ok(None),
        value => Err(no_text(value, "bytes per second or \"off\"", "B/s", "\"100B/s\"")),
    }
}

/// Events per second, or no limit.
pub(super) fn rate(field: &Field<'_>) -> Result<Option<u32>, Wrong> {
    const WHAT: &str = "a rate up to 1000000/s or \"off\"";
    let wrong = || wanted(field.value(), WHAT);
    let fine = |rate: u32| if rate <= 1_000_000 { Ok((rate > 0).then_some(rate)) } else { Err(wrong()) };
    match field.value() {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) => match text.split_once('/') {
            Some((number, "s")) if units::is_whole(number) => number.parse().map_err(|_| wrong()).and_then(fine),
            Some((number, "m" | "h" | "d" | "min")) if units::is_whole(number) => {
                Err(wrong().help("this one is counted by the second: write \"100/s\", for example"))
            }
            None if units::is_whole(text) => Err(wrong().help(format!("a rate needs its time: write \"{text}/s\""))),
            _ => Err(wrong().help("write \"100/s\", for example")),
        },
        DeValue::Integer(number) if integer(number) == Some(0) => Ok(None),
        value => Err(no_text(value, WHAT, "/s", "\"100/s\"")),
    }
}

/// `true` or `false`.
pub(super) fn flag(field: &Field<'_>) -> Result<bool, Wrong> {
    let value = field.value();
    if let Some(yes) = value.as_bool() {
        return Ok(yes);
    }
    let wrong = wanted(value, "`true` or `false`");
    let meant = match (value, value.as_str().map(str::to_ascii_lowercase).as_deref()) {
        (_, Some("true" | "on" | "yes" | "1")) => "true",
        (_, Some("false" | "off" | "no" | "0")) => "false",
        (DeValue::Integer(number), _) if integer(number) == Some(1) => "true",
        (DeValue::Integer(number), _) if integer(number) == Some(0) => "false",
        _ => return Err(wrong),
    };
    Err(wrong.help(format!("write `{meant}`, without quotes")))
}

/// A text that names something: not empty, no control characters, at most 255 bytes.
pub(super) fn name(field: &Field<'_>) -> Result<String, Wrong> {
    let what = "a name: 1 to 255 bytes without control characters, and neither `.` nor `..`";
    let text = text(field, what)?;
    if check_name(text) { Ok(text.to_owned()) } else { Err(wanted(field.value(), what)) }
}

/// Whether `text` may name something.
pub(super) fn check_name(text: &str) -> bool {
    let is_text = (1..=255).contains(&text.len()) && !text.trim().is_empty() && !text.chars().any(char::is_control);
    // In a path these are no names (RFC 3986 section 5.2.4), and names stand in paths of the admin API.
    is_text && !matches!(text, "." | "..")
}

/// A string; `what` says what for.
pub(super) fn text<'a>(field: &Field<'a>, what: &str) -> Result<&'a str, Wrong> {
    field.value().as_str().ok_or_else(|| {
        let wrong = wanted(field.value(), what);
        match field.value() {
            DeValue::Integer(number) => wrong.help(format!("write it in quotes: \"{number}\"")),
            _ => wrong,
        }
    })
}

/// One word of `choices`; `later` are words that the product will have, `peers` those that others have for ours.
pub(super) fn choice<T: Copy>(
    choices: &[(&'static str, T)],
    later: &[&'static str],
    peers: &[(&str, &'static str)],
) -> impl Fn(&Field<'_>) -> Result<T, Wrong> {
    move |field| {
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let what = match words.as_slice() {
            [all @ .., last] if all.len() > 1 => format!("{} or {last}", all.join(", ")),
            words => words.join(" or "),
        };
        let text = text(field, &what)?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Ok(*choice);
        }
        if later.contains(&text) {
            let wrong = Wrong::new(format!("{} is not supported yet, wanted {what}", quoted(text)));
            return Err(wrong.help(format!("write {what}, or wait for a version that can")));
        }
        let plain = text.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        let all = || choices.iter().map(|(word, _)| *word).chain(later.iter().copied());
        let meant = peers.iter().find(|(word, _)| *word == plain).map(|(_, ours)| *ours);
        let wrong = wanted(field.value(), &what);
        Err(match meant.or_else(|| nearest(&plain, all())) {
            Some(ours) if later.contains(&ours) => {
                wrong.help(format!("did you mean \"{ours}\", which is not supported yet?"))
            }
            Some(ours) => wrong.help(format!("did you mean \"{ours}\"?")),
            None => wrong,
        })
    }
}

/// An expression that compiles within bounds, so that no pattern takes the memory of the process.
pub(super) fn regex(field: &Field<'_>) -> Result<Regex, Wrong> {
    let text = text(field, "a regular expression")?;
    RegexBuilder::new(text).size_limit(MAX_REGEX).build().map_err(|error| {
        let wrong = wanted(field.value(), "a regular expression");
        match error {
            regex::Error::CompiledTooBig(_) => wrong.help("it is too large: compiled, it would take more than 1 MiB"),
            error => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default();
                wrong.help(format!(
                    "{}: the syntax is that of the Rust crate `regex`",
                    why.trim_start_matches("error: ")
                ))
            }
        }
    })
}

/// An integer that is not negative; `None` for `"off"`.
fn number(value: &DeValue<'_>, what: &str) -> Result<Option<u64>, Wrong> {
    match value {
        DeValue::String(text) if text == "off" => Ok(None),
        DeValue::String(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(wanted(value, what).help(format!("write {text}, without quotes")))
        }
        DeValue::Integer(number) => match integer(number) {
            Some(number) => u64::try_from(number).map(Some).map_err(|_| wanted(value, what)),
            None => Err(wanted(value, what)),
        },
        value => Err(wanted(value, what)),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// `value` is no string where a unit is needed: shows how to write the number that it is.
fn no_text(value: &DeValue<'_>, what: &str, unit: &str, example: &str) -> Wrong {
    let wrong = wanted(value, what);
    match value {
        DeValue::Integer(number) if integer(number).is_some_and(|number| number > 0) => {
            wrong.help(format!("a number needs a unit: write \"{}{unit}\"", integer(number).unwrap_or_default()))
        }
        DeValue::Float(number) if !number.as_str().starts_with('-') => {
            wrong.help(format!("a number needs a unit: write \"{number}{unit}\""))
        }
        DeValue::Boolean(false) => wrong.help("write \"off\" for no limit"),
        _ => wrong.help(format!("write {example}, for example")),
    }
}

fn fit(number: u64, value: &DeValue<'_>, what: &str) -> Result<usize, Wrong> {
    usize::try_from(number).map_err(|_| wanted(value, what))
}

/// A bound in the words of the file.
fn bytes(size: u64) -> String {
    match size {
        size if size >= 1 << 20 && size % (1 << 20) == 0 => format!("{}MiB", size >> 20),
        size if size >= 1 << 10 && size % (1 << 10) == 0 => format!("{}KiB", size >> 10),
        size => format!("{size}B"),
    }
}
