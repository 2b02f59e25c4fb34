//! Durations, sizes, byte rates and shares as operators write them: `"1.5s"`, `"16KiB"`, `"100B/s"`, `"20%"`. Pure: text
//! in, value out.
//!
//! Used by `values`. Exact arithmetic: a fraction that does not come out even in the smallest unit is an error.

use std::time::Duration;

use super::report::Wrong;

/// What the unit of a duration is worth, in nanoseconds.
const TIMES: &[(&str, u64)] = &[
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// What the unit of a size is worth, in bytes.
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration: `"250ms"`, `"1.5s"`, `"5m"`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err(unreadable(text, "a duration", "write \"250ms\", \"30s\", \"5m\", \"1h\" or \"off\""));
    }
    if unit.is_empty() {
        let wrong = Wrong::new(format!("found {}, which has no unit, wanted a duration", quoted(text)));
        return Err(wrong.help(format!("write \"{number}s\" for seconds, or \"{number}ms\" for milliseconds")));
    }
    let Some(worth) = worth(TIMES, unit) else {
        let help = match unit.trim().to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => format!("write \"{number}s\""),
            "min" | "mins" | "minute" | "minutes" => format!("write \"{number}m\""),
            "h" | "hr" | "hour" | "hours" => format!("write \"{number}h\""),
            "d" | "day" | "days" => format!("write \"{number}d\""),
            "ms" | "msec" | "millis" => format!("write \"{number}ms\""),
            _ => "the units are us, ms, s, m, h and d; one number and one unit, such as \"90s\"".into(),
        };
        return Err(Wrong::new(format!("found {}, wanted a duration: unknown unit", quoted(text))).help(help));
    };
    times(number, worth).map(Duration::from_nanos).map_err(|why| unfit(text, "a duration", why, "\"90s\""))
}

/// A size in bytes: `"16KiB"`, `"1.5MiB"`, `"512B"`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err(unreadable(text, "a size", "write \"16KiB\", \"1MiB\" or \"512B\""));
    }
    let Some(worth) = worth(SIZES, if unit.is_empty() { "B" } else { unit }) else {
        let wrong = Wrong::new(format!("found {}, wanted a size: unknown unit", quoted(text)));
        return Err(
            wrong.help(format!("{}the units are B, KB, MB, GB, KiB, MiB, GiB and TiB", meant_size(number, unit)))
        );
    };
    times(number, worth).map_err(|why| unfit(text, "a size", why, "\"16KiB\""))
}

/// Bytes per second: `"100B/s"`, `"1KiB/s"`.
pub(super) fn byte_rate(text: &str) -> Result<u64, Wrong> {
    let Some((amount, "s")) = text.rsplit_once('/') else {
        return Err(unreadable(text, "bytes per second", "write \"100B/s\", \"1KiB/s\" or \"off\""));
    };
    if split(amount).1.is_empty() && !amount.is_empty() {
        let wrong = Wrong::new(format!("found {}, which has no unit of size, wanted bytes per second", quoted(text)));
        return Err(wrong.help(format!("write \"{amount}B/s\"")));
    }
    size(amount).map_err(|wrong| match wrong.help {
        Some(help) => Wrong::new(format!("found {}, wanted bytes per second", quoted(text))).help(help),
        None => wrong,
    })
}

/// A share: `"20%"`, `"0.5%"`; 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, Wrong> {
    let (number, unit) = split(text);
    if number.is_empty() {
        return Err(unreadable(text, "a share", "write \"20%\", for example"));
    }
    if unit != "%" {
        let wrong = Wrong::new(format!("found {}, which has no `%`, wanted a share", quoted(text)));
        return Err(wrong.help(format!("write \"{number}%\"")));
    }
    let percent: f64 = number.parse().map_err(|_| unreadable(text, "a share", "write \"20%\", for example"))?;
    if percent > 100.0 {
        return Err(unfit(text, "a share", "it is more than all", "\"100%\""));
    }
    Ok(percent / 100.0)
}

/// `text` is digits alone.
pub(super) fn is_whole(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `text` for a message: in quotes, without control characters, cut when long.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let cut = text.char_indices().nth(LONGEST).map_or(text, |(at, _)| &text[..at]);
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{dots}\"", cut.escape_debug().to_string().replace("\\'", "'"))
}

/// The number in front and the unit behind it; the number is empty if `text` does not start with one.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let whole = number.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) && !number.ends_with('.');
    if whole && number.bytes().filter(|byte| *byte == b'.').count() <= 1 { (number, unit) } else { ("", text) }
}

fn worth(units: &[(&str, u64)], unit: &str) -> Option<u64> {
    units.iter().find(|(name, _)| *name == unit).map(|(_, worth)| *worth)
}

