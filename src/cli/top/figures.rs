//! Figures as `top` writes them: short, and each in a unit that suits it.

use std::time::Duration;

use crate::admin::command::{BackendLive, BackendView};

/// Where there is nothing to tell.
const NONE: &str = "-";

/// So many a second.
pub(super) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => NONE.into(),
        Some(rate) if rate >= 999_500.0 => format!("{:.1}M", rate / 1e6),
        Some(rate) if rate >= 99_950.0 => format!("{:.0}k", rate / 1e3),
        Some(rate) if rate >= 10.0 || rate == 0.0 => format!("{rate:.0}"),
        Some(rate) if rate < 0.05 => "<0.1".into(),
        Some(rate) => format!("{rate:.1}"),
    }
}

/// Milliseconds.
pub(super) fn time(millis: Option<f64>) -> String {
    match millis {
        None => NONE.into(),
        Some(millis) if millis < 1.0 => format!("{millis:.2} ms"),
        Some(millis) if millis < 10.0 => format!("{millis:.1} ms"),
        Some(millis) if millis < 999.5 => format!("{millis:.0} ms"),
        Some(millis) => format!("{:.1} s", millis / 1e3),
    }
}

/// Bytes a second.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        ..999.5 => format!("{bytes:.0} B/s"),
        ..999_500.0 => format!("{:.1} kB/s", bytes / 1e3),
        ..999.5e6 => format!("{:.1} MB/s", bytes / 1e6),
        _ => format!("{:.1} GB/s", bytes / 1e9),
    }
}

/// How long it has been there.
pub(super) fn uptime(seconds: u64) -> String {
    let rough = if seconds < 3600 { seconds } else { seconds / 60 * 60 };
    humantime::format_duration(Duration::from_secs(rough)).to_string()
}

/// What a backend has of its weight.
pub(super) fn weight(view: &BackendView) -> String {
    let (set, effective) = (f64::from(view.weight), view.effective_weight);
    if effective == set { set.to_string() } else { format!("{effective:.2}/{set}") }
}

/// Its last check.
pub(super) fn check(live: &BackendLive) -> String {
    live.check.as_ref().map_or(NONE.into(), |check| format!("{} {}", check.result, time(Some(check.duration_ms))))
}

/// Tells a state without colour.
pub(super) fn mark(state: &str) -> char {
    match state {
        "ready" => '●',
        "degraded" => '◐',
        "drain" => '↓',
        "maintenance" => '‖',
        "down" => '✕',
        "ejected" => '▲',
        _ => '○',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let rates = [None, Some(0.0), Some(0.01), Some(0.5), Some(12.3), Some(99_000.0), Some(123_456.0), Some(2.5e6)];
        assert_eq!(rates.map(rate), ["-", "0", "<0.1", "0.5", "12", "99000", "123k", "2.5M"]);
        let times = [None, Some(0.123), Some(4.56), Some(87.6), Some(999.4), Some(999.6), Some(12_345.0)];
        assert_eq!(times.map(time), ["-", "0.12 ms", "4.6 ms", "88 ms", "999 ms", "1.0 s", "12.3 s"]);
        assert_eq!([0.0, 1234.0, 5.6e6, 7e9].map(bytes), ["0 B/s", "1.2 kB/s", "5.6 MB/s", "7.0 GB/s"]);
        assert_eq!([59, 3_723, 90_000].map(uptime), ["59s", "1h 2m", "1day 1h"]);
    }
}
