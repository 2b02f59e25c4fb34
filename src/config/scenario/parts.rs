//! Values that scenarios alone have: numbers with a fraction, times below a millisecond, distributions, pieces of time.

use std::{ops::RangeInclusive, time::Duration};

use toml::de::DeValue;

use super::{
    super::{report::Wrong, section::Field, units, values},
    Distribution, Kind, Span, keys,
};

/// A month: a simulation of more is a slip.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// A number, with or without a fraction.
pub(super) fn number(range: RangeInclusive<f64>) -> impl Fn(&Field<'_>) -> Result<f64, Wrong> {
    move |field| {
        let text = match field.value() {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => "",
        };
        let what = || values::wanted(field.value(), &format!("a number from {} to {}", range.start(), range.end()));
        text.replace('_', "").parse::<f64>().ok().filter(|number| range.contains(number)).ok_or_else(what)
    }
}

/// A number without a fraction; 0 is one.
pub(super) fn whole(range: RangeInclusive<u32>) -> impl Fn(&Field<'_>) -> Result<u32, Wrong> {
    move |field| {
        let what = || values::wanted(field.value(), &format!("a number from {} to {}", range.start(), range.end()));
        let number = match field.value() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.filter(|number| range.contains(number)).ok_or_else(what)
    }
}

/// A time, which may be none.
pub(super) fn time(field: &Field<'_>) -> Result<Duration, Wrong> {
    let time = match field.value() {
        DeValue::String(text) if text == "off" => Duration::ZERO,
        DeValue::String(text) => units::duration(text)?,
        DeValue::Integer(number) if number.as_str() == "0" => Duration::ZERO,
        value => return Err(values::wanted(value, "a duration").help("write \"250ms\" or \"30s\", for example")),
    };
    if time > LONGEST {
        return Err(values::wanted(field.value(), "a duration of at most 31 days"));
    }
    Ok(time)
}

/// A time above 0.
pub(super) fn length(field: &Field<'_>) -> Result<Duration, Wrong> {
    match time(field)? {
        time if time.is_zero() => Err(values::wanted(field.value(), "a duration above 0")),
        time => Ok(time),
    }
}

/// What a distribution is of.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Time,
    Size,
}

impl Of {
    fn mean(self, field: &Field<'_>) -> Result<f64, Wrong> {
        match self {
            Self::Time => length(field).map(|time| time.as_nanos() as f64),
            Self::Size => values::size(1..=1 << 40)(field).map(|size| size as f64),
        }
    }
}

/// One value for a constant, or a table; `None` if it is wrong, and has been reported.
pub(super) fn distribution(field: &Field<'_>, of: Of) -> Option<Distribution> {
    const KINDS: &[(&str, Kind)] = &[
        ("exponential", Kind::Exponential),
        ("constant", Kind::Constant),
        ("lognormal", Kind::LogNormal(1.0)),
        ("pareto", Kind::Pareto(2.0)),
    ];
    const PEERS: &[(&str, &str)] = &[
        ("exp", "exponential"),
        ("poisson", "exponential"),
        ("fixed", "constant"),
        ("deterministic", "constant"),
        ("log_normal", "lognormal"),
        ("power_law", "pareto"),
    ];
    if !field.value().is_table() {
        let mean = field.read(|field| of.mean(field))?;
        return Some(Distribution { kind: Kind::Constant, mean });
    }
    let section = field.section(&keys::DISTRIBUTION)?;
    let kind = section.read("type", Kind::Exponential, values::choice(KINDS, &[], PEERS));
    let kind = match (kind, section.field("shape")) {
        (kind, None) => kind,
        (Kind::LogNormal(_), Some(shape)) => Kind::LogNormal(shape.read(number(0.0..=4.0))?),
        (Kind::Pareto(_), Some(shape)) => Kind::Pareto(shape.read(number(1.05..=100.0))?),
        (Kind::Constant | Kind::Exponential, Some(shape)) => {
            shape.wrong(Wrong::new("this type has no shape").help("take it out, or write type = \"lognormal\""));
            return None;
        }
    };
    let Some(mean) = section.field("mean") else {
        section.missing("mean", Wrong::new("a distribution wants its mean").help(keys::DISTRIBUTION.example));
        return None;
    };
    Some(Distribution { kind, mean: mean.read(|field| of.mean(field))? })
}

/// `at` and `for`, and `factor` where the table has one; `None` if something is wrong, and has been reported.
pub(super) fn span(field: &Field<'_>, keys: &'static super::super::keys::Keys) -> Option<(Span, f64)> {
    let section = field.section(keys)?;
    let time = |key: &str, parse: fn(&Field<'_>) -> Result<Duration, Wrong>| {
        let Some(field) = section.field(key) else {
            section.missing(key, Wrong::new(format!("{} wants `{key}`", keys.title)).help(keys.example));
            return None;
        };
        field.read(parse)
    };
    let at = if keys.known.contains(&"at") { time("at", self::time) } else { Some(Duration::ZERO) };
    let (at, length) = (at?, time("for", length)?);
    let factor = if keys.known.contains(&"factor") {
        let Some(factor) = section.field("factor") else {
            section.missing("factor", Wrong::new(format!("{} wants `factor`", keys.title)).help(keys.example));
            return None;
        };
        factor.read(number(0.001..=1000.0))?
    } else {
        1.0
    };
    Some((Span { at, length }, factor))
}
