//! What Prometheus reads: its text format 0.0.4, written family by family. Not hot.
//!
//! Written here and not by the `prometheus` crate: that one wants every label of every sample as two strings of its
//! own, which is most of a scrape's time and memory when there are 10,000 backends.

use std::fmt::{Display, Write};

use super::family::Family;
use super::histogram::{Bounds, Total};

/// The text so far.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
}

impl Page {
    /// Room for `size` bytes, which may turn out to be more.
    pub(super) fn with_capacity(size: usize) -> Self {
        Self { text: String::with_capacity(size) }
    }

    /// Writes `family` with the samples that `add` adds to it; nothing at all if those are none.
    pub(super) fn family(&mut self, family: &'static Family, add: impl FnOnce(&mut Samples<'_>)) {
        let before = self.text.len();
        let Family { name, kind, help } = family;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
        let without = self.text.len();
        add(&mut Samples { name, text: &mut self.text });
        if self.text.len() == without {
            self.text.truncate(before);
        }
    }
}

/// The samples of one family.
#[derive(Debug)]
pub(super) struct Samples<'p> {
    name: &'static str,
    text: &'p mut String,
}

impl Samples<'_> {
    /// One sample. `labels` are escaped already, and may be none.
    pub(super) fn add(&mut self, labels: &str, value: impl Display) {
        self.sample("", labels, None, value);
    }

    /// One sample with one more label, which is none that needs escaping.
    pub(super) fn add_with(&mut self, labels: &str, more: (&str, &str), value: impl Display) {
        self.sample("", labels, Some(more), value);
    }

    /// One sample for each status that was counted.
    pub(super) fn add_codes(&mut self, labels: &str, counted: &[(u16, u64)]) {
        for (code, count) in counted {
            self.sample("", labels, Some(("code", &code.to_string())), count);
        }
    }

    /// One sample of a histogram.
    pub(super) fn add_histogram(&mut self, labels: &str, bounds: &Bounds, total: &Total) {
        for (bound, count) in bounds.labels().zip(&total.cumulated) {
            self.sample("_bucket", labels, Some(("le", bound)), count);
        }
        self.sample("_bucket", labels, Some(("le", "+Inf")), total.count);
        self.sample("_sum", labels, None, total.seconds);
        self.sample("_count", labels, None, total.count);
    }

    fn sample(&mut self, end: &str, labels: &str, more: Option<(&str, &str)>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(end);
        if !labels.is_empty() || more.is_some() {
            self.text.push('{');
            self.text.push_str(labels);
            if let Some((name, word)) = more {
                self.text.push_str(if labels.is_empty() { "" } else { "," });
                for part in [name, "=\"", word, "\""] {
                    self.text.push_str(part);
                }
            }
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{family, histogram::Histogram};
    use super::*;

    #[test]
    fn a_family_without_samples_is_left_out() {
        let mut page = Page::default();
        page.family(&family::PANICS, |_| {});
        assert_eq!(page.text, "");
        page.family(&family::PANICS, |samples| samples.add("", 3_u64));
        let lines: Vec<_> = page.text.lines().collect();
        assert!(lines[0].starts_with("# HELP evenkeel_panics_total Panics"));
        assert_eq!(lines[1..], ["# TYPE evenkeel_panics_total counter", "evenkeel_panics_total 3"]);
    }

    #[test]
    fn labels_and_histograms_are_written_as_prometheus_reads_them() {
        let bounds = Bounds::new(&[0.1]);
        let histogram = Histogram::new(&bounds);
        histogram.observe(&bounds, Duration::from_millis(500));
        let mut page = Page::default();
        page.family(&family::DURATION, |samples| {
            samples.add_histogram("route=\"a\"", &bounds, &Total::of(&bounds, [&histogram]));
        });
        page.family(&family::REQUESTS, |samples| samples.add_codes("route=\"a\"", &[(200, u64::MAX)]));
        page.family(&family::BUILD, |samples| samples.add_with("", ("os", "linux"), 1));
        let samples: Vec<_> = page.text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "evenkeel_request_duration_seconds_bucket{route=\"a\",le=\"0.1\"} 0",
                "evenkeel_request_duration_seconds_bucket{route=\"a\",le=\"+Inf\"} 1",
                "evenkeel_request_duration_seconds_sum{route=\"a\"} 0.5",
                "evenkeel_request_duration_seconds_count{route=\"a\"} 1",
                "evenkeel_requests_total{route=\"a\",code=\"200\"} 18446744073709551615",
                "evenkeel_build_info{os=\"linux\"} 1",
            ]
        );
    }
}