/// `number` × `worth`, exactly.
fn times(number: &str, worth: u64) -> Result<u64, &'static str> {
    const TOO_LARGE: &str = "it is too large";
    const TOO_FINE: &str = "it is finer than the smallest unit";
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().map_err(|_| TOO_LARGE)?;
    let whole = whole.checked_mul(worth).ok_or(TOO_LARGE)?;
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Ok(whole);
    }
    let digits = u32::try_from(fraction.len()).map_err(|_| TOO_FINE)?;
    let scale = 10u128.checked_pow(digits).filter(|_| digits <= 18).ok_or(TOO_FINE)?;
    let parts: u128 = fraction.parse().map_err(|_| TOO_FINE)?;
    let scaled = parts * u128::from(worth);
    if !scaled.is_multiple_of(scale) {
        return Err(TOO_FINE);
    }
    u64::try_from(scaled / scale).ok().and_then(|part| whole.checked_add(part)).ok_or(TOO_LARGE)
}

fn unfit(text: &str, wanted: &str, why: &str, example: &str) -> Wrong {
    Wrong::new(format!("found {}, wanted {wanted}: {why}", quoted(text))).help(format!("write {example}, for example"))
}

fn unreadable(text: &str, wanted: &str, help: &str) -> Wrong {
    let found = quoted(text);
    if text.trim() != text || text.contains(' ') {
        let close: String = text.split_whitespace().collect();
        return Wrong::new(format!("found {found}, wanted {wanted} without white space"))
            .help(format!("write {}", quoted(&close)));
    }
    let negative = if text.starts_with('-') { ", which is not negative" } else { "" };
    Wrong::new(format!("found {found}, wanted {wanted}{negative}")).help(help)
}

/// `write "16KiB"; ` for what others write as `16k`.
fn meant_size(number: &str, unit: &str) -> String {
    let ours = match unit.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "b" | "byte" | "bytes" => "B",
        _ => return String::new(),
    };
    format!("write \"{number}{ours}\"; ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_operators_write_is_read_exactly() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("10us"), Ok(Duration::from_micros(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0.5h"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(size("16KiB"), Ok(16_384));
        assert_eq!(size("10KB"), Ok(10_000));
        assert_eq!(size("512B"), Ok(512));
        assert_eq!(size("1.5MiB"), Ok(1_572_864));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(byte_rate("100B/s"), Ok(100));
        assert_eq!(byte_rate("1KiB/s"), Ok(1024));
        assert_eq!((share("20%"), share("100%"), share("0.5%")), (Ok(0.2), Ok(1.0), Ok(0.005)));
    }

    #[test]
    fn what_is_no_value_is_refused_with_help() {
        for text in [
            "",
            "s",
            "-1s",
            "1",
            "1.s",
            ".5s",
            "1..2s",
            "1e3s",
            "1 s",
            " 1s",
            "1S",
            "1h30m",
            "٣s",
            "99999999999d",
            "0.0001us",
        ] {
            assert!(duration(text).unwrap_err().help.is_some(), "{text}");
        }
        for text in ["", "B", "-1B", "1k", "1kib", "16 KiB", "0.5B", "99999999999999TiB", "1.2.3KiB"] {
            assert!(size(text).unwrap_err().help.is_some(), "{text}");
        }
        for text in ["", "%", "20", "20 %", "-1%", "101%", "1..%", "20%%", "0.2.1%"] {
            assert!(share(text).unwrap_err().help.is_some(), "{text}");
        }
        for text in ["", "/s", "100", "100/s", "100B", "100B/m", "100B/s/s", "-1B/s"] {
            assert!(byte_rate(text).unwrap_err().help.is_some(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = (duration(&text), size(&text), byte_rate(&text), share(&text), quoted(&text));
        }

        #[test]
        fn no_number_with_a_unit_makes_a_parser_panic(text in "[0-9.]{0,45}(us|ms|s|m|h|d|B|KB|KiB|TiB|%)?(/s)?") {
            let _ = (duration(&text), size(&text), byte_rate(&text), share(&text));
        }

        #[test]
        fn whole_numbers_come_back(number in 0u64..100_000, unit in 0..TIMES.len(), of_size in 0..SIZES.len()) {
            let (name, worth) = TIMES[unit];
            prop_assert_eq!(duration(&format!("{number}{name}")), Ok(Duration::from_nanos(number * worth)));
            let (name, worth) = SIZES[of_size];
            prop_assert_eq!(size(&format!("{number}{name}")), Ok(number * worth));
            prop_assert_eq!(byte_rate(&format!("{number}{name}/s")), Ok(number * worth));
        }

        #[test]
        fn fractions_come_back(micros in 0u64..1 << 50) {
            let text = format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(duration(&text), Ok(Duration::from_micros(micros)));
        }
    }
}
