//! What was measured, as a table, as CSV and as JSON. Called by `cli::simulate`.

use super::Outcome;
use serde_json::{Value, json};

/// Quantiles that are told, with their names.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];
/// Quantiles of the distribution that JSON has.
const DISTRIBUTION: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// A row for each, below one of titles; numbers stand to the right of their columns.
pub fn rows(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    let titles = [
        "algorithm",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "mean ms",
        "max queue",
        "imbalance",
        "kept",
        "failed",
        "retries",
    ];
    let row = |one: &Outcome| {
        let mut row = vec![one.contender.name().to_owned()];
        row.extend(QUANTILES.map(|(quantile, _)| digits(millis(one, quantile))));
        row.push(digits(one.mean / 1e6));
        row.push(one.max_queue.to_string());
        row.push(format!("{:.2}", one.imbalance));
        row.push(format!("{:.1}%", one.kept * 100.0));
        row.push(format!("{}", one.failures));
        row.push(format!("{}", one.retries));
        row
    };
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(outcomes.iter().map(row));
    for column in 1..titles.len() {
        let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        rows.iter_mut().for_each(|row| row[column] = format!("{:>width$}", row[column]));
    }
    rows
}

/// A line for each, below one of titles.
pub fn csv(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "algorithm,p50_ms,p99_ms,p99.9_ms,max_ms,mean_ms,max_queue,imbalance,kept,requests,failed,retries\n",
    );
    for one in outcomes {
        let times: Vec<_> = QUANTILES.iter().map(|(quantile, _)| format!("{:.6}", millis(one, *quantile))).collect();
        text.push_str(&format!(
            "{},{},{:.6},{},{:.4},{:.4},{},{},{}\n",
            one.contender.name(),
            times.join(","),
            one.mean / 1e6,
            one.max_queue,
            one.imbalance,
            one.kept,
            one.requests,
            one.failures,
            one.retries
        ));
    }
    text
}

/// One object for each, with its distribution and its queues over the time.
pub fn json(outcomes: &[Outcome]) -> Value {
    let object = |one: &Outcome| {
        let times: serde_json::Map<_, _> =
            QUANTILES.iter().map(|(quantile, name)| ((*name).to_owned(), json!(millis(one, *quantile)))).collect();
        let distribution: Vec<_> =
            DISTRIBUTION.iter().map(|quantile| json!([quantile, millis(one, *quantile)])).collect();
        json!({
            "algorithm": one.contender.name(),
            "latency_ms": times,
            "mean_ms": one.mean / 1e6,
            "distribution_ms": distribution,
            "max_queue": one.max_queue,
            "queue": { "step_s": one.queues.1, "longest": one.queues.0 },
            "imbalance": one.imbalance,
            "kept": one.kept,
            "requests": one.requests,
            "failed": one.failures,
            "retries": one.retries,
        })
    };
    outcomes.iter().map(object).collect()
}

/// In milliseconds.
pub(super) fn millis(one: &Outcome, quantile: f64) -> f64 {
    one.latency.value_at_quantile(quantile) as f64 / 1e6
}

/// Three of them.
fn digits(millis: f64) -> String {
    let places = if millis < 1.0 { 3 } else { 2usize.saturating_sub(millis.log10() as usize) };
    format!("{millis:.places$}")
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn three_digits_are_shown() {
        let shown: Vec<_> = [0.0, 0.12345, 1.2345, 12.345, 123.45, 12345.6].map(digits).to_vec();
        assert_eq!(shown, ["0.000", "0.123", "1.23", "12.3", "123", "12346"]);
    }
}
