//! ORCA reports: the JSON form against `serde_json::Value`, the text form against a regular expression.

use std::collections::HashMap;
use std::sync::LazyLock;

use evenkeel::http::orca;
use regex::Regex;
use serde_json::Value;

use crate::{Dice, compare};

const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"1e999",
    b"-0",
    b"-1",
    b"0.5",
    b"NaN",
    b"inf",
    b"null",
    b"true",
    b"TEXT ",
    b"JSON ",
    b"BIN ",
    b"=",
    b"cpu_utilization",
    b"namedMetrics",
    b".",
    b" ",
    b"1e-400",
    b"\xff",
    b"18446744073709551616",
    b"\"a\":1,",
];

type Said = HashMap<String, f64>;

fn walk(value: &Value, path: &str, said: &mut Said) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(value, &path, said);
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if number >= 0.0 && number.is_finite() && !path.is_empty() {
                said.insert(path.to_owned(), number.abs());
            }
        }
        _ => {}
    }
}

/// Names of ProtoJSON as everybody else spells them: of the first part alone.
fn snake(name: &str) -> String {
    let (first, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
    let first = match first {
        "cpuUtilization"
        | "memUtilization"
        | "applicationUtilization"
        | "rpsFractional"
        | "namedMetrics"
        | "requestCost" => {
            let lower =
                |c: char| if c.is_ascii_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() };
            first.chars().map(lower).collect()
        }
        _ => first.to_owned(),
    };
    first + rest
}

static PAIR: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)^([^=:]*)[=:](.*)$").unwrap());

fn text(report: &str) -> Said {
    let pairs = report.split(',').filter_map(|pair| {
        let found = PAIR.captures(pair)?;
        let number: f64 = found[2].trim().parse().ok()?;
        let name = found[1].trim().to_owned();
        (number.is_finite() && number >= 0.0 && !name.is_empty()).then(|| (name, number.abs()))
    });
    pairs.collect()
}

/// What a field says, whichever form it has.
fn field(value: &[u8]) -> Said {
    let Ok(value) = std::str::from_utf8(value).map(str::trim) else { return Said::new() };
    if value.starts_with("BIN ") {
        return Said::new();
    }
    let json = value.strip_prefix("JSON ").or(value.starts_with('{').then_some(value));
    match json {
        Some(json) => {
            let mut said = Said::new();
            if let Ok(value @ Value::Object(_)) = serde_json::from_str(json) {
                walk(&value, "", &mut said);
            }
            said.into_iter().map(|(name, number)| (snake(&name), number)).collect()
        }
        None => text(value.strip_prefix("TEXT ").unwrap_or(value)),
    }
}

fn make(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth == 0 { 7 } else { 10 }) {
        0 => dice.below(1000).to_string(),
        1 => format!("-{}.5", dice.below(10)),
        2 => format!("{}.{}e{}", dice.below(10), dice.below(100_000), dice.below(40) as i32 - 20),
        3 => dice.of(&["0", "-0.0", "0.1", "1e-7", "18446744073709551615", "9007199254740993", "1E+2"]).to_owned(),
        4 => dice.of(&["null", "true", "\"\"", "\"0.5\"", "\"\\u00e4\\n\""]).to_owned(),
        5 | 6 => format!("0.{}", dice.below(1000)),
        7 => {
            let items: Vec<_> = (0..dice.below(4)).map(|_| make(dice, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        _ => object(dice, depth),
    }
}

fn object(dice: &mut Dice, depth: usize) -> String {
    let names =
        ["cpu_utilization", "cpuUtilization", "namedMetrics", "named_metrics", "a", "b.c", "", "\\u0061b", "é", " x "];
    let mut members: Vec<String> = Vec::new();
    let from = dice.below(names.len());
    for place in 0..dice.below(5) {
        let blank = dice.of(&["", " ", "\n\t"]);
        let name = names[(from + place) % names.len()];
        members.push(format!("{blank}\"{name}\"{blank}:{blank}{}", make(dice, depth.saturating_sub(1))));
    }
    format!("{{{}}}", members.join(","))
}

fn make_text(dice: &mut Dice) -> String {
    let pair = |dice: &mut Dice| {
        let name = dice.of(&["cpu_utilization", "named_metrics.q", "x", "", " y ", "é"]);
        let number = dice.of(&["0.5", "1", "-1", "+2", "1e3", "nan", "inf", "", " 7 ", "0x1", "1_0", ".5", "5.", "-0"]);
        format!("{name}{}{number}", dice.of(&["=", ":", "", "=:"]))
    };
    let pairs: Vec<_> = (0..dice.below(5)).map(|_| pair(dice)).collect();
    pairs.join(dice.of(&[",", ", ", " , "]))
}

/// Neither reader rounds better than the other: the last digits may differ.
fn near(one: f64, other: f64) -> bool {
    one == other || (one - other).abs() <= one.abs().max(other.abs()) * 1e-14
}

#[test]
fn orca() {
    compare("orca", |dice| {
        let form = dice.below(3);
        let mut input = match form {
            0 => format!("{}{}", dice.of(&["", "JSON ", " JSON "]), object(dice, 4)),
            1 => format!("{}{}", dice.of(&["", "TEXT "]), make_text(dice)),
            _ => format!("{} {}", dice.of(&["BIN", "JSON", "TEXT", "json", "{}"]), make_text(dice)),
        }
        .into_bytes();
        let whole = !dice.one_in(2);
        if !whole {
            dice.damage(&mut input, WORDS);
        }
        let mut ours = Said::new();
        orca::read(&input, &mut |name, number| {
            assert!(number.is_finite() && number >= 0.0 && !name.is_empty(), "{name} {number}");
            ours.insert(name.to_owned(), number);
        });
        let wanted = field(&input);
        agree(&ours, &wanted, whole, &input);
        polled(&input, whole);
    });
}

/// A damaged object may have a member twice: serde_json knows the last one alone, we say both. And of two names for one
/// metric (two spellings, or an object without a name) the last in the text counts here, which has no order there.
fn agree(ours: &Said, wanted: &Said, whole: bool, input: &[u8]) {
    let times = |word: &[u8]| input.windows(word.len()).filter(|part| *part == word).count();
    let ordered = times(b"cpu") < 2 && times(b"named") < 2 && times(b"\"\"") == 0 && whole;
    for (name, number) in wanted {
        let said = ours.get(name).copied();
        let fine = said.is_some_and(|said| !ordered || near(said, *number));
        assert!(fine, "{name} is {number}, we say {said:?}: {}", input.escape_ascii());
    }
    assert!(!whole || ours.len() == wanted.len(), "{ours:?}, wanted {wanted:?}: {}", input.escape_ascii());
}

/// The answer to a poll: as JSON alone, and whether it is any.
fn polled(input: &[u8], whole: bool) {
    let mut ours = Said::new();
    let mut say = |name: &str, number: f64| {
        ours.insert(name.to_owned(), number);
    };
    let fine = orca::json(input, &mut say).is_ok();
    let mut wanted = Said::new();
    match serde_json::from_slice(input) {
        Ok(value @ Value::Object(_)) => {
            walk(&value, "", &mut wanted);
            assert!(fine, "it is an object: {}", input.escape_ascii());
        }
        Ok(_) => assert!(!fine, "it is no object: {}", input.escape_ascii()),
        Err(_) => assert!(!fine && ours.is_empty(), "it is no JSON, and {ours:?} is said: {}", input.escape_ascii()),
    }
    agree(&ours, &wanted, whole, input);
}
